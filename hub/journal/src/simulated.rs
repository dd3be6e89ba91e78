//! A disk in memory for tests: fails any durable operation in three ways, cuts the power, runs full, flips bits.
//!
//! It keeps two states: what a process sees (the page cache) and what is durable. A write adds a version to each
//! sector that it touches; a sync makes the last version durable; a power cut keeps any version of each sector that
//! was not synced, as a caller's function chooses. A failed sync drops the versions without making them durable, as
//! Linux does: only writing again helps. Names become durable with a sync of the folder; a power cut keeps a prefix
//! of the changes since.

mod stall;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, Lock};
use crate::segment::SECTOR;

const SECTOR_BYTES: usize = SECTOR as usize;

/// Kinds of operations that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A file was made.
    Create,
    /// A file got blocks, or gave some back.
    Allocate,
    /// Data was written.
    Write,
    /// Data was made durable.
    SyncData,
    /// A name was changed.
    Rename,
    /// A file was removed.
    Remove,
    /// Names were made durable.
    SyncDir,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It reports an error and had no effect; a sync also drops what it should have written.
    Lost,
    /// It reports an error, yet took effect.
    KeptButReported,
    /// A write reports an error after half of its bytes; other operations behave as [`Failure::Lost`].
    Half,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
    stall: Arc<stall::Stall>,
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<NameChange>,
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    locked: BTreeSet<PathBuf>,
    operations: Vec<Operation>,
    fail_at: Option<(usize, Failure)>,
    stop_at: Option<usize>,
    capacity: Option<u64>,
    /// Grows with each crash: files that were open before it are dead.
    life: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, u64),
    Move(PathBuf, PathBuf),
    Unset(PathBuf),
}

#[derive(Debug, Default)]
struct FileState {
    data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl FileState {
    fn touch(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        for sector in offset / SECTOR..=(offset + len - 1) / SECTOR {
            let from = (sector * SECTOR) as usize;
            let to = self.data.len().min(from + SECTOR_BYTES);
            let bytes = self.data.get(from..to).unwrap_or_default().to_vec();
            self.unsynced.entry(sector).or_default().push(bytes);
        }
    }

    fn put(to: &mut Vec<u8>, from: u64, bytes: &[u8]) {
        let from = from as usize;
        if to.len() < from + bytes.len() {
            to.resize(from + bytes.len(), 0);
        }
        if let Some(place) = to.get_mut(from..from + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn write(&mut self, data: &[u8], offset: u64) {
        Self::put(&mut self.data, offset, data);
        self.touch(offset, data.len() as u64);
    }

    fn sync(&mut self) {
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            if let Some(last) = versions.last() {
                Self::put(&mut self.durable, sector * SECTOR, last);
            }
        }
        self.durable.resize(self.data.len(), 0);
    }

    fn crash(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        for (sector, versions) in std::mem::take(&mut self.unsynced) {
            let chosen = choose(versions.len() + 1);
            if let Some(kept) = chosen.checked_sub(1).and_then(|at| versions.get(at)) {
                Self::put(&mut self.durable, sector * SECTOR, kept);
            }
        }
        self.data = self.durable.clone();
    }
}

impl Inner {
    /// Counts an operation; `Some` if it has to fail.
    fn count(&mut self, operation: Operation) -> Option<Failure> {
        let number = self.operations.len();
        self.operations.push(operation);
        self.fail_at.filter(|(at, _)| *at == number).map(|(_, failure)| failure)
    }

    fn run(
        &mut self,
        operation: Operation,
        effect: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.stop_at.is_some_and(|at| at <= self.operations.len()) {
            return Err(io::Error::other("simulated end of the process"));
        }
        match self.count(operation) {
            None => effect(self),
            Some(Failure::KeptButReported) => {
                effect(self)?;
                Err(io::Error::other("simulated failure, kept"))
            }
            Some(Failure::Lost | Failure::Half) => Err(io::Error::other("simulated failure, lost")),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|file| file.data.len() as u64).sum()
    }

    fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
        match change {
            NameChange::Set(path, id) => {
                names.insert(path.clone(), *id);
            }
            NameChange::Move(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            NameChange::Unset(path) => {
                names.remove(path);
            }
        }
    }

    fn change(&mut self, change: NameChange) {
        Self::apply(&mut self.names, &change);
        self.pending_names.push(change);
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operations so far, in order; their places are what [`Self::fail_at`] counts.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.inner().operations.clone()
    }

    /// Makes the operation with this number (from 0) fail.
    pub fn fail_at(&self, number: usize, failure: Failure) {
        self.inner().fail_at = Some((number, failure));
    }

    /// Ends the process at the operation with this number: neither it nor any later one has an effect, until
    /// [`Self::kill`] or [`Self::cut_power`]. Unlike a failed sync this drops nothing from the page cache.
    pub fn stop_at(&self, number: usize) {
        self.inner().stop_at = Some(number);
    }

    /// Sets how many bytes all files together may have; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// Ends the process: open files die, locks go, what a process saw stays.
    pub fn kill(&self) {
        let mut inner = self.inner();
        inner.life += 1;
        inner.locked.clear();
        inner.fail_at = None;
        inner.stop_at = None;
    }

    /// Cuts the power. `choose(n)` returns a number below `n`: which of the versions of a sector (or which number of
    /// changes of names) is kept, 0 for what was durable before.
    pub fn cut_power(&self, mut choose: impl FnMut(usize) -> usize) {
        self.kill();
        let mut guard = self.inner();
        let inner = &mut *guard;
        let pending = std::mem::take(&mut inner.pending_names);
        let kept = choose(pending.len() + 1);
        for change in pending.iter().take(kept) {
            Inner::apply(&mut inner.durable_names, change);
        }
        inner.names = inner.durable_names.clone();
        for file in inner.files.values_mut() {
            file.crash(&mut choose);
        }
    }

    /// Names of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.inner().names.keys().cloned().collect()
    }

    /// Content of a file as a process sees it.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.inner();
        inner.files.get(inner.names.get(path)?).map(|file| file.data.clone())
    }

