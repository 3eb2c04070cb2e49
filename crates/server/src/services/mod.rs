//! What the server does, without sockets or a clock: requests, time and randomness come in, replies and pushes come out.
//!
//! One file is one group of requests with their rules. [`Services::handle`] answers one request of a [`Session`];
//! [`Services::next_push`] says what the session has to be sent. The WebSocket task and the simulator both drive these
//! two, so what the simulator finds is found in the server that runs.
//!
//! Never here: who talks to whom. A session is a device's or anonymous and can never become the other.

// Time, randomness and the machine come in as arguments: clippy.toml says what that excludes.
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod accounts;
mod blobs;
mod conversations;
mod directory;
mod follow;
mod inbox;
mod invites;
mod key_packages;
pub(crate) mod keys;
mod operator;
mod session;
#[cfg(test)]
mod several;
mod sign_in;
mod tokens;

#[cfg(test)]
mod testing;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lru::LruCache;
use rand_core::{CryptoRng, RngCore};
use sha2::{Digest as _, Sha256};
use stonechat_directory::PolicyError;
use stonechat_wire::{
    AccountId, ErrorCode, Failure, Hello, HelloReply, PROTOCOL_VERSION, Push, Reply, Request, Seq, Timestamp, limits,
};

pub use invites::{InviteCard, NewInvite, SignUp};
pub use operator::{ACCOUNTS_PER_PAGE_MAX, AccountCard, AccountPage, SuspensionCard};
pub(crate) use session::Principal;
pub use session::{ConnectionKind, Session};
pub use tokens::TokenKey;
pub(crate) use {inbox::InboxConfig, tokens::QUOTA_TTL_SECS, tokens::drawn};

use crate::directory::{Directory, DirectoryKeys, DirectorySettings};
use crate::store::{Append, Entry, Expect, Key, KeyedLog, StoreError};
use accounts::KnownAccount;
use conversations::{AppendRequest, Tails};

/// What the operator may change about the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long an application entry stays, at most.
    pub retention_secs: u64,
    /// Tokens that an account may draw in a day.
    pub tokens_per_day: u32,
    /// Who may sign up.
    pub signup: SignUp,
    /// The directory.
    pub directory: DirectorySettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention_secs: limits::ENTRY_TTL_SECS,
            tokens_per_day: limits::TOKENS_PER_DAY,
            signup: SignUp::Open,
            directory: DirectorySettings::default(),
        }
    }
}

/// Every service over one store.
pub struct Services<S: KeyedLog> {
    store: S,
    tokens: TokenKey,
    settings: Settings,
    directory: Directory<S>,
    tails: Tails,
    accounts: Mutex<LruCache<AccountId, Arc<KnownAccount>>>,
}

/// How a request of a session may be answered.
#[derive(Debug)]
pub enum Admitted {
    /// By [`Services::handle`], one at a time: it changes the session, or its order among its kind matters.
    InOrder(Request),
    /// By [`Services::answer`], beside others. Appends to one conversation keep the order in which their futures are
    /// first polled.
    Beside(Request),
}

impl<S: KeyedLog> Services<S> {
    /// The services over a store.
    ///
    /// # Errors
    /// [`PolicyError`] when the directory's settings do not make a policy.
    pub fn new(store: S, tokens: TokenKey, directory: DirectoryKeys, settings: Settings) -> Result<Self, PolicyError> {
        let accounts = LruCache::new(NonZeroUsize::new(ACCOUNTS_CACHED_MAX).expect("not zero"));
        let directory = Directory::new(store.clone(), directory, settings.directory.clone())?;
        Ok(Self { store, tokens, settings, directory, tails: Tails::new(), accounts: Mutex::new(accounts) })
    }

    /// The store under the services.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Who may sign up.
    pub fn sign_up(&self) -> SignUp {
        self.settings.signup
    }

    /// Answers a connection's first frame.
    ///
    /// # Errors
    /// [`ErrorCode::Version`] when the client speaks another version; `detail` names ours.
    pub fn greet(&self, session: &Session, now: Timestamp, hello: &Hello) -> Result<HelloReply, Failure> {
        if hello.version != PROTOCOL_VERSION {
            let detail = Some(format!("the server speaks version {PROTOCOL_VERSION}"));
            return Err(Failure { detail, ..refuse(ErrorCode::Version) });
        }
        Ok(HelloReply { nonce: session.nonce(), now, token_key: self.tokens.public() })
    }

