//! Receipts: the hub proves that what was answered stands in the ledger, byte for byte.

use crate::adapter::Adapter;
use crate::watch::Awaited;
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;
use yiwang_proto::receipt::verify_under;
use yiwang_proto::request::Head;

/// Checks a batch: the checkpoint once, then each entry under it.
pub(super) fn take_batch(adapter: &Adapter, batch: &pb::ReceiptBatch) {
    let counters = adapter.counters();
    let checkpoint = match adapter.ledger().open(&batch.checkpoint) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            counters.bad_receipt();
            tracing::error!(%error, "receipts under a checkpoint that does not hold");
            return;
        }
    };
    let known = adapter.head().head;
    if checkpoint.size == known.size && checkpoint.root != known.root {
        counters.alarm();
        tracing::error!(
            size = known.size,
            "two histories of the ledger: a receipt is proved under another one"
        );
        return;
    }
    for receipt in &batch.receipts {
        let verified = verify_under(receipt.index, &receipt.entry, &receipt.proof, &checkpoint);
        let settled = match verified.map(|verified| (verified.entry.kind, verified.leaf)) {
            Ok((Some(Kind::Exchange(entry)), leaf)) => {
                let mut owed = adapter.watch.owed();
                let settled = owed.settle(&entry);
                // An answer that was offered gets its receipt twice where its entry came first, and one that asks for none
                // gets it all the same.
                if !settled && owed.was_settled(&entry) {
                    continue;
                }
                drop(owed);
                if settled {
                    let head = Head { size: checkpoint.size, root: checkpoint.root };
                    let names_before = entry.previous_of_provider;
                    let proved = Awaited { leaf, names_before, head };
                    let gap = adapter.watch.follow().await_entry(receipt.index, proved);
                    if let Some(gap) = gap {
                        counters.alarm();
                        tracing::error!(
                            index = receipt.index,
                            ?gap,
                            "two receipts prove two entries at one place"
                        );
                    }
                }
                settled
            }
            _ => false,
        };
        if settled {
            counters.receipted(adapter.clock().monotonic_us());
        } else {
            counters.bad_receipt();
            tracing::warn!(index = receipt.index, "a receipt does not prove what was answered here");
        }
    }
}
