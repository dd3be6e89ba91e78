//! Where entries live. One file per engine implements this trait; all pass the same tests.

use bytes::Bytes;
use yiwang_proto::Digest;

/// Why entries could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space; nothing was stored; later attempts may succeed.
    #[error("no space for ledger entries: free disk space, it goes on by itself")]
    NoSpace,
    /// The outcome is unknown. The process must stop; recovery tells what is durable.
    #[error("ledger storage failed, the process must stop: {0}")]
    Fatal(String),
    /// A read found damage or failed.
    #[error("ledger entry {index} cannot be read: {detail}")]
    Read {
        /// Which entry.
        index: u64,
        /// What the engine says.
        detail: String,
    },
}

/// Stored entries, readable from many threads at once; sees durable entries only.
pub trait EntryReader: Send + Sync {
    /// Durable entries.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Exact bytes; the leaf hash is verified on every read.
    fn read(&self, index: u64) -> Result<Bytes, StoreError>;
    /// Visits entries from an index on, in order, until the visitor says stop.
    fn scan(&self, from: u64, visit: &mut dyn FnMut(u64, Bytes, Digest) -> bool) -> Result<(), StoreError>;
    /// Visits entries backwards from the newest.
    fn scan_back(&self, visit: &mut dyn FnMut(u64, Bytes) -> bool) -> Result<(), StoreError>;
}

/// Appends entries. One owner; durable when `append` returns; never retried by the caller after `Fatal`.
pub trait EntryStore: Send {
    /// Whether a whole batch of the largest entries would fit now. Tries to make room.
    fn ensure_room(&mut self) -> Result<(), StoreError>;
    /// Appends a batch with one sync and yields the leaf hashes.
    fn append(&mut self, entries: &[Bytes]) -> Result<Vec<Digest>, StoreError>;
    /// A reader that sees every durable entry.
    fn reader(&self) -> std::sync::Arc<dyn EntryReader>;
}
