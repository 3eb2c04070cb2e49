//! The directory: what `stonechat-directory` verifies is made here.
//!
//! Handles and heads of account logs lie in an auditable key directory ([`nodes`]). [`Directory::publish`] takes what has
//! changed, makes it one epoch, proves that the epoch took nothing back, appends its record to the Merkle log ([`log`]) and
//! signs the checkpoint. It is called as time passes, by one task of the server or by the simulator.
//!
//! **Restart-safe.** Each step is durable before the next begins, and a step that is done is never done differently:
//! what changed is in the queue; the epoch is decided in the journal; its nodes are written; its append-only proof; its
//! record; the checkpoint; then the queue and the journal are cut. [`Directory::publish`] begins by finishing what a crash
//! left. So one epoch has one root, and no checkpoint was ever given out that is not on disk.
//!
//! **One publisher.** Of several servers over one store, one holds a lease in the store and publishes; the others give out
//! what it published, and one of them takes over when the lease runs out. A publisher that was only slow cannot write over
//! its successor: every write names the entry that it follows.

// Time, randomness and the machine come in as arguments: clippy.toml says what that excludes.
#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod keys;
mod log;
mod nodes;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, RwLock};

use akd::directory::ReadOnlyDirectory;
use akd::errors::{AkdError, StorageError as AkdStorageError};
use akd::storage::StorageManager;
use akd::verify::history::HistoryParams;
use akd::{AkdLabel, AkdValue, AzksParallelismConfig, EpochHash};
use stonechat_directory::head::HEARTBEAT_SECS;
use stonechat_directory::note::NoteSignature;
use stonechat_directory::proof::{Configuration, account_label, encode_history, encode_look_up, handle_label};
use stonechat_directory::tlog::{self, Frontier, Range};
use stonechat_directory::{Checkpoint, DirectoryPolicy, NoteError, PolicyError, SignedNote, VerifierKey, audit};
use stonechat_wire::limits::{CHECKPOINT_BYTES_MAX, HISTORY_VERSIONS_MAX};
use stonechat_wire::{
    AccountHistory, AccountId, AccountProof, Bytes, DirectoryRecord, Handle, List, LogHead, Seq, SignedHead, Timestamp,
    TreeHash, TreeProof, decode, encode,
};
use tokio::sync::{Mutex, watch};

pub use keys::DirectoryKeys;
use log::LogError;
use nodes::{JournalError, Nodes};
pub use standing::{Seen, Standing};

use crate::services::keys as places;
use crate::store::{Append, ENTRY_BYTES_MAX, Expect, KeyedLog, StoreError};
use crate::witnesses::{self, Answer, Judgement};

/// What the operator decides about the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectorySettings {
    /// The name of the directory in its checkpoints. `None` takes one made from its key.
    pub origin: Option<String>,
    /// Verifier keys of witnesses.
    pub witnesses: Vec<VerifierKey>,
    /// How many of them clients need.
    pub threshold: u32,
    /// The name of this server among those that share its store.
    pub node: String,
}

impl DirectorySettings {
    /// Whose signatures clients need, under these settings and keys.
    ///
    /// # Errors
    /// [`PolicyError`] when they do not make a policy.
    pub fn policy(&self, keys: &DirectoryKeys) -> Result<DirectoryPolicy, PolicyError> {
        let origin = self.origin.clone().unwrap_or_else(|| keys.default_origin());
        let log = keys.verifier(&origin)?;
        DirectoryPolicy::new(log, keys.vrf_public(), self.witnesses.clone(), self.threshold)
    }
}

/// What a call of [`Directory::publish`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// Nothing had changed.
    Nothing,
    /// A new head: this many records.
    Published(u64),
    /// Another server publishes.
    StandingBy,
}

/// Why the directory could not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The store failed. Later works perhaps.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another server publishes now.
    #[error("another server publishes this directory; this one stands by")]
    LostPlace,
    /// It is not published yet.
    #[error("the directory has not published this yet")]
    Unpublished,
    /// The store holds what it should not.
    #[error("the directory is damaged: {0}. Restore the data directory from a backup")]
    Damaged(String),
}

/// Why a cosignature was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// It is not a signed note of this directory by a witness of its policy.
    #[error("this is not a cosignature by a witness of this directory")]
    Unknown,
    /// The directory is at another size.
    #[error("the directory's newest checkpoint has {size} records")]
    Superseded {
        /// That size.
        size: u64,
    },
    /// The store failed.
    #[error("the cosignature could not be stored; try again later")]
    Unavailable,
}

