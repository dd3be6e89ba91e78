//! Members, keys and contracts: what may be published, and what adapters may see of it.

use crate::context::Hub;
use crate::ledger::{Draft, Linear};
use crate::limits::{MATERIAL_BYTES_MAX, MATERIAL_KEYS_MAX, RECORD_TYPES_MAX};
use crate::standings::check_revocation;
use crate::views::{CaseStatus, DelegationView, Views};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use yiwang_policies::record_type::{PROVIDERS_MAX, RECORD_TYPE_MAX};
use yiwang_policies::{RecordTypeError, RecordTypeVersion};
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{CaseId, MemberId};
use yiwang_proto::limits::{CLOCK_SKEW_MS, CONTRACT_MAX, DOCUMENT_MAX};
use yiwang_proto::member::MemberCard;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::ticket::Ticket;

/// A delegation, contract, revocation or ticket that a member publishes.
pub struct PublishDraft {
    peer: MemberId,
    document: Bytes,
    published: Published,
}

enum Published {
    Delegation(Box<Delegation>),
    Contract(Box<Contract>),
    /// With the delegation of its officer, under which it was verified.
    Ticket(Box<Ticket>, Arc<DelegationView>),
    Revocation(Box<Revocation>),
    RecordType(Box<RecordTypeVersion>),
}

impl PublishDraft {
    /// For the member whose certificate the connection has. All that the document says by itself (form,
    /// signatures, catalogue) is checked here, in the caller's task: the sequencer serves everybody.
    pub fn open(peer: MemberId, document: Bytes, views: &Views) -> Result<Self, Code> {
        let signed = SignedDocument::parse(document.clone(), CONTRACT_MAX).map_err(|_| Code::Malformed)?;
        // What nobody verifies must not enter the ledger beside what somebody does.
        let wanted = match signed.payload_type() {
            payload_type::CONTRACT => 2,
            payload_type::RECORD_TYPE => PROVIDERS_MAX,
            _ => 1,
        };
        if signed.signature_count() > wanted {
            return Err(Code::SignatureInvalid);
        }
        let published = match signed.payload_type() {
            payload_type::DELEGATION if document.len() <= DOCUMENT_MAX => {
                let delegation = Delegation::open(&signed).map_err(|_| Code::DelegationInvalid)?;
                if delegation.member != peer {
                    return Err(Code::WrongMember);
                }
                Published::Delegation(Box::new(delegation))
            }
            payload_type::REVOCATION if document.len() <= DOCUMENT_MAX => {
                let revocation = Revocation::open(&signed).map_err(|_| Code::SignatureInvalid)?;
                if revocation.member != peer {
                    return Err(Code::WrongMember);
                }
                Published::Revocation(Box::new(revocation))
            }
            payload_type::CONTRACT => {
                let contract = Contract::open(&signed).map_err(|_| Code::ContractInvalid)?;
                if contract.root_of(&peer).is_none() {
                    return Err(Code::WrongMember);
                }
                let added = contract.text.pinned_record_type().and_then(|pin| views.record_type(&pin));
                let added = added.as_ref().map(|view| &view.version);
                let prepared = views.decider().prepare(Arc::new(contract.clone()), added);
                prepared.map_err(|_| Code::ContractInvalid)?;
                Published::Contract(Box::new(contract))
            }
            payload_type::RECORD_TYPE => {
                let version = RecordTypeVersion::open(&signed).map_err(|error| match error {
                    RecordTypeError::NotSigned(_) => Code::SignatureInvalid,
                    _ => Code::CatalogueInvalid,
                })?;
                if document.len() > RECORD_TYPE_MAX
                    || !version.text.faults(views.decider().catalogue()).is_empty()
                {
                    return Err(Code::CatalogueInvalid);
                }
                if !version.text.providers.iter().any(|provider| provider.member == peer) {
                    return Err(Code::WrongMember);
                }
                Published::RecordType(Box::new(version))
            }
            payload_type::TICKET if document.len() <= DOCUMENT_MAX => {
                let claimed = Ticket::read(&signed).map_err(|_| Code::TicketInvalid)?;
                if claimed.member != peer {
                    return Err(Code::WrongMember);
                }
                let officer = views.delegation(&claimed.delegation_digest).ok_or(Code::OfficerInvalid)?;
                let ticket = Ticket::verify(&signed, &officer.delegation);
                Published::Ticket(Box::new(ticket.map_err(|_| Code::OfficerInvalid)?), officer)
            }
            _ => return Err(Code::Malformed),
        };
        Ok(Self { peer, document, published })
    }
}

impl Draft for PublishDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let entry = pb::DocumentEntry { document: self.document };
        match &self.published {
            Published::Delegation(delegation) => {
                check_delegation(&self.peer, delegation, at).map(|()| Kind::Delegation(entry))
            }
            Published::Contract(contract) => {
                check_contract(contract, at.views).map(|()| Kind::Contract(entry))
            }
            Published::Ticket(ticket, officer) => {
                check_ticket(&self.peer, ticket, &officer.delegation, at).map(|()| Kind::Ticket(entry))
            }
            Published::Revocation(revocation) => {
                check_revocation(&self.peer, revocation, at).map(|()| Kind::Revocation(entry))
            }
            Published::RecordType(version) => {
                check_record_type(version, at.views).map(|()| Kind::RecordType(entry))
            }
        }
    }
}

