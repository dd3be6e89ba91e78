//! A second opinion: the crates `signed_note` and `tlog_tiles` read what we write and check what we prove.

use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::{Tile, TileHashReader, TileReader};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{Hash, HashReader, consistency_proof, inclusion_proof, tiles_touched};
use yiwang_proto::tile::{TileKind, TilePath};

use crate::support::{ORIGIN, Store, grow, leaves, naive_root, signer, stored};

/// Our store behind their interface.
struct Foreign<'a>(&'a Store);

impl TileReader for Foreign<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let width = u16::try_from(tile.width()).unwrap();
            self.0.tile(tile.level(), tile.level_index(), width).unwrap().to_vec()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(*hash)).collect()
}

#[test]
fn they_open_our_checkpoints() {
    let verifiers = || {
        let verifier = StandardVerifier::new(&signer().verifier().to_string()).unwrap();
        VerifierList::new(vec![Box::new(verifier)])
    };
    for size in [0, 1, 2, 300, 70_000] {
        let ours = Checkpoint::new(ORIGIN, size, naive_root(&leaves(size))).unwrap();
        let signed = ours.sign(&signer()).unwrap();
        let note = Note::from_bytes(signed.as_bytes()).unwrap();
        let (verified, unverified) = note.verify(&verifiers()).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((checkpoint.origin(), checkpoint.size()), (ORIGIN, size));
        assert_eq!(checkpoint.hash().0, ours.root);
        let changed = signed.replacen(&size.to_string(), "77", 1);
        assert!(Note::from_bytes(changed.as_bytes()).unwrap().verify(&verifiers()).is_err());
    }
}

/// 1,000 proofs over growing trees; their tile reader checks every tile that it reads against our root.
#[test]
fn they_rebuild_our_roots_and_check_our_proofs() {
    let all = leaves(66_000);
    let (mut tree, mut store) = stored(&[]);
    let mut checked = 0;
    for size in [1_usize, 2, 255, 256, 257, 512, 5_000, 65_535, 65_536, 66_000] {
        let from = usize::try_from(tree.size()).unwrap();
        grow(&mut tree, &mut store, &all[from..size]);
        let (size, root) = (size as u64, tlog_tiles::Hash(tree.root()));
        let foreign = Foreign(&store);
        let reader = TileHashReader::new(size, root, &foreign);
        assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap().0, root.0);
        for step in 0..50 {
            let index = step * 7919 % size;
            let leaf = tlog_tiles::Hash(all[usize::try_from(index).unwrap()]);
            let ours = theirs(&inclusion_proof(&tree.or(&store), index, size).unwrap());
            assert_eq!(ours, tlog_tiles::prove_record(size, index, &reader).unwrap());
            tlog_tiles::check_record(&ours, size, root, index, leaf).unwrap();

            let old = index + 1;
            let old_root =
                tlog_tiles::Hash(yiwang_proto::merkle::root_from_tiles(&store, old).unwrap_or_else(
                    // The partial tiles of every old size are not stored: grow that tree afresh.
                    |_| stored(&all[..usize::try_from(old).unwrap()]).0.root(),
                ));
            let ours = theirs(&consistency_proof(&tree.or(&store), old, size).unwrap());
            assert_eq!(ours, tlog_tiles::prove_tree(size, old, &reader).unwrap());
            tlog_tiles::check_tree(&ours, size, root, old, old_root).unwrap();
            checked += 2;
        }
    }
    assert_eq!(checked, 1000);
}

#[test]
fn they_name_the_same_tiles() {
    let sizes = [0, 1, 255, 256, 257, 65_535, 65_536, 66_000, 1_234_067];
    for old in sizes {
        for new in sizes {
            let ours: Vec<_> = tiles_touched(old, new).collect();
            let their_tiles = Tile::new_tiles(8, old, new.max(old));
            let key = |tile: &Tile| (tile.level(), tile.level_index(), u16::try_from(tile.width()).unwrap());
            assert_eq!(ours, their_tiles.iter().map(key).collect::<Vec<_>>(), "{old} to {new}");
        }
    }
    for index in [0, 7, 999, 1000, 1_234_067, 999_999_999_999] {
        for width in [1, 255, 256] {
            let ours = TilePath::new(TileKind::Hashes(3), index, width).unwrap().to_string();
            let tile = Tile::new(8, 3, index, width.into(), false);
            assert_eq!(tile.path(), ours.replace("tile/", "tile/8/"));
        }
    }
}
