//! What the system knows of this process.

use crate::page::{Kind, Page};

/// Adds memory and open files; nothing where the system does not tell.
pub fn process(page: &mut Page) {
    if let Some(bytes) = resident_bytes() {
        page.one("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", bytes);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // The folder that is being read has a descriptor of its own.
        let open = u64::try_from(files.count().saturating_sub(1)).unwrap_or(u64::MAX);
        page.one("process_open_fds", Kind::Gauge, "Open file descriptors.", open);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
