//! The core's rows in the vault: one type for each kind of record, and the only place that knows their keys.
//!
//! Records are a byte for their format and CBOR with integer keys. A record that does not decode means a damaged vault and is an error, never skipped.

use minicbor::{Decode, Encode};
use stonechat_directory::DirectoryPolicy;
use stonechat_wire::{
    AccountId, AccountLog, BlobId, Bytes, ConversationId, DeviceId, EpochCaps, EpochId, Handle, LogEntry,
    ProvenAccount, Seq, Timestamp, TreeHash, decode, encode,
};

use crate::api::{Doubt, Status};
use crate::content::MessageId;
use crate::crypto::Secret;
use crate::store::vault::{Order, Row, Table, Txn, VaultError, VaultRead, prefix_end};

/// This account and device. Under `"me"` in [`Table::Meta`].
#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct MeRecord {
    #[n(0)]
    pub account: AccountId,
    #[n(1)]
    pub handle: Handle,
    #[n(2)]
    pub device: DeviceId,
    /// Seed of the device's Ed25519 key.
    #[n(3)]
    pub signature_seed: Secret,
    /// Seed of the inbox's X-Wing key.
    #[n(4)]
    pub inbox_seed: Secret,
    /// What this account hands to its contacts so that they reach its inbox.
    #[n(5)]
    pub contact: Secret,
    #[n(6)]
    pub genesis: LogEntry,
    #[n(7)]
    pub server: String,
    #[n(8)]
    pub registered: bool,
}

/// Something that was found out. Under [`ALARMS`] and its id in [`Table::Meta`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct AlarmRecord {
    #[n(0)]
    pub kind: crate::api::AlarmKind,
    #[n(1)]
    pub what: String,
    #[n(2)]
    pub at: Timestamp,
    #[n(3)]
    pub device: Option<DeviceId>,
    #[n(4)]
    pub evidence: Option<String>,
    #[n(5)]
    pub dismissed: bool,
    /// The contact whom it is about, if it is about one: the other locks stay as they are.
    #[n(6)]
    pub about: Option<AccountId>,
}

/// A head of the directory: the newest that is known to continue all others ([`NEWEST`]), or one that is still to be shown
/// to be of the same log (under [`HEADS`], its size and its root). In [`Table::Meta`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct HeadRecord {
    #[n(0)]
    pub size: u64,
    #[n(1)]
    pub root: TreeHash,
    #[cbor(n(2), with = "stonechat_wire::codec::fixed")]
    pub signature: [u8; 64],
    /// How often the directory refused to show it.
    #[n(3)]
    pub tries: u32,
    #[n(4)]
    pub not_before: Timestamp,
    /// It could not be shown: the directory has forked, unless it shows it after all.
    #[n(5)]
    pub failed: bool,
}

/// The watch over this account. Under [`WATCH`] in [`Table::Meta`].
#[derive(Encode, Decode, Clone, Default)]
#[cbor(map)]
pub(crate) struct WatchRecord {
    /// Not before this moment: the next look.
    #[n(0)]
    pub next: Timestamp,
    /// When an entry of the own log was first found missing in the directory.
    #[n(1)]
    pub missing_since: Option<Timestamp>,
    /// The longest own log that the directory ever showed.
    #[n(2)]
    pub published: u64,
    /// When the look that went well last was.
    #[n(3)]
    pub seen: Option<Timestamp>,
    /// Answers of the directory in a row, to whatever was asked, whose head too few witnesses confirm.
    #[n(4)]
    pub unwitnessed: u32,
}

/// What is known of somebody. Under the account id in [`Table::Account`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct ContactRecord {
    #[n(0)]
    pub log: AccountLog,
    /// Their requests are accepted.
    #[n(1)]
    pub accepted: bool,
    /// Opens the contact lane of their inbox.
    #[n(2)]
    pub contact: Option<Secret>,
    /// Why their lock is open, if it is.
    #[n(3)]
    pub doubt: Option<Doubt>,
    /// What the directory said of the log, once it did.
    #[n(4)]
    pub checked: Option<Checked>,
    /// When the person compared safety numbers with them.
    #[n(5)]
    pub compared: Option<Timestamp>,
    /// The length of their log as they told it themselves, if that is more than what is known here.
    #[n(6)]
    pub told: Option<u64>,
}

