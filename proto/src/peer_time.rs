//! What members' signed statements say about the time. A clock that jumps cannot notice it by itself; most
//! of those that sign to it can tell. Rule: over 30 s off their median a node stops serving and says so.

use crate::ids::MemberId;
use crate::limits::CLOCK_SKEW_MS;
use std::collections::HashMap;

/// Microseconds after which a member's word is renewed, and after two of which it counts no more: long
/// enough to span a quiet hour's pauses, short enough that a clock that was set right is believed.
const WINDOW_US: u64 = 5 * 60 * 1_000_000;
/// Members that must have spoken: one alone must not be able to stop everybody.
const MEMBERS_MIN: usize = 2;
/// A change below this moves no verdict, so that the median is not made again for each statement.
const STEP_MS: i64 = 500;

/// One member's clock against the own monotonic one, milliseconds. A statement can only come late, never
/// early, so the largest difference is the best that is known.
#[derive(Debug, Clone, Copy)]
struct Said {
    window: u64,
    best: i64,
    before: i64,
}

/// The members' time, one voice per member. Pure: both clocks are passed in.
#[derive(Debug, Default)]
pub struct PeerTime {
    said: HashMap<MemberId, Said>,
    // The two middle voices, which are one where their number is odd.
    middle: Option<(i64, i64)>,
}

impl PeerTime {
    /// Takes the time of a statement whose signature was verified, in force or not. `monotonic_us` is the
    /// own monotonic clock, which no jump of the wall clock moves.
    pub fn hear(&mut self, member: &MemberId, issued_at_ms: i64, monotonic_us: u64) {
        let window = monotonic_us / WINDOW_US;
        let voice = issued_at_ms.saturating_sub(milliseconds(monotonic_us));
        let changed = match self.said.get_mut(member) {
            None => {
                self.said.insert(member.clone(), Said { window, best: voice, before: i64::MIN });
                true
            }
            Some(said) if said.window == window => {
                let gained = voice.saturating_sub(said.best.max(said.before));
                said.best = said.best.max(voice);
                gained > STEP_MS
            }
            Some(said) => {
                let before = if said.window.saturating_add(1) == window { said.best } else { i64::MIN };
                *said = Said { window, best: voice, before };
                true
            }
        };
        if changed {
            self.said.retain(|_, said| said.window.saturating_add(1) >= window);
            self.find_middle();
        }
    }

    fn find_middle(&mut self) {
        let mut voices: Vec<i64> = self.said.values().map(|said| said.best.max(said.before)).collect();
        voices.sort_unstable();
        let high = voices.get(voices.len() / 2);
        let low = voices.get(voices.len().saturating_sub(1) / 2);
        self.middle = low.copied().zip(high.copied()).filter(|_| voices.len() >= MEMBERS_MIN);
    }

    /// By how much the own wall clock is ahead of the median (negative: behind), if that is over 30 s. Of
    /// two middle voices the one that is nearer counts; none while fewer than two members have spoken.
    pub fn skew_ms(&self, now_ms: i64, monotonic_us: u64) -> Option<i64> {
        let (low, high) = self.middle?;
        let own = now_ms.saturating_sub(milliseconds(monotonic_us));
        let off = if own > high { own.saturating_sub(high) } else { own.saturating_sub(low).min(0) };
        (off.saturating_abs() > CLOCK_SKEW_MS).then_some(off)
    }
}

fn milliseconds(monotonic_us: u64) -> i64 {
    i64::try_from(monotonic_us / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000_000;
    const MINUTE: i64 = 60_000;

    fn member(name: &str) -> MemberId {
        MemberId::parse(name).unwrap()
    }

    #[test]
    fn one_member_stops_nobody_and_two_that_agree_do() {
        let mut time = PeerTime::default();
        time.hear(&member("police"), NOW - 10 * MINUTE, 0);
        assert_eq!(time.skew_ms(NOW, 0), None, "one voice is none");
        time.hear(&member("health"), NOW, 0);
        assert_eq!(time.skew_ms(NOW, 0), None, "the nearer of two counts");
        time.hear(&member("street"), NOW - 1_000, 0);
        assert_eq!(time.skew_ms(NOW, 0), None);
        assert_eq!(time.skew_ms(NOW + 10 * MINUTE, 0), Some(10 * MINUTE + 1_000));
        assert_eq!(time.skew_ms(NOW - 10 * MINUTE, 0), Some(1_000 - 10 * MINUTE));
        assert_eq!(time.skew_ms(NOW + 29_000, 0), None);
    }

    #[test]
    fn late_statements_say_nothing_and_a_jump_shows_at_once() {
        let mut time = PeerTime::default();
        for name in ["police", "health", "street"] {
            time.hear(&member(name), NOW, 1_000_000);
            time.hear(&member(name), NOW - 50_000, 1_500_000);
        }
        assert_eq!(time.skew_ms(NOW + 1_000, 2_000_000), None);
        // The own clock jumps: no statement is needed to see it, and none to see it mended.
        assert_eq!(time.skew_ms(NOW + 10 * MINUTE, 2_000_000), Some(10 * MINUTE - 1_000));
        assert_eq!(time.skew_ms(NOW + 2_000, 3_000_000), None);
    }

    #[test]
    fn old_words_are_forgotten() {
        let mut time = PeerTime::default();
        time.hear(&member("police"), NOW + 10 * MINUTE, 0);
        time.hear(&member("health"), NOW + 10 * MINUTE, 0);
        assert!(time.skew_ms(NOW, 0).is_some());
        // Their clocks were wrong and are mended; the machine slept, so the monotonic clock stood still.
        let later = 2 * WINDOW_US;
        let now = NOW + milliseconds(later);
        time.hear(&member("street"), now, later);
        assert_eq!(time.skew_ms(now, later), None, "a single voice again");
        time.hear(&member("police"), now, later);
        time.hear(&member("health"), now, later);
        assert_eq!(time.skew_ms(now, later), None);
    }
}
