//! The commands of whoever keeps a host running: `call`, `fmt`, `status`, `diff`, `run --dry-run`.

use crate::as_json::told;
use crate::commands::call;
use crate::reload::{PASS, bus_pass};
use crate::schema::mappings;
use crate::town::{Host, adapter_config, surroundings, write_config};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter::command::{CONFIG, ENVIRONMENT, FAILED, OK};
use yiwang_adapter::run::Surroundings;
use yiwang_proto::ambient::{SystemClock, SystemEntropy};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_tests::member::Settings;
use yiwang_tests::scene::Scene;

pub(crate) fn around(settings: &[(&str, &str)]) -> Surroundings {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Surroundings {
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        environment: Arc::new(Settings(settings.collect())),
    }
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn a_call_shows_how_each_field_came_about_and_no_value_of_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let city = yiwang_city::build(yiwang_city::CityPlan { seed: 7, scale: 0.0005 }, dir.path()).unwrap();
    let mother = city.household().mother;
    let paths: Vec<(String, String)> =
        city.sources().iter().map(|one| (one.variable.to_owned(), shown(&one.path))).collect();
    let settings: Vec<(&str, &str)> =
        paths.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    let police = yiwang_tests::departments().join("police");
    let mapping = shown(&police.join("person.toml"));
    let under = format!("contract:{}", shown(&police.join("contracts/police-street-person.json")));
    let id = format!("id={}", mother.id);
    let asked = ["call", "person.by_id", &id, "--mapping", &mapping, "--as", &under];
    let (code, said) = call(&asked, around(&settings)).await;
    assert_eq!(code, OK, "{said}");
    for line in [
        "a draft, which nobody has signed",
        "  read: CSRQ, GXSJ, JZ, SFZH4, XB, XM, XZQH",
        "    name: XM \"",
        " → trim \"",
        " → nfc \"",
        "(class 2)",
        "not granted by the contract: id_number, area_code, nationality",
        "1 record;",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let (surname, _) = mother.name.split_at(mother.name.chars().next().unwrap().len_utf8());
    assert!(said.contains(&format!("\"{surname}•")) && !said.contains(&mother.name), "{said}");
    assert!(!said.contains(&mother.id) && !said.contains(&mother.id[14..]), "{said}");
    let (code, said) = call(&[&asked[..], &["-o", "json"]].concat(), around(&settings)).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &json["records"], &json["in_force"]),
        (OK, &Value::from(1), &Value::Bool(false)),
        "{said}"
    );
    assert_eq!(json["shown"][0][0]["name"], "alive");
    assert_eq!(json["answered"], true);
    // A code that nobody listed: not the field alone, the whole answer fails, and that is said.
    let text = std::fs::read_to_string(police.join("person.toml")).unwrap();
    let short = text.replace("\"2\" = \"female\"\n", "");
    assert_ne!(short, text);
    let path = dir.path().join("short.toml");
    std::fs::write(&path, short).unwrap();
    let mapping_of_less = shown(&path);
    let asked = ["call", "person.by_id", &id, "--mapping", &mapping_of_less, "--as", &under];
    let (code, said) = call(&asked, around(&settings)).await;
    let lines =
        ["is not in codes.sex", "record 1 does not hold because of `sex`", "nothing is answered: 1 of"];
    assert!(code == FAILED && lines.iter().all(|line| said.contains(line)), "{said}");
    refusals(&mapping, &under, &id, &settings).await;
}

