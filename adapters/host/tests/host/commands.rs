//! `check`, `test`, `show` and `run` as a department's staff use them.

use crate::town::{Town, adapter_config, gateway_config, surroundings, write_config};
use clap::Parser;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use yiwang_adapter::command::{CONFIG, Command, ENVIRONMENT, FAILED, OK, execute};
use yiwang_adapter::run::Surroundings;
use yiwang_proto::ambient::{Clock, SystemClock, SystemEntropy};
use yiwang_tests::member::Settings;

#[derive(Parser)]
pub(crate) struct Program {
    #[command(subcommand)]
    command: Command,
}

pub(crate) async fn call(arguments: &[&str], surroundings: Surroundings) -> (u8, String) {
    let program = Program::try_parse_from(std::iter::once(&"adapter").chain(arguments)).unwrap();
    let mut out: Vec<u8> = Vec::new();
    let stop = CancellationToken::new();
    let code = execute(program.command, surroundings, stop, &mut out).await.unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn around(settings: Settings) -> Surroundings {
    Surroundings {
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        environment: Arc::new(settings),
    }
}

fn mapping_files(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            mapping_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path.display().to_string());
        }
    }
}

fn departments() -> PathBuf {
    yiwang_tests::departments()
}

fn city_settings(dir: &Path) -> Settings {
    let city = yiwang_city::build(yiwang_city::CityPlan { seed: 7, scale: 0.0005 }, dir).unwrap();
    let more = city.more(dir).unwrap();
    let sources = city.sources().iter().chain(&more.sources);
    Settings(sources.map(|one| (one.variable.to_owned(), one.path.display().to_string())).collect())
}

