//! Sending requests and receipts down a link.

use super::assemble::{Pending, Waiting};
use super::{Link, Links, Outgoing, Place, RawAnswer, Way};
use crate::ledger::Appended;
use crate::limits::{LINK_EMERGENCY_PART, LINK_IN_FLIGHT_MAX};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::{CHUNK_MAX, WINDOW};
use yiwang_proto::pb;

/// How often a request looks for a link: the one that it found may be let go before it is on it.
const TRIES: usize = 3;

/// Why a request has no answer.
enum Failed<'a> {
    /// Nothing of it went out: the link is not there, or takes nothing more. It keeps the place that it had.
    Unsent(Option<Place<'a>>),
    /// Anything else.
    With(Code),
}

/// Exchanges that run at once on a link whose adapter runs so many, 0 where it did not say; and how many of them only
/// emergency purposes may use. More than the adapter runs would be turned away there, whoever asks. Of a single place none
/// is kept: nobody else would ever be served.
pub(super) fn places(said: u32) -> (usize, usize) {
    let said = usize::try_from(said).ok().filter(|said| *said > 0);
    let most = said.unwrap_or(LINK_IN_FLIGHT_MAX).min(LINK_IN_FLIGHT_MAX);
    (most, (most / LINK_EMERGENCY_PART).max(1).min(most.saturating_sub(1)))
}

/// Milliseconds for which somebody still waits. At least one: none would say that nothing is said.
/// By the runtime's time, as the wait itself is: a simulation moves both.
fn still(until: Instant) -> u32 {
    let left = until.saturating_duration_since(Instant::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

impl Links {
    /// Sends a request to the provider's adapter and waits for its answer. Refuses at once where the adapter is
    /// not connected or its queue is full; never waits longer than told. Where the adapter is being replaced the
    /// request waits for it in the room; `again` is then asked whether it may still go out.
    pub async fn ask<R, F>(
        &self,
        way: Way<'_>,
        out: &Outgoing,
        again: impl Fn() -> F,
    ) -> Result<Result<RawAnswer, Code>, R>
    where
        F: Future<Output = Result<(), R>>,
    {
        let mut patience = pin!(tokio::time::sleep(Duration::from_millis(out.wait_ms)));
        let until = patience.deadline();
        let bytes = out.request.len().saturating_add(out.body.len());
        let mut kept: Option<Place<'_>> = None;
        for _ in 0..TRIES {
            let waited = match kept.take() {
                Some(place) => place.wait(patience.as_mut()).await.map(Some),
                None => self.rooms.wait(way, out.urgent, bytes, patience.as_mut()).await,
            };
            let place = match waited {
                Ok(place) => place,
                Err(code) => return Ok(Err(code)),
            };
            let place = match place {
                None => None,
                Some(place) => tokio::select! {
                    biased;
                    looked = again() => match looked {
                        Ok(()) => Some(place),
                        Err(refusal) => {
                            place.refused();
                            return Err(refusal);
                        }
                    },
                    () = patience.as_mut() => return Ok(Err(Code::DeadlineExceeded)),
                },
            };
            let sent = tokio::select! {
                biased;
                sent = self.exchange(way.provider, out, until, place) => sent,
                () = patience.as_mut() => return Ok(Err(Code::DeadlineExceeded)),
            };
            match sent {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Failed::With(code)) => return Ok(Err(code)),
                // A link that was let go since the room was asked: the next one is waited for.
                Err(Failed::Unsent(place)) if self.is_present(way.provider) => kept = place,
                Err(Failed::Unsent(_)) => break,
            }
        }
        Ok(Err(Code::ProviderUnavailable))
    }

    async fn exchange<'a>(
        &self,
        provider: &MemberId,
        out: &Outgoing,
        until: Instant,
        place: Option<Place<'a>>,
    ) -> Result<RawAnswer, Failed<'a>> {
        let Some(link) = self.of(provider) else { return Err(Failed::Unsent(place)) };
        if !out.urgent && link.in_flight.available_permits() <= link.reserve {
            return Err(Failed::With(Code::ProviderBusy));
        }
        let _slot = link.in_flight.try_acquire().map_err(|_| Failed::With(Code::ProviderBusy))?;
        Arc::clone(&link).exchange(out, until, place).await
    }
}

