//! The keyed log on SQLite: the store of one machine.
//!
//! One thread writes (group commit, fsync before the acknowledgement), some read, one moves the write-ahead log into the
//! database. Deleted bytes are overwritten with zeros (`secure_delete`): a disk that is taken later shows only what
//! was still there. What a disk's own firmware keeps of overwritten blocks is beyond this store.
//!
//! The data directory has `store.db`, SQLite's `store.db-wal` and `store.db-shm` beside it, and `store.lock`, which a
//! running server holds locked.

mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{Semaphore, oneshot};

use self::tables::{APPLICATION_ID, SCHEMA, SCHEMA_VERSION, Tables};
use self::writer::{Message, Pending, Pressure};
use super::watch::Hub;
use super::{Append, ENTRY_BYTES_MAX, Entry, Expect, Key, KeyedLog, Seq, Size, StoreError, Timestamp, Watcher};

/// How the store is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the database file may have at most; [`StoreError::DiskFull`] beyond it. `None` is bounded by the disk.
    pub data_bytes_max: Option<u64>,
}

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

/// A keyed log on SQLite. Clones share it.
///
/// Dropping the last clone commits what was handed to it, ends its threads and closes the files, which may take as long as
/// some flushes.
#[derive(Clone)]
pub struct SqliteLog(Arc<Inner>);

struct Inner {
    /// `None` when the store was opened to be looked at, and while it closes.
    changes: Option<Sender<Message>>,
    /// Bounds what waits for the writer, in KiB.
    changes_room: Arc<Semaphore>,
    reads: Option<Sender<Read>>,
    /// Bounds what waits for the readers.
    reads_room: Semaphore,
    hub: Hub,
    pressure: Arc<Pressure>,
    writer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
    path: PathBuf,
    /// Held until everything else is closed.
    _lock: Option<File>,
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

impl SqliteLog {
    /// Opens the store in `dir`, making it when the directory is empty. The directory must exist.
    ///
    /// # Errors
    /// [`OpenError`], with what to do.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        if !dir.is_dir() {
            return Err(OpenError::NoDirectory { path: dir.into() });
        }
        let lock = lock(dir)?;
        let path = dir.join(DATABASE);
        let file = private_file(&path)?;
        drop(file);
        let failed = |error: &rusqlite::Error| open_error(&path, error);
        let db = connect(&path).map_err(|error| failed(&error))?;
        set_up(&db, &path)?;
        // The names of the files are durable before anything in them is.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| not_writable(dir, source))?;
        let page_bytes = limit(&db, options).map_err(|error| failed(&error))?;

