//! The embedded engine: segment files of `yiwang-journal`.

use super::store::{EntryReader, EntryStore, StoreError};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use yiwang_journal::ground::Ground;
use yiwang_journal::{AppendError, Journal, Options, Reader, Recovery, Reserve};
use yiwang_proto::Digest;

/// Largest batch in bytes: the sequencer's batch limit with entries of usual size, and room for one of the largest.
pub const BATCH_BYTES: u64 = 2 << 20;

/// Segment files in one folder.
pub struct FileStore {
    journal: Journal,
}

/// Options of the ledger's journal.
pub fn options(segment_bytes: u64) -> Options {
    Options {
        segment_bytes,
        max_batch: BATCH_BYTES,
        // A full tile is 8 KiB per 256 entries; entries of 256 bytes, smaller than any real one, bound it.
        reserve: segment_bytes / 8,
        ..Options::default()
    }
}

impl FileStore {
    /// Opens the folder; `salt` is random, so that no member can compose a statement that looks like a record
    /// of a segment; `floor` is the size of the largest head that was ever signed.
    pub fn open(
        dir: &Path,
        segment_bytes: u64,
        salt: u64,
        floor: u64,
    ) -> Result<(Self, Recovery), StoreError> {
        Self::open_on(&Ground::default(), dir, segment_bytes, salt, floor)
    }

    /// [`FileStore::open`] on another ground.
    pub fn open_on(
        ground: &Ground,
        dir: &Path,
        segment_bytes: u64,
        salt: u64,
        floor: u64,
    ) -> Result<(Self, Recovery), StoreError> {
        let background = ground.workers.may_block();
        let options = Options { salt, background, ..options(segment_bytes) };
        let (journal, recovery) = Journal::open_with(Arc::clone(&ground.disk), dir, options, floor)
            .map_err(|error| StoreError::Fatal(error.to_string()))?;
        Ok((Self { journal }, recovery))
    }

    /// The space that is kept for tiles.
    pub fn reserve(&self) -> Reserve {
        self.journal.reserve().clone()
    }
}

fn append_error(error: AppendError) -> StoreError {
    match error {
        AppendError::NoSpace(_) => StoreError::NoSpace,
        other => StoreError::Fatal(other.to_string()),
    }
}

impl EntryStore for FileStore {
    fn ensure_room(&mut self) -> Result<(), StoreError> {
        self.journal.can_append().map_err(append_error)
    }

    fn append(&mut self, entries: &[Bytes]) -> Result<Vec<Digest>, StoreError> {
        self.journal.append(entries).map(|appended| appended.leaf_hashes).map_err(append_error)
    }

    fn reader(&self) -> Arc<dyn EntryReader> {
        Arc::new(FileReader(self.journal.reader()))
    }
}

struct FileReader(Reader);

fn read_error(index: u64, error: &impl std::fmt::Display) -> StoreError {
    StoreError::Read { index, detail: error.to_string() }
}

impl EntryReader for FileReader {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read(&self, index: u64) -> Result<Bytes, StoreError> {
        self.0.read(index).map_err(|error| read_error(index, &error))
    }

    fn scan(&self, from: u64, visit: &mut dyn FnMut(u64, Bytes, Digest) -> bool) -> Result<(), StoreError> {
        let mut at = from;
        for item in self.0.scan(from) {
            let (index, data, leaf) = item.map_err(|error| read_error(at, &error))?;
            at = index + 1;
            if !visit(index, data, leaf) {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, visit: &mut dyn FnMut(u64, Bytes) -> bool) -> Result<(), StoreError> {
        let mut at = self.0.len();
        for item in self.0.scan_back(self.0.len()) {
            let (index, data, _) = item.map_err(|error| read_error(at.saturating_sub(1), &error))?;
            at = index;
            if !visit(index, data) {
                break;
            }
        }
        Ok(())
    }
}
