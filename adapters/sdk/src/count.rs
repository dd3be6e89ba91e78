//! Counts: how many rows a declared table has for each combination of its dimensions' values. The table is made once
//! a day, suppressed where it is made ([`suppress`]), and kept before anything of it leaves; every answer of that day
//! follows from what was kept.

mod store;
pub mod suppress;

use crate::fetch::{AnswerError, Ask, Mapped, MappedSource, RECORDS_MAX, empty, grant};
use crate::mapping::{COUNT_COLUMN, CountDef, OperationDef, OperationKind};
use crate::reduce::Layout;
use crate::reduce::convert::{Converted, convert};
use crate::source::FetchQuery;
use crate::value::{Cell, Rows, write_instant};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::Kept;
use suppress::Table;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Method;
use yiwang_proto::ids::RecordType;
use yiwang_proto::{hex, sha256};

/// Between two tables: whoever asks chooses when a table is made, and two that are minutes apart, over midnight, would
/// give single events away.
const APART_MS: i64 = 20 * 3600 * 1000;
/// Cells of one table: beyond that most hold nothing, and an answer is no longer read by anybody.
pub const CELLS_MAX: usize = 20_000;
/// Groups that a source may give: several of its values can stand for one of the table's.
const GROUPS_MAX: u32 = 200_000;

/// The table of one record. Whoever asks while it is made waits for it, and nobody who asks for another record's.
type Day = Arc<tokio::sync::Mutex<Option<Arc<Kept>>>>;

/// The tables of an adapter, one for each record that is counted: as many as its mappings declare.
#[derive(Debug)]
pub(crate) struct Counts {
    dir: PathBuf,
    days: Mutex<BTreeMap<RecordType, Day>>,
}

fn failed(clause: &str, detail: String) -> AnswerError {
    AnswerError { code: Code::SourceError, clause: clause.to_owned(), detail }
}

fn refused(code: Code, clause: &str) -> AnswerError {
    AnswerError { code, clause: clause.to_owned(), detail: clause.to_owned() }
}

