//! What costs processor time and needs no other entry: signatures, and decisions made again. The state
//! machine makes [`Job`]s in order; threads do them.

use crate::report::{Decisions, Finding};
use crate::rules::Rule;
use std::sync::Arc;
use yiwang_policies::{CaseFacts, Context, Decider, OfficerEvidence, Prepared, Site};
use yiwang_proto::batch::Roots;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{Matter, MemberId};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::request::Request;
use yiwang_proto::ticket::Ticket;

/// A signature to verify.
#[derive(Debug)]
pub(crate) struct Signature {
    pub signed: SignedStatement,
    pub kind: &'static str,
    pub key: PublicKey,
    /// Which of the envelope's signatures; none where it must be the only one.
    pub place: Option<usize>,
    pub rule: Rule,
    /// Whose signature it should be, for people.
    pub whose: String,
}

/// The case as it stood at the entry.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub member: MemberId,
    pub matter: Matter,
    pub open: bool,
    pub lists_all_tags: bool,
}

/// What is at hand for the acting officer; signatures are jobs of their own.
#[derive(Debug, Clone)]
pub(crate) enum Officer {
    Asserted,
    Ticket(Arc<Ticket>, Arc<Delegation>),
    Signed(Arc<Delegation>),
}

impl Officer {
    fn evidence(&self) -> OfficerEvidence<'_> {
        match self {
            Self::Asserted => OfficerEvidence::Asserted,
            Self::Ticket(ticket, delegation) => OfficerEvidence::Ticket { ticket, delegation, uses: None },
            Self::Signed(delegation) => OfficerEvidence::Signed { delegation },
        }
    }
}

/// What the rules must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The exchange was forwarded: the rules permit it at one of the times.
    Permit,
    /// The hub denied it: so do the rules.
    Deny,
}

/// A decision to make again.
#[derive(Debug)]
pub(crate) struct Decision {
    pub request: Arc<Request>,
    pub contract: Arc<Prepared>,
    pub delegation: Arc<Delegation>,
    pub case: Option<Facts>,
    pub officer: Officer,
    /// A permit must hold at one of them, a denial at one of them.
    pub times: Vec<i64>,
    pub expect: Expect,
    /// What it rests on changed so shortly before that the hub may have decided without it.
    pub just_changed: bool,
}

/// Work for one entry.
#[derive(Debug)]
pub(crate) struct Job {
    pub index: u64,
    pub signatures: Vec<Signature>,
    pub decision: Option<Decision>,
}

/// What came out of a job.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub findings: Vec<Finding>,
    pub signatures: u64,
    pub decisions: Decisions,
}

/// Does one job. Of statements that were signed together, the signature is verified once. Other signatures are verified one by one. A batch equation over many would cost half, but does not
/// decide what `verify_strict` decides: a signer who adds a point of small order to its signature fails alone, and
/// passes in one of eight batches, so that two auditors would judge one ledger differently. Telling such
/// signatures apart beforehand costs what the batch saves.
pub(crate) fn run(job: &Job, decider: &Decider, roots: &Roots) -> Done {
    let mut done = Done::default();
    for signature in &job.signatures {
        done.signatures += 1;
        let verified = match signature.place {
            Some(place) => signature.signed.verify_knowing(roots, place, signature.kind, &signature.key),
            None if signature.signed.signature_count() == 1 => {
                signature.signed.verify_knowing(roots, 0, signature.kind, &signature.key)
            }
            None => signature.signed.verify(signature.kind, &signature.key),
        };
        if let Err(error) = verified {
            let what = format!("signature of {}: {error}", signature.whose);
            done.findings.push(Finding::new(Some(job.index), signature.rule, what));
        }
    }
    if let Some(decision) = &job.decision {
        decide(job.index, decision, decider, &mut done);
    }
    done
}

fn decide(index: u64, decision: &Decision, decider: &Decider, done: &mut Done) {
    let case = decision.case.as_ref().map(|facts| CaseFacts {
        member: &facts.member,
        matter: &facts.matter,
        open: facts.open,
        lists_all_tags: facts.lists_all_tags,
    });
    let judge = |now_ms: i64| {
        let context = Context {
            site: Site::Verifier,
            now_ms,
            delegation: &decision.delegation,
            case,
            body: None,
            counts: None,
            sealed: decision.request.sealing.is_some(),
            officer: decision.officer.evidence(),
        };
        decider.decide(&decision.request, &decision.contract, &context)
    };
    let (mut permitted, mut denial) = (false, None);
    for now_ms in &decision.times {
        match judge(*now_ms) {
            Ok(_) => permitted = true,
            Err(refused) => denial = Some(refused),
        }
    }
    match (decision.expect, denial) {
        (Expect::Permit, _) if permitted => done.decisions.permitted_again += 1,
        (Expect::Deny, Some(_)) => done.decisions.denied_again += 1,
        (Expect::Permit, denial) => {
            done.decisions.contradicted += 1;
            let why = denial.map_or_else(|| "no time to decide at".to_owned(), |denial| denial.to_string());
            let what = format!("was forwarded, and the rules deny it: {why}");
            done.findings.push(Finding::new(Some(index), Rule::Decision, what));
        }
        (Expect::Deny, None) if decision.just_changed => {
            let reason = "denied in the moment in which what it rests on changed".to_owned();
            *done.decisions.not_decided.entry(reason).or_default() += 1;
        }
        (Expect::Deny, None) => {
            done.decisions.contradicted += 1;
            let what = "was denied by the hub, and the rules permit it";
            done.findings.push(Finding::new(Some(index), Rule::Decision, what));
        }
    }
}
