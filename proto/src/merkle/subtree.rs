use super::verify::{ProofError, root_from_inclusion};
use super::{EMPTY_ROOT, Hash, node_hash};

/// Checks that a leaf is in the subtree over the leaves `start..end` with the root `root`.
///
/// Subtrees are those of the Merkle tree certificate draft: `start` is a multiple of the smallest power of
/// two that is at least `end - start`. `index` counts from the start of the log.
///
/// # Errors
/// [`ProofError`] for the first rule that fails.
pub fn verify_subtree_inclusion(
    index: u64,
    (start, end): (u64, u64),
    leaf_hash: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let size = subtree_leaves(start, end)?;
    let outside = ProofError::IndexOutside { index, size: end };
    let within = index.checked_sub(start).filter(|within| *within < size).ok_or(outside)?;
    if root_from_inclusion(within, size, leaf_hash, proof)? == *root {
        Ok(())
    } else {
        Err(ProofError::RootMismatch)
    }
}

/// Checks that the subtree over the leaves `start..end` with the root `subtree_root` is part of the tree of
/// `size` leaves with the root `root`.
///
/// An empty subtree is part of every tree: its root must be [`EMPTY_ROOT`] and the proof empty.
///
/// # Errors
/// [`ProofError`] for the first rule that fails.
pub fn verify_subtree_consistency(
    (start, end): (u64, u64),
    size: u64,
    subtree_root: &Hash,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let wrong_length = ProofError::Length { hashes: proof.len() };
    if end > size {
        return Err(ProofError::Shrunk { from: end, to: size });
    }
    if start == end {
        return match (proof.is_empty(), *subtree_root == EMPTY_ROOT) {
            (false, _) => Err(wrong_length),
            (true, false) => Err(ProofError::RootMismatch),
            (true, true) => Ok(()),
        };
    }
    subtree_leaves(start, end)?;
    let (mut first, mut at, mut last) = (start, end - 1, size - 1);
    while first != at && (at == last || at & 1 == 1) {
        (first, at, last) = (first >> 1, at >> 1, last >> 1);
    }
    // A subtree that is one node of the tree is its own starting point: then the proof omits it.
    let (seed, rest) = match proof.split_first() {
        _ if first == at => (subtree_root, proof),
        Some((seed, rest)) => (seed, rest),
        None => return Err(wrong_length),
    };
    let (mut old, mut new) = (*seed, *seed);
    for sibling in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if at & 1 == 1 || at == last {
            if first < at {
                old = node_hash(sibling, &old);
            }
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                (first, at, last) = (first >> 1, at >> 1, last >> 1);
            }
        } else {
            new = node_hash(&new, sibling);
        }
        (first, at, last) = (first >> 1, at >> 1, last >> 1);
    }
    if last != 0 {
        Err(wrong_length)
    } else if old != *subtree_root || new != *root {
        Err(ProofError::RootMismatch)
    } else {
        Ok(())
    }
}

/// Leaves in the subtree `start..end`, if it is one.
fn subtree_leaves(start: u64, end: u64) -> Result<u64, ProofError> {
    let not_a_subtree = ProofError::NotASubtree { start, end };
    let leaves = end.checked_sub(start).filter(|leaves| *leaves > 0).ok_or(not_a_subtree.clone())?;
    // Beyond 2^63 only a start of 0 is a multiple of the rounded-up length.
    let aligned = leaves.checked_next_power_of_two().map_or(start == 0, |unit| start & (unit - 1) == 0);
    if aligned { Ok(leaves) } else { Err(not_a_subtree) }
}
