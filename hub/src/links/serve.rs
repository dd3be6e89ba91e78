//! Serving one link: hello, welcome, frames both ways, end.

use super::entries::push_own;
use super::side::{Side, ToLookUp};
use super::{Link, Links};
use crate::context::Hub;
use crate::directory::{PublishDraft, material, wanted_keys};
use crate::ledger::{Ledger, ReadFor};
use crate::limits::{HELLO_TIMEOUT, LINK_IN_FLIGHT_MAX, MATERIAL_QUEUE, PING_EVERY};
use crate::status;
use crate::views::DelegationView;
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::{DOCUMENT_MAX, WINDOW};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_rpc::Gathered;

/// Frames that may share one message.
const FRAMES_PER_MESSAGE: usize = 64;
/// Pings that may stay unanswered.
const MISSED_PINGS_MAX: u64 = 3;

/// Serves links.
#[derive(Clone)]
pub struct LinkServer {
    hub: Arc<Hub>,
}

/// The frames that go to the adapter.
pub type OutgoingFrames = futures_util::stream::BoxStream<'static, Result<pb::ConnectResponse, Status>>;

impl LinkServer {
    /// For this hub.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Runs the handshake and starts the link's tasks.
    pub async fn connect(
        &self,
        member: MemberId,
        mut frames: tonic::Streaming<pb::ConnectRequest>,
    ) -> Result<OutgoingFrames, Status> {
        let first = tokio::time::timeout(HELLO_TIMEOUT, frames.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the first frame of a link must come within 5 s"))??
            .ok_or_else(|| Status::invalid_argument("the link ended before its first frame"))?;
        let mut first = first.frames.into_iter();
        let Some(FromAdapter::Hello(hello)) = first.next().and_then(|frame| frame.kind) else {
            return Err(Status::invalid_argument("the first frame of a link is its hello"));
        };
        let welcome = self.greet(&member, &hello).await?;
        let delegation = self.adapter_delegation(&member, &hello).await.map_err(status::of)?;
        let mappings =
            super::mappings::unknown(self.hub.ledger.views(), &member, &hello).map_err(status::of)?;
        if self.hub.links.came_back_with_less(&member, hello.own_next) {
            self.hub.alarms.restored();
            tracing::error!(%member, own_next = hello.own_next, "an adapter was restored from an old copy");
        }
        let sealing = self.sealing_delegation(&member, &hello).await;
        let (side, to_look_up) = Side::new(&hello);
        let (link, queue) = Link::new(member, delegation, side, sealing, hello.max_in_flight);
        let unlisted = super::mappings::is_unlisted(self.hub.ledger.views(), &hello);
        link.unlisted.store(unlisted, Ordering::Relaxed);
        let welcomed = self.welcomed(&welcome);
        let welcome = pb::HubFrame { kind: Some(ToAdapter::Welcome(welcome)) };
        link.frames.try_send(welcome).map_err(|_| status::of(Code::Internal))?;
        // Before the link is known: no request may come ahead of what its asker revoked. And once more after
        // it: what came between the two was passed on to the links that were known.
        self.hub.say_words(&link);
        if mappings.is_empty() {
            self.hub.add_link(&link);
        } else {
            self.hub.tasks.spawn(Arc::clone(&self.hub).admit(Arc::clone(&link), mappings));
        }
        tracing::info!(member = %link.member, "an adapter is connected");
        let (looks, waiting) = mpsc::channel(MATERIAL_QUEUE);
        let (ready, material) = mpsc::channel(1);
        self.hub.tasks.spawn(Arc::clone(&self.hub).send_material(Arc::clone(&link), waiting, ready));
        self.hub.tasks.spawn(Arc::clone(&self.hub).run_link(Arc::clone(&link), frames, looks));
        self.hub.tasks.spawn(push_own(Arc::clone(&self.hub), Arc::clone(&link), welcomed));
        let ToLookUp { offers, proofs } = to_look_up;
        self.hub.tasks.spawn(Arc::clone(&link).serve_offers(Arc::clone(&self.hub), offers));
        self.hub.tasks.spawn(Arc::clone(&link).serve_proofs(Arc::clone(&self.hub), proofs));
        Ok(outgoing(link, queue, material))
    }

    /// Compares heads: a hub that knows less than its member was rolled back, and says so to nobody but
    /// its operator.
    async fn greet(&self, member: &MemberId, hello: &pb::LinkHello) -> Result<pb::LinkWelcome, Status> {
        if hello.version != 1 {
            return Err(Status::unimplemented("links of version 1 are served"));
        }
        let shown = if hello.checkpoint.is_empty() {
            let empty = Checkpoint::new(self.hub.ledger.origin(), 0, yiwang_proto::merkle::EMPTY_ROOT);
            empty.map_err(|_| status::of(Code::Internal))?
        } else {
            self.hub.checkpoints.open(&hello.checkpoint).map_err(|_| {
                Status::failed_precondition(
                    "the adapter's kept head is not of this ledger: compare the enrolment's origin and key",
                )
            })?
        };
        let member = member.clone();
        let compared = self.hub.ledger.reading(ReadFor::Link, move |ledger| {
            ledger.show_head(&member, &shown)?;
            let head = ledger.checkpoint();
            // An adapter that knows more sees the smaller head and refuses; it must see it, to keep the evidence.
            let known = shown.size <= head.size;
            let proof = if known { ledger.consistency(shown.size, head.size)? } else { Vec::new() };
            Ok((head, proof))
        });
        let (head, proof) = compared.await.map_err(status::of)?;
        Ok(pb::LinkWelcome {
            checkpoint: head.note,
            proof,
            max_in_flight: u32::try_from(LINK_IN_FLIGHT_MAX).unwrap_or(u32::MAX),
            window: WINDOW,
        })
    }

    /// The size of the head that the adapter adopts with the welcome.
    fn welcomed(&self, welcome: &pb::LinkWelcome) -> u64 {
        self.hub.checkpoints.open(&welcome.checkpoint).map_or(0, |head| head.size)
    }

    /// The adapter's delegation, entered in the ledger if it is new.
    async fn adapter_delegation(
        &self,
        member: &MemberId,
        hello: &pb::LinkHello,
    ) -> Result<Arc<DelegationView>, Code> {
        let view = self.entered(member, &hello.delegation).await?;
        check_adapter(&view.delegation, member, hello, self.hub.clock.now_ms())?;
        let views = self.hub.ledger.views();
        if views.revoked(&view.delegation) {
            return Err(Code::Revoked);
        }
        if !views.is_of_the_root(&view.delegation) {
            return Err(Code::DelegationInvalid);
        }
        Ok(view)
    }

    /// A delegation that the hello shows, entered in the ledger if it is new.
    async fn entered(&self, member: &MemberId, bytes: &Bytes) -> Result<Arc<DelegationView>, Code> {
        let document = SignedDocument::parse(bytes.clone(), DOCUMENT_MAX).map_err(|_| Code::Malformed)?;
        let views = self.hub.ledger.views();
        let digest = document.digest();
        if views.delegation(&digest).is_none() {
            self.hub.quotas.take(member, self.hub.clock.monotonic_us())?;
            let draft = PublishDraft::open(member.clone(), bytes.clone(), views)?;
            let draft = self.hub.quotas.publish(member, bytes, Box::new(draft));
            self.hub.ledger.append(draft).await?;
        }
        views.delegation(&digest).ok_or(Code::DelegationInvalid)
    }

    /// The delegation for sealing. One that does not hold leaves the link without: open bodies are served.
    async fn sealing_delegation(
        &self,
        member: &MemberId,
        hello: &pb::LinkHello,
    ) -> Option<Arc<DelegationView>> {
        if hello.sealing.is_empty() {
            return None;
        }
        let view = self.entered(member, &hello.sealing).await;
        let fits = |view: &Arc<DelegationView>| {
            let delegation = &view.delegation;
            delegation.member == *member
                && delegation.role == Role::Sealing
                && delegation.name.as_str() == hello.adapter
                && delegation.valid_at(self.hub.clock.now_ms())
                && !self.hub.ledger.views().revoked(delegation)
                && self.hub.ledger.views().is_of_the_root(delegation)
        };
        let view = view.ok().filter(fits);
        if view.is_none() {
            tracing::warn!(%member, "an adapter's delegation for sealing does not hold");
        }
        view
    }
}

fn check_adapter(
    delegation: &Delegation,
    member: &MemberId,
    hello: &pb::LinkHello,
    now_ms: i64,
) -> Result<(), Code> {
    if delegation.member != *member {
        return Err(Code::WrongMember);
    }
    let fits = delegation.role == Role::Adapter
        && delegation.name.as_str() == hello.adapter
        && delegation.valid_at(now_ms);
    if fits { Ok(()) } else { Err(Code::DelegationInvalid) }
}

/// Receipts of one batch of the ledger share its head: the adapter opens a checkpoint once for all that come together. A
/// receipt may overtake other frames so, but none overtakes it.
fn sharing(frames: Vec<pb::HubFrame>) -> Vec<pb::HubFrame> {
    let mut sharing: Vec<pb::HubFrame> = Vec::with_capacity(frames.len());
    let mut last = None;
    for frame in frames {
        let Some(ToAdapter::Receipts(more)) = frame.kind else {
            sharing.push(frame);
            continue;
        };
        let held = last.and_then(|last: usize| sharing.get_mut(last)).and_then(|frame| frame.kind.as_mut());
        match held {
            Some(ToAdapter::Receipts(held)) if held.checkpoint == more.checkpoint => {
                held.receipts.extend(more.receipts);
            }
            _ => {
                last = Some(sharing.len());
                sharing.push(pb::HubFrame { kind: Some(ToAdapter::Receipts(more)) });
            }
        }
    }
    sharing
}

/// Frames that wait are sent together: one message, one write. Material, which may be large, goes alone.
fn outgoing(
    link: Arc<Link>,
    queue: mpsc::Receiver<pb::HubFrame>,
    material: mpsc::Receiver<pb::HubFrame>,
) -> OutgoingFrames {
    let ended = link.closed.clone();
    let frames = Gathered::new(queue).ready_chunks(FRAMES_PER_MESSAGE);
    let material = ReceiverStream::new(material).map(|frame| vec![frame]);
    futures_util::stream::select(frames, material)
        .map(|frames| Ok(pb::ConnectResponse { frames: sharing(frames) }))
        .take_until(ended.cancelled_owned())
        .boxed()
}

impl Hub {
    /// The link is known from now on. What came since its delegation was looked at is said, and looked at, once more: before
    /// it takes another's place, and after, since who closes links closes those that are known.
    pub(super) fn add_link(&self, link: &Arc<Link>) {
        if self.still_counts(link) {
            self.links.add(link);
            self.say_words(link);
        }
        if !self.still_counts(link) {
            tracing::warn!(member = %link.member, "the adapter's key was taken back or its root replaced meanwhile");
            link.close();
        }
    }

