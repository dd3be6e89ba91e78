//! Counts of what should not be; each is in the log with its details.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Alarms {
    /// Statements whose head is not on this ledger.
    heads: AtomicU64,
    /// Witnesses that refused a checkpoint, or have recorded a larger one than this ledger's.
    witnesses: AtomicU64,
    /// Witnesses and adapters that know less than they did: restored from an old copy.
    restored: AtomicU64,
    /// Offered answers that were entered late, and such that were refused.
    late: AtomicU64,
    offers_refused: AtomicU64,
}

impl Alarms {
    /// A statement names a head that is not on this ledger.
    pub fn head(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    /// A witness says that this ledger is not the one that it knows.
    pub fn witness(&self) {
        self.witnesses.fetch_add(1, Ordering::Relaxed);
    }

    /// A party came back with less than it had.
    pub fn restored(&self) {
        self.restored.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer was entered late.
    pub fn late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// An offered answer got no receipt.
    pub fn offer_refused(&self) {
        self.offers_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// All counts by name.
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("head_contradicts", of(&self.heads)),
            ("witness", of(&self.witnesses)),
            ("restored", of(&self.restored)),
            ("late", of(&self.late)),
            ("offers_refused", of(&self.offers_refused)),
        ]
    }

    /// One count by its name; 0 for a name that there is not.
    pub fn count(&self, name: &str) -> u64 {
        self.counts().iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }
}
