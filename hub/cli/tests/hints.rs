//! Errors that a newcomer meets first name the next step, before anything is sent.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;

const DRAFT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../adapters/departments/police/contracts/police-street-person.json"
);
const CASE: &str = "0190a5c3-0000-7000-8000-000000000001";

/// Exit code, and what was said to standard error.
fn yiwang(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).current_dir(folder).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_purpose_or_matter_that_the_catalogue_does_not_have_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let query = |purpose: &str| {
        let words =
            ["query", "record", "--folder", "s", "--app", "desk", "--case", CASE, "--purpose", purpose];
        yiwang(folder.path(), &words)
    };
    let (code, said) = query("social-assistance.eligiblity");
    assert!(code == 2 && said.contains("did you mean `social-assistance.eligibility`?"), "{code}: {said}");
    let (code, said) = query("quite.another-thing-altogether");
    assert!(code == 2 && said.contains("the catalogue has ") && said.contains("birth.one-stop"), "{said}");
    // One that it has gets further, to the folder that is not there.
    let (code, said) = query("social-assistance.eligibility");
    assert!(code == 2 && !said.contains("catalogue"), "{code}: {said}");
    assert!(said.contains("s/member.toml") && said.contains("yiwang member init --folder"), "{said}");
    let open = ["case", "open", "--folder", "s", "--app", "desk", "--matter", "social-asistance"];
    let (code, said) = yiwang(folder.path(), &[&open[..], &["--subject", "x"]].concat());
    assert!(code == 2 && said.contains("did you mean `social-assistance`?"), "{code}: {said}");
}

#[test]
fn a_contract_says_what_stays_of_the_draft_and_who_has_to_sign() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| yiwang(folder.path(), arguments);
    let (code, said) = run(&["contract", "new", DRAFT, "-o", "text.json"]);
    assert_eq!(code, 0, "{said}");
    for part in ["--provider-root", "--consumer-root", "--valid-from", "--valid-until", "approver"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said) = run(&["contract", "publish", "--folder", "m", "text.json"]);
    assert!(code == 2 && said.contains("yiwang contract sign --folder DIR text.json"), "{code}: {said}");
    for (dir, id) in [("m", "police"), ("s", "street-office")] {
        assert_eq!(run(&["member", "init", "--folder", dir, "--id", id, "--name", id]).0, 0);
    }
    let root = |dir: &str| {
        let shown = Command::new(env!("CARGO_BIN_EXE_yiwang"))
            .args(["member", "show", "--folder", dir])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let line = shown.lines().find(|line| line.starts_with("root")).unwrap().to_owned();
        line.split_whitespace().last().unwrap().to_owned()
    };
    let (provider, consumer) = (root("m"), root("s"));
    let new = ["contract", "new", DRAFT, "-o", "text.json", "--provider-root", &provider];
    let (code, said) = run(&[&new[..], &["--consumer-root", &consumer]].concat());
    assert!(code == 0 && !said.contains("-root") && said.contains("--valid-from"), "{code}: {said}");
    let (code, said) = run(&["contract", "sign", "--folder", "m", "text.json", "-o", "half.json"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&["contract", "publish", "--folder", "m", "half.json"]);
    assert!(code == 1 && said.contains("`street-office` signs it"), "{code}: {said}");
}
