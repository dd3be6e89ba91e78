//! The decision written a second time, in plain Rust and without Cedar, from the pages that describe it
//! and not from the rules. Tests run both over random near-misses: where they differ, one is wrong.
//! Nothing serves with it.

use crate::catalogue::{Catalogue, RecordDef, SubjectKind};
use crate::input::{Context, OfficerEvidence, Site};
use crate::record_type::RecordTypeVersion;
use crate::rows::check_arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, Method};
use yiwang_proto::delegation::Role;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::request::{OfficerBy, Request};

/// All codes that refuse the request, the strongest first; empty when it is granted. `added` are versions of record types
/// that members added, as far as they are at hand.
pub fn decide(
    catalogue: &Catalogue,
    added: &[&RecordTypeVersion],
    request: &Request,
    contract: &Contract,
    context: &Context<'_>,
) -> Vec<Code> {
    if live(context) {
        let counted = context.counts.is_some_and(|c| c.app_this_minute > 0 && c.officer_today > 0);
        let body_known = context.body.is_some() || (context.sealed && context.site == Site::Hub);
        if !counted || !body_known {
            return vec![Code::PolicyError];
        }
    }
    let mut codes = Vec::new();
    parties(request, contract, context, &mut codes);
    times(request, contract, context, &mut codes);
    if request.in_batch && !contract.text.batch_signatures {
        codes.push((8, Code::SignatureInvalid));
    }
    officer(request, contract, context, &mut codes);
    scope(request, contract, &mut codes);
    cases(request, contract, context, &mut codes);
    subjects(record(catalogue, added, contract), request, contract, context, &mut codes);
    let counts = contract.text.method == Method::Count;
    if counts && context.body.is_some_and(|body| !body.arguments.is_empty()) {
        codes.push((24, Code::ArgumentInvalid));
    } else if let Some(body) = context.body
        && let Err(fault) = check_arguments(&contract.text.rows, &body.arguments)
    {
        let place = if fault.code() == Code::ArgumentInvalid { 24 } else { 25 };
        codes.push((place, fault.code()));
    }
    if let Some(counts) = context.counts {
        if counts.app_this_minute > contract.text.limits.per_app_per_minute {
            codes.push((26, Code::RateExceeded));
        }
        if counts.officer_today > contract.text.limits.per_officer_per_day {
            codes.push((27, Code::RateExceeded));
        }
    }
    codes.sort_by_key(|(place, _)| *place);
    codes.into_iter().map(|(_, code)| code).collect()
}

type Codes = Vec<(u8, Code)>;

/// An officer's key is a key of the consumer's officer whom the statement names. A ticket is for this app and
/// this case, in its time, and not used up.
fn officer(request: &Request, contract: &Contract, context: &Context<'_>, codes: &mut Codes) {
    let named = |by: OfficerBy| request.officer_by == by;
    let is_theirs = |key: &yiwang_proto::delegation::Delegation| {
        key.root == contract.text.consumer.root
            && key.member == request.consumer
            && key.role == Role::Officer
            && key.key != context.delegation.key
            && request.officer.as_ref().is_some_and(|officer| officer.as_str() == key.name.as_str())
            && key.valid_at(context.now_ms)
    };
    match context.officer {
        OfficerEvidence::Asserted => {
            if !named(OfficerBy::Asserted) {
                codes.push((8, Code::OfficerInvalid));
            }
        }
        OfficerEvidence::Signed { delegation } => {
            if !named(OfficerBy::Signature(delegation.digest)) || !is_theirs(delegation) {
                codes.push((8, Code::OfficerInvalid));
            }
        }
        OfficerEvidence::Ticket { ticket, delegation, uses } => {
            if !named(OfficerBy::Ticket(ticket.digest))
                || ticket.delegation_digest != delegation.digest
                || !is_theirs(delegation)
            {
                codes.push((8, Code::OfficerInvalid));
            } else if ticket.member != request.consumer
                || Some(&ticket.officer) != request.officer.as_ref()
                || ticket.app != request.app
                || ticket.case != request.case
                || !ticket.valid_at(context.now_ms)
            {
                codes.push((8, Code::TicketInvalid));
            } else if uses.is_some_and(|uses| uses > ticket.uses) {
                codes.push((8, Code::TicketUsedUp));
            } else if uses.is_none() && live(context) {
                codes.push((8, Code::TicketInvalid));
            }
        }
    }
}

fn live(context: &Context<'_>) -> bool {
    match context.site {
        Site::Hub | Site::Adapter => true,
        Site::Verifier => false,
    }
}

