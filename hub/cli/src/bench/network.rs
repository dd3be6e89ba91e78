//! The network that `bench exchange` measures: a hub, one provider with 1 KiB records in SQLite, one app.

use crate::demo::build::{self, Site};
use crate::demo::process::Process;
use crate::fail::{Failure, file};
use crate::setup::{self, AppArgs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_city::Bench;
use yiwang_client::client::Client;
use yiwang_client::folder::Folder;
use yiwang_hub::quotas::QuotaLimits;
use yiwang_proto::contract::{Contract, ContractText};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, Matter};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::limits::ROWS_MAX;

/// An app of the contract that has no key until somebody delegates one.
pub const SPARE: &str = "spare-app";
/// Rows of the source.
pub const ROWS: u64 = 10_000;
/// Subjects that the case lists and the app asks for in turn.
const SUBJECTS: u64 = 200;

/// The running network.
pub struct Network {
    pub hub: Process,
    /// Where members connect.
    pub address: SocketAddr,
    pub provider: Site,
    /// The consumer's own host: it issues the consumer's standings.
    pub consumer: Site,
    pub clients: Vec<Arc<Client>>,
    /// The same app's, over one long-lived stream.
    pub streaming: Arc<Client>,
    pub contract: Arc<Contract>,
    /// The same terms, and statements may be signed together.
    pub together: Arc<Contract>,
    /// For batches, where the provider hands any over.
    pub batch: Option<Arc<Contract>>,
    pub case: CaseId,
    pub subjects: Vec<String>,
}

const FIELDS: &[&str] =
    &["address", "given_name", "id_number", "name", "postcode", "sex", "state", "suburb", "surname"];

/// Ceilings for a bench in which one member stands for many.
pub fn without_quotas() -> QuotaLimits {
    QuotaLimits { contracts: 1_000_000, per_second: 1_000_000, burst: 1_000_000, ..QuotaLimits::default() }
}

/// A contract under both members' keys.
pub fn signed(text: &ContractText, keys: &[&SecretKey]) -> SignedDocument {
    SignedDocument::sign(payload_type::CONTRACT, &text.to_json(), keys)
}

/// Builds and starts it.
pub async fn start(dir: &Path, connections: usize) -> Result<Network, Failure> {
    start_with(dir, connections, QuotaLimits::default()).await
}

/// As [`start`], with other ceilings for what one member may add.
pub async fn start_with(dir: &Path, connections: usize, quotas: QuotaLimits) -> Result<Network, Failure> {
    let source = yiwang_city::build_bench(dir, ROWS).map_err(Failure::environment)?;
    start_providing(dir, connections, quotas, &source, &Provided::embedded(&source)).await
}

/// What the provider answers from.
pub struct Provided {
    /// Names and texts of its mappings.
    pub mappings: Vec<(String, String)>,
    /// What its host finds in its environment.
    pub settings: Vec<(String, String)>,
    /// The operations of these mappings that look one person up.
    pub operations: Vec<String>,
    /// Those that hand everybody over in pages; a contract for them is agreed where there are any.
    pub batches: Vec<String>,
    /// The adapter's program; this one where there is none.
    pub program: Option<PathBuf>,
}

impl Provided {
    /// The rows in SQLite.
    pub fn embedded(source: &Bench) -> Self {
        Self {
            mappings: vec![("person.toml".to_owned(), yiwang_city::bench_mapping("provider"))],
            settings: vec![("BENCH_DB".to_owned(), source.database.display().to_string())],
            operations: vec!["person.by_id".to_owned()],
            batches: Vec::new(),
            program: None,
        }
    }
}

