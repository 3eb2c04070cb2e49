//! What is stored of conversations.
//!
//! The part that moves with every entry ([`Progress`]) is apart from the part that changes with commits ([`Info`]), so that a
//! message rewrites little.

use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use stonechat_wire::{AccountId, Bytes, ConversationId, DeviceId, EpochCaps, EpochId, Seq, Timestamp};

use super::policy::{GroupState, roles_effective};
use crate::api::{Event, Hold, Role, Text};
use crate::content::MessageId;
use crate::crypto::letter::Welcome;
use crate::error::CoreError;
use crate::limits::WELCOME_BYTES_MAX;
use crate::people::heads::Told;
use crate::step::Ctx;
use crate::store::{Listed, Order, Read, Record, Table, VaultError, damaged, optional32};

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
pub(crate) struct Progress {
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
    /// Running hash over the entries of this epoch, see [`super::follow`], and its last values.
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
    /// The head of the directory and the length of this account's log that the others were last told here.
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

impl Progress {
    pub(crate) fn new(phase: Phase, epoch: Seq, epoch_id: EpochId) -> Self {
        Self {
            phase,
            cursor: epoch,
            epoch,
            epoch_id,
            last_time: Timestamp(0),
            refused: None,
            unread: 0,
            view: vec![ViewPoint { seq: epoch, hash: epoch_id.0 }],
            next_out: 0,
            offered: None,
            not_before: Timestamp(0),
            commit_due: false,
            asked: false,
            rewound_at: Timestamp(0),
            rewind_due: false,
            furthest: epoch,
            refresh_at: Timestamp(0),
            told: None,
            since: Some(epoch),
            receipt_due: false,
            delivered: None,
        }
    }

    /// Enters an epoch.
    pub(crate) fn enter(&mut self, epoch: Seq, epoch_id: EpochId) {
        self.epoch = epoch;
        self.epoch_id = epoch_id;
        self.cursor = epoch;
        self.view = vec![ViewPoint { seq: epoch, hash: epoch_id.0 }];
        self.refused = None;
        self.commit_due = false;
        self.asked = false;
        self.offered = None;
        self.rewind_due = false;
        self.furthest = epoch;
    }