fn check_delegation(peer: &MemberId, delegation: &Delegation, at: &Linear<'_>) -> Result<(), Code> {
    let root = at.views.member(peer).map(|view| view.card.root);
    if root != Some(delegation.root) || delegation.valid_until_ms <= at.time_ms {
        return Err(Code::DelegationInvalid);
    }
    if at.views.revoked_by_root(delegation) {
        return Err(Code::Revoked);
    }
    if at.views.delegation(&delegation.digest).is_some() { Err(Code::Replayed) } else { Ok(()) }
}

fn check_ticket(peer: &MemberId, ticket: &Ticket, officer: &Delegation, at: &Linear<'_>) -> Result<(), Code> {
    let root = at.views.member(peer).map(|view| view.card.root);
    if root != Some(officer.root) || !officer.valid_at(at.time_ms) {
        return Err(Code::OfficerInvalid);
    }
    if at.views.revoked(officer) {
        return Err(Code::Revoked);
    }
    // A ticket of times to come would be kept longer than its uses are.
    let early = ticket.issued_at_ms > at.time_ms.saturating_add(CLOCK_SKEW_MS);
    if early || ticket.expires_at_ms <= at.time_ms {
        return Err(Code::TicketInvalid);
    }
    if at.views.ticket(&ticket.digest).is_some() { Err(Code::Replayed) } else { Ok(()) }
}

fn check_contract(contract: &Contract, views: &Views) -> Result<(), Code> {
    let text = &contract.text;
    for party in [&text.provider, &text.consumer] {
        let root = views.member(&party.member).map(|view| view.card.root);
        if root != Some(party.root) {
            return Err(Code::ContractInvalid);
        }
    }
    // What is newly agreed is agreed under the newest classes.
    let newest = views.newest_record_type(&text.record).map(|view| view.version.digest);
    if text.pinned_record_type() != newest {
        return Err(Code::ContractInvalid);
    }
    let Some(current) = views.contract(&text.id) else { return Ok(()) };
    let same_parties = current.contract.text.provider.member == text.provider.member
        && current.contract.text.consumer.member == text.consumer.member;
    if !same_parties {
        return Err(Code::NotFound);
    }
    if current.contract.text.version >= text.version { Err(Code::Replayed) } else { Ok(()) }
}

/// Whether a version follows the one before it, under the roots that its members' cards name now.
fn check_record_type(version: &RecordTypeVersion, views: &Views) -> Result<(), Code> {
    for provider in &version.text.providers {
        let root = views.member(&provider.member).map(|view| view.card.root);
        if root != Some(provider.root) {
            return Err(Code::CatalogueInvalid);
        }
    }
    match views.newest_record_type(&version.text.record) {
        Some(held) if held.version.digest == version.digest => Err(Code::Replayed),
        Some(held) => {
            follows(version.text.breaks(&held.version, |member| views.was_dismissed(member)).is_empty())
        }
        None if views.record_types().len() >= RECORD_TYPES_MAX => Err(Code::QuotaExceeded),
        None => follows(version.text.version == 1 && !views.is_nearly_taken(&version.text.record)),
    }
}

fn follows(sound: bool) -> Result<(), Code> {
    if sound { Ok(()) } else { Err(Code::CatalogueInvalid) }
}

/// A member that joins, or that replaces its card.
pub struct MemberDraft {
    /// Whose token was redeemed.
    pub member: MemberId,
    /// The card document.
    pub card: Bytes,
}

impl Draft for MemberDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let signed = SignedDocument::parse(self.card.clone(), DOCUMENT_MAX).map_err(|_| Code::Malformed)?;
        let card = MemberCard::open(&signed).map_err(|_| Code::SignatureInvalid)?;
        if card.member != self.member {
            return Err(Code::WrongMember);
        }
        if let Some(old) = at.views.member(&self.member) {
            let announced = yiwang_proto::sha256(card.root.as_bytes()) == old.card.next_root_digest;
            // An older card of the same root would bring back an older next root; a step to the next root goes only forward,
            // whatever time the cards name.
            let same = card.root == old.card.root;
            let older = same && card.issued_at_ms < old.card.issued_at_ms;
            if older || !(same || announced) {
                return Err(Code::DelegationInvalid);
            }
        }
        Ok(Kind::Member(pb::MemberEntry { card: self.card }))
    }

    /// A member that comes back with a new certificate must be able to show its head first.
    fn before_heads(&self) -> bool {
        false
    }
}

/// The ledger's first entry.
pub struct OriginDraft {
    /// The origin and key.
    pub entry: pb::OriginEntry,
}

