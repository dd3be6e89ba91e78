//! The link, against a real gRPC server that plays the hub.

use crate::hub::{Ledger, Stock};
use crate::world::{APP, NOW, ONE, Said, World, key, said};
use bytes::Bytes;
use prost::Message as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::connect::{LinkError, run_link};
use yiwang_adapter_sdk::health::LinkState;
use yiwang_adapter_sdk::material::Wanted;
use yiwang_adapter_sdk::reply::Reply;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::CaseId;
use yiwang_proto::limits::{CHUNK_MAX, WINDOW};
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
}

/// One link as the hub sees it.
pub struct Conn {
    pub hello: pb::LinkHello,
    to: mpsc::Sender<Result<pb::ConnectResponse, Status>>,
    from: mpsc::UnboundedReceiver<pb::AdapterFrame>,
    next: u64,
}

struct Service {
    shown: Arc<Mutex<Shown>>,
    stock: Arc<Stock>,
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

fn hub_frame(kind: ToAdapter) -> Result<pb::ConnectResponse, Status> {
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
            max_in_flight: 1024,
            window: WINDOW,
        };
        to.send(hub_frame(ToAdapter::Welcome(welcome))).await.unwrap();
        let (passed, from) = mpsc::unbounded_channel();
        // Weak, so that the link ends when the test lets go of it.
        let (stock, back) = (Arc::clone(&self.stock), to.downgrade());
        tokio::spawn(async move {
            while let Ok(Some(message)) = frames.message().await {
                for frame in message.frames {
                    // Material is handed over at once; everything else is for the test to see.
                    if let Some(FromAdapter::Wanted(wanted)) = &frame.kind {
                        let material = stock.answer(&as_wanted(wanted));
                        let Some(back) = back.upgrade() else { return };
                        let _ = back.send(hub_frame(ToAdapter::Material(material))).await;
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

fn as_wanted(wanted: &pb::MaterialWanted) -> Wanted {
    Wanted {
        documents: wanted.digests.iter().map(|digest| digest.as_ref().try_into().unwrap()).collect(),
        cases: wanted.case_ids.iter().map(|case| CaseId::parse(case).unwrap()).collect(),
    }
}

impl FakeHub {
    pub async fn start(world: &World) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let shown = Shown { ledger: Arc::clone(&world.ledger), size: world.ledger.len(), from: 0 };
        let shown = Arc::new(Mutex::new(shown));
        let (conns, accepted) = mpsc::unbounded_channel();
        let service = Service { shown: Arc::clone(&shown), stock: Arc::clone(&world.stock), conns };
        let server = Server::builder().add_service(LinkServiceServer::new(service));
        let server = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { uri, shown, conns: tokio::sync::Mutex::new(accepted), server }
    }

    /// The next link that an adapter opens.
    pub async fn linked(&self) -> Conn {
        within(async { self.conns.lock().await.recv().await.unwrap() }).await
    }
}

/// Nothing here takes long; a wait that never ends is a failure, not a hanging test.
async fn within<T>(work: impl Future<Output = T>) -> T {
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
    stop: CancellationToken,
    task: JoinHandle<Result<(), LinkError>>,
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
    async fn send(&self, kind: ToAdapter) {
        self.to.send(hub_frame(kind)).await.unwrap();
    }

    async fn recv(&mut self) -> FromAdapter {
        within(self.from.recv()).await.unwrap().kind.unwrap()
    }

    fn chunk(&mut self, request: Bytes, body: Bytes) -> pb::RequestChunk {
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
        }
    }

    /// Sends a good look-up; gives its number and payload.
    async fn look_up(&mut self, world: &World) -> (u64, Bytes) {
        let (request, body) = world.request(ONE);
        let signed = request.sign(&key(APP));
        let chunk = self.chunk(signed.bytes().clone(), body);
        let exchange = chunk.exchange;
        self.send(ToAdapter::Request(chunk)).await;
        (exchange, signed.unverified_payload().clone())
    }

    /// The whole answer to an exchange, giving credit for each chunk.
    async fn answer(&mut self, exchange: u64) -> Reply {
        let (mut answer, mut body, mut next) = (Bytes::new(), Vec::new(), 0);
        loop {
            let FromAdapter::Answer(chunk) = self.recv().await else { panic!("no answer") };
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

    async fn served(&mut self, world: &World) -> Said {
        let (exchange, payload) = self.look_up(world).await;
        said(&payload, self.answer(exchange).await)
    }
}

fn receipt(ledger: &Ledger, exchange: u64, request: &Bytes, answer: &Bytes) -> pb::ReceiptBatch {
    let entry = pb::ExchangeEntry { request: request.clone(), answer: answer.clone(), ..Default::default() };
    let whole = ledger.receipt(ledger.append(NOW, Kind::Exchange(entry)));
    let receipt = pb::LinkReceipt { exchange, index: whole.index, entry: whole.entry, proof: whole.proof };
    pb::ReceiptBatch { checkpoint: whole.checkpoint, receipts: vec![receipt] }
}

#[tokio::test]
async fn a_request_comes_down_the_link_and_its_receipt_settles_it() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    assert!(conn.hello.checkpoint.is_empty() && conn.hello.version == 1);
    assert_eq!((conn.hello.adapter.as_str(), conn.hello.operations.len()), ("main", 1));
    assert_eq!(conn.hello.delegation, *adapter.delegation_document().bytes());
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 7 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(pb::LinkPong { nonce: 7 })));
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let chunk = conn.chunk(signed.bytes().clone(), body);
    let exchange = chunk.exchange;
    conn.send(ToAdapter::Request(chunk)).await;
    let said = said(signed.unverified_payload(), conn.answer(exchange).await);
    assert_eq!(said.answered().answer.head.size, world.ledger.len(), "the head of the handshake");
    assert_eq!(adapter.health().unreceipted, 1);
    // Receipts for another answer, and under a proof that does not hold, settle nothing.
    let wrong = receipt(&world.ledger, exchange, signed.bytes(), &Bytes::from_static(b"another"));
    conn.send(ToAdapter::Receipts(wrong)).await;
    let mut broken = receipt(&world.ledger, exchange, signed.bytes(), &said.reply.answer);
    broken.receipts[0].proof[0] = Bytes::from(vec![0; 32]);
    conn.send(ToAdapter::Receipts(broken)).await;
    until(|| adapter.health().bad_receipts == 2).await;
    assert_eq!((adapter.health().receipted, adapter.health().unreceipted), (0, 1));
    let good = receipt(&world.ledger, exchange, signed.bytes(), &said.reply.answer);
    conn.send(ToAdapter::Receipts(good)).await;
    until(|| adapter.health().receipted == 1).await;
    assert_eq!(adapter.health().unreceipted, 0);
    assert_eq!(adapter.health().link, LinkState::Up);
    served.stop().await;
    assert_eq!(adapter.health().link, LinkState::Down);
}

#[tokio::test]
async fn many_exchanges_run_at_once_and_ask_for_the_same_material_once() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let mut waiting = std::collections::HashMap::new();
    for _ in 0..200 {
        let (exchange, payload) = conn.look_up(&world).await;
        waiting.insert(exchange, payload);
    }
    while !waiting.is_empty() {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        let payload = waiting.remove(&chunk.exchange).unwrap();
        assert!(chunk.last);
        said(&payload, Reply { answer: chunk.answer, body: chunk.body }).answered();
    }
    assert_eq!(world.stock.asked.load(Ordering::SeqCst), 1);
    assert_eq!(adapter.health().answered, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_large_answer_waits_for_credit_and_comes_whole() {
    let world = World::new();
    let long = "x".repeat(3 << 20);
    for row in world.table.rows.lock().unwrap().iter_mut() {
        row.insert("STA", long.clone());
    }
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, payload) = conn.look_up(&world).await;
    let mut first = Vec::new();
    while first.len() < WINDOW as usize / CHUNK_MAX {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        first.push(chunk);
    }
    // The window is used up: only the pong comes.
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)));
    // A small exchange passes the large one.
    world.table.rows.lock().unwrap()[0].insert("STA", "granted".to_owned());
    conn.served(&world).await.answered();
    conn.send(ToAdapter::Credit(pb::LinkCredit { exchange, bytes: u32::MAX })).await;
    let (answer, mut body) = (first[0].answer.clone(), Vec::new());
    let mut last = false;
    for chunk in &first {
        body.extend_from_slice(&chunk.body);
    }
    while !last {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        assert!(chunk.body.len() <= CHUNK_MAX && chunk.answer.is_empty());
        body.extend_from_slice(&chunk.body);
        last = chunk.last;
    }
    let said = said(&payload, Reply { answer, body: body.into() });
    assert_eq!(said.answered().records()[0]["fields"]["status"].as_str().unwrap().len(), long.len());
    served.stop().await;
}