type Writer<S> = akd::Directory<Configuration, Nodes<S>, DirectoryKeys>;
type Reader<S> = ReadOnlyDirectory<Configuration, Nodes<S>, DirectoryKeys>;

/// The directory over a store.
pub struct Directory<S: KeyedLog> {
    store: S,
    nodes: Nodes<S>,
    keys: DirectoryKeys,
    policy: DirectoryPolicy,
    node: String,
    publisher: Mutex<Option<Publisher<S>>>,
    reader: OnceLock<Reader<S>>,
    published: RwLock<Option<Arc<Published>>>,
    changes: watch::Sender<u64>,
}

/// What only the publisher has. Gone after any failure: it begins again with what is on disk.
struct Publisher<S: KeyedLog> {
    akd: Writer<S>,
    frontier: Frontier,
    last: DirectoryRecord,
}

/// The newest head, as it is given out.
#[derive(Clone)]
struct Published {
    size: u64,
    note: SignedNote,
    leaf: Vec<u8>,
    record: DirectoryRecord,
    inclusion: Vec<TreeHash>,
    /// By as many witnesses as clients need.
    cosigned: bool,
}

impl<S: KeyedLog> Directory<S> {
    /// The directory of a store. Reads nothing yet.
    ///
    /// # Errors
    /// [`PolicyError`] when the settings do not make a policy.
    pub fn new(store: S, keys: DirectoryKeys, settings: DirectorySettings) -> Result<Self, PolicyError> {
        let policy = settings.policy(&keys)?;
        let nodes = Nodes::new(store.clone());
        Ok(Self {
            store,
            nodes,
            keys,
            policy,
            node: settings.node,
            publisher: Mutex::new(None),
            reader: OnceLock::new(),
            published: RwLock::new(None),
            changes: watch::Sender::new(0),
        })
    }

    /// Whose signatures clients need.
    pub fn policy(&self) -> &DirectoryPolicy {
        &self.policy
    }

    /// What witnesses' answers say of this directory as it is on the disk.
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be read.
    pub async fn compare(&self, answers: &[Answer]) -> Result<Judgement, DirectoryError> {
        let standing = Standing::read(&self.store, &self.policy).await?;
        witnesses::judge(&self.store, standing.as_ref(), answers).await
    }

    /// Changes whenever there is a new head, or a new cosignature on it.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Records of the newest head.
    pub fn size(&self) -> u64 {
        self.head().map_or(0, |head| head.size)
    }

    /// Whether the newest head has the witnesses that clients need.
    pub fn is_cosigned(&self) -> bool {
        self.head().is_some_and(|head| head.cosigned)
    }

    /// Puts an account among what is to be published. Durable when it returns.
    pub(crate) async fn enqueue(&self, account: &AccountId, now: Timestamp) -> Result<(), StoreError> {
        let appended =
            self.store.append(&places::directory_queue(), Expect::Any, account.0.to_vec(), None, now).await?;
        debug_assert!(matches!(appended, Append::Appended(_)));
        Ok(())
    }

    /// Publishes what has changed, as one epoch; without changes, now and then a record that says so. `read` gives the
    /// account log head and the handle of an account, as the services have them.
    ///
    /// # Errors
    /// [`DirectoryError`]. The next call begins with what is on disk; nothing is lost.
    ///
    /// # Cancel safety
    /// As after a crash: the next call finishes what was begun.
    pub(crate) async fn publish<F>(
        &self,
        now: Timestamp,
        read: impl Fn(AccountId) -> F,
    ) -> Result<Publication, DirectoryError>
    where
        F: Future<Output = Result<Option<Listing>, StoreError>>,
    {
        let mut place = self.publisher.lock().await;
        // Also as the publisher: witnesses may have left their cosignatures with another server.
        self.refresh().await?;
        if !self.hold_lease(now).await? {
            *place = None;
            return Ok(Publication::StandingBy);
        }
        let before = self.size();
        // Taken out: after a failure or a drop, the next call opens it again.
        let mut publisher = match place.take() {
            Some(publisher) => publisher,
            None => self.open(now).await?,
        };
        while self.publish_batch(&mut publisher, now, &read).await? {}
        if publisher.last.time.plus_secs(HEARTBEAT_SECS) <= now {
            let record = DirectoryRecord { time: now, ..publisher.last };
            self.append(&mut publisher, record).await?;
        }
        let size = publisher.frontier.size();
        *place = Some(publisher);
        Ok(if size > before { Publication::Published(size) } else { Publication::Nothing })
    }

