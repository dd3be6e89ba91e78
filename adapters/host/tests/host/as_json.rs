//! What commands say with `-o json`: one line, the exit codes of the text, refusals too.

use crate::commands::{Program, call};
use crate::init::sqlite;
use crate::operate::{around, shown};
use crate::quarantine::files;
use crate::town::gateway_config;
use clap::Parser as _;
use serde_json::{Value, json};
use yiwang_adapter::command::{CONFIG, ENVIRONMENT, FAILED, OK};
use yiwang_adapter::run::Surroundings;

/// One line of JSON, and nothing else.
pub(crate) async fn told(arguments: &[&str], surroundings: Surroundings) -> (u8, Value) {
    let (code, said) = call(arguments, surroundings).await;
    assert_eq!(said.lines().count(), 1, "{said}");
    (code, serde_json::from_str(&said).unwrap())
}

#[tokio::test]
async fn files_that_are_put_into_form_are_told_as_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        shown(&path)
    };
    let good = write("good.toml", "a = 1\n");
    let wild = write("wild.toml", "a=1\n");
    let broken = write("broken.toml", "a = \n");
    let (code, json) = told(&["fmt", "--check", &good, &wild, "-o", "json"], around(&[])).await;
    assert_eq!(code, FAILED, "{json}");
    let other = format!("`{wild}` is in another form");
    let files = json!([
        { "file": good, "state": "same" },
        { "file": wild, "state": "other_form", "message": other },
    ]);
    assert_eq!(json, json!({ "ok": false, "exit": FAILED, "files": files }));
    let (code, json) = told(&["fmt", &wild, &broken, "nobody.toml", "-o", "json"], around(&[])).await;
    assert_eq!((code, &json["exit"]), (CONFIG, &json!(CONFIG)), "{json}");
    assert_eq!(json["files"][0]["state"], "formed", "{json}");
    for (at, word) in [(1, "not TOML"), (2, "cannot be read")] {
        let file = &json["files"][at];
        assert!(file["state"] == "failed" && file["code"] == "A-FMT-001", "{json}");
        assert!(file["message"].as_str().unwrap().contains(word), "{json}");
    }
    let (code, json) = told(&["fmt", &wild, "-o", "json"], around(&[])).await;
    assert_eq!((code, &json["ok"], &json["files"][0]["state"]), (OK, &json!(true), &json!("same")), "{json}");
}

#[tokio::test]
async fn a_dry_run_that_tells_nothing_says_why_as_json_too() {
    let asked = ["run", "--dry-run", "--config", "nowhere.toml", "-o", "json"];
    let (code, json) = told(&asked, around(&[])).await;
    assert_eq!((code, &json["ok"], &json["exit"]), (CONFIG, &json!(false), &json!(CONFIG)), "{json}");
    assert!(json["error"].as_str().unwrap().contains("`nowhere.toml` cannot be read"), "{json}");
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("adapter.toml");
    std::fs::write(&config, gateway_config()).unwrap();
    let config = shown(&config);
    let asked = ["run", "--dry-run", "--config", &config, "-o", "json"];
    let (code, json) = told(&asked, around(&[])).await;
    assert_eq!((code, &json["ok"], &json["adapter"]), (OK, &json!(true), &Value::Null), "{json}");
    assert_eq!((&json["sources"], &json["contracts"]), (&json!([]), &json!([])), "{json}");
    // What a host that runs says is for people and for the log.
    assert!(Program::try_parse_from(["adapter", "run", "-o", "json"]).is_err());
    assert!(Program::try_parse_from(["adapter", "run"]).is_ok());
}

