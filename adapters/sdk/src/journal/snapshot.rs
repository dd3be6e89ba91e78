//! What the journal says, put down in one place from time to time, so that a start reads from there on and
//! not the adapter's whole life.
//!
//! A snapshot is taken of the memory, cut into parts that fit records, and written like any other records;
//! others may come between its parts. It counts only if all its parts are there. INVARIANT: whatever a
//! record says is in the memory before the record is written, or the record comes after the first part; the
//! exceptions (heads, contract versions, what is watched) are read again from the records shortly before it.
//! So the first part gets its place before the lock on the memory is given back: an exchange that is admitted
//! right after it would else be in neither, and its id would be new once more after the next start.

use super::memory::{HeldHead, Memory, MemoryError, Pinned};
use super::record::{Counted, Kind, Pair, Record, SnapshotPart, StandingSeen, TicketUsed, UsedId};
use super::writer::JournalError;
use crate::adapter::Adapter;
use crate::watch::Offer;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use yiwang_journal::Reader;
use yiwang_policies::rates::{Counter, CounterOf};
use yiwang_proto::ambient::random;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::ids::{AppId, ContractId, Officer};
use yiwang_proto::request::Head;

/// Pairs in one part: each has some 42 bytes, and a record takes 33 KiB.
const PAIRS_PER_PART: usize = 600;
/// Other things in one part: a counter has at most 180 bytes.
const PER_PART: usize = 150;
/// Parts that are handed in at once: some of each batch of the journal, not all of it.
const AT_ONCE: usize = 32;
/// Records before a snapshot among which heads and versions are looked for that were not yet in memory when
/// it was taken: more than may wait for the disk at once.
const BEFORE: u64 = 4096;

/// What the adapter watches, beside its memory.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The checkpoint that it cosigned last, a signed note; empty if none.
    pub(crate) witnessed: Bytes,
    /// How far the own member's entries are held.
    pub(crate) own_next: u64,
    /// Answers without receipt, oldest first.
    pub(crate) owed: Vec<Offer>,
    /// The highest standing of each root.
    pub(crate) standings: Vec<StandingSeen>,
    /// Revocations under roots, exact bytes.
    pub(crate) revocations: Vec<Bytes>,
}

/// Cuts a memory into the records of a snapshot.
fn records(memory: &Memory, watched: &Watched, id: u64, time_ms: i64) -> Vec<Bytes> {
    let mut pairs = memory.subjects.pairs().peekable();
    let mut ids = memory.replay.ids().peekable();
    let mut counters = memory.rates.counters().peekable();
    let mut versions = memory.seen().peekable();
    let mut tickets = memory.ticket_uses.counted().peekable();
    let mut parts = vec![SnapshotPart {
        checkpoint: memory.head.checkpoint.clone(),
        witnessed: watched.witnessed.clone(),
        own_next: watched.own_next,
        ..SnapshotPart::default()
    }];
    // One to a part: two statements at their limits fill a record.
    parts.extend(watched.owed.iter().map(|offer| SnapshotPart {
        owed_request: offer.request.clone(),
        owed_answer: offer.answer.clone(),
        ..SnapshotPart::default()
    }));
    parts.extend(
        watched
            .standings
            .chunks(PER_PART)
            .map(|some| SnapshotPart { standings: some.to_vec(), ..SnapshotPart::default() }),
    );
    parts.extend(
        watched
            .revocations
            .iter()
            .map(|document| SnapshotPart { revocation: document.clone(), ..SnapshotPart::default() }),
    );
    while pairs.peek().is_some()
        || ids.peek().is_some()
        || counters.peek().is_some()
        || versions.peek().is_some()
        || tickets.peek().is_some()
    {
        let mut part = SnapshotPart::default();
        part.pairs.extend(pairs.by_ref().take(PAIRS_PER_PART).map(|(key, tag, day)| Pair {
            key: Bytes::copy_from_slice(&key),
            tag: Bytes::copy_from_slice(&tag),
            day,
        }));
        if part.pairs.is_empty() {
            part.ids.extend(
                ids.by_ref()
                    .take(PER_PART)
                    .map(|(bucket, key)| UsedId { bucket, key: Bytes::copy_from_slice(&key) }),
            );
        }
        if part.pairs.is_empty() && part.ids.is_empty() {
            part.contracts.extend(versions.by_ref().take(PER_PART));
        }
        if part.pairs.is_empty() && part.ids.is_empty() && part.contracts.is_empty() {
            part.counters.extend(counters.by_ref().take(PER_PART).map(counted));
        }
        if part == SnapshotPart::default() {
            part.tickets.extend(tickets.by_ref().take(PER_PART).map(|(ticket, uses, last_ms)| TicketUsed {
                ticket: Bytes::copy_from_slice(ticket),
                uses,
                last_ms,
            }));
        }
        parts.push(part);
    }
    let all = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (0..all)
        .zip(parts)
        .map(|(number, part)| {
            let part = SnapshotPart { id, number, all, ..part };
            Record::new(time_ms, Kind::Snapshot(part)).encode()
        })
        .collect()
}

