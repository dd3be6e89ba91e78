//! From rows to records: converts the cells of granted fields and writes them as JSON. Nothing but the
//! fields that are asked for is ever written.

pub mod convert;
mod escape;
pub mod quality;
pub(crate) mod size;

use crate::mapping::{FieldDef, OperationDef};
use crate::value::{Cell, Rows, write_instant};
use convert::{Converted, convert};
use escape::is_plain;
use jiff::tz::TimeZone;
use std::io::Write as _;
use std::sync::Arc;
use yiwang_proto::ids::FieldName;

/// Why a row cannot become a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// A required field has no value.
    #[error("required field `{0}` is empty")]
    Empty(FieldName),
    /// A required field has a value that its type cannot take.
    #[error("required field `{0}` cannot be read as its type")]
    Unreadable(FieldName),
    /// A code that its table does not list, and the table says that this is an error.
    #[error("field `{field}` holds a code that is not in codes.{table}")]
    UnknownCode {
        /// The field.
        field: FieldName,
        /// The code table.
        table: String,
        /// The code. A value of the source: never shown but in tests of a mapping.
        code: String,
    },
    /// A required field does not pass its check.
    #[error("required field `{0}` does not pass its check")]
    Check(FieldName),
}

impl RowFault {
    /// The field.
    pub fn field(&self) -> &FieldName {
        match self {
            Self::Empty(field) | Self::Unreadable(field) | Self::Check(field) => field,
            Self::UnknownCode { field, .. } => field,
        }
    }

    /// The fault with the value in it: for tests of a mapping only, whose rows are made up.
    pub fn with_value(&self) -> String {
        match self {
            Self::UnknownCode { table, code, .. } => format!("code {code} is not in codes.{table}"),
            other => other.to_string(),
        }
    }
}

/// Which column of the fetched rows is which.
#[derive(Debug, Clone)]
pub struct Layout {
    columns: Vec<Arc<str>>,
}

impl Layout {
    /// Columns in the order of the cells.
    pub fn new(columns: Vec<Arc<str>>) -> Self {
        Self { columns }
    }

    /// The cell of a column in a row; `Null` for a column that was not fetched.
    pub fn cell<'r>(&self, rows: &'r Rows, row: usize, column: &str) -> Cell<'r> {
        // Nearly always the very text that the query was made with, which needs no look at its letters.
        let same = self.columns.iter().position(|known| std::ptr::eq(known.as_ref(), column));
        match same.or_else(|| self.columns.iter().position(|known| known.as_ref() == column)) {
            Some(at) => rows.cell(row, at),
            None => Cell::Null,
        }
    }
}

/// How far a [`Writer`] was.
pub(crate) struct Mark {
    bytes: usize,
    rows: u32,
    oldest_ms: Option<i64>,
}

/// Records being written.
pub struct Writer<'o> {
    fields: Vec<&'o FieldDef>,
    as_of: Option<&'o FieldDef>,
    zone: &'o TimeZone,
    now_ms: i64,
    out: Vec<u8>,
    rows: u32,
    oldest_ms: Option<i64>,
}

