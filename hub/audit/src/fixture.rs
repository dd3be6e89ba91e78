//! A small honest ledger and ways to spoil it, for tests: two members, delegations, a contract, a case,
//! exchanges, written as a ledger folder or as evidence bundles. [`World::edit`] and its like play a hub that
//! lies and signs its lies with the real key of the ledger.
//!
//! Everything is deterministic; names and ids are made up.
#![expect(clippy::expect_used, clippy::panic, reason = "fixtures of tests fail by panicking")]

mod exchanges;
mod folder;
mod standings;

pub use exchanges::Exchange;

use bytes::Bytes;
use std::collections::HashMap;
use yiwang_policies::Decider;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, Matter, MemberId, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::member::MemberCard;
use yiwang_proto::merkle::leaf_hash;
use yiwang_proto::note::{SignerKey, VerifierKey};
use yiwang_proto::request::Head;
use yiwang_proto::tag::{Tag, TagKey};
use yiwang_proto::{Digest, pb};

/// The origin of fixture ledgers.
pub const ORIGIN: &str = "ledger.test/yiwang";
/// Ledger time of the first entry, milliseconds.
pub const START_MS: i64 = 1_800_000_000_000;
/// Time between two entries, milliseconds.
pub const STEP_MS: i64 = 5_000;

/// A member with its keys.
#[derive(Debug, Clone)]
pub struct Party {
    /// The member.
    pub id: MemberId,
    /// Its root.
    pub root: SecretKey,
    /// Its next root.
    pub next_root: SecretKey,
    /// Key of its app.
    pub app: SecretKey,
    /// Key of its adapter.
    pub adapter: SecretKey,
    /// Digest of the app's delegation, and its entry.
    pub app_delegation: (Digest, u64),
    /// Digest of the adapter's delegation, and its entry.
    pub adapter_delegation: (Digest, u64),
}

/// A ledger in the making.
pub struct World {
    /// The provider, `police`.
    pub provider: Party,
    /// The consumer, `street-office`.
    pub consumer: Party,
    /// The newest version of the contract, its digest and entry.
    pub contract: (Digest, u64),
    /// The case that exchanges name.
    pub case: CaseId,
    /// The entry that opened it.
    pub case_index: u64,
    /// The entry of the policy.
    pub policy_index: u64,
    /// Ledger time of the next entry.
    pub now_ms: i64,
    /// The encoded entries.
    pub entries: Vec<Bytes>,
    signer: SignerKey,
    last_of: HashMap<MemberId, u64>,
    words: HashMap<MemberId, (u64, Digest)>,
    ids: u32,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn party(id: &str, seed: u8) -> Party {
    Party {
        id: MemberId::parse(id).expect("an id"),
        root: secret(seed),
        next_root: secret(seed + 1),
        app: secret(seed + 2),
        adapter: secret(seed + 3),
        app_delegation: ([0; 32], 0),
        adapter_delegation: ([0; 32], 0),
    }
}

/// The name of each member's app.
pub fn app() -> AppId {
    AppId::parse("assistance-desk").expect("an id")
}

/// The name of each member's adapter.
pub fn adapter() -> AppId {
    AppId::parse("register-adapter").expect("an id")
}

/// The tag of a made-up subject in a case.
pub fn tag(subject: u32, case: &CaseId) -> Tag {
    TagKey::new([7; 32]).tag(&format!("98010119900101{subject:04}"), case)
}

impl World {
    /// Origin, policy, two members with their delegations, a contract and an open case: 9 entries.
    pub fn new() -> Self {
        let signer = SignerKey::from_seed(ORIGIN, &[99; 32]).expect("a key");
        let case = CaseId::parse("01a31a5f-a400-7000-8000-000000000001").expect("an id");
        let mut world = Self {
            provider: party("police", 10),
            consumer: party("street-office", 20),
            contract: ([0; 32], 0),
            case_index: 0,
            policy_index: 0,
            now_ms: START_MS,
            entries: Vec::new(),
            signer,
            last_of: HashMap::new(),
            words: HashMap::new(),
            ids: 0,
            case,
        };
        let key = world.key();
        let origin = pb::OriginEntry {
            origin: ORIGIN.to_owned(),
            verifier_key: key.to_string(),
            old_head: Bytes::new(),
        };
        world.push(Kind::Origin(origin));
        let digest = Decider::builtin().expect("the rules").digest();
        let policy = pb::PolicyEntry { digest: digest.to_vec().into(), version: "1".to_owned() };
        world.policy_index = world.push(Kind::Policy(policy));
        for who in [world.provider.clone(), world.consumer.clone()] {
            world.publish_card(&who.id, &who.root, &who.next_root);
        }
        let (provider, consumer) = (world.provider.clone(), world.consumer.clone());
        world.provider.adapter_delegation =
            world.publish_delegation(&provider, Role::Adapter, &adapter(), &provider.adapter, 1);
        world.consumer.app_delegation =
            world.publish_delegation(&consumer, Role::App, &app(), &consumer.app, 1);
        world.contract = world.publish_contract(1, |_| {});
        let case = world.case.clone();
        world.case_index = world.open_case(&case, &[1, 2]);
        world
    }