#[tokio::test]
async fn every_mapping_of_the_departments_passes_its_tests_and_its_check() {
    let dir = tempfile::tempdir().unwrap();
    let settings = city_settings(dir.path());
    let mut all = Vec::new();
    mapping_files(&departments(), &mut all);
    assert!(all.len() >= 13, "{all:?}");
    let mut arguments = vec!["test"];
    arguments.extend(all.iter().map(String::as_str));
    let (code, out) = call(&arguments, around(settings.clone())).await;
    assert_eq!(code, OK, "{out}");
    assert!(out.contains(" 0 failed"), "{out}");
    let mut arguments = vec!["check", "--offline"];
    arguments.extend(all.iter().map(String::as_str));
    let (code, out) = call(&arguments, around(Settings::default())).await;
    assert_eq!(code, OK, "{out}");
    // Live, over the city's databases and folders.
    let mut city = Vec::new();
    for member in ["police", "civil-affairs", "health", "emergency-call", "housing", "urban-management"] {
        mapping_files(&departments().join(member), &mut city);
    }
    // What lies on servers is checked where servers run: `yiwang demo --services`.
    let server = |file: &String| ["/mariadb/", "/postgres/", "/fhir/"].iter().any(|kind| file.contains(kind));
    city.retain(|file| !server(file));
    assert!(city.len() >= 12, "{city:?}");
    let mut arguments = vec!["check"];
    arguments.extend(city.iter().map(String::as_str));
    let (code, out) = call(&arguments, around(settings.clone())).await;
    assert_eq!(code, OK, "{out}");
    let lives = out.lines().filter(|line| line.trim() == "✓ live").count();
    assert_eq!(lives, city.len(), "{out}");
    arguments.extend(["-o", "json"]);
    let (_, out) = call(&arguments, around(settings)).await;
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["ok"], &json["exit"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!(json["sections"].as_array().unwrap().len(), 3 * city.len());
}

#[tokio::test]
async fn the_exit_code_tells_who_must_act() {
    let dir = tempfile::tempdir().unwrap();
    let settings = city_settings(dir.path());
    let person = departments().join("police/person.toml");
    let text = std::fs::read_to_string(&person).unwrap();
    let write = |name: &str, from: &str, to: &str| {
        let path = dir.path().join(name);
        let broken = text.replace(from, to);
        assert_ne!(broken, text);
        std::fs::write(&path, broken).unwrap();
        path.display().to_string()
    };
    let shape = write("shape.toml", "timeout = \"2s\"", "timeuot = \"2s\"");
    let (code, out) = call(&["check", "--offline", &shape], around(settings.clone())).await;
    assert_eq!(code, CONFIG, "{out}");
    let line = text.lines().position(|line| line == "timeout = \"2s\"").unwrap() + 1;
    assert!(out.contains(&format!("shape.toml:{line}:1: unknown key `timeuot`")), "{out}");
    assert!(out.contains("did you mean `timeout`?") && out.contains("^^^^^^^"), "{out}");
    let name = write("name.toml", "alive = ", "alve = ");
    let (code, out) = call(&["check", "--offline", &name], around(settings.clone())).await;
    assert_eq!(code, CONFIG, "{out}");
    assert!(out.contains("did you mean `alive`?"), "{out}");
    let failing = write("failing.toml", "sex = \"male\"", "sex = \"female\"");
    let (code, out) = call(&["test", &failing], around(settings.clone())).await;
    assert_eq!(code, FAILED, "{out}");
    let (code, _) = call(&["check", "--offline", &failing], around(settings.clone())).await;
    assert_eq!(code, FAILED);
    let drifted = write("drifted.toml", "select R.XM, R.XB", "select R.XM, R.XINGBIE as XB");
    let (code, out) = call(&["check", &drifted], around(settings.clone())).await;
    assert_eq!(code, ENVIRONMENT, "{out}");
    let person = person.display().to_string();
    let (code, out) = call(&["check", &person], around(Settings::default())).await;
    assert_eq!(code, ENVIRONMENT, "{out}");
    assert!(out.contains("environment variable `POLICE_DB` is not set"), "{out}");
    let (code, out) = call(&["check", "nobody.toml"], around(settings.clone())).await;
    assert_eq!(code, CONFIG, "{out}");
    let (code, out) = call(&["test", &person, "nobody.toml"], around(settings)).await;
    assert_eq!(code, CONFIG, "{out}");
}

#[tokio::test]
async fn show_fills_in_what_is_not_said_and_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = departments().join("police/person.toml").display().to_string();
    let settings = Settings([("POLICE_DB".to_owned(), "/somewhere/secret.db".to_owned())].into());
    let (code, out) = call(&["show", &path], around(settings)).await;
    assert_eq!(code, OK, "{out}");
    assert!(out.contains("env = \"POLICE_DB\"") && !out.contains("secret.db"), "{out}");
    assert!(out.contains("id_number = \"string from SFZH, class 2"), "{out}");
    let _: toml::Table = toml::from_str(&out).unwrap();
    let config = dir.path().join("adapter.toml");
    let text = gateway_config().replacen("[health]", "otlp = \"http://user:kept@collector\"\n[health]", 1);
    std::fs::write(&config, &text).unwrap();
    let (code, out) = call(&["show", &config.display().to_string()], around(Settings::default())).await;
    assert_eq!(code, OK, "{out}");
    assert!(out.contains("name = \"assistance-desk\"") && !out.contains("kept"), "{out}");
    assert!(text.lines().filter(|line| line.starts_with("token_sha256")).all(|line| !out.contains(line)));
    let (code, out) = call(&["run", "--config", &path], around(Settings::default())).await;
    assert_eq!(code, CONFIG, "{out}");
    assert!(out.contains("person.toml:2:10: this is a mapping and no adapter.toml"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_configuration_is_checked_with_its_folder_and_its_hub() {
    let mut town = Town::new(41).await;
    town.police_host.take().unwrap().stop().await;
    let around = surroundings(&town.world, &town.police);
    let path = write_config(&town.police, &adapter_config(&town.police)).display().to_string();
    let (code, out) = call(&["check", "--config", &path], around.clone()).await;
    assert_eq!(code, OK, "{out}");
    assert!(out.contains("member `police`") && out.contains("the hub answers at"), "{out}");
    assert!(out.contains("adapter `main`: delegated until"), "{out}");
    assert!(out.contains("✓ this machine's clock is"), "{out}");
    off_the_hubs_clock(&around, &path).await;
    let spare = adapter_config(&town.police).replace("\"main\"", "\"spare\"");
    let spare = write_config(&town.police, &spare).display().to_string();
    let (code, out) = call(&["check", "--config", &spare], around.clone()).await;
    assert_eq!(code, CONFIG, "{out}");
    assert!(out.contains("--name spare`; the folder has adapter `main`"), "{out}");
    write_config(&town.police, &adapter_config(&town.police));
    town.world.stop_hub().await;
    let (code, out) = call(&["check", "--config", &path], around.clone()).await;
    assert_eq!(code, ENVIRONMENT, "{out}");
    let (code, out) = call(&["check", "--offline", "--config", &path], around).await;
    assert_eq!(code, OK, "{out}");
    town.stop().await;
}

/// A clock beside the world's.
struct Off(Arc<dyn Clock>, i64);

impl Clock for Off {
    fn now_ms(&self) -> i64 {
        self.0.now_ms() + self.1
    }

    fn monotonic_us(&self) -> u64 {
        self.0.monotonic_us()
    }
}

/// How far the own clock may be off the hub's, and what is said beyond it.
async fn off_the_hubs_clock(around: &Surroundings, path: &str) {
    for (ahead_ms, wanted, mark, told) in [
        (15_000, OK, "    ! this machine's clock is 1", "up to 30 s is tolerated"),
        (45_000, ENVIRONMENT, "    ✗ this machine's clock is 4", "over 30 s requests, answers and standings"),
    ] {
        let clock = Arc::new(Off(Arc::clone(&around.clock), ahead_ms));
        let (code, out) = call(&["check", "--config", path], Surroundings { clock, ..around.clone() }).await;
        assert_eq!(code, wanted, "{out}");
        let line = out.lines().find(|line| line.starts_with(mark)).unwrap_or_else(|| panic!("{out}"));
        assert!(line.contains("s ahead of the hub's; ") && line.contains(told), "{out}");
        assert!(out.contains("help: let a time service set the clock"), "{out}");
    }
}

#[tokio::test]
async fn services_are_shown_by_their_references_and_a_service_that_is_away_is_said() {
    let gas = departments().join("gas/connection.toml").display().to_string();
    let hospital = departments().join("hospital/summary.toml").display().to_string();
    let settings = [
        ("GAS_API", "https://127.0.0.1:9/hunter2"),
        ("GAS_TOKENS", "https://127.0.0.1:9/hunter2"),
        ("FHIR_BASE_URL", "http://127.0.0.1:9/hunter2"),
    ];
    let settings = Settings(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    for (path, wanted) in [
        (&gas, ["env = \"GAS_API\"", "kind = \"client-credentials\"", "POST /v2/meters/search"]),
        (
            &hospital,
            ["env = \"FHIR_BASE_URL\"", "kind = \"fhir\"", "POST Condition/_search by patient.identifier"],
        ),
    ] {
        let (code, out) = call(&["show", path], around(settings.clone())).await;
        assert_eq!(code, OK, "{out}");
        assert!(wanted.iter().all(|wanted| out.contains(wanted)), "{out}");
        assert!(!out.contains("hunter2"), "{out}");
    }
    // The secret's file is missing here; the other server does not answer.
    for (path, what) in [(&gas, "/run/secrets/gas-api"), (&hospital, "A-FHIR-001")] {
        let (code, out) = call(&["check", path], around(settings.clone())).await;
        assert_eq!(code, ENVIRONMENT, "{out}");
        assert!(out.contains(what) && !out.contains("hunter2"), "{out}");
    }
}
