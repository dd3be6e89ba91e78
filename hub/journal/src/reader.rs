//! Reading: by index, in order, newest first. Checksum and leaf hash are verified every time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{Disk, DiskFile, RealDisk};
use crate::options::Options;
use crate::recover::{self, OpenError, Recovery};
use crate::segment::{DATA_START, RECORD_HEADER_BYTES, RecordHeader, SegmentHeader, extent, leaf_hash};
use crate::shared::{HOLE, Run, Shared};
use crate::walk::{At, Cursor};

/// Bytes that one record is hoped to need: read in one go with its header.
const LIKELY_RECORD: usize = 4096;
/// Records and bytes that a walk to older records reads at once.
const BACK_RECORDS: usize = 4096;
const BACK_BYTES: u64 = 1 << 20;

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The journal is not that long.
    #[error("there is no record {index}, the journal has {len}")]
    Beyond {
        /// The index that was asked for.
        index: u64,
        /// Number of durable records.
        len: u64,
    },
    /// It was pruned.
    #[error("record {index} was pruned, the journal begins with {first}")]
    Pruned {
        /// The index that was asked for.
        index: u64,
        /// The first one that is kept.
        first: u64,
    },
    /// What stands on disk is not what was written.
    #[error(
        "segment {segment} is damaged: expected record {index} at offset {offset}, found {what}; restore it from a copy"
    )]
    Damaged {
        /// First index of the segment, which names its file.
        segment: u64,
        /// The record.
        index: u64,
        /// Where it should stand; 0 if damage hides that.
        offset: u64,
        /// What stands there instead.
        what: String,
    },
    /// The disk failed.
    #[error("segment {segment} cannot be read: {source}")]
    Io {
        /// First index of the segment, which names its file.
        segment: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A view of the durable records of one journal. Cheap to clone; any number of threads may use it.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Opens a journal that nobody may change: nothing is written, no lock is taken, read-only files will do. A torn
    /// batch at the end is reported and not shown. Later appends by another process are not seen.
    ///
    /// Files may come from anybody: memory stays bounded and every lie about sizes is an error.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_readonly(dir: &Path, options: &Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_readonly_with(Arc::new(RealDisk), dir, options)
    }

    /// [`Self::open_readonly`] on another disk.
    ///
    /// # Errors
    /// As [`Self::open_readonly`].
    pub fn open_readonly_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &Options,
    ) -> Result<(Self, Recovery), OpenError> {
        let opened = recover::open(disk.as_ref(), dir, options, 0, false)?;
        let recovery = opened.recovery.clone();
        Ok((Self::new(Arc::new(Shared::new(disk, dir, options, opened))), recovery))
    }

    /// Number of durable records, counted from index 0.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shared.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the oldest record that is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.shared.first
    }

    /// The data of one record.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, index: u64) -> Result<Bytes, ReadError> {
        Ok(self.read_with_hash(index)?.0)
    }

    /// The data of one record and its leaf hash, computed from this data.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_with_hash(&self, index: u64) -> Result<(Bytes, [u8; 32]), ReadError> {
        let (header, file, offset) = self.shared.place(index)?;
        let damaged = |what| damage(&header, index, offset, what);
        let failed = |source| ReadError::Io { segment: header.first_index, source };
        if offset == HOLE {
            return Err(damaged("no sound record"));
        }
        let room = usize::try_from(header.capacity.saturating_sub(u64::from(offset))).unwrap_or(0);
        let mut bytes = vec![0u8; room.min(LIKELY_RECORD)];
        let got = file.read_at(&mut bytes, u64::from(offset)).map_err(failed)?;
        let record =
            bytes.get(..got).and_then(RecordHeader::decode).ok_or_else(|| damaged("the end of the file"))?;
        let size = RECORD_HEADER_BYTES + record.data_len();
        if record.len > header.max_record || size > room {
            return Err(damaged("an impossible length"));
        }
        if size > got {
            bytes.resize(size, 0);
            let rest = bytes.get_mut(got..).unwrap_or_default();
            let more = file.read_at(rest, u64::from(offset) + got as u64).map_err(failed)?;
            if got + more < size {
                return Err(damaged("the end of the file"));
            }
        }
        let data = Bytes::from(bytes).slice(RECORD_HEADER_BYTES..size);
        let leaf = leaf_hash(&data);
        if record.index != index {
            return Err(damaged("another record"));
        }
        if record.checksum(header.seed(), &data) != record.crc {
            return Err(damaged("a wrong checksum"));
        }
        if leaf != record.leaf {
            return Err(damaged("a wrong leaf hash"));
        }
        Ok((data, leaf))
    }

    /// All records from index `from` on that are durable now: index, data, leaf hash. Ends after the first error.
    #[must_use]
    pub fn scan(&self, from: u64) -> Scan {
        let end = self.len();
        Scan { reader: self.clone(), next: from.max(self.first()), end, segment: None }
    }

    /// All records before index `from` (at most [`Self::len`]), newest first. Ends after the first error.
    #[must_use]
    pub fn scan_back(&self, from: u64) -> ScanBack {
        ScanBack { reader: self.clone(), next: from.min(self.len()), block: Vec::new() }
    }
}

