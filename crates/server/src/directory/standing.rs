//! Where a directory stands on its disk, and whether anybody has seen more of it: what a backup writes down, and what must be
//! known before a directory is published again.
//!
//! A directory that was rolled back must never be published: its next head would contradict one that people have, and no
//! proof can connect the two. So the witnesses are asked for the newest head that they cosigned.

use stonechat_directory::{Checkpoint, DirectoryPolicy, SignedNote};
use stonechat_wire::TreeHash;

use super::{DirectoryError, FOREVER, damaged, log};
use crate::services::keys;
use crate::store::KeyedLog;

/// The newest head of a directory, as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How many records it has.
    pub size: u64,
    /// The root of its Merkle log.
    pub root: TreeHash,
}

/// How a head that somebody saw relates to the directory on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is one of this directory's.
    Ours,
    /// It has more records: this directory was rolled back.
    Newer,
    /// This directory has another history.
    Contradicted,
}

impl Standing {
    /// Reads where a directory stands, and verifies that it is the policy's. `None` when it was never published.
    ///
    /// # Errors
    /// [`DirectoryError::Damaged`] when the newest checkpoint is not over what the store holds.
    pub async fn read<S: KeyedLog>(store: &S, policy: &DirectoryPolicy) -> Result<Option<Self>, DirectoryError> {
        let Some(entry) = store.last(&keys::directory_checkpoints(), FOREVER).await? else { return Ok(None) };
        let note = SignedNote::parse(&entry.bytes)?;
        let signed = policy.signed_by_log(&note);
        let (said, _) = signed.map_err(|_| damaged("its newest checkpoint is not signed by its key"))?;
        let records = log::size(store).await?;
        // A crash between record and checkpoint leaves one record more.
        if said.size != entry.seq.0 || !(said.size..=said.size + 1).contains(&records) {
            return Err(damaged("its records and its checkpoints do not end together"));
        }
        let standing = Self { size: said.size, root: root_at(store, said.size).await? };
        if standing.root != said.root {
            return Err(damaged("its newest checkpoint is not over its records"));
        }
        Ok(Some(standing))
    }

    /// How a head that somebody saw relates to this one.
    ///
    /// # Errors
    /// [`DirectoryError`] when the store cannot be read.
    pub async fn judge<S: KeyedLog>(&self, store: &S, seen: &Checkpoint) -> Result<Seen, DirectoryError> {
        if seen.size > self.size {
            return Ok(Seen::Newer);
        }
        let ours = if seen.size == 0 { seen.root } else { root_at(store, seen.size).await? };
        Ok(if ours == seen.root { Seen::Ours } else { Seen::Contradicted })
    }
}

async fn root_at<S: KeyedLog>(store: &S, size: u64) -> Result<TreeHash, DirectoryError> {
    Ok(log::frontier(store, size).await?.root())
}