    /// The ledger's key.
    pub fn key(&self) -> VerifierKey {
        self.signer.verifier().clone()
    }

    /// The head that every party knows: the ledger's first entry.
    pub fn head(&self) -> Head {
        Head { size: 1, root: self.entries.first().map_or([0; 32], |entry| leaf_hash(entry)) }
    }

    /// A fresh UUID.
    pub fn next_id(&mut self) -> RequestId {
        self.ids += 1;
        RequestId::parse(&format!("01a31a5f-a400-7000-8000-{:012x}", 0x1000 + self.ids)).expect("an id")
    }

    /// Appends an entry at the next ledger time; returns its index.
    pub fn push(&mut self, kind: Kind) -> u64 {
        let index = self.entries.len() as u64;
        let message = pb::Entry { time_ms: self.now_ms, kind: Some(kind) };
        self.entries.push(entry::encode(&message).expect("an entry"));
        self.now_ms += STEP_MS;
        index
    }

    /// Changes an entry afterwards, as a hub that rewrites history would.
    pub fn edit(&mut self, index: u64, change: impl FnOnce(&mut pb::Entry)) {
        let slot = usize::try_from(index).ok().and_then(|at| self.entries.get_mut(at)).expect("an entry");
        let mut message = entry::decode(slot).expect("an entry");
        change(&mut message);
        *slot = entry::encode(&message).expect("an entry");
    }

    /// Changes an exchange entry afterwards.
    pub fn edit_exchange(&mut self, index: u64, change: impl FnOnce(&mut pb::ExchangeEntry)) {
        self.edit(index, |entry| match &mut entry.kind {
            Some(Kind::Exchange(exchange)) => change(exchange),
            _ => panic!("entry {index} is no exchange"),
        });
    }

    /// Publishes a member card.
    pub fn publish_card(&mut self, member: &MemberId, root: &SecretKey, next_root: &SecretKey) -> u64 {
        let card = MemberCard::sign(root, &next_root.public(), member, "Made-up Office", self.now_ms);
        self.push(Kind::Member(pb::MemberEntry { card: card.bytes().clone() }))
    }

    /// Publishes a delegation under the party's root, valid for a year; returns digest and entry.
    pub fn publish_delegation(
        &mut self,
        of: &Party,
        role: Role,
        name: &AppId,
        key: &SecretKey,
        serial: u64,
    ) -> (Digest, u64) {
        let until = START_MS + 365 * 86_400_000;
        let document = Delegation::sign(
            &of.root,
            &of.id,
            role,
            name,
            key.public(),
            serial,
            START_MS - 86_400_000,
            until,
        );
        let entry = pb::DocumentEntry { document: document.bytes().clone() };
        (document.digest(), self.push(Kind::Delegation(entry)))
    }

