//! Denials that are entries of their own: before any of an app, code and minute is folded, so many of them are.

use std::collections::{HashMap, HashSet};
use yiwang_proto::folded::{Key, MINUTE_MS, VERBATIM, minute_of};

/// How much later than it was counted a denial may be recorded: it waits for the sequencer under load.
const DELAY_MS: i64 = 30_000;

/// Counts between two clearings.
const CLEAR_AT: usize = 4_096;

/// The counts of minutes that run, and the minutes and keys that had enough. Memory: one key per 60 entries.
#[derive(Debug, Default)]
pub(super) struct Verbatim {
    /// Counts that are there when the next look is made for those that no longer run.
    clear_at: usize,
    running: HashMap<(i64, Key), u32>,
    enough: HashSet<(i64, Key)>,
}

impl Verbatim {
    /// Counts one denial.
    pub fn note(&mut self, key: Key, time_ms: i64) {
        let minute_ms = minute_of(time_ms);
        // Times are the hub's word: neither the ends of numbers nor minutes in turn may cost more than the entries.
        if self.running.len() >= self.clear_at {
            self.running
                .retain(|(running_ms, _), _| minute_ms.abs_diff(*running_ms) <= MINUTE_MS.unsigned_abs());
            self.clear_at = self.running.len().saturating_mul(2).max(CLEAR_AT);
        }
        if time_ms.saturating_sub(minute_ms) < DELAY_MS {
            self.add((minute_ms.saturating_sub(MINUTE_MS), key.clone()));
        }
        self.add((minute_ms, key));
    }

    fn add(&mut self, place: (i64, Key)) {
        let count = self.running.entry(place.clone()).or_default();
        *count = count.saturating_add(1);
        if *count == VERBATIM {
            self.enough.insert(place);
        }
    }

    /// Whether denials of this kind may be folded.
    pub fn has_enough(&self, key: &Key, minute_ms: i64) -> bool {
        self.enough.contains(&(minute_ms, key.clone()))
    }
}
