//! What every keyed log must do: one suite for all implementations, so that the services need not know which they have.
//!
//! `conformance!(open)` makes a test of each case; `open` gives an empty store, and what keeps it alive.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{
    Append, ENTRY_BYTES_MAX, Entry, Expect, KEY_BYTES_MAX, Key, KeyedLog, MemoryLog, Seq, Size, StoreError, Timestamp,
};

/// Makes a test of each case, run on a store that `$open()` gives.
macro_rules! conformance {
    ($open:path) => {
        $crate::store::conformance::conformance!($open:
            appends_are_numbered_densely_from_1
            keys_do_not_touch_each_other
            every_length_survives
            expect_empty_holds_only_while_the_key_does_not_live
            expect_last_holds_only_at_the_end
            expect_last_holds_behind_expired_entries
            of_many_who_expect_an_empty_log_one_wins
            appenders_who_expect_the_last_entry_lose_and_repeat_nothing
            appends_take_the_order_in_which_they_were_first_polled
            reads_are_bounded_and_ascending
            last_of_many_keys_comes_in_their_order
            an_entry_is_gone_when_its_time_comes
            touch_moves_one_expiry
            expire_deletes_what_is_due
            a_number_is_not_used_twice_while_the_key_lives
            a_key_whose_entries_expired_starts_again
            a_queue_outlives_its_entries
            remove_forgets_the_key
            each_entry_is_taken_once
            trim_keeps_what_is_behind
            a_watcher_wakes_for_its_keys_only
            wakes_are_kept_and_coalesced
            hundreds_of_watchers_all_hear
            random_histories_match_the_model
        );
    };
    ($open:path: $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (log, _guard) = $open();
            $crate::store::conformance::$case(log).await;
        }
    )*};
}
pub(crate) use conformance;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const LATER: Timestamp = NOW.plus_secs(60);

fn key(n: u8) -> Key {
    Key::new(7, &[&[n]])
}

async fn append(log: &impl KeyedLog, key: &Key, bytes: &[u8]) -> Seq {
    append_until(log, key, bytes, None).await
}

async fn append_until(log: &impl KeyedLog, key: &Key, bytes: &[u8], expires_at: Option<Timestamp>) -> Seq {
    match log.append(key, Expect::Any, bytes.to_vec(), expires_at, NOW).await.unwrap() {
        Append::Appended(seq) => seq,
        conflict @ Append::Conflict { .. } => panic!("{conflict:?}"),
    }
}

async fn try_append(log: &impl KeyedLog, key: &Key, expect: Expect) -> Append {
    log.append(key, expect, b"x".to_vec(), None, NOW).await.unwrap()
}

async fn all(log: &impl KeyedLog, key: &Key, now: Timestamp) -> Vec<Entry> {
    log.read(key, Seq(0), usize::MAX, usize::MAX, now).await.unwrap()
}

async fn seqs(log: &impl KeyedLog, key: &Key, now: Timestamp) -> Vec<u64> {
    all(log, key, now).await.iter().map(|entry| entry.seq.0).collect()
}

const fn conflict(last: Option<u64>) -> Append {
    Append::Conflict {
        last: match last {
            Some(seq) => Some(Seq(seq)),
            None => None,
        },
    }
}

pub(crate) async fn appends_are_numbered_densely_from_1(log: impl KeyedLog) {
    assert_eq!(log.last(&key(1), NOW).await.unwrap(), None);
    for n in 1..=5_u64 {
        assert_eq!(append(&log, &key(1), &[n as u8]).await, Seq(n));
    }
    let entries = all(&log, &key(1), NOW).await;
    assert_eq!(
        entries.iter().map(|e| (e.seq.0, e.bytes[0])).collect::<Vec<_>>(),
        [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    );
    assert_eq!(log.last(&key(1), NOW).await.unwrap().as_ref(), entries.last());
}

pub(crate) async fn keys_do_not_touch_each_other(log: impl KeyedLog) {
    let long = vec![9; KEY_BYTES_MAX - 1];
    let keys = [
        Key::new(1, &[]),
        Key::new(1, &[&[0]]),
        Key::new(1, &[&[0, 0]]),
        Key::new(1, &[&[0xff; 64]]),
        Key::new(2, &[&long]),
        Key::new(2, &[&long[1..]]),
    ];
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(append(&log, key, &[n as u8]).await, Seq(1));
    }
    log.remove(&keys[1]).await.unwrap();
    for (n, key) in keys.iter().enumerate() {
        let bytes: Vec<_> = all(&log, key, NOW).await.into_iter().map(|entry| entry.bytes).collect();
        assert_eq!(bytes, if n == 1 { vec![] } else { vec![vec![n as u8]] });
    }
}

