//! The same exchange in a small network and in a large one: with thousands of contracts in force, and with a
//! thousand adapters connected that nobody asks.

use super::exchange::{Figures, full_turn};
use super::measure::{cpu_us, percentile, ratio, rss_mb};
use super::network::{self, Network};
use crate::demo::build;
use crate::fail::Failure;
use crate::setup;
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use yiwang_client::folder::Folder;
use yiwang_hub::config::Config;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::pb;
use yiwang_rpc::link_service_client::LinkServiceClient;

/// Connections of the app, as `bench exchange` has them.
const CONNECTIONS: usize = 2;
/// Documents under way to the hub, and members that enrol at once.
const AT_ONCE: usize = 16;

#[derive(Args)]
pub struct Arguments {
    /// Contracts that are in force beside the one that is used.
    #[arg(long, default_value_t = 10_000)]
    contracts: usize,
    /// Adapters that are connected beside the one that answers.
    #[arg(long, default_value_t = 1_000)]
    adapters: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

pub async fn measure(arguments: &Arguments) -> Result<Value, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::environment)?;
    let mut network = network::start_with(dir.path(), CONNECTIONS, network::without_quotas()).await?;
    let idle = rss_mb(network.hub.id().unwrap_or_default()).round();
    // A first, short turn fills caches and is not counted.
    full_turn(&network, 1, arguments.in_flight, &mut Figures::default()).await?;
    let small = turn(&network, arguments).await?;
    add_contracts(&network, dir.path(), arguments.contracts).await?;
    let contracts = turn(&network, arguments).await?;
    let mut adapters = Adapters::connect(dir.path(), arguments.adapters).await?;
    let quiet = quiet(&network, arguments.seconds).await;
    let both = turn(&network, arguments).await?;
    let connected = adapters.still_connected();
    drop(adapters);
    // The small network cannot be had back; its first figure is held against the machine's drift by its last.
    let after = turn(&network, arguments).await?;
    network.stop().await;
    Ok(json!({
        "hub_idle_rss_mb": idle,
        "contracts": arguments.contracts,
        "adapters": arguments.adapters,
        "adapters_connected": connected,
        "quiet_hub_us_per_s": quiet,
        "small": small,
        "many_contracts": contracts,
        "many_contracts_and_adapters": both,
        "many_contracts_again": after,
    }))
}

/// CPU that the hub uses a second while nobody asks it anything, microseconds: pings, standings and looks at all links,
/// which the exchanges of that time are charged with too.
async fn quiet(network: &Network, seconds: u64) -> u64 {
    let hub = network.hub.id().unwrap_or_default();
    let before = cpu_us(hub);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    cpu_us(hub).saturating_sub(before) / seconds.max(1)
}

async fn turn(network: &Network, arguments: &Arguments) -> Result<Value, Failure> {
    let mut figures = Figures::default();
    full_turn(network, arguments.seconds, arguments.in_flight, &mut figures).await?;
    let per = |us: u64| ratio(us, figures.done);
    let cpu = json!({"hub": per(figures.hub), "adapter": per(figures.adapter), "app": per(figures.app)});
    Ok(json!({
        "full_per_s": figures.done * 1_000_000 / figures.us.max(1),
        "cpu_us": cpu,
        "cpu_us_total": per(figures.hub + figures.adapter + figures.app),
        "p50_ms": ratio(percentile(&mut figures.latencies, 50), 1000),
        "p99_ms": ratio(percentile(&mut figures.latencies, 99), 1000),
        "hub_rss_mb": rss_mb(network.hub.id().unwrap_or_default()).round(),
    }))
}

/// Contracts like the one that is used, under other ids, each signed by both members.
async fn add_contracts(network: &Network, dir: &Path, count: usize) -> Result<(), Failure> {
    let open = |name: &str| setup::folder(&dir.join("members").join(name));
    let (provider, consumer) = (open("provider")?, open("consumer")?);
    let roots = Arc::new([
        provider.root_key().map_err(Failure::environment)?,
        consumer.root_key().map_err(Failure::environment)?,
    ]);
    let channel = consumer.enrolled().map_err(Failure::environment)?.channel(setup::clock());
    let channel = channel.await.map_err(Failure::environment)?;
    let checkpoints = Arc::new(setup::checkpoints(&consumer)?);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let mut text = network.contract.text.clone();
        text.id = format!("bench-other-{number}").parse().map_err(Failure::environment)?;
        let (roots, checkpoints, channel) = (Arc::clone(&roots), Arc::clone(&checkpoints), channel.clone());
        if tasks.len() >= AT_ONCE {
            joined(&mut tasks).await?;
        }
        tasks.spawn(async move {
            let [provider, consumer] = roots.as_ref();
            let document = network::signed(&text, &[provider, consumer]);
            yiwang_client::client::publish(channel, &document, &checkpoints)
                .await
                .map_err(Failure::refused)?;
            Ok(())
        });
    }
    while !tasks.is_empty() {
        joined(&mut tasks).await?;
    }
    Ok(())
}

