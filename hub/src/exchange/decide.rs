//! Stage 3: whether it may. Yields the permit without which nothing can be forwarded.

use super::Refusal;
use super::accept::Accepted;
use super::authenticate::Authentic;
use crate::context::Hub;
use crate::views::{CaseStatus, CaseView, Claims, ContractView, DelegationView};
use std::sync::Arc;
use yiwang_policies::{CaseFacts, Context, Denial, Permit, Site};
use yiwang_proto::body::RequestBody;
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
    let now_ms = hub.clock.now_ms();
    // The same answer for a contract that is not there and one that is none of the caller's.
    let contract = views
        .contract(&request.contract)
        .filter(|view| view.contract.text.consumer.member == request.consumer)
        .ok_or(Code::NoContract)?;
    let claims = Claims {
        contract: &contract.contract,
        app: &authentic.delegation.delegation,
        officer: request.officer.as_ref(),
        adapter: None,
    };
    if let (_, Some((code, clause))) = views.standing_of(&claims, now_ms) {
        return Err(Refusal { code, clause: clause.to_owned(), replay_of: 0 });
    }
    let body = RequestBody::open(&accepted.body, &request.body_digest).map_err(|_| Refusal {
        code: Code::Malformed,
        clause: "body does not fit its statement".to_owned(),
        replay_of: 0,
    })?;
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
    let counts = hub.count(request, now_ms);
    let context = Context {
        site: Site::Hub,
        now_ms,
        delegation: &authentic.delegation.delegation,
        case: facts,
        body: Some(&body),
        counts: Some(counts),
        sealed: false,
    };
    let permit = views.decider().decide(request, &contract.prepared, &context)?;
    let case = case.ok_or(Code::NoCase)?;
    let case_id = request.case.clone();
    Ok(Decided { permit, contract, delegation: authentic.delegation, case, case_id })
}

/// Whether the case is the consumer's: a closed one says so to its own member only.
fn is_own(hub: &Hub, accepted: &Accepted) -> bool {
    crate::cases::member_of(hub, &accepted.request.case)
        .is_some_and(|member| member == accepted.request.consumer)
}
