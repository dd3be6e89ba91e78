//! The few file operations that a journal needs, behind a trait so that tests can make each of them fail.
//!
//! # Contract
//! - **Durability.** What [`DiskFile::write_at`], [`DiskFile::allocate`] and [`DiskFile::truncate`] did is durable
//!   once a later [`DiskFile::sync_data`] of the same file returned `Ok`; what [`Disk::create`], [`Disk::rename`]
//!   and [`Disk::remove`] did is durable once a later [`Disk::sync_dir`] of that folder returned `Ok`. Until then a
//!   power cut may keep any part of it, in units of 512-byte sectors.
//! - **Failure.** An error says nothing about whether the operation took effect. A failed sync may also have
//!   dropped the pages that it should have written: a second sync that returns `Ok` proves nothing about them.
//!   INVARIANT: nobody retries a write or a sync; the caller stops and recovers by opening the journal again.
//! - **Space.** Only [`DiskFile::allocate`], [`DiskFile::reserve`] and the making of folder entries may lack space.
//!   They report it as [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] and may be tried again.
//! - **Concurrency.** Every method may be called from several threads at once. Reads of bytes that nobody writes
//!   meanwhile return what the last finished write put there.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};

/// What holds a lock until it is dropped.
pub trait Lock: Send + Sync + fmt::Debug {}

/// A folder tree. See the module for the contract.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes the folder and its parents if they are missing, durably.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in `dir` that end with `suffix`, in no order; more than `limit` of them is an error.
    fn list(&self, dir: &Path, suffix: &str, limit: usize) -> io::Result<Vec<String>>;

    /// Opens an existing regular file. Never follows a link, never blocks on a pipe.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing, and makes it if it is missing. Its content is left as it is.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives the file another name in the same folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of the folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks `path` (made if missing) against every other process and opener; `None` if somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// The process that holds a lock, where that is known: for a message, and for nothing else.
    fn holder(&self, _path: &Path) -> Option<u32> {
        None
    }
}

/// One open file. See the module for the contract.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset`; returns less than asked only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `data` at `offset`, inside the length of the file.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file exactly `len` bytes long, all zero, on blocks of its own.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long, on blocks of its own; the content does not matter.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Shortens the file to `len` bytes and gives the blocks back.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes the data (and what is needed to read it again) durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// Whether an error means that space is lacking.
#[must_use]
pub fn is_no_space(error: &io::Error) -> bool {
    // Out of open files is no fault of the disk either: a segment is tried again when some are closed.
    let files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || error.raw_os_error().is_some_and(|code| files.contains(&code))
}

/// The file system of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

#[derive(Debug)]
struct FileLock(#[expect(dead_code, reason = "holds the lock until dropped")] File);

impl Lock for FileLock {}

/// Chunk of the zero fill: large enough to be quick, small enough not to matter.
const ZERO_CHUNK: usize = 1 << 20;

/// Digits of a process's number.
const HOLDER_MAX: usize = 10;

fn special(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                self.create_dir(parent)?;
                match std::fs::create_dir(dir) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
                self.sync_dir(parent)
            }
            _ => match std::fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => self.sync_dir(Path::new(".")),
            },
        }
    }

    fn list(&self, dir: &Path, suffix: &str, limit: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if name.ends_with(suffix) {
                if names.len() == limit {
                    return Err(io::Error::other(format!("more than {limit} files `*{suffix}`")));
                }
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(special(OFlags::NOFOLLOW | OFlags::NONBLOCK))
            .open(path)?;
        regular(file)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(special(OFlags::NOFOLLOW | OFlags::NONBLOCK))
            .open(path)?;
        regular(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(special(OFlags::NOFOLLOW))
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                name_holder(&file);
                Ok(Some(Box::new(FileLock(file))))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn holder(&self, path: &Path) -> Option<u32> {
        let mut text = [0; HOLDER_MAX];
        let file = OpenOptions::new().read(true).custom_flags(special(OFlags::NOFOLLOW)).open(path).ok()?;
        let read = file.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(text.get(..read)?).ok()?.parse().ok()
    }
}

/// Writes down whose lock it is. Only a message rests on it, so a full disk is no reason not to open.
fn name_holder(file: &File) {
    let id = std::process::id().to_string();
    let _ = file.set_len(0).and_then(|()| file.write_all_at(id.as_bytes(), 0));
}

fn regular(file: File) -> io::Result<Arc<dyn DiskFile>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Arc::new(RealFile(file)))
}

#[derive(Debug)]
struct RealFile(File);

impl RealFile {
    /// Refuses at once what cannot fit: a failing `fallocate` may take minutes on a large full disk, and would hold
    /// the last free blocks meanwhile.
    fn check_space(&self, more: u64) -> io::Result<()> {
        let stat = rustix::fs::fstatvfs(&self.0)?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < more {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let have = self.0.metadata()?.len();
        self.check_space(len.saturating_sub(have))?;
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            // Some file systems have no fallocate: the zero fill takes the blocks there.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.fill_zero(have, len),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(()),
        }
    }

    fn fill_zero(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0u8; ZERO_CHUNK];
        let mut at = from;
        while at < to {
            let n = usize::try_from(to - at).map_or(ZERO_CHUNK, |n| n.min(ZERO_CHUNK));
            self.0.write_all_at(zeros.get(..n).unwrap_or_default(), at)?;
            at += n as u64;
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.0.metadata()?.len() > len {
            self.0.set_len(len)?;
        }
        self.grow(len)?;
        // Reserved blocks read as zero already, but writing them now turns them from unwritten into written ones,
        // so that a later sync has no metadata to write.
        self.fill_zero(0, len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        if self.0.metadata()?.len() >= len { Ok(()) } else { self.grow(len) }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
