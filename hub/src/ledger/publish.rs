//! Tiles and checkpoint as files, behind the ledger. A failure here loses nothing: the files are marked
//! behind and catch up. Full tiles are durable before the checkpoint that covers them; partial ones are made again
//! at the next start.

use super::tree::TileFolder;
use crate::limits::PUBLISH_EVERY;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use yiwang_journal::Reserve;
use yiwang_proto::merkle::FinishedTile;

/// A signed head.
#[derive(Debug, Clone)]
pub struct SignedHead {
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: [u8; 32],
    /// The signed note.
    pub note: Bytes,
}

/// What a checkpoint file needs beside the full tiles: the head, and the partial tiles of that very head.
pub trait HeadSource: Send + Sync {
    /// The newest signed head with its partial tiles, taken in one moment.
    fn head(&self) -> (SignedHead, Vec<FinishedTile>);

    /// Partial tiles that a published checkpoint of another size needs.
    fn needed(&self) -> Vec<PathBuf>;
}

#[derive(Default)]
struct Pending {
    tiles: Vec<FinishedTile>,
    dirty: bool,
    finish: bool,
}

/// Hands finished work to the writing thread. Owned by the sequencer.
pub struct Publisher {
    shared: Arc<(Mutex<Pending>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Publisher {
    /// Writes the first head and its partial tiles and starts the thread that writes below `dir`, the newest
    /// head into `head_file` there.
    pub fn start(
        dir: &Path,
        head_file: &str,
        reserve: Option<Reserve>,
        behind: Arc<AtomicBool>,
        heads: Arc<dyn HeadSource>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new((Mutex::new(Pending::default()), Condvar::new()));
        let mut worker = Worker {
            tiles: TileFolder::new(dir),
            checkpoint: dir.join(head_file),
            reserve,
            behind,
            heads,
            shared: Arc::clone(&shared),
            unwritten: Vec::new(),
            old_partials: Vec::new(),
        };
        if let Err(error) = worker.write() {
            worker.fall_behind(&error);
            worker.lock().dirty = true;
        }
        let thread =
            std::thread::Builder::new().name("ledger-publish".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over full tiles and says that there is a new head; never blocks on files.
    ///
    /// INVARIANT: called while the tree is locked for the growth that made these tiles, so that no head is
    /// ever published before its full tiles.
    pub fn publish(&self, tiles: Vec<FinishedTile>) {
        let (lock, wake) = &*self.shared;
        let mut pending = lock.lock().unwrap_or_else(PoisonError::into_inner);
        pending.tiles.extend(tiles);
        pending.dirty = true;
        wake.notify_one();
    }

    /// Writes what is pending and ends the thread.
    pub fn finish(&mut self) {
        let (lock, wake) = &*self.shared;
        lock.lock().unwrap_or_else(PoisonError::into_inner).finish = true;
        wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                "the publisher of tiles ended by a panic; tiles are made again at the next start"
            );
        }
    }
}

struct Worker {
    tiles: TileFolder,
    checkpoint: PathBuf,
    reserve: Option<Reserve>,
    behind: Arc<AtomicBool>,
    heads: Arc<dyn HeadSource>,
    shared: Arc<(Mutex<Pending>, Condvar)>,
    unwritten: Vec<FinishedTile>,
    old_partials: Vec<PathBuf>,
}

impl Worker {
    fn fall_behind(&self, error: &std::io::Error) {
        self.behind.store(true, Ordering::Relaxed);
        tracing::warn!(%error, "tiles and checkpoint files are behind; they catch up by themselves");
    }

    fn run(mut self) {
        loop {
            let finish = self.wait();
            while let Err(error) = self.write() {
                self.fall_behind(&error);
                if self.lock().finish {
                    return;
                }
                std::thread::sleep(PUBLISH_EVERY * 5);
            }
            self.behind.store(false, Ordering::Relaxed);
            if finish {
                return;
            }
            std::thread::sleep(PUBLISH_EVERY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write; true when it is the last time.
    fn wait(&self) -> bool {
        let mut pending = self.lock();
        while !pending.dirty && !pending.finish {
            pending = self.shared.1.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.dirty = false;
        pending.finish
    }

    fn write(&mut self) -> std::io::Result<()> {
        // The head first, its tiles after: whatever the head covers was handed over before.
        let (head, partials) = self.heads.head();
        let mut tiles = std::mem::take(&mut self.lock().tiles);
        self.unwritten.append(&mut tiles);
        let bytes: usize = self.unwritten.iter().chain(&partials).map(|tile| tile.bytes.len() + 4096).sum();
        if let Some(reserve) = &self.reserve {
            reserve.release(bytes as u64)?;
        }
        // All of them stay until all are durable: after a failed sync they are written again.
        let mut unsynced = Unsynced::default();
        for tile in &self.unwritten {
            unsynced.write(&self.tiles, tile)?;
        }
        // The partial ones too: a copy that is taken after a power cut, and before the next start, must hold.
        let mut written = Vec::new();
        for tile in &partials {
            written.extend(self.tiles.path(tile.level, tile.index, tile.width));
            unsynced.write(&self.tiles, tile)?;
        }
        unsynced.sync()?;
        self.unwritten.clear();
        write_durably(&self.checkpoint, &head.note)?;
        // Partial tiles of the head before serve nobody once the new head is out.
        let needed = self.heads.needed();
        for old in self.old_partials.iter().filter(|old| !written.contains(old) && !needed.contains(old)) {
            let _ = std::fs::remove_file(old);
            if let Some(folder) = old.parent() {
                let _ = std::fs::remove_dir(folder);
            }
        }
        self.old_partials = written;
        Ok(())
    }
}

/// Writes one tile under its C2SP path; `beside` ends the name that it has until it is whole, one per writer.
/// Not synced: see [`Unsynced`].
pub fn write_tile(folder: &TileFolder, tile: &FinishedTile, beside: &str) -> std::io::Result<PathBuf> {
    let path = folder
        .path(tile.level, tile.index, tile.width)
        .ok_or_else(|| std::io::Error::other("tile is outside of the tree"))?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension(beside);
    std::fs::write(&temporary, &tile.bytes)?;
    std::fs::rename(&temporary, &path)?;
    Ok(path)
}

/// Full tiles that were written and are not yet durable. All are written before the first is synced, so that one
/// commit of the file system carries many.
#[derive(Default)]
pub struct Unsynced {
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// Writes a full tile.
    pub fn write(&mut self, folder: &TileFolder, tile: &FinishedTile) -> std::io::Result<()> {
        let path = folder.path(tile.level, tile.index, tile.width);
        let parent = path.as_deref().and_then(Path::parent);
        let known = parent.is_none_or(Path::exists);
        let path = write_tile(folder, tile, "new")?;
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(folder.dir()));
        // A new folder is only there after a power cut if the one above it was synced too.
        self.folders.extend(above.take(if known { 1 } else { usize::MAX }).map(Path::to_owned));
        self.files.push(path);
        Ok(())
    }

    /// Tiles that wait.
    pub fn waiting(&self) -> usize {
        self.files.len()
    }

    /// Makes all of them durable. After an error they must be written again: a second sync proves nothing.
    pub fn sync(&mut self) -> std::io::Result<()> {
        for path in self.files.drain(..) {
            std::fs::File::open(path)?.sync_data()?;
        }
        for folder in std::mem::take(&mut self.folders) {
            crate::tls::files::sync_dir(&folder)?;
        }
        Ok(())
    }
}

/// Removes partial tiles that an earlier run left below some size. A power cut may have emptied them, and may have
/// brought back, empty, those of older heads that had been removed: a removal is no more synced than a tile.
pub fn clear_partials(folder: &TileFolder, to: u64) {
    for level in 0..8_u8 {
        let at = |size: u64| size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        // The head is written five times a second, so the folders of more tiles than this are of no recent run.
        for index in (0..=at(to)).rev().take(4096) {
            if let Some(partials) = folder.path(level, index, 1).as_deref().and_then(Path::parent) {
                let _ = std::fs::remove_dir_all(partials);
            }
        }
    }
}

/// Replaces a small file so that after a power cut either the old or the new content is there.
pub fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    crate::tls::files::replace(path, content, crate::tls::files::PUBLIC)
}
