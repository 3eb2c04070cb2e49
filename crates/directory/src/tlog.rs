//! The append-only Merkle log (RFC 6962 section 2.1): hashes, proofs, and the tiles that it is served in.
//!
//! [`Frontier`] is all that is needed to append; inclusion of the last leaf comes from it alone. Other proofs are made of
//! [`ranges`](consistency_ranges) whose hashes come from tiles: 256 hashes of one level, as in
//! [C2SP tlog-tiles](https://c2sp.org/tlog-tiles).

use sha2::{Digest as _, Sha256};
use stonechat_wire::TreeHash;

/// The hash of a leaf: `SHA-256(0x00 || bytes)`.
pub fn leaf_hash(bytes: &[u8]) -> TreeHash {
    TreeHash(Sha256::new_with_prefix([0]).chain_update(bytes).finalize().into())
}

/// The hash of a node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    TreeHash(Sha256::new_with_prefix([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of a log without leaves: `SHA-256("")`.
pub fn empty_root() -> TreeHash {
    TreeHash(Sha256::digest([]).into())
}

/// The right edge of a log: the roots of its perfect subtrees, largest first. Enough to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<TreeHash>,
}

impl Frontier {
    /// The frontier of a log of `size` leaves from the roots of its perfect subtrees, largest first, as
    /// [`perfect_subtrees`] names them.
    pub fn from_roots(size: u64, roots: Vec<TreeHash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first.
    pub fn roots(&self) -> &[TreeHash] {
        &self.roots
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: TreeHash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.roots.pop().expect("a root for each set bit of the size");
            node = node_hash(&left, &node);
        }
        self.roots.push(node);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> TreeHash {
        fold(&self.roots).unwrap_or_else(empty_root)
    }

    /// The inclusion proof of a leaf that [`Frontier::push`] would append now, in the log that it would make.
    pub fn inclusion_of_next(&self) -> Vec<TreeHash> {
        // From the leaf upwards: every perfect subtree is a left sibling on its way.
        self.roots.iter().rev().copied().collect()
    }
}

/// Joins the roots of neighbouring perfect subtrees, largest first, to the root over them.
pub fn fold(roots: &[TreeHash]) -> Option<TreeHash> {
    let (last, rest) = roots.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}

/// Why a proof of the Merkle log proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not connect the two")]
pub struct TreeProofError;

/// Verifies that `leaf` is leaf number `index` (from 0) of the log with this size and root. RFC 9162 section 2.1.3.2.
///
/// # Errors
/// [`TreeProofError`].
pub fn verify_inclusion(
    leaf: &TreeHash,
    index: u64,
    size: u64,
    root: &TreeHash,
    proof: &[TreeHash],
) -> Result<(), TreeProofError> {
    if index >= size {
        return Err(TreeProofError);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(TreeProofError);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(TreeProofError) }
}

/// Verifies that the log with `old` (size, root) is the beginning of the one with `new`. RFC 9162 section 2.1.4.2.
///
/// # Errors
/// [`TreeProofError`].
pub fn verify_consistency(
    (old_size, old_root): (u64, &TreeHash),
    (new_size, new_root): (u64, &TreeHash),
    proof: &[TreeHash],
) -> Result<(), TreeProofError> {
    if old_size == new_size {
        return if proof.is_empty() && old_root == new_root { Ok(()) } else { Err(TreeProofError) };
    }
    if old_size == 0 || old_size > new_size {
        return Err(TreeProofError);
    }
    // When the old log is one perfect tree, its root is a node of the new one and is not repeated.
    let mut path = proof.iter();
    let first = if old_size.is_power_of_two() { old_root } else { path.next().ok_or(TreeProofError)? };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return Err(TreeProofError);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && old_hash == *old_root && new_hash == *new_root { Ok(()) } else { Err(TreeProofError) }
}

/// A run of leaves `[start, end)` whose Merkle tree hash stands in a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first leaf.
    pub start: u64,
    /// Behind the last leaf.
    pub end: u64,
}

/// The ranges whose hashes are the consistency proof from one size to another, in order. Empty when there is nothing to
/// prove (equal sizes) or nothing that can be proven (`old` is 0 or above `new`).
pub fn consistency_ranges(old: u64, new: u64) -> Vec<Range> {
    let mut out = Vec::new();
    if old > 0 && old < new {
        subproof(old, Range { start: 0, end: new }, true, &mut out);
    }
    out
}

