//! `[[test]]`: rows that a source could give, and the records or the error that must come out.

use super::count::COUNT_COLUMN;
use super::def::{Expectation, OperationDef, SourceDef, TestDef};
use super::fault::Faults;
use super::read::{Node, Table, id, shown};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use toml::de::DeValue;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};
use yiwang_proto::nearest::{did_you_mean, meant};

/// A row and a field that differ in a letter: the fault shows at the test, and may as well be the field's.
const WHICH: &str = "which of the two is mistyped?";

pub(crate) fn read_all(
    root: &Table<'_, '_>,
    operations: &[Arc<OperationDef>],
    source: Option<&SourceDef>,
    faults: &mut Faults<'_>,
) -> Vec<TestDef> {
    let list = root.list("test", faults).unwrap_or_default();
    // Names are compared only with operations that are sound: the rest would follow from earlier faults.
    let settled = faults.is_empty();
    list.iter()
        .filter_map(|node| {
            let table = Table::of(node, "a test", faults)?;
            read(&table, operations, source, settled, faults)
        })
        .collect()
}

fn read(
    table: &Table<'_, '_>,
    operations: &[Arc<OperationDef>],
    source: Option<&SourceDef>,
    settled: bool,
    faults: &mut Faults<'_>,
) -> Option<TestDef> {
    table.only(&["name", "operation", "args", "rows", "expect", "expect_error"], faults);
    let name = table.need_text("name", faults);
    // Where there is one operation it is that one.
    let given = match operations {
        [only] if table.get("operation").is_none() => Some(only.name.as_str()),
        // Which one it would be follows from earlier faults.
        [] if !settled && table.get("operation").is_none() => None,
        _ => table.need_text("operation", faults),
    };
    let operation = given.and_then(|given| {
        let found = operations.iter().find(|operation| operation.name.as_str() == given);
        if found.is_none() && settled {
            let known = operations.iter().map(|operation| operation.name.as_str());
            let help = did_you_mean(given, known);
            let span = table.get("operation").map_or(0..0, toml::Spanned::span);
            faults.add(span, format!("a test runs `{}`, which is no operation", shown(given)), help);
        }
        found
    });
    let known = operation.filter(|_| settled).map(AsRef::as_ref);
    let args = table.get("args").map(|node| args(node, known, faults)).unwrap_or_default();
    table.need("rows", faults);
    let rows = rows(table, known, source, faults);
    let expect = expectation(table, known, faults);
    Some(TestDef {
        name: name?.to_owned(),
        operation: Operation::parse(operation?.name.as_str()).ok()?,
        args,
        rows,
        expect: expect?,
        span: table.get("name").map_or_else(|| table.span.clone(), toml::Spanned::span),
    })
}

fn args(
    node: &Node<'_>,
    operation: Option<&OperationDef>,
    faults: &mut Faults<'_>,
) -> BTreeMap<FieldName, Scalar> {
    let Some(table) = Table::of(node, "args", faults) else { return BTreeMap::new() };
    let mut args = BTreeMap::new();
    for (name, span, node) in table.entries() {
        let params = || operation.into_iter().flat_map(|operation| &operation.params);
        if operation.is_some() && !params().any(|param| param.name.as_str() == name) {
            let help = did_you_mean(name, params().map(|param| param.name.as_str()));
            faults.add(span, format!("a test gives `{}`, which is no parameter", shown(name)), help);
            continue;
        }
        let scalar = match json(node) {
            Value::String(text) => Scalar::Text(text),
            Value::Bool(value) => Scalar::Bool(value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Scalar::Integer(whole),
                None => Scalar::Number(number.as_f64().unwrap_or_default()),
            },
            _ => {
                faults.add(node.span(), "an argument is not a text, number or true or false", None);
                continue;
            }
        };
        if let Some(name) = id::<FieldName>(name, span, &shown(name), faults) {
            args.insert(name, scalar);
        }
    }
    args
}

fn rows(
    table: &Table<'_, '_>,
    operation: Option<&OperationDef>,
    source: Option<&SourceDef>,
    faults: &mut Faults<'_>,
) -> Vec<BTreeMap<String, Value>> {
    let mut known: BTreeSet<Arc<str>> = operation.map(OperationDef::columns).unwrap_or_default();
    if let Some(SourceDef::Csv(csv)) = source {
        known.extend(csv.columns.keys().cloned());
    }
    if operation.is_some_and(|operation| operation.count.is_some()) {
        known.insert(Arc::from(COUNT_COLUMN));
    }
    // A document may hold more than is mapped: a test shows that it stays behind.
    let documents = source.is_some_and(SourceDef::gives_documents);
    let mut rows = Vec::new();
    for node in table.list("rows", faults).unwrap_or_default() {
        let Some(row) = Table::of(node, "a row", faults) else { continue };
        let mut cells = BTreeMap::new();
        for (column, span, node) in row.entries() {
            if operation.is_some() && !documents && !known.contains(column) {
                let help =
                    meant(column, known.iter().map(AsRef::as_ref)).map(|near| read_by(near, operation));
                let message = format!("row has `{}`, which the operation does not read", shown(column));
                faults.add(span, message, help);
            }
            cells.insert(column.to_owned(), json(node));
        }
        rows.push(cells);
    }
    rows
}

/// Who reads the column that a row was most likely meant to have.
fn read_by(near: &str, operation: Option<&OperationDef>) -> String {
    let mut fields = operation.into_iter().flat_map(|one| one.fields.iter().chain(&one.as_of));
    match fields.find(|field| field.columns().any(|column| *column == *near)) {
        Some(field) => format!("the field `{}` reads `{near}`: {WHICH}", field.name),
        None => format!("did you mean `{near}`?"),
    }
}

fn expectation(
    table: &Table<'_, '_>,
    operation: Option<&OperationDef>,
    faults: &mut Faults<'_>,
) -> Option<Expectation> {
    match (table.get("expect"), table.get("expect_error")) {
        (None, Some(_)) => Some(Expectation::Error(table.text("expect_error", faults)?.to_owned())),
        (Some(_), None) => {
            let mut records = Vec::new();
            for node in table.list("expect", faults)? {
                let record = Table::of(node, "an expected record", faults)?;
                let mut fields = serde_json::Map::new();
                for (field, span, node) in record.entries() {
                    let known = |operation: &OperationDef| {
                        matches!(field, "as_of" | "quality")
                            || (field == COUNT_COLUMN && operation.count.is_some())
                            || operation.fields.iter().any(|def| def.name.as_str() == field)
                    };
                    if operation.is_some_and(|operation| !known(operation)) {
                        let names = operation.into_iter().flat_map(|operation| &operation.fields);
                        let near = meant(field, names.map(|def| def.name.as_str()));
                        let help = near.map(|near| format!("there is a field `{near}`: {WHICH}"));
                        let message = format!("test expects `{}`, which is no field", shown(field));
                        faults.add(span, message, help);
                    }
                    fields.insert(field.to_owned(), json(node));
                }
                records.push(fields);
            }
            Some(Expectation::Records(records))
        }
        _ => {
            let message = "a test has exactly one of `expect` and `expect_error`";
            faults.add(table.span.clone(), message, None);
            None
        }
    }
}

/// A TOML value as JSON; dates and times become their texts.
fn json(node: &Node<'_>) -> Value {
    match node.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Array(array) => Value::Array(array.iter().map(json).collect()),
        DeValue::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value))).collect())
        }
    }
}
