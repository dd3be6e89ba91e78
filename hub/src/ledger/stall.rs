//! A disk that hangs: a sync can last for minutes without an error. Nothing is acknowledged meanwhile, and what would
//! be forwarded could not be recorded, so nothing new is taken until the batch ends.

use super::{Ledger, Shared};
use crate::limits::BATCH_STALLED;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// When the batch began that the sequencer has in hand, by the monotonic clock, plus one; 0 without one.
#[derive(Debug, Default)]
pub(super) struct Batch(AtomicU64);

impl Shared {
    pub(super) fn begin_batch(&self) {
        self.batch.0.store(self.clock.monotonic_us().saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn end_batch(&self) {
        let took = self.batch_age();
        self.batch.0.store(0, Ordering::Relaxed);
        if took > BATCH_STALLED {
            tracing::warn!(
                seconds = took.as_secs(),
                "a batch of ledger entries took long; new exchanges were refused meanwhile"
            );
        }
    }

    fn batch_age(&self) -> Duration {
        let Some(since) = self.batch.0.load(Ordering::Relaxed).checked_sub(1) else { return Duration::ZERO };
        Duration::from_micros(self.clock.monotonic_us().saturating_sub(since))
    }
}

impl Ledger {
    /// For how long the batch in hand lasts, if that is too long.
    pub fn stalled(&self) -> Option<Duration> {
        Some(self.shared.batch_age()).filter(|age| *age > BATCH_STALLED)
    }

    /// For how long the batch in hand lasts, milliseconds; 0 without one.
    pub fn batch_ms(&self) -> u64 {
        u64::try_from(self.shared.batch_age().as_millis()).unwrap_or(u64::MAX)
    }

    /// What the operator must know of a disk that hangs.
    pub(super) fn stall_reason(&self) -> Option<String> {
        self.stalled().map(|age| {
            format!(
                "the disk of the ledger has not finished a batch for {} s: look at the disk; it goes on by itself",
                age.as_secs()
            )
        })
    }
}
