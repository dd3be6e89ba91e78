//! How many there are, and all rows page by page, in Rust over the gateway's plain REST.
//!
//! Needs in the environment: `GATEWAY` (e.g. `127.0.0.1:8480`), `TOKEN`, `RECORD`, `PURPOSE`, `MATTER`, and contracts for
//! counts and batches of the record.
#![expect(clippy::indexing_slicing, reason = "a missing member of a JSON value is null")]

pub mod query;

use query::Gateway;
use serde_json::{Value, json};
use std::error::Error;

/// Asks how many; yields each provider's cells. A cell that is not there is not zero: it was small, or would have given a
/// small one away.
pub async fn counts(gateway: &Gateway, record: &str, why: &Value) -> Result<Value, Box<dyn Error>> {
    Ok(gateway.ask("POST", &format!("/v1/counts/{record}"), why, None).await?["counts"].take())
}

/// All rows. Whoever keeps the newest `resume` beside the rows goes on with it after any end of the run.
pub async fn rows(gateway: &Gateway, record: &str, why: &Value) -> Result<Vec<Value>, Box<dyn Error>> {
    let (mut rows, mut body) = (Vec::new(), why.clone());
    loop {
        let mut page = gateway.ask("POST", &format!("/v1/batches/{record}"), &body, None).await?;
        rows.append(page["records"].as_array_mut().ok_or("no records")?);
        if page["resume"].is_null() {
            return Ok(rows);
        }
        body["resume"] = page["resume"].take();
    }
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| std::env::var(name).map_err(|_| format!("`{name}` is not set"));
    let gateway = Gateway { address: setting("GATEWAY")?, token: setting("TOKEN")? };
    let opened = gateway.ask("POST", "/v1/cases", &json!({ "matter": setting("MATTER")? }), None).await?;
    let why = json!({ "purpose": setting("PURPOSE")?, "case": opened["case"] });
    let record = setting("RECORD")?;
    println!("{:#}", counts(&gateway, &record, &why).await?);
    for row in rows(&gateway, &record, &why).await? {
        println!("{row}");
    }
    Ok(())
}
