//! Opening: which segments there are, what of the last one is sound, and the decision to cut or to refuse.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, is_no_space};
use crate::options::Options;
use crate::segment::{
    DATA_START, HeaderFault, SEGMENT_HEADER_BYTES, SUFFIX, SegmentHeader, file_name, parse_file_name,
};
use crate::walk::{Cursor, Stop, Tail, Walk};

/// Most segments that one journal may have: bounds what a foreign folder can cost.
pub(crate) const MAX_SEGMENTS: usize = 1 << 20;
/// Zeros written at once while a tail is cleared.
const ZERO_CHUNK: u64 = 1 << 20;

fn by(holder: Option<u32>) -> String {
    holder.map(|id| format!(", by process {id}")).unwrap_or_default()
}

/// Why a journal does not open. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another opener in this one) has it open for writing.
    #[error("the journal `{}` is open for writing elsewhere{}: stop the other program first", dir.display(), by(*holder))]
    Locked {
        /// The journal's folder.
        dir: PathBuf,
        /// The process that has it, where it is known.
        holder: Option<u32>,
    },
    /// The options contradict themselves.
    #[error("journal options: {0}")]
    Options(String),
    /// The disk failed.
    #[error("cannot {doing} `{path}`: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No space for the first files of a new journal.
    #[error("no space to open the journal `{0}`: free some and try again")]
    NoSpace(PathBuf),
    /// A segment file cannot be read at all.
    #[error("segment `{path}`: {fault}; restore the file from a copy")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header.
        fault: HeaderFault,
    },
    /// The files do not follow each other.
    #[error("segment `{path}` {what}; restore the missing or foreign file")]
    Sequence {
        /// The first file that does not fit.
        path: PathBuf,
        /// How it does not fit.
        what: String,
    },
    /// Damage that no interrupted write explains. See [the rule](crate#recovery).
    #[error(
        "segment `{path}`, offset {offset}: expected record {index}, found {what}; restore the file from a copy"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The record that should stand there.
        index: u64,
        /// What stands there instead.
        what: String,
    },
    /// Fewer sound records than a head that the owner signed.
    #[error(
        "segment `{path}`, offset {offset}: sound records end at {len}, yet a head of size {floor} was signed; restore from a copy"
    )]
    BelowFloor {
        /// The last file.
        path: PathBuf,
        /// Where the sound records end.
        offset: u64,
        /// How many there are.
        len: u64,
        /// The size that was signed.
        floor: u64,
    },
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Number of records, counted from index 0.
    pub len: u64,
    /// Number of segment files.
    pub segments: u64,
    /// The torn batch at the end, if there was one: cut by an opening for writing, only reported by others.
    pub torn: Option<Torn>,
}

/// An interrupted batch behind the last sound one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// First index of the segment, which names its file.
    pub segment: u64,
    /// Where the batch begins in the file.
    pub offset: u64,
    /// Index of its first record.
    pub index: u64,
    /// Bytes up to the last one that was not zero.
    pub bytes: u64,
}

/// One segment as the header tells.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub header: SegmentHeader,
    pub path: PathBuf,
}

/// The last segment with the end of its sound records.
#[derive(Debug)]
pub(crate) struct Last {
    pub header: SegmentHeader,
    pub file: Arc<dyn DiskFile>,
    pub walk: Walk,
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub segments: Vec<Found>,
    pub last: Option<Last>,
    pub recovery: Recovery,
}

pub(crate) fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| {
        if is_no_space(&source) { OpenError::NoSpace(path) } else { OpenError::Io { path, doing, source } }
    }
}

/// The segment files of `dir` in order, with sound headers that follow each other.
pub(crate) fn find_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, OpenError> {
    let mut names = disk.list(dir, SUFFIX, MAX_SEGMENTS).map_err(io_error(dir, "list"))?;
    names.sort_unstable();
    let mut found: Vec<Found> = Vec::with_capacity(names.len());
    for name in names {
        let path = dir.join(&name);
        let Some(first) = parse_file_name(&name) else {
            return Err(OpenError::Sequence { path, what: "has a name that no journal gives".to_owned() });
        };
        let (header, _) = open_segment(disk, &path, false)?;
        if header.first_index != first {
            let what = format!("says that it begins with record {}", header.first_index);
            return Err(OpenError::Sequence { path, what });
        }
        if let Some(Found { header: before, .. }) = found.last() {
            let follows = header.number == before.number + 1
                && header.first_index > before.first_index
                && header.first_batch > before.first_batch;
            if !follows {
                let what = format!(
                    "does not follow number {}, which begins at {}",
                    before.number, before.first_index
                );
                return Err(OpenError::Sequence { path, what });
            }
        }
        found.push(Found { header, path });
    }
    Ok(found)
}

/// Opens a segment file and checks its header and length.
pub(crate) fn open_segment(
    disk: &dyn Disk,
    path: &Path,
    writable: bool,
) -> Result<(SegmentHeader, Arc<dyn DiskFile>), OpenError> {
    let file = disk.open(path, writable).map_err(io_error(path, "open"))?;
    let mut bytes = [0u8; SEGMENT_HEADER_BYTES];
    let got = file.read_at(&mut bytes, 0).map_err(io_error(path, "read"))?;
    let header = SegmentHeader::decode(bytes.get(..got).unwrap_or_default())
        .map_err(|fault| OpenError::Header { path: path.to_owned(), fault })?;
    let len = file.size().map_err(io_error(path, "measure"))?;
    if len != header.capacity {
        let what = format!("is {len} bytes long, its header says {}", header.capacity);
        return Err(OpenError::Sequence { path: path.to_owned(), what });
    }
    Ok((header, file))
}

