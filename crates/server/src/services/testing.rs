//! People, sessions and conversations for the tests of the services.

use std::cell::Cell;
use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::FutureExt as _;
#[expect(clippy::disallowed_types, reason = "people in tests are different each time")]
use rand_core::OsRng;
use rand_core::RngCore as _;
use stonechat_wire::limits::INBOX_KEY_BYTES;
use stonechat_wire::message::Element;
use stonechat_wire::{
    AccountId, AuthChallenge, Bytes, Capability, ConversationId, DeviceId, DeviceKeys, EntryKind, EpochCaps, EpochId,
    ErrorCode, Failure, Handle, Hello, List, LogBody, LogEntry, PROTOCOL_VERSION, Push, Reply, Request, Seq, Signer,
    Timestamp, Token, epoch_id, first_epoch_id,
};
use voprf::{EvaluationElement, Group, Proof, Ristretto255, VoprfClient};

use super::{Services, Session, Settings, SignUp, TokenKey};
use crate::directory::{DirectoryKeys, Publication};
use crate::store::{KeyedLog as _, MemoryLog};

pub(super) struct World {
    pub(super) services: Services<MemoryLog>,
    pub(super) now: Cell<Timestamp>,
}

pub(super) fn world() -> World {
    world_with(SignUp::Open)
}

/// Where sign-up needs an invitation.
pub(super) fn closed_world() -> World {
    world_with(SignUp::Invite)
}

fn world_with(signup: SignUp) -> World {
    let settings = Settings { tokens_per_day: 100, signup, ..Settings::default() };
    let directory = DirectoryKeys::from_seed(&[8; 32]);
    let services = Services::new(MemoryLog::new(), TokenKey::from_seed(&[7; 32]), directory, settings).unwrap();
    World { services, now: Cell::new(Timestamp(1_700_000_000_000)) }
}

impl World {
    /// Another server over the same store.
    pub(super) fn beside(&self) -> World {
        self.beside_with(&[7; 32])
    }

    /// Another server over the same store, with a token key of its own.
    pub(super) fn beside_with(&self, token_key: &[u8; 32]) -> World {
        let settings = Settings { tokens_per_day: 100, ..Settings::default() };
        let directory = DirectoryKeys::from_seed(&[8; 32]);
        let store = self.services.store().clone();
        let services = Services::new(store, TokenKey::from_seed(token_key), directory, settings).unwrap();
        World { services, now: self.now.clone() }
    }

    /// What a conversation's log has behind its first record, by number.
    pub(super) fn records(&self, chat: &Chat) -> BTreeMap<Seq, Vec<u8>> {
        let key = super::keys::conversation(&chat.id);
        let store = self.services.store();
        let entries = store.read(&key, Seq(1), usize::MAX, usize::MAX, self.now.get()).now_or_never();
        let entries = entries.expect("a store in memory never waits").unwrap();
        entries.iter().map(|entry| (entry.seq, super::conversations::record_of(entry).unwrap().blob.to_vec())).collect()
    }

    pub(super) fn later(&self, secs: u64) {
        self.now.set(self.now.get().plus_secs(secs));
    }

    pub(super) fn session(&self) -> Session {
        Session::new("chat.test".to_owned(), &mut OsRng)
    }

    pub(super) fn ask(&self, session: &mut Session, request: Request) -> Result<Reply, Failure> {
        let mut rng = OsRng;
        let handling = self.services.handle(session, self.now.get(), &mut rng, request);
        handling.now_or_never().expect("a store in memory never waits")
    }

    /// Lets the directory publish what has changed.
    pub(super) fn publish(&self) -> Publication {
        self.services.publish(self.now.get()).now_or_never().expect("a store in memory never waits").unwrap()
    }

    pub(super) fn refused(&self, session: &mut Session, request: Request) -> ErrorCode {
        self.ask(session, request).unwrap_err().code
    }

