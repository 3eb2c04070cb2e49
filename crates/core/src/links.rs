//! The two connections: what was asked on them, logging in, and the supplies that a device keeps on the server (key packages)
//! and draws from it (tokens).
//!
//! Nothing here survives a process: what matters is in the vault, and what was asked on a connection that is gone is asked
//! again by whoever still needs it.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::Signer as _;
use stonechat_directory::head::SeenHead;
use stonechat_wire::limits::{KEY_PACKAGES_MAX, TOKENS_PER_REQUEST_MAX};
use stonechat_wire::{
    AccountId, AuthChallenge, BlobId, Bytes, ClientFrame, ConversationId, ErrorCode, Failure, Handle, HelloReply, Lane,
    List, LogEntry, Push, Reply, Request, Seq, ServerFrame, Timestamp, Token,
};

use crate::api::{Command, CommandError, CommandId, Effect, Event, Link, Outcome};
use crate::crypto::tokens;
use crate::limits::{KEY_PACKAGE_POOL, REPLY_TIMEOUT_MS, TOKEN_POOL};
use crate::mls::{self, Mls};
use crate::step::Ctx;
use crate::store::records::{ME, Read, Write};
use crate::store::vault::{Table, VaultError};
use crate::{Core, CoreError};

/// How long key packages are valid, in seconds: as long as a conversation that nobody touches. A device that is away for
/// less can be added to conversations all the time.
const KEY_PACKAGE_LIFETIME_SECS: u64 = stonechat_wire::limits::CONVERSATION_TTL_SECS;

/// What the core waits for an answer to.
pub(crate) enum Pending {
    CreateAccount,
    Authenticate,
    Publish { last_resort: bool },
    ConfigureInbox,
    AckInbox,
    Tokens(tokens::Blinding),
    LookUp { handle: Handle },
    GetAccount { account: AccountId },
    Consistency { newest: SeenHead, head: SeenHead },
    Head,
    Policy,
    OwnLookUp,
    OwnHistory,
    ExtendAccount { command: CommandId, entry: LogEntry },
    TakeKeyPackages { conversation: ConversationId, account: AccountId },
    CreateConversation(ConversationId),
    AppendCommit(ConversationId),
    AppendMessage { conversation: ConversationId, number: u64, epoch: Seq },
    Follow { conversation: ConversationId, epoch: Seq },
    Unfollow,
    PostEnvelope([u8; 16]),
    AppendBlob(BlobId),
    ReadBlob { conversation: ConversationId, chunk: u32 },
}

/// A command that waits for handles to be looked up. It is in memory only: nothing happened yet.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub id: CommandId,
    pub command: Command,
}

/// One connection.
#[derive(Default)]
pub(crate) struct LinkState {
    /// Answered `Hello`.
    connected: bool,
    host: String,
    nonce: [u8; 32],
    token_key: Option<[u8; 32]>,
    /// Usable: logged in, where that applies.
    pub ready: bool,
    next_id: u32,
    pending: BTreeMap<u32, (Timestamp, Pending)>,
}

/// Both connections.
#[derive(Default)]
pub(crate) struct Session {
    device: LinkState,
    pub anonymous: LinkState,
    /// Key packages in the pool on the server, once it said so.
    pool: u32,
    last_resort: bool,
    /// The server has this account's inbox settings, as far as this connection knows.
    inbox_configured: bool,
    /// No tokens before this moment: the allowance is used up.
    no_tokens_before: Timestamp,
    /// Envelopes that the server announced at log-in and has not pushed.
    pub envelopes_expected: u32,
    /// Handles that are being looked up, and for which commands.
    pub look_ups: Vec<(Handle, Waiting)>,
    /// Handles whose look-up is repeated: when, and how often it was.
    pub look_up_again: BTreeMap<Handle, (Timestamp, u32)>,
    /// Accounts whose log is longer by their own word, how often each was asked for, and when again.
    pub asked_after: BTreeSet<AccountId>,
    pub tries: BTreeMap<AccountId, u32>,
    pub not_before: BTreeMap<AccountId, Timestamp>,
    /// The own account was looked at on this connection.
    pub watched: bool,
    /// Not before this moment: the next look, while the last one was not good.
    pub watch_again: Timestamp,
    /// Letters came before the policy that they are judged by.
    pub letters_wait: bool,
    /// Registration that a person waits for.
    registering: Option<CommandId>,
}

