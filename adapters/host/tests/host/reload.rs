//! Mapping files that change while a host serves.

use crate::town::{Host, adapter_config};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use yiwang_adapter::HostError;
use yiwang_client::exchange::Ending;
use yiwang_policies::RecordTypeText;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::{Digest, hex, sha256};
use yiwang_tests::scene::{Scene, fields, verify_ledger};

const WORKERS: usize = 4;

/// An answer: its entry, the mapping that it names, the fields that came.
struct Came {
    index: u64,
    mapping: Digest,
    alive: bool,
}

/// Requests without pause.
struct Load {
    scene: Scene,
    came: Mutex<Vec<Came>>,
    failed: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Load {
    async fn work(self: Arc<Self>) {
        while !self.stop.load(Ordering::SeqCst) {
            let mut ask = self.scene.ask();
            ask.fields = fields(&["name", "alive"]);
            let signed = self.scene.app.sign(&self.scene.contract, &ask);
            match self.scene.app.exchange(&self.scene.contract, &signed).await {
                Ok(exchanged) => match exchanged.ending {
                    Ending::Answered { answer, records } => {
                        let records: Value = serde_json::from_slice(&records).unwrap();
                        let alive = records[0]["fields"].get("alive").is_some();
                        let came =
                            Came { index: exchanged.receipt.index, mapping: answer.mapping_digest, alive };
                        self.came.lock().unwrap().push(came);
                    }
                    other => self.fail(format!("{other:?}")),
                },
                Err(error) => self.fail(error.to_string()),
            }
        }
    }

    /// One is enough to know.
    fn fail(&self, how: String) {
        self.failed.lock().unwrap().push(how);
        self.stop.store(true, Ordering::SeqCst);
    }

    async fn more(&self, how_many: usize) {
        let wanted = self.came.lock().unwrap().len() + how_many;
        while self.came.lock().unwrap().len() < wanted && self.failed.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn status(host: &Host) -> Value {
    host.health("/status").await.json()
}

/// Waits until the status says so of its mappings.
async fn until(host: &Host, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..600 {
        last = status(host).await;
        if holds(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after 30 s not {what}: {last:#}");
}

/// When each mapping was entered in the ledger.
fn entered(scene: &Scene) -> Vec<(u64, Digest)> {
    let mut found = Vec::new();
    let reader = scene.world.hub().hub.ledger.reader();
    reader
        .scan(0, &mut |index, bytes, _| {
            if let Some(Kind::Mapping(raw)) = entry::decode(&bytes).unwrap().kind {
                found.push((index, raw.digest.as_ref().try_into().unwrap()));
            }
            true
        })
        .unwrap();
    found
}

/// The register without the field `alive`, and with it and one that no contract grants.
fn texts(scene: &Scene) -> (String, String) {
    let wide = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    let narrow = wide
        .replace("alive = { from = \"JZ\", type = \"bool\" }\n", "")
        .replace("alive = true, ", "")
        .replace("JZ = 1, ", "");
    assert!(!narrow.contains("alive") && wide.contains("nationality"));
    (narrow, wide)
}

/// The police's host over a file that the test can change; under load.
async fn serving(seed: u64) -> (Arc<Load>, Host, PathBuf, (String, String)) {
    let granted = serde_json::json!(["alive", "birth_date", "name"]);
    let mut scene = Scene::bent(seed, |draft| draft.with("fields", granted)).await;
    scene.adapter.take().unwrap().stop().await;
    let (narrow, wide) = texts(&scene);
    let file = scene.world.dir.path().join("person.toml");
    std::fs::write(&file, &narrow).unwrap();
    scene.police.mappings = vec![file.clone()];
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    scene.app.meet().await.unwrap();
    let load = Load { scene, came: Mutex::default(), failed: Mutex::default(), stop: AtomicBool::new(false) };
    (Arc::new(load), host, file, (narrow, wide))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_mapping_is_taken_up_under_load_and_a_broken_one_is_not() {
    let (load, host, file, (narrow, wide)) = serving(151).await;
    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(Arc::clone(&load).work())).collect();
    load.more(40).await;
    // A file that does not hold, by its shape and by its names.
    for (bad, why) in [
        (narrow.replace("timeout = ", "timeuot = "), "unknown key `timeuot`"),
        (
            narrow.replace("sex = { from", "sexx = { from").replace("sex = \"male\"", "sexx = \"male\""),
            "A-MAP-005",
        ),
        (narrow.replace("sex = \"male\"", "sex = \"female\""), "A-MAP-010"),
    ] {
        assert_ne!(bad, narrow);
        std::fs::write(&file, bad).unwrap();
        let status = until(&host, why, |status| status["degraded"].to_string().contains(why)).await;
        assert_eq!(status["ready"], true, "{status:#}");
        assert_eq!(status["mappings"]["served"][0]["sha256"], hex(&sha256(narrow.as_bytes())), "{status:#}");
        let page = host.health("/metrics").await.body;
        assert!(page.contains("\nyiwang_mapping_reload_failed 1\n"), "{page}");
        let ready = host.health("/ready").await;
        assert!(ready.status == 200 && ready.body.contains("degraded: mapping file "), "{ready:?}");
    }
    load.more(20).await;
    // Taken back.
    std::fs::write(&file, &narrow).unwrap();
    until(&host, "taken back", |status| status["degraded"] == Value::Array(Vec::new())).await;
    let before = load.came.lock().unwrap().len();
    // Another one, that holds.
    std::fs::write(&file, &wide).unwrap();
    let digest = hex(&sha256(wide.as_bytes()));
    until(&host, "changed", |status| status["mappings"]["served"][0]["sha256"] == digest.as_str()).await;
    load.more(40).await;
    let page = host.health("/metrics").await.body;
    assert!(page.contains("yiwang_mapping_reloads_total{outcome=\"taken\"} 1\n"), "{page}");
    // Counted anew with the mapping that was changed.
    let of = |name: &str| {
        let begin =
            format!("yiwang_operation_{name}{{mapping=\"police.person\",operation=\"person.by_id\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&begin)).unwrap().parse::<u64>().unwrap()
    };
    assert!(of("asked_total") >= 40, "{page}");
    assert_eq!([of("failed_total"), of("drifted"), of("rows_left_out_total")], [0; 3], "{page}");
    load.stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(*load.failed.lock().unwrap(), [""; 0], "no request is lost");
    // What is granted came with the field; what no contract grants did not come with the mapping.
    let mut ask = load.scene.ask();
    ask.fields = fields(&["nationality"]);
    let signed = load.scene.app.sign(&load.scene.contract, &ask);
    assert_eq!(load.scene.outcome(&signed).await, "field_not_granted");
    judge(&load, &narrow, &wide, before);
    host.stop().await;
    let Ok(mut load) = Arc::try_unwrap(load) else { panic!("somebody still asks") };
    load.scene.world.stop_hub().await;
    let (code, report) = verify_ledger(&load.scene.world);
    assert_eq!(code, 0, "{report}");
    assert!(!report.contains("never announced") && !report.contains("was replaced"), "{report}");
}

/// Each answer names the mapping that the ledger named last before it, and has the fields of that one.
fn judge(load: &Load, narrow: &str, wide: &str, before: usize) {
    let (narrow, wide) = (sha256(narrow.as_bytes()), sha256(wide.as_bytes()));
    let entered = entered(&load.scene);
    // It had been entered before, too, when the scene was set.
    let changed = entered.iter().rfind(|(_, digest)| *digest == wide).unwrap().0;
    let came = load.came.lock().unwrap();
    assert!(came.len() > before && before > 0);
    for one in came.iter() {
        let named = if one.index > changed { wide } else { narrow };
        assert_eq!(one.mapping, named, "entry {}, changed with {changed}", one.index);
        assert_eq!(one.alive, named == wide, "entry {}", one.index);
    }
    assert!(came.iter().any(|one| one.mapping == narrow) && came.iter().any(|one| one.mapping == wide));
    println!(
        "{} answers, {} of them before the change, none lost",
        came.len(),
        came.iter().filter(|one| !one.alive).count()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_member_or_that_is_gone_changes_nothing() {
    let (load, host, file, (narrow, _)) = serving(152).await;
    let digest = hex(&sha256(narrow.as_bytes()));
    std::fs::write(&file, narrow.replace("owner = \"police\"", "owner = \"health\"")).unwrap();
    let status =
        until(&host, "refused", |status| status["degraded"].to_string().contains("belongs to `health`"))
            .await;
    assert_eq!(status["mappings"]["served"][0]["sha256"], digest.as_str());
    std::fs::remove_file(&file).unwrap();
    until(&host, "gone", |status| status["degraded"].to_string().contains("cannot be read")).await;
    assert_eq!(load.scene.outcome(&load.scene.signed()).await, "answered");
    // A setting that is missing is told as at a start.
    std::fs::write(&file, narrow.replace("POLICE_DB", "NOWHERE")).unwrap();
    until(&host, "missing", |status| status["degraded"].to_string().contains("`NOWHERE` is not set")).await;
    assert_eq!(load.scene.outcome(&load.scene.signed()).await, "answered");
    host.stop().await;
}

pub(crate) const PASS: &str = r#"format = "adapter/1"
mapping = "police.pass"
record = "BusPass"
owner = "police"

[source.sqlite]
path = { env = "POLICE_DB" }
read_only = true
time_zone = "Asia/Shanghai"

[[operation]]
name = "pass.by_id"
kind = "lookup"
subject = "id"
params.id = { type = "string", pattern = "^[0-9]{17}[0-9X]$" }
sql = "select SWBZ = '0' as JZ, GXSJ from T_RY where SFZH = :id order by GXSJ desc limit 1"
limit = 1
timeout = "2s"

[operation.fields]
in_force = { from = "JZ", type = "bool" }
as_of = { from = "GXSJ", type = "timestamp", required = true }
"#;

/// `BusPass`, signed by one provider.
pub(crate) fn bus_pass() -> Vec<u8> {
    let root = SecretKey::from_seed(&[7; 32]);
    let text = serde_json::json!({
        "format": "yiwang-record-type/1", "record": "BusPass", "version": 1, "owner": "police", "subject": "person",
        "about": "a pass for public transport", "zh": "公交卡",
        "fields": {"in_force": {"type": "bool", "class": 2, "about": "whether it is valid today"}},
        "providers": [{"member": "police", "root": root.public().to_base64()}],
    });
    let text = RecordTypeText::parse(text.to_string().as_bytes()).unwrap().to_json();
    SignedDocument::sign(payload_type::RECORD_TYPE, &text, &[&root]).bytes().to_vec()
}

/// A mapping of a record type that members added is judged by the file that the configuration names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_type_that_members_added_is_known_when_a_mapping_changes() {
    let mut scene = Scene::new(153).await;
    scene.adapter.take().unwrap().stop().await;
    let folder = scene.world.dir.path();
    let (file, pass) = (folder.join("person.toml"), folder.join("bus-pass.json"));
    let before = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    scene.police.mappings = vec![file.clone()];
    let plain = adapter_config(&scene.police);
    let with = plain.replace("mappings =", &format!("record_types = [{:?}]\nmappings =", pass.display()));
    std::fs::write(&file, &before).unwrap();
    let host = Host::start(&scene.world, &scene.police, &plain).await;
    host.until_ready().await;
    std::fs::write(&file, PASS).unwrap();
    until(&host, "refused", |status| status["degraded"].to_string().contains("not in the catalogue")).await;
    host.stop().await;
    std::fs::write(&file, &before).unwrap();
    std::fs::write(&pass, bus_pass()).unwrap();
    let host = Host::start(&scene.world, &scene.police, &with).await;
    host.until_ready().await;
    std::fs::write(&file, PASS).unwrap();
    let digest = hex(&sha256(PASS.as_bytes()));
    until(&host, "taken up", |status| status["mappings"]["served"][0]["sha256"] == digest.as_str()).await;
    host.stop().await;
}

/// The register as it is, and the register's residences, of which each test makes what it needs.
async fn two_files(seed: u64) -> (Scene, PathBuf, PathBuf, String) {
    let mut scene = Scene::new(seed).await;
    scene.adapter.take().unwrap().stop().await;
    let folder = scene.world.dir.path();
    let (residence, person) = (folder.join("residence.toml"), folder.join("person.toml"));
    std::fs::copy(&scene.police.mappings[0], &person).unwrap();
    scene.police.mappings = vec![residence.clone(), person.clone()];
    let good = include_str!("../../../departments/police/residence.toml").to_owned();
    (scene, residence, person, good)
}

/// What a reload refuses does not serve after a restart either, which an upgrade performs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_leaves_out_what_check_refuses_and_the_others_serve() {
    let (scene, file, person, good) = two_files(154).await;
    for (bad, why) in [
        // By its shape, by its names, by whose it is, and by what serves already; the last is one that cannot be read.
        (
            good.replace("timeout = ", "timeuot = "),
            "residence.toml:31:1: unknown key `timeuot` in an operation (did you mean",
        ),
        (good.replace("\"1\" = \"registered\"", "\"1\" = \"key person\""), "A-MAP-002"),
        (good.replace("owner = \"police\"", "owner = \"health\""), "belongs to `health`"),
        (std::fs::read_to_string(&person).unwrap(), "two mappings serve `person.by_id` of `Person`"),
        (String::new(), "cannot be read"),
    ] {
        assert_ne!(bad, good);
        std::fs::remove_file(&file).ok();
        if !bad.is_empty() {
            std::fs::write(&file, &bad).unwrap();
        }
        // The first that serves an operation keeps it.
        let twice = why.starts_with("two mappings");
        let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
        host.until_ready().await;
        let status = status(&host).await;
        assert!(status["degraded"].to_string().contains(why), "{why}: {status:#}");
        let (served, left) = if twice { (&file, &person) } else { (&person, &file) };
        let mappings = &status["mappings"];
        assert_eq!(mappings["served"].as_array().unwrap().len(), 1, "{status:#}");
        assert_eq!(mappings["served"][0]["file"], served.display().to_string());
        assert_eq!(mappings["left_out"][0]["file"], left.display().to_string());
        let ready = host.health("/ready").await;
        assert!(
            ready.status == 200 && ready.body.contains("is left out; its operations are unavailable: "),
            "{ready:?}"
        );
        assert!(host.health("/metrics").await.body.contains("\nyiwang_mapping_reload_failed 1\n"));
        assert_eq!(scene.outcome(&scene.signed()).await, "answered", "{why}");
        // Once it is mended it serves in its place, without another start.
        std::fs::write(&file, &good).unwrap();
        if !twice {
            let both = |status: &Value| status["mappings"]["served"].as_array().unwrap().len() == 2;
            let status = until(&host, "mended", both).await;
            assert_eq!(status["degraded"], Value::Array(Vec::new()), "{status:#}");
            let served = status["mappings"]["served"].as_array().unwrap();
            let files: Vec<_> = served.iter().map(|one| one["file"].as_str().unwrap()).collect();
            assert_eq!(files, [file.display().to_string(), person.display().to_string()], "{why}");
            assert_eq!(status["mappings"]["left_out"], Value::Array(Vec::new()));
        }
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_mapping_holds_the_host_does_not_start_and_says_all() {
    let (scene, file, person, good) = two_files(155).await;
    std::fs::write(&file, good.replace("timeout = ", "timeuot = ")).unwrap();
    let text = std::fs::read_to_string(&person).unwrap();
    std::fs::write(&person, text.replace("sex = \"male\"", "sex = \"female\"")).unwrap();
    let Err(error) = Host::try_start(&scene.world, &scene.police, &adapter_config(&scene.police)).await
    else {
        panic!("started")
    };
    let HostError::Mapping(faults) = &error else { panic!("{error}") };
    let told: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
    assert!(!error.is_environment(), "exit code 2");
    assert!(
        told.contains("timeuot") && told.contains("person.toml:") && told.contains("A-MAP-010"),
        "{told}"
    );
}

/// A setting comes without a change of the mapping: whoever puts its file there need not touch the mapping too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_whose_setting_is_missing_is_taken_up_once_the_setting_is_there() {
    let (scene, file, person, good) = two_files(156).await;
    let database = scene.police.settings.0["POLICE_DB"].clone();
    let elsewhere = |text: &str, name: &str| {
        let bent = text.replace("{ env = \"POLICE_DB\" }", &format!("{{ file = \"{name}\" }}"));
        assert_ne!(bent, text);
        bent
    };
    // One from the start, and one that changes later.
    std::fs::write(&file, elsewhere(&good, "first")).unwrap();
    let host = Host::start(&scene.world, &scene.police, &adapter_config(&scene.police)).await;
    host.until_ready().await;
    let why = |status: &Value| status["degraded"].to_string();
    assert!(why(&status(&host).await).contains("it is looked for again"));
    std::fs::write(file.with_file_name("first"), &database).unwrap();
    until(&host, "taken up", |status| status["degraded"] == Value::Array(Vec::new())).await;
    let changed = elsewhere(&std::fs::read_to_string(&person).unwrap(), "second");
    std::fs::write(&person, &changed).unwrap();
    let told = until(&host, "refused", |status| why(status).contains("it is looked for again")).await;
    let failures = told["mappings"]["refused_changes"].clone();
    // Long enough for another try, which tells nothing new.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(status(&host).await["mappings"]["refused_changes"], failures);
    std::fs::write(person.with_file_name("second"), &database).unwrap();
    let digest = hex(&sha256(changed.as_bytes()));
    let serves = |status: &Value| status["mappings"]["served"][1]["sha256"] == digest.as_str();
    let status = until(&host, "taken up", serves).await;
    assert_eq!(status["degraded"], Value::Array(Vec::new()), "{status:#}");
    host.stop().await;
}
