//! Part of stage 3: what is at hand for the acting officer. Signatures were verified before; whether they prove
//! the officer of this request is decided with everything else.

use super::Refusal;
use super::authenticate::Authentic;
use crate::context::Hub;
use crate::views::{DelegationView, TicketView, Views};
use std::sync::Arc;
use yiwang_policies::{OfficerEvidence, OfficerProof};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{AppId, CaseId, MemberId, Officer};
use yiwang_proto::pb;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::ticket::{Ticket, officer_fault};

/// What a request brings for its officer.
#[derive(Default)]
pub enum Evidence {
    /// Nothing.
    #[default]
    Asserted,
    /// A published ticket.
    Ticket {
        /// The ticket.
        ticket: Arc<TicketView>,
        /// The officer's delegation.
        delegation: Arc<DelegationView>,
        /// Uses, this one included; 0 until it is counted.
        uses: u32,
    },
    /// A good second signature.
    Signed {
        /// The officer's delegation.
        delegation: Arc<DelegationView>,
    },
}

impl Evidence {
    /// For the decision.
    pub fn of(&self) -> OfficerEvidence<'_> {
        match self {
            Self::Asserted => OfficerEvidence::Asserted,
            Self::Ticket { ticket, delegation, uses } => OfficerEvidence::Ticket {
                ticket: &ticket.ticket,
                delegation: &delegation.delegation,
                uses: Some(*uses),
            },
            Self::Signed { delegation } => OfficerEvidence::Signed { delegation: &delegation.delegation },
        }
    }

    /// The officer's key, where there is one.
    pub fn key(&self) -> Option<&Delegation> {
        match self {
            Self::Asserted => None,
            Self::Ticket { delegation, .. } | Self::Signed { delegation } => Some(&delegation.delegation),
        }
    }

    /// Counts a use of the ticket, this one included. Only once nothing else speaks against the request: what
    /// may succeed a moment later must not use a ticket up, nor does a stranger to it.
    pub fn count(&mut self, hub: &Hub, request: &Request, now_ms: i64) {
        if let Self::Ticket { ticket, uses, .. } = self
            && fits(&ticket.ticket, request)
        {
            *uses = hub.use_ticket(&ticket.ticket.digest, now_ms);
        }
    }

    /// Who is counted by himself.
    pub fn officer<'a>(&self, request: &'a Request) -> Option<&'a Officer> {
        let officer = request.officer.as_ref()?;
        let delegation = self.key()?;
        let theirs = officer_fault(delegation, &request.consumer, officer, &delegation.root).is_none();
        theirs.then_some(officer)
    }

    /// Whether it still holds at the moment that counts.
    pub fn valid_at(&self, now_ms: i64) -> bool {
        match self {
            Self::Asserted => true,
            Self::Ticket { ticket, delegation, .. } => {
                ticket.ticket.valid_at(now_ms) && delegation.delegation.valid_at(now_ms)
            }
            Self::Signed { delegation } => delegation.delegation.valid_at(now_ms),
        }
    }

    /// Entries of ticket and officer's delegation; 0 where there is none.
    pub fn indexes(&self) -> (u64, u64) {
        match self {
            Self::Asserted => (0, 0),
            Self::Ticket { ticket, delegation, .. } => (ticket.index, delegation.index),
            Self::Signed { delegation } => (0, delegation.index),
        }
    }
}

/// Finds what the statement says that it rests on. Asserted officers cost nothing here.
pub fn prove(views: &Views, request: &Request, authentic: &Authentic) -> Result<Evidence, Refusal> {
    match request.officer_by {
        OfficerBy::Asserted => Ok(Evidence::Asserted),
        OfficerBy::Signature(digest) => {
            if views.delegation(&digest).is_none() {
                return Err(refusal("no delegation of that digest"));
            }
            let delegation = authentic.officer.clone();
            let delegation = delegation.ok_or_else(|| refusal("no good signature of the officer's key"))?;
            Ok(Evidence::Signed { delegation })
        }
        OfficerBy::Ticket(digest) => {
            let unknown = || Refusal {
                code: Code::TicketInvalid,
                clause: "ticket: none of that digest is published".to_owned(),
                replay_of: 0,
            };
            let ticket = views.ticket(&digest).ok_or_else(unknown)?;
            let delegation = views
                .delegation(&ticket.ticket.delegation_digest)
                .ok_or_else(|| refusal("no delegation of the ticket's officer"))?;
            Ok(Evidence::Ticket { ticket, delegation, uses: 0 })
        }
    }
}

/// Whether a request is one of those that a ticket is for.
pub fn fits(ticket: &Ticket, request: &Request) -> bool {
    is_for(ticket, (&request.consumer, &request.app, &request.case, request.officer.as_ref()))
}

/// The same by what a request says of who asks: member, app, case, officer.
pub fn is_for(
    ticket: &Ticket,
    (member, app, case, officer): (&MemberId, &AppId, &CaseId, Option<&Officer>),
) -> bool {
    ticket.member == *member && ticket.app == *app && ticket.case == *case && Some(&ticket.officer) == officer
}

fn refusal(what: &str) -> Refusal {
    Refusal { code: Code::OfficerInvalid, clause: format!("officer: {what}"), replay_of: 0 }
}

/// As it stands in entries.
pub fn proof_in_entry(proof: OfficerProof) -> pb::OfficerProof {
    match proof {
        OfficerProof::Asserted => pb::OfficerProof::Asserted,
        OfficerProof::Ticket => pb::OfficerProof::Ticket,
        OfficerProof::Signed => pb::OfficerProof::Signed,
    }
}
