//! The entries of minutes that are over.

use super::keeper::Fold;
use crate::context::Hub;
use crate::ledger::{Draft, Linear};
use crate::limits::{FOLDS_AT_ONCE, FOLDS_EVERY};
use bytes::Bytes;
use futures_util::future::join_all;
use std::sync::Arc;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::folded::minute_of;
use yiwang_proto::pb;

struct FoldDraft {
    entry: pb::FoldedEntry,
}

impl Draft for FoldDraft {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Folded(self.entry))
    }
}

fn draft(fold: &Fold) -> Box<FoldDraft> {
    let ((minute_ms, key), heap) = (&fold.place, &fold.heap);
    let count = heap.tree.size();
    let root = if count == 0 { Bytes::new() } else { Bytes::copy_from_slice(&heap.tree.root()) };
    let entry = pb::FoldedEntry {
        consumer: key.consumer.as_str().to_owned(),
        app: key.app.as_ref().map(|app| app.as_str().to_owned()).unwrap_or_default(),
        code: key.code.as_str().to_owned(),
        minute_ms: *minute_ms,
        count,
        root,
        unkept: heap.unkept,
    };
    Box::new(FoldDraft { entry })
}

/// Enters what is due; true when nothing is left. What the ledger does not take now stays due.
async fn enter(hub: &Hub, running_ms: Option<i64>) -> bool {
    let due = hub.denials.keeper.due(running_ms).await;
    for part in due.chunks(FOLDS_AT_ONCE) {
        let done = join_all(part.iter().map(|fold| hub.ledger.append(draft(fold)))).await;
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
        enter(&hub, Some(minute_of(hub.ledger.now_ms()))).await;
        if hub.stop.run_until_cancelled(tokio::time::sleep(FOLDS_EVERY)).await.is_none() {
            return;
        }
    }
}
