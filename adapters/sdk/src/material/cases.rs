//! Cases: opening, additions and closing, each proved to be in the ledger and signed by an app of the
//! consumer under the root that the contract names.

use super::cache::Cache;
use super::documents::{Documents, is_app_of};
use super::{MaterialSource, Wanted};
use crate::health::Counters;
use crate::reply::Refusal;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{CaseId, Matter, MemberId};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::request::{Head, Request};
use yiwang_proto::tag::Tag;
use yiwang_proto::{Digest, pb, receipt};

/// Cases kept.
const CASES: usize = 2048;
/// Statements of one case: an opening, a closing and many additions; more would be a register.
const STATEMENTS_MAX: usize = 128;

/// What the ledger proves about a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseView {
    /// The consumer's root under which all statements were verified.
    pub root: PublicKey,
    /// Whose case it is.
    pub member: MemberId,
    /// What it is about.
    pub matter: Matter,
    /// Not closed, as far as was shown.
    pub open: bool,
    /// Every tag of the opening and the additions.
    pub tags: HashSet<Tag>,
    /// How many statements were shown; fewer at a later look are a hidden part, not news.
    pub statements: usize,
    /// When it was last looked up, on the monotonic clock.
    pub checked_us: u64,
}

impl CaseView {
    /// Whether every tag of a request is one of the case.
    pub fn lists(&self, tags: &[Tag]) -> bool {
        tags.iter().all(|tag| self.tags.contains(tag))
    }
}

/// How cases are looked up.
#[derive(Debug)]
pub(crate) struct Cases {
    ledger: Arc<CheckpointVerifier>,
    counters: Arc<Counters>,
    recheck_us: u64,
    cache: Cache<CaseId, Arc<CaseView>>,
}

/// What a look at one case needs.
pub(crate) struct Look<'a> {
    pub(crate) request: &'a Request,
    /// The consumer's root, as the contract names it.
    pub(crate) root: &'a PublicKey,
    /// The head that this adapter keeps.
    pub(crate) known: Head,
    /// What the hub handed over for this request, if it was asked for the case.
    pub(crate) delivered: Option<pb::Material>,
    pub(crate) documents: &'a Documents,
    pub(crate) source: &'a dyn MaterialSource,
    pub(crate) monotonic_us: u64,
}

/// One statement with the ledger's time of its entry.
struct Proved {
    index: u64,
    time_ms: i64,
    signed: SignedStatement,
    statement: CaseStatement,
}

fn no_case(clause: &str) -> Refusal {
    Refusal::denied(Code::NoCase, clause)
}

impl Cases {
    /// `recheck_ms`: after this a case is looked up again, so that a closing shows.
    pub(crate) fn new(ledger: Arc<CheckpointVerifier>, counters: Arc<Counters>, recheck_ms: u64) -> Self {
        Self { ledger, counters, recheck_us: recheck_ms.saturating_mul(1000), cache: Cache::new(CASES) }
    }

    /// Whether what is held answers this request; if not, the case must be looked up.
    pub(crate) fn is_fresh(&self, request: &Request, monotonic_us: u64) -> bool {
        self.cache.get(&request.case).is_some_and(|view| {
            // A closed case stays closed; there is nothing to look up.
            !view.open
                || (view.lists(&request.subject_tags)
                    && monotonic_us.saturating_sub(view.checked_us) < self.recheck_us)
        })
    }

    /// The case of a request, verified under the consumer's root.
    pub(crate) async fn view(&self, look: Look<'_>) -> Result<Arc<CaseView>, Refusal> {
        let case = &look.request.case;
        let held = self.cache.get(case).filter(|view| view.root == *look.root);
        if let Some(held) = &held
            && (!held.open || look.delivered.is_none())
        {
            return Ok(Arc::clone(held));
        }
        let material = match look.delivered {
            Some(material) => material,
            // Held under another root: looked up once more, under the one that counts here.
            None => {
                let wanted = Wanted { documents: Vec::new(), cases: vec![case.clone()] };
                look.source.fetch(wanted).await?
            }
        };
        let proved = self.prove(case, material.cases, look.known)?;
        let signers = signers(&proved, material.documents, look.documents, look.source).await?;
        let mut view = build(&look.request.consumer, look.root, &proved, &signers)?;
        view.checked_us = look.monotonic_us;
        let view = match held {
            // The hub shows less than before: what is known stays.
            Some(held) if held.statements > view.statements => held,
            _ => Arc::new(view),
        };
        self.cache.insert(case.clone(), Arc::clone(&view));
        Ok(view)
    }

