//! Conversation logs: starting one, and appending to it exactly when its epoch is live.
//!
//! The state of a conversation is its last record and the commits that the record names as live. It is kept in memory
//! for conversations in use and checked by every append: an append names the last record that it was decided on, so a
//! decision on an old state is refused by the store and made again. Appends to one conversation are handed to the
//! store one behind the other without waiting for the disk between them, so that they share its flushes.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use lru::LruCache;
use sha2::{Digest, Sha256};
use stonechat_wire::limits::{BRANCHES_MAX, CONVERSATION_TTL_SECS, ENTRY_BYTES_MAX};
use stonechat_wire::{
    Bytes, Capability, ConversationId, EntryKind, EpochCaps, EpochId, ErrorCode, Failure, List, LogRecord, Reply, Seq,
    Timestamp, Token, decode, encode, epoch_id, first_epoch_id,
};

use super::tokens::Purpose;
use super::{CONFLICTS_MAX, Services, keys, refuse, retry_later, store_failed};
use crate::store::{Append, Entry as Stored, Expect, Key, KeyedLog};

/// [`stonechat_wire::Request::Append`], taken apart.
pub(crate) struct AppendRequest {
    pub(crate) conversation: ConversationId,
    pub(crate) epoch: Seq,
    pub(crate) epoch_id: EpochId,
    pub(crate) write: Capability,
    pub(crate) kind: EntryKind,
    pub(crate) skip: Option<Seq>,
    pub(crate) ttl_secs: Option<u64>,
    pub(crate) blob: Bytes<ENTRY_BYTES_MAX>,
}

/// A commit, as far as later entries are checked against it.
#[derive(Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) opens: EpochId,
    pub(crate) caps: EpochCaps,
    /// When its expiry was last moved, as far as this process knows.
    touched: Timestamp,
}

/// The state of a conversation behind its last record.
struct Tail {
    /// The last number that was given. Its entry may have expired: the state is in the last one that has not.
    last: Seq,
    /// The last entry.
    last_live: Seq,
    time: Timestamp,
    live: List<Seq, BRANCHES_MAX>,
    /// The commits in `live`.
    commits: BTreeMap<Seq, Commit>,
    /// What the last record was, to know it again when it is sent twice.
    entry: (Seq, EntryKind, [u8; 32]),
    /// Whether an append has been handed to the store since the state was read from it.
    ahead: bool,
}

#[derive(Default)]
struct Slot {
    tail: Option<Tail>,
    /// Grows whenever `tail` is read from the store: only a decision on the present one may throw it away.
    generation: u64,
}

/// The states of the conversations in use. Bounded; what is not here is read from the store.
pub(crate) struct Tails(Mutex<LruCache<ConversationId, Arc<tokio::sync::Mutex<Slot>>>>);

impl Tails {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(TAILS_MAX).expect("not zero"))))
    }

    fn slot(&self, conversation: &ConversationId) -> Arc<tokio::sync::Mutex<Slot>> {
        Arc::clone(self.0.lock().expect("no holder panics").get_or_insert(*conversation, Arc::default))
    }

    fn forget(&self, conversation: &ConversationId) {
        self.0.lock().expect("no holder panics").pop(conversation);
    }
}

/// An append that passed every check.
struct Plan {
    record: LogRecord,
    entry: (Seq, EntryKind, [u8; 32]),
    ttl_secs: u64,
}