/// What is wrong with a call is told without the value.
async fn refusals(mapping: &str, under: &str, id: &str, settings: &[(&str, &str)]) {
    let asked = ["call", "person.by_id", id, "--mapping", mapping, "--as", under];
    let police = yiwang_tests::departments().join("police");
    // Nobody, and whom the contract's rows leave out.
    let (code, said) = call(
        &["call", "person.by_id", "id=980101190001010008", "--mapping", mapping, "--as", under],
        around(settings),
    )
    .await;
    assert!(code == FAILED && said.contains("the contract's rows let out: area_code"), "{said}");
    // What is wrong is told without the value.
    let refused = async |arguments: &[&str], code: u8, words: &[&str]| {
        let (found, said) = call(arguments, around(settings)).await;
        assert!(found == code && words.iter().all(|word| said.contains(word)), "{words:?} {said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    let with = |operation: &'static str, argument: &'static str| {
        ["call", operation, argument, "--mapping", mapping, "--as", under].map(str::to_owned)
    };
    for (operation, argument, code, words) in [
        ("person.by_ids", "id=hunter2", CONFIG, &["A-CAL-002", "did you mean `person.by_id`?"][..]),
        ("person.by_id", "idd=hunter2", CONFIG, &["A-CAL-005", "did you mean `id`?"]),
        ("person.by_id", "id=hunter2", CONFIG, &["A-CAL-007", "does not match its pattern"]),
        ("person.by_id", "hunter2", CONFIG, &["A-CAL-005", "NAME=VALUE"]),
    ] {
        let arguments = with(operation, argument);
        refused(&arguments.each_ref().map(String::as_str), code, words).await;
    }
    // A number that was mistyped is told before the source is opened; one that was issued so is looked up.
    let mistyped = with("person.by_id", "id=980101190001010004");
    let mistyped = mistyped.each_ref().map(String::as_str);
    let (code, said) = call(&mistyped, around(&[])).await;
    assert!(code == CONFIG && said.contains("A-CAL-008 `id` has the form of a resident id"), "{said}");
    assert!(said.contains("--as-issued") && !said.contains("980101190001010004"), "{said}");
    let (code, said) = call(&[&mistyped[..], &["--as-issued"]].concat(), around(settings)).await;
    assert!(code == FAILED && said.contains("the contract's rows let out: area_code"), "{said}");
    let other = format!("contract:{}", shown(&police.join("contracts/police-street-residence.json")));
    refused(
        &["call", "person.by_id", id, "--mapping", mapping, "--as", &other],
        FAILED,
        &["A-CAL-004", "is about `Residence`"],
    )
    .await;
    let (code, said) = call(&asked, around(&[])).await;
    assert!(code == ENVIRONMENT && said.contains("A-CAL-006"), "{said}");
}

#[tokio::test]
async fn files_are_put_into_one_form_and_say_what_they_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    mappings(&yiwang_tests::departments(), &mut files);
    for (at, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).unwrap();
        // As somebody in a hurry writes.
        let wild = text.replace(" = ", "=").replace("\n[[test]]", "\n\n\n\n[[ test ]]");
        let copy = dir.path().join(format!("{at}.toml"));
        std::fs::write(&copy, &wild).unwrap();
        let path = shown(&copy);
        let (code, said) = call(&["fmt", "--check", &path], around(&[])).await;
        assert!(code == FAILED && said.contains("is in another form"), "{said}");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), wild);
        let (code, said) = call(&["fmt", &path], around(&[])).await;
        assert_eq!(code, OK, "{said}");
        let formed = std::fs::read_to_string(&copy).unwrap();
        let said = |text: &str| toml::from_str::<toml::Table>(text).unwrap();
        assert_eq!(said(&formed), said(&wild));
        let comments = |text: &str| {
            text.lines()
                .filter_map(|line| line.split_once("# "))
                .map(|(_, said)| said.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(comments(&formed), comments(&wild), "{formed}");
        let (code, said) = call(&["fmt", "--check", &path], around(&[])).await;
        assert_eq!((code, said.as_str()), (OK, ""), "{formed}");
    }
    let broken = dir.path().join("broken.toml");
    std::fs::write(&broken, "a = \n").unwrap();
    let (code, said) = call(&["fmt", &shown(&broken)], around(&[])).await;
    assert!(code == CONFIG && said.contains("A-FMT-001"), "{said}");
    assert_eq!(std::fs::read_to_string(&broken).unwrap(), "a = \n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_asked_how_it_does_and_how_it_differs_from_its_files() {
    let mut scene = Scene::new(161).await;
    scene.adapter.take().unwrap().stop().await;
    let text = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    let file = scene.world.dir.path().join("person.toml");
    std::fs::write(&file, &text).unwrap();
    scene.police.mappings = vec![file.clone()];
    let config = write_config(&scene.police, &adapter_config(&scene.police));
    let config = shown(&config);
    dry_run(&scene).await;
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let at = host.addresses.health.unwrap().to_string();
    let ask = async |command: &[&str]| {
        call(
            &[command, &["--config", &config, "--at", &at]].concat(),
            surroundings(&scene.world, &scene.police),
        )
        .await
    };
    let (code, said) = ask(&["status"]).await;
    assert_eq!(code, OK, "{said}");
    for line in
        ["healthy\n", "adapter main: link up", "days left", "  ✓ person.by_id: asked 1, failed 0, p50 "]
    {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let (code, said) = ask(&["diff"]).await;
    assert!(code == OK && said.contains(": as it serves"), "{said}");
    // A changed file differs, until the host has taken it up.
    std::fs::write(&file, text.replace("timeout = \"2s\"", "timeout = \"1s\"")).unwrap();
    let (code, said) = ask(&["diff"]).await;
    assert_eq!(code, FAILED, "{said}");
    assert!(
        said.contains(
            "  - operation.`person.by_id`.timeout_ms = 2000\n  + operation.`person.by_id`.timeout_ms = 1000\n"
        ),
        "{said}"
    );
    for _ in 0..600 {
        if ask(&["diff"]).await.0 == OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&["diff"]).await.0, OK);
    // A broken one is a worry.
    std::fs::write(&file, text.replace("timeout = \"2s\"", "timeuot = \"2s\"")).unwrap();
    let (code, said) = ask(&["diff"]).await;
    assert!(code == CONFIG && said.contains("does not hold"), "{said}");
    for _ in 0..600 {
        if ask(&["status"]).await.0 == FAILED {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, said) = ask(&["status", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["state"]), (FAILED, &Value::from("degraded")), "{said}");
    assert!(json["worries"][0].as_str().unwrap().contains("unknown key `timeuot`"), "{said}");
    host.stop().await;
    let (code, said) = ask(&["status"]).await;
    assert!(code == ENVIRONMENT && said.starts_with("A-DOR-003"), "{said}");
    let (code, said) = call(&["status", "--config", &config], around(&[])).await;
    assert!(code == CONFIG && said.starts_with("A-DOR-002"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_failed_says_when_and_why_and_no_value() {
    let mut scene = Scene::new(166).await;
    scene.adapter.take().unwrap().stop().await;
    let text = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    let file = scene.world.dir.path().join("person.toml");
    // The mapping holds, since its own tests have this name; the mother has another, and without one there is no record.
    let name = "steps = [\"trim\", \"nfc\"], required = true";
    let strict = text.replace(name, &format!("{name}, check = \"value == '云甲'\""));
    assert_ne!(strict, text);
    std::fs::write(&file, strict).unwrap();
    scene.police.mappings = vec![file];
    let config = shown(&write_config(&scene.police, &adapter_config(&scene.police)));
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "source_error");
    let at = host.addresses.health.unwrap().to_string();
    let ask = async |more: &[&str]| {
        let status = ["status", "--config", &config, "--at", &at];
        call(&[&status[..], more].concat(), surroundings(&scene.world, &scene.police)).await
    };
    let (code, said) = ask(&[]).await;
    // One record that does not hold is the source's to mend; the host does well.
    assert!(code == OK && said.starts_with("healthy\n"), "{said}");
    let last = "source_error: police.person: person.by_id: required field `name` does not pass its check\n";
    let mut lines = said.split_inclusive('\n').skip_while(|line| !line.contains("asked 1, failed 1, "));
    let told = lines.nth(1).unwrap_or_default();
    assert!(told.starts_with("    last failed 2") && told.ends_with(last), "{said}");
    assert!(!said.contains(&scene.mother), "{said}");
    let (code, said) = ask(&["-o", "json"]).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    let one = &json["status"]["sources"][0]["operations"][0];
    assert_eq!((code, &one["last_failure"]["code"]), (OK, &Value::from("source_error")), "{said}");
    let told_at = one["last_failure"]["at"].as_str().unwrap();
    assert!(yiwang_proto::time::parse_rfc3339(told_at).is_ok(), "{said}");
    host.stop().await;
}

/// Without a hub: what would be announced, and nothing journalled.
async fn dry_run(scene: &Scene) {
    let journal = scene.police.folder.path().join("dry");
    let dry = write_config(&scene.police, &adapter_config(&scene.police).replace("\"journal\"", "\"dry\""));
    let (code, said) =
        call(&["run", "--dry-run", "--config", &shown(&dry)], surroundings(&scene.world, &scene.police))
            .await;
    assert_eq!(code, OK, "{said}");
    assert!(
        said.contains("adapter `main` of `police` would announce\n  person.by_id of Person, mapping "),
        "{said}"
    );
    assert!(said.ends_with("nothing was sent\n") && !journal.exists(), "{said}");
    let config = shown(&write_config(&scene.police, &adapter_config(&scene.police)));
    // A contract by its id, once the folder keeps it.
    let (id, contract) = (format!("id={}", scene.mother), &scene.contract);
    let under = format!("contract:{}", contract.text.id);
    let asked = ["call", "person.by_id", &id, "--config", &config, "--as", &under];
    let (code, said) = call(&asked, surroundings(&scene.world, &scene.police)).await;
    assert!(
        code == CONFIG && said.contains("A-CAL-003") && said.contains("there are none: `yiwang "),
        "{said}"
    );
    let view = scene.world.hub().hub.ledger.views().contract(&contract.text.id).unwrap();
    let document = SignedDocument::parse(view.document.clone(), CONTRACT_MAX).unwrap();
    scene.police.folder.save_contract(contract, &document).unwrap();
    let (code, said) = call(&asked, surroundings(&scene.world, &scene.police)).await;
    assert!(code != CONFIG && !said.contains("A-CAL"), "{said}");
    let mistyped = format!("{under}x");
    let asked = ["call", "person.by_id", &id, "--config", &config, "--as", &mistyped];
    let (code, said) = call(&asked, surroundings(&scene.world, &scene.police)).await;
    assert!(code == CONFIG && said.contains(&format!("did you mean `{}`?", contract.text.id)), "{said}");
    let_out(scene, &config).await;
    let kept = scene.police.folder.path().join("contracts").join(format!("{}.json", contract.text.id));
    std::fs::remove_file(kept).unwrap();
}

/// What a contract that the folder keeps would let out, for people and for programs.
async fn let_out(scene: &Scene, config: &str) {
    let asked = ["run", "--dry-run", "--config", config];
    let around = || surroundings(&scene.world, &scene.police);
    let (code, said) = call(&asked, around()).await;
    let id = &scene.contract.text.id;
    let lines = "Z\n  person.by_id: at most 1 record of\n    birth_date, class 2\n    name, class 2\nnothing was sent\n";
    assert!(code == OK && said.ends_with(lines), "{said}");
    assert!(said.contains(&format!("\ncontract `{id}` version 1, for `street-office`, until ")), "{said}");
    let (code, json) = told(&[&asked[..], &["-o", "json"]].concat(), around()).await;
    assert_eq!((code, &json["ok"], &json["exit"]), (OK, &json!(true), &json!(OK)), "{json}");
    assert_eq!((&json["adapter"], &json["member"]), (&json!("main"), &json!("police")), "{json}");
    let source = &json["sources"][0];
    assert_eq!(
        (&source["mapping"], &source["record"]),
        (&json!("police.person"), &json!("Person")),
        "{json}"
    );
    assert_eq!(
        (&source["operations"], &source["trouble"]),
        (&json!(["person.by_id"]), &Value::Null),
        "{json}"
    );
    assert!(said.contains(&source["sha256"].as_str().unwrap()[..16]), "{json}");
    let contract = &json["contracts"][0];
    assert_eq!(
        (&contract["contract"], &contract["state"]),
        (&json!(id.as_str()), &json!("in_force")),
        "{json}"
    );
    let field =
        |name: &str| json!({ "field": name, "mapped": true, "class": 2, "sealed": false, "needs": null });
    let operation = json!({
        "operation": "person.by_id",
        "served": true,
        "records_max": 1,
        "fields": [field("birth_date"), field("name")],
        "clauses": [],
    });
    assert_eq!(contract["operations"], json!([operation]), "{json}");
}

#[tokio::test]
async fn tests_and_mappings_are_told_as_json_too() {
    let mapping = yiwang_tests::departments().join("police/person.toml");
    let dir = tempfile::tempdir().unwrap();
    let failing = dir.path().join("failing.toml");
    let text = std::fs::read_to_string(&mapping).unwrap();
    std::fs::write(&failing, text.replace("sex = \"male\"", "sex = \"female\"")).unwrap();
    let (code, said) = call(&["test", &shown(&mapping), &shown(&failing), "-o", "json"], around(&[])).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &json["failed"], &json["ok"]),
        (FAILED, &Value::from(1), &Value::Bool(false)),
        "{said}"
    );
    assert!(
        json["files"][1]["tests"][0]["failure"].is_string() && json["files"][0]["error"].is_null(),
        "{said}"
    );
    let (code, said) = call(&["show", &shown(&mapping), "-o", "json"], around(&[])).await;
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &json["record"], &json["codes"]["sex"]["unknown"]),
        (OK, &"Person".into(), &"fail".into()),
        "{said}"
    );
}

