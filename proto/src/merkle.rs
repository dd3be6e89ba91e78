//! Merkle tree hashing, proofs and tiles: RFC 6962 section 2.1 for the hashes, RFC 9162 section 2.1
//! for checking proofs, C2SP `tlog-tiles` for the layout that proofs are built from.
//!
//! Everything here is pure: no input or output, no clock. Reading tiles is left to a [`HashReader`].

mod build;
mod frontier;
mod subtree;
mod tree;
mod verify;

pub use build::{HashReader, TileError, consistency_proof, inclusion_proof, root_from_tiles};
pub use frontier::Frontier;
pub use subtree::{verify_subtree_consistency, verify_subtree_inclusion};
pub use tree::{FinishedTile, KEPT_FULL_TILES, Layered, NotHeld, Tree, tiles_touched};
pub use verify::{ProofError, root_from_inclusion, verify_consistency, verify_growth, verify_inclusion};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// A SHA-256 value: a leaf hash, an inner node or a root.
pub type Hash = [u8; 32];

/// Bytes of one [`type@Hash`].
pub const HASH_BYTES: usize = 32;

/// Hashes in a full tile, and so leaves under one hash of the next tile level.
pub const TILE_WIDTH: u16 = 256;

/// The largest tree that is continued from stored hashes; sizes stay clear of overflow for ever.
const MAX_SIZE: u64 = 1 << 63;

/// The root of the tree without leaves: SHA-256 of nothing (RFC 6962 section 2.1).
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The hash of one entry: SHA-256 over a zero byte and the entry's exact bytes.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The hash of an inner node: SHA-256 over a one byte, the left and the right hash.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The standard base64 form of a hash as checkpoints and proof files write it (44 characters).
#[must_use]
pub fn hash_to_base64(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

/// Reads what [`hash_to_base64`] writes; `None` for anything else, so that one hash has one spelling.
#[must_use]
pub fn hash_from_base64(text: &str) -> Option<Hash> {
    // The length is checked first so that a hostile line is not decoded at its full length.
    if text.len() != 44 {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Folds the roots of full subtrees, given from the smallest (rightmost) to the largest, into one root.
fn fold_peaks<'a>(smallest_first: impl Iterator<Item = &'a Hash>) -> Option<Hash> {
    smallest_first.fold(None, |right: Option<Hash>, left| match right {
        None => Some(*left),
        Some(right) => Some(node_hash(left, &right)),
    })
}
