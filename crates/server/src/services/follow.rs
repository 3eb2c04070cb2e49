//! Following a conversation: the entries that stand on one epoch, first those that are there, then live.
//!
//! A read capability opens exactly the entries of its epoch and the commits that end it. So a removed member, who has no
//! later capability, is given nothing later, whatever cursor it asks from.
//!
//! What is live is read from the store behind a cursor, never queued: a slow reader costs no memory.

use std::collections::{BTreeMap, VecDeque};

use stonechat_wire::limits::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, SUBSCRIPTIONS_MAX};
use stonechat_wire::message::Page;
use stonechat_wire::{Capability, ConversationId, Entry, ErrorCode, Failure, List, Push, Reply, Seq, Timestamp};

use super::conversations::record_of;
use super::{Services, Session, keys, refuse};
use crate::store::{ENTRY_BYTES_MAX, KeyedLog};

/// What a connection follows.
#[derive(Default)]
pub(crate) struct Follows {
    cursors: BTreeMap<ConversationId, Cursor>,
    /// Those that may have something to read, each at most once.
    behind: VecDeque<ConversationId>,
}

struct Cursor {
    epoch: Seq,
    /// Everything up to here was read.
    after: Seq,
    /// Stands in `behind`.
    queued: bool,
    /// The last page said that more would come.
    owes_page: bool,
}

impl Follows {
    /// Something was appended to this conversation.
    pub(crate) fn wake(&mut self, conversation: &ConversationId) {
        if let Some(cursor) = self.cursors.get_mut(conversation)
            && !cursor.queued
        {
            cursor.queued = true;
            self.behind.push_back(*conversation);
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.behind.is_empty()
    }
}

impl<S: KeyedLog> Services<S> {
    /// [`stonechat_wire::Request::Follow`]: the first page; the rest is pushed.
    pub(crate) async fn follow(
        &self,
        session: &mut Session,
        now: Timestamp,
        conversation: ConversationId,
        epoch: Seq,
        read: &Capability,
        after: Seq,
    ) -> Result<Reply, Failure> {
        let key = keys::conversation(&conversation);
        let commit = self.commit_at(&key, epoch, now).await?.ok_or(refuse(ErrorCode::NotFound))?;
        if !read.opens(&commit.caps.read) {
            return Err(refuse(ErrorCode::NotFound));
        }
        let follows = &session.follows.cursors;
        if follows.len() >= SUBSCRIPTIONS_MAX && !follows.contains_key(&conversation) {
            return Err(refuse(ErrorCode::Full));
        }
        // Before the first read: what lands in between wakes the connection.
        session.watch(&self.store, key.clone());
        // Entries that stand on a commit come after it.
        let cursor = Cursor { epoch, after: after.max(epoch), queued: false, owes_page: false };
        let (page, cursor) = self.page(conversation, cursor, now).await?;
        let more = page.more;
        let queued = session.follows.behind.contains(&conversation);
        session.follows.cursors.insert(conversation, Cursor { queued, owes_page: more, ..cursor });
        if more {
            session.follows.wake(&conversation);
        }
        Ok(Reply::Following(page))
    }

    /// [`stonechat_wire::Request::Unfollow`].
    pub(crate) fn unfollow(&self, session: &mut Session, conversation: &ConversationId) -> Reply {
        if session.follows.cursors.remove(conversation).is_some() {
            session.unwatch(&keys::conversation(conversation));
        }
        session.follows.behind.retain(|queued| queued != conversation);
        Reply::Done
    }

    /// The next page of the conversation that has waited longest, if it has one.
    pub(crate) async fn next_entries(&self, session: &mut Session, now: Timestamp) -> Result<Option<Push>, Failure> {
        let follows = &mut session.follows;
        let Some(conversation) = follows.behind.pop_front() else { return Ok(None) };
        let Some(cursor) = follows.cursors.get_mut(&conversation) else { return Ok(None) };
        cursor.queued = false;
        let (epoch, owed) = (cursor.epoch, cursor.owes_page);
        let from = Cursor { epoch, after: cursor.after, queued: false, owes_page: owed };
        let (page, read) = self.page(conversation, from, now).await?;
        *cursor = read;
        if page.more {
            follows.wake(&conversation);
        }
        // An empty page says one thing: that the reader has all there is, after one that promised more.
        let silent = page.entries.is_empty() && (page.more || !owed);
        Ok((!silent).then_some(Push::Entries { conversation, epoch, page }))
    }