/// What the directory said of an account, verified against the pinned policy. The proof itself is kept beside it.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(map)]
pub(crate) struct Checked {
    /// Entries of the log.
    #[n(0)]
    pub length: u64,
    /// The head of the directory that it was proven against: size and root of its log.
    #[n(1)]
    pub size: u64,
    #[n(2)]
    pub root: TreeHash,
    /// When the directory published that head.
    #[n(3)]
    pub time: Timestamp,
    /// It also proved that the handle is theirs.
    #[n(4)]
    pub handle: bool,
    /// A head of theirs was shown to be of the same log as the heads that this client saw.
    #[n(5)]
    pub connected: bool,
}

impl ContactRecord {
    pub(crate) fn new(log: AccountLog) -> Self {
        Self { log, accepted: false, contact: None, doubt: None, checked: None, compared: None, told: None }
    }
}

/// Where a conversation stands.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub(crate) enum Phase {
    /// Made here, not yet on the server.
    #[n(0)]
    Founding,
    /// Followed.
    #[n(1)]
    Live,
    /// This device cannot follow and has asked to be added again.
    #[n(2)]
    Stuck,
    /// This account left, was removed, or the conversation could not be made.
    #[n(3)]
    Gone,
}

/// The part of a conversation that moves with every entry. Under the id in [`Table::Conversation`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct Head {
    #[n(0)]
    pub phase: Phase,
    /// The last entry that was applied.
    #[n(1)]
    pub cursor: Seq,
    /// The commit that opened this device's epoch, and the epoch.
    #[n(2)]
    pub epoch: Seq,
    #[n(3)]
    pub epoch_id: EpochId,
    /// Clock of the last entry, so that messages never sort before one that they follow.
    #[n(4)]
    pub last_time: Timestamp,
    /// The last commit on this epoch that was refused, and the epoch that it claimed to open.
    #[n(5)]
    pub refused: Option<(Seq, EpochId)>,
    #[n(6)]
    pub unread: u64,
    /// Running hash over the entries of this epoch, see [`crate::log::follow`], and its last values.
    #[n(7)]
    pub view: Vec<ViewPoint>,
    /// Number of the next outbox row.
    #[n(8)]
    pub next_out: u64,
    /// Key package that this device offered when it asked to be added again.
    #[cbor(n(9), with = "optional32")]
    pub offered: Option<[u8; 32]>,
    /// Not before this moment: the next unforced commit, or the next call for help.
    #[n(10)]
    pub not_before: Timestamp,
    /// Something to commit once `not_before` has come: proposals of others, or a way around a refused commit.
    #[n(11)]
    pub commit_due: bool,
    /// This device has asked for help about the present trouble.
    #[n(12)]
    pub asked: bool,
    /// When the epoch was last read again from its start because the log did not add up.
    #[n(13)]
    pub rewound_at: Timestamp,
    /// It is to be read again as soon as that may be.
    #[n(14)]
    pub rewind_due: bool,
    /// The furthest that this epoch was read: what is odd up to there was seen before.
    #[n(15)]
    pub furthest: Seq,
    /// Not before this moment: the next renewal of this device's keys.
    #[n(16)]
    pub refresh_at: Timestamp,
    /// The head of the directory and the length of the own log that the others were last told here.
    #[n(17)]
    pub told: Option<Told>,
    /// Where this device came into the conversation: it holds every entry after this place. Older vaults do not know.
    #[n(18)]
    pub since: Option<Seq>,
    /// Messages of the other person came that no receipt answered yet.
    #[cbor(n(19), default)]
    pub receipt_due: bool,
    /// The other person's devices said that they hold the entries after the first and up to the second place.
    #[n(20)]
    pub delivered: Option<(Seq, Seq)>,
}

/// What was last told of the directory in a conversation.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    #[n(0)]
    pub size: u64,
    #[n(1)]
    pub length: u64,
}

/// A value of the running hash.
#[derive(Encode, Decode, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ViewPoint {
    #[n(0)]
    pub seq: Seq,
    #[cbor(n(1), with = "stonechat_wire::codec::fixed")]
    pub hash: [u8; 32],
}

