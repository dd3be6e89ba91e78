//! From JSON documents to rows: only the places that the query names are kept.

use serde_json::Value;
use yiwang_adapter_sdk::source::{FetchQuery, SourceError};
use yiwang_adapter_sdk::value::{Rows, json_cell};

/// Adds a document as a row, unless the contract's row filter leaves it out. True if there is room for more.
pub fn push_row(rows: &mut Rows, document: &Value, query: &FetchQuery) -> Result<bool, SourceError> {
    if pushed(document, query) {
        for column in &query.columns {
            rows.push(json_cell(document.pointer(column)))?;
        }
    }
    Ok(rows.len() < query.limit as usize)
}

/// Whether the part of the row filter that the source applies holds for a document.
pub fn pushed(document: &Value, query: &FetchQuery) -> bool {
    let cell = |column: &str| json_cell(document.pointer(column));
    query.filter.as_ref().is_none_or(|filter| filter.matches(cell))
}
