//! Crashes of real processes on real file systems: kill -9, power cut, full disk, foreign files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "crash/disk_full.rs"]
mod disk_full;
#[path = "crash/files.rs"]
mod files;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/mounted.rs"]
mod mounted;
#[path = "crash/power_cut.rs"]
mod power_cut;
#[path = "crash/writer.rs"]
mod writer;
