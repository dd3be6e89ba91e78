//! What a live check of an SQLite source proves and refuses.

use crate::dialect::{Dialect as _, Sqlite};
use crate::findings::{about, compare_columns, no_plan, not_prepared, reads_in_full};
use crate::server::without_rows;
use crate::sqlite::{connect, prepare_text, wrap};
use crate::types::{Typed, compare_types, declared};
use rusqlite::{Connection, OpenFlags, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::{OperationDef, OperationKind, ParamDef, ParamType};
use yiwang_adapter_sdk::source::SourceError;

/// Tries to write, inside a transaction that is rolled back, and says what refused it.
pub(crate) fn read_only(path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Without the authorizer, so that it is the connection that refuses and not our own code.
    let begun = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.execute_batch("begin; create table yiwang_write_probe (a); rollback")
    });
    findings.push(match begun {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly) => {
            Finding::new(Severity::Note, "A-SQL-010", "proved: the connection refuses to write")
        }
        Err(error) => Finding::new(
            Severity::Warning,
            "A-SQL-011",
            format!("not proved that the connection cannot write: {}", prepare_text(&error)),
        ),
        Ok(()) => Finding::new(Severity::Error, "A-SQL-012", "the connection can write")
            .help("this must not be; the file's system does not honour read-only opening"),
    });
    if connect(path).is_ok_and(|connection| connection.execute_batch("create temp table t (a)").is_ok()) {
        findings.push(Finding::new(Severity::Error, "A-SQL-013", "a statement of a mapping could write"));
    }
    // Not by opening it: closing it again would drop the locks of connections that serve.
    if rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok() {
        findings.push(
            Finding::new(Severity::Warning, "A-SQL-014", "this user may write the database file")
                .help("let the adapter run as a user that can only read it; then not even a fault can write"),
        );
    }
    findings
}

pub(crate) fn operation(connection: &Connection, operation: &OperationDef, findings: &mut Vec<Finding>) {
    let add = |severity, code, message: String| about(operation, severity, code, &message);
    let all: &[&str] = &[];
    let statement = wrap(operation, all, None)
        .map_err(|error| error.to_string())
        .and_then(|wrapped| connection.prepare(&wrapped.text).map_err(|error| prepare_text(&error)));
    let statement = match statement {
        Ok(statement) => statement,
        Err(error) => {
            findings.push(unprepared(operation, &error));
            return;
        }
    };
    let names: BTreeSet<String> = statement.column_names().map(str::to_owned).collect();
    compare_columns(operation, &names, findings);
    compare_types(operation, &types(&statement), findings);
    if !statement.readonly() {
        findings.push(add(Severity::Error, "A-SQL-004", "the statement writes".to_owned()));
    }
    let unsaid = |param: &&ParamDef| param.kind == ParamType::Timestamp && param.format.is_none();
    for param in operation.params.iter().filter(unsaid) {
        let what = format!(
            "parameter :{} is compared as a text, like 2026-11-03 08:00:00 in the source's zone",
            param.name
        );
        let help = "where the column is written otherwise say so, like format = \"%Y-%m-%dT%H:%M:%S%:z\"";
        findings.push(add(Severity::Warning, "A-SQL-022", what).help(help));
    }
    match operation.kind {
        OperationKind::Lookup => scans(connection, operation, &names, findings),
        _ if operation.page.is_some() => match unfit_key(connection, operation) {
            Ok(None) => {}
            Ok(Some(what)) => findings.push(crate::findings::unfit_key(operation, &what)),
            Err(error) => findings.push(not_prepared(operation, &error.to_string())),
        },
        _ => {}
    }
}

/// What columns were declared to hold; a cell may hold something else. What a statement computes was not declared.
fn types(statement: &Statement<'_>) -> BTreeMap<String, Typed> {
    let typed = |name: &str| Some(Typed { holds: declared(name)?, name: name.to_owned(), sure: false });
    statement
        .columns()
        .filter_map(|column| Some((column.name().to_owned(), column.decl_type().and_then(typed)?)))
        .collect()
}

/// What other databases take for a text, some of them by a setting, is a column to SQLite.
fn unprepared(operation: &OperationDef, error: &str) -> Finding {
    let finding = not_prepared(operation, error);
    if !error.contains("no such column") {
        return finding;
    }
    finding.help(
        "compare its columns with the table's; to SQLite what stands in double quotes is the name of a column, and a text stands in \
         single quotes: 'a text'",
    )
}

/// What is wrong with a batch's key: how SQLite would sort it, by its own program for doing so, and what its column was
/// declared to hold. No row is read.
pub(crate) fn unfit_key(
    connection: &Connection,
    operation: &OperationDef,
) -> Result<Option<String>, SourceError> {
    let drift = |error: rusqlite::Error| SourceError::Drift(prepare_text(&error));
    let (none, _) = without_rows(&Sqlite, operation)?;
    let statement = connection.prepare(&none).map_err(drift)?;
    let declared =
        statement.columns().next().and_then(|column| column.decl_type().map(str::to_ascii_uppercase));
    let declared = declared.unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    // In the order in which SQLite itself looks for them.
    if !has(&["INT", "CHAR", "CLOB", "TEXT", "BLOB"]) && has(&["REAL", "FLOA", "DOUB"]) {
        return Ok(Some("holds numbers that are rounded".to_owned()));
    }
    let key = operation.page.as_ref().map_or("", |page| page.key.as_ref());
    // The sign keeps an index from serving; the collation stays the column's.
    let text = format!("explain {none} order by +q.{}", Sqlite.quote(key)?);
    let mut statement = connection.prepare(&text).map_err(drift)?;
    let mut steps = statement.raw_query();
    while let Some(step) = steps.next().map_err(drift)? {
        let opcode: String = step.get("opcode").map_err(drift)?;
        if !matches!(opcode.as_str(), "SorterOpen" | "OpenEphemeral") {
            continue;
        }
        let sorted: Option<String> = step.get("p4").map_err(drift)?;
        if let Some(collation) = sorted.as_deref().and_then(collation)
            && !matches!(collation, "B" | "BINARY" | "RTRIM")
        {
            return Ok(Some(format!("has the collation {collation}, which takes different texts for one")));
        }
    }
    Ok(None)
}

