//! Cells of PostgreSQL's binary form. What is exact there stays exact here: a decimal with a fraction is
//! its text, because not every one of them is a floating-point number.

use crate::server::Trouble;
use crate::types::{Holds, Typed};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Column, Row};
use yiwang_adapter_sdk::source::SourceError;
use yiwang_adapter_sdk::value::{Cell, Rows};

/// Where PostgreSQL's days and moments count from.
const EPOCH: Date = Date::constant(2000, 1, 1);
/// The same moment in microseconds since 1970.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A value's bytes as they came.
struct Bytes<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_ty: &Type) -> bool {
        true
    }
}

/// How a type is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Bool,
    Whole,
    Single,
    Double,
    Decimal,
    Text,
    /// `char(n)`, whose blanks at the end are the column's, not the value's.
    Padded,
    Date,
    Time,
    Local,
    Instant,
    Uuid,
    Opaque,
}

fn form(ty: &Type) -> Form {
    match *ty {
        Type::BOOL => Form::Bool,
        Type::INT2 | Type::INT4 | Type::INT8 => Form::Whole,
        Type::FLOAT4 => Form::Single,
        Type::FLOAT8 => Form::Double,
        Type::NUMERIC => Form::Decimal,
        Type::BPCHAR => Form::Padded,
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN | Type::JSON | Type::XML => Form::Text,
        Type::DATE => Form::Date,
        Type::TIME => Form::Time,
        Type::TIMESTAMP => Form::Local,
        Type::TIMESTAMPTZ => Form::Instant,
        Type::UUID => Form::Uuid,
        _ => match ty.kind() {
            Kind::Enum(_) => Form::Text,
            Kind::Domain(inner) => form(inner),
            _ if ty.name() == "citext" => Form::Text,
            _ => Form::Opaque,
        },
    }
}

/// Whether a field can take values of a type.
pub(super) fn can_take(ty: &Type) -> bool {
    form(ty) != Form::Opaque
}

/// The name and type of a column that a field can take.
pub(super) fn typed(column: &Column) -> Option<(String, Typed)> {
    let holds = holds(column.type_(), column.type_modifier())?;
    Some((column.name().to_owned(), Typed { holds, name: column.type_().to_string(), sure: true }))
}

fn holds(ty: &Type, modifier: i32) -> Option<Holds> {
    Some(match form(ty) {
        Form::Bool => Holds::Bool,
        Form::Whole => Holds::Whole,
        Form::Single | Form::Double => Holds::Rounded,
        Form::Decimal if has_places(modifier) => Holds::Fraction,
        Form::Decimal => Holds::Exact,
        Form::Text if *base(ty) == Type::JSON => Holds::Document,
        Form::Text | Form::Padded => Holds::Text,
        Form::Date => Holds::Day,
        Form::Time | Form::Uuid => Holds::Shaped,
        Form::Local => Holds::Local,
        Form::Instant => Holds::Moment,
        Form::Opaque => return None,
    })
}

/// The type beneath a domain.
fn base(ty: &Type) -> &Type {
    match ty.kind() {
        Kind::Domain(inner) => base(inner),
        _ => ty,
    }
}

/// Whether all values of a `numeric(p, s)` have places behind the point. The scale is the lower eleven bits of what
/// lies behind four bytes of length, as a number with a sign; without a modifier each value has its own.
const fn has_places(modifier: i32) -> bool {
    modifier >= 4 && matches!((modifier - 4) & 0x7ff, 1..=1000)
}

/// Reads a cell of a row.
pub(super) fn push(row: &Row, column: usize, zone: &TimeZone, rows: &mut Rows) -> Result<(), Trouble> {
    let kind = row.columns().get(column).map(|column| form(column.type_())).unwrap_or(Form::Opaque);
    let bytes: Option<Bytes<'_>> = row
        .try_get(column)
        .map_err(|_| Trouble::Spent(SourceError::Query("a column is missing from the answer".to_owned())))?;
    let owned;
    let cell = match bytes {
        None => Cell::Null,
        Some(Bytes(raw)) => match kind {
            Form::Text => text(raw),
            Form::Padded => match text(raw) {
                Cell::Text(padded) => Cell::Text(padded.trim_end_matches(' ')),
                other => other,
            },
            Form::Decimal => match decimal(raw) {
                Some(Decimal::Whole(value)) => Cell::Integer(value),
                Some(Decimal::Text(text)) => {
                    owned = text;
                    Cell::Text(&owned)
                }
                None => Cell::Opaque,
            },
            Form::Time => match time(raw) {
                Some(text) => {
                    owned = text;
                    Cell::Text(&owned)
                }
                None => Cell::Opaque,
            },
            Form::Uuid => match uuid(raw) {
                Some(text) => {
                    owned = text;
                    Cell::Text(&owned)
                }
                None => Cell::Opaque,
            },
            other => fixed(other, raw, zone).unwrap_or(Cell::Opaque),
        },
    };
    rows.push(cell).map_err(|error| Trouble::Spent(error.into()))
}

