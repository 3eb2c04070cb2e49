//! That the directory never takes back what it said: the append-only proof from each epoch to the next, and the rules
//! between the leaves of the Merkle log. Witness and auditor follow a directory with [`Follower`].
//!
//! An append-only proof lists the subtrees that an epoch left as they were and the leaves that it inserted. The first
//! alone must hash to the root before; all of them to the root after. So nothing was changed or removed.

use akd_core::configuration::Configuration as _;
use akd_core::proto::specs::types as proto;
use akd_core::{AzksElement, AzksValue, NodeLabel, SingleAppendOnlyProof};
use protobuf::{CodedInputStream, Message as _};
use stonechat_wire::{DirectoryRecord, TreeHash, decode};

use crate::proof::Configuration;
use crate::tlog::{self, Frontier};

/// What a directory did that it must not, or did not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// A leaf is not a record.
    #[error("leaf {leaf} of the log is not a record of the directory")]
    Malformed {
        /// Which, from 0.
        leaf: u64,
    },
    /// The first record is not that of an empty directory.
    #[error("the log does not begin with an empty directory")]
    Beginning,
    /// The epoch goes back or skips.
    #[error(
        "leaf {leaf} of the log does not follow the one before: its epoch or its time goes back, or an epoch is missing"
    )]
    Order {
        /// Which, from 0.
        leaf: u64,
    },
    /// One epoch, two roots.
    #[error("leaf {leaf} of the log gives epoch {epoch} another root than it had before")]
    Rewritten {
        /// Which, from 0.
        leaf: u64,
        /// Whose root changed.
        epoch: u64,
    },
    /// The append-only proof is missing or malformed.
    #[error("epoch {epoch} comes without a proof that nothing was taken back")]
    NoProof {
        /// The epoch whose proof it is.
        epoch: u64,
    },
    /// The append-only proof does not lead from the one root to the other.
    #[error("epoch {epoch} changes or removes what was there before")]
    NotAppendOnly {
        /// The epoch whose proof it is.
        epoch: u64,
    },
}

/// Follows a directory from its first leaf: what it needs to judge the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follower {
    frontier: Frontier,
    last: Option<DirectoryRecord>,
}

impl Follower {
    /// Goes on where another one stopped: its [`Follower::frontier`] and the last record.
    pub fn resume(frontier: Frontier, last: Option<DirectoryRecord>) -> Self {
        Self { frontier, last }
    }

    /// Judges the next leaf. `proof` is the append-only proof of its epoch, needed when the epoch is a new one. Nothing
    /// changes when it is rejected.
    ///
    /// # Errors
    /// [`AuditError`] at the first rule that is broken.
    pub fn push(&mut self, leaf: &[u8], proof: Option<&[u8]>) -> Result<DirectoryRecord, AuditError> {
        let number = self.frontier.size();
        let record: DirectoryRecord = decode(leaf).map_err(|_| AuditError::Malformed { leaf: number })?;
        match self.last {
            None => {
                if record.epoch != 0 || record.root != empty_root() {
                    return Err(AuditError::Beginning);
                }
            }
            Some(last) => {
                let epoch = record.epoch;
                if record.time < last.time || epoch < last.epoch || epoch > last.epoch + 1 {
                    return Err(AuditError::Order { leaf: number });
                }
                if epoch == last.epoch {
                    if record.root != last.root {
                        return Err(AuditError::Rewritten { leaf: number, epoch });
                    }
                } else {
                    verify_append_only(proof.ok_or(AuditError::NoProof { epoch })?, &last.root, &record)?;
                }
            }
        }
        self.frontier.push(tlog::leaf_hash(leaf));
        self.last = Some(record);
        Ok(record)
    }

    /// Leaves that were judged.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The Merkle log's root over them.
    pub fn root(&self) -> TreeHash {
        self.frontier.root()
    }

    /// The right edge of the Merkle log.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The last record.
    pub fn last(&self) -> Option<&DirectoryRecord> {
        self.last.as_ref()
    }
}

/// Verifies that an epoch only added: from the root of the epoch before it to its own.
///
/// # Errors
/// [`AuditError::NoProof`] when it is not a proof, [`AuditError::NotAppendOnly`] when it does not hold.
pub fn verify_append_only(proof: &[u8], before: &[u8; 32], record: &DirectoryRecord) -> Result<(), AuditError> {
    let epoch = record.epoch;
    if !has_whole_elements(proof) {
        return Err(AuditError::NoProof { epoch });
    }
    let proof = proto::SingleAppendOnlyProof::parse_from_bytes(proof).map_err(|_| AuditError::NoProof { epoch })?;
    let proof = SingleAppendOnlyProof::try_from(&proof).map_err(|_| AuditError::NoProof { epoch })?;
    let wrong = AuditError::NotAppendOnly { epoch };
    let unchanged = proof.unchanged_nodes;
    if proof.inserted.is_empty() || proof.inserted.iter().any(|leaf| leaf.label.label_len != 256) {
        return Err(wrong);
    }
    let inserted = proof.inserted.into_iter().map(|leaf| AzksElement {
        // The tree commits to the epoch that a leaf came in.
        value: AzksValue(Configuration::hash_leaf_with_commitment(leaf.value, epoch).0),
        ..leaf
    });
    let all = unchanged.iter().copied().chain(inserted).collect();
    if root_of(unchanged) == Some(*before) && root_of(all) == Some(record.root) { Ok(()) } else { Err(wrong) }
}

