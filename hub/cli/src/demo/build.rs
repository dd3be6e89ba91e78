//! Builds the demo's network: city, hub, members, contracts, adapters, all from generated configuration.

use super::files;
use super::parts::{self, Part};
use super::process::{Process, free_port};
use super::services::Services;
use crate::fail::{Failure, Outcome, file};
use crate::setup;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use yiwang_city::{City, CityPlan, RealData};
use yiwang_client::folder::Folder;
use yiwang_client::token::EnrolToken;
use yiwang_hub::config::{Config, Overload, RawConfig};
use yiwang_hub::denials::DenialLimits;
use yiwang_hub::lifecycle::{self, Ambient};
use yiwang_hub::quotas::QuotaLimits;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::ambient::random;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::time::format_rfc3339;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// One member of the demo.
pub struct Site {
    /// Its folder.
    pub folder: PathBuf,
    /// Its adapter host.
    pub host: Process,
    /// Its gateway, where it has apps.
    pub gateway: Option<SocketAddr>,
    /// Its apps' tokens by name.
    pub tokens: BTreeMap<String, String>,
}

/// The running network.
pub struct Network {
    /// Everything lies below it.
    pub dir: PathBuf,
    /// The synthetic city.
    pub city: City,
    /// What the real data holds, if attached.
    pub real: Option<RealData>,
    /// The hub.
    pub hub: Process,
    /// Members by id.
    pub sites: BTreeMap<String, Site>,
    /// The ledger's key.
    pub verifier_key: String,
    /// The departments' servers, if started. The last field: they end after all that uses them.
    pub services: Option<Services>,
}

/// What is built.
pub struct Plan<'p> {
    /// Size of the synthetic city.
    pub scale: f64,
    /// A folder with real open data.
    pub data: Option<&'p Path>,
    /// Whether the departments' own servers are started.
    pub services: bool,
}

/// Makes and starts everything.
pub async fn build(dir: &Path, plan: &Plan<'_>) -> Result<Network, Failure> {
    std::fs::create_dir_all(dir).map_err(file(dir))?;
    println!(
        "[setup] the departments' own systems: tables, code lists and dirty data as they are in the field"
    );
    let systems = dir.join("departments");
    let city = CityPlan { seed: 1, scale: plan.scale };
    let city = yiwang_city::build(city, &systems).map_err(Failure::environment)?;
    println!("        {} persons in {} households", city.facts().persons, city.facts().households);
    let mut parts = Part::of(parts::MEMBERS, city.sources());
    // Declared before the processes, so that it goes after them.
    let services = match plan.services {
        true => Some(Services::start(dir, &city, plan.data, &mut parts).await?),
        false => None,
    };
    let real = match plan.data {
        Some(data) => {
            let real = attach(data, &systems)?;
            parts.extend(Part::of(parts::REAL_MEMBERS, &real.sources));
            Some(real)
        }
        None => None,
    };
    println!("[setup] a hub with its ledger; {} members with root keys of their own", parts.len());
    let (config, mut hub) = start_hub(dir)?;
    hub.until_ready().await?;
    let mut folders = BTreeMap::new();
    for part in &parts {
        folders.insert(part.id, enrol(dir, &config, part.id, part.name, part.apps).await?);
    }
    println!("[setup] contracts, each signed under both members' roots, entered in the ledger");
    let mut count = 0;
    for path in parts.iter().flat_map(|part| files::contracts(part.contracts)) {
        let draft = serde_json::from_str(files::text(path)).map_err(Failure::usage)?;
        count += usize::from(agree(&folders, draft).await?.is_some());
    }
    count += usize::from(agree(&folders, sealed_contract()?).await?.is_some());
    println!("        {count} contracts in force");
    let mut sites = BTreeMap::new();
    for part in &parts {
        sites.insert(part.id.to_owned(), host(dir, part)?);
    }
    for site in sites.values_mut() {
        site.host.until_ready().await?;
    }
    println!("[setup] every department's adapter has dialled out to the hub; no inbound port is open\n");
    let verifier_key =
        std::fs::read_to_string(dir.join("hub/ledger/verifier.key")).map_err(Failure::environment)?;
    let verifier_key = verifier_key.trim().to_owned();
    Ok(Network { dir: dir.to_owned(), city, real, hub, sites, verifier_key, services })
}

fn attach(data: &Path, systems: &Path) -> Result<RealData, Failure> {
    println!("[setup] real open data from {}", data.display());
    let real = yiwang_city::attach_real(data, systems).map_err(Failure::environment)?;
    println!(
        "        {} 911 calls, {} police responses, registers of {} and {} persons",
        real.montgomery_rows, real.seattle_rows, real.febrl_a_rows, real.febrl_b_rows
    );
    Ok(real)
}

