//! Reading what processes cost, from the system's own books.

use crate::fail::{Failure, file};
use std::io::Write as _;
use std::path::Path;
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
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default();
    kilobytes / 1024.0
}

/// Resident memory of a process in kibibytes; none once it is gone.
pub fn rss_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Open file descriptors of a process; none once it is gone.
pub fn open_files(process: u32) -> Option<u64> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    u64::try_from(files.count()).ok()
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