/// Whether each element of a proof is at least as long as its hash. A proof may have tens of megabytes, and once it is read,
/// an element of two bytes would take a hundred times as much room: whoever serves it could fill the memory of a witness.
fn has_whole_elements(proof: &[u8]) -> bool {
    const BYTES: u32 = 2;
    let mut input = CodedInputStream::from_bytes(proof);
    let mut next = || -> protobuf::Result<Option<bool>> {
        let Some(tag) = input.read_raw_tag_or_eof()? else { return Ok(None) };
        if tag & 7 != BYTES {
            return Ok(Some(false));
        }
        let length = input.read_raw_varint32()?;
        input.skip_raw_bytes(length)?;
        Ok(Some(length >= ELEMENT_BYTES_MIN))
    };
    loop {
        match next() {
            Ok(None) => return true,
            Ok(Some(true)) => {}
            Ok(Some(false)) | Err(_) => return false,
        }
    }
}

/// An append-only proof as it travels.
pub fn encode_append_only(proof: &SingleAppendOnlyProof) -> Vec<u8> {
    proto::SingleAppendOnlyProof::from(proof).write_to_bytes().expect("writing into memory does not fail")
}

/// The root of a directory without labels.
pub fn empty_root() -> [u8; 32] {
    root_of(Vec::new()).expect("nothing overlaps nothing")
}

/// The root over a set of nodes: leaves and whole subtrees. `None` when one lies within another, since then a tree could
/// hide it, or when a label is not in its only form.
fn root_of(mut nodes: Vec<AzksElement>) -> Option<[u8; 32]> {
    let is_proper =
        |label: &NodeLabel| (1..=256).contains(&label.label_len) && label.get_prefix(label.label_len) == *label;
    if !nodes.iter().all(|node| is_proper(&node.label)) {
        return None;
    }
    // A label sorts directly before what it is a prefix of.
    nodes.sort_by_key(|node| (node.label.label_val, node.label.label_len));
    if nodes.windows(2).any(|pair| pair[0].label.is_prefix_of(&pair[1].label)) {
        return None;
    }
    let ones = nodes.partition_point(|node| !bit(&node.label, 0));
    let value = if nodes.is_empty() {
        Configuration::empty_root_value()
    } else {
        // Only the root may lack a child.
        let (left, right) = nodes.split_at(ones);
        parent(subtree(left).unwrap_or_else(missing), subtree(right).unwrap_or_else(missing))
    };
    Some(Configuration::compute_root_hash_from_val(&value))
}

/// The node over a run of sorted nodes.
fn subtree(nodes: &[AzksElement]) -> Option<AzksElement> {
    let (first, last) = (nodes.first()?, nodes.last()?);
    if nodes.len() == 1 {
        return Some(*first);
    }
    // Of sorted labels, the first and the last differ first.
    let label = first.label.get_longest_common_prefix::<Configuration>(last.label);
    let ones = nodes.partition_point(|node| !bit(&node.label, label.label_len));
    let (left, right) = nodes.split_at(ones);
    Some(AzksElement { label, value: parent(subtree(left)?, subtree(right)?) })
}

fn parent(left: AzksElement, right: AzksElement) -> AzksValue {
    let (left_label, right_label) = (left.label.value::<Configuration>(), right.label.value::<Configuration>());
    Configuration::compute_parent_hash_from_children(&left.value, &left_label, &right.value, &right_label)
}

fn missing() -> AzksElement {
    AzksElement { label: Configuration::empty_label(), value: Configuration::empty_node_hash() }
}

fn bit(label: &NodeLabel, at: u32) -> bool {
    label.label_val[(at / 8) as usize] >> (7 - at % 8) & 1 == 1
}

/// A hash of 32 bytes behind its tag and its length.
const ELEMENT_BYTES_MIN: u32 = 34;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_shorter_than_a_hash_are_no_proof_and_are_not_read() {
        let element = |length: u8| [&[0x0a, length][..], &vec![7; usize::from(length)]].concat();
        assert!(has_whole_elements(&[]));
        assert!(has_whole_elements(&[element(34), element(100)].concat()));
        assert!(!has_whole_elements(&[element(34), element(33)].concat()));
        assert!(!has_whole_elements(&element(0).repeat(1_000_000)));
        // Cut off, too long, and a field that no proof has.
        assert!(!has_whole_elements(&element(34)[..35]));
        assert!(!has_whole_elements(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]));
        assert!(!has_whole_elements(&[0x08, 0x01]));
        let record = DirectoryRecord { epoch: 1, root: [0; 32], time: stonechat_wire::Timestamp(1) };
        let proof = element(0).repeat(10);
        assert_eq!(verify_append_only(&proof, &empty_root(), &record), Err(AuditError::NoProof { epoch: 1 }));
    }
}
