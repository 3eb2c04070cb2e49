//! The key directory's nodes and values in the keyed log: the storage that `akd` runs on.
//!
//! A tree node lies under a key of its own, and its last entry counts; the values of a label are the entries of one log.
//! An epoch changes many keys and the store has no transaction over them, so an epoch is written to a **journal** first:
//! once the journal holds it whole, it is decided, and whatever a crash leaves undone is done again from there. Each change
//! names the entry that it follows, so a publisher that lost its place cannot write over its successor's work.
//!
//! `akd`'s own storage test-suite runs against this in the tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use akd::errors::StorageError as AkdStorageError;
use akd::storage::types::{DbRecord, KeyData, StorageType, ValueState, ValueStateKey, ValueStateRetrievalFlag};
use akd::storage::{Database, DbSetState, Storable};
use akd::tree_node::{TreeNode, TreeNodeType, TreeNodeWithPreviousValue};
use akd::{AkdLabel, AkdValue, Azks, AzksValue, NodeLabel};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use minicbor::{Decode, Encode};
use stonechat_wire::{Bytes, List, Seq, Timestamp, decode, encode};

use crate::services::keys;
use crate::store::{Append, ENTRY_BYTES_MAX, Expect, Key, KeyedLog, StoreError};

/// The nodes over a store. Clones share it.
#[derive(Clone)]
pub(crate) struct Nodes<S> {
    store: S,
    place: Arc<Mutex<Place>>,
}

/// Whether this server may write epochs, and behind which entry of the journal.
#[derive(Clone, Copy, Default)]
enum Place {
    /// It has not taken over. Records are written one by one: a new tree's first two, and tests.
    #[default]
    None,
    /// An epoch failed on its way: nothing is written before it takes over again.
    Lost,
    /// Behind this one.
    Behind(Seq),
}

/// Why an epoch was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another server publishes this directory; this one stands by")]
    LostPlace,
    #[error("the directory's journal is damaged. Restore the data directory from a backup")]
    Damaged,
}

/// One change of an epoch.
#[derive(Clone, Encode, Decode)]
struct Change {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: Vec<u8>,
    /// The entry that it follows; `None` when the key does not live.
    #[n(1)]
    after: Option<Seq>,
    #[n(2)]
    bytes: Bytes<NODE_BYTES_MAX>,
}

/// One entry of the journal.
#[derive(Encode, Decode)]
struct JournalPage {
    #[n(0)]
    changes: List<Change, CHANGES_PER_PAGE_MAX>,
    /// The epoch is whole: it is decided.
    #[n(1)]
    last: bool,
}

