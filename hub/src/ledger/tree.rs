//! Where the hashes of proofs come from: the right edge of the tree in memory, full tiles on disk. No tile is
//! believed: what is read must give the hash that the level above holds for it, up to the tree in memory, whose root
//! is signed. A missing or false one is made again from the level below or from the entries.

use super::publish::write_tile;
use super::store::EntryReader;
use bytes::Bytes;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use yiwang_proto::merkle::{FinishedTile, HASH_BYTES, Hash, HashReader, TILE_WIDTH, Tree, node_hash};
use yiwang_proto::tile::{TileKind, TilePath};

/// Tiles kept in memory after they were checked, 8 KiB each: the upper levels of a hundred million entries are 1,500
/// tiles, and a proof needs one of each level.
const CHECKED_TILES: usize = 512;
/// Entries that one request may read to make a tile again: enough for any tile of the two lowest levels.
const MAKE_FOR_REQUEST: u64 = 1 << 17;

/// Why a tile cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("hash tile {level}/{index} cannot be read: {detail}; `yiwang hub rebuild` makes tiles again")]
pub struct TileReadError {
    level: u8,
    index: u64,
    detail: String,
}

/// Tiles in the ledger's folder.
#[derive(Debug, Clone)]
pub struct TileFolder {
    dir: PathBuf,
}

impl TileFolder {
    /// Tiles stand below this folder as C2SP tlog-tiles names them.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder that holds them all.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a tile stands.
    pub fn path(&self, level: u8, index: u64, width: u16) -> Option<PathBuf> {
        let path = TilePath::new(TileKind::Hashes(level), index, width).ok()?;
        Some(self.dir.join(path.to_string()))
    }

    /// The file of exactly this width, if it has the right length.
    fn stored(&self, level: u8, index: u64, width: u16) -> Option<Bytes> {
        let bytes = std::fs::read(self.path(level, index, width)?).ok()?;
        (bytes.len() == usize::from(width) * HASH_BYTES).then(|| Bytes::from(bytes))
    }
}

/// The tiles of a ledger, with the entries that they can be made from.
pub struct Tiles {
    folder: TileFolder,
    entries: Arc<dyn EntryReader>,
    checked: Mutex<HashMap<(u8, u64), Bytes>>,
    /// One at a time writes a tile that was made again: they share the name of the file beside.
    saving: Mutex<()>,
}

/// How tiles are made again: which files count, and how many entries may be read.
struct Making {
    /// Files of this and lower levels count; with `None` entries only.
    files_up_to: Option<u8>,
    /// From this tile of the lowest level on, files do not count.
    entries_from: u64,
    budget: Cell<u64>,
}

impl Making {
    fn counts(&self, level: u8, index: u64) -> bool {
        let old = level > 0 || index < self.entries_from;
        old && self.files_up_to.is_some_and(|most| level <= most)
    }
}

impl Tiles {
    /// The tiles in a folder.
    pub fn new(dir: &Path, entries: Arc<dyn EntryReader>) -> Self {
        Self { folder: TileFolder::new(dir), entries, checked: Mutex::default(), saving: Mutex::default() }
    }

    /// The folder.
    pub fn folder(&self) -> &TileFolder {
        &self.folder
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<(u8, u64), Bytes>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A full tile whose root is this hash.
    fn checked(&self, level: u8, index: u64, root: &Hash) -> Result<Bytes, TileReadError> {
        let fits = |bytes: &Bytes| root_of(bytes).as_ref() == Some(root);
        if let Some(bytes) = self.folder.stored(level, index, TILE_WIDTH).filter(fits) {
            return Ok(bytes);
        }
        // The level below first; if that is false too, what is below it; the entries at last.
        for files_up_to in (0..level).rev().map(Some).chain([None]) {
            let budget = Cell::new(MAKE_FOR_REQUEST);
            let making = Making { files_up_to, entries_from: u64::MAX, budget };
            let bytes = self.make(level, index, TILE_WIDTH, &making)?;
            if fits(&bytes) {
                tracing::warn!(level, index, "a hash tile was missing or false and is made again");
                self.save(level, index, &bytes);
                return Ok(bytes);
            }
        }
        let detail = "the entries do not give the hash that the level above holds".to_owned();
        Err(TileReadError { level, index, detail })
    }

    /// The first `width` hashes of a tile, from below.
    fn make(&self, level: u8, index: u64, width: u16, making: &Making) -> Result<Bytes, TileReadError> {
        let fail = |detail: String| TileReadError { level, index, detail };
        let first = index << 8;
        let mut hashes: Vec<Hash> = Vec::with_capacity(usize::from(width));
        let Some(below) = level.checked_sub(1) else {
            let left = making.budget.get().checked_sub(u64::from(width));
            making.budget.set(left.ok_or_else(|| fail("too many entries are needed for it".to_owned()))?);
            let scanned = self.entries.scan(first, &mut |_, _, leaf| {
                hashes.push(leaf);
                hashes.len() < usize::from(width)
            });
            scanned.map_err(|error| fail(error.to_string()))?;
            if hashes.len() < usize::from(width) {
                return Err(fail("there are not that many entries".to_owned()));
            }
            return Ok(Bytes::from(hashes.as_flattened().to_vec()));
        };
        for child in first..first + u64::from(width) {
            let stored = self.folder.stored(below, child, TILE_WIDTH);
            let bytes = match stored.as_ref().filter(|_| making.counts(below, child)) {
                Some(bytes) => bytes.clone(),
                None => {
                    let made = self.make(below, child, TILE_WIDTH, making)?;
                    if stored.as_ref() != Some(&made) {
                        self.save(below, child, &made);
                    }
                    made
                }
            };
            hashes.push(root_of(&bytes).ok_or_else(|| fail("a tile below is too short".to_owned()))?);
        }
        Ok(Bytes::from(hashes.as_flattened().to_vec()))
    }

    /// Keeps a tile that was made again. If it cannot be written it is made again the next time.
    fn save(&self, level: u8, index: u64, bytes: &Bytes) {
        let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let tile = FinishedTile { level, index, width: TILE_WIDTH, bytes: bytes.clone() };
        if let Err(error) = write_tile(&self.folder, &tile, "made") {
            tracing::warn!(%error, level, index, "a hash tile could not be written");
        }
    }

    /// A reader for the right edge of a tree at a start, when no hash is trusted yet: the caller compares the root.
    /// `budget` bounds the entries that it reads.
    ///
    /// With `trusting` every file counts that is there. Else all levels are made from the lowest one, and its newest
    /// tiles, which an interrupted write may have left wrong, from the entries.
    pub fn edge(
        &self,
        size: u64,
        trusting: bool,
        budget: u64,
    ) -> impl HashReader<Error = TileReadError> + '_ {
        let files_up_to = Some(if trusting { u8::MAX } else { 0 });
        // Each level is made for itself, so the newest entries are read once for each.
        let newest = budget / u64::from(TILE_WIDTH) / 8;
        let entries_from = if trusting { u64::MAX } else { (size >> 8).saturating_sub(newest) };
        Edge { tiles: self, making: Making { files_up_to, entries_from, budget: Cell::new(budget) } }
    }
}

