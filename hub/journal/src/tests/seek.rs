//! Reads of old records: few bytes are touched, and nothing inside of a record is taken for one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::{Disk, DiskFile, Lock};
use crate::segment::{DATA_START, RecordHeader, extent};

/// A disk that counts the bytes that are read.
#[derive(Debug, Clone)]
struct Counting {
    disk: SimulatedDisk,
    read: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn DiskFile>,
    read: Arc<AtomicU64>,
}

impl Counting {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountingFile { file, read: Arc::clone(&self.read) })
    }
}

impl Disk for Counting {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path, suffix: &str, limit: usize) -> io::Result<Vec<String>> {
        self.disk.list(dir, suffix, limit)
    }
    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.open(path, writable)?))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.create(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }
}

impl DiskFile for CountingFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(data, offset)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

const MEBIBYTE: u64 = 1 << 20;

fn large() -> Options {
    Options { segment_bytes: MEBIBYTE, max_record: 2000, max_batch: 64 << 10, ..options() }
}

#[test]
fn a_read_of_an_old_record_touches_a_small_part_of_its_segment() {
    let disk = Counting { disk: SimulatedDisk::new(), read: Arc::default() };
    let open = || Journal::open_with(Arc::new(disk.clone()), dir(), large(), 0).unwrap().0;
    let mut journal = open();
    while journal.len() < 20_000 {
        let first = journal.len();
        // Short ones first, long ones last: no guess from averages hits.
        let short =
            |index: u64| data(index).slice(..1 + data(index).len() / if index < 12_000 { 20 } else { 2 });
        journal.append(&(first..first + 32).map(short).collect::<Vec<_>>()).unwrap();
    }
    drop(journal);
    assert!(disk.disk.paths().len() > 4);
    // After a restart nothing is known of old segments.
    let reader = open().reader();
    let (mut most, mut total, mut reads) = (0, 0, 0);
    for index in (0..15_000).step_by(37).chain((0..15_000).rev().step_by(61)) {
        let before = disk.read.load(Ordering::Relaxed);
        let (bytes, leaf) = reader.read_with_hash(index).unwrap();
        assert_eq!(bytes, data(index).slice(..bytes.len()));
        assert_eq!(leaf, crate::leaf_hash(&bytes));
        let touched = disk.read.load(Ordering::Relaxed) - before;
        (most, total, reads) = (touched.max(most), total + touched, reads + 1);
    }
    assert!(most < MEBIBYTE / 3, "one read touched {most} bytes");
    assert!(total / reads < MEBIBYTE / 8, "reads touched {} bytes in the mean", total / reads);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    /// Every record of every segment, whatever their sizes, in any order.
    #[test]
    fn every_record_is_found_after_a_restart(
        sizes in proptest::collection::vec(0usize..2000, 40..400),
        seed in 0u64..1000,
    ) {
        let disk = SimulatedDisk::new();
        let options = Options { segment_bytes: 64 << 10, ..options() };
        let record = |index: usize| Bytes::from(vec![1 + (index % 255) as u8; sizes[index]]);
        let (mut journal, _) = Journal::open_with(Arc::new(disk.clone()), dir(), options.clone(), 0).unwrap();
        for index in 0..sizes.len() {
            journal.append(&[record(index)]).unwrap();
        }
        drop(journal);
        let (reader, _) = Reader::open_readonly_with(Arc::new(disk), dir(), &options).unwrap();
        for step in 0..sizes.len() {
            let index = (step * 7919 + seed as usize) % sizes.len();
            proptest::prop_assert_eq!(reader.read(index as u64).unwrap(), record(index));
        }
    }
}

/// Whoever knows the salt can put sound records inside of a record's data: with any index, and as a chain that ends
/// exactly where the true next record begins.
#[test]
fn records_inside_of_a_record_are_never_taken_for_one() {
    let disk = SimulatedDisk::new();
    let options = Options { segment_bytes: 128 << 10, ..options() };
    let (mut journal, _) = Journal::open_with(Arc::new(disk.clone()), dir(), options.clone(), 0).unwrap();
    let seed = crc32c::crc32c(&options.salt.to_le_bytes());
    let fake = |index: u64, data: &[u8], out: &mut Vec<u8>| {
        let leaf = crate::leaf_hash(data);
        let header =
            RecordHeader { len: data.len() as u32, crc: 0, index, batch: index, position: 0, count: 1, leaf };
        header.encode_into(out, seed, data);
    };
    let honest = |index: u64| {
        let mut bytes = Vec::new();
        // Every fourth record is made of fakes: its own index last, so that the chain goes on behind it.
        if index % 4 == 1 {
            for ahead in [9, 2, 1, 0, 40, 0] {
                fake((index + ahead).saturating_sub(1 + ahead % 2), &[0x66; 152], &mut bytes);
            }
            fake(index, &[0x77; 88], &mut bytes);
        } else {
            bytes.resize(24 + (index as usize * 56) % 1400, 1 + (index % 250) as u8);
        }
        Bytes::from(bytes)
    };
    for index in 0..900 {
        journal.append(&[honest(index)]).unwrap();
    }
    drop(journal);
    let (reader, _) = Reader::open_readonly_with(Arc::new(disk), dir(), &options).unwrap();
    for index in (0..900).rev().chain(0..900) {
        assert_eq!(reader.read(index).unwrap(), honest(index), "record {index}");
    }
    assert!(DATA_START + extent(honest(1).len() as u64) < options.segment_bytes);
}
