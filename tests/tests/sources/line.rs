//! A line to a service that can be slow: what is sent over it is taken, and goes on only when it is let.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are taken at once.
const PIECE: usize = 16 * 1024;

/// The line. It is cut when this is dropped.
pub struct Line {
    port: u16,
    held: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Line {
    /// A line to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (held, holds) = watch::channel(false);
        let task = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { return };
                tokio::spawn(connection(near, port, holds.clone()));
            }
        });
        Self { port: own, held, task }
    }

    /// Keeps what is sent from now on, or lets it go.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection; it ends with either side, as without the line.
async fn connection(near: TcpStream, port: u16, holds: watch::Receiver<bool>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_in, far_out, holds.clone()) => {}
        () = pass(far_in, near_out, holds) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut holds: watch::Receiver<bool>,
) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        // Nothing of the watch is kept over the next wait: it would keep whoever lets it go from doing so.
        if holds.wait_for(|held| !held).await.is_err() {
            return;
        }
        if to.write_all(piece.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
