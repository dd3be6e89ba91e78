//! The hash tree over the ledger: right edge in memory, full tiles on disk. Pure but for reading tiles.

use bytes::Bytes;
use std::path::{Path, PathBuf};
use yiwang_proto::merkle::{Hash, HashReader, TILE_WIDTH};
use yiwang_proto::tile::{TileKind, TilePath};

/// Why a tile cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("hash tile {level}/{index} cannot be read: {detail}; `yiwang hub rebuild` makes tiles again")]
pub struct TileReadError {
    level: u8,
    index: u64,
    detail: String,
}

/// Full tiles in the ledger's folder.
#[derive(Debug, Clone)]
pub struct TileFolder {
    dir: PathBuf,
}

impl TileFolder {
    /// Tiles stand below this folder as C2SP tlog-tiles names them.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Where a tile stands.
    pub fn path(&self, level: u8, index: u64, width: u16) -> Option<PathBuf> {
        let path = TilePath::new(TileKind::Hashes(level), index, width).ok()?;
        Some(self.dir.join(path.to_string()))
    }
}

impl HashReader for TileFolder {
    type Error = TileReadError;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, TileReadError> {
        let fail = |detail: String| TileReadError { level, index, detail };
        let full = self
            .path(level, index, TILE_WIDTH)
            .ok_or_else(|| fail("it is outside of the tree".to_owned()))?;
        let bytes = match std::fs::read(&full) {
            Ok(bytes) => bytes,
            Err(_) if width < TILE_WIDTH => {
                let partial = self
                    .path(level, index, width)
                    .ok_or_else(|| fail("it is outside of the tree".to_owned()))?;
                std::fs::read(partial).map_err(|error| fail(error.to_string()))?
            }
            Err(error) => return Err(fail(error.to_string())),
        };
        let want = usize::from(width) * 32;
        if bytes.len() < want {
            return Err(fail(format!("it has {} bytes, not {want}", bytes.len())));
        }
        Ok(Bytes::from(bytes).slice(..want))
    }
}

/// A proof as slices of one buffer, so that a receipt costs one allocation.
pub fn to_wire(proof: &[Hash]) -> Vec<Bytes> {
    let all = Bytes::from(proof.as_flattened().to_vec());
    (0..proof.len()).map(|at| all.slice(at * 32..at * 32 + 32)).collect()
}