impl Counts {
    /// Keeps the tables in a folder.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, days: Mutex::default() }
    }

    /// Keeps them beside a journal, as evidence is.
    pub(crate) fn beside(journal: &Path) -> Self {
        let mut name = journal.as_os_str().to_owned();
        name.push(".counts");
        Self::new(PathBuf::from(name))
    }

    /// Answers by the contract's method: what is no count comes from the source as ever.
    pub(crate) async fn answer(
        &self,
        source: &MappedSource,
        ask: Ask<'_>,
        method: Method,
    ) -> Result<Mapped, AnswerError> {
        let operation = source.mapping().operation(ask.operation);
        let is_count = operation.is_some_and(|operation| operation.kind == OperationKind::Count);
        let (Some(operation), true) = (operation, is_count) else {
            return match method {
                Method::Query => source.answer(ask).await,
                _ => Err(refused(
                    Code::OperationNotGranted,
                    "the contract is for counts, the operation is none",
                )),
            };
        };
        let Some(count) = operation.count.as_ref().filter(|_| method == Method::Count) else {
            return Err(refused(Code::OperationNotGranted, "a count needs a contract for counts"));
        };
        if !ask.subject.is_empty() || !ask.arguments.is_empty() || !ask.rows.is_empty() {
            return Err(refused(Code::ArgumentInvalid, "a count takes no argument and names no subject"));
        }
        let (fields, withheld) = grant(operation, ask.fields, ask.highest_class);
        if fields.is_empty() {
            return Ok(empty(withheld, ask.now_ms));
        }
        let left = u64::try_from(ask.deadline_ms.saturating_sub(ask.now_ms)).unwrap_or_default();
        let limit = Duration::from_millis(left);
        let today = self.today(source, operation, count, ask.now_ms, limit);
        let kept = tokio::time::timeout(limit, today)
            .await
            .map_err(|_| refused(Code::DeadlineExceeded, "the table of the day is not made in time"))??;
        let dimensions: Vec<usize> = fields
            .iter()
            .filter_map(|field| operation.fields.iter().position(|known| known.name == field.name))
            .collect();
        let zone = &source.mapping().source().common().zone;
        let cells = kept.table.by(&dimensions);
        let most = operation.limit.min(ask.limit).max(1) as usize;
        let (records, rows) =
            write(operation, count, &dimensions, cells.get(..most).unwrap_or(&cells), &kept, zone);
        if records.len() > RECORDS_MAX {
            return Err(refused(Code::TooLarge, "the cells are too many for one answer"));
        }
        Ok(Mapped {
            records: records.into(),
            rows,
            as_of_ms: kept.made_ms,
            withheld,
            fields: fields.iter().map(|field| field.name.clone()).collect(),
            truncated: cells.len() > most,
        })
    }

    /// The table of the day: as it was kept, or made now. Whoever asks meanwhile waits, each as long as it has time.
    async fn today(
        &self,
        source: &MappedSource,
        operation: &Arc<OperationDef>,
        count: &CountDef,
        now_ms: i64,
        limit: Duration,
    ) -> Result<Arc<Kept>, AnswerError> {
        let mapping = source.mapping();
        let record = mapping.record();
        let zone = &mapping.source().common().zone;
        let day = store::day(now_ms, zone);
        let sizes: Vec<usize> = count.values.iter().map(Vec::len).collect();
        let of_record = {
            let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(days.entry(record.clone()).or_default())
        };
        let mut today = of_record.lock().await;
        let definition = definition(source, count).await?;
        let known = match today.as_ref() {
            Some(kept) => Some(Arc::clone(kept)),
            None => store::read(&self.dir, record, &sizes)
                .await
                .map_err(|error| {
                    failed("the table of the day cannot be read", format!("{}: {error}", mapping.name()))
                })?
                .map(Arc::new),
        };
        // A day that has not come yet was kept before the clock was set back: it is not made a second time.
        let young = |kept: &Arc<Kept>| now_ms.saturating_sub(kept.made_ms) < APART_MS;
        if let Some(kept) = known.filter(|kept| kept.day >= day || young(kept)) {
            if kept.definition != definition {
                let clause =
                    "the table was declared otherwise today, or of another source, and is made anew tomorrow";
                return Err(failed(clause, format!("{}: {clause}", mapping.name())));
            }
            *today = Some(Arc::clone(&kept));
            return Ok(kept);
        }
        let table = made(source, operation, count, limit).await?;
        let kept = Kept { day, definition, made_ms: now_ms, table: table.suppress(u64::from(count.k)) };
        store::write(&self.dir, record, &kept).await.map_err(|error| {
            failed("the table of the day cannot be kept", format!("{}: {error}", mapping.name()))
        })?;
        let kept = Arc::new(kept);
        *today = Some(Arc::clone(&kept));
        Ok(kept)
    }
}

/// What a table is of: the mapping's declaration, and the place that it is read from. After a change to another database
/// the rows of the one before are not given as those of the other; nor are both counted on one day, because what one
/// suppresses the other might give away.
async fn definition(source: &MappedSource, count: &CountDef) -> Result<String, AnswerError> {
    let place = source.source().identity().await?;
    let mapping = source.mapping();
    let parts = serde_json::json!([count.definition, mapping.source().kind(), place]);
    // Only its digest is kept: where a department's database is stays there.
    Ok(hex(&sha256(parts.to_string().as_bytes())))
}

/// Whether each record has one table at most; the record that has more. Where mappings are replaced while they serve,
/// the day's table says so too: it answers for one declaration only.
pub(crate) fn counted_once(sources: &[MappedSource]) -> Result<(), RecordType> {
    let mut counted = BTreeSet::new();
    for mapping in sources.iter().map(MappedSource::mapping) {
        let counts = mapping.operations().iter().any(|operation| operation.kind == OperationKind::Count);
        if counts && !counted.insert(mapping.record()) {
            return Err(mapping.record().clone());
        }
    }
    Ok(())
}

/// Reads the whole table, grouped by the source.
async fn made(
    source: &MappedSource,
    operation: &Arc<OperationDef>,
    count: &CountDef,
    limit: Duration,
) -> Result<Table, AnswerError> {
    let mut columns: Vec<Arc<str>> = operation.columns().into_iter().collect();
    columns.push(Arc::from(COUNT_COLUMN));
    let timeout = operation.timeout.min(limit);
    let query = FetchQuery {
        operation: Arc::clone(operation),
        columns: columns.clone(),
        params: Vec::new(),
        filter: None,
        page: None,
        limit: GROUPS_MAX + 1,
        timeout,
    };
    let fetched = source.fetch_within(query, timeout).await?;
    if fetched.rows.len() > GROUPS_MAX as usize {
        return Err(refused(Code::TooLarge, "the declared table has more groups than a count takes"));
    }
    let zone = &source.mapping().source().common().zone;
    let table = table_of(operation, count, &fetched.rows, &Layout::new(columns), zone);
    table.map_err(|field| {
        let clause = format!("a count does not hold: field {field}");
        failed(&clause, format!("{}: {clause}: a value is not among those declared", source.mapping().name()))
    })
}

