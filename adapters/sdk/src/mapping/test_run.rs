//! Runs the `[[test]]`s of a mapping through the same code as real answers.

use super::{COUNT_COLUMN, CsvDef, Expectation, Mapping, OperationDef, SourceDef, TestDef};
use crate::count::test_records;
use crate::fetch::bind_test;
use crate::reduce::{Layout, Writer};
use crate::value::{Cell, Rows, json_cell, typed_column};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The outcome of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// What differs; none if it passed. Holds values, which are made up.
    pub failure: Option<String>,
}

/// Runs every test of a mapping.
pub fn run_tests(mapping: &Mapping) -> Vec<TestResult> {
    mapping
        .tests()
        .iter()
        .map(|test| TestResult { name: test.name.clone(), failure: run(mapping, test).err() })
        .collect()
}

fn run(mapping: &Mapping, test: &TestDef) -> Result<(), String> {
    let operation =
        mapping.operation(&test.operation).ok_or_else(|| format!("no operation `{}`", test.operation))?;
    let records = records(mapping, operation, test);
    match (&test.expect, records) {
        (Expectation::Error(wanted), Err(error)) if error.contains(wanted) => Ok(()),
        (Expectation::Error(wanted), Err(error)) => Err(format!("error is `{error}`, expected `{wanted}`")),
        (Expectation::Error(wanted), Ok(_)) => Err(format!("no error, expected `{wanted}`")),
        (Expectation::Records(_), Err(error)) => Err(error),
        (Expectation::Records(wanted), Ok(records)) => compare(wanted, &records),
    }
}

/// The records that the rows of a test give.
pub(super) fn records(
    mapping: &Mapping,
    operation: &OperationDef,
    test: &TestDef,
) -> Result<Vec<Value>, String> {
    let common = mapping.source().common();
    bind_test(operation, &test.args, &common.zone).map_err(|error| error.clause)?;
    let mut columns: Vec<Arc<str>> = operation.columns().into_iter().collect();
    if operation.count.is_some() {
        columns.push(Arc::from(COUNT_COLUMN));
    }
    let csv = match mapping.source() {
        SourceDef::Csv(csv) => Some(csv),
        _ => None,
    };
    let mut rows = Rows::new(columns.len());
    let documents = mapping.source().gives_documents();
    for row in &test.rows {
        if documents {
            let document = Value::Object(row.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
            for column in &columns {
                rows.push(json_cell(document.pointer(column))).map_err(|error| error.to_string())?;
            }
            continue;
        }
        for column in &columns {
            push(&mut rows, column, row, csv)?;
        }
    }
    let layout = Layout::new(columns);
    if let Some(count) = &operation.count {
        return test_records(operation, count, &rows, &layout, &common.zone);
    }
    let mut writer = Writer::new(operation, operation.fields.iter().collect(), &common.zone, 0);
    for row in 0..rows.len() {
        writer.row(&rows, row, &layout).map_err(|fault| fault.with_value())?;
    }
    let (json, _, _) = writer.finish();
    serde_json::from_slice(&json).map_err(|error| format!("records are no JSON: {error}"))
}

fn push(
    rows: &mut Rows,
    column: &Arc<str>,
    row: &BTreeMap<String, Value>,
    csv: Option<&CsvDef>,
) -> Result<(), String> {
    let value = row.get(column.as_ref()).unwrap_or(&Value::Null);
    let text;
    let cell = match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cell::Integer(whole),
            None => Cell::Number(number.as_f64().unwrap_or_default()),
        },
        Value::String(value) => {
            text = value.as_str();
            match csv.and_then(|csv| csv.columns.get(column).map(|def| (def, &csv.common.zone))) {
                Some((def, zone)) => {
                    typed_column(text, def, zone).map_err(|fault| format!("column `{column}` {fault}"))?
                }
                None => Cell::Text(text),
            }
        }
        Value::Array(_) | Value::Object(_) => return Err(format!("column `{column}` is no scalar")),
    };
    rows.push(cell).map_err(|error| error.to_string())
}

fn compare(wanted: &[Map<String, Value>], records: &[Value]) -> Result<(), String> {
    if wanted.len() != records.len() {
        return Err(format!("{} records, expected {}", records.len(), wanted.len()));
    }
    for (at, (wanted, record)) in wanted.iter().zip(records).enumerate() {
        let no_fields = Map::new();
        let fields = record.get("fields").and_then(Value::as_object).unwrap_or(&no_fields);
        for (name, expected) in wanted {
            let found = found(record, name);
            if !same(found.unwrap_or(&Value::Null), expected) {
                let found = found.map_or_else(|| "nothing".to_owned(), Value::to_string);
                return Err(format!("record {at}: `{name}` is {found}, expected {expected}"));
            }
        }
        if let Some((name, value)) =
            fields.iter().find(|(name, value)| !value.is_null() && !wanted.contains_key(*name))
        {
            return Err(format!("record {at}: `{name}` is {value}, expected nothing"));
        }
    }
    Ok(())
}

/// What a record has under the name that a test calls it by.
pub(super) fn found<'r>(record: &'r Value, name: &str) -> Option<&'r Value> {
    let field = || record.get("fields").and_then(|fields| fields.get(name));
    match name {
        "as_of" | "quality" => record.get(name),
        // A count stands beside the fields, and some records have a field of that name.
        COUNT_COLUMN => record.get(name).or_else(field),
        _ => field(),
    }
}

/// Equality where 3 and 3.0 are the same number.
pub(super) fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}
