//! Where an exchange entry points: contract, delegation, case opening and policy that it rests on.

use super::cases::Met;
use super::exchanges::Subject;
use super::late::is_late;
use super::{Document, Scope, State};
use crate::rules::Rule;
use yiwang_proto::pb::Outcome;

impl State<'_> {
    /// The entries that this one points at.
    pub(super) fn references(&mut self, subject: Subject<'_>, case: Option<&Met>) {
        let Subject { at, raw, request, passed, .. } = subject;
        let request = &request.statement;
        let document = |index: u64| self.documents.get(&index).copied();
        let mut wrong = Vec::new();
        let contract_ok = match (raw.contract_index, document(raw.contract_index)) {
            (0, _) => !passed,
            (_, Some(Document::Contract(digest))) if digest == request.contract_digest => true,
            // A request that names an old version is denied in view of the newest one; and an answer that nobody got, since
            // a crash came between it and its record, may be recorded when its contract was replaced.
            (_, Some(Document::Contract(digest))) if !passed || is_late(subject) => {
                self.contracts.get(&digest).is_some_and(|known| known.contract.text.id == request.contract)
            }
            _ => false,
        };
        if !contract_ok {
            wrong.push(("contract", raw.contract_index));
        }
        let named = Some(Document::Delegation(request.delegation_digest));
        let app = raw.app_delegation_index;
        let app_wrong = if app == 0 { passed } else { document(app) != named };
        if app_wrong {
            wrong.push(("app's delegation", app));
        }
        let opened = case.map(|met| met.opened);
        let case_wrong = if raw.case_index == 0 { passed } else { opened != Some(raw.case_index) };
        if case_wrong {
            wrong.push(("case opening", raw.case_index));
        }
        let policy = raw.policy_index;
        let newest = self.policies.last_key_value().map(|(index, _)| *index);
        let decided_now = subject.ending.outcome == Outcome::Answered;
        let policy_ok = match policy {
            0 => !passed,
            index if decided_now && self.scope == Scope::Whole => newest == Some(index),
            // Without the policy nothing would be decided again.
            index => (self.scope == Scope::Parts && !passed) || self.policies.contains_key(&index),
        };
        if !policy_ok {
            wrong.push(("policy", policy));
        }
        for (what, index) in wrong {
            let what = match index {
                0 => format!("names no entry of its {what}"),
                index => format!("entry {index} is not the {what} that it needs"),
            };
            self.finding(at, Rule::Reference, what);
        }
    }
}
