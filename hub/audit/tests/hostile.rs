//! Bundles, proofs and folders from strangers: no panic, no unbounded work, never a clean verdict.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;
use std::sync::LazyLock;
use tempfile::TempDir;
use yiwang_audit::fixture::World;
use yiwang_audit::{
    Filter, Options, Rows, fsck, show, verify_evidence, verify_ledger, verify_proof, write_accesses,
};

static WORLD: LazyLock<(World, Vec<u8>, String)> = LazyLock::new(|| {
    let mut world = World::new();
    world.answered();
    let index = world.answered();
    let bundle = serde_json::to_vec(&world.evidence(index)).unwrap();
    let proof = world.tlog_proof(index);
    (world, bundle, proof)
});

fn options() -> Options {
    Options { key: Some(WORLD.0.key()), threads: 1, ..Options::default() }
}

/// Runs every reader of folders; only that they end counts.
fn read_all(folder: &std::path::Path) {
    let _ = verify_ledger(folder, &options());
    let _ = fsck(folder);
    let _ = show(folder, 9);
    let _ = write_accesses(folder, &Filter::default(), Rows::Csv, &mut Vec::new());
}

#[test]
fn t39_truncated_bundles_are_refused() {
    let bundle = &WORLD.1;
    for length in (0..bundle.len()).step_by(97) {
        assert!(!verify_evidence(&bundle[..length], &options()).unwrap().is_clean());
    }
}

#[test]
fn t19_huge_and_deep_bundles_are_refused() {
    let mut cases = vec![
        vec![b' '; 17 * 1024 * 1024],
        vec![b'['; 1024 * 1024],
        b"{\"format\":\"yiwang-evidence/1\",".repeat(10_000),
        b"null".to_vec(),
        b"\xff\xfe{}".to_vec(),
        Vec::new(),
    ];
    let text = String::from_utf8(WORLD.1.clone()).unwrap();
    cases.push(text.replacen("\"index\":", "\"index\":18446744073709551615,\"index\":", 1).into_bytes());
    cases.push(text.replacen("\"index\":1", "\"index\":18446744073709551615", 1).into_bytes());
    cases.push(text.replacen("\"index\":1", "\"index\":-1", 1).into_bytes());
    cases.push(text.replacen("\"request\":{", "\"request\":{\"x\":[[[[[[[[]]]]]]]],", 1).into_bytes());
    for case in cases {
        assert!(!verify_evidence(&case, &options()).unwrap().is_clean());
    }
}

#[test]
fn folders_with_odd_files_end() {
    let folder = TempDir::new().unwrap();
    WORLD.0.write(folder.path());
    let checkpoint = folder.path().join("checkpoint");
    std::fs::remove_file(&checkpoint).unwrap();
    std::fs::create_dir(&checkpoint).unwrap();
    let tile = folder.path().join("tile/0/000.p/3");
    #[cfg(unix)]
    std::os::unix::fs::symlink("/dev/zero", &tile).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("tile/7")).unwrap();
    std::fs::create_dir_all(folder.path().join("tile/1/a/b/c/d/e/f/g/h/i/j/k")).unwrap();
    let report = verify_ledger(folder.path(), &options()).unwrap();
    assert!(!report.is_clean());
    read_all(folder.path());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t39_garbage_is_refused(garbage in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(!verify_evidence(&garbage, &options()).unwrap().is_clean());
        prop_assert!(!verify_proof(&garbage, &garbage, &options()).unwrap().is_clean());
        prop_assert!(!verify_proof(WORLD.2.as_bytes(), &garbage, &options()).unwrap().is_clean());
    }

    #[test]
    fn bundles_with_pieces_exchanged_never_panic(
        from in 0usize..20_000, to in 0usize..20_000, length in 1usize..400,
    ) {
        let mut bundle = WORLD.1.clone();
        let (from, to) = (from % bundle.len(), to % bundle.len());
        let length = length.min(bundle.len() - from.max(to));
        let piece = bundle[from..from + length].to_vec();
        bundle[to..to + length].copy_from_slice(&piece);
        let clean = verify_evidence(&bundle, &options()).unwrap().is_clean();
        prop_assert!(!clean || bundle == WORLD.1);
    }

    #[test]
    fn entries_of_garbage_never_panic(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..8),
        spoil in proptest::collection::vec((0usize..12, 0usize..2000, any::<u8>()), 0..8),
    ) {
        let mut world = World::new();
        world.answered();
        world.answered();
        for (entry, at, byte) in spoil {
            let index = entry % world.entries.len();
            let mut bytes = world.entries[index].to_vec();
            let place = at % bytes.len();
            bytes[place] = byte;
            world.entries[index] = bytes.into();
        }
        world.entries.extend(entries.into_iter().map(Into::into));
        let folder = TempDir::new().unwrap();
        world.write(folder.path());
        let report = verify_ledger(folder.path(), &options()).unwrap();
        prop_assert!(!report.is_clean());
        read_all(folder.path());
        for index in 0..world.entries.len() as u64 {
            let _ = show(folder.path(), index);
        }
    }

    #[test]
    fn t39_folders_with_flipped_bytes_never_panic(
        flips in proptest::collection::vec((0usize..4, any::<u32>(), 1u8..=255), 1..5),
    ) {
        let folder = TempDir::new().unwrap();
        WORLD.0.write(folder.path());
        let names = [
            "segments/00000000000000000000.seg".to_owned(),
            "checkpoint".to_owned(),
            "verifier.key".to_owned(),
            format!("tile/0/000.p/{}", WORLD.0.entries.len()),
        ];
        for (file, at, mask) in flips {
            let path = folder.path().join(&names[file]);
            let mut bytes = std::fs::read(&path).unwrap();
            // Where the records are, not in the zeros behind them.
            let place = at as usize % bytes.len().min(12_000);
            bytes[place] ^= mask;
            std::fs::write(&path, bytes).unwrap();
        }
        read_all(folder.path());
    }
}
