//! Exchanges: what an entry says of a request, held against everything before it.

use super::late::is_late;
use super::replays::Use;
use super::{At, Scope, State, in_time};
use crate::parse::{Exchange, Stated};
use crate::redecide::{Job, Signature};
use crate::rules::Rule;
use std::sync::Arc;
use yiwang_proto::clause::is_clause;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::folded::Key;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb::{self, Outcome};
use yiwang_proto::request::{APP_SIGNS, Request};

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    pub outcome: Outcome,
    pub code: Option<Code>,
}

/// One exchange whose request is kept and well-formed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub at: At,
    pub raw: &'a pb::ExchangeEntry,
    pub ending: Ending,
    pub request: &'a Stated<Request>,
    /// The hub let it pass: it reached the provider, or would have.
    pub passed: bool,
}

impl Ending {
    fn of(raw: &pb::ExchangeEntry) -> Result<Self, String> {
        let outcome = Outcome::try_from(raw.outcome).unwrap_or(Outcome::Unspecified);
        match (outcome, raw.code.as_str()) {
            (Outcome::Unspecified, _) => Err("has no outcome".to_owned()),
            (Outcome::Answered, "") => Ok(Self { outcome, code: None }),
            (Outcome::Answered, code) => Err(format!("was answered, with code `{code}`")),
            (_, code) => match Code::parse(code) {
                Some(code) => Ok(Self { outcome, code: Some(code) }),
                None => Err(format!("its code `{code}` is no service code")),
            },
        }
    }

    fn name(self) -> String {
        let outcome = match self.outcome {
            Outcome::Answered => "answered",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
            Outcome::Withheld => "withheld",
            Outcome::Unspecified => "unspecified",
        };
        self.code.map_or_else(|| outcome.to_owned(), |code| format!("{outcome} {code}"))
    }

    /// Whether the hub let the request pass.
    fn passed(self, raw: &pb::ExchangeEntry) -> bool {
        let later = [
            Code::AnswerInvalid,
            Code::ProviderUnavailable,
            Code::ProviderBusy,
            Code::DeadlineExceeded,
            Code::SourceError,
        ];
        match self.outcome {
            Outcome::Answered | Outcome::Withheld => true,
            Outcome::Failed => !raw.answer.is_empty() || self.code.is_some_and(|code| later.contains(&code)),
            Outcome::Denied => !raw.answer.is_empty(),
            Outcome::Unspecified => false,
        }
    }
}

/// Whether a delegation is of the app and member that a request names.
fn is_own(app: &Delegation, request: &Request) -> bool {
    app.role == Role::App && app.member == request.consumer && app.name == request.app
}