impl Session {
    pub(crate) fn link(&mut self, link: Link) -> &mut LinkState {
        match link {
            Link::Device => &mut self.device,
            Link::Anonymous => &mut self.anonymous,
        }
    }

    /// Somebody used a key package of this device.
    pub(crate) fn key_package_used(&mut self, last_resort: bool) {
        self.pool = self.pool.saturating_sub(u32::from(!last_resort));
        if last_resort {
            // Whoever comes next gets a fresh one; the old one still opens what is on its way.
            self.last_resort = false;
        }
    }

    pub(crate) fn device_ready(&self) -> bool {
        self.device.ready
    }

    pub(crate) fn both_ready(&self) -> bool {
        self.device.ready && self.anonymous.ready
    }

    /// Whether the server has what others need to reach this device: somebody who signs up and goes offline can be written to.
    pub(crate) fn supplied(&self) -> bool {
        self.inbox_configured && self.last_resort && self.pool >= KEY_PACKAGE_POOL / 2
    }

    /// Whether something like this is already asked.
    pub(crate) fn waits(&self, link: Link, matches: impl Fn(&Pending) -> bool) -> bool {
        let state = match link {
            Link::Device => &self.device,
            Link::Anonymous => &self.anonymous,
        };
        state.pending.values().any(|(_, pending)| matches(pending))
    }
}

impl Core {
    /// Asks the server something. Without a connection nothing happens: whoever needs it asks again once there is one.
    pub(crate) fn ask(&mut self, ctx: &mut Ctx<'_>, link: Link, request: Request, pending: Pending) {
        let state = self.session.link(link);
        if !state.connected {
            return;
        }
        state.next_id = state.next_id.wrapping_add(1);
        state.pending.insert(state.next_id, (ctx.now.plus_millis(REPLY_TIMEOUT_MS), pending));
        ctx.effect(Effect::Send { link, frame: ClientFrame { id: state.next_id, request } });
    }

    pub(crate) fn connected(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: Link,
        host: String,
        hello: &HelloReply,
    ) -> Result<(), CoreError> {
        *self.session.link(link) = LinkState {
            connected: true,
            host,
            nonce: hello.nonce,
            token_key: Some(hello.token_key),
            ready: link == Link::Anonymous,
            ..LinkState::default()
        };
        let keys = (self.session.device.token_key, self.session.anonymous.token_key);
        if let (Some(a), Some(b)) = keys
            && a != b
        {
            ctx.refused(None, "the server shows different token keys on two connections, which would let it link them; one was closed");
            self.session.link(link).connected = false;
            self.session.link(link).token_key = None;
            ctx.disconnect(link);
            return Ok(());
        }
        match link {
            Link::Anonymous => {
                self.follow_everything_again(ctx)?;
                self.ask(ctx, link, Request::GetDirectoryPolicy, Pending::Policy);
                self.check_old_contacts(ctx)?;
                ctx.event(Event::Link { link, ready: true });
            }
            Link::Device => {
                self.session.inbox_configured = false;
                self.session.envelopes_expected = 0;
                self.session.watched = false;
                self.session.watch_again = ctx.now;
                self.log_in(ctx);
            }
        }
        Ok(())
    }

    pub(crate) fn disconnected(&mut self, ctx: &mut Ctx<'_>, link: Link) {
        let was_ready = self.session.link(link).ready;
        let lost = std::mem::take(self.session.link(link));
        if link == Link::Anonymous {
            for live in self.live.values_mut() {
                live.connection_lost();
            }
            for (_, waiting) in std::mem::take(&mut self.session.look_ups) {
                ctx.finish(waiting.id, Err(CommandError::Offline));
            }
        } else if let Some(command) = self.session.registering.take() {
            ctx.finish(command, Err(CommandError::Offline));
        }
        let extending = lost.pending.into_values().filter_map(|(_, pending)| match pending {
            Pending::ExtendAccount { command, .. } => Some(command),
            _ => None,
        });
        for command in extending {
            ctx.finish(command, Err(CommandError::Offline));
        }
        for command in std::mem::take(&mut self.syncing).into_iter().chain(std::mem::take(&mut self.posting)) {
            ctx.finish(command, Err(CommandError::Offline));
        }
        if was_ready {
            ctx.event(Event::Link { link, ready: false });
        }
    }

