//! One link from its first frame to its end.

mod change;
mod late;
mod requests;
mod send;
mod side;

use super::hand_over::LinkMaterial;
use crate::adapter::Adapter;
use crate::health::LinkState;
use crate::journal::HeldHead;
use crate::standings::Coming;
use change::Change;
use futures_util::StreamExt as _;
use late::Waits;
use side::{Following, Side};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use yiwang_proto::assemble::Assembling;
use yiwang_proto::limits::{CHUNK_MAX, WINDOW};
use yiwang_proto::merkle::verify_growth;
use yiwang_proto::pb::adapter_frame::Kind as ToHub;
use yiwang_proto::pb::hub_frame::Kind as FromHub;
use yiwang_proto::request::Head;
use yiwang_proto::{pb, receipt};
use yiwang_rpc::Gathered;
use yiwang_rpc::link_service_client::LinkServiceClient;

/// Version of the frames.
const VERSION: u32 = 1;
/// Frames of answers that wait for the connection: 8 MiB of bodies at the most.
const ANSWER_QUEUE: usize = 128;
/// Small frames (credit, pongs, questions) that wait; more means that the hub does not read.
const CONTROL_QUEUE: usize = 4096;
/// Frames that share one message: 32 full chunks stay well under a receiver's default limit of 4 MiB.
const FRAMES_PER_MESSAGE: usize = 32;
/// Bytes of one message from the hub: 64 frames at their largest.
const MESSAGE_MAX: usize = 32 << 20;

/// Exchanges that a hub lets run at once on a link, whatever its welcome says.
const HUBS_MOST: u32 = 1024;

/// How long the hub has to end its side after the adapter ended its own.
const LEAVE: Duration = Duration::from_secs(1);

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The adapter was stopped.
    Stopped,
    /// The link is changed for another.
    Changed,
    /// The connection broke, or the hub does not follow the rules.
    Lost(String),
    /// The hub's ledger contradicts the kept head.
    Alarm(String),
    /// The journal failed.
    Dead,
}

enum Exchange {
    Receiving { assembling: Assembling, waits: Waits },
    Running { task: AbortHandle, credit: Arc<Semaphore>, waits: Waits, body: usize },
}

struct Session {
    adapter: Arc<Adapter>,
    answers: mpsc::Sender<pb::AdapterFrame>,
    control: mpsc::Sender<pb::AdapterFrame>,
    material: Arc<LinkMaterial>,
    exchanges: HashMap<u64, Exchange>,
    tasks: JoinSet<u64>,
    buffered: usize,
    window: usize,
    most: usize,
    hard: usize,
    side: Side,
    change: watch::Receiver<()>,
}

fn frame(kind: ToHub) -> pb::AdapterFrame {
    pb::AdapterFrame { kind: Some(kind) }
}

/// Serves one link until it ends.
pub(super) async fn serve(
    adapter: &Arc<Adapter>,
    channel: Channel,
    change: watch::Receiver<()>,
    stop: &CancellationToken,
) -> End {
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return End::Stopped,
        opened = open(adapter, channel, change) => opened,
    };
    let (session, first, inbound, following) = match opened {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    adapter.counters().link(LinkState::Up);
    tracing::info!(member = %adapter.member(), "linked to the hub");
    let end = session.run(first, inbound, stop).await;
    adapter.watch.owed().unlinked();
    adapter.counters().link(LinkState::Connecting);
    let (ended, over) = (end.clone(), following.over(end));
    tokio::select! {
        biased;
        end = over => end,
        // There is no next link that would have to wait.
        () = stop.cancelled() => ended,
    }
}

type Opened = (Session, Vec<pb::HubFrame>, Streaming<pb::ConnectResponse>, Following);

