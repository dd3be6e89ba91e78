//! Counts over real hub and adapter: what a contract for counts gives, what it does not, and what a contract for
//! queries never gives.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yiwang_client::client::Client;
use yiwang_client::count::{CountQuery, Counted};
use yiwang_client::exchange::{Ask, Ending};
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::{Contract, Scalar};
use yiwang_proto::ids::{CaseId, FieldName, Matter, Operation, Purpose, RecordType};
use yiwang_proto::request::OfficerBy;
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::scene::{fields, verify_ledger};
use yiwang_tests::world::World;

/// Calls by township and kind; the harbour has three fires and nothing can be told of them.
const CALLS: [(&str, &str, u32); 8] = [
    ("north", "1", 25),
    ("north", "2", 14),
    ("north", "3", 40),
    ("harbour", "1", 31),
    ("harbour", "2", 12),
    ("harbour", "3", 3),
    ("hills", "1", 17),
    ("hills", "3", 11),
];

const MAPPING: &str = r#"format = "adapter/1"
mapping = "calls.incident"
record = "Incident"
owner = "emergency-call"

[source.sqlite]
path = "calls.db"
time_zone = "Asia/Shanghai"

[codes.type]
"1" = "medical"
"2" = "traffic"
"3" = "fire"
unknown = "fail"

[[operation]]
name = "incident.count"
kind = "count"
sql = "select TOWN, KIND from CALL -- all of them"
timeout = "5s"
[operation.by]
township = { from = "TOWN", type = "string", values = ["north", "harbour", "hills"] }
type = { from = "KIND", type = "code", codes = "type" }

[[operation]]
name = "incident.by_township"
kind = "search"
params.township = { type = "string", pattern = "[a-z]+" }
sql = "select TOWN, KIND from CALL where TOWN = :township"
limit = 200
timeout = "5s"
[operation.fields]
township = { from = "TOWN", type = "string" }
type = { from = "KIND", type = "code", codes = "type" }

[[test]]
name = "small cells are not shown"
operation = "incident.count"
rows = [
  { TOWN = "north", KIND = "1", count = 30 }, { TOWN = "north", KIND = "2", count = 12 },
  { TOWN = "north", KIND = "3", count = 4 }, { TOWN = "hills", KIND = "1", count = 10 },
]
expect = [
  { township = "north", type = "medical", count = 30 },
  { township = "hills", type = "medical", count = 10 },
]
"#;

struct Town {
    world: World,
    calls: Member,
    health: Member,
    adapter: RunningAdapter,
    app: Client,
    case: CaseId,
    database: PathBuf,
}

fn add(database: &Path, town: &str, kind: &str, times: u32) {
    let db = Connection::open(database).unwrap();
    for _ in 0..times {
        db.execute("insert into CALL values (?, ?)", [town, kind]).unwrap();
    }
}

fn contract(calls: &Member, health: &Member, id: &str, operation: &str, now_ms: i64) -> Draft {
    draft(calls, health, id, now_ms)
        .record("Incident", operation, &["township", "type"], 1)
        .with("purpose", json!("public-health.planning"))
        .with("matters", json!(["health-planning"]))
        .with("apps", json!(["planning-desk"]))
        .limit("rows", 100)
}

impl Town {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed).await;
        let mut calls = world.member("emergency-call").await;
        let health = world.member("health").await;
        let mapping = world.dir.path().join("calls.toml");
        let database = world.dir.path().join("calls.db");
        std::fs::write(&mapping, MAPPING).unwrap();
        Connection::open(&database)
            .unwrap()
            .execute_batch("create table CALL (TOWN text, KIND text)")
            .unwrap();
        for (town, kind, times) in CALLS {
            add(&database, town, kind, times);
        }
        calls.mappings = vec![mapping];
        let adapter = calls.run_adapter(&world).await;
        let app = health.app(&world, "planning-desk").await;
        let (case, _) = app.open_case(&Matter::parse("health-planning").unwrap(), &[]).await.unwrap();
        Self { world, calls, health, adapter, app, case, database }
    }

    async fn agree(&self, id: &str, method: &str, operation: &str) -> Contract {
        let text = contract(&self.calls, &self.health, id, operation, self.world.clock.now_ms())
            .with("method", json!(method));
        Contract::open(&self.world.agree(&text, &self.calls, &self.health).await).unwrap()
    }

    async fn count(&self, by: &[&str]) -> Vec<Counted> {
        let query = CountQuery {
            record: RecordType::parse("Incident").unwrap(),
            by: fields(by),
            purpose: Purpose::parse("public-health.planning").unwrap(),
            case: self.case.clone(),
            officer: None,
            officer_by: OfficerBy::Asserted,
        };
        self.app.count(&query).await.unwrap()
    }

    /// The cells of the one provider, by their values in the order of the fields' names.
    async fn cells(&self, by: &[&str]) -> BTreeMap<Vec<String>, u64> {
        let counted = self.count(by).await;
        let [counted] = counted.as_slice() else { panic!("{counted:?}") };
        assert_eq!((counted.state.as_str(), counted.truncated), ("answered", false), "{counted:?}");
        assert!(counted.receipt.is_some());
        let value = |cell: &yiwang_client::count::Cell| {
            cell.fields.values().map(|value| value.as_str().unwrap().to_owned()).collect()
        };
        counted.cells.iter().map(|cell| (value(cell), cell.count)).collect()
    }

    fn ask(&self, operation: &str, subject: &str) -> Ask {
        Ask {
            operation: Operation::parse(operation).unwrap(),
            fields: fields(&["township", "type"]),
            case: self.case.clone(),
            officer: None,
            subject: subject.to_owned(),
            arguments: Arguments::new(),
            retry_of: None,
        }
    }

    /// The code and clause of a refusal.
    async fn refused(&self, contract: &Contract, ask: &Ask) -> (String, String) {
        let signed = self.app.sign(contract, ask);
        match self.app.exchange(contract, &signed).await.unwrap().ending {
            Ending::Denied { code, clause } => (code, clause),
            other => panic!("not denied: {other:?}"),
        }
    }
}