    /// Publishes what waits, as one epoch. Returns whether more may wait.
    async fn publish_batch<F>(
        &self,
        publisher: &mut Publisher<S>,
        now: Timestamp,
        read: &impl Fn(AccountId) -> F,
    ) -> Result<bool, DirectoryError>
    where
        F: Future<Output = Result<Option<Listing>, StoreError>>,
    {
        let queue = places::directory_queue();
        let waiting = self.store.read(&queue, Seq(0), BATCH_ACCOUNTS_MAX, usize::MAX, now).await?;
        let Some(last) = waiting.last() else { return Ok(false) };
        let accounts: BTreeSet<AccountId> =
            waiting.iter().filter_map(|entry| Some(AccountId(entry.bytes.as_slice().try_into().ok()?))).collect();
        let mut updates = Vec::new();
        for account in accounts {
            // One that lost the race for its handle is gone.
            let Some(listing) = read(account).await? else { continue };
            updates.push((AkdLabel(account_label(&account)), AkdValue(encode(&listing.log))));
            if let Some(handle) = listing.handle {
                updates.push((AkdLabel(handle_label(&handle)), AkdValue(account.0.to_vec())));
            }
        }
        if !updates.is_empty() {
            let EpochHash(epoch, root) = publisher.akd.publish(updates).await.map_err(akd_failed)?;
            self.record_epoch(publisher, epoch, root, now).await?;
        }
        self.store.trim(&queue, last.seq).await?;
        self.nodes.finish_epoch().await?;
        Ok(waiting.len() == BATCH_ACCOUNTS_MAX)
    }

    /// Gives the place up, so that another server need not wait for the lease to run out.
    pub(crate) async fn retire(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.publisher.lock().await.take().is_some() {
            let lease = encode(&Lease { holder: String::new(), until: Timestamp(0) });
            let _given_up = self.store.append(&places::directory_lease(), Expect::Any, lease, None, now).await?;
        }
        Ok(())
    }

    async fn hold_lease(&self, now: Timestamp) -> Result<bool, DirectoryError> {
        let key = places::directory_lease();
        let last = self.store.last(&key, now).await?;
        let lease: Option<Lease> = last.as_ref().and_then(|entry| decode(&entry.bytes).ok());
        let mine = lease.as_ref().is_some_and(|lease| lease.holder == self.node);
        let until = lease.map_or(Timestamp(0), |lease| lease.until);
        if !mine && now < until {
            return Ok(false);
        }
        if mine && now.plus_secs(LEASE_SECS / 2) < until {
            return Ok(true);
        }
        let lease = encode(&Lease { holder: self.node.clone(), until: now.plus_secs(LEASE_SECS) });
        let expect = last.as_ref().map_or(Expect::Empty, |entry| Expect::Last(entry.seq));
        match self.store.append(&key, expect, lease, None, now).await? {
            Append::Appended(seq) => {
                if seq.0 % LEASES_KEPT == 0 {
                    self.store.trim(&key, Seq(seq.0 - 1)).await?;
                }
                Ok(true)
            }
            Append::Conflict { .. } => Ok(false),
        }
    }

    /// Becomes the publisher: finishes what was begun, by this server or another.
    async fn open(&self, now: Timestamp) -> Result<Publisher<S>, DirectoryError> {
        self.nodes.take_over().await?;
        let manager = StorageManager::new_no_cache(self.nodes.clone());
        let akd =
            Writer::new(manager, self.keys.clone(), AzksParallelismConfig::disabled()).await.map_err(akd_failed)?;
        let EpochHash(epoch, root) = akd.get_epoch_hash().await.map_err(akd_failed)?;
        let size = log::size(&self.store).await?;
        if size == 0 {
            if epoch != 0 {
                return Err(DirectoryError::Damaged("it has an epoch and no record of its beginning".to_owned()));
            }
            log::append(&self.store, 1, encode(&DirectoryRecord { epoch, root, time: now })).await?;
        }
        let size = size.max(1);
        log::keep_tiles(&self.store, size).await?;
        let last = read_record(&log::leaf(&self.store, size - 1).await?)?;
        let mut publisher = Publisher { akd, frontier: log::frontier(&self.store, size).await?, last };
        if last.epoch + 1 == epoch {
            self.record_epoch(&mut publisher, epoch, root, now).await?;
        } else if last.epoch != epoch || last.root != root {
            let (here, there) = (last.epoch, epoch);
            return Err(DirectoryError::Damaged(format!("its log ends at epoch {here} and its tree at {there}")));
        }
        let signed = self.store.last(&places::directory_checkpoints(), now).await?.map_or(0, |entry| entry.seq.0);
        match publisher.frontier.size() {
            size if size == signed => {}
            size if size == signed + 1 => drop(self.sign(&publisher.frontier).await?),
            size => {
                return Err(DirectoryError::Damaged(format!("it has {size} records and {signed} checkpoints")));
            }
        }
        self.nodes.finish_epoch().await?;
        self.refresh().await?;
        Ok(publisher)
    }

