//! The directory's Merkle log in the keyed log: leaves, the roots of full tiles, and the hashes that proofs are made of.
//!
//! A leaf is kept as its bytes; the hash of a leaf is made when it is needed. Of the tree above, only the roots of full
//! tiles are kept (one for 256 leaves, one for 65,536, and so on), so any proof is made of a few short reads.

use stonechat_directory::tlog::{self, Frontier, Range, Subtree, TILE_HASHES};
use stonechat_wire::{Seq, Timestamp, TreeHash};

use crate::services::keys;
use crate::store::{Append, Expect, KeyedLog, StoreError};

/// Why the Merkle log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another server publishes this directory; this one stands by")]
    LostPlace,
    #[error("the directory's log is damaged. Restore the data directory from a backup")]
    Damaged,
}

/// How many leaves the log has.
pub(crate) async fn size<S: KeyedLog>(store: &S) -> Result<u64, LogError> {
    Ok(store.last(&keys::directory_records(), FOREVER).await?.map_or(0, |entry| entry.seq.0))
}

/// The bytes of leaf `index`.
pub(crate) async fn leaf<S: KeyedLog>(store: &S, index: u64) -> Result<Vec<u8>, LogError> {
    leaves(store, Range { start: index, end: index + 1 }).await?.pop().ok_or(LogError::Damaged)
}

/// The bytes of a run of leaves.
pub(crate) async fn leaves<S: KeyedLog>(store: &S, range: Range) -> Result<Vec<Vec<u8>>, LogError> {
    read(store, &keys::directory_records(), range).await
}

/// Appends the leaf that makes the log `size` leaves long.
pub(crate) async fn append<S: KeyedLog>(store: &S, size: u64, leaf: Vec<u8>) -> Result<(), LogError> {
    append_at(store, &keys::directory_records(), size, leaf).await
}

/// Appends an entry that must become number `seq`.
pub(crate) async fn append_at<S: KeyedLog>(
    store: &S,
    key: &crate::store::Key,
    seq: u64,
    bytes: Vec<u8>,
) -> Result<(), LogError> {
    let expect = if seq == 1 { Expect::Empty } else { Expect::Last(Seq(seq - 1)) };
    match store.append(key, expect, bytes, None, FOREVER).await? {
        Append::Appended(at) if at.0 == seq => Ok(()),
        Append::Appended(_) => Err(LogError::Damaged),
        Append::Conflict { .. } => Err(LogError::LostPlace),
    }
}

/// Keeps the roots of tiles that a log of `size` leaves has full: a few appends at most, and nothing to repair after a
/// crash but to call it again.
pub(crate) async fn keep_tiles<S: KeyedLog>(store: &S, size: u64) -> Result<(), LogError> {
    let mut below = size;
    for level in 1..=7_u8 {
        let full = below / TILE_HASHES;
        if full == 0 {
            return Ok(());
        }
        let key = keys::directory_tiles(level);
        let kept = store.last(&key, FOREVER).await?.map_or(0, |entry| entry.seq.0);
        for tile in kept..full {
            let hashes = tile_hashes(store, u32::from(level) - 1, tile, TILE_HASHES).await?;
            append_at(store, &key, tile + 1, tlog::perfect_root(&hashes).0.to_vec()).await?;
        }
        below = full;
    }
    Ok(())
}

/// The first `width` hashes of a tile.
pub(crate) async fn tile_hashes<S: KeyedLog>(
    store: &S,
    level: u32,
    index: u64,
    width: u64,
) -> Result<Vec<TreeHash>, LogError> {
    let start = index * TILE_HASHES;
    hashes(store, level, Range { start, end: start + width }).await
}

async fn hashes<S: KeyedLog>(store: &S, level: u32, range: Range) -> Result<Vec<TreeHash>, LogError> {
    if level == 0 {
        return Ok(leaves(store, range).await?.iter().map(|leaf| tlog::leaf_hash(leaf)).collect());
    }
    let level = u8::try_from(level).map_err(|_| LogError::Damaged)?;
    let read = read(store, &keys::directory_tiles(level), range).await?;
    read.into_iter().map(|bytes| bytes.try_into().map(TreeHash).map_err(|_| LogError::Damaged)).collect()
}

/// The Merkle tree hashes of ranges: a proof.
pub(crate) async fn range_hashes<S: KeyedLog>(store: &S, ranges: &[Range]) -> Result<Vec<TreeHash>, LogError> {
    let mut out = Vec::with_capacity(ranges.len());
    for range in ranges {
        let roots = subtree_roots(store, &tlog::perfect_subtrees(*range)).await?;
        out.push(tlog::fold(&roots).ok_or(LogError::Damaged)?);
    }
    Ok(out)
}

/// The right edge of the log of `size` leaves.
pub(crate) async fn frontier<S: KeyedLog>(store: &S, size: u64) -> Result<Frontier, LogError> {
    let roots = subtree_roots(store, &tlog::perfect_subtrees(Range { start: 0, end: size })).await?;
    Frontier::from_roots(size, roots).ok_or(LogError::Damaged)
}

async fn subtree_roots<S: KeyedLog>(store: &S, subtrees: &[Subtree]) -> Result<Vec<TreeHash>, LogError> {
    let mut roots = Vec::with_capacity(subtrees.len());
    for subtree in subtrees {
        let (level, range) = subtree.in_tiles();
        roots.push(subtree.root(&hashes(store, level, range).await?).ok_or(LogError::Damaged)?);
    }
    Ok(roots)
}

/// The entries of a log whose numbers are `range` counted from 0, all of them.
async fn read<S: KeyedLog>(store: &S, key: &crate::store::Key, range: Range) -> Result<Vec<Vec<u8>>, LogError> {
    let mut out = Vec::new();
    while range.start + (out.len() as u64) < range.end {
        let at = range.start + out.len() as u64;
        let left = usize::try_from(range.end - at).map_err(|_| LogError::Damaged)?;
        let page = store.read(key, Seq(at), left, usize::MAX, FOREVER).await?;
        if page.first().is_none_or(|first| first.seq.0 != at + 1) {
            return Err(LogError::Damaged);
        }
        out.extend(page.into_iter().map(|entry| entry.bytes));
    }
    Ok(out)
}

const FOREVER: Timestamp = Timestamp(0);
