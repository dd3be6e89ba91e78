use proptest::prelude::*;

use super::*;
use crate::fsck_with;

/// A journal with `before` batches and the next one written, but not synced.
fn with_unsynced_batch(before: usize) -> (SimulatedDisk, u64, u64) {
    let disk = SimulatedDisk::new();
    let (mut journal, _) = open(&disk, 0).unwrap();
    let (acked, _) = append_batches(&mut journal, before);
    let records = batch(acked, before);
    journal.can_append().unwrap();
    let counted = disk.operations().len();
    // Learn on a twin where the last sync of this append is: a batch may open a new segment first.
    let twin = SimulatedDisk::new();
    let (mut twin_journal, _) = open(&twin, 0).unwrap();
    append_batches(&mut twin_journal, before);
    twin_journal.can_append().unwrap();
    assert_eq!(twin.operations().len(), counted);
    twin_journal.append(&records).unwrap();
    // The process dies at the sync: nothing more happens, the written sectors are still in the page cache.
    disk.stop_at(twin.operations().len() - 1);
    assert!(matches!(journal.append(&records), Err(AppendError::Fatal(_))));
    (disk, acked, acked + records.len() as u64)
}

/// What must hold after any crash, and that the journal goes on from there.
fn check_recovered(disk: &SimulatedDisk, acked: u64, all: u64) -> Recovery {
    let report = fsck_with(disk, dir());
    assert!(report.is_sound(), "{report:?}");
    let seen = open_readonly(disk).unwrap().1;
    let (mut journal, recovery) = open(disk, acked).unwrap();
    assert_eq!((&seen.torn, seen.len), (&recovery.torn, recovery.len));
    assert_eq!((report.len, report.torn), (recovery.len, recovery.torn.clone()));
    assert!(recovery.len == acked || recovery.len == all, "{} is not {acked} or {all}", recovery.len);
    check_all(&journal.reader());
    let (len, error) = append_batches(&mut journal, 12);
    assert_eq!(error, None);
    check_all(&journal.reader());
    disk.cut_power(|_| 0);
    let (journal, again) = open(disk, len).unwrap();
    assert_eq!((again.len, again.torn), (len, None));
    check_all(&journal.reader());
    recovery
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_subset_of_the_sectors_of_an_unsynced_batch_is_cut_or_kept_whole(
        before in 0usize..16,
        seed in any::<u64>(),
        pages in any::<bool>(),
    ) {
        let (disk, acked, all) = with_unsynced_batch(before);
        disk.cut_power(chooser(seed, if pages { 8 } else { 1 }));
        check_recovered(&disk, acked, all);
    }

    #[test]
    fn power_cuts_during_recovery_are_recovered_from(
        before in 0usize..16,
        seeds in prop::collection::vec(any::<u64>(), 1..5),
        stops in prop::collection::vec(0usize..6, 5),
    ) {
        let (disk, acked, all) = with_unsynced_batch(before);
        for (seed, stop) in seeds.iter().zip(stops) {
            disk.cut_power(chooser(*seed, 1));
            disk.stop_at(disk.operations().len() + stop);
            if let Ok((mut journal, _)) = open(&disk, acked) {
                // Recovery went through before the cut: from then on its result stands.
                let _ = journal.can_append();
                let len = journal.len();
                assert!(len == acked || len == all);
            }
        }
        disk.cut_power(chooser(seeds[0].rotate_left(9), 1));
        check_recovered(&disk, acked, all);
    }
}

/// Chooses versions by a seed, the same choice for `run` sectors in a row.
fn chooser(seed: u64, run: u32) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    let mut calls = 0;
    move |n| {
        if calls % run == 0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        }
        calls += 1;
        ((state >> 33) as usize) % n
    }
}

#[test]
fn every_single_lost_and_every_single_kept_sector_is_recovered_from() {
    for before in [0, 1, 3, 5, 8, 11] {
        for sector in 0..24 {
            for keep in [true, false] {
                let (disk, acked, all) = with_unsynced_batch(before);
                let mut calls = 0;
                // The first call is about names; all are durable here.
                disk.cut_power(|n| {
                    calls += 1;
                    if n == 2 && (calls - 1 == sector) == keep { 1 } else { 0 }
                });
                check_recovered(&disk, acked, all);
            }
        }
    }
}