impl Draft for OriginDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        if at.index == 0 { Ok(Kind::Origin(self.entry)) } else { Err(Code::Replayed) }
    }

    fn before_heads(&self) -> bool {
        true
    }
}

/// The policy that decides from here on.
pub struct PolicyDraft;

impl Draft for PolicyDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let decider = at.views.decider();
        if at.views.policy().is_some_and(|(_, digest)| digest == decider.digest()) {
            return Err(Code::Replayed);
        }
        let digest = Bytes::copy_from_slice(&decider.digest());
        Ok(Kind::Policy(pb::PolicyEntry { digest, version: decider.version().to_owned() }))
    }
}

/// The operator's word that somebody is no longer of this network.
pub struct DismissalDraft {
    /// The entry.
    pub entry: pb::DismissalEntry,
}

impl Draft for DismissalDraft {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Dismissal(self.entry))
    }
}

/// Documents and case entries that an adapter wants to see before it decides. It sees contracts of its own
/// member, and delegations and cases of those contracts' consumers; all of it is signed, none is trusted.
pub fn material(hub: &Hub, member: &MemberId, wanted: &pb::MaterialWanted) -> pb::Material {
    let views = hub.ledger.views();
    let mut material = pb::Material::default();
    let mut room = MATERIAL_BYTES_MAX;
    for raw in &wanted.digests {
        let document =
            <Digest>::try_from(raw.as_ref()).ok().and_then(|digest| document(views, member, &digest));
        match document.filter(|document| takes(&mut room, document.len())) {
            Some(document) => {
                material.documents.push(document);
                material.documents.extend(officer_of(views, raw));
            }
            None => material.missing_digests.push(raw.clone()),
        }
    }
    for id in &wanted.case_ids {
        let receipts = CaseId::parse(id).ok().and_then(|case| case_receipts(hub, member, &case));
        let bytes = |receipts: &Vec<pb::Receipt>| receipts.iter().map(prost::Message::encoded_len).sum();
        match receipts.filter(|receipts| takes(&mut room, bytes(receipts))) {
            Some(receipts) => material.cases.extend(receipts),
            None => material.missing_cases.push(id.clone()),
        }
    }
    material
}

fn takes(room: &mut usize, bytes: usize) -> bool {
    let left = room.checked_sub(bytes);
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// What an adapter wants, each key once; none where it asks for more than one frame may, or for what is no
/// key at all. Copied, so that what waits does not hold on to the message it came in.
pub fn wanted_keys(wanted: &pb::MaterialWanted) -> Option<pb::MaterialWanted> {
    let most = wanted.digests.len().max(wanted.case_ids.len());
    let keys = wanted.digests.iter().all(|digest| digest.len() == size_of::<Digest>())
        && wanted.case_ids.iter().all(|id| CaseId::parse(id).is_ok());
    if most > MATERIAL_KEYS_MAX || !keys {
        return None;
    }
    let digests: BTreeSet<Bytes> = wanted.digests.iter().map(|key| Bytes::copy_from_slice(key)).collect();
    let case_ids: BTreeSet<String> = wanted.case_ids.iter().cloned().collect();
    Some(pb::MaterialWanted {
        digests: digests.into_iter().collect(),
        case_ids: case_ids.into_iter().collect(),
    })
}

/// The delegation behind a ticket, so that whoever asks for the one has the other.
fn officer_of(views: &Views, digest: &Bytes) -> Option<Bytes> {
    let ticket = views.ticket(&Digest::try_from(digest.as_ref()).ok()?)?;
    views.delegation(&ticket.ticket.delegation_digest).map(|view| view.document.clone())
}

fn document(views: &Views, member: &MemberId, digest: &Digest) -> Option<Bytes> {
    if let Some(contract) = views.contract_by_digest(digest) {
        return contract.contract.root_of(member).map(|_| contract.document.clone());
    }
    // Every member may know what records there are.
    if let Some(added) = views.record_type(digest) {
        return Some(added.document.clone());
    }
    if let Some(ticket) = views.ticket(digest) {
        return serves(views, member, &ticket.ticket.member).then(|| ticket.document.clone());
    }
    let delegation = views.delegation(digest)?;
    serves(views, member, &delegation.delegation.member).then(|| delegation.document.clone())
}

/// Whether the member provides anything to the consumer.
fn serves(views: &Views, provider: &MemberId, consumer: &MemberId) -> bool {
    provider == consumer || views.serves(provider, consumer)
}

fn case_receipts(hub: &Hub, member: &MemberId, case: &CaseId) -> Option<Vec<pb::Receipt>> {
    let views = hub.ledger.views();
    let (owner, entries) = match views.case(case) {
        CaseStatus::Open(view) => (view.member.clone(), view.entries.clone()),
        CaseStatus::Closed(entries) => (crate::cases::member_of(hub, case)?, entries),
        CaseStatus::Unknown => return None,
    };
    if !serves(views, member, &owner) {
        return None;
    }
    entries.iter().map(|index| hub.ledger.receipt(*index).ok().map(|entry| entry.to_receipt())).collect()
}
