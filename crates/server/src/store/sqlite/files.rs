//! The files of the store: which there are, who may open them, and whether they are ours.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::tables::{APPLICATION_ID, SCHEMA, SCHEMA_VERSION, number};
use super::{Options, store_error};
use crate::store::StoreError;

/// Why the store cannot be opened. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such directory.
    #[error("there is no data directory {}. Create it, or name another with --data", path.display())]
    NoDirectory {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Files cannot be made or written there.
    #[error("cannot write to {}: {source}. The server's user needs to own it", path.display())]
    NotWritable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("another server is using {}. Stop it first, or name another directory with --data", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// A restore did not come to its end.
    #[error(
        "a restore into {} was interrupted, and nothing in it was verified. Delete what is in it, and restore again",
        path.display()
    )]
    Restoring {
        /// The data directory.
        path: PathBuf,
    },
    /// A backup is running.
    #[error("a backup of {} is running. Wait for its end", path.display())]
    BackingUp {
        /// The data directory.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is not a stonechat store. Name another directory with --data, or restore a backup", path.display())]
    NotAStore {
        /// Which file.
        path: PathBuf,
    },
    /// A later version of the server has written it.
    #[error("{} has schema {found}, this server knows {SCHEMA_VERSION}. Run the server that wrote it, or a later one", path.display())]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The engine refuses.
    #[error("cannot open {}: {source}", path.display())]
    Engine {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: StoreError,
    },
}

/// The store's files, opened to be written.
pub(super) struct Files {
    /// Keeps other servers out as long as it is open.
    pub(super) lock: File,
    pub(super) path: PathBuf,
    /// In WAL mode, with its tables.
    pub(super) db: Connection,
}

impl Files {
    /// Opens the files in `dir`, making those that are missing.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        if !dir.is_dir() {
            return Err(OpenError::NoDirectory { path: dir.into() });
        }
        let lock = lock(dir)?;
        if dir.join(RESTORING).exists() {
            return Err(OpenError::Restoring { path: dir.into() });
        }
        let path = dir.join(DATABASE);
        drop(private_file(&path)?);
        let db = connect(&path).map_err(|error| open_error(&path, &error))?;
        set_up(&db, &path)?;
        // The names of the files are durable before anything in them is.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| not_writable(dir, source))?;
        Ok(Self { lock, path, db })
    }
}

/// Where the database in `dir` is, when it is a store.
pub(super) fn existing(dir: &Path) -> Result<PathBuf, OpenError> {
    let path = dir.join(DATABASE);
    if path.is_file() {
        let db = connect(&path).map_err(|error| open_error(&path, &error))?;
        if check(&db, &path)?.is_some() {
            return Ok(path);
        }
    }
    Err(OpenError::NotAStore { path })
}

pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(not_writable(&path, source)),
    }
}

/// Keeps other backups out, and the checkpointer from waiting for this one, as long as it is open.
pub(super) fn lock_backup(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(BACKUP_LOCK);
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::BackingUp { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(not_writable(&path, source)),
    }
}

/// Whether a backup of the store in `dir` is running.
pub(super) fn is_backed_up(dir: &Path) -> bool {
    is_held(&dir.join(BACKUP_LOCK))
}

/// Whether another process holds the lock of the store in `dir`. Makes no file.
pub(super) fn is_locked(dir: &Path) -> bool {
    is_held(&dir.join(LOCK))
}

fn is_held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Opens a file, making it readable for the server's user only when it is missing. SQLite gives its other files the
/// same mode.
pub(super) fn private_file(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| not_writable(path, source))
}

fn not_writable(path: &Path, source: io::Error) -> OpenError {
    OpenError::NotWritable { path: path.into(), source }
}

/// A connection to a database that exists, set up as all of the store's are.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    db.pragma_update(None, "mmap_size", MMAP_BYTES)?;
    // The store calls its checkpoints.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // Where fsync does not reach the disk by itself (macOS).
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "secure_delete", true)?;
    Ok(db)
}

/// Whose file it is, and of which version. `None` when it is empty.
fn check(db: &Connection, path: &Path) -> Result<Option<i64>, OpenError> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let failed = |error: rusqlite::Error| open_error(path, &error);
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let (application, version) = (number("application_id").map_err(failed)?, number("user_version").map_err(failed)?);
    match (application, version) {
        (0, 0) if tables == 0 => Ok(None),
        (APPLICATION_ID, 1..=SCHEMA_VERSION) => Ok(Some(version)),
        (APPLICATION_ID, found) if found > SCHEMA_VERSION => Err(OpenError::NewerSchema { path: path.into(), found }),
        _ => Err(OpenError::NotAStore { path: path.into() }),
    }
}

/// Checks the file, and makes the tables when it is new.
fn set_up(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| open_error(path, &error);
    let version = check(db, path)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let cause = "its file system has no shared memory, which SQLite's WAL needs. Use a local disk".into();
        return Err(OpenError::Engine { path: path.into(), source: StoreError::Unavailable { cause } });
    }
    if version.is_none() {
        let sql = format!(
            "BEGIN EXCLUSIVE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};
             COMMIT"
        );
        db.execute_batch(&sql).map_err(failed)?;
    }
    Ok(())
}

/// Sets the writer's limits. Returns how many bytes a page has.
pub(super) fn limit(db: &Connection, options: &Options) -> rusqlite::Result<u64> {
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let page_bytes: u64 = db.pragma_query_value(None, "page_size", |row| number(row, 0))?;
    if let Some(bytes) = options.data_bytes_max {
        let pages = i64::try_from(bytes / page_bytes).unwrap_or(i64::MAX).clamp(1, PAGES_MAX);
        db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(page_bytes)
}

pub(super) fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { path: path.into() },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            not_writable(path, io::Error::other(error.to_string()))
        }
        _ => OpenError::Engine { path: path.into(), source: store_error(error) },
    }
}

pub(crate) const DATABASE: &str = "store.db";
/// There as long as a restore has not verified what it put in place.
pub(crate) const RESTORING: &str = "restoring";
const LOCK: &str = "store.lock";
const BACKUP_LOCK: &str = "store.backup";
/// How long a connection waits for another one's lock. They are held for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const STATEMENTS_CACHED: usize = 32;
/// Address space, not memory.
const MMAP_BYTES: i64 = 1 << 30;
const WRITER_CACHE_KIB: i64 = 64 * 1_024;
/// SQLite's own limit.
const PAGES_MAX: i64 = 0xffff_fffe;
