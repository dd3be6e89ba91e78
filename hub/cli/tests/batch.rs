//! Batches and counts with hub, adapter and gateway as processes: a file of `yiwang query batch` goes on where it was,
//! whatever ended the run, and an app's pages over REST do so too.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "catalogue/town.rs"]
mod town;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use town::{Running, free_port, good, hub, member, start, yiwang};

const ROWS: usize = 2_500;
/// Uses of dwellings and how many have them; the rest are homes. Three halls are too few to be shown, and nineteen offices
/// would give them away.
const USES: [(&str, usize); 3] = [("hall", 3), ("office", 19), ("shop", 40)];
const TOKEN: &str = "a-token-of-the-desk";
const OTHER_TOKEN: &str = "a-token-of-another-desk";

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
[[operation]]
name = "dwelling.count"
kind = "count"
sql = "select USE_TX from DWELLING"
timeout = "5s"
[operation.by]
use = { from = "USE_TX", type = "string", values = ["home", "hall", "office", "shop"] }
[[test]]
name = "a dwelling"
operation = "dwelling.all"
rows = [{ CODE = "d-1", USE_TX = "home", UPD = "2026-11-01T08:00:00+08:00" }]
expect = [{ address_code = "d-1", use = "home", as_of = "2026-11-01T08:00:00+08:00" }]
[[test]]
name = "three halls are not shown"
operation = "dwelling.count"
rows = [{ USE_TX = "home", count = 30 }, { USE_TX = "hall", count = 3 }, { USE_TX = "office", count = 19 }, { USE_TX = "shop", count = 40 }]
expect = [{ use = "home", count = 30 }, { use = "shop", count = 40 }]
"#;

fn register(path: &Path) {
    let mut db = rusqlite::Connection::open(path).unwrap();
    let all = db.transaction().unwrap();
    all.execute_batch("create table DWELLING (CODE text primary key, USE_TX text, UPD text not null)")
        .unwrap();
    let mut uses = USES.iter().flat_map(|(name, times)| std::iter::repeat_n(*name, *times));
    for number in 0..ROWS {
        let code = format!("d-{:05}", number * 7919 % 100_000);
        let row = [code.as_str(), uses.next().unwrap_or("home")];
        all.execute("insert into DWELLING values (?, ?, '2026-11-01T08:00:00+08:00')", row).unwrap();
    }
    all.commit().unwrap();
}

fn contract(roots: (&str, &str), method: &str, operation: &str, fields: &[&str]) -> Value {
    json!({
        "format": "yiwang-contract/1", "id": format!("housing-street-{method}"), "version": 1,
        "provider": {"member": "housing", "root": roots.0, "approver": "o-aaaaaaaaaaaaaaaa"},
        "consumer": {"member": "street-office", "root": roots.1, "approver": "o-bbbbbbbbbbbbbbbb"},
        "legal_basis": "Interim Measures for Social Assistance, art. 58",
        "scenario": "which dwellings there are, for the plan of a street",
        "purpose": "social-assistance.eligibility", "matters": ["social-assistance"], "method": method,
        "record": "Dwelling", "operations": [operation], "fields": fields, "apps": ["desk", "other-desk"],
        "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z",
        "limits": {"rows": 1000, "per_app_per_minute": 600, "per_officer_per_day": 10_000, "deadline_ms": 5000},
        "retention_days": 30, "disposal_days": 10, "onward_sharing": "none", "class": 1, "notice": "immediate",
    })
}

/// A town with the contracts in force and an open case.
struct Town {
    hub: Running,
    housing: Option<Running>,
    /// The host with the gateway; taken by who starts it again.
    office: Option<Running>,
    gateway: String,
    office_health: String,
    street: String,
    case: String,
}

