use std::collections::VecDeque;

use bytes::Bytes;

use super::build::read_tile;
use super::{
    EMPTY_ROOT, HASH_BYTES, Hash, HashReader, MAX_SIZE, TILE_WIDTH, TileError, fold_peaks, node_hash,
};

/// Full tiles per level that a [`Tree`] keeps beside the partial one, so that proofs for the newest
/// thousand leaves need no disk.
pub const KEPT_FULL_TILES: usize = 4;

/// Hash rows of a tile: row r holds the roots over `2^r` hashes of the tile's level.
const ROWS: usize = 8;

/// A tile ready to be stored under its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedTile {
    /// Tile level, 0 for leaf hashes.
    pub level: u8,
    /// Tile number within its level.
    pub index: u64,
    /// Hashes in the tile, 1 to 256.
    pub width: u16,
    /// The hashes, `width * 32` bytes.
    pub bytes: Bytes,
}

/// The tiles that growing a log from `old_size` to `new_size` leaves creates, as (level, index, width):
/// full ones and, per level, the partial one at the new right edge. Empty if the log did not grow.
pub fn tiles_touched(old_size: u64, new_size: u64) -> impl Iterator<Item = (u8, u64, u16)> {
    (0..8_u8).flat_map(move |level| {
        let (old, new) = (old_size >> (8 * u32::from(level)), new_size >> (8 * u32::from(level)));
        let grown = old < new;
        let full = if grown { (old >> 8)..(new >> 8) } else { 0..0 };
        let width = partial_width(new);
        let partial = (grown && width > 0).then_some((level, new >> 8, width));
        full.map(move |index| (level, index, TILE_WIDTH)).chain(partial)
    })
}

/// Width of the partial tile when a level holds `hashes`; 0 when there is none.
const fn partial_width(hashes: u64) -> u16 {
    (hashes & 0xff) as u16
}

/// The right edge of a log's tree with all inner nodes: appends leaves, yields finished tiles, and builds
/// proofs for recent leaves without reading anything.
///
/// Memory is about 80 KiB per tile level; a level is added each time the log grows 256-fold.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    size: u64,
    // INVARIANT: `levels[l].current` holds `(size >> 8l) % 256` hashes.
    levels: Vec<Level>,
}

impl Tree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Restores the tree of `size` leaves from its stored tiles; reads at most five tiles per level.
    ///
    /// Tiles that are read whole are checked against the level above. The caller compares
    /// [`Tree::root`] with a signed root before trusting the rest.
    ///
    /// # Errors
    /// [`TileError`] when a tile is missing, of the wrong length or contradicts another one.
    pub fn restore<R: HashReader>(size: u64, reader: &R) -> Result<Self, TileError<R::Error>> {
        if size > MAX_SIZE {
            return Err(TileError::SizeLimit { size });
        }
        let mut tree = Self { size, levels: Vec::new() };
        let mut heads = Vec::new();
        for level in 0..8_u8 {
            let hashes = size >> (8 * u32::from(level));
            if hashes == 0 {
                break;
            }
            let edge = hashes >> 8;
            let mut restored = Level::default();
            restored.current.index = edge;
            let width = partial_width(hashes);
            if width > 0 {
                restored.current.fill(&read_tile(reader, level, edge, width)?);
            }
            for index in edge.saturating_sub(KEPT_FULL_TILES as u64)..edge {
                let mut rows = TileRows { index, ..TileRows::default() };
                let head = rows.fill(&read_tile(reader, level, index, TILE_WIDTH)?);
                restored.full.push_back(rows);
                heads.push((level, index, head));
            }
            tree.levels.push(restored);
        }
        for (level, index, head) in heads {
            let above = tree.node((level + 1) * 8, index);
            if above.is_some() && above != head {
                return Err(TileError::Contradiction { level, index });
            }
        }
        Ok(tree)
    }

    /// Appends leaves by their [`super::leaf_hash`]; returns the tiles that became full, children first.
    pub fn append(&mut self, leaf_hashes: &[Hash]) -> Vec<FinishedTile> {
        let mut finished = Vec::new();
        for leaf in leaf_hashes {
            self.push(*leaf, &mut finished);
        }
        finished
    }

    fn push(&mut self, leaf: Hash, finished: &mut Vec<FinishedTile>) {
        self.size += 1;
        let mut carry = leaf;
        for (number, level) in (0_u8..).zip(&mut self.levels) {
            let Some(head) = level.current.push(carry) else { return };
            finished.extend(level.current.finished(number));
            level.rotate();
            carry = head;
        }
        let mut level = Level::default();
        level.current.push(carry);
        self.levels.push(level);
    }

    /// The partial tiles at the right edge, lowest level first: with the full tiles these are all that a
    /// checkpoint of the present size needs.
    #[must_use]
    pub fn partials(&self) -> Vec<FinishedTile> {
        (0_u8..).zip(&self.levels).filter_map(|(number, level)| level.current.finished(number)).collect()
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold_peaks(self.levels.iter().flat_map(|level| level.current.peaks())).unwrap_or(EMPTY_ROOT)
    }

    /// Leaves so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// This tree's nodes first, another reader for what it no longer holds.
    pub const fn or<R: HashReader>(&self, then: R) -> Layered<'_, R> {
        Layered { tree: self, then }
    }

    fn rows(&self, level: u8, index: u64) -> Option<&TileRows> {
        let level = self.levels.get(usize::from(level))?;
        if level.current.index == index {
            return Some(&level.current);
        }
        level.full.iter().rev().find(|rows| rows.index == index)
    }
}

