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
use std::time::Duration;
use tokio::sync::Notify;
use yiwang_journal::Reserve;
use yiwang_journal::ground::Workers;
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

    /// Says when files begin to be written, and when that has ended.
    fn writing(&self, writes: bool);
}

#[derive(Default)]
struct Pending {
    tiles: Vec<FinishedTile>,
    dirty: bool,
    finish: bool,
}

/// What waits for the writer, and two bells: one for a thread, one for a task.
#[derive(Default)]
struct Handed {
    pending: Mutex<Pending>,
    wake: Condvar,
    rung: Notify,
}

impl Handed {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.wake.notify_one();
        self.rung.notify_one();
    }
}

/// Who writes.
enum Writer {
    Thread(std::thread::JoinHandle<()>),
    Task(Arc<Mutex<Worker>>),
}

/// Hands finished work to the writing thread. Owned by the sequencer.
pub struct Publisher {
    shared: Arc<Handed>,
    writer: Option<Writer>,
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
        workers: Workers,
    ) -> std::io::Result<Self> {
        let shared = Arc::<Handed>::default();
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
            worker.shared.lock().dirty = true;
            worker.shared.ring();
        }
        let name = "ledger-publish".to_owned();
        let writer = if workers.may_block() {
            Writer::Thread(std::thread::Builder::new().name(name).spawn(move || worker.run())?)
        } else {
            let worker = Arc::new(Mutex::new(worker));
            let _task = workers.start(&name, stepped(Arc::clone(&worker), Arc::clone(&shared)))?;
            Writer::Task(worker)
        };
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Hands over full tiles and says that there is a new head; never blocks on files.
    ///
    /// INVARIANT: called while the tree is locked for the growth that made these tiles, so that no head is
    /// ever published before its full tiles.
    pub fn publish(&self, tiles: Vec<FinishedTile>) {
        let mut pending = self.shared.lock();
        pending.tiles.extend(tiles);
        pending.dirty = true;
        self.shared.ring();
    }

    /// Writes what is pending and ends the thread.
    pub fn finish(&mut self) {
        self.shared.lock().finish = true;
        self.shared.ring();
        match self.writer.take() {
            Some(Writer::Thread(thread)) => thread.join().unwrap_or_else(|_| {
                tracing::error!(
                    "the publisher of tiles ended by a panic; tiles are made again at the next start"
                );
            }),
            Some(Writer::Task(worker)) => {
                worker.lock().unwrap_or_else(PoisonError::into_inner).step();
            }
            None => {}
        }
    }
}

struct Worker {
    tiles: TileFolder,
    checkpoint: PathBuf,
    reserve: Option<Reserve>,
    behind: Arc<AtomicBool>,
    heads: Arc<dyn HeadSource>,
    shared: Arc<Handed>,
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
                if self.shared.lock().finish {
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

    /// Writes once; yields the pause after it. What could not be written rings again.
    fn step(&mut self) -> Duration {
        self.shared.lock().dirty = false;
        match self.write() {
            Ok(()) => {
                self.behind.store(false, Ordering::Relaxed);
                PUBLISH_EVERY
            }
            Err(error) => {
                self.fall_behind(&error);
                self.shared.ring();
                PUBLISH_EVERY * 5
            }
        }
    }

    /// Waits for something to write; true when it is the last time.
    fn wait(&self) -> bool {
        let mut pending = self.shared.lock();
        while !pending.dirty && !pending.finish {
            pending = self.shared.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.dirty = false;
        pending.finish
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.heads.writing(true);
        let written = self.write_files();
        self.heads.writing(false);
        written
    }

    fn write_files(&mut self) -> std::io::Result<()> {
        // The head first, its tiles after: whatever the head covers was handed over before.
        let (head, partials) = self.heads.head();
        let mut tiles = std::mem::take(&mut self.shared.lock().tiles);
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

/// What the thread does, as a task of a simulation's runtime.
async fn stepped(worker: Arc<Mutex<Worker>>, handed: Arc<Handed>) {
    loop {
        handed.rung.notified().await;
        if handed.lock().finish {
            // Whoever asked for the end writes what is left.
            return;
        }
        let pause = worker.lock().unwrap_or_else(PoisonError::into_inner).step();
        tokio::time::sleep(pause).await;
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