/// Adds rows to the cells of their values; a row without a number of its own is one. Errors: the dimension of a value
/// that is not among those declared.
pub(crate) fn table_of(
    operation: &OperationDef,
    count: &CountDef,
    rows: &Rows,
    layout: &Layout,
    zone: &TimeZone,
) -> Result<Table, String> {
    let sizes: Vec<usize> = count.values.iter().map(Vec::len).collect();
    let mut table = Table::new(&sizes, CELLS_MAX).ok_or("sizes")?;
    for row in 0..rows.len() {
        let mut values = Vec::with_capacity(sizes.len());
        for (field, known) in operation.fields.iter().zip(&count.values) {
            let foreign = || field.name.to_string();
            let value = match convert(field, rows, row, layout, zone) {
                Ok((Converted::Text(text), None)) => {
                    known.iter().position(|word| word.as_deref() == Some(&*text))
                }
                // A value that is missing, or that a table of codes does not list and says to leave empty.
                Ok((Converted::Null, _)) => known.iter().position(Option::is_none),
                _ => None,
            };
            values.push(value.ok_or_else(foreign)?);
        }
        let many = match layout.cell(rows, row, COUNT_COLUMN) {
            Cell::Integer(many) => u64::try_from(many).map_err(|_| COUNT_COLUMN.to_owned())?,
            Cell::Null => 1,
            _ => return Err(COUNT_COLUMN.to_owned()),
        };
        table.add(&values, many);
    }
    Ok(table)
}

/// The cells as records: `{"fields":{…},"count":12,"as_of":"…"}`.
fn write(
    operation: &OperationDef,
    count: &CountDef,
    dimensions: &[usize],
    cells: &[suppress::Cell],
    kept: &Kept,
    zone: &TimeZone,
) -> (Vec<u8>, u32) {
    let mut as_of = Vec::new();
    let at = jiff::Timestamp::from_millisecond(kept.made_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    write_instant(&mut as_of, at, zone);
    let as_of = String::from_utf8(as_of).unwrap_or_default();
    let records: Vec<serde_json::Value> = cells
        .iter()
        .map(|(values, many)| record(operation, count, dimensions, values, *many, &as_of))
        .collect();
    let rows = u32::try_from(records.len()).unwrap_or(u32::MAX);
    // Texts and numbers always serialise.
    (serde_json::to_vec(&records).unwrap_or_default(), rows)
}

fn record(
    operation: &OperationDef,
    count: &CountDef,
    dimensions: &[usize],
    values: &[usize],
    many: u64,
    as_of: &str,
) -> serde_json::Value {
    let mut fields = serde_json::Map::new();
    for (dimension, value) in dimensions.iter().zip(values) {
        let name = operation.fields.get(*dimension).map(|field| field.name.to_string());
        let word = count.values.get(*dimension).and_then(|words| words.get(*value)).cloned().flatten();
        fields.extend(name.map(|name| (name, word.map_or(serde_json::Value::Null, |word| (*word).into()))));
    }
    serde_json::json!({ "fields": fields, "count": many, "as_of": as_of })
}

/// The records of rows that a mapping's test makes up, by all dimensions.
pub(crate) fn test_records(
    operation: &OperationDef,
    count: &CountDef,
    rows: &Rows,
    layout: &Layout,
    zone: &TimeZone,
) -> Result<Vec<serde_json::Value>, String> {
    let table = table_of(operation, count, rows, layout, zone)
        .map_err(|field| format!("`{field}` has a value that is not among those declared"))?;
    let dimensions: Vec<usize> = (0..operation.fields.len()).collect();
    let cells = table.suppress(u64::from(count.k)).by(&dimensions);
    let record = |(values, many): &suppress::Cell| {
        record(operation, count, &dimensions, values, *many, "1970-01-01T00:00:00Z")
    };
    Ok(cells.iter().map(record).collect())
}

#[cfg(test)]
#[path = "count/tests.rs"]
mod tests;
