//! Stage 5: the entry is durable before anything is released. The sequencer checks once more, in the step
//! that assigns the index, what may have changed meanwhile.

use super::accept::Accepted;
use super::decide::Decided;
use super::officer::proof_in_entry;
use super::{NO_BODY, Refusal};
use crate::context::{Hub, used_its_id};
use crate::ledger::{Appended, Draft, Linear};
use crate::links::RawAnswer;
use crate::replies::Mark;
use crate::views::{CaseStatus, DelegationView};
use bytes::Bytes;
use prost::Message as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::clause::clause_of;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{MemberId, Officer};
use yiwang_proto::pb;

/// How an exchange ended, before it is recorded.
pub struct Outcome {
    outcome: pb::Outcome,
    refusal: Option<Refusal>,
    raw: Option<RawAnswer>,
    adapter_delegation_index: u64,
}

impl Outcome {
    /// Refused by the hub.
    pub fn denied(refusal: Refusal) -> Self {
        Self { outcome: pb::Outcome::Denied, refusal: Some(refusal), raw: None, adapter_delegation_index: 0 }
    }

    /// Nobody refused, nobody answered.
    pub fn failed(code: Code) -> Self {
        let refusal = Some(code.into());
        Self { outcome: pb::Outcome::Failed, refusal, raw: None, adapter_delegation_index: 0 }
    }

    /// The adapter's signed word, which may be a refusal.
    pub fn answered(raw: RawAnswer, answer: Answer, adapter_delegation_index: u64) -> Self {
        let (outcome, refusal) = match answer.verdict {
            Verdict::Answered => (pb::Outcome::Answered, None),
            Verdict::Denied(code) => (pb::Outcome::Denied, Some(code)),
            Verdict::Failed(code) => (pb::Outcome::Failed, Some(code)),
        };
        let refusal = refusal.map(|code| Refusal { code, clause: answer.clause, replay_of: 0 });
        Self { outcome, refusal, raw: Some(raw), adapter_delegation_index }
    }

    /// An answer that holds and is not released; it is kept as evidence.
    pub fn withheld(raw: RawAnswer, refusal: Refusal, adapter_delegation_index: u64) -> Self {
        let outcome = pb::Outcome::Withheld;
        Self { outcome, refusal: Some(refusal), raw: Some(raw), adapter_delegation_index }
    }

    /// An answer came that does not hold: it is not released, and not kept, since its bytes may be anything.
    pub fn invalid(raw: RawAnswer, refusal: Refusal, consumer: &MemberId) -> Self {
        let (member, clause) = (raw.link.member(), &refusal.clause);
        tracing::warn!(%member, %consumer, clause, "an adapter's answer does not hold");
        Self { outcome: pb::Outcome::Failed, refusal: Some(refusal), raw: None, adapter_delegation_index: 0 }
    }
}

/// A recorded exchange: the only thing that can be released.
pub struct Recorded {
    /// The entry with its proof.
    pub appended: Appended,
    /// The answer's body; empty unless the exchange was answered.
    pub body: Bytes,
    /// The mark of what is under way.
    pub mark: Mark,
}

struct ExchangeDraft {
    entry: pb::ExchangeEntry,
    consumer: MemberId,
    provider: MemberId,
    verbatim: bool,
    decided: Option<Decided>,
    // Set by the sequencer where it turned an answer into a withheld one.
    withheld: Arc<AtomicBool>,
    officer: Option<Officer>,
    adapter: Option<Arc<DelegationView>>,
}

/// Entries of what an exchange rests on; 0 where there is none.
#[derive(Default)]
struct Known {
    contract: u64,
    delegation: u64,
    case: u64,
}

impl Known {
    /// A refusal names what was known, so that its evidence holds what it was decided on. Only what is the
    /// consumer's own: an index must not tell anybody that something exists.
    fn of(hub: &Hub, accepted: &Accepted, decided: Option<&Decided>, verbatim: bool) -> Self {
        if let Some(decided) = decided {
            return Self {
                contract: decided.contract.index,
                delegation: decided.delegation.index,
                case: decided.case.entries.first().copied().unwrap_or(0),
            };
        }
        if !verbatim {
            return Self::default();
        }
        let (views, request) = (hub.ledger.views(), &accepted.request);
        let contract = views
            .contract(&request.contract)
            .filter(|view| view.contract.text.consumer.member == request.consumer);
        let opened = match views.case(&request.case) {
            CaseStatus::Open(case) => case.entries.first().copied(),
            CaseStatus::Closed(entries) => entries.first().copied(),
            CaseStatus::Unknown => None,
        };
        let own = |_: &u64| crate::cases::member_of(hub, &request.case).as_ref() == Some(&request.consumer);
        Self {
            contract: contract.map_or(0, |view| view.index),
            delegation: views.delegation(&request.delegation_digest).map_or(0, |view| view.index),
            case: opened.filter(own).unwrap_or(0),
        }
    }
}

