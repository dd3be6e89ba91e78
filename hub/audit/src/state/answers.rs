//! Answers: who signed them, what they answer, and that they hold no more than was granted.

use super::exchanges::Subject;
use super::{Document, Known, Scope, State};
use crate::parse::Stated;
use crate::redecide::Signature;
use crate::rules::Rule;
use std::sync::Arc;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::pb::Outcome;
use yiwang_proto::plural::counted;

impl State<'_> {
    pub(super) fn answer(
        &mut self,
        subject: Subject<'_>,
        answer: Option<&Result<Stated<Answer>, String>>,
        contract: Option<&Known>,
    ) -> Option<Signature> {
        let Subject { at, ending, .. } = subject;
        let answer = match answer {
            None => {
                if matches!(ending.outcome, Outcome::Answered | Outcome::Withheld) {
                    self.finding(at, Rule::Answer, "its outcome needs an answer, and it keeps none");
                }
                return None;
            }
            // The hub refused it for what it is; nobody vouches for it.
            Some(_) if ending.outcome == Outcome::Withheld && ending.code == Some(Code::AnswerInvalid) => {
                return None;
            }
            Some(Err(fault)) => {
                self.finding(at, Rule::Answer, fault);
                return None;
            }
            Some(Ok(answer)) => answer,
        };
        self.mapping_of(subject, answer);
        for fault in faults(subject, answer, contract) {
            self.finding(at, Rule::Answer, fault);
        }
        self.answer_signer(subject, answer, contract)
    }

    /// Data that was given out came through a mapping that its member announced before.
    fn mapping_of(&mut self, subject: Subject<'_>, answer: &Stated<Answer>) {
        let said = &answer.statement;
        if self.scope == Scope::Parts || said.verdict != Verdict::Answered {
            return;
        }
        let operation = subject.request.statement.operation.as_str().to_owned();
        match self.mappings.get(&(said.provider.clone(), operation)) {
            // Ledgers of before announcements were entries have none.
            None => self.unannounced += 1,
            Some(announced) if announced.newest == said.mapping_digest => {}
            Some(announced) if announced.all.contains(&said.mapping_digest) => self.replaced += 1,
            Some(_) => {
                let what = "its answer names a mapping that its member never announced";
                self.finding(subject.at, Rule::Answer, what);
            }
        }
    }

    fn answer_signer(
        &mut self,
        subject: Subject<'_>,
        answer: &Stated<Answer>,
        contract: Option<&Known>,
    ) -> Option<Signature> {
        let Subject { at, raw, .. } = subject;
        let statement = &answer.statement;
        let named = Document::Delegation(statement.delegation_digest);
        let index = raw.adapter_delegation_index;
        if index == 0 || self.documents.get(&index) != Some(&named) {
            let what = format!("entry {index} is not the adapter's delegation that the answer names");
            self.finding(at, Rule::Reference, what);
        }
        let Some(delegation) =
            self.delegations.get(&statement.delegation_digest).map(|held| Arc::clone(&held.delegation))
        else {
            let what = "its answer names a delegation that no earlier entry carries";
            self.finding(at, Rule::Answer, what);
            return None;
        };
        if let Some(fault) = signer_fault(subject, statement, &delegation, contract) {
            self.finding(at, Rule::Answer, fault);
        }
        Some(Signature {
            signed: answer.signed.clone(),
            kind: payload_type::ANSWER,
            key: delegation.key,
            place: None,
            rule: Rule::Answer,
            whose: format!("adapter `{}` of `{}`", statement.adapter, statement.provider),
        })
    }
}

fn signer_fault(
    subject: Subject<'_>,
    answer: &Answer,
    delegation: &Delegation,
    contract: Option<&Known>,
) -> Option<&'static str> {
    let root = contract.and_then(|known| known.contract.root_of(&answer.provider));
    if delegation.role != Role::Adapter {
        Some("its answer is signed by a key that is no adapter's")
    } else if delegation.member != answer.provider || delegation.name != answer.adapter {
        Some("its answer is signed by an adapter of another name or member")
    } else if ![subject.at.time_ms, answer.answered_at_ms].iter().any(|ms| delegation.valid_at(*ms)) {
        Some("the adapter's delegation was not valid then")
    } else if root.is_some_and(|root| *root != delegation.root) {
        Some("the adapter's delegation is not under the provider's root in the contract")
    } else {
        None
    }
}

/// All that does not fit between answer, request, contract and entry.
fn faults(subject: Subject<'_>, answer: &Stated<Answer>, contract: Option<&Known>) -> Vec<String> {
    let Subject { at, raw, ending, request, .. } = subject;
    let said = &answer.statement;
    let mut faults = Vec::new();
    if let Some(fault) = said.mismatch(&request.statement, &request.digest) {
        faults.push(format!("its answer {fault}"));
    }
    let fits = match (&said.verdict, ending.outcome) {
        (_, Outcome::Withheld) | (Verdict::Answered, Outcome::Answered) => true,
        (Verdict::Denied(code), Outcome::Denied) | (Verdict::Failed(code), Outcome::Failed) => {
            ending.code == Some(*code) && said.clause == raw.clause
        }
        _ => false,
    };
    if !fits {
        faults.push("outcome, code or clause are not those of its answer".to_owned());
    }
    if let Some(known) = contract {
        let granted = &known.contract.text.fields;
        for field in said.fields.iter().filter(|field| !granted.contains(field)).take(3) {
            faults.push(format!("its answer holds field `{field}`, which the contract does not grant"));
        }
        if !known.contract.text.allows(&answer.signed) {
            faults.push(
                "its answer is signed together with others, which the contract does not allow".to_owned(),
            );
        }
        let most = known.contract.text.limits.rows;
        if said.rows > most {
            let rows = counted(said.rows, "row");
            faults.push(format!("its answer holds {rows}, the contract lets out {most}"));
        }
    }
    let earliest = request.statement.issued_at_ms.saturating_sub(CLOCK_SKEW_MS);
    let latest = at.time_ms.saturating_add(CLOCK_SKEW_MS);
    if !(earliest..=latest).contains(&said.answered_at_ms) {
        faults.push("its answer was signed before its request or after its entry".to_owned());
    }
    faults
}
