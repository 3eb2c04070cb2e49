//! The vault on disk: SQLite under SQLCipher, one table for each of the core's, one transaction for each of its steps.
//!
//! The file is encrypted page by page (AES-256, HMAC-SHA-512) under a raw key from [`crate::keys`], so that opening derives
//! nothing. Every commit is on the disk before it returns (`synchronous=FULL`). Deleted rows are overwritten
//! (`secure_delete`): a consumed key does not live on in a free page. Nothing in this module ever deletes a file.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use stonechat_core::vault::{Change, Order, Row, TABLES, Table, VaultError, VaultRead};
use stonechat_core::{VAULT_VERSION, upgrade};
use zeroize::{Zeroize as _, Zeroizing};

use crate::home::prepare_file;
use crate::keys::VaultKey;

/// Why the vault cannot be opened or written. The texts are for people; nothing was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultProblem {
    /// The first page does not open under the key, which `vault.key` vouches for.
    #[error(
        "the vault {} is damaged, or does not belong to the vault.key beside it ({detail}); it was left as it is. Put both \
         files back from a backup", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// A later version of this software wrote it.
    #[error("the vault {} was written by a newer Stonechat (vault format {found}); update this one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// An earlier version wrote it, and it could not be brought to the format of this one. It is as it was.
    #[error(
        "the vault {} was written by an older Stonechat and could not be brought up to date ({detail}); it was left as it was. \
         Open it with the version that wrote it, or put it back from a backup", path.display()
    )]
    Upgrade {
        /// The file.
        path: PathBuf,
        /// What was in the way.
        detail: String,
    },
    /// No room.
    #[error("the disk that holds {} is full; free some space and try again. Nothing that was saved is lost", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// No permission.
    #[error("{} cannot be written ({detail}); check the permissions of the file, its folder and its disk", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// The disk or the system failed.
    #[error("the vault {} cannot be read or written: {detail}; check the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
}

/// A note of the shell's: its name and what it says.
pub(crate) type Note = (String, Zeroizing<Vec<u8>>);

/// The store behind the core.
pub(crate) struct SqliteVault {
    db: Connection,
    path: PathBuf,
    sql: Vec<TableSql>,
}

