//! One cell to one value of a record. What cannot be converted is an error where the field is required,
//! and else null with a quality flag; no value is guessed or repaired beyond the mapping's steps.

use super::{Layout, RowFault, quality};
use crate::mapping::{CodeTable, FieldDef, FieldType, Step, UnknownCode};
use crate::value::{Cell, Rows, parse_date, parse_instant};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// A value of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Converted<'a> {
    /// Nothing.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// A calendar day.
    Date(Date),
    /// A moment.
    Instant(Timestamp),
}

/// A value with its quality flag.
pub type Flagged<'a> = (Converted<'a>, Option<&'static str>);

/// Converts the cell of a field.
pub fn convert<'r>(
    field: &FieldDef,
    rows: &'r Rows,
    row: usize,
    layout: &Layout,
    zone: &TimeZone,
) -> Result<Flagged<'r>, RowFault> {
    let cell = field.from.as_ref().map_or(Cell::Null, |column| layout.cell(rows, row, column));
    let read = |column: &str| layout.cell(rows, row, column);
    let (value, flag) = match &field.expr {
        None => typed(field, cell, zone)?,
        Some(expression) => {
            let stepped = match cell {
                Cell::Text(text) => Some(apply(&field.steps, text)),
                _ => None,
            };
            let before = stepped.as_deref().map_or(cell, Cell::Text);
            let reads = field.from.is_some() || !expression.columns().is_empty();
            match expression.evaluate(&read, before) {
                _ if reads && expression.is_over_nothing(&read, before) => (Converted::Null, None),
                Ok(computed) => into_owned(typed(field, computed.as_cell(), zone)?),
                // An expression over nothing gives nothing; over something it should have given a value.
                Err(_) if expression.columns().iter().any(|column| read(column) == Cell::Null) => {
                    (Converted::Null, None)
                }
                Err(_) => (Converted::Null, Some(quality::UNREADABLE)),
            }
        }
    };
    let (value, flag) = checked(field, value, flag, &read)?;
    if value == Converted::Null && field.required {
        let name = field.name.clone();
        return Err(match flag {
            None => RowFault::Empty(name),
            Some(quality::FAILED_CHECK) => RowFault::Check(name),
            Some(_) => RowFault::Unreadable(name),
        });
    }
    Ok((value, flag))
}

fn checked<'r>(
    field: &FieldDef,
    value: Converted<'r>,
    flag: Option<&'static str>,
    read: &dyn Fn(&str) -> Cell<'r>,
) -> Result<Flagged<'r>, RowFault> {
    let Some(check) = field.check.as_ref().filter(|_| value != Converted::Null) else {
        return Ok((value, flag));
    };
    let day;
    let seen = match &value {
        Converted::Null => Cell::Null,
        Converted::Bool(value) => Cell::Bool(*value),
        Converted::Integer(value) => Cell::Integer(*value),
        Converted::Number(value) => Cell::Number(*value),
        Converted::Text(text) => Cell::Text(text),
        Converted::Date(value) => {
            day = value.to_string();
            Cell::Text(&day)
        }
        Converted::Instant(value) => Cell::Instant(*value),
    };
    match check.evaluate(read, seen) {
        Ok(crate::mapping::Computed::Bool(true)) => Ok((value, flag)),
        _ => Ok((Converted::Null, Some(quality::FAILED_CHECK))),
    }
}

fn into_owned(flagged: Flagged<'_>) -> Flagged<'static> {
    let value = match flagged.0 {
        Converted::Null => Converted::Null,
        Converted::Bool(value) => Converted::Bool(value),
        Converted::Integer(value) => Converted::Integer(value),
        Converted::Number(value) => Converted::Number(value),
        Converted::Text(text) => Converted::Text(Cow::Owned(text.into_owned())),
        Converted::Date(value) => Converted::Date(value),
        Converted::Instant(value) => Converted::Instant(value),
    };
    (value, flagged.1)
}

fn typed<'a>(field: &FieldDef, cell: Cell<'a>, zone: &TimeZone) -> Result<Flagged<'a>, RowFault> {
    let text: Cow<'a, str> = match cell {
        Cell::Null => return Ok((Converted::Null, None)),
        Cell::Opaque => return Ok((Converted::Null, Some(quality::UNREADABLE))),
        Cell::Text(text) => {
            let stepped = apply(&field.steps, text);
            if stepped.is_empty() {
                // Only `digits` can take all of a text that says something.
                let lost = field.steps.contains(&Step::Digits) && !text.trim().is_empty();
                return Ok((Converted::Null, lost.then_some(quality::UNREADABLE)));
            }
            stepped
        }
        other => match scalar(field, other, zone) {
            Some(value) => return Ok(settle(value, zone)),
            None => Cow::Owned(plain_text(other, zone)),
        },
    };
    let value = match field.kind {
        FieldType::String => {
            let flag = is_identity_number(field).then(|| quality::of_identity_number(&text)).flatten();
            return Ok((Converted::Text(text), flag));
        }
        FieldType::Code => {
            return match &field.codes {
                Some(table) => coded(field, table, text),
                None => Ok((Converted::Null, Some(quality::UNREADABLE))),
            };
        }
        FieldType::Integer => text.parse().ok().map(Converted::Integer),
        FieldType::Number => {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Converted::Number)
        }
        FieldType::Bool => match text.as_ref() {
            "1" | "true" => Some(Converted::Bool(true)),
            "0" | "false" => Some(Converted::Bool(false)),
            _ => None,
        },
        FieldType::Date => parse_date(&text, field.format.as_deref(), zone).map(Converted::Date),
        FieldType::Timestamp => parse_instant(&text, field.format.as_deref(), zone).map(Converted::Instant),
    };
    Ok(value.map_or((Converted::Null, Some(quality::UNREADABLE)), |value| settle(value, zone)))
}

