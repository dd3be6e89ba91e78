use super::{EMPTY_ROOT, Hash, MAX_SIZE, fold_peaks, node_hash};

/// The right edge of a growing tree: one hash per full subtree, largest first.
///
/// Enough to append leaves and to know the root, with at most 64 hashes of memory and one node hash per
/// appended leaf on average; proofs need a [`super::Tree`] or tiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    // INVARIANT: one entry per set bit of `size`, from the highest bit to the lowest.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier from stored hashes, largest subtree first, as [`Frontier::hashes`] gives them.
    ///
    /// `None` when their number is not the number of full subtrees in a tree of `size` leaves, or the size is
    /// over 2^63. The hashes themselves cannot be checked here: compare [`Frontier::root`] with a signed root.
    #[must_use]
    pub fn from_hashes(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        let full_subtrees = usize::try_from(size.count_ones()).ok()?;
        (hashes.len() == full_subtrees && size <= MAX_SIZE).then_some(Self { size, peaks: hashes })
    }

    /// Appends one leaf by its [`super::leaf_hash`].
    pub fn push(&mut self, leaf_hash: Hash) {
        let mut carry = leaf_hash;
        let mut subtrees = self.size;
        while subtrees & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            carry = node_hash(&left, &carry);
            subtrees >>= 1;
        }
        self.peaks.push(carry);
        self.size += 1;
    }

    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold_peaks(self.peaks.iter().rev()).unwrap_or(EMPTY_ROOT)
    }

    /// The roots of the full subtrees, largest first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.peaks
    }
}
