//! Stage 3: whether it may. Yields the permit without which nothing can be forwarded.

use super::Refusal;
use super::accept::Accepted;
use super::authenticate::Authentic;
use super::officer::{self, Evidence};
use super::sealed;
use crate::context::Hub;
use crate::views::{CaseStatus, CaseView, Claims, ContractView, DelegationView};
use std::sync::Arc;
use yiwang_policies::{CaseFacts, Context, Denial, Permit, Site};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::CaseId;

/// A permit with what it rests on.
pub struct Decided {
    /// The permit.
    pub permit: Permit,
    /// The contract.
    pub contract: Arc<ContractView>,
    /// The app's delegation.
    pub delegation: Arc<DelegationView>,
    /// The case.
    pub case: Arc<CaseView>,
    /// Its id.
    pub case_id: CaseId,
    /// What the officer's proof rests on.
    pub officer: Evidence,
    /// Whose keys open the bodies, where they travel sealed.
    pub sealing: Option<sealed::Keys>,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { code: denial.code, clause: denial.clause, replay_of: 0 }
    }
}

/// Decides with the hub's knowledge. Any doubt is a denial.
pub fn decide(hub: &Hub, accepted: &Accepted, authentic: Authentic) -> Result<Decided, Refusal> {
    let request = &accepted.request;
    let views = hub.ledger.views();
    let now_ms = hub.ledger.now_ms();
    // The same answer for a contract that is not there and one that is none of the caller's.
    let contract = views
        .contract(&request.contract)
        .filter(|view| view.contract.text.consumer.member == request.consumer)
        .ok_or(Code::NoContract)?;
    let body = sealed::body(views, accepted, &contract.contract, now_ms)?;
    let mut officer = officer::prove(views, request, &authentic)?;
    let claims = Claims {
        contract: &contract.contract,
        app: &authentic.delegation.delegation,
        officer: request.officer.as_ref(),
        officer_key: officer.key(),
        sealing: sealed::Keys::of(body.keys()),
        adapter: None,
    };
    if let (_, Some((code, clause))) = views.standing_of(&claims, now_ms) {
        return Err(Refusal { code, clause: clause.to_owned(), replay_of: 0 });
    }
    let case = match views.case(&request.case) {
        CaseStatus::Open(case) => Some(case),
        CaseStatus::Closed(_) if is_own(hub, accepted) => return Err(Code::CaseClosed.into()),
        // Another member's closed case goes the same way as one that never was, to the same words.
        CaseStatus::Closed(_) | CaseStatus::Unknown => None,
    };
    let facts = case.as_ref().map(|case| CaseFacts {
        member: &case.member,
        matter: &case.matter,
        open: true,
        lists_all_tags: case.lists(&request.subject_tags),
    });
    officer.count(hub, request, now_ms);
    let counts = hub.count(request, officer.officer(request), now_ms);
    let context = Context {
        site: Site::Hub,
        now_ms,
        delegation: &authentic.delegation.delegation,
        case: facts,
        body: body.open(),
        counts: Some(counts),
        sealed: request.sealing.is_some(),
        officer: officer.of(),
    };
    let permit = views.decider().decide(request, &contract.prepared, &context)?;
    let case = case.ok_or(Code::NoCase)?;
    let case_id = request.case.clone();
    let sealing = body.keys().cloned();
    Ok(Decided { permit, contract, delegation: authentic.delegation, case, case_id, officer, sealing })
}

/// Whether the case is the consumer's: a closed one says so to its own member only.
fn is_own(hub: &Hub, accepted: &Accepted) -> bool {
    crate::cases::member_of(hub, &accepted.request.case)
        .is_some_and(|member| member == accepted.request.consumer)
}
