use std::sync::Arc;

use super::*;
use crate::simulated::Operation;
use crate::{ReadError, fsck_with};

#[test]
fn reopened_journal_holds_exactly_what_was_acknowledged() {
    let disk = SimulatedDisk::new();
    let mut expected = 0;
    for round in 0..6 {
        let (mut journal, recovery) = open(&disk, expected).unwrap();
        assert_eq!((recovery.len, recovery.torn), (expected, None), "round {round}");
        check_all(&journal.reader());
        expected = append_batches(&mut journal, 9).0;
        check_all(&journal.reader());
        disk.cut_power(|_| 0);
    }
    assert!(disk.paths().iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).count() > 5);
    let report = fsck_with(&disk, dir());
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.len, report.records), (expected, expected));
    check_all(&open_readonly(&disk).unwrap().0);
}

#[test]
fn batches_get_contiguous_indexes_and_leaf_hashes() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let first = journal.append(&batch(0, 1)).unwrap();
    assert_eq!(first.first, 0);
    assert_eq!(first.leaf_hashes, (0..3).map(|i| crate::leaf_hash(&data(i))).collect::<Vec<_>>());
    assert_eq!(journal.append(&[]).unwrap().first, 3);
    assert_eq!(journal.append(&batch(3, 0)).unwrap().first, 3);
    assert_eq!(journal.len(), 4);
}

#[test]
fn empty_records_are_records() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    journal.append(&[Bytes::new(), Bytes::new()]).unwrap();
    journal.append(&[Bytes::new()]).unwrap();
    drop(journal);
    let (journal, recovery) = open(&disk, 3).unwrap();
    assert_eq!(recovery.len, 3);
    assert_eq!(journal.reader().read(2).unwrap(), Bytes::new());
}

#[test]
fn one_batch_costs_one_write_and_one_sync() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    journal.append(&batch(0, 0)).unwrap();
    let before = disk.operations().len();
    journal.append(&batch(1, 3)).unwrap();
    assert_eq!(disk.operations()[before..], [Operation::Write, Operation::SyncData]);
}

#[test]
fn second_writer_is_refused_until_the_first_is_gone() {
    let disk = SimulatedDisk::new();
    let (journal, _) = open(&disk, 0).unwrap();
    assert!(matches!(open(&disk, 0), Err(OpenError::Locked { .. })));
    open_readonly(&disk).unwrap();
    drop(journal);
    open(&disk, 0).unwrap();
}

#[test]
fn too_large_records_and_batches_are_refused_and_change_nothing() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let large = Bytes::from(vec![1; 2001]);
    assert!(matches!(
        journal.append(&[large]),
        Err(AppendError::TooLarge { what: "record", size: 2001, limit: 2000 })
    ));
    let many = vec![Bytes::from(vec![1; 2000]); 4];
    assert!(matches!(journal.append(&many), Err(AppendError::TooLarge { what: "batch", .. })));
    journal.append(&many[..3]).unwrap();
    assert_eq!(journal.len(), 3);
}

#[test]
fn contradicting_options_are_refused() {
    let with = |change: fn(&mut Options)| {
        let mut options = options();
        change(&mut options);
        Journal::open_with(Arc::new(SimulatedDisk::new()), dir(), options, 0)
    };
    let wrong: [fn(&mut Options); 5] = [
        |o| o.segment_bytes = 5000,
        |o| o.segment_bytes = 8 << 10,
        |o| o.max_batch = 2000,
        |o| o.max_record = 17 << 20,
        |o| o.segment_bytes = 2 << 30,
    ];
    for change in wrong {
        assert!(matches!(with(change), Err(OpenError::Options(_))));
    }
}

#[test]
fn full_disk_refuses_and_recovers_without_reopening() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(Some(40 << 10));
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, error) = append_batches(&mut journal, 100);
    assert!(matches!(error, Some(AppendError::NoSpace(_))), "{error:?}");
    for _ in 0..3 {
        assert!(matches!(journal.can_append(), Err(AppendError::NoSpace(_))));
        assert!(matches!(journal.append(&batch(acked, 5)), Err(AppendError::NoSpace(_))));
    }
    check_all(&journal.reader());
    disk.set_capacity(None);
    journal.can_append().unwrap();
    let (acked, error) = append_batches(&mut journal, 30);
    assert_eq!(error, None);
    check_all(&journal.reader());
    disk.cut_power(|_| 0);
    assert_eq!(open(&disk, acked).unwrap().1.len, acked);
}

#[test]
fn journal_opens_and_reads_on_a_full_disk() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, 20);
    drop(journal);
    disk.set_capacity(Some(0));
    let (mut journal, _) = open(&disk, acked).unwrap();
    check_all(&journal.reader());
    while journal.append(&batch(journal.len(), 0)).is_ok() {}
    assert!(matches!(journal.can_append(), Err(AppendError::NoSpace(_))));
    disk.set_capacity(None);
    journal.can_append().unwrap();
}

