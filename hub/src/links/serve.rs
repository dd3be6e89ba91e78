//! Serving one link: hello, welcome, frames both ways, end.

use super::{Link, Links};
use crate::context::Hub;
use crate::directory::PublishDraft;
use crate::limits::{HELLO_TIMEOUT, LINK_IN_FLIGHT_MAX, PING_EVERY};
use crate::status;
use crate::views::DelegationView;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::{DOCUMENT_MAX, WINDOW};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;

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
        let welcome = self.greet(&member, &hello)?;
        let delegation = self.adapter_delegation(&member, &hello).await.map_err(status::of)?;
        let mappings =
            super::mappings::unknown(self.hub.ledger.views(), &member, &hello).map_err(status::of)?;
        let (link, queue) = Link::new(member, delegation);
        let welcome = pb::HubFrame { kind: Some(ToAdapter::Welcome(welcome)) };
        link.frames.try_send(welcome).map_err(|_| status::of(Code::Internal))?;
        // Before the link is known: no request may come ahead of what its asker revoked. And once more after
        // it: what came between the two was passed on to the links that were known.
        self.hub.say_words(&link);
        if mappings.is_empty() {
            self.hub.links.add(&link);
            self.hub.say_words(&link);
        } else {
            self.hub.tasks.spawn(Arc::clone(&self.hub).admit(Arc::clone(&link), mappings));
        }
        tracing::info!(member = %link.member, "an adapter is connected");
        self.hub.tasks.spawn(Arc::clone(&self.hub).run_link(Arc::clone(&link), frames));
        Ok(outgoing(link, queue))
    }

    /// Compares heads: a hub that knows less than its member was rolled back, and says so to nobody but
    /// its operator.
    fn greet(&self, member: &MemberId, hello: &pb::LinkHello) -> Result<pb::LinkWelcome, Status> {
        if hello.version != 1 {
            return Err(Status::unimplemented("links of version 1 are served"));
        }
        let mut from = 0;
        if !hello.checkpoint.is_empty() {
            let shown = self.hub.checkpoints.open(&hello.checkpoint).map_err(|_| {
                Status::failed_precondition(
                    "the adapter's kept head is not of this ledger: compare the enrolment's origin and key",
                )
            })?;
            self.hub.ledger.show_head(member, &shown).map_err(status::of)?;
            from = shown.size;
        } else if let Ok(empty) = yiwang_proto::checkpoint::Checkpoint::new(
            self.hub.ledger.origin(),
            0,
            yiwang_proto::merkle::EMPTY_ROOT,
        ) {
            self.hub.ledger.show_head(member, &empty).map_err(status::of)?;
        }
        let head = self.hub.ledger.checkpoint();
        let proof = if from <= head.size {
            self.hub.ledger.consistency(from, head.size).map_err(status::of)?
        } else {
            // The adapter sees the smaller head and refuses; it must see it, to keep the evidence.
            Vec::new()
        };
        Ok(pb::LinkWelcome {
            checkpoint: head.note,
            proof,
            max_in_flight: u32::try_from(LINK_IN_FLIGHT_MAX).unwrap_or(u32::MAX),
            window: WINDOW,
        })
    }

    /// The adapter's delegation, entered in the ledger if it is new.
    async fn adapter_delegation(
        &self,
        member: &MemberId,
        hello: &pb::LinkHello,
    ) -> Result<Arc<DelegationView>, Code> {
        let document =
            SignedDocument::parse(hello.delegation.clone(), DOCUMENT_MAX).map_err(|_| Code::Malformed)?;
        let views = self.hub.ledger.views();
        let digest = document.digest();
        if views.delegation(&digest).is_none() {
            let draft = PublishDraft::open(member.clone(), hello.delegation.clone(), views.decider())?;
            self.hub.ledger.append(Box::new(draft)).await?;
        }
        let view = views.delegation(&digest).ok_or(Code::DelegationInvalid)?;
        check_adapter(&view.delegation, member, hello, self.hub.clock.now_ms())?;
        if views.revoked(&view.delegation) {
            return Err(Code::Revoked);
        }
        Ok(view)
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

/// Frames that wait are sent together: one message, one write.
fn outgoing(link: Arc<Link>, queue: mpsc::Receiver<pb::HubFrame>) -> OutgoingFrames {
    let ended = link.closed.clone();
    ReceiverStream::new(queue)
        .ready_chunks(FRAMES_PER_MESSAGE)
        .map(|frames| Ok(pb::ConnectResponse { frames }))
        .take_until(ended.cancelled_owned())
        .boxed()
}

impl Hub {
    async fn run_link(self: Arc<Self>, link: Arc<Link>, mut frames: tonic::Streaming<pb::ConnectRequest>) {
        let unanswered = AtomicU64::new(0);
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.tick().await;
        loop {
            tokio::select! {
                biased;
                () = link.closed.cancelled() => break,
                () = self.stop.cancelled() => break,
                message = frames.message() => match message {
                    Ok(Some(message)) => {
                        for frame in message.frames {
                            self.take_frame(&link, frame, &unanswered);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::info!(member = %link.member, code = ?error.code(), "a link broke");
                        break;
                    }
                },
                _ = ping.tick() => {
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

    fn take_frame(self: &Arc<Self>, link: &Arc<Link>, frame: pb::AdapterFrame, unanswered: &AtomicU64) {
        match frame.kind {
            Some(FromAdapter::Answer(chunk)) => link.take_chunk(chunk),
            Some(FromAdapter::Credit(credit)) => link.take_credit(&credit),
            Some(FromAdapter::Wanted(wanted)) => self.send_material(link, &wanted),
            Some(FromAdapter::Pong(_)) => unanswered.store(0, Ordering::Relaxed),
            Some(FromAdapter::Hello(_)) | None => {
                tracing::warn!(member = %link.member, "an adapter sent a frame that does not belong here");
                link.closed.cancel();
            }
        }
    }

    /// Reads what an adapter wants to see. Reading entries is quick (page cache, one hash each).
    fn send_material(&self, link: &Arc<Link>, wanted: &pb::MaterialWanted) {
        let material = crate::directory::material(self, link.member(), wanted);
        let frame = pb::HubFrame { kind: Some(ToAdapter::Material(material)) };
        if link.frames.try_send(frame).is_err() {
            tracing::warn!(member = %link.member, "material could not be sent down the link");
        }
    }
}

impl Links {
    /// How often a second link replaced a first one.
    pub fn replaced(&self) -> i64 {
        self.alarms.load(Ordering::Relaxed)
    }
}