fn damage(header: &SegmentHeader, index: u64, offset: u32, what: impl Into<String>) -> ReadError {
    let offset = if offset == HOLE { 0 } else { u64::from(offset) };
    ReadError::Damaged { segment: header.first_index, index, offset, what: what.into() }
}

type Item = Result<(u64, Bytes, [u8; 32]), ReadError>;

/// Reads the record `index` at `offset`; the second value is where the next one begins.
fn take(cursor: &mut Cursor, index: u64, offset: u64) -> Result<(Bytes, [u8; 32], u64), ReadError> {
    let header = *cursor.header();
    let damaged = |what: String| ReadError::Damaged { segment: header.first_index, index, offset, what };
    match cursor.verified_at(offset) {
        Ok(At::Record(record, data)) if record.index == index => {
            Ok((Bytes::copy_from_slice(data), record.leaf, offset + extent(u64::from(record.len))))
        }
        Ok(At::Record(record, _)) => Err(damaged(format!("record {}", record.index))),
        Ok(At::Nothing) => Err(damaged("nothing".to_owned())),
        Ok(At::Bad(what)) => Err(damaged(what.to_owned())),
        Err(source) => Err(ReadError::Io { segment: header.first_index, source }),
    }
}

/// See [`Reader::scan`].
#[derive(Debug)]
pub struct Scan {
    reader: Reader,
    next: u64,
    end: u64,
    segment: Option<Forward>,
}

#[derive(Debug)]
struct Forward {
    cursor: Cursor,
    offset: u64,
    end: u64,
}

impl Scan {
    fn step(&mut self) -> Item {
        let index = self.next;
        let mut segment = match self.segment.take().filter(|segment| index < segment.end) {
            Some(segment) => segment,
            None => self.enter(index)?,
        };
        let (data, leaf, offset) = take(&mut segment.cursor, index, segment.offset)?;
        segment.offset = offset;
        self.segment = Some(segment);
        self.next = index + 1;
        Ok((index, data, leaf))
    }

    fn enter(&self, index: u64) -> Result<Forward, ReadError> {
        let shared = &self.reader.shared;
        let (header, next) = shared.segment_of(index)?;
        let end = next.unwrap_or(u64::MAX);
        if index == header.first_index && next.is_some() {
            let file: Arc<dyn DiskFile> = shared.open_older(&header)?;
            return Ok(Forward { cursor: Cursor::new(file, header), offset: DATA_START, end });
        }
        let (header, file, offset) = shared.place(index)?;
        if offset == HOLE {
            return Err(damage(&header, index, offset, "no sound record"));
        }
        Ok(Forward { cursor: Cursor::new(file, header), offset: u64::from(offset), end })
    }
}

impl Iterator for Scan {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.next >= self.end {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            self.next = self.end;
        }
        Some(item)
    }
}

/// See [`Reader::scan_back`].
#[derive(Debug)]
pub struct ScanBack {
    reader: Reader,
    next: u64,
    block: Vec<(u64, Bytes, [u8; 32])>,
}

impl ScanBack {
    /// Reads the block of records before `next`. Damage counts only once it is the newest that is left.
    fn fill(&mut self) -> Result<(), ReadError> {
        let Run { header, file, first, offsets } =
            self.reader.shared.run_before(self.next, BACK_RECORDS, BACK_BYTES)?;
        let mut cursor = Cursor::new(file, header);
        let mut fault = None;
        for (index, offset) in (first..).zip(&offsets) {
            let item = if *offset == HOLE {
                Err(damage(&header, index, HOLE, "no sound record"))
            } else {
                take(&mut cursor, index, u64::from(*offset))
            };
            match item {
                Ok((data, leaf, _)) => self.block.push((index, data, leaf)),
                Err(error) => {
                    self.block.clear();
                    fault = Some(error);
                }
            }
        }
        match fault {
            Some(error) if self.block.is_empty() => Err(error),
            _ if offsets.is_empty() => {
                Err(damage(&header, self.next.saturating_sub(1), HOLE, "no sound record"))
            }
            _ => Ok(()),
        }
    }
}

impl Iterator for ScanBack {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.next <= self.reader.first() {
            return None;
        }
        if self.block.is_empty()
            && let Err(error) = self.fill()
        {
            self.next = 0;
            return Some(Err(error));
        }
        let item = self.block.pop()?;
        self.next = item.0;
        Some(Ok(item))
    }
}
