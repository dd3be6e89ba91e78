//! Values between a source and a record: cells as the source gives them, and how texts become dates and
//! moments. A row's texts lie in one arena, so that fetching a row costs one copy and no allocation.

use crate::mapping::{ColumnDef, ColumnType, Step};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// Bytes of text that one fetch may hold: twice the largest body, since not every column is let out.
pub const TEXT_MAX: usize = 2 * yiwang_proto::limits::BODY_MAX;

/// Bytes of text and rows that a look-up mostly gives.
const ROOM_TEXT: usize = 1024;
const ROOM_ROWS: usize = 2;

/// One value as a source gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Nothing there.
    Null,
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// A calendar day.
    Date(Date),
    /// A moment.
    Instant(Timestamp),
    /// Something that no field type can take: binary data, or a text that is not in the stated encoding.
    Opaque,
}

/// A value of a JSON document as a cell; what is not there is null, and a list or object is nothing that a
/// field can take.
pub fn json_cell(value: Option<&serde_json::Value>) -> Cell<'_> {
    use serde_json::Value;
    match value {
        None | Some(Value::Null) => Cell::Null,
        Some(Value::Bool(value)) => Cell::Bool(*value),
        Some(Value::String(text)) => Cell::Text(text),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cell::Integer(whole),
            (None, Some(number)) => Cell::Number(number),
            (None, None) => Cell::Opaque,
        },
        Some(Value::Array(_) | Value::Object(_)) => Cell::Opaque,
    }
}

#[derive(Debug, Clone, Copy)]
enum Stored {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(u32, u32),
    Date(Date),
    Instant(Timestamp),
    Opaque,
}

/// Rows of a fixed number of columns.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    width: usize,
    text_max: usize,
    text: String,
    cells: Vec<Stored>,
    ended_early: bool,
}

/// Rows would hold more text than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rows hold more text than they may")]
pub struct TooMuchText;

impl Rows {
    /// No rows yet, of so many columns.
    pub fn new(width: usize) -> Self {
        Self::with_text_max(width, TEXT_MAX)
    }

    /// No rows yet, with room for the few of a look-up, so that they do not grow step by step; more fit as well.
    pub fn with_room(width: usize) -> Self {
        Self {
            text: String::with_capacity(ROOM_TEXT),
            cells: Vec::with_capacity(ROOM_ROWS * width),
            ..Self::new(width)
        }
    }

    /// No rows yet, with another limit for their text; at most 4 GiB.
    pub fn with_text_max(width: usize, text_max: usize) -> Self {
        Self { width, text_max, text: String::new(), cells: Vec::new(), ended_early: false }
    }

    /// Takes back the cells of a row that is not whole, so that its texts are not seen again.
    pub fn cut_to(&mut self, rows: usize) {
        self.cells.truncate(rows * self.width);
    }

    /// Ends a page of a batch before the row that does not fit; more follow. The last row that is left begins the next
    /// page, since only beside it is it seen whether two rows share a key. So of two neighbours whose texts are together more
    /// than is held, the page that begins with the first fails, and its batch with it.
    ///
    /// # Errors
    /// [`TooMuchText`] where no row would be left for this page.
    pub fn end_early(&mut self) -> Result<(), TooMuchText> {
        let whole = self.len();
        if whole < 2 {
            return Err(TooMuchText);
        }
        self.cut_to(whole);
        self.ended_early = true;
        Ok(())
    }

    /// Whether rows follow that did not fit.
    #[must_use]
    pub fn ended_early(&self) -> bool {
        self.ended_early
    }

    /// Adds the next cell; rows are filled from left to right.
    pub fn push(&mut self, cell: Cell<'_>) -> Result<(), TooMuchText> {
        let stored = match cell {
            Cell::Null => Stored::Null,
            Cell::Bool(value) => Stored::Bool(value),
            Cell::Integer(value) => Stored::Integer(value),
            Cell::Number(value) => Stored::Number(value),
            Cell::Date(value) => Stored::Date(value),
            Cell::Instant(value) => Stored::Instant(value),
            Cell::Opaque => Stored::Opaque,
            Cell::Text(text) => {
                let start = self.text.len();
                if start + text.len() > self.text_max {
                    return Err(TooMuchText);
                }
                self.text.push_str(text);
                Stored::Text(
                    u32::try_from(start).map_err(|_| TooMuchText)?,
                    u32::try_from(text.len()).map_err(|_| TooMuchText)?,
                )
            }
        };
        self.cells.push(stored);
        Ok(())
    }

    /// Whole rows held.
    pub fn len(&self) -> usize {
        self.cells.len().checked_div(self.width).unwrap_or_default()
    }

    /// Bytes of text held.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// All of them, one after the other.
    pub(crate) fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Cells that are numbers with a fraction.
    pub(crate) fn numbers(&self) -> usize {
        self.cells.iter().filter(|cell| matches!(cell, Stored::Number(_))).count()
    }

