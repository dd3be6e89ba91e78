//! Runs a host: folder, sources, adapter, link, gateway, health, renewal. What must be right is checked
//! before anything listens; a task that dies by itself stops the process.

mod parts;

use crate::config::Config;
use crate::error::HostError;
use crate::gateway::{Gateway, keep_met, prove_last_receipts};
use crate::health::{self, Health};
use crate::mappings::{Found, Mappings};
use crate::record_types;
use crate::renew::keep_certificate;
use crate::serve::{Closing, serve};
use axum::Router;
pub(crate) use parts::accept_clock;
use parts::open_adapter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::connect::run_link;
use yiwang_adapter_sdk::source::{Environment, ProcessEnvironment};
use yiwang_client::folder::{Enrolled, Folder};
use yiwang_client::standing::StandingHealth;
use yiwang_proto::ambient::{Clock, Entropy, SystemClock, SystemEntropy};
use yiwang_proto::revocation::Revoked;

/// How long answers under way may take when the host is stopped; the link has a drain time of its own
/// within it.
const GRACE: Duration = Duration::from_secs(8);

/// What the host takes from around it, so that tests can give it something else.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Settings of sources.
    pub environment: Arc<dyn Environment>,
}

impl Surroundings {
    /// The system's clock and randomness, the process's environment.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy),
            environment: Arc::new(ProcessEnvironment),
        }
    }
}

/// Where the host listens; ports that were 0 are the ones that the system chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The gateway.
    pub gateway: Option<SocketAddr>,
    /// Health.
    pub health: Option<SocketAddr>,
}

/// Everything that was opened and checked.
struct Opened {
    folder: PathBuf,
    enrolled: Enrolled,
    health: Arc<Health>,
    gateway: Option<(Arc<Gateway>, TcpListener)>,
    health_listener: Option<TcpListener>,
}

/// Runs a host until it is stopped. `ready` is called once, when everything is open and listens; the link
/// and the meetings with the hub come after it and are tried until they succeed.
///
/// # Errors
/// [`HostError`]: what does not hold at the start, or what ended by itself.
pub async fn run(
    config: Config,
    surroundings: Surroundings,
    stop: CancellationToken,
    ready: impl FnOnce(Addresses),
) -> Result<(), HostError> {
    let opened = open(&config, &surroundings).await?;
    let address = |listener: &TcpListener| listener.local_addr().ok();
    let addresses = Addresses {
        gateway: opened.gateway.as_ref().and_then(|(_, listener)| address(listener)),
        health: opened.health_listener.as_ref().and_then(address),
    };
    let closing = Closing { finish: stop.child_token(), drop: CancellationToken::new() };
    let connections = TaskTracker::new();
    let gateway = opened.gateway.as_ref().map(|(gateway, _)| Arc::clone(gateway));
    let mut tasks = spawn(opened, &surroundings, &closing, &connections);
    // A door that there is not is not named.
    let [at, health] = [addresses.gateway, addresses.health].map(|at| at.map(tracing::field::display));
    tracing::info!(gateway = at, health, "the host runs");
    ready(addresses);
    // The first task that ends, ends all: either everything was asked to stop, or one of them died.
    let first = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = tasks.join_next() => outcome(ended, stop.is_cancelled()),
    };
    let rest = wind_down(tasks, closing, connections).await;
    if let Some(gateway) = gateway {
        prove_last_receipts(gateway.apps()).await;
    }
    first.and(rest)
}

