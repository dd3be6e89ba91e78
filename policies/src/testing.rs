//! A small world for tests: one contract, a request that it grants, and everything around it.

use crate::catalogue::RecordDef;
use crate::decide::{Decider, Prepared};
use crate::decision::{Denial, Permit};
use crate::fields::record_of;
use crate::input::{CaseFacts, Context, Counts, OfficerEvidence, Site};
use crate::record_type::RecordTypeVersion;
use std::sync::{Arc, LazyLock};
use yiwang_proto::Digest;
use yiwang_proto::body::{Arguments, RequestBody};
use yiwang_proto::contract::{Contract, ContractText, Scalar};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, FieldName, Matter, MemberId, Officer, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::request::{Head, OfficerBy, Request};
use yiwang_proto::ticket::Ticket;

pub static DECIDER: LazyLock<Decider> = LazyLock::new(|| Decider::builtin().unwrap());

/// Two versions of a record that members added: the second raises a class, and another member provides it too.
pub static BUS_PASS: LazyLock<[RecordTypeVersion; 2]> = LazyLock::new(|| {
    let first = bus_pass(1, None, 2, &[1]);
    let second = bus_pass(2, Some(&first.digest), 3, &[1, 3]);
    [first, second]
});
/// The same record as a member that is no provider of the example's contract adds it.
pub static OTHERS_PASS: LazyLock<RecordTypeVersion> = LazyLock::new(|| bus_pass(1, None, 0, &[3]));

fn bus_pass(version: u32, previous: Option<&Digest>, class: u8, roots: &[u8]) -> RecordTypeVersion {
    let member = |seed: &u8| if *seed == 1 { "civil-affairs" } else { "transport" };
    let json = serde_json::json!({
        "format": crate::record_type::FORMAT, "record": "BusPass", "version": version,
        "previous": previous.map(|digest| yiwang_proto::hex(digest)),
        "owner": "transport", "subject": "person", "about": "a pass for public transport",
        "fields": {
            "area_code": {"type": "code", "class": 1, "about": "area code of the office"},
            "grant": {"type": "string", "class": class, "about": "why it costs less"},
            "scheme": {"type": "code", "class": 2, "about": "kind of pass"},
        },
        "providers": roots.iter().map(|seed| serde_json::json!({
            "member": member(seed), "root": root(*seed).public(),
        })).collect::<Vec<_>>(),
    });
    let keys: Vec<SecretKey> = roots.iter().map(|seed| root(*seed)).collect();
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let document = SignedDocument::sign(payload_type::RECORD_TYPE, json.to_string().as_bytes(), &keys);
    RecordTypeVersion::open(&document).unwrap()
}

pub const NOW: i64 = 1_795_000_000_000;

pub fn fields(names: &[&str]) -> Vec<FieldName> {
    names.iter().map(|name| FieldName::parse(name).unwrap()).collect()
}