#[tokio::test]
async fn a_large_request_is_put_together_and_judged_as_a_whole() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let raw = pb::RequestBody {
        salt: vec![1; 16].into(),
        subject: ONE.to_owned(),
        arguments: format!("{{\"area_code\":\"{}\"}}", "9".repeat(1 << 20)).into_bytes().into(),
    };
    let mut body = Bytes::from(raw.encode_to_vec());
    let (mut request, _) = world.request(ONE);
    request.body_digest = yiwang_proto::sha256(&body);
    let signed = request.sign(&key(APP));
    let mut chunk = conn.chunk(signed.bytes().clone(), Bytes::new());
    let (exchange, mut free) = (chunk.exchange, WINDOW as usize);
    while !body.is_empty() {
        chunk.body = body.split_to(body.len().min(CHUNK_MAX));
        chunk.last = body.is_empty();
        while free < chunk.body.len() {
            let FromAdapter::Credit(credit) = conn.recv().await else { panic!("no credit") };
            assert_eq!(credit.exchange, exchange);
            free += credit.bytes as usize;
        }
        free -= chunk.body.len();
        conn.send(ToAdapter::Request(chunk.clone())).await;
        chunk.chunk += 1;
        chunk.request = Bytes::new();
    }
    let reply = loop {
        match conn.recv().await {
            FromAdapter::Credit(_) => {}
            FromAdapter::Answer(chunk) => break Reply { answer: chunk.answer, body: chunk.body },
            other => panic!("{other:?}"),
        }
    };
    let said = said(signed.unverified_payload(), reply);
    assert_eq!(said.denied(), Code::Malformed);
    assert!(said.answer.clause.contains("arguments"), "the digest held: {}", said.answer.clause);
    served.stop().await;
}

