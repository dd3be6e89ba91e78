//! Full exchanges and the bare relay in alternation, so that noise hits both.

mod calm;

use super::measure::{cpu_us, fdatasync_p50_us, percentile, ratio, rss_mb};
use super::network::{self, Network};
use super::relay;
use crate::demo::process::{Process, free_port};
use crate::fail::Failure;
use crate::setup;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_client::sealed::Manner;
use yiwang_proto::body::Arguments;
use yiwang_proto::ids::Operation;
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;

/// Connections of the app.
const CONNECTIONS: usize = 2;
/// What is asked for, where a measurement does not say otherwise.
const LOOKUP: &str = "person.by_id";

/// Figures of one kind over all its turns.
#[derive(Default)]
pub struct Figures {
    pub done: u64,
    pub us: u64,
    pub latencies: Vec<u64>,
    pub hub: u64,
    pub adapter: u64,
    pub app: u64,
}

pub async fn measure(seconds: u64, turns: u32, in_flight: usize, rate: u64) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let mut network = network::start(dir.path(), CONNECTIONS).await?;
    let mut relay = Relay::start(dir.path()).await?;
    let sync = fdatasync_p50_us(dir.path(), setup::clock().as_ref())?;
    let (mut full, mut bare) = (Figures::default(), Figures::default());
    let mut streamed = [(Form::Streams, Figures::default()), (Form::Together, Figures::default())];
    let idle = rss_mb(network.hub.id().unwrap_or_default()).round();
    // A first, short turn of each fills caches and is not counted.
    full_turn(&network, 1, in_flight, &mut Figures::default()).await?;
    bare_turn(&relay, 1, in_flight, &mut Figures::default()).await?;
    let mut pairs = Vec::new();
    for _ in 0..turns.max(1) {
        let before = (full.done * 1_000_000, full.us, bare.done * 1_000_000, bare.us);
        full_turn(&network, seconds, in_flight, &mut full).await?;
        bare_turn(&relay, seconds, in_flight, &mut bare).await?;
        let full_rate = (full.done * 1_000_000 - before.0) / (full.us - before.1).max(1);
        let bare_rate = (bare.done * 1_000_000 - before.2) / (bare.us - before.3).max(1);
        pairs.push(json!({"full_per_s": full_rate, "bare_per_s": bare_rate}));
    }
    let rss = json!({
        "hub_idle": idle,
        "hub": rss_mb(network.hub.id().unwrap_or_default()).round(),
        "adapter": rss_mb(network.provider.host.id().unwrap_or_default()).round(),
        "app": rss_mb(std::process::id()).round(),
    });
    // After the memory was looked at; calls once more, so that noise hits all three.
    let mut calls = Figures::default();
    for _ in 0..turns.max(1) {
        full_turn(&network, seconds, in_flight, &mut calls).await?;
        for (form, figures) in &mut streamed {
            turn_as(&network, *form, seconds, in_flight, figures).await?;
        }
    }
    let stages = crate::demo::http::send(network.hub.health, "GET", "/stages", "", None).await;
    let calm = calm::measure(&network, rate, sync).await?;
    let mut result =
        report(&mut full, &bare, rss, sync, stages.map(|answer| answer.json).unwrap_or_default(), pairs);
    if let Some(result) = result.as_object_mut() {
        result.insert("calm".to_owned(), calm);
        let [(_, alone), (_, together)] = &mut streamed;
        result.insert("streams".to_owned(), on_streams(alone, &calls, &bare));
        result.insert("streams_signed_together".to_owned(), on_streams(together, &calls, &bare));
    }
    relay.stop().await;
    network.stop().await;
    Ok(result)
}

/// Figures of exchanges on streams, as gateways send them, beside those of calls and of the relay.
fn on_streams(figures: &mut Figures, calls: &Figures, bare: &Figures) -> Value {
    let rate = |figures: &Figures| figures.done * 1_000_000 / figures.us.max(1);
    let per = |us: u64| ratio(us, figures.done);
    json!({
        "per_s": rate(figures),
        "to_calls": ratio(rate(figures), rate(calls)),
        "ratio": ratio(rate(figures), rate(bare)),
        "cpu_us": {"hub": per(figures.hub), "adapter": per(figures.adapter), "app": per(figures.app)},
        "cpu_us_total": per(figures.hub + figures.adapter + figures.app),
        "p50_ms": ratio(percentile(&mut figures.latencies, 50), 1000),
        "p99_ms": ratio(percentile(&mut figures.latencies, 99), 1000),
    })
}