fn text(raw: &[u8]) -> Cell<'_> {
    std::str::from_utf8(raw).map_or(Cell::Opaque, Cell::Text)
}

/// Values of a fixed size.
fn fixed(form: Form, raw: &[u8], zone: &TimeZone) -> Option<Cell<'static>> {
    Some(match form {
        Form::Bool => Cell::Bool(*raw.first()? != 0),
        Form::Whole => Cell::Integer(whole(raw)?),
        // By way of its shortest text: 0.1 stays 0.1.
        Form::Single => Cell::Number(f32::from_be_bytes(raw.try_into().ok()?).to_string().parse().ok()?),
        Form::Double => Cell::Number(f64::from_be_bytes(raw.try_into().ok()?)),
        Form::Date => {
            let days = i32::from_be_bytes(raw.try_into().ok()?);
            Cell::Date(EPOCH.checked_add(Span::new().try_days(days).ok()?).ok()?)
        }
        // What has no zone is of the source's zone.
        Form::Local => {
            let us = i64::from_be_bytes(raw.try_into().ok()?);
            let local: DateTime = EPOCH
                .to_datetime(Time::midnight())
                .checked_add(Span::new().try_microseconds(us).ok()?)
                .ok()?;
            Cell::Instant(zone.to_timestamp(local).ok()?)
        }
        Form::Instant => {
            let us = i64::from_be_bytes(raw.try_into().ok()?).checked_add(EPOCH_US)?;
            Cell::Instant(Timestamp::from_microsecond(us).ok()?)
        }
        _ => return None,
    })
}

fn whole(raw: &[u8]) -> Option<i64> {
    Some(match raw.len() {
        2 => i64::from(i16::from_be_bytes(raw.try_into().ok()?)),
        4 => i64::from(i32::from_be_bytes(raw.try_into().ok()?)),
        8 => i64::from_be_bytes(raw.try_into().ok()?),
        _ => return None,
    })
}

fn time(raw: &[u8]) -> Option<String> {
    let us = i64::from_be_bytes(raw.try_into().ok()?);
    Some(Time::midnight().checked_add(Span::new().try_microseconds(us).ok()?).ok()?.to_string())
}