/// What the entry of a denial by the hub says, for one that gets none of its own; the chains of its parties pass it by.
pub fn denied_entry(hub: &Hub, accepted: &Accepted, refusal: &Refusal) -> pb::ExchangeEntry {
    let verbatim = accepted.verbatim.load(Ordering::Relaxed);
    let known = Known::of(hub, accepted, None, verbatim);
    let mut entry = pb::ExchangeEntry {
        peer: accepted.peer.as_str().to_owned(),
        request: if verbatim { accepted.signed.bytes().clone() } else { NO_BODY },
        request_digest: if verbatim { NO_BODY } else { Bytes::copy_from_slice(&accepted.digest) },
        code: refusal.code.as_str().to_owned(),
        clause: in_entry(refusal, verbatim),
        policy_index: hub.ledger.views().policy().map_or(0, |(index, _)| index),
        contract_index: known.contract,
        app_delegation_index: known.delegation,
        case_index: known.case,
        sealed: verbatim && accepted.request.sealing.is_some(),
        trace_id: trace_id(&accepted.traceparent),
        replay_of: refusal.replay_of,
        ..pb::ExchangeEntry::default()
    };
    entry.set_outcome(pb::Outcome::Denied);
    entry.set_officer_proof(pb::OfficerProof::Asserted);
    entry
}

/// Records the outcome. `Err` leaves no entry and releases nothing.
pub async fn record(
    hub: &Hub,
    accepted: Accepted,
    decided: Option<Decided>,
    outcome: Outcome,
) -> Result<Recorded, Code> {
    let verbatim = accepted.verbatim.load(Ordering::Relaxed);
    let (ended, refused) = (outcome.outcome, outcome.refusal.as_ref().map(|refusal| refusal.code));
    let (code, clause, replay_of) = match outcome.refusal {
        Some(refusal) => (refusal.code.as_str().to_owned(), in_entry(&refusal, verbatim), refusal.replay_of),
        None => (String::new(), String::new(), 0),
    };
    let (answer, body, receipt_to) = match outcome.raw {
        Some(raw) => (raw.answer, raw.body, Some((raw.link, raw.exchange))),
        None => (NO_BODY, NO_BODY, None),
    };
    let known = Known::of(hub, &accepted, decided.as_ref(), verbatim);
    let mut entry = pb::ExchangeEntry {
        peer: accepted.peer.as_str().to_owned(),
        request: if verbatim { accepted.signed.bytes().clone() } else { NO_BODY },
        request_digest: if verbatim { NO_BODY } else { Bytes::copy_from_slice(&accepted.digest) },
        answer,
        outcome: outcome.outcome.into(),
        code,
        clause,
        contract_index: known.contract,
        app_delegation_index: known.delegation,
        adapter_delegation_index: outcome.adapter_delegation_index,
        case_index: known.case,
        officer_proof: pb::OfficerProof::Asserted.into(),
        sealed: verbatim && accepted.request.sealing.is_some(),
        trace_id: trace_id(&accepted.traceparent),
        replay_of,
        ..pb::ExchangeEntry::default()
    };
    if let Some(decided) = &decided {
        name_keys(&mut entry, decided);
    }
    let (consumer, provider, id) =
        (accepted.request.consumer.clone(), accepted.request.provider, accepted.request.id);
    let reader = accepted.peer;
    // Before the index is assigned: a revocation waits for every mark that was set before it.
    let answered = entry.outcome() == pb::Outcome::Answered;
    let between = (&consumer, &provider);
    let mark = if answered { mark(hub, &mut entry, decided.as_ref(), between, body.len()) } else { None };
    let withheld = Arc::new(AtomicBool::new(false));
    // A refusal that used no id stands for none: a replay must name the entry that did.
    let uses = verbatim && used_its_id(&entry);
    let draft = ExchangeDraft {
        entry,
        consumer: consumer.clone(),
        provider,
        verbatim,
        decided,
        withheld: Arc::clone(&withheld),
        officer: accepted.request.officer,
        adapter: receipt_to.as_ref().map(|(link, _)| Arc::clone(&link.delegation)),
    };
    let appended = hub.ledger.append(Box::new(draft)).await?;
    if uses {
        hub.replays.recorded(&consumer, &id, appended.index);
    }
    if let Some((link, exchange)) = receipt_to.filter(|_| !hub.switches.no_receipts) {
        // By the receipt of an answer that its journal does not hold an adapter awaits nothing.
        let unawaited = [Some(Code::ReceiptsOwed), Some(Code::LedgerFull)].contains(&refused);
        let withheld = ended == pb::Outcome::Withheld;
        link.send_receipt(exchange, &appended, !unawaited && !withheld);
    }
    let released = mark.is_some() && !withheld.load(Ordering::Acquire);
    hub.meters.recorded(if answered && !released { pb::Outcome::Withheld } else { ended }, refused);
    let body = if released { body } else { NO_BODY };
    if let Some(dir) = &hub.switches.store_bodies {
        hoard(dir, appended.index, &body);
    }
    // Receipts without an answer wait for their readers too.
    let owed = || hub.replies.owe(&reader, appended.to_receipt().encoded_len());
    let mark = mark.filter(|_| released).unwrap_or_else(owed);
    Ok(Recorded { appended, body, mark })
}

