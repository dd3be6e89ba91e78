//! A link that is changed for another: the hub is told, and has a while to end the old one. Moments are the adapter's
//! clock's.

use std::time::Duration;

/// How long the hub has to end a link that is changed. Where it does not, something runs for long; then the
/// link goes on and is changed later.
const CHANGE: Duration = Duration::from_secs(2);
/// Until the next try: by far longer than most requests, and nothing to the life of a certificate.
const CHANGE_AGAIN: Duration = Duration::from_secs(20);

/// Where a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Change {
    /// None is under way.
    #[default]
    No,
    /// The hub was told, and has until then.
    Leaving(u64),
    /// It did not end the link; it is told again then.
    Again(u64),
}

fn after(now_us: u64, time: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

impl Change {
    /// The hub was told just now.
    pub(super) fn told(now_us: u64) -> Self {
        Self::Leaving(after(now_us, CHANGE))
    }

    /// Whether the hub has its time now.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Leaving(_))
    }

    /// Whether the end of the link is what was asked for; a slow hub may do it after its time.
    pub(super) fn is_asked(self) -> bool {
        self != Self::No
    }

    /// Goes on with the time; true where the hub is to be told again.
    pub(super) fn look(&mut self, now_us: u64) -> bool {
        match *self {
            Self::Leaving(until_us) if until_us <= now_us => {
                *self = Self::Again(after(now_us, CHANGE_AGAIN));
                false
            }
            Self::Again(at_us) if at_us <= now_us => {
                *self = Self::No;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_has_its_time_and_is_told_again_after_a_longer_one() {
        let mut change = Change::told(1_000);
        assert!(!change.look(2_000_999) && change.is_leaving());
        assert!(!change.look(2_001_000) && !change.is_leaving() && change.is_asked());
        assert!(!change.look(22_000_999));
        assert!(change.look(22_001_000));
        assert!(!change.is_asked());
        assert!(!change.look(u64::MAX), "once");
    }
}
