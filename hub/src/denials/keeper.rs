//! The thread that owns the journal of folded denials, and the counts and roots of what no entry holds yet.

use super::DenialLimits;
use super::recover::{self, Leftover};
use super::shares::{Shares, disk_lacks_room, least_free};
use crate::ledger::store::EntryReader;
use crate::limits::{DENIALS_BATCH, DENIALS_BATCH_BYTES, DENIALS_QUEUE, FOLDED_SEGMENT_BYTES};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};
use yiwang_journal::disk::Disk;
use yiwang_journal::ground::Ground;
use yiwang_journal::segment::RECORD_HEADER_BYTES;
use yiwang_journal::{AppendError, Journal, Options, Reader};
use yiwang_proto::folded::{Denied, Key, RECORD_MAX, Record, Said};
use yiwang_proto::merkle::{Frontier, Hash};

/// Why the journal does not open.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal of folded denials `{path}`: {detail}; restore it from a copy, or move it away: the verifier then names \
     the denials whose statements are missing"
)]
pub struct OpenDenialsError {
    /// Its folder.
    pub path: PathBuf,
    /// Why.
    pub detail: String,
}

/// One minute's denials of one kind.
pub(super) type Place = (i64, Key);

/// What comes together for one entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Heap {
    /// Leaves: the statements that are kept.
    pub tree: Frontier,
    /// Denials whose statements are not.
    pub unkept: u64,
    /// The first record that counts here.
    pub first: u64,
}

impl Heap {
    pub fn add(&mut self, at: u64, leaf: Hash) {
        if self.tree.size() == 0 {
            self.first = at;
        }
        self.tree.push(leaf);
    }
}

/// A heap that takes no more, with a number of its own.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    pub number: u64,
    pub place: Place,
    pub heap: Heap,
    /// The index that an entry of it got plus one; 0 while none did. All copies share it.
    pub handed: Arc<AtomicU64>,
}

enum Message {
    Keep(Place, Denied, oneshot::Sender<bool>),
    /// All heaps but those of a minute take no more; yields what is to be entered.
    Due(Option<i64>, oneshot::Sender<Vec<Fold>>),
    /// These folds are entries.
    Entered(Vec<u64>),
    Stop(oneshot::Sender<()>),
}

/// What became of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Durable, to be counted by its minute's entry.
    Kept,
    /// To be counted by its minute's entry as not kept.
    Counted,
    /// Nobody counts it: the queue is full, or the thread has ended.
    Not,
}

/// What others may see.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub kept: AtomicU64,
    pub unkept: AtomicU64,
    pub reader: OnceLock<Reader>,
}

/// The way to the thread.
pub(super) struct Keeper {
    queue: mpsc::Sender<Message>,
    pub told: Arc<Told>,
}

/// An opened journal whose thread runs.
pub struct Keeping {
    pub(super) keeper: Keeper,
}

impl Keeping {
    /// Opens the journal, if there is one, finds what no entry of the ledger counts, and starts the thread. `failed`
    /// is called if it ends by a fault: as with the ledger's own segments, what a failed sync left is unknown.
    pub fn open(
        dir: &Path,
        (limits, segment_bytes, salt): (DenialLimits, u64, u64),
        ground: &Ground,
        ledger: &dyn EntryReader,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, OpenDenialsError> {
        let fault = |detail: String| OpenDenialsError { path: dir.to_owned(), detail };
        let options = Options {
            segment_bytes: segment_bytes.min(FOLDED_SEGMENT_BYTES),
            max_record: RECORD_MAX,
            max_batch: 2 * DENIALS_BATCH_BYTES,
            salt,
            background: ground.workers.may_block(),
            ..Options::default()
        };
        let told = Arc::<Told>::default();
        let mut thread = Thread {
            dir: dir.to_owned(),
            disk: Arc::clone(&ground.disk),
            options,
            journal: None,
            limit: limits.kept_mib.saturating_mul(1 << 20),
            used: 0,
            shares: Shares::of(limits.kept_mib.saturating_mul(1 << 20)),
            least_free: least_free(limits.leave_free_mib.saturating_mul(1 << 20), segment_bytes),
            is_full: false,
            open: BTreeMap::new(),
            due: Vec::new(),
            next_number: 0,
            entered_below: 0,
            told: Arc::clone(&told),
        };
        if dir.exists() {
            thread.open_journal().map_err(fault)?;
            let reader = told.reader.get().ok_or_else(|| fault("it was not opened".to_owned()))?;
            let Leftover { heaps, below } = recover::leftover(reader, ledger).map_err(fault)?;
            let shares = &mut thread.shares;
            recover::members(reader, &mut |member, bytes| shares.add(member, size_of(bytes)))
                .map_err(fault)?;
            (thread.open, thread.entered_below) = (heaps, below);
        }
        let (queue, messages) = mpsc::channel(DENIALS_QUEUE);
        let run = async move {
            if let Err(error) = thread.run(messages).await {
                failed(error);
            }
        };
        let spawned = ground.workers.start("denials-journal", run);
        spawned.map_err(|error| fault(error.to_string()))?;
        Ok(Self { keeper: Keeper { queue, told } })
    }
}

impl Keeper {
    /// Takes one denial, and says what became of it.
    pub async fn keep(&self, key: Key, minute_ms: i64, denied: Denied) -> Taken {
        let (reply, kept) = oneshot::channel();
        if self.queue.try_send(Message::Keep((minute_ms, key), denied, reply)).is_err() {
            return Taken::Not;
        }
        match kept.await {
            Ok(true) => {
                self.told.kept.fetch_add(1, Ordering::Relaxed);
                Taken::Kept
            }
            Ok(false) => {
                self.told.unkept.fetch_add(1, Ordering::Relaxed);
                Taken::Counted
            }
            // The thread ended by a fault. What it had written may be there twice then; that is less than not at all.
            Err(_) => Taken::Not,
        }
    }

