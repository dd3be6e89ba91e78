//! What was dropped by hand: one file beside the mapping, `person.toml.dropped`, so that whatever opens the mapping
//! leaves out the same. The adapter only reads it. A row or a file is named by a salted digest of its bytes: another
//! version of it is looked at afresh, and no value stands in the trace.

use crate::folder::Version;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_proto::{Digest, digest_of_hex, hex};

const FORMAT: &str = "adapter-dropped/1";
/// Bytes of the file: what [`TRACES_MAX`] traces with long reasons take.
const FILE_MAX: u64 = 16 << 20;
/// Traces of one mapping: as many as are held back with their reason.
const TRACES_MAX: usize = 10_000;

/// Something that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The file.
    pub file: String,
    /// The line on which the row began, from 1; 0 for the file as a whole.
    pub line: u64,
    digest: String,
    /// Why it was held back.
    pub held: String,
    /// Why it was dropped.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// Whether it was taken in after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_in: Option<TakenIn>,
}

/// Who took something in after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenIn {
    /// Who.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    salt: String,
    #[serde(default)]
    dropped: Vec<Trace>,
}

/// All that was dropped of one mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    salt: Digest,
    traces: Vec<Trace>,
}

/// What was dropped of one file and not taken in again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OfFile {
    salt: Digest,
    whole: BTreeSet<Digest>,
    rows: BTreeSet<Digest>,
    /// Rows that are read as though they had not been dropped, and of which is told how they did.
    watched: BTreeSet<Digest>,
}

/// What a row is, of what was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    Other,
    /// Dropped: it is left out.
    Dropped,
    /// Read again.
    Watched(Digest),
}

fn digest(salt: &Digest, whole: bool, bytes: &[u8]) -> Digest {
    yiwang_proto::sha256(&[&salt[..], &[u8::from(whole)], bytes].concat())
}

impl OfFile {
    /// Whether the file with this content was dropped.
    pub(crate) fn has_file(&self, content: &[u8]) -> bool {
        !self.whole.is_empty() && self.whole.contains(&digest(&self.salt, true, content))
    }

    /// What a row is. Nothing is computed for files of which nothing was dropped.
    pub(crate) fn row(&self, bytes: &[u8]) -> Known {
        if self.rows.is_empty() && self.watched.is_empty() {
            return Known::Other;
        }
        let digest = digest(&self.salt, false, bytes);
        match (self.rows.contains(&digest), self.watched.contains(&digest)) {
            (true, _) => Known::Dropped,
            (false, true) => Known::Watched(digest),
            (false, false) => Known::Other,
        }
    }
}

impl Dropped {
    /// What counts for one file.
    pub(crate) fn of(&self, file: &str) -> OfFile {
        self.of_but(file, &BTreeSet::new())
    }

    /// The same, with some traces as though they were not there.
    pub(crate) fn of_but(&self, file: &str, without: &BTreeSet<usize>) -> OfFile {
        let mut of = OfFile { salt: self.salt, ..OfFile::default() };
        for (at, trace) in self.open(file) {
            let Some(digest) = digest_of_hex(&trace.digest) else { continue };
            match (trace.line, without.contains(&at)) {
                (0, true) => false,
                (0, false) => of.whole.insert(digest),
                (_, true) => of.watched.insert(digest),
                (_, false) => of.rows.insert(digest),
            };
        }
        of
    }

    /// Traces of a file that were not taken in again, with their places.
    pub(crate) fn open<'d>(&'d self, file: &'d str) -> impl Iterator<Item = (usize, &'d Trace)> {
        let open = move |trace: &Trace| trace.file == file && trace.taken_in.is_none();
        self.traces.iter().enumerate().filter(move |(_, trace)| open(trace))
    }

    pub(crate) fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// Whether the trace of a whole file is of this content.
    pub(crate) fn is_of(&self, trace: &Trace, content: &[u8]) -> bool {
        trace.digest == hex(&digest(&self.salt, true, content))
    }

    /// Adds a trace. The salt counts only where there was none yet.
    pub(crate) fn add(&mut self, mut trace: Trace, bytes: &[u8], salt: Digest) -> Result<(), DropError> {
        if self.traces.len() >= TRACES_MAX {
            return Err(DropError::Full);
        }
        if self.traces.is_empty() {
            self.salt = salt;
        }
        trace.digest = hex(&digest(&self.salt, trace.line == 0, bytes));
        self.traces.push(trace);
        Ok(())
    }

    pub(crate) fn take_in(&mut self, at: usize, taken_in: TakenIn) {
        if let Some(trace) = self.traces.get_mut(at) {
            trace.taken_in = Some(taken_in);
        }
    }
}

