//! SQL sources of an adapter: SQLite, PostgreSQL, MariaDB (and MySQL, which speaks the same protocol). What
//! differs between databases is behind [`Dialect`] for the text of a statement, and, for the two that are
//! servers, behind a connection; pool, filters, limits and checks are there once.
//!
//! An operation's statement is never executed as it stands: it is wrapped so that only the columns of
//! granted fields are selected, the contract's row filter is applied and the row limit holds. Values are
//! bound; the only identifiers that are written into a statement are declared columns, quoted.
#![deny(missing_docs)]

mod dialect;
mod findings;
mod inspect;
mod live;
mod mariadb;
mod pool;
mod postgres;
mod server;
mod sqlite;
mod types;

pub use dialect::{Dialect, Mariadb, Naming, Postgres, Sqlite, Wrapped};
pub use inspect::{Column, ColumnKind, Inspected, Key, Table, inspect};
pub use mariadb::open_mariadb;
pub use postgres::open_postgres;
pub use sqlite::SqliteSource;