/// As [`start_with`], with rows that are there and whatever serves them.
pub async fn start_providing(
    dir: &Path,
    connections: usize,
    quotas: QuotaLimits,
    source: &Bench,
    provided: &Provided,
) -> Result<Network, Failure> {
    let (config, mut hub) = build::start_hub_with(dir, quotas)?;
    hub.until_ready().await?;
    let mut folders = BTreeMap::new();
    folders.insert("provider", build::enrol(dir, &config, "provider", "Provider", &[]).await?);
    folders.insert("consumer", build::enrol(dir, &config, "consumer", "Consumer", &["bench-app"]).await?);
    let contract = agree(&folders, draft(&provided.operations)).await?;
    let together = agree(&folders, draft_together(&provided.operations)).await?;
    let batch = match provided.batches.as_slice() {
        [] => None,
        batches => Some(agree(&folders, draft_batch(batches)).await?),
    };
    let mut provider = provider(dir, provided)?;
    let mut consumer = build::start_host(dir, ("consumer", ""), &[], &["bench-app"], &[], None)?;
    provider.host.until_ready().await?;
    consumer.host.until_ready().await?;
    let app = AppId::parse("bench-app").map_err(Failure::environment)?;
    let args = AppArgs { folder: consumer_folder(dir), app };
    let mut clients = Vec::new();
    for _ in 0..connections.max(1) {
        clients.push(Arc::new(setup::met_client(&args).await?));
    }
    let streaming = Arc::new(setup::met_client(&args).await?.with_stream());
    let subjects: Vec<String> = (0..SUBJECTS).map(|row| source.id(row)).collect();
    let first = clients.first().ok_or_else(|| Failure::environment("no client"))?;
    let matter = Matter::parse("bench").map_err(Failure::environment)?;
    let (case, _) = first.open_case(&matter, &subjects).await.map_err(Failure::refused)?;
    let address = config.raw.listen;
    Ok(Network {
        hub,
        address,
        provider,
        consumer,
        clients,
        streaming,
        contract,
        together,
        batch,
        case,
        subjects,
    })
}

/// The consumer's folder.
pub fn consumer_folder(dir: &Path) -> PathBuf {
    dir.join("members/consumer")
}

impl Network {
    /// Stops everything, the hub last.
    pub async fn stop(&mut self) {
        self.provider.host.stop().await;
        self.consumer.host.stop().await;
        self.hub.stop().await;
    }
}

fn provider(dir: &Path, provided: &Provided) -> Result<Site, Failure> {
    let folder = dir.join("members/provider");
    std::fs::create_dir_all(folder.join("mappings")).map_err(file(&folder))?;
    let mut mappings = Vec::new();
    for (name, text) in &provided.mappings {
        let name = format!("mappings/{name}");
        let path = folder.join(&name);
        std::fs::write(&path, text).map_err(file(&path))?;
        mappings.push(name);
    }
    build::start_host(dir, ("provider", ""), &mappings, &[], &provided.settings, provided.program.as_deref())
}

async fn agree(folders: &BTreeMap<&str, Folder>, draft: Value) -> Result<Arc<Contract>, Failure> {
    let document = build::agree(folders, draft).await?.ok_or_else(|| Failure::environment("no contract"))?;
    Ok(Arc::new(Contract::open(&document).map_err(Failure::environment)?))
}

/// The same, with statements that may be signed together.
fn draft_together(operations: &[String]) -> Value {
    let mut draft = draft(operations);
    if let Some(draft) = draft.as_object_mut() {
        draft.insert("id".to_owned(), "bench-person-together".into());
        draft.insert("batch_signatures".to_owned(), true.into());
    }
    draft
}

/// The same fields of everybody, in pages as large as they can be.
fn draft_batch(operations: &[String]) -> Value {
    let mut draft = draft(operations);
    if let Some(draft) = draft.as_object_mut() {
        draft.insert("id".to_owned(), "bench-person-batch".into());
        draft.insert("method".to_owned(), "batch".into());
        if let Some(limits) = draft.get_mut("limits").and_then(Value::as_object_mut) {
            limits.insert("rows".to_owned(), ROWS_MAX.into());
        }
    }
    draft
}

fn draft(operations: &[String]) -> Value {
    json!({
        "format": "yiwang-contract/1", "id": "bench-person", "version": 1,
        "provider": {"member": "provider", "root": "", "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "consumer", "root": "", "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "none: made-up records", "scenario": "measuring throughput with made-up records",
        "purpose": "bench.throughput", "matters": ["bench"], "method": "query",
        "record": "Person", "operations": operations, "fields": FIELDS, "rows": [], "apps": ["bench-app", SPARE],
        "valid_from": "", "valid_until": "",
        "limits": {"rows": 1, "per_app_per_minute": 100_000_000, "per_officer_per_day": 1_000_000_000, "deadline_ms": 5000},
        "retention_days": 1, "disposal_days": 1, "onward_sharing": "none", "class": 2, "notice": "immediate"
    })
}
