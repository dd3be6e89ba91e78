//! Comparing cells with what an operation looks for: by type, and written down as bytes for the index.

use yiwang_adapter_sdk::mapping::{ColumnDef, ColumnType, Compared, CsvDef, WhereDef};
use yiwang_adapter_sdk::value::{Cell, as_identity, typed_column};
use yiwang_proto::contract::Scalar;

/// Appends a cell to an index key; false for an empty cell, which no condition finds.
pub(crate) fn write(key: &mut Vec<u8>, cell: Cell<'_>, compared: Compared, def: &CsvDef) -> bool {
    match cell {
        Cell::Null | Cell::Opaque => return false,
        Cell::Instant(at) if compared == Compared::Day => day(key, def.common.zone.to_datetime(at).date()),
        Cell::Date(date) => day(key, date),
        Cell::Bool(value) => key.extend_from_slice(&[b'b', u8::from(value)]),
        Cell::Integer(value) => {
            key.push(b'i');
            key.extend_from_slice(&value.to_le_bytes());
        }
        Cell::Number(value) => {
            key.push(b'n');
            // Zero and minus zero are the same number.
            key.extend_from_slice(&(value + 0.0).to_le_bytes());
        }
        Cell::Instant(at) => {
            key.push(b'm');
            key.extend_from_slice(&at.as_nanosecond().to_le_bytes());
        }
        Cell::Text(typed) if compared == Compared::Identity => text(key, &as_identity(typed)),
        Cell::Text(typed) => text(key, typed),
    }
    true
}

fn text(key: &mut Vec<u8>, text: &str) {
    key.push(b't');
    key.extend_from_slice(&text.len().to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

fn day(key: &mut Vec<u8>, date: jiff::civil::Date) {
    key.push(b'd');
    key.extend_from_slice(&date.year().to_le_bytes());
    key.extend_from_slice(&[date.month().unsigned_abs(), date.day().unsigned_abs()]);
}

/// Appends what is looked for; none if the value cannot be of the column's type, so that nothing is found.
pub(crate) fn write_wanted(
    key: &mut Vec<u8>,
    wanted: &Scalar,
    condition: &WhereDef,
    column: &ColumnDef,
    def: &CsvDef,
) -> Option<()> {
    let whole = |number: f64| (number.fract() == 0.0).then_some(number);
    let cell = match (wanted, column.kind) {
        (Scalar::Text(text), _) if condition.compared == Compared::Day => {
            let plain = ColumnDef { kind: ColumnType::Date, format: None };
            typed_column(text, &plain, &def.common.zone).ok()?
        }
        // Dates and moments come from the adapter's own check of parameters, in ISO form.
        (Scalar::Text(text), kind) => {
            let plain = ColumnDef { kind, format: None };
            typed_column(text, &plain, &def.common.zone).ok()?
        }
        (Scalar::Bool(value), ColumnType::Bool) => Cell::Bool(*value),
        (Scalar::Integer(value), ColumnType::Integer) => Cell::Integer(*value),
        (Scalar::Integer(value), ColumnType::Number) => Cell::Number(*value as f64),
        (Scalar::Number(value), ColumnType::Number) => Cell::Number(*value),
        (Scalar::Number(value), ColumnType::Integer) => Cell::Integer(whole(*value)? as i64),
        _ => return None,
    };
    write(key, cell, condition.compared, def).then_some(())
}