impl<S: KeyedLog> Nodes<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, place: Arc::default() }
    }

    /// Takes the place of the publisher: does again what the journal has decided, and forgets what it has not.
    pub(crate) async fn take_over(&self) -> Result<(), JournalError> {
        let key = keys::directory_journal();
        let (mut changes, mut whole, mut at) = (Vec::new(), false, Seq(0));
        loop {
            let page = self.store.read(&key, at, READ_ENTRIES, READ_BYTES, FOREVER).await?;
            let Some(end) = page.last() else { break };
            at = end.seq;
            for entry in page {
                let read: JournalPage = decode(&entry.bytes).map_err(|_| JournalError::Damaged)?;
                changes.extend(read.changes.into_vec());
                whole = read.last;
            }
        }
        if whole {
            self.apply(changes).await?;
        }
        if at > Seq(0) {
            self.store.trim(&key, at).await?;
        } else {
            // Trimmed empty, or never written: its numbers go on from where they were.
            at = self.journal_end(&key).await?;
        }
        self.set_place(Place::Behind(at));
        Ok(())
    }

    fn place(&self) -> Place {
        *self.place.lock().expect("no holder panics")
    }

    fn set_place(&self, place: Place) {
        *self.place.lock().expect("no holder panics") = place;
    }

    /// The number behind which the journal is written: found by asking for an impossible one.
    async fn journal_end(&self, key: &Key) -> Result<Seq, JournalError> {
        match self.store.append(key, Expect::Last(Seq(i64::MAX as u64)), Vec::new(), None, FOREVER).await? {
            Append::Conflict { last } => Ok(last.unwrap_or(Seq(0))),
            Append::Appended(_) => Err(JournalError::Damaged),
        }
    }

    /// Forgets the journal: what it decided has been done.
    pub(crate) async fn finish_epoch(&self) -> Result<(), StoreError> {
        match self.place() {
            Place::Behind(at) if at > Seq(0) => self.store.trim(&keys::directory_journal(), at).await,
            _ => Ok(()),
        }
    }

    /// Writes an epoch: decided in the journal first, then done.
    async fn write_epoch(&self, records: Vec<DbRecord>) -> Result<(), JournalError> {
        let keyed: Vec<(Key, Vec<u8>)> = records.iter().map(|record| (key_of(record), encode_record(record))).collect();
        let all: Vec<Key> = keyed.iter().map(|(key, _)| key.clone()).collect();
        let before = self.store.last_many(&all, FOREVER).await?;
        let changes = keyed.into_iter().zip(before).map(|((key, bytes), before)| {
            let bytes = Bytes::new(bytes).map_err(|_| JournalError::Damaged)?;
            Ok(Change { key: key.as_bytes().to_vec(), after: before.map(|entry| entry.seq), bytes })
        });
        let changes = changes.collect::<Result<Vec<_>, JournalError>>()?;

        let key = keys::directory_journal();
        let Place::Behind(mut at) = self.place() else { return Err(JournalError::LostPlace) };
        self.set_place(Place::Lost);
        let pages = changes.chunks(CHANGES_PER_PAGE_MAX).collect::<Vec<_>>();
        for (number, page) in pages.iter().enumerate() {
            let changes = List::new(page.to_vec()).map_err(|_| JournalError::Damaged)?;
            let bytes = encode(&JournalPage { changes, last: number + 1 == pages.len() });
            let expect = if at == Seq(0) { Expect::Empty } else { Expect::Last(at) };
            match self.store.append(&key, expect, bytes, None, FOREVER).await? {
                Append::Appended(seq) => at = seq,
                // Nothing was decided: whoever took over has forgotten these pages.
                Append::Conflict { .. } => return Err(JournalError::LostPlace),
            }
        }
        self.apply(changes).await?;
        self.set_place(Place::Behind(at));
        Ok(())
    }

    /// Does what the journal decided, in any order but for the last change: the epoch's number, by which readers go.
    async fn apply(&self, mut changes: Vec<Change>) -> Result<(), JournalError> {
        let Some(last) = changes.pop() else { return Ok(()) };
        for some in changes.chunks(CHANGES_AT_ONCE) {
            try_join_all(some.iter().map(|change| self.apply_one(change))).await?;
        }
        self.apply_one(&last).await
    }

    async fn apply_one(&self, change: &Change) -> Result<(), JournalError> {
        let key = Key::from_bytes(&change.key).ok_or(JournalError::Damaged)?;
        let expect = change.after.map_or(Expect::Empty, Expect::Last);
        match self.store.append(&key, expect, change.bytes.to_vec(), None, FOREVER).await? {
            Append::Appended(seq) => {
                // A node's older entries say nothing; a few are left, so that trimming costs a write now and then only.
                if seq.0 % TRIM_EVERY == 0 && keys::is_directory_node(&key) {
                    self.store.trim(&key, Seq(seq.0 - 1)).await?;
                }
                Ok(())
            }
            Append::Conflict { .. } => {
                let after = change.after.unwrap_or(Seq(0));
                let next = self.store.read(&key, after, 1, usize::MAX, FOREVER).await?.pop();
                match next {
                    Some(entry) if entry.bytes == change.bytes[..] => Ok(()),
                    _ => Err(JournalError::LostPlace),
                }
            }
        }
    }

    async fn get_one(&self, kind: StorageType, id: &[u8]) -> Result<DbRecord, AkdStorageError> {
        let missing = || AkdStorageError::NotFound("no such record".to_owned());
        if kind == StorageType::ValueState {
            let ValueStateKey(label, epoch) = ValueState::key_from_full_binary(id).map_err(AkdStorageError::Other)?;
            let states = self.states(&label).await?;
            return states.into_iter().find(|s| s.epoch == epoch).map(DbRecord::ValueState).ok_or_else(missing);
        }
        let entry = self.store.last(&keys::directory_node(id), FOREVER).await.map_err(unavailable)?;
        decode_record(&entry.ok_or_else(missing)?.bytes)
    }

    /// All values of a label, by epoch. Of two for one epoch, the later written counts.
    async fn states(&self, label: &[u8]) -> Result<Vec<ValueState>, AkdStorageError> {
        let key = keys::directory_values(label);
        let (mut states, mut at) = (std::collections::BTreeMap::new(), Seq(0));
        loop {
            let page = self.store.read(&key, at, READ_ENTRIES, READ_BYTES, FOREVER).await.map_err(unavailable)?;
            let Some(end) = page.last() else { return Ok(states.into_values().collect()) };
            at = end.seq;
            for entry in page {
                let state = decode_state(&entry.bytes, label)?;
                states.insert(state.epoch, state);
            }
        }
    }

    /// The newest value of a label at an epoch. Nearly always the last entry.
    async fn state_at(&self, label: &[u8], flag: ValueStateRetrievalFlag) -> Result<ValueState, AkdStorageError> {
        use ValueStateRetrievalFlag as Flag;
        if let Flag::LeqEpoch(_) | Flag::MaxEpoch = flag
            && let Some(entry) = self.store.last(&keys::directory_values(label), FOREVER).await.map_err(unavailable)?
        {
            let state = decode_state(&entry.bytes, label)?;
            if matches!(flag, Flag::LeqEpoch(epoch) if state.epoch <= epoch) {
                return Ok(state);
            }
        }
        let states = self.states(label).await?;
        let found = match flag {
            Flag::SpecificVersion(version) => states.into_iter().find(|state| state.version == version),
            Flag::SpecificEpoch(epoch) => states.into_iter().find(|state| state.epoch == epoch),
            Flag::LeqEpoch(epoch) => states.into_iter().rfind(|state| state.epoch <= epoch),
            Flag::MaxEpoch => states.into_iter().next_back(),
            Flag::MinEpoch => states.into_iter().next(),
        };
        found.ok_or_else(|| AkdStorageError::NotFound("no such value".to_owned()))
    }
}

