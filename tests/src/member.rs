//! A member of the test world: its folder, and what runs beside its systems.

use crate::world::World;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_adapter_csv::CsvSource;
use yiwang_adapter_fhir::FhirSource;
use yiwang_adapter_http::HttpSource;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterConfig, AdapterLimits};
use yiwang_adapter_sdk::connect::run_link;
use yiwang_adapter_sdk::decide::ContractPolicy;
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::mapping::{Mapping, SourceDef};
use yiwang_adapter_sdk::material::{MaterialError, MaterialSource, Wanted};
use yiwang_adapter_sdk::source::{Environment, Source};
use yiwang_adapter_sql::{SqliteSource, open_mariadb, open_postgres};
use yiwang_client::client::{AppIdentity, Client};
use yiwang_client::folder::{Folder, FolderHeads};
use yiwang_client::standing::{Acknowledged, StandingHealth};
use yiwang_policies::Decider;
use yiwang_proto::ambient::Clock;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{AppId, MemberId, Officer};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::note::CosignerKey;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revoked;

/// Settings by name, as a department's service file would give them.
#[derive(Debug, Default, Clone)]
pub struct Settings(pub HashMap<String, String>);

impl Environment for Settings {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A member.
pub struct Member {
    /// Its folder.
    pub folder: Folder,
    /// Settings of its sources.
    pub settings: Settings,
    /// Mapping files of its adapter.
    pub mappings: Vec<PathBuf>,
    /// Name and seed of the key under which its adapter cosigns.
    pub witness: Option<(String, [u8; 32])>,
    /// What its host would do besides: issuing its standings.
    pub issuing: Issuing,
}

/// An officer of the test world.
pub struct TestOfficer {
    /// The private key; no member's folder has it.
    pub key: SecretKey,
    /// The pseudonym.
    pub name: Officer,
    /// Under the member's root.
    pub delegation: Delegation,
}

/// The part of a host that issues a member's standings; every member of the world has one from its
/// enrolment on.
pub struct Issuing {
    health: Arc<StandingHealth>,
    stop: CancellationToken,
}

impl Drop for Issuing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Issuing {
    /// Starts it.
    pub fn start(folder: &Folder, clock: &Arc<dyn Clock>) -> Self {
        let issuing = Self { health: Arc::default(), stop: CancellationToken::new() };
        let (dir, clock) = (folder.path().to_owned(), Arc::clone(clock));
        let (health, stop) = (Arc::clone(&issuing.health), issuing.stop.clone());
        tokio::spawn(async move { yiwang_client::standing::keep(&dir, clock, health, stop, |_| ()).await });
        issuing
    }

    /// Issues nothing more, as if the member were cut off.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the hub has taken the first one.
    pub async fn until_taken(&self) {
        self.until_after(0).await;
    }

