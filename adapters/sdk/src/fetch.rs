//! The way of one answer: arguments are checked, only the columns that granted fields need are fetched,
//! rows outside the contract are dropped, and what is left is written as records.

mod arguments;
mod filter;
mod meters;
mod page;
mod trace;

pub(crate) use arguments::bind_test;
pub use meters::{LastFailure, OperationHealth, Sight};
pub use trace::{Trace, TracedField, TracedRow};

use crate::mapping::{FieldDef, Mapping, OperationDef, OperationKind};
use crate::reduce::{Layout, RowFault, Writer};
use crate::source::{FetchQuery, Fetched, Source, SourceError};
use bytes::Bytes;
use filter::Filter;
use meters::Meter;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use yiwang_proto::body::Arguments;
use yiwang_proto::clause::COUNT_MAX;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::RowClause;
use yiwang_proto::ids::{FieldName, Operation};
use yiwang_proto::limits::{BODY_MAX, ROWS_MAX};

/// Rows fetched for each row wanted where a clause can only be applied to converted values.
const SIEVE: u32 = 10;
/// Bytes of records: the body's limit less its salt and framing.
pub(crate) const RECORDS_MAX: usize = BODY_MAX - 64;

/// What is asked, after the decision: only what the contract grants.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// An operation that the contract grants.
    pub operation: &'a Operation,
    /// Fields that are asked for and granted.
    pub fields: &'a [FieldName],
    /// The contract's row filter.
    pub rows: &'a [RowClause],
    /// Canonical identifier of the subject; empty where there is none.
    pub subject: &'a str,
    /// The request's arguments.
    pub arguments: &'a Arguments,
    /// The contract's row limit.
    pub limit: u32,
    /// The wall clock, milliseconds.
    pub now_ms: i64,
    /// When the answer is too late, milliseconds on the same clock.
    pub deadline_ms: i64,
    /// The highest class that may be let out, also where only the mapping raises a field's class, and the
    /// code of what is missing above it.
    pub highest_class: (u8, Code),
}

/// Records, ready for an answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// A JSON array of `{"fields":{…},"as_of":"RFC 3339","quality":{"field":["flag"]}}`; `quality` only
    /// where there is something to say.
    pub records: Bytes,
    /// How many.
    pub rows: u32,
    /// The oldest as-of time, milliseconds; the time of the look-up where there is none.
    pub as_of_ms: i64,
    /// Fields that were asked for and are not in the records, each with the reason.
    pub withheld: Vec<(FieldName, String)>,
    /// Fields of the records.
    pub fields: Vec<FieldName>,
    /// Whether there were more rows than the limit.
    pub truncated: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct AnswerError {
    /// The service code.
    pub code: Code,
    /// For the asking side: names fields and parameters, no values and nothing of the source.
    pub clause: String,
    /// For the local log: more about the source, no values.
    pub detail: String,
}

impl AnswerError {
    fn argument(what: String) -> Self {
        Self { code: Code::ArgumentInvalid, clause: what.clone(), detail: what }
    }
}

impl From<SourceError> for AnswerError {
    fn from(error: SourceError) -> Self {
        let (code, clause) = match &error {
            SourceError::Argument { .. } => return Self::argument(error.to_string()),
            SourceError::Busy { .. } | SourceError::Throttled => (Code::ProviderBusy, "the source is busy"),
            SourceError::Timeout(_) => (Code::DeadlineExceeded, "the source did not answer in time"),
            SourceError::TooLarge(_) => (Code::TooLarge, "the rows are too large for one answer"),
            SourceError::HeldBack => (
                Code::SourceError,
                "the source holds rows back, so that it cannot be said that there is none",
            ),
            _ => (Code::SourceError, "the source failed"),
        };
        Self { code, clause: clause.to_owned(), detail: error.to_string() }
    }
}

/// A mapping with its opened source.
#[derive(Clone)]
pub struct MappedSource {
    mapping: Arc<Mapping>,
    source: Arc<dyn Source>,
    meters: Arc<[Meter]>,
    /// Met, missed.
    sight: Arc<(AtomicU64, AtomicU64)>,
}

