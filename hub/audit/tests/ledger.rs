//! Whole ledger folders: a clean one passes, and every way to spoil one is found where it happened.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "common/show.rs"]
mod show;

use show::show;
use std::path::Path;
use tempfile::TempDir;
use yiwang_audit::fixture::{STEP_MS, World};
use yiwang_audit::{Options, Report, Rule, verify_ledger};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::CaseId;
use yiwang_proto::pb;

fn written(world: &World) -> TempDir {
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    folder
}

fn options(world: &World) -> Options {
    Options { key: Some(world.key()), threads: 2, ..Options::default() }
}

fn verify(world: &World) -> Report {
    let folder = written(world);
    verify_ledger(folder.path(), &options(world)).unwrap()
}

/// A ledger with exchanges of every ending.
fn busy_but_one() -> World {
    let mut world = World::new();
    for _ in 0..5 {
        world.answered();
    }
    let denied = world.exchange().with_fields(&["id_number", "name"]).deny(Code::FieldNotGranted);
    world.record(denied);
    world.denied_unkept(Code::SignatureInvalid);
    let mut failed = world.exchange();
    failed.answer = None;
    failed.entry.set_outcome(pb::Outcome::Failed);
    failed.entry.code = Code::ProviderUnavailable.as_str().to_owned();
    failed.entry.adapter_delegation_index = 0;
    world.record(failed);
    let first = world.exchange();
    let replay = first.clone();
    let index = world.record(first);
    let mut replay = replay.deny(Code::Replayed);
    replay.entry.replay_of = index + 1;
    world.record(replay);
    let rate = world.exchange().deny(Code::RateExceeded);
    world.record(rate);
    for _ in 0..4 {
        world.answered();
    }
    world
}

fn busy() -> World {
    let mut world = busy_but_one();
    world.answered();
    world
}

#[track_caller]
fn found(report: &Report, index: Option<u64>, rule: Rule) {
    let hit = report.findings.iter().any(|finding| finding.index == index && finding.rule == rule);
    assert!(hit, "wanted {rule} at {index:?}, got {:#?}", report.findings);
}

#[test]
fn a_clean_ledger_is_clean_and_the_report_says_what_was_decided_again() {
    let world = busy();
    let report = verify(&world);
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.entries, world.entries.len() as u64);
    assert_eq!(report.size, Some(report.entries));
    assert_eq!(report.kinds["exchange"], 16);
    assert_eq!(report.outcomes["answered"], 11);
    assert_eq!(report.decisions.permitted_again, 12, "{}", show(&report));
    assert_eq!(report.decisions.denied_again, 2, "a field that is not granted, and the replay");
    assert_eq!(report.decisions.contradicted, 0);
    let not_decided: u64 = report.decisions.not_decided.values().sum();
    assert_eq!(not_decided, 2, "rate, and the request that is not kept: {:?}", report.decisions);
    assert!(report.key_pinned && report.exit_code() == 0);
    assert!(show(&report).starts_with("ledger: CLEAN\nas of size "));
}

#[test]
fn an_unpinned_key_is_said_loudly() {
    let world = busy();
    let folder = written(&world);
    let report = verify_ledger(folder.path(), &Options::default()).unwrap();
    assert!(report.is_clean() && !report.key_pinned);
    assert!(show(&report).contains("NOT PINNED"));
}

#[test]
fn large_ledgers_have_tiles_of_two_levels_and_many_segments() {
    let mut world = World::new();
    while world.entries.len() < 700 {
        world.answered();
    }
    let folder = written(&world);
    let report = verify_ledger(folder.path(), &options(&world)).unwrap();
    assert!(report.is_clean(), "{}", show(&report));
    assert_eq!(report.tiles, 2 + 2, "two full tiles, and the partial ones of two levels");
    let segments = yiwang_audit::fsck(folder.path()).unwrap();
    assert!(segments.notes[0].starts_with("3 segments, entries 0 to 699"), "{:?}", segments.notes);
    // The newest tiles may be missing; a gap may not.
    let tile = |name: &str| folder.path().join("tile/0").join(name);
    std::fs::remove_file(tile("001")).unwrap();
    let behind = verify_ledger(folder.path(), &options(&world)).unwrap();
    assert!(behind.is_clean() && show(&behind).contains("not written yet"), "{}", show(&behind));
    std::fs::copy(tile("000"), tile("001")).unwrap();
    let wrong = verify_ledger(folder.path(), &options(&world)).unwrap();
    found(&wrong, Some(256), Rule::Tile);
    std::fs::remove_file(tile("000")).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Tile);
}

