//! Officers' tickets by digest, verified once.

use super::documents::{Documents, find};
use crate::reply::Refusal;
use bytes::Bytes;
use std::sync::Arc;
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::ticket::Ticket;

/// A ticket whose signature is good under its officer's delegation. Whether that delegation counts, and for
/// what the ticket is, is for the decision.
#[derive(Debug)]
pub(crate) struct HeldTicket {
    pub(crate) ticket: Ticket,
    pub(crate) delegation: Arc<Delegation>,
}

fn invalid(clause: &str) -> Refusal {
    Refusal::denied(Code::TicketInvalid, clause)
}

fn handed_over(digest: &Digest, delivered: &[Bytes]) -> Result<(SignedDocument, Ticket), Refusal> {
    let none = || invalid("ticket: none of that digest was handed over");
    let document = find(digest, delivered, DOCUMENT_MAX).ok_or_else(none)?;
    let ticket = Ticket::read(&document).map_err(|_| invalid("ticket: not well-formed"))?;
    Ok((document, ticket))
}

impl Documents {
    pub(crate) fn held_ticket(&self, digest: &Digest) -> Option<Arc<HeldTicket>> {
        self.tickets.get(digest)
    }

    /// The delegation that a delivered ticket names.
    pub(crate) fn officer_of(&self, digest: &Digest, delivered: &[Bytes]) -> Result<Digest, Refusal> {
        handed_over(digest, delivered).map(|(_, ticket)| ticket.delegation_digest)
    }

    /// A delivered ticket, verified under a held or delivered delegation.
    pub(crate) fn ticket(&self, digest: &Digest, delivered: &[Bytes]) -> Result<Arc<HeldTicket>, Refusal> {
        let (document, ticket) = handed_over(digest, delivered)?;
        let delegation = self.delegation(&ticket.delegation_digest, delivered).map_err(|_| {
            Refusal::denied(Code::OfficerInvalid, "officer: no delegation of the ticket's officer")
        })?;
        let ticket = Ticket::verify(&document, &delegation).map_err(|_| {
            Refusal::denied(Code::OfficerInvalid, "officer: the ticket is not signed by its key")
        })?;
        let held = Arc::new(HeldTicket { ticket, delegation });
        self.tickets.insert(*digest, Arc::clone(&held));
        Ok(held)
    }
}
