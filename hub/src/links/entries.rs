//! Handing each member's own entries to its adapter: all of them, in order, under heads that grow from one
//! another. What the adapter misses, because it was away, comes when it is back. Not on the way of any
//! exchange.

use super::Link;
use crate::context::Hub;
use crate::ledger::{Appended, Ledger, ReadFor};
use prost::Message as _;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_proto::request::Request;

/// How often all links are looked at: the delay within which a member sees what was done in its name.
const PUSH_EVERY: Duration = Duration::from_millis(200);
/// An index that was just given is durable within a batch; looked at again so often.
const DURABLE_EVERY: Duration = Duration::from_millis(5);
/// An adapter that does not take a batch in this time ends its link.
const TAKE_WAIT: Duration = Duration::from_secs(30);
/// Entries and bytes of one batch: well under what a link's message may hold.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 2 << 20;
/// Where too much is read at once, a batch is tried again after so long: a few turns of those that wait.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// The own entry of a member before this one, plus one; none where the entry is none of the member's.
pub fn previous(entry: &pb::Entry, member: &MemberId) -> Option<u64> {
    match entry.kind.as_ref()? {
        Kind::CaseStatement(case) => Some(case.previous_of_member),
        Kind::Exchange(exchange) => {
            let signed = SignedStatement::parse(exchange.request.clone()).ok()?;
            let request = Request::parse(signed.unverified_payload()).ok()?;
            if request.consumer == *member {
                Some(exchange.previous_of_consumer)
            } else {
                (request.provider == *member).then_some(exchange.previous_of_provider)
            }
        }
        _ => None,
    }
}

/// A member's own entries from an index on, oldest first; `newest` is the newest one plus one. None once the link is
/// closed.
async fn own_since(
    hub: &Arc<Hub>,
    link: &Link,
    newest: u64,
    own_next: u64,
) -> Option<Result<Vec<u64>, Code>> {
    let member = link.member();
    if let Some(indexes) = hub.ledger.views().recent_of(member, own_next, newest) {
        return Some(Ok(indexes));
    }
    let chain = hub.chains.of(member);
    let mut chain = tokio::select! {
        biased;
        () = link.closed.cancelled() => return None,
        chain = chain.lock_owned() => chain,
    };
    loop {
        let (walker, walked) = (Arc::clone(hub), member.clone());
        let go = hub.ledger.off_runtime(move || {
            let found = chain.follow(newest, own_next, &|at| before(&walker, &walked, at));
            (chain, found)
        });
        let Some((followed, found)) = go.await else { return Some(Err(Code::Internal)) };
        chain = followed;
        hub.chains.holds(member, chain.held());
        if let Some(found) = found.transpose() {
            return Some(found);
        }
        if link.closed.is_cancelled() || hub.stop.is_cancelled() {
            return None;
        }
    }
}

/// The own entry of a member before this one, both plus one.
fn before(hub: &Hub, member: &MemberId, at: u64) -> Result<u64, Code> {
    let bytes = hub.ledger.reader().read(at.saturating_sub(1)).map_err(|_| Code::Internal)?;
    let entry = pb::Entry::decode(bytes).map_err(|_| Code::Internal)?;
    previous(&entry, member).ok_or(Code::Internal)
}

/// How far a link was given its member's entries.
#[derive(Debug, Default)]
pub(super) struct Own {
    next: AtomicU64,
    more: Notify,
}

