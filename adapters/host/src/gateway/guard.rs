//! What stands before every route of an app: who asks, how much at once, how long.

use super::frame::Ids;
use super::problem::{BUSY, HUB_UNREACHABLE, Problem, QUERY_STRING, TIMED_OUT, UNAUTHENTICATED, UNVERIFIED};
use super::{App, Gateway};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
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
    ids: Arc<Ids>,
}

pub(super) async fn guard(
    State(gateway): State<Arc<Gateway>>,
    Extension(ids): Extension<Arc<Ids>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(app) = gateway.app_of(request.headers()) else {
        gateway.unauthenticated.fetch_add(1, Ordering::Relaxed);
        return Problem::new(&UNAUTHENTICATED).into_response();
    };
    tracing::Span::current().record("app", app.name.as_str());
    let caller = Caller { app: Arc::clone(&app), ids };
    let response = admit(request, caller, next).await.unwrap_or_else(Problem::into_response);
    let good = response.extensions().get::<Problem>().is_none();
    let counter = if good { &app.answered } else { &app.refused };
    counter.fetch_add(1, Ordering::Relaxed);
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
    let parent = caller.ids.trace.parent.clone();
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
        Problem::from(error)
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