fn provider(dir: &Path) -> Running {
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    register(&dir.join("housing.db"));
    let health = free_port();
    std::fs::write(dir.join("housing/dwelling.toml"), MAPPING).unwrap();
    let adapter = format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\nadapter = \"main\"\nmappings = [\"dwelling.toml\"]\njournal = \"journal\"\n[health]\nlisten = \"{health}\"\n"
    );
    std::fs::write(dir.join("housing/adapter.toml"), adapter).unwrap();
    let (config, db) = (at("housing/adapter.toml"), at("housing.db"));
    start(dir, &["adapter", "run", "--config", &config], &[("HOUSING_DB", db.as_str())], &health)
}

fn office(dir: &Path, gateway: &str, health: &str) -> Running {
    let mut text = format!(
        "format = \"adapter-host/1\"\nmember_folder = \".\"\n[health]\nlisten = \"{health}\"\n[gateway]\nlisten = \"{gateway}\"\n"
    );
    for (app, token) in [("desk", TOKEN), ("other-desk", OTHER_TOKEN)] {
        let digest = yiwang_proto::hex(&yiwang_proto::sha256(token.as_bytes()));
        text.push_str(&format!("[[gateway.app]]\nname = \"{app}\"\ntoken_sha256 = \"{digest}\"\n"));
    }
    let path = dir.join("street-office/adapter.toml");
    std::fs::write(&path, text).unwrap();
    start(dir, &["adapter", "run", "--config", path.to_str().unwrap()], &[], gateway)
}

impl Town {
    fn new(dir: &Path) -> Self {
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let hub = hub(dir);
        let (housing, housing_root) = member(dir, "housing");
        let (street, street_root) = member(dir, "street-office");
        for (folder, role, name) in [
            (&housing, "adapter", "main"),
            (&housing, "standing", "main"),
            (&street, "standing", "main"),
            (&street, "app", "desk"),
            (&street, "app", "other-desk"),
        ] {
            good(&["member", "delegate", "--folder", folder, "--role", role, "--name", name, "--publish"]);
        }
        let (gateway, office_health) = (free_port(), free_port());
        let (provider, office) = (provider(dir), office(dir, &gateway, &office_health));
        for (method, operation, fields) in
            [("batch", "dwelling.all", &["address_code", "use"][..]), ("count", "dwelling.count", &["use"])]
        {
            let text = contract((&housing_root, &street_root), method, operation, fields);
            let [draft, half, whole] =
                ["draft", "half", "whole"].map(|name| at(&format!("{method}-{name}.json")));
            std::fs::write(&draft, text.to_string()).unwrap();
            good(&["contract", "sign", "--folder", &housing, &draft, "-o", &half]);
            good(&["contract", "sign", "--folder", &street, &half, "-o", &whole]);
            good(&["contract", "publish", "--folder", &street, &whole]);
            let kept =
                dir.join("street-office/contracts").join(format!("{}.json", text["id"].as_str().unwrap()));
            assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(&whole).unwrap(), "the folder keeps it");
        }
        let app = ["case", "open", "--folder", &street, "--app", "desk", "--matter", "social-assistance"];
        let opened = good(&[&app[..], &["--subject", "980101199001010017"]].concat());
        let case = opened.split_whitespace().find(|word| word.len() == 36);
        let case = case.unwrap_or_else(|| opened.trim()).to_owned();
        Self { hub, housing: Some(provider), office: Some(office), gateway, office_health, street, case }
    }

    /// One request to the gateway, as any program makes it: status and body.
    fn send(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let mut stream = std::net::TcpStream::connect(&self.gateway).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// A question about dwellings; `more` comes to what every question has.
    fn ask(&self, token: &str, path: &str, more: &Value) -> (u16, Value) {
        let mut body = json!({ "purpose": "social-assistance.eligibility", "case": self.case });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.send("POST", path, token, &body.to_string())
    }

    /// Waits until the gateway has met the hub, and the provider is there.
    fn until_met(&self) {
        let met = (0..1500).any(|_| {
            let (status, allowed) = self.send("GET", "/v1/permissions", TOKEN, "");
            let contracts = allowed["contracts"].as_array();
            let met = status == 200 && contracts.unwrap().iter().all(|one| one["connected"] == true);
            if !met {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            met
        });
        assert!(met, "the gateway did not meet the hub and the provider within 30 s");
    }

    /// The verifier's word on the ledger, once the hub is gone.
    fn verified(self, dir: &Path) -> String {
        drop(self.hub);
        let ledger = dir.join("hub/ledger").to_str().unwrap().to_owned();
        let key = std::fs::read_to_string(format!("{ledger}/verifier.key")).unwrap();
        good(&["audit", "verify", "--ledger", &ledger, "--key", key.trim()])
    }
}

#[test]
fn a_batch_goes_on_where_it_was_and_each_page_is_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut town = Town::new(dir.path());
    let (street, case) = (town.street.clone(), town.case.clone());
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
    assert!(first.code == 0 && first.out.contains("1000 rows in 1 page, "), "{}{}", first.out, first.error);
    // A run that ended in the middle of its second page: half a line is there, and the state is of the first.
    let mut torn = std::fs::read(&out).unwrap();
    torn.extend_from_slice(b"{\"fields\":{\"code\":\"d-");
    std::fs::write(&out, torn).unwrap();
    let rest = ask(&[]);
    assert!(rest.code == 0 && rest.out.contains("2500 rows in 3 pages"), "{}{}", rest.out, rest.error);
    // A file that is complete asks nobody for anything.
    drop(town.housing.take());
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
    let verified = town.verified(dir.path());
    assert!(verified.contains("CLEAN"), "{verified}");
}

