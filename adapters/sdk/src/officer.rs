//! The acting officer at the adapter: ticket or second signature, verified from documents that the hub hands
//! over and that it is not believed in.

use crate::adapter::{Adapter, Incoming};
use crate::material::{HeldTicket, MaterialSource, Wanted};
use crate::reply::Refusal;
use bytes::Bytes;
use std::sync::Arc;
use yiwang_policies::OfficerEvidence;
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::Officer;
use yiwang_proto::request::{OFFICER_SIGNS, OfficerBy, Request};
use yiwang_proto::ticket::officer_fault;

/// What a request brings for its officer.
pub(crate) enum Evidence {
    Asserted,
    Ticket(Arc<HeldTicket>),
    Signed(Arc<Delegation>),
}

impl Evidence {
    /// For the decision; `uses` is the count with this request.
    pub(crate) fn of(&self, uses: u32) -> OfficerEvidence<'_> {
        match self {
            Self::Asserted => OfficerEvidence::Asserted,
            Self::Ticket(held) => OfficerEvidence::Ticket {
                ticket: &held.ticket,
                delegation: &held.delegation,
                uses: Some(uses),
            },
            Self::Signed(delegation) => OfficerEvidence::Signed { delegation },
        }
    }

    /// The officer's key, where there is one.
    pub(crate) fn key(&self) -> Option<&Delegation> {
        match self {
            Self::Asserted => None,
            Self::Ticket(held) => Some(&held.delegation),
            Self::Signed(delegation) => Some(delegation),
        }
    }

    /// Who is counted by himself.
    pub(crate) fn officer<'a>(&self, request: &'a Request) -> Option<&'a Officer> {
        let delegation = self.key()?;
        let officer = request.officer.as_ref()?;
        officer_fault(delegation, &request.consumer, officer, &delegation.root).is_none().then_some(officer)
    }

    /// The ticket, if the request is one of those that it is for: a stranger does not use it up.
    pub(crate) fn used_ticket(&self, request: &Request) -> Option<Digest> {
        let Self::Ticket(held) = self else { return None };
        let ticket = &held.ticket;
        let fits = ticket.member == request.consumer
            && ticket.app == request.app
            && ticket.case == request.case
            && Some(&ticket.officer) == request.officer.as_ref();
        fits.then_some(ticket.digest)
    }
}

impl Adapter {
    /// Verifies what the statement says that it rests on. Asserted officers cost nothing here.
    pub(crate) async fn officer_evidence(
        &self,
        incoming: &Incoming,
        delivered: &[Bytes],
        material: &dyn MaterialSource,
    ) -> Result<Evidence, Refusal> {
        match incoming.request.officer_by {
            OfficerBy::Asserted => Ok(Evidence::Asserted),
            OfficerBy::Signature(digest) => {
                let none = |_| Refusal::denied(Code::OfficerInvalid, "officer: no delegation of that digest");
                let delegation = self.documents.delegation(&digest, delivered).map_err(none)?;
                let signed = &incoming.signed;
                signed.verify_at(OFFICER_SIGNS, payload_type::REQUEST, &delegation.key).map_err(|_| {
                    Refusal::denied(Code::OfficerInvalid, "officer: no good signature of the officer's key")
                })?;
                Ok(Evidence::Signed(delegation))
            }
            OfficerBy::Ticket(digest) => {
                if let Some(held) = self.documents.held_ticket(&digest) {
                    return Ok(Evidence::Ticket(held));
                }
                let named = self.documents.officer_of(&digest, delivered)?;
                let mut delivered = delivered.to_vec();
                if self.documents.delegation(&named, &delivered).is_err() {
                    let wanted = Wanted { documents: vec![named], cases: Vec::new() };
                    delivered.extend(material.fetch(wanted).await?.documents);
                }
                self.documents.ticket(&digest, &delivered).map(Evidence::Ticket)
            }
        }
    }
}