    pub(super) fn pushes(&self, session: &mut Session) -> Vec<Push> {
        self.services.pushes(session, self.now.get()).now_or_never().expect("a store in memory never waits").unwrap()
    }

    /// Signs a person up and logs a device connection in.
    pub(super) fn device(&self, person: &Person) -> Session {
        let mut session = self.session();
        self.ask(&mut session, Request::CreateAccount { genesis: person.genesis.clone(), invite: None }).unwrap();
        let login = person.login(&self.nonce(&session), "chat.test");
        self.ask(&mut session, login).unwrap();
        session
    }

    pub(super) fn nonce(&self, session: &Session) -> [u8; 32] {
        self.services.greet(session, self.now.get(), &Hello { version: PROTOCOL_VERSION }).unwrap().nonce
    }

    pub(super) fn tokens(&self, device: &mut Session, count: usize) -> Vec<Token> {
        let (blinded, clients): (Vec<_>, Vec<_>) = (0..count).map(|_| blind()).unzip();
        let reply = self.ask(device, Request::IssueTokens { blinded: List::new(blinded).unwrap() }).unwrap();
        let Reply::Tokens { evaluated, proof } = reply else { panic!("{reply:?}") };
        let key = self.services.tokens.public();
        unblind(&clients, &evaluated, &proof, &key)
    }

    /// A token from an account of its own.
    pub(super) fn token(&self) -> Token {
        let name = format!("t{}", OsRng.next_u32());
        let mut device = self.device(&person(&name));
        self.tokens(&mut device, 1).remove(0)
    }

    /// Starts a conversation.
    pub(super) fn chat(&self, anonymous: &mut Session) -> Chat {
        let chat = Chat::new();
        let request =
            Request::CreateConversation { conversation: chat.id, first: chat.first.caps(), token: self.token() };
        assert_eq!(self.ask(anonymous, request), Ok(Reply::Done));
        chat
    }

    pub(super) fn append(&self, session: &mut Session, request: Request) -> (Seq, Timestamp) {
        match self.ask(session, request) {
            Ok(Reply::Appended { seq, time }) => (seq, time),
            other => panic!("{other:?}"),
        }
    }
}

pub(super) struct Person {
    pub(super) account: AccountId,
    pub(super) device: DeviceId,
    pub(super) secret: SigningKey,
    pub(super) genesis: LogEntry,
}

pub(super) fn person(handle: &str) -> Person {
    let mut seed = [0; 32];
    OsRng.fill_bytes(&mut seed);
    let (secret, recovery) = (SigningKey::from_bytes(&seed), SigningKey::from_bytes(&[9; 32]));
    let device = DeviceId(seed[..16].try_into().unwrap());
    let keys = DeviceKeys { id: device, signature: secret.verifying_key().to_bytes(), inbox: [1; INBOX_KEY_BYTES] };
    let body = LogBody::Genesis {
        handle: Handle::parse(handle).unwrap(),
        device: keys,
        recovery: recovery.verifying_key().to_bytes(),
        at: Timestamp(1),
    };
    let genesis = LogEntry::sign(&body, &[(Signer::Device(device), &secret), (Signer::Recovery, &recovery)]);
    Person { account: AccountId(genesis.hash()), device, secret, genesis }
}

impl Person {
    pub(super) fn login(&self, nonce: &[u8; 32], host: &str) -> Request {
        let (account, device) = (self.account, self.device);
        let challenge = AuthChallenge { host, nonce: *nonce, account, device };
        Request::Authenticate { account, device, signature: self.secret.sign(&challenge.signed_bytes()).to_bytes() }
    }
}

type Blinded = ([u8; 32], VoprfClient<Ristretto255>);

pub(super) fn blind() -> (Element, Blinded) {
    let mut nonce = [0; 32];
    OsRng.fill_bytes(&mut nonce);
    let blinded = VoprfClient::<Ristretto255>::blind(&nonce, &mut OsRng).unwrap();
    (Element(blinded.message.serialize().into()), (nonce, blinded.state))
}

