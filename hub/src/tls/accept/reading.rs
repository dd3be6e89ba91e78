//! The body of a request while it is read: it must come within a time, and all bodies of a door together hold
//! no more than its budget. Without both, a client that begins many requests and ends none takes the memory.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Why a body is not read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// The connection's own error.
    Http(hyper::Error),
    /// It took too long.
    Late,
    /// The door holds too many bytes of unfinished requests.
    Full,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => write!(f, "request body: {error}"),
            Self::Late => f.write_str("the request did not come in time"),
            Self::Full => f.write_str("too many requests are being read: try again later"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Bytes that unfinished requests of one door may hold.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }
}

/// A request's body within a deadline and a budget.
pub struct Reading {
    body: Incoming,
    // None for streams that may last: their messages are bounded and handled one by one.
    bounds: Option<Bounds>,
}

struct Bounds {
    within: Duration,
    // Made only when the body does not come at once, which is rare.
    late: Option<Pin<Box<Sleep>>>,
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
}

impl Reading {
    /// A body that ends.
    pub fn bounded(body: Incoming, within: Duration, budget: &Budget) -> Self {
        Self { body, bounds: Some(Bounds { within, late: None, budget: budget.clone(), held: None }) }
    }

    /// A body that may last as long as its connection.
    pub fn endless(body: Incoming) -> Self {
        Self { body, bounds: None }
    }
}

impl Bounds {
    fn hold(&mut self, bytes: usize) -> Result<(), ReadError> {
        let bytes = u32::try_from(bytes).map_err(|_| ReadError::Full)?;
        let more = Arc::clone(&self.budget.0).try_acquire_many_owned(bytes).map_err(|_| ReadError::Full)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let within = self.within;
        self.late.get_or_insert_with(|| Box::pin(sleep(within))).as_mut().poll(cx)
    }
}

impl Body for Reading {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if let Some(bounds) = &mut this.bounds {
                ready!(bounds.poll_late(cx));
                return Poll::Ready(Some(Err(ReadError::Late)));
            }
            return Poll::Pending;
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame =
            frame.map_err(ReadError::Http).and_then(|frame| match (&mut this.bounds, frame.data_ref()) {
                (Some(bounds), Some(data)) => bounds.hold(data.len()).map(|()| frame),
                _ => Ok(frame),
            });
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
