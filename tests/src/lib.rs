//! The test world: a real hub, real adapters and real members on loopback, restartable in the middle of a
//! test. Whole-system tests stand in `tests/`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test world fails by panicking"
)]

pub mod clinic;
pub mod contracts;
pub mod evil;
pub mod forged;
pub mod held;
pub mod member;
pub mod raw;
pub mod scene;
pub mod world;

use std::path::PathBuf;

/// The folder with real open data and third-party vectors, or none, with a word about it.
pub fn test_data() -> Option<PathBuf> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let dir = std::env::var_os("YIWANG_TEST_DATA").map_or(default, PathBuf::from);
    if dir.join("vectors").is_dir() {
        Some(dir)
    } else {
        println!("skipped: no test data");
        None
    }
}

/// The departments' mappings of this repository.
pub fn departments() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../adapters/departments")
}
