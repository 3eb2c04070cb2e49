//! What is SQLite's own: files, crashes, a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read as _};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Waker};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::tables::SCHEMA_VERSION;
use super::*;
use crate::store::conformance::conformance;

conformance!(open);

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn open() -> (SqliteLog, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (reopen(dir.path()), dir)
}

fn reopen(dir: &Path) -> SqliteLog {
    SqliteLog::open(dir, &Options::default()).unwrap()
}

fn key(n: u8) -> Key {
    Key::new(7, &[&[n]])
}

async fn append(log: &SqliteLog, key: &Key, bytes: &[u8]) -> Seq {
    match log.append(key, Expect::Any, bytes.to_vec(), None, NOW).await.unwrap() {
        Append::Appended(seq) => seq,
        conflict @ Append::Conflict { .. } => panic!("{conflict:?}"),
    }
}

async fn all(log: &SqliteLog, key: &Key) -> Vec<Entry> {
    log.read(key, Seq(0), usize::MAX, usize::MAX, NOW).await.unwrap()
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

#[tokio::test]
async fn a_store_that_was_closed_has_everything() {
    let (log, dir) = open();
    for n in 1..=20_u8 {
        append(&log, &key(1), &[n]).await;
        append(&log, &key(2), &[n]).await;
    }
    log.trim(&key(2), Seq(20)).await.unwrap();
    assert!(log.touch(&key(1), Seq(20), NOW).await.unwrap());
    log.expire(NOW).await.unwrap();
    let before = all(&log, &key(1)).await;
    drop(log);
    assert!(!dir.path().join("store.db-wal").exists());
    let log = reopen(dir.path());
    assert_eq!(all(&log, &key(1)).await, before);
    assert_eq!((append(&log, &key(1), b"").await, append(&log, &key(2), b"").await), (Seq(21), Seq(21)));
}

#[tokio::test]
async fn a_dropped_store_commits_what_it_was_handed() {
    let (log, dir) = open();
    {
        let key = key(1);
        let mut append = pin!(log.append(&key, Expect::Any, b"handed over".to_vec(), None, NOW));
        let _ = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    drop(log);
    assert_eq!(all(&reopen(dir.path()), &key(1)).await.len(), 1);
}

#[test]
fn two_servers_cannot_open_one_directory() {
    let (log, dir) = open();
    let error = SqliteLog::open(dir.path(), &Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(log);
    reopen(dir.path());
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    let open = |dir: &Path| SqliteLog::open(dir, &Options::default()).unwrap_err();
    let dir = tempfile::tempdir().unwrap();
    let missing = open(&dir.path().join("missing"));
    assert!(matches!(missing, OpenError::NoDirectory { .. }) && missing.to_string().contains("--data"), "{missing}");

    let path = dir.path().join("store.db");
    std::fs::create_dir(&path).unwrap();
    let error = open(dir.path());
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
    std::fs::remove_dir(&path).unwrap();

    std::fs::write(&path, "my diary".repeat(1_000)).unwrap();
    let error = open(dir.path());
    assert!(matches!(error, OpenError::NotAStore { .. }) && error.to_string().contains("store.db"), "{error}");
    std::fs::remove_file(&path).unwrap();

    Connection::open(&path).unwrap().execute_batch("CREATE TABLE diary (page)").unwrap();
    let error = open(dir.path());
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
    std::fs::remove_file(&path).unwrap();

    drop(reopen(dir.path()));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let error = open(dir.path());
    assert!(matches!(error, OpenError::NewerSchema { found: 2, .. }) && error.to_string().contains('2'), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_servers_user_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let (log, dir) = open();
    append(&log, &key(1), b"").await;
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        names.insert(file.file_name().into_string().unwrap());
    }
    assert_eq!(names, ["store.db", "store.db-shm", "store.db-wal", "store.lock"].map(String::from).into());
}

#[tokio::test]
async fn a_store_in_use_can_be_looked_at_but_not_changed() {
    let (log, dir) = open();
    assert!(matches!(SqliteLog::inspect(&dir.path().join("missing")), Err(OpenError::NotAStore { .. })));
    for n in [1, 2, 3] {
        append(&log, &key(n), &[n]).await;
    }
    append(&log, &Key::new(8, &[]), b"").await;
    log.take_first(&key(3), NOW).await.unwrap();
    let look = SqliteLog::inspect(dir.path()).unwrap();
    assert_eq!(look.keys(&[7], 9).await.unwrap(), [key(1), key(2), key(3)]);
    assert_eq!(look.keys(&[7, 2], 9).await.unwrap(), [key(2)]);
    assert_eq!(look.keys(&[], 2).await.unwrap(), [key(1), key(2)]);
    assert_eq!(all(&look, &key(2)).await[0].bytes, [2]);
    let refused = look.append(&key(1), Expect::Any, Vec::new(), None, NOW).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
    assert!(look.checkpoint().await.is_err());
    append(&log, &key(2), b"").await;
    assert_eq!(all(&look, &key(2)).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_appends_with_its_name_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(dir.path(), &Options { data_bytes_max: Some(1 << 20) }).unwrap();
    let fill = async || {
        let mut tasks = JoinSet::new();
        for n in 0..=u8::MAX {
            let log = log.clone();
            tasks.spawn(async move {
                let result = log.append(&key(n % 4), Expect::Any, vec![n; 10_000], None, NOW).await;
                (n, result)
            });
        }
        tasks.join_all().await
    };
    let results = fill().await;
    let acked: Vec<(u8, Seq)> = results
        .iter()
        .filter_map(|(n, result)| match result {
            Ok(Append::Appended(seq)) => Some((*n, *seq)),
            _ => None,
        })
        .collect();
    let failed = results.iter().find_map(|(_, result)| result.clone().err()).unwrap();
    assert!(matches!(failed, StoreError::DiskFull { .. }) && failed.to_string().contains("Free space"), "{failed}");
    assert!(!acked.is_empty() && acked.len() < 128);
    // What was acknowledged is there, and nothing else.
    for (n, seq) in &acked {
        let entry = log.read(&key(n % 4), Seq(seq.0 - 1), 1, usize::MAX, NOW).await.unwrap().remove(0);
        assert_eq!((entry.seq, entry.bytes), (*seq, vec![*n; 10_000]));
    }
    let mut stored = 0;
    for n in 0..4 {
        stored += all(&log, &key(n)).await.len();
    }
    assert_eq!(stored, acked.len());
    // Room can be made while it is full, and appends resume.
    let room = acked.iter().filter(|(n, _)| n % 4 == 1).count();
    log.trim(&key(1), Seq(u64::MAX)).await.unwrap();
    let resumed = fill().await.into_iter().filter(|(_, result)| result.is_ok()).count();
    assert!(resumed > 0 && resumed >= room / 2, "{resumed} where {room} were");
}

#[tokio::test]
async fn what_was_deleted_is_in_no_file() {
    let (log, dir) = open();
    let marker = |n: u8| [b"canary-".as_slice(), &[n], b"-7f3a91"].concat();
    for n in [b'a', b'b', b'c', b'd', b'e'] {
        for len in [0, 100, 50_000] {
            let bytes = [marker(n), vec![n; len], marker(n)].concat();
            assert!(log.append(&key(n), Expect::Any, bytes, Some(NOW), Timestamp(0)).await.is_ok());
        }
    }
    let found = |n: u8| {
        std::fs::read_dir(dir.path()).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(15).any(|window| window == marker(n))
        })
    };
    log.checkpoint().await.unwrap();
    assert!([b'a', b'b', b'c', b'd', b'e'].into_iter().all(found));
    assert!(log.touch(&key(b'e'), Seq(2), NOW.plus_secs(1)).await.unwrap());
    log.trim(&key(b'a'), Seq(3)).await.unwrap();
    log.remove(&key(b'b')).await.unwrap();
    for _ in 0..3 {
        log.take_first(&key(b'c'), Timestamp(0)).await.unwrap();
    }
    assert_eq!(log.expire(NOW).await.unwrap(), 5);
    log.checkpoint().await.unwrap();
    assert_eq!([b'a', b'b', b'c', b'd', b'e'].map(found), [false, false, false, false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_reported_as_such() {
    let (log, dir) = open();
    for n in 0..=u8::MAX {
        append(&log, &key(n), &[n; 2_000]).await;
    }
    drop(log);
    let path = dir.path().join("store.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[8_192..len - 4_096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let log = reopen(dir.path());
    let mut damaged = 0;
    for n in 0..=u8::MAX {
        match log.read(&key(n), Seq(0), 9, usize::MAX, NOW).await {
            Ok(entries) => assert!(entries.iter().all(|entry| entry.bytes == [n; 2_000])),
            Err(StoreError::Corrupt { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(damaged > 0);
    assert!(matches!(
        log.append(&key(1), Expect::Any, Vec::new(), None, NOW).await,
        Err(StoreError::Corrupt { .. }) | Ok(Append::Appended(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_bounded_under_load() {
    let (log, dir) = open();
    let mut tasks = JoinSet::new();
    for n in 0..4 {
        let log = log.clone();
        tasks.spawn(async move {
            let bytes = vec![n; ENTRY_BYTES_MAX];
            for _ in 0..60 {
                append(&log, &key(n), &bytes).await;
                // The oldest go, so that pages are written again and again.
                log.take_first(&key(n), NOW).await.unwrap();
            }
        });
    }
    let load = tokio::spawn(tasks.join_all());
    let mut greatest = 0;
    while !load.is_finished() {
        greatest = greatest.max(dir.path().join("store.db-wal").metadata().unwrap().len());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    load.await.unwrap();
    assert!(greatest < 3 * writer::WAL_BYTES_MAX, "{greatest}");
}

/// The process that [`a_killed_store_has_everything_that_it_acknowledged`] kills.
#[test]
#[ignore = "runs only as the child of another test"]
fn child_that_is_killed() {
    let Ok(dir) = std::env::var("STORE_TEST_DIR") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let log = reopen(Path::new(&dir));
        let mut tasks = JoinSet::new();
        for task in 0..16_u8 {
            let log = log.clone();
            tasks.spawn(async move {
                loop {
                    let (key, marker) = (task % 4, random(u64::MAX));
                    let bytes = [&marker.to_be_bytes(), &vec![task; random(6_000) as usize][..]].concat();
                    let seq = append(&log, &self::key(key), &bytes).await;
                    println!("\nappended {key} {} {marker}", seq.0);
                }
            });
        }
        loop {
            if let Some(entry) = log.take_first(&key(0), NOW).await.unwrap() {
                println!("\ntaken {}", entry.seq.0);
            }
            tokio::time::sleep(Duration::from_millis(random(5))).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_store_has_everything_that_it_acknowledged() {
    const ROUNDS: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let mut acked: BTreeMap<(u8, u64), u64> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for round in 1..=ROUNDS {
        let output = run_and_kill(dir.path());
        for line in output.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["appended", key, seq, marker] => {
                    let at = (key.parse().unwrap(), seq.parse().unwrap());
                    let before = acked.insert(at, marker.parse().unwrap());
                    assert_eq!(before, None, "{at:?} was given twice");
                }
                ["taken", seq] => assert!(taken.insert(seq.parse::<u64>().unwrap()), "{seq} was taken twice"),
                _ => {}
            }
        }
        let log = reopen(dir.path());
        let (mut stored, mut markers) = (BTreeMap::new(), BTreeSet::new());
        for n in 0..4_u8 {
            let entries = all(&log, &key(n)).await;
            for (entry, next) in entries.iter().zip(&entries[1..]) {
                assert_eq!(entry.seq.0 + 1, next.seq.0);
            }
            for entry in entries {
                let marker = u64::from_be_bytes(entry.bytes[..8].try_into().unwrap());
                assert!(markers.insert(marker), "{marker} is there twice");
                stored.insert((n, entry.seq.0), marker);
            }
        }
        let first_left = stored.keys().next().map_or(0, |(_, seq)| *seq);
        let mut in_flight = 0;
        for (at @ (key, seq), marker) in &acked {
            match stored.get(at) {
                Some(stored) => assert_eq!(stored, marker),
                // Taken in the moment of the kill: by a call that never returned.
                None if *key == 0 && *seq < first_left => in_flight += usize::from(!taken.contains(seq)),
                None => panic!("{at:?} was acknowledged and is lost"),
            }
        }
        assert!(in_flight <= round, "{in_flight}");
        assert!(taken.iter().all(|seq| !stored.contains_key(&(0, *seq))), "taken, and there again");
    }
    assert!(acked.len() > 50 * ROUNDS && !taken.is_empty(), "{} appended, {} taken", acked.len(), taken.len());
}

/// What the child printed until it was killed, in whole lines.
fn run_and_kill(dir: &Path) -> String {
    let test = concat!(module_path!(), "::child_that_is_killed").split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("STORE_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut output = String::new();
    while !output.contains("appended") {
        assert!(stdout.read_line(&mut output).unwrap() > 0, "the child did not start: {output}");
    }
    // Read meanwhile: a child that waits for its pipe does not append.
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        rest
    });
    sleep(Duration::from_millis(20 + random(400)));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "the child ended before it was killed");
    let rest = reader.join().unwrap();
    let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    output + std::str::from_utf8(&rest[..whole]).unwrap()
}
