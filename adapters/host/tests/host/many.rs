//! Counts and batches of persons over the gateway, and the examples of both.

use crate::batch_example::{counts, query::Gateway, rows};
use crate::contract::example;
use crate::http::{Answer, post};
use crate::town::{Host, OTHER_TOKEN, TOKEN, adapter_config, gateway_config};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use yiwang_proto::answer::Answer as Statement;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::SignedStatement;
use yiwang_tests::contracts::draft;
use yiwang_tests::departments;
use yiwang_tests::world::World;

const MANY: &str = r#"
[[operation]]
name = "person.all"
kind = "batch"
key = "NR"
subject = "id_number"
sql = "select R.rowid as NR, R.XM, R.SFZH, R.GXSJ from T_RY R where R.ZXBZ = '0' and R.SFZH is not null"
limit = 100
timeout = "5s"
[operation.fields]
name = { from = "XM", type = "string", steps = ["trim", "nfc"], required = true }
id_number = { from = "SFZH", type = "string", steps = ["trim", "halfwidth", "upper"] }
as_of = { from = "GXSJ", type = "timestamp", required = true }
[[operation]]
name = "person.count"
kind = "count"
sql = "select R.XB from T_RY R where R.ZXBZ = '0'"
timeout = "5s"
[operation.by]
sex = { from = "XB", type = "code", codes = "sex" }
[[test]]
name = "a row"
operation = "person.all"
rows = [{ NR = 1, XM = "云甲", SFZH = "98010119900101005x", GXSJ = "2026-11-01 08:00:00" }]
expect = [{ name = "云甲", id_number = "98010119900101005X", as_of = "2026-11-01T08:00:00+08:00" }]
"#;

struct Many {
    world: World,
    police: Host,
    office: Host,
    /// Names as the register has them, in the order of the key.
    names: Vec<String>,
    sexes: BTreeMap<String, u64>,
}

