//! The life of one connection: handshake, identity, requests, goodbye.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::rt::{Executor, Read, Write};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use yiwang_proto::ambient::Clock;

use super::Stop;
use super::activity::{Activity, State, Tracked};
use super::caps::{Caps, Slot};
use super::counters::{Count, Counters, HandshakeFailure};
use super::limits::AcceptLimits;
use super::reading::{Budget, Reading};
use crate::replies::{Handing, Line};
use crate::tls::authority::BACKDATE_MS;
use crate::tls::identity::{ClientAddress, Identity, Peer, TrustDomain};
use crate::tls::server::Tls;

/// The longest pause between two looks at the certificate's end, so that a jump of the wall clock is seen.
const LOOK: Duration = Duration::from_secs(30);

/// Runs each stream of HTTP/2 as a tracked task.
#[derive(Clone)]
struct Tracker(TaskTracker);

impl<F> Executor<F> for Tracker
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// What all connections of a door share.
pub struct Connections<S> {
    service: S,
    tls: Option<(TlsAcceptor, Option<TrustDomain>)>,
    http: Builder<Tracker>,
    limits: AcceptLimits,
    budget: Budget,
    stop: Stop,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    // Kept so that slots outlive the loop.
    _caps: Arc<Caps>,
}

/// Who is at the other end.
#[derive(Clone)]
enum Caller {
    Peer(Peer),
    Stranger(ClientAddress),
}

/// Why a connection is told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Idle,
    CertificateEnded,
    Stopping,
}

enum Verdict {
    Keep(Duration),
    Goodbye(Goodbye),
    Silent,
}

impl<S> Connections<S> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a door, each of its own type")]
    pub fn new(
        service: S,
        tls: Option<Tls>,
        limits: AcceptLimits,
        stop: Stop,
        tracker: TaskTracker,
        counters: Arc<Counters>,
        clock: Arc<dyn Clock>,
        caps: Arc<Caps>,
    ) -> Self {
        let mut http = Builder::new(Tracker(tracker));
        http.http2()
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_bytes)
            .initial_stream_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_send_buf_size(limits.send_buffer)
            .max_pending_accept_reset_streams(limits.pending_resets)
            .max_local_error_reset_streams(limits.local_resets)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        http.http1()
            // Our own rules bound it: a request whose headers are not complete is no open request.
            .header_read_timeout(None)
            .half_close(false)
            .max_headers(64)
            .max_buf_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX));
        let tls = tls.map(|tls| (TlsAcceptor::from(tls.config), tls.trust_domain));
        let budget = Budget::new(limits.reading_bytes);
        Self { service, tls, http, limits, budget, stop, counters, clock, _caps: caps }
    }

    async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        acceptor: &TlsAcceptor,
        stream: T,
    ) -> Result<TlsStream<T>, HandshakeFailure> {
        match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(HandshakeFailure::of(&error)),
            Err(_elapsed) => Err(HandshakeFailure::Timeout),
        }
    }

    fn caller<T>(
        stream: &TlsStream<T>,
        domain: Option<&TrustDomain>,
        address: SocketAddr,
    ) -> Result<Caller, HandshakeFailure> {
        let Some(domain) = domain else { return Ok(Caller::Stranger(ClientAddress(address))) };
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or(HandshakeFailure::NoCertificate)?;
        let (identity, valid) =
            Identity::of_certificate(leaf, domain).map_err(|_| HandshakeFailure::NoIdentity)?;
        let certificate_issued_ms = valid.start.saturating_add(BACKDATE_MS);
        Ok(Caller::Peer(Peer { identity, certificate_issued_ms, certificate_ends_ms: valid.end, address }))
    }

    fn judge(&self, activity: &Activity, ends_ms: Option<i64>) -> Verdict {
        let left = ends_ms.map(|ends_ms| ends_ms.saturating_sub(self.clock.now_ms()));
        if left.is_some_and(|left| left <= 0) {
            return Verdict::Goodbye(Goodbye::CertificateEnded);
        }
        let limits = &self.limits;
        let wait = match activity.state() {
            State::Silent(so_long) if so_long >= limits.first_request => return Verdict::Silent,
            State::Idle(so_long) if so_long >= limits.idle => return Verdict::Goodbye(Goodbye::Idle),
            State::Silent(so_long) => limits.first_request.saturating_sub(so_long),
            State::Idle(so_long) => limits.idle.saturating_sub(so_long),
            State::Busy => limits.idle,
        };
        let left = left.map_or(LOOK, |ms| Duration::from_millis(ms.unsigned_abs()));
        Verdict::Keep(wait.min(left).min(LOOK))
    }
}

