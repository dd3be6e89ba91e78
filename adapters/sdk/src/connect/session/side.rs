//! What goes over the link beside exchanges: witness calls, consistency proofs, the own member's entries,
//! and answers that are offered for their receipts.

use super::{End, Session, frame};
use crate::adapter::Adapter;
use crate::connect::hand_over::LinkMaterial;
use crate::connect::receipts;
use crate::watch::OFFERED_AT_ONCE;
use crate::watch::OwnEntries;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use yiwang_proto::codes::Code;
use yiwang_proto::pb::adapter_frame::Kind as ToHub;
use yiwang_proto::pb::hub_frame::Kind as FromHub;
use yiwang_proto::{Digest, pb};

/// Witness calls under way; a hub asks for one cosignature at a time.
const CALLS_MAX: usize = 4;
/// Batches of receipts whose heads are asked for at once: those of all answers that are offered at once.
const PROOFS_MAX: usize = OFFERED_AT_ONCE;
/// Batches of own entries that wait; a hub sends the next one when the last is taken.
const BATCHES_MAX: usize = 2;
/// How often the adapter looks for answers that should be offered.
const OFFER_EVERY: Duration = Duration::from_millis(500);
/// Names no exchange among the session's tasks: exchanges are numbered from 1.
const NO_EXCHANGE: u64 = 0;

/// The parts of a session that serve all this.
pub(super) struct Side {
    calls: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
    batches: mpsc::Sender<pb::OwnEntries>,
    ended: oneshot::Receiver<End>,
    offers: tokio::time::Interval,
}

/// Takes own entries for as long as the session lives, and then until the batch in hand is through.
pub(super) struct Following {
    task: JoinHandle<End>,
    // Weak: material holds a way into the stream, which is to end with the session.
    material: Weak<LinkMaterial>,
}

impl Following {
    /// Waits for the batch in hand, once the session is dropped. The next link's hello shows the kept head and how far
    /// own entries are held; a batch of the old link that moved both after it would make the hub's next one, which goes
    /// on from the hello, look like one that does not follow. Yields what is worse: how the link ended, or the batch.
    pub(super) async fn over(self, end: End) -> End {
        if let Some(material) = self.material.upgrade() {
            material.close();
        }
        match self.task.await {
            Ok(worse @ (End::Alarm(_) | End::Dead)) => worse,
            _ => end,
        }
    }
}

impl Side {
    /// Starts to follow the own member's entries. What follows them outlives the session by a batch.
    pub(super) fn start(
        adapter: &Arc<Adapter>,
        material: &Arc<LinkMaterial>,
        control: &mpsc::Sender<pb::AdapterFrame>,
    ) -> (Self, Following) {
        let (batches, queue) = mpsc::channel(BATCHES_MAX);
        let (end, ended) = oneshot::channel();
        let following = follow(Arc::clone(adapter), Arc::clone(material), control.clone(), queue);
        let task = tokio::spawn(async move {
            let why = following.await;
            // The session may be gone already.
            let _ = end.send(why.clone());
            why
        });
        let offers = tokio::time::interval(OFFER_EVERY);
        let (calls, proofs) = (Semaphore::new(CALLS_MAX), Semaphore::new(PROOFS_MAX));
        let (calls, proofs) = (Arc::new(calls), Arc::new(proofs));
        let side = Self { calls, proofs, batches, ended, offers };
        (side, Following { task, material: Arc::downgrade(material) })
    }

    /// Waits for what ends the link, or until answers, or the next try to change the link, may be due.
    pub(super) async fn next(&mut self) -> Option<End> {
        tokio::select! {
            biased;
            ended = &mut self.ended => {
                Some(ended.unwrap_or_else(|_| End::Lost("following the own entries ended".to_owned())))
            }
            _ = self.offers.tick() => None,
        }
    }
}

/// Takes batch after batch, until the session or the journal ends. Waits for nothing that a hub could hold up for ever.
async fn follow(
    adapter: Arc<Adapter>,
    material: Arc<LinkMaterial>,
    control: mpsc::Sender<pb::AdapterFrame>,
    mut queue: mpsc::Receiver<pb::OwnEntries>,
) -> End {
    // What waits when the link ends comes again over the next one.
    while let Some(batch) = queue.recv().await.filter(|_| !material.is_closed()) {
        let own_next = match adapter.take_own_entries(batch, material.as_ref()).await {
            Ok(own_next) => own_next,
            Err(OwnEntries::Broken(what)) => {
                adapter.counters().protocol_error();
                return End::Lost(what.to_owned());
            }
            Err(OwnEntries::Alarm(what)) => return End::Alarm(what),
            Err(OwnEntries::Later(why)) => return End::Lost(why.to_string()),
            Err(OwnEntries::Journal(_)) if adapter.is_dead() => return End::Dead,
            Err(OwnEntries::Journal(error)) => return End::Lost(error.to_string()),
        };
        let taken = frame(ToHub::EntriesTaken(pb::EntriesTaken { own_next }));
        if control.try_send(taken).is_err() {
            return End::Lost("the hub does not read its link".to_owned());
        }
    }
    End::Lost("the link is gone".to_owned())
}

