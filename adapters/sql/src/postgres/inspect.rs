//! PostgreSQL's catalogue, as far as the role may read what it describes.

use super::trouble::{At, trouble};
use super::{PgLink, server};
use crate::dialect::{Dialect as _, Postgres};
use crate::inspect::{Column, ColumnKind, Inspected, Key, TABLES_MAX, Table, meant, said};
use crate::server::{Link as _, Server as _, Trouble};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{Environment, SourceError};

/// What is called as it was named comes first, and what differs by capitals next: an old database has thousands.
const TABLES: &str = r"
select c.oid, n.nspname::text, c.relname::text, pg_catalog.pg_table_is_visible(c.oid),
  pg_catalog.obj_description(c.oid, 'pg_class')
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg\_temp\_%'
  and pg_catalog.has_schema_privilege(n.oid, 'usage')
  and (pg_catalog.has_table_privilege(c.oid, 'select') or pg_catalog.has_any_column_privilege(c.oid, 'select'))
order by (c.relname::text = $2 or n.nspname::text || '.' || c.relname::text = $2) desc,
  (pg_catalog.lower(c.relname::text) = pg_catalog.lower($2)
    or pg_catalog.lower(n.nspname::text || '.' || c.relname::text) = pg_catalog.lower($2)) desc,
  4 desc, 2, 3
limit $1";

/// The type of a domain is the one beneath it, as in answers.
const COLUMNS: &str = r"
select a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype::text,
  case when a.atttypmod > 4 and b.typname in ('bpchar', 'varchar') then a.atttypmod - 4 end,
  pg_catalog.col_description(a.attrelid, a.attnum),
  array(select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = b.oid order by e.enumsortorder)
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  and pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'select')
order by a.attnum";

const KEYS: &str = r"
select i.indisunique, array(
  select a.attname::text from unnest(i.indkey::int2[]) with ordinality k (number, place)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
  where k.place <= i.indnkeyatts order by k.place)
from pg_catalog.pg_index i
where i.indrelid = $1 and i.indisvalid and i.indpred is null and i.indexprs is null
order by i.indisprimary desc, i.indisunique desc, i.indexrelid";

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
    Ok(read(&link, table).await?)
}

fn asked(error: &Error) -> Trouble {
    trouble(error, At::Execute, Duration::ZERO)
}

async fn rows(link: &PgLink, text: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
    link.client()?.query(text, values).await.map_err(|error| asked(&error))
}

/// A table of the list, which may be the one that is asked for.
struct Listed {
    oid: u32,
    schema: String,
    name: String,
    /// Whether it is found without its schema.
    visible: bool,
    comment: Option<String>,
    /// With its schema.
    full: String,
}

impl Listed {
    fn shown(&self) -> &str {
        if self.visible { &self.name } else { &self.full }
    }
}

fn listed(row: &Row) -> Result<Listed, Trouble> {
    let (schema, name): (String, String) = (cell(row, 1)?, cell(row, 2)?);
    let full = format!("{schema}.{name}");
    Ok(Listed {
        oid: cell(row, 0)?,
        schema,
        name,
        visible: cell(row, 3)?,
        comment: said(cell(row, 4)?),
        full,
    })
}

async fn read(link: &PgLink, table: Option<&str>) -> Result<Inspected, Trouble> {
    let all = rows(link, TABLES, &[&TABLES_MAX, &table.unwrap_or_default()]).await?;
    let tables = all.iter().map(listed).collect::<Result<Vec<Listed>, Trouble>>()?;
    let found = table.and_then(|wanted| meant(&tables, wanted, |table| [table.shown(), &table.full]));
    let Some((table, other_case)) = found else {
        return Ok(Inspected::Tables(tables.iter().map(|table| table.shown().to_owned()).collect()));
    };
    let quote = |part: &str| Postgres.quote(part).map_err(Trouble::Kept);
    let quoted = match table.visible {
        true => quote(&table.name)?,
        false => format!("{}.{}", quote(&table.schema)?, quote(&table.name)?),
    };
    let (name, comment) = (table.shown().to_owned(), table.comment.clone());
    let mut columns = Vec::new();
    for row in rows(link, COLUMNS, &[&table.oid]).await? {
        columns.push(column(&row)?);
    }
    let mut keys = Vec::new();
    for row in rows(link, KEYS, &[&table.oid]).await? {
        let (unique, columns): (bool, Vec<String>) = (cell(&row, 0)?, cell(&row, 1)?);
        if !columns.is_empty() {
            keys.push(Key { columns, unique });
        }
    }
    Ok(Inspected::Table(Table { name, quoted, comment, columns, keys, other_case }))
}

fn cell<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, Trouble> {
    row.try_get(at).map_err(|_| Trouble::Lost("the database's catalogue cannot be read".to_owned()))
}

fn column(row: &Row) -> Result<Column, Trouble> {
    let (base, category): (String, String) = (cell(row, 2)?, cell(row, 3)?);
    let length: Option<i32> = cell(row, 4)?;
    Ok(Column {
        name: cell(row, 0)?,
        type_name: cell(row, 1)?,
        kind: if category == "e" { ColumnKind::Text } else { kind(&base) },
        length: length.and_then(|length| u32::try_from(length).ok()),
        comment: said(cell(row, 5)?),
        words: cell(row, 6)?,
    })
}

fn kind(base: &str) -> ColumnKind {
    match base {
        "int2" | "int4" | "int8" => ColumnKind::Integer,
        "float4" | "float8" | "numeric" => ColumnKind::Number,
        "bool" => ColumnKind::Bool,
        "date" => ColumnKind::Date,
        "timestamp" | "timestamptz" => ColumnKind::Moment,
        "text" | "varchar" | "bpchar" | "name" | "uuid" => ColumnKind::Text,
        _ => ColumnKind::Opaque,
    }
}
