//! Members' standings and revocations on their way in: verified, entered where they change something or
//! exchanges begin to rest on them, passed on to counterparts, and acknowledged only when nothing that was
//! decided before them is under way any more.

use crate::context::Hub;
use crate::directory::PublishDraft;
use crate::ledger::{Appended, Draft, Linear};
use crate::views::{DelegationView, Held, Views};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::OwnedMutexGuard;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::{CLOCK_SKEW_MS, DOCUMENT_MAX};
use yiwang_proto::pb;
use yiwang_proto::revocation::Revocation;
use yiwang_proto::standing::Standing;

/// An entered standing that is older is replaced by the newest one before the next exchange rests on it: the
/// longest deadline and this together stay under the shortest age that a contract may ask for (60 s).
const RENEW_AFTER_MS: i64 = 15_000;

/// One offer of a member at a time; inside: whether something was entered whose replies were not yet waited for to
/// the end, because a reader did not go in time.
pub type Turn = OwnedMutexGuard<bool>;

/// The newest standing of each member that came since the start, entered or not.
#[derive(Default)]
pub struct Standings {
    newest: RwLock<HashMap<MemberId, Arc<Held>>>,
    turns: Mutex<HashMap<MemberId, Arc<tokio::sync::Mutex<bool>>>>,
}

impl Standings {
    /// Offers of one member are taken one after another: whoever offers the same once more gets an
    /// acknowledgement only when the first offer has its own.
    pub async fn turn(&self, member: &MemberId) -> Turn {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(member.clone()).or_default())
        };
        turn.lock_owned().await
    }

    fn newest(&self, member: &MemberId) -> Option<Arc<Held>> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).get(member).cloned()
    }

    fn keep(&self, held: &Arc<Held>) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let member = &held.standing.member;
        if newest.get(member).is_none_or(|old| !old.outruns(held)) {
            newest.insert(member.clone(), Arc::clone(held));
        }
    }

    /// The newest standing of each member that came since the start, by member.
    pub fn all(&self) -> Vec<Arc<Held>> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = newest.values().cloned().collect();
        all.sort_by(|one, other| one.standing.member.cmp(&other.standing.member));
        all
    }

    /// A member's newest standing: of those that came since the start, or of the ledger.
    pub fn of(&self, member: &MemberId, views: &Views) -> Option<Arc<Held>> {
        let entered = views.standing(member).map(|view| Arc::clone(&view.held));
        let both = [self.newest(member), entered].into_iter().flatten();
        both.max_by_key(|held| (views.is_of_the_root(&held.key.delegation), held.standing.sequence))
    }

    /// A standing that must be entered before the next exchange of the member.
    fn due(&self, member: &MemberId, views: &Views, now_ms: i64) -> Option<Arc<Held>> {
        let entered = views.standing(member);
        let young = |old: &Held| now_ms < old.standing.issued_at_ms.saturating_add(RENEW_AFTER_MS);
        // One under a root that was replaced is renewed at once: it says nothing about contracts under the new one.
        if entered
            .as_ref()
            .is_some_and(|old| young(&old.held) && views.is_of_the_root(&old.held.key.delegation))
        {
            return None;
        }
        let newest = self.newest(member).filter(|held| may_enter(held, views, now_ms).is_ok());
        newest.filter(|held| entered.as_ref().is_none_or(|old| !old.held.outruns(held)))
    }
}

/// Whether a standing may be entered now. Since its member's newest one came, the member may have gone away, taken back its key
/// under the root, or gone on under its next root.
fn may_enter(held: &Held, views: &Views, time_ms: i64) -> Result<(), Code> {
    let key = &held.key.delegation;
    if views.revoked_by_root(key) {
        return Err(Code::Revoked);
    }
    if !views.is_of_the_root(key) {
        return Err(Code::DelegationInvalid);
    }
    if held.standing.holds_at(key, time_ms) { Ok(()) } else { Err(Code::StandingStale) }
}

/// What came of an offer.
#[derive(Default)]
pub struct Taken {
    /// The entry, where the standing was entered at once.
    pub appended: Option<Appended>,
    /// Replies that were dropped because nobody took them in time.
    pub dropped: usize,
}

struct StandingDraft(Arc<Held>);

impl Draft for StandingDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        let standing = &self.0.standing;
        // By the entry's own time and root: an auditor asks no other.
        may_enter(&self.0, at.views, at.time_ms)?;
        if at.views.standing(&standing.member).is_some_and(|old| old.held.outruns(&self.0)) {
            return Err(Code::Replayed);
        }
        Ok(Kind::Standing(pb::StandingEntry { statement: self.0.envelope.clone() }))
    }
}

/// Takes a standing from its member's connection. Once it is its turn it is not cancelled with the call: what was
/// entered is passed on and closes links, whoever hangs up meanwhile.
pub async fn offer(hub: &Arc<Hub>, peer: &MemberId, offered: pb::SignedStanding) -> Result<Taken, Code> {
    let turn = hub.standings.turn(peer).await;
    let (of, peer) = (Arc::clone(hub), peer.clone());
    let taking = hub.tasks.spawn(async move { take(&of, &peer, offered, turn).await });
    taking.await.unwrap_or(Err(Code::Internal))
}