    /// Takes an entry into the view.
    pub(crate) fn extend_view(&mut self, seq: Seq, blob: &[u8]) {
        let before = self.view.last().map_or(self.epoch_id.0, |point| point.hash);
        let hash = Sha256::new_with_prefix(b"stonechat v1 view")
            .chain_update(before)
            .chain_update(seq.0.to_be_bytes())
            .chain_update(Sha256::digest(blob))
            .finalize()
            .into();
        self.view.push(ViewPoint { seq, hash });
        if self.view.len() > VIEW_POINTS_MAX {
            self.view.remove(0);
        }
    }
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
    /// A [`GroupState`], encoded.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub state: Vec<u8>,
    /// The leaves of the tree.
    #[n(2)]
    pub leaves: Vec<LeafRecord>,
    /// What this device still means to commit, in order.
    #[n(3)]
    pub intents: Vec<Intent>,
    // 4 was what holds it up, in English, until version 2 of the vault.
    /// Made by this device and not yet joined by those that it was made for: messages wait.
    #[n(5)]
    pub opening: bool,
    /// What holds it up, or ended it.
    #[n(6)]
    pub hold: Option<Hold>,
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
    Rename(#[n(0)] Text),
    /// Change a role.
    #[n(4)]
    SetRole(#[n(0)] AccountId, #[n(1)] Role),
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
    /// A [`super::join::WelcomePackage`], encoded, for those who are added.
    #[n(3)]
    pub welcome: Option<Bytes<{ WELCOME_BYTES_MAX }>>,
    #[n(4)]
    pub added: Vec<(AccountId, DeviceId)>,
    /// How many intents, from the front, it settles.
    #[n(5)]
    pub settles: u32,
}

/// A message on its way to the log. Under `m`, the conversation and a number in [`Table::Outbox`].
#[derive(Encode, Decode, Clone)]
#[cbor(map)]
pub(crate) struct Outgoing {
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
    pub welcome: Welcome,
    #[n(6)]
    pub accepted: bool,
}

impl Record for Progress {
    const TABLE: Table = Table::Conversation;
    type Key = ConversationId;
    fn key(id: &ConversationId) -> Vec<u8> {
        id.0.to_vec()
    }
}

impl Record for Info {
    const TABLE: Table = Table::Conversation;
    type Key = ConversationId;
    fn key(id: &ConversationId) -> Vec<u8> {
        [id.0.as_slice(), b"i"].concat()
    }
}

impl Record for PendingCommit {
    const TABLE: Table = Table::Outbox;
    type Key = ConversationId;
    fn key(id: &ConversationId) -> Vec<u8> {
        [b"c".as_slice(), &id.0].concat()
    }
}

impl Record for Outgoing {
    const TABLE: Table = Table::Outbox;
    /// The conversation and a number.
    type Key = (ConversationId, u64);
    fn key((id, number): &Self::Key) -> Vec<u8> {
        [b"m".as_slice(), &id.0, &number.to_be_bytes()].concat()
    }
}

impl Record for RequestRecord {
    const TABLE: Table = Table::Request;
    type Key = ConversationId;
    fn key(id: &ConversationId) -> Vec<u8> {
        id.0.to_vec()
    }
}

impl Listed for RequestRecord {
    fn parse_key(rest: &[u8]) -> Option<ConversationId> {
        rest.try_into().ok().map(ConversationId)
    }
}

/// The conversation that direct messages with somebody go to. Its bytes and nothing else.
#[derive(Encode, Decode)]
pub(super) struct Direct(#[n(0)] pub ConversationId);

impl Record for Direct {
    const TABLE: Table = Table::Meta;
    type Key = AccountId;
    fn key(peer: &AccountId) -> Vec<u8> {
        [b"direct/".as_slice(), &peer.0].concat()
    }
    fn to_bytes(&self) -> Vec<u8> {
        self.0.0.to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Result<Self, VaultError> {
        bytes.try_into().map(|id| Self(ConversationId(id))).map_err(|_| damaged())
    }
}

/// The conversation that direct messages with somebody go to.
pub(crate) fn direct<R: Read + ?Sized>(reader: &R, peer: &AccountId) -> Result<Option<ConversationId>, VaultError> {
    Ok(reader.load::<Direct>(peer)?.map(|direct| direct.0))
}

/// Every conversation.
pub(crate) fn conversation_ids<R: Read + ?Sized>(reader: &R) -> Result<Vec<ConversationId>, VaultError> {
    let rows = reader.values(Table::Conversation, &[], &[], Order::Ascending, usize::MAX)?;
    Ok(rows.into_iter().filter_map(|(key, _)| key.try_into().ok()).map(ConversationId).collect())
}

/// What is on its way to a conversation, in order, with its numbers.
pub(crate) fn outgoing<R: Read + ?Sized>(
    reader: &R,
    id: &ConversationId,
    limit: usize,
) -> Result<Vec<(u64, Outgoing)>, VaultError> {
    let prefix = [b"m".as_slice(), &id.0].concat();
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let number: [u8; 8] = key.get(prefix.len()..).and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)?;
        Ok((u64::from_be_bytes(number), Outgoing::from_bytes(&value)?))
    };
    reader.starting_with(Table::Outbox, &prefix, limit)?.into_iter().map(read).collect()
}

/// Notes what holds a conversation up, or that nothing does.
pub(crate) fn set_hold(ctx: &mut Ctx<'_>, id: ConversationId, hold: Option<Hold>) -> Result<(), CoreError> {
    if let Some(mut info) = ctx.txn.load::<Info>(&id)?.filter(|info| info.hold != hold) {
        info.hold = hold;
        ctx.txn.store(&id, &info);
        ctx.event(Event::Conversation(id));
    }
    Ok(())
}

impl Info {
    /// The group's state, decoded. It was checked when it came.
    pub(crate) fn group_state(&self) -> Result<GroupState, CoreError> {
        GroupState::decode(&self.state).map_err(|_| CoreError::bug("a stored group state does not decode"))
    }

    /// Everybody's leaf and account.
    pub(crate) fn places(&self) -> Vec<(u32, AccountId)> {
        self.leaves.iter().map(|leaf| (leaf.index, leaf.account)).collect()
    }

    /// Somebody's role, if they are a member.
    pub(crate) fn role_of(&self, state: &GroupState, account: &AccountId) -> Option<Role> {
        roles_effective(state, &self.places()).get(account).copied()
    }

    /// Whether an account has a device in it.
    pub(crate) fn has_member(&self, account: &AccountId) -> bool {
        self.leaves.iter().any(|leaf| leaf.account == *account)
    }
}

/// Values of the running hash that are kept to compare with others'.
const VIEW_POINTS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::store::Txn;
    use crate::store::vault::MemoryVault;
    use stonechat_wire::BlobId;

    #[test]
    fn a_welcome_is_stored_with_the_bytes_that_older_vaults_have() {
        // Index, then the fields: a byte string; or id, key, chunks and hash of a blob.
        let inline = Welcome::Inline(Bytes::new(vec![1, 2]).unwrap());
        assert_eq!(hex::encode(stonechat_wire::encode(&inline)), "820081420102");
        let blob = Welcome::Blob { id: BlobId([3; 32]), key: Secret::from_bytes([4; 32]), chunks: 5, hash: [6; 32] };
        let (id, key, hash) = ("03".repeat(32), "04".repeat(32), "06".repeat(32));
        assert_eq!(hex::encode(stonechat_wire::encode(&blob)), format!("8201845820{id}5820{key}055820{hash}"));
    }

    #[test]
    fn the_two_parts_of_a_conversation_do_not_get_in_each_others_way() {
        let vault = MemoryVault::default();
        let mut txn = Txn::new(&vault);
        let ids = [ConversationId([1; 32]), ConversationId([2; 32])];
        let state = GroupState::default().encode();
        let info = Info { peer: None, state, leaves: Vec::new(), intents: Vec::new(), opening: false, hold: None };
        for id in ids {
            txn.store(&id, &Progress::new(Phase::Live, Seq(1), EpochId([1; 32])));
            txn.store(&id, &info);
        }
        assert_eq!(conversation_ids(&txn).unwrap(), ids);
        assert!(txn.load::<Info>(&ids[0]).unwrap().is_some_and(|info| info.peer.is_none()));
        assert_eq!(txn.load::<Progress>(&ids[1]).unwrap().unwrap().cursor, Seq(1));
    }

    #[test]
    fn what_goes_out_is_listed_in_order_and_for_its_conversation_only() {
        let vault = MemoryVault::default();
        let mut txn = Txn::new(&vault);
        let (id, other) = (ConversationId([1; 32]), ConversationId([2; 32]));
        let out = Outgoing { content: vec![1], id: MessageId([1; 16]), visible: true, sealed: None };
        for key in [(id, 300), (id, 2), (other, 1)] {
            txn.store(&key, &out);
        }
        let numbers = |limit| outgoing(&txn, &id, limit).unwrap().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!((numbers(9), numbers(1)), (vec![2, 300], vec![2]));
    }

    #[test]
    fn the_view_depends_on_every_entry_and_its_place_and_keeps_the_last_ones() {
        let start = Progress::new(Phase::Live, Seq(1), EpochId([1; 32]));
        let after = |entries: &[(u64, &[u8])]| {
            let mut progress = start.clone();
            entries.iter().for_each(|(seq, blob)| progress.extend_view(Seq(*seq), blob));
            *progress.view.last().unwrap()
        };
        let honest = after(&[(2, b"a"), (3, b"b")]);
        assert_eq!(honest, after(&[(2, b"a"), (3, b"b")]));
        for other in [&[(2, &b"x"[..]), (3, b"b")][..], &[(3, b"b")], &[(2, b"b"), (3, b"a")]] {
            assert_ne!(honest.hash, after(other).hash);
        }
        let mut long = start.clone();
        (2..100).for_each(|seq| long.extend_view(Seq(seq), b"x"));
        assert_eq!((long.view.len(), long.view[0].seq), (VIEW_POINTS_MAX, Seq(100 - VIEW_POINTS_MAX as u64)));
        // A new epoch begins with its id.
        long.enter(Seq(100), EpochId([9; 32]));
        assert_eq!(long.view, [ViewPoint { seq: Seq(100), hash: [9; 32] }]);
    }
}
