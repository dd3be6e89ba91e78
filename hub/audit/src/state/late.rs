//! Answers that were not released: late ones, each pointing at the entry in which its exchange had ended
//! without it, and withheld ones, each with a reason that must have held at its index.

use super::cases::Met;
use super::exchanges::Subject;
use super::{At, Known, Scope, State, in_time};
use crate::rules::Rule;
use std::collections::HashMap;
use yiwang_proto::Digest;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::pb::Outcome;

/// Exchanges that ended without an answer, by their index: a late answer may point at each of them once.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    ended: HashMap<u64, Digest>,
}

/// Whether the entry holds an answer that was recorded after its exchange's time, and released to nobody.
pub(super) fn is_late(subject: Subject<'_>) -> bool {
    subject.ending.outcome == Outcome::Withheld && subject.ending.code == Some(Code::DeadlineExceeded)
}

impl Unanswered {
    pub(super) fn note(&mut self, subject: Subject<'_>) {
        let Subject { at, raw, ending, request, .. } = subject;
        let without = ending.outcome == Outcome::Failed && raw.answer.is_empty();
        // The adapter says that it had answered before: that answer, which no crash let be recorded, may follow.
        let repeated = ending.outcome == Outcome::Denied
            && ending.code == Some(Code::Replayed)
            && !raw.answer.is_empty();
        if without || repeated {
            self.ended.insert(at.index, request.digest);
        }
    }

    /// The exchange that ended there, if no late answer took its place yet.
    fn take(&mut self, first: u64, request: &Digest) -> bool {
        match self.ended.get(&first) {
            Some(ended) if ended == request => self.ended.remove(&first).is_some(),
            _ => false,
        }
    }
}

impl State<'_> {
    /// A late answer belongs to exactly one exchange that had ended without one, or whose answer refers to it.
    pub(super) fn late(&mut self, subject: Subject<'_>) {
        let Subject { at, raw, ending, request, .. } = subject;
        if ending.outcome != Outcome::Withheld || raw.answer.is_empty() {
            self.finding(at, Rule::Replay, "a late answer that was not withheld");
        }
        let first = raw.late_of.saturating_sub(1);
        if self.scope == Scope::Parts {
            self.not_decided("the first entry of a late answer is not at hand");
        } else if !self.unanswered.take(first, &request.digest) {
            let what = format!(
                "a late answer to entry {first}, which is another request's, was answered, or has a late answer already"
            );
            self.finding(at, Rule::Replay, what);
        }
    }

    /// Why an answer was withheld must be true at its index.
    pub(super) fn withheld(
        &mut self,
        subject: Subject<'_>,
        app: Option<&Delegation>,
        contract: Option<&Known>,
        case: Option<&Met>,
    ) {
        let Subject { at, raw, ending, request, .. } = subject;
        if ending.outcome != Outcome::Withheld || raw.late_of != 0 || self.scope == Scope::Parts {
            return;
        }
        let request = &request.statement;
        let holds = match ending.code {
            Some(Code::NoContract) => {
                let id = contract.map(|known| &known.contract.text.id);
                id.and_then(|id| self.newest.get(id))
                    .is_none_or(|(_, newest)| *newest != request.contract_digest)
            }
            Some(Code::ContractExpired) => {
                contract.is_none_or(|known| at.time_ms >= known.contract.valid_until_ms)
            }
            Some(Code::CaseClosed) => case.is_none_or(|met| !met.facts.open || met.closed_under_way),
            Some(Code::DelegationInvalid) => {
                app.is_none_or(|app| !app.valid_at(at.time_ms) || self.words.key_revoked(app))
            }
            Some(code) => {
                self.not_decided(&format!(
                    "withheld for {code}, which rests on what the ledger does not hold"
                ));
                true
            }
            None => true,
        };
        if !holds {
            let code = ending.code.map_or("", Code::as_str);
            self.finding(at, Rule::Decision, format!("withheld for {code}, which did not hold then"));
        }
    }

    /// Late answers are outside the time of their statements by their nature; they were decided when asked.
    pub(super) fn may_be_out_of_time(&self, at: At, subject: Subject<'_>) -> bool {
        let request = &subject.request.statement;
        is_late(subject) && !in_time(at, request.issued_at_ms, request.expires_at_ms)
    }
}