/// Placeholders of old systems become null with a flag; everything else stays.
fn settle<'a>(value: Converted<'a>, zone: &TimeZone) -> Flagged<'a> {
    let day = match &value {
        Converted::Date(day) => Some(*day),
        Converted::Instant(at) if at.as_second() < 0 => Some(zone.to_datetime(*at).date()),
        _ => None,
    };
    if day == Some(PLACEHOLDER) { (Converted::Null, Some(quality::PLACEHOLDER_DATE)) } else { (value, None) }
}

const PLACEHOLDER: Date = Date::constant(1900, 1, 1);

fn is_identity_number(field: &FieldDef) -> bool {
    let name = field.name.as_str();
    name == "id_number" || name == "national_id" || name.ends_with("_id_number")
}

/// A cell that is no text, where its type fits the field's directly.
fn scalar<'a>(field: &FieldDef, cell: Cell<'a>, zone: &TimeZone) -> Option<Converted<'a>> {
    match (field.kind, cell) {
        (FieldType::Integer, Cell::Integer(value)) => Some(Converted::Integer(value)),
        (FieldType::Number, Cell::Integer(value)) => Some(Converted::Integer(value)),
        (FieldType::Number, Cell::Number(value)) if value.is_finite() => Some(Converted::Number(value)),
        (FieldType::Bool, Cell::Bool(value)) => Some(Converted::Bool(value)),
        (FieldType::Date, Cell::Date(day)) => Some(Converted::Date(day)),
        (FieldType::Date, Cell::Instant(at)) => Some(Converted::Date(zone.to_datetime(at).date())),
        (FieldType::Timestamp, Cell::Instant(at)) => Some(Converted::Instant(at)),
        _ => None,
    }
}

/// A cell as a text.
pub(crate) fn plain_text(cell: Cell<'_>, zone: &TimeZone) -> String {
    match cell {
        Cell::Bool(value) => value.to_string(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(value) => value.to_string(),
        Cell::Date(day) => day.to_string(),
        Cell::Instant(at) => {
            let mut out = Vec::new();
            crate::value::write_instant(&mut out, at, zone);
            String::from_utf8(out).unwrap_or_default()
        }
        Cell::Text(text) => text.to_owned(),
        Cell::Null | Cell::Opaque => String::new(),
    }
}

fn coded<'a>(field: &FieldDef, table: &CodeTable, code: Cow<'a, str>) -> Result<Flagged<'a>, RowFault> {
    match (table.words.get(code.as_ref()), table.unknown) {
        (Some(word), _) => Ok((Converted::Text(Cow::Owned(word.clone())), None)),
        (None, UnknownCode::Keep) => Ok((Converted::Text(code), Some(quality::UNKNOWN_CODE))),
        (None, UnknownCode::Null) => Ok((Converted::Null, Some(quality::UNKNOWN_CODE))),
        (None, UnknownCode::Fail) => Err(RowFault::UnknownCode {
            field: field.name.clone(),
            table: table.name.clone(),
            code: code.chars().take(40).collect(),
        }),
    }
}

/// Runs the steps over a text; without steps nothing is copied.
pub(crate) fn apply<'a>(steps: &[Step], text: &'a str) -> Cow<'a, str> {
    let mut value = Cow::Borrowed(text);
    for step in steps {
        value = match (step, value) {
            (Step::Trim, Cow::Borrowed(text)) => Cow::Borrowed(text.trim()),
            (Step::Trim, Cow::Owned(text)) => Cow::Owned(text.trim().to_owned()),
            (Step::Nfc, value) => {
                let nfc = icu_normalizer::ComposingNormalizerBorrowed::new_nfc();
                if nfc.is_normalized(&value) { value } else { Cow::Owned(nfc.normalize(&value).into_owned()) }
            }
            (Step::Digits, value) => {
                if value.bytes().all(|byte| byte.is_ascii_digit()) {
                    value
                } else {
                    Cow::Owned(value.chars().filter(char::is_ascii_digit).collect())
                }
            }
            (Step::Halfwidth, value) => {
                if value.is_ascii() {
                    value
                } else {
                    Cow::Owned(value.chars().map(halfwidth).collect())
                }
            }
            (Step::Upper, value) => {
                if value.bytes().any(|byte| byte.is_ascii_lowercase()) {
                    Cow::Owned(value.to_ascii_uppercase())
                } else {
                    value
                }
            }
            (Step::Lower, value) => {
                if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    Cow::Owned(value.to_ascii_lowercase())
                } else {
                    value
                }
            }
        };
    }
    value
}

fn halfwidth(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    }
}

#[cfg(test)]
#[path = "convert_test.rs"]
mod tests;
