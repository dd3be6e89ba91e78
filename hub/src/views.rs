//! Views of the ledger: who is a member, which keys are delegated, which contracts are in force, which
//! cases are open. Rebuilt from entries at any time; the hub trusts nothing that is not in the ledger.

mod apply;
mod persist;
mod recent;
mod seal;
mod standings;

pub use apply::ApplyError;
pub use persist::{PersistError, Persisted, Persister};
pub use seal::SealKey;
pub use standings::{Claims, Held, Objection, Pair, RevocationView, StandingView};

use crate::quotas::Holdings;
use crate::tls::identity::Identity;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use yiwang_policies::{Decider, Prepared, RecordDef, RecordTypeVersion};
use yiwang_proto::Digest;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{AppId, CaseId, ContractId, FieldName, Matter, MemberId, Operation, RecordType};
use yiwang_proto::member::MemberCard;
use yiwang_proto::tag::Tag;
use yiwang_proto::ticket::Ticket;

/// A member with the entry of its newest card.
#[derive(Debug)]
pub struct MemberView {
    /// The card.
    pub card: MemberCard,
    /// Its entry.
    pub index: u64,
    /// Entries of all its cards, the newest last.
    pub cards: Vec<u64>,
}

impl MemberView {
    /// The card that was in force before an entry.
    pub fn card_before(&self, index: u64) -> Option<u64> {
        self.cards.iter().rev().find(|card| **card < index).copied()
    }
}

/// An auditor with the entry of its newest enrolment.
#[derive(Debug)]
pub struct AuditorView {
    /// What it may see.
    pub scope: AuditScope,
    /// Its entry.
    pub index: u64,
}

/// A delegation with its entry.
#[derive(Debug)]
pub struct DelegationView {
    /// Verified under the root that its member's card names.
    pub delegation: Delegation,
    /// The document's exact bytes.
    pub document: Bytes,
    /// Its entry.
    pub index: u64,
}

/// The newest version of a contract with its entry.
#[derive(Debug)]
pub struct ContractView {
    /// Verified, with its policy entity built once.
    pub prepared: Prepared,
    /// The same contract.
    pub contract: Arc<Contract>,
    /// The document's exact bytes.
    pub document: Bytes,
    /// Its entry.
    pub index: u64,
    // Until when it counts against its members' quotas, ledger time.
    counts_until_ms: i64,
}

/// A version of a record type that members added, with its entry.
#[derive(Debug)]
pub struct RecordTypeView {
    /// Verified under the roots that its providers' cards name.
    pub version: RecordTypeVersion,
    /// The document's exact bytes.
    pub document: Bytes,
    /// Its entry.
    pub index: u64,
}

/// A ticket with its entry.
#[derive(Debug)]
pub struct TicketView {
    /// Verified under its officer's delegation.
    pub ticket: Ticket,
    /// The document's exact bytes.
    pub document: Bytes,
    /// Its entry.
    pub index: u64,
}

/// An open case.
#[derive(Debug, Clone)]
pub struct CaseView {
    /// Whose case.
    pub member: MemberId,
    /// Its matter.
    pub matter: Matter,
    /// Tags of its subjects, sorted.
    pub tags: Vec<Tag>,
    /// Entries of opening and additions, in order.
    pub entries: Vec<u64>,
    /// When it was opened, ledger time.
    pub opened_at_ms: i64,
}

impl CaseView {
    /// Whether all tags are listed.
    pub fn lists(&self, tags: &[Tag]) -> bool {
        tags.iter().all(|tag| self.tags.binary_search(tag).is_ok())
    }
}

/// Where a case stands.
#[derive(Debug, Clone)]
pub enum CaseStatus {
    /// Open.
    Open(Arc<CaseView>),
    /// Closed; the entries of all its statements.
    Closed(Vec<u64>),
    /// Never opened here.
    Unknown,
}

/// What counts against a member's quotas; documents by the end of the time for which they count.
#[derive(Default)]
struct Holding {
    open_cases: usize,
    case_tags: usize,
    delegations: BTreeSet<(i64, Digest)>,
    contracts: BTreeSet<(i64, ContractId)>,
    // Versions of record types; they are never over, since contracts pin them.
    record_types: usize,
}