pub(crate) async fn every_length_survives(log: impl KeyedLog) {
    let lengths = [0, 1, 63, 64, 4_095, 4_096, 16_383, 16_384, ENTRY_BYTES_MAX];
    for (n, len) in lengths.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + n) as u8).collect();
        append(&log, &key(1), &bytes).await;
        assert!(log.last(&key(1), NOW).await.unwrap().unwrap().bytes == bytes, "{len}");
    }
    let stored: Vec<usize> = all(&log, &key(1), NOW).await.iter().map(|entry| entry.bytes.len()).collect();
    assert_eq!(stored, lengths);
    let size = log.count(&key(1), NOW).await.unwrap();
    assert_eq!(size, Size { entries: 9, bytes: lengths.iter().map(|len| *len as u64).sum() });
    let too_large = log.append(&key(1), Expect::Any, vec![0; ENTRY_BYTES_MAX + 1], None, NOW).await;
    assert_eq!(too_large, Err(StoreError::TooLarge { bytes: ENTRY_BYTES_MAX + 1 }));
}

pub(crate) async fn expect_empty_holds_only_while_the_key_does_not_live(log: impl KeyedLog) {
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, Append::Appended(Seq(1)));
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, conflict(Some(1)));
    log.trim(&key(1), Seq(1)).await.unwrap();
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, conflict(Some(1)));
    log.remove(&key(1)).await.unwrap();
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, Append::Appended(Seq(1)));
}

pub(crate) async fn expect_last_holds_only_at_the_end(log: impl KeyedLog) {
    for seq in [0, 1, u64::MAX] {
        assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(seq))).await, conflict(None));
    }
    append(&log, &key(1), b"1").await;
    assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(1))).await, Append::Appended(Seq(2)));
    for seq in [0, 1, 3, u64::MAX] {
        assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(seq))).await, conflict(Some(2)));
    }
    assert_eq!(seqs(&log, &key(1), NOW).await, [1, 2]);
    // What a queue's consumer took does not stand behind anything.
    log.trim(&key(1), Seq(2)).await.unwrap();
    assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(2))).await, Append::Appended(Seq(3)));
}

pub(crate) async fn expect_last_holds_behind_expired_entries(log: impl KeyedLog) {
    append(&log, &key(1), b"stays").await;
    append_until(&log, &key(1), b"goes", Some(LATER)).await;
    append_until(&log, &key(1), b"goes", Some(LATER)).await;
    let expect = async |seq| log.append(&key(1), Expect::Last(Seq(seq)), Vec::new(), Some(LATER), LATER).await.unwrap();
    assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(1))).await, conflict(Some(3)));
    // Due, and not deleted yet. The new entry is due at once, too.
    assert_eq!(log.last(&key(1), LATER).await.unwrap().unwrap().seq, Seq(1));
    assert_eq!(expect(1).await, Append::Appended(Seq(4)));
    assert_eq!(expect(0).await, conflict(Some(4)));
    // Deleted: named by the last live entry, or by the last number.
    assert_eq!(log.expire(LATER).await.unwrap(), 3);
    assert_eq!(expect(1).await, Append::Appended(Seq(5)));
    assert_eq!(expect(5).await, Append::Appended(Seq(6)));
    assert_eq!(expect(7).await, conflict(Some(6)));
}