impl State<'_> {
    pub(super) fn exchange(&mut self, at: At, exchange: &Exchange) {
        let raw = &exchange.raw;
        self.form(at, raw);
        let ending = Ending::of(raw);
        let name = ending.as_ref().map_or_else(|_| "malformed".to_owned(), |ending| ending.name());
        *self.outcomes.entry(name).or_default() += 1;
        if let Err(fault) = &ending {
            self.finding(at, Rule::Exchange, fault);
        }
        let request = match &exchange.request {
            Some(Ok(request)) => request,
            Some(Err(fault)) => return self.malformed_request(at, raw, ending.ok(), fault),
            None => return self.no_request(at, raw, ending.ok()),
        };
        if !raw.request_digest.is_empty() {
            self.finding(at, Rule::Exchange, "holds a request and a digest in its place");
        }
        self.chain(at, raw, request);
        let Ok(ending) = ending else { return };
        let subject = Subject { at, raw, ending, request, passed: ending.passed(raw) };
        self.replay(subject);
        self.denial_of_its_own(subject);
        self.names(subject);
        self.unanswered.note(subject);
        let app = self
            .delegations
            .get(&request.statement.delegation_digest)
            .map(|held| Arc::clone(&held.delegation));
        let contract = self.contracts.get(&request.statement.contract_digest).cloned();
        let mut case = self.cases.meet(&request.statement);
        self.withheld(subject, app.as_deref(), contract.as_deref(), case.as_ref());
        if let Some(met) = &mut case
            && subject.passed
            && ending.outcome != Outcome::Answered
            && met.closed_under_way
            && !met.facts.open
        {
            met.facts.open = true;
            self.in_flight_at_close += 1;
        }
        self.references(subject, case.as_ref());
        self.officer_claims(subject);
        let mut signatures = Vec::with_capacity(2);
        signatures.extend(self.app_signature(subject, app.as_deref()));
        signatures.extend(self.officer_signature(subject));
        signatures.extend(self.answer(subject, exchange.answer.as_ref(), contract.as_deref()));
        let adapter = exchange.answer.as_ref().and_then(|answer| answer.as_ref().ok());
        let adapter = adapter.map(|answer| answer.statement.delegation_digest);
        self.freshness(subject, app.as_deref(), contract.as_deref(), adapter);
        let of_another = app.as_deref().is_some_and(|app| !is_own(app, &request.statement));
        let decision = self.decision(subject, app, contract.as_ref(), case);
        // What is decided again and let out is found by the rules. A hub keeps no refusal of a request that somebody else
        // signed: it would say of the member that is named what another one did.
        if of_another && (decision.is_none() || !subject.passed) {
            self.finding(
                at,
                Rule::Request,
                "is signed by a key that is none of the app's and member's that it names",
            );
        }
        self.jobs.push(Job { index: at.index, signatures, decision });
    }

    /// The app's signature, to be checked under the key that its delegation names.
    fn app_signature(&mut self, subject: Subject<'_>, app: Option<&Delegation>) -> Option<Signature> {
        let Subject { at, raw, request, passed, .. } = subject;
        match app {
            Some(app) => Some(Signature {
                signed: request.signed.clone(),
                kind: payload_type::REQUEST,
                key: app.key,
                place: Some(APP_SIGNS),
                rule: Rule::Request,
                whose: format!("app `{}` of `{}`", request.statement.app, request.statement.consumer),
            }),
            // A denial that points at no delegation has a bundle that may hold none.
            None if self.scope == Scope::Parts && !passed && raw.app_delegation_index == 0 => {
                self.unverified_requests += 1;
                None
            }
            None => {
                let what = "kept, though no earlier entry has the delegation that it names";
                self.finding(at, Rule::Request, what);
                None
            }
        }
    }

    /// A request that the hub refused is kept only where all its names are known: what its app made up would stay.
    fn names(&mut self, subject: Subject<'_>) {
        if self.scope == Scope::Parts || subject.passed {
            return;
        }
        let request = &subject.request.statement;
        let catalogue = self.decider.catalogue();
        let listed =
            catalogue.has_purpose(&request.purpose) && self.knows_fields(&request.record, &request.fields);
        let unlisted = !listed && self.policy_is_ours() == Some(true);
        if let Some(what) = self.made_up(request).or(unlisted.then_some("what is in no catalogue")) {
            let what = format!("was refused and is kept, though it names {what}: its digest would do");
            self.finding(subject.at, Rule::Exchange, what);
        }
    }

    /// What a request names that no entry so far knows.
    pub fn made_up(&self, request: &Request) -> Option<&'static str> {
        let Some(operations) = self.operations.get(&request.contract) else {
            return Some("a contract that no entry has");
        };
        if !operations.contains(&request.operation) {
            return Some("an operation that its contract does not have");
        }
        let known = self.members.contains_key(&request.provider);
        (!known).then_some("a provider that is no member")
    }

    /// Counts a denial by the hub: of so many, later ones of its minute may be folded.
    fn denial_of_its_own(&mut self, subject: Subject<'_>) {
        let Subject { at, raw, ending, request, .. } = subject;
        if ending.outcome == Outcome::Denied
            && raw.answer.is_empty()
            && let Some(code) = ending.code
        {
            let (consumer, app) = (request.statement.consumer.clone(), request.statement.app.clone());
            self.verbatim.note(Key { consumer, app: Some(app), code }, at.time_ms);
        }
    }

    /// Values that are checked whatever else the entry says.
    fn form(&mut self, at: At, raw: &pb::ExchangeEntry) {
        if MemberId::parse(&raw.peer).is_err() {
            self.finding(at, Rule::Exchange, "its peer is no member");
        }
        if raw.standing_digests.iter().any(|digest| digest.len() != 32)
            || !matches!(raw.trace_id.len(), 0 | 16)
        {
            self.finding(at, Rule::Exchange, "a digest or the trace id has a wrong length");
        }
        if !is_clause(&raw.clause) {
            self.finding(at, Rule::Exchange, "its clause breaks the grammar of clauses");
        }
    }

    fn malformed_request(&mut self, at: At, raw: &pb::ExchangeEntry, ending: Option<Ending>, fault: &str) {
        let refused = ending.is_some_and(|ending| {
            ending.outcome == Outcome::Denied && matches!(ending.code, Some(Code::Malformed | Code::TooLarge))
        });
        if refused && raw.answer.is_empty() {
            self.not_decided("the request is malformed, and was denied for it");
        } else {
            self.finding(at, Rule::Request, fault);
        }
    }

    /// Each entry names the one before it of each party, so that none can be dropped.
    fn chain(&mut self, at: At, raw: &pb::ExchangeEntry, request: &Stated<Request>) {
        let request = &request.statement;
        let sides = [
            ("consumer", &request.consumer, raw.previous_of_consumer),
            ("provider", &request.provider, raw.previous_of_provider),
        ];
        if self.scope == Scope::Whole {
            for (side, member, said) in sides {
                let right = self.last_of.get(member).map_or(0, |index| index + 1);
                let stranger = said == 0 && !self.members.contains_key(member);
                if said != right && !stranger {
                    let shown =
                        |n: u64| n.checked_sub(1).map_or_else(|| "none".to_owned(), |n| n.to_string());
                    let what = format!(
                        "the entry before it of its {side} `{member}` is {}, it says {}",
                        shown(right),
                        shown(said)
                    );
                    self.finding(at, Rule::Chain, what);
                }
            }
        }
        for (_, member, _) in sides {
            match self.last_of.get_mut(member) {
                Some(last) => *last = at.index,
                None => {
                    self.last_of.insert(member.clone(), at.index);
                }
            }
        }
    }

    fn replay(&mut self, subject: Subject<'_>) {
        let Subject { at, raw, ending, request, .. } = subject;
        let request = &request.statement;
        let id = (&request.consumer, &request.id);
        let used = self.requests.get(id.0, id.1);
        let denied = ending.outcome == Outcome::Denied && raw.answer.is_empty();
        let replayed = denied && ending.code == Some(Code::Replayed);
        if raw.late_of != 0 {
            return self.late(subject);
        }
        // Refused before the id was looked at.
        let early = denied && ending.code.is_some_and(Code::is_before_use);
        let spends = !replayed && !early && raw.peer == request.consumer.as_str();
        if replayed {
            self.replayed(subject, used);
        } else if raw.replay_of != 0 {
            self.finding(at, Rule::Replay, "names a first use, and is not denied as a replay");
        } else if let Some(first) = used.and_then(|used| used.spent).filter(|_| spends) {
            let what = format!("request id `{}` was used in entry {first}", request.id);
            self.finding(at, Rule::Replay, what);
        }
        let told = self.requests.insert(id, (at.index, spends), request.expires_at_ms, at.time_ms);
        // What was never answered may be entered long after its end; else an accepted clock went back, which is told, or a
        // time without one, which is a finding.
        self.forgotten_ids += u64::from(!told && !is_late(subject));
    }

    /// A refused replay names an entry with the same id.
    fn replayed(&mut self, subject: Subject<'_>, used: Option<Use>) {
        let Subject { at, raw, request, .. } = subject;
        let request = &request.statement;
        let over = !in_time(at, request.issued_at_ms, request.expires_at_ms);
        match (raw.replay_of.checked_sub(1), used) {
            (None, _) => self.not_decided("replayed, the first use is not recorded"),
            (Some(said), Some(used))
                if [Some(used.first), Some(used.last), used.spent].contains(&Some(said)) =>
            {
                self.decisions.denied_again += 1;
            }
            (Some(said), None) if said < at.index && (over || self.scope == Scope::Parts) => {
                self.not_decided("replayed, the first use is long ago or not at hand");
            }
            (Some(said), _) => {
                let what = format!("denied as a replay of entry {said}, which has another request id");
                self.finding(at, Rule::Replay, what);
            }
        }
    }
}
