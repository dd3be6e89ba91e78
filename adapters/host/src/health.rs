//! `/live`, `/ready`, `/status`, `/metrics` and `/mappings` for whoever runs the host. Counts and states only: no subject, no value.

use crate::gateway::Gateway;
use crate::mappings::{Mappings, Served};
use crate::sources::{SourceHealth, Watched, healths};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_client::folder::Enrolled;
use yiwang_client::standing::StandingHealth;
use yiwang_proto::ambient::Clock;
use yiwang_proto::hex;
use yiwang_proto::time::format_rfc3339;
use yiwang_telemetry::answers_to;

/// What is looked at.
pub(crate) struct Health {
    pub(crate) adapter: Option<Arc<Adapter>>,
    pub(crate) mappings: Arc<Mappings>,
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) enrolled: Enrolled,
    pub(crate) standing: Arc<StandingHealth>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The routes of a door that listens there. Whoever is on this machine may also see what the mappings say.
pub(crate) fn routes(health: Arc<Health>, listen: SocketAddr) -> Router {
    let pages = if listen.ip().is_loopback() {
        Router::new().route("/mappings", get(mappings))
    } else {
        Router::new()
    };
    pages
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(crate::metrics::page))
        .with_state(health)
        .layer(from_fn_with_state(listen, only_own_names))
}

/// Why a request for another name is refused; the name itself is not repeated.
const NOT_HERE: &str = "misdirected: this door answers to names and addresses of its own machine; ask for 127.0.0.1 or localhost, or for \
                        the address that it listens on\n";

