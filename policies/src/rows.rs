//! Row filters: one closed grammar with three uses that agree: the decision about arguments, the SQL text,
//! and an evaluator over records.
//!
//! Meaning of a clause for one value of a row, the same in SQL and here:
//! - no value (null, or the field is missing) never matches;
//! - texts match texts only, and compare by bytes; numbers match numbers, by size; true and false are the
//!   numbers 1 and 0, as SQLite stores them; everything else never matches;
//! - all clauses must match.

mod sql;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{RowClause, RowOperator, Scalar};
use yiwang_proto::ids::FieldName;

/// Why a request's arguments do not go with the row filter. Names fields, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// An argument that a clause needs is missing, or cannot be compared.
    #[error("rows: {field}: argument {argument} is missing or of a wrong type")]
    Argument {
        /// Field of the clause.
        field: FieldName,
        /// Name of the argument.
        argument: FieldName,
    },
    /// An argument where none is taken.
    #[error("arguments: a count takes none")]
    Untaken,
    /// An argument asks for rows that a clause excludes.
    #[error("rows: {field} {operator}: argument {argument} lies outside")]
    Outside {
        /// Field of the clause.
        field: FieldName,
        /// `eq`, `in`, `prefix` or `range`.
        operator: &'static str,
        /// Name of the argument.
        argument: FieldName,
    },
}

impl RowFault {
    /// What a denial for this is called.
    pub fn code(&self) -> Code {
        match self {
            Self::Argument { .. } | Self::Untaken => Code::ArgumentInvalid,
            Self::Outside { .. } => Code::RowOutsideFilter,
        }
    }
}

/// Why a filter cannot be made into SQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The source has no column for a field of the filter; without it no row may be let out.
    #[error("no column is mapped for `{0}`, which the contract's rows compare; add it to the mapping")]
    NoColumn(FieldName),
    /// A column name that cannot be quoted.
    #[error("the column of `{0}` has a zero character in its name")]
    Column(FieldName),
}

/// Whose SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL, whose placeholders are numbered.
    Postgres {
        /// Number of the first placeholder.
        first: usize,
    },
    /// MariaDB and MySQL.
    Mariadb,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// One of these; for `eq` there is one.
    Among(Vec<Scalar>),
    Prefix(String),
    Between(Scalar, Scalar),
}

/// A row filter with the request's arguments put in.
#[derive(Debug, Clone, PartialEq)]
pub struct RowFilter {
    clauses: Vec<(FieldName, Test)>,
}

impl RowFilter {
    /// Puts the arguments into the clauses. Errors: an argument that a clause needs is missing, or is no
    /// text where a prefix is needed; an empty prefix is refused because it would restrict nothing.
    pub fn compile(clauses: &[RowClause], arguments: &Arguments) -> Result<Self, RowFault> {
        let compiled: Result<Vec<_>, RowFault> =
            clauses.iter().map(|clause| Ok((clause.field.clone(), test(clause, arguments)?))).collect();
        Ok(Self { clauses: compiled? })
    }

    /// Whether there is nothing to test.
    pub fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    /// The fields that are compared, in the order of the clauses.
    pub fn fields(&self) -> impl Iterator<Item = &FieldName> {
        self.clauses.iter().map(|(field, _)| field)
    }

    /// A condition for `where`, with one placeholder per value, and the values in order. Values are bound, never
    /// spliced; columns are quoted. Without clauses the condition is `1 = 1`.
    ///
    /// The closure names the column of a field. Errors: a field without a column.
    pub fn to_sql(
        &self,
        dialect: Dialect,
        column: impl Fn(&FieldName) -> Option<String>,
    ) -> Result<(String, Vec<Scalar>), SqlError> {
        let mut conditions = Vec::with_capacity(self.clauses.len());
        let mut marks = sql::Marks::new(dialect);
        for (field, test) in &self.clauses {
            let name = column(field).ok_or_else(|| SqlError::NoColumn(field.clone()))?;
            if name.contains('\0') {
                return Err(SqlError::Column(field.clone()));
            }
            conditions.push(marks.condition(&marks.quote(&name), test));
        }
        if conditions.is_empty() {
            return Ok(("1 = 1".to_owned(), marks.values));
        }
        Ok((conditions.join(" and "), marks.values))
    }

    /// Whether a record is let out.
    pub fn matches(&self, record: &BTreeMap<FieldName, serde_json::Value>) -> bool {
        self.clauses.iter().all(|(field, test)| record.get(field).is_some_and(|value| test.holds(value)))
    }

    /// The same for a JSON object.
    pub fn matches_json(&self, record: &serde_json::Map<String, serde_json::Value>) -> bool {
        self.clauses
            .iter()
            .all(|(field, test)| record.get(field.as_str()).is_some_and(|value| test.holds(value)))
    }
}

