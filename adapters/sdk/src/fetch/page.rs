//! One page of a batch or a search: rows above a key, in its order. A page ends where its rows or bytes are full, and says after
//! which key the next one begins.

use super::{AnswerError, Ask, Mapped, MappedSource, Plan, does_not_hold, empty};
use crate::batch::KEY_BYTES_MAX;
use crate::mapping::{FieldDef, OperationDef, OperationKind, PageDef};
use crate::reduce::convert::{Converted, convert};
use crate::reduce::size::bytes_at_most;
use crate::reduce::{Layout, RowFault, Writer};
use crate::source::{Page, SourceError};
use crate::value::{Cell, Rows, TooMuchText};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;
use yiwang_proto::clause::COUNT_MAX;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};
use yiwang_proto::limits::BODY_MAX;

/// Bytes of records that no page goes over: beside them a body has its salt, the token of the next page and what seals it.
const PAGE_MAX: usize = BODY_MAX - 4096;
/// Bytes after which a page is full, unless all its rows are known to fit: a row of as many still fits beside them. One
/// that does not fit begins the next page.
const PAGE_BYTES: usize = PAGE_MAX / 2;
/// Bytes up to which all rows of a page are certain to fit. Short of all that is allowed: four such pages of one batch may
/// be under way.
const CERTAIN_BYTES: usize = PAGE_MAX / 4 * 3;

/// About what the names of a record's fields take beside its values.
const ROW_BYTES: usize = 256;

/// Where a page ends.
#[derive(Debug, Default)]
pub(crate) struct PageEnd {
    /// The key after which the next page begins; none where this is the last.
    pub(crate) next: Option<Scalar>,
    /// Identifiers of the subjects whose rows are in the page, as they are converted; each as often as it occurs.
    pub(crate) subjects: Vec<String>,
    /// Rows that no record could be made of, by their place in the page, from 1, and the field that does not hold.
    pub(crate) left_out: Vec<(usize, FieldName)>,
}

/// What the statement says of rows that are left out: for each field how many, beside the fields that are withheld
/// wholly. One that was not asked for is told under the first that was, for a statement names no others.
fn with_left_out(
    mut withheld: Vec<(FieldName, String)>,
    names: &[FieldName],
    left_out: &[(usize, FieldName)],
) -> Vec<(FieldName, String)> {
    let mut counts: BTreeMap<&FieldName, usize> = BTreeMap::new();
    for (_, field) in left_out {
        let told = names.iter().find(|name| *name == field).or(names.first());
        *counts.entry(told.unwrap_or(field)).or_default() += 1;
    }
    let words = |rows: usize| format!("rows left out: {}", rows.min(COUNT_MAX));
    withheld.extend(counts.into_iter().map(|(field, rows)| (field.clone(), words(rows))));
    withheld.sort();
    withheld
}

fn failed(clause: &str) -> AnswerError {
    AnswerError { code: Code::SourceError, clause: clause.to_owned(), detail: clause.to_owned() }
}

impl MappedSource {
    /// An operation of that kind, which is a batch or a search, and how it is paged.
    pub(crate) fn paged(
        &self,
        name: &Operation,
        kind: OperationKind,
    ) -> Result<(&Arc<OperationDef>, &PageDef), AnswerError> {
        let operation = self.mapping.operation(name);
        let found = operation.and_then(|operation| operation.page.as_ref().map(|page| (operation, page)));
        found.filter(|(operation, _)| operation.kind == kind).ok_or_else(|| {
            let what = if kind == OperationKind::Batch { "batch" } else { "search that has pages" };
            let clause = format!("operation `{name}` is no {what}");
            AnswerError { code: Code::OperationNotGranted, clause: clause.clone(), detail: clause }
        })
    }

    /// Fetches one page. No source is touched if nothing may be let out.
    pub(crate) async fn page<'o>(
        &'o self,
        ask: Ask<'_>,
        (operation, page): (&'o Arc<OperationDef>, &'o PageDef),
        after: Option<Scalar>,
    ) -> Result<FetchedPage<'o>, AnswerError> {
        let (mut plan, mut query) = self.plan(operation, &ask)?;
        let subject = page.subject.as_ref().and_then(|name| operation.field(name));
        let (zone, now_ms) = (&self.mapping.source().common().zone, ask.now_ms);
        let mapping = self.mapping.name();
        if plan.fields.is_empty() {
            let (rows, fits, look_at) = (Rows::default(), true, 0);
            return Ok(FetchedPage {
                mapping,
                operation,
                page,
                subject,
                plan,
                rows,
                zone,
                now_ms,
                fits,
                look_at,
            });
        }
        let read = [Arc::clone(&page.key)].into_iter().chain(subject.into_iter().flat_map(FieldDef::columns));
        for column in read {
            if !query.columns.contains(&column) {
                query.columns.push(column);
            }
        }
        plan.layout = Layout::new(query.columns.clone());
        query.page = Some(Page { key: Arc::clone(&page.key), after });
        // Rows of a batch that the source cannot filter itself only make its page shorter: the next one goes on after them. A
        // search chooses from as many as one without pages, since what it leaves over is hardly ever asked for.
        let search = operation.kind == OperationKind::Search;
        query.limit = if search { plan.fetch_limit } else { plan.limit + 1 };
        let look_at = query.limit as usize - 1;
        let timeout = query.timeout;
        let rows = self.fetch_within(query, timeout).await?.rows;
        if (0..rows.len()).any(|row| plan.layout.cell(&rows, row, &page.key) == Cell::Null) {
            return Err(failed(&format!("operation `{}`: a row has no key", operation.name)));
        }
        let certain = !search || plan.filter.all_pushed;
        let fits = certain && bytes_at_most(&plan.fields, &rows).is_some_and(|bytes| bytes < CERTAIN_BYTES);
        Ok(FetchedPage { mapping, operation, page, subject, plan, rows, zone, now_ms, fits, look_at })
    }
}

