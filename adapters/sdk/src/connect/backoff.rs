//! Waits between attempts: doubling, with full jitter, so that a thousand adapters do not come back in
//! step when a hub restarts.

use std::time::Duration;
use yiwang_proto::ambient::{Entropy, random};

const FIRST_MS: u64 = 200;
const MOST_MS: u64 = 30_000;

#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait: anything from nothing to a bound that doubles each time.
    pub(super) fn next(&mut self, entropy: &dyn Entropy) -> Duration {
        let bound = FIRST_MS.saturating_mul(1 << self.attempts.min(16)).min(MOST_MS);
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_millis(u64::from_le_bytes(random(entropy)) % (bound + 1))
    }

    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::SeededEntropy;

    #[test]
    fn waits_grow_to_half_a_minute_and_are_spread() {
        let entropy = SeededEntropy::new(7);
        let mut backoff = Backoff::default();
        let first = backoff.next(&entropy);
        assert!(first <= Duration::from_millis(FIRST_MS));
        let late: Vec<Duration> = (0..200).map(|_| backoff.next(&entropy)).collect();
        assert!(late.iter().all(|wait| *wait <= Duration::from_millis(MOST_MS)));
        assert!(late.iter().any(|wait| *wait > Duration::from_millis(MOST_MS / 2)));
        assert!(late.iter().skip(20).any(|wait| *wait < Duration::from_millis(MOST_MS / 2)));
        backoff.reset();
        assert!(backoff.next(&entropy) <= Duration::from_millis(FIRST_MS));
    }
}
