//! What `call` shows: each value masked by the highest class of any field that reads its column, so that a
//! field of a low class does not show what it was computed from.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use yiwang_adapter_sdk::fetch::{Trace, TracedField, TracedRow};
use yiwang_adapter_sdk::mapping::{Mapping, OperationDef};
use yiwang_policies::Catalogue;
use yiwang_proto::contract::ContractText;
use yiwang_proto::ids::FieldName;
use yiwang_proto::plural::counted;

/// Characters of a value that are shown, where it is shown.
const SHOWN_MAX: usize = 120;

pub(super) struct Mask {
    fields: BTreeMap<FieldName, u8>,
    columns: BTreeMap<Arc<str>, u8>,
}

/// One record.
#[derive(Serialize)]
pub(super) struct Shown(Vec<Field>);

#[derive(Serialize)]
struct Field {
    name: String,
    class: u8,
    raw: BTreeMap<String, Option<String>>,
    steps: Vec<(String, String)>,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// A value as it may stand on a screen.
fn masked(text: &str, class: u8) -> String {
    let count = text.chars().count();
    match class {
        0 | 1 => text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect(),
        2 => {
            // Of a single character nothing would be left to mask.
            let first: String =
                text.chars().filter(|c| !c.is_control()).take(usize::from(count > 1)).collect();
            format!("{first}{}", "•".repeat(count.saturating_sub(1).clamp(usize::from(count > 0), SHOWN_MAX)))
        }
        // Not even how long it is.
        _ => "•••".to_owned(),
    }
}

impl Mask {
    pub(super) fn new(mapping: &Mapping, operation: &OperationDef, catalogue: &Catalogue) -> Self {
        let (mut fields, mut columns) = (BTreeMap::new(), BTreeMap::new());
        for field in operation.fields.iter().chain(operation.as_of.as_ref()) {
            let known = catalogue.field(mapping.record(), &field.name);
            // What nobody knows is masked whole; when a row was good is about nobody.
            let known = match field.name.as_str() {
                "as_of" => 1,
                _ => known.map_or(4, |known| known.class),
            };
            let class = field.class.map_or(known, |class| class.max(known));
            fields.insert(field.name.clone(), class);
            for column in field.columns() {
                let highest = columns.entry(column).or_insert(class);
                *highest = (*highest).max(class);
            }
        }
        Self { fields, columns }
    }

    pub(super) fn row(&self, row: &TracedRow) -> Shown {
        Shown(row.fields.iter().map(|field| self.field(field)).collect())
    }

    fn field(&self, field: &TracedField) -> Field {
        let class = self.fields.get(&field.name).copied().unwrap_or(4);
        let of = |column: &Arc<str>| self.columns.get(column).copied().unwrap_or(4);
        let highest = field.raw.iter().map(|(column, _)| of(column)).max().unwrap_or(class).max(class);
        let raw = field
            .raw
            .iter()
            .map(|(column, cell)| (column.to_string(), cell.as_deref().map(|cell| masked(cell, of(column)))));
        Field {
            name: field.name.to_string(),
            class,
            raw: raw.collect(),
            steps: field
                .steps
                .iter()
                .map(|(step, text)| (format!("{step:?}").to_lowercase(), masked(text, highest)))
                .collect(),
            value: field.value.as_deref().map(|value| masked(value, class)),
            quality: field.flag,
            fault: field.fault.clone(),
        }
    }
}

fn or_null(value: Option<&String>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("\"{value}\""))
}

impl Shown {
    /// The field for which the record does not hold.
    pub(super) fn failed(&self) -> Option<&str> {
        self.0.iter().find(|field| field.fault.is_some()).map(|field| field.name.as_str())
    }
}

impl Field {
    fn line(&self) -> String {
        let raw: Vec<String> =
            self.raw.iter().map(|(column, cell)| format!("{column} {}", or_null(cell.as_ref()))).collect();
        let mut line = format!("    {}: {}", self.name, raw.join(", "));
        for (step, text) in &self.steps {
            let _ = write!(line, " → {step} \"{text}\"");
        }
        match &self.fault {
            Some(fault) => {
                let _ = write!(line, " → ✗ {fault}");
            }
            None => {
                let _ = write!(line, " → {} (class {})", or_null(self.value.as_ref()), self.class);
            }
        }
        if let Some(quality) = self.quality {
            let _ = write!(line, " [{quality}]");
        }
        line
    }
}

/// The lines for people.
pub(super) fn text(
    in_force: Result<(), &'static str>,
    contract: &ContractText,
    mapping: &Mapping,
    operation: &OperationDef,
    trace: &Trace,
    records: &[Shown],
    kept: &[&FieldName],
) -> String {
    let mut out = format!(
        "{} of `{}` as `{}` version {}, for `{}`\n",
        operation.name,
        mapping.name(),
        contract.id,
        contract.version,
        contract.consumer.member
    );
    if let Err(why) = in_force {
        let _ = writeln!(out, "  ! the contract is {why}: nobody is answered under it");
    }
    let columns: Vec<&str> = trace.columns.iter().map(AsRef::as_ref).collect();
    let _ = writeln!(out, "  read: {}", columns.join(", "));
    for (at, record) in records.iter().enumerate() {
        let _ = writeln!(out, "  record {}", at + 1);
        for field in &record.0 {
            let _ = writeln!(out, "{}", field.line());
        }
        if let Some(field) = record.failed() {
            let _ = writeln!(out, "  ! record {} does not hold because of `{field}`", at + 1);
        }
    }
    if trace.failing > 0 {
        let _ = writeln!(
            out,
            "  ! nothing is answered: {} of the records do not hold, and who asks gets `source_error` for all of them",
            trace.failing
        );
    }
    for (name, why) in &trace.withheld {
        let _ = writeln!(out, "  withheld: {name}: {why}");
    }
    let kept: Vec<&str> = kept.iter().map(|name| name.as_str()).collect();
    if !kept.is_empty() {
        let _ = writeln!(out, "  not granted by the contract: {}", kept.join(", "));
    }
    for (field, count) in &trace.outside {
        let _ =
            writeln!(out, "  outside the contract: {} by its clause on `{field}`", counted(*count, "row"));
    }
    let clauses: Vec<String> = contract.rows.iter().map(|row| row.field.to_string()).collect();
    if trace.inside == 0 && !clauses.is_empty() {
        let _ = writeln!(
            out,
            "  the source gives no row, or none that the contract's rows let out: {}",
            clauses.join(", ")
        );
    }
    let records = counted(trace.inside, "record");
    let _ = writeln!(out, "{records}; values are masked by class, and nothing left this machine");
    out
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_value_is_shown_as_far_as_its_class_allows() {
        assert_eq!(masked("980101", 1), "980101");
        assert_eq!(masked("云甲", 2), "云•");
        assert_eq!(masked("980101199001010017", 3), masked("x", 4));
        assert_eq!((masked("", 2), masked("云", 2)), (String::new(), "•".to_owned()));
    }
}
