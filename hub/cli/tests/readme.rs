//! The README's lines do what they say: they are taken out of it, placeholders are replaced, and bash runs them.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "faults/address.rs"]
mod address;
#[path = "readme/first_exchange.rs"]
mod first_exchange;

use address::own_address;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const README: &str = include_str!("../../../README.md");
const PROGRAM: &str = env!("CARGO_BIN_EXE_yiwang");

/// Ends a child with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // The demo ends its own children when it is asked to.
        let _ = Command::new("kill").arg(&id).status();
        for _ in 0..500 {
            if self.0.try_wait().unwrap().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of the block that follows a bold heading.
fn block(heading: &str) -> String {
    let start = README.find(&format!("**{heading}**")).unwrap();
    let mut parts = README[start..].split("```");
    let _words = parts.next();
    parts.next().unwrap().trim().to_owned()
}

/// Whether the tools are there; CI asks for all of them.
fn tools(names: &[&str]) -> bool {
    for name in names {
        let there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("YIWANG_REQUIRE_SERVICES").is_none(), "{name} is not installed");
            println!("SKIPPED: the README's lines need `{name}`, which is not installed");
            return false;
        }
    }
    true
}

/// Runs lines in bash, with this build's `yiwang` in the path; what they print.
fn bash(dir: &Path, lines: &str, variables: &[(&str, &str)]) -> String {
    let path = format!(
        "{}:{}",
        Path::new(PROGRAM).parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", lines])
        .current_dir(dir)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}\n{error}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// A demo that goes on running, its further words (dropping them would end it), and what it said so far.
fn demo(dir: &Path) -> (Running, BufReader<ChildStdout>, String) {
    let mut child = Command::new(PROGRAM)
        .args(["demo", "--scale", "0.001", "--keep", dir.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let mut said = String::new();
    while lines.read_line(&mut said).unwrap() > 0 {
        if said.contains("Ctrl-C ends the demo") {
            return (running, lines, said);
        }
    }
    panic!("the demo ended:\n{said}");
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let start = text.find(before).unwrap_or_else(|| panic!("`{before}` is not in {text}")) + before.len();
    text[start..].split(after).next().unwrap()
}

#[test]
fn the_developers_and_the_auditors_lines_work_on_the_demo() {
    if !tools(&["bash", "curl", "python3"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("demo");
    let (running, words, said) = demo(&dir);

    let gateway = format!("http://{}", between(&said, "curl -s http://", "/v1/cases"));
    let token = between(&said, "'authorization: Bearer ", "'");
    let answer = bash(folder.path(), &block("Developer"), &[("GATEWAY", &gateway), ("TOKEN", token)]);
    let record: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    // The two registers agree on the name; the day of birth they give differently, as the demo tells.
    let name = &record["records"]["Person"]["name"];
    assert_eq!(name["state"], "value", "{record:#}");
    assert_eq!(record["records"]["Person"]["birth_date"]["state"], "conflict", "{record:#}");

    let report = auditors_lines(&dir, folder.path());
    assert!(report.contains("street-office") && report.contains("as of size"), "{report}");
    drop((running, words));
}

/// Copies a file or folder of a network that runs: what is renamed away meanwhile was not there.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if let Err(error) = std::fs::copy(from, to) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}: {error}", from.display());
    }
}

/// Runs the auditor's lines over copies of what the demo's parties keep.
fn auditors_lines(demo: &Path, folder: &Path) -> String {
    let copy = |from: &str, to: &str| copy(&demo.join(from), &folder.join(to));
    copy("members/street-office/checkpoint", "kept.checkpoint");
    copy("evidence.json", "evidence.json");
    copy("kept", "received");
    let mut journals = Vec::new();
    for member in std::fs::read_dir(demo.join("members")).unwrap() {
        let journal = member.unwrap().path().join("journal");
        if journal.is_dir() {
            journals.push(journal.display().to_string());
        }
    }
    copy("hub/ledger", "ledger");
    let key = std::fs::read_to_string(folder.join("ledger/verifier.key")).unwrap();
    std::fs::write(folder.join("witnesses.policy"), format!("log {}\nquorum none\n", key.trim())).unwrap();
    let lines = block("Auditor")
        .replace("LEDGER", "ledger")
        .replace("KEPT", "received")
        .replace(
            "--adapter-journal JOURNAL",
            &format!("--adapter-journal {}", journals.join(" --adapter-journal ")),
        )
        .replace("o-...", "o-aaaaaaaaaaaaaaaa")
        .replace("--subject FILE", "--subject subject")
        .replace("police=m/", &format!("police={}/", demo.join("members/police").display()))
        .replace("office=s/", &format!("office={}/", demo.join("members/street-office").display()))
        .replace("VKEY", key.trim());
    std::fs::write(folder.join("subject"), "980121194603180024\n").unwrap();
    assert!(lines.lines().count() >= 9 && journals.len() >= 4);
    bash(folder, &lines, &[])
}

fn get(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let mut answer = Vec::new();
    let asked = write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let _ = asked.and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen within a minute");
}

fn hub(dir: &Path, folder: &Path) -> Running {
    let [listen, enrol, health] = std::array::from_fn(|_| own_address());
    let init = format!(
        "yiwang hub init --dir {} --origin log.city.example/readme --trust-domain city.example \
         --listen {listen} --enrol-listen {enrol} --health-listen {health} --name {}",
        dir.display(),
        listen.ip()
    );
    bash(folder, &init, &[]);
    let mut command = Command::new(PROGRAM);
    command.args(["hub", "run", "--dir", dir.to_str().unwrap()]).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    until("the hub's start", || get(health, "/ready").contains(" 200 "));
    running
}

/// What a department brings: its register and a mapping of this repository.
fn adapter_toml(folder: &Path, health: SocketAddr) -> (String, Vec<(&'static str, String)>) {
    let plan = yiwang_city::CityPlan { seed: 7, scale: 0.0005 };
    let city = yiwang_city::build(plan, &folder.join("city")).unwrap();
    let departments = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../adapters/departments");
    let mapping = std::fs::canonicalize(departments.join("police/person.toml")).unwrap();
    let text = format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\nadapter = \"main\"\nmappings = [\"{}\"]\n\
         journal = \"journal\"\n[health]\nlisten = \"{health}\"\n",
        mapping.display()
    );
    let sources = city.sources().iter().filter(|source| source.member == "police");
    (text, sources.map(|source| (source.variable, source.path.display().to_string())).collect())
}

#[test]
fn the_it_departments_lines_lead_from_a_token_to_a_link() {
    if !tools(&["bash"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let hub_dir = folder.path().join("hub");
    let _hub = hub(&hub_dir, folder.path());
    let operator = format!("yiwang hub token --dir {} --for member:police", hub_dir.display());
    let lines = block("Departmental IT");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[1].contains("yiwang hub token --dir H --for member:police"), "the operator's own line");
    let token = bash(folder.path(), &operator, &[]);
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).unwrap();
    let (check, run) = (at("yiwang adapter check"), at("yiwang adapter run"));
    let first = lines[..check].join("\n").replace("TOKEN", token.trim());
    bash(folder.path(), &first, &[]);

    let health = own_address();
    let (text, settings) = adapter_toml(folder.path(), health);
    std::fs::write(folder.path().join("m/adapter.toml"), text).unwrap();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    bash(folder.path(), lines[check], &settings);
    let line = lines[run].split('#').next().unwrap();
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .current_dir(folder.path())
        .envs(settings)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _adapter = Running(command.spawn().unwrap());
    until("the adapter's link", || get(health, "/ready").contains(" 200 "));
    // What is taken back must have been given.
    let desk = "yiwang member delegate --folder m --role app --name desk --publish";
    bash(folder.path(), desk, &[]);
    bash(folder.path(), &lines[run + 1..].join("\n"), &[]);
}

/// Where a package puts its files: whole names, and folders whose content is put there as it lies.
fn assets(manifest: &str) -> Vec<(PathBuf, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(manifest);
    let text: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let assets = text["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let mut all = Vec::new();
    for asset in assets.iter().filter_map(toml::Value::as_array) {
        let mut words = asset.iter().map(|word| word.as_str().unwrap());
        let (from, to) = (words.next().unwrap(), words.next().unwrap());
        // What is made when it is packed.
        if from.split('/').any(|part| part == "target") {
            continue;
        }
        let from = path.parent().unwrap().join(from.trim_end_matches("**/*").trim_end_matches('*'));
        assert!(from.exists(), "{}", from.display());
        let name = if from.is_dir() { "" } else { from.file_name().unwrap().to_str().unwrap() };
        let to = format!("{to}{name}");
        all.push((from, to));
    }
    all
}

#[test]
fn what_the_readme_links_to_comes_with_both_packages() {
    let links: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(link, _)| link.split_once('#').map_or(link, |(page, _)| page))
        .filter(|link| !link.contains(':') && !link.is_empty())
        .collect();
    assert!(links.len() >= 5, "{links:?}");
    for (package, manifest) in
        [("yiwang", "hub/cli/Cargo.toml"), ("yiwang-adapter", "adapters/host/Cargo.toml")]
    {
        let assets = assets(manifest);
        for link in links.iter().chain(&["adapters/departments/police/person.toml"]) {
            let wanted = format!("usr/share/doc/{package}/{link}");
            let found = assets.iter().any(|(from, to)| {
                wanted.strip_prefix(to.as_str()).is_some_and(|rest| match rest.is_empty() {
                    true => from.is_file(),
                    false => from.join(rest).is_file(),
                })
            });
            assert!(found, "{package} does not carry {link}");
        }
    }
}
