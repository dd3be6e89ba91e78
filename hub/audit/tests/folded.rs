//! Entries that fold denials: what no entry can say is found; what the journal of their statements shows, where it is
//! at hand, is tested over a whole hub.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use tempfile::TempDir;
use yiwang_audit::fixture::World;
use yiwang_audit::{Options, Report, Rule, verify_ledger};
use yiwang_proto::entry::Kind;
use yiwang_proto::folded::{FOLDER, minute_of};
use yiwang_proto::pb;

fn verify(world: &World, folder: &TempDir) -> Report {
    let options = Options { key: Some(world.key()), threads: 2, ..Options::default() };
    verify_ledger(folder.path(), &options).unwrap()
}

fn fold(world: &World) -> pb::FoldedEntry {
    pb::FoldedEntry {
        consumer: "street-office".to_owned(),
        app: "desk".to_owned(),
        code: "no_case".to_owned(),
        minute_ms: minute_of(world.now_ms),
        count: 3,
        root: Bytes::from(vec![7; 32]),
        unkept: 0,
    }
}

#[test]
fn a_good_entry_is_clean_and_what_was_not_computed_again_is_said() {
    let mut world = World::new();
    world.answered();
    world.push(Kind::Folded(fold(&world)));
    world.push(Kind::Folded(pb::FoldedEntry { count: 0, root: Bytes::new(), unkept: 4, ..fold(&world) }));
    world.answered();
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let report = verify(&world, &folder);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.outcomes["denied folded"], 7);
    for note in ["counts and roots were not computed again", "4 denials are counted only"] {
        assert!(report.notes.iter().any(|said| said.contains(note)), "{note}: {:#?}", report.notes);
    }
    // With a journal at hand that has none of them, they are missing.
    let options = yiwang_journal::Options { segment_bytes: 16 << 20, ..yiwang_journal::Options::default() };
    yiwang_journal::Journal::open(&folder.path().join(FOLDER), options, 0).unwrap();
    let report = verify(&world, &folder);
    let missing = report.findings.iter().all(|finding| finding.rule == Rule::Folded);
    assert!(missing && report.findings_total == 1, "{report:#?}");
}

#[test]
fn an_entry_that_cannot_be_is_found_at_its_index() {
    let bends: [fn(&mut pb::FoldedEntry); 9] = [
        |raw| raw.count = 0,
        |raw| (raw.count, raw.root) = (0, Bytes::new()),
        |raw| raw.root = Bytes::new(),
        |raw| raw.root = Bytes::from(vec![7; 31]),
        |raw| raw.consumer = "No Member".to_owned(),
        |raw| raw.app = "No App".to_owned(),
        |raw| raw.code = "no_such_code".to_owned(),
        |raw| raw.minute_ms += 1,
        |raw| raw.minute_ms += 600_000,
    ];
    for (nth, bend) in bends.into_iter().enumerate() {
        let mut world = World::new();
        let mut raw = fold(&world);
        bend(&mut raw);
        let index = world.push(Kind::Folded(raw));
        world.answered();
        let folder = TempDir::new().unwrap();
        world.write(folder.path());
        let report = verify(&world, &folder);
        let found: Vec<_> = report.findings.iter().map(|finding| (finding.index, finding.rule)).collect();
        assert!(!found.is_empty(), "{nth}");
        assert!(found.iter().all(|found| *found == (Some(index), Rule::Folded)), "{nth}: {report:#?}");
    }
}
