//! A ledger as an auditor sees it who pinned its key.

use tempfile::TempDir;
use yiwang_audit::fixture::World;
use yiwang_audit::{Options, Report, verify_ledger};

pub fn verify(world: &World) -> Report {
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let options = Options { key: Some(world.key()), threads: 2, ..Options::default() };
    verify_ledger(folder.path(), &options).unwrap()
}
