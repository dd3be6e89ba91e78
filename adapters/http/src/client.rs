//! Calls of one service: bounded, with a deadline, made again only where that changes nothing.

mod asked;
mod assertion;
mod auth;
mod base;
mod body;
mod connect;
mod secret;
mod tls;
mod transport;

pub use asked::Asked;
pub use assertion::AssertionKey;
pub use base::Base;
pub use transport::{Call, Deadline, Reply};

use auth::Auth;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use transport::{Transport, refused};
use yiwang_adapter_sdk::mapping::{RetryDef, ServiceDef};
use yiwang_adapter_sdk::source::{Environment, SourceError, Usage};
use yiwang_proto::ambient::{Clock, Entropy, random};

/// Between two calls of one question at most, whatever doubling yields.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A client of one service.
pub struct Client {
    base: Base,
    transport: Transport,
    auth: Auth,
    turns: Semaphore,
    turns_max: usize,
    waiting: AtomicUsize,
    /// When somebody was last given a turn.
    given_us: AtomicU64,
    acquire: Duration,
    retry: RetryDef,
    entropy: Arc<dyn Entropy>,
}

/// Counts one who waits, until dropped.
struct Waiting<'c>(&'c AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Client {
    /// Prepares calls of a service; nothing is sent yet. Relative paths are relative to `folder`. Errors: a
    /// setting that is missing or no address, a file that holds no certificate or key.
    pub fn new(
        def: &ServiceDef,
        folder: &Path,
        environment: &Arc<dyn Environment>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SourceError> {
        let base = Base::parse(def.url.resolve(folder, environment.as_ref())?.trim(), def.tls.plain)?;
        let auth = Auth::new(&def.auth, def.tls.plain, folder, environment)?;
        let proxy = match &def.proxy {
            Some(proxy) => Some(connect::Proxy::parse(proxy.resolve(folder, environment.as_ref())?.trim())?),
            None => None,
        };
        if proxy.is_some() && !def.tls.plain && !(base.is_tls() && auth.is_tls()) {
            // This machine's own address, behind a proxy, is another machine's.
            return Err(SourceError::Setting(
                "a proxy would read credentials and records: an address has no TLS; leave `proxy` out for a \
                 service on this machine, or write `tls = { mode = \"off\" }` where the department has none"
                    .to_owned(),
            ));
        }
        let transport = Transport::new(def, folder, proxy, clock)?;
        Ok(Self {
            base,
            transport,
            auth,
            turns: Semaphore::new(def.pool_max),
            turns_max: def.pool_max,
            waiting: AtomicUsize::new(0),
            given_us: AtomicU64::new(0),
            acquire: def.acquire,
            retry: def.retry.clone(),
            entropy,
        })
    }

    /// The service's address.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Whether everything is called over TLS: the service, and where tokens are asked for.
    pub fn is_tls(&self) -> bool {
        self.base.is_tls() && self.auth.is_tls()
    }

    /// The moment after which a question is too late.
    pub fn deadline(&self, left: Duration) -> Deadline {
        self.transport.deadline(left)
    }

    /// Whether a connection can be made.
    pub async fn reach(&self, left: Duration) -> Result<(), SourceError> {
        self.transport.reach(&self.base, left).await
    }

    /// Has a token where one is needed: what it is asked for with is tried, and no call of the service is made. Errors:
    /// whoever gives tokens is away, slow, or gives none.
    pub async fn authorise(&self, left: Duration) -> Result<(), SourceError> {
        self.auth.shown(&self.transport, self.entropy.as_ref(), self.deadline(left)).await.map(drop)
    }

    /// Makes a call; again where that changes nothing, as long as there is time. Errors: the service is
    /// away, slow, turns the adapter away, moves elsewhere, or answers what cannot be read. Statuses from 400
    /// to 499 that are not about the adapter's credentials come back as replies.
    pub async fn send(&self, call: &Call, deadline: Deadline) -> Result<Reply, SourceError> {
        let _turn = self.turn().await?;
        let response = self.answered(call, deadline).await?;
        self.transport.finish(response, deadline).await
    }

    /// Makes a call whose answer says enough by its status. Errors: as [`Client::send`]; any refusal.
    pub async fn ping(&self, call: &Call, deadline: Deadline) -> Result<(), SourceError> {
        let _turn = self.turn().await?;
        let status = self.answered(call, deadline).await?.status();
        if status.is_success() { Ok(()) } else { Err(refused(status)) }
    }

    /// How many calls are under way, and how many wait for their turn.
    pub fn usage(&self) -> Usage {
        let free = self.turns.available_permits();
        let since_us = self.transport.monotonic_us().saturating_sub(self.given_us.load(Ordering::Acquire));
        Usage {
            busy: self.turns_max.saturating_sub(free),
            most: self.turns_max,
            waiting: self.waiting.load(Ordering::Acquire),
            exhausted: free == 0 && u128::from(since_us) >= self.acquire.as_micros(),
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, SourceError> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(self.acquire, self.turns.acquire()).await {
            Ok(Ok(turn)) => {
                self.given_us.store(self.transport.monotonic_us(), Ordering::Release);
                Ok(turn)
            }
            _ => Err(SourceError::Busy { waiting: self.turns_max }),
        }
    }

    async fn answered(&self, call: &Call, deadline: Deadline) -> Result<Response<Incoming>, SourceError> {
        let (mut made, mut renewed) = (1, false);
        loop {
            let shown = self.auth.shown(&self.transport, self.entropy.as_ref(), deadline).await?;
            let (failure, retry_after) =
                match self.transport.once(&self.base, call, shown.as_ref(), deadline).await {
                    Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                        // A token may end sooner than was said, and a header's value may have been changed: one new
                        // one, once.
                        if renewed || !self.auth.renew(shown.as_ref()).await {
                            return Err(refused(StatusCode::UNAUTHORIZED));
                        }
                        renewed = true;
                        continue;
                    }
                    Ok(response) if !self.retry.only.contains(&response.status().as_u16()) => {
                        return Ok(response);
                    }
                    Ok(response) => (refused(response.status()), retry_after(&response)),
                    Err(failed) if failed.again => (failed.error, None),
                    Err(failed) => return Err(failed.error),
                };
            if !call.idempotent || made >= self.retry.attempts {
                return Err(failure);
            }
            let wait = self.wait(made).max(retry_after.unwrap_or_default());
            if wait >= self.transport.left(deadline) {
                return Err(failure);
            }
            tokio::time::sleep(wait).await;
            made += 1;
        }
    }

    /// Half of the doubled wait, and up to as much again, so that many adapters do not come back at once.
    fn wait(&self, made: u32) -> Duration {
        let doubled = self.retry.first.saturating_mul(1 << made.saturating_sub(1).min(10));
        let whole = doubled.min(WAIT_MAX);
        let [share] = random::<1>(self.entropy.as_ref());
        whole / 2 + whole.mul_f64(f64::from(share) / 512.0)
    }
}

/// Seconds that a service asks for; a date is as good as nothing said, since clocks differ.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let value = response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