        let (changes, changed) = channel();
        let pressure = Arc::new(Pressure::default());
        let mut inner = Inner::new(&path, Some(lock), Arc::clone(&pressure));
        let hub = inner.hub.clone();
        let tables = Tables::new(db);
        let signal = Arc::clone(&pressure);
        inner.writer =
            Some(spawn(&path, "store-writer", move || writer::write(tables, &changed, &hub, &signal))?);
        inner.changes = Some(changes.clone());
        let db = connect(&path).map_err(|error| failed(&error))?;
        inner.others.push(spawn(&path, "store-checkpoint", move || {
            writer::checkpoint(&db, &changes, &pressure, page_bytes);
        })?);
        let readers = std::thread::available_parallelism().map_or(READERS_MIN, usize::from);
        inner.start_readers(readers.clamp(READERS_MIN, READERS_MAX))?;
        Ok(Self(Arc::new(inner)))
    }

    /// Opens the store in `dir` to look at it, also while a server uses it. Every change is refused.
    ///
    /// # Errors
    /// [`OpenError`], with what to do.
    pub fn inspect(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(DATABASE);
        if !path.is_file() {
            return Err(OpenError::NotAStore { path });
        }
        let db = connect(&path).map_err(|error| open_error(&path, &error))?;
        if check(&db, &path)?.is_none() {
            return Err(OpenError::NotAStore { path });
        }
        let mut inner = Inner::new(&path, None, Arc::default());
        inner.start_readers(1)?;
        Ok(Self(Arc::new(inner)))
    }

    /// The keys that live and start with `prefix`, ascending, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self, prefix: &[u8], max: usize) -> Result<Vec<Key>, StoreError> {
        let prefix = prefix.to_vec();
        self.look(move |db| tables::keys(db, &prefix, max)).await
    }

    /// Moves everything into the database file and cuts the write-ahead log to nothing: what was deleted before is in
    /// no file afterwards.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let changes = self.0.changes.as_ref().ok_or_else(read_only)?;
        changes.send(Message::CheckpointFor(reply)).map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// What the store's files have together.
    pub fn bytes_on_disk(&self) -> u64 {
        let wal = self.0.path.with_extension("db-wal");
        [&self.0.path, &wal].iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
    }

    /// Hands a change to the writer and waits until it is durable.
    async fn change<T: Send + 'static>(
        &self,
        bytes: usize,
        apply: impl FnMut(&mut Tables) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let changes = self.0.changes.as_ref().ok_or_else(read_only)?;
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX).min(CHANGES_KIB_MAX);
        let room = &self.0.changes_room;
        // Without a detour through the scheduler, so that the first poll hands the change over.
        let permit = match Arc::clone(room).try_acquire_many_owned(kib) {
            Ok(permit) => permit,
            Err(_) => Arc::clone(room).acquire_many_owned(kib).await.map_err(|_| StoreError::Closed)?,
        };
        let (reply, done) = oneshot::channel();
        let pending = Pending { apply, output: None, reply, bytes, permit };
        changes.send(Message::Change(Box::new(pending))).map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs a query on a reader.
    async fn look<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reads = self.0.reads.as_ref().ok_or(StoreError::Closed)?;
        let _permit = self.0.reads_room.acquire().await.map_err(|_| StoreError::Closed)?;
        let (reply, done) = oneshot::channel();
        let read: Read = Box::new(move |db| {
            if !reply.is_closed() {
                // A caller that stopped waiting meanwhile does not want to know.
                let _ = reply.send(query(db).map_err(|error| store_error(&error)));
            }
        });
        reads.send(read).map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }
}

impl fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteLog")
    }
}

impl KeyedLog for SqliteLog {
    async fn append(
        &self,
        key: &Key,
        expect: Expect,
        bytes: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Append, StoreError> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(StoreError::TooLarge { bytes: bytes.len() });
        }
        let key = key.clone();
        self.change(bytes.len(), move |tables| tables.append(&key, expect, &bytes, expires_at, now)).await
    }

    async fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        let key = key.clone();
        self.look(move |db| tables::read(db, &key, after, entries_max, bytes_max, now)).await
    }

    async fn last(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        self.look(move |db| tables::last(db, &key, now)).await
    }

    async fn last_many(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Option<Entry>>, StoreError> {
        let keys = keys.to_vec();
        self.look(move |db| keys.iter().map(|key| tables::last(db, key, now)).collect()).await
    }

    async fn take_first(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        self.change(0, move |tables| tables.take_first(&key, now)).await
    }

    async fn count(&self, key: &Key, now: Timestamp) -> Result<Size, StoreError> {
        let key = key.clone();
        self.look(move |db| tables::count(db, &key, now)).await
    }

    async fn touch(&self, key: &Key, seq: Seq, expires_at: Timestamp) -> Result<bool, StoreError> {
        let key = key.clone();
        self.change(0, move |tables| tables.touch(&key, seq, expires_at)).await
    }

    async fn trim(&self, key: &Key, upto: Seq) -> Result<(), StoreError> {
        let key = key.clone();
        self.change(0, move |tables| tables.trim(&key, upto)).await
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        let key = key.clone();
        self.change(0, move |tables| tables.remove(&key)).await
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let batch = self.change(0, move |tables| tables.expire(now, EXPIRE_BATCH_ENTRIES)).await?;
            deleted += batch as u64;
            if batch < EXPIRE_BATCH_ENTRIES {
                return Ok(deleted);
            }
        }
    }

    fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher {
        self.0.hub.watch(keys)
    }
}

