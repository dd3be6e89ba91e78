//! Connections to a server: so many at most, handed to whoever waits, for a bounded time. A connection comes
//! into use only after its role was proved unable to write.

use super::{Link, Server};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use yiwang_adapter_sdk::mapping::PoolDef;
use yiwang_adapter_sdk::source::{SourceError, Usage};
use yiwang_proto::ambient::Clock;

/// Queries that may wait for a connection, as for an SQLite file's threads.
pub(crate) const WAITING_MAX: usize = 256;
/// How long opening a connection may take, with TLS and the proof of the role's rights; a server on the
/// same network needs some tens of milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After a connection could not be opened the next try waits so long: a wrong password tried by every
/// query would lock the role at the server.
const PAUSE_US: u64 = 500_000;
/// How long stopping a query may take before its connection is closed all the same.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How old a connection grows, however much it is used: its role was proved and its password taken when it was
/// opened, so neither is believed for longer; opening one costs some tens of milliseconds.
const AGE_MAX: Duration = Duration::from_secs(10 * 60);

pub(crate) struct Pool<S: Server> {
    shared: Arc<Shared<S>>,
}

struct Shared<S: Server> {
    server: S,
    def: PoolDef,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// When somebody was last given a place.
    given_us: AtomicU64,
    idle: Mutex<Vec<Idle<S::Link>>>,
    /// Connections of an older generation are closed instead of being used again.
    generation: AtomicU64,
    failed: Mutex<Option<(u64, SourceError)>>,
    clock: Arc<dyn Clock>,
}

