//! The demo is a test of everything: it exits with 0 only if every step did what it says.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::Command;

fn run(arguments: &[&str]) -> (bool, String) {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_yiwang"));
    let output = command.args(arguments).current_dir(place.path()).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn the_demo_does_what_it_says() {
    // In a folder that is named from here: the city's processes run elsewhere.
    let (good, text) = run(&["demo", "--once", "--scale", "0.001", "--keep", "city/town"]);
    assert!(good, "{text}");
    for word in [
        "conflict(",
        "withheld(officer_signature_required",
        "withheld(approvals_required",
        "✓ neither her id nor the value",
        "unavailable(provider_unavailable",
        "NOT CLEAN",
    ] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
}

#[test]
fn the_demo_carries_real_data() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let folder = std::env::var("YIWANG_TEST_DATA").unwrap_or_else(|_| default.to_owned());
    let data = std::path::Path::new(&folder).join("data");
    if !data.is_dir() {
        println!("skipped: no test data");
        return;
    }
    let (good, text) = run(&["demo", "--once", "--scale", "0.001", "--data", data.to_str().unwrap()]);
    assert!(good, "{text}");
    assert!(text.contains("NORRISTOWN") && text.contains("4561 persons in both"), "{text}");
}
