//! The link, against a real gRPC server that plays the hub.

mod bounds;
mod ends;
mod former;
mod heads;
mod proved;
mod serving;
mod watch;

use crate::hub::{Ledger, Stock};
use crate::world::{APP, NOW, ONE, Said, World, key, said};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::connect::{LinkError, run_link};
use yiwang_adapter_sdk::material::Wanted;
use yiwang_adapter_sdk::reply::Reply;
use yiwang_proto::answer::Verdict;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::CaseId;
use yiwang_proto::limits::WINDOW;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_rpc::link_service_server::{LinkService, LinkServiceServer};

/// Which head a hub shows.
#[derive(Clone)]
pub struct Shown {
    pub ledger: Arc<Ledger>,
    pub size: u64,
    pub from: u64,
    pub credit: u32,
}

/// One link as the hub sees it.
pub struct Conn {
    pub hello: pb::LinkHello,
    pub to: mpsc::Sender<Result<pb::ConnectResponse, Status>>,
    pub from: mpsc::UnboundedReceiver<pb::AdapterFrame>,
    next: u64,
}

struct Service {
    shown: Arc<Mutex<Shown>>,
    stock: Arc<Stock>,
    word: pb::SignedStanding,
    conns: mpsc::UnboundedSender<Conn>,
}

pub struct FakeHub {
    uri: String,
    pub shown: Arc<Mutex<Shown>>,
    conns: tokio::sync::Mutex<mpsc::UnboundedReceiver<Conn>>,
    server: JoinHandle<()>,
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub fn hub_frame(kind: ToAdapter) -> Result<pb::ConnectResponse, Status> {
    Ok(pb::ConnectResponse { frames: vec![pb::HubFrame { kind: Some(kind) }] })
}

#[tonic::async_trait]
impl LinkService for Service {
    type ConnectStream = ReceiverStream<Result<pb::ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.unwrap();
        let Some(FromAdapter::Hello(hello)) = first.frames[0].kind.clone() else { panic!("no hello") };
        let shown = self.shown.lock().unwrap().clone();
        let proof = if shown.from <= shown.size {
            shown.ledger.consistency(shown.from, shown.size)
        } else {
            Vec::new()
        };
        let (to, outgoing) = mpsc::channel(64);
        let welcome = pb::LinkWelcome {
            checkpoint: shown.ledger.checkpoint_at(shown.size),
            proof,
            max_in_flight: shown.credit,
            window: WINDOW,
        };
        to.send(hub_frame(ToAdapter::Welcome(welcome))).await.unwrap();
        let standings = vec![self.word.clone()];
        let words = pb::LinkStandings { standings, revocations: Vec::new() };
        to.send(hub_frame(ToAdapter::Standings(words))).await.unwrap();
        let (passed, from) = mpsc::unbounded_channel();
        // Weak, so that the link ends when the test lets go of it.
        let (stock, back, ledger) = (Arc::clone(&self.stock), to.downgrade(), shown.ledger);
        tokio::spawn(async move {
            while let Ok(Some(message)) = frames.message().await {
                while stock.deaf.load(std::sync::atomic::Ordering::SeqCst) && !passed.is_closed() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                for frame in message.frames {
                    // Material is handed over at once unless a test holds it; everything else is for it to see.
                    let held = stock.held.load(std::sync::atomic::Ordering::SeqCst);
                    if let Some(FromAdapter::Wanted(wanted)) = &frame.kind
                        && !held
                    {
                        if stock.late.load(std::sync::atomic::Ordering::SeqCst) {
                            continue;
                        }
                        let material = stock.answer(&as_wanted(wanted));
                        let Some(back) = back.upgrade() else { return };
                        let _ = back.send(hub_frame(ToAdapter::Material(material))).await;
                    } else if let Some(FromAdapter::ProofWanted(wanted)) = &frame.kind {
                        stock.proofs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        let Some(back) = back.upgrade() else { return };
                        let _ =
                            back.send(hub_frame(ToAdapter::ProofGiven(proof_given(&ledger, wanted)))).await;
                    } else {
                        let _ = passed.send(frame);
                    }
                }
            }
        });
        let _ = self.conns.send(Conn { hello, to, from, next: 1 });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

fn proof_given(ledger: &Ledger, wanted: &pb::ProofWanted) -> pb::ProofGiven {
    let (from_size, to_size) = (wanted.from_size, wanted.to_size);
    let missing = to_size > ledger.len();
    let proof = if missing { Vec::new() } else { ledger.consistency(from_size, to_size) };
    pb::ProofGiven { from_size, to_size, proof, missing }
}

pub fn as_wanted(wanted: &pb::MaterialWanted) -> Wanted {
    Wanted {
        documents: wanted.digests.iter().map(|digest| digest.as_ref().try_into().unwrap()).collect(),
        cases: wanted.case_ids.iter().map(|case| CaseId::parse(case).unwrap()).collect(),
    }
}

impl FakeHub {
    pub async fn start(world: &World) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let shown =
            Shown { ledger: Arc::clone(&world.ledger), size: world.ledger.len(), from: 0, credit: 1024 };
        let shown = Arc::new(Mutex::new(shown));
        let (conns, accepted) = mpsc::unbounded_channel();
        let service =
            Service { shown: Arc::clone(&shown), stock: Arc::clone(&world.stock), word: world.word(), conns };
        let server = Server::builder().add_service(LinkServiceServer::new(service));
        let server = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { uri, shown, conns: tokio::sync::Mutex::new(accepted), server }
    }

