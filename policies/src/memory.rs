//! Remembers what was granted under one contract, so that the next request of the same kind does not put
//! the same question to Cedar again.
//!
//! INVARIANT: only grants are remembered, under a digest of every fact that they were judged by (contract,
//! consumer, key, purpose, operation, fields, case and the rest; never time or counts, which are judged
//! anew). A denial is always judged in full. Lives and ends with the prepared contract, so that another
//! bundle or contract never meets it.

use std::sync::{Arc, Mutex, PoisonError};
use yiwang_proto::Digest;

/// Kinds of requests under one contract. A few operations and sets of fields are usual; 16 are half a
/// kilobyte, which 10,000 contracts bear.
const MOST: usize = 16;

/// The grants of one contract. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Ring>>);

/// In one piece, its counters beside the first key: with thousands of contracts each is met cold.
#[derive(Debug, Default)]
struct Ring {
    kept: u8,
    next: u8,
    granted: [Digest; MOST],
}

impl Ring {
    fn has(&self, key: &Digest) -> bool {
        self.granted.iter().take(self.kept.into()).any(|granted| granted == key)
    }
}

impl Memory {
    /// Whether this was granted before.
    pub fn has(&self, key: &Digest) -> bool {
        // A ring is whole at every step, so that a panic elsewhere cannot have spoilt it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).has(key)
    }

    /// Remembers a grant, in place of the oldest where there are many.
    pub fn keep(&self, key: Digest) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.has(&key) {
            return;
        }
        let at = ring.next;
        if let Some(place) = ring.granted.get_mut(usize::from(at)) {
            *place = key;
        }
        ring.kept = ring.kept.max(at + 1);
        ring.next = (at + 1) % MOST as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let memory = Memory::default();
        let key = |n: usize| yiwang_proto::sha256(&n.to_be_bytes());
        for n in 0..MOST + 3 {
            assert!(!memory.has(&key(n)));
            memory.keep(key(n));
            memory.keep(key(n));
            assert!(memory.has(&key(n)));
        }
        assert_eq!(memory.0.lock().unwrap().kept, MOST as u8);
        assert!(!memory.has(&key(2)) && memory.has(&key(3)));
    }
}
