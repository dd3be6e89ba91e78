//! The program: exit codes, both forms of output, reports.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use yiwang_audit::fixture::World;
use yiwang_proto::codes::Code;

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_yiwang-audit")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn folder() -> (World, TempDir, String) {
    folder_with("fields:id_number")
}

/// A ledger with one refusal for this reason.
fn folder_with(clause: &str) -> (World, TempDir, String) {
    let mut world = World::new();
    world.answered();
    let denied = world.exchange().with_fields(&["id_number", "name"]).deny(Code::FieldNotGranted);
    let mut denied = denied;
    denied.entry.clause = clause.to_owned();
    world.record(denied);
    world.answered();
    let folder = TempDir::new().unwrap();
    world.write(folder.path());
    let path = folder.path().to_str().unwrap().to_owned();
    (world, folder, path)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn verify_says_clean_findings_or_unreadable_by_its_exit_code() {
    let (world, folder, path) = folder();
    let key = world.key().to_string();
    let (code, out, err) = run(&["verify", "--ledger", &path, "--key", &key]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("ledger: CLEAN\nas of size 11, root "), "{out}");
    assert!(out.contains("pinned by you") && out.ends_with("findings 0\n"), "{out}");
    let key_file = write(folder.path(), "pinned", key.as_bytes());
    let older = write(folder.path(), "older", world.checkpoint(5).as_bytes());
    let (code, out, _) =
        run(&["verify", "--ledger", &path, "--key", &key_file, "--older", &older, "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["continues"]), (0, &5.into()));
    std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
    let (code, out, _) = run(&["verify", "--ledger", &path]);
    assert_eq!(code, 1);
    assert!(out.starts_with("ledger: NOT CLEAN\n") && out.contains("next, for checkpoint: "), "{out}");
    let (code, out, err) = run(&["verify", "--ledger", "/nonexistent", "--key", &key]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("error: cannot read `/nonexistent/segments`"), "{err}");
    let (code, out, err) = run(&["verify", "--ledger", &path, "--key", &format!("{key}x")]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("error: not a verifier key, nor a file: `") && err.contains("+...`: "), "{err}");
    for wrong in
        [&["verify"][..], &["verify", "--ledger", &path, "--key", "nonsense"], &["verify", "--proof", "x"]]
    {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_hubs_folder_is_told_from_the_ledger_in_it() {
    let world = World::new();
    let hub = TempDir::new().unwrap();
    let ledger = hub.path().join("ledger");
    std::fs::create_dir(&ledger).unwrap();
    world.write(&ledger);
    let path = hub.path().to_str().unwrap();
    for command in ["verify", "fsck", "report", "search"] {
        let (code, out, err) = run(&[command, "--ledger", path]);
        assert_eq!((code, out.as_str()), (2, ""), "{command}: {err}");
        assert!(err.contains(&format!("name `{}`", ledger.display())), "{command}: {err}");
    }
}

#[test]
fn what_cannot_be_written_is_neither_clean_nor_unreadable() {
    let (world, _folder, path) = folder();
    let key = world.key().to_string();
    let verify = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yiwang-audit"));
        command.args(["verify", "--ledger", &path, "--key", &key]);
        command
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = verify().stdout(writer).output().unwrap();
    assert_eq!((unread.status.code(), unread.stderr.as_slice()), (Some(3), &b""[..]));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let unwritten = verify().stdout(full).output().unwrap();
    let said = String::from_utf8(unwritten.stderr).unwrap();
    assert!(unwritten.status.code() == Some(3) && said.contains("cannot write the result"), "{said}");
}

#[test]
fn evidence_and_proofs_are_verified_from_files() {
    let (world, folder, _) = folder();
    let key = world.key().to_string();
    let bundle = write(folder.path(), "bundle.json", &serde_json::to_vec(&world.evidence(8)).unwrap());
    let (code, out, _) = run(&["verify", "--evidence", &bundle, "--key", &key]);
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("evidence: CLEAN\nas of size 11, root "), "{out}");
    let root = format!("police={}", world.provider.next_root.public().to_base64());
    assert_eq!(run(&["verify", "--evidence", &bundle, "--key", &key, "--root", &root]).0, 1);
    assert_eq!(run(&["verify", "--evidence", &bundle]).0, 2, "no key");
    let proof = write(folder.path(), "8.tlog-proof", world.tlog_proof(8).as_bytes());
    let entry = write(folder.path(), "8.entry", &world.entries[8]);
    let (code, out, _) = run(&["verify", "--proof", &proof, "--entry", &entry, "--key", &key]);
    assert_eq!(code, 0, "{out}");
    let entry = write(folder.path(), "9.entry", &world.entries[9]);
    assert_eq!(run(&["verify", "--proof", &proof, "--entry", &entry, "--key", &key]).0, 1);
}

#[test]
fn show_takes_an_entry_apart() {
    let (_, _folder, path) = folder();
    let (code, out, _) = run(&["show", "--ledger", &path, "8"]);
    assert_eq!(code, 0);
    for line in
        ["kind: exchange", "outcome: OUTCOME_ANSWERED", "fields: birth_date name", "contract_index: 6"]
    {
        assert!(out.lines().any(|shown| shown.trim() == line), "`{line}` in {out}");
    }
    for index in 0..11 {
        let (code, out, _) = run(&["show", "--ledger", &path, &index.to_string(), "-o", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &shown["index"]), (0, &index.into()));
        assert!(!out.contains("malformed"), "{out}");
    }
    let (code, _, err) = run(&["show", "--ledger", &path, "11"]);
    assert_eq!(code, 2);
    assert!(err.contains("there is no entry 11: the ledger has 11"), "{err}");
}

#[test]
fn report_lists_filters_and_is_safe_for_spreadsheets() {
    let (_, _folder, path) = folder_with("=HYPERLINK(x)");
    let (code, out, _) = run(&["report", "--ledger", &path]);
    assert_eq!((code, out.lines().count()), (0, 4), "{out}");
    assert!(out.contains("street-office/assistance-desk -> police | contract police-street-person"), "{out}");
    let (_, csv, _) = run(&["report", "--ledger", &path, "-o", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(&rows[1][16], "'=HYPERLINK(x)");
    assert_eq!((&rows[0][13], &rows[1][13]), ("birth_date name", ""));
    let count = |filter: &[&str]| {
        let arguments = [&["report", "--ledger", &path, "-o", "json"], filter].concat();
        let (code, out, err) = run(&arguments);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<Vec<serde_json::Value>>(&out).unwrap().len()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--member", "police"]), 3);
    assert_eq!(count(&["--consumer", "police"]), 0);
    assert_eq!(count(&["--provider", "police", "--contract", "police-street-person"]), 3);
    assert_eq!(count(&["--case", "01a31a5f-a400-7000-8000-000000000001"]), 3);
    assert_eq!(count(&["--case", "01a31a5f-a400-7000-8000-000000000002"]), 0);
    assert_eq!(count(&["--since", "2027-01-15T08:00:41Z"]), 2);
    assert_eq!(count(&["--until", "2027-01-15T08:00:41Z"]), 1);
    assert_eq!(run(&["report", "--ledger", &path, "--since", "yesterday"]).0, 2);
}

#[test]
fn fsck_looks_at_files_only() {
    let (_, folder, path) = folder();
    let (code, out, _) = run(&["fsck", "--ledger", &path]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("no signature was verified"), "{out}");
    let tile = folder.path().join("tile/0/000.p/11");
    std::fs::write(&tile, vec![0; 31]).unwrap();
    let segment = folder.path().join("segments").join(yiwang_journal::segment::file_name(0));
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    std::fs::write(folder.path().join("checkpoint"), "no note").unwrap();
    let (code, out, _) = run(&["fsck", "--ledger", &path, "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let rules: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect();
    assert_eq!(code, 1);
    for rule in ["storage", "tile", "checkpoint"] {
        assert!(rules.contains(&rule), "{rule} in {out}");
    }
}
