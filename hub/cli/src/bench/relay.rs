//! The bare relay: unary in → adapter's stream → unary out over mutual TLS, through the same doors and
//! stubs, without signatures, decision and ledger. What a full exchange costs is told as a ratio to it.

use crate::fail::{Failure, Outcome};
use crate::setup;
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use yiwang_client::folder::Folder;
use yiwang_hub::tls::accept::{AcceptLimits, Counters, Door, Stop, serve};
use yiwang_hub::tls::authority::Authority;
use yiwang_hub::tls::server::{HUB_LIFETIME_MS, HubCertificate, server_config};
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_server::{ExchangeService, ExchangeServiceServer};
use yiwang_rpc::link_service_client::LinkServiceClient;
use yiwang_rpc::link_service_server::{LinkService, LinkServiceServer};

#[derive(Args)]
pub struct HubArguments {
    /// The hub's folder, for its certificate authority.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Args)]
pub struct AdapterArguments {
    /// The provider's member folder, for its certificate.
    #[arg(long)]
    folder: PathBuf,
    /// The relay's address, `host:port`.
    #[arg(long)]
    hub: String,
}

/// Bytes of an answer's body.
const BODY: usize = 1024;

#[derive(Default)]
struct Relay {
    link: Mutex<Option<mpsc::Sender<pb::HubFrame>>>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<pb::AnswerChunk>>>,
    next: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Service(Arc<Relay>);

#[tonic::async_trait]
impl ExchangeService for Service {
    type StreamStream = tokio_stream::Empty<Result<pb::StreamResponse, Status>>;

    async fn stream(
        &self,
        _request: Request<tonic::Streaming<pb::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        Err(Status::unimplemented("the bare relay takes calls"))
    }

    async fn exchange(
        &self,
        request: Request<pb::ExchangeRequest>,
    ) -> Result<Response<pb::ExchangeResponse>, Status> {
        let message = request.into_inner();
        let exchange = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        lock(&self.0.waiting).insert(exchange, reply);
        let chunk = pb::RequestChunk {
            exchange,
            chunk: 0,
            last: true,
            request: message.request,
            body: message.body,
            deadline_ms: 0,
            ..pb::RequestChunk::default()
        };
        let link = lock(&self.0.link).clone().ok_or_else(|| Status::unavailable("no adapter"))?;
        let frame = pb::HubFrame { kind: Some(pb::hub_frame::Kind::Request(chunk)) };
        link.send(frame).await.map_err(|_| Status::unavailable("the adapter is gone"))?;
        let answer = answer.await.map_err(|_| Status::unavailable("the adapter is gone"))?;
        Ok(Response::new(pb::ExchangeResponse { receipt: None, body: answer.body }))
    }
}

#[tonic::async_trait]
impl LinkService for Service {
    type ConnectStream = futures_util::stream::BoxStream<'static, Result<pb::ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<pb::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut frames = request.into_inner();
        let (sender, queue) = mpsc::channel(4096);
        *lock(&self.0.link) = Some(sender);
        let relay = Arc::clone(&self.0);
        tokio::spawn(async move {
            while let Ok(Some(message)) = frames.message().await {
                for frame in message.frames {
                    if let Some(pb::adapter_frame::Kind::Answer(chunk)) = frame.kind
                        && let Some(waiting) = lock(&relay.waiting).remove(&chunk.exchange)
                    {
                        drop(waiting.send(chunk));
                    }
                }
            }
        });
        let outgoing =
            ReceiverStream::new(queue).ready_chunks(64).map(|frames| Ok(pb::ConnectResponse { frames }));
        Ok(Response::new(outgoing.boxed()))
    }
}

/// Serves until killed.
pub async fn hub(arguments: &HubArguments) -> Outcome {
    let clock = setup::clock();
    let authority = Arc::new(Authority::load(&arguments.dir.join("ca")).map_err(Failure::usage)?);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = HubCertificate::new(Arc::clone(&authority), names, HUB_LIFETIME_MS, Arc::clone(&clock));
    let certificate = Arc::new(certificate.map_err(Failure::environment)?);
    let tls =
        server_config(&authority, certificate, Arc::clone(&clock), true).map_err(Failure::environment)?;
    let relay = Arc::new(Relay::default());
    let routes = tonic::service::Routes::new(ExchangeServiceServer::new(Service(Arc::clone(&relay))))
        .add_service(LinkServiceServer::new(Service(relay)));
    let door = Door {
        listener: TcpListener::bind(arguments.listen).await.map_err(Failure::environment)?,
        tls: Some(tls),
        limits: AcceptLimits::default(),
        stop: Stop::default(),
        tracker: tokio_util::task::TaskTracker::new(),
        counters: Arc::new(Counters::default()),
        clock,
    };
    serve(door, routes.prepare().into_axum_router()).await;
    Ok(())
}

/// Answers every request with 1 KiB until killed.
pub async fn adapter(arguments: &AdapterArguments) -> Outcome {
    let channel = channel(&arguments.folder, &arguments.hub).await?;
    let (sender, queue) = mpsc::channel::<pb::AdapterFrame>(4096);
    let outgoing = ReceiverStream::new(queue).ready_chunks(64).map(|frames| pb::ConnectRequest { frames });
    let mut link = LinkServiceClient::new(channel);
    let mut frames = link.connect(outgoing).await.map_err(Failure::environment)?.into_inner();
    let body = Bytes::from(vec![b'x'; BODY]);
    while let Some(message) = frames.message().await.map_err(Failure::environment)? {
        for frame in message.frames {
            let Some(pb::hub_frame::Kind::Request(chunk)) = frame.kind else { continue };
            let answer = pb::AnswerChunk {
                exchange: chunk.exchange,
                chunk: 0,
                last: true,
                answer: chunk.request,
                body: body.clone(),
            };
            let frame = pb::AdapterFrame { kind: Some(pb::adapter_frame::Kind::Answer(answer)) };
            sender.send(frame).await.map_err(Failure::environment)?;
        }
    }
    Ok(())
}

/// A connection to the relay with a member's certificate.
pub async fn channel(folder: &std::path::Path, hub: &str) -> Result<tonic::transport::Channel, Failure> {
    let folder: Folder = setup::folder(folder)?;
    let config = folder
        .enrolled()
        .and_then(|enrolled| enrolled.client_config(setup::clock()))
        .map_err(Failure::environment)?;
    yiwang_client::tls::connect(hub, None, config).await.map_err(Failure::environment)
}
