//! Requests as they come, chunk by chunk: put together, run, given credit, cancelled.

use super::late::Waits;
use super::send::send;
use super::{End, Exchange, Session};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tracing::Instrument as _;
use yiwang_proto::assemble::{Assembling, Step, Whole};
use yiwang_proto::codes::Code;
use yiwang_proto::limits::{BODY_MAX, CHUNK_MAX};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as ToHub;

impl Exchange {
    /// Bytes of its body that are held.
    fn body(&self) -> usize {
        match self {
            Self::Receiving { assembling, .. } => assembling.held(),
            Self::Running { body, .. } => *body,
        }
    }

    fn is_finished(&self) -> bool {
        matches!(self, Self::Running { task, .. } if task.is_finished())
    }
}

impl Session {
    pub(super) fn request(&mut self, chunk: pb::RequestChunk) -> Result<(), End> {
        let exchange = chunk.exchange;
        let traceparent = chunk.traceparent.clone();
        let (now_us, now_ms) = (self.adapter.clock().monotonic_us(), self.adapter.clock().now_ms());
        let begun = || (Assembling::default(), Waits::of(&chunk, now_us, now_ms));
        let (mut assembling, waits) = match self.let_go(exchange) {
            None if chunk.chunk == 0 => begun(),
            // The rest of an exchange that was cancelled.
            None => return Ok(()),
            Some(Exchange::Receiving { assembling, waits }) => (assembling, waits),
            // Its answer is out, and its end was only not taken in yet.
            Some(held) if chunk.chunk == 0 && held.is_finished() => begun(),
            Some(running) => {
                // The rest of one that was turned away comes from a hub that has not heard so; a number that is used twice
                // is its fault.
                if chunk.chunk == 0 {
                    self.adapter.counters().protocol_error();
                }
                self.hold(exchange, running);
                return Ok(());
            }
        };
        match assembling.take(chunk.into()) {
            Step::Done(whole) => {
                let busy = self.exchanges.len() >= self.most || !self.has_room(whole.body.len());
                self.start(exchange, whole, busy, waits, &traceparent);
            }
            Step::More { credit } => {
                if self.exchanges.len() >= self.most || !self.has_room(assembling.held()) {
                    let whole = Whole { statement: assembling.statement().clone(), body: Bytes::new() };
                    self.start(exchange, whole, true, waits, &traceparent);
                } else {
                    self.hold(exchange, Exchange::Receiving { assembling, waits });
                    self.send_control(ToHub::Credit(pb::LinkCredit { exchange, bytes: credit }))?;
                }
            }
            Step::Broken(what) => {
                self.adapter.counters().protocol_error();
                tracing::warn!(exchange, what, "the hub broke the rules of the link");
                let chunk = pb::AnswerChunk { exchange, last: true, ..Default::default() };
                self.send_control(ToHub::Answer(chunk))?;
            }
        }
        // Twice as many as its welcome allows is no overload but a hub that does not count. One that did not read how many
        // run here may send as many as that, and what is turned away counts until its record is written.
        if self.exchanges.len() > self.hard {
            return Err(End::Lost("the hub sends more exchanges than agreed".to_owned()));
        }
        Ok(())
    }

    fn start(&mut self, exchange: u64, whole: Whole, busy: bool, waits: Waits, traceparent: &str) {
        let whole = if busy { without_body(&whole) } else { whole };
        let body = whole.body.len();
        let credit = Arc::new(Semaphore::new(self.window));
        let left_ms = waits.left_ms(self.adapter.clock().monotonic_us());
        let (adapter, answers) = (Arc::clone(&self.adapter), self.answers.clone());
        let (material, sending) = (Arc::clone(&self.material), Arc::clone(&credit));
        // A part larger than the window could never be sent.
        let part_bytes = CHUNK_MAX.min(self.window);
        let span = tracing::info_span!("exchange", number = exchange, traceparent = parent(traceparent));
        yiwang_telemetry::continue_trace(&span, traceparent);
        let work = async move {
            let reply = if busy {
                adapter.turn_away(whole.statement, Code::ProviderBusy, "too many exchanges at once").await
            } else {
                adapter.handle_within(whole.statement, whole.body, material.as_ref(), left_ms).await
            };
            // After a failed write nobody knows whether the request's record is there. If it is, its answer is offered
            // after the next start: a second statement would contradict it for ever.
            if !adapter.is_dead() {
                send(exchange, reply, part_bytes, &answers, &sending).await;
            }
            exchange
        };
        // In a box: a runtime moves what it is given several times, and this is kilobytes.
        let task = self.tasks.spawn(Box::pin(work.instrument(span)));
        self.hold(exchange, Exchange::Running { task, credit, waits, body });
    }