const BATCHES: &str = "/v1/batches/Dwelling";

/// What a naive reader of the register finds, in the order of its key.
fn naive(dir: &Path) -> Vec<(String, String)> {
    let db = rusqlite::Connection::open(dir.join("housing.db")).unwrap();
    let mut all = db.prepare("select CODE, USE_TX from DWELLING order by CODE").unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn pages_over_rest_are_all_rows_also_over_a_restart_of_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let mut town = Town::new(dir.path());
    town.until_met();
    let (_, allowed) = town.send("GET", "/v1/permissions", TOKEN, "");
    let told: Vec<(&str, &str)> = allowed["contracts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["method"].as_str().unwrap(), one["route"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("batch", BATCHES), ("count", "/v1/counts/Dwelling")]);
    let (mut rows, mut receipts, mut more) = (Vec::new(), BTreeSet::new(), json!({}));
    loop {
        let (status, page) = town.ask(TOKEN, BATCHES, &more);
        assert_eq!(status, 200, "{page}");
        let records = page["records"].as_array().unwrap();
        assert_eq!(page["rows"], records.len());
        assert_eq!((&page["contract"], &page["withheld"]), (&json!("housing-street-batch"), &json!([])));
        assert!(receipts.insert(page["receipt"].as_u64().unwrap()), "each page is an entry of its own");
        for record in records {
            let text = |name: &str| record["fields"][name].as_str().unwrap().to_owned();
            rows.push((text("address_code"), text("use")));
        }
        if page["resume"].is_null() {
            break;
        }
        more = json!({ "resume": page["resume"] });
        if receipts.len() == 1 {
            // The gateway keeps nothing: killed and started again, it goes on with what the app has.
            drop(town.office.take());
            town.office = Some(office(dir.path(), &town.gateway, &town.office_health));
            town.until_met();
        }
    }
    assert_eq!(rows, naive(dir.path()));
    assert_eq!(receipts.len(), 3);
    let verified = town.verified(dir.path());
    assert!(verified.contains("CLEAN"), "{verified}");
}

#[test]
fn a_token_of_another_app_or_query_is_refused_like_one_that_nobody_gave() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    town.until_met();
    let (_, page) = town.ask(TOKEN, BATCHES, &json!({}));
    let resume = page["resume"].as_str().unwrap();
    let bent: String = resume.chars().rev().collect();
    let refused = |token: &str, more: Value| {
        let (status, mut problem) = town.ask(token, BATCHES, &more);
        assert_eq!((status, &problem["code"]), (422, &json!("argument_invalid")), "{problem}");
        assert!(problem["receipt"].is_u64() && !problem.to_string().contains(resume), "{problem}");
        let problem = problem.as_object_mut().unwrap();
        for own in ["receipt", "request_id", "trace_id"] {
            problem.remove(own).unwrap();
        }
        problem.clone()
    };
    let unknown = refused(TOKEN, json!({ "resume": bent }));
    assert!(unknown["detail"].as_str().unwrap().contains("begin anew"), "{unknown:?}");
    assert_eq!(refused(OTHER_TOKEN, json!({ "resume": resume })), unknown, "another app");
    assert_eq!(refused(TOKEN, json!({ "resume": resume, "fields": ["use"] })), unknown, "another query");
    // What is no token at all, and the null of a last page, never leave the gateway.
    for resume in [json!(""), json!("a b"), json!(null), json!(7), json!("x".repeat(1025))] {
        let (status, problem) = town.ask(TOKEN, BATCHES, &json!({ "resume": resume }));
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("#/resume")), "{problem}");
    }
    let (status, _) = town.ask(TOKEN, BATCHES, &json!({ "resume": resume }));
    assert_eq!(status, 200, "the token is good all the while");
}