pub(crate) async fn of_many_who_expect_an_empty_log_one_wins(log: impl KeyedLog) {
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let log = log.clone();
        tasks.spawn(async move { try_append(&log, &key(1), Expect::Empty).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| **result == Append::Appended(Seq(1))).count(), 1);
    assert_eq!(results.iter().filter(|result| **result == conflict(Some(1))).count(), 31);
}

pub(crate) async fn appenders_who_expect_the_last_entry_lose_and_repeat_nothing(log: impl KeyedLog) {
    const TASKS: u8 = 16;
    const EACH: u8 = 12;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let log = log.clone();
        tasks.spawn(async move {
            for n in 0..EACH {
                let mut last = log.last(&key(1), NOW).await.unwrap().map(|entry| entry.seq);
                loop {
                    let expect = last.map_or(Expect::Empty, Expect::Last);
                    match log.append(&key(1), expect, vec![task, n], None, NOW).await.unwrap() {
                        Append::Appended(seq) => {
                            assert_eq!(seq.0, last.map_or(0, |last| last.0) + 1);
                            break;
                        }
                        Append::Conflict { last: now } => last = now,
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let entries = all(&log, &key(1), NOW).await;
    let total = u64::from(TASKS) * u64::from(EACH);
    assert_eq!(entries.iter().map(|e| e.seq.0).collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());
    assert_eq!(entries.iter().map(|e| &e.bytes).collect::<BTreeSet<_>>().len() as u64, total);
}

pub(crate) async fn appends_take_the_order_in_which_they_were_first_polled(log: impl KeyedLog) {
    let log = &log;
    let mut appends: Vec<_> = (0..50_u8).map(|n| Box::pin(async move { append(log, &key(1), &[n]).await })).collect();
    let mut done = Vec::new();
    for append in &mut appends {
        done.push(append.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    }
    for (n, (append, done)) in appends.into_iter().zip(done).enumerate() {
        let seq = match done {
            Poll::Ready(seq) => seq,
            Poll::Pending => append.await,
        };
        assert_eq!(seq.0, n as u64 + 1);
    }
}

pub(crate) async fn reads_are_bounded_and_ascending(log: impl KeyedLog) {
    for _ in 0..10 {
        append(&log, &key(1), &[0; 100]).await;
    }
    let read = async |after, entries_max, bytes_max| -> Vec<u64> {
        let page = log.read(&key(1), Seq(after), entries_max, bytes_max, NOW).await.unwrap();
        page.iter().map(|entry| entry.seq.0).collect()
    };
    assert_eq!(read(0, 3, usize::MAX).await, [1, 2, 3]);
    assert_eq!(read(7, 5, usize::MAX).await, [8, 9, 10]);
    assert_eq!(read(0, 0, usize::MAX).await, [0_u64; 0]);
    assert_eq!(read(0, 9, 300).await, [1, 2, 3]);
    assert_eq!(read(0, 9, 299).await, [1, 2]);
    assert_eq!(read(4, 9, 0).await, [5]);
    assert_eq!(read(10, 9, 9).await, [0_u64; 0]);
    assert_eq!(read(u64::MAX, 9, 9).await, [0_u64; 0]);
}

pub(crate) async fn last_of_many_keys_comes_in_their_order(log: impl KeyedLog) {
    for n in [1, 2, 2, 3] {
        append(&log, &key(n), &[n]).await;
    }
    let last = log.last_many(&[key(3), key(9), key(2), key(3)], NOW).await.unwrap();
    let seqs: Vec<_> = last.iter().map(|entry| entry.as_ref().map(|e| (e.bytes[0], e.seq.0))).collect();
    assert_eq!(seqs, [Some((3, 1)), None, Some((2, 2)), Some((3, 1))]);
    assert_eq!(log.last_many(&[], NOW).await.unwrap(), [None::<Entry>; 0]);
}

pub(crate) async fn an_entry_is_gone_when_its_time_comes(log: impl KeyedLog) {
    append_until(&log, &key(1), b"goes", Some(LATER)).await;
    append_until(&log, &key(1), b"stays", None).await;
    append_until(&log, &key(1), b"goes", Some(LATER)).await;
    let before = Timestamp(LATER.0 - 1);
    assert_eq!(seqs(&log, &key(1), before).await, [1, 2, 3]);
    assert_eq!(all(&log, &key(1), before).await[0].expires_at, Some(LATER));
    assert_eq!(log.count(&key(1), before).await.unwrap(), Size { entries: 3, bytes: 13 });
    for _ in 0..2 {
        assert_eq!(seqs(&log, &key(1), LATER).await, [2]);
        assert_eq!(log.last(&key(1), LATER).await.unwrap().unwrap().seq, Seq(2));
        assert_eq!(log.last_many(&[key(1)], LATER).await.unwrap()[0].as_ref().unwrap().seq, Seq(2));
        assert_eq!(log.count(&key(1), LATER).await.unwrap(), Size { entries: 1, bytes: 5 });
        log.expire(LATER).await.unwrap();
    }
    append_until(&log, &key(2), b"goes", Some(LATER)).await;
    append_until(&log, &key(2), b"stays", None).await;
    assert_eq!(log.take_first(&key(2), LATER).await.unwrap().unwrap().seq, Seq(2));
}

pub(crate) async fn touch_moves_one_expiry(log: impl KeyedLog) {
    for _ in 0..4 {
        append_until(&log, &key(1), b"", Some(LATER)).await;
    }
    append(&log, &key(1), b"stays").await;
    assert!(log.touch(&key(1), Seq(2), LATER.plus_secs(60)).await.unwrap());
    assert!(log.touch(&key(1), Seq(3), NOW).await.unwrap());
    assert!(log.touch(&key(1), Seq(5), NOW).await.unwrap());
    assert!(!log.touch(&key(1), Seq(6), NOW).await.unwrap());
    assert!(!log.touch(&key(2), Seq(1), NOW).await.unwrap());
    assert_eq!(seqs(&log, &key(1), NOW).await, [1, 2, 4]);
    assert_eq!(log.expire(LATER).await.unwrap(), 4);
    assert_eq!(seqs(&log, &key(1), LATER).await, [2]);
    assert!(!log.touch(&key(1), Seq(3), LATER.plus_secs(60)).await.unwrap());
    assert_eq!(log.expire(LATER.plus_secs(60)).await.unwrap(), 1);
}

pub(crate) async fn expire_deletes_what_is_due(log: impl KeyedLog) {
    const DUE: usize = 1_300;
    let mut tasks = JoinSet::new();
    for n in 0..DUE {
        let log = log.clone();
        tasks.spawn(async move {
            append_until(&log, &key(n as u8), b"goes", Some(LATER)).await;
        });
    }
    tasks.join_all().await;
    for n in 0..10 {
        append_until(&log, &key(n), b"stays", Some(LATER.plus_millis(1))).await;
    }
    assert_eq!(log.expire(Timestamp(LATER.0 - 1)).await.unwrap(), 0);
    assert_eq!(log.expire(LATER).await.unwrap(), DUE as u64);
    assert_eq!(log.expire(LATER).await.unwrap(), 0);
    for n in 0..=u8::MAX {
        // Asked with an earlier time, what was deleted does not come back.
        assert_eq!(all(&log, &key(n), NOW).await.len(), usize::from(n < 10));
    }
}

pub(crate) async fn a_number_is_not_used_twice_while_the_key_lives(log: impl KeyedLog) {
    append(&log, &key(1), b"stays").await;
    for round in 0..3 {
        assert_eq!(append_until(&log, &key(1), b"goes", Some(LATER)).await, Seq(2 + round));
        assert_eq!(log.expire(LATER).await.unwrap(), 1);
    }
    assert_eq!(append(&log, &key(1), b"").await, Seq(5));
    log.trim(&key(1), Seq(5)).await.unwrap();
    assert_eq!(append(&log, &key(1), b"").await, Seq(6));
    assert_eq!(log.take_first(&key(1), NOW).await.unwrap().unwrap().seq, Seq(6));
    assert_eq!(append(&log, &key(1), b"").await, Seq(7));
}

pub(crate) async fn a_key_whose_entries_expired_starts_again(log: impl KeyedLog) {
    append_until(&log, &key(1), b"goes", Some(LATER)).await;
    append_until(&log, &key(1), b"goes first", Some(NOW)).await;
    assert_eq!(log.expire(NOW).await.unwrap(), 1);
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, conflict(Some(2)));
    assert_eq!(log.expire(LATER).await.unwrap(), 1);
    assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(2))).await, conflict(None));
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, Append::Appended(Seq(1)));
}

pub(crate) async fn a_queue_outlives_its_entries(log: impl KeyedLog) {
    append_until(&log, &key(1), b"trimmed", Some(LATER)).await;
    log.trim(&key(1), Seq(1)).await.unwrap();
    append_until(&log, &key(2), b"taken", Some(LATER)).await;
    log.take_first(&key(2), NOW).await.unwrap();
    for round in 2..4 {
        for n in [1, 2] {
            assert_eq!(append_until(&log, &key(n), b"goes", Some(LATER)).await, Seq(round));
        }
        assert_eq!(log.expire(LATER).await.unwrap(), 2);
    }
    assert_eq!(try_append(&log, &key(1), Expect::Empty).await, conflict(Some(3)));
    assert_eq!(try_append(&log, &key(2), Expect::Last(Seq(3))).await, Append::Appended(Seq(4)));
}

pub(crate) async fn remove_forgets_the_key(log: impl KeyedLog) {
    for _ in 0..3 {
        append(&log, &key(1), b"").await;
    }
    log.take_first(&key(1), NOW).await.unwrap();
    log.remove(&key(1)).await.unwrap();
    assert_eq!(seqs(&log, &key(1), NOW).await, [0_u64; 0]);
    assert_eq!(append(&log, &key(1), b"").await, Seq(1));
    log.remove(&key(1)).await.unwrap();
    log.remove(&key(9)).await.unwrap();
    assert_eq!(try_append(&log, &key(1), Expect::Last(Seq(1))).await, conflict(None));
}

pub(crate) async fn each_entry_is_taken_once(log: impl KeyedLog) {
    for n in 0..100 {
        append(&log, &key(1), &[n]).await;
    }
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let log = log.clone();
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while let Some(entry) = log.take_first(&key(1), NOW).await.unwrap() {
                assert!(taken.last() < Some(&entry.bytes));
                taken.push(entry.bytes);
            }
            taken
        });
    }
    let mut taken = tasks.join_all().await.concat();
    taken.sort();
    assert_eq!(taken, (0..100).map(|n| vec![n]).collect::<Vec<_>>());
    assert_eq!(log.take_first(&key(2), NOW).await.unwrap(), None);
    assert_eq!(append(&log, &key(1), b"").await, Seq(101));
}

