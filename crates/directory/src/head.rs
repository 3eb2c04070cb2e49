//! A head: the directory at one moment, verified against the pinned policy.

use stonechat_wire::{DirectoryRecord, SignedHead, Timestamp, TreeHash, TreeProof, decode};

use crate::note::{NoteError, SignedNote};
use crate::policy::{DirectoryPolicy, PolicyError};
use crate::tlog::{self, TreeProofError};

/// The directory at one moment: verified. Small enough to keep, to send along in a conversation and to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    size: u64,
    root: TreeHash,
    record: DirectoryRecord,
    signature: [u8; 64],
}

/// Why a head is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The note is malformed, not of this log, or not signed by those who must have.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The last leaf is not what the checkpoint commits to.
    #[error("the directory's record is not the last one of the head that was signed")]
    Record,
}

impl From<NoteError> for HeadError {
    fn from(error: NoteError) -> Self {
        Self::Policy(error.into())
    }
}

/// Two heads that are inconsistent, or that nothing shows to be of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// One size, two roots, both signed: the directory showed two people two logs. This alone is evidence.
    #[error("the directory signed two different heads of one size")]
    Forked,
    /// The proof that one continues the other does not verify. Until the directory gives one that does, it has forked.
    #[error("the directory cannot show that one of its heads continues the other")]
    Unconnected,
}

impl Head {
    /// Verifies a head: signed by the log, cosigned by enough witnesses, and with its last leaf.
    ///
    /// # Errors
    /// [`HeadError`]. Of these, only [`PolicyError::Witnesses`] can get better by itself.
    pub fn verify(policy: &DirectoryPolicy, signed: &SignedHead) -> Result<Self, HeadError> {
        Self::check(signed, |note| policy.verify(note))
    }

    /// Verifies a head without its witnesses: what a witness and an auditor see, and evidence against the log's key.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn verify_unwitnessed(policy: &DirectoryPolicy, signed: &SignedHead) -> Result<Self, HeadError> {
        Self::check(signed, |note| policy.signed_by_log(note))
    }

    fn check(
        signed: &SignedHead,
        verify: impl FnOnce(&SignedNote) -> Result<(crate::Checkpoint, [u8; 64]), PolicyError>,
    ) -> Result<Self, HeadError> {
        let note = SignedNote::parse(&signed.checkpoint)?;
        let (checkpoint, signature) = verify(&note)?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        let last = size.checked_sub(1).ok_or(HeadError::Record)?;
        tlog::verify_inclusion(&tlog::leaf_hash(&signed.record), last, size, &root, &signed.inclusion)
            .map_err(|_| HeadError::Record)?;
        let record = decode(&signed.record).map_err(|_| HeadError::Record)?;
        Ok(Self { size, root, record, signature })
    }

    /// Leaves of the Merkle log. Of two heads of one log, the one with more is the newer.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The Merkle log's root.
    pub fn root(&self) -> &TreeHash {
        &self.root
    }

    /// The log's signature over the checkpoint: with size and root, it shows anyone that the log signed this head.
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The key directory's epoch.
    pub fn epoch(&self) -> u64 {
        self.record.epoch
    }

    /// The key directory's root hash.
    pub fn akd_root(&self) -> &[u8; 32] {
        &self.record.root
    }

    /// When the directory says that it published this.
    pub fn time(&self) -> Timestamp {
        self.record.time
    }

    /// Whether this head is so old that a directory which runs has published a newer one: it publishes at least every
    /// [`HEARTBEAT_SECS`]. A client that is given a stale head again and again is kept from what is new.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.record.time.plus_secs(STALE_SECS) < now
    }

    /// Whether this head says that it was made in the future, clocks and their errors considered.
    pub fn is_from_the_future(&self, now: Timestamp) -> bool {
        self.record.time > now.plus_secs(CLOCK_ERROR_SECS)
    }

    /// Verifies that two heads are consistent. `proof` is the consistency proof from the smaller size to the larger; for
    /// equal sizes it is empty. The order of the two does not matter.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn verify_same_log(&self, other: &SeenHead, proof: &TreeProof) -> Result<(), ForkError> {
        let (mine, theirs) = ((self.size, &self.root), (other.size, &other.root));
        if self.size == other.size {
            return if self.root == other.root { Ok(()) } else { Err(ForkError::Forked) };
        }
        let (old, new) = if self.size < other.size { (mine, theirs) } else { (theirs, mine) };
        tlog::verify_consistency(old, new, proof).map_err(|TreeProofError| ForkError::Unconnected)
    }

    /// What is told to others about this head.
    pub fn seen(&self) -> SeenHead {
        SeenHead { size: self.size, root: self.root, signature: self.signature }
    }
}

/// A head as somebody else tells of it: size, root, and the log's signature that shows that it is not made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenHead {
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: TreeHash,
    /// The log's signature over the checkpoint of these two.
    pub signature: [u8; 64],
}

impl SeenHead {
    /// The checkpoint as a note with the log's signature alone.
    pub fn to_note(&self, policy: &DirectoryPolicy) -> SignedNote {
        SignedNote::from_parts(
            crate::Checkpoint { origin: policy.origin().to_owned(), size: self.size, root: self.root }.to_text(),
            policy.log(),
            &self.signature,
        )
    }

    /// Whether the log of this policy signed it. One that it did not sign says nothing about the log.
    pub fn is_signed(&self, policy: &DirectoryPolicy) -> bool {
        self.size > 0 && policy.signed_by_log(&self.to_note(policy)).is_ok()
    }
}

/// A directory publishes at least this often, also when nothing changed.
pub const HEARTBEAT_SECS: u64 = 3_600;
/// A head that is older than this is stale.
pub const STALE_SECS: u64 = 3 * HEARTBEAT_SECS;
/// How far clocks may be apart.
pub const CLOCK_ERROR_SECS: u64 = 600;
