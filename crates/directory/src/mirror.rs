//! Following a directory from the outside, leaf by leaf: what witness and auditor do.
//!
//! [`Audit`] knows what it has verified and asks a [`Source`] for the rest: entry bundles, append-only proofs and tiles
//! under the paths of `docs/protocol.md`. What it verified is kept as JSON, so that it goes on where it stopped. At the
//! first inconsistency it stops, with [`Evidence`].

use serde::{Deserialize, Serialize};
use stonechat_wire::{DirectoryRecord, SignedHead, Timestamp, TreeHash, decode};

use crate::audit::{AuditError, Follower};
use crate::evidence::Evidence;
use crate::head::{Head, SeenHead};
use crate::note::{Checkpoint, SignedNote};
use crate::policy::{DirectoryPolicy, PolicyError};
use crate::tlog::{self, Frontier, Range, TILE_HASHES};

/// Where a directory is served: a server, or anybody's mirror of it.
pub trait Source {
    /// Why something could not be fetched.
    type Error;

    /// Fetches what lies under a path below `/directory/`, with at most so many bytes.
    ///
    /// # Errors
    /// When it is not there or cannot be had.
    fn get(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Self::Error>;
}

/// What was verified of a directory, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    policy: DirectoryPolicy,
    follower: Follower,
    /// The newest checkpoint whose whole history was verified: a note.
    verified: Option<SignedNote>,
}

/// Why an audit did not go on.
#[derive(Debug)]
pub enum AuditStop<E> {
    /// Something could not be fetched. Later works perhaps.
    Source(E),
    /// The checkpoint is not one of this directory.
    Checkpoint(PolicyError),
    /// The directory is older than what was verified of it: a server that lags, or a log that was rolled back. The evidence
    /// counts when it stays so.
    Behind(Box<Evidence>),
    /// The directory contradicts itself. The text says how.
    Inconsistent {
        /// In words.
        what: String,
        /// For others.
        evidence: Box<Evidence>,
    },
}

impl Audit {
    /// Nothing was verified yet.
    pub fn new(policy: DirectoryPolicy) -> Self {
        Self { policy, follower: Follower::default(), verified: None }
    }

    /// Whose directory it is.
    pub fn policy(&self) -> &DirectoryPolicy {
        &self.policy
    }

    /// Records that were verified.
    pub fn size(&self) -> u64 {
        self.follower.size()
    }

    /// The last record that was verified.
    pub fn last(&self) -> Option<&DirectoryRecord> {
        self.follower.last()
    }

