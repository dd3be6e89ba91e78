//! `quarantine`: what CSV folders hold back is listed, shown, dropped with a trace and taken in, also beside a host that runs.

use crate::commands::call;
use crate::operate::{around, shown};
use crate::town::{Host, adapter_config, surroundings, write_config};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yiwang_adapter::command::{CONFIG, ENVIRONMENT, FAILED, OK};
use yiwang_tests::scene::Scene;

#[tokio::test]
async fn what_a_folder_holds_back_is_listed_and_goes_when_it_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(yiwang_tests::departments().join("real/montgomery-911/mapping.toml"))
        .unwrap();
    let mapping = dir.path().join("mapping.toml");
    std::fs::write(&mapping, text.replace("{ env = \"MONTGOMERY_CSV\" }", "\".\"")).unwrap();
    let header = "lat,lng,desc,zip,title,timeStamp,twp,addr,e\n";
    let good = "1.5,2.5,d,19000,EMS: X,2015-12-10 17:10:52,NEW HANOVER,A ST,1\n";
    let bad = "hunter2,2.5,d,19000,EMS: X,2015-12-10 17:10:52,NEW HANOVER,A ST,1\n";
    let file = dir.path().join("montgomery-911-1.csv");
    std::fs::write(&file, format!("{header}{good}{bad}")).unwrap();
    let path = shown(&mapping);
    let (code, said) = call(&["quarantine", "list", "--mapping", &path], around(&[])).await;
    assert!(
        code == FAILED && said.contains("1 held back") && said.contains("montgomery-911-1.csv: 1"),
        "{said}"
    );
    let (code, said) =
        call(&["quarantine", "show", "montgomery-911-1.csv", "--mapping", &path], around(&[])).await;
    assert!(code == FAILED && said.contains("line 3: column `lat` is not a number"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    // Whoever mistypes a name is told what there is.
    let (code, said) = call(&["quarantine", "show", "montgomery.csv", "--mapping", &path], around(&[])).await;
    assert!(code == CONFIG && said.contains("A-QUA-004 no folder has a file `montgomery.csv`"), "{said}");
    assert!(said.contains("help: there are: montgomery-911-1.csv"), "{said}");
    let mistyped = ["quarantine", "show", "montgomery-911.csv", "--mapping", &path, "-o", "json"];
    let (code, said) = call(&mistyped, around(&[])).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    let error = json["error"].as_str().unwrap();
    assert!(code == CONFIG && error.contains("did you mean `montgomery-911-1.csv`?"), "{said}");
    let (_, said) = call(&["quarantine", "list", "--mapping", &path, "-o", "json"], around(&[])).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&json[0]["count"], &json[0]["rows"][0]["line"]),
        (&Value::from(1), &Value::from(3)),
        "{said}"
    );
    std::fs::write(&file, format!("{header}{good}")).unwrap();
    let (code, said) = call(&["quarantine", "list", "--mapping", &path], around(&[])).await;
    assert!(code == OK && said.contains("0 held back"), "{said}");
    // A file that is sound is there.
    let (code, said) =
        call(&["quarantine", "show", "montgomery-911-1.csv", "--mapping", &path], around(&[])).await;
    assert!(code == OK && said.contains("nothing of `montgomery-911-1.csv`"), "{said}");
}

#[tokio::test]
async fn a_source_without_a_folder_is_said_to_hold_nothing_back() {
    let path = shown(&yiwang_tests::departments().join("police/person.toml"));
    let ask = async |command: &[&str]| {
        call(&[&["quarantine"], command, &["--mapping", &path]].concat(), around(&[])).await
    };
    let (code, said) = ask(&["list"]).await;
    assert!(code == OK && said.contains("police.person: its source is no CSV folder"), "{said}");
    let (code, said) = ask(&["list", "-o", "json"]).await;
    assert_eq!((code, said.trim()), (OK, "[]"));
    let (code, said) = ask(&["show", "a.csv"]).await;
    assert!(code == CONFIG && said.contains("none of these mappings reads a CSV folder"), "{said}");
}

const MAPPING: &str = r#"format = "adapter/1"
mapping = "police.files"
record = "Person"
owner = "police"
[source.csv]
folder = "files"
files = "*.csv"
encoding = "utf-8"
time_zone = "Asia/Shanghai"
health = { every = "1s" }
[source.csv.columns]
ID = "string"
NAME = "string"
AMOUNT = "integer"
SEEN = "timestamp"
[[operation]]
name = "person.by_file"
kind = "lookup"
subject = "id"
params.id = { type = "string", pattern = "[0-9]{17}[0-9X]" }
where = { ID = ":id" }
limit = 1
timeout = "2s"
[operation.fields]
name = { from = "NAME", type = "string" }
as_of = { from = "SEEN", type = "timestamp", required = true }
"#;

