//! The register of cases: opened, added to, closed; no content. A case is a member's own word, signed by
//! its app; the register only orders and keeps it.

use crate::context::Hub;
use crate::ledger::{Appended, Draft, Ledger, Linear, ReadFor};
use crate::quotas::QuotaLimits;
use crate::views::CaseStatus;
use bytes::Bytes;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{CaseId, MemberId};
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::pb;

/// Entries that one case may have: an opening and additions; beyond that a matter is another case.
const CASE_ENTRIES_MAX: usize = 32;

/// Takes a signed case statement from a member's connection.
pub async fn submit(hub: &Hub, peer: &MemberId, bytes: Bytes) -> Result<Appended, Code> {
    hub.ledger.ready()?;
    hub.quotas.take(peer, hub.clock.monotonic_us())?;
    let signed = SignedStatement::parse(bytes).map_err(|_| Code::Malformed)?;
    let statement = CaseStatement::parse(signed.unverified_payload()).map_err(|_| Code::Malformed)?;
    if statement.member != *peer {
        return Err(Code::WrongMember);
    }
    let views = hub.ledger.views();
    let view = views.delegation(&statement.delegation_digest).ok_or(Code::KeyUnknown)?;
    let delegation = &view.delegation;
    let now = hub.ledger.now_ms();
    let right = delegation.member == statement.member
        && delegation.name == statement.app
        && delegation.role == Role::App
        && delegation.valid_at(now);
    if !right {
        return Err(Code::DelegationInvalid);
    }
    signed.verify(payload_type::CASE, &delegation.key).map_err(|_| Code::SignatureInvalid)?;
    hub.ledger.hear_time(&statement.member, statement.issued_at_ms);
    if views.revoked(delegation) {
        return Err(Code::Revoked);
    }
    if !views.is_of_the_root(delegation) {
        return Err(Code::DelegationInvalid);
    }
    if statement.issued_at_ms > now.saturating_add(CLOCK_SKEW_MS) {
        return Err(Code::ClockSkew);
    }
    if statement.expires_at_ms <= now {
        return Err(Code::StatementExpired);
    }
    if let Act::Open { matter } = &statement.act
        && !views.decider().catalogue().has_matter(matter)
    {
        return Err(Code::MatterMismatch);
    }
    let own = matches!(statement.act, Act::Open { .. }) || was_own(hub, peer, &statement.case).await?;
    hub.replays
        .claim(&statement.member, &statement.id, statement.expires_at_ms, now)
        .map_err(|_| Code::Replayed)?;
    let draft = CaseDraft { statement, own, bytes: signed.bytes().clone(), limits: *hub.quotas.limits() };
    hub.ledger.append(Box::new(draft)).await
}

struct CaseDraft {
    statement: CaseStatement,
    // Whether the case is known as this member's; a closed one of another member is as if it never was.
    own: bool,
    bytes: Bytes,
    limits: QuotaLimits,
}

impl CaseDraft {
    /// Whether the member may keep this open besides what it has. Closing is always allowed.
    fn within_quota(&self, at: &Linear<'_>) -> bool {
        let held = at.views.holdings(&self.statement.member, at.time_ms);
        let tags = held.case_tags.saturating_add(self.statement.subject_tags.len());
        match self.statement.act {
            Act::Open { .. } => held.open_cases < self.limits.open_cases && tags <= self.limits.case_tags,
            Act::Add { .. } => tags <= self.limits.case_tags,
            Act::Close { .. } => true,
        }
    }
}

impl Draft for CaseDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let key = at.views.delegation(&self.statement.delegation_digest).ok_or(Code::KeyUnknown)?;
        if at.views.revoked(&key.delegation) {
            return Err(Code::Revoked);
        }
        // By the entry's own time and root: an auditor asks no other.
        if !at.views.is_of_the_root(&key.delegation) || !key.delegation.valid_at(at.time_ms) {
            return Err(Code::DelegationInvalid);
        }
        if self.statement.expires_at_ms <= at.time_ms {
            return Err(Code::StatementExpired);
        }
        match (&self.statement.act, at.views.case(&self.statement.case)) {
            (Act::Open { .. }, CaseStatus::Unknown) => {}
            (Act::Open { .. }, _) => return Err(Code::Replayed),
            (_, CaseStatus::Unknown) => return Err(Code::NoCase),
            (_, CaseStatus::Closed(_)) if !self.own => return Err(Code::NoCase),
            (_, CaseStatus::Closed(_)) => return Err(Code::CaseClosed),
            (_, CaseStatus::Open(case)) if case.member != self.statement.member => return Err(Code::NoCase),
            (Act::Add { .. }, CaseStatus::Open(case)) if case.entries.len() >= CASE_ENTRIES_MAX => {
                return Err(Code::TooLarge);
            }
            _ => {}
        }
        if !self.within_quota(at) {
            return Err(Code::QuotaExceeded);
        }
        let previous_of_member = at.views.previous_of(&self.statement.member);
        Ok(Kind::CaseStatement(pb::CaseEntry { statement: self.bytes, previous_of_member }))
    }
}

