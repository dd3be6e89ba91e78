//! What a connection is doing: requests open now, and when the last one ended. A request is open until its
//! answer's body is sent or dropped, so a link that streams for days is never idle.

use crate::limits::REPLY_PIECE;
use crate::replies::{Handing, Mark};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Shared by a connection's task and its requests.
pub struct Activity {
    start: Instant,
    open: AtomicU32,
    asked: AtomicBool,
    last_end_us: AtomicU64,
}

/// What [`Activity`] says at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was asked yet, for this long.
    Silent(Duration),
    /// Some request is open.
    Busy,
    /// No request is open, for this long.
    Idle(Duration),
}

impl Activity {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            open: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            last_end_us: AtomicU64::new(0),
        })
    }

    /// A request begins; it ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.asked.store(true, Ordering::Release);
        OpenRequest(Arc::clone(self))
    }

    pub fn state(&self) -> State {
        let elapsed = self.start.elapsed();
        if self.open.load(Ordering::Acquire) > 0 {
            State::Busy
        } else if self.asked.load(Ordering::Acquire) {
            let last = Duration::from_micros(self.last_end_us.load(Ordering::Acquire));
            State::Idle(elapsed.saturating_sub(last))
        } else {
            State::Silent(elapsed)
        }
    }
}

/// Counts one open request.
pub struct OpenRequest(Arc<Activity>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let now_us = u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        // The time first: whoever sees no open request must see when the last one ended.
        self.0.last_end_us.store(now_us, Ordering::Release);
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer, and the mark that its request is open.
pub struct Tracked<B> {
    body: B,
    _open: OpenRequest,
    handing: Option<Handing>,
    // Marks of the data that was given last, and its rest. HTTP/2 takes a body's end before it has room
    // for its data, but more data only when there is room: so the last byte goes alone, and whoever asks for
    // what follows it has found room for all of it in the reader's window. It goes in pieces, so that a reader
    // that is slow is told from one that takes nothing.
    given: Vec<Mark>,
    rest: Bytes,
    // Bytes of the piece that was given last, until they are known to be taken.
    piece: usize,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, open: OpenRequest, handing: Option<Handing>) -> Self {
        Self { body, _open: open, handing, given: Vec::new(), rest: Bytes::new(), piece: 0 }
    }

    /// The reader's window had room for what was given before.
    fn taken(&mut self) {
        let bytes = std::mem::take(&mut self.piece);
        if let Some(mark) = self.given.first() {
            mark.taken(bytes);
        }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let piece = piece_of(&mut self.rest)?;
        self.piece = piece.len();
        Some(piece)
    }
}

/// The next piece of what marks are of.
fn piece_of(rest: &mut Bytes) -> Option<Bytes> {
    let before_the_last = rest.len().checked_sub(1)?;
    Some(rest.split_to(before_the_last.clamp(1, REPLY_PIECE)))
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.handing.is_none() {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        this.taken();
        if let Some(piece) = this.next_piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        this.given.clear();
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            other => return other,
        };
        this.given = this.handing.as_ref().map(Handing::given).unwrap_or_default();
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        if this.given.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        this.rest = data;
        Poll::Ready(Some(Ok(Frame::data(this.next_piece().unwrap_or_default()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_in_pieces_and_its_last_byte_alone() {
        for length in [0, 1, 2, REPLY_PIECE, REPLY_PIECE + 1, REPLY_PIECE + 2, 3 * REPLY_PIECE + 7] {
            let data: Bytes = (0..=250_u8).cycle().take(length).collect();
            let mut rest = data.clone();
            let pieces: Vec<_> = std::iter::from_fn(|| piece_of(&mut rest)).collect();
            assert_eq!(pieces.concat(), data);
            assert!(pieces.iter().all(|piece| (1..=REPLY_PIECE).contains(&piece.len())));
            assert_eq!(pieces.last().map_or(0, Bytes::len), length.min(1));
        }
    }
}
