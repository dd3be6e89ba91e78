//! Denials that are entries of their own: before any of an app, code and minute is folded, so many of them are.

use std::collections::{HashMap, HashSet};
use yiwang_proto::folded::{Key, MINUTE_MS, VERBATIM, minute_of};

/// How much later than it was counted a denial may be recorded: it waits for the sequencer under load.
const DELAY_MS: i64 = 30_000;

/// The counts of minutes that run, and the minutes and keys that had enough. Memory: one key per 60 entries.
#[derive(Debug, Default)]
pub(super) struct Verbatim {
    newest_ms: i64,
    running: HashMap<(i64, Key), u32>,
    enough: HashSet<(i64, Key)>,
}

impl Verbatim {
    /// Counts one denial.
    pub fn note(&mut self, key: Key, time_ms: i64) {
        let minute_ms = minute_of(time_ms);
        if minute_ms != self.newest_ms {
            self.newest_ms = minute_ms;
            self.running.retain(|(running_ms, _), _| (minute_ms - running_ms).abs() <= MINUTE_MS);
        }
        if time_ms - minute_ms < DELAY_MS {
            self.add((minute_ms - MINUTE_MS, key.clone()));
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
