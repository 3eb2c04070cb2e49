//! What travels of the directory: heads of account logs, signed heads of the directory, and the proofs between them.
//!
//! Here is only the shape. `stonechat-directory` says what each part means and verifies it; a proof of the key directory
//! travels in its own encoding (protobuf) inside a byte string.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::account::AccountLog;
use crate::codec::{Bytes, List};
use crate::ids::Timestamp;
use crate::limits::{
    CHECKPOINT_BYTES_MAX, HISTORY_PROOF_BYTES_MAX, LOOKUP_PROOF_BYTES_MAX, RECORD_BYTES_MAX, TREE_PROOF_HASHES_MAX,
};

/// A node of the directory's Merkle log (RFC 6962 section 2.1). 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct TreeHash(#[cbor(n(0), with = "crate::codec::fixed")] pub [u8; 32]);

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({}…)", hex::encode(&self.0[..4]))
    }
}

/// An inclusion or consistency proof of the directory's Merkle log, in the order of RFC 6962 section 2.1.
pub type TreeProof = List<TreeHash, TREE_PROOF_HASHES_MAX>;

/// The head of an account log: what the directory keeps under `"a" || account id`, in its only encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogHead {
    /// Entries.
    #[n(0)]
    pub length: u64,
    /// Hash of the last.
    #[cbor(n(1), with = "crate::codec::fixed")]
    pub hash: [u8; 32],
}

/// One leaf of the directory's Merkle log: the state of the key directory at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DirectoryRecord {
    /// The key directory's epoch. Never less than in the record before, never more than one above it.
    #[n(0)]
    pub epoch: u64,
    /// The key directory's root hash at that epoch. 32 bytes.
    #[cbor(n(1), with = "crate::codec::fixed")]
    pub root: [u8; 32],
    /// When it was published.
    #[n(2)]
    pub time: Timestamp,
}

/// The directory at one moment, as it travels: a signed checkpoint of the Merkle log, and its last leaf.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedHead {
    /// A C2SP signed note: the checkpoint, the log's signature, the witnesses' cosignatures.
    #[n(0)]
    pub checkpoint: Bytes<CHECKPOINT_BYTES_MAX>,
    /// The exact bytes of the last leaf: a [`DirectoryRecord`].
    #[n(1)]
    pub record: Bytes<RECORD_BYTES_MAX>,
    /// That it is the last leaf.
    #[n(2)]
    pub inclusion: TreeProof,
}

/// What the directory says about an account, as it travels: verified with the pinned policy and nobody's help.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccountProof {
    /// Against which head.
    #[n(0)]
    pub head: SignedHead,
    /// Look-up proof of `"a" || account id`: akd's `LookupProof` in protobuf.
    #[n(1)]
    pub account: Bytes<LOOKUP_PROOF_BYTES_MAX>,
    /// Look-up proof of `"h" || handle`, when a handle was asked for.
    #[n(2)]
    pub handle: Option<Bytes<LOOKUP_PROOF_BYTES_MAX>>,
}

/// An account log and what the directory says about it. The log is as long as the proof says, even when the server has
/// entries that are about to be published.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProvenAccount {
    /// The log: unverified.
    #[n(0)]
    pub log: AccountLog,
    /// The proof: unverified.
    #[n(1)]
    pub proof: AccountProof,
}

/// What the directory said about an account over time.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccountHistory {
    /// Against which head.
    #[n(0)]
    pub head: SignedHead,
    /// The newest versions of `"a" || account id`: akd's `HistoryProof` in protobuf.
    #[n(1)]
    pub account: Bytes<HISTORY_PROOF_BYTES_MAX>,
    /// The newest versions of `"h" || handle`.
    #[n(2)]
    pub handle: Bytes<HISTORY_PROOF_BYTES_MAX>,
}
