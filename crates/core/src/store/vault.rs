//! What the core reads from and writes to: an ordered key-value store in tables, and the overlay of one step.
//!
//! The shell owns the real store (SQLite in the SDK, a simulated disk in tests). The core reads through [`VaultRead`]
//! and collects every write of a step in a [`Txn`]; the shell commits those writes in one transaction before it
//! performs the step's effects. MLS state, log cursor and decrypted message therefore move together or not at all.

use std::collections::BTreeMap;
use std::ops::Bound;

/// One table of the vault. The discriminant is what a shell may store; it never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Single records: this account, its device keys, counters, pins.
    Meta = 0,
    /// MLS library state, keyed as the library asks.
    Mls = 1,
    /// Account logs of everybody this client has met, by account id.
    Account = 2,
    /// One record a conversation: cursor, epoch, members, names.
    Conversation = 3,
    /// Entries on their way to a conversation's log, and the pending commit.
    Outbox = 4,
    /// Messages in reading order.
    Message = 5,
    /// Message id to its key in [`Table::Message`].
    MessageIndex = 6,
    /// First contacts that wait for the person's decision.
    Request = 7,
    /// Envelopes on their way to inboxes.
    Envelope = 8,
    /// Anonymous tokens, unspent.
    Token = 9,
    /// Blobs on their way up or down.
    Blob = 10,
    /// Identifiers that were handled once and must not be handled again (bounded by the core).
    Seen = 11,
}

/// All tables, in order.
pub const TABLES: [Table; 12] = [
    Table::Meta,
    Table::Mls,
    Table::Account,
    Table::Conversation,
    Table::Outbox,
    Table::Message,
    Table::MessageIndex,
    Table::Request,
    Table::Envelope,
    Table::Token,
    Table::Blob,
    Table::Seen,
];

/// The store could not be read. The detail is for a log; a person is told that the vault is damaged or unreachable.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the vault could not be read: {detail}")]
pub struct VaultError {
    /// What the store said.
    pub detail: String,
}

/// Which end of a range a scan starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Read access to the committed state of a vault.
pub trait VaultRead {
    /// The value under `key`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError>;

    /// At most `limit` rows with `low <= key < high` (`high` empty: no upper bound), in `order`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn range(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError>;

    /// How many rows there are with `low <= key < high` (`high` empty: no upper bound).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn count(&self, table: Table, low: &[u8], high: &[u8]) -> Result<u64, VaultError> {
        Ok(self.range(table, low, high, Order::Ascending, usize::MAX)?.len() as u64)
    }
}

/// One write: the value to store, or `None` to delete.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// The new value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and values hold secrets: only the shape is printed.
        write!(f, "Change({:?}, {} B -> {:?} B)", self.table, self.key.len(), self.value.as_ref().map(Vec::len))
    }
}

/// The writes of a step at one moment.
pub struct Savepoint(BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>);

/// The writes of one step over the committed state. Reads see the step's own writes.
pub struct Txn<'v> {
    base: &'v dyn VaultRead,
    writes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
}

impl<'v> Txn<'v> {
    /// An overlay with no writes.
    pub fn new(base: &'v dyn VaultRead) -> Self {
        Self { base, writes: BTreeMap::new() }
    }

