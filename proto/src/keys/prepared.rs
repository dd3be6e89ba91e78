//! Multiples of public keys that are checked again and again. A check is mostly two multiplications; with the multiples of
//! the key and of the curve's base point at hand it takes half of the time, and says the same.

use super::PublicKey;
use super::multiples::Multiples;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity as _;
use sha2::{Digest as _, Sha512};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

/// Good signatures of a key before its multiples are made, which takes as long as they save in a tenth of them: whoever
/// signs less costs nothing, and whoever brings many keys pays for each with as many good signatures.
const PAYS: u32 = 100;
/// Keys whose multiples are kept, 128 KiB each: 16 MiB. A process sees few keys often, its hub's and its members' apps'.
const KEPT: usize = 128;
/// Bits of a digit: of a key, of which there are many, and of the base point, of which there is one (370 KiB). More bits are
/// fewer additions and twice the memory each, of which the processor's cache has 1 or 2 MiB for everything: 6 and 8
/// showed no difference in exchanges.
const KEY_WINDOW: u32 = 5;
const BASE_WINDOW: u32 = 7;
/// A table that was not used for so many checks makes room.
const LONG: u64 = 4 * KEPT as u64;
/// Keys whose signatures are counted. Above it the counts are halved.
const COUNTED: usize = 1_024;

/// What this process keeps. A pure function's memory: what it holds changes how long a check takes and nothing else.
static PREPARED: LazyLock<Prepared> = LazyLock::new(Prepared::default);
/// Multiples of the base point, made when the first key has its own.
static BASE: LazyLock<Multiples<BASE_WINDOW>> = LazyLock::new(|| Multiples::of(&ED25519_BASEPOINT_POINT));

#[derive(Default)]
struct Prepared {
    tables: RwLock<HashMap<[u8; 32], Arc<Table>>>,
    counts: Mutex<HashMap<[u8; 32], u32>>,
    /// Checks, which are all the time there is here.
    checks: AtomicU64,
}

/// Multiples of a key, negated as the equation needs it.
struct Table {
    minus_key: Multiples<KEY_WINDOW>,
    /// The check that used it last.
    used: AtomicU64,
}

/// Whether a signature is good, if the key's multiples are at hand. Not looked at: commitments of low order.
pub(super) fn check(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> Option<bool> {
    let table = PREPARED.table(key)?;
    Some(table.check(key, message, signature))
}

/// Takes note of a good signature that was checked without them.
pub(super) fn note_good(key: &PublicKey) {
    PREPARED.note_good(key);
}

impl Prepared {
    fn table(&self, key: &PublicKey) -> Option<Arc<Table>> {
        let table =
            self.tables.read().unwrap_or_else(PoisonError::into_inner).get(key.as_bytes()).map(Arc::clone)?;
        table.used.store(self.tick(), Ordering::Relaxed);
        Some(table)
    }

    fn note_good(&self, key: &PublicKey) {
        // Also where none has a table: those of keys that are gone would otherwise never grow old.
        self.tick();
        if !self.is_due(key) {
            return;
        }
        if self.has_room() {
            // Outside of the lock: it takes a sixth of a millisecond, the base point's three times that.
            LazyLock::force(&BASE);
            let table = Arc::new(Table::of(key, self.tick()));
            let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(oldest) = oldest(&tables).map(|(key, _)| key).filter(|_| tables.len() >= KEPT) {
                tables.remove(&oldest);
            }
            tables.insert(*key.as_bytes(), table);
        }
        // Counted until here, so that nobody else makes the same meanwhile.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(key.as_bytes());
    }

    fn tick(&self) -> u64 {
        self.checks.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether there is room, or a table that nobody has used for long. Where more keys take turns than are kept, each would
    /// otherwise lose its table before it has paid.
    fn has_room(&self) -> bool {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.checks.load(Ordering::Relaxed);
        tables.len() < KEPT || oldest(&tables).is_some_and(|(_, used)| now.saturating_sub(used) > LONG)
    }

    /// Whether this was the signature that makes a table worth its time; true once.
    fn is_due(&self, key: &PublicKey) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= COUNTED && !counts.contains_key(key.as_bytes()) {
            // Keys that came once or twice make room; those that come often are soon there again.
            counts.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
            if counts.len() >= COUNTED {
                return false;
            }
        }
        let count = counts.entry(*key.as_bytes()).or_insert(0);
        *count += 1;
        *count == PAYS
    }
}

/// The table that was not used for longest, and when it was.
fn oldest(tables: &HashMap<[u8; 32], Arc<Table>>) -> Option<([u8; 32], u64)> {
    let used = tables.iter().map(|(key, table)| (*key, table.used.load(Ordering::Relaxed)));
    used.min_by_key(|(_, used)| *used)
}

impl Table {
    fn of(key: &PublicKey, used: u64) -> Self {
        Self { minus_key: Multiples::of(&-key.0.to_edwards()), used: AtomicU64::new(used) }
    }

    /// RFC 8032 section 5.1.7 without the cofactor: R is the encoding of sB - kA, and s is below the order.
    fn check(&self, key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
        let Ok(s) = <[u8; 32]>::try_from(s) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else { return false };
        let hash = Sha512::new().chain_update(r).chain_update(key.as_bytes()).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let sum = BASE.add_times(&s, EdwardsPoint::identity());
        self.minus_key.add_times(&k, sum).compress().as_bytes() == r
    }
}

#[cfg(test)]
#[path = "prepared_tests.rs"]
mod tests;
