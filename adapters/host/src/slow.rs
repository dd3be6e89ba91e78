//! A stream whose other end must take what is written to it: one that stops reading would hold its place at the
//! door until the system gives the connection up, a quarter of an hour later.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a write may wait without a byte being taken: as long as a header may take to come. A program that is
/// stopped for a moment, or a line that loses packets, is back sooner.
const STUCK: Duration = Duration::from_secs(30);

/// A stream with a deadline for what is written.
pub(crate) struct Slow<S> {
    stream: S,
    /// Runs while a write waits. Whoever writes flushes only what was taken, so that an end of any wait is progress.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Slow<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, waits: None }
    }

    /// What became of a write, or the end of the patience with it.
    fn bounded<T>(&mut self, context: &mut Context<'_>, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.waits = None;
            return polled;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(STUCK)));
        waits.as_mut().poll(context).map(|()| {
            let what =
                format!("the other end has read nothing for {} s; it may connect again", STUCK.as_secs());
            Err(Error::new(ErrorKind::TimedOut, what))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Slow<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Slow<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_takes_ends_and_one_that_is_taken_slowly_does_not() {
        let (here, mut there) = duplex(64);
        let mut here = Slow::new(here);
        let reading = tokio::spawn(async move {
            let mut piece = [0_u8; 16];
            for _ in 0..12 {
                sleep(STUCK - Duration::from_secs(1)).await;
                there.read_exact(&mut piece).await.unwrap();
            }
            there
        });
        here.write_all(&[7_u8; 256]).await.unwrap();
        // It is there, and reads no more.
        let there = reading.await.unwrap();
        let began = Instant::now();
        let error = here.write_all(&[7_u8; 64]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!((STUCK..STUCK + Duration::from_secs(1)).contains(&began.elapsed()), "{:?}", began.elapsed());
        drop(there);
    }
}