/// Hello, welcome, and the check of the hub's head before anything is served.
async fn open(adapter: &Arc<Adapter>, channel: Channel, change: watch::Receiver<()>) -> Result<Opened, End> {
    let lost = |error: tonic::Status| End::Lost(format!("{:?}: {}", error.code(), error.message()));
    let patience = Duration::from_millis(adapter.limits().handshake_ms);
    let (answers, answer_queue) = mpsc::channel(ANSWER_QUEUE);
    let (control, control_queue) = mpsc::channel(CONTROL_QUEUE);
    let hello = pb::LinkHello {
        adapter: adapter.name().as_str().to_owned(),
        checkpoint: adapter.head().checkpoint,
        version: VERSION,
        operations: adapter.operations(),
        delegation: adapter.delegation_document().bytes().clone(),
        max_in_flight: adapter.limits().in_flight,
        witness_key: adapter.watch.witness_key(),
        own_next: adapter.watch.follow().durable_next(),
        sealing: adapter.sealing_document(),
    };
    // Sent ahead of the queues: the hello is the first frame whatever waits in them.
    let hello = pb::ConnectRequest { frames: vec![frame(ToHub::Hello(hello))] };
    let queued =
        futures_util::stream::select(ReceiverStream::new(control_queue), Gathered::new(answer_queue));
    let outbound = futures_util::stream::iter([hello])
        .chain(queued.ready_chunks(FRAMES_PER_MESSAGE).map(|frames| pb::ConnectRequest { frames }));
    let mut client = LinkServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
    let shaken = tokio::time::timeout(patience, async {
        let mut inbound = client.connect(outbound).await?.into_inner();
        let first = inbound.message().await?;
        Ok((inbound, first))
    });
    let (inbound, first) = shaken
        .await
        .map_err(|_| End::Lost("the hub's first frame did not come in time".to_owned()))?
        .map_err(lost)?;
    let mut frames = first.map(|message| message.frames).unwrap_or_default().into_iter();
    let Some(FromHub::Welcome(welcome)) = frames.next().and_then(|frame| frame.kind) else {
        return Err(End::Lost("the hub's first frame is not its welcome".to_owned()));
    };
    adopt_head(adapter, &welcome).await?;
    let most = adapter.limits().in_flight.min(welcome.max_in_flight.max(1));
    let material = Arc::new(LinkMaterial::new(control.clone(), adapter.limits().material_ms));
    let credit = usize::try_from(welcome.max_in_flight).unwrap_or(usize::MAX);
    adapter.watch.owed().linked(credit, adapter.clock().monotonic_us());
    adapter.watch.follow().linked();
    let (side, following) = Side::start(adapter, &material, &control);
    let session = Session {
        adapter: Arc::clone(adapter),
        answers,
        control,
        material,
        side,
        exchanges: HashMap::new(),
        tasks: JoinSet::new(),
        buffered: 0,
        // A hub that allows nothing ahead could never be answered.
        window: usize::try_from(welcome.window.clamp(1, WINDOW)).unwrap_or(CHUNK_MAX),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        hard: usize::try_from(welcome.max_in_flight.clamp(1, HUBS_MOST))
            .unwrap_or(usize::MAX)
            .saturating_mul(2),
        change,
    };
    Ok((session, frames.collect(), inbound, following))
}

/// INVARIANT: a head is kept only if it is signed by the pinned key and continues the one kept before.
async fn adopt_head(adapter: &Adapter, welcome: &pb::LinkWelcome) -> Result<(), End> {
    let held = adapter.head().head;
    let alarm = |what: String| End::Alarm(format!("kept size {}: {what}", held.size));
    let checkpoint = adapter.ledger().open(&welcome.checkpoint).map_err(|error| alarm(error.to_string()))?;
    let proof = receipt::hashes(&welcome.proof).map_err(|error| alarm(error.to_string()))?;
    verify_growth(held.size, checkpoint.size, &held.root, &checkpoint.root, &proof).map_err(|error| {
        adapter.keep_heads("the hub's head does not continue the kept one", &welcome.checkpoint, &proof);
        alarm(format!("hub shows size {}: {error}", checkpoint.size))
    })?;
    let head = Head { size: checkpoint.size, root: checkpoint.root };
    let kept = HeldHead { head, checkpoint: welcome.checkpoint.clone() };
    adapter
        .keep_head(kept)
        .await
        .map_err(|error| if adapter.is_dead() { End::Dead } else { End::Lost(error.to_string()) })
}