impl SqliteVault {
    /// Opens the vault at `path`, making an empty one where there is none. Reads one page, whatever its size.
    ///
    /// # Errors
    /// [`VaultProblem`].
    pub(crate) fn open(path: &Path, key: &VaultKey) -> Result<Self, VaultProblem> {
        let fail = |error: rusqlite::Error| problem(path, &error);
        prepare_file(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => VaultProblem::Full { path: path.to_owned() },
            _ => VaultProblem::NotWritable { path: path.to_owned(), detail: error.to_string() },
        })?;
        let db = Connection::open(path).map_err(fail)?;
        unlock(&db, key).map_err(fail)?;
        // Before anything is read: SQLite then keeps the index of the -wal in memory. A full disk can still be read, and a browser's
        // files have no memory to share.
        db.execute_batch("PRAGMA locking_mode = EXCLUSIVE").map_err(fail)?;
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(fail)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
        )
        .map_err(fail)?;
        let version = u32::try_from(found).ok().filter(|version| *version <= VAULT_VERSION);
        let Some(version) = version else { return Err(VaultProblem::Newer { path: path.to_owned(), found }) };
        db.set_prepared_statement_cache_capacity(TABLES.len() * 9);
        let vault = Self { db, path: path.to_owned(), sql: TABLES.into_iter().map(TableSql::new).collect() };
        if version < VAULT_VERSION {
            vault.bring_up_to_date(version, upgrade)?;
        }
        Ok(vault)
    }

    /// Makes what is missing and takes the steps from an older version to this one, all in one transaction: whatever fails, and whenever
    /// the process is killed, the vault is of this version with everything in it, or as it was. An empty file is of version 0.
    fn bring_up_to_date(&self, version: u32, step: Step) -> Result<(), VaultProblem> {
        let fail = |error: rusqlite::Error| problem(&self.path, &error);
        let upgrade = |error: VaultError| VaultProblem::Upgrade { path: self.path.clone(), detail: error.detail };
        // Taken back when it is dropped before its end.
        let txn = self.db.unchecked_transaction().map_err(fail)?;
        create(&txn).map_err(fail)?;
        for from in version.max(1)..VAULT_VERSION {
            let changes = step(from, self).map_err(upgrade)?;
            self.apply(&changes).map_err(fail)?;
        }
        txn.pragma_update(None, "user_version", VAULT_VERSION).map_err(fail)?;
        txn.commit().map_err(fail)
    }

    /// Stores the changes of one step: all of them, durably, or none.
    ///
    /// # Errors
    /// [`VaultProblem`]; then the vault is as before.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), VaultProblem> {
        self.write(changes, None)
    }

    /// [`SqliteVault::commit`], and a note of the shell's own in the same transaction. An empty note is deleted.
    ///
    /// # Errors
    /// As [`SqliteVault::commit`].
    pub(crate) fn commit_with_note(&mut self, changes: &[Change], name: &str, note: &[u8]) -> Result<(), VaultProblem> {
        self.write(changes, Some((name, note)))
    }

    /// What [`SqliteVault::commit_with_note`] stored under `name`.
    ///
    /// # Errors
    /// [`VaultProblem`].
    pub(crate) fn note(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, VaultProblem> {
        self.db
            .query_row("SELECT v FROM note WHERE k = ?1", [name], |row| row.get(0).map(Zeroizing::new))
            .optional()
            .map_err(|error| problem(&self.path, &error))
    }

    /// The notes whose names start with `prefix`.
    ///
    /// # Errors
    /// [`VaultProblem`].
    pub(crate) fn notes(&self, prefix: &str) -> Result<Vec<Note>, VaultProblem> {
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut notes = self.db.prepare_cached("SELECT k, v FROM note WHERE substr(k, 1, length(?1)) = ?1")?;
            let rows = notes.query_map([prefix], |row| Ok((row.get(0)?, Zeroizing::new(row.get(1)?))))?;
            rows.collect()
        };
        read().map_err(|error| problem(&self.path, &error))
    }

    /// Moves what is in the `-wal` file into the vault and closes it.
    ///
    /// # Errors
    /// [`VaultProblem`]; what was committed is safe even so.
    pub(crate) fn close(self) -> Result<(), VaultProblem> {
        let Self { db, path, .. } = self;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(|error| problem(&path, &error))?;
        db.close().map_err(|(_, error)| problem(&path, &error))
    }

    fn write(&mut self, changes: &[Change], note: Option<(&str, &[u8])>) -> Result<(), VaultProblem> {
        let fail = |error: rusqlite::Error| problem(&self.path, &error);
        let txn = self.db.unchecked_transaction().map_err(fail)?;
        self.apply(changes).map_err(fail)?;
        match note {
            Some((name, [])) => txn.execute("DELETE FROM note WHERE k = ?1", [name]).map_err(fail)?,
            Some((name, note)) => {
                txn.execute("REPLACE INTO note (k, v) VALUES (?1, ?2)", params![name, note]).map_err(fail)?
            }
            None => 0,
        };
        txn.commit().map_err(fail)
    }

    /// Inside of a transaction.
    fn apply(&self, changes: &[Change]) -> rusqlite::Result<()> {
        for Change { table, key, value } in changes {
            let sql = self.sql(*table);
            match value {
                Some(value) => self.db.prepare_cached(&sql.put)?.execute(params![key, value])?,
                None => self.db.prepare_cached(&sql.delete)?.execute([key])?,
            };
        }
        Ok(())
    }

    fn sql(&self, table: Table) -> &TableSql {
        &self.sql[table as usize]
    }
}

