//! Whether a statement reads a table in full, by PostgreSQL's own plan.

use super::trouble::{At, trouble};
use crate::server::Trouble;
use serde_json::Value;
use std::time::Duration;
use tokio_postgres::{Client, Error};

/// Reading in full is made dear, so that it is chosen only where no index serves, however small the table
/// is today; and the plan is the one for any values.
const SETUP: &str = "begin read only; set local enable_seqscan = off; \
                     set local plan_cache_mode = force_generic_plan";

/// Tables that a statement reads in full; none if its plan cannot be shown.
pub(super) async fn scans(client: &Client, text: &str) -> Result<Option<Vec<String>>, Trouble> {
    let at = |error: Error| trouble(&error, At::Prepare, Duration::ZERO);
    let placeholders = client.prepare(text).await.map_err(at)?.params().len();
    client.batch_execute(SETUP).await.map_err(at)?;
    let plan = explain(client, text, placeholders).await;
    client.batch_execute("rollback; deallocate all").await.map_err(at)?;
    Ok(plan.map_err(at)?.map(|plan| {
        let mut tables = Vec::new();
        walk(&plan, &mut tables);
        tables.sort_unstable();
        tables.dedup();
        tables
    }))
}

/// Sent as single prepared statements: never more than one, whatever the mapping's text is.
async fn explain(client: &Client, text: &str, placeholders: usize) -> Result<Option<Value>, Error> {
    client.execute(&format!("prepare yiwang_check as {text}"), &[]).await?;
    let arguments = match placeholders {
        0 => String::new(),
        count => format!("({})", vec!["null"; count].join(", ")),
    };
    let text = format!("explain (format json) execute yiwang_check{arguments}");
    let mut plan = String::new();
    for message in client.simple_query(&text).await? {
        if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
            plan.push_str(row.get(0).unwrap_or_default());
        }
    }
    Ok(serde_json::from_str(&plan).ok())
}

fn walk(plan: &Value, tables: &mut Vec<String>) {
    match plan {
        Value::Array(all) => all.iter().for_each(|one| walk(one, tables)),
        Value::Object(node) => {
            let text = |key: &str| node.get(key).and_then(Value::as_str);
            let in_full = match text("Node Type") {
                Some("Seq Scan" | "Sample Scan") => true,
                // An index without a condition is only another order of the whole table.
                Some("Index Scan" | "Index Only Scan" | "Bitmap Index Scan") => {
                    !node.contains_key("Index Cond")
                }
                _ => false,
            };
            if in_full {
                tables.extend(text("Relation Name").or(text("Index Name")).map(str::to_owned));
            }
            node.values()
                .filter(|value| value.is_array() || value.is_object())
                .for_each(|one| walk(one, tables));
        }
        _ => {}
    }
}
