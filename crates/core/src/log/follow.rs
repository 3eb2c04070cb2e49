//! A conversation's log, followed.
//!
//! Entries that stand on this device's epoch are applied in log order, each once: the cursor, the MLS state and the message
//! move in one step. Of the commits on an epoch, the first in log order that processes, obeys the policy and names the hashes
//! that its epoch really has is followed; the others are passed over, so that garbage stops nobody.
//!
//! Every message carries its sender's **view**: a running hash over the entries of the epoch,
//! `H(n) = SHA-256("stonechat v1 view" || H(n-1) || seq || SHA-256(blob))`, starting from the epoch's id. A server that hides, invents
//! or reorders entries for one member is found out by the next message between two who saw different logs.

use stonechat_wire::message::Page;
use stonechat_wire::{Capability, ConversationId, Entry, EntryKind, EpochId, ErrorCode, Failure, Request, Seq};

use super::rows::{Info, Intent, LeafRecord, Outgoing, Phase, Progress, ViewPoint, outgoing, set_hold};
use super::{Log, Question};
use crate::api::{Event, Hold, Link, Refusal};
use crate::content::Content;
use crate::crypto::outer::OuterKind;
use crate::error::CoreError;
use crate::limits::IN_FLIGHT_MAX;
use crate::mls::{LeafIdentity, Mls, ReceiveError, Received};
use crate::people::heads::told;
use crate::step::{Came, Ctx, News};
use crate::store::Read as _;

impl Log {
    pub(super) fn follow(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &Progress,
    ) -> Result<(), CoreError> {
        let epoch = progress.epoch;
        if self
            .questions
            .has(|q| matches!(q, Question::Follow { conversation, epoch: e } if *conversation == id && *e == epoch))
        {
            return Ok(());
        }
        let read = Capability::from_bytes(*self.secrets(ctx, id)?.read.danger_bytes());
        let request = Request::Follow { conversation: id, epoch, read, after: progress.cursor };
        self.questions.ask(ctx, Link::Anonymous, request, Question::Follow { conversation: id, epoch });
        Ok(())
    }

