//! Stage 3: whether it may. Yields the permit without which nothing can be forwarded.

use super::Refusal;
use super::accept::Accepted;
use super::authenticate::Authentic;
use super::officer::{self, Evidence};
use super::sealed;
use crate::context::Hub;
use crate::standings;
use crate::views::{CaseStatus, CaseView, Claims, ContractView, DelegationView, Views};
use std::sync::Arc;
use yiwang_policies::{CaseFacts, Context, Denial, Permit, Site};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{CaseId, Officer};

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

impl Decided {
    /// What it rests on that a member may have taken back.
    pub fn claims<'a>(&'a self, officer: Option<&'a Officer>, adapter: Option<&'a Delegation>) -> Claims<'a> {
        Claims {
            contract: &self.contract.contract,
            app: &self.delegation.delegation,
            officer,
            officer_key: self.officer.key(),
            sealing: sealed::Keys::of(self.sealing.as_ref()),
            adapter,
        }
    }

    /// What the permit rested on and no longer holds at a later moment.
    pub fn changed(&self, views: &Views, time_ms: i64) -> Option<Code> {
        let text = &self.contract.contract.text;
        let current = views.contract(&text.id);
        if current.is_none_or(|view| view.index != self.contract.index) {
            return Some(Code::NoContract);
        }
        if time_ms >= self.contract.contract.valid_until_ms {
            return Some(Code::ContractExpired);
        }
        if !self.delegation.delegation.valid_at(time_ms) {
            return Some(Code::DelegationInvalid);
        }
        if !self.officer.valid_at(time_ms) {
            return Some(Code::OfficerInvalid);
        }
        if !matches!(views.case(&self.case_id), CaseStatus::Open(_)) {
            return Some(Code::CaseClosed);
        }
        None
    }
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

/// Looks once more at what a permit rests on, before a request that waited goes out: what was taken back meanwhile is
/// not asked for. Nothing is counted again.
pub async fn look_again(hub: &Hub, accepted: &Accepted, decided: &Decided) -> Result<(), Refusal> {
    let request = &accepted.request;
    standings::enter_newest(hub, &request.consumer, &request.provider).await;
    let (views, now_ms) = (hub.ledger.views(), hub.ledger.now_ms());
    if let Some(code) = decided.changed(views, now_ms) {
        return Err(code.into());
    }
    match views.standing_of(&decided.claims(request.officer.as_ref(), None), now_ms) {
        (_, Some((code, clause))) => Err(Refusal { code, clause: clause.to_owned(), replay_of: 0 }),
        _ => Ok(()),
    }
}

/// Whether the case is the consumer's: a closed one says so to its own member only.
fn is_own(hub: &Hub, accepted: &Accepted) -> bool {
    crate::cases::member_of(hub, &accepted.request.case)
        .is_some_and(|member| member == accepted.request.consumer)
}
