//! The contract's row filter over an operation's fields. Clauses speak of fields; a source can apply them
//! only where a cell stands in the record unchanged. Every clause is applied again to the converted values,
//! whatever the source did, so a source that errs lets no row out.

use super::AnswerError;
use crate::mapping::{FieldDef, FieldType, OperationDef};
use crate::reduce::Layout;
use crate::reduce::convert::{Converted, convert};
use crate::source::ColumnClause;
use crate::value::{Cell, Rows};
use jiff::tz::TimeZone;
use std::cmp::Ordering;
use std::sync::Arc;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{RowClause, RowOperator, Scalar};

/// One clause with its field and operands.
#[derive(Debug)]
pub(crate) struct Clause<'o> {
    pub(crate) field: &'o FieldDef,
    op: RowOperator,
    operands: Vec<Scalar>,
}

/// Fits clauses to an operation; parameters take their values from the arguments.
pub(crate) fn resolve<'o>(
    clauses: &[RowClause],
    arguments: &Arguments,
    operation: &'o OperationDef,
) -> Result<Vec<Clause<'o>>, AnswerError> {
    clauses.iter().map(|clause| resolve_one(clause, arguments, operation)).collect()
}

fn resolve_one<'o>(
    clause: &RowClause,
    arguments: &Arguments,
    operation: &'o OperationDef,
) -> Result<Clause<'o>, AnswerError> {
    let cannot = |why: &str| {
        let text = format!("the row filter on `{}` cannot be applied: {why}", clause.field);
        AnswerError { code: Code::SourceError, clause: text.clone(), detail: text }
    };
    clause.check().map_err(cannot)?;
    let field =
        operation.field(&clause.field).ok_or_else(|| cannot("the operation does not give the field"))?;
    let operands = match (&clause.param, clause.op) {
        (Some(param), _) => match arguments.get(param) {
            Some(value) => vec![value.clone()],
            None => return Err(AnswerError::argument(format!("argument `{param}` is missing"))),
        },
        (None, RowOperator::In) => clause.values.clone(),
        (None, RowOperator::Range) => clause.from.iter().chain(clause.to.iter()).cloned().collect(),
        (None, RowOperator::Eq | RowOperator::Prefix) => clause.value.iter().cloned().collect(),
    };
    Ok(Clause { field, op: clause.op, operands })
}

impl Clause<'_> {
    /// The clause for the source, where it can apply it.
    pub(crate) fn for_source(&self) -> Option<ColumnClause> {
        let fits = |operand: &Scalar| match self.field.kind {
            FieldType::String => matches!(operand, Scalar::Text(_)),
            FieldType::Integer | FieldType::Number => {
                matches!(operand, Scalar::Integer(_) | Scalar::Number(_))
            }
            _ => false,
        };
        if !self.field.is_plain() || !self.operands.iter().all(fits) {
            return None;
        }
        Some(ColumnClause {
            column: Arc::clone(self.field.from.as_ref()?),
            op: self.op,
            operands: self.operands.clone(),
        })
    }

    /// Whether a row may be let out. A value that cannot be converted is outside.
    pub(crate) fn holds(&self, rows: &Rows, row: usize, layout: &Layout, zone: &TimeZone) -> bool {
        match convert(self.field, rows, row, layout, zone) {
            Ok((value, _)) => holds(&value, self.op, &self.operands, zone),
            Err(_) => false,
        }
    }
}

impl ColumnClause {
    /// Whether a cell satisfies the clause: for sources without a query language.
    pub fn matches(&self, cell: Cell<'_>) -> bool {
        let value = match cell {
            Cell::Null | Cell::Opaque => return false,
            Cell::Bool(value) => Converted::Bool(value),
            Cell::Integer(value) => Converted::Integer(value),
            Cell::Number(value) => Converted::Number(value),
            Cell::Text(text) => Converted::Text(text.into()),
            Cell::Date(day) => Converted::Date(day),
            Cell::Instant(at) => Converted::Instant(at),
        };
        holds(&value, self.op, &self.operands, &TimeZone::UTC)
    }
}

fn holds(value: &Converted<'_>, op: RowOperator, operands: &[Scalar], zone: &TimeZone) -> bool {
    let equal = |operand: &Scalar| compare(value, operand, zone) == Some(Ordering::Equal);
    match (op, operands) {
        (RowOperator::Eq, [one]) => equal(one),
        (RowOperator::In, some) => some.iter().any(equal),
        (RowOperator::Prefix, [Scalar::Text(prefix)]) => match value {
            Converted::Text(text) => text.starts_with(prefix.as_str()),
            Converted::Date(day) => day.to_string().starts_with(prefix.as_str()),
            _ => false,
        },
        (RowOperator::Range, [from, to]) => {
            matches!(compare(value, from, zone), Some(Ordering::Greater | Ordering::Equal))
                && matches!(compare(value, to, zone), Some(Ordering::Less | Ordering::Equal))
        }
        _ => false,
    }
}

fn compare(value: &Converted<'_>, operand: &Scalar, zone: &TimeZone) -> Option<Ordering> {
    match (value, operand) {
        (Converted::Text(text), Scalar::Text(other)) => Some(text.as_bytes().cmp(other.as_bytes())),
        (Converted::Bool(value), Scalar::Bool(other)) => Some(value.cmp(other)),
        (Converted::Integer(value), Scalar::Integer(other)) => Some(value.cmp(other)),
        (Converted::Integer(value), Scalar::Number(other)) => (*value as f64).partial_cmp(other),
        (Converted::Number(value), Scalar::Integer(other)) => value.partial_cmp(&(*other as f64)),
        (Converted::Number(value), Scalar::Number(other)) => value.partial_cmp(other),
        (Converted::Date(day), Scalar::Text(other)) => other.parse().ok().map(|other| day.cmp(&other)),
        (Converted::Instant(at), Scalar::Text(other)) => match other.parse::<jiff::Timestamp>() {
            Ok(other) => Some(at.cmp(&other)),
            // A bare day compares with the local calendar day.
            Err(_) => other.parse().ok().map(|other| zone.to_datetime(*at).date().cmp(&other)),
        },
        _ => None,
    }
}
