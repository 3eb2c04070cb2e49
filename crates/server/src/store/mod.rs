//! The keyed log: the one storage idea of the server. Everything is a small log under a key: a conversation's entries, a
//! lane of an inbox, an account log, a queue of key packages, a spent token.
//!
//! The store owns order and durability. It never reads a clock, never looks into the bytes it keeps, and never changes
//! two keys in one step, so that a sharded engine can implement it. What keys and entries mean is the services' business.
//!
//! # Rules
//!
//! - **Sequence numbers** start at 1, are dense when appended, and are not used twice while the key lives. A key lives
//!   from its first append until [`KeyedLog::remove`], or until [`KeyedLog::expire`] deletes its last entry. A key that
//!   [`KeyedLog::trim`] or [`KeyedLog::take_first`] has worked on is a queue, whose consumers remember numbers: it
//!   outlives its entries and goes only by `remove`.
//! - **Durable** means that a crash of the machine after the call returned loses nothing. A call that fails, or whose
//!   future is dropped, may or may not have taken effect.
//! - **Expiry**: an entry whose `expires_at` is not after `now` is never returned. Its bytes go when `expire` runs.
//! - **Wake-ups**: when an append returns, every [`Watcher`] of its key has been woken.
//!
//! [`SqliteLog`] is the store of one machine, [`PostgresLog`] the one of several, [`MemoryLog`] the one of simulations; all
//! pass `conformance`. [`AnyLog`] is the one that the operator chose.

mod any;
#[cfg(test)]
mod conformance;
mod memory;
pub mod postgres;
mod sqlite;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use any::AnyLog;
pub use memory::MemoryLog;
pub use postgres::PostgresLog;
pub(crate) use sqlite::{DATABASE, RESTORING};
pub use sqlite::{OpenError, Options, SqliteLog, Whole};
pub use stonechat_wire::{Seq, Timestamp};
pub use watch::Watcher;

/// What a key may have at most.
pub const KEY_BYTES_MAX: usize = 128;
/// What one entry may have at most: a wire frame, and so any record made from one, is shorter.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

/// The name of a log: 1 to [`KEY_BYTES_MAX`] bytes, of which the first says what kind of log it is. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key of a kind, followed by `parts` without separators: parts of one kind have fixed lengths, or there is one.
    ///
    /// # Panics
    /// When the key is longer than [`KEY_BYTES_MAX`]. Keys are made from values whose types bound them.
    pub fn new(kind: u8, parts: &[&[u8]]) -> Self {
        let len = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        assert!(len <= KEY_BYTES_MAX, "a key of {len} bytes");
        let mut bytes = Vec::with_capacity(len);
        bytes.push(kind);
        bytes.extend(parts.iter().copied().flatten());
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key with these bytes. `None` when no key has them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (1..=KEY_BYTES_MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }
}

impl fmt::Debug for Key {
    /// The kind only: the rest of a key may be an id, and ids do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}…)", self.0.first())
    }
}

/// What must hold for an append to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key does not live: it was never written, or was removed, or expired whole. The entry will be number 1.
    Empty,
    /// This number was given, and no entry behind it is live: the caller has seen the end of the log. Named with the
    /// number of the last live entry, or with the one of the last append.
    Last(Seq),
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Append {
    /// It is durable, under this number.
    Appended(Seq),
    /// [`Expect`] did not hold; nothing changed.
    Conflict {
        /// The last number that was given, `None` when the key does not live.
        last: Option<Seq>,
    },
}

/// One record of a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub seq: Seq,
    /// When it is gone. `None` stays.
    pub expires_at: Option<Timestamp>,
    /// What was appended. At most [`ENTRY_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl Entry {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {} bytes)", self.seq.0, self.bytes.len())
    }
}

/// How much lives under a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Live entries.
    pub entries: u64,
    /// Their bytes together, as they were appended.
    pub bytes: u64,
}

/// Why the store could not do as it was asked. Callers pass it on; only the operator can act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no room. Reads go on, and appends resume by themselves when there is.
    #[error("the store has no room: {cause}. Free space on its disk or raise its limit; the server resumes by itself")]
    DiskFull {
        /// What the engine said.
        cause: String,
    },
    /// The disk or the engine refuses for now.
    #[error("the store is unavailable: {cause}. Check the disk and its permissions; the server tries again by itself")]
    Unavailable {
        /// What the engine said.
        cause: String,
    },
    /// The files are damaged.
    #[error("the store is damaged: {cause}. Stop the server and restore its data directory from a backup")]
    Corrupt {
        /// What the engine said.
        cause: String,
    },
    /// An entry is larger than [`ENTRY_BYTES_MAX`].
    #[error("an entry of {bytes} bytes is too large for the store")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

/// The store. Cloning gives another handle on the same store, which closes with its last handle.
///
/// # Cancel safety
/// A read may be dropped at any time. A change that was polled once may take effect although its future was dropped;
/// an entry that a dropped [`KeyedLog::take_first`] took is gone.
pub trait KeyedLog: Clone + Send + Sync + 'static {
    /// Appends one entry when `expect` holds.
    ///
    /// Appends to one key are made in the order in which their futures were first polled, as long as the store is not
    /// refusing work for lack of room in its queue.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is known to be durable then.
    fn append(
        &self,
        key: &Key,
        expect: Expect,
        bytes: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Append, StoreError>> + Send;

    /// The live entries behind `after`, ascending: at most `entries_max`, and at most `bytes_max` together, but one entry
    /// however large it is.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Entry>, StoreError>> + Send;

    /// The last live entry.
    ///
    /// # Errors
    /// [`StoreError`].
    fn last(&self, key: &Key, now: Timestamp) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// [`KeyedLog::last`] of each key, in their order. Not one moment in time: keys are read one by one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn last_many(
        &self,
        keys: &[Key],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, StoreError>> + Send;

    /// Deletes the first live entry and returns it: to one caller only, and durably deleted before.
    ///
    /// # Errors
    /// [`StoreError`]; the entry may be gone then.
    fn take_first(&self, key: &Key, now: Timestamp) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// How much lives under a key. Looks at every entry: for logs that are kept short.
    ///
    /// # Errors
    /// [`StoreError`].
    fn count(&self, key: &Key, now: Timestamp) -> impl Future<Output = Result<Size, StoreError>> + Send;

    /// Moves the expiry of one entry. Returns whether it is still there.
    ///
    /// # Errors
    /// [`StoreError`].
    fn touch(
        &self,
        key: &Key,
        seq: Seq,
        expires_at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Deletes the entries up to and with `upto`. The sequence continues behind the last number that was given.
    ///
    /// # Errors
    /// [`StoreError`].
    fn trim(&self, key: &Key, upto: Seq) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes a log and forgets its key: the sequence starts again.
    ///
    /// # Errors
    /// [`StoreError`].
    fn remove(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes every entry that is due, in batches that let other work through, and returns how many it deleted.
    /// Dropping its future stops it between two batches.
    ///
    /// # Errors
    /// [`StoreError`]; the batches before it stay deleted.
    fn expire(&self, now: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Watches keys for appends from now on. Watch first and read then: what lands in between wakes.
    fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher;
}
