//! What the project says it resists, held against the tests that are really there: `tests/threats.txt`,
//! `tests/matrix.txt` and the table of `SECURITY.md` name tests, and a name without a test is found here.

use crate::tidy::{is_rust, root, texts};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Threats of `SECURITY.md`.
const THREATS: u8 = 39;
/// Those of them that must have a test whose name begins with their number.
const TESTED: [u8; 26] =
    [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 19, 20, 21, 22, 23, 25, 26, 28, 29, 31, 32, 39];

const PROMISES: [&str; 12] = [
    "1. No contract, no data",
    "2. Decided twice",
    "3. No purpose and case, no query",
    "4. Only granted fields leave the source",
    "5. Recorded before released",
    "6. Nobody can rewrite the ledger unseen",
    "7. No personal data in the ledger or in the hub's storage",
    "8. Revoked means revoked",
    "9. Nothing accepted is lost or done twice",
    "10. One slow or broken department harms nobody else",
    "11. The subject can see",
    "12. What we refuse to build",
];
const PARTIES: [&str; 8] =
    ["stranger", "app", "consumer member", "provider adapter", "hub", "witness", "operator", "auditor"];

/// Names of test functions with the files that hold them.
fn tests() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in texts() {
        if is_rust(&path) {
            for name in tests_of(&text) {
                found.entry(name).or_default().insert(path.clone());
            }
        }
    }
    assert!(found.len() > 500, "{} tests", found.len());
    found
}

/// Functions under a test attribute; further attributes and comments may stand in between.
fn tests_of(text: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((before, rest)) = line.split_once("fn ").filter(|_| is_test) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if ["", "async ", "pub ", "pub async "].contains(&before) {
                names.push(name);
            }
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    names
}

/// The number that a test's name begins with: `t05_...` and `t5_...` are of threat 5.
fn threat_of(name: &str) -> Option<u8> {
    let (number, _) = name.strip_prefix('t')?.split_once('_')?;
    number.parse().ok()
}

fn committed(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// `YIWANG_WRITE_SNAPSHOTS=1` writes the file anew; the difference is then read by whoever reviews it.
#[test]
fn every_threat_has_its_tests_and_the_list_is_the_committed_one() {
    let mut by_threat: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    for (name, files) in tests() {
        if let Some(threat) = threat_of(&name) {
            let places = files.iter().map(|file| format!("{file}::{name}"));
            by_threat.entry(threat).or_default().extend(places);
        }
    }
    let missing: Vec<u8> = TESTED.into_iter().filter(|threat| !by_threat.contains_key(threat)).collect();
    assert!(missing.is_empty(), "no test's name begins with t and one of these numbers: {missing:?}");
    let unknown: Vec<&u8> = by_threat.keys().filter(|threat| !(1..=THREATS).contains(*threat)).collect();
    assert!(unknown.is_empty(), "SECURITY.md knows no threats {unknown:?}");

    let mut list = String::new();
    for threat in 1..=THREATS {
        match by_threat.get(&threat) {
            Some(tests) => tests.iter().for_each(|test| writeln!(list, "T{threat}: {test}").unwrap()),
            None => writeln!(list, "T{threat}: none by this name").unwrap(),
        }
    }
    if std::env::var_os("YIWANG_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(root().join("tests/threats.txt"), &list).unwrap();
    }
    assert!(committed("tests/threats.txt") == list, "tests/threats.txt differs; the list is now:\n{list}");
}

/// Cells of the matrix by promise: party, verdict and what follows it.
fn matrix(text: &str) -> Vec<(String, Vec<[String; 3]>)> {
    let mut promises: Vec<(String, Vec<[String; 3]>)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(cell) = line.strip_prefix("  ") {
            let (party, rest) = cell.split_once("  ").expect("a party stands two blanks before its verdict");
            let (verdict, why) = rest.split_once(':').expect("a verdict is followed by a colon");
            let cells = &mut promises.last_mut().expect("a promise stands before its cells").1;
            cells.push([party, verdict, why].map(|part| part.trim().to_owned()));
        } else {
            promises.push((line.to_owned(), Vec::new()));
        }
    }
    promises
}

#[test]
fn the_matrix_of_promises_and_parties_is_whole_and_names_real_tests() {
    let tests = tests();
    let promises = matrix(&committed("tests/matrix.txt"));
    let names: Vec<&str> = promises.iter().map(|(promise, _)| promise.as_str()).collect();
    assert_eq!(names, PROMISES);
    let mut faults = Vec::new();
    for (promise, cells) in &promises {
        let parties: Vec<&str> = cells.iter().map(|[party, ..]| party.as_str()).collect();
        assert_eq!(parties, PARTIES, "{promise}");
        for [party, verdict, why] in cells {
            let place = format!("{promise} × {party}");
            if why.is_empty() {
                faults.push(format!("{place}: nothing follows `{verdict}`"));
            } else if verdict == "refused" || verdict.starts_with("detected within ") {
                let untrue = why.split(',').map(str::trim).filter(|name| !tests.contains_key(*name));
                faults.extend(untrue.map(|name| format!("{place}: there is no test `{name}`")));
            } else if !["not applicable", "not built yet"].contains(&verdict.as_str()) {
                faults.push(format!("{place}: `{verdict}` is no verdict"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Words in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn security_md_lists_every_threat_and_names_real_tests() {
    let (tests, text) = (tests(), committed("SECURITY.md"));
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| T"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let numbers: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    let wanted: Vec<String> = (1..=THREATS).map(|threat| format!("T{threat}")).collect();
    assert_eq!(numbers, wanted);
    let mut faults = Vec::new();
    for row in &rows {
        let [threat, _, _, named, undefended] = row[..] else {
            panic!("{} has {} cells, not threat, what it is, defence, tests, not defended", row[0], row.len())
        };
        let names = quoted(named);
        if names.is_empty() && !named.contains("no test") {
            faults.push(format!("{threat} names no test and does not say so"));
        }
        if undefended.is_empty() {
            faults.push(format!("{threat} does not say what is not defended"));
        }
        let untrue = names.into_iter().filter(|name| !tests.contains_key(*name));
        faults.extend(untrue.map(|name| format!("{threat}: there is no test `{name}`")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn test_functions_are_told_from_others() {
    // Put together here, so that these are no tests of this file.
    let attribute = ["#[te", "st]"].concat();
    let text = format!(
        "{attribute}\n/// words\n#[cfg(unix)]\nfn one() {{}}\nfn helper() {{}}\n\
         #[tokio::te{}\n    async fn two() {{}}\n{attribute}\nlet x = 1;\nfn three() {{}}\n",
        "st(flavor = \"multi_thread\")]"
    );
    assert_eq!(tests_of(&text), ["one", "two"]);
    assert_eq!(["t05_x", "t3_y", "f09_t24_z", "ten_x"].map(threat_of), [Some(5), Some(3), None, None]);
    assert_eq!(quoted("a `b` and `c`"), ["b", "c"]);
}
