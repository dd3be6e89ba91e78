//! Two members, a contract, a case, and an adapter over rows in memory. Every test bends one thing.

use crate::hub::{Ledger, ORIGIN, Stock};
use bytes::Bytes;
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use tokio::sync::Notify;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterConfig, AdapterError, AdapterLimits, ClockRule};
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::decide::ContractPolicy;
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::mapping::{Mapping, OperationDef};
use yiwang_adapter_sdk::reply::Reply;
use yiwang_adapter_sdk::source::{BoxFuture, FetchQuery, Fetched, Probe, Source, SourceError};
use yiwang_adapter_sdk::value::{Cell, Rows};
use yiwang_journal::ground::{Ground, Workers};
use yiwang_journal::simulated::SimulatedDisk;
use yiwang_policies::Decider;
use yiwang_proto::Digest;
use yiwang_proto::ambient::{Clock as _, ManualClock, SeededEntropy};
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::{AnswerBody, Arguments, RequestBody};
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{AppId, CaseId, FieldName, Matter, MemberId, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::note::CosignerKey;
use yiwang_proto::pb;
use yiwang_proto::request::{Head, OfficerBy, Request};
use yiwang_proto::revocation::Revoked;
use yiwang_proto::standing::{LIFE_MS, Standing};
use yiwang_proto::tag::{Tag, TagKey};

pub const NOW: i64 = 1_795_000_000_000;
pub const HOUR: i64 = 3_600_000;
/// Synthetic persons.
pub const ONE: &str = "980101199001010017";
pub const TWO: &str = "980101199001010025";

static DECIDER: LazyLock<Arc<Decider>> = LazyLock::new(|| Arc::new(Decider::builtin().unwrap()));

const MAPPING: &str = r#"
format = "adapter/1"
mapping = "civil-affairs.benefit"
record = "BenefitStatus"
owner = "civil-affairs"

[source.sqlite]
path = "unused.db"
read_only = true
time_zone = "Asia/Shanghai"
health = { probe = "select 1", every = "15s", unhealthy_after = 3 }

[[operation]]
name = "benefit.by_person"
kind = "lookup"
subject = "id"
params.id = { type = "string", pattern = "^[0-9]{17}[0-9X]$" }
params.area_code = { type = "string", pattern = "^[0-9]{6}$", optional = true }
sql = "select SCH, STA, HH, AREA, AMT, UPD from B where ID = :id and (:area_code is null or AREA = :area_code)"
limit = 5
timeout = "2s"

[operation.fields]
scheme = { from = "SCH", type = "string" }
status = { from = "STA", type = "string" }
household = { from = "HH", type = "string" }
area_code = { from = "AREA", type = "string" }
amount_band = { from = "AMT", type = "string" }
as_of = { from = "UPD", type = "timestamp", required = true }
"#;

/// A source in memory that remembers what was asked of it.
#[derive(Default)]
pub struct Table {
    pub rows: Mutex<Vec<HashMap<&'static str, String>>>,
    pub touched: AtomicUsize,
    pub columns: Mutex<Vec<Arc<str>>>,
    /// How long it might take, for each fetch.
    pub timeouts: Mutex<Vec<std::time::Duration>>,
    /// While set, fetches wait for it.
    pub gate: Mutex<Option<Arc<Notify>>>,
    pub broken: std::sync::atomic::AtomicBool,
}

pub fn row(id: &str, area: &str) -> HashMap<&'static str, String> {
    HashMap::from([
        ("ID", id.to_owned()),
        ("SCH", "minimum-living".to_owned()),
        ("STA", "granted".to_owned()),
        ("HH", "H-1".to_owned()),
        ("AREA", area.to_owned()),
        ("AMT", "B".to_owned()),
        ("UPD", "2026-11-01 08:00:00".to_owned()),
    ])
}