    /// The next link is welcomed by the head of this size, to an adapter that knows the same.
    pub fn show(&self, size: u64) {
        let mut shown = self.shown.lock().unwrap();
        (shown.from, shown.size) = (size, size);
    }

    /// The next link that an adapter opens.
    pub async fn linked(&self) -> Conn {
        within(async { self.conns.lock().await.recv().await.unwrap() }).await
    }
}

/// Nothing here takes long; a wait that never ends is a failure, not a hanging test.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.unwrap()
}

pub async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// An adapter that keeps a link to a hub.
pub struct Served {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), LinkError>>,
}

impl Served {
    pub fn start(adapter: &Arc<Adapter>, hub: &FakeHub) -> Self {
        let stop = CancellationToken::new();
        let endpoint: Endpoint = Channel::from_shared(hub.uri.clone()).unwrap();
        let connect = move || {
            let endpoint = endpoint.clone();
            async move { endpoint.connect().await }
        };
        let task = tokio::spawn(run_link(Arc::clone(adapter), connect, stop.clone()));
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

impl Conn {
    pub async fn send(&self, kind: ToAdapter) {
        self.to.send(hub_frame(kind)).await.unwrap();
    }

    pub async fn recv(&mut self) -> FromAdapter {
        within(self.from.recv()).await.unwrap().kind.unwrap()
    }

    pub fn chunk(&mut self, request: Bytes, body: Bytes) -> pb::RequestChunk {
        let exchange = self.next;
        self.next += 1;
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        pb::RequestChunk {
            exchange,
            chunk: 0,
            last: true,
            request,
            body,
            deadline_ms: NOW + 2000,
            traceparent,
            wait_ms: 0,
        }
    }

    /// Sends a good look-up; gives its number and payload.
    pub async fn look_up(&mut self, world: &World) -> (u64, Bytes) {
        let (request, body) = world.request(ONE);
        let signed = request.sign(&key(APP));
        let chunk = self.chunk(signed.bytes().clone(), body);
        let exchange = chunk.exchange;
        self.send(ToAdapter::Request(chunk)).await;
        (exchange, signed.unverified_payload().clone())
    }

    /// The whole answer to an exchange, giving credit for each chunk.
    pub async fn answer(&mut self, exchange: u64) -> Reply {
        let (mut answer, mut body, mut next) = (Bytes::new(), Vec::new(), 0);
        loop {
            let chunk = match self.recv().await {
                FromAdapter::Answer(chunk) => chunk,
                // What has no receipt is offered whenever it is due.
                FromAdapter::Offer(_) => continue,
                other => panic!("no answer but {other:?}"),
            };
            assert_eq!((chunk.exchange, chunk.chunk), (exchange, next));
            next += 1;
            if !chunk.answer.is_empty() {
                answer = chunk.answer;
            }
            body.extend_from_slice(&chunk.body);
            if chunk.last {
                return Reply { answer, body: body.into() };
            }
            let bytes = chunk.body.len() as u32;
            self.send(ToAdapter::Credit(pb::LinkCredit { exchange, bytes })).await;
        }
    }

    /// Asks until it is not turned away: whatever has every place gives one back. By then its deadline is over.
    pub async fn until_taken(&mut self, world: &World) {
        let asking = async {
            loop {
                match self.served(world).await.answer.verdict {
                    Verdict::Failed(Code::ProviderBusy) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    verdict => return verdict,
                }
            }
        };
        assert_eq!(within(asking).await, Verdict::Failed(Code::DeadlineExceeded));
    }

    /// A look-up and its answer.
    pub async fn served(&mut self, world: &World) -> Said {
        let (exchange, payload) = self.look_up(world).await;
        said(&payload, self.answer(exchange).await)
    }
}
