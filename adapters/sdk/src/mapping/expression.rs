//! Expressions of a mapping (`expr`, `check`) in CEL. They see `row.<column>` and `value`, nothing else;
//! where a row is a JSON document, `row.<member>.<member>` and `row.<list>[0]`.
//!
//! The interpreter has no cost limit, so whatever loops (`map`, `filter`, `all`, `exists`) is refused when
//! the mapping is read, and the text is short: what remains is linear in it.

use crate::value::Cell;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use yiwang_proto::nearest::did_you_mean;

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
    /// Where the columns stand in a document; empty where a row is none.
    places: Vec<Vec<Step>>,
    /// It says itself what nothing means: it names `null`, or asks with `has`.
    knows_null: bool,
}

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Member(String),
    Item(i64),
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
    pub(crate) fn compile(text: &str) -> Result<Self, Refusal> {
        let program = parse(text)?;
        let (mut columns, mut knows_null) = (Vec::new(), false);
        inspect(program.expression(), &mut |node| {
            knows_null |= is_of_null(node);
            column_of(node).map(|column| columns.push(column))
        })?;
        columns.sort();
        columns.dedup();
        Ok(Self { program, columns, places: Vec::new(), knows_null })
    }

    /// Compiles a text over rows that are documents; its columns are JSON pointers.
    pub(crate) fn compile_document(text: &str) -> Result<Self, Refusal> {
        let program = parse(text)?;
        let mut places: Vec<Vec<Step>> = Vec::new();
        let (mut computed, mut knows_null) = (false, false);
        inspect(program.expression(), &mut |node| {
            let mut place = Vec::new();
            knows_null |= is_of_null(node);
            computed |= is_computed(node);
            (place_of(node, &mut place) && !place.is_empty()).then(|| places.push(place))
        })?;
        if computed {
            let help = "write the place itself: row.list[0] or row['name']".to_owned();
            return Err(("expression reads a place that it computes".to_owned(), Some(help)));
        }
        places.sort();
        places.dedup();
        if places.windows(2).any(|pair| matches!(pair, [a, b] if b.starts_with(a))) {
            let help = "read the parts only: a list or object is no value".to_owned();
            return Err(("expression reads a thing and a part of it".to_owned(), Some(help)));
        }
        let columns = places.iter().map(|place| pointer(place)).collect();
        Ok(Self { program, columns, places, knows_null })
    }

    /// The columns it reads.
    pub fn columns(&self) -> &[Arc<str>] {
        &self.columns
    }

    /// Constants that it can give as they stand: itself, or a branch of `a ? b : c`. Null is left out.
    pub fn constants(&self) -> Vec<Computed> {
        let mut found = Vec::new();
        collect_constants(self.program.expression(), &mut found);
        found
    }

    /// Whether all that it reads is null, without its saying what that means: nothing comes of nothing. `value == '0'` over
    /// null would be false otherwise, a "no" that nobody wrote.
    pub fn is_over_nothing<'c>(&self, row: &dyn Fn(&str) -> Cell<'c>, value: Cell<'_>) -> bool {
        !self.knows_null && value == Cell::Null && self.columns.iter().all(|column| row(column) == Cell::Null)
    }

    fn row<'c>(&self, row: &dyn Fn(&str) -> Cell<'c>) -> Value {
        if self.places.is_empty() {
            let named = |column: &Arc<str>| (Key::String(Arc::new(column.to_string())), to_cel(row(column)));
            return object(self.columns.iter().map(named).collect());
        }
        let leaves: Vec<(&[Step], Value)> = self
            .places
            .iter()
            .zip(&self.columns)
            .map(|(place, column)| (place.as_slice(), to_cel(row(column))))
            .collect();
        nest(&leaves)
    }

    /// Evaluates it over a row and, where it has one, the value converted so far.
    pub fn evaluate<'c>(&self, row: &dyn Fn(&str) -> Cell<'c>, value: Cell<'_>) -> Result<Computed, NoValue> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("row", self.row(row));
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

