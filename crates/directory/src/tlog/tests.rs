use super::*;

fn leaves(count: u64) -> Vec<TreeHash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// RFC 6962 section 2.1, word for word.
fn tree_hash(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            node_hash(&tree_hash(left), &tree_hash(right))
        }
    }
}

fn of_ranges(leaves: &[TreeHash], ranges: &[Range]) -> Vec<TreeHash> {
    ranges.iter().map(|range| tree_hash(&leaves[range.start as usize..range.end as usize])).collect()
}

#[test]
fn the_roots_of_certificate_transparencys_reference_tree() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    assert_eq!(frontier.root(), empty_root());
    for (input, root) in inputs.iter().zip(roots) {
        frontier.push(leaf_hash(&hex::decode(input).unwrap()));
        assert_eq!(hex::encode(frontier.root().0), root);
    }
}

#[test]
fn every_inclusion_proof_holds_for_its_leaf_and_place_only() {
    let all = leaves(70);
    let mut frontier = Frontier::default();
    for size in 1..=70_u64 {
        let root = tree_hash(&all[..size as usize]);
        assert_eq!(frontier.inclusion_of_next(), of_ranges(&all, &inclusion_ranges(size - 1, size)));
        frontier.push(all[size as usize - 1]);
        assert_eq!(frontier.root(), root);
        for index in 0..size {
            let proof = of_ranges(&all, &inclusion_ranges(index, size));
            let leaf = &all[index as usize];
            assert_eq!(verify_inclusion(leaf, index, size, &root, &proof), Ok(()));
            assert!(verify_inclusion(leaf, index + 1, size, &root, &proof).is_err());
            assert!(verify_inclusion(&all[(index as usize + 1) % 70], index, size, &root, &proof).is_err());
            if let Some((_, short)) = proof.split_last() {
                assert!(verify_inclusion(leaf, index, size, &root, short).is_err());
            }
            let longer = [&proof[..], &[root]].concat();
            assert!(verify_inclusion(leaf, index, size, &root, &longer).is_err());
        }
    }
}

#[test]
fn every_consistency_proof_holds_for_its_two_logs_only() {
    let (all, mut other) = (leaves(70), leaves(70));
    other[0] = leaf_hash(b"another past");
    for new in 1..=70_u64 {
        let root = tree_hash(&all[..new as usize]);
        for old in 1..=new {
            let proof = of_ranges(&all, &consistency_ranges(old, new));
            let old_root = tree_hash(&all[..old as usize]);
            assert_eq!(verify_consistency((old, &old_root), (new, &root), &proof), Ok(()));
            let forked = tree_hash(&other[..old as usize]);
            assert!(verify_consistency((old, &forked), (new, &root), &proof).is_err());
            assert!(verify_consistency((old + 1, &old_root), (new, &root), &proof).is_err());
            assert!(verify_consistency((new, &root), (old, &old_root), &proof).is_err() || old == new);
            let longer = [&proof[..], &[root]].concat();
            assert!(verify_consistency((old, &old_root), (new, &root), &longer).is_err());
        }
    }
    assert!(consistency_ranges(0, 5).is_empty() && consistency_ranges(6, 5).is_empty());
}

#[test]
fn a_range_is_made_of_perfect_subtrees_that_lie_in_one_tile_each() {
    let all = leaves(1_300);
    let level_1: Vec<TreeHash> = all.chunks_exact(256).map(perfect_root).collect();
    for (old, new) in [(1, 1_300), (255, 700), (256, 1_024), (700, 1_299), (1_024, 1_300)] {
        for range in consistency_ranges(old, new).into_iter().chain(inclusion_ranges(old, new)) {
            let roots: Vec<TreeHash> = perfect_subtrees(range)
                .into_iter()
                .map(|subtree| {
                    let (level, run) = subtree.in_tiles();
                    assert_eq!(run.start / TILE_HASHES, (run.end - 1) / TILE_HASHES);
                    let hashes = if level == 0 { &all } else { &level_1 };
                    subtree.root(&hashes[run.start as usize..run.end as usize]).unwrap()
                })
                .collect();
            let expected = tree_hash(&all[range.start as usize..range.end as usize]);
            assert_eq!(fold(&roots), Some(expected), "{range:?}");
        }
    }
}

#[test]
fn a_tile_has_one_path() {
    for (index, width, path) in [
        (0, 256, "tile/0/000"),
        (5, 7, "tile/0/005.p/7"),
        (1_234_067, 256, "tile/0/x001/x234/067"),
        (1_000, 255, "tile/0/x001/000.p/255"),
    ] {
        assert_eq!(tile_path("0", index, width), path);
        assert_eq!(parse_tile_path(path.strip_prefix("tile/0/").unwrap()), Some((index, width)));
    }
    for wrong in ["", "0", "00", "0000", "x000/001", "001/x002", "x001/2", "000.p/0", "000.p/256", "000.p/01", "+01"] {
        assert_eq!(parse_tile_path(wrong), None, "{wrong}");
    }
}
