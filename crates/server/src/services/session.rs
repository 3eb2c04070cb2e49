//! What the server knows about one connection: which of the two kinds it is, what it follows, how far it has been sent.

use std::collections::BTreeSet;
use std::fmt;

use rand_core::{CryptoRng, RngCore};
use stonechat_wire::{AccountId, DeviceId, ErrorCode, Failure, Lane, Request};

use super::follow::Follows;
use super::inbox::InboxCursor;
use super::{keys, refuse};
use crate::store::{Key, KeyedLog, Watcher};

/// The device that a connection logged in as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
}

/// Which of the two kinds a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It has not asked anything that says.
    Open,
    /// It will log in.
    Newcomer,
    /// It logged in.
    Device(Principal),
    /// It presents capabilities and tokens.
    Anonymous,
}

/// The kind of a connection, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// It has not asked anything that says.
    Open,
    /// Logged in, or about to.
    Device,
    /// Presents capabilities and tokens.
    Anonymous,
}

/// What the server knows about one connection.
pub struct Session {
    host: String,
    nonce: [u8; 32],
    kind: Kind,
    pub(super) follows: Follows,
    pub(super) inbox: Option<InboxCursor>,
    /// The account's log, or its suspension, has changed since this device was last found to be welcome.
    account_changed: bool,
    watcher: Option<Watcher>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.kind())
    }
}

impl Session {
    /// A new connection. `host` is the name that the client dialled, which it signs when it logs in.
    pub fn new<R: RngCore + CryptoRng>(host: String, rng: &mut R) -> Self {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        Self {
            host,
            nonce,
            kind: Kind::Open,
            follows: Follows::default(),
            inbox: None,
            account_changed: false,
            watcher: None,
        }
    }

    /// The name that the client dialled.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// What a log-in must sign.
    pub(super) fn nonce(&self) -> [u8; 32] {
        self.nonce
    }

    /// Which kind of connection it has become.
    pub fn kind(&self) -> ConnectionKind {
        match self.kind {
            Kind::Open => ConnectionKind::Open,
            Kind::Newcomer | Kind::Device(_) => ConnectionKind::Device,
            Kind::Anonymous => ConnectionKind::Anonymous,
        }
    }

    pub(super) fn become_device<S: KeyedLog>(&mut self, who: Principal, store: &S) {
        self.kind = Kind::Device(who);
        for lane in [Lane::Contacts, Lane::Strangers] {
            self.watch(store, keys::inbox(&who.account, &who.device, lane));
        }
        self.watch(store, keys::account(&who.account));
        self.watch(store, keys::suspension(&who.account));
        self.inbox = Some(InboxCursor::new(who));
    }

    /// Whether [`super::Services::next_push`] may have something to send.
    pub fn has_work(&self) -> bool {
        self.account_changed || self.follows.has_work() || self.inbox.as_ref().is_some_and(InboxCursor::has_work)
    }

    /// The device to look for in its account's log, if that has grown since the last call.
    pub(super) fn take_account_change(&mut self) -> Option<Principal> {
        std::mem::take(&mut self.account_changed).then(|| self.principal().ok()).flatten()
    }

    /// Waits until [`Session::has_work`].
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn woken(&mut self) {
        while !self.has_work() {
            match &mut self.watcher {
                Some(watcher) => {
                    let changed = watcher.changed().await;
                    self.mark(&changed);
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Takes the wake-ups that have arrived, without waiting.
    pub fn collect_wakes(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            let changed = watcher.take();
            self.mark(&changed);
        }
    }

    fn mark(&mut self, changed: &BTreeSet<Key>) {
        for key in changed {
            match (keys::conversation_of(key), &mut self.inbox) {
                (Some(conversation), _) => self.follows.wake(&conversation),
                (None, Some(_)) if keys::is_account(key) || keys::is_suspension(key) => self.account_changed = true,
                (None, Some(inbox)) => inbox.wake(),
                (None, None) => {}
            }
        }
    }

    pub(super) fn watch<S: KeyedLog>(&mut self, store: &S, key: Key) {
        self.watcher.get_or_insert_with(|| store.watch([])).add(key);
    }

    pub(super) fn unwatch(&mut self, key: &Key) {
        if let Some(watcher) = &mut self.watcher {
            watcher.remove(key);
        }
    }

    /// Decides which kind of connection this is by what it asks, and refuses what belongs on the other.
    pub(super) fn admit(&mut self, request: &Request) -> Result<(), Failure> {
        use Request as R;
        let wrong = Err(refuse(ErrorCode::WrongConnection));
        match request {
            // A device looks its own handle up where it is known, so that the anonymous connection is not linked to it.
            R::Ping | R::GetHead | R::GetConsistency { .. } | R::GetDirectoryPolicy | R::LookUpHandle { .. } => Ok(()),
            R::ExtendAccount { .. } => match self.kind {
                Kind::Open => {
                    self.kind = Kind::Newcomer;
                    Ok(())
                }
                Kind::Newcomer | Kind::Device(_) => Ok(()),
                Kind::Anonymous => wrong,
            },
            R::CreateAccount { .. } | R::Authenticate { .. } => match self.kind {
                Kind::Open | Kind::Newcomer => {
                    self.kind = Kind::Newcomer;
                    Ok(())
                }
                Kind::Device(_) | Kind::Anonymous => wrong,
            },
            R::PublishKeyPackages { .. }
            | R::ConfigureInbox { .. }
            | R::AckInbox { .. }
            | R::IssueTokens { .. }
            | R::GetOwnHistory { .. } => match self.kind {
                Kind::Device(_) => Ok(()),
                Kind::Open | Kind::Newcomer | Kind::Anonymous => wrong,
            },
            R::GetAccount { .. }
            | R::TakeKeyPackages { .. }
            | R::CreateConversation { .. }
            | R::Append { .. }
            | R::Follow { .. }
            | R::Unfollow { .. }
            | R::PostEnvelope { .. }
            | R::AppendBlob { .. }
            | R::ReadBlob { .. } => match self.kind {
                Kind::Open | Kind::Anonymous => {
                    self.kind = Kind::Anonymous;
                    Ok(())
                }
                Kind::Newcomer | Kind::Device(_) => wrong,
            },
        }
    }

    pub(super) fn principal(&self) -> Result<Principal, Failure> {
        match self.kind {
            Kind::Device(who) => Ok(who),
            Kind::Open | Kind::Newcomer | Kind::Anonymous => Err(refuse(ErrorCode::WrongConnection)),
        }
    }
}
