//! Receipts: the hub proves that what was answered stands in the ledger, byte for byte. A head that it signs may be one
//! for this receipt alone, so an answer is settled when its entry comes among the own member's, under the one history.

use crate::adapter::Adapter;
use crate::material::MaterialSource;
use crate::watch::{AnswerKey, Awaited, Awaiting, Owing};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::merkle::Hash;
use yiwang_proto::pb;
use yiwang_proto::receipt::verify_under;
use yiwang_proto::request::Head;

/// Answers of the journal whose entries had their place before the adapter started: they do not come again, and are
/// settled once their receipts' head is proved.
pub(super) struct Unproved {
    head: Head,
    checkpoint: bytes::Bytes,
    answers: Vec<AnswerKey>,
}

/// Checks a batch: the checkpoint once, then each entry under it. Yields what is left to prove.
pub(super) fn take_batch(adapter: &Adapter, batch: &pb::ReceiptBatch) -> Option<Unproved> {
    let counters = adapter.counters();
    let checkpoint = match adapter.ledger().open(&batch.checkpoint) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            counters.bad_receipt();
            tracing::error!(%error, "receipts under a checkpoint that does not hold");
            return None;
        }
    };
    let known = adapter.head().head;
    if checkpoint.size == known.size && checkpoint.root != known.root {
        counters.alarm();
        tracing::error!(
            size = known.size,
            "two histories of the ledger: a receipt is proved under another one"
        );
        return None;
    }
    let head = Head { size: checkpoint.size, root: checkpoint.root };
    let mut answers = Vec::new();
    for receipt in &batch.receipts {
        let verified = verify_under(receipt.index, &receipt.entry, &receipt.proof, &checkpoint);
        match verified.map(|verified| (verified.entry.kind, verified.leaf)) {
            Ok((Some(Kind::Exchange(entry)), leaf)) => {
                answers.extend(take(adapter, receipt.index, &entry, leaf, head));
            }
            _ => wrong(adapter, receipt.index),
        }
    }
    let left = !answers.is_empty();
    left.then(|| Unproved { head, checkpoint: batch.checkpoint.clone(), answers })
}

fn wrong(adapter: &Adapter, index: u64) {
    adapter.counters().bad_receipt();
    tracing::warn!(index, "a receipt does not prove what was answered here");
}

fn alarm(adapter: &Adapter, index: u64, what: &str) {
    adapter.counters().alarm();
    tracing::error!(index, "{what}");
}

/// Takes a receipt of an entry; yields the answer where only its head can settle it.
fn take(
    adapter: &Adapter,
    index: u64,
    entry: &pb::ExchangeEntry,
    leaf: Hash,
    head: Head,
) -> Option<AnswerKey> {
    // Both locks at once: an own entry that comes now finds the answer settled or awaited, never in between.
    let mut owed = adapter.watch.owed();
    let (answer, of_this_process, open) = match owed.owing(entry) {
        Owing::Open(answer, of_this_process) => (answer, of_this_process, true),
        // The hub sends their entries whole.
        Owing::Done
            if [Code::ReceiptsOwed, Code::LedgerFull].iter().any(|code| code.as_str() == entry.code) =>
        {
            return None;
        }
        // Its entry may come without bytes all the same, after this.
        Owing::Done => (AnswerKey::of(&entry.request, &entry.answer), false, false),
        Owing::Nothing => {
            wrong(adapter, index);
            return None;
        }
    };
    let mut follow = adapter.watch.follow();
    if index < follow.own_next() {
        if of_this_process {
            alarm(adapter, index, "a receipt proves an entry that the own member's entries passed over");
            return None;
        }
        return open.then_some(answer);
    }
    let proved = Awaited { leaf, names_before: entry.previous_of_provider, head, answer };
    match follow.await_entry(index, proved) {
        Awaiting::Noted if !open => {}
        Awaiting::Noted => {
            owed.receipt(&answer);
            adapter.counters().receipted(adapter.clock().monotonic_us());
        }
        Awaiting::Broken(gap) => {
            adapter.counters().alarm();
            tracing::error!(index, ?gap, "two receipts prove two entries at one place");
        }
        // It is offered again, and its receipt comes again.
        Awaiting::Full => {}
    }
    None
}

/// Settles what a head that lies on the one history proves. What nobody shows now is offered again later.
pub(super) async fn prove(adapter: &Adapter, unproved: Unproved, material: &dyn MaterialSource) {
    let Unproved { head, checkpoint, answers } = unproved;
    let own = adapter.head().head;
    match adapter.belongs(&own, &head, material).await {
        Ok(Ok(())) => {
            for answer in answers {
                if adapter.watch.owed().settle_known(&answer) {
                    adapter.counters().receipted(adapter.clock().monotonic_us());
                }
            }
        }
        Ok(Err(proof)) => {
            let what = "the head of a receipt is not on the history that this adapter knows";
            adapter.keep_heads(what, &checkpoint, &proof);
        }
        Err(error) => {
            tracing::warn!(%error, "a receipt's head could not be proved; its answer is offered again")
        }
    }
}
