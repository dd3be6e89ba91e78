//! What stands around every answer, whoever asked and whatever happened: the ids of the request in headers and
//! in problems, its span under the caller's trace, its count and duration.

use super::Gateway;
use super::problem::Problem;
use super::trace::Trace;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use tracing::Instrument as _;
use tracing::field::Empty;
use yiwang_proto::ids::RequestId;
use yiwang_telemetry::{continue_trace, traceparent_of};

/// The ids of one request to the gateway. A caller that reports a fault names either; the log has both.
#[derive(Debug)]
pub(super) struct Ids {
    /// This request, never another.
    pub(super) request: RequestId,
    /// The caller's trace, or a new one.
    pub(super) trace: Trace,
}

/// Header with the request's id.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// Header with the trace's id.
pub(super) const TRACE_ID: &str = "x-trace-id";

pub(super) async fn frame(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let started_us = gateway.clock.monotonic_us();
    let (entropy, method) = (gateway.entropy.as_ref(), request.method().clone());
    let route = super::openapi::route_of(request.uri().path());
    let mut trace = Trace::of(request.headers(), entropy);
    let span = tracing::info_span!("gateway", %method, route, app = Empty, status = Empty, code = Empty);
    if let Some(caller) = &trace.caller {
        continue_trace(&span, caller);
    }
    if let Some(own) = traceparent_of(&span) {
        trace.take(own);
    }
    let ids = Arc::new(Ids { request: RequestId::new(gateway.clock.now_ms(), entropy), trace });
    request.extensions_mut().insert(Arc::clone(&ids));
    let mut response = next.run(request).instrument(span.clone()).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let code = problem.as_ref().map_or("", Problem::code);
    if let Some(problem) = &problem {
        gateway.meters.refused(code);
        *response.body_mut() = Body::from(with_ids(problem, &ids));
    }
    set(response.headers_mut(), &ids);
    let status = response.status().as_u16();
    span.record("status", status).record("code", code);
    let us = gateway.clock.monotonic_us().saturating_sub(started_us);
    gateway.meters.took(route, us);
    let (request, trace) = (ids.request.as_str(), ids.trace.id.as_str());
    // Under the caller's trace id, so that a collector's spans are found by it; the ledger's entries name it
    // too. Nothing of the body or address.
    span.in_scope(|| tracing::info!(status, code, us, request, trace, "request"));
    response
}

fn with_ids(problem: &Problem, ids: &Ids) -> String {
    let mut body = problem.json();
    if let Some(body) = body.as_object_mut() {
        body.insert("trace_id".to_owned(), json!(ids.trace.id));
        body.insert("request_id".to_owned(), json!(ids.request));
    }
    body.to_string()
}

fn set(headers: &mut HeaderMap, ids: &Ids) {
    for (name, id) in [(REQUEST_ID, ids.request.as_str()), (TRACE_ID, ids.trace.id.as_str())] {
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(name, value);
        }
    }
}
