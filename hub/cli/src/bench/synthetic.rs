//! A synthetic ledger in files: members, contracts, cases and exchanges whose every signature and decision is
//! good, so that the offline verifier has its full work and finds nothing.

use crate::fail::Failure;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use yiwang_journal::Journal;
use yiwang_policies::Decider;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{
    AppId, CaseId, ContractId, FieldName, Matter, MemberId, Officer, Operation, Purpose, RecordType,
    RequestId,
};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::member::MemberCard;
use yiwang_proto::merkle::{FinishedTile, Tree, leaf_hash};
use yiwang_proto::note::{SignerKey, VerifierKey};
use yiwang_proto::request::{Head, Request};
use yiwang_proto::tag::{Tag, TagKey};
use yiwang_proto::{Digest, pb};

const ORIGIN: &str = "bench.example/search";
const START_MS: i64 = 1_800_000_000_000;
/// Time from one entry to the next: a million entries are about six days.
const STEP_MS: i64 = 500;
/// Consumers; each has a contract with the one provider.
const CONSUMERS: usize = 16;
/// Officers of each consumer.
const OFFICERS: usize = 64;
/// Exchanges in one case before the consumer opens the next.
const PER_CASE: usize = 40;
/// Entries that are signed at once by all processors, and written as one batch.
const CHUNK: usize = 1024;
/// The letters of a pseudonym.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn bad(error: impl std::fmt::Display) -> Failure {
    Failure::environment(error)
}

/// A pseudonym for a number.
pub fn officer(number: usize) -> Result<Officer, Failure> {
    let mut text = "o-".to_owned();
    let mut rest = number;
    for _ in 0..16 {
        text.push(LETTERS.get(rest % 32).copied().map_or('a', char::from));
        rest /= 32;
    }
    Officer::parse(&text).map_err(bad)
}

struct Party {
    id: MemberId,
    root: SecretKey,
    key: SecretKey,
    delegation: (Digest, u64),
    contract: (ContractId, Digest, u64),
    case: (CaseId, u64),
    tag: Tag,
}

/// What to sign for one exchange; done by whichever processor is free.
struct Draft {
    index: u64,
    time_ms: i64,
    consumer: usize,
    number: usize,
    case: (CaseId, u64),
    tag: Tag,
    previous: (u64, u64),
    denied: bool,
}

/// The ledger while it is written.
struct Maker {
    folder: PathBuf,
    journal: Journal,
    tree: Tree,
    batch: Vec<Bytes>,
    next: u64,
    now_ms: i64,
    head: Head,
    last_of: HashMap<MemberId, u64>,
    provider: Party,
    consumers: Vec<Party>,
    policy: u64,
}

/// Writes a ledger of about this many entries; returns its key and its size.
pub fn write(folder: &Path, entries: usize) -> Result<(VerifierKey, u64), Failure> {
    let signer = SignerKey::from_seed(ORIGIN, &[99; 32]).map_err(bad)?;
    let options = yiwang_hub::ledger::store_files::options(64 << 20);
    let (journal, _) = Journal::open(&folder.join("segments"), options, 0).map_err(bad)?;
    let mut maker = Maker {
        folder: folder.to_owned(),
        journal,
        tree: Tree::new(),
        batch: Vec::new(),
        next: 0,
        now_ms: START_MS,
        head: Head { size: 0, root: yiwang_proto::merkle::EMPTY_ROOT },
        last_of: HashMap::new(),
        provider: party("provider", 0)?,
        consumers: (0..CONSUMERS)
            .map(|at| party(&format!("consumer-{at}"), at + 1))
            .collect::<Result<_, _>>()?,
        policy: 0,
    };
    maker.begin(signer.verifier())?;
    let mut number = 0;
    while usize::try_from(maker.next).unwrap_or(usize::MAX) < entries {
        number = maker.exchanges(number, entries)?;
    }
    maker.flush()?;
    maker.keep(&maker.tree.partials())?;
    let checkpoint = Checkpoint::new(ORIGIN, maker.next, maker.tree.root()).map_err(bad)?;
    std::fs::write(folder.join("checkpoint"), checkpoint.sign(&signer).map_err(bad)?).map_err(bad)?;
    Ok((signer.verifier().clone(), maker.next))
}