    /// Sends the account if the server may not have it, then logs in.
    fn log_in(&mut self, ctx: &mut Ctx<'_>) {
        let Some(me) = &self.identity else { return };
        if !self.session.device.connected {
            return;
        }
        let request = if me.record.registered {
            let challenge = AuthChallenge {
                host: &self.session.device.host,
                nonce: self.session.device.nonce,
                account: me.account(),
                device: me.record.device,
            };
            let signature = me.signing.sign(&challenge.signed_bytes()).to_bytes();
            (
                Request::Authenticate { account: me.account(), device: me.record.device, signature },
                Pending::Authenticate,
            )
        } else {
            (Request::CreateAccount { genesis: me.record.genesis.clone() }, Pending::CreateAccount)
        };
        self.ask(ctx, Link::Device, request.0, request.1);
    }

    pub(crate) fn register(&mut self, ctx: &mut Ctx<'_>, command: CommandId) {
        match &self.identity {
            None => ctx.finish(command, Err(CommandError::NoAccount)),
            Some(me) if me.record.registered => ctx.finish(command, Ok(Outcome::Done)),
            Some(_) => {
                self.session.registering = Some(command);
                let asked = self.session.waits(Link::Device, |p| matches!(p, Pending::CreateAccount));
                if !asked {
                    self.log_in(ctx);
                }
            }
        }
    }

    pub(crate) fn frame(&mut self, ctx: &mut Ctx<'_>, link: Link, frame: ServerFrame) -> Result<(), CoreError> {
        match frame {
            ServerFrame::Push(Push::Entries { conversation, epoch, page }) if link == Link::Anonymous => {
                self.page(ctx, conversation, epoch, &page)
            }
            ServerFrame::Push(Push::Envelopes(envelopes)) if link == Link::Device => self.envelopes(ctx, &envelopes),
            ServerFrame::Reply(id, reply) => match self.session.link(link).pending.remove(&id) {
                Some((_, pending)) => self.reply(ctx, pending, reply),
                None => self.misbehaved(ctx, link),
            },
            ServerFrame::Refused(id, failure) => match self.session.link(link).pending.remove(&id) {
                Some((_, pending)) => self.refusal(ctx, pending, &failure),
                None => self.misbehaved(ctx, link),
            },
            ServerFrame::Closing(_) => {
                ctx.disconnect(link);
                Ok(())
            }
            ServerFrame::Hello(_) | ServerFrame::Push(_) => self.misbehaved(ctx, link),
        }
    }

    /// The server said something that makes no sense here. Its connection is closed and opened anew.
    pub(crate) fn misbehaved(&mut self, ctx: &mut Ctx<'_>, link: Link) -> Result<(), CoreError> {
        ctx.refused(
            None,
            "the server sent something that does not fit; the connection was closed and will be opened anew",
        );
        ctx.disconnect(link);
        Ok(())
    }

