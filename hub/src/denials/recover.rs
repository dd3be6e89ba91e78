//! What a crash left: statements that are durable and under no entry's root.

use super::keeper::{Heap, Place};
use crate::ledger::store::EntryReader;
use std::collections::{BTreeMap, HashMap};
use yiwang_journal::Reader;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::folded::{Key, Record, Said, key_of};
use yiwang_proto::ids::MemberId;
use yiwang_proto::merkle::Hash;

/// Statements that no entry counts.
pub(super) struct Leftover {
    pub heaps: BTreeMap<Place, Heap>,
    /// Records below this index are all under entries.
    pub below: u64,
}

/// Holds the journal's records against the ledger's entries since the oldest minute of what came after the last hint.
/// Entries take statements of their kind and minute in the journal's order, so what they leave over is the end. Nothing
/// is kept of a statement but what its heap holds.
pub(super) fn leftover(reader: &Reader, ledger: &dyn EntryReader) -> Result<Leftover, String> {
    let below = hint(reader)?;
    let mut oldest_ms = None;
    each(reader, below, &mut |_, denied| {
        let minute_ms = denied.minute_ms;
        oldest_ms = Some(oldest_ms.map_or(minute_ms, |oldest: i64| oldest.min(minute_ms)));
    })?;
    let Some(oldest_ms) = oldest_ms else { return Ok(Leftover { heaps: BTreeMap::new(), below }) };
    let mut counted = counts_since(ledger, oldest_ms)?;
    let mut heaps: BTreeMap<Place, Heap> = BTreeMap::new();
    each(reader, begin(reader, below, oldest_ms)?, &mut |at, denied| {
        let place = (denied.minute_ms, denied.key);
        match counted.get_mut(&place) {
            Some(left) if *left > 0 => *left -= 1,
            _ if at < below => {}
            _ => heaps.entry(place).or_default().add(at, denied.leaf),
        }
    })?;
    for ((minute_ms, key), lacking) in counted {
        if minute_ms >= oldest_ms && lacking > 0 {
            tracing::error!(
                consumer = key.consumer.as_str(),
                code = key.code.as_str(),
                minute_ms,
                lacking,
                "the journal of folded denials lacks statements that the ledger counts: it is an old copy"
            );
        }
    }
    Ok(Leftover { heaps, below })
}

/// What a record's denial is counted with.
struct Counted {
    minute_ms: i64,
    key: Key,
    leaf: Hash,
}

/// Shows whose statements the journal holds, and their bytes. Only once, at a start: it reads the whole journal.
pub(super) fn members(reader: &Reader, add: &mut dyn FnMut(&MemberId, usize)) -> Result<(), String> {
    for item in reader.scan(reader.first()) {
        let (at, bytes, _) = item.map_err(|error| error.to_string())?;
        let said = Record::read(&bytes).map_err(|error| format!("record {at}: {error}"))?;
        let Said::Denied(denied) = said else { continue };
        let statement = denied.open().map_err(|error| format!("record {at}: {error}"))?;
        add(&statement.key.consumer, denied.entry.len());
    }
    Ok(())
}

fn each(reader: &Reader, from: u64, visit: &mut dyn FnMut(u64, Counted)) -> Result<(), String> {
    for item in reader.scan(from) {
        let (at, bytes, _) = item.map_err(|error| error.to_string())?;
        let said = Record::read(&bytes).map_err(|error| format!("record {at}: {error}"))?;
        let Said::Denied(denied) = said else { continue };
        let statement = denied.open().map_err(|error| format!("record {at}: {error}"))?;
        visit(at, Counted { minute_ms: statement.minute_ms, key: statement.key, leaf: denied.leaf() });
    }
    Ok(())
}