    /// Reads on from a cursor: a bounded number of records, and of those the ones that stand on its epoch. A page ends
    /// behind a commit, because its reader will most likely follow the next epoch from there.
    async fn page(
        &self,
        conversation: ConversationId,
        mut cursor: Cursor,
        now: Timestamp,
    ) -> Result<(Page, Cursor), Failure> {
        let key = keys::conversation(&conversation);
        let records = self.read(&key, cursor.after, PAGE_ENTRIES_MAX, READ_BYTES_MAX, now).await?;
        let read_bytes: usize = records.iter().map(|stored| stored.bytes.len()).sum();
        // Nothing was left behind for lack of room: any entry would still have fitted.
        let is_end = records.len() < PAGE_ENTRIES_MAX && read_bytes <= READ_BYTES_MAX - ENTRY_BYTES_MAX;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for stored in &records {
            let record = record_of(stored)?;
            if record.epoch != cursor.epoch || stored.seq == cursor.epoch {
                cursor.after = stored.seq;
                continue;
            }
            bytes += record.blob.len();
            if bytes > PAGE_BYTES_MAX && !entries.is_empty() {
                break;
            }
            cursor.after = stored.seq;
            let commit = record.opens.is_some();
            entries.push(Entry { seq: stored.seq, time: record.time, kind: record.kind, blob: record.blob });
            if commit {
                break;
            }
        }
        let more = !is_end || records.last().is_some_and(|last| last.seq > cursor.after);
        cursor.owes_page = if entries.is_empty() { more && cursor.owes_page } else { more };
        Ok((Page { entries: List::new(entries).expect("read at most PAGE_ENTRIES_MAX"), more }, cursor))
    }
}

/// Read at once: a page, and room to see that nothing follows it.
const READ_BYTES_MAX: usize = PAGE_BYTES_MAX + ENTRY_BYTES_MAX;

#[cfg(test)]
mod tests {
    use stonechat_wire::Request;

    use super::*;
    use crate::services::testing::{Chat, Epoch, World, world};

