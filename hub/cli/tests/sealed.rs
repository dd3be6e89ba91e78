//! T1: what travels sealed is nowhere with the hub: not on its disk, not in its log, not in the memory of its
//! process. Hub and adapter are processes of their own, and an officer signs with the command line.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_client::client::{AppIdentity, Client, NoHeadStore};
use yiwang_client::exchange::{Ask, Ending};
use yiwang_client::folder::Folder;
use yiwang_client::sealed::Manner;
use yiwang_client::standing::StandingHealth;
use yiwang_proto::ambient::{Clock, SystemClock, SystemEntropy};
use yiwang_proto::body::Arguments;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, FieldName, Matter, Operation};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::prepared::Prepared;
use yiwang_proto::request::OfficerBy;

const PERSONS: usize = 100;
const CANARIES_EACH: usize = 10;

fn yiwang(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_yiwang")).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "yiwang {}: {error}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str], log: &Path, environment: &[(&str, &str)]) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(log).unwrap())
        .spawn();
    Running(child.unwrap())
}

fn free_port() -> String {
    yiwang_city::servers::free_port().unwrap().to_string()
}

fn until_open(address: &str, log: &Path) {
    for _ in 0..600 {
        if std::net::TcpStream::connect(address).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody listened on {address} within 12 s: {}", std::fs::read_to_string(log).unwrap());
}

/// Synthetic ids, and for each the texts that only the department knows.
fn person(number: usize) -> (String, Vec<String>) {
    // Other persons than those of the mappings' examples, which stand in the program's own text: whatever is found
    // was carried.
    let body = format!("96030319770303{number:03}");
    let id = format!("{body}{}", yiwang_proto::resident_id::check_character(&body).unwrap());
    // Made while the test runs, so that no program holds them in its text.
    let texts =
        (0..CANARIES_EACH).map(|n| format!("kanarie-{:08x}-{number:03}-{n}", 0x5eed_0000 + number * 97 + n));
    (id, texts.collect())
}

fn register(path: &Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(
        "create table sum_hdr (nat_id text primary key, bld_grp text not null, upd_ts text not null);
         create table sum_item (nat_id text not null, item_ty text not null, item_txt text not null);",
    )
    .unwrap();
    for (id, texts) in (0..PERSONS).map(person) {
        db.execute("insert into sum_hdr values (?, 'A', '2026-11-20T01:30:00Z')", [&id]).unwrap();
        for text in texts {
            db.execute("insert into sum_item values (?, 'P', ?)", [&id, &text]).unwrap();
        }
    }
}

struct Town {
    dir: tempfile::TempDir,
    hub: Running,
    _adapter: Running,
}

impl Town {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn folder(&self, member: &str) -> Folder {
        Folder::open(&self.path(member)).unwrap()
    }

    /// A hub, a health department whose adapter opens sealed bodies, and a street office.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (listen, enrol) = (free_port(), free_port());
        let hub = at("hub");
        let init = [
            "hub",
            "init",
            "--dir",
            &hub,
            "--origin",
            "log.city.example/t1",
            "--trust-domain",
            "city.example",
        ];
        let ports = ["--listen", &listen, "--enrol-listen", &enrol, "--health-listen", &free_port()]
            .map(str::to_owned);
        let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
        yiwang(&[init.as_slice(), &ports].concat());
        let log = dir.path().join("hub.log");
        let running = start(&["hub", "run", "--dir", &hub], &log, &[]);
        until_open(&listen, &log);
        until_open(&enrol, &log);
        for member in ["health", "street-office"] {
            let folder = at(member);
            yiwang(&["member", "init", "--folder", &folder, "--id", member, "--name", member]);
            let token = yiwang(&["hub", "token", "--dir", &hub, "--for", &format!("member:{member}")]);
            yiwang(&["member", "enrol", "--folder", &folder, "--token", token.trim()]);
        }
        let delegate = |member: &str, role: &str, name: &str| {
            let folder = at(member);
            yiwang(&["member", "delegate", "--folder", &folder, "--role", role, "--name", name, "--publish"]);
        };
        delegate("street-office", "app", "desk");
        delegate("street-office", "sealing", "desk");
        delegate("health", "adapter", "main");
        delegate("health", "sealing", "main");
        delegate("health", "standing", "main");
        delegate("street-office", "standing", "main");
        register(&dir.path().join("health.db"));
        let mapping =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../adapters/departments/health/health-summary.toml");
        let health = free_port();
        let config = format!(
            "format = \"adapter-host/1\"\nmember_folder = \".\"\nadapter = \"main\"\nmappings = [\"{mapping}\"]\n\
             journal = \"journal\"\n[health]\nlisten = \"{health}\"\n"
        );
        let config_path = dir.path().join("health/adapter.toml");
        std::fs::write(&config_path, config).unwrap();
        let log = dir.path().join("health.log");
        let run = ["adapter", "run", "--config", config_path.to_str().unwrap()];
        let adapter = start(&run, &log, &[("HEALTH_DB", &at("health.db"))]);
        until_open(&health, &log);
        Self { dir, hub: running, _adapter: adapter }
    }

    fn client(&self, clock: &Arc<dyn Clock>) -> Client {
        let folder = self.folder("street-office");
        let app = AppId::parse("desk").unwrap();
        let enrolled = folder.enrolled().unwrap();
        let key = enrolled.verifier_key().clone();
        let identity = AppIdentity {
            member: folder.member().clone(),
            app: app.clone(),
            key: folder.load_key(Role::App, &app).unwrap(),
            delegation: folder.load_delegation(Role::App, &app).unwrap().0,
            root: folder.root_public(),
            tags: folder.tag_key().unwrap(),
            checkpoints: Arc::new(CheckpointVerifier::new(key, enrolled.origin(), 64)),
        };
        let channel = enrolled.channel_lazy(Arc::clone(clock)).unwrap();
        let heads = Arc::new(NoHeadStore);
        let client =
            Client::new(identity, channel, heads, Arc::clone(clock), Arc::new(SystemEntropy)).unwrap();
        let (key, document) = folder.load_sealing(&app).unwrap().unwrap();
        client.with_sealing(key, &document).unwrap()
    }

    async fn agree(&self, client: &Client) -> Contract {
        let (health, street) = (self.folder("health"), self.folder("street-office"));
        let text =
            include_str!("../../../adapters/departments/health/contracts/health-emergency-summary.json");
        let mut draft: serde_json::Value = serde_json::from_str(text).unwrap();
        draft["provider"]["root"] = serde_json::json!(health.root_public());
        draft["consumer"]["root"] = serde_json::json!(street.root_public());
        draft["consumer"]["member"] = "street-office".into();
        draft["purpose"] = "social-assistance.eligibility".into();
        draft["matters"] = serde_json::json!(["social-assistance"]);
        draft["apps"] = serde_json::json!(["desk"]);
        draft["valid_from"] = "2020-01-01T00:00:00Z".into();
        draft["valid_until"] = "2099-01-01T00:00:00Z".into();
        let keys = [health.root_key().unwrap(), street.root_key().unwrap()];
        let document =
            SignedDocument::sign(payload_type::CONTRACT, draft.to_string().as_bytes(), &keys.each_ref());
        client.publish(&document).await.unwrap();
        Contract::open(&document).unwrap()
    }
}