struct Plan<'o> {
    fields: Vec<&'o FieldDef>,
    withheld: Vec<(FieldName, String)>,
    filter: Filter<'o>,
    limit: u32,
    layout: Layout,
    fetch_limit: u32,
}

impl MappedSource {
    /// Joins the two; the source must have been opened from this mapping.
    pub fn new(mapping: Arc<Mapping>, source: Arc<dyn Source>) -> Self {
        let meters = mapping.operations().iter().map(|operation| Meter::new(operation)).collect();
        Self { mapping, source, meters, sight: Arc::default() }
    }

    /// The mapping.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// The source.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Answers one request. No source is touched if nothing may be let out.
    pub async fn answer(&self, ask: Ask<'_>) -> Result<Mapped, AnswerError> {
        let operation = self.mapping.operation(ask.operation).ok_or_else(|| {
            let clause = format!("operation `{}` is not mapped", ask.operation);
            AnswerError { code: Code::OperationNotGranted, clause: clause.clone(), detail: clause }
        })?;
        let clause = match operation.kind {
            OperationKind::Count => Some("a count is not fetched row by row"),
            OperationKind::Batch => Some("a batch needs a contract for batches"),
            OperationKind::Lookup | OperationKind::Search => None,
        };
        if let Some(clause) = clause.map(str::to_owned) {
            return Err(AnswerError {
                code: Code::OperationNotGranted,
                clause: clause.clone(),
                detail: clause,
            });
        }
        let (plan, query) = self.plan(operation, &ask)?;
        let timeout = query.timeout;
        if plan.fields.is_empty() {
            return Ok(empty(plan.withheld, ask.now_ms));
        }
        let fetched = self.fetch_within(query, timeout).await?;
        self.reduce(operation, plan, &fetched, ask.now_ms)
    }

    fn plan<'o>(
        &self,
        operation: &'o Arc<OperationDef>,
        ask: &Ask<'_>,
    ) -> Result<(Plan<'o>, FetchQuery), AnswerError> {
        let zone = &self.mapping.source().common().zone;
        let left = ask.deadline_ms.saturating_sub(ask.now_ms);
        let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else {
            let clause = "the deadline has passed".to_owned();
            return Err(AnswerError { code: Code::DeadlineExceeded, clause: clause.clone(), detail: clause });
        };
        let filter_params: Vec<&FieldName> = ask.rows.iter().filter_map(|row| row.param.as_ref()).collect();
        let params = arguments::bind(operation, ask.subject, ask.arguments, &filter_params, zone)?;
        let filter = Filter::new(ask.rows, ask.arguments, operation)?;
        let (fields, withheld) = grant(operation, ask.fields, ask.highest_class);
        let mut columns: BTreeSet<Arc<str>> = BTreeSet::new();
        let read = fields.iter().copied().chain(filter.fields());
        columns.extend(read.chain(operation.as_of.as_ref()).flat_map(FieldDef::columns));
        let columns: Vec<Arc<str>> = columns.into_iter().collect();
        let limit = operation.limit.min(ask.limit).clamp(1, ROWS_MAX);
        // One row more than is wanted shows that there are more; clauses that only hold of converted
        // values need rows to choose from.
        let rows = if filter.all_pushed { limit } else { limit.saturating_mul(SIEVE) };
        let query = FetchQuery {
            operation: Arc::clone(operation),
            columns: columns.clone(),
            params,
            filter: filter.pushed.clone(),
            page: None,
            limit: rows + 1,
            timeout: operation.timeout.min(Duration::from_millis(left)),
        };
        let layout = Layout::new(columns);
        Ok((Plan { fields, withheld, filter, limit, layout, fetch_limit: rows + 1 }, query))
    }

    fn reduce(
        &self,
        operation: &OperationDef,
        plan: Plan<'_>,
        fetched: &Fetched,
        now_ms: i64,
    ) -> Result<Mapped, AnswerError> {
        let zone = &self.mapping.source().common().zone;
        let rows = &fetched.rows;
        let mut truncated = rows.len() >= plan.fetch_limit as usize;
        let names: Vec<FieldName> = plan.fields.iter().map(|field| field.name.clone()).collect();
        let mut writer = Writer::new(operation, plan.fields, zone, now_ms);
        let mut kept = 0;
        for row in 0..rows.len() {
            if !plan.filter.holds(rows, row, &plan.layout, zone) {
                continue;
            }
            if kept == plan.limit {
                truncated = true;
                break;
            }
            kept += 1;
            writer
                .row(rows, row, &plan.layout)
                .map_err(|fault| does_not_hold(self.mapping.name(), operation, &fault))?;
            if writer.size() > RECORDS_MAX {
                let clause = "the records are too large for one answer".to_owned();
                return Err(AnswerError { code: Code::TooLarge, clause: clause.clone(), detail: clause });
            }
        }
        // Also where all that was found is outside of the contract: what is held back may be inside.
        if kept == 0 && !rows.is_empty() && self.source.held_back() > 0 {
            return Err(SourceError::HeldBack.into());
        }
        let mut withheld = plan.withheld;
        if operation.kind == OperationKind::Search && kept > 0 {
            // Beside what was found nobody would miss them. Each may be one that is looked for; in the words of a batch.
            let held = self.source.held_back().min(COUNT_MAX);
            let told = names.first().filter(|_| held > 0);
            withheld.extend(told.map(|name| (name.clone(), format!("rows left out: {held}"))));
            withheld.sort();
        }
        let (records, rows, as_of_ms) = writer.finish();
        Ok(Mapped { records: records.into(), rows, as_of_ms, withheld, fields: names, truncated })
    }
}