impl VaultRead for SqliteVault {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let mut get = self.db.prepare_cached(&self.sql(table).get).map_err(unreadable)?;
        get.query_row([key], |row| row.get(0)).optional().map_err(unreadable)
    }

    fn range(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = self.sql(table);
        let (bounded, open) = match order {
            Order::Ascending => (&sql.up, &sql.up_open),
            Order::Descending => (&sql.down, &sql.down_open),
        };
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let mut range = self.db.prepare_cached(if high.is_empty() { open } else { bounded }).map_err(unreadable)?;
        if high.is_empty() {
            range.query_map(params![low, limit], read)
        } else {
            range.query_map(params![low, limit, high], read)
        }
        .and_then(Iterator::collect)
        .map_err(unreadable)
    }

    fn count(&self, table: Table, low: &[u8], high: &[u8]) -> Result<u64, VaultError> {
        let sql = self.sql(table);
        let mut count =
            self.db.prepare_cached(if high.is_empty() { &sql.count_open } else { &sql.count }).map_err(unreadable)?;
        let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let count = if high.is_empty() { count.query_row([low], read) } else { count.query_row([low, high], read) };
        Ok(u64::try_from(count.map_err(unreadable)?).unwrap_or(0))
    }
}

/// The statements of one table, written once so that SQLite's statement cache finds them again.
struct TableSql {
    get: String,
    put: String,
    delete: String,
    up: String,
    up_open: String,
    down: String,
    down_open: String,
    count: String,
    count_open: String,
}

impl TableSql {
    fn new(table: Table) -> Self {
        let t = table_name(table);
        let range = |upper, order| format!("SELECT k, v FROM {t} WHERE k >= ?1 {upper} ORDER BY k {order} LIMIT ?2");
        Self {
            get: format!("SELECT v FROM {t} WHERE k = ?1"),
            put: format!("REPLACE INTO {t} (k, v) VALUES (?1, ?2)"),
            delete: format!("DELETE FROM {t} WHERE k = ?1"),
            up: range("AND k < ?3", "ASC"),
            up_open: range("", "ASC"),
            down: range("AND k < ?3", "DESC"),
            down_open: range("", "DESC"),
            count: format!("SELECT count(*) FROM {t} WHERE k >= ?1 AND k < ?2"),
            count_open: format!("SELECT count(*) FROM {t} WHERE k >= ?1"),
        }
    }
}

/// The one place that knows the cipher: SQLCipher, natively over OpenSSL, in a browser over LibTomCrypt. The files are the same.
fn unlock(db: &Connection, key: &VaultKey) -> rusqlite::Result<()> {
    let mut digits = hex::encode(key.danger_bytes());
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{digits}'\"; PRAGMA cipher_log_level = NONE;"));
    digits.zeroize();
    db.execute_batch(&pragma)
}

/// Makes the tables that are not there: all of them in a new vault, the new ones in an old one.
fn create(txn: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in TABLES {
        let name = table_name(table);
        txn.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {name} (k BLOB PRIMARY KEY NOT NULL, v BLOB NOT NULL) WITHOUT ROWID"
        ))?;
    }
    txn.execute_batch("CREATE TABLE IF NOT EXISTS note (k TEXT PRIMARY KEY NOT NULL, v BLOB NOT NULL) WITHOUT ROWID")
}

/// Names follow the discriminant, which never changes meaning; the words are for whoever looks inside.
fn table_name(table: Table) -> &'static str {
    match table {
        Table::Meta => "t0_meta",
        Table::Mls => "t1_mls",
        Table::Account => "t2_account",
        Table::Conversation => "t3_conversation",
        Table::Outbox => "t4_outbox",
        Table::Message => "t5_message",
        Table::MessageIndex => "t6_message_index",
        Table::Request => "t7_request",
        Table::Envelope => "t8_envelope",
        Table::Token => "t9_token",
        Table::Blob => "t10_blob",
        Table::Seen => "t11_seen",
    }
}

fn problem(path: &Path, error: &rusqlite::Error) -> VaultProblem {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => VaultProblem::Full { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => VaultProblem::Corrupt { path, detail },
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            VaultProblem::NotWritable { path, detail }
        }
        _ => VaultProblem::Io { path, detail },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn unreadable(error: rusqlite::Error) -> VaultError {
    VaultError { detail: error.to_string() }
}

/// What brings a vault of a version to the next: [`upgrade`], or a test's.
type Step = fn(u32, &dyn VaultRead) -> Result<Vec<Change>, VaultError>;

#[cfg(test)]
mod tests;
