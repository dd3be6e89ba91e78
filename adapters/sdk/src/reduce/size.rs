//! How long records can become, before they are written.

use crate::mapping::{FieldDef, Step};
use crate::reduce::escape::{beyond_ascii_in, escaped_in};
use crate::value::Rows;

/// What stands around the fields of a record, with its as-of time.
const AROUND: usize = 128;
/// What stands around the name of a field and around its flag, the longest flag, and any value that is no text: a
/// moment with its offset is the longest.
const OF_FIELD: usize = 96;
/// A character that JSON escapes takes at most so many bytes: `\u0001`.
const ESCAPED: usize = 6;
/// Composing makes a text at most so many times as long (Unicode Standard Annex 15, expansion factors), and leaves ASCII.
const COMPOSED: usize = 3;

/// A number that becomes a text takes at most so many bytes: the smallest have over 320 digits.
const NUMBER: usize = 352;

/// Bytes that the records of all these rows take at most. None where a field computes its value: that can be of any
/// length.
pub(crate) fn bytes_at_most(fields: &[&FieldDef], rows: &Rows) -> Option<usize> {
    let (mut of_row, mut uses) = (AROUND, 0);
    for field in fields {
        if field.expr.is_some() {
            return None;
        }
        let word = field.codes.iter().flat_map(|table| table.words.values()).map(String::len).max();
        of_row += field.name.as_str().len() * 2 + OF_FIELD + word.unwrap_or_default() * ESCAPED;
        uses = uses.max(fields.iter().filter(|other| other.from == field.from).count());
    }
    let composed = fields.iter().any(|field| field.steps.contains(&Step::Nfc));
    let beyond = if composed { beyond_ascii_in(rows.text()) } else { 0 };
    let escaped = escaped_in(rows.text());
    let text = rows.text_bytes() + beyond * (COMPOSED - 1) + escaped * (ESCAPED - 1);
    Some(rows.len() * of_row + (text + rows.numbers() * NUMBER) * uses)
}
