//! Whether a statement reads a table in full, by MariaDB's own plan.

use super::trouble::{At, trouble};
use super::value;
use crate::dialect::Wrapped;
use crate::server::Trouble;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row};
use std::time::Duration;
use yiwang_adapter_sdk::mapping::ParamType;
use yiwang_proto::contract::Scalar;

/// A value of a parameter's type, written as one is sent where the parameter has no format.
fn example(kind: ParamType) -> Scalar {
    match kind {
        ParamType::String => Scalar::Text("0".to_owned()),
        ParamType::Integer => Scalar::Integer(0),
        ParamType::Number => Scalar::Number(0.5),
        ParamType::Bool => Scalar::Bool(true),
        ParamType::Date => Scalar::Text("2000-01-01".to_owned()),
        ParamType::Timestamp => Scalar::Text("2000-01-01 00:00:00".to_owned()),
    }
}

/// Tables that a statement reads in full; none if its plan cannot be shown.
pub(super) async fn scans(
    conn: &mut Conn,
    wrapped: &Wrapped,
    kinds: &[ParamType],
) -> Result<Option<Vec<String>>, Trouble> {
    if kinds.len() != wrapped.named.len() {
        return Ok(None);
    }
    let examples = kinds.iter().map(|kind| example(*kind)).chain([Scalar::Integer(1)]);
    let values = Params::Positional(examples.map(|scalar| value(&Some(scalar))).collect());
    let steps: Vec<Row> = conn
        .exec(format!("explain {}", wrapped.text), values)
        .await
        .map_err(|error| trouble(&error, At::Prepare, Duration::ZERO))?;
    let text = |row: &Row, column: &str| row.get_opt::<Option<String>, _>(column)?.ok().flatten();
    let mut tables = Vec::new();
    for step in &steps {
        let Some(table) = text(step, "table").filter(|table| !table.starts_with('<')) else { continue };
        if matches!(text(step, "type").as_deref(), Some("ALL" | "index")) {
            tables.push(table);
        }
    }
    Ok(Some(tables))
}