#[test]
fn counts_over_rest_are_those_of_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let town = Town::new(dir.path());
    town.until_met();
    let app = ["query", "count", "--folder", &town.street, "--app", "desk", "--case", &town.case];
    let what = ["--purpose", "social-assistance.eligibility", "Dwelling", "--by", "use"];
    let mut printed: Value = serde_json::from_str(&good(&[&app[..], &what].concat())).unwrap();
    let (status, mut answer) = town.ask(TOKEN, "/v1/counts/Dwelling", &json!({ "by": ["use"] }));
    assert_eq!((status, &answer["complete"]), (200, &json!(true)), "{answer}");
    let mut receipts = BTreeSet::new();
    for counted in [&mut printed[0], &mut answer["counts"][0]] {
        receipts.insert(counted.as_object_mut().unwrap().remove("receipt").unwrap().as_u64().unwrap());
    }
    assert_eq!((answer["counts"].clone(), receipts.len()), (printed, 2));
    let cells = answer["counts"][0]["cells"].as_array().unwrap();
    let shown: Vec<(&str, u64)> = cells
        .iter()
        .map(|cell| (cell["fields"]["use"].as_str().unwrap(), cell["count"].as_u64().unwrap()))
        .collect();
    let homes = ROWS - USES.iter().map(|(_, times)| times).sum::<usize>();
    assert_eq!(shown, [("home", u64::try_from(homes).unwrap()), ("shop", 40)]);
    for (path, status, code) in [
        ("/v1/counts/Person", 403, "no_contract"),
        ("/v1/counts/Nothing", 404, "not_found"),
        ("/v1/counts/nothing", 404, "not_found"),
        ("/v1/batches/Person", 403, "no_contract"),
    ] {
        let (found, problem) = town.ask(TOKEN, path, &json!({}));
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{path}: {problem}");
    }
    // What is taken back must be there: one folder keeps the contract that it published, the other asks the hub.
    let housing = dir.path().join("housing").to_str().unwrap().to_owned();
    let revoke = |folder: &str, id: &str| yiwang(&["member", "revoke", "--folder", folder, "--contract", id]);
    let said = revoke(&town.street, "housing-street-cuont").error;
    assert!(said.contains("did you mean `housing-street-count`?"), "{said}");
    // Whether something is taken back is not for the hub to say, but for the one whose contract it is.
    let done = revoke(&housing, "housing-street-cuont");
    assert!(
        done.code == 0 && done.error.contains("knows no contract `housing-street-cuont` of `housing`"),
        "{}",
        done.error
    );
    for folder in [&housing, &town.street] {
        let done = revoke(folder, "housing-street-count");
        assert!(
            done.code == 0 && done.out.contains("acknowledged") && done.error.is_empty(),
            "{}",
            done.error
        );
    }
    let verified = town.verified(dir.path());
    assert!(verified.contains("CLEAN"), "{verified}");
}
