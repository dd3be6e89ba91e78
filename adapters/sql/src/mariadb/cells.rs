//! Cells of MariaDB's binary form. Decimals come as texts and stay exact.

use crate::server::Trouble;
use crate::types::{Holds, Typed};
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use mysql_async::consts::ColumnType;
use mysql_async::{Column, Row, Value};
use yiwang_adapter_sdk::source::SourceError;
use yiwang_adapter_sdk::value::{Cell, Rows};

/// The character set of what is no text.
const BINARY: u16 = 63;

fn is_decimal(column: &Column) -> bool {
    matches!(column.column_type(), ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL)
}

fn is_binary(column: &Column) -> bool {
    use ColumnType as T;
    let text = matches!(
        column.column_type(),
        T::MYSQL_TYPE_VARCHAR
            | T::MYSQL_TYPE_VAR_STRING
            | T::MYSQL_TYPE_STRING
            | T::MYSQL_TYPE_TINY_BLOB
            | T::MYSQL_TYPE_MEDIUM_BLOB
            | T::MYSQL_TYPE_LONG_BLOB
            | T::MYSQL_TYPE_BLOB
    );
    (text && column.character_set() == BINARY) || column.column_type() == T::MYSQL_TYPE_GEOMETRY
}

/// Whether a field can take values of a column.
pub(super) fn can_take(column: &Column) -> bool {
    !is_binary(column)
}

/// What the type of a column is called.
pub(super) fn type_name(column: &Column) -> String {
    use ColumnType as T;
    let name = match column.column_type() {
        T::MYSQL_TYPE_GEOMETRY => "geometry",
        _ if is_binary(column) => "binary",
        T::MYSQL_TYPE_TINY => "tinyint",
        T::MYSQL_TYPE_SHORT => "smallint",
        T::MYSQL_TYPE_INT24 => "mediumint",
        T::MYSQL_TYPE_LONG => "int",
        T::MYSQL_TYPE_LONGLONG => "bigint",
        T::MYSQL_TYPE_YEAR => "year",
        T::MYSQL_TYPE_BIT => "bit",
        T::MYSQL_TYPE_FLOAT => "float",
        T::MYSQL_TYPE_DOUBLE => "double",
        T::MYSQL_TYPE_DECIMAL | T::MYSQL_TYPE_NEWDECIMAL => "decimal",
        T::MYSQL_TYPE_DATE => "date",
        T::MYSQL_TYPE_TIME => "time",
        T::MYSQL_TYPE_DATETIME => "datetime",
        T::MYSQL_TYPE_TIMESTAMP => "timestamp",
        T::MYSQL_TYPE_JSON => "json",
        _ => "text",
    };
    name.to_owned()
}

/// The name and type of a column that a field can take.
pub(super) fn typed(column: &Column) -> Option<(String, Typed)> {
    use ColumnType as T;
    let exact = is_decimal(column);
    let holds = match column.column_type() {
        _ if is_binary(column) => return None,
        T::MYSQL_TYPE_TINY
        | T::MYSQL_TYPE_SHORT
        | T::MYSQL_TYPE_INT24
        | T::MYSQL_TYPE_LONG
        | T::MYSQL_TYPE_LONGLONG
        | T::MYSQL_TYPE_YEAR
        | T::MYSQL_TYPE_BIT => Holds::Whole,
        T::MYSQL_TYPE_FLOAT | T::MYSQL_TYPE_DOUBLE => Holds::Rounded,
        _ if exact && column.decimals() > 0 => Holds::Fraction,
        _ if exact => Holds::Exact,
        T::MYSQL_TYPE_DATE => Holds::Day,
        T::MYSQL_TYPE_TIME => Holds::Shaped,
        T::MYSQL_TYPE_DATETIME => Holds::Local,
        T::MYSQL_TYPE_TIMESTAMP => Holds::Moment,
        T::MYSQL_TYPE_JSON => Holds::Document,
        _ => Holds::Text,
    };
    // What a statement computes may come with fewer places than were announced.
    let sure = holds != Holds::Fraction;
    Some((column.name_str().into_owned(), Typed { holds, name: type_name(column), sure }))
}