    /// Verifies everything up to a checkpoint: each leaf, each append-only proof, and that all of it hashes to the root that
    /// the log signed. `progress` hears of records done and to do. What was verified before is not fetched again. When it
    /// stops, it stands where it stood.
    ///
    /// # Errors
    /// [`AuditStop`].
    pub fn advance<S: Source>(
        &mut self,
        source: &mut S,
        note: &SignedNote,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Checkpoint, AuditStop<S::Error>> {
        let (target, _) = self.policy.signed_by_log(note).map_err(AuditStop::Checkpoint)?;
        let mut follower = self.follower.clone();
        if target.size < follower.size() {
            return Err(AuditStop::Behind(self.two_heads(note)));
        }
        let mut before: Option<Vec<u8>> = None;
        while follower.size() < target.size {
            for leaf in self.bundle(source, follower.size(), target.size)? {
                let epoch = decode::<DirectoryRecord>(&leaf).ok().map(|record| record.epoch);
                let proof = match (epoch, follower.last()) {
                    (Some(epoch), Some(last)) if epoch == last.epoch.wrapping_add(1) => {
                        let path = format!("audit/{epoch}");
                        Some(source.get(&path, AUDIT_PROOF_BYTES_MAX).map_err(AuditStop::Source)?)
                    }
                    _ => None,
                };
                if let Err(error) = follower.push(&leaf, proof.as_deref()) {
                    return Err(self.bad_leaf(source, note, &target, follower.size(), before.as_deref(), &leaf, error));
                }
                before = Some(leaf);
                progress(follower.size(), target.size);
            }
        }
        if follower.root() != target.root {
            let what = format!(
                "the directory signed a log of {} records, and the records that it serves are not that log",
                target.size
            );
            return Err(AuditStop::Inconsistent { what, evidence: self.two_heads(note) });
        }
        self.follower = follower;
        self.verified = Some(note.clone());
        Ok(target)
    }

    /// Leaves from `from` on, to the end of their bundle or of the log.
    fn bundle<S: Source>(&self, source: &mut S, from: u64, size: u64) -> Result<Vec<Vec<u8>>, AuditStop<S::Error>> {
        let (tile, start) = (from / TILE_HASHES, from - from % TILE_HASHES);
        let width = (size - start).min(TILE_HASHES);
        let bytes =
            source.get(&tlog::tile_path("entries", tile, width), BUNDLE_BYTES_MAX).map_err(AuditStop::Source)?;
        let leaves = read_bundle(&bytes).filter(|leaves| leaves.len() as u64 == width);
        let Some(leaves) = leaves else {
            let what = format!("the directory does not serve the records of the log that it signed, from {from} on");
            let evidence = Box::new(Evidence::refusal(&self.policy, self.verified.as_ref(), &what));
            return Err(AuditStop::Inconsistent { what, evidence });
        };
        Ok(leaves.into_iter().skip(usize::try_from(from - start).expect("below 256")).collect())
    }

    fn two_heads(&self, note: &SignedNote) -> Box<Evidence> {
        let first = self.verified.as_ref().unwrap_or(note);
        Box::new(Evidence::notes(&self.policy, first, note, &[]))
    }

    /// A leaf that breaks a rule, with what shows that the directory signed it.
    #[expect(clippy::too_many_arguments, reason = "what is known where the audit stops")]
    fn bad_leaf<S: Source>(
        &self,
        source: &mut S,
        note: &SignedNote,
        target: &Checkpoint,
        index: u64,
        before: Option<&[u8]>,
        leaf: &[u8],
        error: AuditError,
    ) -> AuditStop<S::Error> {
        let what = error.to_string();
        let mut evidence = || {
            let first = match (before, index.checked_sub(1)) {
                (Some(before), _) => before.to_vec(),
                (None, Some(previous)) => self.bundle(source, previous, target.size).ok()?.into_iter().next()?,
                (None, None) => return None,
            };
            let previous = index - 1;
            let mut prove = |index| inclusion(source, index, target.size).ok();
            let (one, two) = (prove(previous)?, prove(index)?);
            let signed = SignedHead {
                checkpoint: note.to_string().into_bytes().try_into().ok()?,
                record: leaf.to_vec().try_into().ok()?,
                inclusion: two.clone().try_into().ok()?,
            };
            Some(Evidence::leaves(&self.policy, &signed, previous, (&first, &one), (leaf, &two)))
        };
        let made = evidence().unwrap_or_else(|| Evidence::refusal(&self.policy, Some(note), &what));
        AuditStop::Inconsistent { what, evidence: Box::new(made) }
    }

    /// What was verified, to be kept.
    pub fn to_json(&self) -> String {
        let roots = self.follower.frontier().roots().iter().map(|hash| hex::encode(hash.0)).collect();
        let kept = Kept {
            version: 1,
            policy: self.policy.clone(),
            size: self.size(),
            roots,
            last: self.last().map(|last| KeptRecord {
                epoch: last.epoch,
                root: hex::encode(last.root),
                time: last.time.0,
            }),
            verified: self.verified.as_ref().map(ToString::to_string),
        };
        serde_json::to_string_pretty(&kept).expect("texts and numbers are JSON") + "\n"
    }

    /// What was kept. `None` when it is not [`Audit::to_json`]'s.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(json).ok()?;
        let hash = |text: &String| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
        };
        let roots = kept.roots.iter().map(|root| hash(root).map(TreeHash)).collect::<Option<Vec<_>>>()?;
        let frontier = Frontier::from_roots(kept.size, roots)?;
        let last = match kept.last {
            None => None,
            Some(last) => {
                Some(DirectoryRecord { epoch: last.epoch, root: hash(&last.root)?, time: Timestamp(last.time) })
            }
        };
        let verified = kept.verified.map(|note| SignedNote::parse(note.as_bytes())).transpose().ok()?;
        let policy = DirectoryPolicy::from_json(kept.policy.to_json().as_bytes()).ok()?;
        (kept.version == 1).then(|| Self { policy, follower: Follower::resume(frontier, last), verified })
    }
}