    /// Replaces the content of a file, durably and behind everybody's back.
    pub fn replace(&self, path: &Path, content: Vec<u8>) {
        let mut inner = self.inner();
        if let Some(id) = inner.names.get(path).copied()
            && let Some(file) = inner.files.get_mut(&id)
        {
            *file = FileState { durable: content.clone(), data: content, unsynced: BTreeMap::new() };
        }
    }

    fn handle(&self, inner: &Inner, id: u64, writable: bool) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), id, life: inner.life, writable })
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
    life: u64,
}

impl Lock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut inner = self.disk.inner();
        if inner.life == self.life {
            inner.locked.remove(&self.path);
        }
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path, suffix: &str, limit: usize) -> io::Result<Vec<String>> {
        let inner = self.inner();
        let names: Vec<String> = inner
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .filter(|name| name.ends_with(suffix))
            .collect();
        if names.len() > limit { Err(io::Error::other("too many files")) } else { Ok(names) }
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner();
        let id = *inner.names.get(path).ok_or_else(missing)?;
        Ok(self.handle(&inner, id, writable))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        if let Some(id) = inner.names.get(path).copied() {
            return Ok(self.handle(&inner, id, true));
        }
        inner.run(Operation::Create, |inner| {
            let id = inner.next_file;
            inner.next_file += 1;
            inner.files.insert(id, FileState::default());
            inner.change(NameChange::Set(path.to_owned(), id));
            Ok(())
        })?;
        let id = inner.names.get(path).copied().ok_or_else(missing)?;
        Ok(self.handle(&inner, id, true))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner().run(Operation::Rename, |inner| {
            if !inner.names.contains_key(from) {
                return Err(missing());
            }
            inner.change(NameChange::Move(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner().run(Operation::Remove, |inner| {
            if !inner.names.contains_key(path) {
                return Err(missing());
            }
            inner.change(NameChange::Unset(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.inner().run(Operation::SyncDir, |inner| {
            inner.durable_names = inner.names.clone();
            inner.pending_names.clear();
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut inner = self.inner();
        if !inner.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        let life = inner.life;
        Ok(Some(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned(), life })))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    id: u64,
    life: u64,
    writable: bool,
}

impl SimulatedFile {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.inner();
        if inner.life != self.life {
            return Err(io::Error::other("this process was killed"));
        }
        work(&mut inner)
    }

    fn change(&self, operation: Operation, work: impl FnOnce(&mut FileState)) -> io::Result<()> {
        if !self.writable {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        self.with(|inner| {
            inner.run(operation, |inner| {
                work(inner.files.get_mut(&self.id).ok_or_else(missing)?);
                Ok(())
            })
        })
    }

    fn check_space(&self, len: u64) -> io::Result<()> {
        self.with(|inner| {
            let have = inner.files.get(&self.id).map_or(0, |file| file.data.len() as u64);
            let used = inner.used() + len.saturating_sub(have);
            match inner.capacity {
                Some(capacity) if used > capacity => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => Ok(()),
            }
        })
    }
}

impl DiskFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|inner| Ok(inner.files.get(&self.id).ok_or_else(missing)?.data.len() as u64))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inner| {
            let file = inner.files.get(&self.id).ok_or_else(missing)?;
            let from = usize::try_from(offset).map_err(io::Error::other)?;
            let rest = file.data.get(from..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
                to.copy_from_slice(from);
            }
            Ok(n)
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let halved = self.with(|inner| {
            let next = inner.operations.len();
            Ok(inner.fail_at == Some((next, Failure::Half)))
        })?;
        if halved {
            let half = data.get(..data.len() / 2).unwrap_or_default();
            self.with(|inner| {
                inner.files.get_mut(&self.id).ok_or_else(missing)?.write(half, offset);
                Ok(())
            })?;
        }
        self.change(Operation::Write, |file| file.write(data, offset))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_space(len)?;
        self.change(Operation::Allocate, |file| {
            file.data = vec![0; len as usize];
            file.touch(0, len);
        })
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.check_space(len)?;
        self.change(Operation::Allocate, |file| {
            if (file.data.len() as u64) < len {
                file.data.resize(len as usize, 0);
            }
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.change(Operation::Allocate, |file| file.data.truncate(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.wait_while_stalled()?;
        let lost = self.with(|inner| {
            let next = inner.operations.len();
            Ok(matches!(inner.fail_at, Some((at, Failure::Lost | Failure::Half)) if at == next))
        })?;
        if lost {
            self.with(|inner| {
                inner.files.get_mut(&self.id).ok_or_else(missing)?.unsynced.clear();
                Ok(())
            })?;
        }
        self.change(Operation::SyncData, FileState::sync)
    }
}
