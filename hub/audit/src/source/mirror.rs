//! Entry bundles in the layout of C2SP `tlog-tiles`, as an auditor downloads them.

use super::Record;
use crate::error::AuditError;
use crate::files::{read_at_most, read_if_there};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{HASH_BYTES, Hash, TILE_WIDTH, leaf_hash};
use yiwang_proto::note::{MAX_NOTE_BYTES, SignedNote};
use yiwang_proto::tile::{MAX_BUNDLE_BYTES, TileKind, TilePath, decode_bundle};

const WIDTH: u64 = TILE_WIDTH as u64;

/// The entries of one bundle, each verified.
type Bundle = Vec<(Bytes, Hash)>;

/// A mirror. Its size is that of its checkpoint, whose signature `verify` judges and this does not.
#[derive(Debug)]
pub(crate) struct Mirror {
    folder: PathBuf,
    len: u64,
    last: Mutex<Option<(u64, Bundle)>>,
}

impl Mirror {
    /// Whether a folder looks like a mirror.
    pub fn is_at(folder: &Path) -> bool {
        folder.join("tile/entries").is_dir()
    }

    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        let path = folder.join("checkpoint");
        let unreadable = |fault: String| AuditError::Unreadable { path: path.clone(), fault };
        let bytes = read_at_most(&path, MAX_NOTE_BYTES).map_err(|error| unreadable(error.to_string()))?;
        let note = SignedNote::parse(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let head = Checkpoint::parse(note.text()).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { folder: folder.to_owned(), len: head.size, last: Mutex::new(None) })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn read(&self, index: u64) -> Result<(Bytes, Hash), AuditError> {
        if index >= self.len {
            return Err(AuditError::NoEntry { index, len: self.len });
        }
        let number = index / WIDTH;
        let place = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(held, _)| *held != number) {
            *last = Some((number, self.bundle(number)?));
        }
        last.as_ref()
            .and_then(|(_, bundle)| bundle.get(place).cloned())
            .ok_or_else(|| AuditError::BadEntry { index, fault: "its bundle is too short".to_owned() })
    }

    pub fn scan(&self, from: u64) -> impl Iterator<Item = Result<Record, AuditError>> + '_ {
        let mut failed = false;
        (from..self.len).map_while(move |index| {
            if failed {
                return None;
            }
            let read = self.read(index).map(|(bytes, leaf)| (index, bytes, leaf));
            failed = read.is_err();
            Some(read)
        })
    }

    /// A bundle is as wide as the checkpoint says, or full because more was downloaded later.
    fn bundle(&self, number: u64) -> Result<Bundle, AuditError> {
        let first = number * WIDTH;
        let wanted = u16::try_from((self.len - first).min(WIDTH)).unwrap_or(TILE_WIDTH);
        let bad = |fault: String| AuditError::BadEntry { index: first, fault };
        for width in [TILE_WIDTH, wanted] {
            let entries = self.file(TileKind::Entries, number, width, MAX_BUNDLE_BYTES)?;
            let Some(entries) = entries.map(Bytes::from) else { continue };
            let hashes = self.file(TileKind::Hashes(0), number, width, usize::from(width) * HASH_BYTES)?;
            let hashes = hashes.ok_or_else(|| bad(format!("no hash tile 0/{number}: mirror it too")))?;
            let parts = decode_bundle(&entries, width).map_err(|error| bad(error.to_string()))?;
            let mut bundle = Vec::with_capacity(parts.len());
            for ((place, part), said) in parts.iter().enumerate().zip(hashes.chunks_exact(HASH_BYTES)) {
                let leaf = leaf_hash(part);
                if leaf.as_slice() != said {
                    let index = first + place as u64;
                    let fault = "is not what its leaf hash in the hash tile says".to_owned();
                    return Err(AuditError::BadEntry { index, fault });
                }
                bundle.push((entries.slice_ref(part), leaf));
            }
            return Ok(bundle);
        }
        Err(bad(format!("no entry bundle {number} of width {wanted}")))
    }

    fn file(
        &self,
        kind: TileKind,
        number: u64,
        width: u16,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, AuditError> {
        let Ok(tile) = TilePath::new(kind, number, width) else { return Ok(None) };
        let path = self.folder.join(tile.to_string());
        read_if_there(&path, limit).map_err(|error| AuditError::Unreadable { path, fault: error.to_string() })
    }
}