/// A task's end: its name, and what it says.
type Ended = (&'static str, Result<(), HostError>);

fn outcome(ended: Option<Result<Ended, tokio::task::JoinError>>, stopping: bool) -> Result<(), HostError> {
    match ended {
        Some(Ok((name, result))) => match result {
            Ok(()) if stopping => Ok(()),
            Ok(()) => Err(HostError::Died(name)),
            Err(error) => Err(error),
        },
        Some(Err(error)) if error.is_cancelled() && stopping => Ok(()),
        Some(Err(_)) => Err(HostError::Died("one that panicked; the log has its words")),
        None => Ok(()),
    }
}

/// Two steps: what runs may finish within the grace time, then everything is dropped.
async fn wind_down(
    mut tasks: JoinSet<Ended>,
    closing: Closing,
    connections: TaskTracker,
) -> Result<(), HostError> {
    closing.finish.cancel();
    connections.close();
    let mut result = Ok(());
    let finishing = async {
        while let Some(ended) = tasks.join_next().await {
            let ended = outcome(Some(ended), true);
            if result.is_ok() {
                result = ended;
            }
        }
        connections.wait().await;
    };
    if tokio::time::timeout(GRACE, finishing).await.is_err() {
        tracing::warn!("some requests did not finish in time and are dropped");
        closing.drop.cancel();
        tasks.shutdown().await;
        connections.wait().await;
    }
    result
}

async fn open(config: &Config, surroundings: &Surroundings) -> Result<Opened, HostError> {
    let Surroundings { clock, entropy, environment } = surroundings;
    let folder = Folder::open(&config.member_folder)?;
    let enrolled = folder.enrolled()?.clone();
    let standing = Arc::new(StandingHealth::default());
    let added = config.adapter.as_ref().map_or(&[][..], |part| &part.record_types);
    let catalogue = record_types::catalogue(added)?;
    let (adapter, mappings) = match &config.adapter {
        None => (None, Mappings::new(&[], Found::default(), Arc::clone(environment), catalogue)),
        Some(part) => {
            let found = Found::open(&part.mappings, folder.member(), &catalogue, environment).await?;
            let adapter = open_adapter(part, &folder, &found.served, surroundings).await?;
            adapter.obey(&folder.revoked()?);
            let mappings = Mappings::new(&part.mappings, found, Arc::clone(environment), catalogue);
            (Some(Arc::new(adapter)), mappings)
        }
    };
    let gateway = match &config.gateway {
        None => None,
        Some(part) => {
            let gateway = Arc::new(Gateway::open(part, &folder, clock, entropy)?);
            Some((gateway, listen(part.listen).await?))
        }
    };
    let health_listener = match config.health {
        None => None,
        Some(address) => Some(listen(address).await?),
    };
    let health = Arc::new(Health {
        adapter,
        mappings: Arc::new(mappings),
        gateway: gateway.as_ref().map(|(gateway, _)| Arc::clone(gateway)),
        enrolled: enrolled.clone(),
        standing,
        clock: Arc::clone(clock),
    });
    let folder = config.member_folder.clone();
    Ok(Opened { folder, enrolled, health, gateway, health_listener })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, HostError> {
    TcpListener::bind(address).await.map_err(|source| HostError::Listen { address, source })
}

fn spawn(
    opened: Opened,
    surroundings: &Surroundings,
    closing: &Closing,
    connections: &TaskTracker,
) -> JoinSet<Ended> {
    let mut tasks = JoinSet::new();
    let finish = &closing.finish;
    let clock = &surroundings.clock;
    if let Some(adapter) = &opened.health.adapter {
        let link = link(Arc::clone(adapter), opened.enrolled.clone(), Arc::clone(clock), finish.clone());
        tasks.spawn(async move { ("link", link.await) });
        let mappings = Arc::clone(&opened.health.mappings).keep(Arc::clone(adapter), finish.clone());
        tasks.spawn(async move { ("watch of mappings and sources", mappings.await).map_ok() });
    }
    let mut door = |name: &'static str, listener: TcpListener, routes: Router| {
        let serving = serve(listener, routes, closing.clone(), connections.clone());
        tasks.spawn(async move { (name, serving.await).map_ok() });
    };
    if let Some(listener) = opened.health_listener {
        // What cannot be told is taken for every address: then the mappings are shown to nobody.
        let listen = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        door("health door", listener, health::routes(Arc::clone(&opened.health), listen));
    }
    if let Some((gateway, listener)) = opened.gateway {
        door("gateway door", listener, gateway.routes());
        for app in gateway.apps() {
            let meetings = keep_met(Arc::clone(app), finish.clone());
            tasks.spawn(async move { ("meetings of an app", meetings.await).map_ok() });
        }
    }
    let issuing = standings(&opened.health, opened.folder, finish.clone());
    tasks.spawn(async move { ("issuing of standings", issuing.await).map_ok() });
    let adapter = opened.health.adapter.clone();
    let renewed = move || {
        if let Some(adapter) = &adapter {
            adapter.change_link();
        }
    };
    let renewal = keep_certificate(opened.enrolled, Arc::clone(clock), finish.clone(), renewed);
    tasks.spawn(async move { ("renewal of the certificate", renewal.await).map_ok() });
    tasks
}

/// Issues this member's standings; its own adapter obeys the list first.
fn standings(
    health: &Arc<Health>,
    folder: PathBuf,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (clock, standing) = (Arc::clone(&health.clock), Arc::clone(&health.standing));
    let adapter = health.adapter.clone();
    async move {
        let listed = move |list: &Revoked| {
            if let Some(adapter) = &adapter {
                adapter.obey(list);
            }
        };
        yiwang_client::standing::keep(&folder, clock, standing, stop, listed).await;
    }
}

async fn link(
    adapter: Arc<Adapter>,
    enrolled: Enrolled,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), HostError> {
    let connect = move || {
        let (enrolled, clock) = (enrolled.clone(), Arc::clone(&clock));
        async move { enrolled.channel(clock).await }
    };
    Ok(run_link(adapter, connect, stop).await?)
}

/// A task that has nothing to say but its name.
trait MapOk {
    fn map_ok(self) -> Ended;
}

impl MapOk for (&'static str, ()) {
    fn map_ok(self) -> Ended {
        (self.0, Ok(()))
    }
}
