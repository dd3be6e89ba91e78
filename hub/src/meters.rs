//! Counts of how exchanges end, for the page of metrics. Codes and outcomes are closed lists, so the counts are
//! bounded.

use std::sync::atomic::{AtomicU64, Ordering};
use yiwang_proto::codes::Code;
use yiwang_proto::pb::Outcome;

const OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Answered, "answered"),
    (Outcome::Denied, "denied"),
    (Outcome::Failed, "failed"),
    (Outcome::Withheld, "withheld"),
];

/// The counts since the start.
#[derive(Debug)]
pub struct Meters {
    outcomes: [AtomicU64; OUTCOMES.len()],
    recorded: Vec<AtomicU64>,
    unrecorded: Vec<AtomicU64>,
    folded: Vec<AtomicU64>,
}

impl Default for Meters {
    fn default() -> Self {
        let zeros = || Code::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            outcomes: [const { AtomicU64::new(0) }; OUTCOMES.len()],
            recorded: zeros(),
            unrecorded: zeros(),
            folded: zeros(),
        }
    }
}

fn add(counters: &[AtomicU64], at: usize) {
    if let Some(counter) = counters.get(at) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn by_code(counters: &[AtomicU64]) -> impl Iterator<Item = (Code, u64)> {
    let counted = Code::ALL.iter().zip(counters).map(|(code, count)| (*code, count.load(Ordering::Relaxed)));
    counted.filter(|(_, count)| *count > 0)
}

impl Meters {
    /// An exchange ended with an entry.
    pub fn recorded(&self, outcome: Outcome, code: Option<Code>) {
        if let Some(at) = OUTCOMES.iter().position(|(known, _)| *known == outcome) {
            add(&self.outcomes, at);
        }
        if let Some(code) = code {
            add(&self.recorded, code as usize);
        }
    }

    /// A denial was kept beside the ledger, and is counted in an entry.
    pub fn folded(&self, code: Code) {
        add(&self.folded, code as usize);
    }

    /// A request was refused before anything was recorded.
    pub fn unrecorded(&self, code: Code) {
        add(&self.unrecorded, code as usize);
    }

    /// Entries by outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.iter().zip(&self.outcomes).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }

    /// Refusals and failures that are entries, by code.
    pub fn recorded_codes(&self) -> impl Iterator<Item = (Code, u64)> {
        by_code(&self.recorded)
    }

    /// Denials that are counted in entries, by code.
    pub fn folded_codes(&self) -> impl Iterator<Item = (Code, u64)> {
        by_code(&self.folded)
    }

    /// Refusals that left no entry, by code.
    pub fn unrecorded_codes(&self) -> impl Iterator<Item = (Code, u64)> {
        by_code(&self.unrecorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_count_of_its_own() {
        let meters = Meters::default();
        for code in Code::ALL {
            meters.unrecorded(*code);
        }
        meters.recorded(Outcome::Denied, Some(Code::NoCase));
        assert!(meters.unrecorded_codes().map(|(code, _)| code).eq(Code::ALL.iter().copied()));
        assert!(meters.unrecorded_codes().all(|(_, count)| count == 1));
        assert_eq!(meters.recorded_codes().collect::<Vec<_>>(), [(Code::NoCase, 1)]);
        assert_eq!(meters.outcomes().nth(1), Some(("denied", 1)));
    }
}
