//! One household's question in Rust, over the gateway's plain REST. Programs that hold their own key use
//! `yiwang-client` instead and need no gateway.
//!
//! Needs in the environment: `GATEWAY` (e.g. `127.0.0.1:8480`), `TOKEN`, `SUBJECT`.
#![expect(clippy::indexing_slicing, reason = "a missing member of a JSON value is null")]

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::error::Error;

/// A gateway and an app's token.
pub struct Gateway {
    pub address: String,
    pub token: String,
}

impl Gateway {
    /// One call; a problem becomes an error with its code and next step.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, Box<dyn Error>> {
        let stream = tokio::net::TcpStream::connect(&self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = answer.status();
        let body: Value = serde_json::from_slice(&answer.collect().await?.to_bytes())?;
        if !status.is_success() {
            return Err(format!("{}: {}", body["code"], body["next_step"]).into());
        }
        Ok(body)
    }
}

/// Opens a case, asks, closes it; yields the unified record.
pub async fn household(gateway: &Gateway, subject: &str, key: &str) -> Result<Value, Box<dyn Error>> {
    let allowed = gateway.ask("GET", "/v1/permissions", &Value::Null, None).await?;
    for contract in allowed["contracts"].as_array().into_iter().flatten() {
        println!("{}: {} of {}", contract["purpose"], contract["record"], contract["provider"]);
    }
    // Sent again with the same key after a lost answer, this opens no second case.
    let opening = json!({ "matter": "social-assistance", "subjects": [subject] });
    let opened = gateway.ask("POST", "/v1/cases", &opening, Some(key)).await?;
    let case = opened["case"].as_str().ok_or("no case")?;
    let query = json!({ "subject": subject, "purpose": "social-assistance.eligibility", "case": case });
    let record = gateway.ask("POST", "/v1/records/query", &query, None).await?;
    gateway.ask("POST", &format!("/v1/cases/{case}/close"), &json!({ "reason": "decided" }), None).await?;
    Ok(record)
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| std::env::var(name).map_err(|_| format!("`{name}` is not set"));
    let gateway = Gateway { address: setting("GATEWAY")?, token: setting("TOKEN")? };
    let key = setting("KEY").unwrap_or_else(|_| format!("household-{}", std::process::id() + 1_000_000_000));
    let record = household(&gateway, &setting("SUBJECT")?, &key).await?;
    println!("{record:#}");
    Ok(())
}