impl Session {
    /// Takes a frame that is of no exchange; hands back one that is not known here.
    pub(super) fn take_side(&mut self, kind: FromHub) -> Result<(), End> {
        match kind {
            FromHub::Witness(call) => {
                self.witness(call);
                Ok(())
            }
            FromHub::ProofGiven(given) => {
                self.material.take_proof(&given);
                Ok(())
            }
            FromHub::OwnEntries(batch) => self
                .side
                .batches
                .try_send(batch)
                .map_err(|_| End::Lost("the hub sends entries faster than agreed".to_owned())),
            FromHub::OfferRefused(refused) => {
                self.adapter.counters().bad_receipt();
                tracing::error!(code = refused.code, "the hub gives no receipt for an answer");
                let for_good =
                    [Code::AnswerInvalid, Code::NotFound].iter().any(|code| code.as_str() == refused.code);
                if let Ok(digest) = Digest::try_from(refused.request_digest.as_ref()) {
                    let (mut owed, now_us) = (self.adapter.watch.owed(), self.adapter.clock().monotonic_us());
                    owed.offer_later(&digest, refused.code == Code::Overloaded.as_str(), now_us);
                    if for_good {
                        owed.offer_no_more(&digest);
                    }
                }
                Ok(())
            }
            _ => {
                self.adapter.counters().protocol_error();
                Err(End::Lost("the hub sent a frame that does not belong here".to_owned()))
            }
        }
    }

    fn witness(&mut self, call: pb::WitnessCall) {
        let Ok(slot) = Arc::clone(&self.side.calls).try_acquire_owned() else {
            self.adapter.counters().protocol_error();
            return;
        };
        let (adapter, control) = (Arc::clone(&self.adapter), self.control.clone());
        self.tasks.spawn(async move {
            let answer = adapter.add_checkpoint(&call.body).await;
            let (call, status) = (call.call, u32::from(answer.status));
            let reply = pb::WitnessReply { call, status, body: answer.body };
            // A closed queue belongs to a link that is gone; what was cosigned is recorded.
            let _ = control.send(frame(ToHub::Witnessed(reply))).await;
            drop(slot);
            NO_EXCHANGE
        });
    }

    /// Takes receipts; what only a consistency proof can settle waits for it beside the session.
    pub(super) fn receipts(&mut self, batch: &pb::ReceiptBatch) {
        let Some(unproved) = receipts::take_batch(&self.adapter, batch) else { return };
        // Without a place it is offered again.
        let Ok(slot) = Arc::clone(&self.side.proofs).try_acquire_owned() else { return };
        let (adapter, material) = (Arc::clone(&self.adapter), Arc::clone(&self.material));
        self.tasks.spawn(async move {
            receipts::prove(&adapter, unproved, material.as_ref()).await;
            drop(slot);
            NO_EXCHANGE
        });
    }

    /// Offers what is due; what the queue does not take is due again later. Looks whether entries are overdue.
    pub(super) fn offer(&self) {
        self.adapter.expect_given_up();
        let now_us = self.adapter.clock().monotonic_us();
        let kept_size = self.adapter.head().head.size;
        let overdue = self.adapter.watch.follow().look(now_us, kept_size);
        if let Some(index) = overdue {
            self.adapter.counters().alarm();
            tracing::error!(
                index,
                "an entry that a receipt proved does not come among the own entries of the member; nothing is answered until it does"
            );
        }
        let due = self.adapter.watch.owed().due(now_us);
        let mut due = due.into_iter();
        for offer in due.by_ref() {
            let sent = pb::AnswerOffer { request: offer.request.clone(), answer: offer.answer.clone() };
            if self.control.try_send(frame(ToHub::Offer(sent))).is_err() {
                self.adapter.watch.owed().not_offered(&offer);
                break;
            }
        }
        for offer in due {
            self.adapter.watch.owed().not_offered(&offer);
        }
    }
}