    pub(super) fn credit(&self, grant: &pb::LinkCredit) {
        if let Some(Exchange::Running { credit, .. }) = self.exchanges.get(&grant.exchange) {
            // More than a whole body is never needed; the cap keeps the semaphore in its bounds.
            let most = BODY_MAX.saturating_sub(credit.available_permits());
            credit.add_permits(usize::try_from(grant.bytes).unwrap_or(most).min(most));
        }
    }

    pub(super) fn cancel(&mut self, exchange: u64) {
        if let Some(Exchange::Running { task, .. }) = self.let_go(exchange) {
            task.abort();
        }
    }

    /// Whether so many bytes more of a body may be held.
    fn has_room(&self, bytes: usize) -> bool {
        self.buffered.saturating_add(bytes) <= self.adapter.limits().buffered_bytes
    }

    fn hold(&mut self, number: u64, exchange: Exchange) {
        self.buffered += exchange.body();
        self.exchanges.insert(number, exchange);
    }

    /// Takes an exchange off the link, and its bytes off what is held.
    pub(super) fn let_go(&mut self, number: u64) -> Option<Exchange> {
        let held = self.exchanges.remove(&number)?;
        self.buffered -= held.body();
        Some(held)
    }
}

/// What a request that is turned away needs. In a copy: the bytes came in one message with those of the body, which would be
/// kept with them for as long as the record of the refusal waits for a disk.
fn without_body(whole: &Whole) -> Whole {
    Whole { statement: Bytes::copy_from_slice(&whole.statement), body: Bytes::new() }
}

/// A W3C traceparent, or nothing: whatever else a hub puts there does not reach a log.
fn parent(text: &str) -> &str {
    let good = text.len() == 55
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
    if good { text } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_turned_away_holds_nothing_of_its_message() {
        let held = Arc::new([7; 100]);
        struct Message(Arc<[u8; 100]>);
        impl AsRef<[u8]> for Message {
            fn as_ref(&self) -> &[u8] {
                self.0.as_ref()
            }
        }
        let message = Bytes::from_owner(Message(Arc::clone(&held)));
        let whole = Whole { statement: message.slice(..10), body: message.slice(10..) };
        drop(message);
        let kept = without_body(&whole);
        drop(whole);
        assert_eq!((kept.statement.len(), kept.body.len()), (10, 0));
        assert_eq!(Arc::strong_count(&held), 1, "the message is kept");
    }

    #[tokio::test]
    async fn a_number_is_free_again_when_its_task_is_finished_though_nobody_took_that_in() {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = tokio::task::JoinSet::new();
        let task = tasks.spawn(async { drop(gone.await) });
        let waits = Waits::of(&pb::RequestChunk::default(), 0, 0);
        let running = Exchange::Running { task, credit: Arc::new(Semaphore::new(0)), waits, body: 0 };
        assert!(!running.is_finished());
        go.send(()).unwrap();
        tokio::task::yield_now().await;
        assert!(running.is_finished(), "the set still holds it");
        let receiving = Exchange::Receiving { assembling: Assembling::default(), waits };
        assert!(!receiving.is_finished());
        assert!(tasks.join_next().await.is_some());
    }

    #[test]
    fn only_a_traceparent_reaches_the_log() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parent(good), good);
        assert_eq!(parent("980101199001010017"), "");
        assert_eq!(parent(&"x".repeat(55)), "");
    }
}
