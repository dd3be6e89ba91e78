//! Searches in pages: what somebody looked for comes a page at a time, in order, each page an exchange of its own; what the
//! next one is asked for with holds for its question only, and ends where the mapping says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::record::{RecordQuery, UnifiedRecord};
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{ContractId, FieldName, Matter, Purpose, RecordType};
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::departments;
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::scene::verify_ledger;
use yiwang_tests::world::World;

const SEARCH: &str = r#"
[[operation]]
name = "incident.by_area"
kind = "search"
key = "CALL_NO"
params.area = { type = "string", pattern = "^[0-9]{6}$" }
sql = """
select CALL_NO, CALL_TYPE, STATE, CALL_TIME, UPD_TIME from CALL_LOG where AREA_CODE = :area"""
limit = 5
timeout = "5s"
[operation.fields]
incident_id = { from = "CALL_NO", type = "string", required = true }
type = { from = "CALL_TYPE", type = "code", codes = "type" }
opened_at = { from = "CALL_TIME", type = "timestamp", required = true }
as_of = { from = "UPD_TIME", type = "timestamp", required = true }
"#;
const AREA: &str = "980101";

struct Town {
    world: World,
    adapter: Option<RunningAdapter>,
    centre: Member,
    db: PathBuf,
    app: Client,
    query: RecordQuery,
    contract: ContractId,
}

impl Town {
    async fn new(seed: u64, operation: &str) -> Self {
        Self::agreed(seed, operation, |contract| contract).await
    }

    async fn agreed(seed: u64, operation: &str, bend: impl FnOnce(Draft) -> Draft) -> Self {
        let world = World::new(seed).await;
        let city = world.city();
        let more = city.more(&world.dir.path().join("more")).unwrap();
        let calls = more.sources.iter().find(|source| source.member == "emergency-call").unwrap();
        let mut centre = world.member("emergency-call").await;
        centre.settings.0.insert(calls.variable.to_owned(), calls.path.display().to_string());
        let own = departments().join("emergency-call/sqlite/incident.toml");
        let path = world.dir.path().join("incident.toml");
        std::fs::write(&path, std::fs::read_to_string(own).unwrap() + operation).unwrap();
        centre.mappings = vec![path];
        let db = calls.path.clone();
        let street = world.member("street-office").await;
        let contract = draft(&centre, &street, "calls-street-area", world.clock.now_ms())
            .record("Incident", "incident.by_area", &["incident_id", "opened_at", "type"], 1)
            .limit("rows", 5);
        world.agree(&bend(contract), &centre, &street).await;
        let adapter = Some(centre.run_adapter(&world).await);
        let app = street.app(&world, "assistance-desk").await;
        let mother = city.household().mother.clone();
        let matter = Matter::parse("social-assistance").unwrap();
        let (case, _) = app.open_case(&matter, std::slice::from_ref(&mother.id)).await.unwrap();
        let query = RecordQuery {
            subject: String::new(),
            purpose: Purpose::parse("social-assistance.eligibility").unwrap(),
            case,
            officer: None,
            fields: [(RecordType::parse("Incident").unwrap(), Vec::new())].into(),
            arguments: area(AREA),
            resume: BTreeMap::new(),
        };
        let contract = ContractId::parse("calls-street-area").unwrap();
        Self { world, adapter, centre, db, app, query, contract }
    }

    /// The calls of the area, in the order of their numbers.
    fn calls(&self) -> Vec<String> {
        self.of("%")
    }

