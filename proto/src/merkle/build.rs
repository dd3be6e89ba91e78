use bytes::Bytes;

use super::{EMPTY_ROOT, HASH_BYTES, Hash, TILE_WIDTH, fold_peaks, node_hash};

/// Where proofs get their hashes from: tiles in memory, on disk, behind a connection.
pub trait HashReader {
    /// What goes wrong when a tile cannot be had.
    type Error: std::error::Error + 'static;

    /// The first `width` (1 to 256) hashes of a tile, so `width * 32` bytes.
    ///
    /// A reader that holds a wider version of the tile answers with its beginning.
    ///
    /// # Errors
    /// The reader's own, when the tile is missing or unreadable.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, Self::Error>;

    /// A shortcut for readers that keep inner nodes: the root of the full subtree over the leaves
    /// `index * 2^height ..` of length `2^height`. `None` makes the caller compute it from a tile.
    fn node(&self, _height: u8, _index: u64) -> Option<Hash> {
        None
    }
}

impl<R: HashReader> HashReader for &R {
    type Error = R::Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, Self::Error> {
        (**self).tile(level, index, width)
    }

    fn node(&self, height: u8, index: u64) -> Option<Hash> {
        (**self).node(height, index)
    }
}

/// Why nothing could be computed from tiles.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TileError<E: std::error::Error + 'static> {
    /// The leaf is not in the tree.
    #[error("leaf index {index} is outside a tree of {size} leaves")]
    IndexOutside {
        /// The leaf asked for.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// No proof leads from a larger tree to a smaller one.
    #[error("no consistency proof leads from {from} leaves back to {to}")]
    Shrunk {
        /// Leaves in the older tree.
        from: u64,
        /// Leaves in the newer tree.
        to: u64,
    },
    /// A size beyond what any log reaches (2^63).
    #[error("a tree of {size} leaves is beyond the limit of 2^63")]
    SizeLimit {
        /// Leaves asked for.
        size: u64,
    },
    /// The reader answered with a tile of the wrong length.
    #[error("tile {index} of level {level} has {len} bytes instead of {width} hashes")]
    Length {
        /// Tile level, 0 for leaf hashes.
        level: u8,
        /// Tile number within its level.
        index: u64,
        /// Hashes asked for.
        width: u16,
        /// Bytes received.
        len: usize,
    },
    /// A tile's hashes do not give the hash that the level above holds for it.
    #[error("tile {index} of level {level} contradicts the level above")]
    Contradiction {
        /// Tile level, 0 for leaf hashes.
        level: u8,
        /// Tile number within its level.
        index: u64,
    },
    /// The reader failed.
    #[error("tile {index} of level {level} could not be read")]
    Read {
        /// Tile level, 0 for leaf hashes.
        level: u8,
        /// Tile number within its level.
        index: u64,
        /// The reader's error.
        source: E,
    },
}

