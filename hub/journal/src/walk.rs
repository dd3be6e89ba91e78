//! Walks over the bytes of one segment: records in order, batches, and the search for what follows damage.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::segment::{
    ALIGN, DATA_START, RECORD_HEADER_BYTES, RecordHeader, SECTOR, SegmentHeader, extent, leaf_hash,
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// Bytes read at once by whoever looks at a few places only.
const LOOK: usize = 16 << 10;
/// Unit in which empty space is skipped.
const BLOCK: u64 = 4096;
static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
/// Bytes whose checksum one search may compute. Honest segments stay far below; a made-up one is given up on.
const SEARCH_BUDGET: u64 = 16 << 30;
/// The same for one look: an honest segment has one candidate, of at most 64 KiB in the hub's ledger.
const LOOK_BUDGET: u64 = 64 << 20;

/// What stands at an offset.
#[derive(Debug)]
pub enum At<'a> {
    /// A record whose checksum is right.
    Record(RecordHeader, &'a [u8]),
    /// Zeros, or no room for a record.
    Nothing,
    /// Anything else.
    Bad(&'static str),
}

/// How the walk over the batches of a segment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// At the limit that the caller set.
    Limit,
    /// At zeros or at the end of the file.
    Nothing,
    /// At something that is no record.
    Bad(&'static str),
    /// At a sound record that does not belong there.
    Stranger(String),
}

/// The complete batches of a segment, from its start to the first thing that is not one.
#[derive(Debug)]
pub struct Walk {
    /// Offset of each record in a complete batch.
    pub offsets: Vec<u32>,
    /// Index after the last complete batch.
    pub next_index: u64,
    /// Number of the batch after the last complete one.
    pub next_batch: u64,
    /// Offset after the last complete batch.
    pub end: u64,
    /// Offset of the last complete batch; `end` if there is none.
    pub last_batch: u64,
    /// Why it went no further.
    pub stop: Stop,
    /// Offset of what stopped it.
    pub stop_at: u64,
    /// Index that was expected there.
    pub stop_index: u64,
}

/// State of the space after the last complete batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// All zero.
    Clean,
    /// What an interrupted write leaves: safe to cut. Offset of the last byte that is not zero.
    Torn { last_byte: u64 },
    /// Not explained by an interrupted write. `sure` if acknowledged records certainly follow.
    Damaged { offset: u64, index: u64, what: String, sure: bool, last_byte: u64 },
}

/// Reads one segment through a bounded buffer.
#[derive(Debug)]
pub struct Cursor {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    seed: u32,
    buf: Vec<u8>,
    start: u64,
    chunk: usize,
    budget: u64,
}

impl Cursor {
    pub fn new(file: Arc<dyn DiskFile>, header: SegmentHeader) -> Self {
        let seed = header.seed();
        Self { file, header, seed, buf: Vec::new(), start: 0, chunk: CHUNK, budget: SEARCH_BUDGET }
    }

    /// For looks at a few places: reads little at once, and gives a search up soon.
    pub fn looking(file: Arc<dyn DiskFile>, header: SegmentHeader) -> Self {
        Self { chunk: LOOK, budget: LOOK_BUDGET, ..Self::new(file, header) }
    }

