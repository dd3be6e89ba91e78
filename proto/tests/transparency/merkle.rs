use std::collections::BTreeSet;

use proptest::prelude::*;
use yiwang_proto::merkle::{
    EMPTY_ROOT, Frontier, HashReader, KEPT_FULL_TILES, NotHeld, ProofError, TileError, Tree,
    consistency_proof, inclusion_proof, leaf_hash, root_from_tiles, tiles_touched, verify_consistency,
    verify_growth, verify_inclusion,
};

use crate::support::{Store, grow, leaves, naive_consistency, naive_inclusion, naive_root, stored};

#[test]
fn empty_tree() {
    assert_eq!(Tree::new().root(), EMPTY_ROOT);
    assert_eq!(Frontier::new().root(), EMPTY_ROOT);
    assert_eq!(root_from_tiles(&Store::default(), 0).unwrap(), EMPTY_ROOT);
    assert_eq!(EMPTY_ROOT, yiwang_proto::sha256(b""));
    assert_ne!(leaf_hash(b""), EMPTY_ROOT);
}

#[test]
fn growth_allows_what_consistency_refuses() {
    let root = naive_root(&leaves(3));
    assert_eq!(verify_consistency(0, 3, &EMPTY_ROOT, &root, &[]), Err(ProofError::FromEmpty));
    assert_eq!(verify_consistency(0, 0, &EMPTY_ROOT, &EMPTY_ROOT, &[]), Err(ProofError::FromEmpty));
    verify_growth(0, 3, &EMPTY_ROOT, &root, &[]).unwrap();
    verify_growth(0, 0, &EMPTY_ROOT, &EMPTY_ROOT, &[]).unwrap();
    assert_eq!(verify_growth(0, 0, &EMPTY_ROOT, &root, &[]), Err(ProofError::RootMismatch));
    assert_eq!(verify_growth(0, 3, &root, &root, &[]), Err(ProofError::RootMismatch));
    assert_eq!(verify_growth(0, 3, &EMPTY_ROOT, &root, &[root]), Err(ProofError::Length { hashes: 1 }));
}

#[test]
fn every_pair_of_small_sizes() {
    let all = leaves(24);
    for size in 1..=all.len() {
        let (_, store) = stored(&all[..size]);
        let root = naive_root(&all[..size]);
        for index in 0..size {
            let proof = inclusion_proof(&store, index as u64, size as u64).unwrap();
            assert_eq!(proof, naive_inclusion(index, &all[..size]));
            verify_inclusion(index as u64, size as u64, &all[index], &proof, &root).unwrap();
        }
        for old in 1..=size {
            let proof = consistency_proof(&store, old as u64, size as u64).unwrap();
            assert_eq!(proof, naive_consistency(old, &all[..size], true));
            verify_consistency(old as u64, size as u64, &naive_root(&all[..old]), &root, &proof).unwrap();
        }
    }
}

/// Three levels of tiles, with reads counted: no proof may read more than a few tiles per level.
#[test]
fn large_tree_reads_few_tiles() {
    let all = leaves(2 * 65_536 + 3 * 256 + 19);
    let size = all.len() as u64;
    let (tree, store) = stored(&all);
    let root = tree.root();
    assert_eq!(root_from_tiles(&store, size).unwrap(), root);
    for index in [0, 255, 256, 65_535, 65_536, 70_000, size - 300, size - 1] {
        store.reads.set(0);
        let proof = inclusion_proof(&store, index, size).unwrap();
        assert!(store.reads.get() <= 6, "{} reads for leaf {index}", store.reads.get());
        verify_inclusion(index, size, &all[usize::try_from(index).unwrap()], &proof, &root).unwrap();
        // The tree alone answers for recent leaves; with the store behind it, for all of them alike.
        assert_eq!(inclusion_proof(&tree.or(&store), index, size).unwrap(), proof);
    }
    store.reads.set(0);
    inclusion_proof(&tree.or(&store), size - 300, size).unwrap();
    assert_eq!(store.reads.get(), 0);
    for old in [1, 255, 256, 257, 65_536, 70_001, size - 1, size] {
        let proof = consistency_proof(&store, old, size).unwrap();
        let old_root = naive_root(&all[..usize::try_from(old).unwrap()]);
        verify_consistency(old, size, &old_root, &root, &proof).unwrap();
        assert_eq!(consistency_proof(&tree.or(&store), old, size).unwrap(), proof);
    }
}

#[test]
fn a_tree_keeps_its_right_edge_only() {
    let (tree, _) = stored(&leaves(256 * 8 + 5));
    assert_eq!(tree.tile(0, 0, 256), Err(NotHeld));
    for index in 8 - KEPT_FULL_TILES as u64..8 {
        assert_eq!(tree.tile(0, index, 256).unwrap().len(), 8192);
    }
    assert_eq!(tree.tile(0, 8, 5).unwrap().len(), 160);
    assert_eq!(tree.tile(0, 8, 6), Err(NotHeld));
    assert_eq!(tree.tile(1, 0, 8).unwrap().len(), 256);
}