pub(crate) async fn trim_keeps_what_is_behind(log: impl KeyedLog) {
    for _ in 0..5 {
        append(&log, &key(1), b"").await;
    }
    for (upto, left) in [(0, vec![1, 2, 3, 4, 5]), (2, vec![3, 4, 5]), (2, vec![3, 4, 5]), (u64::MAX, vec![])] {
        log.trim(&key(1), Seq(upto)).await.unwrap();
        assert_eq!(seqs(&log, &key(1), NOW).await, left);
    }
    assert_eq!(append(&log, &key(1), b"").await, Seq(6));
    log.trim(&key(2), Seq(9)).await.unwrap();
    assert_eq!(try_append(&log, &key(2), Expect::Empty).await, Append::Appended(Seq(1)));
}

pub(crate) async fn a_watcher_wakes_for_its_keys_only(log: impl KeyedLog) {
    append(&log, &key(1), b"before").await;
    let mut watcher = log.watch([key(1), key(2)]);
    assert_eq!(watcher.take(), BTreeSet::new());
    let _ = try_append(&log, &key(2), Expect::Last(Seq(5))).await;
    append(&log, &key(3), b"").await;
    assert_eq!(watcher.take(), BTreeSet::new());
    append(&log, &key(2), b"").await;
    assert_eq!(watcher.changed().await, [key(2)].into());
    watcher.add(key(3));
    watcher.remove(&key(2));
    let waiting = tokio::spawn(async move { (watcher.changed().await, watcher) });
    append(&log, &key(2), b"").await;
    append(&log, &key(3), b"").await;
    let (changed, _watcher) = timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_eq!(changed, [key(3)].into());
}