/// The rows of a page as the source gave them.
pub(crate) struct FetchedPage<'o> {
    /// The mapping's name.
    mapping: &'o str,
    operation: &'o OperationDef,
    page: &'o PageDef,
    subject: Option<&'o FieldDef>,
    plan: Plan<'o>,
    rows: Rows,
    zone: &'o TimeZone,
    now_ms: i64,
    /// All of them, however long their records become.
    fits: bool,
    /// Rows that the page is made of at most; one more shows that there are others.
    look_at: usize,
}

impl FetchedPage<'_> {
    fn most(&self) -> usize {
        let whole = self.rows.len().saturating_sub(usize::from(self.rows.ended_early()));
        whole.min(self.look_at)
    }

    /// The key after which the next page begins, if that is certain before the records are written. The next page can then
    /// be fetched while this one is written.
    pub(crate) fn end_ahead(&self) -> Result<Option<Option<Scalar>>, AnswerError> {
        if self.fits { self.next(self.most()).map(Some) } else { Ok(None) }
    }

    /// Writes its records.
    pub(crate) fn write(mut self) -> Result<(Mapped, PageEnd), AnswerError> {
        let fields = std::mem::take(&mut self.plan.fields);
        if fields.is_empty() {
            return Ok((empty(self.plan.withheld, self.now_ms), PageEnd::default()));
        }
        let names: Vec<FieldName> = fields.iter().map(|field| field.name.clone()).collect();
        let mut writer = Writer::new(self.operation, fields, self.zone, self.now_ms);
        let mut end = PageEnd::default();
        let (rows, plan) = (&self.rows, &self.plan);
        // At once, instead of again and again while a page grows to a megabyte.
        writer.reserve((rows.text_bytes() + rows.len() * ROW_BYTES).min(PAGE_MAX));
        let (most, mut row) = (self.most(), 0);
        let mut kept = 0;
        while row < most && kept < plan.limit && (self.fits || writer.size() < PAGE_BYTES) {
            if plan.filter.holds(rows, row, &plan.layout, self.zone) {
                let before = writer.mark();
                let subject = match self.written(&mut writer, row) {
                    Ok(subject) => subject,
                    // What somebody reads is told at once, as by an answer without pages.
                    Err(fault) if self.operation.kind == OperationKind::Search => {
                        return Err(does_not_hold(self.mapping, self.operation, &fault));
                    }
                    // One row that somebody typed wrongly does not hold up all that come after it.
                    Err(fault) => {
                        writer.undo(&before);
                        end.left_out.push((row + 1, fault.field().clone()));
                        row += 1;
                        continue;
                    }
                };
                if writer.size() > PAGE_MAX {
                    // A large row may still have a page of its own.
                    if writer.back_to(&before) {
                        break;
                    }
                    return Err(SourceError::TooLarge(TooMuchText).into());
                }
                end.subjects.extend(subject);
                kept += 1;
            }
            row += 1;
        }
        end.next = self.next(row)?;
        let (records, rows, as_of_ms) = writer.finish();
        let truncated = end.next.is_some();
        let mapped = Mapped {
            records: records.into(),
            rows,
            as_of_ms,
            withheld: with_left_out(self.plan.withheld, &names, &end.left_out),
            fields: names,
            truncated,
        };
        Ok((mapped, end))
    }

    /// Writes a row's record; yields whom it is about.
    fn written(&self, writer: &mut Writer<'_>, row: usize) -> Result<Option<String>, RowFault> {
        let subject = self.subject.map(|field| self.subject_of(field, row)).transpose()?;
        writer.row(&self.rows, row, &self.plan.layout)?;
        Ok(subject)
    }

    fn subject_of(&self, field: &FieldDef, row: usize) -> Result<String, RowFault> {
        match convert(field, &self.rows, row, &self.plan.layout, self.zone)?.0 {
            Converted::Text(id) if !id.is_empty() => Ok(id.into_owned()),
            _ => Err(RowFault::Empty(field.name.clone())),
        }
    }

    /// The key of the last row that was looked at, if there are more.
    fn next(&self, looked_at: usize) -> Result<Option<Scalar>, AnswerError> {
        let (operation, rows) = (self.operation, &self.rows);
        let Some(last) = looked_at.checked_sub(1).filter(|_| looked_at < rows.len()) else { return Ok(None) };
        let key = |row| match self.plan.layout.cell(rows, row, &self.page.key) {
            Cell::Text(text) if text.len() <= KEY_BYTES_MAX => Some(Scalar::Text(text.to_owned())),
            Cell::Integer(value) => Some(Scalar::Integer(value)),
            _ => None,
        };
        let Some(after) = key(last) else {
            return Err(failed(&format!(
                "operation `{}`: a key is null, too long or no text or number",
                operation.name
            )));
        };
        // Rows that share a key would stand on both sides of the border, and the second of them be lost. A database may hold
        // texts for the same that differ in capitals or blanks at the end.
        let folded = |key: &Scalar| match key {
            Scalar::Text(text) => Scalar::Text(text.to_lowercase().trim_end().to_owned()),
            other => other.clone(),
        };
        if key(looked_at).is_none_or(|key| folded(&key) == folded(&after)) {
            return Err(failed(&format!("operation `{}`: two rows have the same key", operation.name)));
        }
        Ok(Some(after))
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
