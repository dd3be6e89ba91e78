//! Answers that an adapter offers because it has no receipt for them. Whatever became of them, they get an
//! entry: the one that holds them, or a late one that points at the exchange's first entry, or, where a crash
//! came between answer and record, the only one. None of them releases anything.

mod places;

pub use places::Known;

use crate::context::Hub;
use crate::ledger::{Appended, Draft, Ledger, Linear, ReadFor};
use crate::limits::OFFER_WALK_WAIT;
use crate::views::{CaseStatus, DelegationView, Views};
use bytes::Bytes;
use places::{Found, Places};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use yiwang_proto::answer::Answer;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::STATEMENT_MAX;
use yiwang_proto::request::{APP_SIGNS, OFFICER_SIGNS, OfficerBy, Request};
use yiwang_proto::{Digest, pb};

/// An index that was just given is durable within a batch; looked at again so often.
const DURABLE_EVERY: Duration = Duration::from_millis(5);
/// A disk that takes longer is no reason to hold other offers up: the adapter offers again.
const DURABLE_WAIT: Duration = Duration::from_secs(3);

/// An offer whose signatures hold.
struct Offered {
    request_bytes: Bytes,
    answer_bytes: Bytes,
    request: Request,
    adapter: Arc<DelegationView>,
}

/// What an offered answer has or gets.
enum Way<'a> {
    /// Its entry is there.
    Entered(u64),
    /// It gets one.
    Entry(Box<LateDraft>, Option<Box<Claim<'a>>>),
    /// It gets nothing, or nothing yet.
    Refused(Code),
}

/// How far the ledger is looked through: the newest entry of the provider, plus one, once it was durable.
#[derive(Clone, Copy)]
struct Seen {
    newest: u64,
    at_us: u64,
}

impl Seen {
    fn is_old(self, hub: &Hub) -> bool {
        u128::from(hub.clock.monotonic_us().saturating_sub(self.at_us)) > DURABLE_WAIT.as_micros()
    }
}

/// Finds or makes the entries of a provider's offered answers, in their order. After a crash there are as many as exchanges
/// ran: what they get is looked up one after another, and then entered together, so that they share batches of the ledger.
///
/// # Errors
/// For each the code of what does not hold; [`Code::Overloaded`] while its exchange is under way, and for a second offer of
/// one.
pub async fn settle(
    hub: &Arc<Hub>,
    provider: &MemberId,
    offers: &[pb::AnswerOffer],
) -> Vec<Result<Appended, Code>> {
    // INVARIANT: held from the look for entries until all new ones are durable, so there is at most one late one of an
    // exchange. An exchange has one provider, so that others need not wait.
    let until = tokio::time::sleep(OFFER_WALK_WAIT).deadline();
    let known = hub.offers.of(provider, hub.clock.monotonic_us()).lock_owned();
    let mut places = tokio::time::timeout_at(until, known).await.map_err(|_| Code::Overloaded);
    let (mut ways, mut asked, mut seen) = (Vec::with_capacity(offers.len()), HashSet::new(), None);
    for offer in offers {
        let way = match check(hub, provider, offer) {
            Ok(offered) if asked.insert(offered.request_bytes.clone()) => {
                let found = found(hub, provider, &offered, &mut places, (&mut seen, until)).await;
                found.and_then(|found| way(hub, &offered, &found))
            }
            Ok(_) => Err(Code::Overloaded),
            Err(code) => Err(code),
        };
        ways.push(way.unwrap_or_else(Way::Refused));
    }
    let settled = entered(hub, ways, places.as_ref().err().copied()).await;
    if let Ok(places) = places {
        hub.offers.holds(provider, places.held(), hub.clock.monotonic_us());
    }
    settled
}

