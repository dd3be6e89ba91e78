//! Real open data as members; without the data these tests say so and pass.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;

use rusqlite::Connection;
use yiwang_city::{RealData, attach_real};

fn real() -> Option<(tempfile::TempDir, RealData)> {
    let shared = std::env::var_os("YIWANG_TEST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let data = shared.join("data");
    if !data.join("febrl").is_dir() {
        println!("skipped: no test data");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let real = attach_real(&data, folder.path()).unwrap();
    Some((folder, real))
}

#[test]
fn rows_are_those_that_the_publishers_state() {
    let Some((_folder, real)) = real() else { return };
    assert_eq!((real.montgomery_rows, real.seattle_rows), (6089, 403));
    assert_eq!((real.febrl_a_rows, real.febrl_b_rows), (5000, 5000));
    let both = real.conflicting.len() + real.agreeing.len();
    assert_eq!((both, real.only_in_a.len(), real.only_in_b.len()), (4561, 439, 439));
    println!("{} conflicting, {} agreeing, {:?}", real.conflicting.len(), real.agreeing.len(), real.busiest);
}

#[test]
fn the_busiest_township_and_day() {
    let Some((folder, real)) = real() else { return };
    assert_eq!((real.busiest.township.as_str(), real.busiest.day.as_str()), ("NORRISTOWN", "2015-12-18"));
    assert_eq!(real.busiest.ems_calls, 22);
    // Counted once more, from the copied file and without any reader of CSV: no cell of these rows is quoted.
    let text = std::fs::read_to_string(folder.path().join("montgomery-911/drop/montgomery-911.csv")).unwrap();
    let calls = text.lines().filter(|line| line.contains(",2015-12-18 ") && line.contains(",NORRISTOWN,"));
    let (ems, others): (Vec<_>, Vec<_>) = calls.partition(|line| line.contains(",EMS: "));
    assert_eq!(ems.len() as u64, real.busiest.ems_calls);
    assert_eq!((ems.len() + others.len()) as u64, real.busiest.all_calls);
}

#[test]
fn conflicts_are_in_the_registers() {
    let Some((_folder, real)) = real() else { return };
    let open =
        |member| Connection::open(&real.sources.iter().find(|s| s.member == member).unwrap().path).unwrap();
    let (a, b) = (open("febrl-a"), open("febrl-b"));
    let one = |db: &Connection, sql: &str, id: &str| -> Option<String> {
        db.query_row(sql, [id], |row| row.get(0)).unwrap()
    };
    let conflict = real.conflicting.iter().find(|conflict| conflict.fields.contains(&"birth_date")).unwrap();
    let (in_a, in_b) = (
        one(&a, "select birth_dt from enrolment where ssid = ?", &conflict.id),
        one(&b, "select DOB from CLIENT where SSN_NO = ?", &conflict.id),
    );
    assert!(in_a.is_some() && in_b.is_some() && in_a != in_b, "{in_a:?} {in_b:?}");
    let missing = real.only_in_a.first().unwrap();
    assert_eq!(one(&b, "select count(*) || '' from CLIENT where SSN_NO = ?", missing), Some("0".to_owned()));
    assert_eq!(one(&a, "select count(*) || '' from enrolment where ssid = ?", missing), Some("1".to_owned()));
}

#[test]
fn missing_files_are_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = attach_real(empty.path(), empty.path()).unwrap_err().to_string();
    assert!(error.contains("montgomery-911.csv"), "{error}");
}
