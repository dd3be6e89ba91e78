//! Where entries come from: the segments of a ledger folder, or the entry bundles that an auditor mirrored.

mod mirror;

use crate::error::AuditError;
use crate::ledger::{open, segments};
use bytes::Bytes;
use mirror::Mirror;
use std::path::Path;
use yiwang_journal::{ReadError, Reader};
use yiwang_proto::merkle::Hash;

/// An entry with its index and the hash of exactly these bytes.
pub(crate) type Record = (u64, Bytes, Hash);

/// The entries of a ledger, whoever stores them. Each is read with its leaf hash, computed from these bytes.
pub trait Entries: Sync {
    /// Entries, counted from 0; grows while a hub appends.
    fn size(&self) -> u64;

    /// The oldest entry that is kept.
    fn oldest(&self) -> u64;

    /// One entry and its leaf hash.
    ///
    /// # Errors
    /// [`AuditError`] when it is not there or damaged.
    fn entry(&self, index: u64) -> Result<(Bytes, Hash), AuditError>;

    /// Shows the entries from `from` on, in order, until `take` says false.
    ///
    /// # Errors
    /// [`AuditError`] for the first entry that is damaged.
    fn each(&self, from: u64, take: &mut dyn FnMut(u64, Bytes, Hash) -> bool) -> Result<(), AuditError>;
}

/// The entries of a ledger folder or a mirror.
///
/// # Errors
/// [`AuditError`] when there are none to read.
pub fn folder_entries(folder: &Path) -> Result<Box<dyn Entries>, AuditError> {
    Ok(Box::new(Source::open(folder)?))
}

impl Entries for Source {
    fn size(&self) -> u64 {
        self.len()
    }

    fn oldest(&self) -> u64 {
        self.first()
    }

    fn entry(&self, index: u64) -> Result<(Bytes, Hash), AuditError> {
        self.read(index)
    }

    fn each(&self, from: u64, take: &mut dyn FnMut(u64, Bytes, Hash) -> bool) -> Result<(), AuditError> {
        for record in self.scan(from) {
            let (index, bytes, leaf) = record?;
            if !take(index, bytes, leaf) {
                break;
            }
        }
        Ok(())
    }
}

/// The entries of one ledger.
#[derive(Debug)]
pub(crate) enum Source {
    /// `segments/`: the leaf hash that stands beside each record is checked on every read.
    Segments(Reader),
    /// `tile/entries/`, held against the leaf hashes in `tile/0/`.
    Mirror(Mirror),
}

impl Source {
    /// Opens a ledger folder, or a mirror: a folder with `checkpoint`, `tile/0/` and `tile/entries/`.
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        if !folder.join("segments").exists() && Mirror::is_at(folder) {
            return Mirror::open(folder).map(Self::Mirror);
        }
        let segments = segments(folder)?;
        let (reader, _) = open(&segments)
            .map_err(|error| AuditError::Unreadable { path: segments.clone(), fault: error.to_string() })?;
        Ok(Self::Segments(reader))
    }

    /// Entries, counted from 0.
    pub fn len(&self) -> u64 {
        match self {
            Self::Segments(reader) => reader.len(),
            Self::Mirror(mirror) => mirror.len(),
        }
    }

    /// The oldest entry that is kept.
    pub fn first(&self) -> u64 {
        match self {
            Self::Segments(reader) => reader.first(),
            Self::Mirror(_) => 0,
        }
    }

    /// One entry, its leaf hash verified.
    pub fn read(&self, index: u64) -> Result<(Bytes, Hash), AuditError> {
        match self {
            Self::Segments(reader) => reader.read_with_hash(index).map_err(|error| match error {
                ReadError::Beyond { index, len } => AuditError::NoEntry { index, len },
                error => AuditError::BadEntry { index, fault: error.to_string() },
            }),
            Self::Mirror(mirror) => mirror.read(index),
        }
    }

    /// The entries from `from` on. Ends after the first error.
    pub fn scan(&self, from: u64) -> Box<dyn Iterator<Item = Result<Record, AuditError>> + '_> {
        match self {
            Self::Segments(reader) => {
                let mut next = from.max(reader.first());
                Box::new(reader.scan(from).map(move |record| match record {
                    Ok(record) => {
                        next = record.0 + 1;
                        Ok(record)
                    }
                    Err(error) => Err(AuditError::BadEntry { index: next, fault: error.to_string() }),
                }))
            }
            Self::Mirror(mirror) => Box::new(mirror.scan(from)),
        }
    }
}
