//! The link to the hub: the adapter dials out, shows the head it knows, checks the hub's, and then serves
//! requests that come down the stream. Whatever happens to the link, the next one starts from nothing but
//! the journal.

mod backoff;
mod hand_over;
mod receipts;
mod session;

use crate::adapter::Adapter;
use crate::health::LinkState;
use backoff::Backoff;
use session::End;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A link that lasted so long was good: the next wait begins small again.
const STABLE_US: u64 = 60_000_000;

/// Why the link was given up for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The journal failed, so that nothing may be answered.
    #[error("the adapter's journal failed: stop, look at the disk, and start the adapter again")]
    JournalDead,
}

/// Keeps a link to the hub until stopped: dials with `connect`, serves, and dials again after a wait that
/// grows to 30 seconds. When stopped, exchanges under way may finish within the drain time; where the limits say when the
/// next process is there, the hub is told.
///
/// # Errors
/// [`LinkError`] where only a new start of the process helps.
pub async fn run_link<C, F, E>(
    adapter: Arc<Adapter>,
    connect: C,
    stop: CancellationToken,
) -> Result<(), LinkError>
where
    C: Fn() -> F,
    F: Future<Output = Result<Channel, E>>,
    E: Display,
{
    tokio::select! {
        biased;
        ended = keep_link(&adapter, connect, &stop) => ended,
        never = keep_snapshots(&adapter) => match never {},
    }
}

impl Adapter {
    /// Changes the link for a new one, as after a renewal of the certificate: what runs on the old one is
    /// answered on it, and the hub holds what comes meanwhile.
    pub fn change_link(&self) {
        self.changes.send_replace(());
    }
}

/// How often it is asked whether a snapshot of the journal is due.
const SNAPSHOT_LOOK: Duration = Duration::from_secs(60);

async fn keep_snapshots(adapter: &Arc<Adapter>) -> Infallible {
    loop {
        match adapter.keep_snapshot().await {
            Ok(true) => tracing::info!("what the journal says is put down: the next start reads from here"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "no snapshot of the journal"),
        }
        tokio::time::sleep(SNAPSHOT_LOOK).await;
    }
}

async fn keep_link<C, F, E>(
    adapter: &Arc<Adapter>,
    connect: C,
    stop: &CancellationToken,
) -> Result<(), LinkError>
where
    C: Fn() -> F,
    F: Future<Output = Result<Channel, E>>,
    E: Display,
{
    let mut backoff = Backoff::default();
    let counters = adapter.counters();
    while !stop.is_cancelled() {
        if !matches!(counters.link_state(), LinkState::Alarm(_)) {
            counters.link(LinkState::Connecting);
        }
        let began_us = adapter.clock().monotonic_us();
        // From before the dialling: a certificate that comes during it is for the next link.
        let change = adapter.changes.subscribe();
        adapter.adopt_sources();
        let end = match dial(adapter, &connect, stop).await {
            Ok(channel) => session::serve(adapter, channel, change, stop).await,
            Err(end) => end,
        };
        if adapter.clock().monotonic_us().saturating_sub(began_us) >= STABLE_US {
            backoff.reset();
        }
        match end {
            End::Stopped => break,
            End::Changed => {
                tracing::info!("the link to the hub is changed for a new one");
                continue;
            }
            End::Dead => {
                counters.link(LinkState::Down);
                return Err(LinkError::JournalDead);
            }
            End::Lost(why) => {
                tracing::warn!(%why, "no link to the hub");
                counters.link(LinkState::Connecting);
            }
            End::Alarm(why) => {
                counters.alarm();
                tracing::error!(%why, "the hub's ledger does not continue the one known here; nothing is served");
                counters.link(LinkState::Alarm(why));
            }
        }
        let wait = backoff.next(adapter.entropy());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    counters.link(LinkState::Down);
    Ok(())
}

async fn dial<C, F, E>(adapter: &Adapter, connect: &C, stop: &CancellationToken) -> Result<Channel, End>
where
    C: Fn() -> F,
    F: Future<Output = Result<Channel, E>>,
    E: Display,
{
    let patience = Duration::from_millis(adapter.limits().handshake_ms);
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(End::Stopped),
        dialled = tokio::time::timeout(patience, connect()) => match dialled {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(End::Lost(error.to_string())),
            Err(_) => Err(End::Lost("the hub did not take the connection in time".to_owned())),
        },
    }
}