async fn joined(tasks: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    match tasks.join_next().await {
        Some(done) => done.map_err(Failure::environment)?,
        None => Ok(()),
    }
}

/// Connected adapters that serve nothing: they greet, and answer pings.
struct Adapters {
    links: JoinSet<()>,
    wanted: usize,
}

impl Adapters {
    async fn connect(dir: &Path, count: usize) -> Result<Self, Failure> {
        let config = Arc::new(Config::read(&dir.join("hub")).map_err(Failure::usage)?);
        let (linked, mut waiting) = mpsc::channel(AT_ONCE);
        let mut links = JoinSet::new();
        let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        for number in 0..count {
            let place = Arc::clone(&places).acquire_owned().await.map_err(Failure::environment)?;
            let (dir, config, linked) = (dir.to_owned(), Arc::clone(&config), linked.clone());
            links.spawn(async move {
                let ended = link(&dir, &config, number, place, &linked).await;
                if let Err(failure) = ended {
                    drop(linked.send(Err(failure)).await);
                }
            });
            while let Ok(outcome) = waiting.try_recv() {
                outcome?;
            }
        }
        drop(linked);
        // All are linked once every place is free again.
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        drop(places.acquire_many(all).await.map_err(Failure::environment)?);
        while let Ok(outcome) = waiting.try_recv() {
            outcome?;
        }
        Ok(Self { links, wanted: count })
    }

    /// How many links did not end.
    fn still_connected(&mut self) -> usize {
        let mut ended = 0;
        while self.links.try_join_next().is_some() {
            ended += 1;
        }
        self.wanted.saturating_sub(ended)
    }
}

async fn link(
    dir: &Path,
    config: &Config,
    number: usize,
    place: tokio::sync::OwnedSemaphorePermit,
    linked: &mpsc::Sender<Result<(), Failure>>,
) -> Result<(), Failure> {
    let id = format!("quiet-{number}");
    let folder: Folder = build::enrol(dir, config, &id, "A quiet member", &[]).await?;
    let main = AppId::parse("main").map_err(Failure::environment)?;
    let (delegation, _) = folder.load_delegation(Role::Adapter, &main).map_err(Failure::environment)?;
    let channel = folder.enrolled().map_err(Failure::environment)?.channel(setup::clock());
    let channel = channel.await.map_err(Failure::environment)?;
    let (sender, queue) = mpsc::channel::<pb::AdapterFrame>(16);
    let frame = |kind| pb::AdapterFrame { kind: Some(kind) };
    let hello = pb::LinkHello {
        adapter: "main".to_owned(),
        version: 1,
        delegation: delegation.bytes().clone(),
        ..pb::LinkHello::default()
    };
    sender
        .send(frame(pb::adapter_frame::Kind::Hello(hello)))
        .await
        .map_err(|_| Failure::environment("a link's queue ended"))?;
    let outgoing = ReceiverStream::new(queue).map(|frame| pb::ConnectRequest { frames: vec![frame] });
    let mut client = LinkServiceClient::new(channel);
    let connected = tokio::time::timeout(Duration::from_secs(30), client.connect(outgoing)).await;
    let mut frames = connected
        .map_err(|_| Failure::environment("a link was not taken in 30 s"))?
        .map_err(Failure::environment)?
        .into_inner();
    let first = frames.message().await.map_err(Failure::environment)?;
    let welcomed = first.into_iter().flat_map(|message| message.frames);
    if welcomed.count() == 0 {
        return Err(Failure::environment("a link was not welcomed"));
    }
    drop(place);
    drop(linked.send(Ok(())).await);
    while let Ok(Some(message)) = frames.message().await {
        for given in message.frames {
            if let Some(pb::hub_frame::Kind::Ping(ping)) = given.kind {
                let pong = pb::LinkPong { nonce: ping.nonce };
                if sender.send(frame(pb::adapter_frame::Kind::Pong(pong))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
