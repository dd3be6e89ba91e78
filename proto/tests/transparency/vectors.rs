//! Published verdicts: `merkle-proofs` of transparency-dev, and the log that Tessera's tests carry.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use yiwang_proto::checkpoint::{Checkpoint, CheckpointVerifier};
use yiwang_proto::merkle::{
    EMPTY_ROOT, Hash, HashReader, Tree, consistency_proof, inclusion_proof, leaf_hash, root_from_tiles,
    verify_consistency, verify_growth, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};
use yiwang_proto::note::VerifierKey;
use yiwang_proto::tile::{TileKind, TilePath, decode_bundle, encode_bundle};

use crate::support::{data, leaves, naive_root, stored};

/// Runs a verifier over all files of a folder; every verdict must be the published one.
fn run(folder: &str, expected_cases: usize, verdict: impl Fn(&Case) -> bool) {
    let Some(root) = data("vectors/merkle-proofs/testdata") else { return };
    let (mut files, mut good) = (Vec::new(), 0);
    collect(&root.join(folder), &mut files);
    for file in &files {
        let case = Case(serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap());
        let published = !case.0["wantErr"].as_bool().unwrap();
        assert_eq!(verdict(&case), published, "{}: {}", file.display(), case.0["desc"]);
        good += usize::from(published);
    }
    assert_eq!(files.len(), expected_cases);
    assert!(good > 0 && good < files.len());
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

struct Case(Value);

impl Case {
    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    /// Some vectors hold "hashes" of other lengths, which our types do not let through; where a verdict
    /// hangs on which of them are equal, a digest stands for each.
    fn hash(value: &Value) -> Hash {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
        bytes.as_slice().try_into().unwrap_or_else(|_| leaf_hash(&bytes))
    }

    /// Whether leaf and root are hashes at all.
    fn has_hashes(&self) -> bool {
        ["leafHash", "root"].iter().all(|name| self.0[name].as_str().is_some_and(|text| text.len() == 44))
    }

    fn root(&self, name: &str) -> Hash {
        Self::hash(&self.0[name])
    }

    fn proof(&self) -> Vec<Hash> {
        self.0["proof"].as_array().map_or(Vec::new(), |hashes| hashes.iter().map(Self::hash).collect())
    }
}

#[test]
fn inclusion() {
    run("inclusion", 98, |case| {
        let (index, size) = (case.number("leafIdx"), case.number("treeSize"));
        let (leaf, root) = (case.root("leafHash"), case.root("root"));
        case.has_hashes() && verify_inclusion(index, size, &leaf, &case.proof(), &root).is_ok()
    });
}

#[test]
fn consistency() {
    run("consistency", 98, |case| {
        let (from, to) = (case.number("size1"), case.number("size2"));
        verify_consistency(from, to, &case.root("root1"), &case.root("root2"), &case.proof()).is_ok()
    });
}

#[test]
fn subtree_inclusion() {
    run("subtreeinclusion", 204, |case| {
        let range = (case.number("start"), case.number("end"));
        let (leaf, root) = (case.root("leafHash"), case.root("root"));
        let index = case.number("leafIdx");
        case.has_hashes() && verify_subtree_inclusion(index, range, &leaf, &case.proof(), &root).is_ok()
    });
}

#[test]
fn subtree_consistency() {
    run("subtreeconsistency", 118, |case| {
        let (range, size) = ((case.number("start"), case.number("end")), case.number("size"));
        let (subtree, root) = (case.root("root1"), case.root("root2"));
        verify_subtree_consistency(range, size, &subtree, &root, &case.proof()).is_ok()
    });
}

const TESSERA_KEY: &str = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
const TESSERA_ENTRIES: [&str; 15] = [
    "one", "two", "three", "four", "five", "six", "seven", "eit", "nain", "ten", "ileven", "twelf",
    "threeten", "fourten", "fivten",
];

struct Files<'a>(&'a Path);

