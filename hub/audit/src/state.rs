//! The state machine that an auditor replays: members, delegations, contracts, cases, policies and
//! exchanges as the entries tell them, written without a look at the hub's. What needs only one entry is
//! done before ([`crate::parse`]), what costs processor time after ([`crate::redecide`]).

mod answers;
mod cases;
mod decisions;
mod directory;
mod exchanges;
mod late;
mod officers;
mod record_types;
mod references;
mod replays;
mod sealing;
mod standings;
mod unkept;
mod verbatim;

use crate::folded::Fold;
use crate::parse::{Body, Parsed};
use crate::redecide::{Done, Job};
use crate::report::{Decisions, Finding, Report};
use crate::rules::Rule;
use cases::Register;
use late::Unanswered;
use officers::Tickets;
use record_types::RecordTypes;
use replays::Seen;
use sealing::SealingKeys;
use standings::Words;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
pub(crate) use unkept::fault as unkept_fault;
use verbatim::Verbatim;
use yiwang_policies::{Decider, Prepared};
use yiwang_proto::Digest;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{AppId, ContractId, MemberId, Operation};
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::plural::counted;

/// How long after its statement's end an exchange may be recorded: the longest deadline of a contract.
const RECORD_DELAY_MS: i64 = 30_000;

/// What is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every entry from the first on.
    Whole,
    /// Single entries in ascending order: nothing follows from what is not among them.
    Parts,
}

/// Where and when an entry stands.
#[derive(Debug, Clone, Copy)]
struct At {
    index: u64,
    time_ms: i64,
}

#[derive(Debug)]
struct Member {
    index: u64,
    root: PublicKey,
    next_root_digest: Digest,
    issued_at_ms: i64,
}

/// A contract of the ledger.
#[derive(Debug)]
struct Known {
    contract: Arc<Contract>,
    /// None where this program's rules cannot take it.
    prepared: Option<Arc<Prepared>>,
    time_ms: i64,
}

/// A delegation of the ledger.
#[derive(Debug)]
struct Held {
    delegation: Arc<Delegation>,
    time_ms: i64,
}

/// Mappings that a member announced for an operation.
#[derive(Debug)]
struct Announced {
    newest: Digest,
    all: HashSet<Digest>,
}

/// What document an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    Delegation(Digest),
    Contract(Digest),
    Ticket(Digest),
}

/// See the module.
pub(crate) struct State<'a> {
    decider: &'a Decider,
    scope: Scope,
    pins: HashMap<MemberId, Vec<PublicKey>>,
    time_ms: i64,
    members: HashMap<MemberId, Member>,
    documents: HashMap<u64, Document>,
    delegations: HashMap<Digest, Held>,
    contracts: HashMap<Digest, Arc<Known>>,
    newest: HashMap<ContractId, (u32, Digest)>,
    /// Operations of all versions of a contract.
    operations: HashMap<ContractId, BTreeSet<Operation>>,
    record_types: RecordTypes,
    policies: BTreeMap<u64, Digest>,
    cases: Register,
    tickets: Tickets,
    requests: Seen,
    unanswered: Unanswered,
    case_statements: Seen,
    last_of: HashMap<MemberId, u64>,
    auditors: HashSet<AppId>,
    /// Mappings that a member announced for an operation.
    mappings: HashMap<(MemberId, String), Announced>,
    unannounced: u64,
    goes_on_from: Option<String>,
    replaced: u64,
    unenrolled_looks: u64,
    clocks_accepted: u64,
    forgotten_ids: u64,
    goes_back: bool,
    words: Words,
    standings_demanded: bool,
    sealing: SealingKeys,
    in_flight_at_close: u64,
    folded_early: u64,
    unverified_requests: u64,
    folds: Vec<Fold>,
    verbatim: Verbatim,
    findings: Vec<Finding>,
    jobs: Vec<Job>,
    kinds: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<String, u64>,
    decisions: Decisions,
}

impl<'a> State<'a> {
    pub fn new(decider: &'a Decider, scope: Scope, pinned: &[(MemberId, PublicKey)]) -> Self {
        let mut pins: HashMap<MemberId, Vec<PublicKey>> = HashMap::new();
        for (member, root) in pinned {
            pins.entry(member.clone()).or_default().push(*root);
        }
        Self {
            decider,
            scope,
            pins,
            time_ms: i64::MIN,
            members: HashMap::new(),
            documents: HashMap::new(),
            delegations: HashMap::new(),
            contracts: HashMap::new(),
            newest: HashMap::new(),
            operations: HashMap::new(),
            record_types: RecordTypes::default(),
            policies: BTreeMap::new(),
            cases: Register::default(),
            tickets: Tickets::default(),
            requests: Seen::default(),
            unanswered: Unanswered::default(),
            case_statements: Seen::default(),
            last_of: HashMap::new(),
            auditors: HashSet::new(),
            mappings: HashMap::new(),
            unannounced: 0,
            goes_on_from: None,
            replaced: 0,
            unenrolled_looks: 0,
            clocks_accepted: 0,
            forgotten_ids: 0,
            goes_back: false,
            words: Words::default(),
            standings_demanded: false,
            sealing: SealingKeys::default(),
            in_flight_at_close: 0,
            folded_early: 0,
            unverified_requests: 0,
            folds: Vec::new(),
            verbatim: Verbatim::default(),
            findings: Vec::new(),
            jobs: Vec::new(),
            kinds: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            decisions: Decisions::default(),
        }
    }