/// The tile is older than what the tree keeps in memory: read it from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tile is not held in memory")]
pub struct NotHeld;

impl HashReader for Tree {
    type Error = NotHeld;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, NotHeld> {
        self.rows(level, index).and_then(|rows| rows.bytes(width)).ok_or(NotHeld)
    }

    fn node(&self, height: u8, index: u64) -> Option<Hash> {
        let (level, row) = (height / 8, height % 8);
        let tile = index >> (8 - row);
        let offset = usize::try_from(index - (tile << (8 - row))).ok()?;
        self.rows(level, tile)?.rows.get(usize::from(row))?.get(offset).copied()
    }
}

/// A [`Tree`] in front of a slower reader; see [`Tree::or`].
#[derive(Debug)]
pub struct Layered<'a, R> {
    tree: &'a Tree,
    then: R,
}

impl<R: HashReader> HashReader for Layered<'_, R> {
    type Error = R::Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, R::Error> {
        self.tree.tile(level, index, width).or_else(|NotHeld| self.then.tile(level, index, width))
    }

    fn node(&self, height: u8, index: u64) -> Option<Hash> {
        self.tree.node(height, index).or_else(|| self.then.node(height, index))
    }
}

#[derive(Debug, Clone, Default)]
struct Level {
    current: TileRows,
    full: VecDeque<TileRows>,
}

impl Level {
    /// Moves the full current tile among the kept ones, reusing the memory of the oldest.
    fn rotate(&mut self) {
        let mut next =
            if self.full.len() < KEPT_FULL_TILES { None } else { self.full.pop_front() }.unwrap_or_default();
        next.rows.iter_mut().for_each(Vec::clear);
        next.index = self.current.index + 1;
        self.full.push_back(std::mem::replace(&mut self.current, next));
    }
}

#[derive(Debug, Clone, Default)]
struct TileRows {
    index: u64,
    rows: [Vec<Hash>; ROWS],
}

impl TileRows {
    /// Adds a hash and all nodes that it completes; returns the tile's root when that makes it full.
    fn push(&mut self, hash: Hash) -> Option<Hash> {
        let mut carry = hash;
        for row in &mut self.rows {
            row.push(carry);
            if row.len() % 2 == 1 {
                return None;
            }
            let [.., left, right] = row.as_slice() else { return None };
            carry = node_hash(left, right);
        }
        Some(carry)
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<Hash> {
        let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
        hashes.iter().fold(None, |_, hash| self.push(*hash))
    }

    fn width(&self) -> u16 {
        self.rows.first().map_or(0, |row| u16::try_from(row.len()).unwrap_or(TILE_WIDTH))
    }

    fn bytes(&self, width: u16) -> Option<Bytes> {
        let hashes = self.rows.first()?.get(..usize::from(width))?;
        Some(Bytes::copy_from_slice(hashes.as_flattened()))
    }

    fn finished(&self, level: u8) -> Option<FinishedTile> {
        let width = self.width();
        if width == 0 {
            return None;
        }
        Some(FinishedTile { level, index: self.index, width, bytes: self.bytes(width)? })
    }

    /// Roots of the full subtrees in a partial tile, smallest first.
    fn peaks(&self) -> impl Iterator<Item = &Hash> {
        self.rows.iter().filter(|row| row.len() % 2 == 1).filter_map(|row| row.last())
    }
}