async fn take(
    hub: &Hub,
    peer: &MemberId,
    offered: pb::SignedStanding,
    mut unsettled: Turn,
) -> Result<Taken, Code> {
    let key = key_of(hub, peer, &offered).await?;
    let held = Arc::new(open(hub, peer, &offered, key)?);
    let views = hub.ledger.views();
    if let Some(old) = hub.standings.of(peer, views) {
        if old.digest == held.digest {
            return settled(hub, peer, &mut unsettled, None).await;
        }
        if old.outruns(&held) {
            return Err(Code::Replayed);
        }
    }
    let said = |held: &Held| (held.standing.revoked.clone(), held.standing.revoked_serials.clone());
    let entered = views.standing(peer).map(|view| said(&view.held));
    let changed = entered.as_ref() != Some(&said(&held));
    if hub.switches.hide_revocations && changed && entered.is_some() {
        return Ok(Taken::default());
    }
    let mut appended = None;
    if changed {
        // It stands in the ledger for ever, and readers are waited for.
        hub.quotas.take(peer, hub.clock.monotonic_us())?;
        *unsettled = true;
        appended = Some(hub.ledger.append(Box::new(StandingDraft(Arc::clone(&held)))).await?);
    }
    hub.standings.keep(&held);
    hub.links.relay(views.providers_of(peer), &[held.as_ref()], &[]);
    settled(hub, peer, &mut unsettled, appended).await
}

/// INVARIANT: nothing is acknowledged while answers from before the newest entered word are under way, whoever
/// brought that one.
async fn settled(
    hub: &Hub,
    peer: &MemberId,
    unsettled: &mut bool,
    appended: Option<Appended>,
) -> Result<Taken, Code> {
    let mut taken = Taken { appended, dropped: 0 };
    if *unsettled {
        taken.dropped = settle(hub, peer).await?;
        *unsettled = false;
    }
    Ok(taken)
}

/// The delegation of the standing's key, entered in the ledger if it is new.
async fn key_of(
    hub: &Hub,
    peer: &MemberId,
    offered: &pb::SignedStanding,
) -> Result<Arc<DelegationView>, Code> {
    let document =
        SignedDocument::parse(offered.delegation.clone(), DOCUMENT_MAX).map_err(|_| Code::Malformed)?;
    let (views, digest) = (hub.ledger.views(), document.digest());
    if views.delegation(&digest).is_none() {
        if document.payload_type() != payload_type::DELEGATION {
            return Err(Code::Malformed);
        }
        hub.quotas.take(peer, hub.clock.monotonic_us())?;
        let draft = PublishDraft::open(peer.clone(), offered.delegation.clone(), views)?;
        let draft = hub.quotas.publish(peer, &offered.delegation, Box::new(draft));
        match hub.ledger.append(draft).await {
            // Another offer of the same key was quicker.
            Ok(_) | Err(Code::Replayed) => {}
            Err(code) => return Err(code),
        }
    }
    views.delegation(&digest).ok_or(Code::DelegationInvalid)
}

fn open(
    hub: &Hub,
    peer: &MemberId,
    offered: &pb::SignedStanding,
    key: Arc<DelegationView>,
) -> Result<Held, Code> {
    let signed = SignedStatement::parse(offered.standing.clone()).map_err(|_| Code::Malformed)?;
    let standing = Standing::open(&signed, &key.delegation).map_err(|_| Code::SignatureInvalid)?;
    let views = hub.ledger.views();
    if standing.member != *peer {
        return Err(Code::WrongMember);
    }
    let root = views.member(peer).map(|view| view.card.root);
    let now_ms = hub.clock.now_ms();
    if root != Some(key.delegation.root) || !key.delegation.valid_at(now_ms) {
        return Err(Code::DelegationInvalid);
    }
    if views.revoked_by_root(&key.delegation) {
        return Err(Code::Revoked);
    }
    if standing.issued_at_ms > now_ms.saturating_add(CLOCK_SKEW_MS) {
        return Err(Code::ClockSkew);
    }
    if standing.expires_at_ms <= now_ms {
        return Err(Code::StandingStale);
    }
    let digest = Bytes::copy_from_slice(&signed.digest());
    Ok(Held { standing, digest, envelope: offered.standing.clone(), key })
}

/// What a revocation under a root must be, in the step that assigns its index.
pub(crate) fn check_revocation(
    peer: &MemberId,
    revocation: &Revocation,
    at: &Linear<'_>,
) -> Result<(), Code> {
    let card = at.views.member(peer).ok_or(Code::DelegationInvalid)?;
    if !revocation.counts_under(&card.card.root, Some(&card.card.next_root_digest)) {
        return Err(Code::DelegationInvalid);
    }
    // After a root took itself back it has nothing more to say.
    let said = at.views.revocation(&revocation.digest).is_some() || at.views.is_over(&revocation.root);
    if said { Err(Code::Replayed) } else { Ok(()) }
}

