//! Group commit: one thread owns the journal; what waits is written as one batch with one sync.

use super::draft::{Draft, Wanted, Written, write_out};
use super::record::RecordError;
use bytes::Bytes;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use yiwang_journal::ground::{Ground, Worker, Workers};
use yiwang_journal::{AppendError, Gather, Journal, OpenError, Options, ReadError, Reader, UnderWay};
use yiwang_proto::envelope::SignedStatement;

/// Jobs that may wait: more than the exchanges that run at once, so that only a stuck disk fills it.
const QUEUE: usize = 1024;
/// Jobs in one batch: above this a longer batch no longer saves time per record.
const BATCH_JOBS: usize = 256;
/// Bytes of one batch in the journal's file.
pub(super) const BATCH_BYTES_MAX: u64 = 2 << 20;
/// Bytes at which a batch is closed: one more job still fits below [`BATCH_BYTES_MAX`].
const BATCH_BYTES_WANTED: usize = 1 << 20;
/// Records that nobody waited for to the end, until they are fetched: more than a few links at their fullest.
const GIVEN_UP_MAX: usize = 4096;

/// Why something is not in the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened.
    #[error("journal: {0}")]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error("journal: {0}")]
    Read(#[from] ReadError),
    /// A record is not what an adapter writes.
    #[error("journal: record {index}: {source}; was this folder written by a newer adapter?")]
    Record {
        /// The record's index.
        index: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The writing thread could not be started.
    #[error("journal: its thread does not start: {0}")]
    Thread(std::io::Error),
    /// No space; it goes on by itself when there is some.
    #[error("journal: the disk is full: free some space, the adapter then goes on by itself")]
    Full,
    /// A write failed: nothing is accepted until the adapter is started again.
    #[error("journal: a write failed, nothing more is accepted; start the adapter again")]
    Dead,
}

impl JournalError {
    /// Whether what is around the journal is at fault, not what stands in it: another program has it, or the disk.
    #[must_use]
    pub const fn is_environment(&self) -> bool {
        matches!(
            self,
            Self::Open(OpenError::Locked { .. } | OpenError::Io { .. } | OpenError::NoSpace(_))
                | Self::Thread(_)
                | Self::Full
                | Self::Dead
        )
    }
}

struct Job {
    // None asks only whether there is space.
    wanted: Option<Wanted>,
    done: oneshot::Sender<Outcome>,
}

/// What became of a job; none for one that asked only.
type Outcome = Result<Option<Written>, JournalError>;

/// The open journal. Dropping it waits for the write that is under way.
#[derive(Debug)]
pub struct AnswerJournal {
    queue: Option<mpsc::Sender<Job>>,
    worker: Option<Worker>,
    state: Arc<State>,
    gather: Gather,
}

#[derive(Debug, Default)]
struct State {
    full: AtomicBool,
    dead: AtomicBool,
    given_up: Mutex<Vec<Bytes>>,
}

impl State {
    fn leave(&self, record: Bytes) {
        let mut left = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < GIVEN_UP_MAX {
            left.push(record);
        } else {
            tracing::warn!(
                "too many records that nobody waits for: the next start finds them in the journal"
            );
        }
    }
}

/// A record that was handed in and may not be durable yet.
#[derive(Debug)]
pub(crate) struct HandedIn(oneshot::Receiver<Outcome>);

impl HandedIn {
    /// Waits until it is durable.
    pub(crate) async fn outcome(self) -> Result<(), JournalError> {
        self.0.await.unwrap_or(Err(JournalError::Dead)).map(drop)
    }
}

/// Whoever waits for a record. One that gives up leaves it to others, should it come to stand in the journal.
struct Waiting<'a> {
    outcome: oneshot::Receiver<Outcome>,
    state: &'a State,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Closed first: an outcome is either here by now, or its sender finds nobody.
        self.outcome.close();
        if let Ok(Ok(Some(written))) = self.outcome.try_recv() {
            self.state.leave(written.record);
        }
    }
}

impl AnswerJournal {
    /// Opens or makes a journal and lets `read` see its durable records; then writes what `first` gives,
    /// before anything else. Another process that has it open may end within `patience`.
    pub(crate) fn open(
        ground: Ground,
        dir: &Path,
        mut options: Options,
        patience: Duration,
        read: impl FnOnce(&Reader) -> Result<(), JournalError>,
        first: impl FnOnce() -> Option<Bytes>,
    ) -> Result<Self, JournalError> {
        options.background = ground.workers.may_block();
        // The floor protects records under a signed head; an adapter signs none over its own journal.
        let open = || Journal::open_with(Arc::clone(&ground.disk), dir, options.clone(), 0);
        // Where nothing may block nobody else can end meanwhile.
        let patience = if options.background { patience } else { Duration::ZERO };
        let (mut journal, _) = once_free(patience, open)?;
        read(&journal.reader())?;
        if let Some(record) = first() {
            journal.append(&[record]).map_err(|error| match error {
                AppendError::NoSpace(_) => JournalError::Full,
                _ => JournalError::Dead,
            })?;
        }
        Self::start(journal, ground.workers)
    }