fn party(id: &str, number: usize) -> Result<Party, Failure> {
    let byte = u8::try_from(number).map_err(bad)?;
    let seed = |role: u8| {
        let mut seed = [role; 32];
        seed.fill(role);
        if let Some(first) = seed.first_mut() {
            *first = byte;
        }
        SecretKey::from_seed(&seed)
    };
    Ok(Party {
        id: MemberId::parse(id).map_err(bad)?,
        root: seed(1),
        key: seed(2),
        delegation: ([0; 32], 0),
        contract: (ContractId::parse("none").map_err(bad)?, [0; 32], 0),
        case: (case_id(0)?, 0),
        tag: [0; 32],
    })
}

fn case_id(number: usize) -> Result<CaseId, Failure> {
    CaseId::parse(&format!("01a31a5f-a400-7000-8000-{number:012x}")).map_err(bad)
}

fn app() -> Result<AppId, Failure> {
    AppId::parse("desk").map_err(bad)
}

impl Maker {
    fn push(&mut self, kind: Kind) -> Result<u64, Failure> {
        let message = pb::Entry { time_ms: self.now_ms, kind: Some(kind) };
        self.take(entry::encode(&message).map_err(bad)?)
    }

    fn take(&mut self, bytes: Bytes) -> Result<u64, Failure> {
        let index = self.next;
        let tiles = self.tree.append(&[leaf_hash(&bytes)]);
        self.keep(&tiles)?;
        if self.head.size == 0 {
            self.head = Head { size: 1, root: self.tree.root() };
        }
        self.batch.push(bytes);
        self.next += 1;
        self.now_ms += STEP_MS;
        if self.batch.len() >= CHUNK {
            self.flush()?;
        }
        Ok(index)
    }

