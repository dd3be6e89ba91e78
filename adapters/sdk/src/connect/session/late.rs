//! Exchanges that their hub waits for no more. It says so with a Cancel, which a full queue drops; without that word an
//! exchange would hold its place and its bytes until the link ends: a request whose rest never comes, an answer that gets no
//! more credit.

use super::{Exchange, Session};
use yiwang_proto::limits::{CLOCK_SKEW_MS, DEADLINE_MAX_MS};
use yiwang_proto::pb;

/// The tolerance of clocks.
const TOLERANCE_MS: u64 = CLOCK_SKEW_MS.unsigned_abs();
/// A hub that says how long it waits has given up by then for certain; its Cancel has this long to come.
const CANCEL_MS: u64 = 2_000;

/// How long the hub waits for an exchange, in microseconds of the adapter's own monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waits {
    until_us: u64,
    /// From here its place and bytes are needed for others.
    over_us: u64,
}

impl Waits {
    /// For an exchange whose first chunk came just now. What the hub says in milliseconds from then counts; clocks that
    /// differ within the tolerance would make of a deadline by its clock one that is over, or none. A hub waits no longer
    /// than its longest, whatever is said.
    pub(super) fn of(first: &pb::RequestChunk, now_us: u64, now_ms: i64) -> Self {
        let (left_ms, tolerance_ms) = match first.wait_ms {
            0 => (left(first.deadline_ms, now_ms), TOLERANCE_MS),
            said => (u64::from(said), CANCEL_MS),
        };
        let left_ms = left_ms.min(u64::from(DEADLINE_MAX_MS));
        let after = |ms: u64| now_us.saturating_add(ms.saturating_mul(1000));
        Self { until_us: after(left_ms), over_us: after(left_ms.saturating_add(tolerance_ms)) }
    }

    /// Milliseconds that are left.
    pub(super) fn left_ms(self, now_us: u64) -> u64 {
        self.until_us.saturating_sub(now_us) / 1000
    }
}

/// Milliseconds until the hub gives up. Clocks may differ by the tolerance: a deadline that has just
/// passed may only look so, and the hub cancels what it no longer waits for.
fn left(deadline_ms: i64, now_ms: i64) -> u64 {
    let left = deadline_ms.saturating_sub(now_ms);
    if deadline_ms == 0 || (-CLOCK_SKEW_MS..=0).contains(&left) {
        return u64::MAX;
    }
    u64::try_from(left).unwrap_or(0)
}

impl Session {
    /// Gives up what is over. What comes of it later is the rest of a cancelled one.
    pub(super) fn give_up_late(&mut self) {
        let now_us = self.adapter.clock().monotonic_us();
        let late = |held: &Exchange| match held {
            Exchange::Receiving { waits, .. } | Exchange::Running { waits, .. } => waits.over_us < now_us,
        };
        let mut numbers: Vec<u64> =
            self.exchanges.iter().filter(|(_, held)| late(held)).map(|(number, _)| *number).collect();
        // What is left of them is offered in this order: in one that is the same in each run of a simulation.
        numbers.sort_unstable();
        for exchange in numbers {
            self.adapter.counters().given_up();
            tracing::warn!(exchange, "an exchange is over by its deadline, and the hub has not said so");
            self.cancel(exchange);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(deadline_ms: i64, wait_ms: u32) -> pb::RequestChunk {
        pb::RequestChunk { deadline_ms, wait_ms, ..pb::RequestChunk::default() }
    }

    #[test]
    fn a_deadline_by_the_clock_is_over_when_it_is_by_every_clock_that_is_good() {
        let waits = |deadline_ms, now_us| {
            let waits = Waits::of(&first(deadline_ms, 0), now_us, 10_000);
            (waits.left_ms(now_us), waits.over_us)
        };
        assert_eq!(waits(12_000, 5), (2_000, 5 + 32_000_000));
        assert_eq!(waits(-100_000, 5), (0, 5 + 30_000_000));
        assert_eq!(waits(9_000, 5), (30_000, 5 + 60_000_000), "it may only look over");
        assert_eq!(waits(0, 5), (30_000, 5 + 60_000_000));
        assert_eq!(waits(i64::MAX, 5), (30_000, 5 + 60_000_000));
        assert_eq!(waits(12_000, u64::MAX), (0, u64::MAX));
    }

    #[test]
    fn how_long_a_hub_waits_counts_from_the_first_chunk_whatever_the_clocks_say() {
        for deadline_ms in [0, 9_000, 10_001, i64::MAX, i64::MIN] {
            let waits = Waits::of(&first(deadline_ms, 2_000), 5, 10_000);
            assert_eq!((waits.left_ms(5), waits.over_us), (2_000, 5 + 4_000_000));
            assert_eq!((waits.left_ms(1_500_005), waits.left_ms(2_000_006)), (500, 0));
        }
        assert_eq!(Waits::of(&first(0, u32::MAX), 5, 10_000).left_ms(5), 30_000);
    }

    #[test]
    fn a_deadline_is_judged_with_the_tolerance_of_clocks() {
        assert_eq!(left(10_500, 10_000), 500);
        assert_eq!(left(10_000, 10_500), u64::MAX);
        assert_eq!(left(10_000, 10_000 + CLOCK_SKEW_MS + 1), 0);
        assert_eq!(left(0, 10_000), u64::MAX);
        assert_eq!(left(i64::MIN, i64::MAX), 0);
    }
}
