//! The keyed log on SQLite: the store of one machine.
//!
//! One thread writes (group commit, fsync before the acknowledgement), some read, one moves the write-ahead log into the
//! database. Deleted bytes are overwritten with zeros (`secure_delete`): a disk that is taken later shows only what
//! was still there. What a disk's own firmware keeps of overwritten blocks is beyond this store. The database file does
//! not shrink: what was freed is used again.
//!
//! The data directory has `store.db`, SQLite's `store.db-wal` and `store.db-shm` beside it, `store.lock`, which a
//! running server holds locked, and `store.backup`, which a running backup holds locked. Nothing else in the process may open them: closing any handle of a file drops all of the
//! process's POSIX locks on it, SQLite's too.

mod copy;
mod files;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Semaphore, oneshot};

pub use self::files::OpenError;
pub(crate) use self::files::{DATABASE, RESTORING};
use self::files::{Files, connect, limit, open_error};
use self::tables::Tables;
use self::writer::{Message, Pending, Pressure};
use super::watch::Hub;
use super::{Append, ENTRY_BYTES_MAX, Entry, Expect, Key, KeyedLog, Seq, Size, StoreError, Timestamp, Watcher};

/// How the store is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the database file may have at most; [`StoreError::DiskFull`] beyond it. `None` is bounded by the disk.
    pub data_bytes_max: Option<u64>,
}

/// One log as it lies in the files.
#[derive(Debug, Default)]
pub struct Whole {
    /// The last number that was given: how many records there ever were, since the key lives.
    pub last: Option<Seq>,
    /// What is there, by number, also what is due and not deleted yet. Before each, its row: rows are numbered in the order
    /// in which the store took them, over all keys.
    pub records: Vec<(u64, Entry)>,
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
        let Files { lock, path, db } = Files::open(dir)?;
        let failed = |error: &rusqlite::Error| open_error(&path, error);
        let page_bytes = limit(&db, options).map_err(|error| failed(&error))?;

        let (changes, changed) = channel();
        let pressure = Arc::new(Pressure::default());
        let mut inner = Inner::new(&path, Some(lock), Arc::clone(&pressure));
        let hub = inner.hub.clone();
        let tables = Tables::new(db);
        let signal = Arc::clone(&pressure);
        inner.writer = Some(spawn(&path, "store-writer", move || writer::write(tables, &changed, &hub, &signal))?);
        inner.changes = Some(changes.clone());
        let db = connect(&path).map_err(|error| failed(&error))?;
        let folder = dir.to_owned();
        inner.others.push(spawn(&path, "store-checkpoint", move || {
            writer::checkpoint(&db, &changes, &pressure, page_bytes, &|| files::is_backed_up(&folder));
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
        let path = files::existing(dir)?;
        let mut inner = Inner::new(&path, None, Arc::default());
        inner.start_readers(1)?;
        Ok(Self(Arc::new(inner)))
    }

    /// Keeps servers out of `dir` for as long as the lock is held, as a server does.
    ///
    /// # Errors
    /// [`OpenError::InUse`] when a server runs on it.
    pub fn lock(dir: &Path) -> Result<File, OpenError> {
        files::lock(dir)
    }

    /// Whether a server has the store in `dir` open.
    pub fn is_in_use(dir: &Path) -> bool {
        files::is_locked(dir)
    }

    /// The keys that live and start with `prefix`, ascending, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self, prefix: &[u8], max: usize) -> Result<Vec<Key>, StoreError> {
        let prefix = prefix.to_vec();
        self.look(move |db| tables::keys(db, &prefix, max)).await
    }

    /// Everything that the files have of a key. For looking at a store: it is read at once, whatever its length.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn whole(&self, key: &Key) -> Result<Whole, StoreError> {
        let key = key.clone();
        self.look(move |db| tables::whole(db, &key)).await
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

/// What waits for the writer, together: 64 MiB, each change counting 1 KiB more than it has.
const CHANGES_KIB_MAX: u32 = 64 * 1_024;
const READS_WAITING_MAX: usize = 1_024;
const READERS_MIN: usize = 2;
const READERS_MAX: usize = 4;
const EXPIRE_BATCH_ENTRIES: usize = 512;