impl Link {
    async fn exchange<'a>(
        self: Arc<Self>,
        out: &Outgoing,
        until: Instant,
        place: Option<Place<'a>>,
    ) -> Result<RawAnswer, Failed<'a>> {
        let exchange = self.next_exchange.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let credit = Arc::new(Semaphore::new(usize::try_from(WINDOW).unwrap_or(CHUNK_MAX)));
        {
            let mut pending = self.pending();
            // Under the lock: who closes or seals it afterwards finds this one.
            if self.closed.is_cancelled() || self.sealed.load(Ordering::Acquire) {
                return Err(Failed::Unsent(place));
            }
            pending.insert(exchange, Pending::new(reply, Arc::clone(&credit)));
        }
        let waiting = Waiting { link: Arc::clone(&self), exchange, answer, done: false };
        let sending = self.send_request(exchange, out, until, &credit, place);
        let (mut sending, mut answer) = (pin!(sending), pin!(waiting.wait()));
        // An adapter may turn it away, or the link end, while the rest of its body waits for credit.
        let answer = tokio::select! {
            biased;
            sent = sending.as_mut() => match sent {
                Ok(()) => answer.await,
                Err(code) => Err(code),
            },
            early = answer.as_mut() => early,
        };
        answer.map_err(Failed::With)
    }

    async fn send_request(
        &self,
        exchange: u64,
        out: &Outgoing,
        until: Instant,
        credit: &Semaphore,
        mut place: Option<Place<'_>>,
    ) -> Result<(), Code> {
        let mut body = out.body.clone();
        let mut first = Some((out.request.clone(), out.traceparent.clone(), still(until)));
        let mut chunk = 0;
        loop {
            let part = body.split_to(body.len().min(CHUNK_MAX));
            let last = body.is_empty();
            if let Ok(bytes) = u32::try_from(part.len())
                && let Ok(permit) = credit.acquire_many(bytes).await
            {
                permit.forget();
            }
            let (request, traceparent, wait_ms) = first.take().unwrap_or_default();
            let deadline_ms = out.deadline_ms;
            let frame = pb::RequestChunk {
                exchange,
                chunk,
                last,
                request,
                body: part,
                deadline_ms,
                traceparent,
                wait_ms,
            };
            let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Request(frame)) };
            match self.frames.try_send(frame) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Err(Code::ProviderBusy),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Code::ProviderUnavailable),
            }
            // Its order is settled: the next one may go, whatever credit the rest of this one waits for.
            if let Some(place) = place.take() {
                place.sent();
            }
            if last {
                return Ok(());
            }
            chunk += 1;
        }
    }

    /// Sends the adapter its receipt. A link that is behind gets it by asking for the entry.
    ///
    /// What the adapter awaits as proved need not be sent to it again whole, among its member's entries; `awaited` says
    /// whether it does.
    pub fn send_receipt(&self, exchange: u64, appended: &Appended, awaited: bool) {
        let receipt = pb::LinkReceipt {
            exchange,
            index: appended.index,
            entry: appended.entry.clone(),
            proof: appended.proof.clone(),
        };
        let batch = pb::ReceiptBatch { checkpoint: appended.checkpoint.clone(), receipts: vec![receipt] };
        let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Receipts(batch)) };
        let send = || self.frames.try_send(frame).is_ok();
        let sent = match awaited {
            true => self.side.noting(appended.index, &appended.checkpoint, send),
            false => send(),
        };
        if !sent {
            tracing::warn!(member = %self.member, index = appended.index, "a receipt could not be sent down the link");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_as_many_places_as_its_adapter_runs_and_the_last_are_for_emergencies() {
        assert_eq!(places(0), (1024, 128));
        assert_eq!(places(256), (256, 32));
        assert_eq!(places(7), (7, 1));
        assert_eq!(places(1), (1, 0));
        assert_eq!(places(u32::MAX), (1024, 128));
    }
}
