//! The contract's row filter over an operation's fields. Clauses speak of fields, and compare the values
//! that stand in records. A source can apply a clause itself only where a cell stands in the record
//! unchanged (`FieldDef::is_plain`); every clause is applied again to the converted values, whatever the
//! source did, so a source that errs lets no row out.
//!
//! A text field on a column of numbers is compared by the source as a number, and so never equals a text:
//! such a mapping gives the field a step, or the type `integer`.

use super::AnswerError;
use crate::mapping::{FieldDef, FieldType, OperationDef};
use crate::reduce::Layout;
use crate::reduce::convert::{Converted, convert};
use crate::source::SourceFilter;
use crate::value::{Rows, write_instant};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use yiwang_policies::rows::{RowFault, RowFilter};
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{RowClause, Scalar};

/// A row filter fitted to an operation.
#[derive(Debug)]
pub(crate) struct Filter<'o> {
    whole: RowFilter,
    fields: Vec<&'o FieldDef>,
    /// What the source applies.
    pub(crate) pushed: Option<SourceFilter>,
    /// Whether the source applies every clause.
    pub(crate) all_pushed: bool,
}

impl From<RowFault> for AnswerError {
    fn from(fault: RowFault) -> Self {
        let clause = fault.to_string();
        Self { code: fault.code(), clause: clause.clone(), detail: clause }
    }
}

impl<'o> Filter<'o> {
    /// Fits clauses to an operation; parameters take their values from the arguments.
    pub(crate) fn new(
        clauses: &[RowClause],
        arguments: &Arguments,
        operation: &'o OperationDef,
    ) -> Result<Self, AnswerError> {
        let whole = RowFilter::compile(clauses, arguments)?;
        let mut fields: Vec<&FieldDef> = Vec::new();
        let mut pushable: Vec<RowClause> = Vec::new();
        let mut columns = BTreeMap::new();
        for clause in clauses {
            let Some(field) = operation.field(&clause.field) else {
                let text = format!("rows: {}: the operation does not give the field", clause.field);
                return Err(AnswerError { code: Code::SourceError, clause: text.clone(), detail: text });
            };
            if let Some(column) = field.from.as_ref().filter(|_| comparable(field, clause, arguments)) {
                columns.insert(clause.field.clone(), Arc::clone(column));
                pushable.push(clause.clone());
            }
            if !fields.iter().any(|known| known.name == field.name) {
                fields.push(field);
            }
        }
        let pushed = if pushable.is_empty() {
            None
        } else {
            Some(SourceFilter::new(RowFilter::compile(&pushable, arguments)?, columns))
        };
        Ok(Self { whole, fields, pushed, all_pushed: pushable.len() == clauses.len() })
    }

    /// The fields that are compared.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &'o FieldDef> {
        self.fields.iter().copied()
    }

    /// Whether a row may be let out. A value that cannot be converted is outside.
    pub(crate) fn holds(&self, rows: &Rows, row: usize, layout: &Layout, zone: &TimeZone) -> bool {
        if self.whole.is_empty() {
            return true;
        }
        let mut record = Map::new();
        for field in &self.fields {
            let Ok((value, _)) = convert(field, rows, row, layout, zone) else { return false };
            record.insert(field.name.to_string(), as_json(value, zone));
        }
        self.whole.matches_json(&record)
    }
}

/// Whether the source's cell is what the clause compares: a plain field, and operands of its kind.
fn comparable(field: &FieldDef, clause: &RowClause, arguments: &Arguments) -> bool {
    let argument = clause.param.as_ref().and_then(|name| arguments.get(name));
    let mut operands = clause
        .values
        .iter()
        .chain(clause.value.as_ref())
        .chain(clause.from.as_ref())
        .chain(clause.to.as_ref())
        .chain(argument);
    field.is_plain()
        && operands.all(|operand| match field.kind {
            FieldType::String => matches!(operand, Scalar::Text(_)),
            _ => matches!(operand, Scalar::Integer(_) | Scalar::Number(_)),
        })
}

fn as_json(value: Converted<'_>, zone: &TimeZone) -> Value {
    match value {
        Converted::Null => Value::Null,
        Converted::Bool(value) => Value::Bool(value),
        Converted::Integer(value) => Value::from(value),
        Converted::Number(value) => Value::from(value),
        Converted::Text(text) => Value::String(text.into_owned()),
        Converted::Date(day) => Value::String(day.to_string()),
        Converted::Instant(at) => {
            let mut out = Vec::new();
            write_instant(&mut out, at, zone);
            String::from_utf8(out).map_or(Value::Null, Value::String)
        }
    }
}
