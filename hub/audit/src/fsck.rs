//! The storage layer alone: are the files whole? No signature is verified, no entry is judged.

use crate::error::AuditError;
use crate::files::read_if_there;
use crate::ledger::{segments, storage_faults};
use crate::report::Report;
use crate::rules::Rule;
use std::path::Path;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{HASH_BYTES, hash_to_base64};
use yiwang_proto::note::{MAX_NOTE_BYTES, SignedNote, VerifierKey};
use yiwang_proto::plural::counted;
use yiwang_proto::tile::{TileKind, TilePath};

/// Folders within folders below `tile/`.
const MAX_DEPTH: usize = 10;

/// Checks the files of a ledger folder: segments record by record, paths and sizes of tiles, form of
/// checkpoint and key. Nothing is written.
///
/// # Errors
/// [`AuditError::Unreadable`] when there are no segments to look at.
pub fn fsck(folder: &Path) -> Result<Report, AuditError> {
    let segments = segments(folder)?;
    let mut report = Report::new("fsck");
    let check = yiwang_journal::fsck(&segments);
    report.entries = check.records;
    report.note(format!(
        "{}, entries {} to {}",
        counted(check.segments, "segment"),
        check.first,
        check.len.saturating_sub(1)
    ));
    if let Some(torn) = &check.torn {
        report.note(format!(
            "an interrupted batch of {} bytes from entry {} on; the hub cuts it when it starts",
            torn.bytes, torn.index
        ));
    }
    storage_faults(&segments, &mut report);
    tiles(&folder.join("tile"), "tile", 0, &mut report);
    checkpoint(folder, &mut report);
    key(folder, &mut report);
    report.note("files only: no signature was verified; run `verify` for that");
    report.sort();
    Ok(report)
}

fn tiles(folder: &Path, name: &str, depth: usize, report: &mut Report) {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                report.finding(None, Rule::Tile, format!("`{name}` cannot be listed: {error}"));
            }
            return;
        }
    };
    for item in listing.flatten() {
        let path = format!("{name}/{}", item.file_name().to_string_lossy());
        match item.file_type() {
            Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => tiles(&item.path(), &path, depth + 1, report),
            Ok(kind) if kind.is_file() => {
                let size = item.metadata().map(|data| data.len()).unwrap_or_default();
                tile(&path, size, report);
            }
            _ => report.finding(None, Rule::Tile, format!("`{path}` is neither file nor folder of a tile")),
        }
    }
}

fn tile(path: &str, size: u64, report: &mut Report) {
    match TilePath::parse(path) {
        Ok(tile) if matches!(tile.kind(), TileKind::Hashes(_)) => {
            report.tiles += 1;
            let expected = u64::from(tile.width()) * HASH_BYTES as u64;
            if size != expected {
                let what = format!("`{path}` has {size} bytes, a tile of this width has {expected}");
                report.finding(None, Rule::Tile, what);
            }
        }
        _ => report.note(format!("`{path}` is no hash tile")),
    }
}

fn checkpoint(folder: &Path, report: &mut Report) {
    match read_if_there(&folder.join("checkpoint"), MAX_NOTE_BYTES) {
        Ok(Some(bytes)) => {
            let parsed = SignedNote::parse(&bytes)
                .map_err(|error| error.to_string())
                .and_then(|note| Checkpoint::parse(note.text()).map_err(|error| error.to_string()));
            match parsed {
                Ok(head) => {
                    report.origin = head.origin;
                    report.size = Some(head.size);
                    report.root = Some(hash_to_base64(&head.root));
                }
                Err(error) => report.finding(None, Rule::Checkpoint, error),
            }
        }
        Ok(None) => report.note("there is no checkpoint"),
        Err(error) => report.finding(None, Rule::Checkpoint, format!("cannot be read: {error}")),
    }
}

fn key(folder: &Path, report: &mut Report) {
    match read_if_there(&folder.join("verifier.key"), MAX_NOTE_BYTES) {
        Ok(Some(bytes)) => match VerifierKey::parse(String::from_utf8_lossy(&bytes).trim()) {
            Ok(key) => report.key = key.to_string(),
            Err(error) => report.finding(None, Rule::Checkpoint, format!("`verifier.key`: {error}")),
        },
        Ok(None) => report.note("there is no `verifier.key`"),
        Err(error) => report.finding(None, Rule::Checkpoint, format!("`verifier.key`: {error}")),
    }
}