#[test]
fn a_wrong_byte_in_a_tile_is_found_at_its_entry() {
    let world = busy();
    let folder = written(&world);
    let name = format!("tile/0/000.p/{}", world.entries.len());
    let path = folder.path().join(&name);
    let good = std::fs::read(&path).unwrap();
    for entry in [0, 9, world.entries.len() - 1] {
        let mut bytes = good.clone();
        bytes[entry * 32 + 31] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        found(&verify_ledger(folder.path(), &options(&world)).unwrap(), Some(entry as u64), Rule::Tile);
    }
    std::fs::write(&path, &good[..good.len() - 32]).unwrap();
    assert!(!verify_ledger(folder.path(), &options(&world)).unwrap().is_clean());
    std::fs::write(&path, &good).unwrap();
    let beyond = folder.path().join("tile/0/000.p/200");
    std::fs::write(&beyond, vec![0; 200 * 32]).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Tile);
    std::fs::remove_file(beyond).unwrap();
    assert!(verify_ledger(folder.path(), &options(&world)).unwrap().is_clean());
}

#[test]
fn t08_a_flipped_byte_in_a_segment_is_found_at_a_hundred_places() {
    let world = busy();
    let folder = written(&world);
    let segment = folder.path().join("segments").join(yiwang_journal::segment::file_name(0));
    let good = std::fs::read(&segment).unwrap();
    let used = good.iter().rposition(|byte| *byte != 0).unwrap();
    let mut places: Vec<usize> = (0..90).map(|n| 4096 + n * (used - 4096) / 89).collect();
    places.extend([0, 9, 13, 17, 25, 33, 41, 50, 61, used + 100]);
    assert_eq!(places.len(), 100);
    for place in places {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        std::fs::write(&segment, &bytes).unwrap();
        let report = verify_ledger(folder.path(), &options(&world)).unwrap();
        assert!(!report.is_clean(), "byte {place}");
        assert!(report.findings.iter().any(|finding| finding.rule == Rule::Storage), "byte {place}");
    }
    std::fs::write(&segment, &good).unwrap();
    assert!(verify_ledger(folder.path(), &options(&world)).unwrap().is_clean());
}

#[test]
fn damage_in_the_middle_names_its_entry_and_the_rest_is_not_claimed() {
    let mut world = World::new();
    while world.entries.len() < 700 {
        world.answered();
    }
    let folder = written(&world);
    let segment = folder.path().join("segments").join(yiwang_journal::segment::file_name(0));
    let mut bytes = std::fs::read(&segment).unwrap();
    let needle = world.entries[50].as_ref();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at + 7] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let report = verify_ledger(folder.path(), &options(&world)).unwrap();
    found(&report, Some(50), Rule::Storage);
    assert_eq!(report.entries, 50);
    assert!(show(&report).contains("entries from 50 on were not verified"));
}

#[test]
fn a_hub_that_drops_an_entry_and_signs_again_is_found_by_the_chain() {
    let mut world = busy();
    world.entries.remove(11);
    let report = verify(&world);
    found(&report, Some(11), Rule::Chain);
}

#[test]
fn a_hub_that_drops_a_document_is_found_by_what_points_at_it() {
    for (index, rule) in [(4, Rule::Reference), (5, Rule::Request), (6, Rule::Decision), (7, Rule::Decision)]
    {
        let mut world = busy();
        world.entries.remove(index);
        let report = verify(&world);
        assert!(report.findings.iter().any(|finding| finding.rule == rule), "{index}: {}", show(&report));
    }
}

