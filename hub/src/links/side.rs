//! What goes over a link beside exchanges: witness calls, consistency proofs, offers of answers, and how far
//! the adapter holds its own member's entries.

use super::Link;
use crate::context::Hub;
use crate::ledger::{Ledger, ReadFor};
use crate::limits::LINK_IN_FLIGHT_MAX;
use crate::offers;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use yiwang_proto::codes::Code;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_proto::sha256;

/// Offers of one link that wait: as many as an adapter has under way. It offers again what finds no place.
const OFFERS_MAX: usize = 128;
/// Offers that are settled together: few batches of the ledger, and the first of them do not wait for long.
const OFFERS_TOGETHER: usize = 64;
/// Receipts that went down one link and whose entries did not follow yet; for others the entry is sent whole.
const RECEIPTED_MAX: usize = 65_536;
/// Proofs of one link that wait: an exchange needs one at most. A link that asks for more is closed.
const PROOFS_MAX: usize = LINK_IN_FLIGHT_MAX;
/// Proofs in one look: some milliseconds.
const PROOFS_AT_ONCE: usize = 64;
/// How long a witness may take for one call: two syncs of a slow disk.
const CALL_WAIT: Duration = Duration::from_secs(3);

/// The state behind it.
pub(super) struct Side {
    witness_key: String,
    calls: Mutex<HashMap<u64, oneshot::Sender<pb::WitnessReply>>>,
    next_call: AtomicU64,
    offers: mpsc::Sender<pb::AnswerOffer>,
    proofs: mpsc::Sender<pb::ProofWanted>,
    taken: watch::Sender<u64>,
    receipted: Mutex<Receipted>,
}

/// The receipts that went down a link ahead of their entries.
struct Receipted {
    /// By index, the size of the head under which the receipt proved the entry.
    sizes: BTreeMap<u64, u64>,
    /// Entries before this one were sent, and are asked for no more.
    passed: u64,
}

/// What comes over a link and is looked up in the ledger, one after another.
pub(super) struct ToLookUp {
    pub(super) offers: mpsc::Receiver<pb::AnswerOffer>,
    pub(super) proofs: mpsc::Receiver<pb::ProofWanted>,
}