    /// Whether there is no whole row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell; `Null` beyond the last row or column.
    pub fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        if column >= self.width {
            return Cell::Null;
        }
        match self.cells.get(row * self.width + column) {
            None | Some(Stored::Null) => Cell::Null,
            Some(Stored::Bool(value)) => Cell::Bool(*value),
            Some(Stored::Integer(value)) => Cell::Integer(*value),
            Some(Stored::Number(value)) => Cell::Number(*value),
            Some(Stored::Date(value)) => Cell::Date(*value),
            Some(Stored::Instant(value)) => Cell::Instant(*value),
            Some(Stored::Opaque) => Cell::Opaque,
            Some(Stored::Text(start, length)) => {
                let (start, length) = (*start as usize, *length as usize);
                self.text.get(start..start + length).map_or(Cell::Null, Cell::Text)
            }
        }
    }
}

/// Reads a calendar day: with a format (strftime notation), or as `YYYY-MM-DD`, alone or before a time. A time with an
/// offset is a moment, and its day is the one that it falls on in the source's zone.
pub fn parse_date(text: &str, format: Option<&str>, zone: &TimeZone) -> Option<Date> {
    let falls_on = |at| zone.to_datetime(at).date();
    match format {
        Some(format) => {
            let parsed = jiff::fmt::strtime::parse(format, text).ok()?;
            // A day alone is that day whatever offset stands behind it.
            let moment = parsed.hour().and_then(|_| parsed.to_timestamp().ok());
            moment.map(falls_on).or_else(|| parsed.to_date().ok())
        }
        None if text.len() == 10 => text.parse().ok(),
        None if text.len() >= 16 => match text.parse::<Timestamp>() {
            Ok(at) => Some(falls_on(at)),
            Err(_) => text.parse::<DateTime>().ok().map(|at| at.date()),
        },
        None => None,
    }
}

/// Reads a moment: with a format, or as RFC 3339, or as a local time `YYYY-MM-DD HH:MM:SS` in the source's
/// zone. A local time that falls into a gap or is ambiguous takes the offset before the change.
pub fn parse_instant(text: &str, format: Option<&str>, zone: &TimeZone) -> Option<Timestamp> {
    match format {
        Some(format) => {
            let parsed = jiff::fmt::strtime::parse(format, text).ok()?;
            match parsed.to_timestamp() {
                Ok(at) => Some(at),
                Err(_) => zone.to_timestamp(parsed.to_datetime().ok()?).ok(),
            }
        }
        None => match text.parse::<Timestamp>() {
            Ok(at) => Some(at),
            Err(_) if text.len() >= 16 => zone.to_timestamp(text.parse::<DateTime>().ok()?).ok(),
            Err(_) => None,
        },
    }
}

/// Writes a moment as RFC 3339 in a zone: `Z` in UTC, an offset elsewhere.
pub fn write_instant(out: &mut Vec<u8>, at: Timestamp, zone: &TimeZone) {
    use std::io::Write as _;
    let offset = zone.to_offset(at);
    // Writing into a Vec cannot fail.
    let _ = if offset.is_zero() && *zone == TimeZone::UTC {
        write!(out, "{at}")
    } else {
        write!(out, "{}", at.display_with_offset(offset))
    };
}

/// A zone by its name in the IANA table that is built in.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() }
}

/// Why a text is not of its column's type. Holds no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not {0}")]
pub struct WrongType(pub &'static str);

/// An identity number however it was typed: without blanks around it, full-width characters as half-width ones, a small `x` as
/// a capital.
pub fn as_identity(text: &str) -> Cow<'_, str> {
    crate::reduce::convert::apply(&[Step::Halfwidth, Step::Trim, Step::Upper], text)
}