impl Session {
    async fn run(
        mut self,
        first: Vec<pb::HubFrame>,
        mut inbound: Streaming<pb::ConnectResponse>,
        stop: &CancellationToken,
    ) -> End {
        for frame in first {
            if let Err(end) = self.take(frame) {
                return end;
            }
        }
        let mut draining: Option<Pin<Box<tokio::time::Sleep>>> = None;
        // The hub was told, and ends the link when it has sent what it had begun to send.
        let mut going = false;
        let mut change = Change::default();
        loop {
            if self.adapter.is_dead() {
                return End::Dead;
            }
            if draining.is_some() && !going && self.tasks.is_empty() {
                return self.leave(inbound).await;
            }
            tokio::select! {
                biased;
                Some(done) = self.tasks.join_next_with_id() => {
                    if let Err(end) = self.finished(done) {
                        return end;
                    }
                }
                () = stop.cancelled(), if draining.is_none() => {
                    let patience = Duration::from_millis(self.adapter.limits().drain_ms);
                    draining = Some(Box::pin(tokio::time::sleep(patience)));
                    going = self.say_that_it_goes();
                }
                Ok(()) = self.change.changed(), if !change.is_leaving() && draining.is_none() => {
                    let leaving = pb::LinkLeaving { back_within_ms: 0 };
                    if let Err(end) = self.send_control(ToHub::Leaving(leaving)) {
                        return end;
                    }
                    change = Change::told(self.adapter.clock().monotonic_us());
                }
                ended = self.side.next(), if draining.is_none() => match ended {
                    Some(end) => return end,
                    None => {
                        self.offer();
                        self.give_up_late();
                        if change.look(self.adapter.clock().monotonic_us()) {
                            self.change.mark_changed();
                        }
                    }
                },
                () = over(&mut draining), if draining.is_some() => {
                    // What still runs is given up; a hub that did not end the link gets what waits in the queues.
                    return if self.tasks.is_empty() { self.leave(inbound).await } else { End::Stopped };
                }
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        for frame in message.frames {
                            let new = matches!(frame.kind, Some(FromHub::Request(_)));
                            // Requests that come after the stop are left to the end of the link, unless the hub
                            // was told and sends nothing more: what is here by now is answered here.
                            if !(new && draining.is_some() && !going)
                                && let Err(end) = self.take(frame)
                            {
                                return end;
                            }
                        }
                    }
                    Ok(None) | Err(_) if going => return End::Stopped,
                    Ok(None) | Err(_) if change.is_asked() => return End::Changed,
                    Ok(None) => return End::Lost("the hub ended the link".to_owned()),
                    Err(error) => {
                        return End::Lost(format!("{:?}: {}", error.code(), error.message()));
                    }
                },
            }
        }
    }

    /// Tells the hub that the next process is there in a moment; false where nobody said so, or the hub does not read.
    fn say_that_it_goes(&self) -> bool {
        let back_within_ms = self.adapter.limits().back_ms;
        back_within_ms > 0 && self.send_control(ToHub::Leaving(pb::LinkLeaving { back_within_ms })).is_ok()
    }

    /// Ends the own side of the stream, so that what waits in the queues still goes out.
    async fn leave(self, mut inbound: Streaming<pb::ConnectResponse>) -> End {
        self.material.close();
        drop(self);
        let until_the_hub_ends = async { while let Ok(Some(_)) = inbound.message().await {} };
        // A hub that keeps its side open has had its time.
        let _ = tokio::time::timeout(LEAVE, until_the_hub_ends).await;
        End::Stopped
    }

    fn finished(&mut self, done: Result<(Id, u64), JoinError>) -> Result<(), End> {
        match done {
            Ok((id, exchange)) => {
                // A hub that uses a number again may have begun another exchange with it.
                let ended =
                    |held: &Exchange| matches!(held, Exchange::Running { task, .. } if task.id() == id);
                if self.exchanges.get(&exchange).is_some_and(ended) {
                    self.let_go(exchange);
                }
                Ok(())
            }
            Err(error) if error.is_cancelled() => Ok(()),
            // What the exchange left half done is unknown: the link ends, and all its exchanges with it.
            Err(_) => Err(End::Lost("an exchange panicked".to_owned())),
        }
    }

    fn take(&mut self, frame: pb::HubFrame) -> Result<(), End> {
        match frame.kind {
            Some(FromHub::Request(chunk)) => self.request(chunk),
            Some(FromHub::Credit(credit)) => {
                self.credit(&credit);
                Ok(())
            }
            Some(FromHub::Material(material)) => {
                self.material.take(material);
                Ok(())
            }
            Some(FromHub::Receipts(batch)) => {
                self.receipts(&batch);
                Ok(())
            }
            Some(FromHub::Ping(ping)) => self.send_control(ToHub::Pong(pb::LinkPong { nonce: ping.nonce })),
            Some(FromHub::Cancel(cancel)) => {
                self.cancel(cancel.exchange);
                Ok(())
            }
            Some(FromHub::Standings(words)) => {
                let coming = Coming::new(&self.adapter, words);
                // No exchange has the number 0.
                self.tasks.spawn(async move {
                    coming.take().await;
                    0
                });
                Ok(())
            }
            Some(other) => self.take_side(other),
            None => {
                self.adapter.counters().protocol_error();
                Err(End::Lost("the hub sent a frame that does not belong here".to_owned()))
            }
        }
    }

    fn send_control(&self, kind: ToHub) -> Result<(), End> {
        self.control.try_send(frame(kind)).map_err(|_| End::Lost("the hub does not read its link".to_owned()))
    }
}

/// Ends with a pause that was begun.
async fn over(pause: &mut Option<Pin<Box<tokio::time::Sleep>>>) {
    if let Some(pause) = pause {
        pause.as_mut().await;
    }
}
