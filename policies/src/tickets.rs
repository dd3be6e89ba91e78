//! How often tickets were used: pure, its time passed in, its memory bounded. Hub and adapter each count for
//! themselves, and count again from ledger and journal after a restart.

use std::collections::HashMap;
use yiwang_proto::Digest;
use yiwang_proto::limits::{CLOCK_SKEW_MS, TICKET_LIFETIME_MS};

/// Tickets counted at once: a ticket lives for one shift, and a province has fewer officers. Above that new
/// tickets count as used up.
pub const TICKETS_MAX: usize = 200_000;
/// How long a use is remembered: no ticket lives longer, whatever the clocks of its signer and of this side.
const KEEP_MS: i64 = TICKET_LIFETIME_MS + 2 * CLOCK_SKEW_MS;

/// Uses by the ticket's digest.
#[derive(Debug, Default)]
pub struct TicketUses {
    uses: HashMap<Digest, (u32, i64)>,
    cleared_ms: i64,
}

impl TicketUses {
    /// No uses yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Before this moment no use matters any more; what was used since must be counted again at a start.
    pub fn since_ms(now_ms: i64) -> i64 {
        now_ms.saturating_sub(KEEP_MS)
    }

    /// Counts one use and yields the count with it.
    pub fn count(&mut self, ticket: &Digest, now_ms: i64) -> u32 {
        self.count_within(ticket, now_ms, TICKETS_MAX)
    }

    fn count_within(&mut self, ticket: &Digest, now_ms: i64, most: usize) -> u32 {
        // A use is kept from its last one on: a clock that goes back forgets nothing.
        if now_ms.saturating_sub(self.cleared_ms) >= KEEP_MS / 12 {
            self.cleared_ms = now_ms;
            self.uses.retain(|_, (_, last_ms)| *last_ms >= Self::since_ms(now_ms));
        }
        if self.uses.len() >= most && !self.uses.contains_key(ticket) {
            return u32::MAX;
        }
        let (uses, last_ms) = self.uses.entry(*ticket).or_insert((0, now_ms));
        *uses = uses.saturating_add(1);
        *last_ms = now_ms.max(*last_ms);
        *uses
    }

    /// Counts uses that were read back, in whatever order these come: none is forgotten over another.
    pub fn recount(&mut self, ticket: &Digest, uses: u32, last_ms: i64) {
        if self.uses.len() >= TICKETS_MAX && !self.uses.contains_key(ticket) {
            return;
        }
        let (held, held_ms) = self.uses.entry(*ticket).or_insert((0, last_ms));
        *held = held.saturating_add(uses);
        *held_ms = last_ms.max(*held_ms);
    }

    /// What is counted: ticket, uses, when it was used last, milliseconds. For a snapshot.
    pub fn counted(&self) -> impl Iterator<Item = (&Digest, u32, i64)> {
        self.uses.iter().map(|(ticket, (uses, last_ms))| (ticket, *uses, *last_ms))
    }

    /// Takes back what a snapshot holds; the larger count stays.
    pub fn restore(&mut self, ticket: &Digest, uses: u32, last_ms: i64) {
        let (held, held_ms) = self.uses.entry(*ticket).or_insert((0, last_ms));
        *held = uses.max(*held);
        *held_ms = last_ms.max(*held_ms);
    }

    /// How many tickets are counted.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_are_forgotten_after_the_longest_life_and_bounded() {
        let mut uses = TicketUses::new();
        assert_eq!((uses.count(&[1; 32], 0), uses.count(&[1; 32], 10), uses.count(&[2; 32], 20)), (1, 2, 1));
        assert_eq!(uses.count(&[1; 32], -5), 3, "a clock that goes back opens nothing");
        assert_eq!(uses.count(&[1; 32], TICKET_LIFETIME_MS), 4);
        assert_eq!(uses.count_within(&[3; 32], TICKET_LIFETIME_MS, 2), u32::MAX, "a full table refuses");
        assert_eq!(uses.count(&[3; 32], 2 * KEEP_MS), 1);
        assert_eq!(uses.len(), 1, "the others are forgotten");
        // Read back, the newest first: one that lies far behind clears nothing, nor does one ahead.
        for last_ms in [3 * KEEP_MS, KEEP_MS, 4 * KEEP_MS] {
            uses.recount(&[4; 32], 2, last_ms);
        }
        assert_eq!((uses.len(), uses.count(&[4; 32], 4 * KEEP_MS)), (2, 7));
    }
}
