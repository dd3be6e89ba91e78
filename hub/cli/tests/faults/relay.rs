//! A relay on the way to the hub that delays, duplicates, reorders, truncates and corrupts what passes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use yiwang_proto::ambient::{SeededEntropy, random};

/// Bytes that are passed on at once: about a TCP segment or two, so that faults fall within messages.
const CHUNK: usize = 2048;
/// One chunk in so many is hit; between two hits a few hundred exchanges pass.
const ONE_IN: u64 = 300;
const DELAYED_ONE_IN: u64 = 20;
const DELAY_MOST_MS: u64 = 30;

/// What was done to the traffic, by kind.
#[derive(Default)]
pub struct Struck {
    pub corrupted: AtomicU64,
    pub truncated: AtomicU64,
    pub reordered: AtomicU64,
    pub duplicated: AtomicU64,
    pub delayed: AtomicU64,
    turn: AtomicU64,
}

impl Struck {
    /// All but delays.
    pub fn hits(&self) -> u64 {
        let kinds = [&self.corrupted, &self.truncated, &self.reordered, &self.duplicated];
        kinds.iter().map(|kind| kind.load(Ordering::SeqCst)).sum()
    }
}

#[derive(Clone)]
pub struct Relay {
    /// Until then everything passes as it is.
    pub armed: Arc<AtomicBool>,
    pub struck: Arc<Struck>,
    entropy: Arc<SeededEntropy>,
    to: SocketAddr,
}

impl Relay {
    pub async fn start(at: SocketAddr, to: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let relay = Self {
            armed: Arc::default(),
            struck: Arc::default(),
            entropy: Arc::new(SeededEntropy::new(seed)),
            to,
        };
        let serving = relay.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().pass(stream));
            }
        });
        relay
    }

    async fn pass(self, near: TcpStream) {
        let Ok(far) = TcpStream::connect(self.to).await else { return };
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        // One end gone is both ends gone: half a connection would only delay what follows.
        tokio::select! {
            () = self.pump(near_read, far_write) => {}
            () = self.pump(far_read, near_write) => {}
        }
    }

    fn draw(&self, below: u64) -> u64 {
        u64::from_le_bytes(random(self.entropy.as_ref())) % below
    }

    async fn pump(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let Ok(size @ 1..) = from.read(&mut buffer).await else { return };
            let mut chunk = buffer[..size].to_vec();
            let armed = self.armed.load(Ordering::SeqCst);
            if armed && self.draw(DELAYED_ONE_IN) == 0 {
                self.struck.delayed.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1 + self.draw(DELAY_MOST_MS))).await;
            }
            if armed && self.draw(ONE_IN) == 0 {
                // In turn, so that no kind is missing from a short run.
                match self.struck.turn.fetch_add(1, Ordering::SeqCst) % 4 {
                    0 => {
                        let at = usize::try_from(self.draw(size as u64)).unwrap();
                        chunk[at] ^= 1 << self.draw(8);
                        self.struck.corrupted.fetch_add(1, Ordering::SeqCst);
                    }
                    1 => {
                        let half = size / 2;
                        self.struck.truncated.fetch_add(1, Ordering::SeqCst);
                        let _ = to.write_all(&chunk[..half]).await;
                        return;
                    }
                    2 => {
                        let Ok(next @ 1..) = from.read(&mut buffer).await else { return };
                        chunk = [&buffer[..next], &chunk].concat();
                        self.struck.reordered.fetch_add(1, Ordering::SeqCst);
                    }
                    _ => {
                        chunk.extend_from_within(..);
                        self.struck.duplicated.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    }
}
