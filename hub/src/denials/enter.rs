//! The entries of minutes that are over.

use super::keeper::Fold;
use crate::context::Hub;
use crate::ledger::store::EntryReader;
use crate::ledger::{Draft, Linear};
use crate::limits::{FOLDS_AFTER_START, FOLDS_AT_ONCE, FOLDS_EVERY};
use bytes::Bytes;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::folded::minute_of;
use yiwang_proto::pb;

struct FoldDraft {
    entry: pb::FoldedEntry,
    handed: Arc<AtomicU64>,
}

impl Draft for FoldDraft {
    fn finish(self: Box<Self>, at: &Linear<'_>) -> Result<Kind, Code> {
        // A draft that somebody gave up waiting for may still come here: only the first one becomes an entry.
        match self.handed.compare_exchange(0, at.index + 1, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(Kind::Folded(self.entry)),
            Err(_) => Err(Code::Internal),
        }
    }
}

fn entry_of(fold: &Fold) -> pb::FoldedEntry {
    let ((minute_ms, key), heap) = (&fold.place, &fold.heap);
    let count = heap.tree.size();
    let root = if count == 0 { Bytes::new() } else { Bytes::copy_from_slice(&heap.tree.root()) };
    pb::FoldedEntry {
        consumer: key.consumer.as_str().to_owned(),
        app: key.app.as_ref().map(|app| app.as_str().to_owned()).unwrap_or_default(),
        code: key.code.as_str().to_owned(),
        minute_ms: *minute_ms,
        count,
        root,
        unkept: heap.unkept,
    }
}

/// Whether the ledger has it. What got an index and is not there was not appended, and may be handed in again; while
/// its index is ahead of the ledger's end nobody knows.
fn stands(ledger: &dyn EntryReader, fold: &Fold, entry: &pb::FoldedEntry) -> Result<bool, Code> {
    let Some(index) = fold.handed.load(Ordering::SeqCst).checked_sub(1) else { return Ok(false) };
    if index >= ledger.len() {
        return Err(Code::Internal);
    }
    let bytes = ledger.read(index).map_err(|_| Code::Internal)?;
    let kind = entry::decode(&bytes).map_err(|_| Code::Internal)?.kind;
    let there = matches!(kind, Some(Kind::Folded(other)) if other == *entry);
    if !there {
        fold.handed.store(0, Ordering::SeqCst);
    }
    Ok(there)
}

async fn enter_one(hub: &Hub, fold: &Fold) -> Result<(), Code> {
    let (entry, ledger) = (entry_of(fold), hub.ledger.reader().as_ref());
    if stands(ledger, fold, &entry)? {
        return Ok(());
    }
    let draft = FoldDraft { entry: entry.clone(), handed: Arc::clone(&fold.handed) };
    match hub.ledger.append(Box::new(draft)).await {
        Ok(_) => Ok(()),
        // An error can come after the entry is durable.
        Err(code) => stands(ledger, fold, &entry)?.then_some(()).ok_or(code),
    }
}

/// Folds that may be under way at once: of each minute and key one, in the order in which they were made. Entries take
/// statements in the journal's order, so the next one of a key waits until the one before stands.
fn rounds(due: Vec<Fold>) -> Vec<Vec<Fold>> {
    let (mut rounds, mut of_place): (Vec<Vec<Fold>>, _) = (Vec::new(), HashMap::new());
    for fold in due {
        let nth: &mut usize = of_place.entry(fold.place.clone()).or_default();
        match rounds.get_mut(*nth) {
            Some(round) => round.push(fold),
            None => rounds.push(vec![fold]),
        }
        *nth += 1;
    }
    rounds
}

/// Enters what is due; true when nothing is left. What the ledger does not take now stays due.
async fn enter(hub: &Hub, running_ms: Option<i64>) -> bool {
    let _alone = hub.denials.entering.lock().await;
    let rounds = rounds(hub.denials.keeper.due(running_ms).await);
    for part in rounds.iter().flat_map(|round| round.chunks(FOLDS_AT_ONCE)) {
        let done = join_all(part.iter().map(|fold| enter_one(hub, fold))).await;
        let entered = part.iter().zip(&done).filter(|(_, done)| done.is_ok());
        let numbers: Vec<u64> = entered.map(|(fold, _)| fold.number).collect();
        if !numbers.is_empty() {
            hub.denials.keeper.entered(numbers).await;
        }
        if let Some(Err(code)) = done.into_iter().find(Result::is_err) {
            tracing::info!(%code, "folded denials wait for their entries");
            return false;
        }
    }
    true
}

/// Enters all that is kept, the running minute's too: for a stop.
pub async fn enter_all(hub: &Hub) {
    if !enter(hub, None).await {
        tracing::warn!("some folded denials have no entry yet: the next start enters them");
    }
}

/// Enters minutes as they end, what a crash left first.
pub async fn run(hub: Arc<Hub>) {
    loop {
        let appends = hub.ledger.appends();
        if appends {
            enter(&hub, Some(minute_of(hub.ledger.now_ms()))).await;
        }
        let pause = if appends { FOLDS_EVERY } else { FOLDS_AFTER_START };
        if hub.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denials::keeper::Heap;
    use crate::denials::recover::tests::{Entries, key};

    fn fold(number: u64, minute_ms: i64) -> Fold {
        let mut heap = Heap::default();
        heap.add(number, [number as u8; 32]);
        Fold { number, place: (minute_ms, key()), heap, handed: Arc::default() }
    }

    #[test]
    fn of_one_minute_and_key_the_next_waits_for_the_one_before() {
        let due = vec![fold(0, 0), fold(1, 60_000), fold(2, 0), fold(3, 0), fold(4, 60_000)];
        let numbers: Vec<Vec<u64>> =
            rounds(due).iter().map(|round| round.iter().map(|fold| fold.number).collect()).collect();
        assert_eq!(numbers, [vec![0, 1], vec![2, 4], vec![3]]);
    }

    #[test]
    fn what_got_an_index_is_not_handed_in_again_before_the_ledger_was_looked_at() {
        let fold = fold(7, 60_000);
        let entry = entry_of(&fold);
        let mut ledger = Entries::default();
        assert_eq!(stands(&ledger, &fold, &entry), Ok(false), "never handed in");
        let copy = fold.clone();
        copy.handed.store(2, Ordering::SeqCst);
        ledger.push(1, Kind::Lookup(pb::LookupEntry::default()));
        assert_eq!(stands(&ledger, &fold, &entry), Err(Code::Internal), "nobody knows yet");
        ledger.push(120_000, Kind::Folded(entry.clone()));
        assert_eq!(stands(&ledger, &fold, &entry), Ok(true), "it is durable, whatever was answered");
        fold.handed.store(1, Ordering::SeqCst);
        assert_eq!(stands(&ledger, &fold, &entry), Ok(false), "another entry has its index");
        assert_eq!(copy.handed.load(Ordering::SeqCst), 0, "it may be handed in again");
    }
}
