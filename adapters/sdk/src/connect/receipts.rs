//! Receipts: the hub proves that what was answered stands in the ledger, byte for byte.

use crate::adapter::Adapter;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use yiwang_proto::entry::Kind;
use yiwang_proto::receipt::verify_under;
use yiwang_proto::{Digest, pb, sha256};

/// Answers without receipt that are remembered: some seconds of a full load. Older ones are still in the
/// journal.
const REMEMBERED: usize = 16_384;

/// Answers of this run whose entry was not proved yet, by digest of the request's exact bytes.
#[derive(Debug, Default)]
pub(crate) struct Unreceipted {
    answers: HashMap<Digest, Digest>,
    order: VecDeque<Digest>,
    // Answers that were dropped from memory to make room; they still lack a receipt.
    forgotten: usize,
}

impl Unreceipted {
    /// An answer was journalled and leaves now.
    pub(crate) fn expect(&mut self, request: &Bytes, answer: &Bytes) {
        let key = sha256(request);
        if self.answers.insert(key, sha256(answer)).is_none() {
            self.order.push_back(key);
        }
        while self.answers.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            if self.answers.remove(&oldest).is_some() {
                self.forgotten += 1;
            }
        }
        // Settled answers leave their key in the order; it is swept before it can grow without bound.
        if self.order.len() > 2 * REMEMBERED {
            let answers = &self.answers;
            self.order.retain(|key| answers.contains_key(key));
        }
    }

    /// Whether an entry holds exactly a remembered request and its answer; it is forgotten then.
    fn settle(&mut self, entry: &pb::ExchangeEntry) -> bool {
        let key = if entry.request.is_empty() {
            // The hub keeps no request whose signature was not good, only its digest.
            let Ok(digest) = Digest::try_from(entry.request_digest.as_ref()) else { return false };
            digest
        } else {
            sha256(&entry.request)
        };
        if self.answers.get(&key).is_some_and(|answer| *answer == sha256(&entry.answer)) {
            self.answers.remove(&key);
            return true;
        }
        false
    }

    /// Answers without receipt.
    pub(crate) fn len(&self) -> usize {
        self.answers.len() + self.forgotten
    }
}

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
        let settled = match verified.map(|verified| verified.entry.kind) {
            Ok(Some(Kind::Exchange(entry))) => adapter.unreceipted().settle(&entry),
            _ => false,
        };
        if settled {
            counters.receipted();
        } else {
            counters.bad_receipt();
            tracing::warn!(index = receipt.index, "a receipt does not prove what was answered here");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(request: &Bytes, answer: &Bytes) -> pb::ExchangeEntry {
        pb::ExchangeEntry { request: request.clone(), answer: answer.clone(), ..Default::default() }
    }

    #[test]
    fn only_the_exact_bytes_settle_an_answer() {
        let (request, answer, other) =
            (Bytes::from_static(b"request"), Bytes::from_static(b"answer"), Bytes::from_static(b"other"));
        let mut open = Unreceipted::default();
        open.expect(&request, &answer);
        assert!(!open.settle(&entry(&request, &other)));
        assert!(!open.settle(&entry(&other, &answer)));
        assert!(!open.settle(&entry(&request, &Bytes::new())));
        assert_eq!(open.len(), 1);
        assert!(open.settle(&entry(&request, &answer)));
        assert!(!open.settle(&entry(&request, &answer)), "once");
        assert_eq!(open.len(), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_count_stays_true() {
        let mut open = Unreceipted::default();
        let answer = Bytes::from_static(b"a");
        for n in 0..(3 * REMEMBERED) {
            open.expect(&Bytes::from(n.to_le_bytes().to_vec()), &answer);
        }
        assert_eq!(open.len(), 3 * REMEMBERED);
        assert!(open.answers.len() <= REMEMBERED && open.order.len() <= 2 * REMEMBERED + 1);
    }
}