struct Edge<'a> {
    tiles: &'a Tiles,
    making: Making,
}

impl HashReader for Edge<'_> {
    type Error = TileReadError;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, TileReadError> {
        let stored = self.tiles.folder.stored(level, index, width);
        if let Some(bytes) = stored.as_ref().filter(|_| self.making.counts(level, index)) {
            return Ok(bytes.clone());
        }
        let made = self.tiles.make(level, index, width, &self.making)?;
        if width == TILE_WIDTH && stored.as_ref() != Some(&made) {
            self.tiles.save(level, index, &made);
        }
        Ok(made)
    }
}

/// Hashes for proofs. The tree is locked for one node at a time, never while a file is read: nodes of full subtrees
/// and full tiles never change, so it does not matter that the tree grows meanwhile.
pub struct Hashes<'a> {
    /// The right edge.
    pub tree: &'a RwLock<Tree>,
    /// Everything older.
    pub tiles: &'a Tiles,
}

impl Hashes<'_> {
    fn held<T>(&self, look: impl FnOnce(&Tree) -> T) -> T {
        look(&self.tree.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn full(&self, level: u8, index: u64) -> Result<Bytes, TileReadError> {
        if let Some(bytes) = self.tiles.cache().get(&(level, index)) {
            return Ok(bytes.clone());
        }
        let outside = || TileReadError { level, index, detail: "it is outside of the tree".to_owned() };
        let above = level.checked_add(1).filter(|above| *above < 8).ok_or_else(outside)?;
        let root = match self.held(|tree| tree.node(above * 8, index)) {
            Some(root) => root,
            None => {
                let tile = self.full(above, index >> 8)?;
                let (hashes, _) = tile.as_chunks::<HASH_BYTES>();
                let place = usize::try_from(index & 0xff).unwrap_or(usize::MAX);
                *hashes.get(place).ok_or_else(outside)?
            }
        };
        let bytes = self.tiles.checked(level, index, &root)?;
        let mut cache = self.tiles.cache();
        if cache.len() >= CHECKED_TILES {
            cache.clear();
        }
        cache.insert((level, index), bytes.clone());
        Ok(bytes)
    }
}

impl HashReader for Hashes<'_> {
    type Error = TileReadError;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, TileReadError> {
        match self.held(|tree| tree.tile(level, index, width)) {
            Ok(bytes) => Ok(bytes),
            // What is not at the edge is full by now, and a narrower tile is its beginning.
            Err(_) => self.full(level, index).map(|bytes| bytes.slice(..usize::from(width) * HASH_BYTES)),
        }
    }

    fn node(&self, height: u8, index: u64) -> Option<Hash> {
        self.held(|tree| tree.node(height, index))
    }
}

/// The root over a full tile.
fn root_of(bytes: &Bytes) -> Option<Hash> {
    let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
    if hashes.len() != usize::from(TILE_WIDTH) {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}

/// A proof as slices of one buffer, so that a receipt costs one allocation.
pub fn to_wire(proof: &[Hash]) -> Vec<Bytes> {
    let all = Bytes::from(proof.as_flattened().to_vec());
    (0..proof.len()).map(|at| all.slice(at * 32..at * 32 + 32)).collect()
}