    /// Proves and records an epoch that is written.
    async fn record_epoch(
        &self,
        publisher: &mut Publisher<S>,
        epoch: u64,
        root: [u8; 32],
        now: Timestamp,
    ) -> Result<(), DirectoryError> {
        if epoch == publisher.last.epoch {
            // All of it was there already.
            return Ok(());
        }
        let time = now.max(publisher.last.time);
        let record = DirectoryRecord { epoch, root, time };
        let proofs = publisher.akd.audit(epoch - 1, epoch).await.map_err(akd_failed)?;
        let [proof] = proofs.proofs.as_slice() else {
            return Err(DirectoryError::Damaged("an epoch has no append-only proof".to_owned()));
        };
        let proof = audit::encode_append_only(proof);
        // What an auditor would refuse is not signed.
        audit::verify_append_only(&proof, &publisher.last.root, &record)
            .map_err(|error| DirectoryError::Damaged(error.to_string()))?;
        let key = places::directory_audit(epoch);
        self.store.remove(&key).await?;
        for piece in proof.chunks(ENTRY_BYTES_MAX) {
            let _kept = self.store.append(&key, Expect::Any, piece.to_vec(), None, now).await?;
        }
        self.append(publisher, record).await
    }

    /// Appends a record and signs the log that has it.
    async fn append(&self, publisher: &mut Publisher<S>, record: DirectoryRecord) -> Result<(), DirectoryError> {
        let leaf = encode(&record);
        let size = publisher.frontier.size() + 1;
        log::append(&self.store, size, leaf.clone()).await?;
        if size.is_multiple_of(tlog::TILE_HASHES) {
            log::keep_tiles(&self.store, size).await?;
        }
        let inclusion = publisher.frontier.inclusion_of_next();
        publisher.frontier.push(tlog::leaf_hash(&leaf));
        publisher.last = record;
        let note = self.sign(&publisher.frontier).await?;
        self.give_out(Published { size, note, leaf, record, inclusion, cosigned: false });
        Ok(())
    }

    /// Signs a checkpoint and keeps it, before anybody sees it.
    async fn sign(&self, frontier: &Frontier) -> Result<SignedNote, DirectoryError> {
        let (size, root) = (frontier.size(), frontier.root());
        let text = Checkpoint { origin: self.policy.origin().to_owned(), size, root }.to_text();
        let note = SignedNote::sign(text, self.policy.origin(), self.keys.signing());
        log::append_at(&self.store, &places::directory_checkpoints(), size, note.to_string().into_bytes()).await?;
        Ok(note)
    }

    /// Takes the newest head from the store, and the cosignatures on it.
    async fn refresh(&self) -> Result<(), DirectoryError> {
        let Some(entry) = self.store.last(&places::directory_checkpoints(), FOREVER).await? else { return Ok(()) };
        let size = entry.seq.0;
        if let Some(head) = self.head().filter(|head| head.size >= size) {
            if !self.policy.witnesses().is_empty() && head.size == size {
                // Of a witness's several, the last.
                let kept = self.kept_cosignatures(size).await?;
                let kept: BTreeMap<_, _> = kept.iter().map(|line| ((&line.name, line.id), line)).collect();
                for line in kept.into_values().filter(|line| !head.note.signatures().contains(line)) {
                    self.add_cosignature(size, line);
                }
            }
            return Ok(());
        }
        let mut note = SignedNote::parse(&entry.bytes).map_err(|error| DirectoryError::Damaged(error.to_string()))?;
        for line in self.kept_cosignatures(size).await? {
            note.add(line);
        }
        let leaf = log::leaf(&self.store, size - 1).await?;
        let record = read_record(&leaf)?;
        let inclusion = log::range_hashes(&self.store, &tlog::inclusion_ranges(size - 1, size)).await?;
        self.give_out(Published { size, note, leaf, record, inclusion, cosigned: false });
        Ok(())
    }

