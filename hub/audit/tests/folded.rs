//! Entries that fold denials: what no entry can say is found; what the journal of their statements shows, where it is
//! at hand, is tested over a whole hub.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use tempfile::TempDir;
use yiwang_audit::fixture::World;
use yiwang_audit::{MAX_FINDINGS, Options, Report, Rule, verify_ledger};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::folded::{Denied, FOLDER, Record, Said, VERBATIM, minute_of};
use yiwang_proto::ids::Operation;
use yiwang_proto::merkle::{Frontier, leaf_hash};
use yiwang_proto::pb;

fn verify(world: &World, folder: &TempDir) -> Report {
    verify_with(world, folder, false)
}

fn verify_with(world: &World, folder: &TempDir, without_folded: bool) -> Report {
    let options = Options { key: Some(world.key()), threads: 2, without_folded, ..Options::default() };
    verify_ledger(folder.path(), &options).unwrap()
}

/// What is found of folded denials.
fn faults(report: &Report) -> Vec<&str> {
    let folded = report.findings.iter().filter(|finding| finding.rule == Rule::Folded);
    folded.map(|finding| finding.what.as_str()).collect()
}

/// A denial as the hub's journal holds it, in the minute that runs.
fn denial(world: &mut World, code: Code, clause: &str) -> Bytes {
    let mut exchange = world.exchange().deny(code);
    clause.clone_into(&mut exchange.entry.clause);
    world.record(exchange);
    world.entries.pop().unwrap()
}

fn write_journal(folder: &TempDir, denials: &[Bytes]) {
    let options = yiwang_journal::Options { segment_bytes: 16 << 20, ..yiwang_journal::Options::default() };
    let (mut journal, _) = yiwang_journal::Journal::open(&folder.path().join(FOLDER), options, 0).unwrap();
    let said = |entry: &Bytes| Record::of(Said::Denied(Denied { entry: entry.clone(), with_member: true }));
    let records: Vec<Bytes> = denials.iter().map(said).collect();
    journal.append(&records).unwrap();
}

/// An entry that folds these.
fn fold_of(world: &World, code: Code, denials: &[Bytes]) -> pb::FoldedEntry {
    let mut tree = Frontier::new();
    denials.iter().for_each(|entry| tree.push(leaf_hash(entry)));
    pb::FoldedEntry {
        code: code.as_str().to_owned(),
        count: tree.size(),
        root: Bytes::copy_from_slice(&tree.root()),
        ..fold(world)
    }
}

fn fold(world: &World) -> pb::FoldedEntry {
    pb::FoldedEntry {
        consumer: "street-office".to_owned(),
        app: String::new(),
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
    let [missing] = faults(&report)[..] else { panic!("{report:#?}") };
    assert!(missing.contains("not at hand") && report.findings_total == 1, "{report:#?}");
    let report = verify_with(&world, &folder, true);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.outcomes["denied folded"], 7);
    for note in ["counts and roots were not computed again", "4 denials only counted"] {
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
        let report = verify_with(&world, &folder, true);
        let found: Vec<_> = report.findings.iter().map(|finding| (finding.index, finding.rule)).collect();
        assert!(!found.is_empty(), "{nth}");
        assert!(found.iter().all(|found| *found == (Some(index), Rule::Folded)), "{nth}: {report:#?}");
    }
}

#[test]
fn counts_that_add_up_to_nothing_hide_no_denials() {
    let mut world = World::new();
    for count in [3, u64::MAX - 2] {
        let mut raw = fold(&world);
        raw.count = count;
        world.push(Kind::Folded(raw));
    }
    world.answered();
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let report = verify_with(&world, &folder, false);
    let told = |finding: &yiwang_audit::Finding| finding.rule == Rule::Folded && finding.index.is_none();
    assert!(report.findings.iter().any(told), "{report:#?}");
}

#[test]
fn a_denial_that_no_entry_counts_is_found_once_its_minute_is_over() {
    let mut world = World::new();
    let folder = TempDir::new().unwrap();
    let denials = [denial(&mut world, Code::NoCase, ""), denial(&mut world, Code::NoCase, "")];
    write_journal(&folder, &denials);
    let minute_ms = minute_of(world.now_ms);
    world.now_ms = minute_ms + 179_000;
    world.answered();
    world.write(folder.path());
    let report = verify(&world, &folder);
    assert!(faults(&report).is_empty(), "the hub may still enter it: {report:#?}");
    world.now_ms = minute_ms + 181_000;
    world.answered();
    world.write(folder.path());
    let report = verify(&world, &folder);
    let [left] = faults(&report)[..] else { panic!("{report:#?}") };
    assert!(left.contains("no entry counts 2 denials (`no_case`)"), "{left}");
}

