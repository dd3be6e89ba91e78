//! Putting answers together from chunks, in order and within limits.

use super::{Link, RawAnswer};
use crate::limits::{LINK_BODY_BYTES_MAX, LINK_IN_FLIGHT_MAX};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot};
use yiwang_proto::assemble::{Assembling, Step};
use yiwang_proto::codes::Code;
use yiwang_proto::limits::{BODY_MAX, WINDOW};
use yiwang_proto::pb;

/// Bytes for which credit is given at once: half of what may come ahead, so that the other half is under way meanwhile. A
/// frame for every chunk would be a message back for each that comes.
const CREDIT: u32 = WINDOW / 2;

/// Exchanges that were given up and whose Cancel found no place: as many as an adapter runs at once. Of older ones it gives
/// up itself what is over by its deadline.
const UNTOLD_MAX: usize = LINK_IN_FLIGHT_MAX;

/// An exchange whose answer has not come whole.
pub(super) struct Pending {
    reply: oneshot::Sender<Result<(Bytes, Bytes), Code>>,
    parts: Assembling,
    /// Bytes that came and that no credit was given for.
    owed: u32,
    /// Bytes of the request's body that the adapter lets us send.
    pub(super) credit: Arc<Semaphore>,
}

impl Pending {
    pub(super) fn new(reply: oneshot::Sender<Result<(Bytes, Bytes), Code>>, credit: Arc<Semaphore>) -> Self {
        Self { reply, parts: Assembling::default(), owed: 0, credit }
    }

    pub(super) fn held(&self) -> usize {
        self.parts.held()
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
        let exchange = chunk.exchange;
        // The usual answer is one chunk, which nothing is held of.
        let bytes = if chunk.last && chunk.chunk == 0 { 0 } else { chunk.body.len() };
        let size = pending.held().saturating_add(bytes);
        let held = self.body_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let outcome = match pending.parts.take(chunk.into()) {
            Step::Broken(_) => Err(Code::AnswerInvalid),
            _ if held > LINK_BODY_BYTES_MAX => Err(Code::ProviderBusy),
            Step::Done(whole) => Ok((whole.statement, whole.body)),
            Step::More { credit } => {
                let owed = pending.owed.saturating_add(credit);
                pending.owed = if owed < CREDIT { owed } else { 0 };
                all.insert(exchange, pending);
                drop(all);
                self.say_untold();
                if owed >= CREDIT {
                    self.grant(exchange, owed);
                }
                return;
            }
        };
        drop(all);
        self.body_bytes.fetch_sub(size, Ordering::Relaxed);
        self.say_untold();
        if outcome.is_err() {
            // What is left of it would wait at the adapter for credit that nobody gives.
            self.cancel(exchange);
        }
        // Whoever waited may have given up.
        let _ = pending.reply.send(outcome);
    }

    /// Tells the adapter that nobody waits for an exchange. Where its queue is full it is told later: until then it keeps a
    /// place for it, and turns others away.
    fn cancel(&self, exchange: u64) {
        if !self.say_cancelled(exchange) {
            let mut untold = self.untold();
            if untold.len() >= UNTOLD_MAX {
                untold.pop_front();
            }
            untold.push_back(exchange);
        }
    }

    fn say_cancelled(&self, exchange: u64) -> bool {
        let cancel = pb::LinkCancel { exchange };
        self.frames.try_send(pb::HubFrame { kind: Some(pb::hub_frame::Kind::Cancel(cancel)) }).is_ok()
    }

    fn untold(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the adapter of what was given up while its queue was full, as far as that has room now.
    pub(super) fn say_untold(&self) {
        let mut untold = self.untold();
        while untold.front().is_some_and(|exchange| self.say_cancelled(*exchange)) {
            untold.pop_front();
        }
    }

    fn grant(&self, exchange: u64, bytes: u32) {
        let credit = pb::LinkCredit { exchange, bytes };
        let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Credit(credit)) };
        if self.frames.try_send(frame).is_err()
            && let Some(pending) = self.pending().remove(&exchange)
        {
            // Without this credit the answer could never finish: better a quick word than a deadline.
            self.body_bytes.fetch_sub(pending.held(), Ordering::Relaxed);
            self.cancel(exchange);
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
            self.link.cancel(self.exchange);
        }
    }
}

#[cfg(test)]
#[path = "assemble_test.rs"]
mod tests;