impl<'o> Writer<'o> {
    /// Writes these fields of an operation's records. `now_ms` is the as-of time of records whose mapping
    /// has none: they were good when they were read.
    pub fn new(
        operation: &'o OperationDef,
        fields: Vec<&'o FieldDef>,
        zone: &'o TimeZone,
        now_ms: i64,
    ) -> Self {
        let mut out = Vec::with_capacity(1536);
        out.push(b'[');
        Self { fields, as_of: operation.as_of.as_ref(), zone, now_ms, out, rows: 0, oldest_ms: None }
    }

    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// Bytes written so far.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// Records written so far, as [`Writer::back_to`] takes them.
    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.out.len(), rows: self.rows, oldest_ms: self.oldest_ms }
    }

    /// Takes back what was written since the mark, unless nothing stood before it: false then, and nothing is changed.
    pub(crate) fn back_to(&mut self, mark: &Mark) -> bool {
        if mark.rows > 0 {
            self.undo(mark);
        }
        mark.rows > 0
    }

    /// Takes back all that was written since the mark, also a record that is half written.
    pub(crate) fn undo(&mut self, mark: &Mark) {
        self.out.truncate(mark.bytes);
        (self.rows, self.oldest_ms) = (mark.rows, mark.oldest_ms);
    }

    /// Adds one row. After an error a record is half written: the writer must be dropped, or what was written undone.
    pub fn row(&mut self, rows: &Rows, row: usize, layout: &Layout) -> Result<(), RowFault> {
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"fields\":{");
        let mut flags: Vec<(&FieldName, &'static str)> = Vec::new();
        let mut first = true;
        for field in &self.fields {
            let (value, flag) = convert(field, rows, row, layout, self.zone)?;
            if !first {
                self.out.push(b',');
            }
            first = false;
            // A field name has no character that JSON escapes.
            self.out.push(b'"');
            self.out.extend_from_slice(field.name.as_str().as_bytes());
            self.out.extend_from_slice(b"\":");
            write_value(&mut self.out, &value, self.zone);
            if let Some(flag) = flag {
                flags.push((&field.name, flag));
            }
        }
        self.out.extend_from_slice(b"},\"as_of\":\"");
        self.as_of(rows, row, layout)?;
        self.out.push(b'"');
        if !flags.is_empty() {
            self.out.extend_from_slice(b",\"quality\":{");
            for (at, (name, flag)) in flags.iter().enumerate() {
                let comma = if at > 0 { "," } else { "" };
                let _ = write!(self.out, "{comma}\"{name}\":[\"{flag}\"]");
            }
            self.out.push(b'}');
        }
        self.out.push(b'}');
        self.rows += 1;
        Ok(())
    }

    fn as_of(&mut self, rows: &Rows, row: usize, layout: &Layout) -> Result<(), RowFault> {
        let now = || jiff::Timestamp::from_millisecond(self.now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let at = match self.as_of {
            None => now(),
            Some(field) => match convert(field, rows, row, layout, self.zone)?.0 {
                Converted::Instant(at) => at,
                // A row that does not say when it was good is as old as can be, never fresh.
                _ => jiff::Timestamp::UNIX_EPOCH,
            },
        };
        write_instant(&mut self.out, at, self.zone);
        let ms = at.as_millisecond();
        self.oldest_ms = Some(self.oldest_ms.map_or(ms, |oldest| oldest.min(ms)));
        Ok(())
    }

    /// The JSON array, the number of records and the oldest as-of time.
    pub fn finish(mut self) -> (Vec<u8>, u32, i64) {
        self.out.push(b']');
        (self.out, self.rows, self.oldest_ms.unwrap_or(self.now_ms))
    }
}

fn write_value(out: &mut Vec<u8>, value: &Converted<'_>, zone: &TimeZone) {
    // Writing into a Vec cannot fail, and every value here has a JSON form.
    let _ = match value {
        Converted::Null => out.write_all(b"null"),
        Converted::Bool(true) => out.write_all(b"true"),
        Converted::Bool(false) => out.write_all(b"false"),
        Converted::Integer(value) => write!(out, "{value}"),
        Converted::Number(value) => serde_json::to_writer(&mut *out, value).map_err(Into::into),
        Converted::Text(text) if is_plain(text.as_bytes()) => {
            out.reserve(text.len() + 2);
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
            Ok(())
        }
        Converted::Text(text) => serde_json::to_writer(&mut *out, text.as_ref()).map_err(Into::into),
        Converted::Date(day) => write!(out, "\"{day}\""),
        Converted::Instant(at) => {
            out.push(b'"');
            write_instant(out, *at, zone);
            out.write_all(b"\"")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_in_json_as_it_must() {
        let zone = TimeZone::UTC;
        let mut texts: Vec<String> =
            (0..=0x2100).chain(0xfe00..=0xff70).filter_map(char::from_u32).map(String::from).collect();
        texts.extend(["", "云甲", "a\"b", "\\", "a\u{7f}b"].map(str::to_owned));
        for length in [1, 15, 31, 33, 100] {
            texts.push("x".repeat(length));
            texts.push("x".repeat(length) + "\n");
            texts.push("\"".to_owned() + &"x".repeat(length));
        }
        for text in texts {
            let mut out = Vec::new();
            write_value(&mut out, &Converted::Text(text.as_str().into()), &zone);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