/// A mapping and its folder with two rows that do not fit.
pub(crate) fn files(dir: &Path) -> PathBuf {
    std::fs::create_dir(dir.join("files")).unwrap();
    let row = |id: u32, amount: &str| format!("98010119900101{id:04},canary,{amount},2026-11-03 08:00:00\n");
    let rows = [row(1, "1"), row(2, "much"), row(3, "many")].concat();
    std::fs::write(dir.join("files/a.csv"), format!("ID,NAME,AMOUNT,SEEN\n{rows}")).unwrap();
    let file = dir.join("files.toml");
    std::fs::write(&file, MAPPING).unwrap();
    file
}

#[tokio::test]
async fn what_is_held_back_is_dropped_with_a_trace_and_taken_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = files(dir.path());
    let path = shown(&file);
    let ask = async |command: &[&str]| {
        let (code, said) =
            call(&[&["quarantine"], command, &["--mapping", &path]].concat(), around(&[])).await;
        assert!(!said.contains("canary") && !said.contains("much"), "{said}");
        (code, said)
    };
    let (code, said) = ask(&["drop", "a.csv", "--line", "3", "--reason", "made by the vendor's test"]).await;
    assert!(code == OK && said.contains("line 3: dropped\n  1 row of it is sound"), "{said}");
    let (code, said) = ask(&["list"]).await;
    assert!(code == FAILED && said.contains("1 held back\n  a.csv: 1\n  dropped: a.csv, line 3, "), "{said}");
    assert!(
        said.contains(
            ": made by the vendor's test\n    was held back because: column `AMOUNT` is not a whole number"
        ),
        "{said}"
    );
    // What is wrong is told, and nothing is changed.
    for (asked, code, word) in [
        (&["drop", "a.csv", "--line", "2", "--reason", "x"][..], FAILED, "A-QUA-003"),
        (&["drop", "b.csv", "--reason", "x"], CONFIG, "A-QUA-004"),
        (&["retry", "b.csv"], CONFIG, "A-QUA-004"),
    ] {
        let (found, said) = ask(asked).await;
        assert!(found == code && said.contains(word), "{asked:?} {said}");
    }
    let (code, said) = ask(&["retry", "b.csv", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert!(code == CONFIG && json["error"].as_str().unwrap().starts_with("A-QUA-004 "), "{said}");
    let (code, said) = ask(&["retry", "a.csv", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json[0]["rows"][0]["became"]), (FAILED, &Value::from("stays dropped")), "{said}");
    assert_eq!(json[0]["rows"][1]["reason"], "column `AMOUNT` is not a whole number", "{said}");
    std::fs::write(
        &file,
        std::fs::read_to_string(&file).unwrap().replace("AMOUNT = \"integer\"", "AMOUNT = \"string\""),
    )
    .unwrap();
    let (code, said) = ask(&["retry", "a.csv"]).await;
    assert!(code == OK && said.contains("line 3: taken in\n  3 rows of it are sound"), "{said}");
    let (code, said) = ask(&["show", "a.csv", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json[0]["count"]), (OK, &Value::from(0)), "{said}");
    assert!(json[0]["dropped"][0]["taken_in"]["by"].is_string(), "{said}");
    std::fs::remove_dir_all(dir.path().join("files")).unwrap();
    let (code, said) = ask(&["retry", "a.csv"]).await;
    assert!(code == ENVIRONMENT && said.contains("A-QUA-002"), "{said}");
}

#[test]
fn a_reason_is_required_and_is_one_line() {
    use clap::Parser as _;
    let long = "x".repeat(201);
    for reason in [None, Some(""), Some("  "), Some("a\nb"), Some(long.as_str())] {
        let mut line = vec!["adapter", "quarantine", "drop", "a.csv", "--mapping", "m.toml"];
        line.extend(reason.into_iter().flat_map(|reason| ["--reason", reason]));
        assert!(crate::commands::Program::try_parse_from(line).is_err(), "{reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_host_leaves_out_what_was_dropped_without_a_restart() {
    let mut scene = Scene::new(163).await;
    scene.adapter.take().unwrap().stop().await;
    scene.police.mappings = vec![files(scene.world.dir.path())];
    let config = shown(&write_config(&scene.police, &adapter_config(&scene.police)));
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    let at = host.addresses.health.unwrap().to_string();
    let ask = async |command: &[&str]| {
        let line = [command, &["--config", &config, "--at", &at]].concat();
        call(&line, surroundings(&scene.world, &scene.police)).await
    };
    let (code, said) = ask(&["status"]).await;
    assert!(code == FAILED && said.contains("2 rows or files are held back"), "{said}");
    let (code, said) = ask(&["quarantine", "drop", "a.csv", "--reason", "made by a test"]).await;
    assert!(code == OK && said.contains("the running host serves this mapping"), "{said}");
    let mut last = String::new();
    for _ in 0..600 {
        let (code, said) = ask(&["status"]).await;
        last = said;
        if code == OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(last.contains(", 0 held back"), "{last}");
    host.stop().await;
    let (code, said) = ask(&["quarantine", "retry", "a.csv"]).await;
    assert!(code == FAILED && said.contains("no host answers"), "{said}");
}
