//! The directory of the simulated world: its witnesses, and a second one with the same keys, for a server that lies.
//!
//! An operator who has the directory's key and colludes with its witnesses can show somebody another directory. Here that is
//! [`Shadow`]: the same services over a store of their own. While it is `mirrored`, it takes every change at the same moment
//! and publishes the same heads, byte for byte; from the moment that it is not, it is a fork.

use ed25519_dalek::SigningKey;
use futures_util::FutureExt as _;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use stonechat_directory::note::KeyKind;
use stonechat_directory::{SignedNote, VerifierKey};
use stonechat_server::directory::{DirectoryKeys, DirectorySettings};
use stonechat_server::services::{Services, Session, Settings, TokenKey};
use stonechat_server::store::MemoryLog;
use stonechat_wire::{
    AccountId, AccountLog, Bytes, Failure, List, ProvenAccount, Reply, Request, ServerFrame, SignedHead, Timestamp,
};

use crate::craft::SignUps;

/// The witnesses of the world: two, and both must have cosigned.
pub struct Witnesses {
    keys: [(String, SigningKey); 2],
    /// They sign with other keys than those that clients pinned.
    pub forged: bool,
}

impl Witnesses {
    /// Two witnesses.
    pub fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut key = |name: &str| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            (name.to_owned(), SigningKey::from_bytes(&seed))
        };
        Self { keys: [key("witness.one"), key("witness.two")], forged: false }
    }

    /// What the directory's policy says of them.
    ///
    /// # Panics
    /// When their names are not valid, which is a bug.
    pub fn settings(&self) -> DirectorySettings {
        let witnesses = self.keys.iter().map(|(name, key)| {
            VerifierKey::new(name, KeyKind::Witness, key.verifying_key().to_bytes()).expect("a valid name")
        });
        DirectorySettings { witnesses: witnesses.collect(), threshold: 2, ..DirectorySettings::default() }
    }

    /// Adds their cosignatures to whatever head is in a frame. They cosign what they are shown: they collude.
    pub fn cosign(&self, mut frame: ServerFrame, now: Timestamp) -> ServerFrame {
        if let Some(head) = head_in(&mut frame) {
            self.add(head, now);
        }
        frame
    }

    fn add(&self, head: &mut SignedHead, now: Timestamp) {
        let Ok(mut note) = SignedNote::parse(&head.checkpoint) else { return };
        for (name, right) in &self.keys {
            let key = if self.forged { &SigningKey::from_bytes(&[1; 32]) } else { right };
            let mut line = note.cosign(name, key, now.0 / 1_000);
            if self.forged {
                // Under the right key's id, so that only the signature gives it away.
                line.id = VerifierKey::new(name, KeyKind::Witness, right.verifying_key().to_bytes())
                    .map_or(line.id, |k| k.id());
            }
            note.add(line);
        }
        if let Ok(bytes) = Bytes::new(note.to_string().into_bytes()) {
            head.checkpoint = bytes;
        }
    }
}

/// The head that a frame shows, if it shows one.
pub fn head_in(frame: &mut ServerFrame) -> Option<&mut SignedHead> {
    match frame {
        ServerFrame::Reply(_, Reply::Account(found)) => Some(&mut found.proof.head),
        ServerFrame::Reply(_, Reply::History(history)) => Some(&mut history.head),
        ServerFrame::Reply(_, Reply::Head(head)) => Some(head),
        _ => None,
    }
}

/// The honest directory, for somebody who signs up at once.
pub struct Publisher<'a> {
    /// Its services.
    pub services: &'a Services<MemoryLog>,
    /// Who confirms what it publishes.
    pub witnesses: &'a Witnesses,
    /// The simulated time.
    pub now: Timestamp,
    /// For the connection.
    pub rng: ChaCha20Rng,
}

impl Publisher<'_> {
    fn ask(&mut self, session: &mut Session, request: Request) -> Option<Reply> {
        let answer = self.services.handle(session, self.now, &mut self.rng, request).now_or_never();
        answer.expect("the memory log completes at once").ok()
    }
}