#[test]
fn two_entries_that_are_swapped_are_found() {
    let mut world = busy();
    world.entries.swap(9, 10);
    let report = verify(&world);
    found(&report, Some(10), Rule::Time);
    found(&report, Some(9), Rule::Chain);
}

#[test]
fn time_that_goes_back_is_found() {
    let mut world = busy();
    world.edit(10, |entry| entry.time_ms -= 2 * STEP_MS);
    found(&verify(&world), Some(10), Rule::Time);
}

#[test]
fn a_wrong_previous_entry_is_found_on_either_side() {
    for consumer in [true, false] {
        let mut world = busy();
        world.edit_exchange(10, |exchange| match consumer {
            true => exchange.previous_of_consumer -= 1,
            false => exchange.previous_of_provider = 0,
        });
        let report = verify(&world);
        found(&report, Some(10), Rule::Chain);
        assert_eq!(report.findings_total, 1, "{}", show(&report));
    }
}

#[test]
fn references_to_other_entries_are_found() {
    type Change = fn(&mut pb::ExchangeEntry);
    let changes: [Change; 6] = [
        |exchange| exchange.contract_index = 4,
        |exchange| exchange.app_delegation_index = 4,
        |exchange| exchange.adapter_delegation_index = 5,
        |exchange| exchange.case_index = 8,
        |exchange| exchange.policy_index = 0,
        |exchange| exchange.contract_index = 0,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut world = busy();
        world.edit_exchange(12, change);
        let report = verify(&world);
        found(&report, Some(12), Rule::Reference);
        assert_eq!(report.findings_total, 1, "change {number}: {}", show(&report));
    }
}

#[test]
fn a_checkpoint_of_another_key_or_origin_is_refused() {
    let world = busy();
    let folder = written(&world);
    let other = yiwang_proto::note::SignerKey::from_seed(yiwang_audit::fixture::ORIGIN, &[98; 32]).unwrap();
    let checkpoint = folder.path().join("checkpoint");
    std::fs::write(&checkpoint, world.checkpoint_by(world.entries.len(), &other)).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Checkpoint);
    // The whole folder made up with another key, against the pinned one.
    std::fs::write(folder.path().join("verifier.key"), other.verifier().to_string()).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Checkpoint);
    let forged = Options { key: Some(other.verifier().clone()), ..Options::default() };
    found(&verify_ledger(folder.path(), &forged).unwrap(), Some(0), Rule::Origin);
    std::fs::remove_file(checkpoint).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Checkpoint);
}

#[test]
fn a_checkpoint_may_be_behind_and_never_ahead_or_other() {
    let world = busy();
    let folder = written(&world);
    let checkpoint = folder.path().join("checkpoint");
    std::fs::write(&checkpoint, world.checkpoint(10)).unwrap();
    let behind = verify_ledger(folder.path(), &options(&world)).unwrap();
    assert!(behind.is_clean(), "{}", show(&behind));
    assert_eq!((behind.size, behind.after_checkpoint), (Some(10), behind.entries - 10));
    let mut longer = busy();
    longer.answered();
    std::fs::write(&checkpoint, longer.checkpoint(longer.entries.len())).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Root);
    let mut other = busy();
    other.edit(9, |entry| entry.time_ms += 1);
    std::fs::write(&checkpoint, other.checkpoint(other.entries.len())).unwrap();
    found(&verify_ledger(folder.path(), &options(&world)).unwrap(), None, Rule::Root);
}