#[test]
fn a_write_cut_short_at_any_byte_is_recovered_from() {
    let (disk, acked, all) = with_unsynced_batch(3);
    let path = segment(0);
    let full = disk.content(&path).unwrap();
    let report = fsck_with(&disk, dir());
    assert_eq!(report.len, all, "all of it is in the page cache");
    disk.cut_power(|_| 0);
    let empty = disk.content(&path).unwrap();
    let from = (0..full.len()).find(|at| full[*at] != empty[*at]).unwrap();
    let to = full.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let headers = |cut: &usize| (cut - from).is_multiple_of(8) || cut - from < 140 || to - cut < 40;
    for cut in (from..=to).filter(headers) {
        let torn = SimulatedDisk::new();
        drop(open(&torn, 0).unwrap().0.append(&batch(0, 0)).unwrap());
        let content = full[..cut].iter().copied().chain(std::iter::repeat(0)).take(full.len()).collect();
        torn.replace(&path, content);
        let recovery = check_recovered(&torn, acked, all);
        assert_eq!(recovery.torn.is_some(), cut > from && cut < to, "cut at {cut}");
    }
}

#[test]
fn old_bytes_of_a_cut_batch_never_complete_a_new_one() {
    for keep in 1..9 {
        let (disk, acked, _) = with_unsynced_batch(5);
        // Only late sectors of the batch survive: sound records of the batch without its first one.
        let mut calls = 0;
        disk.cut_power(|n| {
            calls += 1;
            if calls > 1 + keep { n - 1 } else { 0 }
        });
        let (mut journal, recovery) = open(&disk, acked).unwrap();
        assert!(recovery.torn.is_some());
        // The same shape again with other content, cut off by power with only its first sectors kept.
        let records: Vec<Bytes> = batch(acked, 5).iter().map(|b| Bytes::from(vec![0x55; b.len()])).collect();
        disk.stop_at(disk.operations().len() + 1);
        assert!(matches!(journal.append(&records), Err(AppendError::Fatal(_))));
        let mut calls = 0;
        disk.cut_power(|n| {
            calls += 1;
            if calls <= 1 + keep { n - 1 } else { 0 }
        });
        let (journal, recovery) = open(&disk, acked).unwrap();
        assert_eq!(recovery.len, acked, "a mixture of two batches was taken for one");
        check_all(&journal.reader());
    }
}

#[test]
fn old_bytes_stay_harmless_when_the_sync_that_cleared_them_failed() {
    for keep in 1..9 {
        let (disk, acked, _) = with_unsynced_batch(5);
        let mut calls = 0;
        disk.cut_power(|n| {
            calls += 1;
            if calls > 1 + keep { n - 1 } else { 0 }
        });
        // The cut is in the page cache, not on the disk, and the failed sync forgot that.
        let sync = disk.operations().len() + 1;
        disk.fail_at(sync, crate::simulated::Failure::Lost);
        assert!(matches!(open(&disk, acked), Err(OpenError::Io { .. })));
        assert_eq!(disk.operations().get(sync), Some(&crate::simulated::Operation::SyncData));
        disk.kill();
        let (mut journal, _) = open(&disk, acked).unwrap();
        let records: Vec<Bytes> = batch(acked, 5).iter().map(|b| Bytes::from(vec![0x55; b.len()])).collect();
        disk.stop_at(disk.operations().len() + 1);
        assert!(matches!(journal.append(&records), Err(AppendError::Fatal(_))));
        let mut calls = 0;
        disk.cut_power(|n| {
            calls += 1;
            if calls <= 1 + keep { n - 1 } else { 0 }
        });
        let (journal, recovery) = open(&disk, acked).unwrap();
        assert_eq!(recovery.len, acked, "a mixture of two batches was taken for one");
        check_all(&journal.reader());
    }
}

#[test]
fn a_half_made_segment_counts_for_nothing() {
    // Kill at each step of making the first and the second segment, with any subset of what was unsynced kept.
    let twin = SimulatedDisk::new();
    let (mut journal, _) = open(&twin, 0).unwrap();
    append_batches(&mut journal, 10);
    for stop in 0..twin.operations().len() {
        for seed in 0..6 {
            let disk = SimulatedDisk::new();
            disk.stop_at(stop);
            let (mut journal, _) = open(&disk, 0).unwrap();
            let (acked, _) = append_batches(&mut journal, 10);
            let attempted = acked + SIZES[journal_batches(acked) % SIZES.len()];
            disk.cut_power(chooser(seed * 77, 1));
            check_recovered(&disk, acked, attempted);
        }
    }
}

fn journal_batches(len: u64) -> usize {
    let mut left = len;
    (0..)
        .take_while(|number| {
            left.checked_sub(SIZES[number % SIZES.len()]).inspect(|rest| left = *rest).is_some()
        })
        .count()
}
