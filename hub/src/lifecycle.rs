//! Making a hub, starting it, stopping it. Configuration first, ledger second, doors last; two-step stop
//! (finish, then drop); a task or thread that dies by itself stops the process.

mod accept_head;
mod health;
mod metrics;

pub use accept_head::accept_head;

use crate::config::{Config, ConfigError, RawConfig};
use crate::context::{Hub, Parts, TestSwitches};
use crate::denials::{self, Keeping, OpenDenialsError};
use crate::directory::OriginDraft;
use crate::ledger::store::StoreError;
use crate::ledger::{self, LedgerConfig, OpenLedgerError};
use crate::orders::{OrderError, Orders};
use crate::overload::Gate;
use crate::tls::accept::{AcceptLimits, Counters, Door, Listen as _, Network, Stop, SystemNetwork, serve};
use crate::tls::authority::{Authority, AuthorityError};
use crate::tls::identity::TrustDomain;
use crate::tls::server::{HUB_LIFETIME_MS, HubCertificate, Tls, TlsError, server_config};
use crate::tls::token::{HubFacts, TokenError, TokenStore};
use crate::views::{ApplyError, PersistError, Persisted, Persister, SealKey, Views};
use crate::{links, replies, rest, rpc, witness};
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_journal::ground::Ground;
use yiwang_policies::Decider;
use yiwang_proto::ambient::{Clock, Entropy};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::note::SignerKey;
use yiwang_proto::pb;

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificate authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Orders.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Ledger.
    #[error(transparent)]
    Ledger(#[from] OpenLedgerError),
    /// Folded denials.
    #[error(transparent)]
    Denials(#[from] OpenDenialsError),
    /// Reading the ledger.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Views.
    #[error(transparent)]
    Views(#[from] PersistError),
    /// Views do not fit the ledger.
    #[error("views: {0}; `yiwang hub rebuild` makes them again")]
    Apply(#[from] ApplyError),
    /// Rules.
    #[error("policy: {0}")]
    Policy(String),
    /// A file or socket.
    #[error("`{what}`: {source}")]
    Io {
        /// File or address.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.to_string();
    move |source| StartError::Io { what, source }
}

/// What the environment gives to a hub.
#[derive(Clone)]
pub struct Ambient {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What the machine gives to a hub. A simulation gives others than a process has.
#[derive(Debug, Clone, Default)]
pub struct Machine<N = SystemNetwork> {
    /// Disk and threads.
    pub ground: Ground,
    /// The network.
    pub network: N,
}

/// Files below the hub's folder.
struct Layout {
    ca: PathBuf,
    ledger_key: PathBuf,
    tokens: PathBuf,
    orders: PathBuf,
    views: PathBuf,
    ledger: PathBuf,
    search: PathBuf,
}

impl Layout {
    fn of(dir: &Path) -> Self {
        Self {
            ca: dir.join("ca"),
            ledger_key: dir.join("ledger.key"),
            tokens: dir.join("tokens"),
            orders: dir.join("orders"),
            views: dir.join("views"),
            ledger: dir.join("ledger"),
            search: dir.join("search.sqlite"),
        }
    }
}

/// Makes a new hub in a folder: configuration, certificate authority, ledger key. The ledger is born at the
/// first start.
pub fn init(dir: &Path, raw: &RawConfig, ambient: &Ambient) -> Result<(), StartError> {
    let path = dir.join("hub.toml");
    if path.exists() {
        return Err(StartError::Other(format!("`{}` exists: a hub is made once", path.display())));
    }
    let text = raw.text_of_new(dir)?;
    std::fs::create_dir_all(dir).map_err(io(dir.display()))?;
    let trust_domain = TrustDomain::parse(&raw.trust_domain).map_err(|e| StartError::Other(e.to_string()))?;
    let layout = Layout::of(dir);
    Authority::create(&layout.ca, &trust_domain, ambient.clock.now_ms())?;
    let key = SecretKey::generate(ambient.entropy.as_ref());
    crate::tls::files::replace(&layout.ledger_key, key.to_base64().as_bytes(), crate::tls::files::PRIVATE)
        .map_err(io(layout.ledger_key.display()))?;
    ledger::publish::write_durably(&path, text.as_bytes()).map_err(io(path.display()))
}

fn ledger_seed(config: &Config) -> Result<[u8; 32], StartError> {
    let path = Layout::of(&config.dir).ledger_key;
    let text = std::fs::read_to_string(&path).map_err(io(path.display()))?;
    let bytes = yiwang_proto::document::from_base64(text.trim());
    let seed: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    seed.ok_or_else(|| StartError::Other(format!("`{}` is no key file", path.display())))
}

fn ledger_signer(config: &Config) -> Result<SignerKey, StartError> {
    SignerKey::from_seed(&config.raw.origin, &ledger_seed(config)?)
        .map_err(|error| StartError::Other(error.to_string()))
}

/// What members need to know to enrol; `hub` and `enrol` are the addresses as they are reached.
pub fn facts(config: &Config, hub: SocketAddr, enrol: SocketAddr) -> Result<HubFacts, StartError> {
    let authority = Authority::load(&Layout::of(&config.dir).ca)?;
    let name = config.raw.names.first().cloned().unwrap_or_default();
    Ok(HubFacts {
        hub: format!(
            "{name}:{}",
            if config.raw.public_port == 0 { hub.port() } else { config.raw.public_port }
        ),
        enrol: format!("{name}:{}", enrol.port()),
        ca: *authority.ca_digest(),
        origin: config.raw.origin.clone(),
        verifier_key: ledger_signer(config)?.verifier().to_string(),
        trust_domain: config.trust_domain.clone(),
    })
}

/// The store of enrolment tokens, also for the command that issues them.
pub fn tokens(config: &Config) -> Result<TokenStore, StartError> {
    Ok(TokenStore::open(&Layout::of(&config.dir).tokens)?)
}

/// The orders of a hub, also for the commands that give them.
pub fn orders(config: &Config) -> Result<Orders, StartError> {
    Ok(Orders::open(&Layout::of(&config.dir).orders)?)
}

/// Drops the views and hash tiles; both are made again from the entries at the next start.
pub fn rebuild(config: &Config) -> Result<(), StartError> {
    let _alone = lock(&config.dir)?;
    let layout = Layout::of(&config.dir);
    Persisted::drop_at(&layout.views);
    match std::fs::remove_dir_all(layout.ledger.join("tile")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("tile")(error)),
        _ => Ok(()),
    }
}

/// A hub that serves.
pub struct Running {
    /// The hub.
    pub hub: Arc<Hub>,
    /// Where members connect.
    pub address: SocketAddr,
    /// Where members enrol.
    pub enrol_address: SocketAddr,
    /// Where health is served.
    pub health_address: SocketAddr,
    /// Connections that were refused, and why.
    pub counters: Arc<Counters>,
    drop_all: CancellationToken,
    persister: Persister,
    failure: Arc<std::sync::Mutex<Option<String>>>,
    _alone: std::fs::File,
}

/// Opens ledger and views and starts to serve.
pub async fn start(
    config: &Config,
    ambient: &Ambient,
    switches: TestSwitches,
    limits: AcceptLimits,
) -> Result<Running, StartError> {
    start_on(&Machine::<SystemNetwork>::default(), config, ambient, switches, limits).await
}

/// [`start`] on another machine than this one.
pub async fn start_on<N: Network>(
    machine: &Machine<N>,
    config: &Config,
    ambient: &Ambient,
    switches: TestSwitches,
    limits: AcceptLimits,
) -> Result<Running, StartError> {
    let stop = CancellationToken::new();
    let failure = Arc::new(std::sync::Mutex::new(None));
    let alone = lock(&config.dir)?;
    let (hub, persister) = open(config, ambient, &machine.ground, switches, &stop, &failure)?;
    born(&hub, config).await?;
    let certificate = Arc::new(HubCertificate::new(
        Arc::clone(&hub.authority),
        config.raw.names.clone(),
        HUB_LIFETIME_MS,
        Arc::clone(&ambient.clock),
    )?);
    let tls =
        |mutual| server_config(&hub.authority, Arc::clone(&certificate), Arc::clone(&ambient.clock), mutual);
    let (reporter, health) = tonic_health::server::health_reporter();
    let members = rpc::member_routes(&hub, health)
        .map_err(|error| StartError::Other(error.to_string()))?
        .merge(rest::routes(Arc::clone(&hub)))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&hub), rpc::not_dismissed));
    let drop_all = CancellationToken::new();
    let counters = Arc::new(Counters::default());
    let door = |listener, tls: Option<Tls>, limits: AcceptLimits| Door {
        listener,
        tls,
        limits,
        stop: Stop { finish: hub.stop.clone(), drop: drop_all.clone() },
        tracker: hub.tasks.clone(),
        counters: Arc::clone(&counters),
        clock: Arc::clone(&ambient.clock),
    };
    let listen = |at: SocketAddr| async move { machine.network.listen(at).await.map_err(io(at)) };
    let [main, enrol, plain] = [
        listen(config.raw.listen).await?,
        listen(config.raw.enrol_listen).await?,
        listen(config.raw.health_listen).await?,
    ];
    let address_of = |listener: &N::Socket| listener.address().map_err(io("listener"));
    let (address, enrol_address, health_address) =
        (address_of(&main)?, address_of(&enrol)?, address_of(&plain)?);
    hub.tasks.spawn(serve(door(main, Some(tls(true)?), limits.clone().within_open_files()), members));
    hub.tasks.spawn(serve(door(enrol, Some(tls(false)?), limits.strangers()), rpc::enrolment_routes(&hub)));
    hub.tasks.spawn(serve(
        door(plain, None, limits.strangers()),
        health::routes(Arc::clone(&hub), health_address),
    ));
    hub.tasks.spawn(health::watch(Arc::clone(&hub), reporter));
    hub.tasks.spawn(health::upkeep(Arc::clone(&hub)));
    hub.tasks.spawn(denials::run(Arc::clone(&hub)));
    hub.tasks.spawn(replies::watch(Arc::clone(&hub)));
    hub.tasks.spawn(links::watch(Arc::clone(&hub)));
    if let Some(policy) = &config.witnesses {
        let limit = Duration::from_secs(config.raw.stop_intake_after_s.into());
        hub.tasks.spawn(witness::collect(Arc::clone(&hub), Arc::clone(policy), limit));
    }
    tracing::info!(%address, %enrol_address, %health_address, "the hub listens");
    Ok(Running {
        hub,
        address,
        enrol_address,
        health_address,
        counters,
        drop_all,
        persister,
        failure,
        _alone: alone,
    })
}

fn open(
    config: &Config,
    ambient: &Ambient,
    ground: &Ground,
    switches: TestSwitches,
    stop: &CancellationToken,
    failure: &Arc<std::sync::Mutex<Option<String>>>,
) -> Result<(Arc<Hub>, Persister), StartError> {
    let layout = Layout::of(&config.dir);
    accept_head::refuse_half_way(&layout)?;
    let verifier = ledger_signer(config)?.verifier().clone();
    if config.witnesses.as_ref().is_some_and(|policy| !policy.allows_log(&verifier)) {
        let what = "the witness policy lists other logs than this ledger: add its `log` line";
        return Err(StartError::Other(what.to_owned()));
    }
    let decider = Arc::new(Decider::builtin().map_err(|error| StartError::Policy(error.to_string()))?);
    if let Some(unknown) =
        config.raw.overload.emergency.iter().find(|purpose| !decider.catalogue().has_purpose(purpose))
    {
        return Err(StartError::Other(format!("[overload] `{unknown}` is no purpose of the catalogue")));
    }
    let (ledger, views) = match open_ledger(config, &decider, ambient, ground, stop, failure) {
        // Views are only an index: if the newest entries do not fit them, they are made again from all entries.
        Err(StartError::Ledger(error @ OpenLedgerError::Entry { .. })) => {
            tracing::warn!(%error, "stored views do not fit the ledger: rebuilt");
            Persisted::drop_at(&layout.views);
            open_ledger(config, &decider, ambient, ground, stop, failure)?
        }
        opened => opened?,
    };
    let persister = Persister::start(views, ground.workers).map_err(io("views"))?;
    let denials = open_denials(config, &ledger, ambient, ground, stop, failure)?;
    let parts = Parts {
        ledger,
        checkpoints: CheckpointVerifier::new(verifier, &config.raw.origin, 64),
        authority: Arc::new(Authority::load(&layout.ca)?),
        tokens: TokenStore::open(&layout.tokens)?,
        gate: Gate::new(config.raw.overload.clone()),
        orders: Orders::open(&layout.orders)?,
        quotas: config.raw.quotas,
        denials,
        clock: Arc::clone(&ambient.clock),
        entropy: Arc::clone(&ambient.entropy),
        stop: stop.clone(),
        switches,
        search_index: layout.search,
    };
    Ok((Hub::new(parts)?, persister))
}

fn open_ledger(
    config: &Config,
    decider: &Arc<Decider>,
    ambient: &Ambient,
    ground: &Ground,
    stop: &CancellationToken,
    failure: &Arc<std::sync::Mutex<Option<String>>>,
) -> Result<(ledger::Ledger, Arc<Views>), StartError> {
    let layout = Layout::of(&config.dir);
    let views = Arc::new(load_views(&layout, Arc::clone(decider), &SealKey::derive(&ledger_seed(config)?))?);
    let ledger_config = LedgerConfig {
        dir: layout.ledger,
        segment_bytes: config.raw.segment_bytes,
        salt: u64::from_be_bytes(yiwang_proto::ambient::random(ambient.entropy.as_ref())),
        signer: ledger_signer(config)?,
        policy: config.witnesses.clone(),
        ground: ground.clone(),
    };
    let (ended, why) = (stop.clone(), Arc::clone(failure));
    let ledger = ledger::open(ledger_config, Arc::clone(&views), Arc::clone(&ambient.clock), move |error| {
        tracing::error!(%error, "the ledger failed: the hub stops");
        *why.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error.to_string());
        ended.cancel();
    })?;
    Ok((ledger, views))
}