fn uuid(raw: &[u8]) -> Option<String> {
    use std::fmt::Write as _;
    let bytes: [u8; 16] = raw.try_into().ok()?;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

#[derive(Debug, PartialEq, Eq)]
enum Decimal {
    Whole(i64),
    Text(String),
}

/// Digits of base 10,000, the place of the first one, sign, and how many places after the point are shown.
/// None for what is no number, and for what is too long to be anybody's amount.
fn decimal(raw: &[u8]) -> Option<Decimal> {
    const NEGATIVE: u16 = 0x4000;
    /// Places before or after the point; an amount of money has some twenty.
    const PLACES_MAX: i32 = 1000;
    let mut words = raw.chunks_exact(2).map(|pair| pair.try_into().map(u16::from_be_bytes));
    let mut word = || words.next()?.ok();
    let (count, weight, sign, scale) =
        (word()?, i32::from(word()?.cast_signed()), word()?, i32::from(word()?));
    if (sign != 0 && sign != NEGATIVE) || weight.abs() > PLACES_MAX / 4 || scale > PLACES_MAX {
        return None;
    }
    let digits: Vec<u16> = (0..count).map(|_| word()).collect::<Option<_>>()?;
    let digit = |place: i32| {
        let at = usize::try_from(weight.checked_sub(place)?).ok()?;
        digits.get(at).copied()
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let mut before = String::new();
    for place in (0..=weight.max(0)).rev() {
        before.push_str(&format!("{:04}", digit(place).unwrap_or(0)));
    }
    let trimmed = before.trim_start_matches('0');
    text.push_str(if trimmed.is_empty() { "0" } else { trimmed });
    if scale == 0 {
        return Some(match text.parse() {
            Ok(value) => Decimal::Whole(value),
            Err(_) => Decimal::Text(text),
        });
    }
    let mut after = String::new();
    let mut place = -1;
    while i32::try_from(after.len()).ok()? < scale {
        after.push_str(&format!("{:04}", digit(place).unwrap_or(0)));
        place -= 1;
    }
    after.truncate(usize::try_from(scale).ok()?);
    text.push('.');
    text.push_str(&after);
    Some(Decimal::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(words: &[i16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_decimal_comes_as_exact_as_it_is() {
        let read = |words: &[i16]| decimal(&raw(words));
        let text = |text: &str| Some(Decimal::Text(text.to_owned()));
        assert_eq!(read(&[0, 0, 0, 0]), Some(Decimal::Whole(0)));
        assert_eq!(read(&[1, 0, 0, 0, 7]), Some(Decimal::Whole(7)));
        assert_eq!(read(&[1, 1, 0x4000, 0, 12]), Some(Decimal::Whole(-120_000)));
        assert_eq!(read(&[2, 0, 0, 2, 12, 5000]), text("12.50"));
        assert_eq!(read(&[1, -1, 0, 4, 5]), text("0.0005"));
        assert_eq!(read(&[1, -2, 0x4000, 6, 500]), text("-0.000005"));
        assert_eq!(read(&[0, 0, 0, 2]), text("0.00"));
        assert_eq!(read(&[6, 4, 0, 2, 9, 9999, 9999, 9999, 9999, 9900]), text("99999999999999999.99"));
        assert_eq!(read(&[1, 0, 0xC000u16.cast_signed(), 0, 1]), None, "no number");
        assert_eq!(read(&[1, 0, 0, 0]), None, "cut short");
        assert_eq!(read(&[1, 8000, 0, 0, 1]), None, "too long");
    }

    #[test]
    fn a_decimal_has_places_where_its_column_says_so() {
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        for (modifier, wanted) in [
            (-1, Holds::Exact),
            (numeric(10, 0), Holds::Exact),
            (numeric(10, 2), Holds::Fraction),
            (numeric(1000, 1000), Holds::Fraction),
            (numeric(5, -3), Holds::Exact),
        ] {
            assert_eq!(holds(&Type::NUMERIC, modifier), Some(wanted), "{modifier}");
        }
        let domain = |inner| Type::new("own".to_owned(), 0, Kind::Domain(inner), "public".to_owned());
        assert_eq!(holds(&domain(Type::JSON), -1), Some(Holds::Document));
        assert_eq!(holds(&domain(domain(Type::INT4)), -1), Some(Holds::Whole));
        assert_eq!(holds(&Type::JSONB, -1), None);
    }

    #[test]
    fn days_and_moments_count_from_2000_and_what_is_infinite_is_nothing() {
        let zone = yiwang_adapter_sdk::value::zone("Asia/Shanghai").unwrap();
        let day = |days: i32| fixed(Form::Date, &days.to_be_bytes(), &zone);
        assert_eq!(day(0), Some(Cell::Date(EPOCH)));
        assert_eq!(day(-1), Some(Cell::Date(Date::constant(1999, 12, 31))));
        assert_eq!(day(i32::MAX), None);
        let hour = 3_600_000_000_i64;
        let at = "2000-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(fixed(Form::Instant, &hour.to_be_bytes(), &zone), Some(Cell::Instant(at)));
        assert_eq!(fixed(Form::Local, &(9 * hour).to_be_bytes(), &zone), Some(Cell::Instant(at)));
        for endless in [i64::MAX, i64::MIN] {
            assert_eq!(fixed(Form::Instant, &endless.to_be_bytes(), &zone), None);
            assert_eq!(fixed(Form::Local, &endless.to_be_bytes(), &zone), None);
        }
        assert_eq!(fixed(Form::Single, &0.1_f32.to_be_bytes(), &zone), Some(Cell::Number(0.1)));
        assert_eq!(time(&(13 * hour + 1_000_000).to_be_bytes()).as_deref(), Some("13:00:01"));
        assert_eq!(uuid(&[0xab; 16]).as_deref(), Some("abababab-abab-abab-abab-abababababab"));
    }
}
