//! The second decision: everything that the hub decided is decided again, from documents that this
//! adapter verified itself, under the root that its own member pinned.

use crate::adapter::{Adapter, Incoming, Trail};
use crate::journal::{Kind, Record, Taken, VersionSeen, contract_seen};
use crate::material::{HeldContract, Look, MaterialSource, Wanted, is_app_of, pinned_by};
use crate::officer::Evidence;
use crate::reply::Refusal;
use crate::standings::Claims;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use yiwang_policies::{CaseFacts, Context, Counts, Permit, Site};
use yiwang_proto::batch::Roots;
use yiwang_proto::body::RequestBody;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::request::{APP_SIGNS, OfficerBy, Request};
use yiwang_proto::sealing::Recipient;
use yiwang_proto::{Digest, pb};

/// Which contracts are accepted, besides the rule that both roots signed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ContractPolicy {
    /// Every contract that this member's root signed as provider.
    #[default]
    SignedByOwnRoot,
    /// Only these, by the SHA-256 of their signed payload.
    Only(BTreeSet<Digest>),
}

/// A request that may be carried out.
pub(crate) struct Judged {
    pub(crate) permit: Permit,
    pub(crate) body: RequestBody,
    pub(crate) sealed_to: Option<Recipient>,
}

/// What the hub handed over for one request.
#[derive(Default)]
struct Gathered {
    documents: Vec<Bytes>,
    // None where the case was not asked for.
    case: Option<pb::Material>,
}

impl Adapter {
    /// Authenticates and decides. `trail` says how far it came: a request that was authenticated uses its
    /// id up even if it is refused.
    pub(crate) async fn judge(
        &self,
        incoming: &Incoming,
        body: &Bytes,
        material: &dyn MaterialSource,
        now_ms: i64,
        trail: &mut Trail,
    ) -> Result<Judged, Refusal> {
        let request = &incoming.request;
        if request.provider != *self.member() {
            return Err(Refusal::denied(Code::NoContract, "provider is another member"));
        }
        if !self.delegation.valid_at(now_ms) {
            return Err(Refusal::failed(Code::DelegationInvalid, "the adapter's own delegation is over"));
        }
        let gathered = self.gather(request, material).await?;
        let held = self.contract(request, &gathered.documents)?;
        let delegation = self.documents.delegation(&request.delegation_digest, &gathered.documents)?;
        authenticate(incoming, &held.contract, &delegation, &self.roots)?;
        self.hear_time(request)?;
        in_time(request, &delegation, now_ms)?;
        let evidence = self.officer_evidence(incoming, &gathered.documents, material).await?;
        let (counts, uses) = self.admit(request, &evidence, now_ms)?;
        trail.counted = true;
        (trail.proved, trail.ticket) = (evidence.officer(request).is_some(), evidence.used_ticket(request));
        self.check_head(incoming, material).await?;
        self.newest_version(&held, now_ms).await?;
        let look = Look {
            request,
            root: &held.contract.text.consumer.root,
            known: self.head().head,
            delivered: gathered.case,
            documents: &self.documents,
            source: material,
            monotonic_us: self.clock.monotonic_us(),
        };
        let case = self.cases.view(look).await?;
        let sealed_to = self.recipient(request, &held.contract, &gathered.documents, now_ms)?;
        let claims = Claims {
            contract: &held.contract,
            app: &delegation,
            officer: request.officer.as_ref(),
            officer_key: evidence.key(),
            sealing: sealed_to.as_deref(),
            own: [Some(&self.delegation), self.sealing_key().filter(|_| sealed_to.is_some())],
        };
        self.standings.check(claims, now_ms, Duration::from_millis(self.limits().material_ms)).await?;
        let opened = self.open_body(incoming, body)?;
        let context = Context {
            site: Site::Adapter,
            now_ms,
            delegation: &delegation,
            case: Some(CaseFacts {
                member: &case.member,
                matter: &case.matter,
                open: case.open,
                lists_all_tags: case.lists(&request.subject_tags),
            }),
            body: Some(&opened),
            counts: Some(counts),
            sealed: sealed_to.is_some(),
            officer: evidence.of(uses),
        };
        match self.decider.decide(request, &held.prepared, &context) {
            Ok(permit) => {
                let sealed_to = sealed_to.as_deref().map(Recipient::from);
                Ok(Judged { permit, body: opened, sealed_to })
            }
            Err(denial) => Err(Refusal::denied(denial.code, &denial.clause)),
        }
    }

    /// Asks once for all that is not held yet.
    async fn gather(&self, request: &Request, material: &dyn MaterialSource) -> Result<Gathered, Refusal> {
        let mut wanted = Wanted::default();
        if !self.documents.has_contract(&request.contract_digest) {
            wanted.documents.push(request.contract_digest);
        }
        if !self.documents.has_delegation(&request.delegation_digest) {
            wanted.documents.push(request.delegation_digest);
        }
        let proof = match request.officer_by {
            OfficerBy::Ticket(digest) => Some(digest).filter(|d| self.documents.held_ticket(d).is_none()),
            OfficerBy::Signature(digest) => Some(digest).filter(|d| !self.documents.has_delegation(d)),
            OfficerBy::Asserted => None,
        };
        wanted.documents.extend(proof);
        wanted.documents.extend(request.sealing.filter(|digest| !self.documents.has_delegation(digest)));
        let ask_case = !self.cases.is_fresh(request, self.clock.monotonic_us());
        if ask_case {
            wanted.cases.push(request.case.clone());
        }
        if wanted.is_empty() {
            return Ok(Gathered::default());
        }
        let delivered = material.fetch(wanted).await?;
        let mut documents = delivered.documents.clone();
        // Which record type a contract pins is known when the contract is here; both are asked for once.
        if !self.documents.has_contract(&request.contract_digest)
            && let Some(pinned) = pinned_by(&request.contract_digest, &documents)
        {
            let wanted = Wanted { documents: vec![pinned], cases: Vec::new() };
            documents.extend(material.fetch(wanted).await?.documents);
        }
        Ok(Gathered { documents, case: ask_case.then_some(delivered) })
    }