impl Own {
    /// The index up to which entries were given.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

/// Wakes the links whose members have entries that were not given to them. One look at all: a timer for each would cost
/// a city of a thousand quiet departments more than its exchanges.
pub async fn watch(hub: Arc<Hub>) {
    while hub.stop.run_until_cancelled(tokio::time::sleep(PUSH_EVERY)).await.is_some() {
        let mut following = hub.links.following.lock().unwrap_or_else(PoisonError::into_inner);
        following.retain(|link| {
            let Some(link) = link.upgrade().filter(|link| !link.closed.is_cancelled()) else { return false };
            if hub.ledger.views().previous_of(link.member()) > link.own.next() {
                link.own.more.notify_one();
            }
            true
        });
    }
}

/// Follows the ledger for one link until it ends.
pub(super) async fn push_own(hub: Arc<Hub>, link: Arc<Link>, welcomed: u64) {
    let mut taken = link.side.taken();
    let mut own_next = *taken.borrow_and_update();
    let mut shown = welcomed;
    link.own.next.store(own_next, Ordering::Relaxed);
    hub.links.following.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&link));
    loop {
        tokio::select! {
            biased;
            () = link.closed.cancelled() => return,
            () = hub.stop.cancelled() => return,
            () = link.own.more.notified() => {}
        }
        let newest = hub.ledger.views().previous_of(link.member());
        // One that changes its link keeps what it has in hand first: no more is put on top of that.
        if newest <= own_next || hub.switches.no_receipts || link.leaving.is_said() {
            continue;
        }
        // Views change before the entry is durable; it is within moments, or the process ends.
        while hub.ledger.checkpoint().size < newest && !link.closed.is_cancelled() {
            tokio::time::sleep(DURABLE_EVERY).await;
        }
        let indexes = match own_since(&hub, &link, newest, own_next).await {
            None => return,
            Some(Ok(indexes)) => indexes,
            Some(Err(code)) => {
                tracing::error!(member = %link.member, %code, "a member's entries cannot be followed; its link is closed");
                // Its next one begins where its adapter is: without its own entries an adapter stops.
                link.close();
                return;
            }
        };
        let mut rest = indexes.as_slice();
        while let Some(last) = push(&hub, &link, &mut rest, &mut shown).await {
            let wait = taken.wait_for(|next| *next > last);
            let taken_now = tokio::select! {
                biased;
                () = link.closed.cancelled() => return,
                waited = tokio::time::timeout(TAKE_WAIT, wait) => waited.is_ok_and(|next| next.is_ok()),
            };
            if !taken_now {
                tracing::warn!(member = %link.member, "an adapter does not take its own entries; its link is closed");
                link.close();
                return;
            }
            own_next = last + 1;
            link.own.next.store(own_next, Ordering::Relaxed);
            if link.leaving.is_said() {
                break;
            }
        }
        if own_next >= newest {
            hub.chains.give_up(link.member());
        }
    }
}

/// Sends the next batch; the index of its last entry, none at the end or once the link is closed.
async fn push(hub: &Hub, link: &Arc<Link>, rest: &mut &[u64], shown: &mut u64) -> Option<u64> {
    if rest.is_empty() {
        return None;
    }
    let read = link.closed.run_until_cancelled(batch(hub, link, rest, *shown)).await?;
    let Batch { frame, size, last, count } = match read {
        Ok(batch) => batch?,
        Err(code) => {
            tracing::error!(member = %link.member, %code, "a member's entries cannot be read");
            link.close();
            return None;
        }
    };
    *rest = rest.get(count..).unwrap_or_default();
    *shown = size;
    let frame = pb::HubFrame { kind: Some(ToAdapter::OwnEntries(frame)) };
    if link.frames.try_send(frame).is_err() {
        // A link that is behind is closed: its next one begins where its adapter is.
        link.close();
        return None;
    }
    Some(last)
}

/// What is sent at once, the size of its head, its last entry, and how many it has.
struct Batch {
    frame: pb::OwnEntries,
    size: u64,
    last: u64,
    count: usize,
}

/// Reads the next batch off the runtime, in turn with other links: an adapter that was away for long has thousands.
async fn batch(hub: &Hub, link: &Arc<Link>, rest: &[u64], shown: u64) -> Result<Option<Batch>, Code> {
    let next: Arc<[u64]> = rest.iter().take(BATCH_ENTRIES).copied().collect();
    loop {
        let (link, next) = (Arc::clone(link), Arc::clone(&next));
        let read = move |ledger: &Ledger| read_batch(ledger, &link, &next, shown);
        match hub.ledger.reading(ReadFor::Entries, read).await {
            Err(Code::Overloaded) => tokio::time::sleep(READ_AGAIN).await,
            read => return read,
        }
    }
}

fn read_batch(ledger: &Ledger, link: &Link, next: &[u64], shown: u64) -> Result<Option<Batch>, Code> {
    let head = ledger.checkpoint();
    let (mut entries, mut heads, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for index in next {
        let proved = match link.side.take_receipt(*index).filter(|size| *size <= head.size) {
            Some(size) => {
                heads.insert(size);
                pb::LinkReceipt { index: *index, ..pb::LinkReceipt::default() }
            }
            None => whole(ledger.receipt_under(*index, &head)?),
        };
        bytes += proved.entry.len();
        entries.push(proved);
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(None) };
    let growth_from = |from_size| -> Result<pb::HeadGrowth, Code> {
        Ok(pb::HeadGrowth { from_size, proof: ledger.consistency(from_size, head.size)? })
    };
    let receipt_heads = heads.into_iter().map(growth_from).collect::<Result<_, _>>()?;
    // From nothing everything grows; such a proof is empty.
    let growth = if shown == 0 { Vec::new() } else { ledger.consistency(shown, head.size)? };
    let count = entries.len();
    let frame = pb::OwnEntries { checkpoint: head.note, from_size: shown, growth, entries, receipt_heads };
    Ok(Some(Batch { frame, size: head.size, last, count }))
}

fn whole(entry: Appended) -> pb::LinkReceipt {
    pb::LinkReceipt { exchange: 0, index: entry.index, entry: entry.entry, proof: entry.proof }
}