/// Enters a revocation under a root in its member's turn, if it is new: counterparts hear of it, and nothing decided
/// before it is under way when this returns. Not to be cancelled with a call.
///
/// # Errors
/// That of `enter`, which publishes the document or finds its entry; [`Code::Overloaded`] where the revocation stands and
/// readers have answers from before it yet: published once more, it is acknowledged as soon as they have not.
pub async fn revoke<F: Future<Output = Result<Appended, Code>>>(
    hub: &Hub,
    peer: &MemberId,
    document: &Bytes,
    mut unsettled: Turn,
    known: impl FnOnce() -> Option<u64>,
    enter: impl FnOnce(Option<u64>) -> F,
) -> Result<Taken, Code> {
    let known = known();
    // Before it is entered: an error does not say that it does not stand.
    *unsettled |= known.is_none();
    let appended = enter(known).await?;
    if *unsettled {
        let mut readers = hub.ledger.views().providers_of(peer);
        readers.push(peer.clone());
        hub.links.relay(readers, &[], std::slice::from_ref(document));
    }
    settled(hub, peer, &mut unsettled, Some(appended)).await
}

/// After a contract was entered: the provider's adapter hears the consumer's word before the first request.
pub fn agreed(hub: &Hub, document: &Bytes) {
    let Ok(contract) = Contract::open_bytes(document.clone()) else { return };
    let (provider, consumer) = (contract.text.provider.member, contract.text.consumer.member);
    let views = hub.ledger.views();
    let standing = hub.standings.of(&consumer, views);
    let revocations: Vec<Bytes> =
        views.revocations_of(&consumer).iter().map(|view| view.document.clone()).collect();
    hub.links.relay(vec![provider], &standing.iter().map(AsRef::as_ref).collect::<Vec<_>>(), &revocations);
}

/// Closes links of revoked adapters, and waits until every reply that was recorded before is handed over or
/// dropped.
async fn settle(hub: &Hub, peer: &MemberId) -> Result<usize, Code> {
    let views = hub.ledger.views();
    hub.links.close_where(|key| views.revoked(key));
    hub.replies.settle(peer).await
}

/// Enters the newest standings of both parties where those in the ledger are old, so that an exchange's
/// entry can name what it rests on. A few look-ups; it waits for the ledger once in a while only.
pub async fn enter_newest(hub: &Hub, consumer: &MemberId, provider: &MemberId) {
    let views = hub.ledger.views();
    let now_ms = hub.clock.now_ms();
    for member in [consumer, provider] {
        if let Some(held) = hub.standings.due(member, views, now_ms)
            && let Err(code) = hub.ledger.append(Box::new(StandingDraft(held))).await
            && code != Code::Replayed
        {
            tracing::warn!(%member, %code, "a standing could not be entered");
        }
    }
}

/// Standings and revocations of some members, as far as they may be shown: to themselves and to members that
/// have a contract with them.
pub fn get(hub: &Hub, peer: &MemberId, members: &[MemberId]) -> pb::GetStandingsResponse {
    let views = hub.ledger.views();
    let mut answer = pb::GetStandingsResponse::default();
    for member in members.iter().take(MEMBERS_MAX) {
        let known = member == peer
            || views.providers_of(peer).contains(member)
            || views.consumers_of(peer).contains(member);
        if !known {
            continue;
        }
        answer.standings.extend(hub.standings.of(member, views).map(|held| held.to_pb()));
        if !hub.switches.hide_revocations {
            answer.revocations.extend(views.revocations_of(member).iter().map(|view| view.document.clone()));
        }
    }
    answer
}

/// Members that may be asked about at once.
const MEMBERS_MAX: usize = 64;

/// All that an adapter must know before it serves: about its own member, and about everybody who asks it.
pub fn for_link(hub: &Hub, member: &MemberId) -> (Vec<Arc<Held>>, Vec<Bytes>) {
    let views = hub.ledger.views();
    let consumers = views.consumers_of(member);
    let standings = consumers.iter().filter_map(|consumer| hub.standings.of(consumer, views)).collect();
    let revocations = consumers
        .iter()
        .chain([member])
        .flat_map(|member| views.revocations_of(member))
        .map(|view| view.document.clone())
        .collect();
    (standings, revocations)
}

impl Held {
    /// Whether another one comes too late beside it. Each root counts for itself: whoever stole the one before could have
    /// counted up to the end.
    fn outruns(&self, other: &Self) -> bool {
        self.key.delegation.root == other.key.delegation.root
            && self.standing.sequence >= other.standing.sequence
    }

    /// As it travels.
    pub fn to_pb(&self) -> pb::SignedStanding {
        pb::SignedStanding { standing: self.envelope.clone(), delegation: self.key.document.clone() }
    }
}