fn unblind(clients: &[Blinded], evaluated: &[Element], proof: &[u8; 64], key: &[u8; 32]) -> Vec<Token> {
    let nonces: Vec<&[u8]> = clients.iter().map(|(nonce, _)| nonce.as_slice()).collect();
    let states: Vec<_> = clients.iter().map(|(_, state)| state.clone()).collect();
    let messages: Vec<_> =
        evaluated.iter().map(|e| EvaluationElement::<Ristretto255>::deserialize(&e.0).unwrap()).collect();
    let proof = Proof::deserialize(proof).unwrap();
    let key = Ristretto255::deserialize_elem(key).unwrap();
    let outputs = VoprfClient::batch_finalize(&nonces, &states, &messages, &proof, key).unwrap();
    let outputs = outputs.map(|output| output.unwrap().as_slice().try_into().unwrap());
    clients.iter().zip(outputs).map(|((nonce, _), output)| Token { nonce: *nonce, output }).collect()
}

/// The secrets of one epoch.
#[derive(Clone, Copy)]
pub(super) struct Epoch {
    pub(super) seq: Seq,
    pub(super) id: EpochId,
    pub(super) secrets: [[u8; 32]; 2],
}

impl Epoch {
    pub(super) fn caps(&self) -> EpochCaps {
        EpochCaps { read: self.read().hash(), write: self.write().hash() }
    }

    pub(super) fn read(&self) -> Capability {
        Capability::from_bytes(self.secrets[0])
    }

    pub(super) fn write(&self) -> Capability {
        Capability::from_bytes(self.secrets[1])
    }

    fn random(seq: Seq) -> Self {
        let mut secrets = [[0; 32]; 2];
        secrets.iter_mut().for_each(|secret| OsRng.fill_bytes(secret));
        Self { seq, id: EpochId([0; 32]), secrets }
    }
}

/// A conversation and its first epoch.
pub(super) struct Chat {
    pub(super) id: ConversationId,
    pub(super) first: Epoch,
}

impl Chat {
    pub(super) fn new() -> Self {
        let mut id = ConversationId([0; 32]);
        OsRng.fill_bytes(&mut id.0);
        let mut first = Epoch::random(Seq(1));
        first.id = first_epoch_id(&id, &first.caps());
        Self { id, first }
    }

    pub(super) fn say(&self, epoch: &Epoch, blob: &[u8]) -> Request {
        self.say_for(epoch, blob, None)
    }

    pub(super) fn say_for(&self, epoch: &Epoch, blob: &[u8], ttl_secs: Option<u64>) -> Request {
        Request::Append {
            conversation: self.id,
            epoch: epoch.seq,
            epoch_id: epoch.id,
            write: epoch.write(),
            kind: EntryKind::Application,
            skip: None,
            ttl_secs,
            blob: Bytes::new(blob.to_vec()).unwrap(),
        }
    }

    /// A commit that would be entry `seq`, and the epoch that it opens.
    pub(super) fn commit(&self, epoch: &Epoch, seq: u64, blob: &[u8], skip: Option<Seq>) -> (Request, Epoch) {
        let mut next = Epoch::random(Seq(seq));
        next.id = epoch_id(&epoch.id, blob, &next.caps());
        let request = Request::Append {
            conversation: self.id,
            epoch: epoch.seq,
            epoch_id: epoch.id,
            write: epoch.write(),
            kind: EntryKind::Commit(next.caps()),
            skip,
            ttl_secs: None,
            blob: Bytes::new(blob.to_vec()).unwrap(),
        };
        (request, next)
    }

    pub(super) fn follow(&self, epoch: &Epoch, after: Seq) -> Request {
        Request::Follow { conversation: self.id, epoch: epoch.seq, read: epoch.read(), after }
    }
}