    /// What is to be entered now; all of it without a minute that still runs.
    pub async fn due(&self, running_ms: Option<i64>) -> Vec<Fold> {
        let (reply, due) = oneshot::channel();
        if self.queue.send(Message::Due(running_ms, reply)).await.is_err() {
            return Vec::new();
        }
        due.await.unwrap_or_default()
    }

    /// Says what became entries.
    pub async fn entered(&self, numbers: Vec<u64>) {
        // A thread that failed has said so; a start finds these entries in the ledger.
        let _ = self.queue.send(Message::Entered(numbers)).await;
    }

    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Stop(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

struct Thread {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    options: Options,
    /// None before the first denial is folded: most hubs never need the space.
    journal: Option<Journal>,
    limit: u64,
    used: u64,
    shares: Shares,
    least_free: u64,
    is_full: bool,
    open: BTreeMap<Place, Heap>,
    due: Vec<Fold>,
    next_number: u64,
    entered_below: u64,
    told: Arc<Told>,
}

type Waiting = (Place, Denied, oneshot::Sender<bool>);

impl Thread {
    fn open_journal(&mut self) -> Result<(), String> {
        let (journal, recovery) =
            Journal::open_with(Arc::clone(&self.disk), &self.dir, self.options.clone(), 0)
                .map_err(|error| error.to_string())?;
        if let Some(torn) = &recovery.torn {
            tracing::warn!(?torn, "cut a torn batch of folded denials that were never answered");
        }
        let files = std::fs::read_dir(&self.dir).map_err(|error| error.to_string())?;
        let segments = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "seg"));
        self.used = segments.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
        let _ = self.told.reader.set(journal.reader());
        self.journal = Some(journal);
        Ok(())
    }

    /// Runs until it is told to stop. An error means that nobody knows what the disk holds.
    async fn run(mut self, mut queue: mpsc::Receiver<Message>) -> Result<(), String> {
        while let Some(message) = queue.recv().await {
            let (mut batch, mut bytes, mut next) = (Vec::new(), 0, Some(message));
            let mut other = None;
            while let Some(message) = next.take() {
                let Message::Keep(place, denied, reply) = message else {
                    other = Some(message);
                    break;
                };
                bytes += size_of(denied.entry.len());
                batch.push((place, denied, reply));
                if batch.len() < DENIALS_BATCH && bytes < DENIALS_BATCH_BYTES {
                    next = queue.try_recv().ok();
                }
            }
            self.keep(batch)?;
            match other {
                Some(Message::Due(running_ms, reply)) => drop(reply.send(self.take_due(running_ms))),
                Some(Message::Entered(numbers)) => self.entered(&numbers)?,
                Some(Message::Stop(done)) => {
                    drop(self);
                    let _ = done.send(());
                    return Ok(());
                }
                Some(Message::Keep(..)) | None => {}
            }
        }
        Ok(())
    }