pub fn root(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// A contract over `BenefitStatus` with fields of class 1, 2 and 3.
pub fn contract_json() -> serde_json::Value {
    serde_json::json!({
        "format": "yiwang-contract/1", "id": "civil-street-benefit", "version": 1,
        "provider": {"member": "civil-affairs", "root": root(1).public(), "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": root(2).public(), "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "see what a household that applies gets already",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"],
        "method": "query", "record": "BenefitStatus", "operations": ["benefit.by_person"],
        "fields": ["amount_band", "area_code", "scheme", "status"],
        "rows": [
            {"field": "area_code", "op": "prefix", "value": "9801"},
            {"field": "scheme", "op": "eq", "param": "scheme"}
        ],
        "apps": ["assistance-desk"],
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z",
        "limits": {"rows": 5, "per_app_per_minute": 600, "per_officer_per_day": 100, "deadline_ms": 2000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 3,
        "assessment": "IA-2026-001", "notice": "immediate"
    })
}

pub fn text(json: &serde_json::Value) -> ContractText {
    ContractText::parse(json.to_string().as_bytes()).unwrap()
}

pub fn contract(text: ContractText) -> Arc<Contract> {
    Arc::new(Contract {
        valid_from_ms: yiwang_proto::time::parse_rfc3339(&text.valid_from).unwrap(),
        valid_until_ms: yiwang_proto::time::parse_rfc3339(&text.valid_until).unwrap(),
        digest: yiwang_proto::sha256(&text.to_json()),
        text,
    })
}

/// Owned facts that a [`Context`] borrows; the defaults are granted.
#[derive(Debug, Clone)]
pub struct World {
    pub contract: Arc<Contract>,
    pub request: Request,
    pub site: Site,
    pub now_ms: i64,
    pub delegation: Delegation,
    pub case: Option<(MemberId, Matter, bool, bool)>,
    pub body: Option<RequestBody>,
    pub counts: Option<Counts>,
    pub sealed: bool,
    pub officer: Proof,
    /// Versions of record types that members added and that are at hand.
    pub added: Vec<&'static RecordTypeVersion>,
}

/// What an [`OfficerEvidence`] borrows.
#[derive(Debug, Clone)]
pub enum Proof {
    Asserted,
    Ticket(Ticket, Delegation, Option<u32>),
    Signed(Delegation),
}

pub fn officer() -> Officer {
    Officer::parse("o-cccccccccccccccc").unwrap()
}

impl World {
    pub fn new() -> Self {
        Self::under(contract(text(&contract_json())))
    }

    /// A request for the fields of class 2 that the contract grants.
    pub fn under(contract: Arc<Contract>) -> Self {
        let said = &contract.text;
        let delegation = Delegation {
            member: said.consumer.member.clone(),
            root: said.consumer.root,
            role: Role::App,
            name: said.apps[0].clone(),
            key: root(9).public(),
            serial: 1,
            valid_from_ms: NOW - 1000,
            valid_until_ms: NOW + 1000,
            digest: [7; 32],
        };
        let request = Request {
            id: RequestId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap(),
            consumer: said.consumer.member.clone(),
            app: said.apps[0].clone(),
            provider: said.provider.member.clone(),
            contract: said.id.clone(),
            contract_digest: contract.digest,
            purpose: said.purpose.clone(),
            case: CaseId::parse("0190a5c3-0000-7000-8000-000000000002").unwrap(),
            record: said.record.clone(),
            operation: said.operations[0].clone(),
            fields: fields(&["scheme", "status"]),
            subject_tags: vec![[1; 32]],
            issued_at_ms: NOW - 10,
            expires_at_ms: NOW + 10_000,
            body_digest: [0; 32],
            head: Head::default(),
            retry_of: None,
            officer: None,
            delegation_digest: [7; 32],
            officer_by: OfficerBy::Asserted,
            sealing: None,
            in_batch: false,
        };
        let scheme = FieldName::parse("scheme").unwrap();
        let arguments = Arguments::from([(scheme, Scalar::Text("minimum-living".to_owned()))]);
        Self {
            case: Some((said.consumer.member.clone(), said.matters[0].clone(), true, true)),
            contract,
            request,
            site: Site::Adapter,
            now_ms: NOW,
            delegation,
            body: Some(RequestBody { subject: "980101199001010017".to_owned(), arguments }),
            counts: Some(Counts { app_this_minute: 1, officer_today: 1 }),
            sealed: false,
            officer: Proof::Asserted,
            added: Vec::new(),
        }
    }

    /// The officer signs the statement.
    pub fn signed(&mut self) {
        let delegation = self.officer_key();
        self.request.officer = Some(officer());
        self.request.officer_by = OfficerBy::Signature(delegation.digest);
        self.officer = Proof::Signed(delegation);
    }

    /// The officer gives a ticket for two uses, of which this is the first.
    pub fn ticketed(&mut self) {
        let delegation = self.officer_key();
        let ticket = Ticket {
            id: self.request.id.clone(),
            member: self.request.consumer.clone(),
            officer: officer(),
            app: self.request.app.clone(),
            case: self.request.case.clone(),
            uses: 2,
            issued_at_ms: NOW - 1000,
            expires_at_ms: NOW + 1000,
            delegation_digest: delegation.digest,
            digest: [4; 32],
        };
        self.request.officer = Some(officer());
        self.request.officer_by = OfficerBy::Ticket(ticket.digest);
        self.officer = Proof::Ticket(ticket, delegation, Some(1));
    }

    fn officer_key(&self) -> Delegation {
        Delegation {
            role: Role::Officer,
            name: app(officer().as_str()),
            key: root(11).public(),
            digest: [5; 32],
            ..self.delegation.clone()
        }
    }

    /// Changes the contract's text, without its check.
    pub fn contract_with(mut self, change: impl FnOnce(&mut serde_json::Value)) -> Self {
        let mut json = serde_json::to_value(&self.contract.text).unwrap();
        change(&mut json);
        self.contract = contract(text(&json));
        self.request.contract_digest = self.contract.digest;
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            site: self.site,
            now_ms: self.now_ms,
            delegation: &self.delegation,
            case: self.case.as_ref().map(|(member, matter, open, lists_all_tags)| CaseFacts {
                member,
                matter,
                open: *open,
                lists_all_tags: *lists_all_tags,
            }),
            body: self.body.as_ref(),
            counts: self.counts,
            sealed: self.sealed,
            officer: match &self.officer {
                Proof::Asserted => OfficerEvidence::Asserted,
                Proof::Ticket(ticket, delegation, uses) => {
                    OfficerEvidence::Ticket { ticket, delegation, uses: *uses }
                }
                Proof::Signed(delegation) => OfficerEvidence::Signed { delegation },
            },
        }
    }

    /// The version that the contract pins, if it is at hand; else any: a contract is given what a caller has.
    pub fn pinned(&self) -> Option<&'static RecordTypeVersion> {
        let pinned = self.contract.text.pinned_record_type();
        let named = self.added.iter().find(|version| Some(version.digest) == pinned);
        named.or(self.added.first()).copied()
    }

    /// The record that the contract is about.
    pub fn record(&self) -> Option<Arc<RecordDef>> {
        record_of(&self.contract.text, DECIDER.catalogue(), self.pinned()).ok()
    }

    pub fn prepared(&self) -> Prepared {
        DECIDER.prepare_unchecked(Arc::clone(&self.contract), self.record()).unwrap()
    }

    pub fn decide(&self) -> Result<Permit, Denial> {
        DECIDER.decide(&self.request, &self.prepared(), &self.context())
    }
}

pub fn member(name: &str) -> MemberId {
    MemberId::parse(name).unwrap()
}

pub fn app(name: &str) -> AppId {
    AppId::parse(name).unwrap()
}

pub fn argument(name: &str, value: Scalar) -> (FieldName, Scalar) {
    (FieldName::parse(name).unwrap(), value)
}

/// Random cases of a property: as many as `cargo test` has time for, or 20 times as many where `YIWANG_LONG`
/// is set.
pub fn cases(short: u32) -> u32 {
    if std::env::var_os("YIWANG_LONG").is_some() { short * 20 } else { short }
}