fn key(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_contract_for_counts_gives_cells_that_are_plain_counts_and_never_a_small_one() {
    let mut town = Town::new(340).await;
    assert!(town.count(&[]).await.is_empty(), "without a contract nothing is asked");
    town.agree("emergency-health-counts", "count", "incident.count").await;
    let both = town.cells(&["township", "type"]).await;
    // The harbour's fires are three: they are hidden with the harbour's next smallest, and the hills' traffic,
    // of which there is none, with the hills' fires.
    let wanted = [
        (key(&["harbour", "medical"]), 31),
        (key(&["hills", "medical"]), 17),
        (key(&["north", "fire"]), 40),
        (key(&["north", "medical"]), 25),
        (key(&["north", "traffic"]), 14),
    ];
    assert_eq!(both, wanted.into());
    let towns = town.cells(&["township"]).await;
    assert_eq!(towns, [(key(&["harbour"]), 46), (key(&["hills"]), 28), (key(&["north"]), 79)].into());
    let kinds = town.cells(&["type"]).await;
    assert_eq!(kinds, [(key(&["medical"]), 73)].into(), "fires and traffic would give the harbour's away");

    // More calls come in: the table of the day stays, also over a restart of the adapter.
    add(&town.database, "harbour", "3", 50);
    assert_eq!(town.cells(&["township"]).await, towns);
    town.adapter.stop().await;
    let kept = town.calls.folder.path().join("journal.counts/Incident.json");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(
        text.contains("\"total\":15") && !text.contains("\"total\":3}"),
        "no small count is kept: {text}"
    );
    town.adapter = town.calls.run_adapter(&town.world).await;
    assert_eq!(town.cells(&["township", "type"]).await, both);
    assert_eq!(town.cells(&["type"]).await, kinds);

    // Nobody's tag stands in the ledger, and the verifier decides as hub and adapter did.
    town.adapter.stop().await;
    town.world.stop_hub().await;
    let (code, report) = verify_ledger(&town.world);
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_counting_is_a_right_of_its_own() {
    let town = Town::new(341).await;
    let query = town.agree("emergency-health-calls", "query", "incident.count").await;
    let denied = town.refused(&query, &town.ask("incident.count", "")).await;
    assert_eq!(denied.0, "operation_not_granted", "{denied:?}");
    let count = town.agree("emergency-health-counts", "count", "incident.by_township").await;
    let denied = town.refused(&count, &town.ask("incident.by_township", "")).await;
    assert_eq!(denied.0, "operation_not_granted", "{denied:?}");
    let count = town.agree("emergency-health-table", "count", "incident.count").await;
    let mut ask = town.ask("incident.count", "");
    ask.arguments = [(FieldName::parse("township").unwrap(), Scalar::Text("harbour".to_owned()))].into();
    let denied = town.refused(&count, &ask).await;
    assert_eq!(denied, ("argument_invalid".to_owned(), "arguments:a-count-takes-none".to_owned()));
    let mut ask = town.ask("incident.count", "");
    ask.fields = fields(&["opened_at"]);
    assert_eq!(town.refused(&count, &ask).await.0, "field_not_granted");
    // A person is named: neither by tag nor in the body.
    let subject = "980121194603180024".to_owned();
    let matter = Matter::parse("health-planning").unwrap();
    let (case, _) = town.app.open_case(&matter, std::slice::from_ref(&subject)).await.unwrap();
    let ask = Ask { case, ..town.ask("incident.count", &subject) };
    assert_eq!(town.refused(&count, &ask).await.0, "argument_invalid");
    // What is lawful goes on.
    let counted = town.count(&["township"]).await;
    let table = counted.iter().find(|counted| counted.contract == "emergency-health-table").unwrap();
    assert_eq!((table.state.as_str(), table.cells.len()), ("answered", 3), "{counted:?}");
    town.adapter.stop().await;
    let Town { mut world, .. } = town;
    world.stop_hub().await;
    let (code, report) = verify_ledger(&world);
    assert_eq!(code, 0, "{report}");
}
