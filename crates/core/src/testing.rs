//! What the rooms' tests share: an account over a vault in memory, and people whom it meets.

use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use stonechat_directory::note::KeyKind;
use stonechat_directory::{Checkpoint, DirectoryPolicy, SeenHead, SignedNote, VerifierKey};
use stonechat_wire::{
    AccountId, AccountLog, AccountState, ConversationId, DeviceId, EpochId, Handle, HelloReply, List, LogBody,
    LogEntry, Request, Seq, Signer, Timestamp, Token, TreeHash,
};

use crate::api::{CommandError, CommandId, Effect, Event, Link, Outcome};
use crate::crypto::keys::DeviceSecrets;
use crate::identity::Identity;
use crate::links::Links;
use crate::log::policy::GroupState;
use crate::log::rows::{Info, LeafRecord, Phase, Progress};
use crate::people::accounts::{Contact, remember_handle};
use crate::people::sign_up::{pin_policy, sign_up};
use crate::step::Ctx;
use crate::store::vault::MemoryVault;

/// The first moment of every test.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// An account on one device.
pub(crate) struct Home {
    pub vault: MemoryVault,
    pub identity: Identity,
    pub links: Links,
    pub now: Timestamp,
    pub rng: ChaCha20Rng,
}

/// A directory that signs what it is told to.
pub(crate) struct Directory {
    key: SigningKey,
    pub policy: DirectoryPolicy,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let key = SigningKey::from_bytes(&[77; 32]);
        let log = VerifierKey::new("directory.test", KeyKind::Log, key.verifying_key().to_bytes()).unwrap();
        Self { key, policy: DirectoryPolicy::new(log, [1; 32], Vec::new(), 0).unwrap() }
    }

    /// A head that it signed.
    pub(crate) fn head(&self, size: u64, root: u8) -> SeenHead {
        let (origin, root) = (self.policy.origin().to_owned(), TreeHash([root; 32]));
        let text = Checkpoint { origin: origin.clone(), size, root }.to_text();
        let signature = SignedNote::sign(text, &origin, &self.key).verify_log(self.policy.log()).unwrap();
        SeenHead { size, root, signature }
    }
}

/// What one step gave out.
pub(crate) struct Out<T> {
    pub value: T,
    pub effects: Vec<Effect>,
}

impl Home {
    /// Somebody who signed up.
    pub(crate) fn of(handle: &str) -> Self {
        // Everybody has keys of their own.
        let mut seed = [7; 32];
        seed[..handle.len().min(32)].copy_from_slice(&handle.as_bytes()[..handle.len().min(32)]);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut vault = MemoryVault::default();
        let made = sign_up(&vault, &mut rng, NOW, Handle::parse(handle).unwrap(), "host".into()).unwrap();
        vault.commit(made.changes);
        let identity = Identity::load(&vault).unwrap().unwrap();
        Self { vault, identity, links: Links::default(), now: NOW, rng }
    }

    /// With both connections open, and logged in.
    pub(crate) fn online(handle: &str) -> Self {
        let mut home = Self::of(handle);
        home.connect(Link::Device);
        home.connect(Link::Anonymous);
        home.links.logged_in();
        home
    }

    pub(crate) fn connect(&mut self, link: Link) {
        let hello = HelloReply { nonce: [1; 32], now: self.now, token_key: [2; 32] };
        self.links.opened(link, "host".into(), &hello).unwrap();
    }

