//! One answer with everything that led to it, for whoever sets a mapping up: what each column gave, what the
//! steps made of it, what the field became, and what took it out. Nothing here is an answer to anybody: it
//! is shown where the source is, and its values are for the caller to mask.

use super::{AnswerError, Ask, Filter, MappedSource};
use crate::mapping::{FieldDef, Step};
use crate::reduce::Layout;
use crate::reduce::convert::{Converted, apply, convert, plain_text};
use crate::value::{Cell, Rows};
use jiff::tz::TimeZone;
use std::sync::Arc;
use yiwang_proto::ids::FieldName;

/// Rows that are shown: one tells most, and a search's first ones the rest.
const ROWS_SHOWN: usize = 5;

/// What led to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The first rows that are inside the contract.
    pub rows: Vec<TracedRow>,
    /// How many are.
    pub inside: usize,
    /// Of them those that do not hold: one is enough, and nothing is answered.
    pub failing: usize,
    /// How many came from the source and are outside, by the field of the first clause that they fail.
    pub outside: Vec<(FieldName, usize)>,
    /// Fields that were asked for and cannot be let out, each with the reason.
    pub withheld: Vec<(FieldName, String)>,
    /// The columns that were read.
    pub columns: Vec<Arc<str>>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedRow {
    /// Its fields, the as-of time last.
    pub fields: Vec<TracedField>,
}

/// One field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedField {
    /// The field.
    pub name: FieldName,
    /// What its columns gave; none for null.
    pub raw: Vec<(Arc<str>, Option<String>)>,
    /// What each step made of the text, in their order.
    pub steps: Vec<(Step, String)>,
    /// What it became; none for null.
    pub value: Option<String>,
    /// The flag of its quality.
    pub flag: Option<&'static str>,
    /// Why the row is no record.
    pub fault: Option<String>,
}

impl MappedSource {
    /// Asks as [`MappedSource::answer`] does, reads what that reads, and tells how it became what it becomes.
    ///
    /// # Errors
    /// As [`MappedSource::answer`].
    pub async fn trace(&self, ask: Ask<'_>) -> Result<Trace, AnswerError> {
        let operation = self
            .mapping
            .operation(ask.operation)
            .ok_or_else(|| AnswerError::argument(format!("operation `{}` is not mapped", ask.operation)))?;
        let (plan, query) = self.plan(operation, &ask)?;
        let (columns, timeout) = (query.columns.clone(), query.timeout);
        let mut trace = Trace {
            rows: Vec::new(),
            inside: 0,
            failing: 0,
            outside: Vec::new(),
            withheld: plan.withheld,
            columns,
        };
        if plan.fields.is_empty() {
            return Ok(trace);
        }
        let fetched = self.fetch_within(query, timeout).await?;
        let zone = &self.mapping.source().common().zone;
        let clauses = ask.rows.iter().map(|clause| {
            let one = Filter::new(std::slice::from_ref(clause), ask.arguments, operation)?;
            Ok((clause.field.clone(), one))
        });
        let clauses = clauses.collect::<Result<Vec<_>, AnswerError>>()?;
        for row in 0..fetched.rows.len() {
            let failed = clauses.iter().find(|(_, one)| !one.holds(&fetched.rows, row, &plan.layout, zone));
            if let Some((field, _)) = failed {
                match trace.outside.iter_mut().find(|(known, _)| known == field) {
                    Some((_, count)) => *count += 1,
                    None => trace.outside.push((field.clone(), 1)),
                }
                continue;
            }
            trace.inside += 1;
            let mut fields = plan.fields.iter().copied().chain(operation.as_of.as_ref());
            // What is beyond the limit is never made into a record.
            let wanted = trace.inside <= plan.limit as usize;
            if wanted && fields.any(|field| convert(field, &fetched.rows, row, &plan.layout, zone).is_err()) {
                trace.failing += 1;
            }
            if trace.rows.len() < ROWS_SHOWN {
                let fields = plan.fields.iter().copied().chain(operation.as_of.as_ref());
                let fields = fields.map(|field| traced(field, &fetched.rows, row, &plan.layout, zone));
                trace.rows.push(TracedRow { fields: fields.collect() });
            }
        }
        Ok(trace)
    }
}

fn traced(field: &FieldDef, rows: &Rows, row: usize, layout: &Layout, zone: &TimeZone) -> TracedField {
    let shown = |cell: Cell<'_>| match cell {
        Cell::Null => None,
        Cell::Opaque => Some("(binary)".to_owned()),
        cell => Some(plain_text(cell, zone)),
    };
    let mut columns: Vec<Arc<str>> = field.columns().collect();
    columns.dedup();
    let raw = columns.into_iter().map(|column| {
        let cell = shown(layout.cell(rows, row, &column));
        (column, cell)
    });
    let mut steps = Vec::new();
    if let Some(Cell::Text(text)) = field.from.as_ref().map(|from| layout.cell(rows, row, from)) {
        let mut text = text.to_owned();
        for step in &field.steps {
            text = apply(std::slice::from_ref(step), &text).into_owned();
            steps.push((*step, text.clone()));
        }
    }
    let (value, flag, fault) = match convert(field, rows, row, layout, zone) {
        Ok((value, flag)) => (as_text(&value, zone), flag, None),
        Err(fault) => (None, None, Some(fault.to_string())),
    };
    TracedField { name: field.name.clone(), raw: raw.collect(), steps, value, flag, fault }
}

fn as_text(value: &Converted<'_>, zone: &TimeZone) -> Option<String> {
    match value {
        Converted::Null => None,
        Converted::Bool(value) => Some(value.to_string()),
        Converted::Integer(value) => Some(value.to_string()),
        Converted::Number(value) => Some(value.to_string()),
        Converted::Text(text) => Some(text.as_ref().to_owned()),
        Converted::Date(day) => Some(day.to_string()),
        Converted::Instant(at) => Some(plain_text(Cell::Instant(*at), zone)),
    }
}