/// The first collation of a sorter, which SQLite writes like `k(1,B)` or `k(2,-NOCASE,B)`.
fn collation(sorter: &str) -> Option<&str> {
    let (_, columns) = sorter.strip_prefix("k(")?.split_once(',')?;
    let first = columns.split([',', ')']).next()?;
    first.rsplit(['-', '.']).next()
}

/// A look-up that reads a table from end to end is refused: it is slow for us and hurts the department.
fn scans(
    connection: &Connection,
    operation: &OperationDef,
    given: &BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    // Columns that are not there were told of; with one of them there would be no plan.
    let columns: Vec<_> =
        operation.columns().into_iter().filter(|column| given.contains(column.as_ref())).collect();
    let Ok(wrapped) = wrap(operation, &columns, None) else { return };
    let explain = format!("explain query plan {}", wrapped.text);
    let plan: Vec<String> = connection
        .prepare(&explain)
        .and_then(|mut statement| {
            let rows = statement.raw_query();
            rusqlite::fallible_iterator::FallibleIterator::collect(rows.map(|row| row.get("detail")))
        })
        .unwrap_or_default();
    if plan.is_empty() {
        findings.push(no_plan(operation));
    }
    let made: BTreeSet<&str> = plan
        .iter()
        .filter_map(|step| step.strip_prefix("CO-ROUTINE ").or_else(|| step.strip_prefix("MATERIALIZE ")))
        .collect();
    for step in &plan {
        let Some(rest) = step.strip_prefix("SCAN ") else {
            if step.contains("AUTOMATIC") {
                let message = format!("operation {}: builds an index each time: {step}", operation.name);
                findings.push(
                    Finding::new(Severity::Warning, "A-SQL-007", message).help("have an index made for it"),
                );
            }
            continue;
        };
        let table = rest.split(' ').next().unwrap_or_default();
        if table == "CONSTANT" || table == "q" || made.contains(table) || rest.starts_with("(subquery") {
            continue;
        }
        findings.push(reads_in_full(operation, table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_adapter_sdk::compliance;
    use yiwang_adapter_sdk::mapping::Mapping;

    #[test]
    fn a_text_in_double_quotes_is_told_of_as_the_column_that_it_is_taken_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.db");
        Connection::open(&path).unwrap().execute_batch("create table PERSON (ID text, NM text)").unwrap();
        let text = compliance::mapping(
            &format!("[source.sqlite]\npath = '{}'\ntime_zone = \"UTC\"", path.display()),
            "sql = 'select ID, NM from PERSON where ID = :id and NM <> \"nobody\"'",
            "sql = 'select ID, NM from PERSONS where ID = :area'",
        );
        let mapping = Mapping::parse(&text, Path::new("m.toml")).unwrap();
        let connection = connect(&path).unwrap();
        let mut findings = Vec::new();
        mapping.operations().iter().for_each(|one| operation(&connection, one, &mut findings));
        let helps: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.code == "A-SQL-002")
            .filter_map(|finding| finding.help.as_deref())
            .collect();
        let [column, table] = helps.as_slice() else { panic!("{findings:?}") };
        assert!(column.contains("in double quotes is the name of a column"), "{column}");
        assert_eq!(*table, "compare its tables and columns with the database");
    }

    #[test]
    fn a_declared_type_is_told_of_and_refuses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.db");
        let table = "create table PERSON (ID text primary key, NM REAL, SEX INTEGER, BORN INTEGER, AREA text, AMT DECIMAL(9,2), \
                     STATE text, UPD datetime)";
        Connection::open(&path).unwrap().execute_batch(table).unwrap();
        let columns = "ID, NM, SEX, AREA, AMT, STATE, UPD";
        let text = compliance::mapping(
            &format!("[source.sqlite]\npath = '{}'\ntime_zone = \"UTC\"", path.display()),
            &format!("sql = 'select {columns}, BORN + 0 as BORN from PERSON where ID = :id'"),
            &format!("sql = 'select {columns}, BORN from PERSON where AREA = :area'"),
        );
        let mapping =
            Mapping::parse(&text.replace(", format = \"%Y%m%d\"", ""), Path::new("m.toml")).unwrap();
        let connection = connect(&path).unwrap();
        let mut findings = Vec::new();
        mapping.operations().iter().for_each(|one| operation(&connection, one, &mut findings));
        assert!(findings.iter().all(|finding| finding.severity != Severity::Error), "{findings:?}");
        let told: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.code == "A-SQL-021")
            .map(|finding| finding.message.as_str())
            .collect();
        let rounds = "column `NM` is of type REAL, which rounds: digits may be lost, and added";
        let no_day =
            "column `BORN` is of type INTEGER, and without a `format` no date can be read from such a value";
        assert_eq!(
            told,
            [
                format!("operation person.by_id, field `name`: {rounds}"),
                format!("operation person.by_area, field `name`: {rounds}"),
                format!("operation person.by_area, field `birth_date`: {no_day}"),
            ]
        );
    }
}
