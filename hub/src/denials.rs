//! Denials by the hub itself, so that no flood of them fills the ledger. The first ones of an app, code and minute are
//! entries; of the rest the ledger gets the count and the Merkle root when the minute is over, and their statements go
//! into a journal of the hub's own (`ledger/folded/`).
//!
//! Order: a folded denial is durable in that journal before it is answered, as an entry would be; its minute's entry
//! comes later. A crash in between loses nothing: a start finds what no entry counts yet (`recover`) and enters it. So
//! each denial that was answered is under exactly one entry, and a minute may have more than one of these entries.
//!
//! Where the journal may not grow (its limit, or a full disk), a denial stays one: it is counted in the minute's entry as
//! not kept, in the metrics, and said in the log.

mod counts;
mod enter;
mod keeper;
mod recover;
mod shares;

pub use enter::{enter_all, run};
pub use keeper::{Keeping, OpenDenialsError};

use crate::context::Hub;
use crate::exchange::Refusal;
use crate::exchange::accept::Accepted;
use crate::exchange::record;
use crate::limits::{FOLDED_KEPT_MIB, FOLDED_KEPT_MIB_MAX, FOLDED_LEAVE_FREE_MIB};
use counts::Counts;
use keeper::{Keeper, Taken};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use yiwang_journal::Reader;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::folded::{Denied, Key, Record, Said, Statement, minute_of};
use yiwang_proto::pb;

/// What may be kept; `[denials]` of `hub.toml` may set another limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenialLimits {
    /// Mebibytes of folded statements, to within one segment file.
    pub kept_mib: u64,
    /// Mebibytes of the disk that are left to the ledger: while fewer are free no more are kept. Two of its segments with
    /// their tiles are left in any case.
    pub leave_free_mib: u64,
}

impl Default for DenialLimits {
    fn default() -> Self {
        Self { kept_mib: FOLDED_KEPT_MIB, leave_free_mib: FOLDED_LEAVE_FREE_MIB }
    }
}

impl DenialLimits {
    /// What is wrong with it.
    pub fn fault(&self) -> Option<String> {
        let named = [("kept_mib", self.kept_mib), ("leave_free_mib", self.leave_free_mib)];
        let over = named.into_iter().find(|(_, mib)| !(1..=FOLDED_KEPT_MIB_MAX).contains(mib));
        over.map(|(name, _)| format!("`{name}` is 1 to {FOLDED_KEPT_MIB_MAX}"))
    }
}

/// The counters of the running minute, and the way to the journal.
pub struct Denials {
    counts: Mutex<Counts>,
    keeper: Keeper,
    /// Held while entries are handed in: the minute's task and a stop would both enter what is due.
    entering: tokio::sync::Mutex<()>,
}

impl Denials {
    /// With the journal that was opened.
    pub fn new(keeping: Keeping) -> Self {
        Self { counts: Mutex::default(), keeper: keeping.keeper, entering: tokio::sync::Mutex::default() }
    }

    /// Counts a denial that a start finds in the ledger.
    pub fn restore(&self, key: Key, time_ms: i64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        drop(counts.turn(key, minute_of(time_ms)));
    }

    /// Denials that were kept, and that could not be, since the start.
    pub fn kept(&self) -> (u64, u64) {
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.keeper.told.kept), load(&self.keeper.told.unkept))
    }

    /// The journal's records; none before the first one.
    pub fn reader(&self) -> Option<Reader> {
        self.keeper.told.reader.get().cloned()
    }

    /// Ends the journal's thread and lets go of its files.
    pub async fn close(&self) {
        self.keeper.close().await;
    }

    /// Shows kept denials from the newest back, until the visitor says stop.
    pub fn look_back(&self, visit: &mut dyn FnMut(Statement) -> bool) -> Result<(), String> {
        let Some(reader) = self.reader() else { return Ok(()) };
        for item in reader.scan_back(reader.len()) {
            let (at, bytes, _) = item.map_err(|error| error.to_string())?;
            let said = Record::read(&bytes).map_err(|error| format!("record {at}: {error}"))?;
            let Said::Denied(denied) = said else { continue };
            let statement = denied.open().map_err(|error| format!("record {at}: {error}"))?;
            if !visit(statement) {
                break;
            }
        }
        Ok(())
    }
}

/// What a denial is counted with.
fn key_of(accepted: &Accepted, code: Code) -> Key {
    let request = &accepted.request;
    if accepted.verbatim.load(Ordering::Relaxed) {
        Key { consumer: request.consumer.clone(), app: Some(request.app.clone()), code }
    } else {
        // Who it was is not proved: only the connection's member is known.
        Key { consumer: accepted.peer.clone(), app: None, code }
    }
}

/// Takes a denial out of the ledger's way if enough of its kind are entries in this minute: true when it is kept
/// beside, or could not be kept and is counted for its minute's entry. Where nobody counts it, it becomes an entry.
pub async fn folds(hub: &Hub, accepted: &Accepted, refusal: &Refusal) -> bool {
    let key = key_of(accepted, refusal.code);
    let by_app = key.app.is_some();
    let time_ms = hub.ledger.now_ms();
    let turn = {
        let mut counts = hub.denials.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.turn(key, minute_of(time_ms))
    };
    let Some(key) = turn else { return false };
    let with_member = by_app && key.app.is_none();
    let exchange = record::denied_entry(hub, accepted, refusal);
    let entry = pb::Entry { time_ms, kind: Some(Kind::Exchange(exchange)) };
    // A statement has its limit, and so has the entry around it.
    let Ok(entry) = entry::encode(&entry) else { return false };
    let denied = Denied { entry, with_member };
    match hub.denials.keeper.keep(key, minute_of(time_ms), denied).await {
        Taken::Kept => hub.meters.folded(refusal.code),
        Taken::Counted => hub.meters.unrecorded(refusal.code),
        // Then it is an entry like any other, or refused as the ledger refuses.
        Taken::Not => return false,
    }
    true
}
