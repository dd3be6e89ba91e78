//! Names and contents of the files of a tiled log (C2SP `tlog-tiles` 0.1): hash tiles and entry bundles.

use std::fmt;
use std::str::FromStr;

use crate::checkpoint::parse_decimal;
use crate::merkle::{FinishedTile, TILE_WIDTH};

/// The longest entry that an entry bundle can hold, in bytes.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// The longest entry bundle: 256 entries with their length fields, in bytes.
pub const MAX_BUNDLE_BYTES: usize = TILE_WIDTH as usize * (2 + MAX_ENTRY_BYTES);

/// The highest tile level that the path grammar knows.
pub const MAX_LEVEL: u8 = 63;

/// `tile/entries/`, seven groups of a 64-bit number and `.p/255` stay below this.
const MAX_PATH_BYTES: usize = 64;

/// Why a tile path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a tile path: expected `tile/<level or entries>/<number in groups of three>[.p/<width>]`")]
pub struct PathError;

/// Why an entry bundle could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// An entry longer than [`MAX_ENTRY_BYTES`].
    #[error("entry {number} has {len} bytes, more than {MAX_ENTRY_BYTES}")]
    EntryTooLong {
        /// The entry's place in the bundle, from 0.
        number: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// More than 256 entries.
    #[error("an entry bundle holds at most {TILE_WIDTH} entries")]
    TooManyEntries,
    /// The bytes end within an entry or before the expected number of entries.
    #[error("the entry bundle ends within entry {number}")]
    Truncated {
        /// The place of the entry that is cut or missing, from 0.
        number: usize,
    },
    /// Bytes follow the last expected entry.
    #[error("the entry bundle goes on after its {width} entries")]
    Trailing {
        /// Entries expected.
        width: u16,
    },
}

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of a level, 0 for leaf hashes, at most [`MAX_LEVEL`].
    Hashes(u8),
    /// Entries, as many as the hash tile of level 0 with the same number has leaves.
    Entries,
}

/// The place of a tile in a log, written as its path below the log's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl TilePath {
    /// The path of a tile; `width` is 1 to 256, 256 being a full tile.
    ///
    /// # Errors
    /// [`PathError`] when level or width is out of range.
    pub fn new(kind: TileKind, index: u64, width: u16) -> Result<Self, PathError> {
        let level_ok = !matches!(kind, TileKind::Hashes(level) if level > MAX_LEVEL);
        if level_ok && (1..=TILE_WIDTH).contains(&width) {
            Ok(Self { kind, index, width })
        } else {
            Err(PathError)
        }
    }

    /// What the tile holds.
    #[must_use]
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// The tile's number within its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in the tile, 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether the tile is full and so never changes.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Parses a path without leading slash; only the spelling that is printed is accepted.
    ///
    /// # Errors
    /// [`PathError`] for anything else.
    pub fn parse(path: &str) -> Result<Self, PathError> {
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError);
        }
        let (kind, rest) = path.strip_prefix("tile/").and_then(|p| p.split_once('/')).ok_or(PathError)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(small(level).ok_or(PathError)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, small(width).map(u16::from).ok_or(PathError)?),
            None => (rest, TILE_WIDTH),
        };
        let tile = Self::new(kind, parse_number(number).ok_or(PathError)?, width)?;
        // Catches what the steps above let pass, such as needless leading groups of zeros.
        if tile.to_string() == path { Ok(tile) } else { Err(PathError) }
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut divisor = 1_u64;
        while self.index / divisor >= 1000 {
            divisor *= 1000;
        }
        while divisor > 1 {
            write!(f, "x{:03}/", self.index / divisor % 1000)?;
            divisor /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        Self::parse(path)
    }
}

impl FinishedTile {
    /// The path under which this tile is published.
    #[must_use]
    pub const fn path(&self) -> TilePath {
        TilePath { kind: TileKind::Hashes(self.level), index: self.index, width: self.width }
    }
}

/// A number below 256 without leading zeros.
fn small(text: &str) -> Option<u8> {
    u8::try_from(parse_decimal(text)?).ok()
}

/// A tile number: groups of three digits, all but the last with an `x` before them.
fn parse_number(text: &str) -> Option<u64> {
    let mut groups = text.split('/').peekable();
    let mut number = 0_u64;
    while let Some(group) = groups.next() {
        let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        number = number.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(number)
}

/// Packs entries into a bundle: each with its length before it, 16 bits big endian.
///
/// # Errors
/// [`BundleError`] for an entry over [`MAX_ENTRY_BYTES`] or more than 256 entries.
pub fn encode_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, BundleError> {
    let mut bundle = Vec::new();
    for (number, entry) in entries.into_iter().enumerate() {
        if number >= usize::from(TILE_WIDTH) {
            return Err(BundleError::TooManyEntries);
        }
        let too_long = BundleError::EntryTooLong { number, len: entry.len() };
        let len = u16::try_from(entry.len()).map_err(|_| too_long)?;
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    Ok(bundle)
}

/// Unpacks a bundle of exactly `width` entries.
///
/// # Errors
/// [`BundleError`] when `width` is over 256, or the bytes hold fewer or more entries.
pub fn decode_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    if width > TILE_WIDTH {
        return Err(BundleError::TooManyEntries);
    }
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bundle;
    for number in 0..usize::from(width) {
        let truncated = BundleError::Truncated { number };
        let (len, after) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let (entry, after) =
            after.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(truncated)?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Trailing { width }) }
}