impl Trace {
    pub(crate) fn digest(&self) -> Option<Digest> {
        digest_of_hex(&self.digest)
    }

    /// A trace whose digest [`Dropped::add`] fills in.
    pub(crate) fn new(place: (&str, u64), held: &str, reason: &str, by: &str, at: &str) -> Self {
        let [held, reason, by, at] = [held, reason, by, at].map(str::to_owned);
        Self {
            file: place.0.to_owned(),
            line: place.1,
            digest: String::new(),
            held,
            reason,
            by,
            at,
            taken_in: None,
        }
    }
}

/// Why nothing was dropped or taken in.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The folder.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file beside the mapping.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two at once.
    #[error("another command changes what was dropped of this mapping; try again when it has ended")]
    Busy,
    /// Too many.
    #[error("{TRACES_MAX} rows were dropped already; have the export mended where it is made")]
    Full,
    /// Nothing that could be dropped.
    #[error("{0}")]
    NotHeld(String),
}

/// The file beside a mapping.
pub(crate) fn path(mapping: &Mapping) -> PathBuf {
    mapping.file().with_added_extension("dropped")
}

/// What was dropped, and the version of the file that says so; none where there is none.
pub(crate) fn read(path: &Path) -> Result<(Dropped, Option<Version>), DropError> {
    let at = |source| DropError::Io { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Dropped::default(), None)),
        Err(error) => return Err(at(error)),
    };
    let version = Version::of(&file).map_err(at)?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(at)?;
    // What it says is not shown: a reason may be what somebody should not have written.
    let bad = || {
        at(io::Error::new(
            io::ErrorKind::InvalidData,
            "is no list of what was dropped; put back a copy of it",
        ))
    };
    let file: File = toml::from_str(&text).map_err(|_| bad())?;
    let salt = digest_of_hex(&file.salt).filter(|_| file.format == FORMAT).ok_or_else(bad)?;
    if file.dropped.iter().any(|trace| digest_of_hex(&trace.digest).is_none()) {
        return Err(bad());
    }
    Ok((Dropped { salt, traces: file.dropped }, Some(version)))
}

/// Changes what was dropped. Whole or not at all, and durable when it returns: a power cut before the rename leaves
/// the old list and a file aside that the next change writes over; one after it leaves the new list. Two commands
/// exclude each other by a lock on the mapping's folder; the adapter takes none, because it sees whole lists only.
pub(crate) fn change<T>(
    mapping: &Mapping,
    apply: impl FnOnce(&mut Dropped) -> Result<T, DropError>,
) -> Result<T, DropError> {
    let path = path(mapping);
    let at = |source| DropError::Io { path: path.clone(), source };
    let base = match mapping.base() {
        base if base.as_os_str().is_empty() => Path::new("."),
        base => base,
    };
    let folder = std::fs::File::open(base).map_err(at)?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|_| DropError::Busy)?;
    let (before, _) = read(&path)?;
    let mut after = before.clone();
    let yielded = apply(&mut after)?;
    if after != before {
        write(mapping.file(), &path, &folder, &after).map_err(at)?;
    }
    Ok(yielded)
}

fn write(mapping: &Path, path: &Path, folder: &std::fs::File, dropped: &Dropped) -> io::Result<()> {
    let file = File { format: FORMAT.to_owned(), salt: hex(&dropped.salt), dropped: dropped.traces.clone() };
    let text = toml::to_string(&file).map_err(io::Error::other)?;
    let aside = path.with_added_extension("new");
    let like = std::fs::metadata(mapping)?;
    // What lies there is of a run that was cut short, or a link that somebody laid: neither is written into.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = std::fs::File::options().write(true).create_new(true).open(&aside)?;
    out.set_permissions(like.permissions())?;
    // Who may read the mapping must be able to read this: the adapter runs as another account. An account that may not
    // give files away leaves it to the folder's own rule.
    let _ = std::os::unix::fs::fchown(&out, None, Some(like.gid()));
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&aside, path)?;
    folder.sync_all()
}