fn open_denials(
    config: &Config,
    ledger: &ledger::Ledger,
    ambient: &Ambient,
    ground: &Ground,
    stop: &CancellationToken,
    failure: &Arc<std::sync::Mutex<Option<String>>>,
) -> Result<Keeping, OpenDenialsError> {
    let dir = Layout::of(&config.dir).ledger.join(yiwang_proto::folded::FOLDER);
    let salt = u64::from_be_bytes(yiwang_proto::ambient::random(ambient.entropy.as_ref()));
    let sizes = (config.raw.denials, config.raw.segment_bytes, salt);
    let (ended, why) = (stop.clone(), Arc::clone(failure));
    Keeping::open(&dir, sizes, ground, ledger.reader().as_ref(), move |error| {
        tracing::error!(error, "the journal of folded denials failed: the hub stops");
        let what = format!("the journal of folded denials failed: {error}");
        *why.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(what);
        ended.cancel();
    })
}

/// How often, and after which pause, a lock is tried again: a second in all, so that a second hub still hears
/// at once that it is one.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// One process per folder. Taken before anything in it is looked at: what a second hub took for damaged views
/// would be those that the first one is writing. The lock ends with the process, however it ends.
fn lock(dir: &Path) -> Result<std::fs::File, StartError> {
    let path = dir.join("lock");
    let file = std::fs::File::create(&path).map_err(io(path.display()))?;
    // A child that was just started holds a copy of the old lock until it runs its own program.
    let mut tries = LOCK_TRIES;
    let mut held = file.try_lock();
    while tries > 0 && matches!(held, Err(std::fs::TryLockError::WouldBlock)) {
        std::thread::sleep(LOCK_WAIT);
        tries -= 1;
        held = file.try_lock();
    }
    match held {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Other(format!(
            "`{}` is in use by another hub process: stop it first",
            dir.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(io(path.display())(error)),
    }
}

/// Stored views, checked against the entries they point to; if they do not fit, none.
fn load_views(layout: &Layout, decider: Arc<Decider>, key: &SealKey) -> Result<Views, StartError> {
    let options = ledger::store_files::options(64 << 20);
    let segments = layout.ledger.join("segments");
    let reader = yiwang_journal::Reader::open_readonly(&segments, &options).ok().map(|(reader, _)| reader);
    let size = reader.as_ref().map_or(0, yiwang_journal::Reader::len);
    let read = |index| -> Option<Bytes> { reader.as_ref().and_then(|reader| reader.read(index).ok()) };
    let stored = Persisted::open(&layout.views, size, key)?;
    match Views::load(Arc::clone(&decider), stored, &read) {
        Ok(views) => Ok(views),
        Err(error) => {
            tracing::warn!(%error, "stored views do not fit the ledger: rebuilt");
            Persisted::drop_at(&layout.views);
            Ok(Views::load(decider, Persisted::open(&layout.views, size, key)?, &read)?)
        }
    }
}

/// The first entries of a new ledger: its origin, and the policy that decides.
async fn born(hub: &Hub, config: &Config) -> Result<(), StartError> {
    if hub.ledger.reader().is_empty() {
        let entry = pb::OriginEntry {
            origin: config.raw.origin.clone(),
            verifier_key: hub.checkpoints.key().to_string(),
            old_head: accept_head::old_head(&Layout::of(&config.dir))?,
        };
        let draft = OriginDraft { entry };
        hub.ledger.append(Box::new(draft)).await.map_err(|code| StartError::Other(code.to_string()))?;
    }
    health::record_policy(hub).await;
    Ok(())
}

impl Running {
    /// Waits until the hub is asked to stop, or stops by itself.
    pub async fn wait(&self) {
        self.hub.stop.cancelled().await;
    }

    /// Finishes what runs, at most for the grace time, then drops the rest. `Err` if the hub stopped by a fault.
    pub async fn stop(mut self, grace: Duration) -> Result<(), StartError> {
        self.hub.stop.cancel();
        self.hub.links.close_all();
        self.hub.tasks.close();
        if tokio::time::timeout(grace, self.hub.tasks.wait()).await.is_err() {
            tracing::warn!("some requests did not finish in time and are dropped");
            self.drop_all.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(2), self.hub.tasks.wait()).await;
        }
        denials::enter_all(&self.hub).await;
        self.hub.denials.close().await;
        self.hub.ledger.close().await;
        self.persister.finish();
        let failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        failure.map_or(Ok(()), |why| Err(StartError::Other(why)))
    }
}