    /// Decides whether a request may be made on this connection, and how it may be answered.
    ///
    /// # Errors
    /// [`ErrorCode::WrongConnection`].
    pub fn admit(&self, session: &mut Session, request: Request) -> Result<Admitted, Failure> {
        use Request as R;
        session.admit(&request)?;
        Ok(match request {
            R::Ping
            | R::GetHead
            | R::GetConsistency { .. }
            | R::GetDirectoryPolicy
            | R::LookUpHandle { .. }
            | R::GetAccount { .. }
            | R::TakeKeyPackages { .. }
            | R::CreateConversation { .. }
            | R::Append { .. }
            | R::PostEnvelope { .. }
            | R::ReadBlob { .. } => Admitted::Beside(request),
            R::CreateAccount { .. }
            | R::Authenticate { .. }
            | R::PublishKeyPackages { .. }
            | R::ConfigureInbox { .. }
            | R::AckInbox { .. }
            | R::IssueTokens { .. }
            | R::ExtendAccount { .. }
            | R::GetOwnHistory { .. }
            | R::Follow { .. }
            | R::Unfollow { .. }
            | R::AppendBlob { .. } => Admitted::InOrder(request),
        })
    }

    /// Answers one request of a session.
    ///
    /// # Errors
    /// The [`Failure`] that goes to the client.
    ///
    /// # Cancel safety
    /// A request that was dropped may have taken effect or not; each may be repeated.
    pub async fn handle<R: RngCore + CryptoRng>(
        &self,
        session: &mut Session,
        now: Timestamp,
        rng: &mut R,
        request: Request,
    ) -> Result<Reply, Failure> {
        match self.admit(session, request)? {
            Admitted::Beside(request) => self.answer(now, request).await,
            Admitted::InOrder(request) => self.answer_in_order(session, now, rng, request).await,
        }
    }

    /// Answers a request that was [`Admitted::Beside`] others.
    ///
    /// # Errors
    /// The [`Failure`] that goes to the client.
    pub async fn answer(&self, now: Timestamp, request: Request) -> Result<Reply, Failure> {
        use Request as R;
        match request {
            R::Ping => Ok(Reply::Done),
            R::GetHead => self.get_head(),
            R::GetConsistency { from, to } => self.get_consistency(from, to).await,
            R::GetDirectoryPolicy => self.get_directory_policy(),
            R::LookUpHandle { handle } => self.look_up_handle(now, &handle).await,
            R::GetAccount { account } => self.get_account(now, &account).await,
            R::TakeKeyPackages { account, token } => self.take_key_packages(now, &account, &token).await,
            R::CreateConversation { conversation, first, token } => {
                self.create_conversation(now, &conversation, first, &token).await
            }
            R::Append { conversation, epoch, epoch_id, write, kind, skip, ttl_secs, blob } => {
                let request = AppendRequest { conversation, epoch, epoch_id, write, kind, skip, ttl_secs, blob };
                self.append(now, &request).await
            }
            R::PostEnvelope { account, device, admission, sealed } => {
                self.post_envelope(now, account, device, &admission, sealed).await
            }
            R::ReadBlob { blob, chunk } => self.read_blob(now, &blob, chunk).await,
            _ => Err(refuse(ErrorCode::WrongConnection)),
        }
    }

    /// Answers a request that was [`Admitted::InOrder`].
    ///
    /// # Errors
    /// The [`Failure`] that goes to the client.
    pub async fn answer_in_order<R: RngCore + CryptoRng>(
        &self,
        session: &mut Session,
        now: Timestamp,
        rng: &mut R,
        request: Request,
    ) -> Result<Reply, Failure> {
        use Request as R;
        match request {
            R::CreateAccount { genesis, invite } => self.create_account(now, genesis, invite.as_ref()).await,
            R::Authenticate { account, device, signature } => {
                self.authenticate(session, now, account, device, &signature).await
            }
            R::PublishKeyPackages { packages, last_resort } => {
                self.publish_key_packages(session.principal()?, now, packages, last_resort).await
            }
            R::ConfigureInbox { contacts, strangers } => {
                self.configure_inbox(session.principal()?, now, &InboxConfig { contacts, strangers }).await
            }
            R::AckInbox { lane, upto } => self.ack_inbox(session.principal()?, lane, upto).await,
            R::IssueTokens { blinded } => self.issue_tokens(&session.principal()?.account, now, rng, &blinded).await,
            R::ExtendAccount { account, entry } => self.extend_account(session, now, account, entry).await,
            R::GetOwnHistory { versions } => self.get_own_history(session.principal()?, now, versions).await,
            R::Follow { conversation, epoch, read, after } => {
                self.follow(session, now, conversation, epoch, &read, after).await
            }
            R::Unfollow { conversation } => Ok(self.unfollow(session, &conversation)),
            R::AppendBlob { write, token, chunk, bytes } => {
                self.append_blob(now, &write, token.as_ref(), chunk, bytes).await
            }
            other => self.answer(now, other).await,
        }
    }