    fn start(journal: Journal, workers: Workers) -> Result<Self, JournalError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let state = Arc::new(State::default());
        let (of_thread, gather) = (Arc::clone(&state), Gather::default());
        let gathering = gather.clone();
        let writing = async move { write(journal, jobs, &of_thread, &gathering).await };
        let worker = workers.start("adapter-journal", writing).map_err(JournalError::Thread)?;
        Ok(Self { queue: Some(queue), worker: Some(worker), state, gather })
    }

    /// Whether an answer that is made now could be recorded. Costs nothing unless the disk was full.
    ///
    /// # Errors
    /// [`JournalError::Full`] or [`JournalError::Dead`].
    pub async fn ready(&self) -> Result<(), JournalError> {
        if self.is_dead() {
            return Err(JournalError::Dead);
        }
        if self.state.full.load(Ordering::Acquire) {
            return self.submit(None).await.map(drop);
        }
        Ok(())
    }

    /// An exchange began that will end in a record: under load a batch waits a little for more of them.
    pub fn begin(&self) -> UnderWay {
        self.gather.begin()
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// [`JournalError::Full`]: it is not there. [`JournalError::Dead`]: nobody knows; nothing that rests on
    /// it may be released.
    pub async fn append(&self, record: Bytes) -> Result<(), JournalError> {
        self.submit(Some(Wanted::Record(record))).await.map(drop)
    }

    /// Signs an answer together with the others of its batch, and makes its record durable.
    ///
    /// # Errors
    /// As [`AnswerJournal::append`].
    pub(crate) async fn append_answer(&self, draft: Draft) -> Result<SignedStatement, JournalError> {
        let written = self.submit(Some(Wanted::Answer(draft))).await?;
        written.and_then(|written| written.answer).ok_or(JournalError::Dead)
    }

    /// Gives a record its place without a wait, for whoever holds a lock: what is handed in after this comes behind it.
    /// None where the journal takes nothing at once, because its disk is stuck or its thread is gone.
    pub(crate) fn hand_in(&self, record: Bytes) -> Option<HandedIn> {
        let (done, outcome) = oneshot::channel();
        self.queue.as_ref()?.try_send(Job { wanted: Some(Wanted::Record(record)), done }).ok()?;
        Some(HandedIn(outcome))
    }

    /// Whether a write failed, so that only a new start helps.
    pub fn is_dead(&self) -> bool {
        self.state.dead.load(Ordering::Acquire)
    }

    /// Whether the disk was full at the last attempt.
    pub fn is_full(&self) -> bool {
        self.state.full.load(Ordering::Acquire)
    }

    async fn submit(&self, wanted: Option<Wanted>) -> Outcome {
        let Some(queue) = &self.queue else { return Err(JournalError::Dead) };
        let (done, outcome) = oneshot::channel();
        let mut waiting = Waiting { outcome, state: &self.state };
        // A closed queue means that the thread is gone.
        queue.send(Job { wanted, done }).await.map_err(|_| JournalError::Dead)?;
        (&mut waiting.outcome).await.unwrap_or(Err(JournalError::Dead))
    }

    /// Records that are durable and whose callers were cancelled meanwhile; each is given once.
    pub(crate) fn given_up(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.state.given_up.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How often it is looked whether a journal is free: a hundredth of what an upgrade takes.
const FREE_EVERY: Duration = Duration::from_millis(20);

/// Opens a journal that another process may still have: the one that this one replaces, which ends what it began.
fn once_free<T>(mut patience: Duration, open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let mut told = false;
    loop {
        match open() {
            Err(OpenError::Locked { dir, holder }) if !patience.is_zero() => {
                if !told {
                    tracing::info!(journal = %dir.display(), holder, "another process has the journal: waiting for its end");
                }
                told = true;
                std::thread::sleep(FREE_EVERY);
                patience = patience.saturating_sub(FREE_EVERY);
            }
            opened => return opened,
        }
    }
}

impl Drop for AnswerJournal {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(worker) = self.worker.take() {
            // A panic of the thread was reported by the panic hook; there is nothing left to save.
            let _ = worker.join();
        }
    }
}

async fn write(mut journal: Journal, mut jobs: mpsc::Receiver<Job>, state: &State, gather: &Gather) {
    let mut waiting = Vec::with_capacity(BATCH_JOBS);
    let mut records: Vec<Bytes> = Vec::with_capacity(BATCH_JOBS);
    while let Some(first) = jobs.recv().await {
        gather.wait(|| jobs.len() + 1);
        let (mut bytes, mut batch) = (0, Vec::new());
        let mut next = Some(first);
        while let Some(Job { wanted, done }) = next {
            bytes += wanted.as_ref().map_or(0, Wanted::size);
            batch.push(wanted);
            waiting.push(done);
            let full = batch.len() >= BATCH_JOBS || bytes >= BATCH_BYTES_WANTED;
            next = if full { None } else { jobs.try_recv().ok() };
        }
        let written = write_out(batch);
        records.extend(written.iter().flatten().map(|written| written.record.clone()));
        let outcome =
            if records.is_empty() { journal.can_append() } else { journal.append(&records).map(|_| ()) };
        records.clear();
        note(state, outcome.as_ref().err());
        for (done, written) in waiting.drain(..).zip(written) {
            let answer = match &outcome {
                Ok(()) => Ok(written),
                Err(AppendError::NoSpace(_)) => Err(JournalError::Full),
                Err(_) => Err(JournalError::Dead),
            };
            // A caller that was cancelled no longer waits; its record stands nevertheless.
            if let Err(Ok(Some(written))) = done.send(answer) {
                state.leave(written.record);
            }
        }
    }
}

fn note(state: &State, error: Option<&AppendError>) {
    match error {
        None => {
            if state.full.swap(false, Ordering::AcqRel) {
                tracing::info!("the adapter's journal has space again");
            }
        }
        Some(error @ AppendError::NoSpace(_)) => {
            if !state.full.swap(true, Ordering::AcqRel) {
                tracing::error!(%error, "the adapter's journal is full; no source is asked");
            }
        }
        Some(error) => {
            // Too large cannot be: statements have limits. Whatever it is, an answer would go unrecorded.
            if !state.dead.swap(true, Ordering::AcqRel) {
                tracing::error!(%error, "the adapter's journal failed; nothing is answered any more");
            }
        }
    }
}
