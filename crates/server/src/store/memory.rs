//! The keyed log in memory, with the same rules as the durable ones: for simulations and tests.
//!
//! Every call completes when it is polled first, without threads or a runtime, so a simulator sees the same order in
//! every run. Nothing is written anywhere: a server that people use has [`super::SqliteLog`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::watch::Hub;
use super::{Append, ENTRY_BYTES_MAX, Entry, Expect, Key, KeyedLog, Seq, Size, StoreError, Timestamp, Watcher};

/// A keyed log in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryLog {
    logs: Arc<Mutex<BTreeMap<Key, Log>>>,
    hub: Hub,
}

#[derive(Default)]
struct Log {
    /// The last number that was given.
    head: Seq,
    /// Whether it was trimmed or taken from, and so outlives its entries.
    queue: bool,
    entries: BTreeMap<Seq, Entry>,
}

impl MemoryLog {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every key that lives, with its entries, expired or not. What an adversary who takes the disk would see.
    pub fn danger_dump(&self) -> BTreeMap<Key, Vec<Entry>> {
        self.logs().iter().map(|(key, log)| (key.clone(), log.entries.values().cloned().collect())).collect()
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<Key, Log>> {
        // Each change is made whole before anything can panic.
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLog({} keys)", self.logs().len())
    }
}

impl Log {
    fn live(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.values().filter(move |entry| entry.is_live(now))
    }

    fn last(&self, now: Timestamp) -> Option<&Entry> {
        self.live(now).next_back()
    }
}

impl KeyedLog for MemoryLog {
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
        let mut logs = self.logs();
        let log = logs.get(key);
        let holds = match (expect, log) {
            (Expect::Any, _) | (Expect::Empty, None) => true,
            (Expect::Empty, Some(_)) | (Expect::Last(_), None) => false,
            (Expect::Last(seq), Some(log)) => seq <= log.head && log.last(now).is_none_or(|last| last.seq <= seq),
        };
        if !holds {
            return Ok(Append::Conflict { last: log.map(|log| log.head) });
        }
        let log = logs.entry(key.clone()).or_default();
        log.head = Seq(log.head.0 + 1);
        let seq = log.head;
        log.entries.insert(seq, Entry { seq, expires_at, bytes });
        drop(logs);
        self.hub.wake([key]);
        Ok(Append::Appended(seq))
    }

    async fn read(
        &self,
        key: &Key,
        after: Seq,
        entries_max: usize,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<Entry>, StoreError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        if let Some(log) = self.logs().get(key) {
            for entry in log.live(now).filter(|entry| entry.seq > after).take(entries_max) {
                bytes += entry.bytes.len();
                if bytes > bytes_max && !page.is_empty() {
                    break;
                }
                page.push(entry.clone());
            }
        }
        Ok(page)
    }

    async fn last(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        Ok(self.logs().get(key).and_then(|log| log.last(now)).cloned())
    }

    async fn last_many(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Option<Entry>>, StoreError> {
        let logs = self.logs();
        Ok(keys.iter().map(|key| logs.get(key).and_then(|log| log.last(now)).cloned()).collect())
    }

    async fn take_first(&self, key: &Key, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let mut logs = self.logs();
        let Some(log) = logs.get_mut(key) else { return Ok(None) };
        let Some(seq) = log.live(now).next().map(|entry| entry.seq) else { return Ok(None) };
        log.queue = true;
        Ok(log.entries.remove(&seq))
    }

    async fn count(&self, key: &Key, now: Timestamp) -> Result<Size, StoreError> {
        let logs = self.logs();
        let live = logs.get(key).into_iter().flat_map(|log| log.live(now));
        Ok(live.fold(Size::default(), |size, entry| Size {
            entries: size.entries + 1,
            bytes: size.bytes + entry.bytes.len() as u64,
        }))
    }

    async fn touch(&self, key: &Key, seq: Seq, expires_at: Timestamp) -> Result<bool, StoreError> {
        let mut logs = self.logs();
        let entry = logs.get_mut(key).and_then(|log| log.entries.get_mut(&seq));
        Ok(entry.map(|entry| entry.expires_at = Some(expires_at)).is_some())
    }

    async fn trim(&self, key: &Key, upto: Seq) -> Result<(), StoreError> {
        if let Some(log) = self.logs().get_mut(key) {
            let before = log.entries.len();
            log.entries.retain(|seq, _| *seq > upto);
            log.queue |= log.entries.len() < before;
        }
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.logs().remove(key);
        Ok(())
    }

    async fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut deleted = 0;
        self.logs().retain(|_, log| {
            let before = log.entries.len();
            log.entries.retain(|_, entry| entry.is_live(now));
            deleted += (before - log.entries.len()) as u64;
            log.queue || !log.entries.is_empty()
        });
        Ok(deleted)
    }

    fn watch(&self, keys: impl IntoIterator<Item = Key>) -> Watcher {
        self.hub.watch(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryLog;
    use crate::store::conformance::conformance;

    fn open() -> (MemoryLog, ()) {
        (MemoryLog::new(), ())
    }

    conformance!(open);
}