/// Reads a cell of a row. A `timestamp` is a moment in the session's offset, a `datetime` one in the source's
/// zone.
pub(super) fn push(
    row: &Row,
    column: usize,
    offset: Offset,
    zone: &TimeZone,
    rows: &mut Rows,
) -> Result<(), Trouble> {
    let missing = || Trouble::Spent(SourceError::Query("a column is missing from the answer".to_owned()));
    let described = row.columns_ref().get(column).ok_or_else(missing)?;
    let value = row.as_ref(column).ok_or_else(missing)?;
    let owned;
    let cell = match value {
        Value::NULL => Cell::Null,
        Value::Int(value) => Cell::Integer(*value),
        Value::UInt(value) => match i64::try_from(*value) {
            Ok(value) => Cell::Integer(value),
            Err(_) => {
                owned = value.to_string();
                Cell::Text(&owned)
            }
        },
        // By way of its shortest text: 0.1 stays 0.1.
        Value::Float(value) => value.to_string().parse().map_or(Cell::Opaque, Cell::Number),
        Value::Double(value) => Cell::Number(*value),
        Value::Bytes(bytes) => text(bytes, described),
        Value::Date(year, month, day, hour, minute, second, us) => {
            let date = (*year, *month, *day);
            moment(date, (*hour, *minute, *second, *us), described, offset, zone).unwrap_or(Cell::Opaque)
        }
        Value::Time(false, 0, hour, minute, second, _) => {
            owned = format!("{hour:02}:{minute:02}:{second:02}");
            Cell::Text(&owned)
        }
        Value::Time(..) => Cell::Opaque,
    };
    rows.push(cell).map_err(|error| Trouble::Spent(error.into()))
}

fn text<'a>(bytes: &'a [u8], column: &Column) -> Cell<'a> {
    if column.column_type() == ColumnType::MYSQL_TYPE_BIT {
        let whole = |value: i64, byte: &u8| value.checked_mul(256)?.checked_add(i64::from(*byte));
        return bytes.iter().try_fold(0, whole).map_or(Cell::Opaque, Cell::Integer);
    }
    if is_binary(column) {
        return Cell::Opaque;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if is_decimal(column) => text.parse().map_or(Cell::Text(text), Cell::Integer),
        Ok(text) => Cell::Text(text),
        Err(_) => Cell::Opaque,
    }
}

