//! A folder of CSV files as a source of an adapter.
//!
//! Files are read whole, typed column by column, and kept in memory with an index for each operation. A
//! row that does not fit its columns is quarantined with file, line and reason, never dropped in silence; so is a
//! line with a quote that stands within a cell or does not end, and what follows it is read as though it were not
//! there. A file whose header does not fit the mapping, or that is empty, is quarantined whole (line 0), because then
//! nothing in it can be trusted: its earlier version and all other files are served on. Files are looked at
//! again when they change, and so is the folder where another one was put in its place; a folder without a file
//! answers nothing, since its absence must not look like an empty register. While anything is held back a question that
//! finds nothing is an error, and no row is served whose key came again in one that is held back. Drop new ones in by renaming. What is held back can be dropped by hand, with a trace in a
//! file beside the mapping; nothing is ever written to the folder itself.
#![deny(missing_docs)]

mod cells;
mod cut;
mod dropped;
mod file;
mod folder;
mod held;
mod inspect;
mod snapshot;
mod source;

pub use dropped::{DropError, TakenIn, Trace};
pub use held::{Act, Became, Done, Held, Told, drop_held, held, retry};
pub use inspect::{Header, inspect, sample};
pub use source::CsvSource;
pub use yiwang_adapter_sdk::source::Quarantined;
