use super::{EMPTY_ROOT, Hash, node_hash};

/// Why a Merkle proof was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaf cannot be in a tree of that size.
    #[error("leaf index {index} is outside a tree of {size} leaves")]
    IndexOutside {
        /// The leaf's index, from zero.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// The newer tree is the smaller one.
    #[error("the newer tree has {to} leaves, fewer than the older one with {from}")]
    Shrunk {
        /// Leaves in the older tree.
        from: u64,
        /// Leaves in the newer tree.
        to: u64,
    },
    /// A proof from the empty tree says nothing; see [`verify_growth`] for a caller that allows it.
    #[error("a consistency proof from the empty tree proves nothing")]
    FromEmpty,
    /// The range is not a subtree of any tree: its start is not a multiple of its rounded-up length.
    #[error("leaves {start} to {end} do not form a subtree")]
    NotASubtree {
        /// First leaf.
        start: u64,
        /// One past the last leaf.
        end: u64,
    },
    /// Too few or too many hashes for the sizes.
    #[error("the proof has {hashes} hashes, not as many as the sizes demand")]
    Length {
        /// Hashes that the proof holds.
        hashes: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof does not lead to the stated root")]
    RootMismatch,
}

/// Checks that a leaf is at `index` in the tree of `size` leaves with `root` (RFC 9162 section 2.1.3.2).
///
/// `proof` runs from the leaf's sibling up to the root's child.
///
/// # Errors
/// [`ProofError`] when the index is outside, the proof's length is wrong or the root differs.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if root_from_inclusion(index, size, leaf_hash, proof)? == *root {
        Ok(())
    } else {
        Err(ProofError::RootMismatch)
    }
}

/// The root that an inclusion proof leads to; comparing it is left to the caller.
///
/// # Errors
/// [`ProofError`] when the index is outside the tree or the proof's length does not fit index and size.
pub fn root_from_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Hash,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutside { index, size });
    }
    let wrong_length = ProofError::Length { hashes: proof.len() };
    let mut at = index;
    let mut last = size - 1;
    let mut root = *leaf_hash;
    for sibling in proof {
        if last == 0 {
            return Err(wrong_length);
        }
        if at & 1 == 1 || at == last {
            root = node_hash(sibling, &root);
            // A node without a right sibling is carried up unhashed until it is a right child itself.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            root = node_hash(&root, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 { Ok(root) } else { Err(wrong_length) }
}

/// Checks that the tree of `to_size` leaves extends the one of `from_size` (RFC 9162 section 2.1.4.2).
///
/// Equal sizes demand equal roots and an empty proof. Two empty trees, and any proof from size 0, are
/// refused here as [`ProofError::FromEmpty`]: at this layer such a proof could vouch for anything.
/// Protocols that start from nothing use [`verify_growth`].
///
/// # Errors
/// [`ProofError`] for the first rule that fails.
pub fn verify_consistency(
    from_size: u64,
    to_size: u64,
    from_root: &Hash,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if from_size > to_size {
        return Err(ProofError::Shrunk { from: from_size, to: to_size });
    }
    if from_size == 0 {
        return Err(ProofError::FromEmpty);
    }
    let wrong_length = ProofError::Length { hashes: proof.len() };
    if from_size == to_size {
        return match (proof.is_empty(), from_root == to_root) {
            (false, _) => Err(wrong_length),
            (true, false) => Err(ProofError::RootMismatch),
            (true, true) => Ok(()),
        };
    }
    let (mut at, mut last) = (from_size - 1, to_size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    // The old root is itself the first node when the old size is a power of two: then the proof omits it.
    let (start, rest) = match proof.split_first() {
        _ if from_size.is_power_of_two() => (from_root, proof),
        Some((first, rest)) => (first, rest),
        None => return Err(wrong_length),
    };
    let (mut old, mut new) = (*start, *start);
    for sibling in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last != 0 {
        Err(wrong_length)
    } else if old != *from_root || new != *to_root {
        Err(ProofError::RootMismatch)
    } else {
        Ok(())
    }
}

/// Checks growth as the witness protocol means it: like [`verify_consistency`], but an old size of 0 is
/// accepted with an empty proof and [`EMPTY_ROOT`] as the old root, whatever the new tree is.
///
/// # Errors
/// [`ProofError`] for the first rule that fails; a new size of 0 must carry [`EMPTY_ROOT`] as well.
pub fn verify_growth(
    from_size: u64,
    to_size: u64,
    from_root: &Hash,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if from_size != 0 {
        return verify_consistency(from_size, to_size, from_root, to_root, proof);
    }
    if !proof.is_empty() {
        return Err(ProofError::Length { hashes: proof.len() });
    }
    if *from_root != EMPTY_ROOT || (to_size == 0 && *to_root != EMPTY_ROOT) {
        return Err(ProofError::RootMismatch);
    }
    Ok(())
}
