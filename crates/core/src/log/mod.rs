//! The logs of conversations: what arrives in them, what this device appends, and who may do what there.
//!
//! Owns cursor, epoch, members and intents of every conversation, and the MLS groups behind them. Never looks into what a
//! message says: it decrypts, and hands on.

pub mod policy;

pub(crate) mod intents;
pub(crate) mod join;
pub(crate) mod outbox;
pub(crate) mod rows;

mod commit;
mod follow;
mod found;
mod help;
mod judge;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use stonechat_wire::{AccountId, ConversationId, Failure, Reply, Seq, Timestamp};

use crate::api::{Event, Link, Refusal};
use crate::crypto::keys::EpochSecrets;
use crate::error::{CoreError, refusal_of};
use crate::identity::Identity;
use crate::links::Room;
use crate::mls::{Group, LeafIdentity, Mls};
use crate::step::{Asked, Ctx, Questions};
use crate::store::Read as _;
use rows::{Info, PendingCommit, Phase, Progress, conversation_ids, outgoing};

/// What is asked.
enum Question {
    TakeKeyPackages { conversation: ConversationId, account: AccountId },
    CreateConversation(ConversationId),
    AppendCommit(ConversationId),
    AppendMessage { conversation: ConversationId, number: u64, epoch: Seq },
    Follow { conversation: ConversationId, epoch: Seq },
    Unfollow,
}

/// What is known of a conversation while the process runs.
#[derive(Default)]
struct Live {
    group: Option<Group>,
    secrets: Option<EpochSecrets>,
    /// The epoch that the server was asked to push.
    following: Option<Seq>,
    /// Nothing more was there when the last page came.
    caught_up: bool,
    /// Outbox rows whose append is asked.
    posted: Vec<u64>,
    /// The pending commit is asked.
    commit_posted: bool,
    /// Not before this moment: key packages of somebody who had none.
    paused_until: Timestamp,
    /// How long that was.
    pause_secs: u64,
}

impl Live {
    fn connection_lost(&mut self) {
        self.following = None;
        self.caught_up = false;
        self.posted.clear();
        self.commit_posted = false;
    }

    /// A new epoch: other secrets, another thing to follow.
    fn epoch_changed(&mut self) {
        self.secrets = None;
        self.connection_lost();
    }
}

/// The logs.
pub(crate) struct Log {
    questions: Questions<Question>,
    live: BTreeMap<ConversationId, Live>,
    /// When conversations have something to do.
    timers: BTreeSet<(Timestamp, ConversationId)>,
}

impl Default for Log {
    fn default() -> Self {
        Self { questions: Questions::of(Room::Log), live: BTreeMap::new(), timers: BTreeSet::new() }
    }
}

impl Log {
    pub(crate) fn connected(&mut self, ctx: &mut Ctx<'_>, link: Link) -> Result<(), CoreError> {
        if link == Link::Anonymous {
            // Everything is followed again.
            self.connection_lost();
            ctx.dirty.extend(conversation_ids(&ctx.txn)?);
        }
        Ok(())
    }

    pub(crate) fn disconnected(&mut self, link: Link) {
        self.questions.lost(link);
        if link == Link::Anonymous {
            self.connection_lost();
        }
    }

    fn connection_lost(&mut self) {
        for live in self.live.values_mut() {
            live.connection_lost();
        }
    }