    pub const fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// `n` bytes at `offset`; `None` if the segment ends before.
    fn get(&mut self, offset: u64, n: usize) -> io::Result<Option<&[u8]>> {
        let end = offset.saturating_add(n as u64);
        if end > self.header.capacity {
            return Ok(None);
        }
        if offset < self.start || end > self.start + self.buf.len() as u64 {
            let want = (self.header.capacity - offset).min(n.max(self.chunk) as u64) as usize;
            self.buf.resize(want, 0);
            self.start = offset;
            let got = self.file.read_at(&mut self.buf, offset)?;
            self.buf.truncate(got);
            if got < n {
                self.buf.clear();
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file is shorter than its header says",
                ));
            }
        }
        let from = (offset - self.start) as usize;
        Ok(self.buf.get(from..from + n))
    }

    /// What stands at `offset`. The checksum is verified, the leaf hash is not.
    pub fn at(&mut self, offset: u64) -> io::Result<At<'_>> {
        let header = self.header;
        let Some(bytes) = self.get(offset, RECORD_HEADER_BYTES)? else { return Ok(At::Nothing) };
        if ZEROS.get(..RECORD_HEADER_BYTES) == Some(bytes) {
            return Ok(At::Nothing);
        }
        let Some(record) = RecordHeader::decode(bytes).filter(|record| header.could_hold(record)) else {
            return Ok(At::Bad("no record header"));
        };
        let seed = self.seed;
        let Some(bytes) = self.get(offset, RECORD_HEADER_BYTES + record.data_len())? else {
            return Ok(At::Bad("a record longer than the segment"));
        };
        let data = bytes.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        if record.checksum(seed, data) != record.crc {
            return Ok(At::Bad("a wrong checksum"));
        }
        Ok(At::Record(record, data))
    }

    /// Like [`Self::at`], with the leaf hash verified too.
    pub fn verified_at(&mut self, offset: u64) -> io::Result<At<'_>> {
        Ok(match self.at(offset)? {
            At::Record(record, data) if leaf_hash(data) != record.leaf => At::Bad("a wrong leaf hash"),
            other => other,
        })
    }

    /// Whether the bytes between the data of the sound record at `offset` and the next record are zero. No answer
    /// depends on them, so only a check of the whole asks.
    pub fn is_padded_with_zeros(&mut self, offset: u64) -> io::Result<bool> {
        let header = self.get(offset, RECORD_HEADER_BYTES)?.and_then(RecordHeader::decode);
        let len = header.map_or(0, |record| u64::from(record.len));
        let end = offset + RECORD_HEADER_BYTES as u64 + len;
        let padding = (offset + extent(len)).saturating_sub(end) as usize;
        Ok(self.get(end, padding)?.is_some_and(|bytes| ZEROS.get(..padding) == Some(bytes)))
    }

    /// Collects complete batches up to the record with index `limit`.
    pub fn batches(&mut self, limit: u64) -> io::Result<Walk> {
        let header = self.header;
        let mut walk = Walk {
            offsets: Vec::new(),
            next_index: header.first_index,
            next_batch: header.first_batch,
            end: DATA_START,
            last_batch: DATA_START,
            stop: Stop::Limit,
            stop_at: DATA_START,
            stop_index: header.first_index,
        };
        let mut open: Vec<u32> = Vec::new();
        let mut open_count = 0;
        while walk.stop_index < limit {
            let record = match self.verified_at(walk.stop_at)? {
                At::Record(record, _) => record,
                At::Nothing => {
                    walk.stop = Stop::Nothing;
                    return Ok(walk);
                }
                At::Bad(what) => {
                    walk.stop = Stop::Bad(what);
                    return Ok(walk);
                }
            };
            let fits = record.index == walk.stop_index
                && record.batch == walk.next_batch
                && record.position as usize == open.len()
                && (open.is_empty() || record.count == open_count);
            if !fits {
                walk.stop = Stop::Stranger(format!(
                    "a record with index {} of batch {} (place {} of {})",
                    record.index, record.batch, record.position, record.count
                ));
                return Ok(walk);
            }
            open_count = record.count;
            open.push(u32::try_from(walk.stop_at).map_err(io::Error::other)?);
            walk.stop_at += extent(u64::from(record.len));
            walk.stop_index += 1;
            if open.len() == open_count as usize {
                walk.last_batch = walk.end;
                walk.end = walk.stop_at;
                walk.next_index = walk.stop_index;
                walk.next_batch += 1;
                walk.offsets.append(&mut open);
            }
        }
        Ok(walk)
    }

    /// Walks over the newest segment and judges its end. The file may be written meanwhile.
    ///
    /// What counts is what was there when the examination began, so batches that come later never look like ones
    /// behind damage. A batch that is half written while it is read is looked at again.
    pub fn examine(&mut self) -> io::Result<(Walk, Tail)> {
        let mut reached = None;
        loop {
            self.buf.clear();
            let last_byte = self.last_byte(DATA_START)?;
            let walk = self.batches(u64::MAX)?;
            let tail = self.tail(&walk, last_byte)?;
            let grown = reached.is_none_or(|end| walk.end > end);
            if !(matches!(tail, Tail::Damaged { .. }) && grown) {
                return Ok((walk, tail));
            }
            reached = Some(walk.end);
        }
    }

    /// Judges what stands after the last complete batch of `walk`, up to `last_byte`.
    fn tail(&mut self, walk: &Walk, last_byte: Option<u64>) -> io::Result<Tail> {
        let Some(last_byte) = last_byte.filter(|at| *at >= walk.end) else { return Ok(Tail::Clean) };
        let damaged = |what: String, sure| Tail::Damaged {
            offset: walk.stop_at,
            index: walk.stop_index,
            what,
            sure,
            last_byte,
        };
        let found = match &walk.stop {
            Stop::Nothing | Stop::Limit => "nothing",
            Stop::Bad(what) => what,
            Stop::Stranger(what) => what.as_str(),
        };
        // INVARIANT: batch n + 1 is written only after batch n is durable, so a sound record of a higher batch proves
        // that what is broken here was acknowledged once.
        let later = self.find(walk.end, last_byte + 1, |record| record.batch > walk.next_batch);
        match later? {
            Search::Found(offset, record) => {
                return Ok(damaged(
                    format!(
                        "{found}, yet record {} of the later batch {} follows at offset {offset}",
                        record.index, record.batch
                    ),
                    true,
                ));
            }
            Search::GaveUp => {
                return Ok(damaged(format!("{found}, and too much that looks like records"), true));
            }
            Search::None => {}
        }
        if matches!(walk.stop, Stop::Stranger(_)) || !self.write_was_lost(walk, last_byte)? {
            return Ok(damaged(format!("{found}, which no interrupted write leaves behind"), false));
        }
        Ok(Tail::Torn { last_byte })
    }

    /// Whether a write that was interrupted (a prefix of it, or any of its sectors) explains that the walk stopped.
    ///
    /// The space was zero and durable before, so what is lost reads as zero: either nothing follows before the end of
    /// the record, or a whole sector of it (for the first, the part behind the older batch) is zero.
    fn write_was_lost(&mut self, walk: &Walk, last_byte: u64) -> io::Result<bool> {
        let header = self.header;
        let Some(bytes) = self.get(walk.stop_at, RECORD_HEADER_BYTES)? else {
            return Ok(last_byte < walk.stop_at);
        };
        let len = RecordHeader::decode(bytes)
            .filter(|r| r.len <= header.max_record)
            .map_or(0, |r| u64::from(r.len));
        let record_end = walk.stop_at + RECORD_HEADER_BYTES as u64 + len;
        if record_end > header.capacity {
            return Ok(false);
        }
        if last_byte + 1 < record_end {
            return Ok(true);
        }
        let mut sector = walk.stop_at / SECTOR * SECTOR;
        while sector < record_end {
            let from = sector.max(walk.end);
            let n = (sector + SECTOR).min(header.capacity).saturating_sub(from);
            let lost =
                self.get(from, n as usize)?.is_some_and(|piece| ZEROS.get(..piece.len()) == Some(piece));
            if lost {
                return Ok(true);
            }
            sector += SECTOR;
        }
        Ok(false)
    }

    /// Offset of the last byte that is not zero, at `from` or later.
    pub fn last_byte(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut last = None;
        let mut at = from;
        while at < self.header.capacity {
            let n = (self.header.capacity - at).min(BLOCK) as usize;
            let piece = self.get(at, n)?.unwrap_or_default();
            if ZEROS.get(..n) != Some(piece)
                && let Some(place) = piece.iter().rposition(|byte| *byte != 0)
            {
                last = Some(at + place as u64);
            }
            at += n as u64;
        }
        Ok(last)
    }

    /// Searches `[from, to)` for the first sound record that `wanted` accepts, at any offset where one may begin.
    pub fn find(&mut self, from: u64, to: u64, wanted: impl Fn(&RecordHeader) -> bool) -> io::Result<Search> {
        let header = self.header;
        let mut budget = self.budget;
        let mut at = from.next_multiple_of(ALIGN);
        while at < to {
            let n = (header.capacity - at).min(BLOCK) as usize;
            if self.get(at, n)?.is_none_or(|piece| ZEROS.get(..n) == Some(piece)) {
                at += n as u64;
                continue;
            }
            let stop = to.min(at + n as u64);
            while at < stop {
                let Some(bytes) = self.get(at, RECORD_HEADER_BYTES)? else { return Ok(Search::None) };
                if let Some(record) =
                    RecordHeader::decode(bytes).filter(|r| header.could_hold(r) && wanted(r))
                {
                    let Some(left) = budget.checked_sub(u64::from(record.len)) else {
                        return Ok(Search::GaveUp);
                    };
                    budget = left;
                    if matches!(self.verified_at(at)?, At::Record(..)) {
                        return Ok(Search::Found(at, record));
                    }
                }
                at += ALIGN;
            }
        }
        Ok(Search::None)
    }
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// A sound record at this offset.
    Found(u64, RecordHeader),
    /// Nothing.
    None,
    /// The bytes are made to look like records; the search stopped to bound its cost.
    GaveUp,
}
