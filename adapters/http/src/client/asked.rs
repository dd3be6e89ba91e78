//! What one question asked already.

use super::Call;
use bytes::Bytes;
use std::collections::BTreeSet;
use yiwang_adapter_sdk::source::SourceError;

/// The calls of one question: its limit of pages bounds them.
#[derive(Debug, Default)]
pub struct Asked(BTreeSet<(String, Option<Bytes>)>);

impl Asked {
    /// Takes note of a call before it is made.
    ///
    /// # Errors
    /// It was made before: its rows would stand in the answer twice, as though there were so many.
    pub fn add(&mut self, call: &Call) -> Result<(), SourceError> {
        let content = call.content.as_ref().map(|(_, body)| body.clone());
        if self.0.insert((call.target.clone(), content)) {
            return Ok(());
        }
        let what = "its next page is one that it gave before; have its paging mended where it is made";
        Err(SourceError::Drift(what.to_owned()))
    }
}
