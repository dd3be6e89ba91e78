//! A door in plain HTTP/1.1: a bounded number of connections, a deadline for every header and for every write that
//! nobody takes, and an end that lets answers finish.

use crate::slow::Slow;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
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
            // With a delay a small answer waits for the acknowledgement of the one before.
            Some(Ok((stream, _))) if stream.set_nodelay(true).is_err() => {}
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

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, closing: Closing) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_MAX);
    let serving = http.serve_connection(TokioIo::new(Slow::new(stream)), TowerToHyperService::new(router));
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    const ANSWER: usize = 1 << 20;
    /// What the system keeps for whoever reads.
    const KEPT: usize = 64 * 1024;

    /// Serves one connection to its end; `None` where it has none within an hour.
    async fn served(stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<Duration> {
        let router = Router::new().route("/", get(|| async { vec![b'x'; ANSWER] }));
        let closing = Closing { finish: CancellationToken::new(), drop: CancellationToken::new() };
        let began = Instant::now();
        let whole = tokio::time::timeout(Duration::from_secs(3_600), connection(stream, router, closing));
        whole.await.ok().map(|()| began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_reading_loses_the_connection_and_whoever_reads_slowly_keeps_it() {
        for asked in [
            // Whoever asks for no more leaves no deadline for a header running.
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100),
        ] {
            let (here, mut there) = duplex(KEPT);
            there.write_all(asked.as_bytes()).await.unwrap();
            let took = served(here).await.unwrap();
            assert!(took <= Duration::from_secs(31), "{took:?}");
            drop(there);
        }
        let (here, mut there) = duplex(KEPT);
        there.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let reading = tokio::spawn(async move {
            let (mut piece, mut read) = (vec![0; KEPT / 2], 0);
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                match there.read(&mut piece).await.unwrap() {
                    0 => return read,
                    count => read += count,
                }
            }
        });
        let took = served(here).await.unwrap();
        assert!(took > Duration::from_secs(300), "{took:?}");
        assert!(reading.await.unwrap() > ANSWER);
    }
}
