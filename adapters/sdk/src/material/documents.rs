//! Contracts and delegations by digest, verified once.

use super::cache::Cache;
use super::tickets::HeldTicket;
use crate::journal::Pinned;
use crate::reply::Refusal;
use bytes::Bytes;
use std::sync::Arc;
use yiwang_policies::{Decider, Prepared, RecordTypeVersion};
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, ContractError, ContractText};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::{CONTRACT_MAX, DOCUMENT_MAX};

/// Contracts kept: more than one department has; each is a few kilobytes.
const CONTRACTS: usize = 512;
/// Delegations kept: a few hundred bytes each.
const DELEGATIONS: usize = 4096;
/// Tickets kept: those of one shift.
const TICKETS: usize = 4096;
/// Documents of one delivery that are looked at: contract, app, and the signers of a case.
const DELIVERED_MAX: usize = 64;

/// A contract that holds at this adapter: both signatures good, this member the provider under its own
/// pinned root, ready for decisions.
#[derive(Debug)]
pub struct HeldContract {
    /// The contract.
    pub contract: Arc<Contract>,
    /// The same, ready for decisions.
    pub prepared: Prepared,
    /// The version of a record type that it pins.
    pub pinned: Option<Pinned>,
}

/// Verified documents. INVARIANT: what is in a cache was verified by this process.
#[derive(Debug)]
pub(crate) struct Documents {
    member: MemberId,
    root: PublicKey,
    former_roots: Vec<PublicKey>,
    decider: Arc<Decider>,
    contracts: Cache<Digest, Arc<HeldContract>>,
    delegations: Cache<Digest, Arc<Delegation>>,
    pub(super) tickets: Cache<Digest, Arc<HeldTicket>>,
}

impl Documents {
    /// For one provider, the root that it pinned itself, and those that it had before.
    pub(crate) fn new(
        member: MemberId,
        (root, former_roots): (PublicKey, Vec<PublicKey>),
        decider: Arc<Decider>,
    ) -> Self {
        let (contracts, delegations) = (Cache::new(CONTRACTS), Cache::new(DELEGATIONS));
        Self { member, root, former_roots, decider, contracts, delegations, tickets: Cache::new(TICKETS) }
    }

    pub(crate) fn has_contract(&self, digest: &Digest) -> bool {
        self.contracts.get(digest).is_some()
    }

    pub(crate) fn has_delegation(&self, digest: &Digest) -> bool {
        self.delegations.get(digest).is_some()
    }

    /// The contract of that digest, from what is held or was delivered.
    pub(crate) fn contract(
        &self,
        digest: &Digest,
        delivered: &[Bytes],
    ) -> Result<Arc<HeldContract>, Refusal> {
        if let Some(held) = self.contracts.get(digest) {
            return Ok(held);
        }
        let Some(document) = find(digest, delivered, CONTRACT_MAX) else {
            return Err(Refusal::denied(Code::NoContract, "no contract of that digest was handed over"));
        };
        let invalid = |clause: &str| Refusal::denied(Code::ContractInvalid, clause);
        let contract = Contract::open(&document).map_err(|error| {
            tracing::warn!(%error, "a contract does not hold");
            invalid(match error {
                ContractError::NotSigned { side: "provider", .. } => "not signed under provider.root",
                ContractError::NotSigned { .. } => "not signed under consumer.root",
                ContractError::Envelope(_) => "its envelope is not well-formed",
                _ => "its text cannot stand",
            })
        })?;
        let provider = &contract.text.provider;
        if provider.root != self.root {
            return Err(invalid("provider.root is not the root that this member pinned"));
        }
        if provider.member != self.member {
            return Err(invalid("provider.member is another member"));
        }
        let contract = Arc::new(contract);
        let added = self.pinned(&contract, delivered)?;
        let prepared = self.decider.prepare(Arc::clone(&contract), added.as_ref()).map_err(|faults| {
            invalid(faults.first().map_or("its text cannot stand", |fault| fault.place.as_str()))
        })?;
        let pinned = added.map(|version| Pinned {
            record: version.text.record,
            version: version.text.version,
            digest: version.digest,
        });
        let held = Arc::new(HeldContract { contract, prepared, pinned });
        self.contracts.insert(*digest, Arc::clone(&held));
        Ok(held)
    }

    /// The version of a record type that a contract pins. Its digest stands in the contract, which this member signed.
    fn pinned(&self, contract: &Contract, delivered: &[Bytes]) -> Result<Option<RecordTypeVersion>, Refusal> {
        let Some(digest) = contract.text.pinned_record_type() else { return Ok(None) };
        let invalid = |clause: &str| Refusal::denied(Code::CatalogueInvalid, clause);
        let document = find(&digest, delivered, CONTRACT_MAX)
            .ok_or_else(|| invalid("record_type: the pinned version was not handed over"))?;
        RecordTypeVersion::open(&document).map(Some).map_err(|error| {
            tracing::warn!(%error, "a record type does not hold");
            invalid("record_type: it does not hold")
        })
    }

    /// The root that this member pinned.
    pub(crate) fn own_root(&self) -> &PublicKey {
        &self.root
    }

    /// Roots that this member had before.
    pub(crate) fn former_roots(&self) -> &[PublicKey] {
        &self.former_roots
    }

    /// The delegation of that digest; whether its root and role count is for the caller.
    pub(crate) fn delegation(
        &self,
        digest: &Digest,
        delivered: &[Bytes],
    ) -> Result<Arc<Delegation>, Refusal> {
        if let Some(held) = self.delegations.get(digest) {
            return Ok(held);
        }
        let Some(document) = find(digest, delivered, DOCUMENT_MAX) else {
            return Err(Refusal::denied(Code::KeyUnknown, "no delegation of that digest was handed over"));
        };
        let delegation = Delegation::open(&document)
            .map_err(|_| Refusal::denied(Code::DelegationInvalid, "the delegation is not well signed"))?;
        let delegation = Arc::new(delegation);
        self.delegations.insert(*digest, Arc::clone(&delegation));
        Ok(delegation)
    }
}

/// The record type that a delivered contract pins; the contract is verified where it is used.
pub(crate) fn pinned_by(contract: &Digest, delivered: &[Bytes]) -> Option<Digest> {
    let document = find(contract, delivered, CONTRACT_MAX)?;
    ContractText::parse(document.unverified_payload()).ok()?.pinned_record_type()
}

/// Whether a delegation makes its key an app's key of that member, under the root that counts.
pub(crate) fn is_app_of(delegation: &Delegation, member: &MemberId, app: &str, root: &PublicKey) -> bool {
    delegation.root == *root
        && delegation.role == Role::App
        && delegation.member == *member
        && delegation.name.as_str() == app
}

pub(super) fn find(digest: &Digest, delivered: &[Bytes], limit: usize) -> Option<SignedDocument> {
    delivered
        .iter()
        .take(DELIVERED_MAX)
        .filter_map(|bytes| SignedDocument::parse(bytes.clone(), limit).ok())
        .find(|document| document.digest() == *digest)
}