    fn head(&self) -> Option<Arc<Published>> {
        self.published.read().expect("no holder panics").clone()
    }

    fn give_out(&self, mut head: Published) {
        head.cosigned = self.policy.verify(&head.note).is_ok();
        {
            let mut published = self.published.write().expect("no holder panics");
            // What was read from the store may be older than what was published meanwhile.
            if published.as_ref().is_some_and(|published| published.size > head.size) {
                return;
            }
            *published = Some(Arc::new(head));
        }
        self.changes.send_modify(|count| *count += 1);
    }

    // --- what is asked of it ---

    /// The newest head.
    pub(crate) fn signed_head(&self) -> Result<SignedHead, DirectoryError> {
        self.head().ok_or(DirectoryError::Unpublished)?.to_wire()
    }

    /// The newest checkpoint with its cosignatures.
    pub fn checkpoint(&self) -> Option<String> {
        Some(self.head()?.note.to_string())
    }

    /// What the directory says of an account, and of its handle when that is asked, and the log head in it.
    pub(crate) async fn look_up(
        &self,
        account: &AccountId,
        handle: Option<&Handle>,
    ) -> Result<(AccountProof, LogHead), DirectoryError> {
        let head = self.head().ok_or(DirectoryError::Unpublished)?;
        let labels = [Some(account_label(account)), handle.map(handle_label)];
        let labels: Vec<AkdLabel> = labels.into_iter().flatten().map(AkdLabel).collect();
        let (proofs, at) = self.reader().await?.batch_lookup(&labels).await.map_err(look_up_failed)?;
        head.is_at(&at)?;
        let value = proofs.first().map(|proof| decode::<LogHead>(&proof.value.0));
        let log = value.and_then(Result::ok).ok_or_else(|| damaged("a label has no log head"))?;
        let mut encoded = proofs.iter().map(|proof| Bytes::new(encode_look_up(proof)).map_err(|_| too_large()));
        let account = encoded.next().ok_or_else(too_large)??;
        let handle = encoded.next().transpose()?;
        Ok((AccountProof { head: head.to_wire()?, account, handle }, log))
    }

    /// What the directory said of an account and its handle.
    pub(crate) async fn history(
        &self,
        account: &AccountId,
        handle: &Handle,
        versions: u32,
    ) -> Result<AccountHistory, DirectoryError> {
        let head = self.head().ok_or(DirectoryError::Unpublished)?;
        let reader = self.reader().await?;
        let recent = HistoryParams::MostRecent(versions.clamp(1, HISTORY_VERSIONS_MAX) as usize);
        let mut encoded = Vec::new();
        for label in [account_label(account), handle_label(handle)] {
            let (proof, at) = reader.key_history(&AkdLabel(label), recent).await.map_err(look_up_failed)?;
            head.is_at(&at)?;
            encoded.push(Bytes::new(encode_history(&proof)).map_err(|_| too_large())?);
        }
        let handle = encoded.pop().ok_or_else(too_large)?;
        let account = encoded.pop().ok_or_else(too_large)?;
        Ok(AccountHistory { head: head.to_wire()?, account, handle })
    }

    /// The consistency proof between two sizes. `None` when they are not sizes of this log.
    pub(crate) async fn consistency(&self, from: u64, to: u64) -> Result<Option<TreeProof>, DirectoryError> {
        // Its asker may have been given a head by another server.
        if self.size() < to {
            self.refresh().await?;
        }
        let head = self.head().ok_or(DirectoryError::Unpublished)?;
        if from == 0 || from > to || to > head.size {
            return Ok(None);
        }
        let hashes = log::range_hashes(&self.store, &tlog::consistency_ranges(from, to)).await?;
        Ok(Some(List::new(hashes).map_err(|_| too_large())?))
    }

