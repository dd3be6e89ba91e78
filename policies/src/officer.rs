//! The proof of an officer: whether ticket or second signature belongs to the officer, app and case of the
//! request. Judged in Rust: few requests carry one, and Cedar would charge all of them for its facts.

use crate::input::{Context, OfficerEvidence};
use crate::rules::{OFFICER, TICKET, TICKET_USES};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::ticket::{Ticket, officer_fault};

/// The rule that denies, with what is wrong; none where the proof holds or none is claimed.
pub(crate) fn judge(
    request: &Request,
    contract: &Contract,
    context: &Context<'_>,
) -> Option<(&'static str, &'static str)> {
    match (context.officer, request.officer_by) {
        (OfficerEvidence::Asserted, OfficerBy::Asserted) => None,
        (OfficerEvidence::Asserted, _) => Some((OFFICER, "what the statement rests on is not at hand")),
        (OfficerEvidence::Signed { delegation }, OfficerBy::Signature(digest))
            if delegation.digest == digest =>
        {
            key_fault(request, contract, delegation, context).map(|fault| (OFFICER, fault))
        }
        (OfficerEvidence::Signed { .. }, _) => Some((OFFICER, "the statement names another key")),
        (OfficerEvidence::Ticket { ticket, delegation, uses }, by) => {
            if by != OfficerBy::Ticket(ticket.digest) {
                return Some((OFFICER, "the statement names another ticket"));
            }
            if ticket.delegation_digest != delegation.digest {
                return Some((OFFICER, "the ticket names another key"));
            }
            if let Some(fault) = key_fault(request, contract, delegation, context) {
                return Some((OFFICER, fault));
            }
            if let Some(fault) = ticket_fault(request, ticket, context.now_ms) {
                return Some((TICKET, fault));
            }
            match uses {
                Some(uses) if uses > ticket.uses => Some((TICKET_USES, "all are used up")),
                None if context.site.is_live() => Some((TICKET, "its uses were not counted")),
                _ => None,
            }
        }
    }
}

fn key_fault(
    request: &Request,
    contract: &Contract,
    delegation: &Delegation,
    context: &Context<'_>,
) -> Option<&'static str> {
    let Some(officer) = &request.officer else { return Some("the statement names no officer") };
    // One signature would count as two.
    if delegation.key == context.delegation.key {
        return Some("the officer's key is the app's");
    }
    let (root, now_ms) = (&contract.text.consumer.root, context.now_ms);
    officer_fault(delegation, &request.consumer, officer, root)
        .or_else(|| (!delegation.valid_at(now_ms)).then_some("the officer's delegation is not in force"))
}

fn ticket_fault(request: &Request, ticket: &Ticket, now_ms: i64) -> Option<&'static str> {
    if ticket.member != request.consumer {
        Some("of another member")
    } else if Some(&ticket.officer) != request.officer.as_ref() {
        Some("of another officer")
    } else if ticket.app != request.app {
        Some("for another app")
    } else if ticket.case != request.case {
        Some("for another case")
    } else if !ticket.valid_at(now_ms) {
        Some("not valid now")
    } else {
        None
    }
}