/// One row of what somebody asked for is no record: the whole answer fails, for a hole in it would look like the truth.
fn does_not_hold(mapping: &str, operation: &OperationDef, fault: &RowFault) -> AnswerError {
    let clause = format!("a record does not hold: field `{}`", fault.field());
    AnswerError { code: Code::SourceError, clause, detail: format!("{mapping}: {}: {fault}", operation.name) }
}

pub(crate) fn empty(withheld: Vec<(FieldName, String)>, now_ms: i64) -> Mapped {
    Mapped {
        records: Bytes::from_static(b"[]"),
        rows: 0,
        as_of_ms: now_ms,
        withheld,
        fields: Vec::new(),
        truncated: false,
    }
}

/// Which of the asked fields can be let out, and why the others cannot.
pub(crate) fn grant<'o>(
    operation: &'o OperationDef,
    asked: &[FieldName],
    (highest, missing): (u8, Code),
) -> (Vec<&'o FieldDef>, Vec<(FieldName, String)>) {
    let (mut fields, mut withheld): (Vec<&FieldDef>, Vec<(FieldName, String)>) = (Vec::new(), Vec::new());
    let unique: BTreeSet<&FieldName> = asked.iter().collect();
    for name in unique {
        let Some(field) = operation.field(name) else {
            withheld.push((name.clone(), "not mapped".to_owned()));
            continue;
        };
        // A class that only the mapping raises is refused here as the decision refuses the catalogue's.
        if let Some(class) = field.class.filter(|class| *class > highest) {
            let missing = if class >= 4 { Code::ApprovalsRequired } else { missing };
            withheld.push((name.clone(), format!("class {class}: {missing}")));
            continue;
        }
        // INVARIANT: what an expression reads counts as asked. Else a field computed from `x` would let
        // out `x` under another name.
        let hidden = field.computed_from().find_map(|column| {
            operation.fields.iter().find(|other| {
                other.name != *name && other.from.as_ref() == Some(column) && !asked.contains(&other.name)
            })
        });
        match hidden {
            Some(other) => {
                withheld
                    .push((name.clone(), format!("computed from `{}`, which is not granted", other.name)));
            }
            None => fields.push(field),
        }
    }
    (fields, withheld)
}