    /// Marks the conversations whose time has come.
    pub(crate) fn take_due(&mut self, ctx: &mut Ctx<'_>) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= ctx.now) {
            self.timers.remove(&(at, id));
            ctx.dirty.insert(id);
        }
    }

    /// Says when the next conversation has something to do.
    pub(crate) fn wake(&self, ctx: &mut Ctx<'_>) {
        if let Some((at, _)) = self.timers.first() {
            ctx.wake(*at, "a conversation has something to do");
        }
    }

    /// What the rooms below have for conversations.
    pub(crate) fn take_mail(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for letter in std::mem::take(&mut ctx.mail.letters) {
            let answered = match letter {
                Asked::Join { from, conversation, epoch, epoch_id, is_group, welcome } => {
                    let request =
                        rows::RequestRecord { from, epoch, epoch_id, is_group, at: ctx.now, welcome, accepted: false };
                    join::invited(ctx, from, conversation, request)
                }
                Asked::Help { account, device, conversation, stuck_in, key_package } => {
                    self.asked_for_help(ctx, LeafIdentity { account, device }, conversation, stuck_in, key_package)
                }
            };
            if let Err(why) = refusal_of(answered)? {
                ctx.refused(None, Refusal::Letter(why));
            }
        }
        for blob in std::mem::take(&mut ctx.mail.missing) {
            join::blob_missing(ctx, blob)?;
        }
        self.remove_revoked(ctx)?;
        if std::mem::take(&mut ctx.mail.look_again) {
            ctx.dirty.extend(conversation_ids(&ctx.txn)?);
        }
        let all = std::mem::take(&mut ctx.mail.all_changed);
        let changed = std::mem::take(&mut ctx.mail.changed);
        if all || !changed.is_empty() {
            for id in conversation_ids(&ctx.txn)? {
                let Some(info) = ctx.txn.load::<Info>(&id)? else { continue };
                let touched = info.leaves.iter().any(|leaf| changed.contains(&leaf.account));
                if all || touched {
                    ctx.event(Event::Conversation(id));
                }
                if touched {
                    ctx.dirty.insert(id);
                }
            }
        }
        Ok(())
    }

    /// Whether this device has everything of a conversation, as far as the server said.
    pub(crate) fn is_caught_up(&self, id: &ConversationId) -> bool {
        self.live.get(id).is_some_and(|live| live.caught_up)
    }

    /// Does what has become possible for one conversation.
    pub(crate) fn drive(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        mut progress: Progress,
    ) -> Result<(), CoreError> {
        if !ctx.links.is_ready(Link::Anonymous) {
            return Ok(());
        }
        match progress.phase {
            Phase::Gone => Ok(()),
            Phase::Founding => self.create_on_server(ctx, id),
            Phase::Stuck => self.call_for_help(ctx, id, progress),
            Phase::Live => {
                if progress.rewind_due && self.rewind(ctx, id, &mut progress) {
                    ctx.txn.store(&id, &progress);
                }
                let live = self.live.entry(id).or_default();
                if live.following != Some(progress.epoch) {
                    return self.follow(ctx, id, &progress);
                }
                if !live.caught_up {
                    return Ok(());
                }
                self.refresh_keys(ctx, id, &mut progress)?;
                if progress.refused.is_some() && !progress.asked {
                    self.call_for_help(ctx, id, progress)?;
                }
                let blocked = self.drive_commits(ctx, id)?;
                self.drive_outbox(ctx, id, blocked)
            }
        }
    }

    /// Whether nothing is left to fetch or send at this moment.
    pub(crate) fn is_settled(&self, ctx: &Ctx<'_>) -> Result<bool, CoreError> {
        for id in conversation_ids(&ctx.txn)? {
            let Some(progress) = ctx.txn.load::<Progress>(&id)? else { continue };
            let live = self.live.get(&id);
            let quiet = match progress.phase {
                Phase::Gone | Phase::Stuck => true,
                Phase::Founding => false,
                // Nothing to be done at this moment.
                Phase::Live if live.is_some_and(|live| ctx.now < live.paused_until) => true,
                Phase::Live => {
                    let current = live.is_some_and(|live| live.following == Some(progress.epoch) && live.caught_up);
                    let idle = ctx.txn.load::<Info>(&id)?.is_none_or(|info| info.intents.is_empty());
                    current && idle && outgoing(&ctx.txn, &id, 1)?.is_empty() && !ctx.txn.has::<PendingCommit>(&id)?
                }
            };
            if !quiet {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether the answer fits.
    pub(crate) fn answered(&mut self, ctx: &mut Ctx<'_>, link: Link, id: u32, reply: Reply) -> Result<bool, CoreError> {
        match (self.questions.take(link, id), reply) {
            (Some(Question::TakeKeyPackages { conversation, account }), Reply::KeyPackages(packages)) => {
                self.key_packages_taken(ctx, conversation, account, &packages)?;
            }
            (Some(Question::CreateConversation(id)), Reply::Done) => self.conversation_created(ctx, id)?,
            (Some(Question::AppendCommit(id)), Reply::Appended { seq, .. }) => {
                self.commit_acknowledged(ctx, id, seq)?;
            }
            (Some(Question::AppendMessage { conversation, number, epoch }), Reply::Appended { seq, time }) => {
                self.message_acknowledged(ctx, conversation, number, epoch, seq, time)?;
            }
            (Some(Question::Follow { conversation, epoch }), Reply::Following(page)) => {
                if let Some(live) = self.live.get_mut(&conversation) {
                    live.following = Some(epoch);
                }
                self.page(ctx, conversation, epoch, &page)?;
            }
            (Some(Question::Unfollow), Reply::Done) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: Link,
        id: u32,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match self.questions.take(link, id) {
            Some(Question::TakeKeyPackages { conversation, account }) => {
                self.key_packages_refused(ctx, conversation, account, failure)
            }
            Some(Question::CreateConversation(id)) => self.creation_refused(ctx, id, failure),
            Some(Question::AppendCommit(id)) => self.commit_refused(ctx, id, failure),
            Some(Question::AppendMessage { conversation, number, .. }) => {
                self.message_refused(ctx, conversation, number, failure);
                Ok(())
            }
            Some(Question::Follow { conversation, epoch }) => self.follow_refused(ctx, conversation, epoch, failure),
            // What is not ours any more is passed over when it comes.
            Some(Question::Unfollow) | None => Ok(()),
        }
    }

    /// The MLS group, from memory or from the vault.
    fn with_group<T>(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        work: impl FnOnce(&mut Group, &Mls<'_, '_>, &Identity) -> Result<T, CoreError>,
    ) -> Result<T, CoreError> {
        let me = ctx.me;
        let live = self.live.entry(id).or_default();
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        if live.group.is_none() {
            live.group = Group::load(&mls, &id.0)?;
        }
        let group = live.group.as_mut().ok_or_else(|| CoreError::bug("a conversation without its group"))?;
        work(group, &mls, me)
    }

    /// The secrets of this device's epoch.
    fn secrets(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<&EpochSecrets, CoreError> {
        if self.live.get(&id).is_none_or(|live| live.secrets.is_none()) {
            let secrets = self.with_group(ctx, id, |group, mls, _| {
                EpochSecrets::derive(|label| group.export(mls, label, &id.0)).map_err(CoreError::from)
            })?;
            self.live.entry(id).or_default().secrets = Some(secrets);
        }
        let secrets = self.live.get(&id).and_then(|live| live.secrets.as_ref());
        secrets.ok_or_else(|| CoreError::bug("secrets vanished"))
    }

    /// Looks at a conversation again when it is time.
    fn at(&mut self, when: Timestamp, id: ConversationId) {
        self.timers.insert((when, id));
    }
}
