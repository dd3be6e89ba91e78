//! Windows: a moment and everything near it that is no stricter to judge. Under a contract that is asked thousands of
//! times a second the rules of the moment would say the same thousands of times; over a window they say it once.
//!
//! INVARIANT: the rules marked `@moment` hold time and counts against bounds and do nothing else with them, others are
//! refused (`bounds.rs`). So what they permit is one stretch of `now`, and a smaller count, an earlier issue or a later
//! expiry never takes a permit away. A window is therefore permitted where its first and last millisecond are, both with
//! the highest counts, the latest issue and the earliest expiry of it. Where they are not, its moments are judged one by
//! one. The differential test crosses every border within a remembered window. A denial is never remembered.

use crate::asked::Moment;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Length in milliseconds: at a thousand requests a second two judgements stand for a thousand, and the last window
/// before an end, in which each is judged by itself, is short.
const LENGTH_MS: i64 = 1000;
/// Windows of a contract. Requests of one moment are issued and expire in two seconds or three, and counts move on.
const MOST: usize = 6;

/// A window, by its first and strictest moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(Moment);

impl Window {
    /// The window around a moment; none at the ends of time, where each is judged by itself.
    pub fn around(moment: &Moment) -> Option<Self> {
        let floor = |ms: i64| ms.checked_sub(ms.rem_euclid(LENGTH_MS));
        let ceiling = |ms: i64| floor(ms.checked_add(LENGTH_MS - 1)?);
        let first = Moment {
            now_ms: floor(moment.now_ms)?,
            issued_at_ms: ceiling(moment.issued_at_ms)?,
            expires_at_ms: floor(moment.expires_at_ms)?,
            app_this_minute: up(moment.app_this_minute),
            officer_today: up(moment.officer_today),
            ..*moment
        };
        first.now_ms.checked_add(LENGTH_MS)?;
        Some(Self(first))
    }

    pub fn first(&self) -> &Moment {
        &self.0
    }

    pub fn last(&self) -> Moment {
        Moment { now_ms: self.0.now_ms.saturating_add(LENGTH_MS - 1), ..self.0 }
    }
}

/// A count and up to an eighth more, so that the windows of a busy app are few and a small ceiling is not passed early.
fn up(count: u32) -> u32 {
    let step = (count / 8).checked_ilog2().map_or(1, |log| 1 << log);
    count.checked_next_multiple_of(step).unwrap_or(u32::MAX)
}

/// What is known of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is met for the first time.
    New,
    /// It was met, and is worth a judgement.
    Once,
    /// All of it is permitted.
    Permitted,
    /// Not all of it is.
    Mixed,
}

/// The windows of one contract. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Windows(Arc<Mutex<Ring>>);

/// Empty, and without memory of its own, until the contract is used.
#[derive(Debug, Default)]
struct Ring {
    next: usize,
    met: Vec<(Window, Known)>,
}

impl Windows {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A ring is whole at every step, so that a panic elsewhere cannot have spoilt it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a window; from now on it was met.
    pub fn known(&self, window: &Window) -> Known {
        let mut ring = self.ring();
        if let Some((_, known)) = ring.met.iter().find(|(met, _)| met == window) {
            return *known;
        }
        let new = (*window, Known::Once);
        let next = ring.next;
        match ring.met.get_mut(next) {
            Some(oldest) => *oldest = new,
            None => ring.met.push(new),
        }
        ring.next = (next + 1) % MOST;
        Known::New
    }

    /// Keeps what was judged of all of it.
    pub fn judged(&self, window: &Window, permitted: bool) {
        if let Some((_, known)) = self.ring().met.iter_mut().find(|(met, _)| met == window) {
            *known = if permitted { Known::Permitted } else { Known::Mixed };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Resource;
    use crate::testing::{DECIDER, NOW, World};
    use proptest::prelude::*;

    fn moment(now_ms: i64) -> Moment {
        let world = World::new();
        Moment { now_ms, ..Moment::of(&world.request, &world.context()) }
    }

    #[test]
    fn a_window_is_judged_when_it_is_met_again_and_the_oldest_is_forgotten() {
        let windows = Windows::default();
        let window = |second: i64| Window::around(&moment(NOW + second * 1000 + 7)).unwrap();
        assert_eq!(windows.known(&window(0)), Known::New);
        assert_eq!(windows.known(&window(0)), Known::Once);
        windows.judged(&window(0), true);
        assert_eq!(windows.known(&window(0)), Known::Permitted);
        assert_eq!(windows.known(&window(1)), Known::New);
        windows.judged(&window(1), false);
        assert_eq!(windows.known(&window(1)), Known::Mixed);
        for second in 2..=6 {
            assert_eq!(windows.known(&window(second)), Known::New);
        }
        assert_eq!(windows.ring().met.len(), MOST);
        assert_eq!((windows.known(&window(1)), windows.known(&window(0))), (Known::Mixed, Known::New));
        // What was forgotten meanwhile is not kept.
        windows.judged(&window(9), true);
        assert_eq!(windows.known(&window(9)), Known::New);
    }

    #[test]
    fn there_is_none_at_the_ends_of_time() {
        for now_ms in [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 100] {
            assert_eq!(Window::around(&moment(now_ms)), None, "{now_ms}");
        }
        let far = Moment { issued_at_ms: i64::MAX, ..moment(NOW) };
        assert_eq!(Window::around(&far), None);
    }

    #[test]
    fn small_counts_are_exact_and_large_ones_near() {
        for count in 0..16 {
            assert_eq!(up(count), count);
        }
        for count in (16..100_000).chain(u32::MAX - 100_000..=u32::MAX) {
            let up = up(count);
            assert!(up >= count && u64::from(up) <= u64::from(count) * 9 / 8, "{count} {up}");
        }
    }

    fn permits(moment: &Moment, limits: &Resource) -> bool {
        let windows = Windows::default();
        // Met for the first time, it is judged by itself.
        DECIDER.holds_now(moment, limits, &windows).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: crate::testing::cases(2_000), ..ProptestConfig::default() })]

        /// Around the borders of everything, whatever was asked before in the same windows.
        #[test]
        fn a_window_permits_nothing_that_is_not_permitted_by_itself(
            moves in proptest::collection::vec((0usize..6, -1500i64..1500, -1500i64..1500, -1500i64..1500, 0u32..4, 0u32..4, any::<bool>()), 2..24)
        ) {
            let world = World::new();
            let prepared = world.prepared();
            let base = Moment::of(&world.request, &world.context());
            let (from, until) = (world.contract.valid_from_ms, world.contract.valid_until_ms);
            let windows = Windows::default();
            for (border, now, issued, expires, app, officer, live) in moves {
                let at = [NOW, from, until, base.signer_from_ms, base.signer_until_ms, NOW + 30_000][border];
                let asked = Moment {
                    live,
                    now_ms: at + now,
                    // The statement ends and begins near it too, and the key where it is not the border itself.
                    issued_at_ms: at + issued + if issued % 2 == 0 { 30_000 } else { 0 },
                    expires_at_ms: at + expires,
                    signer_from_ms: if border < 3 { i64::MIN } else { base.signer_from_ms },
                    signer_until_ms: if border < 3 { i64::MAX } else { base.signer_until_ms },
                    app_this_minute: 597 + app * 2,
                    officer_today: 97 + officer * 2,
                };
                for _ in 0..3 {
                    let found = DECIDER.holds_now(&asked, prepared.limits(), &windows).unwrap();
                    prop_assert_eq!(found, permits(&asked, prepared.limits()), "{:?}", asked);
                }
            }
        }
    }
}
