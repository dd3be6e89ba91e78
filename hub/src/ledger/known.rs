//! Roots of this ledger by size, so that a head in a statement costs a look-up: the heads that were signed
//! lately, and those that somebody asked about.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use yiwang_proto::merkle::Hash;

/// Roots of one generation; two are held. A batch of entries signs one head: this covers minutes of them, and
/// the heads that members keep for days.
const GENERATION: usize = 8192;

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Hash>,
    old: HashMap<u64, Hash>,
}

/// The roots. INVARIANT: only roots of this ledger's own tree.
#[derive(Default)]
pub(super) struct KnownRoots {
    roots: RwLock<Generations>,
}

impl KnownRoots {
    pub(super) fn note(&self, size: u64, root: Hash) {
        let mut roots = self.roots.write().unwrap_or_else(PoisonError::into_inner);
        if roots.young.len() >= GENERATION {
            roots.old = std::mem::take(&mut roots.young);
        }
        roots.young.insert(size, root);
    }

    pub(super) fn of(&self, size: u64) -> Option<Hash> {
        let roots = self.roots.read().unwrap_or_else(PoisonError::into_inner);
        roots.young.get(&size).or_else(|| roots.old.get(&size)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_memory_is_bounded() {
        let known = KnownRoots::default();
        for size in 0..100_000_u64 {
            known.note(size, [u8::try_from(size % 251).unwrap(); 32]);
        }
        assert_eq!(known.of(99_999), Some([u8::try_from(99_999_u64 % 251).unwrap(); 32]));
        assert_eq!(known.of(5), None);
        let roots = known.roots.read().unwrap();
        assert!(roots.young.len() + roots.old.len() <= 2 * GENERATION);
    }
}
