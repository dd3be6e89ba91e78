//! Whether PostgreSQL compares a column as it stands, so that pages can be gone on after it.

use super::params::Param;
use super::trouble::{At, trouble};
use crate::server::Trouble;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

/// Types without a collation that are compared as what an answer shows.
const PLAIN: [&str; 4] = ["int2", "int4", "int8", "uuid"];
/// Texts, which are compared by their collation. A domain is the type beneath it; `citext` and enumerations have other
/// names.
const TEXTS: [&str; 4] = ["text", "varchar", "bpchar", "name"];

/// What is wrong with the one column of a statement that gives no row.
pub(super) async fn unfit(client: &Client, none: &str, values: usize) -> Result<Option<String>, Trouble> {
    let at = |error: Error| trouble(&error, At::Prepare, Duration::ZERO);
    let prepared = client.prepare(none).await.map_err(at)?;
    let Some(kind) = prepared.columns().first().map(tokio_postgres::Column::type_) else { return Ok(None) };
    if PLAIN.contains(&kind.name()) {
        return Ok(None);
    }
    if !TEXTS.contains(&kind.name()) {
        let rules = "which is compared by other rules than whole numbers and texts";
        return Ok(Some(format!("is of type {kind}, {rules}")));
    }
    // The collation of whatever the statement makes of the column, not of the column itself.
    let text = format!(
        "select exists (select 1 from pg_catalog.pg_collation c where not c.collisdeterministic \
         and c.oid = pg_catalog.to_regcollation(pg_catalog.pg_collation_for(k.v))) from (select ({none}) as v) k"
    );
    let nulls: Vec<Param> = (0..values).map(|_| Param::NULL).collect();
    let nulls: Vec<&(dyn ToSql + Sync)> = nulls.iter().map(|null| null as &(dyn ToSql + Sync)).collect();
    let row = client.query_one(&text, &nulls).await.map_err(at)?;
    let folds: bool = row.try_get(0).map_err(at)?;
    Ok(folds
        .then(|| "has a collation that is not deterministic: it takes different texts for one".to_owned()))
}
