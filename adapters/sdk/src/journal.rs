//! The adapter's own journal: what it was asked and what it said, durable before the answer leaves. It is
//! also the memory that survives a restart: seen request ids, which subject a consumer's tag stands for,
//! the newest verified head, the highest contract versions and the highest time.

mod draft;
mod memory;
mod orders;
mod replay;
mod snapshot;
mod writer;

pub(crate) use draft::Draft;
pub use memory::{HeldHead, MemoryError, Pinned};
pub(crate) use memory::{Memory, VersionSeen, contract_seen};
pub use orders::StoppedJournal;
pub(crate) use replay::Taken;
pub(crate) use snapshot::{Watched, read as read_into};
pub use writer::{AnswerJournal, JournalError};
use yiwang_proto::adapter_journal as record;
pub use yiwang_proto::adapter_journal::{
    ClockAccepted, ContractSeen, Counted, Exchange, Followed, GivenUp, KeptHead, Kind, Pair, RECORD_MAX,
    Record, RecordError, RevocationSeen, SnapshotPart, StandingSeen, TicketUsed, UsedId,
};

use std::path::Path;
use yiwang_journal::{Options, Reader};

/// Sizes of an adapter's journal.
pub(crate) fn options(segment_bytes: u64, salt: u64) -> Options {
    Options {
        segment_bytes,
        max_record: RECORD_MAX,
        max_batch: writer::BATCH_BYTES_MAX,
        salt,
        ..Options::default()
    }
}

/// Reads a journal that no adapter has open, oldest record first, for audits and reconciliation. Changes
/// nothing on disk. Stops at the first record that cannot be read.
///
/// # Errors
/// [`JournalError`] where the folder holds no sound journal.
pub fn read(dir: &Path) -> Result<impl Iterator<Item = Result<Record, JournalError>>, JournalError> {
    let (reader, _) = Reader::open_readonly(dir, &Options { max_record: RECORD_MAX, ..Options::default() })?;
    Ok(reader.scan(0).map(|item| {
        let (index, data, _) = item?;
        Record::decode(data).map_err(|source| JournalError::Record { index, source })
    }))
}

impl crate::adapter::Adapter {
    /// Puts down what is no exchange. Counted like one: a year of standings is to be read at a start as well.
    ///
    /// # Errors
    /// [`JournalError`].
    pub(crate) async fn write_down(&self, record: Record) -> Result<(), JournalError> {
        self.journal.append(record.encode()).await?;
        self.records.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
