//! What a decision yields.

use crate::input::Context;
use crate::rules::{CASE, HIDDEN_BY_CASE, Rule};
use std::sync::Arc;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, RowClause};
use yiwang_proto::ids::FieldName;
use yiwang_proto::request::Request;

/// Longest clause text of a denial, in bytes: it stands in ledger entries.
pub const CLAUSE_MAX: usize = 120;

/// How it is proved that the named officer acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OfficerProof {
    /// The app says so.
    Asserted,
    /// The officer's key signed a ticket for the app and case.
    Ticket,
    /// The officer's key signed the statement itself.
    Signed,
}

impl OfficerProof {
    /// The word that stands in entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asserted => "asserted",
            Self::Ticket => "ticket",
            Self::Signed => "signed",
        }
    }
}

/// The right to carry out one request.
///
/// INVARIANT: only [`crate::Decider::decide`] makes one, so that code which asks for a permit cannot run
/// without a decision.
#[derive(Debug, Clone)]
pub struct Permit {
    contract: Arc<Contract>,
    fields: Vec<FieldName>,
    officer_proof: OfficerProof,
    sealed: bool,
}

impl Permit {
    pub(crate) fn new(contract: Arc<Contract>, request: &Request, context: &Context<'_>) -> Self {
        let officer_proof = context.officer.proof();
        Self { contract, fields: request.fields.clone(), officer_proof, sealed: context.sealed }
    }

    /// Whether both bodies travel sealed.
    pub fn sealed(&self) -> bool {
        self.sealed
    }

    /// The highest class that may leave under this permit, also where only the mapping raised a field's
    /// class, and the code of what is missing above it.
    pub fn highest_class(&self) -> (u8, Code) {
        match (self.sealed, self.officer_proof) {
            (false, _) => (2, Code::SealingRequired),
            (true, OfficerProof::Signed) => (3, Code::ApprovalsRequired),
            (true, _) => (2, Code::OfficerSignatureRequired),
        }
    }

    /// The contract that grants.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// The fields that may leave the source: those asked for, all granted.
    pub fn fields(&self) -> &[FieldName] {
        &self.fields
    }

    /// The clauses that every row must satisfy.
    pub fn rows(&self) -> &[RowClause] {
        &self.contract.text.rows
    }

    /// Rows in the answer.
    pub fn row_limit(&self) -> u32 {
        self.contract.text.limits.rows
    }

    /// Milliseconds until an answer is too late.
    pub fn deadline_ms(&self) -> u32 {
        self.contract.text.limits.deadline_ms
    }

    /// How the officer was proved.
    pub fn officer_proof(&self) -> OfficerProof {
        self.officer_proof
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {clause}")]
pub struct Denial {
    /// The strongest reason.
    pub code: Code,
    /// Clause of the contract, or rule, behind it; printable ASCII, at most 120 bytes, never a value.
    pub clause: String,
    /// The other reasons, stronger ones first.
    pub also: Vec<(Code, String)>,
}

impl Denial {
    /// A denial because the decision itself failed.
    pub(crate) fn policy_error(clause: &str) -> Self {
        Self { code: Code::PolicyError, clause: printable(clause), also: Vec::new() }
    }

    /// From the rules that deny, with the clause of each, by rank.
    pub(crate) fn of(mut rules: Vec<(usize, &'static Rule, String)>) -> Option<Self> {
        if rules.iter().any(|(_, rule, _)| rule.id == CASE) {
            rules.retain(|(_, rule, _)| !HIDDEN_BY_CASE.contains(&rule.id));
        }
        rules.sort_by_key(|(rank, _, _)| *rank);
        let mut all = rules.into_iter().map(|(_, rule, clause)| (rule.code, printable(&clause)));
        let (code, clause) = all.next()?;
        Some(Self { code, clause, also: all.collect() })
    }

    /// All codes, the strongest first.
    pub fn codes(&self) -> impl Iterator<Item = Code> {
        std::iter::once(self.code).chain(self.also.iter().map(|(code, _)| *code))
    }
}

fn printable(clause: &str) -> String {
    clause.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(CLAUSE_MAX).collect()
}