#[test]
fn can_append_promises_room_for_the_largest_batch() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let largest: Vec<Bytes> =
        (0..3).map(|_| Bytes::from(vec![3; 2000])).chain([Bytes::from(vec![3; 1744])]).collect();
    for round in 0..10 {
        journal.append(&vec![Bytes::from(vec![1; 300]); round % 4 + 1]).unwrap();
        journal.can_append().unwrap();
        disk.set_capacity(Some(0));
        journal.append(&largest).unwrap();
        disk.set_capacity(None);
    }
}

#[test]
fn reserve_is_filled_with_each_segment_and_released_on_demand() {
    let disk = SimulatedDisk::new();
    let options = Options { reserve: 10_000, ..options() };
    let open = || Journal::open_with(Arc::new(disk.clone()), dir(), options.clone(), 0).unwrap().0;
    let mut journal = open();
    journal.can_append().unwrap();
    let reserve = journal.reserve().clone();
    assert_eq!(reserve.held().unwrap(), 20_000);
    assert_eq!(reserve.release(15_000).unwrap(), 15_000);
    assert_eq!(reserve.release(15_000).unwrap(), 5_000);
    assert_eq!(reserve.held().unwrap(), 0);
    append_batches(&mut journal, 10);
    assert_eq!(reserve.held().unwrap(), 20_000);

    reserve.release(20_000).unwrap();
    disk.set_capacity(Some(
        disk.paths().iter().map(|p| disk.content(p).unwrap().len() as u64).sum::<u64>() + 16_384,
    ));
    let (_, error) = append_batches(&mut journal, 100);
    assert!(
        matches!(error, Some(AppendError::NoSpace(_))),
        "no room for the reserve counts as no room: {error:?}"
    );
    disk.set_capacity(None);
    journal.can_append().unwrap();
    assert_eq!(reserve.held().unwrap(), 20_000);
}

#[test]
fn readers_see_new_records_only_when_they_are_durable() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let reader = journal.reader();
    journal.append(&batch(0, 1)).unwrap();
    assert_eq!(reader.len(), 3);
    assert!(matches!(reader.read(3), Err(ReadError::Beyond { index: 3, len: 3 })));
    let sync = disk.operations().len() + 1;
    disk.fail_at(sync, crate::simulated::Failure::KeptButReported);
    assert!(matches!(journal.append(&batch(3, 1)), Err(AppendError::Fatal(_))));
    assert_eq!(reader.len(), 3);
    assert!(matches!(reader.read(3), Err(ReadError::Beyond { .. })));
    assert_eq!(reader.scan(0).count(), 3);
}

#[test]
fn readers_on_other_threads_follow_the_writer_over_segments() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) =
        Journal::open_with(Arc::new(disk), dir(), Options { background: true, ..options() }, 0).unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let reader = journal.reader();
            std::thread::spawn(move || {
                while reader.len() < 200 {
                    check_all_up_to_now(&reader);
                }
                check_all(&reader);
            })
        })
        .collect();
    while journal.len() < 200 {
        append_batches(&mut journal, 1);
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

fn check_all_up_to_now(reader: &Reader) {
    for item in reader.scan(0) {
        let (index, bytes, _) = item.unwrap();
        assert_eq!(bytes, data(index));
    }
    if let Some(item) = reader.scan_back(u64::MAX).next() {
        let (index, bytes, _) = item.unwrap();
        assert_eq!(bytes, data(index));
    }
}

#[test]
fn scans_start_anywhere() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, 25);
    let reader = journal.reader();
    for from in 0..=acked + 1 {
        let forward: Vec<u64> = reader.scan(from).map(|item| item.unwrap().0).collect();
        assert_eq!(forward, (from..acked).collect::<Vec<_>>());
        let back: Vec<u64> = reader.scan_back(from).map(|item| item.unwrap().0).collect();
        assert_eq!(back, (0..from.min(acked)).rev().collect::<Vec<_>>());
    }
}

#[test]
fn pruned_journal_opens_only_when_its_first_record_is_named() {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, 25);
    drop(journal);
    let mut segments: Vec<_> = disk.paths();
    segments.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    crate::disk::Disk::remove(&disk, &segments[0]).unwrap();
    assert!(matches!(open(&disk, 0), Err(OpenError::Sequence { .. })));
    let first = crate::segment::parse_file_name(segments[1].file_name().unwrap().to_str().unwrap()).unwrap();
    let options = Options { first, ..options() };
    let (journal, recovery) = Journal::open_with(Arc::new(disk.clone()), dir(), options, acked).unwrap();
    assert_eq!(recovery.len, acked);
    assert!(matches!(journal.reader().read(0), Err(ReadError::Pruned { .. })));
    assert_eq!(journal.reader().scan(0).count() as u64, acked - first);
    assert_eq!(journal.reader().scan_back(acked).count() as u64, acked - first);
}