/// RFC 6962 section 2.1.2, `SUBPROOF(m, D[range], whole)`, with `old` counted from the first leaf of all.
fn subproof(old: u64, range: Range, whole: bool, out: &mut Vec<Range>) {
    if old == range.end {
        if !whole {
            out.push(range);
        }
        return;
    }
    let middle = range.start + split(range.end - range.start);
    if old <= middle {
        subproof(old, Range { end: middle, ..range }, whole, out);
        out.push(Range { start: middle, ..range });
    } else {
        subproof(old, Range { start: middle, ..range }, false, out);
        out.push(Range { end: middle, ..range });
    }
}

/// The ranges whose hashes are the inclusion proof of a leaf, in order.
pub fn inclusion_ranges(index: u64, size: u64) -> Vec<Range> {
    let (mut out, mut range) = (Vec::new(), Range { start: 0, end: size });
    if index >= size {
        return out;
    }
    while range.end - range.start > 1 {
        let middle = range.start + split(range.end - range.start);
        let (left, right) = (Range { end: middle, ..range }, Range { start: middle, ..range });
        let (sibling, next) = if index < middle { (right, left) } else { (left, right) };
        out.push(sibling);
        range = next;
    }
    out.reverse();
    out
}

/// The largest power of two below `leaves`, which are at least 2.
fn split(leaves: u64) -> u64 {
    1 << (63 - (leaves - 1).leading_zeros())
}

/// A perfect subtree: the leaves `index << level` to `(index + 1) << level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    /// Its height; 0 is a leaf.
    pub level: u32,
    /// Its place among those of its height.
    pub index: u64,
}

/// The perfect subtrees that a range is made of, left to right. [`fold`] joins their roots. The range must be one of a
/// proof, or begin at 0: then they get smaller from left to right.
pub fn perfect_subtrees(range: Range) -> Vec<Subtree> {
    let (mut out, mut at) = (Vec::new(), range.start);
    while at < range.end {
        let aligned = if at == 0 { 63 } else { at.trailing_zeros().min(63) };
        let level = aligned.min(63 - (range.end - at).leading_zeros());
        out.push(Subtree { level, index: at >> level });
        at += 1 << level;
    }
    out
}

/// Hashes in a full tile.
pub const TILE_HASHES: u64 = 256;
/// Levels of the tree that a tile spans.
pub const TILE_HEIGHT: u32 = 8;

impl Subtree {
    /// Where the hashes under this subtree stand: the tile level, and the run of its hashes at that level that the subtree
    /// covers. The run never crosses a tile.
    pub fn in_tiles(self) -> (u32, Range) {
        let level = self.level / TILE_HEIGHT;
        let width = 1_u64 << (self.level % TILE_HEIGHT);
        (level, Range { start: self.index * width, end: (self.index + 1) * width })
    }

    /// The subtree's root from the hashes that [`Subtree::in_tiles`] names. `None` when they are not that many.
    pub fn root(self, hashes: &[TreeHash]) -> Option<TreeHash> {
        (hashes.len() as u64 == 1 << (self.level % TILE_HEIGHT)).then(|| perfect_root(hashes))
    }
}

/// The root over a power of two of hashes.
pub fn perfect_root(hashes: &[TreeHash]) -> TreeHash {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

/// The path of a tile below the log's prefix, as C2SP tlog-tiles has it: `tile/0/x001/234`, with `.p/5` when only 5 of its
/// 256 hashes are there. `level` is the tile level, or `entries` for the leaves themselves.
pub fn tile_path(level: &str, index: u64, width: u64) -> String {
    let mut groups = vec![format!("{:03}", index % 1_000)];
    let mut rest = index / 1_000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1_000));
        rest /= 1_000;
    }
    groups.reverse();
    let partial = if width < TILE_HASHES { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{}{partial}", groups.join("/"))
}

/// Reads what follows `tile/LEVEL/` in a path of [`tile_path`]: the tile's index and its width.
pub fn parse_tile_path(path: &str) -> Option<(u64, u64)> {
    let (path, width) = match path.split_once(".p/") {
        None => (path, TILE_HASHES),
        Some((path, width)) => {
            let number = width.parse().ok().filter(|n: &u64| n.to_string() == width)?;
            (path, Some(number).filter(|n| (1..TILE_HASHES).contains(n))?)
        }
    };
    let groups: Vec<&str> = path.split('/').collect();
    let (last, before) = groups.split_last()?;
    let mut index = 0_u64;
    for group in before.iter().map(|group| group.strip_prefix('x')).chain([Some(*last)]) {
        let digits = group.filter(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))?;
        index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
    }
    // One path for one tile.
    (tile_path("", index, TILE_HASHES) == format!("tile//{path}")).then_some((index, width))
}

#[cfg(test)]
mod tests;