    fn contract(&self, request: &Request, documents: &[Bytes]) -> Result<Arc<HeldContract>, Refusal> {
        if let ContractPolicy::Only(digests) = &self.policy
            && !digests.contains(&request.contract_digest)
        {
            return Err(Refusal::denied(Code::NoContract, "the contract is not one of the pinned ones"));
        }
        self.documents.contract(&request.contract_digest, documents)
    }

    /// Uses the request's id up and counts it, and the use of its ticket.
    fn admit(&self, request: &Request, evidence: &Evidence, now_ms: i64) -> Result<(Counts, u32), Refusal> {
        let mut memory = self.memory();
        match memory.replay.take(&request.consumer, &request.id, request.expires_at_ms, now_ms) {
            Ok(()) => {
                let ticket = evidence.used_ticket(request);
                let uses = ticket.map_or(0, |digest| memory.ticket_uses.count(&digest, now_ms));
                let officer = evidence.officer(request);
                Ok((memory.rates.count(&request.contract, &request.app, officer, now_ms), uses))
            }
            Err(Taken::Replayed) => Err(Refusal::denied(Code::Replayed, "request_id")),
            Err(Taken::Full) => Err(Refusal::failed(Code::Overloaded, "too many request ids are held")),
        }
    }

    /// Refuses a version older than one that was in force here. A version counts from the moment it is in
    /// force: one that only begins next month must not end the present one. Nor may it pin an older version of its record
    /// type than the one before it did: two heads who did not look would have agreed on classes that have risen since.
    /// What other contracts pin is no matter of this one: it may have been agreed before.
    async fn newest_version(&self, held: &HeldContract, now_ms: i64) -> Result<(), Refusal> {
        let (contract, pinned) = (&held.contract, held.pinned.as_ref());
        let (id, version) = (&contract.text.id, contract.text.version);
        let (seen, fault) = {
            let memory = self.memory();
            let fault = pinned.and_then(|pinned| memory.pin_fault(id, pinned));
            (memory.version(id, version, &contract.digest), fault)
        };
        match seen {
            VersionSeen::Same => return Ok(()),
            VersionSeen::Older => {
                return Err(Refusal::denied(Code::NoContract, "version: a newer one is in force"));
            }
            VersionSeen::OtherText => {
                return Err(Refusal::denied(Code::ContractInvalid, "version: stands on another text"));
            }
            VersionSeen::Newer => {}
        }
        // A department that names its contracts one by one has looked.
        if let Some(fault) = fault.filter(|_| self.policy == ContractPolicy::SignedByOwnRoot) {
            return Err(Refusal::denied(Code::CatalogueInvalid, fault));
        }
        if !(contract.valid_from_ms..contract.valid_until_ms).contains(&now_ms) {
            return Ok(());
        }
        let kept = contract_seen(id, version, &contract.digest, pinned);
        // Durable before it counts: a cancelled exchange must not leave a version that a restart forgets.
        self.write_down(Record::new(now_ms, Kind::Contract(kept))).await?;
        self.memory().see(id, version, &contract.digest, pinned.cloned());
        Ok(())
    }
}

/// Whether the request is the consumer's own: the key counts under the contract's consumer root only,
/// whatever the hub says of it.
fn authenticate(
    incoming: &Incoming,
    contract: &Contract,
    delegation: &Delegation,
    roots: &Roots,
) -> Result<(), Refusal> {
    let request = &incoming.request;
    let consumer = &contract.text.consumer;
    if request.consumer != consumer.member {
        return Err(Refusal::denied(Code::ConsumerMismatch, "consumer.member"));
    }
    if !is_app_of(delegation, &request.consumer, request.app.as_str(), &consumer.root) {
        let clause = "the delegation makes no app of the consumer under consumer.root";
        return Err(Refusal::denied(Code::DelegationInvalid, clause));
    }
    let good = incoming.signed.verify_knowing(roots, APP_SIGNS, payload_type::REQUEST, &delegation.key);
    if good.is_err() {
        return Err(Refusal::denied(Code::SignatureInvalid, "the signature is not good under the app's key"));
    }
    Ok(())
}

/// Whether statement and delegation are in force by the own clock.
fn in_time(request: &Request, delegation: &Delegation, now_ms: i64) -> Result<(), Refusal> {
    if !delegation.valid_at(now_ms) {
        return Err(Refusal::denied(Code::DelegationInvalid, "delegation: validity"));
    }
    // Judged before the id is used up: only ids of statements that live need to be remembered.
    if now_ms >= request.expires_at_ms {
        return Err(Refusal::denied(Code::StatementExpired, "expires_at"));
    }
    if request.issued_at_ms > now_ms.saturating_add(CLOCK_SKEW_MS) {
        return Err(Refusal::denied(Code::ClockSkew, "issued_at is over 30 s ahead"));
    }
    Ok(())
}