    fn reply(&mut self, ctx: &mut Ctx<'_>, pending: Pending, reply: Reply) -> Result<(), CoreError> {
        match (pending, reply) {
            (Pending::CreateAccount, Reply::Done) => {
                let me = self.identity.as_mut().ok_or_else(|| CoreError::Bug("registered nobody".into()))?;
                me.record.registered = true;
                ctx.txn.save(Table::Meta, ME, &me.record);
                if let Some(command) = self.session.registering.take() {
                    ctx.finish(command, Ok(Outcome::Done));
                }
                self.log_in(ctx);
            }
            (Pending::Authenticate, Reply::Authenticated { key_packages, last_resort, tokens: _, envelopes }) => {
                self.session.device.ready = true;
                self.session.pool = key_packages;
                self.session.last_resort = last_resort;
                self.session.envelopes_expected = envelopes;
                ctx.event(Event::Link { link: Link::Device, ready: true });
            }
            (Pending::Publish { last_resort }, Reply::KeyPackageCount(count)) => {
                self.session.pool = count;
                self.session.last_resort |= last_resort;
            }
            (Pending::ConfigureInbox, Reply::Done) => self.session.inbox_configured = true,
            (Pending::AckInbox | Pending::Unfollow, Reply::Done) => {}
            (Pending::Tokens(blinding), Reply::Tokens { evaluated, proof }) => {
                self.tokens_issued(ctx, blinding, &evaluated, &proof)?;
            }
            (Pending::LookUp { handle }, Reply::Account(found)) => self.looked_up(ctx, &handle, &found)?,
            (Pending::GetAccount { account }, Reply::Account(found)) => self.account_answered(ctx, account, &found)?,
            (Pending::Consistency { newest, head }, Reply::Consistency(proof)) => {
                self.consistency_answered(ctx, &newest, &head, &proof)?;
            }
            (Pending::Head, Reply::Head(head)) => self.head_answered(ctx, &head)?,
            (Pending::Policy, Reply::DirectoryPolicy(json)) => self.policy_answered(ctx, &json)?,
            (Pending::OwnLookUp, Reply::Account(found)) => self.own_looked_up(ctx, &found)?,
            (Pending::OwnHistory, Reply::History(history)) => self.own_history(ctx, &history)?,
            (Pending::ExtendAccount { command, entry }, Reply::Done) => self.account_extended(ctx, command, entry)?,
            (Pending::TakeKeyPackages { conversation, account }, Reply::KeyPackages(packages)) => {
                self.key_packages_taken(ctx, conversation, account, &packages)?;
            }
            (Pending::CreateConversation(id), Reply::Done) => self.conversation_created(ctx, id)?,
            (Pending::AppendCommit(id), Reply::Appended { seq, .. }) => self.commit_acknowledged(ctx, id, seq)?,
            (Pending::AppendMessage { conversation, number, epoch }, Reply::Appended { seq, time }) => {
                self.message_acknowledged(ctx, conversation, number, epoch, seq, time)?;
            }
            (Pending::Follow { conversation, epoch }, Reply::Following(page)) => {
                if let Some(live) = self.live.get_mut(&conversation) {
                    live.following = Some(epoch);
                }
                self.page(ctx, conversation, epoch, &page)?;
            }
            (Pending::PostEnvelope(id), Reply::Done) => self.envelope_posted(ctx, id),
            (Pending::AppendBlob(id), Reply::Done) => self.chunk_stored(ctx, id)?,
            (Pending::ReadBlob { conversation, chunk }, Reply::Chunk { bytes }) => {
                self.chunk_read(ctx, conversation, chunk, &bytes)?;
            }
            (pending, _) => {
                let link = pending.link();
                return self.misbehaved(ctx, link);
            }
        }
        Ok(())
    }

