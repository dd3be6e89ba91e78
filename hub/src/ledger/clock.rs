//! Whether this machine's clock can be right: not behind the ledger's own time, and not off what most
//! members sign. While it cannot, nothing is appended and `/ready` says so.

use super::{Draft, Ledger, Linear, Shared};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::pb;

impl Shared {
    /// The time of the next entry: the clock's, never below the last entry's.
    pub(super) fn next_time(&self) -> i64 {
        let now = self.clock.now_ms();
        self.last_time.fetch_max(now, Ordering::SeqCst).max(now)
    }

    /// By how much the ledger's time is ahead of the clock, if that is over 30 s.
    fn behind_ms(&self) -> Option<i64> {
        let ahead = self.last_time.load(Ordering::SeqCst).saturating_sub(self.clock.now_ms());
        (ahead > CLOCK_SKEW_MS).then_some(ahead)
    }

    fn off_members_ms(&self) -> Option<i64> {
        let (now, monotonic) = (self.clock.now_ms(), self.clock.monotonic_us());
        self.members_time.lock().unwrap_or_else(PoisonError::into_inner).skew_ms(now, monotonic)
    }

    /// Whether entries would get a time that is wrong.
    pub(super) fn clock_is_off(&self) -> bool {
        self.behind_ms().is_some() || self.off_members_ms().is_some()
    }
}

impl Ledger {
    /// Takes the time of a statement whose signature was verified.
    pub fn hear_time(&self, member: &MemberId, issued_at_ms: i64) {
        let monotonic = self.shared.clock.monotonic_us();
        let mut time = self.shared.members_time.lock().unwrap_or_else(PoisonError::into_inner);
        time.hear(member, issued_at_ms, monotonic);
    }

    /// Whether this machine's clock can be right.
    pub fn clock_ready(&self) -> Result<(), Code> {
        if self.shared.clock_is_off() { Err(Code::ClockSkew) } else { Ok(()) }
    }

    /// By how much the clock is ahead of most members' (negative: behind), if that is over 30 s.
    pub fn off_members_ms(&self) -> Option<i64> {
        self.shared.off_members_ms()
    }

    /// What is wrong with the clock, and the way out, for the operator.
    pub(super) fn clock_reason(&self) -> Option<String> {
        if let Some(off) = self.shared.off_members_ms() {
            return Some(format!(
                "this machine's clock is {} s off what most members sign; set it right",
                off / 1000
            ));
        }
        self.shared.behind_ms().map(|ahead| {
            format!(
                "the last entry's time is {} s ahead of this machine's clock; if the clock is right now, \
                 `yiwang hub accept-clock --dir DIR` goes on from it",
                ahead / 1000
            )
        })
    }
}

/// The operator's word that the clock is right although the last entry has a later time.
pub struct ClockDraft;

impl Draft for ClockDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        if at.latest_ms.saturating_sub(at.time_ms) <= CLOCK_SKEW_MS {
            return Err(Code::NotFound);
        }
        Ok(Kind::Clock(pb::ClockEntry { old_ms: at.latest_ms, new_ms: at.time_ms }))
    }

    fn accepts_clock(&self) -> bool {
        true
    }
}