    /// Does something in a step of its own and commits it.
    pub(crate) fn step<T>(&mut self, work: impl FnOnce(&mut Ctx<'_>) -> T) -> Out<T> {
        let mut ctx = Ctx::new(&self.vault, &mut self.rng, self.now, &self.identity, &mut self.links);
        let value = work(&mut ctx);
        let step = ctx.into_step();
        self.vault.commit(step.changes);
        Out { value, effects: step.effects }
    }

    /// Pins a directory.
    pub(crate) fn pin(&mut self, directory: &Directory) {
        let change = pin_policy(directory.policy.to_json().as_bytes()).unwrap();
        self.vault.commit(vec![change]);
    }

    /// Some unspent tokens.
    pub(crate) fn give_tokens(&mut self, count: u8) {
        self.step(|ctx| {
            for number in 0..count {
                ctx.txn.store(&[number; 32], &Token { nonce: [number; 32], output: [number; 64] });
            }
        });
    }

    /// Somebody whom this account knows, as a contact whose handle is proven.
    pub(crate) fn meet(&mut self, handle: &str, number: u8) -> Person {
        let person = Person::of(handle, number);
        self.step(|ctx| {
            ctx.txn.store(&person.id(), &Contact::new(person.log.clone()));
            remember_handle(ctx, person.state.handle(), person.id());
        });
        person
    }

    /// A conversation that is followed: direct messages with somebody, or a group of this account and some.
    pub(crate) fn converse(&mut self, number: u8, state: &GroupState, members: &[&Person]) -> ConversationId {
        let id = ConversationId([number; 32]);
        let me = self.identity.leaf();
        let mut leaves = vec![LeafRecord { index: 0, account: me.account, device: me.device }];
        for (index, person) in (1..).zip(members) {
            leaves.push(LeafRecord { index, account: person.id(), device: person.device });
        }
        let peer = state.direct_accounts().map(|accounts| accounts[usize::from(accounts[0] == me.account)]);
        let info = Info { peer, state: state.encode(), leaves, intents: Vec::new(), opening: false, hold: None };
        self.step(|ctx| {
            ctx.txn.store(&id, &Progress::new(Phase::Live, Seq(1), EpochId([number; 32])));
            ctx.txn.store(&id, &info);
        });
        id
    }

    /// The direct messages with somebody.
    pub(crate) fn converse_with(&mut self, person: &Person) -> ConversationId {
        let state = GroupState::direct(self.identity.account(), person.id());
        self.converse(person.number, &state, &[person])
    }
}

impl<T> Out<T> {
    /// What was asked of the server.
    pub(crate) fn requests(&self) -> Vec<&Request> {
        let requests = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { frame, .. } => Some(&frame.request),
            Effect::Disconnect { .. } | Effect::Event(_) => None,
        });
        requests.collect()
    }

    /// What was told.
    pub(crate) fn events(&self) -> Vec<&Event> {
        let events = self.effects.iter().filter_map(|effect| match effect {
            Effect::Event(event) => Some(event),
            Effect::Send { .. } | Effect::Disconnect { .. } => None,
        });
        events.collect()
    }

    /// How a command ended, if it did.
    pub(crate) fn finished(&self, id: u64) -> Option<Result<Outcome, CommandError>> {
        self.events().into_iter().find_map(|event| match event {
            Event::Finished { command: CommandId(of), result } if *of == id => Some(result.clone()),
            _ => None,
        })
    }

    /// What was passed over or thrown away.
    pub(crate) fn refusals(&self) -> usize {
        self.events().into_iter().filter(|event| matches!(event, Event::Refused { .. })).count()
    }
}

/// Somebody else.
pub(crate) struct Person {
    pub number: u8,
    pub secrets: DeviceSecrets,
    pub device: DeviceId,
    pub log: AccountLog,
    pub state: AccountState,
}

impl Person {
    pub(crate) fn of(handle: &str, number: u8) -> Self {
        let secrets = DeviceSecrets::from_seeds([number; 32], [number + 1; 32]);
        let (device, recovery) = (DeviceId([number; 16]), SigningKey::from_bytes(&[number + 2; 32]));
        let body = LogBody::Genesis {
            handle: Handle::parse(handle).unwrap(),
            device: secrets.device_keys(device),
            recovery: recovery.verifying_key().to_bytes(),
            at: Timestamp(1),
        };
        let signers = [(Signer::Device(device), &secrets.signing_key()), (Signer::Recovery, &recovery)];
        let log = AccountLog(List::new(vec![LogEntry::sign(&body, &signers)]).unwrap());
        let state = AccountState::verify(&log, None).unwrap();
        Self { number, secrets, device, log, state }
    }

    pub(crate) fn id(&self) -> AccountId {
        self.state.id()
    }

    pub(crate) fn handle(&self) -> Handle {
        self.state.handle().clone()
    }

    /// Their log with one more device, and that device.
    pub(crate) fn with_device(&self, number: u8) -> (AccountLog, DeviceId) {
        let added = DeviceSecrets::from_seeds([number; 32], [number + 1; 32]);
        let id = DeviceId([number; 16]);
        let body = LogBody::AddDevice {
            previous: self.log.0.last().unwrap().hash(),
            device: added.device_keys(id),
            at: Timestamp(2),
        };
        let signers =
            [(Signer::Device(self.device), &self.secrets.signing_key()), (Signer::Device(id), &added.signing_key())];
        (extended(&self.log, LogEntry::sign(&body, &signers)), id)
    }

    /// A log, which may already have more devices, without one of them.
    pub(crate) fn without_device(&self, log: &AccountLog, device: DeviceId) -> AccountLog {
        let body = LogBody::RevokeDevice { previous: log.0.last().unwrap().hash(), device, at: Timestamp(3) };
        extended(log, LogEntry::sign(&body, &[(Signer::Device(self.device), &self.secrets.signing_key())]))
    }
}

fn extended(log: &AccountLog, entry: LogEntry) -> AccountLog {
    let mut entries: Vec<_> = log.0.iter().cloned().collect();
    entries.push(entry);
    AccountLog(List::new(entries).unwrap())
}
