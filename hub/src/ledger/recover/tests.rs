//! Starts over tiles that a power cut or somebody else left in any state.

use super::super::publish::write_tile;
use super::super::tree::Hashes;
use super::*;
use std::sync::atomic::AtomicU64;
use yiwang_proto::Digest;
use yiwang_proto::merkle::{inclusion_proof, leaf_hash, root_from_tiles, verify_inclusion};

/// Entries that are the text of their index; counts how many are read.
struct Entries {
    len: u64,
    visited: AtomicU64,
}

fn entry(index: u64) -> Bytes {
    Bytes::from(index.to_string())
}

impl EntryReader for Entries {
    fn len(&self) -> u64 {
        self.len
    }
    fn read(&self, index: u64) -> Result<Bytes, StoreError> {
        Ok(entry(index))
    }
    fn scan(&self, from: u64, visit: &mut dyn FnMut(u64, Bytes, Digest) -> bool) -> Result<(), StoreError> {
        for index in from..self.len {
            self.visited.fetch_add(1, Ordering::Relaxed);
            if !visit(index, entry(index), leaf_hash(&entry(index))) {
                break;
            }
        }
        Ok(())
    }
    fn scan_back(&self, _visit: &mut dyn FnMut(u64, Bytes) -> bool) -> Result<(), StoreError> {
        Ok(())
    }
}

struct World {
    dir: tempfile::TempDir,
    entries: Arc<Entries>,
    head: Checkpoint,
}

/// A ledger with three levels of tiles, as the publisher leaves it at a head.
const SIZE: u64 = 256 * 256 * 2 + 256 * 7 + 31;

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = TileFolder::new(dir.path());
        let mut tree = Tree::new();
        for index in 0..SIZE {
            for tile in tree.append(&[leaf_hash(&entry(index))]) {
                write_tile(&folder, &tile, "new").unwrap();
            }
        }
        for tile in tree.partials() {
            write_tile(&folder, &tile, "new").unwrap();
        }
        let head = Checkpoint::new("test.example/log", SIZE, tree.root()).unwrap();
        let entries = Arc::new(Entries { len: SIZE, visited: AtomicU64::new(0) });
        Self { dir, entries, head }
    }

    fn path(&self, level: u8, index: u64, width: u16) -> PathBuf {
        TileFolder::new(self.dir.path()).path(level, index, width).unwrap()
    }

    fn tiles(&self) -> Tiles {
        Tiles::new(self.dir.path(), Arc::clone(&self.entries) as _)
    }

    /// Restores and yields the entries that were read for it.
    fn restore(&self) -> (Tree, u64) {
        self.entries.visited.store(0, Ordering::Relaxed);
        let tree = restore_tree(Some(&self.head), self.entries.as_ref(), &self.tiles()).unwrap();
        assert_eq!((tree.size(), tree.root()), (SIZE, self.head.root));
        (tree, self.entries.visited.load(Ordering::Relaxed))
    }
}

#[test]
fn a_start_reads_no_entries_if_all_tiles_are_there() {
    assert_eq!(World::new().restore().1, 0);
}

#[test]
fn what_a_power_cut_emptied_is_made_again_from_few_entries() {
    let world = World::new();
    for (level, index, width) in [(0, SIZE >> 8, 31), (1, 2, 7), (2, 0, 2)] {
        std::fs::write(world.path(level, index, width), b"").unwrap();
    }
    for back in 1..4 {
        std::fs::write(world.path(0, (SIZE >> 8) - back, 256), b"").unwrap();
    }
    std::fs::write(world.path(1, 1, 256), [0; 8192]).unwrap();
    let (_, entries) = world.restore();
    assert!(entries > 0 && entries < 2048 * 256 + 1, "{entries} entries were read");
    std::fs::remove_dir_all(world.path(0, SIZE >> 8, 1).parent().unwrap()).unwrap();
    let (_, entries) = world.restore();
    assert_eq!(entries, 31, "only the entries of the one partial tile");
}

