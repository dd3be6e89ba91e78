use super::*;
use crate::fsck_with;
use crate::simulated::{Failure, Operation};

const BATCHES: usize = 14;

fn run(disk: &SimulatedDisk) -> (u64, bool) {
    match open(disk, 0) {
        Ok((mut journal, _)) => {
            let (acked, error) = append_batches(&mut journal, BATCHES);
            if let Some(error) = &error {
                assert!(matches!(error, AppendError::Fatal(_)), "{error:?}");
                assert!(
                    matches!(journal.append(&batch(acked, 0)), Err(AppendError::Fatal(_))),
                    "took more after it"
                );
                assert!(matches!(journal.can_append(), Err(AppendError::Fatal(_))));
                assert_eq!(journal.reader().len(), acked);
            }
            (acked, error.is_some())
        }
        Err(error) => {
            assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
            (0, true)
        }
    }
}

/// Every operation that changes something fails once in every way; then the process restarts or the power is cut.
#[test]
fn no_failure_of_any_single_operation_loses_or_invents_a_record() {
    let twin = SimulatedDisk::new();
    let (all, failed) = run(&twin);
    assert!(!failed);
    let operations = twin.operations();
    for kind in [
        Operation::Create,
        Operation::Allocate,
        Operation::Write,
        Operation::SyncData,
        Operation::Rename,
        Operation::SyncDir,
    ] {
        assert!(operations.contains(&kind), "{kind:?} is never tried");
    }
    for (number, operation) in operations.iter().enumerate() {
        for failure in [Failure::Lost, Failure::KeptButReported, Failure::Half] {
            for crash in 0..8 {
                let disk = SimulatedDisk::new();
                disk.fail_at(number, failure);
                let (acked, failed) = run(&disk);
                assert!(failed, "{operation:?} {number} failed and nobody noticed");
                crash_and_check(
                    &disk,
                    crash,
                    acked,
                    all,
                    &format!("{operation:?} {number} {failure:?} {crash}"),
                );
            }
        }
    }
}

/// The same for the operations of an opening that has something to cut.
#[test]
fn no_failure_during_recovery_loses_or_invents_a_record() {
    for failure in [Failure::Lost, Failure::KeptButReported, Failure::Half] {
        for step in 0..8 {
            for crash in 0..8 {
                let disk = SimulatedDisk::new();
                let (mut journal, _) = open(&disk, 0).unwrap();
                let (acked, _) = append_batches(&mut journal, 5);
                disk.stop_at(disk.operations().len() + 1);
                journal.append(&batch(acked, 5)).unwrap_err();
                // Every second sector of the batch survives.
                let mut calls = 0;
                disk.cut_power(|n| {
                    calls += 1;
                    if calls % 2 == 0 { n - 1 } else { 0 }
                });
                disk.fail_at(disk.operations().len() + step, failure);
                let failed = match open(&disk, acked) {
                    Ok((mut journal, _)) => append_batches(&mut journal, 1).1.is_some(),
                    Err(_) => true,
                };
                let what = format!("step {step} {failure:?} {crash}");
                let len = if failed { acked } else { acked + 1 };
                crash_and_check(&disk, crash, len, acked + 1, &what);
            }
        }
    }
}

fn crash_and_check(disk: &SimulatedDisk, crash: u64, acked: u64, all: u64, what: &str) {
    let mut state = crash;
    match crash / 2 {
        0 => disk.kill(),
        1 => disk.cut_power(|_| 0),
        2 => disk.cut_power(|n| n - 1),
        _ => disk.cut_power(|n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 33) as usize % n
        }),
    }
    let report = fsck_with(disk, dir());
    assert!(report.is_sound(), "{what}: {report:?}");
    let (mut journal, recovery) = open(disk, acked).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(recovery.len >= acked, "{what}: {acked} acknowledged, {} left", recovery.len);
    assert!(recovery.len <= all.max(acked + 8), "{what}: {} appeared", recovery.len);
    check_all(&journal.reader());
    // The survivors must now be durable, even if the failed sync dropped them once, and so must be what follows them.
    let (len, error) = append_batches(&mut journal, (crash % 2) as usize);
    assert_eq!(error, None, "{what}");
    disk.cut_power(|_| 0);
    drop(journal);
    let (reopened, again) = open(disk, len).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(again.len, len, "{what}");
    journal = reopened;
    let (len, error) = append_batches(&mut journal, 9);
    assert_eq!(error, None, "{what}");
    disk.cut_power(|_| 0);
    assert_eq!(open(disk, len).unwrap().1.len, len, "{what}");
}