/// The inclusion proof of the leaf at `index` in the tree of `size` leaves, sibling of the leaf first.
///
/// # Errors
/// [`TileError`] when the leaf is outside the tree or a tile cannot be had.
pub fn inclusion_proof<R: HashReader>(
    reader: &R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, TileError<R::Error>> {
    if index >= size {
        return Err(TileError::IndexOutside { index, size });
    }
    let mut nodes = Nodes::new(reader, size);
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::with_capacity(64);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(nodes.range(middle, end)?);
            end = middle;
        } else {
            proof.push(nodes.range(start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The consistency proof between two sizes of one tree; empty for equal sizes and for `from` 0, as
/// [`super::verify_growth`] accepts it.
///
/// # Errors
/// [`TileError`] when `from` is larger than `to` or a tile cannot be had.
pub fn consistency_proof<R: HashReader>(
    reader: &R,
    from: u64,
    to: u64,
) -> Result<Vec<Hash>, TileError<R::Error>> {
    if from > to {
        return Err(TileError::Shrunk { from, to });
    }
    if from == 0 {
        return Ok(Vec::new());
    }
    let mut nodes = Nodes::new(reader, to);
    let (mut start, mut end) = (0, to);
    let mut proof = Vec::with_capacity(64);
    while from != end {
        let middle = start + split(end - start);
        if from <= middle {
            proof.push(nodes.range(middle, end)?);
            end = middle;
        } else {
            proof.push(nodes.range(start, middle)?);
            start = middle;
        }
    }
    // A walk that never went right ends at the old tree itself, whose root the verifier has.
    if start != 0 {
        proof.push(nodes.range(start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of the tree of `size` leaves.
///
/// # Errors
/// [`TileError`] when a tile cannot be had.
pub fn root_from_tiles<R: HashReader>(reader: &R, size: u64) -> Result<Hash, TileError<R::Error>> {
    if size == 0 { Ok(EMPTY_ROOT) } else { Nodes::new(reader, size).range(0, size) }
}

/// The largest power of two below `leaves`, which must be at least 2.
const fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Reads one tile and insists on its length.
pub(super) fn read_tile<R: HashReader>(
    reader: &R,
    level: u8,
    index: u64,
    width: u16,
) -> Result<Bytes, TileError<R::Error>> {
    let bytes =
        reader.tile(level, index, width).map_err(|source| TileError::Read { level, index, source })?;
    if bytes.len() == usize::from(width) * HASH_BYTES {
        Ok(bytes)
    } else {
        Err(TileError::Length { level, index, width, len: bytes.len() })
    }
}

/// The nodes of one tree as a single proof needs them; each tile is read once per proof.
struct Nodes<'a, R> {
    reader: &'a R,
    size: u64,
    tiles: Vec<(u8, u64, Bytes)>,
}

impl<'a, R: HashReader> Nodes<'a, R> {
    const fn new(reader: &'a R, size: u64) -> Self {
        Self { reader, size, tiles: Vec::new() }
    }

    /// The hash over the leaves `start..end`, where `start` is a multiple of a power of two that is at
    /// least `end - start`: every range that splitting a tree produces is of that kind.
    fn range(&mut self, start: u64, end: u64) -> Result<Hash, TileError<R::Error>> {
        // Most are whole: on the way to a leaf all but the last.
        if let Some(length) = end.checked_sub(start).filter(|length| length.is_power_of_two()) {
            return self.full(length.ilog2(), start >> length.ilog2());
        }
        let mut peaks = Vec::new();
        let mut at = start;
        while at < end {
            let height = (end - at).ilog2();
            peaks.push(self.full(height, at >> height)?);
            at += 1 << height;
        }
        Ok(fold_peaks(peaks.iter().rev()).unwrap_or(EMPTY_ROOT))
    }

    fn full(&mut self, height: u32, index: u64) -> Result<Hash, TileError<R::Error>> {
        // A height is at most 63, since it is the logarithm of a 64-bit number.
        let height = u8::try_from(height).unwrap_or(u8::MAX);
        if let Some(hash) = self.reader.node(height, index) {
            return Ok(hash);
        }
        let (level, row) = (height / 8, height % 8);
        let tile = index >> (8 - row);
        let first = (index << row) - (tile << 8);
        let bytes = self.tile(level, tile)?;
        let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        let covered = hashes.get(first..).and_then(|rest| rest.get(..1 << row));
        covered.and_then(perfect_root).ok_or_else(|| TileError::Length {
            level,
            index: tile,
            width: TILE_WIDTH,
            len: bytes.len(),
        })
    }

    fn tile(&mut self, level: u8, index: u64) -> Result<Bytes, TileError<R::Error>> {
        if let Some((_, _, bytes)) = self.tiles.iter().find(|(l, i, _)| (*l, *i) == (level, index)) {
            return Ok(bytes.clone());
        }
        let at_level = self.size >> (8 * u32::from(level));
        let left = at_level.saturating_sub(index << 8);
        let width = u16::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        let bytes = read_tile(self.reader, level, index, width)?;
        self.tiles.push((level, index, bytes.clone()));
        Ok(bytes)
    }
}

/// The root over a power of two of hashes.
fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}