/// The first record of a minute or a later one: a stop enters a minute that goes on after the start, so entries of the
/// same minute count records on both sides of a hint.
fn begin(reader: &Reader, below: u64, oldest_ms: i64) -> Result<u64, String> {
    let mut begin = below;
    for item in reader.scan_back(below) {
        let (at, bytes, _) = item.map_err(|error| error.to_string())?;
        let said = Record::read(&bytes).map_err(|error| format!("record {at}: {error}"))?;
        let Said::Denied(denied) = said else { continue };
        if denied.open().map_err(|error| format!("record {at}: {error}"))?.minute_ms < oldest_ms {
            break;
        }
        begin = at;
    }
    Ok(begin)
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

/// Statements under entries of minutes from this one on. An entry is never older than its minute. However many entries
/// that are: one that is not seen would be made a second time.
fn counts_since(ledger: &dyn EntryReader, oldest_ms: i64) -> Result<HashMap<Place, u64>, String> {
    let mut counted: HashMap<Place, u64> = HashMap::new();
    ledger
        .scan_back(&mut |_, bytes| {
            let Ok(entry) = entry::decode(&bytes) else { return false };
            if let Some(Kind::Folded(raw)) = &entry.kind
                && let Some((key, minute_ms)) = key_of(raw)
            {
                *counted.entry((minute_ms, key)).or_default() += raw.count;
            }
            entry.time_ms >= oldest_ms
        })
        .map_err(|error| error.to_string())?;
    Ok(counted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ledger::store::StoreError;
    use bytes::Bytes;
    use yiwang_journal::{Journal, Options};
    use yiwang_proto::codes::Code;
    use yiwang_proto::folded::Denied;
    use yiwang_proto::{Digest, pb};

    const MINUTE: i64 = 60_000_000;

    /// A ledger in memory.
    #[derive(Default)]
    pub struct Entries(Vec<Bytes>);

    impl Entries {
        pub fn push(&mut self, time_ms: i64, kind: Kind) {
            self.0.push(entry::encode(&pb::Entry { time_ms, kind: Some(kind) }).unwrap());
        }

        fn fold(&mut self, minute_ms: i64, count: u64) {
            let raw = pb::FoldedEntry {
                consumer: "street-office".to_owned(),
                code: key().code.as_str().to_owned(),
                minute_ms,
                count,
                root: Bytes::from(vec![1; 32]),
                ..pb::FoldedEntry::default()
            };
            self.push(minute_ms + 1, Kind::Folded(raw));
        }
    }

    impl EntryReader for Entries {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&self, index: u64) -> Result<Bytes, StoreError> {
            Ok(self.0[usize::try_from(index).unwrap()].clone())
        }

        fn scan(&self, _: u64, _: &mut dyn FnMut(u64, Bytes, Digest) -> bool) -> Result<(), StoreError> {
            Ok(())
        }

        fn scan_back(&self, visit: &mut dyn FnMut(u64, Bytes) -> bool) -> Result<(), StoreError> {
            for (index, bytes) in self.0.iter().enumerate().rev() {
                if !visit(index as u64, bytes.clone()) {
                    break;
                }
            }
            Ok(())
        }
    }

    pub fn key() -> Key {
        Key { consumer: MemberId::parse("street-office").unwrap(), app: None, code: Code::SignatureInvalid }
    }

    fn denial(time_ms: i64) -> Bytes {
        let mut exchange = pb::ExchangeEntry {
            peer: "street-office".to_owned(),
            request_digest: Bytes::from(vec![7; 32]),
            code: key().code.as_str().to_owned(),
            ..pb::ExchangeEntry::default()
        };
        exchange.set_outcome(pb::Outcome::Denied);
        let entry = entry::encode(&pb::Entry { time_ms, kind: Some(Kind::Exchange(exchange)) }).unwrap();
        Record::of(Said::Denied(Denied { entry, with_member: false }))
    }

    fn journal(dir: &std::path::Path) -> Journal {
        Journal::open(dir, Options { segment_bytes: 16 << 20, ..Options::default() }, 0).unwrap().0
    }

    #[test]
    fn a_minute_that_a_stop_entered_and_a_start_went_on_with_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, mut ledger) = (journal(dir.path()), Entries::default());
        journal.append(&[denial(MINUTE - 60_000), denial(MINUTE), denial(MINUTE + 1)]).unwrap();
        ledger.fold(MINUTE - 60_000, 1);
        ledger.fold(MINUTE, 2);
        journal.append(&[Record::of(Said::FoldedBelow(3))]).unwrap();
        assert!(leftover(&journal.reader(), &ledger).unwrap().heaps.is_empty());
        // The same minute goes on; then a crash.
        journal.append(&[denial(MINUTE + 2), denial(MINUTE + 3), denial(MINUTE + 60_000)]).unwrap();
        let left = |ledger: &Entries| -> Vec<(i64, u64, u64)> {
            let heaps = leftover(&journal.reader(), ledger).unwrap().heaps;
            heaps.iter().map(|(place, heap)| (place.0, heap.tree.size(), heap.first)).collect()
        };
        assert_eq!(left(&ledger), [(MINUTE, 2, 4), (MINUTE + 60_000, 1, 6)]);
        // Entered, and the crash came before the hint.
        ledger.fold(MINUTE, 2);
        assert_eq!(left(&ledger), [(MINUTE + 60_000, 1, 6)]);
        ledger.fold(MINUTE + 60_000, 1);
        assert_eq!(left(&ledger), []);
    }
}
