//! `status`: how a running host does, operation by operation.

use super::door::{self, DoorError};
use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output, refuse_as, refuse_config};
use crate::config::Config;
use crate::run::Surroundings;
use clap::Args;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_proto::plural::counted;

/// Between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(2);
/// A certificate that ends sooner is told as a worry; the host renews it long before.
const DAYS_FEW: i64 = 3;
const DAY_MS: i64 = 24 * 3_600_000;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The configuration of the host
    #[arg(long, value_name = "FILE", default_value = "adapter.toml")]
    pub config: PathBuf,
    /// Where its health pages are, if not where the configuration says
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<SocketAddr>,
    /// Look again every two seconds, until stopped
    #[arg(long)]
    pub watch: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

pub(super) async fn status(
    arguments: &Status,
    surroundings: &Surroundings,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => return refuse_as(arguments.output, out, |out| refuse_config(&error, out)),
    };
    let address = match door::address(&arguments.config, &config, arguments.at) {
        Ok(address) => address,
        Err(error) => {
            return refuse_as(arguments.output, out, |out| writeln!(out, "{error}").map(|()| CONFIG));
        }
    };
    loop {
        let code = once(arguments, address, surroundings.clock.now_ms(), out).await?;
        out.flush()?;
        let waiting = stop.run_until_cancelled(tokio::time::sleep(EVERY));
        if !arguments.watch || waiting.await.is_none() {
            return Ok(code);
        }
        if arguments.output == Output::Text {
            // Home, and what was there goes: a screen that is looked at.
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
    }
}

async fn once(
    arguments: &Status,
    address: SocketAddr,
    now_ms: i64,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let found: Result<Value, DoorError> = door::get(address, "/status").await;
    let status = match found {
        Ok(status) => status,
        Err(error) => {
            match arguments.output {
                Output::Json => {
                    let error = error.to_string();
                    let away = json!({ "ok": false, "exit": ENVIRONMENT, "state": "away", "error": error });
                    writeln!(out, "{away}")?;
                }
                Output::Text => writeln!(out, "{error}")?,
            }
            return Ok(ENVIRONMENT);
        }
    };
    let worries = worries(&status, now_ms);
    let state = if worries.is_empty() { "healthy" } else { "degraded" };
    match arguments.output {
        Output::Json => {
            let json = json!({ "state": state, "worries": worries, "status": status });
            writeln!(out, "{json}")?;
        }
        Output::Text => out.write_all(text(&status, state, &worries, now_ms).as_bytes())?,
    }
    Ok(if worries.is_empty() { OK } else { FAILED })
}

fn texts(value: &Value) -> impl Iterator<Item = String> + '_ {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

fn days_left(status: &Value, now_ms: i64) -> Option<i64> {
    let ends_ms = yiwang_proto::time::parse_rfc3339(status["certificate_ends"].as_str()?).ok()?;
    Some(ends_ms.saturating_sub(now_ms).div_euclid(DAY_MS))
}

/// All that somebody should look at.
fn worries(status: &Value, now_ms: i64) -> Vec<String> {
    let mut worries: Vec<String> = texts(&status["reasons"]).chain(texts(&status["degraded"])).collect();
    for source in status["sources"].as_array().into_iter().flatten() {
        let held = source["quarantined"].as_u64().unwrap_or(0);
        if held > 0 {
            let name = source["mapping"].as_str().unwrap_or_default();
            let what =
                if held == 1 { "1 row or file is".to_owned() } else { format!("{held} rows or files are") };
            worries.push(format!(
                "source of `{name}`: {what} held back; `yiwang-adapter quarantine list` tells which"
            ));
        }
    }
    if let Some(days) = days_left(status, now_ms).filter(|days| *days < DAYS_FEW) {
        worries
            .push(format!("the member's certificate ends in {} and was not renewed", counted(days, "day")));
    }
    worries
}

/// A time for people.
fn shown_us(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

fn age(newest: &Value, now_ms: i64) -> String {
    let at = newest.as_str().and_then(|text| yiwang_proto::time::parse_rfc3339(text).ok());
    match at {
        None => "age not asked".to_owned(),
        Some(at) => {
            let minutes = now_ms.saturating_sub(at).max(0) / 60_000;
            format!("newest data {} h {} min old", minutes / 60, minutes % 60)
        }
    }
}

fn text(status: &Value, state: &str, worries: &[String], now_ms: i64) -> String {
    let mut out = format!("{state}\n");
    for worry in worries {
        let _ = writeln!(out, "  ! {worry}");
    }
    let adapter = &status["adapter"];
    if adapter.is_object() {
        let count = |key: &str| adapter[key].as_u64().unwrap_or(0);
        let _ = writeln!(
            out,
            "adapter {}: link {}, {} under way, {} answered, {} without receipt, last receipt {}, newest head {} s ago",
            adapter["name"].as_str().unwrap_or_default(),
            adapter["link"].as_str().unwrap_or_default(),
            count("in_flight"),
            count("answered"),
            count("unreceipted"),
            adapter["receipt_age_ms"]
                .as_u64()
                .map_or_else(|| "none".to_owned(), |ms| format!("{} s ago", ms / 1000)),
            count("head_age_ms") / 1000
        );
    }
    if let Some(days) = days_left(status, now_ms) {
        let _ = writeln!(out, "certificate: {} left", counted(days, "day"));
    }
    for source in status["sources"].as_array().into_iter().flatten() {
        let _ = write!(
            out,
            "{}: {}",
            source["mapping"].as_str().unwrap_or_default(),
            age(&source["newest"], now_ms)
        );
        let pool = &source["pool"];
        if pool.is_object() {
            let _ = write!(
                out,
                ", {} of {} connections in use, {} wait",
                pool["busy"], pool["most"], pool["waiting"]
            );
        }
        let _ = writeln!(out, ", {} held back", source["quarantined"]);
        for one in source["operations"].as_array().into_iter().flatten() {
            let us = |key: &str| shown_us(one[key].as_u64().unwrap_or(0));
            let _ = writeln!(
                out,
                "  {} {}: asked {}, failed {}, p50 {}, p95 {}",
                if one["state"] == "serving" { '✓' } else { '✗' },
                one["operation"].as_str().unwrap_or_default(),
                one["asked"],
                one["failed"],
                us("p50_us"),
                us("p95_us")
            );
            let last = &one["last_failure"];
            if last.is_object() {
                let part = |key: &str| last[key].as_str().unwrap_or_default();
                let _ = writeln!(out, "    last failed {}: {}: {}", part("at"), part("code"), part("detail"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_failed_says_when_and_why() {
        let operation = |last: Value| {
            json!({
                "operation": "person.by_id", "state": "serving", "asked": 2, "failed": 1, "p50_us": 10, "p95_us": 10,
                "last_failure": last,
            })
        };
        let of = |last: Value| {
            let sources =
                json!([{ "mapping": "police.person", "quarantined": 0, "operations": [operation(last)] }]);
            text(&json!({ "sources": sources }), "healthy", &[], 0)
        };
        let last = json!({
            "at": "2026-11-01T08:00:00Z", "code": "source_error",
            "detail": "police.person: person.by_id: required field `name` is empty",
        });
        let said = of(last);
        assert!(
            said.ends_with(
                "asked 2, failed 1, p50 10 µs, p95 10 µs\n    last failed 2026-11-01T08:00:00Z: source_error: \
                 police.person: person.by_id: required field `name` is empty\n"
            ),
            "{said}"
        );
        // None has failed, or the host is older than this command.
        assert!(!of(Value::Null).contains("last failed"));
    }
}
