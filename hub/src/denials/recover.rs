//! What a crash left: statements that are durable and under no entry's root.

use super::keeper::{Heap, Place};
use crate::ledger::store::EntryReader;
use crate::limits::LOOK_BACK_MAX;
use std::collections::{BTreeMap, HashMap};
use yiwang_journal::Reader;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::folded::{Record, Said, key_of};
use yiwang_proto::merkle::Hash;

/// Statements that no entry counts.
pub(super) struct Leftover {
    pub heaps: BTreeMap<Place, Heap>,
    /// Records below this index are all under entries.
    pub below: u64,
}

/// Holds the journal's records since the last hint against the ledger's entries since the oldest of their minutes.
/// Entries take statements of their kind and minute in the journal's order, so what they leave over is the end.
pub(super) fn leftover(reader: &Reader, ledger: &dyn EntryReader) -> Result<Leftover, String> {
    let below = hint(reader)?;
    let mut kept: BTreeMap<Place, Vec<(u64, Hash)>> = BTreeMap::new();
    for item in reader.scan(below) {
        let (at, bytes, _) = item.map_err(|error| error.to_string())?;
        let said = Record::read(&bytes).map_err(|error| format!("record {at}: {error}"))?;
        let Said::Denied(denied) = said else { continue };
        let statement = denied.open().map_err(|error| format!("record {at}: {error}"))?;
        kept.entry((statement.minute_ms, statement.key)).or_default().push((at, denied.leaf()));
    }
    let mut counted = HashMap::new();
    if let Some(((oldest_ms, _), _)) = kept.first_key_value() {
        counted = counts_since(ledger, *oldest_ms)?;
    }
    let mut heaps = BTreeMap::new();
    for (place, records) in kept {
        let entered = counted.get(&place).copied().unwrap_or_default();
        let (held, skip) = (records.len(), usize::try_from(entered).unwrap_or(usize::MAX));
        if skip > held {
            tracing::error!(
                consumer = place.1.consumer.as_str(),
                code = place.1.code.as_str(),
                entered,
                held,
                "the journal of folded denials lacks statements that the ledger counts: it is an old copy"
            );
        }
        let mut heap = Heap::default();
        for (at, leaf) in records.into_iter().skip(skip) {
            heap.add(at, leaf);
        }
        if heap.tree.size() > 0 {
            heaps.insert(place, heap);
        }
    }
    Ok(Leftover { heaps, below })
}

/// Where the newest hint says to begin.
fn hint(reader: &Reader) -> Result<u64, String> {
    for item in reader.scan_back(reader.len()) {
        let (at, bytes, _) = item.map_err(|error| error.to_string())?;
        if let Said::FoldedBelow(below) =
            Record::read(&bytes).map_err(|error| format!("record {at}: {error}"))?
        {
            return Ok(below.min(reader.len()));
        }
    }
    Ok(reader.first())
}

/// Statements under entries of minutes from this one on. An entry is never older than its minute.
fn counts_since(ledger: &dyn EntryReader, oldest_ms: i64) -> Result<HashMap<Place, u64>, String> {
    let mut counted: HashMap<Place, u64> = HashMap::new();
    let mut seen = 0_u64;
    ledger
        .scan_back(&mut |_, bytes| {
            seen += 1;
            let Ok(entry) = entry::decode(&bytes) else { return false };
            if let Some(Kind::Folded(raw)) = &entry.kind
                && let Some((key, minute_ms)) = key_of(raw)
            {
                *counted.entry((minute_ms, key)).or_default() += raw.count;
            }
            entry.time_ms >= oldest_ms && seen < LOOK_BACK_MAX
        })
        .map_err(|error| error.to_string())?;
    Ok(counted)
}
