use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::testing::{open, open_at, open_in_three, postgres};
use super::*;
use crate::store::Append;

mod one_database {
    use super::open;
    use crate::store::conformance::conformance;
    conformance!(open);
}

mod three_databases {
    use super::open_in_three;
    use crate::store::conformance::conformance;
    conformance!(open_in_three);
}

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn key(n: u8) -> Key {
    Key::new(7, &[&[n]])
}

async fn append(log: &PostgresLog, key: &Key, expect: Expect, bytes: &[u8]) -> Result<Append, StoreError> {
    log.append(key, expect, bytes.to_vec(), None, NOW).await
}

async fn stored(log: &PostgresLog, key: &Key) -> Vec<Vec<u8>> {
    let entries = log.read(key, Seq(0), usize::MAX, usize::MAX, NOW).await.unwrap();
    for (entry, seq) in entries.iter().zip(1..) {
        assert_eq!(entry.seq, Seq(seq));
    }
    entries.into_iter().map(|entry| entry.bytes).collect()
}

/// An operator's session.
async fn operator(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn a_keys_lane_is_for_ever() {
    let lanes: Vec<u16> = (0..4).map(|n| lane_of(&key(n))).collect();
    assert_eq!(lanes, [611, 902, 227, 836]);
}

#[test]
fn every_lane_is_in_one_database() {
    for count in [1, 2, 3, 7] {
        let options = PostgresOptions::even((0..count).map(|n| format!("host=h{n}")));
        let table = table(&options.shards).unwrap();
        let sizes = (0..count).map(|n| table.iter().filter(|shard| **shard == n).count());
        assert!(sizes.into_iter().all(|size| size.abs_diff(1_024 / count) <= 1));
    }
    let shard = |first_lane, last_lane| Shard { url: String::new(), first_lane, last_lane };
    let wrong = |shards: &[Shard]| match table(shards).unwrap_err() {
        OpenError::Lanes { lane, times } => (lane, times),
        other => panic!("{other}"),
    };
    assert_eq!(wrong(&[shard(0, 500), shard(502, 1_023)]), (501, 0));
    assert_eq!(wrong(&[shard(0, 500), shard(500, 1_023)]), (500, 2));
    assert_eq!(wrong(&[]), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_other_lanes_is_refused() {
    let databases = [postgres(None), postgres(None)];
    drop(open_at(&databases).await);
    let swapped = PostgresOptions::even(databases.iter().rev().map(|database| database.url.clone()));
    let error = PostgresLog::open(&swapped).await.unwrap_err();
    assert!(matches!(error, OpenError::OtherLanes { first: 512, last: 1_023, .. }), "{error}");
    let alone = PostgresOptions::even([databases[0].url.clone()]);
    assert!(matches!(PostgresLog::open(&alone).await, Err(OpenError::OtherLanes { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_later_server_is_refused() {
    let (_log, databases) = open();
    operator(&databases[0].url).await.batch_execute("UPDATE store SET version = 3, oldest = 2").await.unwrap();
    let options = PostgresOptions::even([databases[0].url.clone()]);
    let error = PostgresLog::open(&options).await.unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 3, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_database_is_named() {
    let options = PostgresOptions::even(["host=/nowhere user=u password=secret dbname=d".to_owned()]);
    let error = PostgresLog::open(&options).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/d") && !error.contains("secret"), "{error}");
    let options = PostgresOptions::even(["nonsense".to_owned()]);
    assert!(matches!(PostgresLog::open(&options).await, Err(OpenError::Url(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_together_make_one_store() {
    let databases = [postgres(None)];
    let opened = (0..8).map(|_| open_at(&databases));
    let logs = futures_util::future::join_all(opened).await;
    for (n, log) in logs.iter().enumerate() {
        assert_eq!(append(log, &key(1), Expect::Any, &[n as u8]).await, Ok(Append::Appended(Seq(n as u64 + 1))));
    }
}

/// Eight writers on each of three servers, all on few keys, with every kind of expectation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_write_the_same_keys_without_gaps_doubles_or_deadlocks() {
    let databases = [postgres(None)];
    let mut tasks = JoinSet::new();
    for server in 0..3_u8 {
        let log = open_at(&databases).await;
        for writer in 0..8_u8 {
            let log = log.clone();
            tasks.spawn(async move {
                let mut made = Vec::new();
                for n in 0..40_u8 {
                    let (key, bytes) = (key(n % 5), vec![server, writer, n]);
                    let expect = match log.last(&key, NOW).await.unwrap() {
                        _ if n % 3 == 0 => Expect::Any,
                        None => Expect::Empty,
                        Some(entry) => Expect::Last(entry.seq),
                    };
                    if let Append::Appended(seq) = append(&log, &key, expect, &bytes).await.unwrap() {
                        made.push((key, seq, bytes));
                    }
                }
                made
            });
        }
    }
    let made = tasks.join_all().await.concat();
    let log = open_at(&databases).await;
    let mut all = BTreeSet::new();
    for n in 0..5 {
        for (bytes, seq) in stored(&log, &key(n)).await.into_iter().zip(1..) {
            all.insert((key(n), Seq(seq), bytes));
        }
    }
    assert!(made.len() >= 3 * 8 * 14, "{}", made.len());
    assert_eq!(all.len(), made.len());
    assert_eq!(all, made.into_iter().collect());
}

/// Appends while every connection is killed again and again: what is acknowledged is there once, what fails is not there
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_costs_a_pause_and_nothing_else() {
    const KILLS: i64 = 10;
    let databases = [postgres(Some(&format!("kill{}", std::process::id())))];
    let log = open_at(&databases).await;
    let operator = operator(&databases[0].url).await;
    let (made, kills) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(0)));
    let killed = Arc::clone(&kills);
    let mut tasks = JoinSet::new();
    for writer in 0..16_u8 {
        let (log, made, kills) = (log.clone(), Arc::clone(&made), Arc::clone(&kills));
        tasks.spawn(async move {
            let mut last = 0;
            // A fast machine writes on until enough connections broke.
            for n in 0..4_000_u16 {
                if n >= 60 && kills.load(Ordering::Relaxed) >= KILLS {
                    break;
                }
                let [high, low] = n.to_be_bytes();
                let seq = append(&log, &key(writer % 4), Expect::Any, &[writer, high, low]).await;
                let Append::Appended(seq) = seq.unwrap() else { panic!() };
                assert!(seq.0 > last, "the order of one writer");
                last = seq.0;
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let appended = Arc::clone(&made);
    let killing = tokio::spawn(async move {
        let mut kills = 0;
        loop {
            // Between two kills something is made, however slow the machine.
            let before = appended.load(Ordering::Relaxed);
            while appended.load(Ordering::Relaxed) < before + 8 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                          WHERE application_name = 'stonechatd' AND random() < 0.5";
            kills += operator.query_one(others, &[]).await.unwrap().get::<_, i64>(0);
            killed.store(kills, Ordering::Relaxed);
        }
    });
    tasks.join_all().await;
    killing.abort();
    assert!(kills.load(Ordering::Relaxed) >= KILLS);
    let mut there = 0;
    for n in 0..4_u8 {
        let entries = stored(&log, &key(n)).await;
        there += entries.len();
        assert_eq!(entries.len(), entries.into_iter().collect::<BTreeSet<_>>().len(), "nothing twice");
    }
    assert_eq!(there as u64, made.load(Ordering::Relaxed), "nothing lost");
}

/// A commit that was not answered, and whose bytes arrive later: the lane has settled that it never happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_given_up_is_refused_when_it_arrives() {
    let (_log, databases) = open();
    let late = operator(&databases[0].url).await;
    let (writer, batch) = (&b"lane"[..], 5_i64);
    assert!(late.query(statements::MARK, &[&writer, &batch]).await.is_ok());
    let settled: i64 = late.query_one(statements::SETTLE, &[&writer, &5_i64]).await.unwrap().get(0);
    assert_eq!(settled, 5, "this one was committed");
    let settled: i64 = late.query_one(statements::SETTLE, &[&writer, &6_i64]).await.unwrap().get(0);
    assert_eq!(settled, 5, "this one was not");
    assert!(late.query(statements::MARK, &[&writer, &6_i64]).await.is_err());
    assert!(late.query(statements::MARK, &[&writer, &7_i64]).await.is_ok());
}

/// PostgreSQL answers a commit whose wait for the standbys was cancelled with success and a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_wait_for_the_standbys_is_not_acknowledged() {
    let databases = [postgres(Some(&format!("sync{}", std::process::id())))];
    let log = open_at(&databases).await;
    assert_eq!(append(&log, &key(1), Expect::Any, b"before").await, Ok(Append::Appended(Seq(1))));
    let operator = operator(&databases[0].url).await;
    let standbys = async |names: &str| {
        operator.batch_execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await.unwrap();
        operator.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    operator.batch_execute("SET synchronous_commit = local").await.unwrap();
    standbys("nobody").await;
    // A commit waits from the moment on when PostgreSQL has told its processes of the setting.
    let mut made = 1;
    let waiting = loop {
        let log = log.clone();
        let appending = tokio::spawn(async move { append(&log, &key(1), Expect::Any, b"waits").await });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while !appending.is_finished() && operator.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !appending.is_finished() {
            break appending;
        }
        made += 1;
    };
    let mut cancelled = 0;
    while cancelled < 2 && !waiting.is_finished() {
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        cancelled += operator.query_one(cancel, &[]).await.unwrap().get::<_, i64>(0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(cancelled > 0);
    // On a slow machine it has given up by now. A success would be the lie.
    let given_up = waiting.is_finished();
    standbys("").await;
    match waiting.await.unwrap() {
        Ok(appended) => assert!(!given_up && appended == Append::Appended(Seq(made + 1)), "{appended:?}"),
        Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}"),
    }
    let stored = stored(&log, &key(1)).await.len() as u64;
    assert_eq!(stored, made + 1, "once, whether it was acknowledged or not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_append_may_be_made_and_blocks_nobody() {
    let (log, _databases) = open();
    let dropped = append(&log, &key(1), Expect::Any, b"dropped").now_or_never();
    assert!(dropped.is_none());
    assert_eq!(append(&log, &key(1), Expect::Any, b"kept").await, Ok(Append::Appended(Seq(2))));
}
