//! `yiwang auditor` against a running hub: from a token with a scope to entries and searches.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn run(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn yiwang(arguments: &[&str]) -> String {
    let (good, out, err) = run(arguments);
    assert!(good, "yiwang {}: {err}", arguments.join(" "));
    out
}

/// Below the ports of outgoing connections, and apart from those of other tests.
fn free_port() -> String {
    yiwang_city::servers::free_port().unwrap().to_string()
}

struct Hub(Child);

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, addresses: [&str; 2]) -> Hub {
    let child = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["hub", "run", "--dir", dir.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hub = Hub(child);
    for address in addresses {
        let open = (0..600).any(|_| {
            let open = std::net::TcpStream::connect(address).is_ok();
            if !open {
                std::thread::sleep(Duration::from_millis(20));
            }
            open
        });
        if !open {
            panic!("the hub did not listen on {address} within 12 s");
        }
    }
    hub
}

#[test]
fn an_auditor_enrols_with_a_scope_reads_and_searches() {
    let temporary = tempfile::tempdir().unwrap();
    let place = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
    let (hub, member, court) = (place("hub"), place("member"), place("court"));
    let (listen, enrol, health) = (free_port(), free_port(), free_port());
    yiwang(&[
        "hub",
        "init",
        "--dir",
        &hub,
        "--origin",
        "log.city.example/auditor",
        "--trust-domain",
        "city.example",
        "--listen",
        &listen,
        "--enrol-listen",
        &enrol,
        "--health-listen",
        &health,
    ]);
    let _running = start(Path::new(&hub), [&listen, &enrol]);
    yiwang(&["member", "init", "--folder", &member, "--id", "street-office", "--name", "Street office"]);
    let token = yiwang(&["hub", "token", "--dir", &hub, "--for", "member:street-office"]);
    yiwang(&["member", "enrol", "--folder", &member, "--token", token.trim()]);
    yiwang(&["member", "delegate", "--folder", &member, "--role", "app", "--name", "desk", "--publish"]);
    let case = ["case", "open", "--folder", &member, "--app", "desk", "--matter", "social-assistance"];
    yiwang(&case);

    let token = ["hub", "token", "--dir", &hub, "--for", "auditor:court"];
    let (good, _, err) = run(&token);
    assert!(!good && err.contains("an auditor needs a scope"), "{err}");
    let (good, _, err) = run(&["hub", "token", "--dir", &hub, "--for", "member:police", "--scope-all"]);
    assert!(!good && err.contains("a scope is for auditors"), "{err}");
    let token = yiwang(&[&token[..], &["--scope-members", "health"]].concat());
    yiwang(&["auditor", "enrol", "--folder", &court, "--token", token.trim()]);
    let entries = yiwang(&["auditor", "entries", "--folder", &court]);
    let lines: Vec<serde_json::Value> =
        entries.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap_or("hidden")).collect();
    assert_eq!(kinds[..5], ["origin", "policy", "member", "delegation", "hidden"], "the case is another's");
    assert!(
        kinds.contains(&"auditor") && lines.iter().all(|line| line["leaf_hash"].is_string()),
        "{kinds:?}"
    );
    let found =
        yiwang(&["auditor", "search", "--folder", &court, "--outcome", "denied", "--consumer", "police"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((found["hits"].as_array().unwrap().len(), found["next"].is_null()), (0, true));
    // Moments are named as by `yiwang audit search`, too.
    let times = ["--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"];
    let found = yiwang(&[&["auditor", "search", "--folder", &court][..], &times].concat());
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["hits"].as_array().unwrap().len(), 0);
    let ledger = format!("{hub}/ledger");
    let shown: Vec<String> = (0..20)
        .map_while(|index| {
            let (good, out, _) = run(&["audit", "show", "--ledger", &ledger, &index.to_string()]);
            good.then_some(out)
        })
        .collect();
    let query = "query: consumer=police outcome=denied limit=100";
    assert!(shown.iter().any(|entry| entry.contains(query)), "{shown:#?}");
    mistyped(&court);
}

/// What nobody has was mistyped, and would read as if nobody had asked.
fn mistyped(court: &str) {
    let (good, out, err) = run(&["auditor", "search", "--folder", court, "--provider", "street-offic"]);
    assert!(good && out.contains("\"hits\":[]"), "{out}{err}");
    assert!(err.contains("there is no member `street-offic`; did you mean `street-office`?"), "{err}");
    let names = ["--record", "Persn", "--purpose", "social-assistance.eligiblity"];
    let (_, _, err) = run(&[&["auditor", "search", "--folder", court], &names[..]].concat());
    assert!(err.contains("no record `Persn`; did you mean `Person`?"), "{err}");
    assert!(err.contains("did you mean `social-assistance.eligibility`?"), "{err}");
    let names = ["--consumer", "street-office", "--record", "Person"];
    let (_, _, err) = run(&[&["auditor", "search", "--folder", court], &names[..]].concat());
    assert_eq!(err, "");
    let span = ["--from", "2027-01-15T09:00:00Z", "--to", "2027-01-15T08:00:00Z"];
    let (good, _, err) = run(&[&["auditor", "search", "--folder", court], &span[..]].concat());
    assert!(!good && err.contains("before `--to`"), "{err}");
}