    /// The append-only proof of an epoch. `None` when there is none.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn audit_proof(&self, epoch: u64) -> Result<Option<Vec<u8>>, DirectoryError> {
        if self.head().is_none_or(|head| epoch > head.record.epoch) {
            return Ok(None);
        }
        let (key, mut proof, mut at) = (places::directory_audit(epoch), Vec::new(), Seq(0));
        loop {
            let page = self.store.read(&key, at, 16, usize::MAX, FOREVER).await?;
            let Some(end) = page.last() else { return Ok((at > Seq(0)).then_some(proof)) };
            at = end.seq;
            page.iter().for_each(|entry| proof.extend_from_slice(&entry.bytes));
        }
    }

    /// A tile: the hashes of a level, or for `None` the leaves themselves. `None` when the log has not that many.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub async fn tile(&self, level: Option<u32>, index: u64, width: u64) -> Result<Option<Vec<u8>>, DirectoryError> {
        let Some(head) = self.head() else { return Ok(None) };
        let height = tlog::TILE_HEIGHT * level.unwrap_or(0);
        let have = if height < u64::BITS { head.size >> height } else { 0 };
        let end = index.checked_mul(tlog::TILE_HASHES).and_then(|start| start.checked_add(width));
        if end.is_none_or(|end| end > have) {
            return Ok(None);
        }
        Ok(Some(match level {
            Some(level) => log::tile_hashes(&self.store, level, index, width).await?.iter().flat_map(|h| h.0).collect(),
            None => {
                let start = index * tlog::TILE_HASHES;
                let leaves = log::leaves(&self.store, Range { start, end: start + width }).await?;
                // C2SP tlog-tiles: each entry behind its length in two bytes.
                let with_length = |leaf: Vec<u8>| [&(leaf.len() as u16).to_be_bytes()[..], &leaf].concat();
                leaves.into_iter().flat_map(with_length).collect()
            }
        }))
    }

    /// Takes a witness's cosignature of the newest checkpoint: a note with its text and the witness's line.
    pub(crate) async fn cosign(&self, note: &[u8], now: Timestamp) -> Result<(), CosignatureError> {
        let note = SignedNote::parse(note).map_err(|_| CosignatureError::Unknown)?;
        let Ok(said) = Checkpoint::parse(note.text()) else { return Err(CosignatureError::Unknown) };
        // The witness may have been given it by another server.
        if said.size > self.size() {
            self.refresh().await.map_err(|_| CosignatureError::Unavailable)?;
        }
        let head = self.head().ok_or(CosignatureError::Superseded { size: 0 })?;
        if said.size != head.size {
            return Err(CosignatureError::Superseded { size: head.size });
        }
        if note.text() != head.note.text() {
            return Err(CosignatureError::Unknown);
        }
        let key = places::directory_cosignatures();
        let mut taken = 0;
        for (witness, time) in self.policy.cosigners(&note) {
            taken += 1;
            let known = head.note.verify_witness(witness).unwrap_or(0);
            if time <= known {
                continue;
            }
            let line = note.signatures().iter().find(|line| line.name == witness.name() && line.id == witness.id());
            let line = line.ok_or(CosignatureError::Unknown)?;
            let kept = encode(&Cosignature { size: head.size, line: line.to_string() });
            let expires = Some(now.plus_secs(COSIGNATURE_TTL_SECS));
            let kept = self.store.append(&key, Expect::Any, kept, expires, now).await;
            let _kept = kept.map_err(|_| CosignatureError::Unavailable)?;
            self.add_cosignature(head.size, line);
        }
        if taken == 0 { Err(CosignatureError::Unknown) } else { Ok(()) }
    }

    fn add_cosignature(&self, size: u64, line: &NoteSignature) {
        {
            let mut published = self.published.write().expect("no holder panics");
            let Some(head) = published.as_mut().filter(|head| head.size == size) else { return };
            let head = Arc::make_mut(head);
            head.note.add(line.clone());
            head.cosigned = self.policy.verify(&head.note).is_ok();
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Cosignatures of a checkpoint that are on disk, the older first.
    async fn kept_cosignatures(&self, size: u64) -> Result<Vec<NoteSignature>, DirectoryError> {
        let key = places::directory_cosignatures();
        let last = self.store.last(&key, FOREVER).await?.map_or(0, |entry| entry.seq.0);
        let after = Seq(last.saturating_sub(COSIGNATURES_READ));
        let recent = self.store.read(&key, after, COSIGNATURES_READ as usize, usize::MAX, FOREVER).await?;
        let kept = recent.iter().filter_map(|entry| decode::<Cosignature>(&entry.bytes).ok());
        Ok(kept.filter(|kept| kept.size == size).filter_map(|kept| kept.line.parse().ok()).collect())
    }

    async fn reader(&self) -> Result<&Reader<S>, DirectoryError> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader);
        }
        // Its own manager: the writer's shows an epoch that is on its way. Two requests may open one at the same time; neither
        // waits for the other, because both may be of one connection, which goes on with one of them at a time.
        let manager = StorageManager::new_no_cache(self.nodes.clone());
        let opened = Reader::new(manager, self.keys.clone(), AzksParallelismConfig::disabled()).await;
        let opened = opened.map_err(akd_failed)?;
        Ok(self.reader.get_or_init(|| opened))
    }
}