/// The part of a conversation that changes with commits. Under the id and `i`.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct Info {
    /// The other person, in direct messages.
    #[n(0)]
    pub peer: Option<AccountId>,
    /// A [`crate::log::policy::GroupState`], encoded.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub state: Vec<u8>,
    /// The leaves of the tree.
    #[n(2)]
    pub leaves: Vec<LeafRecord>,
    /// What this device still means to commit, in order.
    #[n(3)]
    pub intents: Vec<Intent>,
    /// What holds it up, in words.
    #[n(4)]
    pub notice: Option<String>,
    /// Made by this device and not yet joined by those that it was made for: messages wait.
    #[n(5)]
    pub opening: bool,
}

/// One leaf.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeafRecord {
    #[n(0)]
    pub index: u32,
    #[n(1)]
    pub account: AccountId,
    #[n(2)]
    pub device: DeviceId,
}

/// Something that this device means to commit. Each is checked again when its turn comes, and dropped when it no longer
/// makes sense.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Add every device of an account. The key packages are empty until they were taken.
    #[n(0)]
    Add(#[n(0)] AccountId, #[n(1)] Vec<KeyPackageRecord>),
    /// Remove every leaf of an account.
    #[n(1)]
    Remove(#[n(0)] AccountId),
    /// Replace the leaf of a device that cannot follow.
    #[n(2)]
    Replace(#[n(0)] AccountId, #[n(1)] KeyPackageRecord),
    /// Put this group state in place of the present one: name and roles.
    #[n(3)]
    Rename(#[n(0)] String),
    /// Change a role.
    #[n(4)]
    SetRole(#[n(0)] AccountId, #[n(1)] crate::api::Role),
    /// Propose that this account leaves.
    #[n(5)]
    Leave,
    /// New keys for this device's leaf.
    #[n(6)]
    Refresh,
    /// Remove the leaf of a device that its account has revoked.
    #[n(7)]
    RemoveDevice(#[n(0)] AccountId, #[n(1)] DeviceId),
}

/// A key package that was taken for a device.
#[derive(Encode, Decode, Clone, PartialEq, Eq)]
pub(crate) struct KeyPackageRecord {
    #[n(0)]
    pub device: DeviceId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for KeyPackageRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPackage({:?}, {} B)", self.device, self.bytes.len())
    }
}

/// A commit of this device on its way to the log. Under `c` and the conversation in [`Table::Outbox`]: the author of a commit
/// cannot read it back, so it is kept before it is sent.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct PendingCommit {
    /// The epoch that it stands on.
    #[n(0)]
    pub epoch: Seq,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub blob: Vec<u8>,
    #[n(2)]
    pub next: EpochCaps,
    /// A [`crate::log::commit::WelcomePackage`], encoded, for those who are added.
    #[n(3)]
    pub welcome: Option<Bytes<{ crate::limits::WELCOME_BYTES_MAX }>>,
    #[n(4)]
    pub added: Vec<(AccountId, DeviceId)>,
    /// How many intents, from the front, it settles.
    #[n(5)]
    pub settles: u32,
}

/// A message on its way to the log. Under `m`, the conversation and a number in [`Table::Outbox`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct OutRecord {
    /// A [`crate::content::Content`] without its view, encoded.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub content: Vec<u8>,
    #[n(1)]
    pub id: MessageId,
    /// Whether a person sees it.
    #[n(2)]
    pub visible: bool,
    /// What was encrypted, and in which epoch.
    #[n(3)]
    pub sealed: Option<Sealed>,
}

/// An encrypted entry.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct Sealed {
    #[n(0)]
    pub epoch: Seq,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub blob: Vec<u8>,
    /// Where the server says that it stands.
    #[n(2)]
    pub acknowledged: Option<Seq>,
}

/// One message in reading order, in [`Table::Message`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct MessageRecord {
    #[n(0)]
    pub id: MessageId,
    #[n(1)]
    pub conversation: ConversationId,
    #[n(2)]
    pub sender: AccountId,
    #[n(3)]
    pub sent_at: Timestamp,
    /// A [`crate::content::Body`], encoded.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    #[n(5)]
    pub status: Status,
}

