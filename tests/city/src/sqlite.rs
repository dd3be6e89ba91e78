//! Making SQLite files quickly and the same each time.

use std::path::Path;

use rusqlite::{Connection, Transaction};

use crate::CityError;

pub(crate) use rusqlite::Result;

/// A new, empty database in the place of whatever was there. Durability is pointless while it is being made: an
/// interrupted build is made again.
pub(crate) fn blank_database(path: &Path) -> std::result::Result<Connection, CityError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(CityError::io(folder))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CityError::io(path)(error)),
        _ => {}
    }
    let open = || {
        let db = Connection::open(path)?;
        db.execute_batch("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -65536;")?;
        Ok(db)
    };
    open().map_err(CityError::sqlite(path))
}

/// Makes a database in one transaction: tables, what `fill` writes, then the indexes, which are quicker to make over rows
/// that are there.
pub(crate) fn build<T>(
    path: &Path,
    schema: &str,
    indexes: &str,
    fill: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> std::result::Result<T, CityError> {
    let mut db = blank_database(path)?;
    let build = || {
        let tx = db.transaction()?;
        tx.execute_batch(schema)?;
        let filled = fill(&tx)?;
        tx.execute_batch(indexes)?;
        tx.commit()?;
        Ok(filled)
    };
    build().map_err(CityError::sqlite(path))
}
