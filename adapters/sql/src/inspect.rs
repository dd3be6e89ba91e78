//! What a database says of a table, for whoever writes a mapping: columns with their types and comments,
//! keys, lists of words. It is read from the database's own catalogue; no row of a table is.

mod sqlite;

use crate::{mariadb, postgres};
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::{Mapping, SourceDef};
use yiwang_adapter_sdk::source::{Environment, SourceError};

/// How long a database may take to describe one table: its catalogue is read, which is small.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tables that are listed where none, or none that is there, was named: more than anybody reads. Those that may be meant
/// by a name come first.
pub(crate) const TABLES_MAX: i64 = 500;

/// A table, or view, as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name, with its schema where it is not found without.
    pub name: String,
    /// How a statement names it.
    pub quoted: String,
    /// What somebody wrote about it in the database.
    pub comment: Option<String>,
    /// Columns that the role may read, in their order.
    pub columns: Vec<Column>,
    /// Primary key, unique indexes, other indexes, in this order.
    pub keys: Vec<Key>,
    /// Whether it was named with other capitals than its own.
    pub other_case: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in the database's words.
    pub type_name: String,
    /// What its cells are.
    pub kind: ColumnKind,
    /// Characters at most, where the database says so.
    pub length: Option<u32>,
    /// What somebody wrote about it in the database.
    pub comment: Option<String>,
    /// The words of an enumeration.
    pub words: Vec<String>,
}

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Texts.
    Text,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Number,
    /// true or false.
    Bool,
    /// Calendar days.
    Date,
    /// Moments, with a zone or in the source's.
    Moment,
    /// Nothing that a field can take.
    Opaque,
}

/// What an index is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its columns in their order.
    pub columns: Vec<String>,
    /// Whether no two rows have the same.
    pub unique: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspected {
    /// The table that was named.
    Table(Table),
    /// The tables that are there, because none or another one was named.
    Tables(Vec<String>),
    /// Nothing was looked at, because the role can write: which role, and what.
    Writer(String),
}

/// Describes a table of the database that a mapping's source names. A server is asked as a role that
/// cannot write, as it is by an adapter.
///
/// # Errors
/// No SQL source, a setting that is missing, a database that cannot be read.
pub async fn inspect(
    mapping: &Mapping,
    environment: &Arc<dyn Environment>,
    table: Option<&str>,
) -> Result<Inspected, SourceError> {
    let inspecting = async {
        match mapping.source() {
            SourceDef::Sqlite(def) => {
                let path = def.path.resolve(mapping.base(), environment.as_ref())?;
                let (path, table) = (mapping.base().join(path), table.map(str::to_owned));
                let reading = tokio::task::spawn_blocking(move || sqlite::inspect(&path, table.as_deref()));
                let failed = |_| Err(SourceError::Unavailable("reading the database failed".to_owned()));
                reading.await.unwrap_or_else(failed)
            }
            SourceDef::Postgres(_) => postgres::inspect(mapping, environment, table).await,
            SourceDef::Mariadb(_) => mariadb::inspect(mapping, environment, table).await,
            _ => Err(SourceError::Setting("the mapping's source is no database".to_owned())),
        }
    };
    tokio::time::timeout(PATIENCE, inspecting).await.unwrap_or(Err(SourceError::Timeout(PATIENCE)))
}

/// Which table is meant, and whether its capitals are others: the one that is called so, else the only one that is where
/// capitals do not count. Programs that write a name without quotes see it in other capitals than the catalogue has. Those
/// that it can be stand first in the list, so that none of them is beyond [`TABLES_MAX`].
pub(crate) fn meant<'t, T>(
    tables: &'t [T],
    wanted: &str,
    names: impl Fn(&'t T) -> [&'t str; 2],
) -> Option<(&'t T, bool)> {
    if let Some(table) = tables.iter().rfind(|table| names(table).contains(&wanted)) {
        return Some((table, false));
    }
    // Databases fold capitals of ASCII only, so that one with others may be beyond the list.
    if !wanted.is_ascii() && i64::try_from(tables.len()).is_ok_and(|many| many >= TABLES_MAX) {
        return None;
    }
    let folded = wanted.to_lowercase();
    let is_near = |table: &&'t T| names(table).iter().any(|name| name.to_lowercase() == folded);
    let mut near = tables.iter().filter(is_near);
    match (near.next(), near.next()) {
        (Some(table), None) => Some((table, true)),
        _ => None,
    }
}

/// A comment, where there is one.
pub(crate) fn said(comment: Option<String>) -> Option<String> {
    comment.filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::meant;

    #[test]
    fn capitals_count_only_where_several_tables_differ_by_nothing_else() {
        let tables =
            [["t_ry", "public.t_ry"], ["Two", "public.Two"], ["TWO", "public.TWO"], ["straße", "s.straße"]];
        let found =
            |wanted: &str| meant(&tables, wanted, |names| *names).map(|(names, other)| (names[0], other));
        for (wanted, is) in [
            ("t_ry", Some(("t_ry", false))),
            ("T_RY", Some(("t_ry", true))),
            ("PUBLIC.T_Ry", Some(("t_ry", true))),
            ("public.t_ry", Some(("t_ry", false))),
            ("TWO", Some(("TWO", false))),
            ("Two", Some(("Two", false))),
            ("two", None),
            ("STRAßE", Some(("straße", true))),
            ("t_r", None),
            ("", None),
        ] {
            assert_eq!(found(wanted), is, "{wanted}");
        }
        // Where not all are in the list, another one may be nearer.
        let mut many = vec![["other", "public.other"]; usize::try_from(super::TABLES_MAX).unwrap() - 2];
        many.extend([["t_ry", "public.t_ry"], ["straße", "s.straße"]]);
        let found = |wanted: &str| meant(&many, wanted, |names| *names).map(|(names, _)| names[0]);
        assert_eq!(found("T_RY"), Some("t_ry"));
        assert_eq!(found("STRAßE"), None);
        assert_eq!(found("straße"), Some("straße"));
    }
}