/// A first contact that waits, or an accepted one whose welcome is on its way. Under the conversation id in
/// [`Table::Request`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct RequestRecord {
    #[n(0)]
    pub from: AccountId,
    #[n(1)]
    pub epoch: Seq,
    #[n(2)]
    pub epoch_id: EpochId,
    #[n(3)]
    pub is_group: bool,
    #[n(4)]
    pub at: Timestamp,
    #[n(5)]
    pub welcome: WelcomeRecord,
    #[n(6)]
    pub accepted: bool,
}

/// Where a welcome is.
#[derive(Encode, Decode, Clone)]
pub(crate) enum WelcomeRecord {
    /// Here.
    #[n(0)]
    Inline(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// In a blob of so many chunks.
    #[n(1)]
    Blob(#[n(0)] BlobId, #[n(1)] Secret, #[n(2)] u32, #[cbor(n(3), with = "stonechat_wire::codec::fixed")] [u8; 32]),
}

/// A letter on its way to a device's inbox. Under a random id in [`Table::Envelope`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct EnvelopeRecord {
    #[n(0)]
    pub account: AccountId,
    #[n(1)]
    pub device: DeviceId,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
    /// The blob that must be up before it goes.
    #[n(3)]
    pub blob: Option<BlobId>,
    #[n(4)]
    pub not_before: Timestamp,
    #[n(5)]
    pub tries: u32,
}

/// A blob on its way up. Under its id in [`Table::Blob`]; its chunks under the id and their number.
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct BlobRecord {
    #[n(0)]
    pub write: Secret,
    #[n(1)]
    pub chunks: u32,
    /// Chunks that the server has.
    #[n(2)]
    pub sent: u32,
}

/// `#[cbor(with)]` for 32 bytes or null.
pub(crate) mod optional32 {
    use minicbor::data::Type;
    use minicbor::decode::Error as DecodeFailure;
    use minicbor::encode::{Error as EncodeFailure, Write};
    use minicbor::{Decoder, Encoder};

