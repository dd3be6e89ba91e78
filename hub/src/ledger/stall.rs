//! A disk that hangs: a sync can last for minutes without an error. Nothing is acknowledged meanwhile, and what would
//! be forwarded could not be recorded, so nothing new is taken until the batch ends.

use super::{Ledger, Shared};
use crate::limits::BATCH_STALLED;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use yiwang_proto::ambient::Clock;

/// When that began which a thread has in hand, by the monotonic clock, plus one; 0 without anything.
#[derive(Debug, Default)]
pub(super) struct InHand(AtomicU64);

impl InHand {
    pub(super) fn begin(&self, clock: &dyn Clock) {
        self.0.store(clock.monotonic_us().saturating_add(1), Ordering::Relaxed);
    }

    /// For how long it lasted.
    pub(super) fn end(&self, clock: &dyn Clock) -> Duration {
        let took = self.age(clock);
        self.0.store(0, Ordering::Relaxed);
        took
    }

    pub(super) fn age(&self, clock: &dyn Clock) -> Duration {
        let Some(since) = self.0.load(Ordering::Relaxed).checked_sub(1) else { return Duration::ZERO };
        Duration::from_micros(clock.monotonic_us().saturating_sub(since))
    }
}

impl Shared {
    pub(super) fn begin_batch(&self) {
        self.batch.begin(self.clock.as_ref());
    }

    pub(super) fn end_batch(&self) {
        let took = self.batch.end(self.clock.as_ref());
        if took > BATCH_STALLED {
            tracing::warn!(
                seconds = took.as_secs(),
                "a batch of ledger entries took long; new exchanges were refused meanwhile"
            );
        }
    }

    fn batch_age(&self) -> Duration {
        self.batch.age(self.clock.as_ref())
    }

    /// Whether the files beside the entries hang: that gives no error either.
    pub(super) fn publishing_hangs(&self) -> bool {
        self.publication.age(self.clock.as_ref()) > BATCH_STALLED
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

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::ManualClock;

    #[test]
    fn only_time_with_something_in_hand_counts() {
        let (in_hand, clock) = (InHand::default(), ManualClock::new(0));
        clock.advance_ms(5_000);
        assert_eq!(in_hand.age(&clock), Duration::ZERO);
        in_hand.begin(&clock);
        clock.advance_ms(3_000);
        assert!(in_hand.age(&clock) > BATCH_STALLED);
        assert_eq!(in_hand.end(&clock), Duration::from_secs(3));
        assert_eq!(in_hand.age(&clock), Duration::ZERO);
    }
}
