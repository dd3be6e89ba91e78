//! Putting answers together from chunks, in order and within limits.

use super::{Link, RawAnswer};
use crate::limits::LINK_BODY_BYTES_MAX;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{Semaphore, oneshot};
use yiwang_proto::codes::Code;
use yiwang_proto::limits::{BODY_MAX, CHUNK_MAX, STATEMENT_MAX};
use yiwang_proto::pb;

/// An exchange whose answer has not come whole.
pub(super) struct Pending {
    reply: oneshot::Sender<Result<(Bytes, Bytes), Code>>,
    answer: Bytes,
    body: BytesMut,
    next_chunk: u32,
    /// Bytes of the request's body that the adapter lets us send.
    pub(super) credit: Arc<Semaphore>,
}

impl Pending {
    pub(super) fn new(reply: oneshot::Sender<Result<(Bytes, Bytes), Code>>, credit: Arc<Semaphore>) -> Self {
        Self { reply, answer: Bytes::new(), body: BytesMut::new(), next_chunk: 0, credit }
    }

    pub(super) fn held(&self) -> usize {
        self.body.len()
    }

    pub(super) fn fail(self, code: Code) {
        // Whoever waited may have given up.
        let _ = self.reply.send(Err(code));
    }
}

impl Link {
    /// Takes a chunk of an answer. A chunk out of order, over a limit or for an unknown exchange is
    /// dropped with its exchange: the adapter broke the protocol, or the hub gave up waiting.
    pub(super) fn take_chunk(&self, chunk: pb::AnswerChunk) {
        let mut all = self.pending();
        let Some(mut pending) = all.remove(&chunk.exchange) else { return };
        if chunk.last && chunk.chunk == 0 && chunk.body.len() <= CHUNK_MAX {
            drop(all);
            let _ = pending.reply.send(Ok((chunk.answer, chunk.body)));
            return;
        }
        let size = pending.body.len() + chunk.body.len();
        let first_has_statement = (chunk.chunk == 0) != chunk.answer.is_empty();
        let fits = chunk.chunk == pending.next_chunk
            && first_has_statement
            && chunk.answer.len() <= STATEMENT_MAX
            && chunk.body.len() <= CHUNK_MAX
            && size <= BODY_MAX;
        let held = self.body_bytes.fetch_add(chunk.body.len(), Ordering::Relaxed) + chunk.body.len();
        pending.body.extend_from_slice(&chunk.body);
        pending.next_chunk += 1;
        if chunk.chunk == 0 {
            pending.answer = chunk.answer;
        }
        if !fits || held > LINK_BODY_BYTES_MAX || chunk.last {
            drop(all);
            self.body_bytes.fetch_sub(size, Ordering::Relaxed);
            let outcome = if fits && held <= LINK_BODY_BYTES_MAX {
                Ok((pending.answer, pending.body.freeze()))
            } else if fits {
                Err(Code::ProviderBusy)
            } else {
                Err(Code::AnswerInvalid)
            };
            let _ = pending.reply.send(outcome);
            return;
        }
        all.insert(chunk.exchange, pending);
        drop(all);
        let granted = u32::try_from(chunk.body.len()).unwrap_or(u32::MAX);
        self.grant(chunk.exchange, granted);
    }

    fn grant(&self, exchange: u64, bytes: u32) {
        let credit = pb::LinkCredit { exchange, bytes };
        let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Credit(credit)) };
        if self.frames.try_send(frame).is_err()
            && let Some(pending) = self.pending().remove(&exchange)
        {
            // Without this credit the answer could never finish: better a quick word than a deadline.
            self.body_bytes.fetch_sub(pending.held(), Ordering::Relaxed);
            pending.fail(Code::ProviderBusy);
        }
    }

    pub(super) fn take_credit(&self, credit: &pb::LinkCredit) {
        if let Some(pending) = self.pending().get(&credit.exchange) {
            let most = BODY_MAX.saturating_sub(pending.credit.available_permits());
            pending.credit.add_permits(usize::try_from(credit.bytes).unwrap_or(most).min(most));
        }
    }
}

/// Waits for an answer; whoever stops waiting takes the exchange off the link.
pub(super) struct Waiting {
    pub(super) link: Arc<Link>,
    pub(super) exchange: u64,
    pub(super) answer: oneshot::Receiver<Result<(Bytes, Bytes), Code>>,
    pub(super) done: bool,
}

impl Waiting {
    pub(super) async fn wait(mut self) -> Result<RawAnswer, Code> {
        let result = (&mut self.answer).await.unwrap_or(Err(Code::ProviderUnavailable));
        self.done = true;
        let (answer, body) = result?;
        Ok(RawAnswer { exchange: self.exchange, link: Arc::clone(&self.link), answer, body })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(pending) = self.link.pending().remove(&self.exchange) {
            self.link.body_bytes.fetch_sub(pending.held(), Ordering::Relaxed);
            let cancel = pb::LinkCancel { exchange: self.exchange };
            let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Cancel(cancel)) };
            // A full queue means the adapter is behind anyway; its late answer will find nobody.
            let _ = self.link.frames.try_send(frame);
        }
    }
}
