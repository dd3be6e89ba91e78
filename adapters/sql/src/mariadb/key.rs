//! Whether MariaDB compares a column as it stands, so that pages can be gone on after it.

use super::cells;
use super::trouble::{At, trouble};
use crate::server::Trouble;
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Params, Value};
use std::time::Duration;

/// What is wrong with the one column of a statement that gives no row.
pub(super) async fn unfit(conn: &mut Conn, none: &str, values: usize) -> Result<Option<String>, Trouble> {
    let at = |error: Error| trouble(&error, At::Prepare, Duration::ZERO);
    let prepared = conn.prep(none).await.map_err(at)?;
    let columns = prepared.columns();
    let Some(column) = columns.first() else { return Ok(None) };
    // An enumeration is ordered by the places of its words.
    let listed = column.flags().intersects(ColumnFlags::ENUM_FLAG | ColumnFlags::SET_FLAG);
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_LONGLONG => return Ok(None),
        ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
            if !listed => {}
        _ => {
            let kind = if listed { "enum or set".to_owned() } else { cells::type_name(column) };
            let rules = "which is compared by other rules than whole numbers and texts";
            return Ok(Some(format!("is of type {kind}, {rules}")));
        }
    }
    // The collation of whatever the statement makes of the column; what the server sends is in the connection's.
    let nulls = match values {
        0 => Params::Empty,
        some => Params::Positional(vec![Value::NULL; some]),
    };
    let collation: Option<Option<String>> =
        conn.exec_first(format!("select collation(({none}))"), nulls).await.map_err(at)?;
    let collation = collation.flatten().unwrap_or_default();
    if collation == "binary" || collation.ends_with("_bin") {
        return Ok(None);
    }
    Ok(Some(format!("has the collation {collation}, which takes different texts for one")))
}
