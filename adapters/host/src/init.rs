//! `init`: proposes a mapping from what a source says of itself. Names, types, keys and comments are read,
//! never a row unless `--sample` asks for some; what cannot be told from them is marked `choose:` and left to whoever knows the source.

mod draft;
mod fhir;
mod field;
mod http;
mod names;
mod read;
mod role;
mod sample;
mod text;

pub use draft::UNKNOWN;
pub use read::{Ask, InitError, Kind, Proposal, propose};

use yiwang_adapter_sql::ColumnKind;

/// A column or place of a source, as far as the source describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hint {
    /// What a field reads: a column's name, or a JSON pointer.
    from: String,
    /// The name by which it is recognised, where that is not `from`: the names of a place.
    path: Vec<String>,
    /// Its type in the source's words; empty where the source does not say.
    type_name: String,
    kind: ColumnKind,
    length: Option<u32>,
    comment: Option<String>,
    words: Vec<String>,
    /// What real rows told, where some were read.
    sampled: Option<sample::Sampled>,
}

impl Hint {
    /// Names by which it may be recognised: a place by its own and by all that lead to it.
    fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.path.is_empty().then_some(self.from.as_str());
        own.into_iter().chain(self.path.iter().map(String::as_str))
    }

    /// Why it cannot stand in a mapping, whatever it holds.
    fn refused(&self) -> Option<String> {
        let names = std::iter::once(self.from.as_str()).chain(self.names());
        if let Some(refusal) = names.filter_map(yiwang_policies::lint_name).next() {
            return Some(refusal.to_string());
        }
        let unfit = self.from.is_empty()
            || self.from.len() > 128
            || self.from.contains('\\')
            || self.from.chars().any(char::is_control);
        unfit.then(|| "its name cannot stand in a statement".to_owned())
    }
}

/// How rows are found by one key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    /// Which of the hints; only the first column of an index counts.
    at: usize,
    /// Whether there is one row at most.
    unique: bool,
    /// Whether an index serves it; none where the source has none.
    indexed: bool,
}

/// What a source says of one table, file or answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Described {
    /// What was looked at, in words: ``table `person` ``.
    what: String,
    /// The name by which a record is recognised.
    name: String,
    hints: Vec<Hint>,
    keys: Vec<Key>,
    /// Columns of which real rows were read, as `--sample` asked.
    sampled: Vec<String>,
}
