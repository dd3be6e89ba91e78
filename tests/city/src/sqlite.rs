//! Making SQLite files quickly and the same each time.

use std::path::Path;

use rusqlite::Connection;

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