#[test]
fn a_statement_that_is_folded_twice_is_found_unless_its_id_did_not_count() {
    for (code, twice) in [(Code::NoCase, true), (Code::Replayed, false), (Code::StatementExpired, false)] {
        let mut world = World::new();
        let folder = TempDir::new().unwrap();
        let one = denial(&mut world, code, "");
        let denials = [one.clone(), one];
        write_journal(&folder, &denials);
        world.push(Kind::Folded(fold_of(&world, code, &denials)));
        world.write(folder.path());
        let report = verify(&world, &folder);
        let found = faults(&report).iter().any(|what| what.contains("was folded before"));
        assert_eq!((found, faults(&report).len()), (twice, usize::from(twice)), "{report:#?}");
    }
}

#[test]
fn a_folded_clause_that_is_none_is_found() {
    for (clause, fits) in [("case:unknown", true), ("Said by Zhang San", false)] {
        let mut world = World::new();
        let folder = TempDir::new().unwrap();
        let denials = [denial(&mut world, Code::NoCase, clause)];
        write_journal(&folder, &denials);
        world.push(Kind::Folded(fold_of(&world, Code::NoCase, &denials)));
        world.write(folder.path());
        let report = verify(&world, &folder);
        let found = faults(&report).iter().any(|what| what.contains("clause"));
        assert_eq!(found, !fits, "{report:#?}");
    }
}

#[test]
fn an_app_that_had_fewer_entries_of_its_own_and_was_folded_is_told_of() {
    for (entries, app, late, enough) in [
        (VERBATIM, "assistance-desk", false, true),
        (VERBATIM - 1, "assistance-desk", false, false),
        // Recorded a little after their minute, as under load.
        (VERBATIM, "assistance-desk", true, true),
        (VERBATIM, "other-desk", false, false),
        (0, "", false, true),
    ] {
        let mut world = World::new();
        let minute_ms = minute_of(world.now_ms) + 60_000;
        for nth in 0..entries {
            world.now_ms = minute_ms + 50_000 + i64::from(nth) * if late { 400 } else { 100 };
            let denied = world.exchange().deny(Code::NoCase);
            world.record(denied);
        }
        world.now_ms = minute_ms + 100_000;
        let raw = pb::FoldedEntry { app: app.to_owned(), minute_ms, ..fold(&world) };
        let index = world.push(Kind::Folded(raw));
        let folder = TempDir::new().unwrap();
        world.write(folder.path());
        let report = verify_with(&world, &folder, true);
        assert!(report.findings.iter().all(|finding| finding.index != Some(index)), "{report:#?}");
        let told = report.notes.iter().any(|note| note.contains("fewer than 60 denials of its own"));
        assert_eq!(told, !enough, "{entries} of {app}: {report:#?}");
    }
}

#[test]
fn a_folded_statement_that_names_what_nobody_knows_is_found() {
    let mut world = World::new();
    let folder = TempDir::new().unwrap();
    let mut exchange = world.exchange().deny(Code::NoContract);
    exchange.request.operation = Operation::parse("x980121190001010000").unwrap();
    world.record(exchange);
    let denials = [world.entries.pop().unwrap()];
    write_journal(&folder, &denials);
    world.push(Kind::Folded(fold_of(&world, Code::NoContract, &denials)));
    world.write(folder.path());
    let report = verify(&world, &folder);
    let [found] = faults(&report)[..] else { panic!("{report:#?}") };
    assert!(found.contains("an operation that its contract does not have"), "{found}");
}

#[test]
fn a_folded_denial_of_a_request_that_is_not_kept_says_no_more_than_its_hub_can() {
    for (code, faulty) in [(Code::SignatureInvalid, false), (Code::TagMismatch, true)] {
        let mut world = World::new();
        let folder = TempDir::new().unwrap();
        world.denied_unkept(code);
        let denials = [world.entries.pop().unwrap()];
        write_journal(&folder, &denials);
        world.push(Kind::Folded(fold_of(&world, code, &denials)));
        world.write(folder.path());
        let report = verify(&world, &folder);
        let found = faults(&report);
        assert_eq!(found.len(), usize::from(faulty), "{report:#?}");
        assert!(found.iter().all(|what| what.contains("`tag_mismatch`")), "{found:?}");
    }
}

#[test]
fn of_more_than_is_shown_the_same_is_shown_each_time() {
    let mut world = World::new();
    let folder = TempDir::new().unwrap();
    let indexes: Vec<_> = (0..MAX_FINDINGS + 50)
        .map(|number| {
            let raw = pb::FoldedEntry { consumer: format!("office-{number}"), ..fold(&world) };
            Some(world.push(Kind::Folded(raw)))
        })
        .collect();
    world.answered();
    world.write(folder.path());
    let options = yiwang_journal::Options { segment_bytes: 16 << 20, ..yiwang_journal::Options::default() };
    yiwang_journal::Journal::open(&folder.path().join(FOLDER), options, 0).unwrap();
    let report = verify(&world, &folder);
    let found: Vec<_> = report.findings.iter().map(|finding| finding.index).collect();
    assert_eq!(report.findings_total, (MAX_FINDINGS + 50) as u64);
    assert_eq!(found, indexes[..MAX_FINDINGS]);
}
