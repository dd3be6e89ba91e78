//! SQLite's catalogue, by its pragmas. Types are what a column was declared with; cells can be anything.

use super::{Column, ColumnKind, Inspected, Key, TABLES_MAX, Table, meant};
use crate::dialect::{Dialect as _, Sqlite};
use crate::sqlite::unavailable;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use yiwang_adapter_sdk::source::SourceError;

pub(super) fn inspect(path: &Path, table: Option<&str>) -> Result<Inspected, SourceError> {
    let failed = |error| unavailable(path, &error);
    // Without the authorizer of a serving connection, which hides the catalogue.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", "off").map_err(failed)?;
    let tables = tables(&connection, table.unwrap_or_default()).map_err(failed)?;
    let found = table.and_then(|wanted| meant(&tables, wanted, |name| [name, name]));
    let Some((name, other_case)) = found else { return Ok(Inspected::Tables(tables)) };
    let (columns, primary) = columns(&connection, name).map_err(failed)?;
    let mut keys = Vec::new();
    if !primary.is_empty() {
        keys.push(Key { columns: primary, unique: true });
    }
    let mut others = indexes(&connection, name).map_err(failed)?;
    others.sort_by_key(|key| !key.unique);
    for key in others {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let (name, quoted) = (name.clone(), Sqlite.quote(name)?);
    Ok(Inspected::Table(Table { name, quoted, comment: None, columns, keys, other_case }))
}

/// What is called as it was named comes first, and what differs by capitals next: an old database has thousands.
fn tables(connection: &Connection, named: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "select name from sqlite_schema where type in ('table', 'view') and name not like 'sqlite\\_%' escape '\\' \
         order by name = ?2 desc, lower(name) = lower(?2) desc, name limit ?1",
    )?;
    statement.query_map((TABLES_MAX, named), |row| row.get(0))?.collect()
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<(Vec<Column>, Vec<String>)> {
    let mut statement = connection
        .prepare("select name, type, pk from pragma_table_xinfo(?1) where hidden <> 1 order by cid")?;
    let rows = statement.query_map([table], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
    })?;
    let (mut columns, mut primary) = (Vec::new(), Vec::new());
    for row in rows {
        let (name, declared, place) = row?;
        if place > 0 {
            primary.push((place, name.clone()));
        }
        let (kind, length) = kind(&declared);
        columns.push(Column { name, type_name: declared, kind, length, comment: None, words: Vec::new() });
    }
    primary.sort_unstable();
    Ok((columns, primary.into_iter().map(|(_, name)| name).collect()))
}

/// What cells of a declared type most likely are, by the words that SQLite itself looks for. Days and
/// moments are texts here.
fn kind(declared: &str) -> (ColumnKind, Option<u32>) {
    let upper = declared.to_ascii_uppercase();
    let length = upper
        .split_once('(')
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok());
    let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    let kind = if has(&["BOOL"]) {
        ColumnKind::Bool
    } else if has(&["INT"]) {
        ColumnKind::Integer
    } else if has(&["CHAR", "CLOB", "TEXT", "DATE", "TIME"]) {
        ColumnKind::Text
    } else if has(&["BLOB"]) {
        ColumnKind::Opaque
    } else if has(&["REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL"]) {
        ColumnKind::Number
    } else {
        ColumnKind::Text
    };
    (kind, length)
}

fn indexes(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Key>> {
    let mut statement = connection
        .prepare("select name, \"unique\" from pragma_index_list(?1) where partial = 0 order by seq")?;
    let named: Vec<(String, bool)> = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut keys = Vec::with_capacity(named.len());
    for (name, unique) in named {
        let mut statement = connection.prepare("select name from pragma_index_info(?1) order by seqno")?;
        let columns: Vec<Option<String>> =
            statement.query_map([&name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        // A part without a name is an expression, which no column of a mapping is.
        if let Some(columns) = columns.into_iter().collect::<Option<Vec<String>>>() {
            keys.push(Key { columns, unique });
        }
    }
    Ok(keys)
}
