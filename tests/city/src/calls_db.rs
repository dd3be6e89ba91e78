//! The same emergency calls as the exports, in the database of a call centre that has one.

use std::path::Path;

use rusqlite::params_from_iter;

use crate::CityError;
use crate::calls::{Call, HEADER, rows};
use crate::sqlite::{self, blank_database};

/// Writes the database; gives the number of calls.
pub(crate) fn write(path: &Path, calls: &[Call]) -> Result<u64, CityError> {
    let mut db = blank_database(path)?;
    let mut fill = || -> sqlite::Result<u64> {
        let tx = db.transaction()?;
        let columns = HEADER.map(|name| format!("{name} text not null")).join(", ");
        tx.execute_batch(&format!(
            "create table CALL_LOG ({columns}, primary key (CALL_NO)) without rowid;"
        ))?;
        let mut count = 0;
        {
            let marks = HEADER.map(|_| "?").join(", ");
            let mut insert = tx.prepare(&format!("insert into CALL_LOG values ({marks})"))?;
            for row in rows(calls) {
                count += insert.execute(params_from_iter(row))? as u64;
            }
        }
        tx.execute_batch(
            "create index IX_CALL_PERSON on CALL_LOG (PERSON_ID);
             create index IX_CALL_AREA on CALL_LOG (AREA_CODE, CALL_TIME);",
        )?;
        tx.commit()?;
        Ok(count)
    };
    fill().map_err(CityError::sqlite(path))
}
