//! Hash tiles: every file under `tile/` against the tiles that the entries give.

use crate::files::read_if_there;
use crate::report::{Finding, Report};
use crate::rules::Rule;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yiwang_proto::merkle::{FinishedTile, HASH_BYTES, Hash, TILE_WIDTH, Tree};
use yiwang_proto::plural::counted;
use yiwang_proto::tile::{TileKind, TilePath};

const TILE_BYTES: usize = TILE_WIDTH as usize * HASH_BYTES;
/// Folders within folders below `tile/`: level, seven groups of digits, width.
const MAX_DEPTH: usize = 10;

/// Recomputes the tree and compares as it grows; memory does not grow with the ledger.
pub(crate) struct Tiles {
    folder: PathBuf,
    tree: Tree,
    compared: u64,
    /// First missing full tile of each level.
    missing: BTreeMap<u8, u64>,
    gaps: BTreeMap<u8, u64>,
    findings: Vec<Finding>,
}

impl Tiles {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            tree: Tree::new(),
            compared: 0,
            missing: BTreeMap::new(),
            gaps: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// Appends leaves and compares the tiles that they complete.
    pub fn append(&mut self, leaves: &[Hash]) {
        for tile in self.tree.append(leaves) {
            self.compare_full(&tile);
            self.compare_partials(&tile);
        }
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// Hands over what is wrong so far.
    pub fn drain(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// The right edge, and files that no entry explains.
    pub fn finish(mut self, report: &mut Report) {
        for tile in self.tree.partials() {
            self.compare_partials(&tile);
        }
        let mut strangers = 0;
        self.walk(&self.folder.join("tile"), "tile", 0, &mut strangers);
        for (level, index) in &self.gaps {
            let what = format!("level {level} has a gap: tile {index} is missing, later ones are there");
            self.findings.push(Finding::new(None, Rule::Tile, what));
        }
        for (level, index) in self.missing.iter().filter(|(level, _)| !self.gaps.contains_key(level)) {
            report.note(format!("hash tiles of level {level} from number {index} on are not written yet"));
        }
        if strangers > 0 {
            let files = counted(strangers, "file");
            report.note(format!("{files} under `tile` not looked at: no hash tile has such a name"));
        }
        report.add(self.findings);
        report.tiles = self.compared;
    }

    fn compare_full(&mut self, tile: &FinishedTile) {
        let path = tile.path();
        match read_if_there(&self.folder.join(path.to_string()), TILE_BYTES) {
            Ok(Some(bytes)) => {
                if let Some(gap) = self.missing.get(&tile.level) {
                    self.gaps.insert(tile.level, *gap);
                }
                self.compare(&path, &bytes, &tile.bytes);
            }
            Ok(None) => {
                self.missing.entry(tile.level).or_insert(tile.index);
            }
            Err(error) => self.wrong(tile.level, tile.index, 0, format!("`{path}` cannot be read: {error}")),
        }
    }

    /// Partial versions of a tile hold its beginning.
    fn compare_partials(&mut self, tile: &FinishedTile) {
        let full = FinishedTile { width: TILE_WIDTH, ..tile.clone() }.path();
        let Ok(listing) = std::fs::read_dir(self.folder.join(format!("{full}.p"))) else { return };
        for item in listing.flatten() {
            let width = item.file_name().to_str().and_then(|name| name.parse::<u8>().ok()).unwrap_or(0);
            // Other names, and widths beyond the entries, are met by the walk.
            if width == 0 || u16::from(width) > tile.width {
                continue;
            }
            let Ok(path) = TilePath::new(TileKind::Hashes(tile.level), tile.index, u16::from(width)) else {
                continue;
            };
            let expected = tile.bytes.get(..usize::from(width) * HASH_BYTES).unwrap_or_default();
            match read_if_there(&self.folder.join(path.to_string()), TILE_BYTES) {
                Ok(Some(bytes)) => self.compare(&path, &bytes, expected),
                Ok(None) => {}
                Err(error) => {
                    self.wrong(tile.level, tile.index, 0, format!("`{path}` cannot be read: {error}"));
                }
            }
        }
    }

    fn compare(&mut self, path: &TilePath, found: &[u8], expected: &[u8]) {
        self.compared += 1;
        if found == expected {
            return;
        }
        let TileKind::Hashes(level) = path.kind() else { return };
        let at =
            found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
        let hash = u64::try_from(at / HASH_BYTES).unwrap_or(0);
        let what = format!("`{path}` differs from what the entries give, from byte {at} on");
        self.wrong(level, path.index(), hash, what);
    }

    fn wrong(&mut self, level: u8, index: u64, hash: u64, what: String) {
        let below = u32::from(level) * 8;
        let first = index.saturating_mul(u64::from(TILE_WIDTH)).saturating_add(hash).checked_shl(below);
        self.findings.push(Finding::new(first, Rule::Tile, what));
    }

    /// Tiles that claim entries which do not exist.
    fn walk(&mut self, folder: &Path, name: &str, depth: usize, strangers: &mut u64) {
        let Ok(listing) = std::fs::read_dir(folder) else { return };
        for item in listing.flatten() {
            let file_name = item.file_name();
            let path = format!("{name}/{}", file_name.to_string_lossy());
            match item.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                    self.walk(&item.path(), &path, depth + 1, strangers);
                }
                Ok(kind) if kind.is_file() || kind.is_symlink() => match TilePath::parse(&path) {
                    Ok(tile) => self.placed(&tile, strangers),
                    Err(_) => *strangers += 1,
                },
                _ => *strangers += 1,
            }
        }
    }

    fn placed(&mut self, tile: &TilePath, strangers: &mut u64) {
        let TileKind::Hashes(level) = tile.kind() else {
            *strangers += 1;
            return;
        };
        let hashes = self.tree.size().checked_shr(u32::from(level) * 8).unwrap_or(0);
        let first = tile.index().saturating_mul(u64::from(TILE_WIDTH));
        if first.saturating_add(u64::from(tile.width())) > hashes {
            let what = format!("`{tile}` covers entries that are not there");
            self.findings.push(Finding::new(None, Rule::Tile, what));
        }
    }
}
