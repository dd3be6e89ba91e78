//! The one writer of a journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile, Lock, RealDisk, is_no_space};
use crate::options::Options;
use crate::reader::Reader;
use crate::recover::{self, Last, OpenError, Recovery, io_error, segment_path};
use crate::segment::{DATA_START, RecordHeader, SegmentHeader, extent, leaf_hash};
use crate::shared::Shared;
use crate::spare::{Reserve, Spare};

/// Name of the file whose lock says that the journal is open for writing.
const LOCK_FILE: &str = "journal.lock";

/// A batch that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Index of its first record; the others follow without gaps.
    pub first: u64,
    /// Leaf hash of each record, in order.
    pub leaf_hashes: Vec<[u8; 32]>,
}

/// Why a batch was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was appended; the journal goes on as soon as there is space.
    #[error("no space for the next segment of the journal `{0}`: free some, it then goes on by itself")]
    NoSpace(PathBuf),
    /// Nothing was appended; this batch never fits.
    #[error("a {what} of {size} bytes is too large, at most {limit} are allowed")]
    TooLarge {
        /// `record` or `batch`.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Whether the batch is there after the next opening is unknown. The journal takes nothing more.
    #[error("the journal failed and takes nothing more until it is opened again: {0}")]
    Fatal(String),
}

/// A journal that is open for writing. Dropping it needs no care: what was acknowledged is durable.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    active: Option<Active>,
    next_index: u64,
    next_batch: u64,
    next_number: u64,
    buffer: Vec<u8>,
    dead: Option<String>,
    // Field order is drop order: the lock goes last, after the allocating thread has ended.
    spare: Spare,
    _lock: Box<dyn Lock>,
}

#[derive(Debug)]
struct Active {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    end: u64,
}

impl Active {
    const fn room(&self) -> u64 {
        self.header.capacity.saturating_sub(self.end)
    }
}

impl Journal {
    /// Opens the journal in `dir`, or makes a new one, and recovers from what a crash left.
    ///
    /// `floor` is the largest size of any head that the owner ever signed, 0 if none: records below it are never cut.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage is never repaired by guessing.
    pub fn open(dir: &Path, options: Options, floor: u64) -> Result<(Self, Recovery), OpenError> {
        Self::open_with(Arc::new(RealDisk), dir, options, floor)
    }