#[test]
fn t08_cut_and_forked_histories_do_not_continue_the_older_checkpoint() {
    let world = busy();
    let with = |older: String| Options { older: Some(older.into_bytes()), ..options(&world) };
    for size in [0, 1, 9, world.entries.len()] {
        let folder = written(&world);
        let report = verify_ledger(folder.path(), &with(world.checkpoint(size))).unwrap();
        assert!(report.is_clean(), "{}", show(&report));
        assert_eq!(report.continues, Some(size as u64));
    }
    let older = world.checkpoint(world.entries.len());
    let mut cut = busy();
    cut.entries.truncate(20);
    let report = verify_ledger(written(&cut).path(), &with(older.clone())).unwrap();
    found(&report, None, Rule::Older);
    assert_eq!(report.findings_total, 1, "nothing else shows it: {}", show(&report));
    // The last exchange happened otherwise, and everything is signed again: consistent in itself.
    let mut fork = busy_but_one();
    let other = fork.exchange().deny(Code::RateExceeded);
    fork.record(other);
    fork.answered();
    assert!(verify(&fork).is_clean());
    let report = verify_ledger(written(&fork).path(), &with(older)).unwrap();
    found(&report, None, Rule::Older);
    // A checkpoint of somebody else is the auditor's mistake, not a finding.
    let foreign = with("nonsense".to_owned());
    assert!(verify_ledger(written(&world).path(), &foreign).is_err());
}

#[test]
fn what_is_not_there_is_an_error_and_no_verdict() {
    let world = World::new();
    assert!(verify_ledger(Path::new("/nonexistent"), &options(&world)).is_err());
    let empty = TempDir::new().unwrap();
    std::fs::create_dir(empty.path().join("segments")).unwrap();
    assert!(verify_ledger(empty.path(), &Options::default()).is_err(), "no key at all");
}

/// All findings are at this index and of this rule, and there is one.
#[track_caller]
fn found_only_at(report: &Report, index: u64, rule: Rule) {
    let here = |finding: &yiwang_audit::Finding| finding.index == Some(index) && finding.rule == rule;
    assert!(!report.is_clean() && report.findings.iter().all(here), "{}", show(report));
}

#[test]
fn only_an_accepted_clock_takes_time_back() {
    let jumped = |forge: fn(&mut pb::ClockEntry), marked: bool| {
        let mut world = World::new();
        world.now_ms += 600_000;
        world.answered();
        let old_ms = world.now_ms - STEP_MS;
        world.now_ms -= 600_000;
        let mut index = world.entries.len() as u64;
        if marked {
            let mut clock = pb::ClockEntry { old_ms, new_ms: world.now_ms };
            forge(&mut clock);
            index = world.push(Kind::Clock(clock));
        }
        let case = CaseId::parse("01a31a5f-a400-7000-8000-000000000077").unwrap();
        world.open_case(&case, &[7]);
        world.answered();
        (verify(&world), index)
    };
    let (report, _) = jumped(|_| {}, true);
    assert!(report.is_clean(), "{}", show(&report));
    assert!(show(&report).contains("accepted a clock"));
    let (report, index) = jumped(|_| {}, false);
    assert!(report.findings.iter().any(|one| one.index == Some(index) && one.rule == Rule::Time));
    for forge in [(|clock| clock.old_ms -= 1) as fn(&mut pb::ClockEntry), |clock| clock.new_ms += 1] {
        let (report, index) = jumped(forge, true);
        found_only_at(&report, index, Rule::Time);
    }
    // Forwards, or by what is tolerated anyway, there is nothing to accept.
    let mut world = World::new();
    let now_ms = world.now_ms;
    let index = world.push(Kind::Clock(pb::ClockEntry { old_ms: now_ms - STEP_MS, new_ms: now_ms }));
    world.answered();
    found_only_at(&verify(&world), index, Rule::Time);
}

#[test]
fn a_dismissal_names_somebody_and_says_why() {
    let dismissal = |who: &str, reason: &str| {
        let mut world = World::new();
        let raw = pb::DismissalEntry { who: who.to_owned(), reason: reason.to_owned() };
        let index = world.push(Kind::Dismissal(raw));
        world.answered();
        (verify(&world), index)
    };
    for who in ["auditor:city-audit", "member:police"] {
        assert!(dismissal(who, "its term is over").0.is_clean());
    }
    for (who, reason) in [("hub", "x"), ("member:", "x"), ("auditor:city-audit", "")] {
        let (report, index) = dismissal(who, reason);
        found_only_at(&report, index, Rule::Entry);
    }
}