/// The inclusion proof of a leaf, made from tiles.
///
/// # Errors
/// What the source says; `None` within when a tile is not one.
fn inclusion<S: Source>(source: &mut S, index: u64, size: u64) -> Result<Vec<TreeHash>, Option<S::Error>> {
    range_hashes(source, size, &tlog::inclusion_ranges(index, size))
}

/// The hashes of the ranges of a proof, made from tiles.
fn range_hashes<S: Source>(source: &mut S, size: u64, ranges: &[Range]) -> Result<Vec<TreeHash>, Option<S::Error>> {
    let mut out = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut roots = Vec::new();
        for subtree in tlog::perfect_subtrees(*range) {
            let (level, run) = subtree.in_tiles();
            let (tile, have) = (run.start / TILE_HASHES, size >> (tlog::TILE_HEIGHT * level));
            let width = (have - tile * TILE_HASHES).min(TILE_HASHES);
            let path = tlog::tile_path(&level.to_string(), tile, width);
            let bytes = source.get(&path, 32 * TILE_HASHES as usize).map_err(Some)?;
            let skip = usize::try_from(run.start - tile * TILE_HASHES).expect("below 256");
            let count = usize::try_from(run.end - run.start).expect("at most 256");
            let hashes: Vec<TreeHash> = bytes
                .chunks_exact(32)
                .skip(skip)
                .take(count)
                .map(|hash| TreeHash(hash.try_into().expect("chunks of 32")))
                .collect();
            roots.push(subtree.root(&hashes).ok_or(None)?);
        }
        out.push(tlog::fold(&roots).ok_or(None)?);
    }
    Ok(out)
}

/// Asks a source for what is missing in evidence of two heads: the consistency proof from the smaller to the larger.
///
/// # Errors
/// What the source says; `None` within when what it gives is no tile.
pub fn consistency<S: Source>(source: &mut S, from: u64, to: u64) -> Result<Vec<TreeHash>, Option<S::Error>> {
    range_hashes(source, to, &tlog::consistency_ranges(from, to))
}

/// A verified head and the leaf under it, as a [`SeenHead`] of a checkpoint alone.
pub fn seen(policy: &DirectoryPolicy, note: &SignedNote) -> Result<SeenHead, PolicyError> {
    let (checkpoint, signature) = policy.signed_by_log(note)?;
    Ok(SeenHead { size: checkpoint.size, root: checkpoint.root, signature })
}

impl From<&Head> for SeenHead {
    fn from(head: &Head) -> Self {
        head.seen()
    }
}

/// The entries of a bundle: each behind its length in two bytes, big-endian.
fn read_bundle(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    policy: DirectoryPolicy,
    size: u64,
    roots: Vec<String>,
    last: Option<KeptRecord>,
    verified: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptRecord {
    epoch: u64,
    root: String,
    time: u64,
}

/// 256 records with their lengths.
const BUNDLE_BYTES_MAX: usize = 256 * (2 + stonechat_wire::limits::RECORD_BYTES_MAX);
/// An epoch of 4,096 accounts in a directory of 2^30 is some 40 MB.
const AUDIT_PROOF_BYTES_MAX: usize = 64 << 20;