pub(crate) async fn wakes_are_kept_and_coalesced(log: impl KeyedLog) {
    let mut watcher = log.watch([key(1), key(2)]);
    for _ in 0..50 {
        append(&log, &key(1), b"").await;
    }
    append(&log, &key(2), b"").await;
    // A future that was dropped took nothing with it.
    assert!(pin!(watcher.changed()).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    append(&log, &key(2), b"").await;
    append(&log, &key(1), b"").await;
    assert_eq!(watcher.changed().await, [key(1), key(2)].into());
    assert_eq!(watcher.take(), BTreeSet::new());
}

pub(crate) async fn hundreds_of_watchers_all_hear(log: impl KeyedLog) {
    let mut tasks = JoinSet::new();
    for n in 0..=u8::MAX {
        let mut watcher = log.watch([key(n), key(n / 2)]);
        let log = log.clone();
        tasks.spawn(async move {
            let (mut seen, mut heard) = (0, BTreeSet::new());
            // Reads behind its cursor on each wake, as a connection does. The wake for the other key may come first, when
            // both entries stand already: a wake that never comes is what the time-out below finds.
            while seen < 2 || !heard.contains(&key(n)) {
                heard.extend(watcher.changed().await);
                seen = log.read(&key(n), Seq(0), 9, 9, NOW).await.unwrap().len();
            }
        });
    }
    for _ in 0..2 {
        let mut appends = JoinSet::new();
        for n in 0..=u8::MAX {
            let log = log.clone();
            appends.spawn(async move { append(&log, &key(n), b"").await });
        }
        appends.join_all().await;
    }
    timeout(Duration::from_secs(30), tasks.join_all()).await.unwrap();
}

/// The same random calls to this store and to the one in memory, which is short enough to be read as the specification.
pub(crate) async fn random_histories_match_the_model(log: impl KeyedLog) {
    let model = MemoryLog::new();
    let mut state = 0x5eed_u64;
    let mut random = |below: u64| {
        // SplitMix64, Steele et al. 2014.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    };
    let mut now = NOW;
    for step in 0..1_500_u32 {
        now = now.plus_millis(random(3));
        let (key, seq, until) = (key(random(6) as u8), Seq(random(12)), now.plus_millis(random(60)));
        match random(16) {
            0..=7 => {
                let expect = [Expect::Any, Expect::Any, Expect::Empty, Expect::Last(seq)][random(4) as usize];
                let expires_at = (random(8) > 0).then_some(until);
                let bytes = step.to_be_bytes().to_vec();
                let ours = log.append(&key, expect, bytes.clone(), expires_at, now).await;
                assert_eq!(ours, model.append(&key, expect, bytes, expires_at, now).await, "{step}");
            }
            8 => assert_eq!(log.take_first(&key, now).await, model.take_first(&key, now).await, "{step}"),
            9 => assert_eq!(log.touch(&key, seq, until).await, model.touch(&key, seq, until).await, "{step}"),
            10 => assert_eq!(log.trim(&key, seq).await, model.trim(&key, seq).await, "{step}"),
            11 if random(4) == 0 => assert_eq!(log.remove(&key).await, model.remove(&key).await, "{step}"),
            12 => assert_eq!(log.expire(now).await, model.expire(now).await, "{step}"),
            13 => assert_eq!(log.count(&key, now).await, model.count(&key, now).await, "{step}"),
            14 => assert_eq!(log.last(&key, now).await, model.last(&key, now).await, "{step}"),
            _ => {
                let (entries_max, bytes_max) = (random(9) as usize, random(40) as usize);
                let ours = log.read(&key, seq, entries_max, bytes_max, now).await;
                assert_eq!(ours, model.read(&key, seq, entries_max, bytes_max, now).await, "{step}");
            }
        }
    }
}
