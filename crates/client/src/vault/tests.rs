//! The vault against its model, against crashes and against damage.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stonechat_core::vault::MemoryVault;

use super::*;

fn put(table: Table, key: &[u8], value: &[u8]) -> Change {
    Change { table, key: key.to_vec(), value: Some(value.to_vec()) }
}

fn delete(table: Table, key: &[u8]) -> Change {
    Change { table, key: key.to_vec(), value: None }
}

fn home() -> (tempfile::TempDir, PathBuf, VaultKey) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vault.db");
    (dir, path, VaultKey::random())
}

/// A small generator of our own: the same numbers in every run of one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// Short keys over few bytes, so that they collide, prefix each other and meet both ends of the order.
    fn key(&mut self) -> Vec<u8> {
        let len = self.roll(4);
        (0..len).map(|_| [0, 1, 0x7f, 0x80, 0xff][self.roll(5) as usize]).collect()
    }
}

#[test]
fn every_read_equals_that_of_the_vault_in_memory() {
    for seed in 0..20 {
        let (_dir, path, key) = home();
        let mut dice = Dice(seed);
        let mut disk = SqliteVault::open(&path, &key).unwrap();
        let mut memory = MemoryVault::default();
        for _ in 0..20 {
            let changes: Vec<_> = (0..dice.roll(12))
                .map(|_| {
                    let table = TABLES[dice.roll(3) as usize];
                    let key = dice.key();
                    if dice.roll(3) == 0 { delete(table, &key) } else { put(table, &key, &dice.key()) }
                })
                .collect();
            disk.commit(&changes).unwrap();
            memory.commit(changes);
            for table in TABLES.into_iter().take(4) {
                let (low, high, limit) = (dice.key(), dice.key(), dice.roll(9) as usize);
                assert_eq!(disk.get(table, &low).unwrap(), memory.get(table, &low).unwrap());
                assert_eq!(disk.count(table, &low, &high).unwrap(), memory.count(table, &low, &high).unwrap());
                // As in memory: an empty upper end has no bound, and a range that is upside down is empty.
                for order in [Order::Ascending, Order::Descending] {
                    for limit in [limit, usize::MAX] {
                        let expected = memory.range(table, &low, &high, order, limit).unwrap();
                        assert_eq!(disk.range(table, &low, &high, order, limit).unwrap(), expected, "seed {seed}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_was_committed_is_there_after_reopening_and_notes_travel_with_it() {
    let (_dir, path, key) = home();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    vault.commit_with_note(&[put(Table::Meta, b"k", b"v")], "words", b"abandon").unwrap();
    vault.close().unwrap();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    assert_eq!(vault.get(Table::Meta, b"k").unwrap().unwrap(), b"v");
    assert_eq!(vault.note("words").unwrap().unwrap().as_slice(), b"abandon");
    vault.commit_with_note(&[], "words", b"").unwrap();
    assert!(vault.note("words").unwrap().is_none());
}

#[test]
fn another_key_is_refused_and_changes_nothing() {
    let (_dir, path, key) = home();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    vault.commit(&[put(Table::Meta, b"k", b"v")]).unwrap();
    vault.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(SqliteVault::open(&path, &VaultKey::random()), Err(VaultProblem::Corrupt { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert!(SqliteVault::open(&path, &key).is_ok());
}

#[test]
fn flipped_bytes_anywhere_are_an_error_and_never_a_wrong_answer() {
    let (_dir, path, key) = home();
    let rows: Vec<_> = (0_u32..200).map(|n| put(Table::Message, &n.to_be_bytes(), &[n as u8; 300])).collect();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    vault.commit(&rows).unwrap();
    vault.close().unwrap();
    let good = std::fs::read(&path).unwrap();
    let read_all = || -> Result<(), String> {
        let vault = SqliteVault::open(&path, &key).map_err(|e| e.to_string())?;
        for Change { table, key, value } in &rows {
            assert_eq!(vault.get(*table, key).map_err(|e| e.to_string())?, *value);
        }
        Ok(())
    };
    read_all().unwrap();
    let mut refused = 0;
    for at in (0..good.len()).step_by(1_500) {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&path, &bad).unwrap();
        refused += usize::from(read_all().is_err());
    }
    assert!(refused > good.len() / 1_500 / 2, "only {refused} damaged files were noticed");
    for (bad, name) in [(&good[..good.len() / 2], "half a file"), (b"hello".as_slice(), "a text")] {
        std::fs::write(&path, bad).unwrap();
        assert!(read_all().is_err(), "{name}");
        assert_eq!(std::fs::read(&path).unwrap(), bad, "{name} was changed");
    }
}

#[test]
fn a_vault_of_a_newer_version_is_refused() {
    let (_dir, path, key) = home();
    let vault = SqliteVault::open(&path, &key).unwrap();
    vault.db.pragma_update(None, "user_version", 99).unwrap();
    vault.close().unwrap();
    assert!(matches!(SqliteVault::open(&path, &key), Err(VaultProblem::Newer { found: 99, .. })));
}

/// A vault of the first version, with a row that a step of [`upgrade`] changes, and without a table that came later.
fn old_vault(path: &Path, key: &VaultKey) {
    let mut vault = SqliteVault::open(path, key).unwrap();
    // An `Info` with nothing but its English notice.
    let info = [&[1, 0xa1, 4, 0x6a], "Leaving…".as_bytes()].concat();
    vault.commit(&[put(Table::Conversation, &info_key(), &info), put(Table::Meta, b"k", b"v")]).unwrap();
    vault.db.execute_batch("DROP TABLE t11_seen; PRAGMA user_version = 1").unwrap();
    vault.close().unwrap();
}

fn info_key() -> Vec<u8> {
    [&[3; 32][..], b"i"].concat()
}

/// The file's version, the row that the step changes, and whether the later table is there.
fn state(path: &Path, key: &VaultKey) -> (i64, Vec<u8>, bool) {
    let db = Connection::open(path).unwrap();
    unlock(&db, key).unwrap();
    let version = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let row = db.query_row("SELECT v FROM t3_conversation", [], |row| row.get(0)).unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 't11_seen'";
    (version, row, db.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap() == 1)
}

#[test]
fn an_old_vault_gets_its_steps_and_the_tables_that_are_new() {
    let (_dir, path, key) = home();
    old_vault(&path, &key);
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    assert_ne!(vault.get(Table::Conversation, &info_key()).unwrap().unwrap()[2], 4, "the sentence became a code");
    assert_eq!(vault.get(Table::Meta, b"k").unwrap().unwrap(), b"v");
    vault.commit(&[put(Table::Seen, b"k", b"v")]).unwrap();
    vault.close().unwrap();
    assert_eq!(state(&path, &key).0, i64::from(VAULT_VERSION));
}

#[test]
fn a_step_that_fails_leaves_the_old_vault_as_it_was() {
    let (_dir, path, key) = home();
    old_vault(&path, &key);
    let before = state(&path, &key);
    assert!(before.0 == 1 && !before.2);
    // Damage that the step finds after the table was made.
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    vault.commit(&[put(Table::Conversation, &info_key(), &[9])]).unwrap();
    vault.db.execute_batch("DROP TABLE t11_seen; PRAGMA user_version = 1").unwrap();
    vault.close().unwrap();
    let before = state(&path, &key);
    let problem = SqliteVault::open(&path, &key).map(drop).unwrap_err();
    assert!(matches!(problem, VaultProblem::Upgrade { .. }), "{problem}");
    assert_eq!(state(&path, &key), before);
}

/// Not a test of its own: the process that ends in the middle of a step, as by a kill or a power cut.
#[test]
fn child_that_dies_while_it_upgrades() {
    let Some(path) = std::env::var_os("STONECHAT_TEST_OLD_VAULT") else { return };
    let path = PathBuf::from(path);
    let db = Connection::open(&path).unwrap();
    unlock(&db, &VaultKey::fixed()).unwrap();
    let vault = SqliteVault { db, path, sql: TABLES.into_iter().map(TableSql::new).collect() };
    vault.db.execute_batch("PRAGMA cache_size = 1").unwrap();
    let txn = vault.db.unchecked_transaction().unwrap();
    create(&txn).unwrap();
    vault.apply(&upgrade(1, &vault).unwrap()).unwrap();
    std::process::abort();
}

#[cfg(unix)]
#[test]
fn a_process_that_is_killed_while_it_upgrades_leaves_the_old_vault() {
    let (_dir, path, _) = home();
    old_vault(&path, &VaultKey::fixed());
    let before = state(&path, &VaultKey::fixed());
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "vault::tests::child_that_dies_while_it_upgrades"])
        .env("STONECHAT_TEST_OLD_VAULT", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!ended.success(), "it died");
    assert_eq!(state(&path, &VaultKey::fixed()), before);
    let vault = SqliteVault::open(&path, &VaultKey::fixed()).unwrap();
    assert_eq!(vault.get(Table::Meta, b"k").unwrap().unwrap(), b"v");
}

#[test]
fn a_full_disk_is_told_as_such_and_keeps_what_was_there() {
    let (_dir, path, key) = home();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    vault.commit(&[put(Table::Meta, b"k", b"v")]).unwrap();
    let pages: i64 = vault.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    vault.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    let error = vault.commit(&[delete(Table::Meta, b"k"), put(Table::Blob, b"b", &[7; 100_000])]).unwrap_err();
    assert!(matches!(error, VaultProblem::Full { .. }), "{error:?}");
    assert_eq!(vault.get(Table::Meta, b"k").unwrap().unwrap(), b"v");
    vault.commit(&[put(Table::Meta, b"k", b"w")]).unwrap();
}

#[cfg(unix)]
#[test]
fn the_files_are_private_and_hold_no_plaintext() {
    use std::os::unix::fs::PermissionsExt as _;

    let (dir, path, key) = home();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    for n in 0_u32..50 {
        vault.commit(&[put(Table::Message, &n.to_be_bytes(), b"a canary sings in the vault")]).unwrap();
    }
    let look = || {
        let mut files = 0;
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
            let bytes = std::fs::read(&file).unwrap();
            for plain in [b"canary".as_slice(), b"SQLite format", b"t5_message", key.danger_bytes()] {
                assert!(!bytes.windows(plain.len()).any(|window| window == plain), "{}", file.display());
            }
            files += 1;
        }
        files
    };
    assert_eq!(look(), 2, "the vault and its -wal");
    vault.close().unwrap();
    look();
}

/// The bound is the project's. Usually it is under a millisecond, whatever the vault holds.
#[test]
fn a_vault_of_a_hundred_thousand_messages_opens_at_once() {
    let (_dir, path, key) = home();
    let mut vault = SqliteVault::open(&path, &key).unwrap();
    let rows: Vec<_> = (0_u32..100_000).map(|n| put(Table::Message, &n.to_be_bytes(), &[n as u8; 200])).collect();
    vault.commit(&rows).unwrap();
    vault.close().unwrap();
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            let vault = SqliteVault::open(&path, &key).unwrap();
            let last = vault.range(Table::Message, b"", b"", Order::Descending, 50).unwrap();
            assert_eq!(last.len(), 50);
            start.elapsed()
        })
        .min()
        .unwrap();
    println!("reopened and read the last 50 of 100,000 messages in {best:?}");
    assert!(best < Duration::from_millis(50), "{best:?}");
}

/// Not a test of its own: the process that the next one kills. It commits pairs of rows and prints each when it is durable.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os("STONECHAT_TEST_VAULT") else { return };
    let mut vault = SqliteVault::open(Path::new(&path), &VaultKey::fixed()).unwrap();
    for n in 0_u64.. {
        let n = n.to_be_bytes();
        vault.commit(&[put(Table::Message, &n, &n), put(Table::Seen, &n, &n)]).unwrap();
        println!("durable {}", u64::from_be_bytes(n));
    }
}

#[cfg(unix)]
#[test]
fn a_killed_process_loses_nothing_that_it_was_told_is_durable_and_leaves_no_half_commit() {
    let (_dir, path, _) = home();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "vault::tests::child_that_commits_until_it_is_killed"])
        .env("STONECHAT_TEST_VAULT", &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut told = 0;
    for n in lines.filter_map(|line| line.rsplit_once("durable ").and_then(|(_, n)| n.parse::<u64>().ok())) {
        told = n;
        if n == 200 {
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    assert!(told >= 200);
    let vault = SqliteVault::open(&path, &VaultKey::fixed()).unwrap();
    let messages = vault.range(Table::Message, b"", b"", Order::Ascending, usize::MAX).unwrap();
    assert_eq!(messages, vault.range(Table::Seen, b"", b"", Order::Ascending, usize::MAX).unwrap());
    assert!(messages.len() as u64 > told, "{} rows, {told} was durable", messages.len());
}
