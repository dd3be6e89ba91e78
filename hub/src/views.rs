//! Views of the ledger: who is a member, which keys are delegated, which contracts are in force, which
//! cases are open. Rebuilt from entries at any time; the hub trusts nothing that is not in the ledger.

mod apply;
mod persist;
mod standings;

pub use apply::ApplyError;
pub use persist::{PersistError, Persisted, Persister};
pub use standings::{Claims, Held, Objection, Pair, RevocationView, StandingView};

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use yiwang_policies::{Decider, Prepared};
use yiwang_proto::Digest;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{AppId, CaseId, ContractId, Matter, MemberId, Operation};
use yiwang_proto::member::MemberCard;
use yiwang_proto::tag::Tag;

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

#[derive(Default)]
struct Registry {
    members: HashMap<MemberId, Arc<MemberView>>,
    delegations: HashMap<Digest, Arc<DelegationView>>,
    contracts: HashMap<ContractId, Arc<ContractView>>,
    contract_digests: HashMap<Digest, ContractId>,
    cases: HashMap<CaseId, Arc<CaseView>>,
    auditors: HashMap<AppId, Arc<AuditorView>>,
    mappings: HashMap<(MemberId, String), Digest>,
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

    /// The newest version of a contract.
    pub fn contract(&self, id: &ContractId) -> Option<Arc<ContractView>> {
        self.registry().contracts.get(id).cloned()
    }

    /// A contract by the digest of its payload, if that version is the newest.
    pub fn contract_by_digest(&self, digest: &Digest) -> Option<Arc<ContractView>> {
        let registry = self.registry();
        registry.contract_digests.get(digest).and_then(|id| registry.contracts.get(id)).cloned()
    }

    /// All contracts that a test accepts, in order of their ids.
    pub fn contracts(&self, fits: impl Fn(&Contract) -> bool) -> Vec<Arc<ContractView>> {
        let registry = self.registry();
        let mut found: Vec<_> =
            registry.contracts.values().filter(|view| fits(&view.contract)).cloned().collect();
        drop(registry);
        found.sort_by(|a, b| a.contract.text.id.cmp(&b.contract.text.id));
        found
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

    /// The digest of the mapping that a member announced last for an operation.
    pub fn mapping(&self, member: &MemberId, operation: &Operation) -> Option<Digest> {
        self.registry().mappings.get(&(member.clone(), operation.as_str().to_owned())).copied()
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
