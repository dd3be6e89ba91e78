//! Expressions of a mapping (`expr`, `check`) in CEL. They see `row.<column>` and `value`, nothing else.
//!
//! The interpreter has no cost limit, so whatever loops (`map`, `filter`, `all`, `exists`) is refused when
//! the mapping is read, and the text is short: what remains is linear in it.

use super::fault::nearest;
use crate::value::Cell;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Characters of an expression.
const TEXT_MAX: usize = 500;
/// Characters of a text that an expression may make.
const RESULT_MAX: usize = 16 * 1024;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Functions that an expression may call, operators beside them.
const FUNCTIONS: [&str; 9] =
    ["size", "contains", "startsWith", "endsWith", "string", "int", "double", "bool", "has"];

/// A compiled expression.
pub struct Expression {
    program: Program,
    columns: Vec<Arc<str>>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// Why an expression gave no value. Holds nothing of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expression gave no value")]
pub struct NoValue;

/// What an expression gave.
#[derive(Debug, Clone, PartialEq)]
pub enum Computed {
    /// Nothing.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(Arc<String>),
}

impl Computed {
    /// As a cell, to be converted like one of the source.
    pub fn as_cell(&self) -> Cell<'_> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(value) => Cell::Bool(*value),
            Self::Integer(value) => Cell::Integer(*value),
            Self::Number(value) => Cell::Number(*value),
            Self::Text(text) => Cell::Text(text),
        }
    }
}

impl Expression {
    /// Compiles a text; the error says what is wrong and what to do.
    pub(crate) fn compile(text: &str) -> Result<Self, (String, Option<String>)> {
        if text.chars().count() > TEXT_MAX {
            return Err((format!("expression is over {TEXT_MAX} characters"), None));
        }
        let program = ENV.compile(text).map_err(|errors| {
            let first = errors.errors.first().map_or_else(String::new, |error| {
                error.msg.lines().next().unwrap_or_default().chars().take(160).collect()
            });
            (format!("expression does not parse: {first}"), None)
        })?;
        let mut columns = Vec::new();
        inspect(program.expression(), &mut columns)?;
        columns.sort();
        columns.dedup();
        Ok(Self { program, columns })
    }

    /// The columns it reads.
    pub fn columns(&self) -> &[Arc<str>] {
        &self.columns
    }

    /// Evaluates it over a row and, where it has one, the value converted so far.
    pub fn evaluate<'c>(&self, row: &dyn Fn(&str) -> Cell<'c>, value: Cell<'_>) -> Result<Computed, NoValue> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        let map: HashMap<Key, Value> = self
            .columns
            .iter()
            .map(|column| (Key::String(Arc::new(column.to_string())), to_cel(row(column))))
            .collect();
        context.add_variable_from_value("row", Value::Map(Map { map: Arc::new(map) }));
        context.add_variable_from_value("value", to_cel(value));
        match self.program.execute(&context).map_err(|_| NoValue)? {
            Value::Null => Ok(Computed::Null),
            Value::Bool(value) => Ok(Computed::Bool(value)),
            Value::Int(value) => Ok(Computed::Integer(value)),
            Value::UInt(value) => i64::try_from(value).map(Computed::Integer).map_err(|_| NoValue),
            Value::Float(value) => Ok(Computed::Number(value)),
            Value::String(text) if text.len() <= RESULT_MAX => Ok(Computed::Text(text)),
            _ => Err(NoValue),
        }
    }
}

fn to_cel(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null | Cell::Opaque => Value::Null,
        Cell::Bool(value) => Value::Bool(value),
        Cell::Integer(value) => Value::Int(value),
        Cell::Number(value) => Value::Float(value),
        Cell::Text(text) => Value::String(Arc::new(text.to_owned())),
        Cell::Date(day) => Value::String(Arc::new(day.to_string())),
        Cell::Instant(at) => Value::String(Arc::new(at.to_string())),
    }
}

type Refusal = (String, Option<String>);