/// Checks arguments against the filter before the source is touched: each `param` clause has its argument,
/// and an argument of a field's name, or bound to the field by an `eq` parameter, satisfies every constant
/// clause of that field.
pub fn check_arguments(clauses: &[RowClause], arguments: &Arguments) -> Result<(), RowFault> {
    for clause in clauses {
        let constant = test(clause, arguments)?;
        if clause.param.is_some() {
            continue;
        }
        let bound = clauses
            .iter()
            .filter(|other| other.field == clause.field && other.op == RowOperator::Eq)
            .filter_map(|other| other.param.as_ref());
        for name in std::iter::once(&clause.field).chain(bound) {
            if arguments.get(name).is_some_and(|value| !constant.holds_for(value)) {
                return Err(RowFault::Outside {
                    field: clause.field.clone(),
                    operator: operator(clause.op),
                    argument: name.clone(),
                });
            }
        }
    }
    Ok(())
}

fn operator(op: RowOperator) -> &'static str {
    match op {
        RowOperator::Eq => "eq",
        RowOperator::In => "in",
        RowOperator::Prefix => "prefix",
        RowOperator::Range => "range",
    }
}

fn test(clause: &RowClause, arguments: &Arguments) -> Result<Test, RowFault> {
    let fault =
        |argument: &FieldName| RowFault::Argument { field: clause.field.clone(), argument: argument.clone() };
    // A clause that its own check would refuse has no operands; it is refused here too, by its field.
    let broken = || fault(&clause.field);
    if let Some(name) = &clause.param {
        let value = arguments.get(name).ok_or_else(|| fault(name))?;
        return match (clause.op, value) {
            (RowOperator::Eq, Scalar::Number(number)) if !number.is_finite() => Err(fault(name)),
            (RowOperator::Eq, value) => Ok(Test::Among(vec![value.clone()])),
            (RowOperator::Prefix, Scalar::Text(text)) if !text.is_empty() => Ok(Test::Prefix(text.clone())),
            _ => Err(fault(name)),
        };
    }
    match (clause.op, &clause.value, &clause.from, &clause.to) {
        (RowOperator::Eq, Some(value), None, None) => Ok(Test::Among(vec![value.clone()])),
        (RowOperator::In, None, None, None) if !clause.values.is_empty() => {
            Ok(Test::Among(clause.values.clone()))
        }
        (RowOperator::Prefix, Some(Scalar::Text(text)), None, None) => Ok(Test::Prefix(text.clone())),
        (RowOperator::Range, None, Some(from), Some(to)) => Ok(Test::Between(from.clone(), to.clone())),
        _ => Err(broken()),
    }
}

/// A value that can be compared: text or number.
enum Value<'a> {
    Text(&'a str),
    Integer(i64),
    Number(f64),
}

impl<'a> Value<'a> {
    fn of_scalar(scalar: &'a Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => Self::Text(text),
            Scalar::Integer(integer) => Self::Integer(*integer),
            Scalar::Number(number) => Self::Number(*number),
            Scalar::Bool(truth) => Self::Integer(i64::from(*truth)),
        }
    }

    fn of_json(value: &'a serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Some(Self::Text(text)),
            serde_json::Value::Bool(truth) => Some(Self::Integer(i64::from(*truth))),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Some(Self::Integer(integer)),
                None => number.as_f64().map(Self::Number),
            },
            _ => None,
        }
    }

    /// None where the kinds differ or a number is none.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b),
            (Self::Integer(a), Self::Number(b)) => integer_to_number(*a, *b),
            (Self::Number(a), Self::Integer(b)) => integer_to_number(*b, *a).map(Ordering::reverse),
            _ => None,
        }
    }
}

/// Exact, also where the integer has no exact floating-point form.
fn integer_to_number(integer: i64, number: f64) -> Option<Ordering> {
    /// 2^63, the first value above every i64.
    const ABOVE: f64 = 9_223_372_036_854_775_808.0;
    if number.is_nan() {
        return None;
    }
    if number >= ABOVE {
        return Some(Ordering::Less);
    }
    if number < -ABOVE {
        return Some(Ordering::Greater);
    }
    // In range, so the cast drops the fraction and nothing else.
    let whole = number.trunc();
    let order = integer.cmp(&(whole as i64));
    Some(order.then_with(|| 0.0_f64.partial_cmp(&(number - whole)).unwrap_or(Ordering::Equal)))
}

impl Test {
    fn holds(&self, value: &serde_json::Value) -> bool {
        Value::of_json(value).is_some_and(|value| self.holds_value(&value))
    }

    fn holds_for(&self, value: &Scalar) -> bool {
        self.holds_value(&Value::of_scalar(value))
    }

    fn holds_value(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Among(values) => {
                values.iter().any(|one| value.compare(&Value::of_scalar(one)) == Some(Ordering::Equal))
            }
            Self::Prefix(prefix) => matches!(value, Value::Text(text) if text.starts_with(prefix.as_str())),
            Self::Between(from, to) => {
                value.compare(&Value::of_scalar(from)).is_some_and(Ordering::is_ge)
                    && value.compare(&Value::of_scalar(to)).is_some_and(Ordering::is_le)
            }
        }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
