//! What the writer publishes and readers look up: segments, the number of durable records, offsets.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::disk::{Disk, DiskFile};
use crate::locate;
use crate::options::Options;
use crate::reader::ReadError;
use crate::recover::{OpenError, Opened, open_segment, segment_path};
use crate::segment::SegmentHeader;
use crate::walk::Cursor;

/// Stands for a record that cannot be found in its segment.
pub(crate) const HOLE: u32 = u32::MAX;
/// Offsets kept in memory for older segments, over all of them (4 bytes each).
const CACHED_OFFSETS: usize = 4 << 20;
/// Older segments that an open journal keeps open, those that were used last: a gibibyte in segments of the usual size,
/// and few of a process's descriptors.
pub const CACHED_SEGMENTS: usize = 16;

#[derive(Debug)]
pub(crate) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub first: u64,
    state: RwLock<State>,
    cache: Mutex<Vec<Arc<Indexed>>>,
}

#[derive(Debug)]
struct State {
    /// INVARIANT: only durable records count.
    len: u64,
    segments: Vec<SegmentHeader>,
    newest: Option<Newest>,
}

#[derive(Debug)]
struct Newest {
    file: Arc<dyn DiskFile>,
    offsets: Vec<u32>,
}

/// An older segment with the places of its records.
#[derive(Debug)]
pub(crate) struct Indexed {
    pub header: SegmentHeader,
    pub file: Arc<dyn DiskFile>,
    pub offsets: Vec<u32>,
}

/// A run of records in one segment.
#[derive(Debug)]
pub(crate) struct Run {
    pub header: SegmentHeader,
    pub file: Arc<dyn DiskFile>,
    /// Index of the first of `offsets`.
    pub first: u64,
    pub offsets: Vec<u32>,
}

