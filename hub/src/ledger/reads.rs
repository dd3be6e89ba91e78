//! Reads for callers: entries and tiles come from files, so they are read on threads that may wait for a disk, a few
//! at a time, and whoever asks for too much is refused instead of holding up what runs on the runtime.

use super::Ledger;
use crate::limits::{READ_WAIT, READS_AT_ONCE, READS_WAITING};
use std::sync::Arc;
use tokio::sync::Semaphore;
use yiwang_proto::codes::Code;

/// Who waits for a read. Each has threads of its own: a flood of look-ups must not keep adapters waiting for what
/// they need to answer.
#[derive(Debug, Clone, Copy)]
pub enum ReadFor {
    /// A member or an auditor.
    Caller,
    /// An adapter's link, which asks for one thing after another.
    Link,
}

/// Who reads now.
pub(super) struct Reads {
    callers: Pool,
    links: Pool,
}

struct Pool {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Pool {
    fn new() -> Self {
        let [waiting, running] = [READS_WAITING, READS_AT_ONCE].map(Semaphore::new).map(Arc::new);
        Self { waiting, running }
    }
}

impl Default for Reads {
    fn default() -> Self {
        Self { callers: Pool::new(), links: Pool::new() }
    }
}

impl Ledger {
    /// Runs reads of the ledger off the runtime; refuses with `overloaded` where too many wait.
    pub async fn reading<T: Send + 'static>(
        &self,
        whom: ReadFor,
        work: impl FnOnce(&Self) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Code> {
        let pool = match whom {
            ReadFor::Caller => &self.shared.reads.callers,
            ReadFor::Link => &self.shared.reads.links,
        };
        let waiting = Arc::clone(&pool.waiting).try_acquire_owned().map_err(|_| Code::Overloaded)?;
        let turn = tokio::time::timeout(READ_WAIT, Arc::clone(&pool.running).acquire_owned()).await;
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
