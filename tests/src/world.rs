//! The world: a hub in this process with real TLS on loopback, and members with folders of their own.

use crate::contracts::Draft;
use crate::departments;
use crate::member::{Issuing, Member, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use yiwang_client::folder::{AuditorFolder, Folder};
use yiwang_client::token::EnrolToken;
use yiwang_hub::config::{Config, Overload, RawConfig};
use yiwang_hub::context::TestSwitches;
use yiwang_hub::denials::DenialLimits;
use yiwang_hub::lifecycle::{self, Ambient, Running};
use yiwang_hub::quotas::QuotaLimits;
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::ambient::{Clock, Entropy, SeededEntropy, SystemClock};
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::standing::KEY_LIFE_MAX_MS;

/// Which of many trials of the same test this is: each has chances of its own.
fn trial() -> u64 {
    let text = std::env::var("YIWANG_TRIAL").unwrap_or_default();
    text.parse::<u64>().unwrap_or_default().wrapping_mul(1_000_003)
}

/// The world.
pub struct World {
    /// Everything lies below it.
    pub dir: TempDir,
    /// Everybody's time.
    pub clock: Arc<dyn Clock>,
    /// Everybody's chance.
    pub entropy: Arc<dyn Entropy>,
    /// The hub, unless it is stopped.
    pub hub: Option<Running>,
    config: Config,
    switches: TestSwitches,
}

impl World {
    /// A world with a hub on free ports, by the system's clock.
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, Arc::new(SystemClock::default()), TestSwitches::default()).await
    }

    /// A world with another clock or with switches.
    pub async fn with(seed: u64, clock: Arc<dyn Clock>, switches: TestSwitches) -> Self {
        Self::below(&std::env::temp_dir(), seed, clock, switches).await
    }

    /// A world below a folder, for instance on a small disk.
    pub async fn below(base: &Path, seed: u64, clock: Arc<dyn Clock>, switches: TestSwitches) -> Self {
        Self::made(base, seed, clock, switches, raw_config()).await
    }

    /// A world whose hub is configured otherwise.
    pub async fn configured(seed: u64, bend: impl FnOnce(&mut RawConfig)) -> Self {
        let mut raw = raw_config();
        bend(&mut raw);
        let clock = Arc::new(SystemClock::default());
        Self::made(&std::env::temp_dir(), seed, clock, TestSwitches::default(), raw).await
    }

    async fn made(
        base: &Path,
        seed: u64,
        clock: Arc<dyn Clock>,
        switches: TestSwitches,
        raw: RawConfig,
    ) -> Self {
        let dir = tempfile::tempdir_in(base).unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed.wrapping_add(trial())));
        let ambient = Ambient { clock: Arc::clone(&clock), entropy: Arc::clone(&entropy) };
        let hub_dir = dir.path().join("hub");
        lifecycle::init(&hub_dir, &raw, &ambient).unwrap();
        let config = Config::read(&hub_dir).unwrap();
        let mut world = Self { dir, clock, entropy, hub: None, config, switches };
        world.start_hub().await;
        world
    }

    /// One day in milliseconds.
    pub fn day(&self) -> i64 {
        24 * 3600 * 1000
    }

    /// Other shares of members from the next start on.
    pub fn set_overload(&mut self, overload: Overload) {
        self.config.raw.overload = overload;
    }

    /// The hub's folder.
    pub fn hub_dir(&self) -> PathBuf {
        self.dir.path().join("hub")
    }

    /// The running hub.
    pub fn hub(&self) -> &Running {
        self.hub.as_ref().expect("the hub runs")
    }

    /// Starts the hub; after the first start on the same ports, so that members find it again.
    pub async fn start_hub(&mut self) {
        self.try_start_hub().await.unwrap();
    }

    /// Like [`World::start_hub`], for tests in which it must fail.
    pub async fn try_start_hub(&mut self) -> Result<(), lifecycle::StartError> {
        let ambient = Ambient { clock: Arc::clone(&self.clock), entropy: Arc::clone(&self.entropy) };
        let running =
            lifecycle::start(&self.config, &ambient, self.switches.clone(), AcceptLimits::default()).await?;
        self.config.raw.listen = running.address;
        self.config.raw.enrol_listen = running.enrol_address;
        self.config.raw.health_listen = running.health_address;
        self.hub = Some(running);
        Ok(())
    }

    /// Lets the stopped hub go on as a new origin; yields where its old ledger lies.
    pub fn accept_head(&mut self, origin: &str) -> Result<PathBuf, lifecycle::StartError> {
        lifecycle::accept_head(&mut self.config, origin)
    }

    /// Stops the hub in good order.
    pub async fn stop_hub(&mut self) {
        if let Some(hub) = self.hub.take() {
            hub.stop(Duration::from_secs(5)).await.unwrap();
        }
    }

    /// Other switches from the next start on.
    pub fn set_switches(&mut self, switches: TestSwitches) {
        self.switches = switches;
    }

    /// From the next start on, checkpoints are published only under this tlog-policy, and intake stops so many
    /// seconds after that fails.
    pub fn demand_witnesses(&mut self, policy: &str, stop_intake_after_s: u32) {
        std::fs::write(self.hub_dir().join("witnesses.policy"), policy).unwrap();
        self.config.raw.witness_policy = Some("witnesses.policy".into());
        self.config.raw.stop_intake_after_s = stop_intake_after_s;
        let text = toml::to_string(&self.config.raw).unwrap();
        std::fs::write(self.hub_dir().join("hub.toml"), text).unwrap();
        self.config = Config::read(&self.hub_dir()).unwrap();
    }

    /// A second hub with the same past, keys and certificates, on ports of its own: the other face of a hub
    /// that has two. The hub must be stopped when it is made.
    pub async fn second_face(&self, name: &str) -> Running {
        let dir = self.dir.path().join(name);
        let copied =
            std::process::Command::new("cp").arg("-a").arg(self.hub_dir()).arg(&dir).status().unwrap();
        assert!(copied.success());
        let mut config = Config::read(&dir).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        (config.raw.listen, config.raw.enrol_listen, config.raw.health_listen) = (any, any, any);
        let ambient = Ambient { clock: Arc::clone(&self.clock), entropy: Arc::clone(&self.entropy) };
        lifecycle::start(&config, &ambient, TestSwitches::default(), AcceptLimits::default()).await.unwrap()
    }

    /// An enrolment token.
    pub fn token(&self, identity: &Identity) -> String {
        let hub = self.hub();
        let facts = lifecycle::facts(&self.config, hub.address, hub.enrol_address).unwrap();
        let tokens = lifecycle::tokens(&self.config).unwrap();
        let expires = self.clock.now_ms() + 3_600_000;
        tokens.issue(identity, &facts, expires, self.entropy.as_ref()).unwrap()
    }

    /// An auditor with a scope, enrolled.
    pub async fn auditor(&self, name: &str, scope: &AuditScope) -> AuditorFolder {
        let hub = self.hub();
        let facts = lifecycle::facts(&self.config, hub.address, hub.enrol_address).unwrap();
        let tokens = lifecycle::tokens(&self.config).unwrap();
        let who = Identity::Auditor(AppId::parse(name).unwrap());
        let expires = self.clock.now_ms() + 3_600_000;
        let token = tokens.issue_scoped(&who, Some(scope), &facts, expires, self.entropy.as_ref()).unwrap();
        let dir = self.dir.path().join("auditors").join(name);
        std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
        AuditorFolder::enrol(&dir, &EnrolToken::parse(&token).unwrap(), Arc::clone(&self.clock))
            .await
            .unwrap()
    }

    /// A new member, enrolled, with a delegated adapter key.
    pub async fn member(&self, id: &str) -> Member {
        let id = MemberId::parse(id).unwrap();
        let dir = self.dir.path().join("members").join(id.as_str());
        let (clock, entropy) = (self.clock.as_ref(), self.entropy.as_ref());
        let mut folder = Folder::init(&dir, &id, id.as_str(), entropy, clock).unwrap();
        let now = self.clock.now_ms();
        let main = AppId::parse("main").unwrap();
        folder.delegate(Role::Adapter, &main, now - 60_000, now + 30 * self.day(), entropy).unwrap();
        let until = now - 60_000 + KEY_LIFE_MAX_MS;
        folder.delegate(Role::Standing, &main, now - 60_000, until, entropy).unwrap();
        let token = self.token(&Identity::Member(id));
        folder.enrol(&EnrolToken::parse(&token).unwrap(), Arc::clone(&self.clock)).await.unwrap();
        let issuing = Issuing::start(&folder, &self.clock);
        issuing.until_taken().await;
        Member { folder, settings: Settings::default(), mappings: Vec::new(), witness: None, issuing }
    }

    /// A department of the synthetic city that lies in `city`, with its mappings of this repository.
    pub async fn department(&self, city: &yiwang_city::City, id: &str, records: &[&str]) -> Member {
        let mut member = self.member(id).await;
        for source in city.sources().iter().filter(|source| source.member == id) {
            let path = source.path.display().to_string();
            member.settings.0.insert(source.variable.to_string(), path);
        }
        member.mappings =
            records.iter().map(|record| departments().join(id).join(format!("{record}.toml"))).collect();
        member
    }

    /// The synthetic city, small.
    pub fn city(&self) -> yiwang_city::City {
        let dir = self.dir.path().join("city");
        yiwang_city::build(yiwang_city::CityPlan { seed: 7, scale: 0.0005 }, &dir).unwrap()
    }

    /// Signs and publishes a contract as the consumer.
    pub async fn agree(&self, draft: &Draft, provider: &Member, consumer: &Member) -> SignedDocument {
        let document = draft.sign(provider, consumer);
        let channel = consumer.folder.enrolled().unwrap().channel(Arc::clone(&self.clock)).await.unwrap();
        yiwang_client::client::publish(channel, &document, &consumer.checkpoints()).await.unwrap();
        document
    }

    /// Waits until a member's adapter is linked.
    pub async fn until_linked(&self, member: &MemberId) {
        for _ in 0..6000 {
            if self.hub().hub.links.of(member).is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the adapter of `{member}` did not connect within a minute");
    }

    /// Verifies the whole ledger as an auditor would, from files alone. The hub must be stopped.
    pub fn ledger_dir(&self) -> PathBuf {
        self.hub_dir().join("ledger")
    }
}

/// A free port below those that the system gives to whoever asks for any: a hub that is stopped finds it free again when it
/// is started, however many connections are made meanwhile.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 20_000..32_000;
    for _ in PORTS {
        let turn = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + turn % (PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

fn raw_config() -> RawConfig {
    RawConfig {
        format: "hub/1".to_owned(),
        origin: "log.city.example/yiwang".to_owned(),
        trust_domain: "city.example".to_owned(),
        listen: own_address(),
        enrol_listen: own_address(),
        health_listen: own_address(),
        names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        public_port: 0,
        segment_bytes: 4 << 20,
        witness_policy: None,
        stop_intake_after_s: 300,
        otlp: None,
        // Tests ask as fast as they can; those of overload set their own.
        overload: Overload { per_second: 100_000, burst: 100_000, ..Overload::default() },
        quotas: QuotaLimits::default(),
        // Tests share a disk with builds: what it has free is not what they try.
        denials: DenialLimits { leave_free_mib: 1, ..DenialLimits::default() },
    }
}

/// Whether any file below a folder holds the bytes.
pub fn folder_holds(dir: &Path, needle: &[u8]) -> bool {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(needle.len()).any(|window| window == needle)
            {
                return true;
            }
        }
    }
    false
}
