//! Officers: their tickets, their signatures, and what entries say of both; and which bodies travelled sealed.

use super::exchanges::Subject;
use super::late::is_late;
use super::{At, Document, Scope, State};
use crate::redecide::{Officer, Signature};
use crate::rules::Rule;
use std::collections::HashMap;
use std::sync::Arc;
use yiwang_proto::Digest;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::pb::OfficerProof;
use yiwang_proto::request::{OFFICER_SIGNS, OfficerBy, Request};
use yiwang_proto::ticket::Ticket;

#[derive(Debug)]
struct Held {
    ticket: Arc<Ticket>,
    uses: u32,
}

/// All tickets, with the requests that passed on them.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    held: HashMap<Digest, Held>,
}

impl Tickets {
    /// The officer's delegation that a ticket names.
    pub(super) fn delegation_of(&self, ticket: &Digest) -> Option<Digest> {
        self.held.get(ticket).map(|held| held.ticket.delegation_digest)
    }
}

impl State<'_> {
    /// A ticket counts if the officer's key signed it, and the member's root delegated that key.
    pub(super) fn ticket(&mut self, at: At, document: &SignedDocument, ticket: &Ticket) {
        self.documents.insert(at.index, Document::Ticket(ticket.digest));
        let delegation =
            self.delegations.get(&ticket.delegation_digest).map(|held| Arc::clone(&held.delegation));
        let fault = match &delegation {
            None => Some("names a delegation that no earlier entry carries".to_owned()),
            Some(officer) if !self.roots_of(&ticket.member).contains(&officer.root) => {
                Some(format!("its officer's key is not under the root of `{}`", ticket.member))
            }
            Some(officer) if !officer.valid_at(at.time_ms) => {
                Some("its officer's delegation was not valid then".to_owned())
            }
            Some(officer) if self.words.key_revoked(officer) => {
                Some("its officer's key was revoked before".to_owned())
            }
            Some(officer) => Ticket::verify(document, officer).err().map(|error| error.to_string()),
        };
        if let Some(fault) = fault {
            return self.finding(at, Rule::Officer, fault);
        }
        let held = Held { ticket: Arc::new(ticket.clone()), uses: 0 };
        if self.tickets.held.insert(ticket.digest, held).is_some() {
            self.finding(at, Rule::Officer, "the same ticket as in an earlier entry");
        }
    }

    /// What is at hand for a request's officer. What is missing shows as a decision that does not hold.
    pub(super) fn officer_of(&self, request: &Request) -> Officer {
        let delegation = |digest| self.delegations.get(digest).map(|held| Arc::clone(&held.delegation));
        let found = match &request.officer_by {
            OfficerBy::Asserted => None,
            OfficerBy::Signature(digest) => delegation(digest).map(Officer::Signed),
            OfficerBy::Ticket(digest) => self.tickets.held.get(digest).and_then(|held| {
                let officer = delegation(&held.ticket.delegation_digest)?;
                Some(Officer::Ticket(Arc::clone(&held.ticket), officer))
            }),
        };
        found.unwrap_or(Officer::Asserted)
    }

    /// The officer's signature on a request that passed, and on any that carries one: nothing stands in an entry
    /// that nobody verified.
    pub(super) fn officer_signature(&mut self, subject: Subject<'_>) -> Option<Signature> {
        let request = &subject.request.statement;
        let OfficerBy::Signature(digest) = request.officer_by else { return None };
        let carried = subject.request.signed.signature_count() > OFFICER_SIGNS;
        let Some(officer) = self.delegations.get(&digest).filter(|_| subject.passed || carried) else {
            // A denial points at no officer's delegation, so its bundle need not hold one.
            if carried && self.scope == Scope::Parts && !subject.passed {
                self.unverified_requests += 1;
            } else if carried {
                let what = "carries a second signature under a delegation that no earlier entry carries";
                self.finding(subject.at, Rule::Officer, what);
            }
            return None;
        };
        Some(Signature {
            signed: subject.request.signed.clone(),
            kind: payload_type::REQUEST,
            key: officer.delegation.key,
            place: Some(OFFICER_SIGNS),
            rule: Rule::Officer,
            whose: format!("officer `{}` of `{}`", officer.delegation.name, request.consumer),
        })
    }

    /// The entry says of officer and bodies what the statement says, points at the right entries, and no
    /// ticket is used more often than it allows.
    pub(super) fn officer_claims(&mut self, subject: Subject<'_>) {
        let Subject { at, raw, request, passed, .. } = subject;
        let request = &request.statement;
        if raw.sealed != request.sealing.is_some() {
            self.finding(
                at,
                Rule::Exchange,
                "says of its bodies otherwise than its statement whether they are sealed",
            );
        }
        let claimed = raw.officer_proof();
        if !passed {
            // What the hub denied, it proved nothing of.
            if !matches!(claimed, OfficerProof::Unspecified | OfficerProof::Asserted) {
                self.finding(at, Rule::Officer, "claims a proof of the officer, and was denied");
            }
            return;
        }
        let (proof, ticket, officer) = match request.officer_by {
            OfficerBy::Asserted => (OfficerProof::Asserted, None, None),
            OfficerBy::Signature(digest) => (OfficerProof::Signed, None, Some(digest)),
            OfficerBy::Ticket(digest) => {
                let officer = self.tickets.delegation_of(&digest);
                (OfficerProof::Ticket, Some(digest), officer)
            }
        };
        if claimed != proof && !(claimed == OfficerProof::Unspecified && proof == OfficerProof::Asserted) {
            self.finding(at, Rule::Officer, "claims another proof of the officer than its statement carries");
        }
        let points = [
            ("officer's ticket", raw.ticket_index, ticket.map(Document::Ticket)),
            ("officer's delegation", raw.officer_delegation_index, officer.map(Document::Delegation)),
            (
                "consumer's delegation for sealing",
                raw.sealing_delegation_index,
                request.sealing.map(Document::Delegation),
            ),
        ];
        for (what, index, wanted) in points {
            let found = if index == 0 { None } else { self.documents.get(&index).copied() };
            if found != wanted || (index != 0 && wanted.is_none()) {
                self.finding(at, Rule::Reference, format!("entry {index} is not the {what} that it needs"));
            }
        }
        // Of what was answered and not recorded in time the hub knew nothing when it let the next use through; its provider
        // counted it, and refused one too many.
        let used = ticket.filter(|_| !is_late(subject));
        let over = used.and_then(|digest| self.tickets.held.get_mut(&digest)).and_then(|held| {
            held.uses = held.uses.saturating_add(1);
            (held.uses > held.ticket.uses).then_some((held.uses, held.ticket.uses))
        });
        if let Some((uses, most)) = over {
            self.finding(at, Rule::Officer, format!("use {uses} of a ticket for {most}"));
        }
    }
}