    fn refusal(&mut self, ctx: &mut Ctx<'_>, pending: Pending, failure: &Failure) -> Result<(), CoreError> {
        match pending {
            Pending::CreateAccount => {
                let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("registered nobody".into()))?;
                let error = match failure.code {
                    ErrorCode::HandleTaken => CommandError::HandleTaken(me.record.handle.clone()),
                    _ => CommandError::Refused(failure.to_string()),
                };
                if let Some(command) = self.session.registering.take() {
                    ctx.finish(command, Err(error));
                }
            }
            Pending::Authenticate => {
                ctx.refused(None, format!("logging in failed: {failure}"));
                ctx.disconnect(Link::Device);
            }
            Pending::Tokens(_) => {
                let wait = u64::from(failure.retry_after_secs.unwrap_or(60)).min(3_600);
                self.session.no_tokens_before = ctx.now.plus_secs(wait);
                ctx.wake(self.session.no_tokens_before, "tokens can be drawn again");
            }
            Pending::Publish { .. } | Pending::ConfigureInbox | Pending::AckInbox | Pending::Unfollow => {
                // Asked again after the next log-in; a server that keeps refusing keeps nobody from reading.
                ctx.refused(None, format!("the server refused to keep this device's supplies: {failure}"));
                self.session.pool = KEY_PACKAGE_POOL;
                self.session.inbox_configured = true;
                self.session.last_resort = true;
            }
            Pending::LookUp { handle } => self.look_up_failed(ctx, &handle, failure)?,
            Pending::GetAccount { account } => self.account_refused(ctx, account),
            Pending::Consistency { newest, head } => self.consistency_refused(ctx, &newest, &head, failure)?,
            // A server without a directory: nobody new can be checked, and that is said where it matters.
            Pending::Policy | Pending::Head => {}
            Pending::OwnLookUp | Pending::OwnHistory => self.watch_refused(ctx, failure)?,
            Pending::ExtendAccount { command, .. } => {
                ctx.finish(command, Err(CommandError::Refused(failure.to_string())));
            }
            Pending::TakeKeyPackages { conversation, account } => {
                self.key_packages_refused(ctx, conversation, account, failure)?;
            }
            Pending::CreateConversation(id) => self.creation_refused(ctx, id, failure)?,
            Pending::AppendCommit(id) => self.commit_refused(ctx, id, failure)?,
            Pending::AppendMessage { conversation, number, .. } => {
                self.message_refused(ctx, conversation, number, failure);
            }
            Pending::Follow { conversation, epoch } => self.follow_refused(ctx, conversation, epoch, failure)?,
            Pending::PostEnvelope(id) => self.envelope_refused(ctx, id, failure)?,
            Pending::AppendBlob(id) => self.blob_refused(ctx, id, failure)?,
            Pending::ReadBlob { conversation, .. } => self.blob_missing(ctx, conversation, failure)?,
        }
        Ok(())
    }

    /// Keeps the supplies up and watches for answers that never come.
    pub(crate) fn drive_session(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for link in [Link::Device, Link::Anonymous] {
            let deadline = self.session.link(link).pending.values().map(|(deadline, _)| *deadline).min();
            match deadline {
                Some(deadline) if deadline <= ctx.now => {
                    self.session.link(link).pending.clear();
                    ctx.disconnect(link);
                }
                Some(deadline) => ctx.wake(deadline, "a request has no answer yet"),
                None => {}
            }
        }
        self.check_handles(ctx)?;
        self.look_up_again(ctx);
        self.ask_accounts(ctx)?;
        self.connect_heads(ctx)?;
        self.watch(ctx)?;
        if !self.session.device.ready {
            return Ok(());
        }
        if !self.session.inbox_configured && !self.session.waits(Link::Device, |p| matches!(p, Pending::ConfigureInbox))
        {
            let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("logged in as nobody".into()))?;
            let contacts = List::new(vec![me.contact_capability().hash()]).expect("one is within bounds");
            self.ask(ctx, Link::Device, Request::ConfigureInbox { contacts, strangers: true }, Pending::ConfigureInbox);
        }
        let low = self.session.pool < KEY_PACKAGE_POOL / 2 || !self.session.last_resort;
        if low && !self.session.waits(Link::Device, |p| matches!(p, Pending::Publish { .. })) {
            self.publish_key_packages(ctx)?;
        }
        let few = ctx.txn.prefixed(Table::Token, &[], TOKEN_POOL)?.len() < TOKEN_POOL / 2;
        if few
            && ctx.now >= self.session.no_tokens_before
            && !self.session.waits(Link::Device, |p| matches!(p, Pending::Tokens(_)))
        {
            let (blinded, blinding) = tokens::blind(ctx.rng, TOKEN_POOL.min(TOKENS_PER_REQUEST_MAX));
            let blinded = List::new(blinded).expect("within TOKENS_PER_REQUEST_MAX");
            self.ask(ctx, Link::Device, Request::IssueTokens { blinded }, Pending::Tokens(blinding));
        }
        Ok(())
    }

    fn publish_key_packages(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("logged in as nobody".into()))?;
        let missing = (KEY_PACKAGE_POOL.saturating_sub(self.session.pool) as usize).min(KEY_PACKAGES_MAX);
        let want_last_resort = !self.session.last_resort;
        let (leaf, now) = (me.leaf(), ctx.now.0);
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        let make = |last_resort| {
            mls::generate_key_package(&mls, &me.signer, leaf, now, KEY_PACKAGE_LIFETIME_SECS, last_resort)
                .map_err(mls_bug)
                .and_then(|bytes| Bytes::new(bytes).map_err(|_| CoreError::Bug("a key package over its bound".into())))
        };
        let packages = (0..missing).map(|_| make(false)).collect::<Result<Vec<_>, _>>()?;
        let last_resort = if want_last_resort { Some(make(true)?) } else { None };
        let packages = List::new(packages).map_err(|_| CoreError::Bug("too many key packages".into()))?;
        self.ask(
            ctx,
            Link::Device,
            Request::PublishKeyPackages { packages, last_resort },
            Pending::Publish { last_resort: want_last_resort },
        );
        Ok(())
    }

    fn tokens_issued(
        &mut self,
        ctx: &mut Ctx<'_>,
        blinding: tokens::Blinding,
        evaluated: &[stonechat_wire::message::Element],
        proof: &[u8; 64],
    ) -> Result<(), CoreError> {
        let Some(key) = self.session.device.token_key else { return Ok(()) };
        match tokens::finish(blinding, &key, evaluated, proof) {
            Ok(issued) => {
                for token in issued {
                    let nonce = token.nonce;
                    ctx.txn.save(Table::Token, &nonce, &token);
                }
                // Everything that waited for one looks again.
                let ids = ctx.txn.conversation_ids()?;
                self.dirty.extend(ids);
                Ok(())
            }
            Err(error) => {
                ctx.refused(None, format!("the server's tokens do not verify and were thrown away: {error}"));
                self.misbehaved(ctx, Link::Device)
            }
        }
    }

    /// Takes a token out of the vault. It is gone with this step, whatever becomes of the request.
    pub(crate) fn token(&mut self, ctx: &mut Ctx<'_>) -> Result<Option<Token>, CoreError> {
        let Some((key, bytes)) = ctx.txn.prefixed(Table::Token, &[], 1)?.pop() else { return Ok(None) };
        ctx.txn.delete(Table::Token, key);
        Ok(Some(crate::store::records::parse(&bytes)?))
    }

    pub(crate) fn acknowledge_inbox(&mut self, ctx: &mut Ctx<'_>, lane: Lane, upto: Seq) {
        self.ask(ctx, Link::Device, Request::AckInbox { lane, upto }, Pending::AckInbox);
    }
}