fn report(
    full: &mut Figures,
    bare: &Figures,
    rss: Value,
    sync: u64,
    stages: Value,
    pairs: Vec<Value>,
) -> Value {
    let per = |us: u64| ratio(us, full.done);
    let cpu = json!({"hub": per(full.hub), "adapter": per(full.adapter), "app": per(full.app)});
    let full_rate = full.done * 1_000_000 / full.us.max(1);
    let bare_rate = bare.done * 1_000_000 / bare.us.max(1);
    json!({
        "full_per_s": full_rate,
        "bare_per_s": bare_rate,
        "ratio": ratio(full_rate, bare_rate),
        "p50_ms": ratio(percentile(&mut full.latencies, 50), 1000),
        "p99_ms": ratio(percentile(&mut full.latencies, 99), 1000),
        "fdatasync_p50_ms": ratio(sync, 1000),
        "cpu_us": cpu,
        "cpu_us_total": per(full.hub + full.adapter + full.app),
        "bare_cpu_us_hub": ratio(bare.hub, bare.done),
        "rss_mb": rss,
        "exchanges": full.done,
        "turns": pairs,
        "stages": stages.get("stages"),
    })
}

/// Runs a load for a time; adds what it cost.
pub async fn turn<F, Fut>(
    seconds: u64,
    in_flight: usize,
    processes: (u32, u32),
    figures: &mut Figures,
    one: F,
) -> Result<(), Failure>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send,
{
    let clock = setup::clock();
    let (one, stop, next) = (Arc::new(one), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let books = |figures: &mut Figures, sign: bool| {
        let now = [cpu_us(processes.0), cpu_us(processes.1), cpu_us(std::process::id())];
        for (sum, now) in [&mut figures.hub, &mut figures.adapter, &mut figures.app].into_iter().zip(now) {
            *sum = if sign { sum.wrapping_add(now) } else { sum.wrapping_sub(now) };
        }
    };
    books(figures, false);
    let start = clock.monotonic_us();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (one, stop, next, clock) =
            (Arc::clone(&one), Arc::clone(&stop), Arc::clone(&next), Arc::clone(&clock));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = clock.monotonic_us();
                one(next.fetch_add(1, Ordering::Relaxed)).await?;
                latencies.push(clock.monotonic_us() - begun);
            }
            Ok::<_, Failure>(latencies)
        });
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        let latencies = done.map_err(Failure::environment)??;
        figures.done += u64::try_from(latencies.len()).unwrap_or_default();
        figures.latencies.extend(latencies);
    }
    figures.us += clock.monotonic_us() - start;
    books(figures, true);
    Ok(())
}

/// Full exchanges, as fast as they come.
pub async fn full_turn(
    network: &Network,
    seconds: u64,
    in_flight: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    turn_as(network, Form::Calls, seconds, in_flight, figures).await
}

async fn turn_as(
    network: &Network,
    form: Form,
    seconds: u64,
    in_flight: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let processes = (network.hub.id().unwrap_or_default(), network.provider.host.id().unwrap_or_default());
    turn(seconds, in_flight, processes, figures, asking(network, form, LOOKUP)?).await
}

/// As [`full_turn`], asking for another operation.
pub async fn turn_of(
    network: &Network,
    operation: &str,
    seconds: u64,
    in_flight: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let processes = (network.hub.id().unwrap_or_default(), network.provider.host.id().unwrap_or_default());
    turn(seconds, in_flight, processes, figures, asking(network, Form::Calls, operation)?).await
}

/// How exchanges are sent and signed.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A call each, each statement signed alone.
    Calls,
    /// Over long-lived streams, each statement signed alone.
    Streams,
    /// Over long-lived streams, statements of one moment signed together.
    Together,
}