/// A day or a moment; the days of zeros that the server may hold are none.
fn moment(
    (year, month, day): (u16, u8, u8),
    (hour, minute, second, us): (u8, u8, u8, u32),
    column: &Column,
    offset: Offset,
    zone: &TimeZone,
) -> Option<Cell<'static>> {
    let small = |value: u8| i8::try_from(value).ok();
    let date = Date::new(i16::try_from(year).ok()?, small(month)?, small(day)?).ok()?;
    if column.column_type() == ColumnType::MYSQL_TYPE_DATE {
        return Some(Cell::Date(date));
    }
    let nanosecond = i32::try_from(us).ok()?.checked_mul(1000)?;
    let time = jiff::civil::Time::new(small(hour)?, small(minute)?, small(second)?, nanosecond).ok()?;
    let local = DateTime::from_parts(date, time);
    let at = match column.column_type() {
        ColumnType::MYSQL_TYPE_TIMESTAMP => offset.to_timestamp(local).ok()?,
        _ => zone.to_timestamp(local).ok()?,
    };
    Some(Cell::Instant(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: ColumnType, date: (u16, u8, u8), time: (u8, u8, u8, u32)) -> Option<Cell<'static>> {
        let zone = yiwang_adapter_sdk::value::zone("Asia/Shanghai").unwrap();
        moment(date, time, &Column::new(kind), jiff::tz::offset(0), &zone)
    }

    #[test]
    fn a_datetime_is_local_a_timestamp_is_the_sessions_and_zeros_are_nothing() {
        let at = |text: &str| Some(Cell::Instant(text.parse().unwrap()));
        let noon = (12, 0, 0, 500_000);
        let day = (2026, 11, 3);
        assert_eq!(read(ColumnType::MYSQL_TYPE_DATETIME, day, noon), at("2026-11-03T04:00:00.5Z"));
        assert_eq!(read(ColumnType::MYSQL_TYPE_TIMESTAMP, day, noon), at("2026-11-03T12:00:00.5Z"));
        let date = Date::constant(2026, 11, 3);
        assert_eq!(read(ColumnType::MYSQL_TYPE_DATE, day, (0, 0, 0, 0)), Some(Cell::Date(date)));
        assert_eq!(read(ColumnType::MYSQL_TYPE_DATE, (0, 0, 0), (0, 0, 0, 0)), None);
        assert_eq!(read(ColumnType::MYSQL_TYPE_DATETIME, (2026, 0, 0), (0, 0, 0, 0)), None);
    }

    #[test]
    fn a_column_holds_what_its_type_says() {
        let of = |kind, set, decimals| {
            let column = Column::new(kind).with_character_set(set).with_decimals(decimals).with_name(b"C");
            typed(&column).map(|(name, typed)| {
                assert_eq!(name, "C");
                (typed.holds, typed.name, typed.sure)
            })
        };
        let is = |holds, name: &str, sure| Some((holds, name.to_owned(), sure));
        assert_eq!(of(ColumnType::MYSQL_TYPE_LONG, BINARY, 0), is(Holds::Whole, "int", true));
        assert_eq!(of(ColumnType::MYSQL_TYPE_BIT, BINARY, 0), is(Holds::Whole, "bit", true));
        assert_eq!(of(ColumnType::MYSQL_TYPE_NEWDECIMAL, BINARY, 0), is(Holds::Exact, "decimal", true));
        assert_eq!(of(ColumnType::MYSQL_TYPE_NEWDECIMAL, BINARY, 2), is(Holds::Fraction, "decimal", false));
        assert_eq!(of(ColumnType::MYSQL_TYPE_DOUBLE, BINARY, 31), is(Holds::Rounded, "double", true));
        assert_eq!(of(ColumnType::MYSQL_TYPE_TIMESTAMP, BINARY, 0), is(Holds::Moment, "timestamp", true));
        assert_eq!(of(ColumnType::MYSQL_TYPE_BLOB, 45, 0), is(Holds::Text, "text", true));
        assert_eq!(of(ColumnType::MYSQL_TYPE_BLOB, BINARY, 0), None);
        assert_eq!(of(ColumnType::MYSQL_TYPE_GEOMETRY, BINARY, 0), None);
        assert_eq!(type_name(&Column::new(ColumnType::MYSQL_TYPE_BLOB).with_character_set(BINARY)), "binary");
    }

    #[test]
    fn bytes_are_what_their_column_says() {
        let column = |kind, set| Column::new(kind).with_character_set(set);
        let decimal = column(ColumnType::MYSQL_TYPE_NEWDECIMAL, BINARY);
        assert_eq!(text(b"12.50", &decimal), Cell::Text("12.50"));
        assert_eq!(text(b"-7", &decimal), Cell::Integer(-7));
        assert_eq!(text(b"x", &column(ColumnType::MYSQL_TYPE_BLOB, 45)), Cell::Text("x"));
        assert_eq!(text(b"x", &column(ColumnType::MYSQL_TYPE_BLOB, BINARY)), Cell::Opaque);
        assert_eq!(text(b"\xff", &column(ColumnType::MYSQL_TYPE_STRING, 45)), Cell::Opaque);
        assert_eq!(text(&[1, 0], &column(ColumnType::MYSQL_TYPE_BIT, BINARY)), Cell::Integer(256));
        assert_eq!(text(&[255; 9], &column(ColumnType::MYSQL_TYPE_BIT, BINARY)), Cell::Opaque);
    }
}
