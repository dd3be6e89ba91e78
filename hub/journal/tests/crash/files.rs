use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use yiwang_journal::{Journal, OpenError, Reader, fsck};

use crate::writer::{Writer, check, data, next_batch, options};

fn fill(dir: &Path, records: u64) -> u64 {
    let (mut journal, _) = Journal::open(dir, options(), 0).unwrap();
    while journal.len() < records {
        journal.append(&next_batch(&journal)).unwrap();
    }
    journal.len()
}

fn facts(dir: &Path) -> Vec<(String, u64, i64, i64)> {
    let mut facts: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            (entry.file_name().into_string().unwrap(), meta.len(), meta.mtime(), meta.mtime_nsec())
        })
        .collect();
    facts.sort();
    facts
}

#[test]
fn new_folders_are_made_and_every_record_is_found_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b/journal");
    let len = fill(&dir, 4000);
    check(&dir, len, "after filling");
    assert!(fs::read_dir(&dir).unwrap().count() > 4, "several segments");
}

#[test]
fn verifier_reads_write_protected_files_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let len = fill(temp.path(), 3000);
    for entry in fs::read_dir(temp.path()).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::remove_file(temp.path().join("journal.lock")).unwrap();
    let before = facts(temp.path());
    let (reader, recovery) = Reader::open_readonly(temp.path(), &options()).unwrap();
    assert_eq!((reader.len(), recovery.len, recovery.torn), (len, len, None));
    for item in reader.scan(0) {
        let (index, bytes, _) = item.unwrap();
        assert_eq!(bytes, data(index));
    }
    assert!(fsck(temp.path()).is_sound());
    assert_eq!(before, facts(temp.path()));
}

#[test]
fn second_opening_for_writing_is_refused_while_the_first_lives() {
    let temp = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(temp.path(), options(), 0).unwrap();
    let error = Journal::open(temp.path(), options(), 0).unwrap_err();
    let own = std::process::id();
    let named =
        matches!(&error, OpenError::Locked { dir, holder } if dir == temp.path() && *holder == Some(own));
    assert!(named && error.to_string().contains(&format!("by process {own}")), "{error}");
    drop(journal);
    Journal::open(temp.path(), options(), 0).unwrap();
}

#[test]
fn links_folders_and_pipes_in_place_of_segments_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 10);
    let segment = temp.path().join("00000000000000000000.seg");
    let aside = temp.path().join("aside");
    fs::rename(&segment, &aside).unwrap();
    let refused = |what: &str| {
        assert!(Reader::open_readonly(temp.path(), &options()).is_err(), "{what}");
        assert!(!fsck(temp.path()).is_sound(), "{what}");
    };
    symlink(&aside, &segment).unwrap();
    refused("link");
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    refused("folder");
    fs::remove_dir(&segment).unwrap();
    crate::mounted::run("mkfifo", &[segment.to_str().unwrap()]).unwrap();
    refused("pipe");
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, b"").unwrap();
    refused("empty file");
    fs::rename(&aside, &segment).unwrap();
    fs::write(temp.path().join("1.seg"), b"").unwrap();
    refused("foreign name");
}

#[test]
fn verifiers_of_a_journal_in_use_see_no_damage() {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path(), 1);
    let mut writer = Writer::start(temp.path(), 1);
    let mut seen = 0;
    for round in 0..10 {
        writer.run(1);
        let (reader, _) = Reader::open_readonly(temp.path(), &options()).unwrap();
        assert!(reader.len() >= seen, "round {round}");
        seen = reader.len();
        assert_eq!(reader.read(seen - 1).unwrap(), data(seen - 1));
        let report = fsck(temp.path());
        assert!(report.is_sound(), "round {round}: {report:?}");
    }
    let acked = writer.kill();
    check(temp.path(), acked, "after the verifiers");
}
