//! SQL sources of an adapter. SQLite today; what differs between databases is behind [`Dialect`], so that
//! PostgreSQL and MariaDB need a dialect and a connection, not a second way of doing things.
//!
//! An operation's statement is never executed as it stands: it is wrapped so that only the columns of
//! granted fields are selected, the contract's row filter is applied and the row limit holds. Values are
//! bound; the only identifiers that are written into a statement are declared columns, quoted.
#![deny(missing_docs)]

mod dialect;
mod live;
mod pool;
mod sqlite;

pub use dialect::{Dialect, Sqlite, Wrapped};
pub use sqlite::SqliteSource;