fn ask(case: &CaseId, subject: &str, officer: &str) -> Ask {
    Ask {
        operation: Operation::parse("summary.by_person").unwrap(),
        fields: vec![FieldName::parse("problems").unwrap()],
        case: case.clone(),
        officer: Some(officer.parse().unwrap()),
        subject: subject.to_owned(),
        arguments: Arguments::new(),
        retry_of: None,
    }
}

/// The value after `name: ` in what a command printed.
fn printed(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no `{name}` in {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_a_thousand_sealed_values_are_nowhere_with_the_hub() {
    let town = Town::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let client = town.client(&clock);
    client.meet().await.unwrap();
    // What the street office's host would do besides: its standings.
    let standings: Arc<StandingHealth> = Arc::default();
    let (folder, health) = (town.path("street-office"), Arc::clone(&standings));
    let (stop, by) = (CancellationToken::new(), Arc::clone(&clock));
    let _stopped = stop.clone().drop_guard();
    tokio::spawn(async move { yiwang_client::standing::keep(&folder, by, health, stop, |_| ()).await });
    for _ in 0..1000 {
        if standings.until_ms() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let contract = town.agree(&client).await;
    // The officer's key is made by the officer's own tool; the member's IT sees its public half.
    let (key, delegation) = (town.text("officer.key"), town.text("officer.json"));
    let made = yiwang(&["officer", "keygen", "--out", &key]);
    let (officer, public) = (printed(&made, "officer"), printed(&made, "key"));
    let street = town.text("street-office");
    let delegate = ["officer", "delegate", "--folder", &street, "--officer", &officer, "--key", &public];
    let said = yiwang(&[delegate.as_slice(), &["--publish", "--out", &delegation]].concat());
    let digest = yiwang_proto::ticket::from_hex(&printed(&said, "delegation")).unwrap();

    let persons: Vec<(String, Vec<String>)> = (0..PERSONS).map(person).collect();
    let ids: Vec<String> = persons.iter().map(|(id, _)| id.clone()).collect();
    let matter = Matter::parse("social-assistance").unwrap();
    let (case, _) = client.open_case(&matter, &ids).await.unwrap();
    let officers_key = SecretKey::from_base64(&std::fs::read_to_string(&key).unwrap()).unwrap();
    let manner = Manner { officer_by: OfficerBy::Signature(digest), sealed: true };
    let mut carried = 0;
    for (id, texts) in &persons {
        let signed = client.prepare(&contract, &ask(&case, id, &officer), manner);
        let both = signed.request.sign_with_officer(&client.identity().key, &officers_key);
        let message = pb::ExchangeRequest { request: both.bytes().clone(), ..signed.message.clone() };
        let signed =
            client.seal_body(&contract, yiwang_client::exchange::SignedRequest { message, ..signed }).await;
        let exchanged = client.exchange(&contract, &signed.unwrap()).await;
        let ending = exchanged.unwrap().ending;
        let Ending::Answered { records, .. } = ending else { panic!("{ending:?}") };
        let records = String::from_utf8(records.to_vec()).unwrap();
        carried += texts.iter().filter(|text| records.contains(text.as_str())).count();
    }
    assert_eq!(carried, PERSONS * CANARIES_EACH, "all were really carried");
    by_command_line(&town, &case, &officer, &persons[0]);

    let needles: Vec<String> =
        persons.into_iter().flat_map(|(id, texts)| texts.into_iter().chain([id])).collect();
    assert_eq!(
        found(&std::fs::read(town.path("health.db")).unwrap(), &needles),
        needles.len(),
        "the search works"
    );
    // The hub runs and renames its files: what got another name between the listing and the reading is listed again.
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let mut tries = 0..100;
    while let Err(error) = read_all(&town, &needles) {
        assert!(gone(&error) && tries.next().is_some(), "{error}");
    }
    memory(&town, &needles);
}

/// Looks into each file of the hub; an error where one was gone before it was read.
fn read_all(town: &Town, needles: &[String]) -> std::io::Result<()> {
    let mut files = vec![town.path("hub.log")];
    let mut folders = vec![town.path("hub")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in files {
        assert_eq!(found(&std::fs::read(&file)?, needles), 0, "{}", file.display());
    }
    Ok(())
}

/// Prepare, sign, send: each with its own command.
fn by_command_line(town: &Town, case: &CaseId, officer: &str, (id, texts): &(String, Vec<String>)) {
    let street = town.text("street-office");
    let (prepared, signed) = (town.text("prepared.json"), town.text("signed.json"));
    let app = ["--folder", &street, "--app", "desk"];
    let question = [
        "--subject",
        id,
        "--case",
        case.as_str(),
        "--officer",
        officer,
        "--purpose",
        "social-assistance.eligibility",
        "--field",
        "HealthSummary.problems",
    ];
    let delegation = town.text("officer.json");
    let out = ["--delegation", &delegation, "--out", &prepared];
    yiwang(&[&["query", "prepare"], app.as_slice(), &question, &out].concat());
    // What nobody signed is not sent, so it can still be signed.
    let bare = Command::new(env!("CARGO_BIN_EXE_yiwang"))
        .args([&["query", "send"], app.as_slice(), &[prepared.as_str()]].concat())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&bare.stderr);
    assert!(bare.status.code() == Some(2) && bare.stdout.is_empty(), "{said}");
    assert!(said.contains("no officer signed it: `yiwang officer sign --key FILE "), "{said}");
    assert!(said.contains("nothing was sent"), "{said}");
    let shown = yiwang(&[
        "officer",
        "sign",
        "--key",
        &town.text("officer.key"),
        "--delegation",
        &delegation,
        &prepared,
        "--out",
        &signed,
    ]);
    assert!(
        shown.contains(id.as_str()) && shown.contains("problems"),
        "the officer sees what is signed: {shown}"
    );
    let text = std::fs::read(&signed).unwrap();
    assert_eq!(Prepared::parse(&text).unwrap().check().unwrap()[0].signed.envelope().signatures.len(), 2);
    let proofs = town.text("proofs");
    let send = ["query", "send", "--evidence", &proofs];
    let answer = yiwang(&[&send, app.as_slice(), &[signed.as_str()]].concat());
    assert_eq!(std::fs::read_dir(&proofs).unwrap().count(), 1, "the evidence of the one exchange");
    assert!(texts.iter().all(|text| answer.contains(text.as_str())), "{answer}");
}

/// How many of the texts some bytes hold. Tests are not optimised and a memory is large, so almost every
/// byte must be done with after one look.
fn found(bytes: &[u8], needles: &[String]) -> usize {
    let mut begins = [false; 256];
    let mut by_start: HashMap<&[u8], Vec<&String>> = HashMap::new();
    for needle in needles {
        begins[usize::from(needle.as_bytes()[0])] = true;
        by_start.entry(&needle.as_bytes()[..8]).or_default().push(needle);
    }
    let starts: Vec<[u8; 2]> = by_start.keys().map(|key| [key[0], key[1]]).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (at, byte) in bytes.iter().enumerate() {
        if !begins[usize::from(*byte)]
            || !bytes.get(at + 1).is_some_and(|next| starts.contains(&[*byte, *next]))
        {
            continue;
        }
        let candidates = bytes.get(at..at + 8).and_then(|start| by_start.get(start));
        for needle in candidates.into_iter().flatten() {
            if bytes[at..].starts_with(needle.as_bytes()) {
                seen.insert(needle.as_str());
            }
        }
    }
    seen.len()
}

/// Dumps the hub's memory while it runs. Needs gdb's gcore and the right to trace.
fn memory(town: &Town, needles: &[String]) {
    let pid = town.hub.0.id().to_string();
    let prefix = town.text("core");
    let dumped = Command::new("gcore").args(["-o", &prefix, &pid]).output();
    let core = town.path(&format!("core.{pid}"));
    let reason = match &dumped {
        Err(error) => format!("gcore cannot be run: {error}"),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    };
    let Ok(bytes) = std::fs::read(&core) else {
        println!("SKIPPED: the hub's memory was not searched: {reason}");
        return;
    };
    // The dump is one: it holds what the hub itself must know.
    assert!(
        found(&bytes, &["log.city.example/t1".to_owned(), "street-office".to_owned()]) == 2,
        "not the hub's memory"
    );
    assert_eq!(found(&bytes, needles), 0, "in the hub's memory");
    println!("{} bytes of the hub's memory hold none of {} values", bytes.len(), needles.len());
}