impl Adapter {
    /// Puts down in one place what the journal says, if enough was written since the last time: a start
    /// then reads from there on, and not the adapter's whole life. Tags that nobody used for a month are
    /// forgotten. Yields whether it did; [`crate::connect::run_link`] calls it every minute.
    ///
    /// # Errors
    /// [`JournalError`]: there is no new snapshot; the one before still counts.
    pub async fn keep_snapshot(self: &Arc<Self>) -> Result<bool, JournalError> {
        let written = self.records.load(Ordering::Relaxed);
        // The more a snapshot holds, the rarer it is, so that it costs little beside what it spares.
        let holds = (self.memory().subjects.len() / PAIRS_PER_PART) as u64;
        if written < self.limits().snapshot_records.saturating_add(holds.saturating_mul(100)) {
            return Ok(false);
        }
        let adapter = Arc::clone(self);
        let (id, now_ms) = (u64::from_le_bytes(random(self.entropy())), self.now_ms());
        let taking = tokio::task::spawn_blocking(move || {
            let (standings, revocations) = adapter.standings.kept();
            let watched = Watched { standings, revocations, ..adapter.watch.snapshot() };
            let mut memory = adapter.memory();
            memory.subjects.forget(now_ms);
            let mut parts = records(&memory, &watched, id, now_ms).into_iter();
            // INVARIANT: under the lock; see the head of this file.
            let first = parts.next().and_then(|first| adapter.journal.hand_in(first));
            (first, parts.collect::<Vec<_>>())
        });
        let (first, parts) = taking.await.map_err(|_| JournalError::Dead)?;
        let Some(first) = first else { return Ok(false) };
        self.records.fetch_sub(written, Ordering::Relaxed);
        first.outcome().await?;
        for parts in parts.chunks(AT_ONCE) {
            let writing = parts.iter().map(|part| self.journal.append(part.clone()));
            for written in futures_util::future::join_all(writing).await {
                written?;
            }
        }
        Ok(true)
    }
}

fn counted(counter: Counter) -> Counted {
    let (app, officer) = match counter.of {
        CounterOf::App(app) => (app.as_str().to_owned(), String::new()),
        CounterOf::Officer(officer) => (String::new(), officer.as_str().to_owned()),
    };
    Counted {
        contract: counter.contract.as_str().to_owned(),
        app,
        officer,
        daily: counter.daily,
        window: counter.window,
        count: counter.count,
    }
}

/// Reads a journal into a memory, from its newest whole snapshot on; yields how many records that took.
pub(crate) fn read(
    reader: &Reader,
    memory: &mut Memory,
    now_ms: i64,
    ledger: &CheckpointVerifier,
) -> Result<Result<u64, MemoryError>, JournalError> {
    let found = newest(reader)?;
    let (from, mut count) = found.as_ref().map_or((0, 0), |found| (found.first, found.looked));
    if let Some(found) = found {
        let mut parts = found.parts;
        // Answers without receipt come back in the order in which they left.
        parts.sort_by_key(|part| part.number);
        for part in parts {
            if let Err(error) = restore(memory, &part, found.first, found.time_ms, ledger) {
                return Ok(Err(error));
            }
        }
    }
    for item in reader.scan(from.saturating_sub(BEFORE)) {
        let (index, data, _) = item?;
        let record = Record::decode(data).map_err(|source| JournalError::Record { index, source })?;
        count += 1;
        let taken = if index < from {
            memory.load_late(index, &record, ledger)
        } else {
            memory.load(index, &record, now_ms, ledger)
        };
        if let Err(error) = taken {
            return Ok(Err(error));
        }
    }
    memory.subjects.forget(now_ms);
    Ok(Ok(count))
}

