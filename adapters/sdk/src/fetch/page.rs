//! One page of a batch: rows above a key, in its order. A page ends where its rows or bytes are full, and says after
//! which key the next one begins.

use super::{AnswerError, Ask, Mapped, MappedSource, RECORDS_MAX, empty};
use crate::batch::KEY_BYTES_MAX;
use crate::mapping::{FieldDef, OperationDef, OperationKind, PageDef};
use crate::reduce::convert::{Converted, convert};
use crate::reduce::{Layout, Writer};
use crate::source::{Page, SourceError};
use crate::value::{Cell, Rows};
use std::sync::Arc;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::Operation;

/// Bytes of records after which a page is full: the largest row that is looked at still fits beside them.
const PAGE_BYTES: usize = RECORDS_MAX / 2;

/// About what the names of a record's fields take beside its values.
const ROW_BYTES: usize = 256;

/// Where a page ends.
#[derive(Debug, Default)]
pub(crate) struct PageEnd {
    /// The key after which the next page begins; none where this is the last.
    pub(crate) next: Option<Scalar>,
    /// Identifiers of the subjects whose rows are in the page, as they are converted; each as often as it occurs.
    pub(crate) subjects: Vec<String>,
}

fn failed(clause: &str) -> AnswerError {
    AnswerError { code: Code::SourceError, clause: clause.to_owned(), detail: clause.to_owned() }
}

impl MappedSource {
    fn paged(&self, name: &Operation) -> Result<(&Arc<OperationDef>, &PageDef), AnswerError> {
        let operation = self.mapping.operation(name);
        let found = operation.and_then(|operation| operation.page.as_ref().map(|page| (operation, page)));
        found.filter(|(operation, _)| operation.kind == OperationKind::Batch).ok_or_else(|| {
            let clause = format!("operation `{name}` is no batch");
            AnswerError { code: Code::OperationNotGranted, clause: clause.clone(), detail: clause }
        })
    }

    /// Answers one page. No source is touched if nothing may be let out.
    pub(crate) async fn page(
        &self,
        ask: Ask<'_>,
        after: Option<Scalar>,
    ) -> Result<(Mapped, PageEnd), AnswerError> {
        let (operation, page) = self.paged(ask.operation)?;
        let (mut plan, mut query) = self.plan(operation, &ask)?;
        if plan.fields.is_empty() {
            return Ok((empty(plan.withheld, ask.now_ms), PageEnd::default()));
        }
        let subject = page.subject.as_ref().and_then(|name| operation.field(name));
        let read = [Arc::clone(&page.key)].into_iter().chain(subject.into_iter().flat_map(FieldDef::columns));
        for column in read {
            if !query.columns.contains(&column) {
                query.columns.push(column);
            }
        }
        plan.layout = Layout::new(query.columns.clone());
        query.page = Some(Page { key: Arc::clone(&page.key), after });
        // Rows that the source cannot filter itself only make a page shorter: the next one goes on after them.
        query.limit = plan.limit + 1;
        let timeout = query.timeout;
        let fetched = self.fetch_within(query, timeout).await?;
        let zone = &self.mapping.source().common().zone;
        let names = plan.fields.iter().map(|field| field.name.clone()).collect();
        let mut writer = Writer::new(operation, std::mem::take(&mut plan.fields), zone, ask.now_ms);
        let mut end = PageEnd::default();
        let rows = &fetched.rows;
        // At once, instead of again and again while a page grows to a megabyte.
        writer.reserve((rows.text_bytes() + rows.len() * ROW_BYTES).min(RECORDS_MAX));
        let most = rows.len().min(plan.limit as usize);
        if (0..rows.len()).any(|row| plan.layout.cell(rows, row, &page.key) == Cell::Null) {
            return Err(failed(&format!("operation `{}`: a row has no key", operation.name)));
        }
        let mut row = 0;
        while row < most && writer.size() < PAGE_BYTES {
            if plan.filter.holds(rows, row, &plan.layout, zone) {
                let fault =
                    |name: &dyn std::fmt::Display| failed(&format!("a record does not hold: field `{name}`"));
                writer.row(rows, row, &plan.layout).map_err(|error| fault(error.field()))?;
                if writer.size() > RECORDS_MAX {
                    return Err(SourceError::TooLarge(crate::value::TooMuchText).into());
                }
                if let Some(field) = subject {
                    match convert(field, rows, row, &plan.layout, zone)
                        .map_err(|error| fault(error.field()))?
                        .0
                    {
                        Converted::Text(id) if !id.is_empty() => end.subjects.push(id.into_owned()),
                        _ => return Err(fault(&field.name)),
                    }
                }
            }
            row += 1;
        }
        end.next = next(operation, page, rows, row, &plan.layout)?;
        let (records, rows, as_of_ms) = writer.finish();
        let mapped = Mapped {
            records: records.into(),
            rows,
            as_of_ms,
            withheld: plan.withheld,
            fields: names,
            truncated: end.next.is_some(),
        };
        Ok((mapped, end))
    }
}

/// The key of the last row that was looked at, if there are more.
fn next(
    operation: &OperationDef,
    page: &PageDef,
    rows: &Rows,
    looked_at: usize,
    layout: &Layout,
) -> Result<Option<Scalar>, AnswerError> {
    let Some(last) = looked_at.checked_sub(1).filter(|_| looked_at < rows.len()) else { return Ok(None) };
    let key = |row| match layout.cell(rows, row, &page.key) {
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