/// Enters what is to be entered, all at once, and reads the receipts of the others in one turn. Where the lock was lost on
/// the way, nothing is entered.
async fn entered(hub: &Hub, ways: Vec<Way<'_>>, lost: Option<Code>) -> Vec<Result<Appended, Code>> {
    let known: Vec<u64> = ways.iter().filter_map(Way::entered).collect();
    let receipts = async {
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let read = move |ledger: &Ledger| Ok(known.iter().map(|index| ledger.receipt(*index)).collect());
        hub.ledger.reading::<Vec<_>>(ReadFor::Link, read).await
    };
    let drafts = ways.into_iter().map(async |way| match (way, lost) {
        (Way::Entered(_), _) => None,
        (Way::Refused(code), _) | (Way::Entry(..), Some(code)) => Some(Err(code)),
        (Way::Entry(draft, claim), None) => {
            let appended = hub.ledger.append(draft).await;
            if appended.is_ok() {
                hub.alarms.late();
            }
            claim.into_iter().for_each(|claim| claim.ended(&appended));
            Some(appended)
        }
    });
    let (receipts, appended) = tokio::join!(receipts, futures_util::future::join_all(drafts));
    let (failed, mut receipts) = match receipts {
        Ok(receipts) => (Code::Internal, receipts.into_iter()),
        Err(code) => (code, Vec::new().into_iter()),
    };
    appended.into_iter().map(|appended| appended.or_else(|| receipts.next()).unwrap_or(Err(failed))).collect()
}

/// The claim of the id of an exchange that has no entry; given back where it gets none, since it is offered again.
struct Claim<'a> {
    hub: &'a Hub,
    request: Request,
    until_ms: i64,
    used: bool,
}

impl<'a> Claim<'a> {
    /// An id that is claimed and not recorded belongs to an exchange under way.
    fn take(hub: &'a Hub, request: &Request) -> Result<Self, Code> {
        let now = hub.clock.now_ms();
        let until_ms = request.expires_at_ms.max(now);
        let claimed = hub.replays.claim(&request.consumer, &request.id, until_ms, now);
        claimed.map_err(|_| Code::Overloaded)?;
        Ok(Self { hub, request: request.clone(), until_ms, used: false })
    }
}

impl Claim<'_> {
    /// Whether it came to an entry; of a fault of the hub's own nobody knows.
    fn ended(mut self: Box<Self>, appended: &Result<Appended, Code>) {
        self.used = matches!(appended, Ok(_) | Err(Code::Internal));
        if let Ok(appended) = appended {
            self.hub.replays.recorded(&self.request.consumer, &self.request.id, appended.index);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.hub.replays.release(&self.request.consumer, &self.request.id, self.until_ms);
        }
    }
}

impl Way<'_> {
    fn entered(&self) -> Option<u64> {
        if let Self::Entered(index) = self { Some(*index) } else { None }
    }
}

/// What an offer gets by what was found of its exchange.
fn way<'a>(hub: &'a Hub, offered: &Offered, found: &Found) -> Result<Way<'a>, Code> {
    if let Some(index) = found.holding(&offered.answer_bytes) {
        return Ok(Way::Entered(index));
    }
    let (draft, claim) = match (&found.first, &found.late) {
        (_, Some(_)) => return Err(Code::AnswerInvalid),
        // Nobody was asked, or another answer was given: the adapter says what cannot be.
        (Some((_, first)), None) if !ended_without(first) && !was_repeated(first) => {
            return Err(Code::AnswerInvalid);
        }
        (Some((index, first)), None) => (late(offered, *index, first.clone()), None),
        (None, None) => {
            let claim = Claim::take(hub, &offered.request)?;
            (lost(hub, offered)?, Some(Box::new(claim)))
        }
    };
    Ok(Way::Entry(Box::new(draft), claim))
}