    /// One more thing that the session has to be sent, when there is one. Call it until [`Session::has_work`] is false;
    /// each call reads a bounded amount.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] when the store cannot be read, [`ErrorCode::NotAuthenticated`] when the device was
    /// revoked, and [`ErrorCode::Suspended`]: the connection ends. After the first, its client reads again from where it was.
    pub async fn next_push(&self, session: &mut Session, now: Timestamp) -> Result<Option<Push>, Failure> {
        if let Some(Principal { account, device }) = session.take_account_change() {
            let known = self.account(&account, now).await?;
            if known.is_none_or(|known| known.state.device(&device).is_none()) {
                return Err(refuse(ErrorCode::NotAuthenticated));
            }
            self.not_suspended(&account, now).await?;
        }
        match self.next_envelopes(session, now).await? {
            Some(push) => Ok(Some(push)),
            None => self.next_entries(session, now).await,
        }
    }

    /// What the session has to be sent now, at most [`PUSHES_MAX`] at once: [`Session::has_work`] says whether more waits.
    ///
    /// # Errors
    /// As [`Services::next_push`].
    pub async fn pushes(&self, session: &mut Session, now: Timestamp) -> Result<Vec<Push>, Failure> {
        session.collect_wakes();
        let mut pushes = Vec::new();
        while session.has_work() && pushes.len() < PUSHES_MAX {
            pushes.extend(self.next_push(session, now).await?);
        }
        Ok(pushes)
    }
}

/// The store, with its failures as the client hears them.
impl<S: KeyedLog> Services<S> {
    /// Whether the store can append.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn check(&self, now: Timestamp) -> Result<(), Failure> {
        let key = keys::health();
        let _written = self.append_bytes(&key, Expect::Any, Vec::new(), Some(HEALTH_TTL_SECS), now).await?;
        Ok(())
    }

    /// Whether this server has the keys that the first server over this store had. With others, its tokens and the
    /// directory's heads would be worth nothing at the others.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`].
    pub async fn shares_keys(&self, now: Timestamp) -> Result<bool, Failure> {
        let policy = self.directory.policy();
        let directory = Sha256::new_with_prefix(policy.log().to_string()).chain_update(policy.vrf()).finalize();
        let ours = [&self.tokens.public()[..], &directory].concat();
        let key = keys::identity();
        Ok(match self.append_bytes(&key, Expect::Empty, ours.clone(), None, now).await? {
            Append::Appended(_) => true,
            Append::Conflict { .. } => self.last(&key, now).await?.is_some_and(|entry| entry.bytes == ours),
        })
    }

    async fn append_bytes(
        &self,
        key: &Key,
        expect: Expect,
        bytes: Vec<u8>,
        ttl_secs: Option<u64>,
        now: Timestamp,
    ) -> Result<Append, Failure> {
        let expires_at = ttl_secs.map(|secs| now.plus_secs(secs));
        self.store.append(key, expect, bytes, expires_at, now).await.map_err(append_failed)
    }

    async fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, Failure> {
        self.store.read(key, after, entries_max, bytes_max, now).await.map_err(store_failed)
    }

    async fn last(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, Failure> {
        self.store.last(key, now).await.map_err(store_failed)
    }

    async fn count(&self, key: &Key, now: Timestamp) -> Result<usize, Failure> {
        let size = self.store.count(key, now).await.map_err(store_failed)?;
        Ok(usize::try_from(size.entries).unwrap_or(usize::MAX))
    }

    /// The entry with this very number.
    async fn entry_at(&self, key: &Key, seq: Seq, now: Timestamp) -> Result<Option<Entry>, Failure> {
        let Some(before) = seq.0.checked_sub(1) else { return Ok(None) };
        let found = self.read(key, Seq(before), 1, usize::MAX, now).await?.pop();
        Ok(found.filter(|entry| entry.seq == seq))
    }
}

/// A refusal that its code says everything about.
const fn refuse(code: ErrorCode) -> Failure {
    Failure::new(code)
}

/// A refusal that time helps against.
const fn retry_later(code: ErrorCode, secs: u32) -> Failure {
    Failure { code, retry_after_secs: Some(secs), detail: None }
}

/// The store failed, or holds what it should not: the client hears that nothing was acknowledged, the operator why.
fn store_failed(cause: impl fmt::Display) -> Failure {
    tracing::error!(%cause, "the store failed");
    retry_later(ErrorCode::Unavailable, 5)
}

/// [`store_failed`], and for lack of room its reason: that is the operator's to mend, and whoever waits may know.
fn append_failed(error: StoreError) -> Failure {
    let full = matches!(error, StoreError::DiskFull { .. });
    Failure { detail: full.then(|| "its disk is full".to_owned()), ..store_failed(error) }
}

/// What [`Services::pushes`] returns at most.
pub const PUSHES_MAX: usize = 256;
/// How often a decision is made again when the log moved under it.
const CONFLICTS_MAX: usize = 16;
const HEALTH_TTL_SECS: u64 = 60;
/// Verified account logs in memory, some 3 KB each.
const ACCOUNTS_CACHED_MAX: usize = 4_096;