impl Many {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed).await;
        let city = world.city();
        let mut police = world.department(&city, "police", &["person"]).await;
        let text = std::fs::read_to_string(departments().join("police/person.toml")).unwrap();
        let path = world.dir.path().join("person.toml");
        std::fs::write(&path, text + MANY).unwrap();
        police.mappings = vec![path];
        let db = rusqlite::Connection::open(&police.settings.0["POLICE_DB"]).unwrap();
        let sql = "select XM from T_RY where ZXBZ = '0' and SFZH is not null order by rowid";
        let mut all = db.prepare(sql).unwrap();
        let names = all.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let names: Vec<String> = names.map(|name| name.unwrap().trim().to_owned()).collect();
        let sql = "select case XB when '1' then 'male' when '2' then 'female' else XB end, count(*)
                   from T_RY where ZXBZ = '0' group by 1";
        let mut all = db.prepare(sql).unwrap();
        let sexes = all.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))).unwrap();
        let sexes = sexes.map(Result::unwrap).collect();
        let street = world.member("street-office").await;
        let now = world.clock.now_ms();
        for (method, operation, field) in [("batch", "person.all", "name"), ("count", "person.count", "sex")]
        {
            let contract = draft(&police, &street, &format!("police-street-{method}"), now)
                .record("Person", operation, &[field], 2)
                .with("method", method.into())
                .limit("rows", 100);
            world.agree(&contract, &police, &street).await;
        }
        for app in ["assistance-desk", "other-desk"] {
            street.app(&world, app).await;
        }
        let police = Host::start(&world, &police, &adapter_config(&police)).await;
        let office = Host::start(&world, &street, &gateway_config()).await;
        police.until_ready().await;
        office.until_ready().await;
        Self { world, police, office, names, sexes }
    }

    async fn why(&self) -> Value {
        let opened = self.post("/v1/cases", TOKEN, &json!({ "matter": "social-assistance" })).await;
        assert_eq!(opened.status, 201, "{opened:?}");
        json!({ "purpose": "social-assistance.eligibility", "case": opened.json()["case"] })
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        post(self.office.gateway(), path, token, body).await
    }

    async fn stop(mut self) {
        self.office.stop().await;
        self.police.stop().await;
        self.world.stop_hub().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_persons_comes_with_its_receipt_and_everybody_in_it_is_in_the_entry() {
    let many = Many::new(92).await;
    assert!(many.names.len() > 200, "{}", many.names.len());
    let why = many.why().await;
    let page = many.post("/v1/batches/Person", TOKEN, &why).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")), "{page:?}");
    let page = page.json();
    let entry =
        decode(&many.world.hub().hub.ledger.entry(page["receipt"].as_u64().unwrap()).unwrap()).unwrap();
    let Some(Kind::Exchange(exchange)) = entry.kind else { panic!("no exchange: {entry:?}") };
    let answer = SignedStatement::parse(exchange.answer).unwrap();
    let answer = Statement::parse(answer.unverified_payload()).unwrap();
    assert!(answer.subject_tags_root.is_some() && answer.rows == 100, "{answer:?}");
    // What the contract does not grant, and another app, are refused with an entry and its index.
    let mut other = why.clone();
    other["fields"] = json!(["sex"]);
    let refused = many.post("/v1/batches/Person", TOKEN, &other).await.problem(403, "field_not_granted");
    assert!(refused["receipt"].is_u64() && refused["clause"].is_string(), "{refused}");
    many.post("/v1/batches/Person", OTHER_TOKEN, &why).await.problem(403, "no_contract");
    many.post("/v1/counts/Person", OTHER_TOKEN, &why).await.problem(403, "no_contract");
    // A subject has no place in such a question; neither has a ticket without its officer.
    for (key, value) in [("subject", json!("980101199001010017")), ("ticket", json!("0".repeat(64)))] {
        for path in ["/v1/batches/Person", "/v1/counts/Person"] {
            let mut bent = why.clone();
            bent[key] = value.clone();
            many.post(path, TOKEN, &bent).await.problem(422, "invalid");
        }
    }
    // A ticket that nobody published proves nobody.
    let mut forged = why.clone();
    (forged["officer"], forged["ticket"]) = (json!("o-aaaaaaaaaaaaaaaa"), json!("0".repeat(64)));
    let refused = many.post("/v1/batches/Person", TOKEN, &forged).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");
    let counted = many.post("/v1/counts/Person", TOKEN, &forged).await.json();
    assert_ne!(counted["counts"][0]["state"], "answered", "{counted}");
    assert_eq!(counted["complete"], false);
    many.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_counts_and_batches_run() {
    let many = Many::new(93).await;
    let at = many.office.gateway();
    let texts = tokio::task::spawn_blocking(move || {
        let more = [("RECORD", "Person")];
        [example("batch.sh", "curl", at, &more), example("batch.py", "python3", at, &more)]
    });
    for text in texts.await.unwrap().into_iter().flatten() {
        assert_eq!(text.matches("\"name\":").count(), many.names.len(), "{text}");
        assert!(many.names.iter().all(|name| text.contains(name.as_str())), "{text}");
        assert!(text.contains("female"), "{text}");
    }
    let gateway = Gateway { address: at.to_string(), token: TOKEN.to_owned() };
    let why = many.why().await;
    let all = rows(&gateway, "Person", &why).await.unwrap();
    let names: Vec<&str> = all.iter().map(|row| row["fields"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, many.names);
    let counted = counts(&gateway, "Person", &why).await.unwrap();
    let cells = counted[0]["cells"].as_array().unwrap();
    let of =
        |cell: &Value| (cell["fields"]["sex"].as_str().unwrap().to_owned(), cell["count"].as_u64().unwrap());
    // Codes that nobody has would be given away by the men: what is shown is plain, and not all is shown.
    let cells: BTreeMap<String, u64> = cells.iter().map(of).collect();
    let plain = |(sex, count): (&String, &u64)| many.sexes.get(sex) == Some(count);
    assert!(!cells.is_empty() && cells.iter().all(plain), "{cells:?} {:?}", many.sexes);
    many.stop().await;
}
