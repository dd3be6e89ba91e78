//! The table of a day as a file beside the journal, so that a restart answers as before. It holds what may be shown
//! and the totals of blocks; no count of a cell that is suppressed.

use super::suppress::{Sum, Suppressed};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use yiwang_proto::ids::RecordType;

const FORMAT: &str = "adapter-counts/1";
/// Bytes of one file: twice what a table with every cell shown takes.
const FILE_MAX: u64 = 4 << 20;

/// A table with the day that it is for.
#[derive(Debug)]
pub(super) struct Kept {
    /// In the source's zone.
    pub(super) day: Date,
    /// How it was declared.
    pub(super) definition: String,
    /// When it was made, milliseconds.
    pub(super) made_ms: i64,
    /// What may be shown.
    pub(super) table: Suppressed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    day: String,
    definition: String,
    made_ms: i64,
    sums: Vec<Sum>,
}

/// The day of a moment in the source's zone.
pub(super) fn day(now_ms: i64, zone: &TimeZone) -> Date {
    let at = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    zone.to_datetime(at).date()
}

fn path(dir: &Path, record: &RecordType) -> PathBuf {
    // A record's name is letters and digits.
    dir.join(format!("{record}.json"))
}

/// What was kept; none where there is nothing. What is there and cannot be read is an error: a second table of the same
/// day would give away what the first suppressed.
pub(super) async fn read(dir: &Path, record: &RecordType, sizes: &[usize]) -> io::Result<Option<Kept>> {
    let (path, sizes) = (path(dir, record), sizes.to_vec());
    tokio::task::spawn_blocking(move || {
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(FILE_MAX).read_to_string(&mut text)?;
        let bad =
            || io::Error::new(io::ErrorKind::InvalidData, "is no table of a day; take it away tomorrow");
        let file: File = serde_json::from_str(&text).map_err(|_| bad())?;
        let day = file.day.parse().map_err(|_| bad())?;
        if file.format != FORMAT {
            return Err(bad());
        }
        // Under another declaration the sums mean nothing, but the day still counts.
        let table = Suppressed::of(&sizes, file.sums).or_else(|| Suppressed::of(&sizes, Vec::new()));
        let table = table.ok_or_else(bad)?;
        Ok(Some(Kept { day, definition: file.definition, made_ms: file.made_ms, table }))
    })
    .await
    .map_err(io::Error::other)?
}

/// Keeps a table: durable before anything of it leaves.
pub(super) async fn write(dir: &Path, record: &RecordType, kept: &Kept) -> io::Result<()> {
    let file = File {
        format: FORMAT.to_owned(),
        day: kept.day.to_string(),
        definition: kept.definition.clone(),
        made_ms: kept.made_ms,
        sums: kept.table.sums().to_vec(),
    };
    let (dir, path) = (dir.to_owned(), path(dir, record));
    tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&dir)?;
        let beside = path.with_extension("new");
        let mut out = std::fs::File::create(&beside)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.sync_all()?;
        std::fs::rename(&beside, &path)?;
        std::fs::File::open(&dir)?.sync_all()
    })
    .await
    .unwrap_or_else(|_| Err(io::Error::other("the writing thread ended")))
}
