//! One call over one connection, and its answer read under limits.

use super::base::Base;
use super::body::read_json;
use super::connect::{Connector, Failure, Proxy};
use super::tls;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::{Method, ServiceDef};
use yiwang_adapter_sdk::source::SourceError;
use yiwang_proto::ambient::Clock;

/// How long an idle connection is kept: less than servers and balancers commonly keep theirs.
const IDLE: Duration = Duration::from_secs(20);
/// Headers of an answer: servers and balancers send some tens.
const HEADERS_MAX: usize = 100;
/// Bytes that headers of an answer may have: what servers commonly allow.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static("yiwang-adapter");
/// A compressed answer could be a bomb, and saves nothing on a local network.
const PLAIN: HeaderValue = HeaderValue::from_static("identity");

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, absolute, as [`Base`] gives them.
    pub target: String,
    /// Type and bytes of the body.
    pub content: Option<(&'static str, Bytes)>,
    /// What is accepted.
    pub accept: &'static str,
    /// More headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether it can be made again.
    pub idempotent: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status; never one that moves elsewhere.
    pub status: StatusCode,
    /// The JSON that came with it; none if it was something else, which only a refusal can be.
    pub json: Option<Value>,
}

impl Reply {
    /// The JSON of an answer that is no refusal.
    pub fn into_json(self) -> Result<Value, SourceError> {
        match self.json {
            Some(json) if self.status.is_success() => Ok(json),
            _ => Err(refused(self.status)),
        }
    }
}

/// When a question is too late.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at_us: u64,
    whole: Duration,
}

/// Why a call failed.
pub(crate) struct Failed {
    pub(crate) error: SourceError,
    /// Whether another call may fare better.
    pub(crate) again: bool,
}

/// Connections, trust and limits of one service; its token endpoint is called over the same.
pub(crate) struct Transport {
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
    proxy_auth: Option<HeaderValue>,
    max_bytes: usize,
    clock: Arc<dyn Clock>,
}

impl Transport {
    pub(crate) fn new(
        def: &ServiceDef,
        folder: &Path,
        proxy: Option<Proxy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let proxy_auth = proxy.as_ref().and_then(Proxy::auth);
        let connector = Connector::new(tls::config(&def.tls, folder, Arc::clone(&clock))?, proxy);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(def.pool_max)
            .http1_max_headers(HEADERS_MAX)
            .http1_max_buf_size(HEADER_BYTES_MAX)
            .build(connector.clone());
        Ok(Self { http, connector, proxy_auth, max_bytes: def.max_bytes, clock })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(crate) fn monotonic_us(&self) -> u64 {
        self.clock.monotonic_us()
    }

    pub(crate) fn deadline(&self, whole: Duration) -> Deadline {
        let left = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        Deadline { at_us: self.clock.monotonic_us().saturating_add(left), whole }
    }

    pub(crate) fn left(&self, deadline: Deadline) -> Duration {
        Duration::from_micros(deadline.at_us.saturating_sub(self.clock.monotonic_us()))
    }

    pub(crate) async fn reach(&self, base: &Base, left: Duration) -> Result<(), SourceError> {
        let uri = base.uri("/")?;
        let mut connector = self.connector.clone();
        match tokio::time::timeout(left, tower_service::Service::call(&mut connector, uri)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(SourceError::Unavailable(failure.to_string())),
            Err(_) => Err(SourceError::Timeout(left)),
        }
    }

    /// Sends a call and waits for the head of its answer.
    pub(crate) async fn once(
        &self,
        base: &Base,
        call: &Call,
        shown: Option<&(HeaderName, HeaderValue)>,
        deadline: Deadline,
    ) -> Result<Response<Incoming>, Failed> {
        let failed = |error| Failed { error, again: false };
        let request = self.request(base, call, shown).map_err(failed)?;
        let response = match tokio::time::timeout(self.left(deadline), self.http.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Failed { error: unavailable(&error), again: true }),
            Err(_) => return Err(failed(SourceError::Timeout(deadline.whole))),
        };
        if response.status().is_redirection() {
            let what = format!(
                "it answers with status {}; another address is never followed: name the right one",
                response.status().as_u16()
            );
            return Err(failed(SourceError::Drift(what)));
        }
        if response.status().is_informational() {
            return Err(failed(SourceError::Drift("its answer has no sense".to_owned())));
        }
        Ok(response)
    }

    fn request(
        &self,
        base: &Base,
        call: &Call,
        shown: Option<&(HeaderName, HeaderValue)>,
    ) -> Result<Request<Full<Bytes>>, SourceError> {
        let method = match call.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
        };
        let body = call.content.as_ref().map_or_else(Bytes::new, |(_, bytes)| bytes.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = base.uri(&call.target)?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(ACCEPT_ENCODING, PLAIN);
        headers.insert(ACCEPT, HeaderValue::from_static(call.accept));
        if let Some((kind, _)) = &call.content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in call.headers.iter().chain(shown) {
            headers.insert(name, value.clone());
        }
        if let Some(auth) = self.proxy_auth.as_ref().filter(|_| !base.is_tls()) {
            headers.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        headers.insert(HOST, base.host_header()?);
        Ok(request)
    }

    /// Reads the body of an answer.
    pub(crate) async fn finish(
        &self,
        response: Response<Incoming>,
        deadline: Deadline,
    ) -> Result<Reply, SourceError> {
        let status = response.status();
        if status.is_server_error() || matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
        {
            return Err(refused(status));
        }
        let whole = read_json(response, self.max_bytes);
        let read = tokio::time::timeout(self.left(deadline), whole).await;
        match read.unwrap_or(Err(SourceError::Timeout(deadline.whole))) {
            Ok(json) => Ok(Reply { status, json: Some(json) }),
            // What a refusal says in words is nothing that could be passed on.
            Err(SourceError::Drift(_)) if !status.is_success() => Ok(Reply { status, json: None }),
            Err(error) => Err(error),
        }
    }
}

/// What a status says of the service, in our words.
pub(crate) fn refused(status: StatusCode) -> SourceError {
    let number = status.as_u16();
    match status {
        StatusCode::TOO_MANY_REQUESTS => SourceError::Throttled,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            SourceError::Unavailable(format!("it refuses the adapter's credentials (status {number})"))
        }
        _ if status.is_server_error() => SourceError::Unavailable(format!("it fails (status {number})")),
        _ => SourceError::Query(format!("it refuses the call (status {number})")),
    }
}

fn unavailable(error: &legacy::Error) -> SourceError {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(failure) = inner.downcast_ref::<Failure>() {
            return SourceError::Unavailable(failure.to_string());
        }
        source = inner.source();
    }
    let what = if error.is_connect() { "no connection" } else { "the connection broke, or held no HTTP" };
    SourceError::Unavailable(what.to_owned())
}
