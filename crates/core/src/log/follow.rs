//! A conversation's log, followed: entries arrive here, messages leave from here.
//!
//! Entries that stand on this device's epoch are applied in log order, each once: the cursor, the MLS state and the message
//! move in one step. Of the commits on an epoch, the first in log order that processes, obeys the policy and names the hashes
//! that its epoch really has is followed; the others are passed over, so that garbage stops nobody.
//!
//! Every message carries its sender's **view**: a running hash over the entries of the epoch,
//! `H(n) = SHA-256("stonechat v1 view" || H(n-1) || seq || SHA-256(blob))`, starting from the epoch's id. A server that hides, invents
//! or reorders entries for one member is found out by the next message between two who saw different logs.

use sha2::{Digest, Sha256};
use stonechat_wire::limits::ENTRY_BYTES_MAX;
use stonechat_wire::message::Page;
use stonechat_wire::{
    Bytes, ConversationId, Entry, EntryKind, EpochCaps, EpochId, ErrorCode, Failure, Request, Seq, Timestamp, epoch_id,
    first_epoch_id,
};

use crate::api::{Event, Link, Status};
use crate::content::{Body, Content, LogView, MessageId};
use crate::crypto::keys::EpochSecrets;
use crate::crypto::outer::OuterKind;
use crate::limits::{DELIVERED_MAX, IN_FLIGHT_MAX};
use crate::links::{Pending, mls_bug};
use crate::log::policy::GroupState;
use crate::mls::{Group, Mls, ReceiveError, Received, StagedCommit};
use crate::step::Ctx;
use crate::store::records::{
    CHECKS, Head, Info, Intent, LeafRecord, MessageRecord, OutRecord, PendingCommit, Phase, Read, Sealed, ViewPoint,
    Write, commit_key, index_key, info_key, message_key, out_key, parse, seq_of, thread,
};
use crate::store::vault::{Order, Table};
use crate::{Core, CoreError};

/// Values of the running hash that are kept to compare with others'.
const VIEW_POINTS_MAX: usize = 32;
/// Rows that are read at once when messages are marked as delivered: mostly the last few.
const DELIVERED_STEP: usize = 32;
/// A message that was not sent yet sorts after all that were.
pub(crate) const UNSENT: Timestamp = Timestamp(u64::MAX);
/// Within this time, somebody of the members commits what is due; the first in the tree begins.
const COMMIT_JITTER_MS: u64 = 1_500;
/// Before somebody works around a commit that it cannot follow, it waits this long to be added again by those who could.
const DETOUR_DELAY_MS: u64 = 4_000;

/// A log that does not add up is read again from the start of its epoch, at most this often.
const REWIND_SECS: u64 = 60;
/// A device renews its keys in each conversation after this time, and at most twice this.
const REFRESH_SECS: u64 = 7 * 24 * 3_600;

/// What is known of a conversation while the process runs.
#[derive(Default)]
pub(crate) struct Live {
    pub group: Option<Group>,
    pub secrets: Option<EpochSecrets>,
    /// The epoch that the server was asked to push.
    pub following: Option<Seq>,
    /// Nothing more was there when the last page came.
    pub caught_up: bool,
    /// Outbox rows whose append is asked.
    pub posted: Vec<u64>,
    /// The pending commit is asked.
    pub commit_posted: bool,
    /// Not before this moment: key packages of somebody who had none.
    pub paused_until: Timestamp,
    /// How long that was.
    pub pause_secs: u64,
}

/// Why a commit is not followed.
enum Unfit {
    /// It is not valid, or breaks the policy.
    Refused(String),
    /// It is our own, made before the vault that we have was restored: only the others can follow it.
    OwnLost,
}

impl Live {
    pub(crate) fn connection_lost(&mut self) {
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

impl Head {
    pub(crate) fn new(phase: Phase, epoch: Seq, epoch_id: EpochId) -> Self {
        Self {
            phase,
            cursor: epoch,
            epoch,
            epoch_id,
            last_time: Timestamp(0),
            refused: None,
            unread: 0,
            view: vec![ViewPoint { seq: epoch, hash: epoch_id.0 }],
            next_out: 0,
            offered: None,
            not_before: Timestamp(0),
            commit_due: false,
            asked: false,
            rewound_at: Timestamp(0),
            rewind_due: false,
            furthest: epoch,
            refresh_at: Timestamp(0),
            told: None,
            since: Some(epoch),
            receipt_due: false,
            delivered: None,
        }
    }

    /// Enters an epoch.
    pub(crate) fn enter(&mut self, epoch: Seq, epoch_id: EpochId) {
        self.epoch = epoch;
        self.epoch_id = epoch_id;
        self.cursor = epoch;
        self.view = vec![ViewPoint { seq: epoch, hash: epoch_id.0 }];
        self.refused = None;
        self.commit_due = false;
        self.asked = false;
        self.offered = None;
        self.rewind_due = false;
        self.furthest = epoch;
    }

    fn see(&mut self, seq: Seq, blob: &[u8]) {
        let before = self.view.last().map_or(self.epoch_id.0, |point| point.hash);
        let hash = Sha256::new_with_prefix(b"stonechat v1 view")
            .chain_update(before)
            .chain_update(seq.0.to_be_bytes())
            .chain_update(Sha256::digest(blob))
            .finalize()
            .into();
        self.view.push(ViewPoint { seq, hash });
        if self.view.len() > VIEW_POINTS_MAX {
            self.view.remove(0);
        }
    }
}

impl Core {
    pub(crate) fn follow_everything_again(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        for live in self.live.values_mut() {
            live.connection_lost();
        }
        self.dirty.extend(ctx.txn.conversation_ids()?);
        Ok(())
    }

    /// The MLS group, from memory or from the vault.
    pub(crate) fn with_group<T>(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        work: impl FnOnce(&mut Group, &Mls<'_, '_>, &crate::people::accounts::Identity) -> Result<T, CoreError>,
    ) -> Result<T, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("a conversation without an account".into()))?;
        let live = self.live.entry(id).or_default();
        let mls = Mls::new(&mut ctx.txn, ctx.rng);
        if live.group.is_none() {
            live.group = Group::load(&mls, &id.0).map_err(mls_bug)?;
        }
        let group = live.group.as_mut().ok_or_else(|| CoreError::Bug("a conversation without its group".into()))?;
        work(group, &mls, me)
    }