/// What there is of an exchange; the provider's lock stays where it is, or in its place why it was lost.
async fn found(
    hub: &Arc<Hub>,
    provider: &MemberId,
    offered: &Offered,
    held: &mut Result<OwnedMutexGuard<Places>, Code>,
    (seen, until): (&mut Option<Result<Seen, Code>>, Instant),
) -> Result<Found, Code> {
    // The lock goes to the threads that read, and is gone with one that dies.
    let looked = match std::mem::replace(held, Err(Code::Internal)) {
        Ok(places) => look(hub, provider, offered, places, (seen, until)).await,
        Err(code) => Err(code),
    };
    let (places, found) = match looked {
        Ok((places, found)) => (Ok(places), found),
        Err(code) => (Err(code), Err(code)),
    };
    *held = places;
    found
}

/// Looks for an exchange in what was read for offers before, and, where its answer is not there, in what came since and
/// further back.
async fn look(
    hub: &Arc<Hub>,
    provider: &MemberId,
    offered: &Offered,
    places: OwnedMutexGuard<Places>,
    (seen, until): (&mut Option<Result<Seen, Code>>, Instant),
) -> Result<(OwnedMutexGuard<Places>, Result<Found, Code>), Code> {
    let (walker, request, answer) =
        (Arc::clone(hub), offered.request_bytes.clone(), offered.answer_bytes.clone());
    let known = hub.ledger.off_runtime(move || {
        let found = places.known(&walker, &request);
        let done = found.as_ref().map_or(true, |found| found.holding(&answer).is_some());
        (places, found, done)
    });
    let (mut places, found, done) = known.await.ok_or(Code::Internal)?;
    if done {
        return Ok((places, found));
    }
    let last = match *seen {
        Some(Ok(last)) if !last.is_old(hub) => Ok(last),
        // The disk hangs: those that come after it do not wait as well.
        Some(Err(code)) => Err(code),
        _ => *seen.insert(durable(hub, provider).await),
    };
    let last = match last {
        Ok(last) => last,
        Err(code) => return Ok((places, Err(code))),
    };
    // In goes: neither many providers nor one that looks far back may keep the others, or exchanges, waiting.
    loop {
        let Some(turn) = hub.offers.turn(until).await else { return Ok((places, Err(Code::Overloaded))) };
        let (walker, walked) = (Arc::clone(hub), provider.clone());
        let (request, since_ms) = (offered.request_bytes.clone(), offered.request.issued_at_ms);
        let find = hub.ledger.off_runtime(move || {
            let _until_done = turn;
            let found = places.find(&walker, &walked, last.newest, &request, since_ms);
            (places, found)
        });
        let (looked, found) = find.await.ok_or(Code::Internal)?;
        places = looked;
        let Some(found) = found.transpose() else { continue };
        // What was entered since then was not looked at. The next offer is quick: what was read is kept.
        let found = found.and_then(|found| match found.first {
            None if last.is_old(hub) => Err(Code::Overloaded),
            _ => Ok(found),
        });
        return Ok((places, found));
    }
}

/// The newest entry is not durable yet, and never is while exchanges go on: not looked at before it is.
async fn durable(hub: &Hub, provider: &MemberId) -> Result<Seen, Code> {
    let seen = Seen { newest: hub.ledger.views().previous_of(provider), at_us: hub.clock.monotonic_us() };
    let durable = async {
        while hub.ledger.checkpoint().size < seen.newest {
            tokio::time::sleep(DURABLE_EVERY).await;
        }
    };
    tokio::time::timeout(DURABLE_WAIT, durable).await.map(|()| seen).map_err(|_| Code::Overloaded)
}

/// Whether an exchange ended because no answer came. One that came and did not hold stays refused.
fn ended_without(first: &pb::ExchangeEntry) -> bool {
    first.outcome() == pb::Outcome::Failed
        && first.answer.is_empty()
        && first.code != Code::AnswerInvalid.as_str()
}

/// Whether the adapter itself said that it had answered before: the request came again after a crash of the hub, and before the
/// first answer was offered.
fn was_repeated(first: &pb::ExchangeEntry) -> bool {
    first.outcome() == pb::Outcome::Denied
        && !first.answer.is_empty()
        && first.code == Code::Replayed.as_str()
}