    /// The text of the contract.
    pub fn contract_text(&self, version: u32) -> serde_json::Value {
        serde_json::json!({
            "format": yiwang_proto::contract::FORMAT, "id": "police-street-person", "version": version,
            "provider": {
                "member": self.provider.id, "root": self.provider.root.public(), "approver": "o-aaaaaaaaaaaaaaaa"
            },
            "consumer": {
                "member": self.consumer.id, "root": self.consumer.root.public(), "approver": "o-bbbbbbbbbbbbbbbb"
            },
            "legal_basis": "Interim Measures for Social Assistance, art. 58",
            "scenario": "check who lives in a household that applies for assistance",
            "purpose": "social-assistance.eligibility", "matters": ["social-assistance"],
            "method": "query", "record": "Person", "operations": ["person.by_id"],
            "fields": ["birth_date", "name"],
            "rows": [{"field": "area_code", "op": "prefix", "value": "980101"}],
            "apps": [app()],
            "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2028-01-01T00:00:00Z",
            "limits": {
                "rows": 5, "per_app_per_minute": 600, "per_officer_per_day": 100_000, "deadline_ms": 2000
            },
            "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 2,
            "notice": "immediate"
        })
    }

    /// Publishes a version of the contract signed under both roots; returns digest and entry.
    pub fn publish_contract(
        &mut self,
        version: u32,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> (Digest, u64) {
        let mut text = self.contract_text(version);
        change(&mut text);
        let keys = [&self.provider.root.clone(), &self.consumer.root.clone()];
        self.publish_signed_contract(&text, &keys)
    }

    /// Publishes a contract text under any keys.
    pub fn publish_signed_contract(
        &mut self,
        text: &serde_json::Value,
        keys: &[&SecretKey],
    ) -> (Digest, u64) {
        let document = SignedDocument::sign(payload_type::CONTRACT, text.to_string().as_bytes(), keys);
        // A contract that does not stand is made on purpose by some tests.
        let digest = Contract::open(&document).map_or_else(|_| document.digest(), |contract| contract.digest);
        let entry = pb::DocumentEntry { document: document.bytes().clone() };
        (digest, self.push(Kind::Contract(entry)))
    }

    /// A statement about a case by the consumer's app, at the present time.
    pub fn case_statement(&mut self, case: &CaseId, act: Act, subjects: &[u32]) -> CaseStatement {
        CaseStatement {
            id: self.next_id(),
            case: case.clone(),
            member: self.consumer.id.clone(),
            app: app(),
            act,
            subject_tags: subjects.iter().map(|subject| tag(*subject, case)).collect(),
            issued_at_ms: self.now_ms - 100,
            expires_at_ms: self.now_ms + 20_000,
            delegation_digest: self.consumer.app_delegation.0,
            head: self.head(),
        }
    }

    /// Records a case statement signed by a key.
    pub fn record_case(&mut self, statement: &CaseStatement, key: &SecretKey) -> u64 {
        let signed = statement.sign(key);
        let previous_of_member = self.last_of.get(&statement.member).copied().unwrap_or(0);
        let entry = pb::CaseEntry { statement: signed.bytes().clone(), previous_of_member };
        let index = self.push(Kind::CaseStatement(entry));
        self.last_of.insert(statement.member.clone(), index + 1);
        index
    }

    /// Opens a case.
    pub fn open_case(&mut self, case: &CaseId, subjects: &[u32]) -> u64 {
        let matter = Matter::parse("social-assistance").expect("an id");
        let statement = self.case_statement(case, Act::Open { matter }, subjects);
        let key = self.consumer.app.clone();
        self.record_case(&statement, &key)
    }

    /// Adds subjects to a case.
    pub fn add_to_case(&mut self, case: &CaseId, subjects: &[u32]) -> u64 {
        let act = Act::Add { reason: "household-member".to_owned() };
        let statement = self.case_statement(case, act, subjects);
        let key = self.consumer.app.clone();
        self.record_case(&statement, &key)
    }

    /// Closes a case.
    pub fn close_case(&mut self, case: &CaseId) -> u64 {
        let statement = self.case_statement(case, Act::Close { reason: "decided".to_owned() }, &[]);
        let key = self.consumer.app.clone();
        self.record_case(&statement, &key)
    }
}
