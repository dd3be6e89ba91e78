//! What fields make of a column's type, by the types alone: no row is read. It follows how the sources make cells of
//! columns, and how the SDK converts cells (`reduce::convert`): what may work is never refused here.

use std::collections::BTreeMap;
use yiwang_adapter_sdk::check::{Finding, Severity};
use yiwang_adapter_sdk::mapping::{FieldDef, FieldType, OperationDef, Step, UnknownCode};
use yiwang_adapter_sdk::words::words;

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Texts; anything may stand in one.
    Text,
    /// Texts in a form of the database's own that is no number and no day: times of day, `uuid`.
    Shaped,
    /// Documents, as texts.
    Document,
    /// Bytes.
    Bytes,
    /// Whole numbers.
    Whole,
    /// Decimals, of which some may be whole.
    Exact,
    /// Decimals with places behind the point, all of them.
    Fraction,
    /// Floating-point numbers.
    Rounded,
    /// true or false.
    Bool,
    /// Calendar days.
    Day,
    /// Days with a time, in the source's zone.
    Local,
    /// Moments.
    Moment,
}

/// The type of a column of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) holds: Holds,
    /// In the database's words.
    pub(crate) name: String,
    /// Whether each of its cells is of it.
    pub(crate) sure: bool,
}

/// Compares the types of a statement's columns with those of the fields that are read from them.
pub(crate) fn compare_types(
    operation: &OperationDef,
    types: &BTreeMap<String, Typed>,
    findings: &mut Vec<Finding>,
) {
    for field in operation.fields.iter().chain(&operation.as_of) {
        // An expression may make anything of its column.
        let Some(from) = field.from.as_ref().filter(|_| field.expr.is_none()) else { continue };
        let Some(typed) = types.get(from.as_ref()) else { continue };
        let Some(verdict) = judge(typed.holds, field) else { continue };
        let (severity, code) = match verdict.never && typed.sure {
            true => (Severity::Error, "A-SQL-020"),
            false => (Severity::Warning, "A-SQL-021"),
        };
        let message = format!(
            "operation {}, field `{}`: column `{from}` is of type {}, {}",
            operation.name,
            field.name,
            words(&typed.name),
            verdict.why
        );
        findings.push(Finding::new(severity, code, message).at(field.span.clone()).help(verdict.help));
    }
}

/// What is wrong between a column and a field.
#[derive(Debug)]
struct Verdict {
    /// No value becomes one of the field; else some are lost, or are not what they seem.
    never: bool,
    why: String,
    help: &'static str,
}

const CAST: &str = "cast it in the statement, or give the field the type of what is there";
const FORMAT: &str =
    "say how the number is written, like format = \"%Y%m%d\" for a day; or make one of it in the statement";
const LISTED: &str = "write the codes as the numbers are written: 1, and neither 01 nor A";
const TIMELESS: &str = "make the field a date, or take the column that holds the time";
const NO_DAY: &str = "take the column that holds the day, or make one in the statement";
const PART: &str = "take the value out of the document in the statement";
const POINT: &str = "make the field a number, or round in the statement";
const ROUNDED: &str = "what identifies, and amounts, are kept as texts, whole numbers or decimals: take the column that does so";
const DAY_ONLY: &str = "if its day is what is meant say so in the statement: cast(COLUMN as date)";
const ZONE: &str = "see that `time_zone` of the source is the one whose days are meant";

fn judge(holds: Holds, field: &FieldDef) -> Option<Verdict> {
    use FieldType as To;
    let to = field.kind;
    let never = |help| Some(unreadable(field, "", help));
    let doubtful = |why: &str, help| Some(Verdict { never: false, why: why.to_owned(), help });
    let unwritten = matches!(to, To::Date | To::Timestamp) && field.format.is_none();
    // Of a text; cells that are none are not stepped.
    let digits = field.steps.contains(&Step::Digits);
    match (holds, to) {
        (Holds::Text, _) => None,
        (Holds::Bytes, _) => never(CAST),
        (Holds::Document, _) if unwritten => never(PART),
        (Holds::Document, _) => doubtful("which comes as it is written, with quotes and brackets", PART),
        (Holds::Shaped, To::String | To::Code) => None,
        (Holds::Shaped, _) if digits => None,
        (Holds::Shaped, To::Date | To::Timestamp) => never(NO_DAY),
        (Holds::Shaped, _) => never(CAST),
        (Holds::Whole | Holds::Exact | Holds::Fraction | Holds::Rounded, _) if unwritten => {
            Some(unreadable(field, "without a `format` ", FORMAT))
        }
        (Holds::Whole, To::Code) => unlisted(field, "whole number", LISTED, is_whole),
        (Holds::Whole | Holds::Exact, _) => None,
        (Holds::Fraction, To::Integer) if digits => doubtful("of which step `digits` drops the point", POINT),
        (Holds::Fraction, To::Integer) => never(POINT),
        (Holds::Fraction, To::Bool) => never(CAST),
        (Holds::Fraction, _) => None,
        (Holds::Rounded, To::Number | To::Bool) => None,
        (Holds::Rounded, To::Integer) => doubtful("of which only what is whole can be read", POINT),
        (Holds::Rounded, _) => doubtful("which rounds: digits may be lost, and added", ROUNDED),
        (Holds::Bool, To::Code) => {
            let help = "the codes of such a column are true and false";
            unlisted(field, "`true` or `false`", help, |code| matches!(code, "true" | "false"))
        }
        (Holds::Bool, To::String | To::Bool) => None,
        (Holds::Bool, To::Date | To::Timestamp) => never(NO_DAY),
        (Holds::Bool, To::Integer | To::Number) => never(CAST),
        (Holds::Day | Holds::Local | Holds::Moment, To::Integer | To::Number | To::Bool) => never(CAST),
        (Holds::Day, To::Timestamp) if unwritten => never(TIMELESS),
        (Holds::Local, To::Date) => doubtful("of which the time of day is left out", DAY_ONLY),
        (Holds::Moment, To::Date) => doubtful("and which day a moment is of depends on the zone", ZONE),
        (Holds::Day | Holds::Local | Holds::Moment, _) => None,
    }
}

fn unreadable(field: &FieldDef, without: &str, help: &'static str) -> Verdict {
    let why = format!("and {without}no {} can be read from such a value", field.kind.as_str());
    Verdict { never: true, why, help }
}

/// A table of codes that has none that can come.
fn unlisted(field: &FieldDef, what: &str, help: &'static str, can_come: fn(&str) -> bool) -> Option<Verdict> {
    let table = field.codes.as_deref()?;
    if table.words.is_empty() || table.words.keys().any(|code| can_come(code)) {
        return None;
    }
    let why = format!("and table `{}` lists no {what}", table.name);
    Some(Verdict { never: table.unknown != UnknownCode::Keep, why, help })
}

/// Whether a whole number is written so.
fn is_whole(code: &str) -> bool {
    code.parse::<i64>().is_ok_and(|number| number.to_string() == code)
}

/// What a column of SQLite was declared to hold; any cell may still hold something else. In the order in which SQLite
/// itself looks for the words. None where a declaration says little, as of days and decimals.
pub(crate) fn declared(name: &str) -> Option<Holds> {
    let upper = name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    if has(&["INT"]) {
        Some(Holds::Whole)
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Some(Holds::Text)
    } else if has(&["BLOB"]) {
        Some(Holds::Bytes)
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Some(Holds::Rounded)
    } else {
        None
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