fn check(hub: &Hub, provider: &MemberId, offer: &pb::AnswerOffer) -> Result<Offered, Code> {
    if hub.switches.no_receipts {
        return Err(Code::NotFound);
    }
    if offer.request.len() > STATEMENT_MAX || offer.answer.len() > STATEMENT_MAX {
        return Err(Code::TooLarge);
    }
    let asked = SignedStatement::parse(offer.request.clone()).map_err(|_| Code::Malformed)?;
    let request = Request::of(&asked).map_err(|_| Code::Malformed)?;
    let said = SignedStatement::parse(offer.answer.clone()).map_err(|_| Code::Malformed)?;
    let claimed = Answer::parse(said.unverified_payload()).map_err(|_| Code::AnswerInvalid)?;
    if request.provider != *provider {
        return Err(Code::WrongMember);
    }
    let views = hub.ledger.views();
    let app = views.delegation(&request.delegation_digest).ok_or(Code::KeyUnknown)?;
    asked
        .verify_at(APP_SIGNS, payload_type::REQUEST, &app.delegation.key)
        .map_err(|_| Code::SignatureInvalid)?;
    if let (OfficerBy::Signature(digest), 2) = (request.officer_by, asked.signature_count()) {
        let officer = views.delegation(&digest).ok_or(Code::KeyUnknown)?;
        asked
            .verify_at(OFFICER_SIGNS, payload_type::REQUEST, &officer.delegation.key)
            .map_err(|_| Code::SignatureInvalid)?;
    }
    let key = &app.delegation;
    if key.member != request.consumer || key.role != Role::App || key.name != request.app {
        return Err(Code::DelegationInvalid);
    }
    agreed(views, &request, [&asked, &said])?;
    let adapter = views.delegation(&claimed.delegation_digest).ok_or(Code::KeyUnknown)?;
    let is_adapter = adapter.delegation.role == Role::Adapter && adapter.delegation.member == *provider;
    if !is_adapter || adapter.delegation.name != claimed.adapter {
        return Err(Code::DelegationInvalid);
    }
    let answer = Answer::open(&said, &adapter.delegation.key).map_err(|_| Code::SignatureInvalid)?;
    if answer.mismatch(&request, &asked.digest()).is_some() {
        return Err(Code::AnswerInvalid);
    }
    Ok(Offered { request_bytes: offer.request.clone(), answer_bytes: offer.answer.clone(), request, adapter })
}

/// What an entry of an offer names must be as known as what the hub itself forwards. A contract may have been replaced since
/// it was asked under: of an older version the hub knows the parties, and the verifier judges the rest.
fn agreed(views: &Views, request: &Request, signed: [&SignedStatement; 2]) -> Result<(), Code> {
    let contract = views.contract(&request.contract).ok_or(Code::NoContract)?;
    let text = &contract.contract.text;
    if text.consumer.member != request.consumer || text.provider.member != request.provider {
        return Err(Code::NoContract);
    }
    let replaced = contract.contract.digest != request.contract_digest;
    if !replaced && !signed.into_iter().all(|one| text.allows(one)) {
        return Err(Code::SignatureInvalid);
    }
    let known = (replaced || text.operations.contains(&request.operation))
        && views.knows_fields(&request.record, &request.fields)
        && views.decider().catalogue().has_purpose(&request.purpose);
    if known { Ok(()) } else { Err(Code::NoContract) }
}

struct LateDraft {
    entry: pb::ExchangeEntry,
    consumer: MemberId,
    provider: MemberId,
}

