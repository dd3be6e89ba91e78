//! Tiles and checkpoint as files, behind the ledger. A failure here loses nothing: the files are marked
//! behind and catch up; recovery makes them again from the entries with [`write_tile`].

use super::tree::TileFolder;
use crate::limits::PUBLISH_EVERY;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
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

#[derive(Default)]
struct Pending {
    tiles: Vec<FinishedTile>,
    partials: Vec<FinishedTile>,
    head: Option<SignedHead>,
    finish: bool,
}

/// Hands finished work to the writing thread. Owned by the sequencer.
pub struct Publisher {
    shared: Arc<(Mutex<Pending>, Condvar)>,
    wants_partials: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread that writes below `dir`.
    pub fn start(dir: &Path, reserve: Option<Reserve>, behind: Arc<AtomicBool>) -> std::io::Result<Self> {
        let shared = Arc::new((Mutex::new(Pending::default()), Condvar::new()));
        let wants_partials = Arc::new(AtomicBool::new(true));
        let worker = Worker {
            tiles: TileFolder::new(dir),
            checkpoint: dir.join("checkpoint"),
            reserve,
            behind,
            shared: Arc::clone(&shared),
            wants_partials: Arc::clone(&wants_partials),
        };
        let thread =
            std::thread::Builder::new().name("ledger-publish".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, wants_partials, thread: Some(thread) })
    }

    /// Whether partial tiles are due; making them for every batch would cost more than the batch.
    pub fn wants_partials(&self) -> bool {
        self.wants_partials.load(Ordering::Relaxed)
    }

    /// Hands over; never blocks on files.
    pub fn publish(&self, tiles: Vec<FinishedTile>, partials: Option<Vec<FinishedTile>>, head: SignedHead) {
        let (lock, wake) = &*self.shared;
        let mut pending = lock.lock().unwrap_or_else(PoisonError::into_inner);
        pending.tiles.extend(tiles);
        if let Some(partials) = partials {
            // INVARIANT: a head is published only together with its own partial tiles.
            self.wants_partials.store(false, Ordering::Relaxed);
            pending.partials = partials;
            pending.head = Some(head);
            wake.notify_one();
        }
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
    shared: Arc<(Mutex<Pending>, Condvar)>,
    wants_partials: Arc<AtomicBool>,
}

impl Worker {
    fn run(self) {
        let mut old_partials: Vec<PathBuf> = Vec::new();
        loop {
            let (mut work, finish) = self.take();
            while let Err(error) = self.write(&work, &mut old_partials) {
                self.behind.store(true, Ordering::Relaxed);
                tracing::warn!(%error, "tiles and checkpoint files are behind; they catch up by themselves");
                if self.finish_asked() {
                    return;
                }
                std::thread::sleep(PUBLISH_EVERY * 5);
                self.merge(&mut work);
            }
            self.behind.store(false, Ordering::Relaxed);
            if finish {
                return;
            }
            std::thread::sleep(PUBLISH_EVERY);
            self.wants_partials.store(true, Ordering::Relaxed);
        }
    }

    fn finish_asked(&self) -> bool {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).finish
    }

    fn take(&self) -> (Pending, bool) {
        let (lock, wake) = &*self.shared;
        let mut pending = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while pending.head.is_none() && !pending.finish {
            pending = wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        let finish = pending.finish;
        (std::mem::take(&mut *pending), finish)
    }

    fn merge(&self, work: &mut Pending) {
        let mut pending = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        work.tiles.append(&mut pending.tiles);
        if pending.head.is_some() {
            work.partials = std::mem::take(&mut pending.partials);
            work.head = pending.head.take();
        }
    }

    fn write(&self, work: &Pending, old_partials: &mut Vec<PathBuf>) -> std::io::Result<()> {
        let bytes: usize = work.tiles.iter().chain(&work.partials).map(|tile| tile.bytes.len() + 4096).sum();
        if let Some(reserve) = &self.reserve {
            reserve.release(bytes as u64)?;
        }
        for tile in &work.tiles {
            write_tile(&self.tiles, tile)?;
        }
        let mut partials = Vec::new();
        for tile in &work.partials {
            partials.push(write_tile(&self.tiles, tile)?);
        }
        let Some(head) = &work.head else { return Ok(()) };
        write_durably(&self.checkpoint, &head.note)?;
        // Partial tiles of the head before serve nobody once the new head is out.
        for old in old_partials.iter().filter(|old| !partials.contains(old)) {
            let _ = std::fs::remove_file(old);
            if let Some(folder) = old.parent() {
                let _ = std::fs::remove_dir(folder);
            }
        }
        *old_partials = partials;
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