impl Shared {
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, options: &Options, opened: Opened) -> Self {
        let state = State {
            len: opened.recovery.len,
            segments: opened.segments.iter().map(|found| found.header).collect(),
            newest: opened.last.map(|last| Newest { file: last.file, offsets: last.walk.offsets }),
        };
        Self {
            disk,
            dir: dir.to_owned(),
            first: options.first,
            state: RwLock::new(state),
            cache: Mutex::new(Vec::new()),
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> u64 {
        self.state().len
    }

    /// The writer made the next batch durable.
    pub fn publish(&self, len: u64, offsets: &[u32]) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = &mut state.newest {
            newest.offsets.extend_from_slice(offsets);
        }
        state.len = len;
    }

    /// The writer put a new segment to use.
    pub fn begin_segment(&self, header: SegmentHeader, file: Arc<dyn DiskFile>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let before = state.newest.replace(Newest { file, offsets: Vec::new() });
        let older = state.segments.last().copied();
        state.segments.push(header);
        drop(state);
        if let (Some(Newest { file, offsets }), Some(header)) = (before, older) {
            self.keep(Arc::new(Indexed { header, file, offsets }));
        }
    }

    /// Up to `most` records that end just before index `end` and stand in one segment within `bytes` of each other.
    pub fn run_before(&self, end: u64, most: usize, bytes: u64) -> Result<Run, ReadError> {
        let last = end.saturating_sub(1);
        self.with_segment(last, |header, file, offsets| {
            let stop = usize::try_from(end - header.first_index).unwrap_or(usize::MAX).min(offsets.len());
            let newest = offsets.get(stop.saturating_sub(1)).copied().unwrap_or(HOLE);
            let mut start = stop.saturating_sub(1);
            while start > 0 && stop - start < most {
                let near = |at: &u32| *at == HOLE || u64::from(newest.saturating_sub(*at)) < bytes;
                if !offsets.get(start - 1).is_some_and(near) {
                    break;
                }
                start -= 1;
            }
            Run {
                header,
                file: Arc::clone(file),
                first: header.first_index + start as u64,
                offsets: offsets.get(start..stop).unwrap_or_default().to_vec(),
            }
        })
    }

    /// The segment, file and offset of one record.
    pub fn place(&self, index: u64) -> Result<(SegmentHeader, Arc<dyn DiskFile>, u32), ReadError> {
        let (header, next) = self.segment_of(index)?;
        let segment = header.first_index;
        let position = usize::try_from(index - segment).unwrap_or(usize::MAX);
        let at = |offsets: &[u32]| offsets.get(position).copied().unwrap_or(HOLE);
        if next.is_none() {
            let state = self.state();
            // The writer may have gone on to another segment since; then the offsets are in the cache.
            if let (Some(newest), Some(last)) = (&state.newest, state.segments.last())
                && last.first_index == segment
            {
                return Ok((header, Arc::clone(&newest.file), at(&newest.offsets)));
            }
        }
        let next = self.segment_of(index)?.1.unwrap_or(u64::MAX);
        if let Some(kept) = self.cached(&header) {
            return Ok((header, Arc::clone(&kept.file), at(&kept.offsets)));
        }
        let file = self.open_older(&header)?;
        let mut cursor = Cursor::looking(Arc::clone(&file), header);
        let found = locate::seek(&mut cursor, index, next);
        if let Some(offset) = found.map_err(|source| ReadError::Io { segment, source })? {
            return Ok((header, file, offset));
        }
        let indexed = self.indexed(header, next)?;
        Ok((header, Arc::clone(&indexed.file), at(&indexed.offsets)))
    }

    /// Header of the segment that holds `index`, and the first index of the next segment (if there is one).
    pub fn segment_of(&self, index: u64) -> Result<(SegmentHeader, Option<u64>), ReadError> {
        let state = self.state();
        if index >= state.len {
            return Err(ReadError::Beyond { index, len: state.len });
        }
        let after = state.segments.partition_point(|header| header.first_index <= index);
        let header = after.checked_sub(1).and_then(|at| state.segments.get(at)).copied();
        let header = header.ok_or(ReadError::Pruned { index, first: self.first })?;
        Ok((header, state.segments.get(after).map(|next| next.first_index)))
    }

    fn with_segment<T>(
        &self,
        index: u64,
        work: impl FnOnce(SegmentHeader, &Arc<dyn DiskFile>, &[u32]) -> T,
    ) -> Result<T, ReadError> {
        let (header, next) = self.segment_of(index)?;
        if next.is_none() {
            let state = self.state();
            // The writer may have gone on to another segment since; then the offsets are in the cache.
            if let (Some(newest), Some(last)) = (&state.newest, state.segments.last())
                && last.first_index == header.first_index
            {
                return Ok(work(header, &newest.file, &newest.offsets));
            }
        }
        let (_, next) = self.segment_of(index)?;
        let indexed = self.indexed(header, next.unwrap_or(u64::MAX))?;
        Ok(work(indexed.header, &indexed.file, &indexed.offsets))
    }

    fn indexed(&self, header: SegmentHeader, next: u64) -> Result<Arc<Indexed>, ReadError> {
        if let Some(kept) = self.cached(&header) {
            return Ok(kept);
        }
        let indexed = Arc::new(self.index(header, next)?);
        self.keep(Arc::clone(&indexed));
        Ok(indexed)
    }

    fn cached(&self, header: &SegmentHeader) -> Option<Arc<Indexed>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let at = cache.iter().position(|kept| kept.header.first_index == header.first_index)?;
        let kept = cache.remove(at);
        cache.push(Arc::clone(&kept));
        Some(kept)
    }

    fn keep(&self, indexed: Arc<Indexed>) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|kept| kept.header.first_index != indexed.header.first_index);
        cache.push(indexed);
        let mut total: usize = cache.iter().map(|kept| kept.offsets.len()).sum();
        while cache.len() > 1 && (cache.len() > CACHED_SEGMENTS || total > CACHED_OFFSETS) {
            total -= cache.remove(0).offsets.len();
        }
    }

    /// Opens an older segment for reading, its header checked against what was seen at the start.
    pub fn open_older(&self, header: &SegmentHeader) -> Result<Arc<dyn DiskFile>, ReadError> {
        let path = segment_path(&self.dir, header.first_index);
        let segment = header.first_index;
        let damaged = |what: String| ReadError::Damaged { segment, index: segment, offset: 0, what };
        match open_segment(self.disk.as_ref(), &path, false) {
            Ok((now, file)) if now == *header => Ok(file),
            Ok(_) => Err(damaged("another header than at the start".to_owned())),
            Err(OpenError::Io { source, .. }) => Err(ReadError::Io { segment, source }),
            Err(other) => Err(damaged(other.to_string())),
        }
    }

    fn index(&self, header: SegmentHeader, next: u64) -> Result<Indexed, ReadError> {
        let file = self.open_older(&header)?;
        let segment = header.first_index;
        let mut cursor = Cursor::new(Arc::clone(&file), header);
        let offsets = locate::all(&mut cursor, next).map_err(|source| ReadError::Io { segment, source })?;
        Ok(Indexed { header, file, offsets })
    }
}
