use std::fs;

use yiwang_journal::{AppendError, Journal, Reader};

use crate::mounted::Mounted;
use crate::writer::{check, data, next_batch, options};

#[test]
fn full_tmpfs_refuses_new_batches_and_goes_on_when_space_returns() {
    let disk = match Mounted::tmpfs(12 << 20) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: no full disk, a tmpfs cannot be mounted here: {reason}");
            return;
        }
    };
    fill_and_free(&disk);
}

#[test]
fn full_ext4_refuses_new_batches_and_goes_on_when_space_returns() {
    let disk = match Mounted::ext4(24 << 20) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: no full disk, an ext4 file system cannot be mounted here: {reason}");
            return;
        }
    };
    fill_and_free(&disk);
}

fn fill_and_free(disk: &Mounted) {
    let dir = disk.path().join("journal");
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1u8; 5 << 20]).unwrap();
    let (mut journal, _) = Journal::open(&dir, options(), 0).unwrap();
    let reader = journal.reader();
    let error = loop {
        // What `can_append` promises holds, however full the disk is.
        let promised = journal.can_append().is_ok();
        match journal.append(&next_batch(&journal)) {
            Ok(_) => {}
            Err(error) => {
                assert!(!promised, "{error}");
                break error;
            }
        }
    };
    assert!(matches!(error, AppendError::NoSpace(_)), "{error}");
    let full = journal.len();
    assert!(full > 100, "{full} records found space");

    for index in (0..full).step_by(97) {
        assert_eq!(reader.read(index).unwrap(), data(index));
    }
    assert!(matches!(journal.append(&next_batch(&journal)), Err(AppendError::NoSpace(_))));
    // The space for tiles can be used though the disk is full.
    let reserve = journal.reserve().clone();
    let freed = reserve.release(64 << 10).unwrap();
    assert_eq!(freed, 64 << 10);
    fs::write(disk.path().join("tile"), vec![1u8; 32 << 10]).unwrap();
    // A reader and another opening work on the full disk as well.
    assert_eq!(Reader::open_readonly(&dir, &options()).unwrap().0.len(), full);
    drop(journal);
    let (mut journal, _) = Journal::open(&dir, options(), full).unwrap();
    while journal.can_append().is_ok() {
        journal.append(&next_batch(&journal)).unwrap();
    }
    let full = journal.len();

    fs::remove_file(&ballast).unwrap();
    journal.can_append().unwrap();
    while journal.len() < full + 200 {
        journal.append(&next_batch(&journal)).unwrap();
    }
    let acked = journal.len();
    drop(journal);
    check(&dir, acked, "after the full disk");
}