    fn keep(&self, tiles: &[FinishedTile]) -> Result<(), Failure> {
        for tile in tiles {
            let path = self.folder.join(tile.path().to_string());
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(bad)?;
            }
            std::fs::write(path, &tile.bytes).map_err(bad)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            self.journal.append(&self.batch).map_err(bad)?;
            self.batch.clear();
        }
        Ok(())
    }

    /// Origin, policy, members, keys, contracts.
    fn begin(&mut self, key: &VerifierKey) -> Result<(), Failure> {
        let origin = pb::OriginEntry {
            origin: ORIGIN.to_owned(),
            verifier_key: key.to_string(),
            old_head: Bytes::new(),
        };
        self.push(Kind::Origin(origin))?;
        let digest = Decider::builtin().map_err(bad)?.digest();
        self.policy = self.push(Kind::Policy(pb::PolicyEntry {
            digest: digest.to_vec().into(),
            version: "1".to_owned(),
        }))?;
        self.provider.delegation = self.join(None)?;
        for at in 0..self.consumers.len() {
            let delegation = self.join(Some(at))?;
            let contract = self.agree(at)?;
            if let Some(consumer) = self.consumers.get_mut(at) {
                (consumer.delegation, consumer.contract) = (delegation, contract);
            }
        }
        Ok(())
    }

    /// A member's card and the delegation of its one key.
    fn join(&mut self, consumer: Option<usize>) -> Result<(Digest, u64), Failure> {
        let party = consumer.map_or(Some(&self.provider), |at| self.consumers.get(at));
        let party = party.ok_or_else(|| bad("no such party"))?;
        let card = MemberCard::sign(&party.root, &party.key.public(), &party.id, "Bench", self.now_ms);
        let role = if consumer.is_some() { Role::App } else { Role::Adapter };
        let until = START_MS + 300 * 86_400_000;
        let (from, key) = (START_MS - 86_400_000, party.key.public());
        let document = Delegation::sign(&party.root, &party.id, role, &app()?, key, 1, from, until);
        self.push(Kind::Member(pb::MemberEntry { card: card.bytes().clone() }))?;
        let entry = pb::DocumentEntry { document: document.bytes().clone() };
        Ok((document.digest(), self.push(Kind::Delegation(entry))?))
    }

    fn agree(&mut self, at: usize) -> Result<(ContractId, Digest, u64), Failure> {
        let consumer = self.consumers.get(at).ok_or_else(|| bad("no such party"))?;
        let id = format!("bench-{at}");
        let text = serde_json::json!({
            "format": yiwang_proto::contract::FORMAT, "id": id, "version": 1,
            "provider": {
                "member": self.provider.id, "root": self.provider.root.public(), "approver": "o-aaaaaaaaaaaaaaaa"
            },
            "consumer": { "member": consumer.id, "root": consumer.root.public(), "approver": "o-bbbbbbbbbbbbbbbb" },
            "legal_basis": "Interim Measures for Social Assistance, art. 58",
            "scenario": "measure how long an auditor waits",
            "purpose": "social-assistance.eligibility", "matters": ["social-assistance"],
            "method": "query", "record": "Person", "operations": ["person.by_id"],
            "fields": ["birth_date", "name"], "rows": [], "apps": [app()?],
            "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2028-01-01T00:00:00Z",
            "limits": {
                "rows": 5, "per_app_per_minute": 600, "per_officer_per_day": 100_000, "deadline_ms": 2000
            },
            "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 2, "notice": "immediate"
        });
        let keys = [&self.provider.root, &consumer.root];
        let document = SignedDocument::sign(payload_type::CONTRACT, text.to_string().as_bytes(), &keys);
        let contract = Contract::open(&document).map_err(bad)?;
        let entry = pb::DocumentEntry { document: document.bytes().clone() };
        Ok((contract.text.id.clone(), contract.digest, self.push(Kind::Contract(entry))?))
    }

    fn open_case(&mut self, at: usize, number: usize) -> Result<(), Failure> {
        let id = case_id(number + 1)?;
        let consumer = self.consumers.get(at).ok_or_else(|| bad("no such party"))?;
        let tag = TagKey::new([7; 32]).tag(&format!("subject-{number}"), &id);
        let statement = CaseStatement {
            id: request_id(u64::MAX / 2 + self.next)?,
            case: id.clone(),
            member: consumer.id.clone(),
            app: app()?,
            act: Act::Open { matter: Matter::parse("social-assistance").map_err(bad)? },
            subject_tags: vec![tag],
            issued_at_ms: self.now_ms - 100,
            expires_at_ms: self.now_ms + 20_000,
            delegation_digest: consumer.delegation.0,
            head: self.head,
        };
        let (member, signed) = (consumer.id.clone(), statement.sign(&consumer.key));
        let previous_of_member = self.last_of.get(&member).copied().unwrap_or_default();
        let entry = pb::CaseEntry { statement: signed.bytes().clone(), previous_of_member };
        let index = self.push(Kind::CaseStatement(entry))?;
        self.last_of.insert(member, index + 1);
        if let Some(consumer) = self.consumers.get_mut(at) {
            (consumer.case, consumer.tag) = ((id, index), tag);
        }
        Ok(())
    }

    /// One chunk of exchanges, signed on all processors.
    fn exchanges(&mut self, mut number: usize, entries: usize) -> Result<usize, Failure> {
        let mut drafts = Vec::with_capacity(CHUNK);
        for at in 0..self.consumers.len() {
            if (number / CONSUMERS).is_multiple_of(PER_CASE)
                || self.consumers.get(at).is_some_and(|c| c.case.1 == 0)
            {
                self.open_case(at, number + at)?;
            }
        }
        let room = entries.saturating_sub(usize::try_from(self.next).unwrap_or(usize::MAX));
        // A whole number of cases, so that the next chunk begins with new ones.
        for _ in 0..(CONSUMERS * PER_CASE).min(room) {
            let consumer = number % CONSUMERS;
            let party = self.consumers.get(consumer).ok_or_else(|| bad("no such party"))?;
            let index = self.next + drafts.len() as u64;
            let previous = |id: &MemberId| self.last_of.get(id).copied().unwrap_or_default();
            drafts.push(Draft {
                index,
                time_ms: self.now_ms + i64::try_from(drafts.len()).map_err(bad)? * STEP_MS,
                consumer,
                number,
                case: party.case.clone(),
                tag: party.tag,
                previous: (previous(&party.id), previous(&self.provider.id)),
                denied: number % 50 == 49,
            });
            let id = party.id.clone();
            self.last_of.insert(id, index + 1);
            self.last_of.insert(self.provider.id.clone(), index + 1);
            number += 1;
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let part = drafts.len().div_ceil(threads).max(1);
        let this = &*self;
        let signed: Vec<Result<Bytes, Failure>> = std::thread::scope(|scope| {
            let running: Vec<_> = drafts
                .chunks(part)
                .map(|part| {
                    scope.spawn(move || part.iter().map(|draft| this.sign(draft)).collect::<Vec<_>>())
                })
                .collect();
            running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        if signed.len() != drafts.len() {
            return Err(bad("an entry could not be signed"));
        }
        for bytes in signed {
            self.take(bytes?)?;
        }
        Ok(number)
    }

    fn sign(&self, draft: &Draft) -> Result<Bytes, Failure> {
        let consumer = self.consumers.get(draft.consumer).ok_or_else(|| bad("no such party"))?;
        let names: &[&str] = if draft.denied { &["id_number"] } else { &["birth_date", "name"] };
        let fields = names.iter().map(|name| FieldName::parse(name).map_err(bad));
        let fields: Vec<FieldName> = fields.collect::<Result<_, _>>()?;
        let request = Request {
            id: request_id(draft.index)?,
            consumer: consumer.id.clone(),
            app: app()?,
            provider: self.provider.id.clone(),
            contract: consumer.contract.0.clone(),
            contract_digest: consumer.contract.1,
            purpose: Purpose::parse("social-assistance.eligibility").map_err(bad)?,
            case: draft.case.0.clone(),
            record: RecordType::parse("Person").map_err(bad)?,
            operation: Operation::parse("person.by_id").map_err(bad)?,
            fields: fields.clone(),
            subject_tags: vec![draft.tag],
            issued_at_ms: draft.time_ms - 200,
            expires_at_ms: draft.time_ms + 20_000,
            body_digest: [5; 32],
            head: self.head,
            retry_of: None,
            officer: Some(officer(draft.consumer * OFFICERS + draft.number / CONSUMERS % OFFICERS)?),
            delegation_digest: consumer.delegation.0,
            officer_by: yiwang_proto::request::OfficerBy::Asserted,
            sealing: None,
            in_batch: false,
        };
        let signed = request.sign(&consumer.key);
        let mut raw = pb::ExchangeEntry {
            peer: consumer.id.as_str().to_owned(),
            request: signed.bytes().clone(),
            outcome: pb::Outcome::Answered.into(),
            policy_index: self.policy,
            contract_index: consumer.contract.2,
            app_delegation_index: consumer.delegation.1,
            case_index: draft.case.1,
            previous_of_consumer: draft.previous.0,
            previous_of_provider: draft.previous.1,
            officer_proof: pb::OfficerProof::Asserted.into(),
            ..pb::ExchangeEntry::default()
        };
        if draft.denied {
            raw.set_outcome(pb::Outcome::Denied);
            raw.code = "field_not_granted".to_owned();
        } else {
            raw.adapter_delegation_index = self.provider.delegation.1;
            raw.answer = self
                .answer(&request, signed.digest(), fields, draft)
                .sign(&self.provider.key)
                .bytes()
                .clone();
        }
        let message = pb::Entry { time_ms: draft.time_ms, kind: Some(Kind::Exchange(raw)) };
        entry::encode(&message).map_err(bad)
    }

    fn answer(&self, request: &Request, digest: Digest, fields: Vec<FieldName>, draft: &Draft) -> Answer {
        Answer {
            request_id: request.id.clone(),
            request_digest: digest,
            provider: self.provider.id.clone(),
            adapter: request.app.clone(),
            verdict: Verdict::Answered,
            clause: String::new(),
            fields,
            withheld: Vec::new(),
            rows: 1,
            subject_tags: vec![yiwang_proto::sha256(&draft.tag)],
            subject_tags_root: None,
            answered_at_ms: draft.time_ms - 50,
            as_of_ms: 0,
            body_digest: Some([6; 32]),
            mapping_digest: [8; 32],
            head: self.head,
            delegation_digest: self.provider.delegation.0,
            truncated: false,
            sealed_to: None,
        }
    }
}

fn request_id(number: u64) -> Result<RequestId, Failure> {
    let (high, low) = (number >> 48, number & 0xffff_ffff_ffff);
    RequestId::parse(&format!("01a31a5f-a400-7000-8{:03x}-{low:012x}", high & 0xfff)).map_err(bad)
}