/// Refuses what a page in a browser asks under its own name.
async fn only_own_names(State(listen): State<SocketAddr>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if named.chain(authority).all(|host| answers_to(host, listen)) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, NOT_HERE).into_response()
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let reasons = health.reasons();
    if reasons.is_empty() {
        let mut text = "ready\n".to_owned();
        for reason in health.degraded() {
            let _ = writeln!(text, "degraded: {reason}");
        }
        return (StatusCode::OK, text).into_response();
    }
    let mut text = "not ready\n".to_owned();
    for reason in reasons {
        let _ = writeln!(text, "{reason}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn mappings(State(health): State<Arc<Health>>) -> Response {
    let served = health.mappings.served();
    let one = |served: &Served| {
        let shown = crate::command::masked_mapping_of(served.source.mapped.mapping()).ok();
        json!({ "file": served.file.display().to_string(), "shown": shown })
    };
    let mappings: Vec<Value> = served.iter().map(one).collect();
    ([(header::CONTENT_TYPE, "application/json")], json!({ "mappings": mappings }).to_string())
        .into_response()
}

async fn status(State(health): State<Arc<Health>>) -> Response {
    // A folder that is being read says what it holds back only afterwards.
    let looking = tokio::task::spawn_blocking(move || health.status().to_string());
    match looking.await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Health {
    pub(crate) fn sources(&self) -> Vec<SourceHealth> {
        healths(&self.mappings.sources(), self.clock.as_ref())
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
            if let Some(why) = health.receipts_owed {
                reasons.push(format!(
                    "receipts_owed: {why}; the hub brings them, or `yiwang adapter receipts` lists them and gives up what cannot come"
                ));
            }
            if health.journal_full {
                reasons.push("journal: no space".to_owned());
            }
            if health.journal_dead {
                reasons.push("journal: failed; look at the disk and start again".to_owned());
            }
        }
        reasons.extend(self.of_sources());
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

    /// Why not all that is mapped is answered. What is not named here is, also of the same mapping.
    fn of_sources(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for watched in &self.mappings.sources() {
            let name = watched.mapped.mapping().name();
            if let Some(trouble) = watched.health(self.clock.now_ms()).trouble {
                reasons.push(format!("source of `{name}`: {trouble}"));
            }
            if let Some(usage) = watched.mapped.source().usage().filter(|usage| usage.exhausted) {
                reasons.push(format!(
                    "source of `{name}`: its pool is exhausted: all {} places are in use and none comes free; look for slow \
                     statements at the source, or raise `pool.max`",
                    usage.most
                ));
            }
            if watched.is_compared() {
                reasons.extend(drifted(watched));
            }
        }
        reasons
    }

    /// What does not keep it from serving, and must be looked at all the same.
    fn degraded(&self) -> Vec<String> {
        let served = self.mappings.served();
        let refused = self.mappings.reloads().refused.into_iter();
        let changed = refused.map(|(file, why)| {
            let serves = served.iter().any(|one| one.file == file);
            let how = match serves {
                true => "changed and does not hold; the one before serves on",
                false => "does not hold and is left out; its operations are unavailable",
            };
            format!("mapping file `{}` {how}: {why}", file.display())
        });
        let stale = self.sources().into_iter().filter(|source| source.stale);
        let stale = stale.map(|source| format!("source of `{}`: its data is old", source.mapping));
        // What only the next answer can take back keeps nobody away from the host: it may not be asked for long.
        let sources = self.mappings.sources();
        let drifted =
            sources.iter().filter(|watched| !watched.is_compared()).flat_map(|watched| drifted(watched));
        changed.chain(stale).chain(drifted).collect()
    }

    /// What serves, and how changes of it went.
    fn mappings(&self) -> Value {
        let reloads = self.mappings.reloads();
        let all = self.mappings.served();
        let served: Vec<Value> = all
            .iter()
            .map(|served| {
                let mapping = served.source.mapped.mapping();
                json!({
                    "mapping": mapping.name(),
                    "file": served.file.display().to_string(),
                    "sha256": hex(&mapping.digest()),
                    "refused": reloads.refused.get(&served.file),
                })
            })
            .collect();
        let is_left = |file: &&std::path::PathBuf| !all.iter().any(|one| one.file == **file);
        let left_out: Vec<Value> = reloads
            .refused
            .keys()
            .filter(is_left)
            .map(|file| json!({ "file": file.display().to_string(), "refused": reloads.refused.get(file) }))
            .collect();
        json!({
            "served": served,
            "left_out": left_out,
            "changing": reloads.coming,
            "changes": reloads.changes,
            "refused_changes": reloads.failures,
        })
    }

    fn status(&self) -> Value {
        let watched = self.mappings.sources();
        let sources: Vec<Value> = healths(&watched, self.clock.as_ref())
            .into_iter()
            .zip(&watched)
            .map(|(source, watched)| of_source(&source, watched))
            .collect();
        json!({
            "ready": self.reasons().is_empty(),
            "reasons": self.reasons(),
            "degraded": self.degraded(),
            "adapter": self.adapter.as_deref().map(adapter_status),
            "standing_until": Some(self.standing.until_ms()).filter(|ms| *ms > 0).map(format_rfc3339),
            "sources": sources,
            "mappings": self.mappings(),
            "gateway": self.gateway.as_deref().map(Gateway::status),
            "certificate_ends": self.enrolled.certificate().ok().map(|leaf| format_rfc3339(leaf.ends_ms)),
        })
    }
}

/// Operations whose source does not fit, as far as is known.
fn drifted(watched: &Watched) -> impl Iterator<Item = String> + use<> {
    let name = watched.mapped.mapping().name().to_owned();
    watched.mapped.operations_health().into_iter().filter_map(move |one| {
        let why = one.drift?;
        Some(format!(
            "operation {} of `{name}`: the source has drifted from its mapping: {why}; mend either, `yiwang-adapter check` \
             tells more",
            one.operation
        ))
    })
}

fn of_source(source: &SourceHealth, watched: &Watched) -> Value {
    let operations: Vec<Value> = watched
        .mapped
        .operations_health()
        .into_iter()
        .map(|one| {
            let state = match (&source.trouble, &one.drift) {
                (Some(_), _) => "unavailable",
                (None, Some(_)) => "drifted",
                (None, None) => "serving",
            };
            let last_failure = one.last_failure.map(|last| {
                json!({ "at": format_rfc3339(last.at_ms), "code": last.code.as_str(), "detail": last.detail })
            });
            json!({
                "operation": one.operation,
                "state": state,
                "asked": one.asked,
                "failed": one.failed,
                "last_failure": last_failure,
                "rows_left_out": one.left_out,
                "p50_us": one.p50_us,
                "p95_us": one.p95_us,
            })
        })
        .collect();
    let usage = watched.mapped.source().usage();
    let pool = usage.map(|usage| json!({ "busy": usage.busy, "most": usage.most, "waiting": usage.waiting }));
    json!({
        "mapping": source.mapping,
        "trouble": source.trouble,
        "newest": source.newest_ms.map(format_rfc3339),
        "stale": source.stale,
        "operations": operations,
        "pool": pool,
        "quarantined": watched.mapped.source().quarantine().1,
    })
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
        "given_up": health.given_up,
        "alarms": health.alarms,
        "cosigned": health.cosigned,
        "head_size": health.head_size,
        "head_age_ms": health.head_age_ms,
        "receipted": health.receipted,
        "receipt_age_ms": health.receipt_age_ms,
        "unreceipted": health.unreceipted,
        "receipts_owed": health.receipts_owed,
        "bad_receipts": health.bad_receipts,
        "clock_skew_ms": health.clock_skew_ms,
        "journal_read": health.journal_read,
        "standings": health.standings,
        "standing_age_ms": health.standing_age_ms,
        "journal_full": health.journal_full,
        "journal_dead": health.journal_dead,
    })
}
