//! What live checks of all SQL sources say, in the same words under the same codes.

use std::collections::BTreeSet;
use std::sync::Arc;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::OperationDef;
use yiwang_adapter_sdk::source::SourceError;

pub(crate) fn failed(error: &SourceError) -> Finding {
    Finding::new(Severity::Error, "A-SQL-001", format!("the source cannot be checked: {error}"))
}

/// A finding about one operation.
pub(crate) fn about(
    operation: &OperationDef,
    severity: Severity,
    code: &'static str,
    message: &str,
) -> Finding {
    Finding::new(severity, code, format!("operation {}: {message}", operation.name))
}

pub(crate) fn not_prepared(operation: &OperationDef, error: &str) -> Finding {
    let message = format!("the statement cannot be prepared: {error}");
    about(operation, Severity::Error, "A-SQL-002", &message)
        .help("compare its tables and columns with the database")
}

/// Columns that the statement lacks, and columns that it gives to nobody.
pub(crate) fn compare_columns(
    operation: &OperationDef,
    names: &BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    let mut declared = operation.columns();
    declared.extend(operation.order.iter().map(|order| Arc::clone(&order.column)));
    for column in declared.iter().filter(|column| !names.contains(column.as_ref())) {
        let known = names.iter().cloned().collect::<Vec<_>>().join(", ");
        let message = format!("the statement gives no column `{column}`");
        findings.push(
            about(operation, Severity::Error, "A-SQL-003", &message).help(format!("it gives: {known}")),
        );
    }
    for name in names.iter().filter(|name| !declared.iter().any(|known| known.as_ref() == name.as_str())) {
        let message = format!("column `{name}` is selected and no field uses it");
        findings.push(
            about(operation, Severity::Warning, "A-SQL-005", &message).help("take it out of the statement"),
        );
    }
}

pub(crate) fn no_plan(operation: &OperationDef) -> Finding {
    about(operation, Severity::Warning, "A-SQL-006", "its plan cannot be shown")
}

pub(crate) fn may_not_read(operation: &OperationDef) -> Finding {
    about(operation, Severity::Error, "A-SQL-018", "the role may not read all that the statement names").help(
        "grant it `select` on these tables, or on the columns that are named, and `usage` on their schema",
    )
}

/// A look-up that reads a table from end to end is refused: it is slow for us and hurts the department.
pub(crate) fn reads_in_full(operation: &OperationDef, table: &str) -> Finding {
    about(operation, Severity::Error, "A-SQL-008", &format!("reads `{table}` in full"))
        .help("have an index made on the column that is looked up, or make the operation a search")
}

/// What a page cannot be gone on after: the database takes different keys for one, or rounds them, and a row would be
/// lost between two pages.
pub(crate) fn unfit_key(operation: &OperationDef, what: &str) -> Finding {
    about(operation, Severity::Error, "A-SQL-019", &key_fault(operation, what)).help(
        "page after a column that is compared as it stands: whole numbers, or texts under a binary collation (MariaDB: one \
         that ends in _bin; PostgreSQL: a deterministic one; SQLite: BINARY), with a unique index; a conversion in the \
         statement, like binary or collate, takes the index away",
    )
}

/// The same in one line, for whoever asks for a page.
pub(crate) fn key_fault(operation: &OperationDef, what: &str) -> String {
    let key = operation.page.as_ref().map_or("", |page| page.key.as_ref());
    format!("the key `{key}` {what}: pages in its order could lose a row")
}