    fn still_counts(&self, link: &Link) -> bool {
        let (views, key) = (self.ledger.views(), &link.delegation.delegation);
        !views.revoked(key) && views.is_of_the_root(key)
    }

    async fn run_link(
        self: Arc<Self>,
        link: Arc<Link>,
        mut frames: tonic::Streaming<pb::ConnectRequest>,
        looks: mpsc::Sender<pb::MaterialWanted>,
    ) {
        let unanswered = AtomicU64::new(0);
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.tick().await;
        let (mut closed, mut stopped) = (pin!(link.closed.cancelled()), pin!(self.stop.cancelled()));
        loop {
            tokio::select! {
                biased;
                () = &mut closed => break,
                () = &mut stopped => break,
                message = frames.message() => match message {
                    Ok(Some(message)) => {
                        for frame in message.frames {
                            self.take_frame(&link, frame, &looks, &unanswered);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::info!(member = %link.member, code = ?error.code(), "a link broke");
                        break;
                    }
                },
                _ = ping.tick() => {
                    link.say_untold();
                    let missed = unanswered.fetch_add(1, Ordering::Relaxed);
                    let frame = pb::HubFrame { kind: Some(ToAdapter::Ping(pb::LinkPing { nonce: missed })) };
                    if missed >= MISSED_PINGS_MAX || link.frames.try_send(frame).is_err() {
                        tracing::warn!(member = %link.member, "an adapter does not answer; its link is closed");
                        break;
                    }
                }
            }
        }
        self.links.remove(&link, self.clock.now_ms());
        tracing::info!(member = %link.member, "an adapter is disconnected");
    }

    /// Answers the looks of one link, one after another and off the threads that serve others: an adapter
    /// that asks for everything at once waits for itself. One answer at most waits to be sent.
    async fn send_material(
        self: Arc<Self>,
        link: Arc<Link>,
        mut looks: mpsc::Receiver<pb::MaterialWanted>,
        ready: mpsc::Sender<pb::HubFrame>,
    ) {
        let closed = link.closed.clone();
        while let Some(Some(wanted)) = closed.run_until_cancelled(looks.recv()).await {
            let (hub, member) = (Arc::clone(&self), link.member.clone());
            // Cases are read from the ledger's files.
            let read = move |_: &Ledger| Ok(material(&hub, &member, &wanted));
            let Ok(material) = self.ledger.reading(ReadFor::Link, read).await else {
                tracing::warn!(member = %link.member, "the ledger is too busy to send material down a link");
                continue;
            };
            let frame = pb::HubFrame { kind: Some(ToAdapter::Material(material)) };
            if closed.run_until_cancelled(ready.send(frame)).await.is_none_or(|sent| sent.is_err()) {
                return;
            }
        }
    }

    fn take_frame(
        self: &Arc<Self>,
        link: &Arc<Link>,
        frame: pb::AdapterFrame,
        looks: &mpsc::Sender<pb::MaterialWanted>,
        unanswered: &AtomicU64,
    ) {
        match frame.kind {
            Some(FromAdapter::Answer(chunk)) => link.take_chunk(chunk),
            Some(FromAdapter::Credit(credit)) => link.take_credit(&credit),
            Some(FromAdapter::Wanted(wanted)) => {
                let taken = wanted_keys(&wanted).is_some_and(|wanted| looks.try_send(wanted).is_ok());
                if !taken && !link.closed.is_cancelled() {
                    tracing::warn!(member = %link.member, "an adapter asks for more material than any exchange needs");
                    link.closed.cancel();
                }
            }
            Some(FromAdapter::Leaving(leaving)) => self.let_go(link, leaving.back_within_ms),
            Some(FromAdapter::Pong(_)) => unanswered.store(0, Ordering::Relaxed),
            kind => {
                if kind.is_some_and(|other| link.take_side(other)) {
                    return;
                }
                tracing::warn!(member = %link.member, "an adapter sent a frame that does not belong here");
                link.closed.cancel();
            }
        }
    }
}

impl Links {
    /// How often a second link replaced a first one.
    pub fn replaced(&self) -> i64 {
        self.alarms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_under_one_head_share_it_and_nothing_else_changes() {
        let receipt = |exchange: u64, checkpoint: &'static str| {
            let receipts = vec![pb::LinkReceipt { exchange, ..pb::LinkReceipt::default() }];
            let batch = pb::ReceiptBatch { checkpoint: Bytes::from_static(checkpoint.as_bytes()), receipts };
            pb::HubFrame { kind: Some(ToAdapter::Receipts(batch)) }
        };
        let ping = |nonce| pb::HubFrame { kind: Some(ToAdapter::Ping(pb::LinkPing { nonce })) };
        let frames = [
            receipt(1, "a"),
            ping(1),
            receipt(2, "a"),
            receipt(3, "b"),
            ping(2),
            receipt(4, "b"),
            receipt(5, "a"),
        ];
        let said: Vec<String> = sharing(frames.to_vec())
            .into_iter()
            .map(|frame| match frame.kind {
                Some(ToAdapter::Receipts(batch)) => {
                    let of: Vec<u64> = batch.receipts.iter().map(|receipt| receipt.exchange).collect();
                    format!("{} {of:?}", String::from_utf8_lossy(&batch.checkpoint))
                }
                Some(ToAdapter::Ping(ping)) => format!("ping {}", ping.nonce),
                _ => "other".to_owned(),
            })
            .collect();
        assert_eq!(said, ["a [1, 2]", "ping 1", "b [3, 4]", "ping 2", "a [5]"]);
    }
}
