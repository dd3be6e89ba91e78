//! Putting a statement with its body together from the chunks in which links carry both ways, in order and within
//! limits. A chunk that breaks a rule ends its exchange, and no other.

use crate::limits::{BODY_MAX, CHUNK_MAX, STATEMENT_MAX};
use crate::pb;
use bytes::{Bytes, BytesMut};

/// A chunk of a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in its exchange, from 0.
    pub number: u32,
    /// Whether it is the last one.
    pub last: bool,
    /// The statement; the first chunk has it, and no other.
    pub statement: Bytes,
    /// A part of the body.
    pub body: Bytes,
}

impl From<pb::RequestChunk> for Chunk {
    fn from(raw: pb::RequestChunk) -> Self {
        Self { number: raw.chunk, last: raw.last, statement: raw.request, body: raw.body }
    }
}

impl From<pb::AnswerChunk> for Chunk {
    fn from(raw: pb::AnswerChunk) -> Self {
        Self { number: raw.chunk, last: raw.last, statement: raw.answer, body: raw.body }
    }
}

/// What has come whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The statement.
    pub statement: Bytes,
    /// Its body.
    pub body: Bytes,
}

/// What a chunk made of its exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More chunks follow; the sender may send so many bytes again.
    More {
        /// Bytes of this chunk.
        credit: u32,
    },
    /// The last chunk came.
    Done(Whole),
    /// The sender broke the rules of the link; the exchange is dropped.
    Broken(&'static str),
}

/// What has not come whole.
#[derive(Debug, Default)]
pub struct Assembling {
    statement: Bytes,
    body: BytesMut,
    next: u32,
}

impl Assembling {
    /// Bytes of the body that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.body.len()
    }

    /// The statement, once its first chunk came.
    #[must_use]
    pub fn statement(&self) -> &Bytes {
        &self.statement
    }

    /// Takes the next chunk.
    pub fn take(&mut self, chunk: Chunk) -> Step {
        if chunk.number != self.next {
            return Step::Broken("a chunk is out of order");
        }
        if (chunk.number == 0) == chunk.statement.is_empty() {
            return Step::Broken("exactly the first chunk carries the statement");
        }
        if chunk.statement.len() > STATEMENT_MAX || chunk.body.len() > CHUNK_MAX {
            return Step::Broken("a chunk is over its limit");
        }
        if self.body.len() + chunk.body.len() > BODY_MAX {
            return Step::Broken("a body is over its limit");
        }
        if chunk.number == 0 {
            if chunk.last {
                // The usual case: one chunk, and no copy.
                return Step::Done(Whole { statement: chunk.statement, body: chunk.body });
            }
            self.statement = chunk.statement;
        }
        let Some(next) = self.next.checked_add(1) else {
            return Step::Broken("more chunks than can be counted");
        };
        self.next = next;
        self.body.extend_from_slice(&chunk.body);
        if chunk.last {
            let body = std::mem::take(&mut self.body).freeze();
            return Step::Done(Whole { statement: self.statement.clone(), body });
        }
        Step::More { credit: u32::try_from(chunk.body.len()).unwrap_or(u32::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u32, last: bool, statement: &'static [u8], body: Vec<u8>) -> Chunk {
        Chunk { number, last, statement: Bytes::from_static(statement), body: body.into() }
    }

    #[test]
    fn chunks_come_together_in_order() {
        let mut one = Assembling::default();
        assert_eq!(one.take(chunk(0, false, b"s", vec![1; 10])), Step::More { credit: 10 });
        assert_eq!(one.take(chunk(1, false, b"", vec![2; 5])), Step::More { credit: 5 });
        assert_eq!((one.held(), one.statement().as_ref()), (15, b"s".as_slice()));
        let Step::Done(whole) = one.take(chunk(2, true, b"", vec![3])) else { panic!("not whole") };
        assert_eq!(whole.statement, Bytes::from_static(b"s"));
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