#[test]
fn restoring_notices_damage() {
    let all = leaves(65_536 + 700);
    let (tree, mut store) = stored(&all);
    let size = tree.size();
    assert_eq!(Tree::restore(size, &store).unwrap().root(), tree.root());

    let key = (0, 256, 256);
    let good = store.tiles[&key].clone();
    let mut bad = good.to_vec();
    bad[77] ^= 1;
    store.tiles.insert(key, bad.into());
    assert!(matches!(Tree::restore(size, &store), Err(TileError::Contradiction { level: 0, index: 256 })));

    store.tiles.insert(key, good.slice(..good.len() - 1));
    assert!(matches!(Tree::restore(size, &store), Err(TileError::Length { level: 0, index: 256, .. })));
    assert!(matches!(inclusion_proof(&store, 65_540, size), Err(TileError::Length { .. })));

    store.tiles.remove(&key);
    assert!(matches!(Tree::restore(size, &store), Err(TileError::Read { level: 0, index: 256, .. })));
    assert!(matches!(Tree::restore(u64::MAX, &store), Err(TileError::SizeLimit { .. })));
}

#[test]
fn impossible_requests_are_refused() {
    let (_, store) = stored(&leaves(5));
    assert!(matches!(inclusion_proof(&store, 5, 5), Err(TileError::IndexOutside { .. })));
    assert!(matches!(inclusion_proof(&store, 0, 0), Err(TileError::IndexOutside { .. })));
    assert!(matches!(consistency_proof(&store, 6, 5), Err(TileError::Shrunk { .. })));
    assert!(matches!(inclusion_proof(&store, 0, u64::MAX), Err(TileError::Read { .. })));
    assert!(matches!(consistency_proof(&store, 1, u64::MAX), Err(TileError::Read { .. })));
    assert!(matches!(root_from_tiles(&store, u64::MAX), Err(TileError::Read { .. })));
    assert!(consistency_proof(&store, 0, 5).unwrap().is_empty());
}

#[test]
fn frontier_needs_one_hash_per_full_subtree() {
    let mut frontier = Frontier::new();
    leaves(13).into_iter().for_each(|leaf| frontier.push(leaf));
    let hashes = frontier.hashes().to_vec();
    assert_eq!(Frontier::from_hashes(13, hashes.clone()), Some(frontier));
    assert_eq!(Frontier::from_hashes(12, hashes.clone()), None);
    assert_eq!(Frontier::from_hashes(u64::MAX, vec![hashes[0]; 64]), None);
}

/// Every single-byte change of a proof, root or leaf is refused, as is every other index and size near it.
#[test]
fn changed_proofs_are_refused() {
    let all = leaves(11);
    let (_, store) = stored(&all);
    let root = naive_root(&all);
    let proof = inclusion_proof(&store, 6, 11).unwrap();
    for at in 0..proof.len() * 32 {
        let mut changed = proof.clone();
        changed[at / 32][at % 32] ^= 0x40;
        assert_eq!(verify_inclusion(6, 11, &all[6], &changed, &root), Err(ProofError::RootMismatch));
    }
    for index in (0..20).filter(|index| *index != 6) {
        assert!(verify_inclusion(index, 11, &all[6], &proof, &root).is_err());
    }
    let (old_root, growth) = (naive_root(&all[..6]), consistency_proof(&store, 6, 11).unwrap());
    verify_consistency(6, 11, &old_root, &root, &growth).unwrap();
    for at in 0..growth.len() * 32 {
        let mut changed = growth.clone();
        changed[at / 32][at % 32] ^= 1;
        assert_eq!(verify_consistency(6, 11, &old_root, &root, &changed), Err(ProofError::RootMismatch));
    }
    for keep in 0..growth.len() {
        assert!(verify_consistency(6, 11, &old_root, &root, &growth[..keep]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// In steps of any size: same roots, tiles and proofs as the naive tree; restoring changes nothing.
    #[test]
    fn grows_like_the_naive_tree(steps in prop::collection::vec(0_usize..700, 1..5), pick in any::<u64>()) {
        let all = leaves(steps.iter().sum::<usize>() as u64);
        let (mut tree, mut store, mut frontier) = (Tree::new(), Store::default(), Frontier::new());
        for step in steps {
            let from = usize::try_from(tree.size()).unwrap();
            let added = &all[from..from + step];
            let before: BTreeSet<_> = store.tiles.keys().copied().collect();
            grow(&mut tree, &mut store, added);
            added.iter().for_each(|leaf| frontier.push(*leaf));
            let size = tree.size();
            let seen = &all[..from + step];
            let root = naive_root(seen);
            prop_assert_eq!(tree.root(), root);
            prop_assert_eq!(frontier.root(), root);
            prop_assert_eq!(frontier.size(), size);
            prop_assert_eq!(root_from_tiles(&store, size).unwrap(), root);

            let created: BTreeSet<_> = store.tiles.keys().copied().filter(|key| !before.contains(key)).collect();
            prop_assert_eq!(created, tiles_touched(from as u64, size).collect::<BTreeSet<_>>());

            let restored = Tree::restore(size, &store).unwrap();
            prop_assert_eq!(restored.root(), root);
            prop_assert_eq!(restored.partials(), tree.partials());
            tree = restored;

            if size > 0 {
                let index = pick % size;
                let at = usize::try_from(index).unwrap();
                let proof = inclusion_proof(&tree.or(&store), index, size).unwrap();
                prop_assert_eq!(&proof, &naive_inclusion(at, seen));
                prop_assert_eq!(&proof, &inclusion_proof(&store, index, size).unwrap());
                verify_inclusion(index, size, &seen[at], &proof, &root).unwrap();
                let old = index + 1;
                let proof = consistency_proof(&tree.or(&store), old, size).unwrap();
                prop_assert_eq!(&proof, &naive_consistency(at + 1, seen, true));
                verify_consistency(old, size, &naive_root(&seen[..=at]), &root, &proof).unwrap();
            }
        }
    }
}
