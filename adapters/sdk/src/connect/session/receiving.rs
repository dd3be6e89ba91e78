//! Requests that have come in part. One whose end never comes, because the hub gave it up and its word was lost, would hold
//! its place and bytes until the link ends.

use super::{Exchange, Session};
use yiwang_proto::assemble::Assembling;

/// The longest that the rest of a request is waited for: twice a hub's longest exchange. A deadline that cannot be told from
/// the clocks' tolerance, or is none, is no longer than this.
const LONGEST_MS: u64 = 60_000;

/// A request of which more is to come.
pub(super) struct Receiving {
    pub(super) assembling: Assembling,
    until_us: u64,
}

impl Receiving {
    /// One that begins now and whose hub gives up after so many milliseconds.
    pub(super) fn begun(now_us: u64, left_ms: u64) -> Self {
        let until_us = now_us.saturating_add(left_ms.min(LONGEST_MS).saturating_mul(1000));
        Self { assembling: Assembling::default(), until_us }
    }
}

impl Session {
    /// Drops those whose hub waits no more. What comes of them later is the rest of a cancelled one.
    pub(super) fn give_up_late(&mut self) {
        let now_us = self.adapter.clock().monotonic_us();
        let buffered = &mut self.buffered;
        self.exchanges.retain(|exchange, held| match held {
            Exchange::Receiving(receiving) if receiving.until_us < now_us => {
                *buffered -= receiving.assembling.held();
                tracing::info!(exchange, "the rest of a request did not come in its time");
                false
            }
            _ => true,
        });
    }
}