pub fn start_hub(dir: &Path) -> Result<(Config, Process), Failure> {
    start_hub_with(dir, QuotaLimits::default())
}

/// As [`start_hub`], with other ceilings for what one member may add.
pub fn start_hub_with(dir: &Path, quotas: QuotaLimits) -> Result<(Config, Process), Failure> {
    let hub_dir = dir.join("hub");
    let health = free_port()?;
    let raw = RawConfig {
        format: "hub/1".to_owned(),
        origin: "log.city.example/yiwang".to_owned(),
        trust_domain: "city.example".to_owned(),
        listen: free_port()?,
        enrol_listen: free_port()?,
        health_listen: health,
        names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        public_port: 0,
        segment_bytes: 16 << 20,
        witness_policy: None,
        stop_intake_after_s: 300,
        otlp: None,
        // One app stands for a whole city here, and the benchmark asks with one key.
        overload: Overload {
            per_second: 1_000_000,
            burst: 1_000_000,
            connections_per_address: 4096,
            ..Overload::default()
        },
        quotas,
        denials: DenialLimits::default(),
    };
    let ambient = Ambient { clock: setup::clock(), entropy: setup::entropy() };
    lifecycle::init(&hub_dir, &raw, &ambient).map_err(Failure::environment)?;
    let path = hub_dir.display().to_string();
    let hub = Process::start("hub", &["hub", "run", "--dir", &path], &[], &dir.join("hub.log"), health)?;
    Ok((Config::read(&hub_dir).map_err(Failure::usage)?, hub))
}

pub async fn enrol(
    dir: &Path,
    config: &Config,
    id: &str,
    name: &str,
    apps: &[&str],
) -> Result<Folder, Failure> {
    let id = MemberId::parse(id).map_err(Failure::usage)?;
    let path = dir.join("members").join(id.as_str());
    let (clock, entropy) = (setup::clock(), setup::entropy());
    let mut folder =
        Folder::init(&path, &id, name, entropy.as_ref(), clock.as_ref()).map_err(Failure::environment)?;
    let facts =
        lifecycle::facts(config, config.raw.listen, config.raw.enrol_listen).map_err(Failure::environment)?;
    let now = clock.now_ms();
    let token = lifecycle::tokens(config)
        .map_err(Failure::environment)?
        .issue(&Identity::Member(id), &facts, now + DAY_MS, entropy.as_ref())
        .map_err(Failure::environment)?;
    let token = EnrolToken::parse(&token).map_err(Failure::environment)?;
    folder.enrol(&token, clock).await.map_err(Failure::environment)?;
    let until = now + 30 * DAY_MS;
    let from = now - 60_000;
    let delegate = |role, name: &str, until| {
        let name = AppId::parse(name).map_err(Failure::usage)?;
        folder.delegate(role, &name, from, until, entropy.as_ref()).map_err(Failure::environment)
    };
    delegate(Role::Adapter, "main", until)?;
    // Bodies of class 3 are sealed to these; the adapter shows its own on the link.
    delegate(Role::Sealing, "main", until)?;
    delegate(Role::Standing, "main", from + yiwang_proto::standing::KEY_LIFE_MAX_MS)?;
    for app in apps {
        for role in [Role::App, Role::Sealing] {
            let document = delegate(role, app, until)?;
            publish(&folder, &document).await?;
        }
    }
    Ok(folder)
}

async fn publish(folder: &Folder, document: &SignedDocument) -> Outcome {
    let enrolled = folder.enrolled().map_err(Failure::environment)?;
    let channel = enrolled.channel(setup::clock()).await.map_err(Failure::environment)?;
    let checkpoints = setup::checkpoints(folder)?;
    yiwang_client::client::publish(channel, document, &checkpoints).await.map_err(Failure::refused)?;
    Ok(())
}

/// A contract for the sealed record, so that the story can show it withheld by its class, not by its absence.
fn sealed_contract() -> Result<Value, Failure> {
    let text = files::text("health/contracts/health-street-coverage.json");
    let mut draft: Value = serde_json::from_str(text).map_err(Failure::usage)?;
    if let Some(draft) = draft.as_object_mut() {
        for (key, value) in [
            ("id", json!("health-street-support")),
            ("record", json!("MentalHealthRecord")),
            ("operations", json!(["mental_health.by_person"])),
            ("fields", json!(["diagnosis", "support_need"])),
            ("rows", json!([])),
            ("class", json!(4)),
            ("assessment", json!("IA-2026-014")),
        ] {
            draft.insert(key.to_owned(), value);
        }
    }
    Ok(draft)
}

