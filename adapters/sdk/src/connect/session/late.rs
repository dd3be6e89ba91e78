//! Exchanges that their hub waits for no more. It says so with a Cancel, which a full queue drops; without that word an
//! exchange would hold its place and its bytes until the link ends: a request whose rest never comes, an answer that gets no
//! more credit.

use super::{Exchange, Session};
use yiwang_proto::limits::{CLOCK_SKEW_MS, DEADLINE_MAX_MS};

/// The tolerance of clocks.
const TOLERANCE_MS: u64 = CLOCK_SKEW_MS.unsigned_abs();
/// The longest that an exchange is held: a hub's longest one and that tolerance. A deadline that cannot be told from it, or
/// is none, is no longer than this.
const LONGEST_MS: u64 = DEADLINE_MAX_MS as u64 + TOLERANCE_MS;

/// When an exchange that its hub gives up in so many milliseconds is over here. The hub's clock may be behind by the
/// tolerance.
pub(super) fn over_at(now_us: u64, left_ms: u64) -> u64 {
    let most_ms = left_ms.saturating_add(TOLERANCE_MS).min(LONGEST_MS);
    now_us.saturating_add(most_ms.saturating_mul(1000))
}

impl Session {
    /// Gives up what is over. What comes of it later is the rest of a cancelled one.
    pub(super) fn give_up_late(&mut self) {
        let now_us = self.adapter.clock().monotonic_us();
        let late = |held: &Exchange| match held {
            Exchange::Receiving { over_us, .. } | Exchange::Running { over_us, .. } => *over_us < now_us,
        };
        let mut numbers: Vec<u64> =
            self.exchanges.iter().filter(|(_, held)| late(held)).map(|(number, _)| *number).collect();
        // What is left of them is offered in this order: in one that is the same in each run of a simulation.
        numbers.sort_unstable();
        for exchange in numbers {
            tracing::warn!(exchange, "an exchange is over by its deadline, and the hub has not said so");
            self.cancel(exchange);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_over_when_it_is_by_every_clock_that_is_good() {
        assert_eq!(over_at(5, 2_000), 5 + 32_000_000);
        assert_eq!(over_at(5, 0), 5 + 30_000_000);
        assert_eq!(over_at(5, u64::MAX), 5 + 60_000_000);
        assert_eq!(over_at(u64::MAX, 1), u64::MAX);
    }
}
