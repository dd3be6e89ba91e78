//! Reading what processes cost, from the system's own books.

use crate::fail::{Failure, file};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use yiwang_journal::CACHED_SEGMENTS;
use yiwang_proto::ambient::Clock;

/// Microseconds of CPU that a process has used, all threads together. The system counts in hundredths.
pub fn cpu_us(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name stands in parentheses and may hold anything: count the fields behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) * 10_000
}

/// Resident memory of a process in megabytes.
pub fn rss_mb(process: u32) -> f64 {
    status_mb(process, "VmRSS:")
}

/// The part of it that is the process's own; the rest is the program's file, as much as the system has mapped of it.
pub fn own_mb(process: u32) -> f64 {
    status_mb(process, "RssAnon:")
}

/// The most that a process has had resident since [`forget_peak`], or since it was started.
pub fn peak_mb(process: u32) -> f64 {
    status_mb(process, "VmHWM:")
}

/// From now on [`peak_mb`] counts anew (`man 5 proc`, `clear_refs`).
pub fn forget_peak(process: u32) -> Result<(), Failure> {
    let path = PathBuf::from(format!("/proc/{process}/clear_refs"));
    std::fs::write(&path, "5").map_err(file(&path))
}

fn status_mb(process: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kilobytes: f64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default();
    kilobytes / 1024.0
}

/// Resident memory of a process in kibibytes; none once it is gone.
pub fn rss_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Open file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// All but those.
    pub files: u64,
    /// Older segments that journals keep open to read them, each file once and no more of a journal than it keeps.
    pub older_segments: u64,
}

impl OpenFiles {
    fn of(links: impl Iterator<Item = PathBuf>) -> Self {
        let (mut all, mut journals) = (0_u64, BTreeMap::<PathBuf, BTreeSet<PathBuf>>::new());
        for link in links {
            all += 1;
            if link.extension().is_some_and(|end| end == "seg")
                && let Some(folder) = link.parent()
            {
                journals.entry(folder.to_owned()).or_default().insert(link);
            }
        }
        // The newest one is the writer's.
        let older = journals.values().map(|segments| segments.len().saturating_sub(1).min(CACHED_SEGMENTS));
        let older_segments = older.sum::<usize>() as u64;
        Self { files: all.saturating_sub(older_segments), older_segments }
    }
}

/// Open file descriptors of a process; none once it is gone.
pub fn open_files(process: u32) -> Option<OpenFiles> {
    links(process).map(OpenFiles::of)
}

/// What the descriptors point to.
fn links(process: u32) -> Option<impl Iterator<Item = PathBuf>> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    // One that was closed meanwhile has no link any more.
    Some(files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()))
}

/// Median microseconds of one `fdatasync` of 4 KiB on the disk of this folder.
pub fn fdatasync_p50_us(dir: &Path, clock: &dyn Clock) -> Result<u64, Failure> {
    let path = dir.join("sync.probe");
    let mut probe = std::fs::File::create(&path).map_err(file(&path))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        probe.write_all(&[7; 4096]).map_err(file(&path))?;
        let start = clock.monotonic_us();
        probe.sync_data().map_err(file(&path))?;
        times.push(clock.monotonic_us() - start);
    }
    std::fs::remove_file(&path).map_err(file(&path))?;
    Ok(percentile(&mut times, 50))
}

/// A percentile; 0 of nothing.
pub fn percentile(times: &mut [u64], percent: usize) -> u64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// A number with two decimals.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { (a as f64 / b as f64 * 1000.0).round() / 1000.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(folder: &str, count: usize) -> Vec<PathBuf> {
        (0..count).map(|number| PathBuf::from(format!("/hub/{folder}/{number:020}.seg"))).collect()
    }

    #[test]
    fn older_segments_are_told_from_what_leaks() {
        let sockets = || (0..20).map(|number| PathBuf::from(format!("socket:[{number}]")));
        let counted = |segments: Vec<PathBuf>| OpenFiles::of(sockets().chain(segments));
        let files = |files, older_segments| OpenFiles { files, older_segments };
        assert_eq!(counted(Vec::new()), files(20, 0));
        assert_eq!(counted(segments("segments", 1)), files(21, 0), "the newest is written to");
        let two_journals = [segments("segments", 10), segments("folded", 3)].concat();
        assert_eq!(counted(two_journals), files(22, 11));
        assert_eq!(counted(segments("segments", 40)), files(20 + 40 - 16, 16), "no journal keeps more");
        // The same ones again and again are a leak like any other.
        let again = [segments("segments", 3), segments("segments", 3), segments("segments", 3)].concat();
        assert_eq!(counted(again), files(20 + 9 - 2, 2));
    }

    #[test]
    fn what_this_process_opens_and_keeps_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        let _open = [open("1.seg"), open("2.seg"), open("3.seg"), open("other")];
        let here = links(std::process::id()).unwrap().filter(|link| link.starts_with(dir.path()));
        assert_eq!(OpenFiles::of(here), OpenFiles { files: 2, older_segments: 2 });
        assert!(open_files(std::process::id()).is_some_and(|open| open.files >= 2));
    }
}
