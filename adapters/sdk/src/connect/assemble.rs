//! Putting a request together from its chunks, in order and within limits.

use bytes::{Bytes, BytesMut};
use yiwang_proto::limits::{BODY_MAX, CHUNK_MAX, STATEMENT_MAX};
use yiwang_proto::pb;

/// A request that has come whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) request: Bytes,
    pub(super) body: Bytes,
}

/// What a chunk made of its exchange.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More chunks follow; the hub may send so many bytes again.
    More {
        /// Bytes of this chunk.
        credit: u32,
    },
    /// The last chunk came.
    Done(Whole),
    /// The hub broke the rules of the link; the exchange is dropped.
    Broken(&'static str),
}

/// A request that has not come whole.
#[derive(Debug, Default)]
pub(super) struct Assembling {
    pub(super) request: Bytes,
    body: BytesMut,
    next: u32,
}

impl Assembling {
    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.body.len()
    }

    /// Takes the next chunk.
    pub(super) fn take(&mut self, chunk: pb::RequestChunk) -> Step {
        if chunk.chunk != self.next {
            return Step::Broken("a chunk is out of order");
        }
        if (chunk.chunk == 0) == chunk.request.is_empty() {
            return Step::Broken("exactly the first chunk carries the statement");
        }
        if chunk.request.len() > STATEMENT_MAX || chunk.body.len() > CHUNK_MAX {
            return Step::Broken("a chunk is over its limit");
        }
        if self.body.len() + chunk.body.len() > BODY_MAX {
            return Step::Broken("a body is over its limit");
        }
        if chunk.chunk == 0 {
            if chunk.last {
                // The usual case: one chunk, and no copy.
                return Step::Done(Whole { request: chunk.request, body: chunk.body });
            }
            self.request = chunk.request;
        }
        self.next += 1;
        self.body.extend_from_slice(&chunk.body);
        if chunk.last {
            let body = std::mem::take(&mut self.body).freeze();
            return Step::Done(Whole { request: self.request.clone(), body });
        }
        Step::More { credit: u32::try_from(chunk.body.len()).unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u32, last: bool, request: &'static [u8], body: Vec<u8>) -> pb::RequestChunk {
        pb::RequestChunk {
            exchange: 1,
            chunk: number,
            last,
            request: Bytes::from_static(request),
            body: body.into(),
            deadline_ms: 0,
            traceparent: String::new(),
        }
    }

    #[test]
    fn chunks_come_together_in_order() {
        let mut one = Assembling::default();
        assert_eq!(one.take(chunk(0, false, b"s", vec![1; 10])), Step::More { credit: 10 });
        assert_eq!(one.take(chunk(1, false, b"", vec![2; 5])), Step::More { credit: 5 });
        let Step::Done(whole) = one.take(chunk(2, true, b"", vec![3])) else { panic!("not whole") };
        assert_eq!(whole.request, Bytes::from_static(b"s"));
        assert_eq!(whole.body.len(), 16);
        assert_eq!(one.held(), 0);
    }

    #[test]
    fn every_broken_rule_is_seen() {
        let broken = |chunk| matches!(Assembling::default().take(chunk), Step::Broken(_));
        assert!(broken(chunk(1, true, b"s", vec![])), "begins in the middle");
        assert!(broken(chunk(0, true, b"", vec![])), "no statement");
        assert!(broken(chunk(0, true, b"s", vec![0; CHUNK_MAX + 1])), "a long chunk");
        let mut one = Assembling::default();
        one.take(chunk(0, false, b"s", vec![]));
        assert!(matches!(one.take(chunk(1, false, b"s", vec![])), Step::Broken(_)), "a second statement");
        let mut two = Assembling::default();
        two.take(chunk(0, false, b"s", vec![]));
        assert!(matches!(two.take(chunk(0, false, b"s", vec![])), Step::Broken(_)), "a repeat");
        let mut long = Assembling::default();
        long.take(chunk(0, false, b"s", vec![0; CHUNK_MAX]));
        let last = (1..).map(|n| long.take(chunk(n, false, b"", vec![0; CHUNK_MAX])));
        let steps = last.take_while(|step| matches!(step, Step::More { .. })).count();
        assert_eq!(steps, BODY_MAX / CHUNK_MAX - 1, "never more than the limit of a body");
    }
}
