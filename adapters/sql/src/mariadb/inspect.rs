//! MariaDB's and MySQL's catalogue (`information_schema`), which shows what the role may read.

use super::trouble::{At, trouble};
use super::{MyLink, server};
use crate::dialect::{Dialect as _, Mariadb};
use crate::inspect::{Column, ColumnKind, Inspected, Key, TABLES_MAX, Table, meant, said};
use crate::server::{Link as _, Server as _, Trouble};
use mysql_async::Error;
use mysql_async::prelude::Queryable as _;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{Environment, SourceError};

// Casts, because servers call these columns texts or bytes as they please. What is called as it was named comes first, and
// what differs by capitals next: an old database has thousands.
const TABLES: &str = "select cast(table_name as char), cast(table_comment as char) from information_schema.tables \
                      where table_schema = database() \
                      order by cast(table_name as binary) = cast(? as binary) desc, \
                      lower(table_name) = lower(?) desc, table_name limit ?";
const COLUMNS: &str = "select cast(column_name as char), cast(data_type as char), cast(column_type as char), \
                       cast(character_maximum_length as unsigned), cast(column_comment as char) \
                       from information_schema.columns where table_schema = database() and table_name = ? \
                       order by ordinal_position";
const KEYS: &str = "select cast(index_name as char), non_unique, cast(column_name as char), sub_part is not null \
                    from information_schema.statistics where table_schema = database() and table_name = ? \
                    order by index_name <> 'PRIMARY', non_unique, index_name, seq_in_index";

pub(crate) async fn inspect(
    mapping: &Mapping,
    environment: &Arc<dyn Environment>,
    table: Option<&str>,
) -> Result<Inspected, SourceError> {
    let (server, _) = server(mapping, environment)?;
    let mut link = server.connect().await?;
    if let Some(said) = link.rights().await?.can_write() {
        return Ok(Inspected::Writer(said));
    }
    Ok(read(&mut link, table).await?)
}

fn asked(error: Error) -> Trouble {
    trouble(&error, At::Execute, Duration::ZERO)
}

/// An index, its columns, and whether one of them is only a part.
struct Index {
    name: String,
    key: Key,
    partial: bool,
}

async fn read(link: &mut MyLink, table: Option<&str>) -> Result<Inspected, Trouble> {
    let named = table.unwrap_or_default();
    let listed: Vec<(String, Option<String>)> =
        link.conn.exec(TABLES, (named, named, TABLES_MAX)).await.map_err(asked)?;
    let found = table.and_then(|wanted| meant(&listed, wanted, |(name, _)| [name, name]));
    let Some(((name, comment), other_case)) = found else {
        return Ok(Inspected::Tables(listed.into_iter().map(|(name, _)| name).collect()));
    };
    let name = name.as_str();
    // A view says so where a table has its comment.
    let comment = said(comment.clone()).filter(|comment| comment != "VIEW");
    type Described = (String, String, String, Option<u64>, Option<String>);
    let described: Vec<Described> = link.conn.exec(COLUMNS, (name,)).await.map_err(asked)?;
    let columns = described.into_iter().map(column).collect();
    let parts: Vec<(String, i64, Option<String>, i64)> =
        link.conn.exec(KEYS, (name,)).await.map_err(asked)?;
    let mut indexes: Vec<Index> = Vec::new();
    for (name, non_unique, column, partial) in parts {
        let new = indexes.last().is_none_or(|last| last.name != name);
        if new {
            let key = Key { columns: Vec::new(), unique: non_unique == 0 };
            indexes.push(Index { name, key, partial: false });
        }
        let Some(last) = indexes.last_mut() else { continue };
        last.partial |= partial != 0 || column.is_none();
        last.key.columns.extend(column);
    }
    let keys = indexes.into_iter().filter(|index| !index.partial).map(|index| index.key).collect();
    let quoted = Mariadb.quote(name).map_err(Trouble::Kept)?;
    Ok(Inspected::Table(Table { name: name.to_owned(), quoted, comment, columns, keys, other_case }))
}

fn column(
    (name, data, type_name, length, comment): (String, String, String, Option<u64>, Option<String>),
) -> Column {
    let data = data.to_ascii_lowercase();
    let words = if data == "enum" { words(&type_name) } else { Vec::new() };
    let length = length.and_then(|length| u32::try_from(length).ok());
    Column { kind: kind(&data, &type_name), name, type_name, length, comment: said(comment), words }
}

fn kind(data: &str, full: &str) -> ColumnKind {
    match data {
        // What `boolean` is made into.
        "tinyint" if full.eq_ignore_ascii_case("tinyint(1)") => ColumnKind::Bool,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => ColumnKind::Integer,
        "decimal" | "float" | "double" => ColumnKind::Number,
        "date" => ColumnKind::Date,
        "datetime" | "timestamp" => ColumnKind::Moment,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" => ColumnKind::Text,
        _ => ColumnKind::Opaque,
    }
}

/// The words of `enum('a','b''c')`.
fn words(full: &str) -> Vec<String> {
    let inner =
        full.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or("", |(inner, _)| inner);
    let mut words = Vec::new();
    let mut rest = inner;
    while let Some((_, after)) = rest.split_once('\'') {
        let mut word = String::new();
        rest = after;
        while let Some((before, after)) = rest.split_once('\'') {
            word.push_str(before);
            rest = after;
            match rest.strip_prefix('\'') {
                // A doubled quote is one of the word.
                Some(after) => {
                    word.push('\'');
                    rest = after;
                }
                None => break,
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn the_words_of_an_enumeration() {
        assert_eq!(words("enum('a','b''c','d,e','男')"), ["a", "b'c", "d,e", "男"]);
        assert_eq!(words("enum('')"), [""]);
        assert_eq!(words("int(11)"), [""; 0]);
    }
}