    /// The secrets of this device's epoch.
    pub(crate) fn secrets(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<&EpochSecrets, CoreError> {
        if self.live.get(&id).is_none_or(|live| live.secrets.is_none()) {
            let secrets = self.with_group(ctx, id, |group, mls, _| {
                EpochSecrets::derive(|label| group.export(mls, label, &id.0)).map_err(mls_bug)
            })?;
            self.live.entry(id).or_default().secrets = Some(secrets);
        }
        self.live
            .get(&id)
            .and_then(|live| live.secrets.as_ref())
            .ok_or_else(|| CoreError::Bug("secrets vanished".into()))
    }

    /// Does what has become possible for one conversation.
    pub(crate) fn drive_conversation(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let Some(mut head) = ctx.txn.head(&id)? else { return Ok(()) };
        if !self.session.anonymous.ready {
            return Ok(());
        }
        match head.phase {
            Phase::Gone => Ok(()),
            Phase::Founding => self.create_on_server(ctx, id),
            Phase::Stuck => self.call_for_help(ctx, id, head),
            Phase::Live => {
                if head.rewind_due && self.rewind(ctx, id, &mut head) {
                    ctx.txn.save(Table::Conversation, &id.0, &head);
                }
                let live = self.live.entry(id).or_default();
                if live.following != Some(head.epoch) {
                    return self.follow(ctx, id, &head);
                }
                if !live.caught_up {
                    return Ok(());
                }
                self.refresh_keys(ctx, id, &mut head)?;
                let receipt_due = head.receipt_due;
                if head.refused.is_some() && !head.asked {
                    self.call_for_help(ctx, id, head)?;
                }
                if receipt_due {
                    self.drive_receipt(ctx, id)?;
                }
                let blocked = self.drive_commits(ctx, id)?;
                self.drive_outbox(ctx, id, blocked)
            }
        }
    }

    /// Renews this device's keys every week or two, so that a compromise ends by itself (post-compromise security).
    fn refresh_keys(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, head: &mut Head) -> Result<(), CoreError> {
        if ctx.now < head.refresh_at {
            return Ok(());
        }
        let first = head.refresh_at == Timestamp(0);
        // Spread, so that a group's members do not all commit at once.
        let wait = REFRESH_SECS * 1_000 + ctx.jitter_ms(REFRESH_SECS * 1_000);
        head.refresh_at = ctx.now.plus_millis(wait);
        ctx.txn.save(Table::Conversation, &id.0, &*head);
        if let Some(mut info) =
            ctx.txn.info(&id)?.filter(|info| !first && info.intents.is_empty() && info.leaves.len() > 1)
        {
            info.intents.push(Intent::Refresh);
            ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        }
        Ok(())
    }

    fn create_on_server(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        if self.session.waits(Link::Anonymous, |p| matches!(p, Pending::CreateConversation(c) if *c == id)) {
            return Ok(());
        }
        let first = self.secrets(ctx, id)?.caps();
        let Some(token) = self.token(ctx)? else { return Ok(()) };
        self.ask(
            ctx,
            Link::Anonymous,
            Request::CreateConversation { conversation: id, first, token },
            Pending::CreateConversation(id),
        );
        Ok(())
    }

    pub(crate) fn conversation_created(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let first = self.secrets(ctx, id)?.caps();
        let Some(mut head) = ctx.txn.head(&id)?.filter(|head| head.phase == Phase::Founding) else { return Ok(()) };
        head.phase = Phase::Live;
        head.enter(Seq(1), first_epoch_id(&id, &first));
        ctx.txn.save(Table::Conversation, &id.0, &head);
        self.dirty.insert(id);
        Ok(())
    }

    pub(crate) fn creation_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        match failure.code {
            // Another token next time.
            ErrorCode::InvalidToken | ErrorCode::Unavailable | ErrorCode::Slow => {
                self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(1))), id);
                Ok(())
            }
            _ => self.give_up(ctx, id, format!("the server does not make this conversation: {failure}")),
        }
    }

    /// The conversation cannot be: its messages fail, visibly.
    pub(crate) fn give_up(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, why: String) -> Result<(), CoreError> {
        let (Some(mut head), Some(mut info)) = (ctx.txn.head(&id)?, ctx.txn.info(&id)?) else { return Ok(()) };
        head.phase = Phase::Gone;
        ctx.txn.save(Table::Conversation, &id.0, &head);
        for (number, out) in ctx.txn.outbox(&id, usize::MAX)? {
            ctx.txn.delete(Table::Outbox, out_key(&id, number));
            self.set_status(ctx, &info, &id, &out, Status::Failed, None)?;
        }
        if let Some(peer) = info.peer
            && ctx.txn.direct(&peer)? == Some(id)
        {
            ctx.txn.delete(Table::Meta, crate::store::records::direct_key(&peer));
        }
        info.notice = Some(why);
        info.intents.clear();
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        ctx.event(Event::Conversation(id));
        Ok(())
    }

    fn follow(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, head: &Head) -> Result<(), CoreError> {
        let epoch = head.epoch;
        if self.session.waits(
            Link::Anonymous,
            |p| matches!(p, Pending::Follow { conversation, epoch: e } if *conversation == id && *e == epoch),
        ) {
            return Ok(());
        }
        let read = stonechat_wire::Capability::from_bytes(*self.secrets(ctx, id)?.read.danger_bytes());
        let request = Request::Follow { conversation: id, epoch, read, after: head.cursor };
        self.ask(ctx, Link::Anonymous, request, Pending::Follow { conversation: id, epoch });
        Ok(())
    }

    pub(crate) fn follow_refused(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        epoch: Seq,
        failure: &Failure,
    ) -> Result<(), CoreError> {
        let Some(mut head) = ctx.txn.head(&id)?.filter(|head| head.epoch == epoch && head.phase == Phase::Live) else {
            return Ok(());
        };
        if failure.code != ErrorCode::NotFound {
            self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2))), id);
            return Ok(());
        }
        // The server no longer has this device's epoch: too long away, or an old vault was restored.
        self.cannot_follow(ctx, id, &mut head)?;
        ctx.txn.save(Table::Conversation, &id.0, &head);
        Ok(())
    }

    /// This device lost the thread for good: the others are asked to add it again, and nobody has to do anything.
    fn cannot_follow(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, head: &mut Head) -> Result<(), CoreError> {
        head.phase = Phase::Stuck;
        head.asked = false;
        head.not_before = ctx.now;
        self.notice(
            ctx,
            id,
            Some("This device was away for too long and has asked the others to add it again.".into()),
        )?;
        self.dirty.insert(id);
        Ok(())
    }

    pub(crate) fn notice(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        notice: Option<String>,
    ) -> Result<(), CoreError> {
        if let Some(mut info) = ctx.txn.info(&id)?.filter(|info| info.notice != notice) {
            info.notice = notice;
            ctx.txn.save(Table::Conversation, &info_key(&id), &info);
            ctx.event(Event::Conversation(id));
        }
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
        let Some(mut head) = ctx.txn.head(&id)?.filter(|head| head.phase == Phase::Live) else { return Ok(()) };
        for entry in page.entries.iter() {
            if head.epoch != epoch || head.phase != Phase::Live {
                // A commit took us on: what else stood on the old epoch is not followed.
                break;
            }
            if entry.seq <= head.cursor {
                continue;
            }
            self.entry(ctx, id, &mut head, entry)?;
            if head.cursor < entry.seq {
                // The log is read again: this page is void.
                break;
            }
        }
        if head.epoch == epoch
            && head.phase == Phase::Live
            && self.live.get(&id).is_some_and(|live| live.following == Some(epoch))
        {
            self.live.entry(id).or_default().caught_up = !page.more;
            if !page.more {
                self.lost_before(ctx, id, &mut head)?;
            }
        }
        ctx.txn.save(Table::Conversation, &id.0, &head);
        self.dirty.insert(id);
        Ok(())
    }

    fn entry(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        entry: &Entry,
    ) -> Result<(), CoreError> {
        let fresh = entry.seq > head.furthest;
        head.furthest = head.furthest.max(entry.seq);
        head.cursor = entry.seq;
        head.last_time = head.last_time.max(entry.time);
        match entry.kind {
            EntryKind::Application => {
                head.see(entry.seq, &entry.blob);
                self.application(ctx, id, head, entry, fresh)
            }
            EntryKind::Commit(next) => self.commit_entry(ctx, id, head, entry, &next, fresh),
        }
    }

    // --- messages that arrive ------------------------------------------------------------------------------------------

    fn application(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        entry: &Entry,
        fresh: bool,
    ) -> Result<(), CoreError> {
        if self.own_entry(ctx, id, head, entry)? {
            return Ok(());
        }
        let epoch_id = head.epoch_id;
        let opened = self.secrets(ctx, id)?.outer.open(&id, &epoch_id, OuterKind::Application, &entry.blob);
        let Ok(mls_message) = opened else {
            ctx.refused(Some(id), "an entry that no member sealed was passed over");
            if fresh {
                self.rewind(ctx, id, head);
            }
            return Ok(());
        };
        let received = self.with_group(ctx, id, |group, mls, _| Ok(group.receive(mls, &mls_message)))?;
        match received {
            Ok(Received::Application { sender, plaintext, .. }) => {
                self.message(ctx, id, head, entry, &sender.identity, &plaintext)
            }
            Ok(Received::Proposal(staged)) => {
                let leaving = staged.leaving();
                if leaving.is_none() {
                    ctx.refused(Some(id), "a proposal that this app does not accept was passed over");
                    return Ok(());
                }
                self.with_group(ctx, id, |group, mls, _| group.accept_proposal(mls, staged).map_err(mls_bug))?;
                self.commit_soon(ctx, id, head, COMMIT_JITTER_MS)
            }
            Ok(Received::Commit(_)) => {
                ctx.refused(Some(id), "a commit disguised as a message was passed over");
                Ok(())
            }
            // Sent twice, or shown twice: the first time counted. If it was shown in another's place, that is still to be read.
            Err(ReceiveError::Duplicate | ReceiveError::Own) => {
                if fresh {
                    self.rewind(ctx, id, head);
                }
                Ok(())
            }
            Err(ReceiveError::Storage(error)) => Err(error.into()),
            Err(error) => {
                ctx.refused(Some(id), format!("an entry that does not decrypt was passed over ({error})"));
                if fresh {
                    self.rewind(ctx, id, head);
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
        head: &mut Head,
        entry: &Entry,
    ) -> Result<bool, CoreError> {
        let rows = ctx.txn.outbox(&id, IN_FLIGHT_MAX)?;
        let own =
            rows.into_iter().find(|(_, out)| out.sealed.as_ref().is_some_and(|sealed| sealed.blob == entry.blob[..]));
        let Some((number, out)) = own else { return Ok(false) };
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        self.set_status(ctx, &info, &id, &out, Status::Sent, Some((head.last_time, entry.seq)))?;
        ctx.txn.delete(Table::Outbox, out_key(&id, number));
        if let Some(live) = self.live.get_mut(&id) {
            live.posted.retain(|n| *n != number);
        }
        Ok(true)
    }

    /// The server acknowledged an entry of ours and then showed the log without it: the log is read again, and if it still is
    /// not there, the message is sent again.
    fn lost_before(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, head: &mut Head) -> Result<(), CoreError> {
        for (number, mut out) in ctx.txn.outbox(&id, IN_FLIGHT_MAX)? {
            let lost = out
                .sealed
                .as_ref()
                .is_some_and(|s| s.epoch == head.epoch && s.acknowledged.is_some_and(|at| at <= head.cursor));
            if lost && !self.rewind(ctx, id, head) {
                match out.sealed.as_mut() {
                    Some(sealed) if out.content.is_empty() => sealed.acknowledged = None,
                    _ => out.sealed = None,
                }
                ctx.txn.save(Table::Outbox, &out_key(&id, number), &out);
                ctx.refused(Some(id), "the server acknowledged a message and then left it out; it is sent again");
            }
        }
        Ok(())
    }

    /// Reads the epoch again from its start; later, if that was done a moment ago. What was applied already is recognised.
    /// Returns whether it is done now.
    pub(crate) fn rewind(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, head: &mut Head) -> bool {
        let allowed = head.rewound_at.plus_secs(REWIND_SECS);
        if ctx.now < allowed {
            head.rewind_due = true;
            self.at(allowed, id);
            return false;
        }
        head.rewound_at = ctx.now;
        head.rewind_due = false;
        head.cursor = head.epoch;
        head.view = vec![ViewPoint { seq: head.epoch, hash: head.epoch_id.0 }];
        head.refused = None;
        if let Some(live) = self.live.get_mut(&id) {
            live.connection_lost();
        }
        self.dirty.insert(id);
        true
    }

    fn message(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        entry: &Entry,
        sender: &crate::mls::LeafIdentity,
        plaintext: &[u8],
    ) -> Result<(), CoreError> {
        let Ok(content) = Content::decode(plaintext) else {
            ctx.refused(Some(id), "a message whose content is malformed was passed over");
            return Ok(());
        };
        // What we both hold, alike. What is claimed beyond our log, or of another one, delivers nothing.
        let agreed = content
            .view
            .filter(|theirs| head.view.iter().any(|ours| (ours.seq, ours.hash) == (theirs.seq, theirs.hash)));
        if let Some(theirs) = &content.view {
            let ours = head.view.iter().find(|point| point.seq == theirs.seq);
            // A place that they have and we lack is as telling as another hash at the same place.
            let remembered = head.view.first().is_some_and(|oldest| oldest.seq < theirs.seq) && theirs.seq < entry.seq;
            if ours.map_or(remembered, |ours| ours.hash != theirs.hash) {
                ctx.refused(Some(id), "the server showed two members different logs of this conversation");
                self.notice(
                    ctx,
                    id,
                    Some(
                        "The server showed members different versions of this conversation. Compare what you see."
                            .into(),
                    ),
                )?;
                self.rewind(ctx, id, head);
            }
        }
        if let Some(told) = &content.told {
            self.told(ctx, sender.account, told)?;
        }
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        let is_peer = info.peer == Some(sender.account);
        if is_peer && let Some(view) = agreed {
            let since = if let Body::Receipt { since } = content.body { since } else { head.epoch };
            self.delivered(ctx, id, head, &info, (since, view.seq), entry.seq)?;
        }
        if let Body::ContactCard { capability } = &content.body {
            if let Some(mut contact) = ctx.txn.contact(&sender.account)? {
                contact.contact = Some(capability.clone());
                ctx.txn.save(Table::Account, &sender.account.0, &contact);
            }
            return Ok(());
        }
        if !content.body.is_for_people() {
            return Ok(());
        }
        let own = self.identity.as_ref().is_some_and(|me| me.account() == sender.account);
        let record = MessageRecord {
            id: content.id,
            conversation: id,
            sender: sender.account,
            sent_at: content.sent_at,
            body: content.body.encode(),
            status: if own { Status::Sent } else { Status::Received },
        };
        let stored = self.store_message(ctx, &info, &record, head.last_time, entry.seq)?;
        if stored && !own {
            head.unread = head.unread.saturating_add(1);
            head.receipt_due |= is_peer;
        }
        ctx.event(Event::Conversation(id));
        Ok(())
    }

    /// Stores a message where it reads; one that is there already stays as it is.
    fn store_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        info: &Info,
        record: &MessageRecord,
        time: Timestamp,
        seq: Seq,
    ) -> Result<bool, CoreError> {
        let thread = thread(&record.conversation, info);
        let index = index_key(&thread, &record.sender, &record.id);
        if ctx.txn.get(Table::MessageIndex, &index)?.is_some() {
            return Ok(false);
        }
        let key = message_key(&thread, time, seq, &record.id);
        ctx.txn.save(Table::Message, &key, record);
        ctx.txn.put(Table::MessageIndex, index, key);
        if let Some(message) = crate::view::conversations::message(&ctx.txn, record)? {
            ctx.event(Event::Message(message));
        }
        Ok(true)
    }

    /// The other person's device holds the entries after the first place and up to the second, as we have them: what this account
    /// wrote there is delivered.
    fn delivered(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        info: &Info,
        (since, upto): (Seq, Seq),
        said_at: Seq,
    ) -> Result<(), CoreError> {
        // What was marked before is not looked at again.
        let low = match head.delivered {
            Some((from, to)) if since >= from => since.max(to),
            _ => since,
        };
        if upto <= low {
            return Ok(());
        }
        head.delivered = Some(match head.delivered {
            Some((from, to)) if since <= to => (from.min(since), upto.max(to)),
            _ => (since, upto),
        });
        // The server acknowledged these and has not shown them: they may not be in the log.
        let unconfirmed: Vec<_> = ctx.txn.outbox(&id, IN_FLIGHT_MAX)?.into_iter().map(|(_, out)| out.id).collect();
        let thread = thread(&id, info);
        let mut end = message_key(&thread, head.last_time, said_at, &MessageId([0; 16]));
        let mut left = DELIVERED_MAX;
        while left > 0 {
            let rows = ctx.txn.rows(Table::Message, &thread, &end, Order::Descending, left.min(DELIVERED_STEP))?;
            let Some((first, _)) = rows.last() else { break };
            end.clone_from(first);
            left -= rows.len();
            for (key, value) in rows {
                let mut record: MessageRecord = parse(&value)?;
                if record.conversation != id {
                    continue;
                }
                let seq = seq_of(&key)?;
                if seq <= low {
                    return Ok(());
                }
                if seq <= upto && record.status == Status::Sent && !unconfirmed.contains(&record.id) {
                    record.status = Status::Delivered;
                    ctx.txn.save(Table::Message, &key, &record);
                    if let Some(message) = crate::view::conversations::message(&ctx.txn, &record)? {
                        ctx.event(Event::Message(message));
                    }
                }
            }
        }
        Ok(())
    }

    // --- messages that leave -------------------------------------------------------------------------------------------

    /// Puts a message into the outbox and, when a person sees it, into the conversation.
    pub(crate) fn enqueue(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        body: Body,
    ) -> Result<MessageId, CoreError> {
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody sends".into()))?.account();
        let mut head = ctx.txn.head(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its head".into()))?;
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        let message = MessageId(ctx.random());
        let visible = body.is_for_people();
        let content = Content::new(message, ctx.now, body);
        let number = head.next_out;
        head.next_out += 1;
        ctx.txn.save(Table::Conversation, &id.0, &head);
        let out = OutRecord { content: content.encode(), id: message, visible, sealed: None };
        ctx.txn.save(Table::Outbox, &out_key(&id, number), &out);
        if visible {
            let record = MessageRecord {
                id: message,
                conversation: id,
                sender: me,
                sent_at: ctx.now,
                body: content.body.encode(),
                status: Status::Queued,
            };
            self.store_message(ctx, &info, &record, UNSENT, Seq(number))?;
            ctx.event(Event::Conversation(id));
        }
        self.dirty.insert(id);
        Ok(message)
    }

    /// Says that what came is here, once for all that came since the last time: at most one receipt waits or is on its way.
    fn drive_receipt(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let mut head = ctx.txn.head(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its head".into()))?;
        let rows = ctx.txn.outbox(&id, IN_FLIGHT_MAX)?;
        // A long queue is sent first: what is sealed later says more.
        if rows.len() == IN_FLIGHT_MAX || rows.iter().any(|(_, out)| !out.visible) {
            return Ok(());
        }
        head.receipt_due = false;
        let since = head.since.unwrap_or(head.epoch);
        ctx.txn.save(Table::Conversation, &id.0, &head);
        self.enqueue(ctx, id, Body::Receipt { since })?;
        Ok(())
    }

    /// Sends what waits. While a commit has to come first (`blocked`), only what was encrypted already.
    pub(crate) fn drive_outbox(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        blocked: bool,
    ) -> Result<(), CoreError> {
        let rows = ctx.txn.outbox(&id, IN_FLIGHT_MAX)?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut head = ctx.txn.head(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its head".into()))?;
        let write = *self.secrets(ctx, id)?.write.danger_bytes();
        for (number, mut out) in rows {
            if self.live.get(&id).is_some_and(|live| live.posted.contains(&number)) {
                continue;
            }
            let blob = match &out.sealed {
                // Acknowledged: the log will show it.
                Some(sealed) if sealed.epoch == head.epoch && sealed.acknowledged.is_some() => continue,
                Some(sealed) if sealed.epoch == head.epoch => sealed.blob.clone(),
                // A proposal dies with its epoch.
                Some(_) if out.content.is_empty() => {
                    ctx.txn.delete(Table::Outbox, out_key(&id, number));
                    continue;
                }
                _ if blocked => continue,
                _ => {
                    let blob = self.seal(ctx, id, &mut head, &out)?;
                    out.sealed = Some(Sealed { epoch: head.epoch, blob: blob.clone(), acknowledged: None });
                    ctx.txn.save(Table::Outbox, &out_key(&id, number), &out);
                    blob
                }
            };
            let request = Request::Append {
                conversation: id,
                epoch: head.epoch,
                epoch_id: head.epoch_id,
                write: stonechat_wire::Capability::from_bytes(write),
                kind: EntryKind::Application,
                skip: None,
                ttl_secs: None,
                blob: Bytes::<ENTRY_BYTES_MAX>::new(blob)
                    .map_err(|_| CoreError::Bug("a message over the entry's bound".into()))?,
            };
            self.live.entry(id).or_default().posted.push(number);
            self.ask(
                ctx,
                Link::Anonymous,
                request,
                Pending::AppendMessage { conversation: id, number, epoch: head.epoch },
            );
        }
        Ok(())
    }

    fn seal(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        out: &OutRecord,
    ) -> Result<Vec<u8>, CoreError> {
        let mut content =
            Content::decode(&out.content).map_err(|_| CoreError::Bug("an outbox row does not decode".into()))?;
        content.view = head.view.last().map(|point| LogView { seq: point.seq, hash: point.hash });
        content.told = self.tell(ctx, head)?;
        if content.told.is_some() {
            ctx.txn.save(Table::Conversation, &id.0, &*head);
        }
        let mls_message = self.with_group(ctx, id, |group, mls, me| {
            group.encrypt(mls, &me.signer, &content.encode(), &[]).map_err(mls_bug)
        })?;
        self.secrets(ctx, id)?;
        let secrets = self
            .live
            .get(&id)
            .and_then(|live| live.secrets.as_ref())
            .ok_or_else(|| CoreError::Bug("secrets vanished".into()))?;
        secrets
            .outer
            .seal(ctx.rng, &id, &head.epoch_id, OuterKind::Application, &mls_message)
            .map_err(|e| CoreError::Bug(format!("sealing a message: {e}")))
    }

    pub(crate) fn message_acknowledged(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        number: u64,
        epoch: Seq,
        seq: Seq,
        time: Timestamp,
    ) -> Result<(), CoreError> {
        if let Some(live) = self.live.get_mut(&id) {
            live.posted.retain(|n| *n != number);
        }
        let Some(mut out) = ctx.txn.record::<OutRecord>(Table::Outbox, &out_key(&id, number))? else { return Ok(()) };
        let Some(sealed) = out.sealed.as_mut().filter(|sealed| sealed.epoch == epoch) else { return Ok(()) };
        sealed.acknowledged = Some(seq);
        ctx.txn.save(Table::Outbox, &out_key(&id, number), &out);
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        self.set_status(ctx, &info, &id, &out, Status::Sent, Some((time, seq)))?;
        if let Some(mut head) = ctx.txn.head(&id)?.filter(|head| seq <= head.cursor) {
            self.lost_before(ctx, id, &mut head)?;
            ctx.txn.save(Table::Conversation, &id.0, &head);
        }
        self.dirty.insert(id);
        Ok(())
    }

    pub(crate) fn message_refused(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, number: u64, failure: &Failure) {
        if let Some(live) = self.live.get_mut(&id) {
            live.posted.retain(|n| *n != number);
        }
        match failure.code {
            // What ended the epoch arrives by the log, and then it is encrypted again. A second look in case it does not.
            ErrorCode::EpochOver => self.at(ctx.now.plus_millis(1_000), id),
            _ => self.at(ctx.now.plus_secs(u64::from(failure.retry_after_secs.unwrap_or(2))), id),
        }
        // Until then nothing is posted blindly.
        if let Some(live) = self.live.get_mut(&id) {
            live.caught_up = false;
            live.following = None;
        }
    }

    /// Moves a message of ours to its place and state.
    fn set_status(
        &mut self,
        ctx: &mut Ctx<'_>,
        info: &Info,
        id: &ConversationId,
        out: &OutRecord,
        status: Status,
        place: Option<(Timestamp, Seq)>,
    ) -> Result<(), CoreError> {
        if !out.visible {
            return Ok(());
        }
        let me = self.identity.as_ref().ok_or_else(|| CoreError::Bug("nobody sent".into()))?.account();
        let thread = thread(id, info);
        let index = index_key(&thread, &me, &out.id);
        let Some(old_key) = ctx.txn.get(Table::MessageIndex, &index)? else { return Ok(()) };
        let Some(mut record) = ctx.txn.record::<MessageRecord>(Table::Message, &old_key)? else { return Ok(()) };
        let key = place.map_or_else(|| old_key.clone(), |(time, seq)| message_key(&thread, time, seq, &out.id));
        if record.status == status && key == old_key {
            return Ok(());
        }
        record.status = status;
        ctx.txn.delete(Table::Message, old_key);
        ctx.txn.save(Table::Message, &key, &record);
        ctx.txn.put(Table::MessageIndex, index, key);
        if let Some(message) = crate::view::conversations::message(&ctx.txn, &record)? {
            ctx.event(Event::Message(message));
        }
        Ok(())
    }

    // --- commits that arrive -------------------------------------------------------------------------------------------

    fn commit_entry(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        entry: &Entry,
        next: &EpochCaps,
        fresh: bool,
    ) -> Result<(), CoreError> {
        let opened_epoch = epoch_id(&head.epoch_id, &entry.blob, next);
        let pending = ctx.txn.record::<PendingCommit>(Table::Outbox, &commit_key(&id))?;
        if let Some(pending) =
            pending.as_ref().filter(|p| p.epoch == head.epoch && p.blob == entry.blob[..] && p.next == *next)
        {
            self.with_group(ctx, id, |group, mls, _| group.merge_pending(mls).map_err(mls_bug))?;
            self.commit_settled(ctx, id, head, pending, entry.seq, opened_epoch)?;
            return self.entered(ctx, id, head, entry.seq, opened_epoch);
        }
        match self.judge(ctx, id, head, entry, next)? {
            Ok(staged) => {
                if pending.is_some() {
                    ctx.txn.delete(Table::Outbox, commit_key(&id));
                }
                let removed = staged.self_removed();
                self.with_group(ctx, id, |group, mls, _| {
                    if group.pending() {
                        group.clear_pending(mls).map_err(mls_bug)?;
                    }
                    group.merge(mls, staged).map_err(mls_bug)
                })?;
                if removed {
                    return self.removed(ctx, id, head);
                }
                self.entered(ctx, id, head, entry.seq, opened_epoch)
            }
            Err(Unfit::OwnLost) => self.cannot_follow(ctx, id, head),
            Err(Unfit::Refused(why)) => {
                ctx.refused(Some(id), format!("a change to the conversation was refused: {why}"));
                // Once more from the start: perhaps it was only shown wrongly.
                if fresh && self.rewind(ctx, id, head) {
                    return Ok(());
                }
                head.refused = Some((entry.seq, opened_epoch));
                head.asked = false;
                self.commit_soon(ctx, id, head, DETOUR_DELAY_MS)?;
                // Nobody can write on this epoch any more; our own commit, if one was posted, has to name what it skips.
                if let Some(live) = self.live.get_mut(&id) {
                    live.commit_posted = false;
                }
                Ok(())
            }
        }
    }

    /// Whether a commit of somebody else is to be followed.
    fn judge(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &Head,
        entry: &Entry,
        next: &EpochCaps,
    ) -> Result<Result<StagedCommit, Unfit>, CoreError> {
        let refused = |why: &str| Ok(Err(Unfit::Refused(why.to_owned())));
        let Ok(mls_message) = self.secrets(ctx, id)?.outer.open(&id, &head.epoch_id, OuterKind::Commit, &entry.blob)
        else {
            return refused("no member sealed it");
        };
        let received = self.with_group(ctx, id, |group, mls, _| Ok(group.receive(mls, &mls_message)))?;
        let staged = match received {
            Ok(Received::Commit(staged)) => staged,
            Ok(_) => return refused("it is not a commit"),
            Err(ReceiveError::Storage(error)) => return Err(error.into()),
            Err(ReceiveError::OwnCommitLost) => return Ok(Err(Unfit::OwnLost)),
            Err(error) => return refused(&error.to_string()),
        };
        if let Err(why) = self.check_policy(ctx, id, &staged.changes, &staged.aad)? {
            return refused(&why);
        }
        if staged.self_removed() {
            // There is no next epoch for this device; the others check the hashes.
            return Ok(Ok(staged));
        }
        let theirs = self.with_group(ctx, id, |_, mls, _| {
            EpochSecrets::derive(|label| staged.export(mls, label, &id.0)).map_err(mls_bug)
        })?;
        if theirs.caps() != *next {
            return refused("it names capabilities that are not those of its epoch");
        }
        Ok(Ok(staged))
    }

    /// This device is in a new epoch.
    pub(crate) fn entered(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        epoch: Seq,
        epoch_id: EpochId,
    ) -> Result<(), CoreError> {
        head.enter(epoch, epoch_id);
        self.live.entry(id).or_default().epoch_changed();
        self.refresh_info(ctx, id)?;
        self.dirty.insert(id);
        Ok(())
    }

    /// Copies members and state out of MLS, for those who only read.
    pub(crate) fn refresh_info(&mut self, ctx: &mut Ctx<'_>, id: ConversationId) -> Result<(), CoreError> {
        let (state, leaves) = self.with_group(ctx, id, |group, _, _| {
            let leaves = group.members().iter();
            let leaves = leaves
                .map(|l| LeafRecord { index: l.index, account: l.identity.account, device: l.identity.device })
                .collect();
            Ok((group.state().to_vec(), leaves))
        })?;
        let mut info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        info.state = state;
        info.leaves = leaves;
        if info.opening && info.leaves.len() > 1 {
            info.opening = false;
        }
        info.notice = None;
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        ctx.event(Event::Conversation(id));
        Ok(())
    }

    fn removed(&mut self, ctx: &mut Ctx<'_>, id: ConversationId, head: &mut Head) -> Result<(), CoreError> {
        head.phase = Phase::Gone;
        let mut info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        let me = self.identity.as_ref().map(crate::people::accounts::Identity::leaf);
        info.leaves.retain(|leaf| me.as_ref().is_none_or(|me| me.account != leaf.account || me.device != leaf.device));
        let left = info.intents.contains(&Intent::Leave);
        info.intents.clear();
        info.notice =
            Some(if left { "You left this group.".into() } else { "You were removed from this group.".to_owned() });
        for (number, out) in ctx.txn.outbox(&id, usize::MAX)? {
            ctx.txn.delete(Table::Outbox, out_key(&id, number));
            self.set_status(ctx, &info, &id, &out, Status::Failed, None)?;
        }
        ctx.txn.save(Table::Conversation, &info_key(&id), &info);
        if let Some(group) = self.live.entry(id).or_default().group.take() {
            let mls = Mls::new(&mut ctx.txn, ctx.rng);
            group.delete(&mls).map_err(mls_bug)?;
        }
        self.live.remove(&id);
        self.ask(ctx, Link::Anonymous, Request::Unfollow { conversation: id }, Pending::Unfollow);
        ctx.event(Event::Conversation(id));
        Ok(())
    }

    /// Something is to be committed by whoever is first: this device's turn comes the later the further back it stands.
    pub(crate) fn commit_soon(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ConversationId,
        head: &mut Head,
        base_ms: u64,
    ) -> Result<(), CoreError> {
        let info = ctx.txn.info(&id)?.ok_or_else(|| CoreError::Bug("a conversation without its info".into()))?;
        let me = self.identity.as_ref().map(crate::people::accounts::Identity::account);
        let rank = info.leaves.iter().position(|leaf| Some(leaf.account) == me).unwrap_or(0) as u64;
        let wait = base_ms / 4 + rank.min(32) * base_ms / 2 + ctx.jitter_ms(base_ms);
        head.commit_due = true;
        head.not_before = ctx.now.plus_millis(wait);
        self.at(head.not_before, id);
        Ok(())
    }

    /// The group's state, decoded. It was checked when it came.
    pub(crate) fn group_state(&self, info: &Info) -> Result<GroupState, CoreError> {
        GroupState::decode(&info.state).map_err(|_| CoreError::Bug("a stored group state does not decode".into()))
    }

    pub(crate) fn settle_syncs(&mut self, ctx: &mut Ctx<'_>) -> Result<(), CoreError> {
        if self.syncing.is_empty() || !self.settled(ctx)? {
            return Ok(());
        }
        for command in std::mem::take(&mut self.syncing) {
            ctx.finish(command, Ok(crate::api::Outcome::Done));
        }
        Ok(())
    }

    /// Whether nothing is left to fetch or send at this moment.
    fn settled(&mut self, ctx: &mut Ctx<'_>) -> Result<bool, CoreError> {
        if !self.session.both_ready() || !self.session.supplied() || self.session.envelopes_expected > 0 {
            return Ok(false);
        }
        if !ctx.txn.prefixed(Table::Meta, CHECKS, 1)?.is_empty() && self.session.look_up_again.is_empty() {
            return Ok(false);
        }
        // The look at the own account, and what it brought up. A directory that does not answer is not waited for.
        if !self.session.watched || self.session.waits(Link::Anonymous, |p| matches!(p, Pending::Consistency { .. })) {
            return Ok(false);
        }
        if !ctx.txn.prefixed(Table::Envelope, &[], 1)?.is_empty() || !ctx.txn.prefixed(Table::Blob, &[], 1)?.is_empty()
        {
            return Ok(false);
        }
        for id in ctx.txn.conversation_ids()? {
            let Some(head) = ctx.txn.head(&id)? else { continue };
            let quiet = match head.phase {
                Phase::Gone | Phase::Stuck => true,
                Phase::Founding => false,
                // Nothing to be done at this moment.
                Phase::Live if self.live.get(&id).is_some_and(|live| ctx.now < live.paused_until) => true,
                Phase::Live => {
                    let current =
                        self.live.get(&id).is_some_and(|live| live.following == Some(head.epoch) && live.caught_up);
                    let idle = ctx.txn.info(&id)?.is_none_or(|info| info.intents.is_empty());
                    current
                        && idle
                        && ctx.txn.outbox(&id, 1)?.is_empty()
                        && ctx.txn.get(Table::Outbox, &commit_key(&id))?.is_none()
                }
            };
            if !quiet {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