fn inspect(node: &IdedExpr, columns: &mut Vec<Arc<str>>) -> Result<(), Refusal> {
    match &node.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if name == "value" => Ok(()),
        Expr::Ident(name) if name == "row" => Err((
            "`row` is read as a whole".to_owned(),
            Some("read a column: row.<column>, or row[\"<column>\"]".to_owned()),
        )),
        Expr::Ident(name) => {
            let help = match nearest(name, ["row", "value"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "an expression sees row.<column> and value; texts stand in quotes".to_owned(),
            };
            Err((format!("expression names `{}`, which is not there", super::read::shown(name)), Some(help)))
        }
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) if name == "row" => {
                columns.push(Arc::from(select.field.as_str()));
                Ok(())
            }
            _ => {
                inspect(&select.operand, columns)?;
                Err((
                    "expression selects from something that has no fields".to_owned(),
                    Some("only `row` has fields".to_owned()),
                ))
            }
        },
        Expr::Call(call) => inspect_call(call, columns),
        Expr::List(list) => list.elements.iter().try_for_each(|element| inspect(element, columns)),
        Expr::Comprehension(_) => Err((
            "expression loops".to_owned(),
            Some("map, filter, all and exists are refused: they have no cost limit".to_owned()),
        )),
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
            Err(("expression builds a map or struct".to_owned(), None))
        }
    }
}

fn inspect_call(call: &cel::common::ast::CallExpr, columns: &mut Vec<Arc<str>>) -> Result<(), Refusal> {
    if call.func_name == cel::common::ast::operators::INDEX
        && let [over, at] = call.args.as_slice()
        && let (Expr::Ident(name), Expr::Literal(LiteralValue::String(column))) = (&over.expr, &at.expr)
        && name == "row"
    {
        columns.push(Arc::from(column.inner()));
        return Ok(());
    }
    // Names of operators have characters that no identifier has, like `_+_`.
    let operator = call.func_name.chars().any(|c| !(c.is_ascii_alphanumeric() || c == '_'));
    if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
        let help = match nearest(&call.func_name, FUNCTIONS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known functions: {}", FUNCTIONS.join(", ")),
        };
        let name = super::read::shown(&call.func_name);
        return Err((format!("expression calls `{name}`, which is not there"), Some(help)));
    }
    call.target.iter().map(AsRef::as_ref).chain(call.args.iter()).try_for_each(|part| inspect(part, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, cells: &[(&str, Cell<'static>)], value: Cell<'_>) -> Result<Computed, NoValue> {
        let row = |name: &str| {
            cells.iter().find(|(column, _)| *column == name).map_or(Cell::Null, |(_, cell)| *cell)
        };
        Expression::compile(text).unwrap().evaluate(&row, value)
    }

    #[test]
    fn expressions_see_columns_and_the_value() {
        let text = |text: &str| Ok(Computed::Text(Arc::new(text.to_owned())));
        let cells = [("village", Cell::Text("0421")), ("Zone/Beat", Cell::Integer(3))];
        assert_eq!(run("'grid-' + row.village", &cells, Cell::Null), text("grid-0421"));
        assert_eq!(run("row[\"Zone/Beat\"] + 1", &cells, Cell::Null), Ok(Computed::Integer(4)));
        assert_eq!(run("value.size() >= 7", &[], Cell::Text("1234567")), Ok(Computed::Bool(true)));
        assert_eq!(run("row.village == '0421' ? 1 : 2", &cells, Cell::Null), Ok(Computed::Integer(1)));
        assert_eq!(run("'grid-' + row.none", &cells, Cell::Null), Err(NoValue));
        assert_eq!(run("1 / 0", &[], Cell::Null), Err(NoValue));
    }

    #[test]
    fn columns_are_known_when_the_mapping_is_read() {
        let compiled = Expression::compile("row.a + row['b c'] + row.a").unwrap();
        let columns: Vec<&str> = compiled.columns().iter().map(AsRef::as_ref).collect();
        assert_eq!(columns, ["a", "b c"]);
    }

    #[test]
    fn loops_and_unknown_names_are_refused() {
        for text in [
            "[1,2].map(x, x * 2)",
            "[1,2].filter(x, x > 1).size() > 0",
            "[row.a].all(x, x > 1)",
            "[row.a].exists(x, x > 1)",
            "row",
            "size(row)",
            "rwo.a",
            "vlaue",
            "{'a': 1}",
            "row.a.b",
            "foo(1)",
            "row.a +",
            "value.matches('(a+)+')",
        ] {
            assert!(Expression::compile(text).is_err(), "{text}");
        }
        let long = format!("'{}'", "x".repeat(TEXT_MAX));
        assert!(Expression::compile(&long).is_err());
    }
}