impl<S, B> Connections<S>
where
    S: Service<Request<Reading>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Serves one accepted connection to its end.
    pub async fn run<T>(self: Arc<Self>, stream: T, address: SocketAddr, slot: Slot)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = Open::new(&self.counters.open);
        let stop = self.stop.finish.clone();
        let Some((acceptor, domain)) = &self.tls else {
            let caller = Caller::Stranger(ClientAddress(address));
            return self.drive(TokioIo::new(stream), caller, slot).await;
        };
        let Some(result) = stop.run_until_cancelled(self.handshake(acceptor, stream)).await else { return };
        let known = result.and_then(|stream| {
            let caller = Self::caller(&stream, domain.as_ref(), address)?;
            Ok((stream, caller))
        });
        match known {
            Ok((stream, caller)) => self.drive(TokioIo::new(stream), caller, slot).await,
            Err(failure) => {
                self.counters.failed(failure);
                tracing::debug!(?failure, "handshake failed");
            }
        }
    }

    async fn drive<I>(&self, io: I, caller: Caller, mut slot: Slot)
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let (identity, ends_ms) = match &caller {
            Caller::Peer(peer) => (Some(&peer.identity), Some(peer.certificate_ends_ms)),
            Caller::Stranger(_) => (None, None),
        };
        if let Err(refused) = slot.identify(identity) {
            self.counters.refused(refused);
            return;
        }
        let activity = Activity::new();
        // Cut where its reader takes no answers: after a while, or at once where a revocation waits for it.
        let line = Arc::new(Line::default());
        let service = service_fn(|mut request: Request<Incoming>| {
            let open = activity.begin();
            match &caller {
                Caller::Peer(peer) => request.extensions_mut().insert(peer.clone()).map(drop),
                Caller::Stranger(address) => request.extensions_mut().insert(*address).map(drop),
            };
            let answer = self.service.clone().oneshot(self.bound(request));
            let line = Arc::clone(&line);
            async move {
                answer.await.map(|mut answer| {
                    let handing = answer.extensions_mut().remove::<Handing>();
                    if let Some(handing) = &handing {
                        handing.over(&line);
                    }
                    answer.map(|body| Tracked::new(body, open, handing))
                })
            }
        });
        let connection = self.http.serve_connection(io, service);
        tokio::pin!(connection);
        // A token of this connection's own: polling a shared one at every wake would make all wait for one lock.
        let (finish, drop_now) = (self.stop.finish.child_token(), self.stop.drop.child_token());
        let wake = sleep_until(Instant::now() + self.limits.first_request.min(LOOK));
        tokio::pin!(wake);
        let mut goodbye = None;
        loop {
            let verdict = tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if ended.is_err() {
                        self.counters.closed_error.add();
                    }
                    return;
                }
                () = drop_now.cancelled() => return,
                () = line.cut.cancelled() => return self.counters.closed_undrained.add(),
                () = finish.cancelled(), if goodbye.is_none() => Verdict::Goodbye(Goodbye::Stopping),
                () = wake.as_mut(), if goodbye != Some(Goodbye::Stopping) => match goodbye {
                    Some(_) => return self.counters.closed_undrained.add(),
                    None => self.judge(&activity, ends_ms),
                },
            };
            match verdict {
                Verdict::Keep(wait) => wake.as_mut().reset(Instant::now() + wait),
                Verdict::Silent => return self.counters.closed_silent.add(),
                Verdict::Goodbye(why) => {
                    goodbye = Some(why);
                    self.say_goodbye(why);
                    connection.as_mut().graceful_shutdown();
                    wake.as_mut().reset(Instant::now() + self.limits.drain);
                }
            }
        }
    }

    fn bound(&self, request: Request<Incoming>) -> Request<Reading> {
        let endless = self.limits.endless.contains(&request.uri().path());
        request.map(|body| match endless {
            true => Reading::endless(body),
            false => Reading::bounded(body, self.limits.request_body, &self.budget),
        })
    }

    fn say_goodbye(&self, why: Goodbye) {
        match why {
            Goodbye::Idle => self.counters.closed_idle.add(),
            Goodbye::CertificateEnded => self.counters.closed_certificate_ended.add(),
            Goodbye::Stopping => {}
        }
    }
}

/// Counts a connection as open.
struct Open<'a>(&'a Count);

impl<'a> Open<'a> {
    fn new(count: &'a Count) -> Self {
        count.add();
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.sub();
    }
}
