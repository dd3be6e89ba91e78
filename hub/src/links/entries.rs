//! Handing each member's own entries to its adapter: all of them, in order, under heads that grow from one
//! another. What the adapter misses, because it was away, comes when it is back. Not on the way of any
//! exchange.

use super::Link;
use crate::context::Hub;
use crate::ledger::Appended;
use crate::ledger::publish::SignedHead;
use prost::Message as _;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_proto::request::Request;

/// How often a link is looked at: the delay within which a member sees what was done in its name.
const PUSH_EVERY: Duration = Duration::from_millis(200);
/// An index that was just given is durable within a batch; looked at again so often.
const DURABLE_EVERY: Duration = Duration::from_millis(5);
/// An adapter that does not take a batch in this time ends its link.
const TAKE_WAIT: Duration = Duration::from_secs(30);
/// Entries and bytes of one batch: well under what a link's message may hold.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 2 << 20;
/// Entries that are looked up at once for an adapter that was away: as many as a start of the hub looks back.
const WALK_MAX: usize = 5_000_000;

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

/// A member's own entries from an index on, oldest first; `newest` is the newest one plus one. Reads each of
/// them once where they are not remembered: blocks on the disk.
fn own_since(hub: &Hub, member: &MemberId, newest: u64, own_next: u64) -> Result<Vec<u64>, Code> {
    if let Some(indexes) = hub.ledger.views().recent_of(member, own_next, newest) {
        return Ok(indexes);
    }
    let mut indexes = Vec::new();
    let mut at = newest;
    while at > own_next && indexes.len() < WALK_MAX {
        let index = at - 1;
        let bytes = hub.ledger.reader().read(index).map_err(|_| Code::Internal)?;
        indexes.push(index);
        let entry = pb::Entry::decode(bytes).map_err(|_| Code::Internal)?;
        at = match previous(&entry, member) {
            // An entry names an earlier one; anything else would lead in a circle.
            Some(before) if before < at => before,
            _ => return Err(Code::Internal),
        };
    }
    indexes.reverse();
    Ok(indexes)
}

/// Follows the ledger for one link until it ends.
pub(super) async fn push_own(hub: Arc<Hub>, link: Arc<Link>, welcomed: u64) {
    let mut taken = link.side.taken();
    let mut own_next = *taken.borrow_and_update();
    let mut shown = welcomed;
    loop {
        tokio::select! {
            biased;
            () = link.closed.cancelled() => return,
            () = hub.stop.cancelled() => return,
            () = tokio::time::sleep(PUSH_EVERY) => {}
        }
        let newest = hub.ledger.views().previous_of(link.member());
        if newest <= own_next || hub.switches.no_receipts {
            continue;
        }
        // Views change before the entry is durable; it is within moments, or the process ends.
        while hub.ledger.checkpoint().size < newest && !link.closed.is_cancelled() {
            tokio::time::sleep(DURABLE_EVERY).await;
        }
        let (walker, walked) = (Arc::clone(&hub), link.member().clone());
        let walk = hub.ledger.off_runtime(move || own_since(&walker, &walked, newest, own_next));
        let indexes = match walk.await.unwrap_or(Err(Code::Internal)) {
            Ok(indexes) => indexes,
            Err(code) => {
                tracing::error!(member = %link.member, %code, "a member's entries cannot be followed");
                return;
            }
        };
        let mut rest = indexes.as_slice();
        while let Some(last) = push(&hub, &link, &mut rest, &mut shown) {
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
        }
    }
}

/// Sends the next batch; the index of its last entry, none at the end.
fn push(hub: &Hub, link: &Link, rest: &mut &[u64], shown: &mut u64) -> Option<u64> {
    let head = hub.ledger.checkpoint();
    let (batch, last, count) = match batch(hub, link, rest, *shown, &head) {
        Ok(batch) => batch?,
        Err(code) => {
            tracing::error!(member = %link.member, %code, "a member's entries cannot be read");
            link.close();
            return None;
        }
    };
    *rest = rest.get(count..).unwrap_or_default();
    *shown = head.size;
    let frame = pb::HubFrame { kind: Some(ToAdapter::OwnEntries(batch)) };
    if link.frames.try_send(frame).is_err() {
        // A link that is behind is closed: its next one begins where its adapter is.
        link.close();
        return None;
    }
    Some(last)
}

type Batch = (pb::OwnEntries, u64, usize);

fn batch(hub: &Hub, link: &Link, rest: &[u64], shown: u64, head: &SignedHead) -> Result<Option<Batch>, Code> {
    let (mut entries, mut heads, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for index in rest.iter().take(BATCH_ENTRIES) {
        let proved = match link.side.take_receipt(*index).filter(|size| *size <= head.size) {
            Some(size) => {
                heads.insert(size);
                pb::LinkReceipt { index: *index, ..pb::LinkReceipt::default() }
            }
            None => whole(hub.ledger.receipt_under(*index, head)?),
        };
        bytes += proved.entry.len();
        entries.push(proved);
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(None) };
    let growth_from = |from_size| -> Result<pb::HeadGrowth, Code> {
        Ok(pb::HeadGrowth { from_size, proof: hub.ledger.consistency(from_size, head.size)? })
    };
    let receipt_heads = heads.into_iter().map(growth_from).collect::<Result<_, _>>()?;
    // From nothing everything grows; such a proof is empty.
    let growth = if shown == 0 { Vec::new() } else { hub.ledger.consistency(shown, head.size)? };
    let count = entries.len();
    let checkpoint = head.note.clone();
    let batch = pb::OwnEntries { checkpoint, from_size: shown, growth, entries, receipt_heads };
    Ok(Some((batch, last, count)))
}

fn whole(entry: Appended) -> pb::LinkReceipt {
    pb::LinkReceipt { exchange: 0, index: entry.index, entry: entry.entry, proof: entry.proof }
}