/// One exchange, by number: clients and subjects take turns.
fn asking(
    network: &Network,
    form: Form,
    operation: &str,
) -> Result<impl Fn(u64) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync + use<>, Failure> {
    let (clients, contract) = match form {
        Form::Calls => (network.clients.clone(), &network.contract),
        Form::Streams => (vec![Arc::clone(&network.streaming)], &network.contract),
        Form::Together => (vec![Arc::clone(&network.streaming)], &network.together),
    };
    let contract = Arc::clone(contract);
    let (case, subjects) = (network.case.clone(), network.subjects.clone());
    let operation = Operation::parse(operation).map_err(Failure::environment)?;
    Ok(move |number: u64| {
        let pick = |most: usize| usize::try_from(number).unwrap_or_default() % most.max(1);
        let client = clients.get(pick(clients.len())).cloned();
        let ask = Ask {
            operation: operation.clone(),
            fields: contract.text.fields.clone(),
            case: case.clone(),
            officer: None,
            subject: subjects.get(pick(subjects.len())).cloned().unwrap_or_default(),
            arguments: Arguments::new(),
            retry_of: None,
        };
        let contract = Arc::clone(&contract);
        async move {
            let client = client.ok_or_else(|| Failure::environment("no client"))?;
            let signed = client.prepare_together(&contract, &ask, Manner::default()).await;
            let exchanged = client.exchange(&contract, &signed).await.map_err(Failure::refused)?;
            match exchanged.ending {
                Ending::Answered { answer, .. } if answer.rows == 1 => Ok(()),
                other => {
                    Err(Failure::refused(format!("an exchange of the bench ended otherwise: {other:?}")))
                }
            }
        }
        .boxed()
    })
}

struct Relay {
    hub: Process,
    adapter: Process,
    channels: Vec<tonic::transport::Channel>,
}

impl Relay {
    async fn start(dir: &Path) -> Result<Self, Failure> {
        let listen = free_port()?;
        let (at, hub_dir) = (listen.to_string(), dir.join("hub").display().to_string());
        let arguments = ["bench", "relay-hub", "--dir", &hub_dir, "--listen", &at];
        let hub = Process::start("relay", &arguments, &[], &dir.join("relay.log"), listen)?;
        let address = format!("localhost:{}", listen.port());
        let consumer = dir.join("members/consumer");
        until_open(listen).await?;
        let provider = dir.join("members/provider").display().to_string();
        let arguments = ["bench", "relay-adapter", "--folder", &provider, "--hub", &address];
        let adapter =
            Process::start("relay-adapter", &arguments, &[], &dir.join("relay-adapter.log"), listen)?;
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(relay::channel(&consumer, &address).await?);
        }
        let relay = Self { hub, adapter, channels };
        relay.until_linked().await?;
        Ok(relay)
    }

    async fn until_linked(&self) -> Result<(), Failure> {
        for _ in 0..100 {
            if let Some(channel) = self.channels.first()
                && ExchangeServiceClient::new(channel.clone()).exchange(message()).await.is_ok()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Failure::environment("the bare relay did not start; see relay.log"))
    }

    async fn stop(&mut self) {
        self.adapter.stop().await;
        self.hub.stop().await;
    }
}

async fn until_open(address: std::net::SocketAddr) -> Result<(), Failure> {
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::environment("the bare relay did not listen"))
}

/// As large as a signed request with its body.
fn message() -> pb::ExchangeRequest {
    pb::ExchangeRequest { request: Bytes::from(vec![7; 640]), body: Bytes::from(vec![7; 60]) }
}

async fn bare_turn(
    relay: &Relay,
    seconds: u64,
    in_flight: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let channels = relay.channels.clone();
    let processes = (relay.hub.id().unwrap_or_default(), relay.adapter.id().unwrap_or_default());
    let one = move |number: u64| {
        let at = usize::try_from(number).unwrap_or_default() % channels.len().max(1);
        let channel = channels.get(at).cloned();
        async move {
            let channel = channel.ok_or_else(|| Failure::environment("no channel"))?;
            let answer = ExchangeServiceClient::new(channel)
                .exchange(message())
                .await
                .map_err(Failure::environment)?;
            let whole = answer.get_ref().body.len() == 1024;
            if whole { Ok(()) } else { Err(Failure::environment("the relay's answer is not whole")) }
        }
    };
    turn(seconds, in_flight, processes, figures, one).await
}
