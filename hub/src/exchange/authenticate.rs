//! Stage 2: who asks. The connection's member, the delegation under that member's root, the signature,
//! the statement's time, and that it was not seen before.

use super::Refusal;
use super::accept::Accepted;
use crate::context::Hub;
use crate::views::{DelegationView, Views};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::ContractText;
use yiwang_proto::delegation::Role;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::request::{APP_SIGNS, OFFICER_SIGNS, OfficerBy, Request};

/// Proof that the statement is the app's.
pub struct Authentic {
    /// The app's delegation.
    pub delegation: Arc<DelegationView>,
    /// The officer's, where the statement rests on the officer's signature and carries it.
    pub officer: Option<Arc<DelegationView>>,
}

/// While this machine's clock cannot be right, statements are still heard for the time they name, so that
/// a clock that was set right is believed again; nothing else is done with them.
pub fn hear(hub: &Hub, accepted: &Accepted) {
    let request = &accepted.request;
    let view = hub.ledger.views().delegation(&request.delegation_digest);
    let signed = view.filter(|view| {
        accepted.peer == request.consumer
            && view.delegation.member == request.consumer
            && accepted.signed.verify_at(APP_SIGNS, payload_type::REQUEST, &view.delegation.key).is_ok()
    });
    if signed.is_some() {
        hub.ledger.hear_time(&request.consumer, request.issued_at_ms);
    }
}

/// Whose second signature it carries, if the statement rests on an officer's and that is good.
fn officer(views: &Views, accepted: &Accepted) -> Option<Arc<DelegationView>> {
    let OfficerBy::Signature(digest) = accepted.request.officer_by else { return None };
    let officer = views.delegation(&digest)?;
    let signed = accepted.signed.verify_at(OFFICER_SIGNS, payload_type::REQUEST, &officer.delegation.key);
    signed.is_ok().then_some(officer)
}

/// Whether the hub knows every name in a statement, so that its words may stand in the ledger: grammars keep out
/// sentences, and no numbers. Of contracts only the consumer's own count, since the form of its entry must not tell
/// anybody that another one exists.
fn names_known(views: &Views, signed: &SignedStatement, request: &Request) -> bool {
    let contract = views.contract(&request.contract);
    let own = contract.filter(|view| view.contract.text.consumer.member == request.consumer);
    // Hashes beside a signature over many statements could say anything too, where nobody agreed on them.
    let names = |text: &ContractText| text.operations.contains(&request.operation) && text.allows(signed);
    own.is_some_and(|view| names(&view.contract.text))
        && views.member(&request.provider).is_some()
        && views.knows_fields(&request.record, &request.fields)
        && views.decider().catalogue().has_purpose(&request.purpose)
}

/// Verifies before anything in the statement is used.
pub fn authenticate(hub: &Hub, accepted: &Accepted) -> Result<Authentic, Refusal> {
    let request = &accepted.request;
    if accepted.peer != request.consumer {
        return Err(Code::WrongMember.into());
    }
    let views = hub.ledger.views();
    let delegation = views.delegation(&request.delegation_digest).ok_or(Code::KeyUnknown)?;
    let names_the_app = delegation.delegation.member == request.consumer
        && delegation.delegation.name == request.app
        && delegation.delegation.role == Role::App;
    if !names_the_app {
        return Err(Code::DelegationInvalid.into());
    }
    accepted
        .signed
        .verify_knowing(&hub.roots, APP_SIGNS, payload_type::REQUEST, &delegation.delegation.key)
        .map_err(|_| Code::SignatureInvalid)?;
    let officer = officer(views, accepted);
    hub.ledger.hear_time(&request.consumer, request.issued_at_ms);
    // A second signature that nobody could verify may be any 64 bytes.
    let verified = 1 + usize::from(officer.is_some());
    let whole = accepted.signed.signature_count() == verified;
    accepted.verbatim.store(whole && names_known(views, &accepted.signed, request), Ordering::Relaxed);
    let now = hub.ledger.now_ms();
    if request.issued_at_ms > now.saturating_add(CLOCK_SKEW_MS) {
        return Err(Code::ClockSkew.into());
    }
    if request.expires_at_ms <= now {
        return Err(Code::StatementExpired.into());
    }
    if !delegation.delegation.valid_at(now) {
        return Err(Code::DelegationInvalid.into());
    }
    if views.revoked(&delegation.delegation) {
        return Err(Code::Revoked.into());
    }
    match hub.replays.claim(&request.consumer, &request.id, request.expires_at_ms, now) {
        Ok(()) => {
            super::heads::check_request(hub, request)?;
            Ok(Authentic { delegation, officer })
        }
        Err(seen) => {
            // A second envelope or payload under one id is refused, whatever it holds.
            Err(Refusal { code: Code::Replayed, clause: String::new(), replay_of: seen })
        }
    }
}