/// False where a case is closed and another member's, or was never opened: the same work for both. An open one tells by
/// itself whose it is.
async fn was_own(hub: &Hub, peer: &MemberId, case: &CaseId) -> Result<bool, Code> {
    let entries = match hub.ledger.views().case(case) {
        CaseStatus::Open(view) => return Ok(view.member == *peer),
        CaseStatus::Closed(entries) => entries,
        CaseStatus::Unknown => Vec::new(),
    };
    let (peer, case) = (peer.clone(), case.clone());
    let read = move |ledger: &Ledger| {
        let opening = statement_at(ledger, entries.first().copied().unwrap_or_default());
        Ok(opening.is_some_and(|opening| opening.case == case && opening.member == peer))
    };
    hub.ledger.reading(ReadFor::Caller, read).await
}

/// The member of a case that was ever opened, read from its opening.
pub fn member_of(hub: &Hub, case: &CaseId) -> Option<MemberId> {
    match hub.ledger.views().case(case) {
        CaseStatus::Open(view) => Some(view.member.clone()),
        CaseStatus::Closed(entries) => {
            let statement = statement_at(&hub.ledger, *entries.first()?)?;
            Some(statement.member)
        }
        CaseStatus::Unknown => None,
    }
}

fn statement_at(ledger: &Ledger, index: u64) -> Option<CaseStatement> {
    let bytes = ledger.reader().read(index).ok()?;
    match entry::decode(&bytes).ok()?.kind? {
        Kind::CaseStatement(case) => {
            let signed = SignedStatement::parse(case.statement).ok()?;
            CaseStatement::parse(signed.unverified_payload()).ok()
        }
        _ => None,
    }
}

/// Shows a case to its own member; for all others it does not exist.
pub fn show(hub: &Hub, peer: &MemberId, case: &CaseId) -> Result<pb::ShowResponse, Code> {
    let (entries, state) = match hub.ledger.views().case(case) {
        CaseStatus::Open(view) => (view.entries.clone(), pb::CaseState::Open),
        CaseStatus::Closed(entries) => (entries, pb::CaseState::Closed),
        CaseStatus::Unknown => (Vec::new(), pb::CaseState::Unspecified),
    };
    // The same work for a case that is not there as for one of somebody else: one entry is read and opened.
    let opening = statement_at(&hub.ledger, entries.first().copied().unwrap_or_default());
    if !opening.is_some_and(|opening| opening.case == *case && opening.member == *peer) {
        return Err(Code::NotFound);
    }
    let mut shown = pb::ShowResponse {
        case_id: case.as_str().to_owned(),
        member: peer.as_str().to_owned(),
        state: state.into(),
        ..pb::ShowResponse::default()
    };
    let mut tags = std::collections::BTreeSet::new();
    for index in entries {
        let receipt = hub.ledger.receipt(index)?;
        let time_ms = entry::decode(&receipt.entry).map_err(|_| Code::Internal)?.time_ms;
        let statement = statement_at(&hub.ledger, index).ok_or(Code::Internal)?;
        tags.extend(statement.subject_tags.iter().copied());
        match statement.act {
            Act::Open { matter } => {
                matter.as_str().clone_into(&mut shown.matter);
                shown.opened_at_ms = time_ms;
            }
            Act::Close { .. } => shown.closed_at_ms = time_ms,
            Act::Add { .. } => {}
        }
        shown.receipts.push(receipt.to_receipt());
    }
    shown.subjects = u32::try_from(tags.len()).unwrap_or(u32::MAX);
    Ok(shown)
}