    pub(crate) fn encode<C, W: Write>(
        value: &Option<[u8; 32]>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeFailure<W::Error>> {
        match value {
            Some(bytes) => stonechat_wire::codec::fixed::encode(bytes, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Option<[u8; 32]>, DecodeFailure> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(None);
        }
        stonechat_wire::codec::fixed::decode(d, ctx).map(Some)
    }
}

// --- access --------------------------------------------------------------------------------------------------------

/// Reads through a step's overlay or straight from the vault.
pub(crate) trait Read {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError>;
    fn rows(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError>;

    fn record<T: for<'b> Decode<'b, ()>>(&self, table: Table, key: &[u8]) -> Result<Option<T>, VaultError> {
        self.row(table, key)?.map(|bytes| parse(&bytes)).transpose()
    }

    fn prefixed(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, VaultError> {
        self.rows(table, prefix, &prefix_end(prefix), Order::Ascending, limit)
    }

    fn me(&self) -> Result<Option<MeRecord>, VaultError> {
        self.record(Table::Meta, ME)
    }

    fn head(&self, id: &ConversationId) -> Result<Option<Head>, VaultError> {
        self.record(Table::Conversation, &id.0)
    }

    fn info(&self, id: &ConversationId) -> Result<Option<Info>, VaultError> {
        self.record(Table::Conversation, &info_key(id))
    }

    fn contact(&self, account: &AccountId) -> Result<Option<ContactRecord>, VaultError> {
        self.record(Table::Account, &account.0)
    }

    fn account_of(&self, handle: &Handle) -> Result<Option<AccountId>, VaultError> {
        Ok(self.row(Table::Meta, &handle_key(handle))?.and_then(|bytes| bytes.try_into().ok()).map(AccountId))
    }

    /// An account that took the handle over from the one that is known under it.
    fn moved(&self, handle: &Handle) -> Result<Option<AccountId>, VaultError> {
        Ok(self.row(Table::Meta, &moved_key(handle))?.and_then(|bytes| bytes.try_into().ok()).map(AccountId))
    }

    fn policy(&self) -> Result<Option<DirectoryPolicy>, VaultError> {
        let read = |bytes: Vec<u8>| DirectoryPolicy::from_json(&bytes).map_err(|_| damaged());
        self.row(Table::Meta, POLICY)?.map(read).transpose()
    }

    fn proof(&self, account: &AccountId) -> Result<Option<ProvenAccount>, VaultError> {
        self.record(Table::Meta, &proof_key(account))
    }

    fn pending_heads(&self) -> Result<Vec<HeadRecord>, VaultError> {
        self.prefixed(Table::Meta, HEADS, usize::MAX)?.into_iter().map(|(_, value)| parse(&value)).collect()
    }

    fn direct(&self, peer: &AccountId) -> Result<Option<ConversationId>, VaultError> {
        Ok(self.row(Table::Meta, &direct_key(peer))?.and_then(|bytes| bytes.try_into().ok()).map(ConversationId))
    }

    fn conversation_ids(&self) -> Result<Vec<ConversationId>, VaultError> {
        let rows = self.rows(Table::Conversation, &[], &[], Order::Ascending, usize::MAX)?;
        Ok(rows.into_iter().filter_map(|(key, _)| key.try_into().ok()).map(ConversationId).collect())
    }

    fn outbox(&self, id: &ConversationId, limit: usize) -> Result<Vec<(u64, OutRecord)>, VaultError> {
        let prefix = out_prefix(id);
        self.prefixed(Table::Outbox, &prefix, limit)?
            .into_iter()
            .map(|(key, value)| {
                let number: [u8; 8] = key[prefix.len()..].try_into().map_err(|_| damaged())?;
                Ok((u64::from_be_bytes(number), parse(&value)?))
            })
            .collect()
    }
}

impl Read for Txn<'_> {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        self.get(table, key)
    }
    fn rows(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError> {
        self.range(table, low, high, order, limit)
    }
}

impl Read for &dyn VaultRead {
    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        self.get(table, key)
    }
    fn rows(&self, table: Table, low: &[u8], high: &[u8], order: Order, limit: usize) -> Result<Vec<Row>, VaultError> {
        self.range(table, low, high, order, limit)
    }
}

/// What every record starts with: the format of what follows. It changes when old records would be misread; the code that
/// reads them stays.
const RECORD_FORMAT: u8 = 1;

/// Decodes a record.
pub(crate) fn parse<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T, VaultError> {
    match bytes.split_first() {
        Some((&RECORD_FORMAT, record)) => decode(record).map_err(|_| damaged()),
        Some((found, _)) => Err(VaultError {
            detail: format!(
                "a record has format {found} and this app knows {RECORD_FORMAT}; a newer one wrote it: update"
            ),
        }),
        None => Err(damaged()),
    }
}

fn damaged() -> VaultError {
    VaultError { detail: "a record does not decode".into() }
}

/// Writes through a step's overlay.
pub(crate) trait Write {
    fn save<T: Encode<()>>(&mut self, table: Table, key: &[u8], record: &T);
}

impl Write for Txn<'_> {
    fn save<T: Encode<()>>(&mut self, table: Table, key: &[u8], record: &T) {
        self.put(table, key, [&[RECORD_FORMAT], encode(record).as_slice()].concat());
    }
}

pub(crate) const ME: &[u8] = b"me";

pub(crate) fn info_key(id: &ConversationId) -> Vec<u8> {
    [id.0.as_slice(), b"i"].concat()
}

pub(crate) fn handle_key(handle: &Handle) -> Vec<u8> {
    [b"handle/", handle.as_str().as_bytes()].concat()
}

/// The pinned policy of the directory, as JSON.
pub(crate) const POLICY: &[u8] = b"directory/policy";
/// The newest head.
pub(crate) const NEWEST: &[u8] = b"directory/newest";
/// Heads that are to be connected with it.
pub(crate) const HEADS: &[u8] = b"directory/heads/";
/// The watch over the own account.
pub(crate) const WATCH: &[u8] = b"directory/watch";
/// Alarms, by id.
pub(crate) const ALARMS: &[u8] = b"directory/alarm/";

/// Proofs of accounts stand under this and the account's id.
pub(crate) fn proof_key(account: &AccountId) -> Vec<u8> {
    [b"directory/proof/".as_slice(), &account.0].concat()
}

/// An account that has taken a handle over which is known to be another's, until the person accepts it.
pub(crate) fn moved_key(handle: &Handle) -> Vec<u8> {
    [b"directory/moved/", handle.as_str().as_bytes()].concat()
}

pub(crate) fn pending_head_key(size: u64, root: &TreeHash) -> Vec<u8> {
    [HEADS, &size.to_be_bytes(), &root.0].concat()
}

/// Handles that accounts claim and that were not looked up yet stand under this, the account and the handle.
pub(crate) const CHECKS: &[u8] = b"check/";

pub(crate) fn check_key(handle: &Handle, account: &AccountId) -> Vec<u8> {
    [CHECKS, &account.0, handle.as_str().as_bytes()].concat()
}

pub(crate) fn direct_key(peer: &AccountId) -> Vec<u8> {
    [b"direct/".as_slice(), &peer.0].concat()
}

pub(crate) fn commit_key(id: &ConversationId) -> Vec<u8> {
    [b"c".as_slice(), &id.0].concat()
}

pub(crate) fn out_prefix(id: &ConversationId) -> Vec<u8> {
    [b"m".as_slice(), &id.0].concat()
}

pub(crate) fn out_key(id: &ConversationId, number: u64) -> Vec<u8> {
    [b"m".as_slice(), &id.0, &number.to_be_bytes()].concat()
}

/// The messages of a group are kept under its id, direct messages under the other person's: two conversations that were
/// opened at once read as one.
pub(crate) fn thread(id: &ConversationId, info: &Info) -> [u8; 32] {
    info.peer.map_or(id.0, |peer| peer.0)
}

/// Reading order: the server's clock, then the number in the log, then the id. A message that was not sent yet sorts last.
pub(crate) fn message_key(thread: &[u8; 32], time: Timestamp, seq: Seq, id: &MessageId) -> Vec<u8> {
    [thread.as_slice(), &time.0.to_be_bytes(), &seq.0.to_be_bytes(), &id.0].concat()
}

/// The number in the log that a [`message_key`] has.
pub(crate) fn seq_of(key: &[u8]) -> Result<Seq, VaultError> {
    let bytes = key.get(40..48).and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
    Ok(Seq(u64::from_be_bytes(bytes)))
}

/// What orders the messages of all threads: a [`message_key`] without its thread.
pub(crate) fn moment_of(key: &[u8]) -> &[u8] {
    key.get(32..).unwrap_or_default()
}

pub(crate) fn index_key(thread: &[u8; 32], sender: &AccountId, id: &MessageId) -> Vec<u8> {
    [thread.as_slice(), &sender.0, &id.0].concat()
}

pub(crate) fn chunk_key(id: &BlobId, chunk: u32) -> Vec<u8> {
    [id.0.as_slice(), &chunk.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vault::MemoryVault;

    fn stored(bytes: &[u8]) -> Result<Option<ViewPoint>, VaultError> {
        let vault = MemoryVault::default();
        let mut txn = Txn::new(&vault);
        txn.put(Table::Seen, b"k", bytes);
        txn.record(Table::Seen, b"k")
    }

    #[test]
    fn a_record_says_its_format_and_another_one_is_named() {
        let record = ViewPoint { seq: Seq(7), hash: [1; 32] };
        let vault = MemoryVault::default();
        let mut txn = Txn::new(&vault);
        txn.save(Table::Seen, b"k", &record);
        let bytes = txn.get(Table::Seen, b"k").unwrap().unwrap();
        assert_eq!(bytes[0], 1);
        assert_eq!(stored(&bytes).unwrap(), Some(record));
        let newer = stored(&[&[2], &bytes[1..]].concat()).unwrap_err();
        assert!(newer.detail.contains("format 2") && newer.detail.contains("update"), "{newer}");
        for damaged in [&[][..], &bytes[..1], &bytes[..20], &[bytes.as_slice(), &[0]].concat()] {
            assert!(stored(damaged).unwrap_err().detail.contains("does not decode"));
        }
    }
}
