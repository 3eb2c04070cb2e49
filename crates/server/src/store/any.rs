//! The store that the operator chose. One type, so that the services are compiled once.

use super::{Append, Entry, Expect, Key, KeyedLog, PostgresLog, Seq, Size, SqliteLog, StoreError, Timestamp, Watcher};

/// A store on disk. Clones share it.
#[derive(Clone, Debug)]
pub enum AnyLog {
    /// Files, for one server.
    Sqlite(SqliteLog),
    /// Databases, for several.
    Postgres(PostgresLog),
}

/// Asks the store that it is.
macro_rules! ask {
    ($any:ident, $log:ident => $call:expr) => {
        match $any {
            Self::Sqlite($log) => $call,
            Self::Postgres($log) => $call,
        }
    };
}

impl AnyLog {
    /// What the store's files on this machine have together: nothing with PostgreSQL, whose files are elsewhere.
    pub fn bytes_on_disk(&self) -> u64 {
        match self {
            Self::Sqlite(log) => log.bytes_on_disk(),
            Self::Postgres(_) => 0,
        }
    }
}

impl KeyedLog for AnyLog {
    async fn append(
        &self,
        key: &Key,
        expect: Expect,
        bytes: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Append, StoreError> {
        ask!(self, log => log.append(key, expect, bytes, expires_at, now).await)
    }

    async fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        ask!(self, log => log.read(key, after, entries_max, bytes_max, now).await)
    }

    async fn last(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        ask!(self, log => log.last(key, now).await)
    }

    async fn last_many(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Option<Entry>>, StoreError> {
        ask!(self, log => log.last_many(keys, now).await)
    }

    async fn take_first(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        ask!(self, log => log.take_first(key, now).await)
    }

    async fn count(&self, key: &Key, now: Timestamp) -> Result<Size, StoreError> {
        ask!(self, log => log.count(key, now).await)
    }

    async fn touch(&self, key: &Key, seq: Seq, expires_at: Timestamp) -> Result<bool, StoreError> {
        ask!(self, log => log.touch(key, seq, expires_at).await)
    }

    async fn trim(&self, key: &Key, upto: Seq) -> Result<(), StoreError> {
        ask!(self, log => log.trim(key, upto).await)
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        ask!(self, log => log.remove(key).await)
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        ask!(self, log => log.expire(now).await)
    }

    fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher {
        ask!(self, log => log.watch(keys))
    }
}