#[tokio::test]
async fn why_there_is_nothing_to_tell_is_told_as_json_too() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        shown(&path)
    };
    let good = write("adapter.toml", &gateway_config());
    let bad = write("bad.toml", &gateway_config().replace("member_folder", "member_foldr"));
    let no_door = write("door.toml", &gateway_config().replace("[health]\nlisten = \"127.0.0.1:0\"\n", ""));
    let broken = write("broken.toml", "format = \"adapter/1\"\nmapping = 1\n");
    let folder = shown(&files(dir.path()));
    let emptied = tempfile::tempdir().unwrap();
    let away = files(emptied.path());
    std::fs::remove_dir_all(emptied.path().join("files")).unwrap();
    let away = shown(&away);
    // A port that was given out and is free again: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut cases = vec![
        ("call a.b id=1 --mapping nowhere.toml --as contract:nowhere.json".to_owned(), CONFIG, "A-CAL-001"),
        ("show nowhere.toml".to_owned(), CONFIG, "`nowhere.toml` cannot be read"),
        (format!("show {bad}"), CONFIG, "member_foldr"),
        (format!("show {broken}"), CONFIG, "broken.toml"),
        (format!("quarantine drop a.csv --line 2 --reason x --mapping {folder}"), FAILED, "A-QUA-003"),
        (format!("quarantine show b.csv --mapping {folder}"), CONFIG, "A-QUA-004"),
        (format!("quarantine retry b.csv --mapping {folder}"), CONFIG, "A-QUA-004"),
    ];
    for command in ["status", "diff"] {
        cases.push((format!("{command} --config nowhere.toml"), CONFIG, "`nowhere.toml` cannot be read"));
        cases.push((format!("{command} --config {bad}"), CONFIG, "member_foldr"));
        cases.push((format!("{command} --config {no_door}"), CONFIG, "A-DOR-001"));
        cases.push((format!("{command} --config {good}"), CONFIG, "A-DOR-002"));
        cases.push((format!("{command} --config {good} --at {nobody}"), ENVIRONMENT, "A-DOR-003"));
    }
    for command in ["list", "show a.csv", "retry a.csv", "drop a.csv --reason x"] {
        let command = format!("quarantine {command}");
        cases.push((format!("{command} --config nowhere.toml"), CONFIG, "`nowhere.toml` cannot be read"));
        cases.push((format!("{command} --config {bad}"), CONFIG, "member_foldr"));
        cases.push((format!("{command} --mapping nowhere.toml"), CONFIG, "A-QUA-001"));
        cases.push((format!("{command} --mapping {broken}"), CONFIG, "broken.toml"));
        cases.push((format!("{command} --mapping {away}"), ENVIRONMENT, "A-QUA-002"));
    }
    for (asked, exit, word) in cases {
        let asked: Vec<&str> = asked.split(' ').collect();
        let (code, said) = call(&asked, around(&[])).await;
        assert!(code == exit && said.contains(word), "{asked:?}: {said}");
        let (code, json) = told(&[&asked[..], &["-o", "json"]].concat(), around(&[])).await;
        assert_eq!(
            (code, &json["ok"], &json["exit"]),
            (exit, &json!(false), &json!(exit)),
            "{asked:?}: {json}"
        );
        assert_eq!(json["error"], said.trim_end(), "{asked:?}");
    }
}

#[tokio::test]
async fn a_proposal_is_told_as_json_too_and_a_written_one_by_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let database = shown(&sqlite(folder.path()));
    let settings = [("REGISTER_DB", database.as_str())];
    let of = ["init", "sqlite", "--env", "REGISTER_DB", "--owner", "police", "--table"];
    let (code, text) = call(&[&of[..], &["T_RY"]].concat(), around(&settings)).await;
    assert_eq!(code, OK, "{text}");
    let asked = [&of[..], &["T_RY", "--output", "json"]].concat();
    let (code, json) = told(&asked, around(&settings)).await;
    assert_eq!((code, &json["ok"], &json["file"]), (OK, &json!(true), &Value::Null), "{json}");
    assert_eq!((&json["mapping"], &json["record"]), (&json!(text), &json!("Person")), "{json}");
    let file = folder.path().join("person.toml");
    let out = shown(&file);
    let written = [&asked[..], &["-o", &out]].concat();
    let (code, json) = told(&written, around(&settings)).await;
    assert_eq!((code, &json["file"], &json["mapping"]), (OK, &json!(out), &Value::Null), "{json}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let (_, said) = call(&[&of[..], &["T_RY", "--force", "-o", &out]].concat(), around(&settings)).await;
    assert!(said.contains(&format!("`, {} line", json["choices"])), "{said}{json}");
    // Why there is none, with the next step.
    let (code, json) = told(&written, around(&settings)).await;
    let error = json["error"].as_str().unwrap();
    assert!(code == CONFIG && error.starts_with("A-INI-007 ") && error.contains("--force"), "{json}");
    let (code, json) = told(&[&of[..], &["t_ri", "--output", "json"]].concat(), around(&settings)).await;
    let error = json["error"].as_str().unwrap();
    assert!(code == CONFIG && error.contains("did you mean `T_RY`?"), "{json}");
    // Shapes of what was read, and no value.
    let sampled = [&written[..], &["--force", "--sample", "10"]].concat();
    let (code, json) = told(&sampled, around(&settings)).await;
    assert_eq!((code, &json["mapping"]), (OK, &Value::Null), "{json}");
    assert!(json["seen"][0].as_str().unwrap().contains("nothing that is sure"), "{json}");
    let said = json.to_string();
    assert!(!said.contains("canary") && !said.contains("19900101"), "{said}");
}