/// Reads a text of a typed column; an empty text is `Null` in a column of any type.
pub fn typed_column<'t>(text: &'t str, column: &ColumnDef, zone: &TimeZone) -> Result<Cell<'t>, WrongType> {
    if text.is_empty() {
        return Ok(Cell::Null);
    }
    let format = column.format.as_deref();
    let cell = match column.kind {
        ColumnType::String => Some(Cell::Text(text)),
        ColumnType::Integer => text.trim().parse().ok().map(Cell::Integer),
        ColumnType::Number => {
            text.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(Cell::Number)
        }
        ColumnType::Bool => match text.trim() {
            "1" | "true" => Some(Cell::Bool(true)),
            "0" | "false" => Some(Cell::Bool(false)),
            _ => None,
        },
        ColumnType::Date => parse_date(text.trim(), format, zone).map(Cell::Date),
        ColumnType::Timestamp => parse_instant(text.trim(), format, zone).map(Cell::Instant),
    };
    cell.ok_or(WrongType(match column.kind {
        ColumnType::String => "a text",
        ColumnType::Integer => "a whole number",
        ColumnType::Number => "a number",
        ColumnType::Bool => "true or false",
        ColumnType::Date => "a date",
        ColumnType::Timestamp => "a timestamp",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str, format: Option<&str>, zone_name: &str) -> Option<String> {
        let zone = zone(zone_name).unwrap();
        let mut out = Vec::new();
        write_instant(&mut out, parse_instant(text, format, &zone)?, &zone);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn moments_of_all_shapes_come_out_in_the_sources_zone() {
        let shanghai = |text| instant(text, None, "Asia/Shanghai");
        assert_eq!(shanghai("2026-11-01 08:00:00").as_deref(), Some("2026-11-01T08:00:00+08:00"));
        assert_eq!(shanghai("2026-11-01T08:00:00.25").as_deref(), Some("2026-11-01T08:00:00.25+08:00"));
        assert_eq!(shanghai("2026-11-01T00:00:00Z").as_deref(), Some("2026-11-01T08:00:00+08:00"));
        assert_eq!(instant("2026-11-01T00:00:00Z", None, "UTC").as_deref(), Some("2026-11-01T00:00:00Z"));
        let american = Some("%m/%d/%Y %I:%M:%S %p");
        assert_eq!(
            instant("03/02/2016 10:21:16 PM", american, "America/Los_Angeles").as_deref(),
            Some("2016-03-02T22:21:16-08:00")
        );
        assert_eq!(instant("1700000000", Some("%s"), "UTC").as_deref(), Some("2023-11-14T22:13:20Z"));
        for bad in ["2026-11-01", "2026-13-01 08:00:00", "yesterday", "", "2026-11-01 08:00:00 x"] {
            assert_eq!(shanghai(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_of_all_shapes() {
        let shanghai = zone("Asia/Shanghai").unwrap();
        let day = |text, format| parse_date(text, format, &shanghai).map(|day| day.to_string());
        assert_eq!(day("1990-01-31", None).as_deref(), Some("1990-01-31"));
        assert_eq!(day("1990-01-31 00:00:00", None).as_deref(), Some("1990-01-31"));
        assert_eq!(day("19900131", Some("%Y%m%d")).as_deref(), Some("1990-01-31"));
        assert_eq!(day("1990/01/31", Some("%Y/%m/%d")).as_deref(), Some("1990-01-31"));
        for (bad, format) in
            [("19900231", Some("%Y%m%d")), ("1990-02-31", None), ("19900131", None), ("x", None)]
        {
            assert_eq!(day(bad, format), None);
        }
    }

    #[test]
    fn a_time_with_an_offset_has_the_day_on_which_it_falls_in_the_sources_zone() {
        let shanghai = zone("Asia/Shanghai").unwrap();
        let written = Some("%Y-%m-%dT%H:%M:%S%z");
        for (text, format, wanted) in [
            ("2026-10-31T16:00:00Z", None, "2026-11-01"),
            ("2026-10-31 15:59:59Z", None, "2026-10-31"),
            ("2026-10-31T16:00:00+0000", None, "2026-11-01"),
            ("2026-10-31T16:00:00.000+00:00", None, "2026-11-01"),
            ("2026-11-01T00:00:00+08:00", None, "2026-11-01"),
            ("2026-10-31T16:00:00", None, "2026-10-31"),
            ("2026-10-31T16:00:00+0000", written, "2026-11-01"),
            ("2026-11-01T00:00:00+0800", written, "2026-11-01"),
            ("2026-11-01+0900", Some("%Y-%m-%d%z"), "2026-11-01"),
        ] {
            let day = parse_date(text, format, &shanghai).map(|day| day.to_string());
            assert_eq!(day.as_deref(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn an_arena_refuses_to_grow_over_its_limit() {
        let mut rows = Rows::new(1);
        let text = "x".repeat(TEXT_MAX);
        rows.push(Cell::Text(&text)).unwrap();
        assert_eq!(rows.push(Cell::Text("y")), Err(TooMuchText));
        assert_eq!(rows.len(), 1);
        assert_eq!(rows.cell(0, 1), Cell::Null);
        assert_eq!(rows.cell(5, 0), Cell::Null);
    }

    #[test]
    fn rows_end_early_only_behind_two_whole_ones() {
        let mut rows = Rows::with_text_max(2, 4);
        for text in ["a", "b", "c"] {
            rows.push(Cell::Text(text)).unwrap();
        }
        assert_eq!((rows.end_early(), rows.ended_early()), (Err(TooMuchText), false));
        rows.push(Cell::Integer(1)).unwrap();
        rows.push(Cell::Text("d")).unwrap();
        assert_eq!(rows.push(Cell::Text("e")), Err(TooMuchText));
        assert_eq!((rows.end_early(), rows.ended_early()), (Ok(()), true));
        assert_eq!((rows.len(), rows.cell(1, 0), rows.cell(2, 0)), (2, Cell::Text("c"), Cell::Null));
    }
}