fn parse(text: &str) -> Result<Program, Refusal> {
    if text.chars().count() > TEXT_MAX {
        return Err((format!("expression is over {TEXT_MAX} characters"), None));
    }
    ENV.compile(text).map_err(|errors| {
        let first = errors.errors.first().map_or_else(String::new, |error| {
            error.msg.lines().next().unwrap_or_default().chars().take(160).collect()
        });
        (format!("expression does not parse: {first}"), None)
    })
}

fn object(map: HashMap<Key, Value>) -> Value {
    Value::Map(Map { map: Arc::new(map) })
}

/// Puts leaves, which are sorted by their places, into objects within objects.
fn nest(leaves: &[(&[Step], Value)]) -> Value {
    let mut map = HashMap::new();
    for part in leaves.chunk_by(|(a, _), (b, _)| a.first() == b.first()) {
        let Some(((step, inner), value)) =
            part.first().and_then(|(place, value)| Some((place.split_first()?, value)))
        else {
            continue;
        };
        let key = match step {
            Step::Member(name) => Key::String(Arc::new(name.clone())),
            Step::Item(at) => Key::Int(*at),
        };
        let value = if inner.is_empty() {
            value.clone()
        } else {
            let inner: Vec<(&[Step], Value)> =
                part.iter().filter_map(|(place, value)| Some((place.get(1..)?, value.clone()))).collect();
            nest(&inner)
        };
        map.insert(key, value);
    }
    object(map)
}

fn pointer(place: &[Step]) -> Arc<str> {
    let mut text = String::new();
    for step in place {
        text.push('/');
        match step {
            Step::Member(name) => text.push_str(&name.replace('~', "~0").replace('/', "~1")),
            Step::Item(at) => text.push_str(&at.to_string()),
        }
    }
    Arc::from(text)
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

/// The column that an expression reads as a whole: `row.a` or `row["a"]`.
fn column_of(node: &IdedExpr) -> Option<Arc<str>> {
    let mut place = Vec::new();
    match (place_of(node, &mut place), place.as_slice()) {
        (true, [Step::Member(name)]) => Some(Arc::from(name.as_str())),
        _ => None,
    }
}

fn is_of_null(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(literal) => matches!(literal, LiteralValue::Null),
        Expr::Select(select) => select.test,
        _ => false,
    }
}

fn collect_constants(node: &IdedExpr, found: &mut Vec<Computed>) {
    match &node.expr {
        Expr::Literal(LiteralValue::Boolean(value)) => found.push(Computed::Bool(*value.inner())),
        Expr::Literal(LiteralValue::Int(value)) => found.push(Computed::Integer(*value.inner())),
        Expr::Literal(LiteralValue::Double(value)) => found.push(Computed::Number(*value.inner())),
        Expr::Literal(LiteralValue::String(text)) => {
            found.push(Computed::Text(Arc::new(text.inner().to_owned())))
        }
        Expr::Call(call) if call.func_name == cel::common::ast::operators::CONDITIONAL => {
            call.args.iter().skip(1).for_each(|branch| collect_constants(branch, found));
        }
        _ => {}
    }
}

/// Whether it reads a part of the row whose place is known only when it runs.
fn is_computed(node: &IdedExpr) -> bool {
    let Expr::Call(call) = &node.expr else { return false };
    let [over, _] = call.args.as_slice() else { return false };
    call.func_name == cel::common::ast::operators::INDEX
        && place_of(over, &mut Vec::new())
        && !place_of(node, &mut Vec::new())
}

