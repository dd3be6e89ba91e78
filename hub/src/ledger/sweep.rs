//! What a crash leaves among the tiles. They are written without a sync, so after a power cut some are empty; and
//! a process that ends at once leaves the partial tiles of heads that nobody asks for any more.

use super::tree::TileFolder;
use std::path::PathBuf;
use yiwang_proto::merkle::TILE_WIDTH;

/// Tiles per level that are looked at, from the right edge on: a million entries, far more than are written
/// in the half minute after which the system has written everything by itself.
const LOOK_BACK: u64 = 4096;
const HASH_BYTES: u64 = 32;

/// Full tiles of one level under a head, and the width of the partial one after them.
fn shape(size: u64, level: u8) -> Option<(u64, u64)> {
    let hashes = size.checked_shr(u32::from(level) * 8).filter(|hashes| *hashes > 0)?;
    Some((hashes / u64::from(TILE_WIDTH), hashes % u64::from(TILE_WIDTH)))
}

/// Whether the newest full tiles under a head have their whole length. The system writes a file's length only
/// with its content; content that is wrong all the same shows in proofs, and an auditor compares all of it.
pub fn are_whole(tiles: &TileFolder, size: u64) -> bool {
    (0..8).map_while(|level| Some((level, shape(size, level)?.0))).all(|(level, full)| {
        (full.saturating_sub(LOOK_BACK)..full).all(|index| {
            let path = tiles.path(level, index, TILE_WIDTH);
            let length = path.and_then(|path| std::fs::metadata(path).ok()).map(|data| data.len());
            length == Some(u64::from(TILE_WIDTH) * HASH_BYTES)
        })
    })
}

/// Removes partial tiles near the right edge of `stored` entries, but for those of the head of `size`, which stands
/// in the checkpoint file until there is a newer one. Yields those that stay. What cannot be removed is only in
/// the way of nobody.
pub fn remove_partials(tiles: &TileFolder, stored: u64, size: u64) -> Vec<PathBuf> {
    let mut kept = Vec::new();
    for (level, full) in (0..8).map_while(|level| Some((level, shape(stored, level)?.0))) {
        let current = shape(size, level).filter(|(_, width)| *width > 0);
        let current = current.and_then(|(index, width)| tiles.path(level, index, u16::try_from(width).ok()?));
        for index in full.saturating_sub(LOOK_BACK)..=full {
            let any = tiles.path(level, index, 1);
            let Some(folder) = any.as_ref().and_then(|path| path.parent()) else { continue };
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if Some(&path) == current.as_ref() {
                    kept.push(path);
                } else {
                    let _ = std::fs::remove_file(path);
                }
            }
            // Only an empty folder goes.
            let _ = std::fs::remove_dir(folder);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(tiles: &TileFolder, level: u8, index: u64, width: u16, hashes: u16) -> PathBuf {
        let path = tiles.path(level, index, width).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![7; usize::from(hashes) * 32]).unwrap();
        path
    }

    #[test]
    fn an_empty_full_tile_is_seen_and_dead_partials_go() {
        let folder = tempfile::tempdir().unwrap();
        let tiles = TileFolder::new(folder.path());
        assert!(are_whole(&tiles, 0) && are_whole(&tiles, 200));
        for index in 0..3 {
            write(&tiles, 0, index, 256, 256);
        }
        let size = 3 * 256 + 40;
        assert!(are_whole(&tiles, size));
        let current = [write(&tiles, 0, 3, 40, 40), write(&tiles, 1, 0, 3, 3)];
        let dead = [
            write(&tiles, 0, 0, 17, 0),
            write(&tiles, 0, 2, 250, 0),
            write(&tiles, 0, 3, 39, 39),
            write(&tiles, 1, 0, 2, 2),
        ];
        let mut kept = remove_partials(&tiles, size + 1, size);
        kept.sort();
        assert_eq!(kept, current);
        assert!(current.iter().all(|path| path.exists()) && dead.iter().all(|path| !path.exists()));
        assert!(are_whole(&tiles, size), "full tiles stay");
        write(&tiles, 0, 1, 256, 0);
        assert!(!are_whole(&tiles, size));
        assert!(are_whole(&tiles, 256), "only what the head covers counts");
    }
}