    fn first_page(world: &World, session: &mut Session, request: Request) -> Page {
        match world.ask(session, request) {
            Ok(Reply::Following(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    fn pushed(world: &World, session: &mut Session) -> Vec<u64> {
        let pages = world.pushes(session).into_iter().map(|push| match push {
            Push::Entries { page, .. } => page,
            Push::Envelopes(_) => panic!("an anonymous connection has no inbox"),
        });
        pages.flat_map(|page| page.entries.into_vec()).map(|entry| entry.seq.0).collect()
    }

    fn seqs(page: &Page) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.seq.0).collect()
    }

    /// An epoch that ends in a commit (4), and the next with one entry (5).
    fn two_epochs(world: &World, writer: &mut Session) -> (Chat, Epoch) {
        let chat = world.chat(writer);
        world.append(writer, chat.say(&chat.first, b"2"));
        world.append(writer, chat.say(&chat.first, b"3"));
        let (commit, second) = chat.commit(&chat.first, 4, b"4", None);
        world.append(writer, commit);
        world.append(writer, chat.say(&second, b"5"));
        (chat, second)
    }

    #[test]
    fn a_reader_gets_its_epoch_up_to_and_with_the_commit_that_ends_it() {
        let world = world();
        let (mut writer, mut reader) = (world.session(), world.session());
        let (chat, second) = two_epochs(&world, &mut writer);
        let page = first_page(&world, &mut reader, chat.follow(&chat.first, Seq(0)));
        assert_eq!((seqs(&page), page.more), (vec![2, 3, 4], true));
        assert_eq!(&*page.entries[0].blob, b"2");
        world.append(&mut writer, chat.say(&second, b"6"));
        assert_eq!(pushed(&world, &mut reader), [0_u64; 0], "nothing of the next epoch");
        assert_eq!(seqs(&first_page(&world, &mut reader, chat.follow(&chat.first, Seq(3)))), [4]);
        assert_eq!(seqs(&first_page(&world, &mut reader, chat.follow(&second, Seq(4)))), [5, 6]);
    }

    #[test]
    fn a_removed_member_reads_nothing_after() {
        let world = world();
        let (mut writer, mut removed) = (world.session(), world.session());
        let (chat, second) = two_epochs(&world, &mut writer);
        let guess = Epoch { seq: second.seq, ..chat.first };
        let refused = |session: &mut Session, epoch: &Epoch| world.refused(session, chat.follow(epoch, Seq(0)));
        assert_eq!(
            refused(&mut removed, &guess),
            ErrorCode::NotFound,
            "its old capability does not open the new epoch"
        );
        let entry = Epoch { seq: Seq(2), ..chat.first };
        assert_eq!(refused(&mut removed, &entry), ErrorCode::NotFound, "an entry is not an epoch");
        first_page(&world, &mut removed, chat.follow(&chat.first, Seq(5)));
        for blob in [b"6", b"7"] {
            world.append(&mut writer, chat.say(&second, blob));
        }
        assert_eq!(pushed(&world, &mut removed), [0_u64; 0]);
    }

    #[test]
    fn what_is_new_is_pushed_live_and_once() {
        let world = world();
        let (mut writer, mut reader) = (world.session(), world.session());
        let chat = world.chat(&mut writer);
        let page = first_page(&world, &mut reader, chat.follow(&chat.first, Seq(0)));
        assert_eq!((seqs(&page), page.more), (vec![], false));
        world.append(&mut writer, chat.say(&chat.first, b"2"));
        world.append(&mut writer, chat.say(&chat.first, b"3"));
        assert_eq!(pushed(&world, &mut reader), [2, 3]);
        assert_eq!(pushed(&world, &mut reader), [0_u64; 0]);
        let unfollow = Request::Unfollow { conversation: chat.id };
        assert_eq!(world.ask(&mut reader, unfollow), Ok(Reply::Done));
        world.append(&mut writer, chat.say(&chat.first, b"4"));
        assert_eq!(pushed(&world, &mut reader), [0_u64; 0]);
    }

    #[test]
    fn both_commits_of_a_fork_reach_the_reader_of_their_parent() {
        let world = world();
        let (mut writer, mut reader) = (world.session(), world.session());
        let chat = world.chat(&mut writer);
        first_page(&world, &mut reader, chat.follow(&chat.first, Seq(0)));
        world.append(&mut writer, chat.commit(&chat.first, 2, b"garbage", None).0);
        let (honest, third) = chat.commit(&chat.first, 3, b"honest", Some(Seq(2)));
        world.append(&mut writer, honest);
        world.append(&mut writer, chat.say(&third, b"4"));
        assert_eq!(pushed(&world, &mut reader), [2, 3]);
    }

    #[test]
    fn a_long_log_comes_in_pages_and_the_last_says_so() {
        let world = world();
        let (mut writer, mut reader) = (world.session(), world.session());
        let chat = world.chat(&mut writer);
        let count = PAGE_ENTRIES_MAX as u64 * 2 + 10;
        for n in 0..count {
            world.append(&mut writer, chat.say(&chat.first, &n.to_be_bytes()));
        }
        let page = first_page(&world, &mut reader, chat.follow(&chat.first, Seq(0)));
        assert!(page.more && page.entries.len() <= PAGE_ENTRIES_MAX);
        let mut seen = seqs(&page);
        let pushes = world.pushes(&mut reader);
        let Some(Push::Entries { page: last, .. }) = pushes.last() else { panic!() };
        assert!(!last.more);
        for push in &pushes {
            if let Push::Entries { page, .. } = push {
                seen.extend(seqs(page));
            }
        }
        assert_eq!(seen, (2..count + 2).collect::<Vec<_>>());
    }

    #[test]
    fn pages_have_a_bound_in_bytes_and_a_larger_entry_travels_alone() {
        let world = world();
        let (mut writer, mut reader) = (world.session(), world.session());
        let chat = world.chat(&mut writer);
        let large = stonechat_wire::limits::ENTRY_BYTES_MAX;
        for (n, len) in [100_000, 100_000, 100_000, large, 10].into_iter().enumerate() {
            world.append(&mut writer, chat.say(&chat.first, &vec![n as u8; len]));
        }
        let mut pages = vec![seqs(&first_page(&world, &mut reader, chat.follow(&chat.first, Seq(0))))];
        for push in world.pushes(&mut reader) {
            let Push::Entries { page, .. } = push else { panic!() };
            pages.push(seqs(&page));
        }
        assert_eq!(pages, [vec![2, 3], vec![4], vec![5], vec![6]]);
    }
}
