//! What the owner of a journal decides.

use crate::segment::{DATA_START, MAX_RECORD_BYTES, MAX_SEGMENT_BYTES, extent};

/// Sizes and habits of one journal. Sizes may change between two openings; old segments keep theirs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Length of a new segment file in bytes; default 64 MiB, at most 1 GiB.
    pub segment_bytes: u64,
    /// Largest data of one record in bytes; default 65,535, at most 16 MiB.
    pub max_record: usize,
    /// Largest batch in bytes as it stands in the file (64 bytes and padding to 8 per record); default 8 MiB.
    pub max_batch: u64,
    /// Space for hash tiles in bytes, kept per allocated segment in a file beside them; see [`crate::Reserve`].
    pub reserve: u64,
    /// Index of the oldest record that is kept: 0 unless old segments were pruned.
    pub first: u64,
    /// A random number for the checksums of new segments, so that a stranger cannot compose a record whose data looks
    /// like another record. Matters only where strangers choose the data and never see the files.
    pub salt: u64,
    /// Allocate the next segment on a thread of its own when the current one is half full; default true.
    pub background: bool,
    /// Cut a damaged last batch even though no interrupted write explains the damage. For an operator who has looked
    /// at it; never cuts below the floor or in front of a later batch.
    pub give_up_damaged_tail: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_record: 65_535,
            max_batch: 8 << 20,
            reserve: 0,
            first: 0,
            salt: 0,
            background: true,
            give_up_damaged_tail: false,
        }
    }
}

impl Options {
    /// Says what is wrong with the sizes.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.max_record as u64 > u64::from(MAX_RECORD_BYTES) {
            return Err(format!(
                "`max_record` is {}, at most {MAX_RECORD_BYTES} is allowed",
                self.max_record
            ));
        }
        if self.max_batch < extent(self.max_record as u64) {
            return Err(format!(
                "`max_batch` is {}, too small for one record of `max_record`",
                self.max_batch
            ));
        }
        if self.segment_bytes > MAX_SEGMENT_BYTES || !self.segment_bytes.is_multiple_of(DATA_START) {
            return Err(format!(
                "`segment_bytes` is {}, it must be a multiple of {DATA_START} and at most {MAX_SEGMENT_BYTES}",
                self.segment_bytes
            ));
        }
        if self.segment_bytes < DATA_START.saturating_add(self.max_batch) {
            return Err(format!("`segment_bytes` is {}, too small for one batch", self.segment_bytes));
        }
        if self.reserve > MAX_SEGMENT_BYTES {
            return Err(format!("`reserve` is {}, at most {MAX_SEGMENT_BYTES} is allowed", self.reserve));
        }
        Ok(())
    }
}
