//! What stands before every route: who asks, how much at once, how long, in which trace. One log line a
//! request, without anything of its body or address.

use super::problem::{
    BUSY, HUB_UNREACHABLE, Problem, QUERY_STRING, Refused, TIMED_OUT, UNAUTHENTICATED, UNVERIFIED,
};
use super::trace::Trace;
use super::{App, Gateway};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tracing::Instrument as _;
use yiwang_client::client::traced;
use yiwang_proto::{Digest, sha256};

/// The hub gives up after 30 seconds; the rest is for both ways and for verifying.
const PATIENCE: Duration = Duration::from_secs(40);
/// Tokens are random texts of some ten characters.
const TOKEN_MAX: usize = 512;

/// Who asks, for the handlers.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) app: Arc<App>,
    trace: Arc<Trace>,
}

pub(super) async fn guard(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let started_us = gateway.clock.monotonic_us();
    let trace = Arc::new(Trace::of(request.headers(), gateway.entropy.as_ref()));
    let (method, route) = (request.method().clone(), route(request.uri().path()));
    let Some(app) = gateway.app_of(request.headers()) else {
        gateway.unauthenticated.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%method, route, trace = trace.id, "no app has the token of a request");
        return Problem::new(&UNAUTHENTICATED).trace(&trace.id).into_response();
    };
    let caller = Caller { app: Arc::clone(&app), trace: Arc::clone(&trace) };
    // Under the caller's trace id, so that a collector's spans are found by it; the ledger's entries name it too.
    let span = tracing::info_span!("gateway", %method, route, app = app.name.as_str(), trace = trace.id);
    let response = match admit(request, caller, next).instrument(span).await {
        Ok(response) => response,
        Err(problem) => problem.trace(&trace.id).into_response(),
    };
    let code = response.extensions().get::<Refused>().map_or("", |refused| refused.0);
    let counter = if code.is_empty() { &app.answered } else { &app.refused };
    counter.fetch_add(1, Ordering::Relaxed);
    let status = response.status().as_u16();
    let us = gateway.clock.monotonic_us().saturating_sub(started_us);
    tracing::info!(%method, route, app = app.name.as_str(), status, code, us, trace = trace.id, "request");
    response
}

async fn admit(mut request: Request, caller: Caller, next: Next) -> Result<Response, Problem> {
    if request.uri().query().is_some() {
        return Err(Problem::new(&QUERY_STRING));
    }
    let app = Arc::clone(&caller.app);
    if app.meeting.is_alarm() {
        return Err(Problem::new(&UNVERIFIED));
    }
    if !app.meeting.was_met() {
        return Err(Problem::new(&HUB_UNREACHABLE).detail("the hub was not met since the gateway started"));
    }
    let Ok(_place) = app.places.try_acquire() else { return Err(Problem::new(&BUSY)) };
    let parent = caller.trace.parent.clone();
    request.extensions_mut().insert(caller);
    match tokio::time::timeout(PATIENCE, traced(parent, next.run(request))).await {
        Ok(response) => Ok(response),
        Err(_elapsed) => Err(Problem::new(&TIMED_OUT)),
    }
}

impl Caller {
    /// A problem of this request; a hub that was away or waits for heads is met again soon.
    pub(super) fn problem(&self, error: yiwang_client::error::ClientError) -> Problem {
        use yiwang_client::error::ClientError;
        use yiwang_proto::codes::Code;
        if matches!(error, ClientError::Transport(_) | ClientError::Hub { code: Code::LedgerNotAppending }) {
            self.app.meeting.again();
        }
        Problem::from(error).trace(&self.trace.id)
    }

    /// A problem of this request.
    pub(super) fn traced(&self, problem: Problem) -> Problem {
        problem.trace(&self.trace.id)
    }
}

impl Gateway {
    /// The app whose token the request brings. Tokens are compared by their digests, so that time tells
    /// nothing about them.
    fn app_of(&self, headers: &HeaderMap) -> Option<Arc<App>> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(one), None) = (given.next(), given.next()) else { return None };
        let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_MAX {
            return None;
        }
        let digest = sha256(token.as_bytes());
        self.apps.iter().filter(|app| same(&app.token_sha256, &digest)).map(Arc::clone).next()
    }
}

fn same(a: &Digest, b: &Digest) -> bool {
    a.iter().zip(b).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// The route for the log: the address itself may hold what a careless caller put there.
fn route(path: &str) -> &'static str {
    match path.strip_prefix("/v1/cases/") {
        Some(rest) if rest.ends_with("/add") => "/v1/cases/{case}/add",
        Some(rest) if rest.ends_with("/close") => "/v1/cases/{case}/close",
        Some(_) => "/v1/cases/{case}",
        None if path == "/v1/cases" => "/v1/cases",
        None if path == "/v1/records/prepare" => "/v1/records/prepare",
        None if path == "/v1/records/send" => "/v1/records/send",
        None if path == "/v1/tickets" => "/v1/tickets",
        None => "/v1/records/query",
    }
}