enum Decision {
    Append(Box<Plan>),
    /// The last record is this very entry: the request was sent twice.
    Already(Seq, Timestamp),
    /// As [`Decision::Already`], but the record may not be durable yet: read the state again.
    Reload,
}

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::CreateConversation`]: record 1 is a commit with an empty blob that stands on itself.
    pub(crate) async fn create_conversation(
        &self,
        now: Timestamp,
        conversation: &ConversationId,
        first: EpochCaps,
        token: &Token,
    ) -> Result<Reply, Failure> {
        let purpose =
            Purpose::new("create conversation").with(&conversation.0).with(&first.read.0).with(&first.write.0);
        self.redeem(token, purpose, true, now).await?;
        let key = keys::conversation(conversation);
        let record = LogRecord {
            time: now,
            epoch: FIRST,
            kind: EntryKind::Commit(first),
            opens: Some(first_epoch_id(conversation, &first)),
            live: List::new(vec![FIRST]).expect("one branch"),
            blob: Bytes::default(),
        };
        match self.append_bytes(&key, Expect::Empty, encode(&record), Some(CONVERSATION_TTL_SECS), now).await? {
            Append::Appended(_) => Ok(Reply::Done),
            Append::Conflict { .. } => {
                let stored = self.entry_at(&key, FIRST, now).await?.map(|entry| record_of(&entry)).transpose()?;
                let same = stored.is_some_and(|stored| stored.kind == record.kind);
                if same { Ok(Reply::Done) } else { Err(refuse(ErrorCode::Conflict)) }
            }
        }
    }

    /// [`stonechat_wire::Request::Append`].
    pub(crate) async fn append(&self, now: Timestamp, request: &AppendRequest) -> Result<Reply, Failure> {
        let key = keys::conversation(&request.conversation);
        let mut counted = false;
        for _ in 0..CONFLICTS_MAX {
            let slot = self.tails.slot(&request.conversation);
            let mut guard = slot.lock().await;
            let state = &mut *guard;
            if state.tail.is_none() {
                state.tail = self.load(&key, now).await?;
                state.generation += 1;
            }
            let Some(tail) = &mut state.tail else {
                self.tails.forget(&request.conversation);
                return Err(refuse(ErrorCode::NotFound));
            };
            let plan = match self.decide(&key, tail, now, request).await {
                Ok(Decision::Append(plan)) => plan,
                Ok(Decision::Already(seq, time)) => return Ok(Reply::Appended { seq, time }),
                Ok(Decision::Reload) => {
                    state.tail = None;
                    continue;
                }
                // Refused by a state that another server may have moved on.
                Err(refused) => {
                    if self.last(&key, now).await?.is_none_or(|last| last.seq <= tail.last_live) {
                        return Err(refused);
                    }
                    state.tail = None;
                    continue;
                }
            };
            if plan.record.opens.is_some() && !std::mem::replace(&mut counted, true) {
                self.count_commit(&request.conversation, now).await?;
            }
            let (parent, expected, seq) = (request.epoch, tail.last, Seq(tail.last.0 + 1));
            let time = plan.record.time;
            let bytes = encode(&plan.record);
            let refresh = tail.advance(seq, &plan, now);
            let generation = state.generation;
            let mut append = pin!(self.append_bytes(&key, Expect::Last(expected), bytes, Some(plan.ttl_secs), now));
            // Handed to the store while the state is held, so that appends arrive in the order of their numbers.
            let handed = poll_fn(|cx| Poll::Ready(append.as_mut().poll(cx))).await;
            drop(guard);
            let appended = match handed {
                Poll::Ready(appended) => appended,
                Poll::Pending => append.await,
            };
            if let Ok(Append::Appended(seq)) = appended {
                self.keep_alive(&key, parent, plan.record.opens.is_some(), refresh, now).await;
                return Ok(Reply::Appended { seq, time });
            }
            let mut state = slot.lock().await;
            if state.generation == generation {
                state.tail = None;
            }
            drop(state);
            // A conflict is decided again; a failure is the answer.
            let _conflict = appended?;
        }
        Err(retry_later(ErrorCode::Slow, 1))
    }

    /// The commit at `seq`, when that is what stands there.
    pub(crate) async fn commit_at(&self, key: &Key, seq: Seq, now: Timestamp) -> Result<Option<Commit>, Failure> {
        let Some(entry) = self.entry_at(key, seq, now).await? else { return Ok(None) };
        let record = record_of(&entry)?;
        Ok(match (record.kind, record.opens) {
            (EntryKind::Commit(caps), Some(opens)) => Some(Commit { opens, caps, touched: record.time }),
            _ => None,
        })
    }

    /// Counts a commit against its conversation's rate, which holds for all servers over the store together.
    async fn count_commit(&self, conversation: &ConversationId, now: Timestamp) -> Result<(), Failure> {
        let key = keys::commits(conversation, minute(now));
        let slow = || retry_later(ErrorCode::Slow, 60);
        if self.last(&key, now).await?.is_some_and(|last| last.seq.0 >= COMMITS_PER_MINUTE_MAX) {
            return Err(slow());
        }
        match self.append_bytes(&key, Expect::Any, Vec::new(), Some(COMMITS_TTL_SECS), now).await? {
            Append::Appended(seq) if seq.0 <= COMMITS_PER_MINUTE_MAX => Ok(()),
            Append::Appended(_) | Append::Conflict { .. } => Err(slow()),
        }
    }

    async fn load(&self, key: &Key, now: Timestamp) -> Result<Option<Tail>, Failure> {
        // The store tells the last number only in refusing: an expired entry's number counts too.
        let Append::Conflict { last: Some(last) } =
            self.append_bytes(key, Expect::Last(NEVER), Vec::new(), None, now).await?
        else {
            return Ok(None);
        };
        let Some(entry) = self.last(key, now).await? else { return Ok(None) };
        let record = record_of(&entry)?;
        let mut commits = BTreeMap::new();
        for seq in record.live.iter() {
            // One that is gone was not touched for longer than a conversation lasts: it is over.
            if let Some(commit) = self.commit_at(key, *seq, now).await? {
                commits.insert(*seq, commit);
            }
        }
        let hash = Sha256::digest(&record.blob[..]).into();
        Ok(Some(Tail {
            last: last.max(entry.seq),
            last_live: entry.seq,
            time: record.time,
            live: record.live,
            commits,
            entry: (record.epoch, record.kind, hash),
            ahead: false,
        }))
    }

    async fn decide(
        &self,
        key: &Key,
        tail: &Tail,
        now: Timestamp,
        request: &AppendRequest,
    ) -> Result<Decision, Failure> {
        let commit = match tail.commits.get(&request.epoch) {
            Some(commit) if now < commit.touched.plus_secs(CONVERSATION_TTL_SECS) => Some(*commit),
            _ => self.commit_at(key, request.epoch, now).await?,
        };
        let commit = commit.ok_or(refuse(ErrorCode::NotFound))?;
        if commit.opens != request.epoch_id || !request.write.opens(&commit.caps.write) {
            return Err(refuse(ErrorCode::NotFound));
        }
        let entry = (request.epoch, request.kind, Sha256::digest(&request.blob[..]).into());
        if tail.entry == entry && tail.last_live != FIRST {
            return Ok(if tail.ahead { Decision::Reload } else { Decision::Already(tail.last_live, tail.time) });
        }
        let live = tail.live.contains(&request.epoch);
        let opens = match request.kind {
            EntryKind::Application if !live => return Err(refuse(ErrorCode::EpochOver)),
            EntryKind::Application => None,
            EntryKind::Commit(next) => {
                if !live {
                    let skip = request.skip.ok_or(refuse(ErrorCode::EpochOver))?;
                    if tail.ahead {
                        return Ok(Decision::Reload);
                    }
                    self.no_child_after(key, request.epoch, skip, now).await?;
                }
                Some(epoch_id(&request.epoch_id, &request.blob, &next))
            }
        };
        let seq = Seq(tail.last.0 + 1);
        let (live, ttl_secs) = match opens {
            Some(_) => (LogRecord::live_after(&tail.live, request.epoch, seq), CONVERSATION_TTL_SECS),
            None => {
                let asked = request.ttl_secs.unwrap_or(u64::MAX).max(1);
                (tail.live.clone(), asked.min(self.settings.retention_secs))
            }
        };
        let (time, blob) = (tail.time.max(now), request.blob.clone());
        let record = LogRecord { time, epoch: request.epoch, kind: request.kind, opens, live, blob };
        Ok(Decision::Append(Box::new(Plan { record, entry, ttl_secs })))
    }

    /// Whether the client has seen every commit that stands on `epoch`: none came after `skip`.
    async fn no_child_after(&self, key: &Key, epoch: Seq, skip: Seq, now: Timestamp) -> Result<(), Failure> {
        let mut after = skip;
        let mut budget = SKIP_SCAN_ENTRIES_MAX;
        loop {
            let page = self.read(key, after, SCAN_PAGE_ENTRIES, SCAN_PAGE_BYTES, now).await?;
            let Some(end) = page.last() else { return Ok(()) };
            after = end.seq;
            for entry in &page {
                let record = record_of(entry)?;
                if record.epoch == epoch && record.opens.is_some() && entry.seq != epoch {
                    return Err(refuse(ErrorCode::EpochOver));
                }
            }
            budget = budget.checked_sub(page.len()).ok_or(refuse(ErrorCode::EpochOver))?;
        }
    }

    /// Moves expiries after an append. They are hints about what to keep: a failure costs nothing that was acknowledged.
    async fn keep_alive(&self, key: &Key, parent: Seq, ended: bool, refresh: bool, now: Timestamp) {
        let ttl_secs = match (ended, refresh) {
            (true, _) => self.settings.retention_secs,
            (false, true) => CONVERSATION_TTL_SECS,
            (false, false) => return,
        };
        if let Err(error) = self.store.touch(key, parent, now.plus_secs(ttl_secs)).await {
            tracing::warn!(%error, "could not move an expiry");
        }
    }
}

impl Tail {
    /// The state after `plan` was appended as `seq`. Returns whether the commit it stands on is due to have its expiry
    /// moved.
    fn advance(&mut self, seq: Seq, plan: &Plan, now: Timestamp) -> bool {
        self.last = seq;
        self.last_live = seq;
        self.time = plan.record.time;
        self.live = plan.record.live.clone();
        self.entry = plan.entry;
        self.ahead = true;
        if let (EntryKind::Commit(caps), Some(opens)) = (plan.record.kind, plan.record.opens) {
            self.commits.insert(seq, Commit { opens, caps, touched: now });
        }
        let Self { commits, live, .. } = self;
        commits.retain(|seq, _| live.contains(seq));
        let Some(parent) = commits.get_mut(&plan.record.epoch) else { return false };
        let due = now >= parent.touched.plus_secs(CONVERSATION_TTL_SECS / 2);
        if due {
            parent.touched = now;
        }
        due
    }
}

/// The record in a stored entry.
pub(crate) fn record_of(entry: &Stored) -> Result<LogRecord, Failure> {
    decode(&entry.bytes).map_err(|_| store_failed("a conversation record is damaged"))
}

fn minute(now: Timestamp) -> u64 {
    now.0 / 60_000
}

const FIRST: Seq = Seq(1);
/// Conversations whose state is in memory, some 500 bytes each.
const TAILS_MAX: usize = 16_384;
const COMMITS_PER_MINUTE_MAX: u64 = 120;
/// Past the end of the minute that it counts, wherever in it the first commit was.
const COMMITS_TTL_SECS: u64 = 120;
const SKIP_SCAN_ENTRIES_MAX: usize = 4_096;
const SCAN_PAGE_ENTRIES: usize = 256;
const SCAN_PAGE_BYTES: usize = 1 << 20;
/// A number that no log reaches.
const NEVER: Seq = Seq(u64::MAX);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use stonechat_wire::Request;
    use stonechat_wire::limits::ENTRY_TTL_SECS;

    use super::*;
    use crate::services::testing::{Epoch, world};

    #[test]
    fn a_conversation_id_is_used_once() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        let other = crate::services::testing::Chat::new();
        let create =
            Request::CreateConversation { conversation: chat.id, first: other.first.caps(), token: world.token() };
        assert_eq!(world.refused(&mut session, create), ErrorCode::Conflict);
        let again =
            Request::CreateConversation { conversation: chat.id, first: chat.first.caps(), token: world.token() };
        assert_eq!(world.ask(&mut session, again), Ok(Reply::Done));
    }

    #[test]
    fn only_the_write_capability_of_a_live_epoch_appends() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        assert_eq!(world.append(&mut session, chat.say(&chat.first, b"one")).0, Seq(2));
        let reader = chat.first;
        let stolen = match chat.say(&chat.first, b"x") {
            Request::Append { conversation, epoch, epoch_id, kind, skip, ttl_secs, blob, .. } => {
                Request::Append { conversation, epoch, epoch_id, write: reader.read(), kind, skip, ttl_secs, blob }
            }
            _ => unreachable!(),
        };
        assert_eq!(world.refused(&mut session, stolen), ErrorCode::NotFound, "reading does not let write");
        let elsewhere = Epoch { seq: Seq(2), ..chat.first };
        assert_eq!(world.refused(&mut session, chat.say(&elsewhere, b"x")), ErrorCode::NotFound);
        let unknown = crate::services::testing::Chat::new();
        assert_eq!(world.refused(&mut session, unknown.say(&unknown.first, b"x")), ErrorCode::NotFound);

        let (commit, second) = chat.commit(&chat.first, 3, b"commit", None);
        assert_eq!(world.append(&mut session, commit).0, Seq(3));
        assert_eq!(world.refused(&mut session, chat.say(&chat.first, b"late")), ErrorCode::EpochOver);
        assert_eq!(world.append(&mut session, chat.say(&second, b"in time")).0, Seq(4));
        let wrong_id = Epoch { id: chat.first.id, ..second };
        assert_eq!(world.refused(&mut session, chat.say(&wrong_id, b"x")), ErrorCode::NotFound);
    }

    #[test]
    fn the_first_commit_wins_and_a_later_one_needs_skip() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        let (garbage, fork) = chat.commit(&chat.first, 2, b"garbage", None);
        world.append(&mut session, garbage);
        let (late, _) = chat.commit(&chat.first, 3, b"honest", None);
        assert_eq!(world.refused(&mut session, late), ErrorCode::EpochOver);
        let (blind, _) = chat.commit(&chat.first, 3, b"honest", Some(Seq(1)));
        assert_eq!(world.refused(&mut session, blind), ErrorCode::EpochOver, "it has not seen the garbage");
        let (skipping, honest) = chat.commit(&chat.first, 3, b"honest", Some(Seq(2)));
        assert_eq!(world.append(&mut session, skipping).0, Seq(3));
        // Both branches are live; their readers decide which one counts.
        assert_eq!(world.append(&mut session, chat.say(&honest, b"here")).0, Seq(4));
        assert_eq!(world.append(&mut session, chat.say(&fork, b"there")).0, Seq(5));
        assert_eq!(world.refused(&mut session, chat.say(&chat.first, b"dead")), ErrorCode::EpochOver);
        let (third, _) = chat.commit(&chat.first, 6, b"again", Some(Seq(2)));
        assert_eq!(world.refused(&mut session, third), ErrorCode::EpochOver);
    }

    #[test]
    fn the_same_entry_again_is_stored_once() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        let first = world.append(&mut session, chat.say(&chat.first, b"hello"));
        world.later(5);
        assert_eq!(world.append(&mut session, chat.say(&chat.first, b"hello")), first);
        assert_eq!(world.append(&mut session, chat.say(&chat.first, b"other")).0, Seq(3));
        let (commit, next) = chat.commit(&chat.first, 4, b"commit", None);
        let Request::Append { conversation, epoch, epoch_id, kind, skip, ttl_secs, ref blob, .. } = commit else {
            panic!()
        };
        let write = chat.first.write();
        let again = Request::Append { conversation, epoch, epoch_id, write, kind, skip, ttl_secs, blob: blob.clone() };
        let committed = world.append(&mut session, commit);
        assert_eq!(world.append(&mut session, again), committed, "a commit whose reply was lost");
        assert_eq!(world.append(&mut session, chat.say(&next, b"go")).0, Seq(5));
    }

    #[test]
    fn the_state_outlives_expired_entries_and_the_process() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        let (commit, second) = chat.commit(&chat.first, 2, b"commit", None);
        world.append(&mut session, commit);
        for n in 0..3 {
            world.append(&mut session, chat.say_for(&second, &[n], Some(10)));
        }
        world.later(11);
        // Another process on the same store, after expiry.
        world.services.store().clone().expire_now(world.now.get());
        let mut world2 = crate::services::testing::world();
        world2.now = world.now.clone();
        world2.services = Services::new(
            world.services.store().clone(),
            crate::services::TokenKey::from_seed(&[7; 32]),
            crate::directory::DirectoryKeys::from_seed(&[8; 32]),
            crate::services::Settings::default(),
        )
        .unwrap();
        assert_eq!(world2.refused(&mut session, chat.say(&chat.first, b"late")), ErrorCode::EpochOver);
        assert_eq!(world2.append(&mut session, chat.say_for(&second, b"on", Some(10))).0, Seq(6), "numbers go on");
        world2.later(11);
        let (commit, third) = chat.commit(&second, 7, b"third", None);
        assert_eq!(world2.append(&mut session, commit).0, Seq(7));
        assert_eq!(world2.append(&mut session, chat.say(&third, b"and on")).0, Seq(8));
    }

    #[test]
    fn a_touched_conversation_outlives_its_first_term() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        for n in 0..6_u8 {
            world.later(CONVERSATION_TTL_SECS / 2 + 1);
            world.append(&mut session, chat.say(&chat.first, &[n]));
        }
        world.later(ENTRY_TTL_SECS + 1);
        world.append(&mut session, chat.say(&chat.first, b"still"));
        world.later(CONVERSATION_TTL_SECS + 1);
        assert_eq!(world.refused(&mut session, chat.say(&chat.first, b"gone")), ErrorCode::NotFound);
    }

    #[test]
    fn commits_have_a_rate() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        let mut epoch = chat.first;
        for seq in 2..2 + COMMITS_PER_MINUTE_MAX {
            let (commit, next) = chat.commit(&epoch, seq, &seq.to_be_bytes(), None);
            world.append(&mut session, commit);
            epoch = next;
        }
        let commit = || chat.commit(&epoch, 122, b"more", None).0;
        assert_eq!(world.refused(&mut session, commit()), ErrorCode::Slow);
        world.append(&mut session, chat.say(&epoch, b"talking goes on"));
        world.later(60);
        assert!(world.ask(&mut session, commit()).is_ok());
    }

    #[test]
    fn time_in_a_log_never_goes_back() {
        let world = world();
        let mut session = world.session();
        let chat = world.chat(&mut session);
        let (_, before) = world.append(&mut session, chat.say(&chat.first, b"one"));
        world.now.set(Timestamp(world.now.get().0 - 60_000));
        let (_, after) = world.append(&mut session, chat.say(&chat.first, b"two"));
        assert_eq!(before, after);
    }

    trait ExpireNow {
        fn expire_now(&self, now: Timestamp);
    }

    impl ExpireNow for crate::store::MemoryLog {
        fn expire_now(&self, now: Timestamp) {
            self.expire(now).now_or_never().expect("a store in memory never waits").unwrap();
        }
    }
}