struct Idle<L> {
    link: L,
    opened_us: u64,
    since_us: u64,
    generation: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can stop halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one who waits, until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S: Server> Pool<S> {
    pub(crate) fn new(server: S, def: PoolDef, clock: Arc<dyn Clock>) -> Self {
        let permits = Arc::new(Semaphore::new(def.max as usize));
        let shared = Shared {
            server,
            def,
            permits,
            waiting: AtomicUsize::new(0),
            given_us: AtomicU64::new(0),
            idle: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
            failed: Mutex::new(None),
            clock,
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn usage(&self) -> Usage {
        let shared = &self.shared;
        let most = shared.def.max as usize;
        let free = shared.permits.available_permits();
        // A pool that is full for a moment, under load, hands on its places all the time.
        let since_us = shared.clock.monotonic_us().saturating_sub(shared.given_us.load(Ordering::Acquire));
        let exhausted = free == 0 && u128::from(since_us) >= shared.def.acquire.as_micros();
        Usage {
            busy: most.saturating_sub(free),
            most,
            waiting: shared.waiting.load(Ordering::Acquire),
            exhausted,
        }
    }

    pub(crate) fn server(&self) -> &S {
        &self.shared.server
    }

    /// A connection: one that lies idle, or a new one.
    pub(crate) async fn lease(&self) -> Result<Lease<S>, SourceError> {
        let shared = &self.shared;
        let permit = self.permit().await?;
        shared.given_us.store(shared.clock.monotonic_us(), Ordering::Release);
        let generation = shared.generation.load(Ordering::Acquire);
        let now = shared.clock.monotonic_us();
        loop {
            let Some(idle) = lock(&shared.idle).pop() else { break };
            if idle.generation == generation && idle.link.lives() && !is_old(&idle, now, &shared.def) {
                return Ok(Lease::new(self, permit, (idle.link, idle.opened_us), generation, true));
            }
        }
        if let Some((until, error)) = lock(&shared.failed).clone()
            && now < until
        {
            return Err(error);
        }
        match self.connect().await {
            Ok(link) => {
                *lock(&shared.failed) = None;
                // As of before it was opened: the proof is no younger than that.
                Ok(Lease::new(self, permit, (link, now), generation, false))
            }
            Err(error) => {
                let until = shared.clock.monotonic_us().saturating_add(PAUSE_US);
                *lock(&shared.failed) = Some((until, error.clone()));
                Err(error)
            }
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, SourceError> {
        let shared = &self.shared;
        if let Ok(permit) = Arc::clone(&shared.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let busy = SourceError::Busy { waiting: WAITING_MAX };
        let before = shared.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&shared.waiting);
        if before >= WAITING_MAX {
            return Err(busy);
        }
        let acquiring = Arc::clone(&shared.permits).acquire_owned();
        match tokio::time::timeout(shared.def.acquire, acquiring).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(SourceError::Unavailable("the source was closed".to_owned())),
            Err(_) => Err(SourceError::Busy { waiting: before }),
        }
    }

    async fn connect(&self) -> Result<S::Link, SourceError> {
        let opening = async {
            let mut link = self.shared.server.connect().await?;
            link.rights().await?.refuse_writer()?;
            Ok(link)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(SourceError::Unavailable(format!("it was not opened within {CONNECT_TIMEOUT:?}"))),
        }
    }

    /// Closes what lies idle, and what is in use once it comes back.
    pub(crate) fn renew(&self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        lock(&self.shared.idle).clear();
    }

    /// Closes what was idle or open for too long.
    pub(crate) fn reap(&self) {
        let now = self.shared.clock.monotonic_us();
        lock(&self.shared.idle).retain(|idle| idle.link.lives() && !is_old(idle, now, &self.shared.def));
    }
}

fn is_old<L>(idle: &Idle<L>, now_us: u64, def: &PoolDef) -> bool {
    let since = |at_us: u64| u128::from(now_us.saturating_sub(at_us));
    since(idle.since_us) >= def.idle.as_micros() || since(idle.opened_us) >= AGE_MAX.as_micros()
}

/// A connection in one pair of hands. Dropped while a query runs, it stops the query at the server and
/// closes the connection; its place in the pool is free only then, so that the server never works for more
/// than the pool's size.
pub(crate) struct Lease<S: Server> {
    shared: Arc<Shared<S>>,
    permit: Option<OwnedSemaphorePermit>,
    link: Option<S::Link>,
    opened_us: u64,
    generation: u64,
    used: bool,
    running: bool,
}

impl<S: Server> Lease<S> {
    fn new(
        pool: &Pool<S>,
        permit: OwnedSemaphorePermit,
        (link, opened_us): (S::Link, u64),
        generation: u64,
        used: bool,
    ) -> Self {
        let (shared, permit, link) = (Arc::clone(&pool.shared), Some(permit), Some(link));
        Self { shared, permit, link, opened_us, generation, used, running: false }
    }

    /// Whether it lay idle before: then its server may have gone since.
    pub(crate) fn was_used(&self) -> bool {
        self.used
    }

    /// The connection, for work that is stopped if this is dropped before [`Lease::done`].
    pub(crate) fn begin(&mut self) -> Result<&mut S::Link, SourceError> {
        self.running = true;
        let gone = || SourceError::Unavailable("the connection was closed".to_owned());
        self.link.as_mut().ok_or_else(gone)
    }

    /// The work has ended; `keep` tells whether the connection is as good as before.
    pub(crate) fn done(&mut self, keep: bool) {
        self.running = false;
        if !keep {
            self.link = None;
        }
    }
}

impl<S: Server> Drop for Lease<S> {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        if self.running {
            // Without a runtime the process ends anyway.
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
            let (permit, stopping) = (self.permit.take(), link.interrupt());
            runtime.spawn(async move {
                // If it cannot be stopped, the server's own time limit ends it.
                let _ = tokio::time::timeout(INTERRUPT_TIMEOUT, stopping).await;
                drop(link);
                drop(permit);
            });
            return;
        }
        let generation = self.shared.generation.load(Ordering::Acquire);
        if self.generation == generation && link.lives() {
            let since_us = self.shared.clock.monotonic_us();
            lock(&self.shared.idle).push(Idle { link, opened_us: self.opened_us, since_us, generation });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t36_a_connection_grows_old_however_much_it_is_used() {
        let def = PoolDef { max: 1, idle: Duration::from_secs(300), acquire: Duration::from_secs(1) };
        let old = |opened_s: u64, since_s: u64, now_s: u64| {
            let idle = Idle {
                link: (),
                opened_us: opened_s * 1_000_000,
                since_us: since_s * 1_000_000,
                generation: 0,
            };
            is_old(&idle, now_s * 1_000_000, &def)
        };
        assert!(!old(0, 599, 599) && old(0, 599, 600));
        assert!(!old(0, 0, 299) && old(0, 0, 300));
    }
}