impl Side {
    /// For a link whose first frame said this; the other value is what will come to be looked up.
    pub(super) fn new(hello: &pb::LinkHello) -> (Self, ToLookUp) {
        let (offers, offered) = mpsc::channel(OFFERS_MAX);
        let (proofs, wanted) = mpsc::channel(PROOFS_MAX);
        let side = Self {
            witness_key: hello.witness_key.clone(),
            calls: Mutex::default(),
            next_call: AtomicU64::new(1),
            offers,
            proofs,
            taken: watch::Sender::new(hello.own_next),
            receipted: Mutex::new(Receipted { sizes: BTreeMap::new(), passed: hello.own_next }),
        };
        (side, ToLookUp { offers: offered, proofs: wanted })
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<pb::WitnessReply>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receipted(&self) -> MutexGuard<'_, Receipted> {
        self.receipted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a receipt and notes it; whether it went down. Under one lock, and the first of two for one entry counts: so it
    /// is with the adapter, which takes them in the order in which they went down. A receipt whose entry was sent before it is
    /// not noted: nobody would ask for it, and it would have its place until the link ends.
    pub(super) fn noting(&self, index: u64, checkpoint: &Bytes, send: impl FnOnce() -> bool) -> bool {
        let mut receipted = self.receipted();
        let sent = send();
        let noted = sent && index >= receipted.passed && receipted.sizes.len() < RECEIPTED_MAX;
        if let Some(size) = size_of(checkpoint).filter(|_| noted) {
            receipted.sizes.entry(index).or_insert(size);
        }
        sent
    }

    /// The head of the receipt of an entry, if it went down this link; asked once, in the order of entries.
    pub(super) fn take_receipt(&self, index: u64) -> Option<u64> {
        let mut receipted = self.receipted();
        receipted.passed = receipted.passed.max(index.saturating_add(1));
        receipted.sizes.remove(&index)
    }

    /// How far the adapter holds its own entries.
    pub(super) fn taken(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }
}

/// The size in a checkpoint that this hub signed.
fn size_of(checkpoint: &[u8]) -> Option<u64> {
    let line = checkpoint.split(|byte| *byte == b'\n').nth(1)?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

fn given(ledger: &Ledger, wanted: &pb::ProofWanted) -> pb::ProofGiven {
    let (from_size, to_size) = (wanted.from_size, wanted.to_size);
    let proof = ledger.consistency(from_size, to_size);
    let missing = proof.is_err();
    pb::ProofGiven { from_size, to_size, proof: proof.unwrap_or_default(), missing }
}

impl Link {
    /// The verifier key under which this link's adapter cosigns; empty where it is no witness.
    pub fn witness_key(&self) -> &str {
        &self.side.witness_key
    }

    /// Asks the adapter to cosign; the body is that of `add-checkpoint`.
    pub async fn add_checkpoint(&self, body: Bytes) -> Result<pb::WitnessReply, Code> {
        let call = self.side.next_call.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.side.calls().insert(call, reply);
        let frame = pb::HubFrame { kind: Some(ToAdapter::Witness(pb::WitnessCall { call, body })) };
        let sent = self.frames.try_send(frame).is_ok();
        let answered = if sent { tokio::time::timeout(CALL_WAIT, answer).await.ok() } else { None };
        self.side.calls().remove(&call);
        match answered {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(_)) => Err(Code::ProviderUnavailable),
            None if sent => Err(Code::DeadlineExceeded),
            None => Err(Code::ProviderBusy),
        }
    }

    /// Takes a frame that is of no exchange. False for one that does not belong on a link.
    pub(super) fn take_side(&self, kind: FromAdapter) -> bool {
        match kind {
            FromAdapter::Witnessed(reply) => {
                // A reply that nobody waits for came late.
                if let Some(waiting) = self.side.calls().remove(&reply.call) {
                    let _ = waiting.send(reply);
                }
            }
            FromAdapter::ProofWanted(wanted) => {
                if self.side.proofs.try_send(wanted).is_err() && !self.closed.is_cancelled() {
                    tracing::warn!(member = %self.member, "a link asks for more proofs than exchanges run; it is closed");
                    self.close();
                }
            }
            FromAdapter::Offer(offer) => {
                // One that finds no place is offered again.
                let _ = self.side.offers.try_send(offer);
            }
            FromAdapter::EntriesTaken(taken) => {
                let _ = self.side.taken.send(taken.own_next);
            }
            _ => return false,
        }
        true
    }

    /// Proves what the adapter asks for, off the runtime and in turn with other links, until the link ends.
    pub(super) async fn serve_proofs(
        self: Arc<Self>,
        hub: Arc<Hub>,
        mut queue: mpsc::Receiver<pb::ProofWanted>,
    ) {
        loop {
            let mut wanted = Vec::new();
            let came = queue.recv_many(&mut wanted, PROOFS_AT_ONCE);
            if !matches!(self.closed.run_until_cancelled(came).await, Some(1..)) {
                return;
            }
            let prove = move |ledger: &Ledger| Ok(wanted.iter().map(|one| given(ledger, one)).collect());
            let Ok(proofs) = hub.ledger.reading::<Vec<_>>(ReadFor::Link, prove).await else {
                // No word on any head: whoever waits for one gives up in time.
                tracing::warn!(member = %self.member, "too much is read at once: proofs that a link asks for are left out");
                continue;
            };
            for given in proofs {
                let frame = pb::HubFrame { kind: Some(ToAdapter::ProofGiven(given)) };
                if self.frames.try_send(frame).is_err() {
                    tracing::warn!(member = %self.member, "a proof could not be sent down the link");
                }
            }
        }
    }

    /// Looks up what the adapter offers until the link ends: what waits by now is settled together.
    pub(super) async fn serve_offers(
        self: Arc<Self>,
        hub: Arc<Hub>,
        mut queue: mpsc::Receiver<pb::AnswerOffer>,
    ) {
        loop {
            let mut offers = Vec::new();
            let came = queue.recv_many(&mut offers, OFFERS_TOGETHER);
            if !matches!(self.closed.run_until_cancelled(came).await, Some(1..)) || self.closed.is_cancelled()
            {
                return;
            }
            let settled = offers::settle(&hub, &self.member, &offers).await;
            for (offer, settled) in offers.iter().zip(settled) {
                match settled {
                    Ok(appended) => self.send_receipt(0, &appended, true),
                    Err(code) => self.refuse_offer(&hub, offer, code),
                }
            }
        }
    }

    fn refuse_offer(&self, hub: &Hub, offer: &pb::AnswerOffer, code: Code) {
        hub.alarms.offer_refused();
        tracing::warn!(member = %self.member, %code, "an offered answer gets no receipt");
        let request_digest = Bytes::copy_from_slice(&sha256(&offer.request));
        let refused = pb::OfferRefused { request_digest, code: code.as_str().to_owned() };
        let frame = pb::HubFrame { kind: Some(ToAdapter::OfferRefused(refused)) };
        // A link that is behind is told at the next offer.
        let _ = self.frames.try_send(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_receipt_that_went_down_counts() {
        let (side, _) = Side::new(&pb::LinkHello::default());
        let checkpoint = |size: u64| Bytes::from(format!("ledger.test.example/city\n{size}\nroot\n"));
        assert!(!side.noting(3, &checkpoint(7), || false));
        assert!(side.receipted().sizes.is_empty(), "it did not go down");
        assert!(side.noting(3, &checkpoint(8), || true) && side.noting(3, &checkpoint(9), || true));
        assert_eq!(side.take_receipt(3), Some(8));
        assert_eq!(side.take_receipt(3), None, "asked once");
    }

    #[test]
    fn a_receipt_that_comes_after_its_entry_keeps_no_place() {
        let (side, _) = Side::new(&pb::LinkHello { own_next: 2, ..pb::LinkHello::default() });
        let checkpoint = Bytes::from("ledger.test.example/city\n9\nroot\n");
        assert_eq!(side.take_receipt(4), None, "it is sent whole");
        for index in [1, 3, 4] {
            assert!(side.noting(index, &checkpoint, || true), "it goes down all the same");
        }
        assert!(side.receipted().sizes.is_empty());
        assert!(side.noting(5, &checkpoint, || true));
        assert_eq!(side.take_receipt(5), Some(9));
    }
}