impl Inner {
    fn new(path: &Path, lock: Option<File>, pressure: Arc<Pressure>) -> Self {
        Self {
            changes: None,
            changes_room: Arc::new(Semaphore::new(CHANGES_KIB_MAX as usize)),
            reads: None,
            reads_room: Semaphore::new(READS_WAITING_MAX),
            hub: Hub::default(),
            pressure,
            writer: None,
            others: Vec::new(),
            path: path.into(),
            _lock: lock,
        }
    }

    fn start_readers(&mut self, count: usize) -> Result<(), OpenError> {
        let (reads, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let db = connect(&self.path)
                .and_then(|db| db.pragma_update(None, "query_only", true).map(|()| db))
                .map_err(|error| open_error(&self.path, &error))?;
            let queue = Arc::clone(&queue);
            self.others.push(spawn(&self.path, "store-reader", move || serve_reads(&db, &queue))?);
        }
        self.reads = Some(reads);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer's connection is the last to close: SQLite then empties the WAL and deletes it.
        self.reads = None;
        self.pressure.close();
        for thread in self.others.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        self.changes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Runs queries until every sender is gone.
fn serve_reads(db: &Connection, queue: &Mutex<Receiver<Read>>) {
    loop {
        // One reader waits inside the lock, the others for it.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        read(db);
    }
}

fn spawn(path: &Path, name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(|error| OpenError::Engine {
        path: path.into(),
        source: StoreError::Unavailable { cause: error.to_string() },
    })
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK);
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: dir.into() }),
        Err(TryLockError::Error(source)) => Err(not_writable(&path, source)),
    }
}

/// Opens a file, making it readable for the server's user only when it is missing. SQLite gives its other files the
/// same mode.
fn private_file(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| not_writable(path, source))
}

fn not_writable(path: &Path, source: io::Error) -> OpenError {
    OpenError::NotWritable { path: path.into(), source }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
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
    let mode: String =
        db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
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
fn limit(db: &Connection, options: &Options) -> rusqlite::Result<u64> {
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let page_bytes: u64 = db.pragma_query_value(None, "page_size", |row| tables::number(row, 0))?;
    if let Some(bytes) = options.data_bytes_max {
        let pages = i64::try_from(bytes / page_bytes).unwrap_or(i64::MAX).clamp(1, PAGES_MAX);
        db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(page_bytes)
}

fn open_error(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { path: path.into() },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            not_writable(path, io::Error::other(error.to_string()))
        }
        _ => OpenError::Engine { path: path.into(), source: store_error(error) },
    }
}

fn store_error(error: &rusqlite::Error) -> StoreError {
    let cause = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { cause },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt { cause },
        Some(_) => StoreError::Unavailable { cause },
        // A column that does not have the type that this store wrote.
        None => StoreError::Corrupt { cause },
    }
}

fn read_only() -> StoreError {
    StoreError::Unavailable { cause: "it was opened to be looked at".into() }
}

const DATABASE: &str = "store.db";
const LOCK: &str = "store.lock";
/// What waits for the writer, together: 64 MiB, each change counting 1 KiB more than it has.
const CHANGES_KIB_MAX: u32 = 64 * 1_024;
const READS_WAITING_MAX: usize = 1_024;
const READERS_MIN: usize = 2;
const READERS_MAX: usize = 4;
const EXPIRE_BATCH_ENTRIES: usize = 512;
/// How long a connection waits for another one's lock. They are held for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const STATEMENTS_CACHED: usize = 32;
/// Address space, not memory.
const MMAP_BYTES: i64 = 1 << 30;
const WRITER_CACHE_KIB: i64 = 64 * 1_024;
/// SQLite's own limit.
const PAGES_MAX: i64 = 0xffff_fffe;