/// Collects the steps from `row` to what an expression reads; false if it reads something else.
fn place_of(node: &IdedExpr, place: &mut Vec<Step>) -> bool {
    match &node.expr {
        Expr::Ident(name) => name == "row",
        Expr::Select(select) => {
            let found = place_of(&select.operand, place);
            place.push(Step::Member(select.field.clone()));
            found
        }
        Expr::Call(call) if call.func_name == cel::common::ast::operators::INDEX => {
            let [over, at] = call.args.as_slice() else { return false };
            let found = place_of(over, place);
            match &at.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    place.push(Step::Member(name.inner().to_owned()))
                }
                Expr::Literal(LiteralValue::Int(at)) if *at.inner() >= 0 => {
                    place.push(Step::Item(*at.inner()))
                }
                _ => return false,
            }
            found
        }
        _ => false,
    }
}

/// Walks an expression; `read` takes what is a column, and yields nothing for what is none.
fn inspect(node: &IdedExpr, read: &mut dyn FnMut(&IdedExpr) -> Option<()>) -> Result<(), Refusal> {
    if read(node).is_some() {
        return Ok(());
    }
    match &node.expr {
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) if name == "value" => Ok(()),
        Expr::Ident(name) if name == "row" => Err((
            "`row` is read as a whole".to_owned(),
            Some("read a column: row.<column>, or row[\"<column>\"]".to_owned()),
        )),
        Expr::Ident(name) => {
            let help = did_you_mean(name, ["row", "value"]).unwrap_or_else(|| {
                "an expression sees row.<column> and value; texts stand in quotes".to_owned()
            });
            Err((format!("expression names `{}`, which is not there", super::read::shown(name)), Some(help)))
        }
        Expr::Select(select) => {
            inspect(&select.operand, read)?;
            Err((
                "expression selects from something that has no fields".to_owned(),
                Some("only `row` has fields".to_owned()),
            ))
        }
        Expr::Call(call) => inspect_call(call, read),
        Expr::List(list) => list.elements.iter().try_for_each(|element| inspect(element, read)),
        Expr::Comprehension(_) => Err((
            "expression loops".to_owned(),
            Some("map, filter, all and exists are refused: they have no cost limit".to_owned()),
        )),
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
            Err(("expression builds a map or struct".to_owned(), None))
        }
    }
}

fn inspect_call(
    call: &cel::common::ast::CallExpr,
    read: &mut dyn FnMut(&IdedExpr) -> Option<()>,
) -> Result<(), Refusal> {
    // Names of operators have characters that no identifier has, like `_+_`.
    let operator = call.func_name.chars().any(|c| !(c.is_ascii_alphanumeric() || c == '_'));
    if !operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
        let help = did_you_mean(&call.func_name, FUNCTIONS)
            .unwrap_or_else(|| format!("known functions: {}", FUNCTIONS.join(", ")));
        let name = super::read::shown(&call.func_name);
        return Err((format!("expression calls `{name}`, which is not there"), Some(help)));
    }
    call.target.iter().map(AsRef::as_ref).chain(call.args.iter()).try_for_each(|part| inspect(part, read))
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
    fn expressions_over_documents_read_places() {
        let compiled = Expression::compile_document(
            "row.class.code == 'EMER' && row.name[0].text == 'x' && row['a/b'].c > 1",
        );
        let compiled = compiled.unwrap();
        let columns: Vec<&str> = compiled.columns().iter().map(AsRef::as_ref).collect();
        assert_eq!(columns, ["/a~1b/c", "/class/code", "/name/0/text"]);
        let row = |name: &str| match name {
            "/class/code" => Cell::Text("EMER"),
            "/name/0/text" => Cell::Text("x"),
            "/a~1b/c" => Cell::Integer(2),
            _ => Cell::Null,
        };
        assert_eq!(compiled.evaluate(&row, Cell::Null), Ok(Computed::Bool(true)));
        // What is not there is null, and equal to nothing.
        assert_eq!(compiled.evaluate(&|_| Cell::Null, Cell::Null), Ok(Computed::Bool(false)));
        for text in ["row", "row.a[value]", "row.a[row.b]", "row.a.b && row.a == 1", "row.a[-1]", "rwo.a.b"] {
            assert!(Expression::compile_document(text).is_err(), "{text}");
        }
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