#[tokio::test]
async fn a_cancelled_exchange_is_dropped() {
    let world = World::new();
    *world.table.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, _) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    conn.send(ToAdapter::Cancel(pb::LinkCancel { exchange })).await;
    until(|| adapter.health().in_flight == 0).await;
    *world.table.gate.lock().unwrap() = None;
    conn.served(&world).await.answered();
    assert_eq!(adapter.health().answered, 1);
    served.stop().await;
}

#[tokio::test]
async fn more_exchanges_than_agreed_are_turned_away_signed() {
    let mut world = World::new();
    world.limits.in_flight = 1;
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (first, payload) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    assert_eq!(conn.served(&world).await.failed(), Code::ProviderBusy);
    gate.notify_one();
    said(&payload, conn.answer(first).await).answered();
    served.stop().await;
}

#[tokio::test]
async fn chunks_that_break_the_rules_get_an_unsigned_error_and_harm_nobody_else() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let mut first = conn.chunk(signed.bytes().clone(), body.clone());
    first.last = false;
    let skipped = pb::RequestChunk { chunk: 2, last: true, request: Bytes::new(), ..first.clone() };
    conn.send(ToAdapter::Request(first.clone())).await;
    conn.send(ToAdapter::Request(skipped)).await;
    assert!(matches!(conn.recv().await, FromAdapter::Credit(_)));
    let reply = conn.answer(first.exchange).await;
    assert!(reply.answer.is_empty() && reply.body.is_empty());
    let long = conn.chunk(signed.bytes().clone(), Bytes::from(vec![0; CHUNK_MAX + 1]));
    let exchange = long.exchange;
    conn.send(ToAdapter::Request(long)).await;
    assert!(conn.answer(exchange).await.answer.is_empty());
    let garbage = conn.chunk(Bytes::from_static(b"garbage"), body);
    let exchange = garbage.exchange;
    conn.send(ToAdapter::Request(garbage)).await;
    assert!(conn.answer(exchange).await.answer.is_empty());
    let health = adapter.health();
    assert_eq!((health.protocol_errors, health.unsigned), (2, 1));
    conn.served(&world).await.answered();
    served.stop().await;
}

