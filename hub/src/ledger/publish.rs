//! Tiles and checkpoint as files, behind the ledger. A failure here loses nothing: the files are marked
//! behind and catch up; recovery makes them again from the entries with [`write_tile`].

use super::tree::TileFolder;
use crate::limits::PUBLISH_EVERY;
use bytes::Bytes;
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
    /// Starts the thread that writes below `dir`, the newest head into `head_file` there.
    pub fn start(
        dir: &Path,
        head_file: &str,
        reserve: Option<Reserve>,
        behind: Arc<AtomicBool>,
        heads: Arc<dyn HeadSource>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new((Mutex::new(Pending::default()), Condvar::new()));
        let worker = Worker {
            tiles: TileFolder::new(dir),
            checkpoint: dir.join(head_file),
            reserve,
            behind,
            heads,
            shared: Arc::clone(&shared),
        };
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
}

impl Worker {
    fn run(self) {
        let mut unwritten = Vec::new();
        let mut old_partials: Vec<PathBuf> = Vec::new();
        loop {
            let finish = self.wait();
            while let Err(error) = self.write(&mut unwritten, &mut old_partials) {
                self.behind.store(true, Ordering::Relaxed);
                tracing::warn!(%error, "tiles and checkpoint files are behind; they catch up by themselves");
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

    fn write(
        &self,
        unwritten: &mut Vec<FinishedTile>,
        old_partials: &mut Vec<PathBuf>,
    ) -> std::io::Result<()> {
        // The head first, its tiles after: whatever the head covers was handed over before.
        let (head, partials) = self.heads.head();
        unwritten.append(&mut self.lock().tiles);
        let bytes: usize = unwritten.iter().chain(&partials).map(|tile| tile.bytes.len() + 4096).sum();
        if let Some(reserve) = &self.reserve {
            reserve.release(bytes as u64)?;
        }
        while let Some(tile) = unwritten.last() {
            write_tile(&self.tiles, tile)?;
            unwritten.pop();
        }
        let mut written = Vec::new();
        for tile in &partials {
            written.push(write_tile(&self.tiles, tile)?);
        }
        write_durably(&self.checkpoint, &head.note)?;
        // Partial tiles of the head before serve nobody once the new head is out.
        let needed = self.heads.needed();
        for old in old_partials.iter().filter(|old| !written.contains(old) && !needed.contains(old)) {
            let _ = std::fs::remove_file(old);
            if let Some(folder) = old.parent() {
                let _ = std::fs::remove_dir(folder);
            }
        }
        *old_partials = written;
        Ok(())
    }
}

/// Writes one tile under its C2SP path. Not synced: tiles are made again from entries where they are bad.
pub fn write_tile(folder: &TileFolder, tile: &FinishedTile) -> std::io::Result<PathBuf> {
    let path = folder
        .path(tile.level, tile.index, tile.width)
        .ok_or_else(|| std::io::Error::other("tile is outside of the tree"))?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, &tile.bytes)?;
    std::fs::rename(&temporary, &path)?;
    Ok(path)
}

/// Replaces a small file so that after a power cut either the old or the new content is there.
pub fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    crate::tls::files::replace(path, content, crate::tls::files::PUBLIC)
}
