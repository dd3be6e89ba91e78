use proptest::prelude::*;

use super::*;
use crate::segment::{DATA_START, RECORD_HEADER_BYTES, RecordHeader, extent};
use crate::{ReadError, fsck_with};

/// A journal over several segments, closed.
fn sound() -> (SimulatedDisk, u64) {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, 24);
    drop(journal);
    disk.cut_power(|_| 0);
    (disk, acked)
}

fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    paths
}

fn flip(disk: &SimulatedDisk, path: &Path, at: usize, mask: u8) {
    let mut content = disk.content(path).unwrap();
    content[at] ^= mask;
    disk.replace(path, content);
}

fn flip_record(disk: &SimulatedDisk, index: u64) -> PathBuf {
    let first = segments(disk)
        .iter()
        .filter_map(|path| crate::segment::parse_file_name(path.file_name()?.to_str()?))
        .rfind(|first| *first <= index)
        .unwrap();
    let offset = DATA_START + (first..index).map(|i| extent(data(i).len() as u64)).sum::<u64>();
    let path = segment(first);
    flip(disk, &path, offset as usize + RECORD_HEADER_BYTES, 0x10);
    path
}

/// All answers are right or errors.
fn no_wrong_answer(reader: &Reader) -> usize {
    let mut errors = 0;
    for index in 0..reader.len() {
        match reader.read(index) {
            Ok(bytes) => assert_eq!(bytes, data(index), "wrong answer for {index}"),
            Err(ReadError::Damaged { index: named, .. }) => {
                assert_eq!(named, index);
                errors += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    for item in reader.scan(0).chain(reader.scan_back(u64::MAX)) {
        match item {
            Ok((index, bytes, _)) => assert_eq!(bytes, data(index), "wrong answer for {index}"),
            Err(ReadError::Damaged { .. }) => errors += 1,
            Err(other) => panic!("{other}"),
        }
    }
    errors
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A flipped bit is refused at the opening, an error at the read, a fault for fsck, or stands where nothing is.
    #[test]
    fn a_flipped_bit_anywhere_never_gives_a_wrong_answer(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (disk, acked) = sound();
        let paths = segments(&disk);
        let size = disk.content(&paths[0]).unwrap().len();
        let at = place.index(paths.len() * size);
        let (path, at) = (&paths[at / size], at % size);
        let before = disk.content(path).unwrap();
        flip(&disk, path, at, 1 << bit);

        let report = fsck_with(&disk, dir());
        prop_assert!(!report.is_sound() || report.torn.is_some() , "fsck saw nothing at {at} in {path:?}");
        let readonly = open_readonly(&disk);
        if let Ok((reader, _)) = &readonly {
            no_wrong_answer(reader);
        }
        match open(&disk, acked) {
            Ok((journal, recovery)) => {
                prop_assert_eq!(recovery.len, acked);
                let errors = no_wrong_answer(&journal.reader());
                let padding = before[at] == 0 && report.faults.iter().all(|fault| fault.what.contains("not zero"));
                prop_assert!(errors > 0 || padding, "no error, no padding: {at} in {path:?}, {report:?}");
            }
            Err(OpenError::Damaged { .. } | OpenError::Header { .. } | OpenError::BelowFloor { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// Files of a stranger: nothing panics, nothing grows without bound.
    #[test]
    fn arbitrary_bytes_never_panic(
        content in prop::collection::vec(any::<u8>(), 0..20_000),
        keep_header in any::<bool>(),
        at in 0usize..5000,
    ) {
        let (disk, _) = sound();
        for path in segments(&disk).iter().take(2) {
            let mut bytes = disk.content(path).unwrap();
            let from = if keep_header { 64 + at } else { 0 };
            let to = bytes.len().min(from + content.len());
            bytes[from..to].copy_from_slice(&content[..to - from]);
            disk.replace(path, bytes);
        }
        let _ = fsck_with(&disk, dir());
        if let Ok((reader, _)) = open_readonly(&disk) {
            no_wrong_answer(&reader);
        }
        let _ = open(&disk, 0);
    }
}

/// Bytes between two records belong to no answer, so only fsck minds them.
#[test]
fn a_flipped_bit_between_records_is_a_fault_for_fsck_only() {
    let (disk, acked) = sound();
    let index = (0..acked).find(|index| data(*index).len() % 8 == 1).unwrap();
    let offset = DATA_START + (0..index).map(|i| extent(data(i).len() as u64)).sum::<u64>();
    let end = offset as usize + RECORD_HEADER_BYTES + data(index).len();
    flip(&disk, &segment(0), end + 3, 4);
    let report = fsck_with(&disk, dir());
    assert_eq!(report.faults.len(), 1, "{report:?}");
    assert_eq!((report.faults[0].index, report.faults[0].offset), (Some(index), offset));
    check_all(&open(&disk, acked).unwrap().0.reader());
}

#[test]
fn damage_in_front_of_a_later_batch_is_refused_and_named() {
    let (disk, acked) = sound();
    let newest_first = open_readonly(&disk).unwrap().0.len() - 6;
    for index in [newest_first, acked - 3] {
        let (disk, _) = sound();
        let path = flip_record(&disk, index);
        let before: Vec<_> = disk.paths().iter().map(|path| disk.content(path)).collect();
        match open(&disk, 0) {
            Err(OpenError::Damaged { path: named, index: at, .. }) => {
                assert_eq!((named, at), (path, index));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            before,
            disk.paths().iter().map(|path| disk.content(path)).collect::<Vec<_>>(),
            "files changed"
        );
    }
}

#[test]
fn damage_in_the_last_batch_is_no_torn_write_and_refused() {
    let (disk, acked) = sound();
    flip_record(&disk, acked - 1);
    assert!(matches!(open(&disk, 0), Err(OpenError::Damaged { index, .. }) if index == acked - 1));
    let waived = Options { give_up_damaged_tail: true, ..options() };
    let open_waived = |floor| Journal::open_with(Arc::new(disk.clone()), dir(), waived.clone(), floor);
    assert!(matches!(open_waived(acked), Err(OpenError::BelowFloor { .. })));
    let (journal, recovery) = open_waived(0).unwrap();
    assert!(recovery.len < acked && recovery.torn.is_some());
    check_all(&journal.reader());
}

#[test]
fn waiving_never_cuts_in_front_of_a_later_batch() {
    let (disk, acked) = sound();
    flip_record(&disk, acked - 5);
    let waived = Options { give_up_damaged_tail: true, ..options() };
    assert!(matches!(Journal::open_with(Arc::new(disk), dir(), waived, 0), Err(OpenError::Damaged { .. })));
}

#[test]
fn damage_in_an_old_segment_opens_and_is_an_error_at_the_read() {
    let (disk, acked) = sound();
    let path = flip_record(&disk, 2);
    let (journal, recovery) = open(&disk, acked).unwrap();
    assert_eq!(recovery.len, acked);
    let reader = journal.reader();
    let error = reader.read(2).unwrap_err();
    assert!(matches!(error, ReadError::Damaged { segment: 0, index: 2, .. }), "{error}");
    for index in (0..acked).filter(|index| *index != 2) {
        assert_eq!(reader.read(index).unwrap(), data(index));
    }
    assert_eq!(reader.scan(0).filter(Result::is_ok).count(), 2);
    assert!(reader.scan(0).last().unwrap().is_err());
    assert_eq!(reader.scan(3).filter(Result::is_ok).count() as u64, acked - 3);
    assert_eq!(reader.scan_back(acked).filter(Result::is_ok).count() as u64, acked - 3);
    assert!(reader.scan_back(acked).last().unwrap().is_err());
    let report = fsck_with(&disk, dir());
    assert_eq!(report.faults.len(), 1);
    assert_eq!((report.faults[0].path.clone(), report.faults[0].index), (path, Some(2)));
    assert_eq!((report.len, report.records), (acked, acked - 1));
}

#[test]
fn damage_in_the_segment_before_the_newest_is_refused() {
    let (disk, acked) = sound();
    let paths = segments(&disk);
    let path = &paths[paths.len() - 2];
    flip(&disk, path, DATA_START as usize + RECORD_HEADER_BYTES, 1);
    assert!(matches!(open(&disk, acked), Err(OpenError::Damaged { path: named, .. }) if named == *path));
}

#[test]
fn floor_above_the_records_is_refused() {
    let (disk, acked) = sound();
    assert!(open(&disk, acked).is_ok());
    assert!(matches!(
        open(&disk, acked + 1),
        Err(OpenError::BelowFloor { len, floor, .. }) if len == acked && floor == acked + 1
    ));
    assert!(matches!(open(&SimulatedDisk::new(), 1), Err(OpenError::BelowFloor { .. })));
}

#[test]
fn floor_forbids_the_cut_of_a_torn_batch_that_was_signed() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, 5);
    disk.stop_at(disk.operations().len() + 1);
    journal.append(&batch(acked, 5)).unwrap_err();
    let mut calls = 0;
    disk.cut_power(|n| {
        calls += 1;
        if calls % 2 == 0 { n - 1 } else { 0 }
    });
    let path = segment(0);
    let before = disk.content(&path);
    assert!(matches!(open(&disk, acked + 1), Err(OpenError::BelowFloor { .. })));
    assert_eq!(before, disk.content(&path), "a refusal changes nothing");
    assert_eq!(open(&disk, acked).unwrap().1.len, acked);
}

#[test]
fn missing_foreign_and_shortened_segments_are_refused() {
    let (disk, acked) = sound();
    let paths = segments(&disk);
    let middle = disk.content(&paths[1]).unwrap();
    disk.replace(&paths[1], middle[..middle.len() - 512].to_vec());
    assert!(matches!(open(&disk, acked), Err(OpenError::Sequence { .. })));
    disk.replace(&paths[1], disk.content(&paths[0]).unwrap());
    assert!(matches!(open(&disk, acked), Err(OpenError::Sequence { .. })));
    disk.replace(&paths[1], vec![0; middle.len()]);
    assert!(matches!(open(&disk, acked), Err(OpenError::Header { .. })));
    crate::disk::Disk::remove(&disk, &paths[1]).unwrap();
    assert!(matches!(open(&disk, acked), Err(OpenError::Sequence { .. })));
    assert!(!fsck_with(&disk, dir()).is_sound());
    disk.replace(&paths[0], Vec::new());
    assert!(matches!(open(&disk, acked), Err(OpenError::Header { .. })));
}

#[test]
fn a_record_inside_a_record_is_not_taken_for_one() {
    // The data of a record is the image of a record of a later batch, made for another salt.
    let other = SimulatedDisk::new();
    let salted = |salt| Options { salt, ..options() };
    let open = |disk: &SimulatedDisk, salt| {
        Journal::open_with(Arc::new(disk.clone()), dir(), salted(salt), 0).map(|(journal, _)| journal)
    };
    let mut journal = open(&other, 1).unwrap();
    for _ in 0..3 {
        journal.append(&[Bytes::from(vec![9; 100])]).unwrap();
    }
    let at = DATA_START as usize + 2 * extent(100) as usize;
    let image = Bytes::copy_from_slice(&other.content(&segment(0)).unwrap()[at..at + 164]);

    let disk = SimulatedDisk::new();
    let mut journal = open(&disk, 2).unwrap();
    journal.append(&[Bytes::from(vec![9; 100])]).unwrap();
    disk.stop_at(disk.operations().len() + 1);
    journal.append(&[Bytes::from(vec![9; 1500]), image]).unwrap_err();
    let mut calls = 0;
    disk.cut_power(|n| {
        calls += 1;
        if calls == 3 { 0 } else { n - 1 }
    });
    assert_eq!(open(&disk, 2).unwrap().len(), 1);
}

/// Checksum and leaf hash each catch what the other lets pass, at every way of reading.
#[test]
fn a_matching_checksum_does_not_excuse_a_wrong_leaf_hash_nor_the_reverse() {
    let forge = |change: fn(&mut RecordHeader, &mut Vec<u8>), resum: bool| {
        let (disk, acked) = sound();
        let mut content = disk.content(&segment(0)).unwrap();
        let at = DATA_START as usize;
        let mut record = RecordHeader::decode(&content[at..]).unwrap();
        let mut bytes = data(0).to_vec();
        change(&mut record, &mut bytes);
        let seed = crate::segment::SegmentHeader::decode(&content).unwrap().seed();
        let mut image = Vec::new();
        record.encode_into(&mut image, seed, &bytes);
        if !resum {
            image[4..8].copy_from_slice(&record.crc.to_le_bytes());
        }
        content[at..at + image.len()].copy_from_slice(&image);
        // One reader knows the places of the records before the damage, one looks for them after it.
        let (early, _) = open_readonly(&disk).unwrap();
        assert_eq!(early.read(0).unwrap(), data(0));
        disk.replace(&segment(0), content);
        assert!(matches!(early.read(0), Err(ReadError::Damaged { index: 0, .. })));
        let (journal, _) = open(&disk, acked).unwrap();
        let reader = journal.reader();
        assert!(matches!(reader.read(0), Err(ReadError::Damaged { index: 0, .. })));
        assert!(matches!(reader.scan(0).next(), Some(Err(ReadError::Damaged { index: 0, .. }))));
        assert!(matches!(reader.scan_back(1).next(), Some(Err(ReadError::Damaged { index: 0, .. }))));
        assert!(!fsck_with(&disk, dir()).is_sound());
    };
    forge(|_, bytes| bytes[0] ^= 1, true);
    forge(|record, _| record.leaf[7] ^= 1, true);
    forge(|record, _| record.batch += 1, false);
    forge(|record, _| record.crc ^= 1, false);
}

#[test]
fn a_torn_end_is_reported_but_not_cut_by_readers() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, 3);
    disk.stop_at(disk.operations().len() + 1);
    journal.append(&batch(acked, 3)).unwrap_err();
    let mut calls = 0;
    disk.cut_power(|n| {
        calls += 1;
        if calls == 2 { 0 } else { n - 1 }
    });
    let before = (disk.content(&segment(0)), disk.operations().len());
    let (reader, recovery) = open_readonly(&disk).unwrap();
    assert_eq!((reader.len(), recovery.torn.unwrap().index), (acked, acked));
    check_all(&reader);
    assert_eq!(before, (disk.content(&segment(0)), disk.operations().len()));
}