impl Pending {
    fn link(&self) -> Link {
        match self {
            Self::CreateAccount
            | Self::Authenticate
            | Self::Publish { .. }
            | Self::ConfigureInbox
            | Self::AckInbox
            | Self::OwnLookUp
            | Self::OwnHistory
            | Self::ExtendAccount { .. }
            | Self::Tokens(_) => Link::Device,
            Self::LookUp { .. }
            | Self::GetAccount { .. }
            | Self::Consistency { .. }
            | Self::Head
            | Self::Policy
            | Self::TakeKeyPackages { .. }
            | Self::CreateConversation(_)
            | Self::AppendCommit(_)
            | Self::AppendMessage { .. }
            | Self::Follow { .. }
            | Self::Unfollow
            | Self::PostEnvelope(_)
            | Self::AppendBlob(_)
            | Self::ReadBlob { .. } => Link::Anonymous,
        }
    }
}

/// What a failure of MLS on our own data means: the vault, or a fault of ours.
pub(crate) fn mls_bug(error: impl Into<MlsFailure>) -> CoreError {
    match error.into() {
        MlsFailure::Vault(error) => CoreError::Vault(error),
        MlsFailure::Bug(why) => CoreError::Bug(format!("MLS: {why}")),
    }
}

/// The two causes that matter to whoever called MLS.
pub(crate) enum MlsFailure {
    Vault(VaultError),
    Bug(String),
}

impl From<mls::MlsError> for MlsFailure {
    fn from(error: mls::MlsError) -> Self {
        match error {
            mls::MlsError::Storage(error) => Self::Vault(error),
            other => Self::Bug(other.to_string()),
        }
    }
}

impl From<mls::KeyPackageError> for MlsFailure {
    fn from(error: mls::KeyPackageError) -> Self {
        match error {
            mls::KeyPackageError::Storage(error) => Self::Vault(error),
            other => Self::Bug(other.to_string()),
        }
    }
}
