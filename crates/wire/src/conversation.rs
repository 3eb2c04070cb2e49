//! A conversation's log as the server keeps it: epochs, the hashes that guard them, and the stored record.
//!
//! The server stores each entry once, knows no members and cannot tell who wrote one. It links commits by hash:
//! [`epoch_id`] binds an epoch to everything that led to it, so that two clients in the same epoch have seen the same
//! commits.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::codec::{Bytes, List};
use crate::ids::{CapabilityHash, ConversationId, EpochId, Seq, Timestamp};
use crate::limits::{BRANCHES_MAX, ENTRY_BYTES_MAX};

/// The hashes of the two capabilities that guard an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EpochCaps {
    /// Of the capability that reads the entries that stand on the epoch.
    #[n(0)]
    pub read: CapabilityHash,
    /// Of the capability that appends to the epoch.
    #[n(1)]
    pub write: CapabilityHash,
}

/// The epoch that a commit opens:
/// `SHA-256("stonechat v1 epoch" || parent || SHA-256(blob) || next.read || next.write)`.
pub fn epoch_id(parent: &EpochId, blob: &[u8], next: &EpochCaps) -> EpochId {
    EpochId(
        Sha256::new_with_prefix(b"stonechat v1 epoch")
            .chain_update(parent.0)
            .chain_update(Sha256::digest(blob))
            .chain_update(next.read.0)
            .chain_update(next.write.0)
            .finalize()
            .into(),
    )
}

/// The epoch that a conversation starts in: as [`epoch_id`], with the conversation's id as parent and an empty blob.
pub fn first_epoch_id(conversation: &ConversationId, first: &EpochCaps) -> EpochId {
    epoch_id(&EpochId(conversation.0), &[], first)
}

/// What an entry is, as far as a server can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EntryKind {
    /// An application message or a proposal: belongs to the epoch it stands on.
    #[n(0)]
    Application,
    /// A commit: ends the epoch it stands on and opens one guarded by these hashes.
    #[n(1)]
    Commit(#[n(0)] EpochCaps),
}

/// One stored entry of a conversation's log: the bytes under one sequence number of the keyed log.
///
/// The first record of a log is a commit with an empty blob that stands on itself (`epoch` is its own number).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogRecord {
    /// When the server took it. Never earlier than the record before.
    #[n(0)]
    pub time: Timestamp,
    /// The commit that it stands on.
    #[n(1)]
    pub epoch: Seq,
    /// What it is.
    #[n(2)]
    pub kind: EntryKind,
    /// The epoch that it opened, for a commit.
    #[n(3)]
    pub opens: Option<EpochId>,
    /// The commits whose epochs are live after this entry, ascending. With it, the last record of a log and the commits
    /// that it names are the whole state of a conversation.
    #[n(4)]
    pub live: List<Seq, BRANCHES_MAX>,
    /// MLS message under the outer encryption. The server stores it as it came.
    #[n(5)]
    pub blob: Bytes<ENTRY_BYTES_MAX>,
}

impl LogRecord {
    /// The live commits after `commit`, which stands on `parent`, was accepted as entry `seq`: its parent is over, it is
    /// live, and the oldest goes when there are too many. One that went can still be revived by a commit on it.
    pub fn live_after(live: &[Seq], parent: Seq, seq: Seq) -> List<Seq, BRANCHES_MAX> {
        let mut next: Vec<Seq> = live.iter().copied().filter(|s| *s != parent).collect();
        next.push(seq);
        let over = next.len().saturating_sub(BRANCHES_MAX);
        next.drain(..over);
        List::new(next).expect("cut to BRANCHES_MAX")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_id_changes_with_each_of_its_parts() {
        let caps = EpochCaps { read: CapabilityHash([1; 32]), write: CapabilityHash([2; 32]) };
        let id = epoch_id(&EpochId([0; 32]), b"blob", &caps);
        let swapped = EpochCaps { read: caps.write, write: caps.read };
        for other in [
            epoch_id(&EpochId([9; 32]), b"blob", &caps),
            epoch_id(&EpochId([0; 32]), b"blo", &caps),
            epoch_id(&EpochId([0; 32]), b"blob", &swapped),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn a_commit_ends_its_parent_and_leaves_other_branches_live() {
        let live = LogRecord::live_after(&[Seq(3), Seq(5)], Seq(3), Seq(9));
        assert_eq!(&live[..], [Seq(5), Seq(9)]);
        let many: Vec<Seq> = (1..=BRANCHES_MAX as u64).map(Seq).collect();
        let live = LogRecord::live_after(&many, Seq(99), Seq(100));
        assert_eq!((live.len(), live[0], live[BRANCHES_MAX - 1]), (BRANCHES_MAX, Seq(2), Seq(100)));
    }
}