    fn prove(&self, case: &CaseId, receipts: Vec<pb::Receipt>, known: Head) -> Result<Vec<Proved>, Refusal> {
        if receipts.is_empty() {
            return Err(no_case("the ledger shows no such case"));
        }
        if receipts.len() > STATEMENTS_MAX {
            return Err(no_case("the case has more than 128 statements"));
        }
        let mut proved = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let verified = receipt::verify(&receipt, |bytes| self.ledger.open(bytes))
                .map_err(|error| no_case(&error.to_string()))?;
            if verified.head.size == known.size && verified.head.root != known.root {
                self.counters.alarm();
                tracing::error!(
                    size = known.size,
                    "two histories of the ledger: a case is proved under another one"
                );
                return Err(no_case("the proof is under another history than the one known here"));
            }
            let Some(Kind::CaseStatement(entry)) = verified.entry.kind else {
                return Err(no_case("an entry is no case statement"));
            };
            let signed = SignedStatement::parse(entry.statement)
                .map_err(|_| no_case("a case statement is not well-formed"))?;
            // The fault is not passed on: it may quote what stands in the statement.
            let statement = CaseStatement::parse(signed.unverified_payload())
                .map_err(|_| no_case("a case statement is not well-formed"))?;
            if statement.case == *case {
                proved.push(Proved {
                    index: verified.index,
                    time_ms: verified.entry.time_ms,
                    signed,
                    statement,
                });
            }
        }
        proved.sort_by_key(|one| one.index);
        proved.dedup_by_key(|one| one.index);
        Ok(proved)
    }
}

/// The delegations of everybody who signed, asking once for those that are missing.
async fn signers(
    proved: &[Proved],
    mut delivered: Vec<Bytes>,
    documents: &Documents,
    source: &dyn MaterialSource,
) -> Result<Vec<Arc<Delegation>>, Refusal> {
    let missing: HashSet<Digest> = proved
        .iter()
        .map(|one| one.statement.delegation_digest)
        .filter(|digest| documents.delegation(digest, &delivered).is_err())
        .collect();
    if !missing.is_empty() {
        let wanted = Wanted { documents: missing.into_iter().collect(), cases: Vec::new() };
        delivered = source.fetch(wanted).await?.documents;
    }
    let no_signer = |_| no_case("a signer of the case has no good delegation");
    proved
        .iter()
        .map(|one| documents.delegation(&one.statement.delegation_digest, &delivered).map_err(no_signer))
        .collect()
}

/// Puts the statements together: one opening first, then additions, at most one closing at the end.
fn build(
    consumer: &MemberId,
    root: &PublicKey,
    proved: &[Proved],
    signers: &[Arc<Delegation>],
) -> Result<CaseView, Refusal> {
    let mut view: Option<CaseView> = None;
    for (one, delegation) in proved.iter().zip(signers) {
        check_signer(consumer, root, one, delegation)?;
        let said = &one.statement;
        match (&mut view, &said.act) {
            (None, Act::Open { matter }) => {
                view = Some(CaseView {
                    root: *root,
                    member: said.member.clone(),
                    matter: matter.clone(),
                    open: true,
                    tags: said.subject_tags.iter().copied().collect(),
                    statements: 1,
                    checked_us: 0,
                });
            }
            (Some(view), Act::Add { .. }) if view.open => {
                view.tags.extend(said.subject_tags.iter().copied());
                view.statements += 1;
            }
            (Some(view), Act::Close { .. }) if view.open => {
                view.open = false;
                view.statements += 1;
            }
            _ => return Err(no_case("the case's statements are not an opening, additions and a closing")),
        }
    }
    view.ok_or_else(|| no_case("the ledger shows no opening of the case"))
}

fn check_signer(
    consumer: &MemberId,
    root: &PublicKey,
    one: &Proved,
    delegation: &Delegation,
) -> Result<(), Refusal> {
    let said = &one.statement;
    if said.member != *consumer {
        return Err(no_case("the case is of another member"));
    }
    if !is_app_of(delegation, consumer, said.app.as_str(), root) {
        return Err(no_case("a case statement is signed by no app of the consumer"));
    }
    // A statement enters the ledger while it lives; an old key cannot be used for a date of its choice.
    let lived = said.issued_at_ms.saturating_sub(CLOCK_SKEW_MS) <= one.time_ms
        && one.time_ms < said.expires_at_ms.saturating_add(CLOCK_SKEW_MS);
    if !lived || !delegation.valid_at(one.time_ms) {
        return Err(no_case("a case statement was signed outside its time"));
    }
    one.signed
        .verify(payload_type::CASE, &delegation.key)
        .map(|_| ())
        .map_err(|_| no_case("the signature of a case statement is not good"))
}
