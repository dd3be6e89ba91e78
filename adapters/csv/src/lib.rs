//! A folder of CSV files as a source of an adapter.
//!
//! Files are read whole, typed column by column, and kept in memory with an index for each operation. A
//! row that does not fit its columns is quarantined with file, line and reason, never dropped in silence. A
//! file whose header does not fit the mapping, or that is empty, is quarantined whole (line 0), because then
//! nothing in it can be trusted: its earlier version and all other files are served on. Files are looked at
//! again when they change; drop new ones in by renaming.
#![deny(missing_docs)]

mod cells;
mod file;
mod folder;
mod inspect;
mod snapshot;
mod source;

pub use inspect::{Header, inspect};
pub use source::CsvSource;
pub use yiwang_adapter_sdk::source::Quarantined;
