//! Tiles in a map, a naive tree, and the folder with published data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use yiwang_proto::merkle::{EMPTY_ROOT, Hash, HashReader, Tree, leaf_hash, node_hash};
use yiwang_proto::note::SignerKey;

pub const ORIGIN: &str = "log.example/yiwang";

pub fn signer() -> SignerKey {
    SignerKey::from_seed(ORIGIN, &[7; 32]).unwrap()
}

/// The folder with vectors and data, if there is one.
pub fn data(below: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("YIWANG_TEST_DATA") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
    };
    let folder = root.join(below);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no test data");
    None
}

pub fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(format!("entry {index}").as_bytes())).collect()
}

/// RFC 6962 section 2.1, word for word.
pub fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(naive_split(leaves.len()));
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// RFC 6962 section 2.1.1.
pub fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(naive_split(leaves.len()));
    let (mut proof, other) = if index < left.len() {
        (naive_inclusion(index, left), right)
    } else {
        (naive_inclusion(index - left.len(), right), left)
    };
    proof.push(naive_root(other));
    proof
}

/// RFC 6962 section 2.1.2, SUBPROOF.
pub fn naive_consistency(old: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let (left, right) = leaves.split_at(naive_split(leaves.len()));
    let (mut proof, other) = if old <= left.len() {
        (naive_consistency(old, left, is_whole), right)
    } else {
        (naive_consistency(old - left.len(), right, false), left)
    };
    proof.push(naive_root(other));
    proof
}

fn naive_split(len: usize) -> usize {
    len.next_power_of_two() / 2
}

/// A store that holds tiles by exact level, number and width, as a file system does.
#[derive(Default)]
pub struct Store {
    pub tiles: BTreeMap<(u8, u64, u16), Bytes>,
    pub reads: std::cell::Cell<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error("no such tile")]
pub struct Missing;

impl HashReader for Store {
    type Error = Missing;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, Missing> {
        self.reads.set(self.reads.get() + 1);
        self.tiles.get(&(level, index, width)).cloned().ok_or(Missing)
    }
}

/// Grows a log from nothing to `leaves` in one step and stores what a checkpoint of that size needs.
pub fn stored(leaves: &[Hash]) -> (Tree, Store) {
    let (mut tree, mut store) = (Tree::new(), Store::default());
    grow(&mut tree, &mut store, leaves);
    (tree, store)
}

pub fn grow(tree: &mut Tree, store: &mut Store, leaves: &[Hash]) {
    let mut tiles = tree.append(leaves);
    tiles.extend(tree.partials());
    for tile in tiles {
        assert_eq!(tile.bytes.len(), usize::from(tile.width) * 32);
        store.tiles.insert((tile.level, tile.index, tile.width), tile.bytes);
    }
}