/// What an entry of [`places::directory_values`] says: version, epoch and value.
pub(crate) fn read_value(bytes: &[u8]) -> Option<(u64, u64, Vec<u8>)> {
    nodes::decode_state(bytes, &[]).ok().map(|state| (state.version, state.epoch, state.value.0))
}

/// What the services know of an account that is to be published.
pub(crate) struct Listing {
    pub(crate) log: LogHead,
    /// Its handle, when the account holds it.
    pub(crate) handle: Option<Handle>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
struct Lease {
    #[n(0)]
    holder: String,
    #[n(1)]
    until: Timestamp,
}

#[derive(minicbor::Encode, minicbor::Decode)]
struct Cosignature {
    #[n(0)]
    size: u64,
    #[n(1)]
    line: String,
}

impl Published {
    /// A proof is against this head, or a newer one is on its way.
    fn is_at(&self, at: &EpochHash) -> Result<(), DirectoryError> {
        let same = at.epoch() == self.record.epoch && at.hash() == self.record.root;
        if same { Ok(()) } else { Err(DirectoryError::Unpublished) }
    }

    fn to_wire(&self) -> Result<SignedHead, DirectoryError> {
        Ok(SignedHead {
            checkpoint: Bytes::<CHECKPOINT_BYTES_MAX>::new(self.note.to_string().into_bytes())
                .map_err(|_| too_large())?,
            record: Bytes::new(self.leaf.clone()).map_err(|_| too_large())?,
            inclusion: List::new(self.inclusion.clone()).map_err(|_| too_large())?,
        })
    }
}

impl From<JournalError> for DirectoryError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Store(error) => Self::Store(error),
            JournalError::LostPlace => Self::LostPlace,
            JournalError::Damaged => damaged("its journal cannot be read"),
        }
    }
}

impl From<LogError> for DirectoryError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => Self::Store(error),
            LogError::LostPlace => Self::LostPlace,
            LogError::Damaged => damaged("its log cannot be read"),
        }
    }
}

impl From<NoteError> for DirectoryError {
    fn from(error: NoteError) -> Self {
        damaged(&error.to_string())
    }
}

fn read_record(leaf: &[u8]) -> Result<DirectoryRecord, DirectoryError> {
    decode(leaf).map_err(|_| damaged("a record cannot be read"))
}

fn akd_failed(error: AkdError) -> DirectoryError {
    match error {
        AkdError::Storage(AkdStorageError::Connection(cause)) => {
            DirectoryError::Store(StoreError::Unavailable { cause })
        }
        AkdError::Storage(AkdStorageError::Transaction(_)) => DirectoryError::LostPlace,
        other => damaged(&other.to_string()),
    }
}

/// A label that is not there, and one that moved on while it was read, are both about to be published.
fn look_up_failed(error: AkdError) -> DirectoryError {
    match error {
        AkdError::Storage(AkdStorageError::NotFound(_)) => DirectoryError::Unpublished,
        other => akd_failed(other),
    }
}

fn damaged(what: &str) -> DirectoryError {
    DirectoryError::Damaged(what.to_owned())
}

fn too_large() -> DirectoryError {
    damaged("a proof is larger than a frame")
}

/// Accounts in one epoch; more wait for the next.
const BATCH_ACCOUNTS_MAX: usize = 8_192;
/// How long a publisher that says nothing keeps its place.
const LEASE_SECS: u64 = 10;
const LEASES_KEPT: u64 = 64;
const COSIGNATURE_TTL_SECS: u64 = 30 * 24 * 3_600;
const COSIGNATURES_READ: u64 = 256;
const FOREVER: Timestamp = Timestamp(0);