/// What the officer's proof and sealed bodies rest on.
fn name_keys(entry: &mut pb::ExchangeEntry, decided: &Decided) {
    entry.set_officer_proof(proof_in_entry(decided.permit.officer_proof()));
    (entry.ticket_index, entry.officer_delegation_index) = decided.officer.indexes();
    entry.sealing_delegation_index = decided.sealing.as_ref().map_or(0, |keys| keys.consumer.index);
}

/// The mark of an answer; one for which no room is left is withheld. Whether it may use the room that is kept
/// for emergencies is seen from its contract, like at the gate.
fn mark(
    hub: &Hub,
    entry: &mut pb::ExchangeEntry,
    decided: Option<&Decided>,
    (reader, provider): (&MemberId, &MemberId),
    bytes: usize,
) -> Option<Mark> {
    let purpose = decided.map(|decided| &decided.contract.contract.text.purpose);
    let urgent = purpose.is_some_and(|purpose| hub.gate.is_emergency(purpose));
    let marked = hub.replies.begin(reader, provider, bytes.saturating_add(entry.encoded_len()), urgent);
    if let Err(code) = &marked {
        entry.set_outcome(pb::Outcome::Withheld);
        code.as_str().clone_into(&mut entry.code);
    }
    marked.ok()
}

/// The clause as it stands in the entry. Where the statement is not kept, neither are names that it brought.
fn in_entry(refusal: &Refusal, verbatim: bool) -> String {
    let words = if verbatim { Some(refusal.clause.as_str()) } else { refusal.clause.split(':').next() };
    clause_of(words.unwrap_or_default())
}

/// What no hub may do. Only tests switch it on, to see that the search for carried values can find them.
fn hoard(dir: &Path, index: u64, body: &Bytes) {
    let file = dir.join(index.to_string());
    if let Err(error) = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&file, body)) {
        tracing::error!(%error, index, "a body could not be stored");
    }
}

fn trace_id(traceparent: &str) -> Bytes {
    let digits = traceparent.get(3..35).unwrap_or_default();
    let bytes: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    Bytes::from(bytes.unwrap_or_default())
}

impl Draft for ExchangeDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let mut entry = self.entry;
        entry.policy_index = at.views.policy().map_or(0, |(index, _)| index);
        if self.verbatim {
            entry.previous_of_consumer = at.views.previous_of(&self.consumer);
            entry.previous_of_provider = at.views.previous_of(&self.provider);
        }
        if let Some(decided) = &self.decided {
            let adapter = self.adapter.as_ref().map(|view| &view.delegation);
            let claims = decided.claims(self.officer.as_ref(), adapter);
            let (pair, objection) = at.views.standing_of(&claims, at.time_ms);
            for view in pair.into_iter().flatten() {
                entry.standing_digests.push(view.held.digest.clone());
                entry.standing_indexes.push(view.index);
            }
            let changed = decided.changed(at.views, at.time_ms).map(|code| (code, "")).or(objection);
            if entry.outcome() == pb::Outcome::Answered
                && let Some((code, clause)) = changed
            {
                self.withheld.store(true, Ordering::Release);
                entry.set_outcome(pb::Outcome::Withheld);
                code.as_str().clone_into(&mut entry.code);
                entry.clause = clause_of(clause);
            }
        }
        Ok(Kind::Exchange(entry))
    }

    fn parties(&self) -> Option<(MemberId, MemberId)> {
        self.verbatim.then(|| (self.consumer.clone(), self.provider.clone()))
    }
}