impl Source for Table {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            self.touched.fetch_add(1, Ordering::SeqCst);
            self.timeouts.lock().unwrap().push(query.timeout);
            let gate = self.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            if self.broken.load(Ordering::SeqCst) {
                return Err(SourceError::Query("table BENEFIT is gone".to_owned()));
            }
            *self.columns.lock().unwrap() = query.columns.clone();
            let id = query.params.iter().find(|(name, _)| name.as_ref() == "id");
            let Some((_, Some(Scalar::Text(id)))) = id else { panic!("no id") };
            let mut rows = Rows::new(query.columns.len());
            for row in self.rows.lock().unwrap().iter().filter(|row| row["ID"] == *id) {
                for column in &query.columns {
                    rows.push(Cell::Text(&row[column.as_ref()])).unwrap();
                }
            }
            Ok(Fetched { rows })
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async { Ok(Probe::default()) })
    }

    fn check(&self, _: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn member(name: &str) -> MemberId {
    MemberId::parse(name).unwrap()
}

pub fn fields(names: &[&str]) -> Vec<FieldName> {
    names.iter().map(|name| FieldName::parse(name).unwrap()).collect()
}

/// An answer whose signature was verified under the adapter's key.
#[derive(Debug)]
pub struct Said {
    pub answer: Answer,
    pub body: Bytes,
    pub reply: Reply,
}

impl Said {
    pub fn records(&self) -> serde_json::Value {
        let body = AnswerBody::open(&self.body, &self.answer.body_digest.unwrap()).unwrap();
        serde_json::from_slice(&body.records).unwrap()
    }

    pub fn denied(&self) -> Code {
        match &self.answer.verdict {
            Verdict::Denied(code) => *code,
            other => panic!("not denied but {other:?}: {}", self.answer.clause),
        }
    }

    pub fn failed(&self) -> Code {
        match &self.answer.verdict {
            Verdict::Failed(code) => *code,
            other => panic!("not failed but {other:?}: {}", self.answer.clause),
        }
    }

    pub fn answered(&self) -> &Self {
        assert_eq!(self.answer.verdict, Verdict::Answered, "{}", self.answer.clause);
        self
    }
}

pub struct World {
    pub clock: Arc<ManualClock>,
    pub entropy: Arc<SeededEntropy>,
    pub ledger: Arc<Ledger>,
    pub stock: Arc<Stock>,
    pub table: Arc<Table>,
    pub disk: SimulatedDisk,
    pub contract: SignedDocument,
    pub delegation: SignedDocument,
    pub case: CaseId,
    pub policy: ContractPolicy,
    pub limits: AdapterLimits,
    pub witness: Option<u8>,
    pub evidence: tempfile::TempDir,
    pub mapping: String,
    /// Whether the consumer's word comes before each question, as from an honest hub.
    pub honest: bool,
    /// What the consumer revoked.
    pub revoked: Mutex<Revoked>,
    /// Number and time of the consumer's newest standing.
    pub word: Mutex<(u64, i64)>,
}

/// Seeds of keys: the two roots, the adapter, the app, and a stranger's.
pub const PROVIDER_ROOT: u8 = 1;
pub const CONSUMER_ROOT: u8 = 2;
pub const ADAPTER: u8 = 3;
pub const APP: u8 = 4;
pub const STRANGER: u8 = 66;
/// Seed of the consumer's standing key.
pub const STANDING: u8 = 5;

pub fn contract_json() -> serde_json::Value {
    json!({
        "format": "yiwang-contract/1", "id": "civil-street-benefit", "version": 2,
        "provider": {"member": "civil-affairs", "root": key(PROVIDER_ROOT).public(), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": key(CONSUMER_ROOT).public(), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "see what a household that applies gets already",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"],
        "method": "query", "record": "BenefitStatus", "operations": ["benefit.by_person"],
        "fields": ["amount_band", "area_code", "scheme", "status"],
        "rows": [{"field": "area_code", "op": "prefix", "value": "9801"}],
        "apps": ["assistance-desk"],
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z",
        "limits": {"rows": 5, "per_app_per_minute": 100_000, "per_officer_per_day": 100_000, "deadline_ms": 2000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 3,
        "assessment": "IA-2026-001", "notice": "immediate"
    })
}

pub fn sign_contract(json: &serde_json::Value, keys: &[u8]) -> SignedDocument {
    let keys: Vec<SecretKey> = keys.iter().map(|seed| key(*seed)).collect();
    let payload = serde_json::to_vec_pretty(json).unwrap();
    SignedDocument::sign(payload_type::CONTRACT, &payload, &keys.iter().collect::<Vec<_>>())
}

/// The contract with a change, signed by both.
pub fn changed_contract(change: impl FnOnce(&mut serde_json::Value)) -> SignedDocument {
    let mut json = contract_json();
    change(&mut json);
    sign_contract(&json, &[PROVIDER_ROOT, CONSUMER_ROOT])
}

/// An app's delegation as the consumer's root signs it.
pub fn delegate(root: u8, name: &str, role: Role, app: &str, of: u8) -> SignedDocument {
    let app = AppId::parse(app).unwrap();
    let (from, until) = (NOW - HOUR, NOW + 48 * HOUR);
    Delegation::sign(&key(root), &member(name), role, &app, key(of).public(), 1, from, until)
}

impl World {
    pub fn new() -> Self {
        let entropy = Arc::new(SeededEntropy::new(1));
        let contract = sign_contract(&contract_json(), &[PROVIDER_ROOT, CONSUMER_ROOT]);
        let delegation = delegate(CONSUMER_ROOT, "street-office", Role::App, "assistance-desk", APP);
        let (ledger, stock) = (Arc::new(Ledger::new(5)), Stock::default());
        stock.publish(&contract);
        stock.publish(&delegation);
        let table = Table::default();
        table.rows.lock().unwrap().extend([row(ONE, "980101"), row(TWO, "980102"), row(TWO, "980201")]);
        let world = Self {
            clock: Arc::new(ManualClock::new(NOW)),
            case: CaseId::new(NOW, entropy.as_ref()),
            entropy,
            ledger,
            stock: Arc::new(stock),
            table: Arc::new(table),
            disk: SimulatedDisk::new(),
            contract,
            delegation,
            policy: ContractPolicy::default(),
            limits: AdapterLimits { segment_bytes: 4 << 20, ..AdapterLimits::default() },
            witness: None,
            evidence: tempfile::tempdir().unwrap(),
            mapping: MAPPING.to_owned(),
            honest: true,
            revoked: Mutex::default(),
            word: Mutex::new((100, 0)),
        };
        let open = world.case_act(open_act(), &[ONE, TWO]);
        world.stock.enter(&world.ledger, &world.case, &[(NOW - 1000, open.sign(&key(APP)))]);
        world
    }

    pub fn config(&self) -> AdapterConfig {
        let delegation = delegate(PROVIDER_ROOT, "civil-affairs", Role::Adapter, "main", ADAPTER);
        AdapterConfig {
            member: member("civil-affairs"),
            adapter: AppId::parse("main").unwrap(),
            root: key(PROVIDER_ROOT).public(),
            former_roots: Vec::new(),
            key: key(ADAPTER),
            delegation,
            tag_key: TagKey::new([9; 32]),
            ledger: Arc::new(CheckpointVerifier::new(self.ledger.verifier_key(), ORIGIN, 16)),
            journal_dir: PathBuf::from("/journal"),
            contracts: self.policy.clone(),
            limits: self.limits,
            witness: self
                .witness
                .map(|seed| CosignerKey::from_seed("witness.example/w", &[seed; 32]).unwrap()),
            evidence_dir: self.evidence.path().to_owned(),
        }
    }

    pub fn source(&self) -> MappedSource {
        let mapping = Mapping::parse(&self.mapping, Path::new("benefit.toml")).unwrap();
        MappedSource::new(Arc::new(mapping), Arc::clone(&self.table) as Arc<dyn Source>)
    }

    pub fn try_open(&self) -> Result<Adapter, AdapterError> {
        let ground = Ground { disk: Arc::new(self.disk.clone()), workers: Workers::Threads };
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        let rule = ClockRule::NeverBack;
        Adapter::open_on(
            ground,
            rule,
            self.config(),
            vec![self.source()],
            Arc::clone(&DECIDER),
            clock,
            entropy,
        )
    }

    pub fn open(&self) -> Adapter {
        self.try_open().unwrap()
    }

    /// Another adapter of the same world, with a journal of its own.
    pub fn open_again(&self) -> Adapter {
        let ground = Ground { disk: Arc::new(SimulatedDisk::new()), workers: Workers::Threads };
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        let (rule, config, sources) = (ClockRule::NeverBack, self.config(), vec![self.source()]);
        Adapter::open_on(ground, rule, config, sources, Arc::clone(&DECIDER), clock, entropy).unwrap()
    }

    /// The consumer's tag of a person in the case.
    pub fn tag(&self, subject: &str) -> Tag {
        TagKey::new([8; 32]).tag(subject, &self.case)
    }

    pub fn case_act(&self, act: Act, subjects: &[&str]) -> CaseStatement {
        CaseStatement {
            id: RequestId::new(NOW, self.entropy.as_ref()),
            case: self.case.clone(),
            member: member("street-office"),
            app: AppId::parse("assistance-desk").unwrap(),
            act,
            subject_tags: subjects.iter().map(|subject| self.tag(subject)).collect(),
            issued_at_ms: NOW - 2000,
            expires_at_ms: NOW + 20_000,
            delegation_digest: self.delegation.digest(),
            head: Head::default(),
        }
    }

    /// A request about a person that everything grants, with its body.
    pub fn request(&self, subject: &str) -> (Request, Bytes) {
        self.request_with(subject, Arguments::new())
    }

    pub fn request_with(&self, subject: &str, arguments: Arguments) -> (Request, Bytes) {
        let body = RequestBody { subject: subject.to_owned(), arguments };
        let (bytes, body_digest) = body.encode(self.entropy.as_ref());
        let contract: serde_json::Value = serde_json::from_slice(self.contract.unverified_payload()).unwrap();
        let text = |name: &str| contract[name].as_str().unwrap().to_owned();
        let now_ms = self.clock.now_ms();
        let request = Request {
            id: RequestId::new(now_ms, self.entropy.as_ref()),
            consumer: member("street-office"),
            app: AppId::parse("assistance-desk").unwrap(),
            provider: member("civil-affairs"),
            contract: text("id").parse().unwrap(),
            contract_digest: self.contract.digest(),
            purpose: text("purpose").parse().unwrap(),
            case: self.case.clone(),
            record: text("record").parse().unwrap(),
            operation: "benefit.by_person".parse().unwrap(),
            fields: fields(&["scheme", "status"]),
            subject_tags: vec![self.tag(subject)],
            issued_at_ms: now_ms - 10,
            expires_at_ms: now_ms + 10_000,
            body_digest,
            head: Head::default(),
            retry_of: None,
            officer: None,
            delegation_digest: self.delegation.digest(),
            officer_by: OfficerBy::Asserted,
            sealing: None,
            in_batch: false,
        };
        (request, bytes)
    }

    /// Signs with the app's key and asks.
    pub async fn ask(&self, adapter: &Adapter, request: &Request, body: &Bytes) -> Said {
        self.ask_signed(adapter, &request.sign(&key(APP)), body).await
    }

    pub async fn ask_signed(&self, adapter: &Adapter, signed: &SignedStatement, body: &Bytes) -> Said {
        if self.honest {
            // Refused only by a journal that failed; the answer then tells.
            let _ = adapter.take_standing(&self.word()).await;
        }
        let reply = adapter.handle(signed.bytes().clone(), body.clone(), self.stock.as_ref()).await;
        said(signed.unverified_payload(), reply)
    }

    /// The consumer's newest standing: one for each 20 seconds of the clock.
    pub fn word(&self) -> pb::SignedStanding {
        let issued_at_ms = self.clock.now_ms().div_euclid(20_000) * 20_000;
        let sequence = {
            let mut word = self.word.lock().unwrap();
            if word.1 != issued_at_ms {
                *word = (word.0 + 1, issued_at_ms);
            }
            word.0
        };
        self.word_of(sequence, issued_at_ms, issued_at_ms + LIFE_MS)
    }

    /// A standing of the consumer with a number and times of the test's choice.
    pub fn word_of(&self, sequence: u64, issued_at_ms: i64, expires_at_ms: i64) -> pb::SignedStanding {
        standing(CONSUMER_ROOT, sequence, issued_at_ms, expires_at_ms, &self.revoked.lock().unwrap())
    }

    /// One request about a person, from a fresh id.
    pub async fn look_up(&self, adapter: &Adapter, subject: &str) -> Said {
        let (request, body) = self.request(subject);
        self.ask(adapter, &request, &body).await
    }

    pub fn touched(&self) -> usize {
        self.table.touched.load(Ordering::SeqCst)
    }

    /// Uses another contract from now on, and publishes it.
    pub fn use_contract(&mut self, contract: SignedDocument) {
        self.stock.publish(&contract);
        self.contract = contract;
    }

    pub fn use_delegation(&mut self, delegation: SignedDocument) {
        self.stock.publish(&delegation);
        self.delegation = delegation;
    }
}

/// A standing of the consumer's name under a root; its key is delegated for the two days around it.
pub fn standing(
    root: u8,
    sequence: u64,
    issued_at_ms: i64,
    expires_at_ms: i64,
    revoked: &Revoked,
) -> pb::SignedStanding {
    let (member, name) = (member("street-office"), AppId::parse("main").unwrap());
    let day = issued_at_ms.div_euclid(24 * HOUR) * 24 * HOUR;
    let (from, until) = (day - 24 * HOUR, day + 48 * HOUR);
    let of = key(STANDING).public();
    let delegation = Delegation::sign(&key(root), &member, Role::Standing, &name, of, 2, from, until);
    let standing = Standing {
        member,
        root_digest: yiwang_proto::sha256(key(root).public().as_bytes()),
        sequence,
        revoked_serials: Vec::new(),
        revoked: revoked.clone(),
        issued_at_ms,
        expires_at_ms,
        delegation_digest: delegation.digest(),
    };
    pb::SignedStanding {
        standing: standing.sign(&key(STANDING)).bytes().clone(),
        delegation: delegation.bytes().clone(),
    }
}

/// Verifies an answer as its receiver would.
pub fn said(request_payload: &Bytes, reply: Reply) -> Said {
    let signed = SignedStatement::parse(reply.answer.clone()).unwrap();
    let answer = Answer::open(&signed, &key(ADAPTER).public()).unwrap();
    let request = Request::parse(request_payload).unwrap();
    let digest: Digest = yiwang_proto::sha256(request_payload);
    let mismatch = answer.mismatch(&request, &digest);
    // A request to another provider is answered in the own name: the receiver sees that.
    assert!(mismatch.is_none() || request.provider != member("civil-affairs"), "{mismatch:?}");
    assert_eq!(reply.body.is_empty(), answer.verdict != Verdict::Answered, "a body goes with an answer only");
    Said { answer, body: reply.body.clone(), reply }
}

pub fn open_act() -> Act {
    Act::Open { matter: Matter::parse("social-assistance").unwrap() }
}