/// What members added to the catalogue says how far a value is shown, as it says how a contract lets it out.
#[tokio::test]
async fn a_record_type_that_members_added_masks_what_a_call_shows() {
    let dir = tempfile::tempdir().unwrap();
    let city = yiwang_city::build(yiwang_city::CityPlan { seed: 7, scale: 0.0005 }, dir.path()).unwrap();
    let paths: Vec<(String, String)> =
        city.sources().iter().map(|one| (one.variable.to_owned(), shown(&one.path))).collect();
    let settings: Vec<(&str, &str)> =
        paths.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    let [mapping, pass, contract] =
        ["pass.toml", "bus-pass.json", "contract.json"].map(|name| dir.path().join(name));
    std::fs::write(&mapping, PASS).unwrap();
    std::fs::write(&pass, bus_pass()).unwrap();
    let person = yiwang_tests::departments().join("police/contracts/police-street-person.json");
    let mut text: Value = serde_json::from_slice(&std::fs::read(person).unwrap()).unwrap();
    for (key, value) in [
        ("record", serde_json::json!("BusPass")),
        ("operations", serde_json::json!(["pass.by_id"])),
        ("fields", serde_json::json!(["in_force"])),
        ("rows", serde_json::json!([])),
    ] {
        text.as_object_mut().unwrap().insert(key.to_owned(), value);
    }
    std::fs::write(&contract, text.to_string()).unwrap();
    let (id, under) =
        (format!("id={}", city.household().mother.id), format!("contract:{}", shown(&contract)));
    let (mapping, pass) = (shown(&mapping), shown(&pass));
    let asked = ["call", "pass.by_id", &id, "--mapping", &mapping, "--as", &under];
    let (code, said) = call(&asked, around(&settings)).await;
    assert!(code == OK && said.contains("(class 4)"), "nobody knows it: {said}");
    let (code, said) = call(&[&asked[..], &["--record-type", &pass]].concat(), around(&settings)).await;
    assert!(code == OK && said.contains("(class 2)"), "{said}");
    let (code, said) = call(&[&asked[..], &["--record-type", &mapping]].concat(), around(&settings)).await;
    assert!(code == CONFIG && said.contains("A-CAL-009") && said.contains("pass.toml"), "{said}");
}

#[tokio::test]
async fn a_shell_can_complete_the_commands() {
    let (code, said) = call(&["completions", "bash"], around(&[])).await;
    assert_eq!(code, OK, "{said}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("completions");
    std::fs::write(&file, said).unwrap();
    // As a shell uses it: what begins with `qu`, and what follows `quarantine`.
    let script = format!(
        "source {}; named=$(complete -p yiwang-adapter); named=${{named##*-F }}; named=${{named%% *}}; for line in 'qu' 'quarantine sh'; do COMP_WORDS=(yiwang-adapter $line); \
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         $named yiwang-adapter \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         echo \"${{COMPREPLY[@]}}\"; done",
        shown(&file)
    );
    let done = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "quarantine\nshow\n", "{done:?}");
}