#[derive(Default)]
struct Registry {
    members: HashMap<MemberId, Arc<MemberView>>,
    delegations: HashMap<Digest, Arc<DelegationView>>,
    contracts: HashMap<ContractId, Arc<ContractView>>,
    contract_digests: HashMap<Digest, ContractId>,
    // What is asked for once per request or look of an adapter must not cost a walk over all contracts.
    served: HashMap<(MemberId, MemberId), usize>,
    of_consumer: HashMap<MemberId, BTreeSet<ContractId>>,
    cases: HashMap<CaseId, Arc<CaseView>>,
    auditors: HashMap<AppId, Arc<AuditorView>>,
    mappings: HashMap<(MemberId, String), Digest>,
    record_types: HashMap<Digest, Arc<RecordTypeView>>,
    newest_types: BTreeMap<RecordType, Arc<RecordTypeView>>,
    held: HashMap<MemberId, Holding>,
    // By the form of enrolment tokens; the time of the newest dismissal.
    dismissed: HashMap<String, i64>,
    tickets: HashMap<Digest, Arc<TicketView>>,
    policy: Option<(u64, Digest)>,
    origin: Option<String>,
    words: standings::Words,
}

/// What changed since the last time the views were written.
#[derive(Default)]
struct Changes {
    size: u64,
    rows: Vec<persist::Row>,
    parties: HashMap<MemberId, u64>,
    closed: HashMap<CaseId, Vec<u64>>,
}

/// The views. Reading is cheap and from any thread; only the sequencer and start-up apply entries.
pub struct Views {
    decider: Arc<Decider>,
    registry: RwLock<Registry>,
    changes: Mutex<Changes>,
    recent: recent::Recent,
    stored: Persisted,
}

impl Views {
    /// Views from what is stored, reading the entries it points to. `read` yields entries of the ledger.
    pub fn load(
        decider: Arc<Decider>,
        stored: Persisted,
        read: &dyn Fn(u64) -> Option<Bytes>,
    ) -> Result<Self, ApplyError> {
        let views = Self {
            decider,
            registry: RwLock::default(),
            changes: Mutex::new(Changes { size: stored.size(), ..Changes::default() }),
            recent: recent::Recent::default(),
            stored,
        };
        views.load_stored(read)?;
        Ok(views)
    }

    fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ledger size that these views reflect.
    pub fn size(&self) -> u64 {
        self.changes().size
    }

    /// A member.
    pub fn member(&self, member: &MemberId) -> Option<Arc<MemberView>> {
        self.registry().members.get(member).cloned()
    }

    /// All members, in order of their ids.
    pub fn members(&self) -> Vec<Arc<MemberView>> {
        let mut members: Vec<_> = self.registry().members.values().cloned().collect();
        members.sort_by(|a, b| a.card.member.cmp(&b.card.member));
        members
    }

    /// A delegation by the digest of its payload.
    pub fn delegation(&self, digest: &Digest) -> Option<Arc<DelegationView>> {
        self.registry().delegations.get(digest).cloned()
    }

    /// A ticket by the digest of its payload, as long as it may be used.
    pub fn ticket(&self, digest: &Digest) -> Option<Arc<TicketView>> {
        self.registry().tickets.get(digest).cloned()
    }

    /// A version of a record type that members added, by the digest of its payload.
    pub fn record_type(&self, digest: &Digest) -> Option<Arc<RecordTypeView>> {
        self.registry().record_types.get(digest).cloned()
    }

    /// The newest version of a record type that members added.
    pub fn newest_record_type(&self, record: &RecordType) -> Option<Arc<RecordTypeView>> {
        self.registry().newest_types.get(record).cloned()
    }

    /// The newest version of each record type that members added, by name.
    pub fn record_types(&self) -> Vec<Arc<RecordTypeView>> {
        self.registry().newest_types.values().cloned().collect()
    }

    /// The document of the record type that a contract pins; empty where it pins none.
    pub fn pinned_document(&self, contract: &Contract) -> Bytes {
        let pinned = contract.text.pinned_record_type().and_then(|digest| self.record_type(&digest));
        pinned.map(|view| view.document.clone()).unwrap_or_default()
    }

    /// Whether members added a record type whose name differs in capitals only.
    pub fn is_nearly_taken(&self, record: &RecordType) -> bool {
        let registry = self.registry();
        registry.newest_types.keys().any(|held| held.as_str().eq_ignore_ascii_case(record.as_str()))
    }

    /// Whether the operator ever dismissed a member.
    pub fn was_dismissed(&self, member: &MemberId) -> bool {
        self.registry().dismissed.contains_key(&format!("member:{member}"))
    }

    /// Whether a record type comes with the program or was added, and has these fields.
    pub fn knows_fields(&self, record: &RecordType, fields: &[FieldName]) -> bool {
        let known = |def: &RecordDef| fields.iter().all(|field| def.field(field).is_some());
        self.decider.catalogue().record(record).is_some_and(known)
            || self.registry().newest_types.get(record).is_some_and(|view| known(&view.version.def))
    }

