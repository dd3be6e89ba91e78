//! Patterns that were put into a ledger are found by `report` alone, and ordinary work is not.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use yiwang_audit::fixture::{START_MS, World, tag};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{CaseId, Officer};

const DAY_MS: i64 = 86_400_000;

fn report(ledger: &Path, kind: &str, more: &[&str]) -> Vec<serde_json::Value> {
    let ledger = ledger.to_str().unwrap();
    let arguments = [&["report", "--ledger", ledger, "--kind", kind, "-o", "json"], more].concat();
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_yiwang-audit")).args(arguments).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

fn officer(number: u32) -> Officer {
    let letters =
        format!("{number:016}").replace('0', "a").replace('1', "b").replace('8', "h").replace('9', "i");
    Officer::parse(&format!("o-{letters}")).unwrap()
}

fn case(number: u32) -> CaseId {
    CaseId::parse(&format!("01a31a5f-a400-7000-8000-{number:012x}")).unwrap()
}

/// A look-up of a subject in a case by an officer, at a moment.
fn look_up(world: &mut World, who: u32, of: u32, case: &CaseId, at_ms: i64) {
    world.now_ms = world.now_ms.max(at_ms);
    let mut exchange = world.exchange();
    exchange.request.officer = Some(officer(who));
    exchange.request.case = case.clone();
    exchange.request.subject_tags = vec![tag(of, case)];
    world.record(exchange);
    world.now_ms = world.now_ms.max(at_ms) - yiwang_audit::fixture::STEP_MS + 1_000;
}

/// Ten ordinary officers with 12 to 31 look-ups a day over five days, each in cases that go on; and the
/// insider, number 99, with 330 on the third day, spread over the working day.
fn with_an_insider() -> (World, TempDir) {
    let mut world = World::new();
    let subjects: Vec<u32> = (1..=200).collect();
    for number in 100..105 {
        world.open_case(&case(number), &subjects);
    }
    for day in 0..5_i64 {
        let morning = START_MS + day * DAY_MS + 3_600_000;
        let mut queue: Vec<(i64, u32, u32)> = Vec::new();
        for who in 1..=10_u32 {
            let count = 12 + (who * 7 + u32::try_from(day).unwrap() * 5) % 20;
            queue.extend(
                (0..count).map(|n| (morning + i64::from(n) * 900_000 + i64::from(who), who, n % 200 + 1)),
            );
        }
        if day == 2 {
            queue.extend((0..330).map(|n| (morning + i64::from(n) * 80_000, 99, n % 200 + 1)));
        }
        queue.sort_unstable();
        for (at_ms, who, of) in queue {
            let case = case(100 + who % 5);
            look_up(&mut world, who, of, &case, at_ms);
        }
    }
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    (world, folder)
}

#[test]
fn t02_an_officer_with_330_look_ups_a_day_is_found_and_the_ordinary_ones_are_not() {
    let (_, folder) = with_an_insider();
    let rows = report(folder.path(), "insider", &[]);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    let row = &rows[0];
    assert_eq!(row["officer"], officer(99).as_str());
    assert_eq!((&row["day"], &row["lookups"]), (&"2027-01-17".into(), &330.into()));
    let median = row["median_of_member"].as_u64().unwrap();
    assert!((12..=31).contains(&median), "{median}");
    assert_eq!(report(folder.path(), "insider", &["--per-day", "331"]).len(), 0);
    // Every label is checked: with the line at an ordinary day, the insider still stands first.
    let rows = report(folder.path(), "insider", &["--per-day", "1", "--times-median", "1"]);
    assert_eq!(rows[0]["officer"], officer(99).as_str());
    assert!(rows.len() > 10);
    let askers = report(folder.path(), "top-askers", &[]);
    assert_eq!((&askers[0]["officer"], &askers[0]["asked"]), (&officer(99).as_str().into(), &330.into()));
    assert_eq!(askers.len(), 11);
}

#[test]
fn accesses_without_later_case_activity_are_found() {
    let mut world = World::new();
    for number in [201, 202, 203] {
        world.open_case(&case(number), &[1, 2]);
        look_up(&mut world, number, 1, &case(number), 0);
        look_up(&mut world, number, 2, &case(number), 0);
    }
    world.now_ms += DAY_MS;
    // One goes on, one is closed, one is forgotten.
    world.add_to_case(&case(202), &[3]);
    world.close_case(&case(203));
    world.now_ms += 40 * DAY_MS;
    world.answered();
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let rows = report(folder.path(), "idle-cases", &[]);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!((&rows[0]["case"], &rows[0]["accesses"]), (&case(201).as_str().into(), &2.into()));
    assert_eq!(rows[0]["askers"], officer(201).as_str());
    assert_eq!((&rows[0]["matter"], &rows[0]["quiet_days"]), (&"social-assistance".into(), &41.into()));
    assert_eq!(report(folder.path(), "idle-cases", &["--quiet-days", "42"]).len(), 0);
}

#[test]
fn a_series_of_denials_is_found_and_single_ones_are_not() {
    let mut world = World::new();
    for number in 0..9_u32 {
        let mut exchange = world.exchange();
        exchange.request.officer = Some(officer(7));
        let code = if number.is_multiple_of(2) { Code::NoCase } else { Code::FieldNotGranted };
        world.record(exchange.deny(code));
        if number == 4 {
            let mut answered = world.exchange();
            answered.request.officer = Some(officer(7));
            world.record(answered);
        }
    }
    for _ in 0..6 {
        world.now_ms += 3_600_000;
        let mut exchange = world.exchange();
        exchange.request.officer = Some(officer(8));
        world.record(exchange.deny(Code::NoCase));
    }
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let rows = report(folder.path(), "denied-series", &[]);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!((&rows[0]["officer"], &rows[0]["denied"]), (&officer(7).as_str().into(), &9.into()));
    assert_eq!(rows[0]["codes"], "field_not_granted 4, no_case 5");
    assert_eq!(report(folder.path(), "denied-series", &["--gap-minutes", "90"]).len(), 2);
}

#[test]
fn reports_are_written_for_people_and_spreadsheets_too() {
    let (_, folder) = with_an_insider();
    let run = |arguments: &[&str]| {
        let all = [&["report", "--ledger", folder.path().to_str().unwrap()], arguments].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_yiwang-audit")).args(all).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, table) = run(&["--kind", "insider"]);
    assert_eq!(code, 0);
    assert!(table.starts_with("consumer ") && table.contains(officer(99).as_str()), "{table}");
    assert!(table.ends_with("where to ask, not a verdict; run `verify` first\n"), "{table}");
    let (_, csv) = run(&["--kind", "insider", "-o", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[0][4]), (1, "330"));
    assert_eq!(run(&["--kind", "insider", "--consumer", "police"]).0, 2, "a filter that would not count");
    assert_eq!(run(&["--officer", officer(99).as_str(), "-o", "json"]).1.lines().count(), 330);
}