/// Finds and judges everything; with `writable` it also cuts a torn batch and makes the end durable.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    options: &Options,
    floor: u64,
    writable: bool,
) -> Result<Opened, OpenError> {
    let segments = find_segments(disk, dir)?;
    let Some((newest, older)) = segments.split_last() else {
        if floor > options.first || options.first > 0 {
            let floor = floor.max(options.first);
            return Err(OpenError::BelowFloor { path: dir.to_owned(), offset: 0, len: 0, floor });
        }
        return Ok(Opened { segments, last: None, recovery: Recovery::default() });
    };
    let oldest = older.first().unwrap_or(newest);
    if oldest.header.first_index != options.first || (options.first == 0 && oldest.header.number != 0) {
        let what = format!("is the oldest, yet the journal begins with record {}", options.first);
        return Err(OpenError::Sequence { path: oldest.path.clone(), what });
    }

    let (header, file) = open_segment(disk, &newest.path, writable)?;
    let mut cursor = Cursor::new(Arc::clone(&file), header);
    let (walk, tail) = cursor.examine().map_err(io_error(&newest.path, "read"))?;
    // The newest segment may be empty yet; the two that hold the newest records are read in full.
    let sealed = if walk.offsets.is_empty() { 2 } else { 1 };
    check_sealed(disk, &segments, sealed)?;

    let cut = judge(&newest.path, &walk, tail, options)?;
    if walk.next_index < floor {
        let (offset, len) = (walk.end, walk.next_index);
        return Err(OpenError::BelowFloor { path: newest.path.clone(), offset, len, floor });
    }
    let torn = cut.map(|last_byte| Torn {
        segment: header.first_index,
        offset: walk.end,
        index: walk.next_index,
        bytes: last_byte + 1 - walk.end,
    });
    if writable {
        settle(&mut cursor, file.as_ref(), &walk, torn.is_some(), options)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|source| OpenError::Io { path: newest.path.clone(), doing: "settle", source })?;
    }
    let recovery = Recovery { len: walk.next_index, segments: segments.len() as u64, torn };
    Ok(Opened { last: Some(Last { header, file, walk }), segments, recovery })
}

/// Reads the last `count` segments before the newest in full: each must lead exactly to the next one.
fn check_sealed(disk: &dyn Disk, segments: &[Found], count: usize) -> Result<(), OpenError> {
    for pair in segments.windows(2).rev().take(count) {
        let [segment, next] = pair else { continue };
        let (header, file) = open_segment(disk, &segment.path, false)?;
        let walk = Cursor::new(file, header)
            .batches(next.header.first_index)
            .map_err(io_error(&segment.path, "read"))?;
        if walk.next_index != next.header.first_index || walk.next_batch != next.header.first_batch {
            let what = match walk.stop {
                Stop::Limit => format!("batch {} where the next segment begins", walk.next_batch),
                Stop::Nothing => "nothing".to_owned(),
                Stop::Bad(what) => what.to_owned(),
                Stop::Stranger(what) => what,
            };
            let (offset, index) = (walk.stop_at, walk.stop_index);
            return Err(OpenError::Damaged { path: segment.path.clone(), offset, index, what });
        }
    }
    Ok(())
}

/// Decides about the space behind the last complete batch: `Some(last byte)` to cut, `None` if it is clean.
fn judge(path: &Path, walk: &Walk, tail: Tail, options: &Options) -> Result<Option<u64>, OpenError> {
    match tail {
        Tail::Clean => Ok(None),
        Tail::Torn { last_byte } => Ok(Some(last_byte)),
        Tail::Damaged { last_byte, sure: false, .. } if options.give_up_damaged_tail => Ok(Some(last_byte)),
        Tail::Damaged { offset, index, what, .. } => {
            debug_assert!(index >= walk.next_index, "damage stands behind the sound batches");
            Err(OpenError::Damaged { path: path.to_owned(), offset, index, what })
        }
    }
}

/// Makes the end of the last segment durable, whatever happened to the process before.
///
/// INVARIANT: before anything is appended, the last complete batch is durable and all behind it is durably zero.
/// Both are written again even if they read well: after a failed sync the page cache may show what the disk does not
/// hold, and only a new write makes the next sync carry it. One batch is as far as that doubt reaches.
fn settle(
    cursor: &mut Cursor,
    file: &dyn DiskFile,
    walk: &Walk,
    torn: bool,
    options: &Options,
) -> io::Result<()> {
    let capacity = cursor.header().capacity;
    let mut at = walk.last_batch;
    while at < walk.end {
        let n = (walk.end - at).min(ZERO_CHUNK);
        file.write_at(&read_exact(file, at, n)?, at)?;
        at += n;
    }
    let doubtful = walk.end.saturating_add(options.max_batch).min(capacity);
    let clear_to = if torn { capacity } else { doubtful };
    let zeros = vec![0u8; ZERO_CHUNK as usize];
    let mut at = walk.end.max(DATA_START);
    while at < clear_to {
        let n = (clear_to - at).min(ZERO_CHUNK);
        file.write_at(zeros.get(..n as usize).unwrap_or_default(), at)?;
        at += n;
    }
    file.sync_data()
}

fn read_exact(file: &dyn DiskFile, at: u64, n: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; n as usize];
    let got = file.read_at(&mut bytes, at)?;
    if got < bytes.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(bytes)
}

/// Path of the segment that begins with record `first_index`.
pub(crate) fn segment_path(dir: &Path, first_index: u64) -> PathBuf {
    dir.join(file_name(first_index))
}
