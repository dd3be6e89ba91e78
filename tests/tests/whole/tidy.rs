//! The workspace's own rules that no compiler holds.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use yiwang_proto::codes::Code;

/// Who may see whom. Dependencies of tests are free; hub and adapters meet there only.
const MAY_SEE: [(&str, &[&str]); 15] = [
    ("yiwang-proto", &[]),
    ("yiwang-rpc", &["yiwang-proto"]),
    ("yiwang-policies", &["yiwang-proto"]),
    ("yiwang-journal", &[]),
    ("yiwang-telemetry", &[]),
    // The hub's door for auditors uses the auditor's index; the verifier sees nothing of the hub.
    (
        "yiwang-hub",
        &[
            "yiwang-proto",
            "yiwang-policies",
            "yiwang-journal",
            "yiwang-rpc",
            "yiwang-telemetry",
            "yiwang-audit",
        ],
    ),
    ("yiwang-client", &["yiwang-proto", "yiwang-policies", "yiwang-rpc"]),
    ("yiwang-audit", &["yiwang-proto", "yiwang-policies", "yiwang-journal"]),
    (
        "yiwang-adapter-sdk",
        &["yiwang-proto", "yiwang-policies", "yiwang-rpc", "yiwang-journal", "yiwang-telemetry"],
    ),
    ("yiwang-adapter-sql", &["yiwang-proto", "yiwang-policies", "yiwang-adapter-sdk"]),
    ("yiwang-adapter-csv", &["yiwang-proto", "yiwang-policies", "yiwang-adapter-sdk"]),
    ("yiwang-adapter-http", &["yiwang-proto", "yiwang-adapter-sdk"]),
    // A FHIR server is called as any other service is.
    ("yiwang-adapter-fhir", &["yiwang-proto", "yiwang-adapter-sdk", "yiwang-adapter-http"]),
    (
        "yiwang-adapter",
        &[
            "yiwang-proto",
            "yiwang-policies",
            "yiwang-client",
            "yiwang-telemetry",
            "yiwang-journal",
            "yiwang-adapter-sdk",
            "yiwang-adapter-sql",
            "yiwang-adapter-csv",
            "yiwang-adapter-http",
            "yiwang-adapter-fhir",
        ],
    ),
    ("yiwang-city", &[]),
];
const SEE_ALL: [&str; 2] = ["yiwang", "yiwang-tests"];
const LINES_MAX: usize = 500;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The workspace's packages, as cargo reads them.
fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Text files of the repository by path below its root; what is built is left out.
pub fn texts() -> BTreeMap<String, String> {
    let (root, mut texts) = (root(), BTreeMap::new());
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // In a second working tree `.git` is a file.
            if ["target", ".git", "node_modules", "__pycache__"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                texts.insert(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), text);
            }
        }
    }
    assert!(texts.len() > 100, "{} files", texts.len());
    texts
}

pub fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_SEE.into_iter().collect();
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let ruled: BTreeSet<&str> = allowed.keys().copied().chain(SEE_ALL).collect();
    assert_eq!(names, ruled, "every package has its rule, and every rule its package");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let Some(may_see) = allowed.get(name) else { continue };
        let dependencies = package["dependencies"].as_array().unwrap();
        let counting = dependencies.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        for seen in counting.map(|dependency| dependency["name"].as_str().unwrap()) {
            assert!(!names.contains(seen) || may_see.contains(&seen), "{name} must not see {seen}");
        }
    }
}

#[test]
fn what_judges_and_keeps_runs_without_tokio() {
    for name in ["yiwang-proto", "yiwang-policies", "yiwang-journal"] {
        let tree = cargo(&["tree", "--offline", "-p", name, "-e", "normal", "--prefix", "none"]);
        assert!(tree.starts_with(name), "{tree}");
        let tokio: Vec<&str> = tree.lines().filter(|line| line.starts_with("tokio")).collect();
        assert!(tokio.is_empty(), "{name} pulls in {tokio:?}");
    }
}

#[test]
fn every_crate_takes_the_workspace_lints_and_some_document_all() {
    for package in packages() {
        let manifest = std::fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package["name"]);
    }
    for library in ["proto", "policies", "adapters/sdk", "hub/audit"] {
        let text = std::fs::read_to_string(root().join(library).join("src/lib.rs")).unwrap();
        assert!(text.contains("#![deny(missing_docs)]"), "{library}");
    }
}

#[test]
fn files_are_short_finished_and_of_no_one_machine() {
    // Put together here, so that this file does not hold them itself.
    let unfinished = [["TO", "DO"], ["FIX", "ME"], ["todo", "!"], ["unimplemented", "!"], ["#[", "ignore"]]
        .map(|p| p.concat());
    let machine = [["/wo", "rk/"], ["/tmp/", "plan"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let mut faults = Vec::new();
    for (path, text) in texts() {
        if is_rust(&path) {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                faults.push(format!("{path} has {lines} lines"));
            }
            let words = unfinished.iter().filter(|word| text.contains(word.as_str()));
            faults.extend(words.map(|word| format!("{path} holds `{word}`")));
        }
        let places = machine.iter().filter(|place| text.contains(place.as_str()));
        faults.extend(places.map(|place| format!("{path} names `{place}`")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_service_code_is_used() {
    let product = |path: &&String| {
        is_rust(path) && path.as_str() != "proto/src/codes.rs" && !path.split('/').any(|part| part == "tests")
    };
    let texts = texts();
    let source: Vec<&String> = texts.keys().filter(product).map(|path| &texts[path]).collect();
    for code in Code::ALL {
        let name = format!("Code::{code:?}");
        let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        let used = source.iter().any(|text| text.split(&name).skip(1).any(is_whole));
        assert!(used, "`{code}` is never given");
    }
}