struct Found {
    parts: Vec<SnapshotPart>,
    /// The index of its first part.
    first: u64,
    time_ms: i64,
    /// Records that were read to find it.
    looked: u64,
}

/// The newest snapshot of which every part is there.
fn newest(reader: &Reader) -> Result<Option<Found>, JournalError> {
    // By id: the parts so far. A snapshot whose writing was cut off stays incomplete.
    let mut begun: HashMap<u64, Vec<SnapshotPart>> = HashMap::new();
    for (looked, item) in (1..).zip(reader.scan_back(reader.len())) {
        let (index, data, _) = item?;
        let record = Record::decode(data).map_err(|source| JournalError::Record { index, source })?;
        let Some(Kind::Snapshot(part)) = record.kind else { continue };
        let (id, all) = (part.id, part.all);
        let parts = begun.entry(id).or_default();
        if !parts.iter().any(|known| known.number == part.number) {
            parts.push(part);
        }
        if parts.len() as u64 == u64::from(all) {
            let parts = begun.remove(&id).unwrap_or_default();
            return Ok(Some(Found { parts, first: index, time_ms: record.time_ms, looked }));
        }
    }
    Ok(None)
}

fn restore(
    memory: &mut Memory,
    part: &SnapshotPart,
    index: u64,
    time_ms: i64,
    ledger: &CheckpointVerifier,
) -> Result<(), MemoryError> {
    let bad = || MemoryError::Value(index);
    memory.highest_ms = time_ms;
    if !part.checkpoint.is_empty() {
        let checkpoint = ledger
            .open(&part.checkpoint)
            .map_err(|error| MemoryError::Head { index, fault: error.to_string() })?;
        let head = Head { size: checkpoint.size, root: checkpoint.root };
        memory.head = HeldHead { head, checkpoint: part.checkpoint.clone() };
    }
    if !part.witnessed.is_empty() {
        memory.restore_witnessed(index, &part.witnessed, ledger)?;
    }
    memory.own_next = memory.own_next.max(part.own_next);
    memory.owed.forget(time_ms);
    if !part.owed_request.is_empty() {
        memory.owed.load_open(&part.owed_request, &part.owed_answer, time_ms);
    }
    for pair in &part.pairs {
        let half = |bytes: &Bytes| <[u8; 16]>::try_from(bytes.as_ref()).map_err(|_| bad());
        memory.subjects.restore(half(&pair.key)?, half(&pair.tag)?, pair.day);
    }
    for used in &part.ids {
        memory.replay.restore(used.bucket, used.key.as_ref().try_into().map_err(|_| bad())?);
    }
    for seen in &part.contracts {
        let id = ContractId::parse(&seen.contract).map_err(|_| bad())?;
        let digest = seen.digest.as_ref().try_into().map_err(|_| bad())?;
        memory.see(&id, seen.version, &digest, Pinned::of(seen, bad)?);
    }
    for seen in &part.standings {
        memory.restore_standing(index, seen)?;
    }
    if !part.revocation.is_empty() {
        memory.restore_revocation(index, &part.revocation)?;
    }
    for used in &part.tickets {
        let ticket = used.ticket.as_ref().try_into().map_err(|_| bad())?;
        memory.ticket_uses.restore(&ticket, used.uses, used.last_ms);
    }
    for counted in &part.counters {
        let of = if counted.officer.is_empty() {
            CounterOf::App(AppId::parse(&counted.app).map_err(|_| bad())?)
        } else {
            CounterOf::Officer(Officer::parse(&counted.officer).map_err(|_| bad())?)
        };
        memory.rates.restore(Counter {
            contract: ContractId::parse(&counted.contract).map_err(|_| bad())?,
            of,
            daily: counted.daily,
            window: counted.window,
            count: counted.count,
        });
    }
    Ok(())
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