impl Draft for LateDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let mut entry = self.entry;
        entry.previous_of_consumer = at.views.previous_of(&self.consumer);
        entry.previous_of_provider = at.views.previous_of(&self.provider);
        // As every entry of an exchange, it names what both parties had last said when it got its index.
        let words = [&self.consumer, &self.provider].map(|member| at.views.standing(member));
        entry.standing_digests = words.iter().flatten().map(|view| view.held.digest.clone()).collect();
        entry.standing_indexes = words.iter().flatten().map(|view| view.index).collect();
        Ok(Kind::Exchange(entry))
    }

    fn parties(&self) -> Option<(MemberId, MemberId)> {
        Some((self.consumer.clone(), self.provider.clone()))
    }
}

/// The one late entry of an exchange whose first entry has no answer.
fn late(offered: &Offered, index: u64, first: pb::ExchangeEntry) -> LateDraft {
    let entry = pb::ExchangeEntry {
        answer: offered.answer_bytes.clone(),
        outcome: pb::Outcome::Withheld.into(),
        code: Code::DeadlineExceeded.as_str().to_owned(),
        clause: "answered-after-the-exchange-had-ended".to_owned(),
        adapter_delegation_index: offered.adapter.index,
        late_of: index + 1,
        ..first
    };
    let (consumer, provider) = (offered.request.consumer.clone(), offered.request.provider.clone());
    LateDraft { entry, consumer, provider }
}

/// The only entry of an exchange that a crash cut off between its answer and its record.
fn lost(hub: &Hub, offered: &Offered) -> Result<LateDraft, Code> {
    let (request, views) = (&offered.request, hub.ledger.views());
    let contract = views.contract(&request.contract).ok_or(Code::NoContract)?;
    let app = views.delegation(&request.delegation_digest).ok_or(Code::KeyUnknown)?;
    let case = match views.case(&request.case) {
        CaseStatus::Open(case) => case.entries.clone(),
        CaseStatus::Closed(entries) => entries,
        CaseStatus::Unknown => return Err(Code::NoCase),
    };
    let named = Named::of(views, request)?;
    let entry = pb::ExchangeEntry {
        peer: request.consumer.as_str().to_owned(),
        request: offered.request_bytes.clone(),
        answer: offered.answer_bytes.clone(),
        outcome: pb::Outcome::Withheld.into(),
        code: Code::DeadlineExceeded.as_str().to_owned(),
        clause: "answered-and-not-recorded-in-time".to_owned(),
        policy_index: views.policy().map_or(0, |(index, _)| index),
        contract_index: contract.index,
        app_delegation_index: app.index,
        adapter_delegation_index: offered.adapter.index,
        case_index: case.first().copied().unwrap_or(0),
        officer_proof: named.proof.into(),
        ticket_index: named.ticket,
        officer_delegation_index: named.officer,
        sealing_delegation_index: named.sealing,
        sealed: request.sealing.is_some(),
        ..pb::ExchangeEntry::default()
    };
    Ok(LateDraft { entry, consumer: request.consumer.clone(), provider: request.provider.clone() })
}

/// What an entry names of its officer's proof and of keys that open bodies; 0 where there is none.
struct Named {
    proof: pb::OfficerProof,
    ticket: u64,
    officer: u64,
    sealing: u64,
}

impl Named {
    fn of(views: &Views, request: &Request) -> Result<Self, Code> {
        let key = |digest: &Digest| views.delegation(digest).map(|view| view.index).ok_or(Code::KeyUnknown);
        let (proof, ticket, officer) = match &request.officer_by {
            OfficerBy::Asserted => (pb::OfficerProof::Asserted, 0, 0),
            OfficerBy::Signature(digest) => (pb::OfficerProof::Signed, 0, key(digest)?),
            OfficerBy::Ticket(digest) => {
                let ticket = views.ticket(digest).ok_or(Code::TicketInvalid)?;
                (pb::OfficerProof::Ticket, ticket.index, key(&ticket.ticket.delegation_digest)?)
            }
        };
        let sealing = request.sealing.as_ref().map_or(Ok(0), key)?;
        Ok(Self { proof, ticket, officer, sealing })
    }
}
