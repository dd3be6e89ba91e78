//! kill -9 of the hub under load: what was acknowledged is in the ledger, at its index, to the byte; and the
//! ledger verifies offline afterwards.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use yiwang_audit::reconcile::{Sources, reconcile};
use yiwang_client::client::{AppIdentity, Client, NoHeadStore};
use yiwang_client::folder::Folder;
use yiwang_proto::ambient::{Clock, SystemClock, SystemEntropy};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, Matter};
use yiwang_proto::note::VerifierKey;

const KILLS: u32 = 25;
const WRITERS: usize = 8;

fn yiwang(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "yiwang {}: {error}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn start(dir: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(["hub", "run", "--dir", dir.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.with_extension("log")).unwrap())
        .spawn()
        .unwrap()
}

/// Below the ports of outgoing connections: a client that dials while the hub is down must not be given the
/// hub's own port.
fn free_port() -> String {
    yiwang_city::servers::free_port().unwrap().to_string()
}

fn until_open(address: &str, dir: &Path) {
    for _ in 0..600 {
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = std::fs::read_to_string(dir.with_extension("log")).unwrap();
    panic!("the hub did not listen on {address} within 12 s: {log}");
}

fn client(folder: &Folder, clock: &Arc<dyn Clock>) -> Client {
    let app = AppId::parse("desk").unwrap();
    let enrolled = folder.enrolled().unwrap();
    let identity = AppIdentity {
        member: folder.member().clone(),
        app: app.clone(),
        key: folder.load_key(Role::App, &app).unwrap(),
        delegation: folder.load_delegation(Role::App, &app).unwrap().0,
        root: folder.root_public(),
        tags: folder.tag_key().unwrap(),
        checkpoints: Arc::new(CheckpointVerifier::new(
            enrolled.verifier_key().clone(),
            enrolled.origin(),
            64,
        )),
    };
    let channel = enrolled.channel_lazy(Arc::clone(clock)).unwrap();
    Client::new(identity, channel, Arc::new(NoHeadStore), Arc::clone(clock), Arc::new(SystemEntropy)).unwrap()
}

/// A hub that runs, and a member with a published app.
fn set_up(hub: &Path, member: &Path) -> (String, Child) {
    let (hub_text, member_text) = (hub.to_str().unwrap(), member.to_str().unwrap());
    let (listen, enrol) = (free_port(), free_port());
    yiwang(&[
        "hub",
        "init",
        "--dir",
        hub_text,
        "--origin",
        "log.city.example/kill",
        "--trust-domain",
        "city.example",
        "--listen",
        &listen,
        "--enrol-listen",
        &enrol,
        "--health-listen",
        &free_port(),
    ]);
    let child = start(hub);
    until_open(&listen, hub);
    until_open(&enrol, hub);
    yiwang(&["member", "init", "--folder", member_text, "--id", "street-office", "--name", "Street office"]);
    let token = yiwang(&["hub", "token", "--dir", hub_text, "--for", "member:street-office"]);
    yiwang(&["member", "enrol", "--folder", member_text, "--token", token.trim()]);
    yiwang(&["member", "delegate", "--folder", member_text, "--role", "app", "--name", "desk", "--publish"]);
    (listen, child)
}

type Acknowledged = BTreeMap<u64, yiwang_proto::pb::Entry>;

/// Tasks that open cases until told to stop, and keep what was acknowledged.
fn load(client: &Arc<Client>, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<Acknowledged>> {
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (client, stop) = (Arc::clone(client), Arc::clone(stop));
        writers.push(tokio::spawn(async move {
            let matter = Matter::parse("social-assistance").unwrap();
            let mut acknowledged = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                let opened =
                    tokio::time::timeout(Duration::from_secs(2), client.open_case(&matter, &[])).await;
                match opened {
                    Ok(Ok((_, receipt))) => {
                        acknowledged.insert(receipt.index, receipt.entry);
                    }
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            acknowledged
        }));
    }
    writers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let temporary = tempfile::tempdir().unwrap();
    let (hub, member) = (temporary.path().join("hub"), temporary.path().join("member"));
    let (listen, mut child) = set_up(&hub, &member);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let folder = Folder::open(&member).unwrap();
    let client = Arc::new(client(&folder, &clock));
    let stop = Arc::new(AtomicBool::new(false));
    let writers = load(&client, &stop);
    for kill in 0..KILLS {
        // Times that differ, so that kills fall into every step.
        tokio::time::sleep(Duration::from_millis(60 + u64::from(kill * 37 % 101))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        child = start(&hub);
        until_open(&listen, &hub);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for writer in writers {
        for (index, entry) in writer.await.unwrap() {
            assert!(acknowledged.insert(index, entry).is_none(), "index {index} was acknowledged twice");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ledger = hub.join("ledger");
    let options = yiwang_journal::Options::default();
    let (reader, _) = yiwang_journal::Reader::open_readonly(&ledger.join("segments"), &options).unwrap();
    for (index, entry) in &acknowledged {
        let stored = yiwang_proto::entry::decode(&reader.read(*index).unwrap()).unwrap();
        assert_eq!(stored, *entry, "entry {index} is not what was acknowledged");
    }
    println!("{KILLS} kills, {} acknowledged, 0 lost, {} in the ledger", acknowledged.len(), reader.len());
    assert!(acknowledged.len() > 50, "too little load: {}", acknowledged.len());
    let key = std::fs::read_to_string(ledger.join("verifier.key")).unwrap();
    yiwang(&["audit", "verify", "--ledger", ledger.to_str().unwrap(), "--key", key.trim()]);
    let sources = Sources {
        ledger,
        acknowledged: acknowledged
            .iter()
            .map(|(index, entry)| (*index, yiwang_proto::entry::encode(entry).unwrap()))
            .collect(),
        ..Sources::default()
    };
    let key = VerifierKey::parse(key.trim()).unwrap();
    let options = yiwang_audit::Options { key: Some(key), ..yiwang_audit::Options::default() };
    let judged = reconcile(&sources, &options).unwrap();
    assert!(judged.is_clean(), "{judged:#?}");
    assert_eq!(judged.receipts, acknowledged.len() as u64);
}

#[test]
fn an_operator_orders_a_running_hub() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, member) = (dir.path().join("hub"), dir.path().join("street"));
    let (_, mut child) = set_up(&hub, &member);
    let order = |arguments: &[&str]| {
        let arguments = [&["hub", arguments[0], "--dir", hub.to_str().unwrap()], &arguments[1..]].concat();
        let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (done, said) = order(&["accept-clock"]);
    assert!(!done && said.contains("nothing to accept"), "{said}");
    let dismiss = ["dismiss", "auditor:city-audit", "--reason", "its term is over"];
    let (done, said) = order(&dismiss);
    assert!(!done && said.contains("the ledger knows no auditor `city-audit`"), "{said}");
    assert!(said.contains("there are none") && said.contains("nothing was recorded"), "{said}");
    let (done, said) = order(&["token", "--for", "auditor:city-audit", "--scope-all"]);
    assert!(done, "{said}");
    let (done, said) = order(&["dismiss", "auditor:city-adit", "--reason", "its term is over"]);
    assert!(!done && said.contains("did you mean `city-audit`?"), "{said}");
    let (done, said) = order(&dismiss);
    assert!(done && said.contains("dismisses auditor:city-audit") && said.contains("1 unspent"), "{said}");
    // Its token is void and it never enrolled: only on purpose.
    assert!(!order(&dismiss).0);
    let (done, said) = order(&[&dismiss[..], &["--unknown"]].concat());
    assert!(done && said.contains("dismisses auditor:city-audit"), "{said}");
    let (done, said) = order(&["dismiss", "somebody", "--reason", "x"]);
    assert!(!done && said.contains("neither member:<id> nor auditor:<name>"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
}
