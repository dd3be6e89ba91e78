//! `/live`, `/ready`, `/stages`, `/metrics`, gRPC health, and the small tasks that keep them true.

use crate::context::Hub;
use crate::directory::PolicyDraft;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use yiwang_proto::codes::Code;
use yiwang_telemetry::answers_to;

/// The plain-HTTP routes for whoever runs the hub.
pub(super) fn routes(hub: Arc<Hub>, listen: SocketAddr) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/stages", get(stages))
        .route("/metrics", get(super::metrics::page))
        .with_state(hub)
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

async fn ready(State(hub): State<Arc<Hub>>) -> (StatusCode, String) {
    match hub.ledger.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(code) => {
            let reason = hub.ledger.waiting_reason().unwrap_or_default();
            (StatusCode::SERVICE_UNAVAILABLE, format!("{code}: {}\n{reason}\n", code.help()))
        }
    }
}

async fn stages(State(hub): State<Arc<Hub>>) -> String {
    let means: serde_json::Map<String, serde_json::Value> = hub
        .stage_times
        .means()
        .into_iter()
        .map(|(name, count, mean)| (name.to_owned(), serde_json::json!({"count": count, "mean_us": mean})))
        .collect();
    let head = hub.ledger.checkpoint();
    let alarms: serde_json::Map<String, serde_json::Value> =
        hub.alarms.counts().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    serde_json::json!({
        "stages": means,
        "ledger_size": head.size,
        "connected": hub.links.connected(),
        "links_replaced": hub.links.replaced(),
        "publishing_behind": hub.ledger.publishing_behind(),
        "published_size": hub.ledger.published().map(|head| head.size),
        "alarms": alarms,
    })
    .to_string()
}

/// How often the watch looks; a full disk that has space again is noticed within this time.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps gRPC health true. Waits for nothing but the time: what waits for a disk is [`upkeep`]'s.
pub(super) async fn watch(hub: Arc<Hub>, reporter: HealthReporter) {
    const SERVICES: [&str; 4] =
        ["", "yiwang.v1.ExchangeService", "yiwang.v1.RecordService", "yiwang.v1.CaseService"];
    let mut told = false;
    loop {
        let stalled = hub.ledger.stalled().is_some();
        if stalled && !told {
            tracing::error!("the ledger's disk hangs: exchanges are refused until it goes on");
        }
        told = stalled;
        let status = match hub.ledger.ready() {
            Ok(()) => ServingStatus::Serving,
            // A full queue is over in a moment; a disk that hangs may not be.
            Err(Code::Overloaded) if hub.ledger.stalled().is_none() => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        if hub.stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Carries out orders, looks for room while the ledger is full, records a new policy once it can. Apart from the watch,
/// since each of these waits for the ledger: a disk that hangs from then on would be told by nobody.
pub(super) async fn upkeep(hub: Arc<Hub>) {
    hub.orders.forget();
    loop {
        if hub.ledger.stalled().is_none() {
            hub.orders.carry_out(&hub).await;
            hub.ledger.probe_room().await;
            record_policy(&hub).await;
        }
        if hub.stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Enters the policy that decides, if the ledger names another.
pub(super) async fn record_policy(hub: &Hub) {
    if !hub.policy_is_recorded()
        && let Err(code) = hub.ledger.append(Box::new(PolicyDraft)).await
    {
        tracing::info!(%code, "the policy that decides is not yet in the ledger");
    }
}

#[cfg(test)]
mod tests;