    /// Whether an answer needs its parties' standings also where the ledger has none of anybody.
    pub fn demanding_standings(mut self, demanded: bool) -> Self {
        self.standings_demanded = demanded;
        self
    }

    /// Takes the next entry. `ledger` is origin and key that entry 0 must name.
    pub fn apply(&mut self, parsed: &Parsed, ledger: (&str, &str)) {
        let at = At { index: parsed.index, time_ms: parsed.time_ms };
        *self.kinds.entry(parsed.kind).or_default() += 1;
        self.time(at, &parsed.body);
        if (at.index == 0) != matches!(parsed.body, Body::Origin(_)) {
            self.finding(at, Rule::Origin, "entry 0, and no other, names origin and key");
        }
        match &parsed.body {
            Body::Origin(raw) => {
                if (raw.origin.as_str(), raw.verifier_key.as_str()) != ledger {
                    let what = format!(
                        "names origin `{}` and key `{}`, not those that count here",
                        raw.origin, raw.verifier_key
                    );
                    self.finding(at, Rule::Origin, what);
                }
                self.old_head(at, raw);
            }
            Body::Member(Ok(card)) => self.member(at, card),
            Body::Delegation(Ok(delegation)) => self.delegation(at, delegation),
            Body::Contract(Ok(contract)) => self.contract(at, contract),
            Body::Case(Ok(stated), previous) => self.case(at, stated, *previous),
            Body::Member(Err(fault)) => self.finding(at, Rule::Member, fault),
            Body::Delegation(Err(fault)) => self.finding(at, Rule::Delegation, fault),
            Body::Contract(Err(fault)) => self.finding(at, Rule::Contract, fault),
            Body::Case(Err(fault), _) => self.finding(at, Rule::Case, fault),
            Body::Exchange(exchange) => self.exchange(at, exchange),
            Body::Policy(raw) => self.policy(at, raw),
            Body::Revocation(Ok(revocation)) => self.revocation(at, revocation),
            Body::Revocation(Err(fault)) => self.finding(at, Rule::Revocation, fault),
            Body::RecordType(Ok(version)) => self.record_type(at, version),
            Body::RecordType(Err(fault)) => self.finding(at, Rule::RecordType, fault),
            Body::Standing(Ok(stated)) => self.standing(at, stated),
            Body::Standing(Err(fault)) => self.finding(at, Rule::Standing, fault),
            Body::Lookup(raw) => self.lookup(at, raw),
            Body::Auditor(raw) => self.auditor(at, raw),
            Body::Mapping(raw) => self.mapping(at, raw),
            Body::Folded(raw) => self.folded(at, raw),
            Body::Clock(_) => {}
            Body::Dismissal(raw) => self.dismissal(at, raw),
            Body::Ticket(Ok(ticket)) => self.ticket(at, &ticket.0, &ticket.1),
            Body::Ticket(Err(fault)) => self.finding(at, Rule::Officer, fault),
            Body::Snapshot => {
                self.finding(at, Rule::Entry, "a snapshot, which only a pruned ledger has");
            }
        }
    }

    /// Time goes on from entry to entry, or back by an entry that accepts a clock, names both times, and
    /// goes back by more than is tolerated without one.
    fn time(&mut self, at: At, body: &Body) {
        if let Body::Clock(raw) = body {
            let named =
                raw.new_ms == at.time_ms && (raw.old_ms == self.time_ms || self.scope == Scope::Parts);
            if !named || raw.old_ms.saturating_sub(raw.new_ms) <= CLOCK_SKEW_MS {
                let what = format!(
                    "accepts a clock that goes from {} to {}, and the entries have {} and {}",
                    raw.old_ms, raw.new_ms, self.time_ms, at.time_ms
                );
                self.finding(at, Rule::Time, what);
            }
            self.clocks_accepted += 1;
            self.time_ms = at.time_ms;
        } else if at.time_ms < self.time_ms && self.scope == Scope::Parts {
            self.goes_back = true;
        } else if at.time_ms < self.time_ms {
            let what =
                format!("its time {} is before {}, the time of an earlier entry", at.time_ms, self.time_ms);
            self.finding(at, Rule::Time, what);
        }
        self.time_ms = self.time_ms.max(at.time_ms);
    }