#[tokio::test]
async fn a_lost_link_is_opened_again_and_material_stays_known() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    conn.served(&world).await.answered();
    let size = world.ledger.len();
    {
        let mut shown = hub.shown.lock().unwrap();
        (shown.from, shown.size) = (size, size);
    }
    drop(conn);
    let mut conn = hub.linked().await;
    assert_eq!(conn.hello.checkpoint, world.ledger.checkpoint_at(size), "the kept head is shown");
    conn.served(&world).await.answered();
    assert_eq!(world.stock.asked.load(Ordering::SeqCst), 1);
    assert_eq!(adapter.health().link_starts, 2);
    served.stop().await;
}

/// The adapter kept the head of `size`; then the hub shows something else.
async fn alarmed_by(bend: impl FnOnce(&World, &mut Shown)) {
    let world = World::new();
    for n in 0..5 {
        world.ledger.append(n, Kind::Policy(pb::PolicyEntry::default()));
    }
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    let kept = adapter.head();
    let size = world.ledger.len();
    assert_eq!(kept.head.size, size);
    let honest = Shown { ledger: Arc::clone(&world.ledger), size, from: size };
    {
        let mut shown = hub.shown.lock().unwrap();
        *shown = honest.clone();
        bend(&world, &mut shown);
    }
    drop(conn);
    let mut lying = hub.linked().await;
    until(|| matches!(adapter.health().link, LinkState::Alarm(_))).await;
    // Nothing is served on such a link, whatever is sent down.
    let (request, body) = world.request(ONE);
    let chunk = lying.chunk(request.sign(&key(APP)).bytes().clone(), body);
    let _ = lying.to.send(hub_frame(ToAdapter::Request(chunk))).await;
    assert!(within(lying.from.recv()).await.is_none(), "the adapter ended the link");
    assert_eq!((world.touched(), adapter.health().answered), (0, 0));
    assert_eq!(adapter.head(), kept, "the kept head stays");
    assert!(adapter.health().alarms >= 1);
    *hub.shown.lock().unwrap() = honest;
    let mut conn = loop {
        let mut conn = hub.linked().await;
        conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
        if within(conn.from.recv()).await.is_some() {
            break conn;
        }
    };
    conn.served(&world).await.answered();
    served.stop().await;
}

#[tokio::test]
async fn a_hub_whose_ledger_shrank_is_refused() {
    alarmed_by(|_, shown| shown.size -= 2).await;
}

#[tokio::test]
async fn a_hub_that_shows_another_history_of_the_same_size_is_refused() {
    alarmed_by(|_, shown| shown.ledger = fork(shown.size)).await;
}

#[tokio::test]
async fn a_hub_that_shows_a_longer_history_that_does_not_continue_is_refused() {
    alarmed_by(|_, shown| {
        shown.ledger = fork(shown.size + 3);
        shown.size += 3;
    })
    .await;
}

#[tokio::test]
async fn a_head_under_another_key_is_refused() {
    alarmed_by(|_, shown| shown.ledger = Arc::new(Ledger::new(6))).await;
}

/// Another history under the hub's own key.
fn fork(size: u64) -> Arc<Ledger> {
    let ledger = Ledger::new(5);
    while ledger.len() < size {
        ledger.append(77, Kind::Lookup(pb::LookupEntry::default()));
    }
    Arc::new(ledger)
}

#[tokio::test]
async fn a_stopped_adapter_finishes_what_is_under_way() {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, payload) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    served.stop.cancel();
    let (_, late) = conn.look_up(&world).await;
    gate.notify_one();
    said(&payload, conn.answer(exchange).await).answered();
    assert!(within(conn.from.recv()).await.is_none(), "the later request is not taken on");
    assert!(!late.is_empty());
    drop(conn);
    within(served.task).await.unwrap().unwrap();
    assert_eq!(adapter.health().answered, 1);
}

#[tokio::test]
async fn a_dead_journal_ends_the_link_for_good() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    conn.served(&world).await.answered();
    world.disk.fail_at(world.disk.operations().len(), yiwang_journal::simulated::Failure::Lost);
    let (exchange, payload) = conn.look_up(&world).await;
    let reply = match within(conn.from.recv()).await.and_then(|frame| frame.kind) {
        Some(FromAdapter::Answer(chunk)) => Some(Reply { answer: chunk.answer, body: chunk.body }),
        _ => None,
    };
    // The failure may still get out, signed; records may not.
    if let Some(reply) = reply {
        assert_eq!(said(&payload, reply).failed(), Code::Internal, "exchange {exchange}");
    }
    assert_eq!(within(served.task).await.unwrap(), Err(LinkError::JournalDead));
}