    /// Waits until the hub has taken one that is in force at a moment.
    pub async fn until_after(&self, now_ms: i64) {
        for _ in 0..1000 {
            if self.health.until_ms() > now_ms {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the hub took no standing within 10 s");
    }
}

/// No material: what was verified once is known.
pub struct Nothing;

impl MaterialSource for Nothing {
    fn fetch(&self, _: Wanted) -> BoxFuture<'_, Result<pb::Material, MaterialError>> {
        Box::pin(async { Err(MaterialError::Unavailable) })
    }
}

/// A running adapter.
pub struct RunningAdapter {
    /// The adapter.
    pub adapter: Arc<Adapter>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl RunningAdapter {
    /// Stops it and waits until it is gone.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

impl Member {
    /// The same member with a copy of its folder, in which the hub is at another address.
    pub fn at(&self, address: SocketAddr, clock: &Arc<dyn Clock>) -> Self {
        let dir = self.copy(&format!("at-{}", address.port()));
        let path = dir.join("member.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let moved: String = text
            .lines()
            .map(|line| match line.starts_with("hub = ") {
                true => format!("hub = \"localhost:{}\"\n", address.port()),
                false => format!("{line}\n"),
            })
            .collect();
        assert_ne!(moved, text);
        std::fs::write(&path, moved).unwrap();
        self.opened(&dir, clock)
    }

    /// The same member from a copy of its folder as it is now.
    pub fn as_now(&self, clock: &Arc<dyn Clock>) -> Self {
        self.opened(&self.copy("as-it-was"), clock)
    }

    fn copy(&self, extension: &str) -> PathBuf {
        let dir = self.folder.path().with_extension(extension);
        let copied = std::process::Command::new("cp").arg("-a").arg(self.folder.path()).arg(&dir).status();
        assert!(copied.unwrap().success());
        dir
    }

    fn opened(&self, dir: &Path, clock: &Arc<dyn Clock>) -> Self {
        let (settings, mappings) = (self.settings.clone(), self.mappings.clone());
        let folder = Folder::open(dir).unwrap();
        let issuing = Issuing::start(&folder, clock);
        Self { folder, settings, mappings, witness: self.witness.clone(), issuing }
    }

    /// Its id.
    pub fn id(&self) -> &MemberId {
        self.folder.member()
    }

    /// Opens checkpoints of the ledger that this member pinned.
    pub fn checkpoints(&self) -> Arc<CheckpointVerifier> {
        checkpoints(&self.folder)
    }

    /// The opened sources of its mappings.
    pub fn sources(&self) -> Vec<MappedSource> {
        self.mappings.iter().map(|path| open_source(path, &self.settings)).collect()
    }

    /// What its adapter is made from.
    pub fn adapter_config(&self) -> AdapterConfig {
        adapter_config(&self.folder, self.witness.as_ref())
    }

    /// An adapter over its sources, not yet connected.
    pub fn adapter(&self, world: &World) -> Adapter {
        let decider = Arc::new(Decider::builtin().unwrap());
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let adapter = Adapter::open(self.adapter_config(), self.sources(), decider, clock, entropy).unwrap();
        adapter.obey(&self.folder.revoked().unwrap());
        let name = AppId::parse("main").unwrap();
        match self.folder.load_sealing(&name).unwrap() {
            Some((key, document)) => adapter.with_sealing(key, document).unwrap(),
            None => adapter,
        }
    }

    /// Delegates a key for sealing to an app or adapter; what is opened afterwards has it. An app's must be
    /// published, an adapter's is shown on its link.
    pub fn delegate_sealing(&self, world: &World, name: &str) -> SignedDocument {
        let name = AppId::parse(name).unwrap();
        let now = world.clock.now_ms();
        let entropy = world.entropy.as_ref();
        self.folder.delegate(Role::Sealing, &name, now - 60_000, now + 30 * world.day(), entropy).unwrap()
    }

    /// An officer with a key of their own, whose delegation is published.
    pub async fn officer(&self, world: &World, app: &Client) -> TestOfficer {
        let (entropy, now) = (world.entropy.as_ref(), world.clock.now_ms());
        let (key, name) = (SecretKey::generate(entropy), Officer::new(entropy));
        let delegated = AppId::parse(name.as_str()).unwrap();
        let until = now + 30 * world.day();
        let document =
            self.folder.delegate_key(Role::Officer, &delegated, key.public(), now - 60_000, until).unwrap();
        app.publish(&document).await.unwrap();
        TestOfficer { key, name, delegation: Delegation::open(&document).unwrap() }
    }

    /// Connects an adapter and waits until the hub has its link.
    pub async fn run_adapter(&self, world: &World) -> RunningAdapter {
        let adapter = Arc::new(self.adapter(world));
        let running = self.run_this(world, adapter);
        world.until_linked(self.id()).await;
        running
    }

    /// Connects this adapter without waiting.
    pub fn run_this(&self, world: &World, adapter: Arc<Adapter>) -> RunningAdapter {
        let stop = CancellationToken::new();
        let (dir, clock) = (self.folder.path().to_owned(), Arc::clone(&world.clock));
        let connect = move || {
            let (dir, clock) = (dir.clone(), Arc::clone(&clock));
            async move { Folder::open(&dir)?.enrolled()?.channel(clock).await }
        };
        let (served, ended) = (Arc::clone(&adapter), stop.clone());
        let task = tokio::spawn(async move {
            run_link(served, connect, ended).await.unwrap();
        });
        RunningAdapter { adapter, stop, task }
    }

    /// Takes something back: keeps it in the folder's list, and returns with the hub's acknowledgement.
    pub async fn revoke(&self, world: &World, list: &Revoked) -> Acknowledged {
        self.folder.revoke(list).unwrap();
        let channel = self.folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap();
        let clock = world.clock.as_ref();
        yiwang_client::standing::issue_and_offer(&self.folder, &channel, clock).await.unwrap().1
    }

    /// Makes and publishes an app, and a client for it that has met the hub.
    pub async fn app(&self, world: &World, name: &str) -> Client {
        let client = self.app_unpublished(world, name).await;
        client.publish(&client.identity().delegation).await.unwrap();
        client.meet().await.unwrap();
        client
    }

    /// A client for an app whose delegation is not published.
    pub async fn app_unpublished(&self, world: &World, name: &str) -> Client {
        let name = AppId::parse(name).unwrap();
        if self.folder.load_key(Role::App, &name).is_err() {
            let now = world.clock.now_ms();
            self.folder
                .delegate(Role::App, &name, now - 60_000, now + 30 * world.day(), world.entropy.as_ref())
                .unwrap();
        }
        let identity = app_identity(&self.folder, &name);
        let channel = self.folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap();
        let heads = Arc::new(FolderHeads::open(self.folder.enrolled().unwrap().clone()).unwrap());
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let client = Client::new(identity, channel, heads, clock, entropy).unwrap();
        match self.folder.load_sealing(&name).unwrap() {
            Some((key, document)) => client.with_sealing(key, &document).unwrap(),
            None => client,
        }
    }
}

/// Opens checkpoints of the ledger that a member pinned.
pub fn checkpoints(folder: &Folder) -> Arc<CheckpointVerifier> {
    let enrolled = folder.enrolled().unwrap();
    Arc::new(CheckpointVerifier::new(enrolled.verifier_key().clone(), enrolled.origin(), 64))
}

/// What the adapter of a member is made from; `witness` has name and seed of the key under which it cosigns.
pub fn adapter_config(folder: &Folder, witness: Option<&(String, [u8; 32])>) -> AdapterConfig {
    let name = AppId::parse("main").unwrap();
    AdapterConfig {
        member: folder.member().clone(),
        adapter: name.clone(),
        root: folder.root_public(),
        former_roots: folder.former_roots().unwrap(),
        key: folder.load_key(Role::Adapter, &name).unwrap(),
        delegation: folder.load_delegation(Role::Adapter, &name).unwrap().0,
        tag_key: folder.tag_key().unwrap(),
        ledger: checkpoints(folder),
        journal_dir: folder.path().join("journal"),
        contracts: ContractPolicy::default(),
        limits: AdapterLimits { segment_bytes: 16 << 20, ..AdapterLimits::default() },
        witness: witness.map(|(name, seed)| CosignerKey::from_seed(name, seed).unwrap()),
        evidence_dir: folder.path().join("evidence"),
    }
}

/// Who an app of a member is.
pub fn app_identity(folder: &Folder, name: &AppId) -> AppIdentity {
    AppIdentity {
        member: folder.member().clone(),
        app: name.clone(),
        key: folder.load_key(Role::App, name).unwrap(),
        delegation: folder.load_delegation(Role::App, name).unwrap().0,
        root: folder.root_public(),
        tags: folder.tag_key().unwrap(),
        checkpoints: checkpoints(folder),
    }
}

/// Opens the source that a mapping file describes.
pub fn open_source(path: &Path, settings: &Settings) -> MappedSource {
    let text = std::fs::read_to_string(path).unwrap();
    let mapping = Mapping::parse(&text, path).unwrap_or_else(|faults| panic!("{faults:?}"));
    let environment: Arc<dyn Environment> = Arc::new(settings.clone());
    let source: Arc<dyn Source> = match mapping.source() {
        SourceDef::Csv(_) => Arc::new(CsvSource::open(&mapping, settings).unwrap()),
        SourceDef::Postgres(_) => open_postgres(&mapping, &environment).unwrap(),
        SourceDef::Mariadb(_) => open_mariadb(&mapping, &environment).unwrap(),
        SourceDef::Http(_) => Arc::new(HttpSource::open(&mapping, &environment).unwrap()),
        SourceDef::Fhir(_) => Arc::new(FhirSource::open(&mapping, &environment).unwrap()),
        _ => Arc::new(SqliteSource::open(&mapping, settings).unwrap()),
    };
    MappedSource::new(Arc::new(mapping), source)
}
