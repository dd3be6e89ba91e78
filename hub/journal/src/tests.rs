//! Tests on the simulated disk, where every fault can be placed exactly.

mod basics;
mod damage;
mod failures;
mod seek;
mod torn;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::simulated::SimulatedDisk;
use crate::{AppendError, Journal, OpenError, Options, Reader, Recovery};

const DIR: &str = "/journal";

fn dir() -> &'static Path {
    Path::new(DIR)
}

/// Small segments, so that a few batches cross their borders, and no thread, so that operations have a fixed order.
fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        max_record: 2000,
        max_batch: 8 << 10,
        salt: 7,
        background: false,
        ..Options::default()
    }
}

fn open(disk: &SimulatedDisk, floor: u64) -> Result<(Journal, Recovery), OpenError> {
    Journal::open_with(Arc::new(disk.clone()), dir(), options(), floor)
}

fn open_readonly(disk: &SimulatedDisk) -> Result<(Reader, Recovery), OpenError> {
    Reader::open_readonly_with(Arc::new(disk.clone()), dir(), &options())
}

fn segment(first: u64) -> PathBuf {
    dir().join(crate::segment::file_name(first))
}

/// Data of record `index`: no zero byte, and a length between 1 and 1,300 that differs from record to record.
fn data(index: u64) -> Bytes {
    let len = 1 + (index * 211) % 1300;
    (0..len).map(|at| 1 + ((index * 31 + at * 7) % 255) as u8).collect()
}

/// Batch sizes that repeat, from one record up to several sectors.
const SIZES: [u64; 7] = [1, 3, 1, 5, 2, 8, 1];

fn batch(first: u64, number: usize) -> Vec<Bytes> {
    (first..first + SIZES[number % SIZES.len()]).map(data).collect()
}

/// Appends `count` batches; returns the acknowledged length and the first error.
fn append_batches(journal: &mut Journal, count: usize) -> (u64, Option<AppendError>) {
    for number in 0..count {
        let first = journal.len();
        if let Err(error) = journal.append(&batch(first, number)) {
            return (first, Some(error));
        }
    }
    (journal.len(), None)
}

/// Every record in all four ways of reading.
fn check_all(reader: &Reader) {
    let len = reader.len();
    for index in 0..len {
        let (bytes, leaf) = reader.read_with_hash(index).unwrap();
        assert_eq!(bytes, data(index), "record {index}");
        assert_eq!(leaf, crate::leaf_hash(&bytes));
    }
    let forward: Vec<_> = reader.scan(0).map(Result::unwrap).collect();
    assert_eq!(forward.len() as u64, len);
    for (index, (at, bytes, leaf)) in (0..).zip(&forward) {
        assert_eq!((*at, bytes), (index, &data(index)));
        assert_eq!(*leaf, crate::leaf_hash(bytes));
    }
    let mut back: Vec<_> = reader.scan_back(u64::MAX).map(Result::unwrap).collect();
    back.reverse();
    assert_eq!(forward, back);
}