/// Both heads sign a draft with the real roots, and the consumer publishes it. None where a member is not here.
pub async fn agree(
    folders: &BTreeMap<&str, Folder>,
    mut draft: Value,
) -> Result<Option<SignedDocument>, Failure> {
    let now = setup::clock().now_ms();
    let mut roots = Vec::new();
    let mut consumer = None;
    for side in ["provider", "consumer"] {
        let member = draft.pointer(&format!("/{side}/member")).and_then(Value::as_str).unwrap_or_default();
        let Some(folder) = folders.get(member) else { return Ok(None) };
        let root = folder.root_key().map_err(Failure::environment)?;
        if let Some(slot) = draft.pointer_mut(&format!("/{side}/root")) {
            *slot = json!(root.public());
        }
        roots.push(root);
        consumer = Some(folder);
    }
    if let Some(draft) = draft.as_object_mut() {
        draft.insert("valid_from".to_owned(), json!(format_rfc3339(now - DAY_MS)));
        draft.insert("valid_until".to_owned(), json!(format_rfc3339(now + 30 * DAY_MS)));
    }
    let text = serde_json::to_vec_pretty(&draft).map_err(Failure::usage)?;
    let keys: Vec<_> = roots.iter().collect();
    let document = SignedDocument::sign(payload_type::CONTRACT, &text, &keys);
    match consumer {
        Some(consumer) => publish(consumer, &document).await.map(|()| Some(document)),
        None => Ok(None),
    }
}

/// Writes a member's mappings and starts its host.
fn host(dir: &Path, part: &Part) -> Result<Site, Failure> {
    let folder = dir.join("members").join(part.id).join("mappings");
    std::fs::create_dir_all(&folder).map_err(file(&folder))?;
    let mut mappings = Vec::new();
    for path in files::mappings(part.mappings) {
        let name = part.write(path, &folder)?;
        mappings.push(format!("mappings/{name}"));
    }
    for path in files::documents(part.mappings) {
        part.write(path, &folder)?;
    }
    // As small as the hub's: thirteen members' journals of the usual size would take two gigabytes.
    let journal = "segment_bytes = 16777216\n";
    start_host(dir, (part.id, journal), &mappings, part.apps, &part.settings, None)
}

/// Writes a member's `adapter.toml` and starts its host: an adapter where it has mappings, a gateway where
/// it has apps; with lines for its adapter, if any. It is this program, or the adapter's own where that is given.
pub fn start_host(
    dir: &Path,
    (id, lines): (&str, &str),
    mappings: &[String],
    apps: &[&str],
    settings: &[(String, String)],
    adapter: Option<&Path>,
) -> Result<Site, Failure> {
    let folder = dir.join("members").join(id);
    let health = free_port()?;
    let mut text = String::from("format = \"adapter-host/1\"\nmember_folder = \".\"\n");
    if !mappings.is_empty() {
        let names: Vec<String> = mappings.iter().map(|name| format!("\"{name}\"")).collect();
        let names = names.join(", ");
        text.push_str(&format!("adapter = \"main\"\nmappings = [{names}]\njournal = \"journal\"\n{lines}"));
    }
    text.push_str(&format!("[health]\nlisten = \"{health}\"\n"));
    let mut tokens = BTreeMap::new();
    let mut gateway = None;
    if !apps.is_empty() {
        let listen = free_port()?;
        text.push_str(&format!("[gateway]\nlisten = \"{listen}\"\n"));
        for app in apps {
            let token = yiwang_proto::hex(&random::<24>(setup::entropy().as_ref()));
            let digest = yiwang_proto::hex(&yiwang_proto::sha256(token.as_bytes()));
            text.push_str(&format!("[[gateway.app]]\nname = \"{app}\"\ntoken_sha256 = \"{digest}\"\n"));
            tokens.insert((*app).to_owned(), token);
        }
        gateway = Some(listen);
    }
    let config = folder.join("adapter.toml");
    std::fs::write(&config, text).map_err(file(&config))?;
    let path = config.display().to_string();
    let log = dir.join(format!("{id}.log"));
    let host = match adapter {
        Some(program) => {
            let run = ["run", "--config", &path];
            Process::start_program(program.to_owned(), id, &run, settings, &log, health)?
        }
        None => Process::start(id, &["adapter", "run", "--config", &path], settings, &log, health)?,
    };
    Ok(Site { folder, host, gateway, tokens })
}

impl Network {
    /// Stops all processes, adapters first.
    pub async fn stop(&mut self) {
        for site in self.sites.values_mut() {
            site.host.stop().await;
        }
        self.hub.stop().await;
        if let Some(services) = &self.services {
            services.stop().await;
        }
    }
}
