//! A door in plain HTTP/1.1: a bounded number of connections, a deadline for every header, and an end that
//! lets answers finish.

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of one door. Apps of one member keep a few each; every one costs about 20 KiB and a file.
const CONNECTIONS_MAX: usize = 256;
/// From the last answer, or the connection's begin, to the end of the next request's header: the limit of
/// idle connections as well as of slow headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a header with its line: ours are a token, a trace context and an address.
const HEADER_MAX: usize = 16 * 1024;
/// Pause after an accept that failed, e.g. for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// When a door closes.
#[derive(Clone)]
pub(crate) struct Closing {
    /// No new requests; those under way finish.
    pub(crate) finish: CancellationToken,
    /// Everything ends.
    pub(crate) drop: CancellationToken,
}

/// Accepts until the door closes. Connections are tracked by `tracker`.
pub(crate) async fn serve(listener: TcpListener, router: Router, closing: Closing, tracker: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Without a place the door does not accept: the system's backlog holds the surplus, bounded.
        let Some(Ok(place)) = closing.finish.run_until_cancelled(Arc::clone(&places).acquire_owned()).await
        else {
            return;
        };
        match closing.finish.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Some(Ok((stream, _))) => {
                let (router, closing) = (router.clone(), closing.clone());
                tracker.spawn(async move {
                    connection(stream, router, closing).await;
                    drop(place);
                });
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, closing: Closing) {
    // Without it a small answer waits for the acknowledgement of the one before.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_MAX);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let mut finishing = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended in disorder");
                }
                return;
            }
            () = closing.finish.cancelled(), if !finishing => {
                finishing = true;
                serving.as_mut().graceful_shutdown();
            }
            () = closing.drop.cancelled() => return,
        }
    }
}
