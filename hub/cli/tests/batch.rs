//! `yiwang query batch` with hub and adapter as processes: a file that goes on where it was, whatever ended the run.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "catalogue/town.rs"]
mod town;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use town::{Running, free_port, good, hub, member, start, yiwang};

const ROWS: usize = 2_500;

const MAPPING: &str = r#"format = "adapter/1"
mapping = "housing.dwelling"
record = "Dwelling"
owner = "housing"
[source.sqlite]
path = { env = "HOUSING_DB" }
time_zone = "Asia/Shanghai"
[[operation]]
name = "dwelling.all"
kind = "batch"
key = "CODE"
sql = "select CODE, USE_TX, UPD from DWELLING"
limit = 1000
timeout = "5s"
[operation.fields]
address_code = { from = "CODE", type = "string", required = true }
use = { from = "USE_TX", type = "string" }
as_of = { from = "UPD", type = "timestamp", required = true }
[[test]]
name = "a dwelling"
operation = "dwelling.all"
rows = [{ CODE = "d-1", USE_TX = "home", UPD = "2026-11-01T08:00:00+08:00" }]
expect = [{ address_code = "d-1", use = "home", as_of = "2026-11-01T08:00:00+08:00" }]
"#;

fn register(path: &Path) {
    let mut db = rusqlite::Connection::open(path).unwrap();
    let all = db.transaction().unwrap();
    all.execute_batch("create table DWELLING (CODE text primary key, USE_TX text, UPD text not null)")
        .unwrap();
    for number in 0..ROWS {
        let code = format!("d-{:05}", number * 7919 % 100_000);
        all.execute("insert into DWELLING values (?, 'home', '2026-11-01T08:00:00+08:00')", [code]).unwrap();
    }
    all.commit().unwrap();
}

fn contract(roots: (&str, &str)) -> Value {
    json!({
        "format": "yiwang-contract/1", "id": "housing-street-dwellings", "version": 1,
        "provider": {"member": "housing", "root": roots.0, "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": roots.1, "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "which dwellings there are, for the plan of a street",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"], "method": "batch",
        "record": "Dwelling", "operations": ["dwelling.all"], "fields": ["address_code", "use"], "apps": ["desk"],
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z",
        "limits": {"rows": 1000, "per_app_per_minute": 600, "per_officer_per_day": 10_000, "deadline_ms": 5000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 1, "notice": "immediate",
    })
}

/// Both members' hosts; they end with what is returned.
fn hosts(dir: &Path) -> [Running; 2] {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    register(&dir.join("housing.db"));
    let health = [free_port(), free_port()];
    std::fs::write(dir.join("housing/dwelling.toml"), MAPPING).unwrap();
    let adapter = format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\nadapter = \"main\"\nmappings = [\"dwelling.toml\"]\njournal = \"journal\"\n[health]\nlisten = \"{}\"\n",
        health.first().unwrap()
    );
    std::fs::write(dir.join("housing/adapter.toml"), adapter).unwrap();
    let gateway = format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\n[health]\nlisten = \"{}\"\n[gateway]\nlisten = \"{}\"\n[[gateway.app]]\nname = \"desk\"\ntoken_sha256 = \"{}\"\n",
        health.last().unwrap(),
        free_port(),
        "0".repeat(64)
    );
    std::fs::write(dir.join("street-office/adapter.toml"), gateway).unwrap();
    let db = at("housing.db");
    let run = |member: &str, address: &str| {
        let config = at(&format!("{member}/adapter.toml"));
        start(dir, &["adapter", "run", "--config", &config], &[("HOUSING_DB", db.as_str())], address)
    };
    let [one, two] = &health;
    [run("housing", one), run("street-office", two)]
}

/// A town with the contract in force and an open case: what runs, the consumer's folder, the case.
fn town(dir: &Path) -> (Running, [Running; 2], String, String) {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let running_hub = hub(dir);
    let (housing, housing_root) = member(dir, "housing");
    let (street, street_root) = member(dir, "street-office");
    for (folder, role, name) in [
        (&housing, "adapter", "main"),
        (&housing, "standing", "main"),
        (&street, "standing", "main"),
        (&street, "app", "desk"),
    ] {
        good(&["member", "delegate", "--folder", folder, "--role", role, "--name", name, "--publish"]);
    }
    let hosts = hosts(dir);
    let text = at("contract.json");
    std::fs::write(&text, contract((&housing_root, &street_root)).to_string()).unwrap();
    let (half, whole) = (at("half.json"), at("whole.json"));
    good(&["contract", "sign", "--folder", &housing, &text, "-o", &half]);
    good(&["contract", "sign", "--folder", &street, &half, "-o", &whole]);
    good(&["contract", "publish", "--folder", &street, &whole]);
    let opened = good(&[
        "case",
        "open",
        "--folder",
        &street,
        "--app",
        "desk",
        "--matter",
        "social-assistance",
        "--subject",
        "980101199001010017",
    ]);
    let case =
        opened.split_whitespace().find(|word| word.len() == 36).unwrap_or_else(|| opened.trim()).to_owned();
    (running_hub, hosts, street, case)
}

#[test]
fn a_batch_goes_on_where_it_was_and_each_page_is_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (running_hub, _hosts, street, case) = town(dir.path());
    let out = at("dwellings.jsonl");
    let batch = |record: &str, out: &str, more: &[&str]| {
        let all = [
            "query",
            "batch",
            "--folder",
            &street,
            "--app",
            "desk",
            "--case",
            &case,
            "--purpose",
            "social-assistance.eligibility",
            "--record",
            record,
            "--out",
            out,
        ];
        yiwang(&[&all, more].concat())
    };
    let ask = |more: &[&str]| batch("Dwelling", &out, more);
    let first = ask(&["--pages", "1"]);
    assert!(first.code == 0 && first.out.contains("1000 rows in 1 pages"), "{}{}", first.out, first.error);
    // A run that ended in the middle of its second page: half a line is there, and the state is of the first.
    let mut torn = std::fs::read(&out).unwrap();
    torn.extend_from_slice(b"{\"fields\":{\"code\":\"d-");
    std::fs::write(&out, torn).unwrap();
    let rest = ask(&[]);
    assert!(rest.code == 0 && rest.out.contains("2500 rows in 3 pages"), "{}{}", rest.out, rest.error);
    let again = ask(&[]);
    assert!(again.code == 0 && again.out.contains("complete"), "{}{}", again.out, again.error);
    let text = std::fs::read_to_string(&out).unwrap();
    let codes: BTreeSet<String> = text
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            record.pointer("/fields/address_code").and_then(Value::as_str).unwrap().to_owned()
        })
        .collect();
    assert_eq!((text.lines().count(), codes.len()), (ROWS, ROWS));
    let other = ask(&["--field", "use"]);
    assert!(other.code == 2 && other.error.contains("of another batch"), "{}", other.error);
    let none = batch("Person", &at("none.jsonl"), &[]);
    assert!(none.code == 1 && none.error.contains("permissions"), "{}", none.error);
    drop(running_hub);
    let ledger = at("hub/ledger");
    let key = std::fs::read_to_string(format!("{ledger}/verifier.key")).unwrap();
    let verified = good(&["audit", "verify", "--ledger", &ledger, "--key", key.trim()]);
    assert!(verified.contains("CLEAN"), "{verified}");
}