    fn keep(&mut self, mut batch: Vec<Waiting>) -> Result<(), String> {
        let shares = &mut self.shares;
        let over = batch.extract_if(.., |(place, denied, _)| {
            !shares.take(&place.1.consumer, size_of(denied.entry.len()))
        });
        for (place, _, reply) in over {
            self.open.entry(place).or_default().unkept += 1;
            let _ = reply.send(false);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let records: Vec<Bytes> =
            batch.iter().map(|(_, denied, _)| Record::of(Said::Denied(denied.clone()))).collect();
        let first = self.append(&records)?;
        for (offset, (place, denied, reply)) in (0..).zip(batch) {
            let member = place.1.consumer.clone();
            let heap = self.open.entry(place).or_default();
            match first {
                Some(first) => heap.add(first + offset, denied.leaf()),
                None => {
                    heap.unkept += 1;
                    self.shares.give_back(&member, size_of(denied.entry.len()));
                }
            }
            // Who gave up waiting is counted all the same.
            let _ = reply.send(first.is_some());
        }
        Ok(())
    }

    /// Appends durably; yields the first record's index, none where there is no room.
    fn append(&mut self, records: &[Bytes]) -> Result<Option<u64>, String> {
        let bytes: u64 = records.iter().map(|record| size_of(record.len())).sum();
        if self.used.saturating_add(bytes) > self.limit {
            self.set_full(true, "their limit (`kept_mib` of `[denials]`) is reached");
            return Ok(None);
        }
        if let Some(free) = disk_lacks_room(&self.dir, self.least_free) {
            let [free, least] = [free, self.least_free].map(|bytes| bytes >> 20);
            let why = format!(
                "the disk has {free} MiB free, and {least} are left to the ledger (two of its segments, or `leave_free_mib` \
                 of `[denials]`): free some space"
            );
            self.set_full(true, &why);
            return Ok(None);
        }
        if self.journal.is_none()
            && let Err(error) = self.open_journal()
        {
            self.set_full(true, &error);
            return Ok(None);
        }
        let Some(journal) = &mut self.journal else { return Ok(None) };
        match journal.append(records) {
            Ok(appended) => {
                self.used = self.used.saturating_add(bytes);
                self.set_full(false, "");
                Ok(Some(appended.first))
            }
            Err(error @ (AppendError::NoSpace(_) | AppendError::TooLarge { .. })) => {
                self.set_full(true, &error.to_string());
                Ok(None)
            }
            Err(error @ AppendError::Fatal(_)) => Err(error.to_string()),
        }
    }

    fn set_full(&mut self, full: bool, why: &str) {
        if std::mem::replace(&mut self.is_full, full) == full {
            return;
        }
        if full {
            tracing::error!(why, "folded denials are not kept: they are counted only, until there is room");
        } else {
            tracing::info!("folded denials are kept again");
        }
    }

    fn take_due(&mut self, running_ms: Option<i64>) -> Vec<Fold> {
        let running = |place: &Place| Some(place.0) == running_ms;
        let (open, due) = std::mem::take(&mut self.open).into_iter().partition(|(place, _)| running(place));
        self.open = open;
        let due: BTreeMap<Place, Heap> = due;
        for (place, heap) in due {
            self.due.push(Fold { number: self.next_number, place, heap, handed: Arc::default() });
            self.next_number += 1;
        }
        self.due.clone()
    }

    /// Drops what is entered, and writes down from which record on a start has to look.
    fn entered(&mut self, numbers: &[u64]) -> Result<(), String> {
        self.due.retain(|fold| !numbers.contains(&fold.number));
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let heaps = self.due.iter().map(|fold| &fold.heap).chain(self.open.values());
        let firsts = heaps.filter(|heap| heap.tree.size() > 0).map(|heap| heap.first);
        let below = firsts.min().unwrap_or_else(|| journal.len());
        if below <= self.entered_below {
            return Ok(());
        }
        match journal.append(&[Record::of(Said::FoldedBelow(below))]) {
            Ok(_) => self.entered_below = below,
            // A start looks at more then.
            Err(AppendError::NoSpace(_) | AppendError::TooLarge { .. }) => {}
            Err(error @ AppendError::Fatal(_)) => return Err(error.to_string()),
        }
        Ok(())
    }
}

/// Bytes of a record in the file, about: header, padding and the few bytes around the entry.
fn size_of(data: usize) -> u64 {
    (data + RECORD_HEADER_BYTES + 16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::codes::Code;
    use yiwang_proto::ids::MemberId;

    #[tokio::test]
    async fn what_the_thread_does_not_take_is_not_said_to_be_counted() {
        let (queue, mut messages) = mpsc::channel(1);
        let keeper = Keeper { queue, told: Arc::default() };
        let key = Key { consumer: MemberId::parse("street-office").unwrap(), app: None, code: Code::NoCase };
        let denied = Denied { entry: Bytes::from_static(b"x"), with_member: false };
        let keep = || keeper.keep(key.clone(), 60_000, denied.clone());
        let first = keep();
        let second = async {
            let full = keep().await;
            let Some(Message::Keep(_, _, reply)) = messages.recv().await else { return None };
            reply.send(false).ok().map(|()| full)
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first, second), (Taken::Counted, Some(Taken::Not)), "the queue was full");
        let dying = async {
            drop(messages.recv().await);
            messages.close();
        };
        let (third, ()) = tokio::join!(keep(), dying);
        assert_eq!((third, keep().await), (Taken::Not, Taken::Not), "the thread ended");
        assert_eq!(keeper.told.unkept.load(Ordering::Relaxed), 1, "who is not taken is not counted");
    }
}