    /// [`Self::open`] on another disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        floor: u64,
    ) -> Result<(Self, Recovery), OpenError> {
        options.check().map_err(OpenError::Options)?;
        disk.create_dir(dir).map_err(io_error(dir, "create"))?;
        let path = dir.join(LOCK_FILE);
        let lock = disk
            .lock(&path)
            .map_err(io_error(dir, "lock"))?
            .ok_or_else(|| OpenError::Locked { dir: dir.to_owned(), holder: disk.holder(&path) })?;
        let opened = recover::open(disk.as_ref(), dir, &options, floor, true)?;
        let active = opened.last.as_ref().map(|Last { header, file, walk }| Active {
            file: Arc::clone(file),
            header: *header,
            end: walk.end,
        });
        let (next_batch, next_number) =
            opened.last.as_ref().map_or((0, 0), |last| (last.walk.next_batch, last.header.number + 1));
        let recovery = opened.recovery.clone();
        let spare =
            Spare::new(Arc::clone(&disk), dir, options.segment_bytes, options.reserve, options.background);
        let shared = Arc::new(Shared::new(Arc::clone(&disk), dir, &options, opened));
        let journal = Self {
            shared,
            disk,
            dir: dir.to_owned(),
            options,
            active,
            next_index: recovery.len,
            next_batch,
            next_number,
            buffer: Vec::new(),
            dead: None,
            spare,
            _lock: lock,
        };
        Ok((journal, recovery))
    }

    /// Number of records, counted from index 0. All of them are durable.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.next_index
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.next_index == 0
    }

    /// A view of the durable records, for any number of threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// The space that is kept for hash tiles.
    #[must_use]
    pub const fn reserve(&self) -> &Reserve {
        self.spare.reserve()
    }

    /// Whether the largest allowed batch would find space now. Allocates the next segment if that is what is missing.
    ///
    /// # Errors
    /// [`AppendError::NoSpace`] or [`AppendError::Fatal`], as [`Self::append`] would answer.
    pub fn can_append(&mut self) -> Result<(), AppendError> {
        self.check_alive()?;
        if self.active.as_ref().is_some_and(|active| active.room() >= self.options.max_batch) {
            return Ok(());
        }
        self.next_segment().map(|_| ())
    }

    /// Appends one batch and makes it durable: all of it or, after a crash, nothing.
    ///
    /// # Errors
    /// See [`AppendError`]. After [`AppendError::Fatal`] the batch may or may not be there when the journal is opened
    /// again, and the owner must not acknowledge anything until then.
    pub fn append(&mut self, records: &[Bytes]) -> Result<Appended, AppendError> {
        self.check_alive()?;
        let bytes = self.check_sizes(records)?;
        let first = self.next_index;
        if records.is_empty() {
            return Ok(Appended { first, leaf_hashes: Vec::new() });
        }
        if self.active.as_ref().is_none_or(|active| active.room() < bytes) {
            self.turn_over()?;
        }
        let Some(active) = &mut self.active else { return Err(AppendError::Fatal("no segment".to_owned())) };

        let seed = active.header.seed();
        // Both fit: check_sizes bounds the batch by `max_batch`, which is below 2^30.
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let mut leaf_hashes = Vec::with_capacity(records.len());
        let mut offsets = Vec::with_capacity(records.len());
        self.buffer.clear();
        for (position, data) in (0..).zip(records) {
            let leaf = leaf_hash(data);
            let record = RecordHeader {
                len: u32::try_from(data.len()).unwrap_or(u32::MAX),
                crc: 0,
                index: first + u64::from(position),
                batch: self.next_batch,
                position,
                count,
                leaf,
            };
            offsets.push(u32::try_from(active.end + self.buffer.len() as u64).unwrap_or(u32::MAX));
            record.encode_into(&mut self.buffer, seed, data);
            leaf_hashes.push(leaf);
        }
        if let Err(error) =
            active.file.write_at(&self.buffer, active.end).and_then(|()| active.file.sync_data())
        {
            return Err(self.die(format!("writing record {first} and its batch: {error}")));
        }
        active.end += self.buffer.len() as u64;
        let half_full = active.end > active.header.capacity / 2;
        self.next_index += u64::from(count);
        self.next_batch += 1;
        self.shared.publish(self.next_index, &offsets);
        if half_full {
            self.spare.start();
        }
        Ok(Appended { first, leaf_hashes })
    }

    fn check_alive(&self) -> Result<(), AppendError> {
        self.dead.as_ref().map_or(Ok(()), |why| Err(AppendError::Fatal(why.clone())))
    }

    fn check_sizes(&self, records: &[Bytes]) -> Result<u64, AppendError> {
        let mut bytes = 0u64;
        for data in records {
            let size = data.len() as u64;
            if data.len() > self.options.max_record {
                let limit = self.options.max_record as u64;
                return Err(AppendError::TooLarge { what: "record", size, limit });
            }
            bytes = bytes.saturating_add(extent(size));
        }
        if bytes > self.options.max_batch {
            return Err(AppendError::TooLarge { what: "batch", size: bytes, limit: self.options.max_batch });
        }
        Ok(bytes)
    }

    /// Refuses everything from now on: after a failed write or sync nobody knows what the disk holds.
    fn die(&mut self, why: String) -> AppendError {
        self.dead = Some(why.clone());
        AppendError::Fatal(why)
    }

    fn next_segment(&mut self) -> Result<Arc<dyn DiskFile>, AppendError> {
        self.spare.ready().map_err(|error| {
            if is_no_space(&error) {
                AppendError::NoSpace(self.dir.clone())
            } else {
                self.die(format!("allocating a segment: {error}"))
            }
        })
    }

    /// Puts the spare segment to use.
    ///
    /// INVARIANT: a `.seg` name appears only after the header is durable, and a record is written only after the name
    /// is. So a segment without a sound header is damage, never the trace of a crash.
    fn turn_over(&mut self) -> Result<(), AppendError> {
        let file = self.next_segment()?;
        let header = SegmentHeader {
            max_record: u32::try_from(self.options.max_record).unwrap_or(u32::MAX),
            capacity: self.options.segment_bytes,
            first_index: self.next_index,
            first_batch: self.next_batch,
            number: self.next_number,
            salt: self.options.salt,
        };
        if let Err(error) = file.write_at(&header.encode(), 0).and_then(|()| file.sync_data()) {
            return Err(self.die(format!("writing a segment header: {error}")));
        }
        match self.disk.rename(self.spare.path(), &segment_path(&self.dir, self.next_index)) {
            Ok(()) => {}
            // The folder itself may need a block for the new name. Nothing refers to the spare yet.
            Err(error) if is_no_space(&error) => return Err(AppendError::NoSpace(self.dir.clone())),
            Err(error) => return Err(self.die(format!("naming a segment: {error}"))),
        }
        self.spare.used();
        if let Err(error) = self.disk.sync_dir(&self.dir) {
            return Err(self.die(format!("making a segment's name durable: {error}")));
        }
        self.next_number += 1;
        self.shared.begin_segment(header, Arc::clone(&file));
        self.active = Some(Active { file, header, end: DATA_START });
        Ok(())
    }
}
