//! A disk whose power can be cut: real files, of which each sector that was written and not synced may come back as
//! it was before. It can also end its process at any operation.

use super::chance::Dice;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yiwang_journal::disk::{Disk, DiskFile, Lock, RealDisk};

const SECTOR: u64 = 512;

/// Clones are the same disk. It outlives its host.
#[derive(Debug, Clone, Default)]
pub struct PowerDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Files by their present names; a file that is open keeps its number when its name changes.
    numbers: BTreeMap<PathBuf, u64>,
    next_number: u64,
    /// What is durable of sectors that were written since, by file.
    before: BTreeMap<u64, BTreeMap<u64, Vec<u8>>>,
    operations: u64,
    stop_at: Option<u64>,
    stopped: bool,
    lies: bool,
    /// Files that were opened before the last crash are dead.
    life: u64,
}

impl Inner {
    fn number(&mut self, path: &Path) -> u64 {
        let next = self.next_number;
        let number = *self.numbers.entry(path.to_owned()).or_insert(next);
        self.next_number = next.max(number + 1);
        number
    }

    /// Counts an operation; an error where the process ends at it.
    fn count(&mut self, life: u64) -> io::Result<()> {
        self.operations += 1;
        if self.stop_at.is_some_and(|at| at <= self.operations) {
            self.stopped = true;
        }
        if self.stopped || life != self.life {
            return Err(io::Error::other("simulated end of the process"));
        }
        Ok(())
    }
}

impl PowerDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process after so many more operations.
    pub fn stop_after(&self, operations: u64) {
        let mut inner = self.inner();
        inner.stop_at = Some(inner.operations + operations);
    }

    /// From now on syncs do nothing, and say that they did.
    pub fn lie(&self) {
        self.inner().lies = true;
    }

    /// Whether the process ended at an operation.
    pub fn stopped(&self) -> bool {
        self.inner().stopped
    }

    /// The process is over; what it wrote stays in the page cache.
    pub fn kill(&self) {
        let mut inner = self.inner();
        (inner.stop_at, inner.stopped) = (None, false);
        inner.life += 1;
    }

    /// The process is over, and of what was not synced chance keeps a part.
    pub fn cut_power(&self, dice: &Dice) {
        self.kill();
        let mut inner = self.inner();
        let mut before = std::mem::take(&mut inner.before);
        for (path, number) in &inner.numbers {
            let Some(sectors) = before.remove(number) else { continue };
            let file = RealDisk.open(path, true).unwrap();
            // Often all or nothing: a batch that is half there is the rarer case.
            let lost = *dice.pick(&[0, 50, 100]);
            for (sector, old) in sectors {
                if dice.percent(lost) {
                    file.write_at(&old, sector * SECTOR).unwrap();
                }
            }
        }
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let mut inner = self.inner();
        let (number, life) = (inner.number(path), inner.life);
        Arc::new(PowerFile { disk: self.clone(), number, file, life })
    }
}

#[derive(Debug)]
struct PowerFile {
    disk: PowerDisk,
    number: u64,
    file: Arc<dyn DiskFile>,
    life: u64,
}

impl PowerFile {
    fn remember(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut inner = self.disk.inner();
        let size = self.file.size()?;
        let sectors = inner.before.entry(self.number).or_default();
        for sector in offset / SECTOR..=(offset + len - 1) / SECTOR {
            if let std::collections::btree_map::Entry::Vacant(free) = sectors.entry(sector) {
                let from = sector * SECTOR;
                let mut old = vec![0; usize::try_from(SECTOR.min(size.saturating_sub(from))).unwrap()];
                let mut read = 0;
                while read < old.len() {
                    match self.file.read_at(&mut old[read..], from + read as u64)? {
                        0 => break,
                        more => read += more,
                    }
                }
                free.insert(old);
            }
        }
        Ok(())
    }
}

impl DiskFile for PowerFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let alive = {
            let mut inner = self.disk.inner();
            let was = inner.stopped;
            inner.count(self.life).map_err(|error| (error, was || self.life != inner.life))
        };
        match alive {
            Ok(()) => {
                self.remember(offset, data.len() as u64)?;
                self.file.write_at(data, offset)
            }
            Err((error, true)) => Err(error),
            // The write in whose middle the process ends: half of it is there.
            Err((error, false)) => {
                let half = &data[..data.len() / 2];
                if !half.is_empty() {
                    self.remember(offset, half.len() as u64)?;
                    self.file.write_at(half, offset)?;
                }
                Err(error)
            }
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.inner().count(self.life)?;
        self.file.allocate(len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.disk.inner().count(self.life)?;
        self.file.reserve(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.inner().count(self.life)?;
        self.file.truncate(len)
    }

    /// Costs nothing: what is durable is what this disk does not take back.
    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.count(self.life)?;
        if !inner.lies {
            inner.before.remove(&self.number);
        }
        Ok(())
    }
}

/// Names are durable at once; `hub/journal` has a disk that takes names back too.
impl Disk for PowerDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path, suffix: &str, limit: usize) -> io::Result<Vec<String>> {
        RealDisk.list(dir, suffix, limit)
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path, writable).map(|file| self.file(path, file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let life = self.inner().life;
        self.inner().count(life)?;
        RealDisk.create(path).map(|file| self.file(path, file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let life = inner.life;
        inner.count(life)?;
        RealDisk.rename(from, to)?;
        let number = inner.number(from);
        inner.numbers.remove(from);
        inner.numbers.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let life = inner.life;
        inner.count(life)?;
        RealDisk.remove(path)?;
        if let Some(number) = inner.numbers.remove(path) {
            inner.before.remove(&number);
        }
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let life = inner.life;
        inner.count(life)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        RealDisk.lock(path)
    }
}