    /// The value under `key`, this step's writes included.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        match self.writes.get(&(table, key.to_vec())) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(table, key),
        }
    }

    /// Stores `value` under `key`.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.insert((table, key.into()), Some(value.into()));
    }

    /// Takes one change in.
    pub(crate) fn apply(&mut self, change: Change) {
        self.writes.insert((change.table, change.key), change.value);
    }

    /// Deletes `key`.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.writes.insert((table, key.into()), None);
    }

    /// As [`VaultRead::range`], this step's writes included.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn range(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>, VaultError> {
        let upper = match (high.is_empty(), next_table(table)) {
            (false, _) => Bound::Excluded((table, high.to_vec())),
            (true, Some(next)) => Bound::Excluded((next, Vec::new())),
            (true, None) => Bound::Unbounded,
        };
        let written: Vec<_> = self.writes.range((Bound::Included((table, low.to_vec())), upper)).collect();
        // Every deletion in range may hide one committed row.
        let base = self.base.range(table, low, high, order, limit.saturating_add(written.len()))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = base.into_iter().collect();
        for ((_, key), value) in written {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(match order {
            Order::Ascending => merged.into_iter().take(limit).collect(),
            Order::Descending => merged.into_iter().rev().take(limit).collect(),
        })
    }

    /// Every row whose key starts with `prefix`, ascending, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn prefix(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, VaultError> {
        self.range(table, prefix, &prefix_end(prefix), Order::Ascending, limit)
    }

    /// The writes so far, for [`Txn::restore`].
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.writes.clone())
    }

    /// Takes back every write since `savepoint`.
    pub fn restore(&mut self, savepoint: Savepoint) {
        self.writes = savepoint.0;
    }

    /// The writes of this step, in key order.
    pub fn into_changes(self) -> Vec<Change> {
        self.writes.into_iter().map(|((table, key), value)| Change { table, key, value }).collect()
    }
}

/// The smallest key greater than every key with this prefix; empty when there is none.
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    Vec::new()
}

fn next_table(table: Table) -> Option<Table> {
    TABLES.into_iter().find(|t| *t > table)
}

/// A vault in memory: what tests and the simulation's disk are made of.
#[derive(Clone, Default)]
pub struct MemoryVault {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryVault {
    /// Applies the changes of one step, all of them.
    pub fn commit(&mut self, changes: Vec<Change>) {
        for Change { table, key, value } in changes {
            match value {
                Some(value) => self.rows.insert((table, key), value),
                None => self.rows.remove(&(table, key)),
            };
        }
    }
}

impl VaultRead for MemoryVault {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn range(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError> {
        let inside = self
            .rows
            .range((table, low.to_vec())..)
            .take_while(|((t, k), _)| *t == table && (high.is_empty() || k.as_slice() < high))
            .map(|((_, k), v)| (k.clone(), v.clone()));
        Ok(match order {
            Order::Ascending => inside.take(limit).collect(),
            Order::Descending => {
                let mut all: Vec<_> = inside.collect();
                all.reverse();
                all.truncate(limit);
                all
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> MemoryVault {
        let mut vault = MemoryVault::default();
        let put = |k: &[u8]| Change { table: Table::Message, key: k.to_vec(), value: Some(k.to_vec()) };
        vault.commit(vec![put(b"a1"), put(b"a2"), put(b"a3"), put(b"b1")]);
        vault
    }

    #[test]
    fn a_step_reads_its_own_writes_and_the_base_stays_untouched() {
        let vault = base();
        let mut txn = Txn::new(&vault);
        txn.delete(Table::Message, b"a2".to_vec());
        txn.put(Table::Message, b"a4".to_vec(), b"a4".to_vec());
        let keys: Vec<_> = txn.prefix(Table::Message, b"a", 10).unwrap().into_iter().map(|(k, _)| k).collect();
        assert_eq!(keys, [b"a1".to_vec(), b"a3".to_vec(), b"a4".to_vec()]);
        assert_eq!(txn.get(Table::Message, b"a2").unwrap(), None);
        assert!(vault.get(Table::Message, b"a2").unwrap().is_some());
        assert_eq!(txn.into_changes().len(), 2);
    }

    #[test]
    fn a_descending_range_takes_from_the_end_even_when_the_end_was_deleted() {
        let vault = base();
        let mut txn = Txn::new(&vault);
        txn.delete(Table::Message, b"b1".to_vec());
        let rows = txn.range(Table::Message, b"", b"", Order::Descending, 2).unwrap();
        let keys: Vec<_> = rows.into_iter().map(|(k, _)| k).collect();
        assert_eq!(keys, [b"a3".to_vec(), b"a2".to_vec()]);
    }

    #[test]
    fn prefix_end_carries_over_and_ends() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(&[1, 255]), [2]);
        assert_eq!(prefix_end(&[255, 255]), Vec::<u8>::new());
    }
}
