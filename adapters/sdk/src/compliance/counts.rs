//! Counts of the suite's table, for the sources that can be counted: the same as counting its rows by hand.

use super::data::{NOW_MS, rows};
use crate::check::{Level, Severity, check};
use crate::count::Counts;
use crate::fetch::{Ask, MappedSource};
use crate::mapping::Mapping;
use crate::source::Source;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Method;
use yiwang_proto::ids::{FieldName, Operation};

/// A mapping that counts the suite's table by its columns SEX and STATE: `source` is the `[source.…]` section,
/// `statement` a line `sql = …` that selects both, empty where the source has no statements.
pub fn count_mapping(source: &str, statement: &str) -> String {
    format!(
        r#"format = "adapter/1"
mapping = "compliance.count"
record = "Person"
owner = "police"
{source}
[codes.sex]
"1" = "male"
"2" = "female"
"9" = "female"
unknown = "fail"

[[operation]]
name = "person.count"
kind = "count"
{statement}
timeout = "10s"
[operation.by]
sex = {{ from = "SEX", type = "code", codes = "sex" }}
state = {{ from = "STATE", type = "string", values = ["ok"] }}
"#
    )
}

/// Counts a source that was opened from [`count_mapping`]; tables of the day go to `folder`.
///
/// # Errors
/// What differs from a count by hand, in words.
pub async fn counts(mapping: Arc<Mapping>, source: Arc<dyn Source>, folder: &Path) -> Result<(), String> {
    let wrong = |what: &dyn std::fmt::Display| what.to_string();
    let level = Level::Live { source: source.as_ref(), now_ms: NOW_MS };
    for finding in check(&mapping, level).await {
        if finding.severity == Severity::Error && !finding.code.starts_with("A-MAP") {
            return Err(format!("{}: {}", finding.code, finding.message));
        }
    }
    let mapped = MappedSource::new(mapping, source);
    let operation = Operation::parse("person.count").map_err(|error| wrong(&error))?;
    let sex = FieldName::parse("sex").map_err(|error| wrong(&error))?;
    let ask = Ask {
        operation: &operation,
        fields: std::slice::from_ref(&sex),
        rows: &[],
        subject: "",
        arguments: &Arguments::new(),
        limit: 100,
        now_ms: NOW_MS,
        deadline_ms: NOW_MS + 20_000,
        highest_class: (2, Code::SealingRequired),
    };
    let counts = Counts::new(folder.to_owned());
    let answer = counts.answer(&mapped, ask, Method::Count).await.map_err(|error| wrong(&error))?;
    let records: Vec<Value> = serde_json::from_slice(&answer.records).map_err(|error| wrong(&error))?;
    let found: BTreeMap<String, u64> = records
        .iter()
        .filter_map(|record| {
            let sex = record.pointer("/fields/sex")?.as_str()?;
            Some((sex.to_owned(), record.get("count")?.as_u64()?))
        })
        .collect();
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for [_, _, code, ..] in rows() {
        let sex = if code == "1" { "male" } else { "female" };
        *wanted.entry(sex.to_owned()).or_default() += 1;
    }
    if found == wanted { Ok(()) } else { Err(format!("counted {found:?}, by hand {wanted:?}")) }
}
