//! The next segment, allocated before it is needed, and the space that is kept for hash tiles.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::disk::{Disk, DiskFile, is_no_space};

/// Name of the next segment until it gets its header and its own name.
const SPARE_FILE: &str = "spare.new";
/// Name of the file that holds the space for hash tiles.
const RESERVE_FILE: &str = "tiles.reserve";
/// The segment in use and the next one.
const ALLOCATED_SEGMENTS: u64 = 2;

/// Space that is kept beside the segments, so that the owner can write the hash tiles of all records that fit into
/// allocated segments even when others have filled the disk.
///
/// The owner calls [`Reserve::release`] right before it writes tiles. The space is filled up again whenever a segment
/// is allocated, and lack of it is then reported like lack of space for the segment.
#[derive(Debug, Clone)]
pub struct Reserve {
    inner: Arc<ReserveInner>,
}

#[derive(Debug)]
struct ReserveInner {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    target: u64,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
}

impl Reserve {
    fn new(disk: Arc<dyn Disk>, dir: &Path, per_segment: u64) -> Self {
        let path = dir.join(RESERVE_FILE);
        let target = per_segment * ALLOCATED_SEGMENTS;
        Self { inner: Arc::new(ReserveInner { disk, path, target, file: Mutex::new(None) }) }
    }

    fn with<T>(&self, work: impl FnOnce(&dyn DiskFile) -> io::Result<T>) -> io::Result<T> {
        let mut file = self.inner.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &*file {
            Some(open) => Arc::clone(open),
            None => Arc::clone(file.insert(self.inner.disk.create(&self.inner.path)?)),
        };
        work(file.as_ref())
    }

    fn fill(&self) -> io::Result<()> {
        if self.inner.target == 0 { Ok(()) } else { self.with(|file| file.reserve(self.inner.target)) }
    }

    /// Gives up to `bytes` back to the file system and returns how many.
    ///
    /// # Errors
    /// What the file system says; the space is then still kept.
    pub fn release(&self, bytes: u64) -> io::Result<u64> {
        if self.inner.target == 0 || bytes == 0 {
            return Ok(0);
        }
        self.with(|file| {
            let held = file.size()?;
            let freed = held.min(bytes);
            file.truncate(held - freed)?;
            Ok(freed)
        })
    }

    /// Bytes that are kept now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn held(&self) -> io::Result<u64> {
        if self.inner.target == 0 { Ok(0) } else { self.with(|file| file.size()) }
    }
}

#[derive(Debug)]
enum State {
    None,
    Running(JoinHandle<io::Result<Arc<dyn DiskFile>>>),
    Ready(Arc<dyn DiskFile>),
}

/// Allocates the next segment, at once or on a thread.
#[derive(Debug)]
pub(crate) struct Spare {
    maker: Maker,
    state: State,
    background: bool,
}

#[derive(Debug, Clone)]
struct Maker {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    segment_bytes: u64,
    reserve: Reserve,
}

impl Maker {
    /// INVARIANT: when this returns `Ok`, the file is durably zero on blocks of its own.
    fn make(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(&self.path)?;
        let made = file
            .allocate(self.segment_bytes)
            .and_then(|()| self.reserve.fill())
            .and_then(|()| file.sync_data());
        match made {
            Ok(()) => Ok(file),
            Err(error) => {
                // Half a segment would only keep others from the last free blocks; what matters is the first error.
                let _ = self.disk.remove(&self.path);
                Err(error)
            }
        }
    }
}

impl Spare {
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64, reserve: u64, background: bool) -> Self {
        let reserve = Reserve::new(Arc::clone(&disk), dir, reserve);
        let maker = Maker { disk, path: dir.join(SPARE_FILE), segment_bytes, reserve };
        Self { maker, state: State::None, background }
    }

    pub fn path(&self) -> &Path {
        &self.maker.path
    }

    pub const fn reserve(&self) -> &Reserve {
        &self.maker.reserve
    }

    /// Begins to allocate on a thread, if that is wanted and not done yet.
    pub fn start(&mut self) {
        if !self.background || !matches!(self.state, State::None) {
            return;
        }
        let maker = self.maker.clone();
        // Without a thread the segment is allocated when it is needed.
        if let Ok(thread) =
            std::thread::Builder::new().name("journal-spare".to_owned()).spawn(move || maker.make())
        {
            self.state = State::Running(thread);
        }
    }

    /// The allocated segment; waits for the thread, or allocates now.
    pub fn ready(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        let made = match std::mem::replace(&mut self.state, State::None) {
            State::Ready(file) => Ok(file),
            State::None => self.maker.make(),
            State::Running(thread) => match thread.join() {
                // Space may have returned since the thread found none.
                Ok(Err(error)) if is_no_space(&error) => self.maker.make(),
                Ok(made) => made,
                Err(_) => Err(io::Error::other("the allocating thread died")),
            },
        };
        let file = made?;
        self.state = State::Ready(Arc::clone(&file));
        Ok(file)
    }

    /// Forgets the segment after it was put to use.
    pub fn used(&mut self) {
        self.state = State::None;
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // The lock on the folder must outlive the thread.
        if let State::Running(thread) = std::mem::replace(&mut self.state, State::None) {
            let _ = thread.join();
        }
    }
}
