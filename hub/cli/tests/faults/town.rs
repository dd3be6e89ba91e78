//! A hub, a provider with its adapter and a consumer with an app, as processes and folders of their own.

use crate::address::own_address;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use yiwang_city::Bench;
use yiwang_city::servers::{self, Database, Kind};
use yiwang_client::client::{AppIdentity, Client, HeadStore};
use yiwang_client::folder::Folder;
use yiwang_client::standing::StandingHealth;
use yiwang_client::token::EnrolToken;
use yiwang_proto::ambient::{Clock, SystemClock, SystemEntropy};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, Matter, MemberId};
use yiwang_proto::time::format_rfc3339;

const DAY_MS: i64 = 24 * 3600 * 1000;
const ROWS: u64 = 500;
/// A debug build that checks a ledger on a busy machine takes seconds; a hub that never listens is found by its
/// own end, not by this.
const PATIENCE: Duration = Duration::from_secs(120);
pub const FIELDS: &[&str] = &["given_name", "id_number", "name", "postcode", "sex"];

pub fn yiwang(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
    let [said, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "yiwang {}: {error}{said}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// A running process and the file of its log.
pub struct Process {
    pub child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `yiwang`, or another program that starts it (`before`).
    pub fn start(before: &[String], arguments: &[&str], settings: &[(&str, &str)], log: &Path) -> Self {
        let mut line: Vec<&str> = before.iter().map(String::as_str).collect();
        line.push(env!("CARGO_BIN_EXE_yiwang"));
        line.extend(arguments);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(line[0])
            .args(&line[1..])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log: log.to_owned() }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until somebody listens; `false` if the process ends before.
    pub fn listens(&mut self, address: SocketAddr) -> bool {
        for _ in 0..PATIENCE.as_millis() / 20 {
            if TcpStream::connect(address).is_ok() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody listens on {address}: {}", self.log());
    }

    /// SIGTERM, by the system's own tool.
    pub fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        for _ in 0..PATIENCE.as_millis() / 10 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end: {}", self.log());
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Heads in memory, as one running app keeps them.
#[derive(Default)]
pub struct MemoryHeads(std::sync::Mutex<Option<Vec<u8>>>);

impl HeadStore for MemoryHeads {
    fn load(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }

    fn keep(&self, note: &[u8]) -> std::io::Result<()> {
        *self.0.lock().unwrap() = Some(note.to_vec());
        Ok(())
    }
}

/// Where a part of the town lies, if not with the rest.
#[derive(Default)]
pub struct Places {
    pub hub: Option<PathBuf>,
    pub journal: Option<PathBuf>,
    /// Address that members are told in place of the hub's own, for a relay in between.
    pub told: Option<SocketAddr>,
    /// The hub's addresses, where a relay must know them first.
    pub addresses: Option<Addresses>,
    /// A database server that serves the provider's rows, in place of a file.
    pub server: Option<Database>,
    /// The deadline of the contract, if not five seconds.
    pub deadline_ms: Option<u32>,
    /// The contract lets statements be signed together.
    pub together: bool,
}

/// Where the hub listens.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub listen: SocketAddr,
    pub enrol: SocketAddr,
    pub health: SocketAddr,
}

impl Addresses {
    pub fn new() -> Self {
        Self { listen: own_address(), enrol: own_address(), health: own_address() }
    }
}

pub struct Town {
    temp: TempDir,
    pub hub_dir: PathBuf,
    pub journal: PathBuf,
    pub addresses: Addresses,
    pub adapter_health: SocketAddr,
    pub hub: Option<Process>,
    pub adapter: Option<Process>,
    pub source: Bench,
    settings: Vec<(String, String)>,
    pub contract: Arc<Contract>,
    pub clock: Arc<dyn Clock>,
    consumer: Folder,
    _standings: DropGuard,
    _server: Option<Database>,
}

impl Town {
    pub async fn new(places: Places) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let hub_dir = places.hub.unwrap_or_else(|| temp.path().join("hub"));
        let addresses = places.addresses.unwrap_or_else(Addresses::new);
        let adapter_health = own_address();
        init_hub(&hub_dir, addresses, places.told);
        let hub = start_hub(&[], &hub_dir, temp.path(), addresses.listen);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let source = yiwang_city::build_bench(temp.path(), ROWS).unwrap();
        let provider = enrolled(temp.path(), &hub_dir, "provider", Role::Adapter, "main", &clock).await;
        let consumer = enrolled(temp.path(), &hub_dir, "consumer", Role::App, "bench-app", &clock).await;
        let deadline_ms = places.deadline_ms.unwrap_or(5000);
        let contract = agree(&provider, &consumer, (deadline_ms, places.together), &clock).await;
        let standings = stand(&consumer, &clock).await;
        let journal = places.journal.unwrap_or_else(|| provider.path().join("journal"));
        std::fs::create_dir_all(provider.path().join("mappings")).unwrap();
        let mapping = provider.path().join("mappings/person.toml");
        let (text, settings) = serving(&source, places.server.as_ref());
        std::fs::write(mapping, text).unwrap();
        let text = format!(
            "format = \"adapter-host/1\"\nmember_folder = \".\"\nadapter = \"main\"\n\
             mappings = [\"mappings/person.toml\"]\njournal = \"{}\"\n[health]\nlisten = \"{adapter_health}\"\n",
            journal.display()
        );
        std::fs::write(provider.path().join("adapter.toml"), text).unwrap();
        let mut town = Self {
            temp,
            hub_dir,
            journal,
            addresses,
            adapter_health,
            hub: Some(hub),
            adapter: None,
            source,
            settings,
            contract: Arc::new(contract),
            clock,
            consumer,
            _standings: standings.drop_guard(),
            _server: places.server,
        };
        town.start_adapter(&[]);
        town.until_linked().await;
        town
    }

    /// Starts the hub, perhaps under another program; `false` if it ends before it listens.
    pub fn try_start_hub(&mut self, before: &[String]) -> bool {
        let dir = self.hub_dir.display().to_string();
        let log = self.temp.path().join("hub.log");
        let mut hub = Process::start(before, &["hub", "run", "--dir", &dir], &[], &log);
        let listens = hub.listens(self.addresses.listen);
        self.hub = Some(hub);
        listens
    }

    pub fn start_hub(&mut self) {
        assert!(self.try_start_hub(&[]), "the hub ended: {}", self.hub.as_ref().unwrap().log());
    }

    /// The same after the hub was gone for the n-th time. The adapter is started anew, because one whose links
    /// all die young waits longer and longer before it dials again, as it should.
    pub fn start_both(&mut self) {
        self.start_hub();
        self.kill_adapter();
        self.start_adapter(&[]);
    }

    /// Whether the adapter says that it serves.
    pub fn is_linked(&self) -> bool {
        get(self.adapter_health, "/ready").is_some_and(|answer| answer.contains(" 200 "))
    }

    pub fn kill_hub(&mut self) {
        self.hub.take().unwrap().kill();
    }

    /// Starts the adapter, perhaps under another program.
    pub fn start_adapter(&mut self, before: &[String]) {
        let config = self.temp.path().join("members/provider/adapter.toml").display().to_string();
        let log = self.temp.path().join("adapter.log");
        let arguments = ["adapter", "run", "--config", &config];
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.adapter = Some(Process::start(before, &arguments, &settings, &log));
    }

    pub fn kill_adapter(&mut self) {
        self.adapter.take().unwrap().kill();
    }

    /// Waits until the adapter says that it serves.
    pub async fn until_linked(&mut self) {
        for _ in 0..PATIENCE.as_millis() / 50 {
            if self.is_linked() {
                return;
            }
            let adapter = self.adapter.as_mut().unwrap();
            assert!(adapter.child.try_wait().unwrap().is_none(), "the adapter ended: {}", adapter.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the adapter did not become ready: {}", self.adapter.as_ref().unwrap().log());
    }

    /// The consumer's TLS, as any of its programs has it.
    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        let config = self.consumer.enrolled().unwrap().client_config(Arc::clone(&self.clock)).unwrap();
        let mut config = rustls::ClientConfig::clone(&config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// A connection of the consumer.
    pub async fn channel(&self) -> tonic::transport::Channel {
        self.consumer.enrolled().unwrap().channel(Arc::clone(&self.clock)).await.unwrap()
    }

    /// An app's client with a connection and heads of its own.
    pub fn client(&self) -> Client {
        let app = AppId::parse("bench-app").unwrap();
        let enrolled = self.consumer.enrolled().unwrap();
        let identity = AppIdentity {
            member: self.consumer.member().clone(),
            app: app.clone(),
            key: self.consumer.load_key(Role::App, &app).unwrap(),
            delegation: self.consumer.load_delegation(Role::App, &app).unwrap().0,
            root: self.consumer.root_public(),
            tags: self.consumer.tag_key().unwrap(),
            checkpoints: checkpoints(&self.consumer),
        };
        let channel = enrolled.channel_lazy(Arc::clone(&self.clock)).unwrap();
        let heads = Arc::new(MemoryHeads::default());
        Client::new(identity, channel, heads, Arc::clone(&self.clock), Arc::new(SystemEntropy)).unwrap()
    }

    /// A case that lists the first subjects of the source.
    pub async fn case(&self, client: &Client, subjects: &[String]) -> CaseId {
        client.meet().await.unwrap();
        client.open_case(&Matter::parse("bench").unwrap(), subjects).await.unwrap().0
    }
}

/// The provider's mapping and its settings: over the file with the rows, or over a server that is filled from it.
fn serving(source: &Bench, server: Option<&Database>) -> (String, Vec<(String, String)>) {
    let Some(server) = server else {
        let database = source.database.display().to_string();
        return (yiwang_city::bench_mapping("provider"), vec![("BENCH_DB".to_owned(), database)]);
    };
    let url = server.fill("bench", servers::BENCH, &source.database, ("yiwang_bench", "pw-bench")).unwrap();
    let name = if server.kind == Kind::Postgres { "POSTGRES" } else { "MARIADB" };
    let settings =
        vec![(format!("BENCH_{name}_URL"), url), (format!("BENCH_{name}_CA"), server.ca().to_owned())];
    let operation = yiwang_city::bench_operation(server.kind);
    let text = yiwang_city::bench_mapping_of(server.kind, "provider").replace(operation, "person.by_id");
    (text, settings)
}

fn checkpoints(folder: &Folder) -> Arc<CheckpointVerifier> {
    let enrolled = folder.enrolled().unwrap();
    Arc::new(CheckpointVerifier::new(enrolled.verifier_key().clone(), enrolled.origin(), 64))
}

fn init_hub(dir: &Path, addresses: Addresses, told: Option<SocketAddr>) {
    let Addresses { listen, enrol, health } = addresses;
    let [address, enrol, health] = [listen, enrol, health].map(|address| address.to_string());
    let name = listen.ip().to_string();
    yiwang(&[
        "hub",
        "init",
        "--dir",
        dir.to_str().unwrap(),
        "--origin",
        "log.city.example/faults",
        "--trust-domain",
        "city.example",
        "--listen",
        &address,
        "--enrol-listen",
        &enrol,
        "--health-listen",
        &health,
        "--name",
        &name,
    ]);
    // Small segments: files are made, synced and renamed while a test looks. Told ports: for relays.
    let path = dir.join("hub.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("segment_bytes") && !line.starts_with("public_port"))
        // Tests share a disk with builds: what it has free is not what they try.
        .map(|line| if line.starts_with("leave_free_mib") { "leave_free_mib = 1" } else { line })
        .map(str::to_owned)
        .collect();
    assert!(lines.iter().any(|line| line == "leave_free_mib = 1"), "{text}");
    lines.insert(0, format!("segment_bytes = {}", 4 << 20));
    // Ahead of the tables.
    lines.insert(0, format!("public_port = {}", told.map_or(0, |told| told.port())));
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
}

fn start_hub(before: &[String], dir: &Path, logs: &Path, listen: SocketAddr) -> Process {
    let dir = dir.display().to_string();
    let mut hub = Process::start(before, &["hub", "run", "--dir", &dir], &[], &logs.join("hub.log"));
    assert!(hub.listens(listen), "the hub ended: {}", hub.log());
    hub
}

async fn enrolled(
    base: &Path,
    hub: &Path,
    id: &str,
    role: Role,
    name: &str,
    clock: &Arc<dyn Clock>,
) -> Folder {
    let path = base.join("members").join(id);
    let member = MemberId::parse(id).unwrap();
    let mut folder = Folder::init(&path, &member, id, &SystemEntropy, clock.as_ref()).unwrap();
    let who = format!("member:{id}");
    let token = yiwang(&["hub", "token", "--dir", hub.to_str().unwrap(), "--for", &who]);
    folder.enrol(&EnrolToken::parse(token.trim()).unwrap(), Arc::clone(clock)).await.unwrap();
    let now = clock.now_ms();
    let name = AppId::parse(name).unwrap();
    let document = folder.delegate(role, &name, now - 60_000, now + 30 * DAY_MS, &SystemEntropy).unwrap();
    let main = AppId::parse("main").unwrap();
    let week = now - 60_000 + yiwang_proto::standing::KEY_LIFE_MAX_MS;
    folder.delegate(Role::Standing, &main, now - 60_000, week, &SystemEntropy).unwrap();
    if role == Role::App {
        publish(&folder, &document, clock).await;
    }
    folder
}

/// What the consumer's host would do besides: saying what is still in force.
async fn stand(consumer: &Folder, clock: &Arc<dyn Clock>) -> CancellationToken {
    let (health, stop) = (Arc::<StandingHealth>::default(), CancellationToken::new());
    let (folder, told, ended, by) =
        (consumer.path().to_owned(), Arc::clone(&health), stop.clone(), Arc::clone(clock));
    tokio::spawn(async move { yiwang_client::standing::keep(&folder, by, told, ended, |_| ()).await });
    for _ in 0..PATIENCE.as_millis() / 20 {
        if health.until_ms() > 0 {
            return stop;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the hub took no standing of the consumer");
}

async fn publish(folder: &Folder, document: &SignedDocument, clock: &Arc<dyn Clock>) {
    let channel = folder.enrolled().unwrap().channel(Arc::clone(clock)).await.unwrap();
    yiwang_client::client::publish(channel, document, &checkpoints(folder)).await.unwrap();
}

async fn agree(
    provider: &Folder,
    consumer: &Folder,
    (deadline_ms, together): (u32, bool),
    clock: &Arc<dyn Clock>,
) -> Contract {
    let now = clock.now_ms();
    let mut text = draft(provider, consumer, deadline_ms, now);
    if together {
        text["batch_signatures"] = true.into();
    }
    let text = text.to_string();
    let roots = [provider.root_key().unwrap(), consumer.root_key().unwrap()];
    let document = SignedDocument::sign(payload_type::CONTRACT, text.as_bytes(), &roots.each_ref());
    publish(consumer, &document, clock).await;
    Contract::open(&document).unwrap()
}

fn draft(provider: &Folder, consumer: &Folder, deadline_ms: u32, now: i64) -> Value {
    json!({
        "format": "yiwang-contract/1", "id": "bench-person", "version": 1,
        "provider": {"member": "provider", "root": provider.root_public(), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "consumer", "root": consumer.root_public(), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "none: made-up records", "scenario": "breaking things with made-up records",
        "purpose": "bench.throughput", "matters": ["bench"], "method": "query",
        "record": "Person", "operations": ["person.by_id"], "fields": FIELDS, "rows": [], "apps": ["bench-app"],
        "valid_from": format_rfc3339(now - DAY_MS), "valid_until": format_rfc3339(now + 30 * DAY_MS),
        "limits": {"rows": 1, "per_app_per_minute": 100_000_000, "per_officer_per_day": 1_000_000_000,
            "deadline_ms": deadline_ms},
        "retention_days": 1, "disposal_days": 1, "onward_sharing": "none", "class": 2, "notice": "immediate"
    })
}

/// A plain HTTP request; none if nobody answers.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Some(String::from_utf8_lossy(&answer).into_owned()).filter(|answer| !answer.is_empty())
}
