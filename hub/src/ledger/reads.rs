//! Reads for callers: entries and tiles come from files, so they are read on threads that may wait for a disk, a few
//! at a time, and whoever asks for too much is refused instead of holding up what runs on the runtime.

use super::Ledger;
use crate::limits::{READ_WAIT, READS_AT_ONCE, READS_WAITING, SEARCHES_AT_ONCE, SEARCHES_WAITING};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use yiwang_proto::codes::Code;

/// Who waits for a read. Each has threads of its own: a flood of look-ups must not keep adapters waiting for what
/// they need to answer.
#[derive(Debug, Clone, Copy)]
pub enum ReadFor {
    /// A member or an auditor.
    Caller,
    /// An adapter's link, which asks for one thing after another.
    Link,
    /// A member's own entries for its adapter, which may have been away for a million of them.
    Entries,
    /// An auditor's search, which may take seconds.
    Search,
}

/// Who reads now.
pub(super) struct Reads {
    callers: Pool,
    links: Pool,
    entries: Pool,
    searches: Pool,
}

struct Pool {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Pool {
    fn new(waiting: usize, at_once: usize) -> Self {
        let [waiting, running] = [waiting, at_once].map(Semaphore::new).map(Arc::new);
        Self { waiting, running }
    }
}

impl Default for Reads {
    fn default() -> Self {
        let reads = || Pool::new(READS_WAITING, READS_AT_ONCE);
        let searches = Pool::new(SEARCHES_WAITING, SEARCHES_AT_ONCE);
        // One at a time: whoever catches up waits for those who ask.
        let entries = Pool::new(READS_WAITING, 1);
        Self { callers: reads(), links: reads(), entries, searches }
    }
}

/// A place among those that read or wait for it.
pub struct Place {
    waiting: OwnedSemaphorePermit,
    running: Arc<Semaphore>,
}

impl Ledger {
    /// Runs reads of the ledger off the runtime; refuses with `overloaded` where too many wait.
    pub async fn reading<T: Send + 'static>(
        &self,
        whom: ReadFor,
        work: impl FnOnce(&Self) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Code> {
        self.reading_at(self.place(whom)?, work).await
    }

    /// A place for one read: whoever records what is read before it is read takes the place first, so that a refusal
    /// leaves no entry. `overloaded` where too many wait.
    pub fn place(&self, whom: ReadFor) -> Result<Place, Code> {
        let pool = match whom {
            ReadFor::Caller => &self.shared.reads.callers,
            ReadFor::Link => &self.shared.reads.links,
            ReadFor::Entries => &self.shared.reads.entries,
            ReadFor::Search => &self.shared.reads.searches,
        };
        let waiting = Arc::clone(&pool.waiting).try_acquire_owned().map_err(|_| Code::Overloaded)?;
        Ok(Place { waiting, running: Arc::clone(&pool.running) })
    }

    /// As [`Self::reading`], in a place that was taken.
    pub async fn reading_at<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce(&Self) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Code> {
        let Place { waiting, running } = place;
        let turn = tokio::time::timeout(READ_WAIT, running.acquire_owned()).await;
        let running = turn.map_err(|_| Code::Overloaded)?.map_err(|_| Code::Internal)?;
        let ledger = self.clone();
        let read = self.off_runtime(move || {
            let _until_done = (waiting, running);
            work(&ledger)
        });
        read.await.unwrap_or(Err(Code::Internal))
    }

    /// Runs what blocks on a thread of the runtime's; where the ledger has no threads, in a simulation, at once.
    /// None if it panicked.
    pub(crate) async fn off_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.shared.workers.may_block() {
            tokio::task::spawn_blocking(work).await.ok()
        } else {
            Some(work())
        }
    }
}