impl SignUps for Publisher<'_> {
    fn sign_up(&mut self, log: &AccountLog) -> Option<ProvenAccount> {
        let (genesis, more) = log.0.split_first()?;
        let account = AccountId(genesis.hash());
        let mut session = Session::new("sim".into(), &mut self.rng);
        self.ask(&mut session, Request::CreateAccount { genesis: genesis.clone(), invite: None })?;
        for entry in more {
            self.ask(&mut session, Request::ExtendAccount { account, entry: entry.clone() })?;
        }
        let published = self.services.publish(self.now).now_or_never();
        published.expect("the memory log completes at once").ok()?;
        let mut anonymous = Session::new("sim".into(), &mut self.rng);
        let found = self.ask(&mut anonymous, Request::GetAccount { account })?;
        match self.witnesses.cosign(ServerFrame::Reply(0, found), self.now) {
            ServerFrame::Reply(_, Reply::Account(found)) => Some(found),
            _ => None,
        }
    }
}

/// A second directory with the keys of the first.
pub struct Shadow {
    /// Its services.
    pub services: Services<MemoryLog>,
    /// It takes every change that the first one takes.
    pub mirrored: bool,
    /// Whose questions to the directory it answers.
    pub victim: Option<usize>,
}

impl Shadow {
    /// Whether a request of a client is answered here.
    pub fn answers(&self, client: usize, request: &Request) -> bool {
        self.victim == Some(client) && is_question(request)
    }

    /// Makes an account here, as nobody but the operator can.
    ///
    /// # Errors
    /// As the services say.
    ///
    /// # Panics
    /// When the memory log waits, which is a bug.
    pub fn plant(
        &self,
        now: Timestamp,
        rng: &mut ChaCha20Rng,
        genesis: stonechat_wire::LogEntry,
    ) -> Result<(), Failure> {
        let mut session = Session::new("sim".into(), rng);
        let request = Request::CreateAccount { genesis, invite: None };
        let done = self.services.handle(&mut session, now, rng, request).now_or_never();
        done.expect("the memory log completes at once").map(drop)
    }
}

/// What a server changes in an answer about an account.
#[derive(Clone, Copy, Debug)]
pub enum Swap {
    /// The key of the first device.
    DeviceKey,
}

impl Swap {
    /// The changed answer.
    pub fn of(self, mut frame: ServerFrame) -> ServerFrame {
        if let (Self::DeviceKey, ServerFrame::Reply(_, Reply::Account(found))) = (self, &mut frame) {
            let mut entries = std::mem::take(&mut found.log.0).into_vec();
            if let Some(first) = entries.first_mut() {
                let mut body = first.body.to_vec();
                // In the middle of the longest field of a genesis: its device's keys.
                let at = body.len() / 2;
                body[at] ^= 1;
                first.body = Bytes::new(body).unwrap_or_default();
            }
            found.log.0 = List::new(entries).unwrap_or_default();
        }
        frame
    }
}

/// Whether a request is one to the directory.
pub fn is_question(request: &Request) -> bool {
    matches!(
        request,
        Request::LookUpHandle { .. }
            | Request::GetAccount { .. }
            | Request::GetHead
            | Request::GetConsistency { .. }
            | Request::GetDirectoryPolicy
            | Request::GetOwnHistory { .. }
    )
}

/// Services with a directory of these keys.
///
/// # Panics
/// When the directory's settings are not valid, which is a bug.
pub fn services(token_seed: &[u8; 32], directory_seed: &[u8; 32], witnesses: &Witnesses) -> Services<MemoryLog> {
    let settings = Settings { directory: witnesses.settings(), ..Settings::default() };
    let keys = DirectoryKeys::from_seed(directory_seed);
    Services::new(MemoryLog::new(), TokenKey::from_seed(token_seed), keys, settings).expect("valid settings")
}
