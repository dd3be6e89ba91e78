//! The register of cases.

use super::{At, Scope, State, in_time};
use crate::parse::Stated;
use crate::redecide::{Facts, Job, Signature};
use crate::rules::Rule;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::delegation::Role;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{CaseId, Matter, MemberId};
use yiwang_proto::request::Request;
use yiwang_proto::tag::Tag;

/// How long the tags of a closed case are kept for exchanges that were under way.
const KEEP_MS: i64 = 180_000;

#[derive(Debug)]
struct Case {
    member: MemberId,
    matter: Matter,
    opened: u64,
    changed_ms: i64,
    closed_ms: Option<i64>,
    tags: HashSet<Tag>,
}

/// All cases; those that are closed for a while keep no tags.
#[derive(Debug, Default)]
pub(super) struct Register {
    cases: HashMap<CaseId, Case>,
    closing: VecDeque<(i64, CaseId)>,
}

/// A case as an exchange meets it.
#[derive(Debug)]
pub(super) struct Met {
    pub facts: Facts,
    pub opened: u64,
    pub changed_ms: i64,
    /// Closed after the request was issued.
    pub closed_under_way: bool,
}

impl Register {
    fn take(&mut self, at: At, statement: &CaseStatement) -> Result<(), &'static str> {
        while let Some((_, id)) =
            self.closing.pop_front_if(|(closed, _)| closed.saturating_add(KEEP_MS) < at.time_ms)
        {
            if let Some(case) = self.cases.get_mut(&id) {
                case.tags = HashSet::new();
            }
        }
        let known = self.cases.get_mut(&statement.case);
        match (&statement.act, known) {
            (Act::Open { .. }, Some(_)) => Err("opens a case that was opened before"),
            (Act::Open { matter }, None) => {
                let case = Case {
                    member: statement.member.clone(),
                    matter: matter.clone(),
                    opened: at.index,
                    changed_ms: at.time_ms,
                    closed_ms: None,
                    tags: statement.subject_tags.iter().copied().collect(),
                };
                self.cases.insert(statement.case.clone(), case);
                Ok(())
            }
            (_, None) => Err("adds to or closes a case that was never opened"),
            (_, Some(case)) if case.member != statement.member => Err("is about a case of another member"),
            (_, Some(case)) if case.closed_ms.is_some() => Err("adds to or closes a case that is closed"),
            (Act::Add { .. }, Some(case)) => {
                case.tags.extend(&statement.subject_tags);
                case.changed_ms = at.time_ms;
                Ok(())
            }
            (Act::Close { .. }, Some(case)) => {
                case.closed_ms = Some(at.time_ms);
                self.closing.push_back((at.time_ms, statement.case.clone()));
                Ok(())
            }
        }
    }

    /// What a request finds in the register.
    pub fn meet(&self, request: &Request) -> Option<Met> {
        let case = self.cases.get(&request.case)?;
        Some(Met {
            facts: Facts {
                member: case.member.clone(),
                matter: case.matter.clone(),
                open: case.closed_ms.is_none(),
                lists_all_tags: request.subject_tags.iter().all(|tag| case.tags.contains(tag)),
            },
            opened: case.opened,
            changed_ms: case.changed_ms,
            closed_under_way: case.closed_ms.is_some_and(|closed| closed >= request.issued_at_ms),
        })
    }
}

impl State<'_> {
    pub(super) fn case(&mut self, at: At, stated: &Stated<CaseStatement>, previous: u64) {
        let statement = &stated.statement;
        if !in_time(at, statement.issued_at_ms, statement.expires_at_ms) {
            self.finding(at, Rule::Case, "recorded outside the time that its statement names");
        }
        let id = (&statement.member, &statement.id);
        if let Some(used) = self.case_statements.get(id.0, id.1) {
            self.finding(at, Rule::Replay, format!("the same case statement as in entry {}", used.first));
        }
        let told = self.case_statements.insert(id, (at.index, true), statement.expires_at_ms, at.time_ms);
        self.forgotten_ids += u64::from(!told);
        self.case_signer(at, stated);
        if let Err(fault) = self.cases.take(at, statement) {
            self.finding(at, Rule::Case, fault);
        }
        let before = self.last_of.insert(statement.member.clone(), at.index).map_or(0, |index| index + 1);
        // Entries of earlier versions do not say.
        if self.scope == Scope::Whole && previous != 0 && previous != before {
            let what = format!("is not linked to the entry before it of `{}`", statement.member);
            self.finding(at, Rule::Chain, what);
        }
    }

    fn case_signer(&mut self, at: At, stated: &Stated<CaseStatement>) {
        let statement = &stated.statement;
        let Some(delegation) =
            self.delegations.get(&statement.delegation_digest).map(|held| Arc::clone(&held.delegation))
        else {
            return self.finding(at, Rule::Case, "signed under a delegation that no earlier entry carries");
        };
        let holder = delegation.member == statement.member && delegation.name == statement.app;
        if !holder || delegation.role != Role::App || !delegation.valid_at(at.time_ms) {
            self.finding(
                at,
                Rule::Case,
                "its delegation is of another member or app, for another role, or not valid then",
            );
        }
        if self.words.key_revoked(&delegation) {
            self.finding(at, Rule::Case, "signed by a key that its member had revoked");
        }
        if !self.roots_of(&statement.member).contains(&delegation.root) {
            let what = format!("its delegation is not under the root of `{}`", statement.member);
            self.finding(at, Rule::Case, what);
        }
        let signature = Signature {
            signed: stated.signed.clone(),
            kind: payload_type::CASE,
            key: delegation.key,
            place: None,
            rule: Rule::Case,
            whose: format!("app `{}` of `{}`", statement.app, statement.member),
        };
        self.jobs.push(Job { index: at.index, signatures: vec![signature], decision: None });
    }
}