#[test]
fn false_tiles_of_every_level_do_not_survive_a_start() {
    let world = World::new();
    for (level, index, width) in [(0, (SIZE >> 8) - 2, 256), (1, 1, 256), (1, 2, 7), (2, 0, 2)] {
        let path = world.path(level, index, width);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    world.restore();
    std::fs::remove_dir_all(world.dir.path().join("tile")).unwrap();
    world.restore();
}

#[test]
fn missing_and_false_tiles_in_the_middle_are_made_again_when_they_are_read() {
    let world = World::new();
    let tree = RwLock::new(world.restore().0);
    std::fs::remove_file(world.path(0, 3, 256)).unwrap();
    std::fs::write(world.path(0, 9, 256), b"short").unwrap();
    for (level, index) in [(0, 100), (0, 300), (1, 0), (1, 1)] {
        let path = world.path(level, index, 256);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8000] ^= 0x80;
        std::fs::write(path, bytes).unwrap();
    }
    let tiles = world.tiles();
    let hashes = Hashes { tree: &tree, tiles: &tiles };
    for index in [3 * 256 + 5, 9 * 256, 100 * 256 + 250, 100 * 256, 300 * 256 + 1, 65_535, 65_536, SIZE - 1] {
        let proof = inclusion_proof(&hashes, index, SIZE).unwrap();
        verify_inclusion(index, SIZE, &leaf_hash(&entry(index)), &proof, &world.head.root).unwrap();
    }
    let naive = |size: u64| {
        let mut tree = Tree::new();
        tree.append(&(0..size).map(|index| leaf_hash(&entry(index))).collect::<Vec<_>>());
        tree.root()
    };
    for size in [777, 2500, 25_850, 76_900, SIZE] {
        assert_eq!(root_from_tiles(&hashes, size).unwrap(), naive(size), "an old head at {size}");
    }
    assert_eq!(std::fs::read(world.path(0, 3, 256)).unwrap().len(), 8192, "the file is whole again");
    world.entries.visited.store(0, Ordering::Relaxed);
    let again = world.tiles();
    inclusion_proof(&Hashes { tree: &tree, tiles: &again }, 100 * 256, SIZE).unwrap();
    assert_eq!(world.entries.visited.load(Ordering::Relaxed), 0, "what was made again is kept");
}

#[test]
fn the_tree_is_not_locked_while_a_file_or_an_entry_is_read() {
    struct Growing(Arc<Entries>, Arc<RwLock<Tree>>);
    impl EntryReader for Growing {
        fn len(&self) -> u64 {
            self.0.len
        }
        fn read(&self, index: u64) -> Result<Bytes, StoreError> {
            self.0.read(index)
        }
        fn scan(
            &self,
            from: u64,
            visit: &mut dyn FnMut(u64, Bytes, Digest) -> bool,
        ) -> Result<(), StoreError> {
            // What a commit does meanwhile.
            self.1.try_write().unwrap().append(&[[7; 32]]);
            self.0.scan(from, visit)
        }
        fn scan_back(&self, visit: &mut dyn FnMut(u64, Bytes) -> bool) -> Result<(), StoreError> {
            self.0.scan_back(visit)
        }
    }
    let world = World::new();
    let tree = Arc::new(RwLock::new(world.restore().0));
    std::fs::remove_file(world.path(0, 3, 256)).unwrap();
    let tiles =
        Tiles::new(world.dir.path(), Arc::new(Growing(Arc::clone(&world.entries), Arc::clone(&tree))));
    let proof = inclusion_proof(&Hashes { tree: &tree, tiles: &tiles }, 800, SIZE).unwrap();
    verify_inclusion(800, SIZE, &leaf_hash(&entry(800)), &proof, &world.head.root).unwrap();
    assert_eq!(tree.read().unwrap().size(), SIZE + 1);
}