fn parties(request: &Request, contract: &Contract, context: &Context<'_>, codes: &mut Codes) {
    let said = &contract.text;
    if request.contract != said.id || request.provider != said.provider.member {
        codes.push((1, Code::NoContract));
    }
    if request.consumer != said.consumer.member {
        codes.push((2, Code::ConsumerMismatch));
    }
    if request.consumer != said.consumer.member || !said.apps.contains(&request.app) {
        codes.push((3, Code::ConsumerMismatch));
    }
    if request.contract_digest != contract.digest {
        codes.push((4, Code::ContractInvalid));
    }
    let key = context.delegation;
    let of_asker = key.member == request.consumer && key.name == request.app && key.role == Role::App;
    let right_root = key.root == said.consumer.root;
    if !of_asker || !right_root || key.digest != request.delegation_digest {
        codes.push((7, Code::DelegationInvalid));
    }
}

fn times(request: &Request, contract: &Contract, context: &Context<'_>, codes: &mut Codes) {
    let now = context.now_ms;
    if now < contract.valid_from_ms {
        codes.push((5, Code::ContractNotYetValid));
    }
    if contract.valid_until_ms <= now {
        codes.push((6, Code::ContractExpired));
    }
    if !context.delegation.valid_at(now) {
        codes.push((8, Code::DelegationInvalid));
    }
    if live(context) {
        if request.expires_at_ms <= now {
            codes.push((9, Code::StatementExpired));
        }
        if request.issued_at_ms.saturating_sub(now) > CLOCK_SKEW_MS {
            codes.push((10, Code::ClockSkew));
        }
    }
}

fn scope(request: &Request, contract: &Contract, codes: &mut Codes) {
    let said = &contract.text;
    if request.purpose != said.purpose {
        codes.push((11, Code::PurposeMismatch));
    }
    if request.record != said.record {
        codes.push((12, Code::OperationNotGranted));
    }
    if !said.operations.contains(&request.operation) {
        codes.push((12, Code::OperationNotGranted));
    }
    if said.break_glass {
        codes.push((14, Code::OperationNotGranted));
    }
    if request.fields.iter().any(|field| !said.fields.contains(field)) {
        codes.push((15, Code::FieldNotGranted));
    }
}

fn cases(request: &Request, contract: &Contract, context: &Context<'_>, codes: &mut Codes) {
    match context.case.filter(|case| *case.member == request.consumer) {
        None => codes.push((16, Code::NoCase)),
        Some(case) => {
            if !case.open {
                codes.push((17, Code::CaseClosed));
            }
            if !contract.text.matters.contains(case.matter) {
                codes.push((18, Code::MatterMismatch));
            }
            if !case.lists_all_tags {
                codes.push((20, Code::SubjectNotInCase));
            }
        }
    }
}

/// The record that a contract is about. A contract that pins a version is about that version, if the provider signed it,
/// and about nothing else, whatever the program has under the name.
fn record<'a>(
    catalogue: &'a Catalogue,
    added: &[&'a RecordTypeVersion],
    contract: &Contract,
) -> Option<&'a RecordDef> {
    let said = &contract.text;
    if said.record_type.is_none() {
        return catalogue.record(&said.record);
    }
    let pinned = added.iter().find(|version| said.pinned_record_type() == Some(version.digest))?;
    let right = pinned.text.record == said.record
        && pinned.text.providers.iter().any(|one| one.member == said.provider.member);
    right.then_some(&*pinned.def)
}

/// Of a record that nobody knows, each field counts as sealed, and as about a person.
fn subjects(
    record: Option<&RecordDef>,
    request: &Request,
    contract: &Contract,
    context: &Context<'_>,
    codes: &mut Codes,
) {
    let said = &contract.text;
    let kind = record.map_or(SubjectKind::Person, |record| record.subject);
    let highest = request
        .fields
        .iter()
        .filter(|name| said.fields.contains(name))
        .map(|name| record.and_then(|record| record.field(name)).map_or(4, |field| field.class))
        .max()
        .unwrap_or(0);
    if said.method != Method::Query {
        let named = context.body.is_some_and(|body| !body.subject.is_empty());
        if named || !request.subject_tags.is_empty() {
            codes.push((21, Code::ArgumentInvalid));
        }
    } else if kind == SubjectKind::Person || highest >= 2 {
        if request.subject_tags.is_empty() {
            codes.push((19, Code::SubjectNotInCase));
        }
        if context.body.is_some_and(|body| body.subject.is_empty()) {
            codes.push((21, Code::ArgumentInvalid));
        }
    }
    if highest >= 4 {
        codes.push((22, Code::ApprovalsRequired));
    }
    let granted = request.fields.iter().any(|name| said.fields.contains(name));
    if !context.sealed && (highest >= 3 || (said.sealed && granted)) {
        codes.push((23, Code::SealingRequired));
    }
    let signed = matches!(context.officer, OfficerEvidence::Signed { .. });
    if highest >= 3 && !signed {
        codes.push((23, Code::OfficerSignatureRequired));
    }
}
