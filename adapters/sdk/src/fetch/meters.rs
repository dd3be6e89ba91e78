//! How each operation of a mapping does: counts and times, no names of subjects and no values.

use super::MappedSource;
use crate::mapping::OperationDef;
use crate::source::{FetchQuery, Fetched, SourceError};
use std::array;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use yiwang_proto::ids::Operation;

/// Steps of a time's histogram for each doubling: a percentile is told to within a fifth.
const STEPS: u64 = 4;
/// From a microsecond to half a minute, which no operation is over.
const BUCKETS: usize = 104;

/// The counts of one operation since its mapping began to serve.
pub(super) struct Meter {
    operation: Operation,
    times: [AtomicU64; BUCKETS],
    failed: AtomicU64,
    drifted: AtomicBool,
}

/// How often a source gave rows, and how often it was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// Times it gave rows, or none.
    pub there: u64,
    /// Times it could not be reached or did not answer in time.
    pub away: u64,
}

/// One look at an operation's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationHealth {
    /// The operation.
    pub operation: Operation,
    /// Times the source was asked.
    pub asked: u64,
    /// Times that no answer could be made of what it gave, or it gave nothing.
    pub failed: u64,
    /// Half of the times are under so many microseconds.
    pub p50_us: u64,
    /// Of twenty, nineteen are.
    pub p95_us: u64,
    /// Whether its statement no longer fits the source, as it was last told.
    pub drifted: bool,
}

/// The bucket of a time.
fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let doublings = u64::from(us.ilog2());
    let base = 1_u64 << doublings;
    // Within one doubling, in equal steps.
    let step = (us - base).saturating_mul(STEPS) / base;
    usize::try_from(doublings * STEPS + step).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1))
}

/// The end of a bucket, microseconds.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let base = 1_u64 << (bucket / STEPS);
    base + base.saturating_mul(bucket % STEPS + 1).div_ceil(STEPS)
}

impl Meter {
    pub(super) fn new(operation: &OperationDef) -> Self {
        Self {
            operation: operation.name.clone(),
            times: array::from_fn(|_| AtomicU64::new(0)),
            failed: AtomicU64::new(0),
            drifted: AtomicBool::new(false),
        }
    }

    fn health(&self) -> OperationHealth {
        let times: Vec<u64> = self.times.iter().map(|time| time.load(Ordering::Relaxed)).collect();
        let asked: u64 = times.iter().sum();
        let under = |per_cent: u64| {
            let wanted = asked.saturating_mul(per_cent).div_ceil(100);
            let mut seen = 0;
            let found = times.iter().position(|count| {
                seen += count;
                seen >= wanted && seen > 0
            });
            found.map_or(0, end)
        };
        OperationHealth {
            operation: self.operation.clone(),
            asked,
            failed: self.failed.load(Ordering::Relaxed),
            p50_us: under(50),
            p95_us: under(95),
            drifted: self.drifted.load(Ordering::Relaxed),
        }
    }
}

impl MappedSource {
    fn meter(&self, operation: &Operation) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.operation == *operation)
    }

    /// Counts one answer that took so long.
    pub fn note(&self, operation: &Operation, took_us: u64, answered: bool) {
        let Some(meter) = self.meter(operation) else { return };
        if let Some(time) = meter.times.get(bucket(took_us)) {
            time.fetch_add(1, Ordering::Relaxed);
        }
        if !answered {
            meter.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps whether the source still fits an operation.
    pub(super) fn note_drift(&self, operation: &Operation, drifted: bool) {
        if let Some(meter) = self.meter(operation) {
            meter.drifted.store(drifted, Ordering::Relaxed);
        }
    }

    /// How often the source itself was met and missed.
    pub fn sight(&self) -> Sight {
        let [there, away] = [&self.sight.0, &self.sight.1].map(|count| count.load(Ordering::Relaxed));
        Sight { there, away }
    }

    /// Asks the source, and notes whether it is there. What it says of a question says nothing of that.
    pub(crate) async fn fetch_within(
        &self,
        query: FetchQuery,
        timeout: Duration,
    ) -> Result<Fetched, SourceError> {
        let fetched = match tokio::time::timeout(timeout, self.source.fetch(query)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(SourceError::Timeout(timeout)),
        };
        match &fetched {
            Ok(_) => self.sight.0.fetch_add(1, Ordering::Relaxed),
            Err(SourceError::Unavailable(_) | SourceError::Timeout(_)) => {
                self.sight.1.fetch_add(1, Ordering::Relaxed)
            }
            Err(_) => 0,
        };
        fetched
    }

    /// How its operations do, in the order of the mapping.
    pub fn operations_health(&self) -> Vec<OperationHealth> {
        self.meters.iter().map(Meter::health).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_a_bucket_that_ends_after_it() {
        for us in (0..200).chain([999, 1_000, 130_000, 2_000_000, 29_999_999]) {
            let at = bucket(us);
            assert!(end(at) > us || us == 0, "{us}");
            assert!(end(at) <= us.max(1) * 2, "{us} in a bucket that ends at {}", end(at));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