    /// Those of one type.
    fn of(&self, code: &str) -> Vec<String> {
        let db = rusqlite::Connection::open(&self.db).unwrap();
        let sql = "select CALL_NO from CALL_LOG where AREA_CODE = ? and CALL_TYPE like ? order by CALL_NO";
        let mut select = db.prepare(sql).unwrap();
        select.query_map([AREA, code], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    async fn page(&self, resume: Option<&str>) -> UnifiedRecord {
        self.ask(&self.query, resume).await
    }

    async fn ask(&self, query: &RecordQuery, resume: Option<&str>) -> UnifiedRecord {
        let resume = resume.map(|token| (self.contract.clone(), token.to_owned())).into_iter().collect();
        self.app.query_record(&RecordQuery { resume, ..query.clone() }).await.unwrap()
    }

    async fn refused(&self, query: &RecordQuery, token: &str) -> String {
        let record = self.ask(query, Some(token)).await;
        let source = &record.sources[0];
        assert!(source.receipt.is_some() && source.resume.is_none(), "{source:?}");
        format!("{} {}", source.state, source.clause)
    }
}

fn area(code: &str) -> BTreeMap<FieldName, Scalar> {
    [(FieldName::parse("area").unwrap(), Scalar::Text(code.to_owned()))].into()
}

/// The calls of a page: one value alone, or a list with one for each row.
fn ids(record: &UnifiedRecord) -> Vec<String> {
    let record = serde_json::to_value(record).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match &record["records"]["Incident"]["incident_id"]["value"] {
        Value::Array(values) => values.iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_looked_for_comes_in_pages_over_a_restart_and_each_is_an_entry() {
    let mut town = Town::new(171, SEARCH).await;
    let wanted = town.calls();
    assert!(wanted.len() > 15, "{}", wanted.len());
    let (mut token, mut came, mut entries) = (None, Vec::new(), Vec::new());
    loop {
        let record = town.page(token.as_deref()).await;
        let [source] = record.sources.as_slice() else { panic!("{record:?}") };
        assert_eq!(source.state, "answered", "{source:?}");
        assert_eq!(source.truncated, source.resume.is_some());
        entries.push(source.receipt.unwrap());
        came.extend(ids(&record));
        token.clone_from(&source.resume);
        if token.is_none() {
            break;
        }
        if entries.len() == 1 {
            town.adapter.take().unwrap().stop().await;
            town.adapter = Some(town.centre.run_adapter(&town.world).await);
        }
    }
    assert_eq!(came, wanted, "every row once, in the order of the key");
    assert_eq!(entries.len(), wanted.len().div_ceil(5));
    entries.dedup();
    assert_eq!(entries.len(), wanted.len().div_ceil(5), "an entry for each page");
    let (code, report) = verify_ledger(&town.world);
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_of_one_question_and_a_question_has_so_many_pages() {
    let town = Town::new(172, &SEARCH.replace("key = \"CALL_NO\"", "key = \"CALL_NO\"\npages = 2")).await;
    let first = town.page(None).await.sources[0].resume.clone().unwrap();
    let bent: String = first[1..].chars().rev().collect();
    let unknown = town.refused(&town.query, &format!("o{bent}")).await;
    assert!(
        unknown.starts_with("argument_invalid argument-resume-is-none-that-this-member-gave"),
        "{unknown}"
    );
    // Another argument, and other fields: refused as one that nobody gave.
    let other = RecordQuery { arguments: area("980102"), ..town.query.clone() };
    assert_eq!(town.refused(&other, &first).await, unknown);
    let one = vec![FieldName::parse("incident_id").unwrap()];
    let fields = [(RecordType::parse("Incident").unwrap(), one)].into();
    assert_eq!(town.refused(&RecordQuery { fields, ..town.query.clone() }, &first).await, unknown);
    // The last of two pages says that there are more, and not how to come by them.
    let second = town.page(Some(&first)).await;
    assert_eq!(second.sources[0].state, "answered");
    assert!(second.sources[0].truncated && second.sources[0].resume.is_none(), "{second:?}");
    assert_eq!(ids(&second), town.calls()[5..10]);
    // With a page of another contract only that one would be asked.
    let other = ContractId::parse("calls-street-other").unwrap();
    let resume = BTreeMap::from([(other.clone(), first.clone())]);
    let none = town.app.query_record(&RecordQuery { resume, ..town.query.clone() }).await.unwrap();
    assert!(none.sources.is_empty(), "{none:?}");
    // Beside one that answers it would seem to have no more.
    let resume = BTreeMap::from([(other.clone(), first.clone()), (town.contract.clone(), first)]);
    let both = town.app.query_record(&RecordQuery { resume, ..town.query.clone() }).await;
    assert!(matches!(&both, Err(ClientError::Resume { contract }) if *contract == other), "{both:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outside_of_a_clause_are_passed_over_within_a_page() {
    let clause = json!([{ "field": "type", "op": "eq", "value": "medical" }]);
    // A code that the source cannot tell: the adapter chooses.
    let town = Town::agreed(175, SEARCH, |contract| contract.with("rows", clause)).await;
    let wanted = town.of("JJ");
    assert!(wanted.len() > 5 && wanted.len() < town.calls().len(), "{}", wanted.len());
    let first = town.page(None).await;
    assert_eq!(ids(&first), wanted[..5]);
    let second = town.page(first.sources[0].resume.as_deref()).await;
    assert_eq!(ids(&second), wanted[5..wanted.len().min(10)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_no_record_fails_its_page_and_a_search_without_a_key_has_no_next() {
    let town = Town::new(173, SEARCH).await;
    let first = town.page(None).await.sources[0].resume.clone().unwrap();
    let db = rusqlite::Connection::open(&town.db).unwrap();
    let spoilt = town.calls()[7].clone();
    let typed = |code: &str| {
        db.execute("update CALL_LOG set CALL_TYPE = ? where CALL_NO = ?", [code, &spoilt]).unwrap()
    };
    assert_eq!(typed("??"), 1);
    let failed = town.page(Some(&first)).await;
    assert_eq!((failed.sources[0].state.as_str(), failed.complete), ("source_error", false), "{failed:?}");
    assert_eq!(typed("JJ"), 1);
    assert_eq!(ids(&town.page(Some(&first)).await), town.calls()[5..10]);
    drop(db);
    drop(town);
    let plain = Town::new(174, &SEARCH.replace("key = \"CALL_NO\"\n", "")).await;
    let source = plain.page(None).await.sources[0].clone();
    assert!(source.truncated && source.resume.is_none(), "{source:?}");
    let unknown = plain.refused(&plain.query, &first).await;
    assert!(unknown.starts_with("argument_invalid "), "{unknown}");
    assert_eq!(json!(source).get("resume"), None, "nothing is said where there is nothing");
}
