//! `/live`, `/ready`, `/status` and `/metrics` for whoever runs the host. Counts and states only: no subject, no value.

use crate::gateway::Gateway;
use crate::sources::{SourceHealth, Watched, healths};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_client::folder::Enrolled;
use yiwang_client::standing::StandingHealth;
use yiwang_proto::ambient::Clock;
use yiwang_proto::time::format_rfc3339;

/// What is looked at.
pub(crate) struct Health {
    pub(crate) adapter: Option<Arc<Adapter>>,
    pub(crate) sources: Vec<Arc<Watched>>,
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) enrolled: Enrolled,
    pub(crate) standing: Arc<StandingHealth>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The routes.
pub(crate) fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(crate::metrics::page))
        .with_state(health)
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let reasons = health.reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n").into_response();
    }
    let mut text = "not ready\n".to_owned();
    for reason in reasons {
        let _ = writeln!(text, "{reason}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn status(State(health): State<Arc<Health>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], health.status().to_string()).into_response()
}

impl Health {
    pub(crate) fn sources(&self) -> Vec<SourceHealth> {
        healths(&self.sources, self.clock.as_ref())
    }

    /// Why not everything serves; nothing if all does.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(adapter) = &self.adapter {
            let health = adapter.health();
            if let Some(why) = link_trouble(&health.link) {
                reasons.push(format!("link: {why}"));
            }
            if health.clock_skew_ms != 0 {
                reasons.push(format!(
                    "clock_skew: this machine's clock is {} s off; set it, and if it had jumped ahead and is right \
                     now, `yiwang adapter accept-clock` goes on from it",
                    health.clock_skew_ms / 1000
                ));
            }
            if health.journal_full {
                reasons.push("journal: no space".to_owned());
            }
            if health.journal_dead {
                reasons.push("journal: failed; look at the disk and start again".to_owned());
            }
        }
        for source in self.sources() {
            if let Some(trouble) = source.trouble {
                reasons.push(format!("source of `{}`: {trouble}", source.mapping));
            }
        }
        let until_ms = self.standing.until_ms();
        if until_ms == 0 {
            reasons.push("standing: the hub has taken none of this member yet".to_owned());
        } else if until_ms <= self.clock.now_ms() {
            reasons.push("standing: the newest one is over; is a standing key in force?".to_owned());
        }
        if let Some(gateway) = &self.gateway {
            reasons.extend(gateway.not_met().map(|app| format!("gateway: `{app}` has not met the hub")));
        }
        reasons
    }

    fn status(&self) -> Value {
        let sources: Vec<Value> = self
            .sources()
            .into_iter()
            .map(|source| {
                json!({
                    "mapping": source.mapping,
                    "trouble": source.trouble,
                    "newest": source.newest_ms.map(format_rfc3339),
                    "stale": source.stale,
                })
            })
            .collect();
        json!({
            "ready": self.reasons().is_empty(),
            "adapter": self.adapter.as_deref().map(adapter_status),
            "standing_until": Some(self.standing.until_ms()).filter(|ms| *ms > 0).map(format_rfc3339),
            "sources": sources,
            "gateway": self.gateway.as_deref().map(Gateway::status),
            "certificate_ends": self.enrolled.certificate().ok().map(|leaf| format_rfc3339(leaf.ends_ms)),
        })
    }
}

fn link_trouble(link: &LinkState) -> Option<String> {
    match link {
        LinkState::Up => None,
        LinkState::Down => Some("down".to_owned()),
        LinkState::Connecting => Some("no connection to the hub yet".to_owned()),
        LinkState::Alarm(why) => Some(format!("alarm: {why}")),
    }
}

fn adapter_status(adapter: &Adapter) -> Value {
    let health = adapter.health();
    let link = match &health.link {
        LinkState::Up => "up",
        LinkState::Down => "down",
        LinkState::Connecting => "connecting",
        LinkState::Alarm(_) => "alarm",
    };
    json!({
        "name": adapter.name(),
        "link": link,
        "link_starts": health.link_starts,
        "in_flight": health.in_flight,
        "answered": health.answered,
        "denied": health.denied,
        "failed": health.failed,
        "unsigned": health.unsigned,
        "protocol_errors": health.protocol_errors,
        "alarms": health.alarms,
        "cosigned": health.cosigned,
        "head_size": health.head_size,
        "head_age_ms": health.head_age_ms,
        "receipted": health.receipted,
        "unreceipted": health.unreceipted,
        "bad_receipts": health.bad_receipts,
        "clock_skew_ms": health.clock_skew_ms,
        "journal_read": health.journal_read,
        "standings": health.standings,
        "standing_age_ms": health.standing_age_ms,
        "journal_full": health.journal_full,
        "journal_dead": health.journal_dead,
    })
}
