//! Which decisions can be made again, and what must come out.

use super::cases::Met;
use super::exchanges::Subject;
use super::{Known, RECORD_DELAY_MS, Scope, State, in_time};
use crate::redecide::{Decision, Expect};
use crate::rules::Rule;
use std::sync::Arc;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::pb::Outcome;

/// Time that may pass between a denial and its entry.
const DECISION_DELAY_MS: i64 = 2_000;

/// Codes of denials that depend on what the ledger does not hold: bodies, counts, load, clocks of the moment.
const UNDECIDABLE: &[Code] = &[
    Code::Malformed,
    Code::TooLarge,
    Code::SignatureInvalid,
    Code::TagMismatch,
    Code::SealingKeyUnknown,
    Code::OfficerInvalid,
    Code::TicketUsedUp,
    Code::RowOutsideFilter,
    Code::ArgumentInvalid,
    Code::RateExceeded,
    Code::PolicyError,
    Code::ProviderUnavailable,
    Code::ProviderBusy,
    Code::DeadlineExceeded,
    Code::SourceError,
    Code::AnswerInvalid,
    Code::LedgerFull,
    Code::LedgerNotAppending,
    Code::HeadContradicts,
    Code::NotWitnessed,
    Code::ReceiptsOwed,
    Code::Overloaded,
    Code::AnswersWaiting,
    Code::NotFound,
    Code::ClockSkew,
    Code::Internal,
];

impl State<'_> {
    /// What stands against a permit, besides what the rules themselves judge.
    fn objection(
        &self,
        subject: Subject<'_>,
        contract: Option<&Arc<Known>>,
        app: bool,
    ) -> Option<(Rule, String)> {
        let Subject { at, raw, request, passed, ending } = subject;
        let request = &request.statement;
        if raw.peer != request.consumer.as_str() {
            let what = format!(
                "came over the connection of `{}`, not of its consumer `{}`",
                raw.peer, request.consumer
            );
            return Some((Rule::Request, what));
        }
        if !app {
            return Some((Rule::Request, "names a delegation that no earlier entry carries".to_owned()));
        }
        let Some(known) = contract else {
            let what = format!("names a contract `{}` that no earlier entry carries", request.contract);
            return Some((Rule::Decision, what));
        };
        let newest = self.newest.get(&known.contract.text.id).map(|(_, digest)| *digest);
        // What was under way when a new version came is not released, and not asked about here.
        let must_be_newest = !passed || ending.outcome == Outcome::Answered;
        if must_be_newest && newest != Some(request.contract_digest) {
            let what = format!("contract `{}` was replaced by a later version", request.contract);
            return Some((Rule::Decision, what));
        }
        if passed && !in_time(at, request.issued_at_ms, request.expires_at_ms) {
            return Some((Rule::Request, "recorded outside the time that its statement names".to_owned()));
        }
        None
    }

    pub(super) fn decision(
        &mut self,
        subject: Subject<'_>,
        app: Option<Arc<Delegation>>,
        contract: Option<&Arc<Known>>,
        case: Option<Met>,
    ) -> Option<Decision> {
        let Subject { at, raw, request, passed, ending } = subject;
        let expect = if passed { Expect::Permit } else { Expect::Deny };
        if !passed && matches!(ending.code, Some(Code::Revoked | Code::StandingStale)) {
            self.denied_by_word(subject, app.as_deref(), contract.map(AsRef::as_ref));
            return None;
        }
        if !passed && self.undecidable(subject) {
            return None;
        }
        if raw.late_of != 0 || self.may_be_out_of_time(at, subject) {
            self.not_decided("a late answer, which was decided when it was asked for, and never released");
            return None;
        }
        if let Some((rule, what)) = self.objection(subject, contract, app.is_some()) {
            if expect == Expect::Deny && self.scope == Scope::Parts && (contract.is_none() || app.is_none()) {
                self.not_decided("what the denial rests on is not in the bundle");
            } else if expect == Expect::Deny {
                self.decisions.denied_again += 1;
            } else {
                self.decisions.contradicted += 1;
                self.finding(at, rule, what);
            }
            return None;
        }

        let policy = match raw.policy_index {
            0 => self.policies.last_key_value().map(|(_, digest)| *digest),
            index => self.policies.get(&index).copied(),
        };
        if policy != Some(self.decider.digest()) {
            self.not_decided("decided by another policy");
            return None;
        }
        let Some(prepared) = contract.and_then(|known| known.prepared.clone()) else {
            self.not_decided("the contract does not stand under these rules");
            return None;
        };
        // An answer that was released must be right at its index; what was not released, when it was asked or
        // forwarded; a denial shortly before it was recorded.
        let mut times = vec![at.time_ms];
        if !passed {
            times.push(at.time_ms.saturating_sub(DECISION_DELAY_MS));
        } else if ending.outcome != Outcome::Answered {
            times.push(request.statement.issued_at_ms.min(at.time_ms));
            times.push(at.time_ms.saturating_sub(RECORD_DELAY_MS));
        }
        let changes = [
            case.as_ref().map(|met| met.changed_ms),
            contract.map(|known| known.time_ms),
            self.delegations.get(&request.statement.delegation_digest).map(|held| held.time_ms),
        ];
        let newest_change = changes.into_iter().flatten().max().unwrap_or(i64::MIN);
        Some(Decision {
            request: Arc::clone(&request.statement),
            contract: prepared,
            delegation: app?,
            case: case.map(|met| met.facts),
            officer: self.officer_of(&request.statement),
            times,
            expect,
            just_changed: newest_change >= at.time_ms.saturating_sub(DECISION_DELAY_MS),
        })
    }

    /// Whether a refusal rests on what the ledger does not hold; counted then.
    fn undecidable(&mut self, subject: Subject<'_>) -> bool {
        let Subject { at, request, ending, .. } = subject;
        let request = &request.statement;
        match ending.code {
            Some(Code::Replayed) => true,
            Some(Code::StatementExpired) => {
                if (request.issued_at_ms..request.expires_at_ms).contains(&at.time_ms) {
                    self.finding(at, Rule::Decision, "denied as over, and its time was not over");
                    self.decisions.contradicted += 1;
                } else {
                    self.decisions.denied_again += 1;
                }
                true
            }
            Some(code) if UNDECIDABLE.contains(&code) || ending.outcome == Outcome::Failed => {
                self.not_decided(&format!("{code} rests on what the ledger does not hold"));
                true
            }
            _ => false,
        }
    }
}