    /// The folded entries that are well-formed, in order.
    pub fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// The time of the newest entry.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// A delegation of the ledger.
    pub fn delegation_of(&self, digest: &Digest) -> Option<&Delegation> {
        self.delegations.get(digest).map(|held| held.delegation.as_ref())
    }

    /// Hands over what has come together: findings, and work for threads.
    pub fn drain(&mut self) -> (Vec<Finding>, Vec<Job>) {
        (std::mem::take(&mut self.findings), std::mem::take(&mut self.jobs))
    }

    /// Takes the results of jobs.
    pub fn done(&mut self, done: &Done) {
        self.decisions.permitted_again += done.decisions.permitted_again;
        self.decisions.denied_again += done.decisions.denied_again;
        self.decisions.contradicted += done.decisions.contradicted;
        for (reason, count) in &done.decisions.not_decided {
            *self.decisions.not_decided.entry(reason.clone()).or_default() += count;
        }
    }

    /// The last checks, and all counts into the report.
    pub fn finish(mut self, report: &mut Report) {
        for id in self.pins.keys().filter(|id| !self.members.contains_key(*id)) {
            if self.scope == Scope::Whole {
                let what = format!("no card of `{id}`, whose root you pinned");
                self.findings.push(Finding::new(None, Rule::Pin, what));
            }
        }
        report.add(self.findings);
        report.kinds = self.kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        report.outcomes = self.outcomes;
        report.decisions = self.decisions;
        if self.policies.values().any(|digest| *digest != self.decider.digest()) {
            report.note(format!(
                "a policy of this ledger is not the one of this program (digest {}): what it decided is not decided again",
                yiwang_proto::hex(&self.decider.digest())
            ));
        }
        if self.words.unsaid > 0 {
            report.note(format!(
                "{} without a standing: nobody had issued one, or the hub kept them all back; `verify --standings` makes each a finding",
                counted(self.words.unsaid, "answered exchange")
            ));
        }
        if let Some(from) = &self.goes_on_from {
            report.note(format!("goes on from {from}; ask for that ledger too"));
        }
        for (count, word, what) in [
            (self.unannounced, "answer", "of members that never announced a mapping of the operation"),
            (self.replaced, "answer", "under a mapping that was replaced before the entry"),
            (
                self.unenrolled_looks,
                "look",
                "of auditors whose enrolment is not in the ledger: enrolments before scopes were none",
            ),
            (self.clocks_accepted, "time", "the operator accepted a clock that was behind the entry before"),
            (
                self.forgotten_ids,
                "statement",
                "of a time that the ledger had gone through before: whether their ids were used then cannot be told any more",
            ),
            (self.in_flight_at_close, "exchange", "under way when the case was closed"),
            (
                self.folded_early,
                "fold",
                "of an app that had fewer than 60 denials of its own in that minute: the ledger refused them, or the hub hides them",
            ),
        ] {
            if count > 0 {
                report.note(format!("{} {what}", counted(count, word)));
            }
        }
        if self.goes_back {
            report.note("the time of an entry is before that of an earlier one: only the whole ledger tells whether a clock was accepted between them");
        }
        if self.unverified_requests > 0 {
            report.note(
                "the denied request's signature was not verified: the bundle holds no delegation for it",
            );
        }
    }

    fn finding(&mut self, at: At, rule: Rule, what: impl AsRef<str>) {
        self.findings.push(Finding::new(Some(at.index), rule, what));
    }

    fn not_decided(&mut self, reason: &str) {
        *self.decisions.not_decided.entry(reason.to_owned()).or_default() += 1;
    }

    /// The roots that count for a member now: its card's; without one in a bundle, every root that the auditor pinned, since
    /// nothing tells which of them was its root then.
    fn roots_of(&self, member: &MemberId) -> &[PublicKey] {
        match (self.members.get(member), self.scope) {
            (Some(member), _) => std::slice::from_ref(&member.root),
            (None, Scope::Whole) => &[],
            (None, Scope::Parts) => self.pins.get(member).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// Whether a statement can have been recorded at that time: other people's clocks, and the time that a
/// provider takes to answer, are allowed for.
fn in_time(at: At, issued_at_ms: i64, expires_at_ms: i64) -> bool {
    let earliest = issued_at_ms.saturating_sub(CLOCK_SKEW_MS);
    let latest = expires_at_ms.saturating_add(CLOCK_SKEW_MS).saturating_add(RECORD_DELAY_MS);
    (earliest..=latest).contains(&at.time_ms)
}
