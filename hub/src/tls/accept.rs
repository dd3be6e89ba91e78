//! The hub's own accept loop. Every wait of a connection has a deadline and every count a cap, because the
//! usual servers keep sockets for ever that never finish a handshake or never ask for anything.
//!
//! Owner of every connection is one task in the tracker; `Stop::finish` drains them, `Stop::drop` ends them.

mod activity;
mod caps;
mod connection;
mod counters;
mod limits;
mod listen;
mod reading;

pub use activity::Tracked;
pub use counters::{Counters, HandshakeFailure, Refused};
pub use limits::AcceptLimits;
pub use listen::{Listen, Network, SystemNetwork};
pub use reading::{ReadError, Reading};

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use yiwang_proto::ambient::Clock;

use self::caps::Caps;
use self::connection::Connections;
use super::server::Tls;

/// The pause after a failed accept, doubled up to the longest: without it a full table of open files turns
/// the loop into a busy one.
const BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Two steps of stopping: first `finish` (no new work, what runs may end), then `drop` (end at once).
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Nothing new is accepted; connections are told to end after their open requests.
    pub finish: CancellationToken,
    /// Connections are dropped.
    pub drop: CancellationToken,
}

/// One listening door and what it needs.
pub struct Door<L = TcpListener> {
    /// Where connections come from.
    pub listener: L,
    /// `None` is plain text, for doors on the loopback interface only.
    pub tls: Option<Tls>,
    /// Caps and deadlines of this door.
    pub limits: AcceptLimits,
    /// The two steps of stopping.
    pub stop: Stop,
    /// Owner of the tasks of all connections and streams.
    pub tracker: TaskTracker,
    /// What happened at this door.
    pub counters: Arc<Counters>,
    /// Tells when a client's certificate ends.
    pub clock: Arc<dyn Clock>,
}

/// Accepts connections until `finish`, and serves each with a clone of the service (an `axum::Router` with
/// tonic's routes merged in, or anything of that shape). Each request carries a
/// [`Peer`](super::identity::Peer) in its extensions, or at a door without client certificates a
/// [`ClientAddress`](super::identity::ClientAddress).
///
/// A failed accept never ends the loop. Returns when accepting has ended; the tracker tells when the last
/// connection has.
pub async fn serve<L, S, B>(door: Door<L>, service: S)
where
    L: Listen,
    S: Service<Request<Reading>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Door { listener, tls, limits, stop, tracker, counters, clock } = door;
    let caps = Caps::new(&limits);
    let finish = stop.finish.clone();
    let spawner = tracker.clone();
    let counts = Arc::clone(&counters);
    let connections =
        Arc::new(Connections::new(service, tls, limits, stop, tracker, counters, clock, Arc::clone(&caps)));
    let mut pause = BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = finish.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = BACKOFF;
                match caps.admit(address.ip()) {
                    Ok(slot) => {
                        counts.accepted.add();
                        spawner.spawn(Arc::clone(&connections).run(stream, address, slot));
                    }
                    Err(refused) => counts.refused(refused),
                }
            }
            Err(error) if is_of_one_connection(&error) => counts.accept_errors.add(),
            Err(error) => {
                counts.accept_errors.add();
                tracing::warn!(kind = ?error.kind(), os = error.raw_os_error(), "cannot accept connections now");
                let waited = finish.run_until_cancelled(tokio::time::sleep(pause)).await;
                if waited.is_none() {
                    return;
                }
                pause = pause.saturating_mul(2).min(LONGEST_BACKOFF);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
