//! Constants that an expression gives, against the type of its field.

use super::{Finding, Severity};
use crate::mapping::{Computed, FieldDef, FieldType, Mapping};
use crate::reduce::convert::plain_text;
use crate::value::{parse_date, parse_instant};
use jiff::tz::TimeZone;

pub(super) fn judge(mapping: &Mapping, findings: &mut Vec<Finding>) {
    let zone = &mapping.source().common().zone;
    for operation in mapping.operations() {
        for field in &operation.fields {
            let Some(expression) = &field.expr else { continue };
            if expression.constants().iter().all(|constant| becomes(field, constant, zone)) {
                continue;
            }
            let kind = field.kind.as_str();
            let message = format!(
                "operation {}, field `{}`: its expression can give a constant that is no {kind}, which nobody is shown",
                operation.name, field.name
            );
            let finding = Finding::new(Severity::Warning, "A-MAP-018", message).at(field.span.clone());
            findings.push(finding.help(format!(
                "write a constant of type {kind}, or null where there is no value; texts stand in quotes, true and numbers do not"
            )));
        }
    }
}

/// Whether a value of the field comes of a constant, as of a cell of the source.
fn becomes(field: &FieldDef, constant: &Computed, zone: &TimeZone) -> bool {
    let written;
    let text = match constant {
        // What steps make of it is not retold here.
        Computed::Text(_) if !field.steps.is_empty() => return true,
        Computed::Text(text) => text.as_str(),
        other => {
            written = plain_text(other.as_cell(), zone);
            written.as_str()
        }
    };
    match (field.kind, constant) {
        (FieldType::String | FieldType::Code, _) | (_, Computed::Null) => true,
        // An empty text is no value of whatever type.
        (_, Computed::Text(_)) if text.is_empty() => true,
        (FieldType::Bool, Computed::Bool(_)) => true,
        (FieldType::Bool, _) => ["0", "1", "false", "true"].contains(&text),
        (FieldType::Integer, _) => text.parse::<i64>().is_ok(),
        (FieldType::Number, _) => text.parse::<f64>().is_ok_and(f64::is_finite),
        (FieldType::Date, _) => parse_date(text, field.format.as_deref(), zone).is_some(),
        (FieldType::Timestamp, _) => parse_instant(text, field.format.as_deref(), zone).is_some(),
    }
}
