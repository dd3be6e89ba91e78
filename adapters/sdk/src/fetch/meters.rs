//! How each operation of a mapping does: counts and times, no names of subjects and no values.

use super::{AnswerError, MappedSource};
use crate::mapping::OperationDef;
use crate::source::{FetchQuery, Fetched, SourceError};
use crate::words::cleaned;
use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{FieldName, Operation};

/// Steps of a time's histogram for each doubling: a percentile is told to within a fifth.
const STEPS: u64 = 4;
/// From a microsecond to half a minute, which no operation is over.
const BUCKETS: usize = 104;

/// The counts of one operation since its mapping began to serve.
pub(super) struct Meter {
    operation: Operation,
    times: [AtomicU64; BUCKETS],
    failed: AtomicU64,
    left_out: AtomicU64,
    last_failure: Mutex<Option<LastFailure>>,
    drift: Mutex<Option<String>>,
}

/// Rows that are named of those that a page leaves out: what is wrong with more is mostly the same.
const LEFT_OUT_TOLD: usize = 8;

/// Characters of a failure's words: what a role may do that it must not is the longest, with what to do about it.
const DETAIL_MAX: usize = 2000;

/// Why an operation last gave no answer. A success after it does not take it away: its time tells which came later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// The service code.
    pub code: Code,
    /// The words of the local log: fields, parameters and what the source said of itself, no values.
    pub detail: String,
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
    /// The last of these times, but for those that an app brought about by asking for what is not there; none before.
    pub last_failure: Option<LastFailure>,
    /// Rows of batches that no record could be made of, each as often as its page was asked for.
    pub left_out: u64,
    /// Half of the times are under so many microseconds.
    pub p50_us: u64,
    /// Of twenty, nineteen are.
    pub p95_us: u64,
    /// Why the source no longer fits what is mapped, as it was last told: what the source said of itself, no values. None
    /// while it fits.
    pub drift: Option<String>,
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
            left_out: AtomicU64::new(0),
            last_failure: Mutex::new(None),
            drift: Mutex::new(None),
        }
    }

    fn note(&self, took_us: u64, now_ms: i64, failure: Option<&AnswerError>) {
        if let Some(time) = self.times.get(bucket(took_us)) {
            time.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(error) = failure {
            self.failed.fetch_add(1, Ordering::Relaxed);
            // What an app can bring about by itself must not hide what the source does.
            if error.code == Code::OperationNotGranted {
                return;
            }
            let last =
                LastFailure { at_ms: now_ms, code: error.code, detail: cleaned(&error.detail, DETAIL_MAX) };
            *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
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
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            left_out: self.left_out.load(Ordering::Relaxed),
            p50_us: under(50),
            p95_us: under(95),
            drift: self.drift.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl MappedSource {
    fn meter(&self, operation: &Operation) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.operation == *operation)
    }

    /// Counts one answer that took so long, and keeps why it is none.
    pub fn note(&self, operation: &Operation, took_us: u64, now_ms: i64, failure: Option<&AnswerError>) {
        if let Some(meter) = self.meter(operation) {
            meter.note(took_us, now_ms, failure);
        }
    }

    /// Counts rows that are left out of a batch's page, and says where in it they stand: their keys are of the source.
    pub(crate) fn note_left_out(&self, operation: &Operation, page: u32, rows: &[(usize, FieldName)]) {
        if let Some(meter) = self.meter(operation) {
            meter.left_out.fetch_add(rows.len() as u64, Ordering::Relaxed);
        }
        let told = rows.iter().take(LEFT_OUT_TOLD).map(|(row, field)| format!("row {row}: `{field}`"));
        let told = told.collect::<Vec<_>>().join(", ");
        let (mapping, count) = (self.mapping.name(), rows.len());
        tracing::warn!(mapping, %operation, page, rows = count, %told, "A-BAT-001 rows do not hold and are left out of a batch's page; mend them in the source, or the code table");
    }

    /// Keeps what an answer of the source says of whether its tables are still what the mapping was written for.
    fn note_drift(&self, operation: &Operation, fetched: &Result<Fetched, SourceError>) {
        let drift = match fetched {
            Ok(_) => None,
            Err(SourceError::Drift(why)) => Some(cleaned(why, DETAIL_MAX)),
            Err(_) => return,
        };
        self.set_drift(operation, drift);
    }

    /// Notes that the source was compared with an operation and fits it again.
    pub fn note_fits(&self, operation: &Operation) {
        self.set_drift(operation, None);
    }

    fn set_drift(&self, operation: &Operation, drift: Option<String>) {
        if let Some(meter) = self.meter(operation) {
            *meter.drift.lock().unwrap_or_else(PoisonError::into_inner) = drift;
        }
    }

    /// How often the source itself was met and missed.
    pub fn sight(&self) -> Sight {
        let [there, away] = [&self.sight.0, &self.sight.1].map(|count| count.load(Ordering::Relaxed));
        Sight { there, away }
    }

    /// Asks the source, and notes whether it is there and still fits. What it says of a question says nothing of that.
    pub(crate) async fn fetch_within(
        &self,
        query: FetchQuery,
        timeout: Duration,
    ) -> Result<Fetched, SourceError> {
        let operation = Arc::clone(&query.operation);
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
        self.note_drift(&operation.name, &fetched);
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
    use crate::mapping::Mapping;
    use std::path::Path;

    #[test]
    fn a_time_falls_into_a_bucket_that_ends_after_it() {
        for us in (0..200).chain([999, 1_000, 130_000, 2_000_000, 29_999_999]) {
            let at = bucket(us);
            assert!(end(at) > us || us == 0, "{us}");
            assert!(end(at) <= us.max(1) * 2, "{us} in a bucket that ends at {}", end(at));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_last_failure_is_kept_with_its_reason_and_time() {
        let text = r#"format = "adapter/1"
mapping = "a.b"
record = "Person"
owner = "police"
[source.sqlite]
path = "x.db"
time_zone = "Asia/Shanghai"
[[operation]]
name = "person.by_id"
kind = "lookup"
sql = "select 1"
limit = 1
timeout = "1s"
[operation.fields]
name = { from = "A", type = "string" }
"#;
        let mapping = Mapping::parse(text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
        let meter = Meter::new(&mapping.operations()[0]);
        meter.note(10, 1_000, None);
        assert_eq!(meter.health().last_failure, None);
        let failure = |detail: &str| AnswerError {
            code: Code::SourceError,
            clause: "the source failed".to_owned(),
            detail: detail.to_owned(),
        };
        meter.note(10, 2_000, Some(&failure("query failed: one")));
        meter.note(10, 3_000, Some(&failure("query failed: \u{1b}other")));
        let refused = AnswerError { code: Code::OperationNotGranted, ..failure("of the app") };
        meter.note(10, 3_500, Some(&refused));
        // One that is answered afterwards says nothing of why the one before was not.
        meter.note(10, 4_000, None);
        let health = meter.health();
        let last = LastFailure {
            at_ms: 3_000,
            code: Code::SourceError,
            detail: "query failed: \u{fffd}other".to_owned(),
        };
        assert_eq!((health.asked, health.failed, health.last_failure), (5, 3, Some(last)));
    }
}