    pub(super) fn follow_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        epoch: Seq,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let Some(mut progress) =
            ctx.txn.load::<Progress>(&id)?.filter(|progress| progress.epoch == epoch && progress.phase == Phase::Live)
        else {
            return Ok(());
        };
        if failure.code != ErrorCode::NotFound {
            self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2))), id);
            return Ok(());
        }
        // The server no longer has this device's epoch: too long away, or an old vault was restored.
        self.cannot_follow(ctx, id, &mut progress)?;
        ctx.txn.store(&id, &progress);
        Ok(())
    }

    /// This device lost the thread for good: the others are asked to add it again, and nobody has to do anything.
    pub(super) fn cannot_follow(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
    ) -> Result<(), CoreError> {
        progress.phase = Phase::Stuck;
        progress.asked = false;
        progress.not_before = ctx.now;
        set_hold(ctx, id, Some(Hold::Rejoining))?;
        ctx.dirty.insert(id);
        Ok(())
    }

    /// Entries arrived.
    pub(crate) fn page(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        epoch: Seq,
        page: &Page,
    ) -> Result<(), CoreError> {
        let Some(mut progress) = ctx.txn.load::<Progress>(&id)?.filter(|progress| progress.phase == Phase::Live) else {
            return Ok(());
        };
        for entry in page.entries.iter() {
            if progress.epoch != epoch || progress.phase != Phase::Live {
                // A commit took us on: what else stood on the old epoch is not followed.
                break;
            }
            if entry.seq <= progress.cursor {
                continue;
            }
            self.entry(ctx, id, &mut progress, entry)?;
            if progress.cursor < entry.seq {
                // The log is read again: this page is void.
                break;
            }
        }
        if progress.epoch == epoch
            && progress.phase == Phase::Live
            && self.live.get(&id).is_some_and(|live| live.following == Some(epoch))
        {
            self.live.entry(id).or_default().caught_up = !page.more;
            if !page.more {
                self.lost_before(ctx, id, &mut progress)?;
            }
        }
        ctx.txn.store(&id, &progress);
        ctx.dirty.insert(id);
        Ok(())
    }

    fn entry(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        entry: &Entry,
    ) -> Result<(), CoreError> {
        let fresh = entry.seq > progress.furthest;
        progress.furthest = progress.furthest.max(entry.seq);
        progress.cursor = entry.seq;
        progress.last_time = progress.last_time.max(entry.time);
        match entry.kind {
            EntryKind::Application => {
                progress.extend_view(entry.seq, &entry.blob);
                self.application(ctx, id, progress, entry, fresh)
            }
            EntryKind::Commit(next) => self.commit_entry(ctx, id, progress, entry, &next, fresh),
        }
    }

    fn application(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        entry: &Entry,
        fresh: bool,
    ) -> Result<(), CoreError> {
        if self.own_entry(ctx, id, progress, entry)? {
            return Ok(());
        }
        let epoch_id = progress.epoch_id;
        let opened = self.secrets(ctx, id)?.outer.open(&id, &epoch_id, OuterKind::Application, &entry.blob);
        let Ok(mls_message) = opened else {
            ctx.refused(Some(id), Refusal::Unsealed);
            if fresh {
                self.rewind(ctx, id, progress);
            }
            return Ok(());
        };
        let received = self.with_group(ctx, id, |group, mls, _| Ok(group.receive(mls, &mls_message)))?;
        match received {
            Ok(Received::Application { sender, plaintext, .. }) => {
                self.message(ctx, id, progress, entry, &sender.identity, &plaintext)
            }
            Ok(Received::Proposal(staged)) => {
                let leaving = staged.leaving();
                if leaving.is_none() {
                    ctx.refused(Some(id), Refusal::Proposal);
                    return Ok(());
                }
                self.with_group(ctx, id, |group, mls, _| group.accept_proposal(mls, staged).map_err(CoreError::from))?;
                self.commit_soon(ctx, id, progress, COMMIT_JITTER_MS)
            }
            Ok(Received::Commit(_)) => {
                ctx.refused(Some(id), Refusal::Disguised);
                Ok(())
            }
            // Sent twice, or shown twice: the first time counted. If it was shown in another's place, that is still to be read.
            Err(ReceiveError::Duplicate | ReceiveError::Own) => {
                if fresh {
                    self.rewind(ctx, id, progress);
                }
                Ok(())
            }
            Err(ReceiveError::Storage(error)) => Err(error.into()),
            Err(_) => {
                ctx.refused(Some(id), Refusal::Undecryptable);
                if fresh {
                    self.rewind(ctx, id, progress);
                }
                Ok(())
            }
        }
    }

    /// Whether the entry is one that this device wrote; then it is sent, and done with.
    fn own_entry(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        entry: &Entry,
    ) -> Result<bool, CoreError> {
        let rows = outgoing(&ctx.txn, &id, IN_FLIGHT_MAX)?;
        let own =
            rows.into_iter().find(|(_, out)| out.sealed.as_ref().is_some_and(|sealed| sealed.blob == entry.blob[..]));
        let Some((number, out)) = own else { return Ok(false) };
        if out.visible {
            let (time, seq) = (progress.last_time, entry.seq);
            ctx.mail.messages.push(News::Sent { conversation: id, id: out.id, time, seq });
        }
        ctx.txn.remove::<Outgoing>(&(id, number));
        if let Some(live) = self.live.get_mut(&id) {
            live.posted.retain(|n| *n != number);
        }
        Ok(true)
    }

    /// The server acknowledged an entry of ours and then showed the log without it: the log is read again, and if it still is
    /// not there, the message is sent again.
    pub(super) fn lost_before(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
    ) -> Result<(), CoreError> {
        for (number, mut out) in outgoing(&ctx.txn, &id, IN_FLIGHT_MAX)? {
            let lost = out
                .sealed
                .as_ref()
                .is_some_and(|s| s.epoch == progress.epoch && s.acknowledged.is_some_and(|at| at <= progress.cursor));
            if lost && !self.rewind(ctx, id, progress) {
                match out.sealed.as_mut() {
                    Some(sealed) if out.content.is_empty() => sealed.acknowledged = None,
                    _ => out.sealed = None,
                }
                ctx.txn.store(&(id, number), &out);
                ctx.refused(Some(id), Refusal::LeftOut);
            }
        }
        Ok(())
    }

    /// Reads the epoch again from its start; later, if that was done a moment ago. What was applied already is recognised.
    /// Returns whether it is done now.
    pub(super) fn rewind(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, progress: &mut Progress) -> bool {
        let allowed = progress.rewound_at.plus_secs(REWIND_SECS);
        if ctx.now < allowed {
            progress.rewind_due = true;
            self.at(allowed, id);
            return false;
        }
        progress.rewound_at = ctx.now;
        progress.rewind_due = false;
        progress.cursor = progress.epoch;
        progress.view = vec![ViewPoint { seq: progress.epoch, hash: progress.epoch_id.0 }];
        progress.refused = None;
        if let Some(live) = self.live.get_mut(&id) {
            live.connection_lost();
        }
        ctx.dirty.insert(id);
        true
    }

    fn message(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        entry: &Entry,
        sender: &LeafIdentity,
        plaintext: &[u8],
    ) -> Result<(), CoreError> {
        let Ok(content) = Content::decode(plaintext) else {
            ctx.refused(Some(id), Refusal::Malformed);
            return Ok(());
        };
        // What we both hold, alike. What is claimed beyond our log, or of another one, delivers nothing.
        let agreed = content
            .view
            .filter(|theirs| progress.view.iter().any(|ours| (ours.seq, ours.hash) == (theirs.seq, theirs.hash)));
        if let Some(theirs) = &content.view {
            let ours = progress.view.iter().find(|point| point.seq == theirs.seq);
            // A place that they have and we lack is as telling as another hash at the same place.
            let remembered =
                progress.view.first().is_some_and(|oldest| oldest.seq < theirs.seq) && theirs.seq < entry.seq;
            if ours.map_or(remembered, |ours| ours.hash != theirs.hash) {
                ctx.refused(Some(id), Refusal::OtherLogs);
                set_hold(ctx, id, Some(Hold::OtherLogs))?;
                self.rewind(ctx, id, progress);
            }
        }
        if let Some(heard) = &content.told {
            told(ctx, sender.account, heard)?;
        }
        ctx.mail.messages.push(News::Came(Came {
            conversation: id,
            sender: sender.account,
            seq: entry.seq,
            time: progress.last_time,
            agreed: agreed.map(|view| (progress.epoch, view.seq)),
            id: content.id,
            sent_at: content.sent_at,
            body: content.body,
        }));
        Ok(())
    }

    /// This device is in a new epoch.
    pub(super) fn entered(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
        epoch: Seq,
        epoch_id: EpochId,
    ) -> Result<(), CoreError> {
        progress.enter(epoch, epoch_id);
        self.live.entry(id).or_default().epoch_changed();
        self.refresh_info(ctx, id)?;
        ctx.dirty.insert(id);
        Ok(())
    }

    /// Copies members and state out of MLS, for those who only read.
    pub(super) fn refresh_info(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let (state, leaves) = self.with_group(ctx, id, |group, _, _| {
            let leaves = group.members().iter();
            let leaves = leaves
                .map(|l| LeafRecord { index: l.index, account: l.identity.account, device: l.identity.device })
                .collect();
            Ok((group.state().to_vec(), leaves))
        })?;
        let mut info = ctx.txn.need::<Info>(&id)?;
        info.state = state;
        info.leaves = leaves;
        if info.opening && info.leaves.len() > 1 {
            info.opening = false;
        }
        info.hold = None;
        ctx.txn.store(&id, &info);
        ctx.event(Event::Conversation(id));
        Ok(())
    }

    pub(super) fn removed(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        progress: &mut Progress,
    ) -> Result<(), CoreError> {
        progress.phase = Phase::Gone;
        let mut info = ctx.txn.need::<Info>(&id)?;
        let me = ctx.me.leaf();
        info.leaves.retain(|leaf| me.account != leaf.account || me.device != leaf.device);
        let left = info.intents.contains(&Intent::Leave);
        info.intents.clear();
        info.hold = Some(if left { Hold::Left } else { Hold::Removed });
        for (number, out) in outgoing(&ctx.txn, &id, usize::MAX)? {
            ctx.txn.remove::<Outgoing>(&(id, number));
            if out.visible {
                ctx.mail.messages.push(News::Failed { conversation: id, id: out.id });
            }
        }
        ctx.txn.store(&id, &info);
        if let Some(group) = self.live.entry(id).or_default().group.take() {
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            group.delete(&mls)?;
        }
        self.live.remove(&id);
        self.questions.ask(ctx, Link::Anonymous, Request::Unfollow { conversation: id }, Question::Unfollow);
        ctx.event(Event::Conversation(id));
        Ok(())
    }
}

/// Within this time, somebody of the members commits what is due; the first in the tree begins.
const COMMIT_JITTER_MS: u64 = 1_500;

/// A log that does not add up is read again from the start of its epoch, at most this often.
const REWIND_SECS: u64 = 60;
