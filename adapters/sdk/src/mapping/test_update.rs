//! What the expectations of `[[test]]`s would have to be for the tests to pass: for `test --update`.

use super::test_run::{found, records, same};
use super::{COUNT_COLUMN, Expectation, Mapping, TestDef};
use serde_json::{Map, Value};

/// One change of one test's expectation.
#[derive(Debug, Clone, PartialEq)]
pub enum TestChange {
    /// The value of an expected field.
    Set {
        /// The record, from 0.
        record: usize,
        /// The field.
        field: String,
        /// What was expected.
        was: Value,
        /// What comes.
        value: Value,
    },
    /// A field that comes and is not expected.
    Add {
        /// The record, from 0.
        record: usize,
        /// The field.
        field: String,
        /// What comes.
        value: Value,
    },
    /// A field that is expected and does not come.
    Remove {
        /// The record, from 0.
        record: usize,
        /// The field.
        field: String,
    },
    /// A record that comes and is not expected.
    AddRecord(Map<String, Value>),
    /// The last expected record does not come.
    RemoveLastRecord,
    /// The text of the expected error.
    Error {
        /// What was expected.
        was: String,
        /// What comes.
        value: String,
    },
}

/// What a test's expectation would have to become.
#[derive(Debug, Clone, PartialEq)]
pub struct TestUpdate {
    /// The test's name.
    pub name: String,
    /// Its changes in the order in which they are made, none where it passes; or why that is nobody's but a person's
    /// matter.
    pub changes: Result<Vec<TestChange>, String>,
}

/// What every test's expectation would have to become, in the order of the file.
pub fn test_updates(mapping: &Mapping) -> Vec<TestUpdate> {
    let update = |test: &TestDef| TestUpdate { name: test.name.clone(), changes: changes(mapping, test) };
    mapping.tests().iter().map(update).collect()
}

fn changes(mapping: &Mapping, test: &TestDef) -> Result<Vec<TestChange>, String> {
    let operation =
        mapping.operation(&test.operation).ok_or_else(|| format!("no operation `{}`", test.operation))?;
    match (&test.expect, records(mapping, operation, test)) {
        (Expectation::Error(was), Err(error)) if error.contains(was.as_str()) => Ok(Vec::new()),
        (Expectation::Error(was), Err(value)) => Ok(vec![TestChange::Error { was: was.clone(), value }]),
        // Whether a refusal or a record is right is the one thing that such a test is written for.
        (Expectation::Error(_), Ok(_)) => {
            Err("an error is expected and records come; decide which is right, and write `expect` by hand"
                .to_owned())
        }
        (Expectation::Records(_), Err(error)) => Err(format!(
            "records are expected and an error comes (`{error}`); decide which is right, and write `expect_error` by hand"
        )),
        (Expectation::Records(wanted), Ok(records)) => Ok(of_records(wanted, &records)),
    }
}

fn of_records(wanted: &[Map<String, Value>], records: &[Value]) -> Vec<TestChange> {
    let mut changes = Vec::new();
    for (record, (wanted, came)) in wanted.iter().zip(records).enumerate() {
        for (field, was) in wanted {
            match found(came, field).filter(|value| !value.is_null()) {
                Some(value) if same(value, was) => {}
                Some(value) => changes.push(TestChange::Set {
                    record,
                    field: field.clone(),
                    was: was.clone(),
                    value: value.clone(),
                }),
                None => changes.push(TestChange::Remove { record, field: field.clone() }),
            }
        }
        for (field, value) in fields(came).filter(|(field, _)| !wanted.contains_key(*field)) {
            changes.push(TestChange::Add { record, field: field.clone(), value: value.clone() });
        }
    }
    changes.extend((records.len()..wanted.len()).map(|_| TestChange::RemoveLastRecord));
    changes.extend(records.iter().skip(wanted.len()).map(|record| {
        let mut map: Map<String, Value> =
            fields(record).map(|(field, value)| (field.clone(), value.clone())).collect();
        if let Some(count) = record.get(COUNT_COLUMN) {
            map.insert(COUNT_COLUMN.to_owned(), count.clone());
        }
        TestChange::AddRecord(map)
    }));
    changes
}

/// What a test must expect of a record.
fn fields(record: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = record.get("fields").and_then(Value::as_object).into_iter().flatten();
    fields.filter(|(_, value)| !value.is_null())
}