impl HashReader for Files<'_> {
    type Error = std::io::Error;

    fn tile(&self, level: u8, index: u64, width: u16) -> std::io::Result<Bytes> {
        let path = TilePath::new(TileKind::Hashes(level), index, width).unwrap();
        std::fs::read(self.0.join(path.to_string())).map(Bytes::from)
    }
}

fn tessera_head(log: &Path, size: usize) -> Checkpoint {
    let key = VerifierKey::parse(TESSERA_KEY).unwrap();
    let note = std::fs::read(log.join(format!("checkpoint.{size}"))).unwrap();
    let verifier = CheckpointVerifier::new(key.clone(), "example.com/log/testdata", 4);
    let head = Checkpoint::open(&note, &key, "example.com/log/testdata").unwrap();
    assert_eq!(verifier.open(&note).unwrap(), head);
    assert_eq!(verifier.open(&note).unwrap(), head);
    head
}

#[test]
fn real_log_of_tessera() {
    let Some(log) = data("vectors/tessera-log/testdata/log") else { return };
    assert_eq!(VerifierKey::parse(TESSERA_KEY).unwrap().to_string(), TESSERA_KEY);
    let hashes: Vec<_> = TESSERA_ENTRIES.iter().map(|entry| leaf_hash(entry.as_bytes())).collect();
    let files = Files(&log);
    let mut tree = Tree::new();
    assert_eq!(tessera_head(&log, 0).root, EMPTY_ROOT);
    for size in 1..=15_usize {
        let head = tessera_head(&log, size);
        assert_eq!(head.size, size as u64);
        tree.append(&hashes[size - 1..size]);
        assert_eq!(tree.root(), head.root);
        assert_eq!(root_from_tiles(&files, head.size).unwrap(), head.root);
        assert_eq!(Tree::restore(head.size, &files).unwrap().root(), head.root);
        for tile in tree.partials() {
            assert_eq!(tile.bytes, std::fs::read(log.join(tile.path().to_string())).unwrap());
        }

        let width = u16::try_from(size).unwrap();
        let bundle = TilePath::new(TileKind::Entries, 0, width).unwrap();
        let bytes = std::fs::read(log.join(bundle.to_string())).unwrap();
        let entries = decode_bundle(&bytes, width).unwrap();
        assert_eq!(entries, TESSERA_ENTRIES[..size].iter().map(|entry| entry.as_bytes()).collect::<Vec<_>>());
        assert_eq!(encode_bundle(entries).unwrap(), bytes);

        for older in 1..=size {
            let old = tessera_head(&log, older);
            let proof = consistency_proof(&files, old.size, head.size).unwrap();
            verify_growth(old.size, head.size, &old.root, &head.root, &proof).unwrap();
            let index = old.size - 1;
            let proof = inclusion_proof(&files, index, head.size).unwrap();
            verify_inclusion(index, head.size, &hashes[older - 1], &proof, &head.root).unwrap();
        }
    }
}

/// Subtrees of our own larger tree, where every aligned range must verify and shifted ones must not.
#[test]
fn subtrees_of_a_larger_tree() {
    let all = leaves(13);
    let root = naive_root(&all);
    let whole = naive_root(&all[8..12]);
    // The sibling of leaves 8..12 is leaf 12, and then the full left half.
    let proof = [all[12], naive_root(&all[..8])];
    verify_subtree_consistency((8, 12), 13, &whole, &root, &proof).unwrap();
    assert!(verify_subtree_consistency((4, 8), 13, &whole, &root, &proof).is_err());
    assert!(verify_subtree_consistency((9, 13), 13, &whole, &root, &proof).is_err());
    let within = inclusion_proof(&stored(&all[8..12]).1, 1, 4).unwrap();
    verify_subtree_inclusion(9, (8, 12), &all[9], &within, &whole).unwrap();
    assert!(verify_subtree_inclusion(10, (8, 12), &all[9], &within, &whole).is_err());
}