    /// The newest version of a contract.
    pub fn contract(&self, id: &ContractId) -> Option<Arc<ContractView>> {
        self.registry().contracts.get(id).cloned()
    }

    /// A contract by the digest of its payload, if that version is the newest.
    pub fn contract_by_digest(&self, digest: &Digest) -> Option<Arc<ContractView>> {
        let registry = self.registry();
        registry.contract_digests.get(digest).and_then(|id| registry.contracts.get(id)).cloned()
    }

    /// The contracts of a consumer that a test accepts, in order of their ids, at most so many.
    pub fn contracts_of(
        &self,
        consumer: &MemberId,
        most: usize,
        fits: impl Fn(&Contract) -> bool,
    ) -> Vec<Arc<ContractView>> {
        let registry = self.registry();
        let ids = registry.of_consumer.get(consumer).into_iter().flatten();
        let views = ids.filter_map(|id| registry.contracts.get(id));
        views.filter(|view| fits(&view.contract)).take(most).cloned().collect()
    }

    /// Whether any contract has these two sides.
    pub fn serves(&self, provider: &MemberId, consumer: &MemberId) -> bool {
        self.registry().served.contains_key(&(provider.clone(), consumer.clone()))
    }

    /// Whether somebody's certificate was issued before a dismissal.
    pub fn is_dismissed(&self, identity: &Identity, issued_at_ms: i64) -> bool {
        let registry = self.registry();
        // Nobody is dismissed in most hubs, and this is asked for each request.
        !registry.dismissed.is_empty()
            && registry.dismissed.get(&identity.who()).is_some_and(|at_ms| issued_at_ms <= *at_ms)
    }

    /// What a member holds at a ledger time.
    pub fn holdings(&self, member: &MemberId, time_ms: i64) -> Holdings {
        let (revocations, revocation_bytes) = self.revocations_held(member);
        let registry = self.registry();
        let Some(held) = registry.held.get(member) else {
            return Holdings { revocations, revocation_bytes, ..Holdings::default() };
        };
        Holdings {
            revocations,
            revocation_bytes,
            open_cases: held.open_cases,
            case_tags: held.case_tags,
            delegations: held.delegations.iter().rev().take_while(|(until, _)| *until > time_ms).count(),
            record_types: held.record_types,
            contracts: held.contracts.iter().rev().take_while(|(until, _)| *until > time_ms).count(),
        }
    }

    /// Where a case stands.
    pub fn case(&self, id: &CaseId) -> CaseStatus {
        if let Some(open) = self.registry().cases.get(id) {
            return CaseStatus::Open(Arc::clone(open));
        }
        if let Some(entries) = self.changes().closed.get(id) {
            return CaseStatus::Closed(entries.clone());
        }
        match self.stored.closed_case(id) {
            Some(entries) => CaseStatus::Closed(entries),
            None => CaseStatus::Unknown,
        }
    }

    /// The previous entry of a member as a party, plus one; 0 where there is none.
    pub fn previous_of(&self, member: &MemberId) -> u64 {
        self.changes().parties.get(member).copied().unwrap_or_default()
    }

    /// An auditor.
    pub fn auditor(&self, auditor: &AppId) -> Option<Arc<AuditorView>> {
        self.registry().auditors.get(auditor).cloned()
    }

    /// The names of all auditors, in their order.
    pub fn auditors(&self) -> Vec<AppId> {
        let mut names: Vec<AppId> = self.registry().auditors.keys().cloned().collect();
        names.sort();
        names
    }

    /// The digest of the mapping that a member announced last for an operation.
    pub fn mapping(&self, member: &MemberId, operation: &Operation) -> Option<Digest> {
        self.registry().mappings.get(&(member.clone(), operation.as_str().to_owned())).copied()
    }

    /// A member's entries from `own_next` to before `end`; none where they are not all remembered.
    pub fn recent_of(&self, member: &MemberId, own_next: u64, end: u64) -> Option<Vec<u64>> {
        self.recent.between(member, own_next, end)
    }

    /// The entry and digest of the policy in force.
    pub fn policy(&self) -> Option<(u64, Digest)> {
        self.registry().policy
    }

    /// The origin that the first entry names.
    pub fn origin(&self) -> Option<String> {
        self.registry().origin.clone()
    }

    /// What decides.
    pub fn decider(&self) -> &Arc<Decider> {
        &self.decider
    }
}