#[async_trait]
impl<S: KeyedLog> Database for Nodes<S> {
    async fn set(&self, record: DbRecord) -> Result<(), AkdStorageError> {
        let appended = self.store.append(&key_of(&record), Expect::Any, encode_record(&record), None, FOREVER).await;
        appended.map(|_| ()).map_err(unavailable)
    }

    async fn batch_set(&self, records: Vec<DbRecord>, state: DbSetState) -> Result<(), AkdStorageError> {
        match state {
            // `akd` hands an epoch over whole, with the record of its number last.
            DbSetState::TransactionCommit if !matches!(self.place(), Place::None) => {
                self.write_epoch(records).await.map_err(|error| AkdStorageError::Transaction(error.to_string()))
            }
            DbSetState::TransactionCommit | DbSetState::General => {
                try_join_all(records.into_iter().map(|record| self.set(record))).await.map(|_| ())
            }
        }
    }

    async fn get<St: Storable>(&self, id: &St::StorageKey) -> Result<DbRecord, AkdStorageError> {
        self.get_one(St::data_type(), &St::get_full_binary_key_id(id)).await
    }

    async fn batch_get<St: Storable>(&self, ids: &[St::StorageKey]) -> Result<Vec<DbRecord>, AkdStorageError> {
        let ids: Vec<Vec<u8>> = ids.iter().map(St::get_full_binary_key_id).collect();
        if St::data_type() == StorageType::ValueState {
            let mut found = Vec::new();
            for id in ids {
                match self.get_one(StorageType::ValueState, &id).await {
                    Ok(record) => found.push(record),
                    Err(AkdStorageError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(found);
        }
        let keys: Vec<Key> = ids.iter().map(|id| keys::directory_node(id)).collect();
        let entries = self.store.last_many(&keys, FOREVER).await.map_err(unavailable)?;
        entries.into_iter().flatten().map(|entry| decode_record(&entry.bytes)).collect()
    }

    async fn get_user_data(&self, username: &AkdLabel) -> Result<KeyData, AkdStorageError> {
        let states = self.states(&username.0).await?;
        if states.is_empty() {
            return Err(AkdStorageError::NotFound("no such label".to_owned()));
        }
        Ok(KeyData { states })
    }

    async fn get_user_state(
        &self,
        username: &AkdLabel,
        flag: ValueStateRetrievalFlag,
    ) -> Result<ValueState, AkdStorageError> {
        self.state_at(&username.0, flag).await
    }

    async fn get_user_state_versions(
        &self,
        usernames: &[AkdLabel],
        flag: ValueStateRetrievalFlag,
    ) -> Result<HashMap<AkdLabel, (u64, AkdValue)>, AkdStorageError> {
        let mut found = HashMap::new();
        for username in usernames {
            match self.state_at(&username.0, flag).await {
                Ok(state) => {
                    found.insert(username.clone(), (state.version, state.value));
                }
                Err(AkdStorageError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// How a record is stored. Values are kept for good: the directory proves its whole past.
#[expect(clippy::large_enum_variant, reason = "it lives as long as it takes to write it")]
#[derive(Encode, Decode)]
enum Stored {
    #[n(0)]
    Tree(#[n(0)] u64, #[n(1)] u64),
    #[n(1)]
    Node(#[n(0)] Label, #[n(1)] State, #[n(2)] Option<State>),
    #[n(2)]
    Value(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>, #[n(1)] u64, #[n(2)] Label, #[n(3)] u64),
}

#[derive(Encode, Decode)]
struct Label(#[n(0)] u32, #[cbor(n(1), with = "minicbor::bytes")] [u8; 32]);

#[derive(Encode, Decode)]
struct State {
    #[n(0)]
    last_epoch: u64,
    #[n(1)]
    min_descendant_epoch: u64,
    #[n(2)]
    parent: Label,
    #[n(3)]
    kind: u8,
    #[n(4)]
    left: Option<Label>,
    #[n(5)]
    right: Option<Label>,
    #[cbor(n(6), with = "minicbor::bytes")]
    hash: [u8; 32],
}

impl Label {
    fn of(label: NodeLabel) -> Self {
        Self(label.label_len, label.label_val)
    }

    fn read(&self) -> NodeLabel {
        NodeLabel::new(self.1, self.0)
    }
}

impl State {
    fn of(node: &TreeNode) -> Self {
        Self {
            last_epoch: node.last_epoch,
            min_descendant_epoch: node.min_descendant_epoch,
            parent: Label::of(node.parent),
            kind: node.node_type as u8,
            left: node.left_child.map(Label::of),
            right: node.right_child.map(Label::of),
            hash: node.hash.0,
        }
    }

    fn read(&self, label: NodeLabel) -> Option<TreeNode> {
        let node_type = match self.kind {
            1 => TreeNodeType::Leaf,
            2 => TreeNodeType::Root,
            3 => TreeNodeType::Interior,
            _ => return None,
        };
        Some(TreeNode {
            label,
            last_epoch: self.last_epoch,
            min_descendant_epoch: self.min_descendant_epoch,
            parent: self.parent.read(),
            node_type,
            left_child: self.left.as_ref().map(Label::read),
            right_child: self.right.as_ref().map(Label::read),
            hash: AzksValue(self.hash),
        })
    }
}

fn key_of(record: &DbRecord) -> Key {
    match record {
        DbRecord::ValueState(state) => keys::directory_values(&state.username.0),
        other => keys::directory_node(&other.get_full_binary_id()),
    }
}

fn encode_record(record: &DbRecord) -> Vec<u8> {
    encode(&match record {
        DbRecord::Azks(tree) => Stored::Tree(tree.latest_epoch, tree.num_nodes),
        DbRecord::TreeNode(node) => Stored::Node(
            Label::of(node.label),
            State::of(&node.latest_node),
            node.previous_node.as_ref().map(State::of),
        ),
        DbRecord::ValueState(state) => {
            Stored::Value(state.value.0.clone(), state.version, Label::of(state.label), state.epoch)
        }
    })
}

fn decode_record(bytes: &[u8]) -> Result<DbRecord, AkdStorageError> {
    match decode(bytes).map_err(|_| damaged())? {
        Stored::Tree(latest_epoch, num_nodes) => Ok(DbRecord::Azks(Azks { latest_epoch, num_nodes })),
        Stored::Node(label, latest, previous) => {
            let label = label.read();
            let latest_node = latest.read(label).ok_or_else(damaged)?;
            let previous_node = previous.map(|state| state.read(label).ok_or_else(damaged)).transpose()?;
            Ok(DbRecord::TreeNode(TreeNodeWithPreviousValue { label, latest_node, previous_node }))
        }
        Stored::Value(..) => Err(damaged()),
    }
}

pub(super) fn decode_state(bytes: &[u8], label: &[u8]) -> Result<ValueState, AkdStorageError> {
    match decode(bytes).map_err(|_| damaged())? {
        Stored::Value(value, version, node, epoch) => Ok(ValueState {
            value: AkdValue(value),
            version,
            label: node.read(),
            epoch,
            username: AkdLabel(label.to_vec()),
        }),
        Stored::Tree(..) | Stored::Node(..) => Err(damaged()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn unavailable(error: StoreError) -> AkdStorageError {
    AkdStorageError::Connection(error.to_string())
}

fn damaged() -> AkdStorageError {
    AkdStorageError::Other("a record of the directory is damaged".to_owned())
}

/// Nothing of the directory expires, so no clock is asked.
const FOREVER: Timestamp = Timestamp(0);
/// A node is some 400 bytes; a value at most 32 and some.
const NODE_BYTES_MAX: usize = 1_024;
/// A page of the journal fits an entry of the store.
const CHANGES_PER_PAGE_MAX: usize = ENTRY_BYTES_MAX / (NODE_BYTES_MAX + crate::store::KEY_BYTES_MAX + 32);
const CHANGES_AT_ONCE: usize = 1_024;
const TRIM_EVERY: u64 = 8;
const READ_ENTRIES: usize = 256;
const READ_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryLog;

    #[tokio::test]
    async fn akds_own_storage_suite_passes() {
        akd::storage::tests::run_test_cases_for_storage_impl(Nodes::new(MemoryLog::new())).await;
    }

    #[tokio::test]
    async fn akds_own_storage_suite_passes_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::SqliteLog::open(dir.path(), &crate::store::Options::default()).unwrap();
        akd::storage::tests::run_test_cases_for_storage_impl(Nodes::new(store)).await;
    }
}
