//! Batches: all rows of a contract for batches, page by page, each page an exchange of its own with its entry; nothing is
//! lost or given twice over restarts, and nobody but the provider can say where the next page begins.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use yiwang_client::batch::{BatchAsk, BatchError, BatchPage};
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_client::pages::Pages;
use yiwang_proto::answer::Answer;
use yiwang_proto::body::Arguments;
use yiwang_proto::contract::{Contract, Scalar};
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{CaseId, FieldName, Matter, Operation};
use yiwang_proto::request::OfficerBy;
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::departments;
use yiwang_tests::member::{Member, RunningAdapter};
use yiwang_tests::world::World;

const BATCH: &str = r#"
[[operation]]
name = "person.all"
kind = "batch"
key = "NR"
subject = "id_number"
sql = """
select R.rowid as NR, R.XM, R.CSRQ, R.SFZH, R.GXSJ from T_RY R where R.ZXBZ = '0' and R.SFZH is not null"""
limit = 100
timeout = "5s"
[operation.fields]
name = { from = "XM", type = "string", steps = ["trim", "nfc"], required = true }
birth_date = { from = "CSRQ", type = "date", format = "%Y%m%d" }
id_number = { from = "SFZH", type = "string", steps = ["trim", "halfwidth", "upper"] }
as_of = { from = "GXSJ", type = "timestamp", required = true }
[[test]]
name = "a row"
operation = "person.all"
rows = [{ NR = 1, XM = "云甲", CSRQ = "19900101", SFZH = "98010119900101005x", GXSJ = "2026-11-01 08:00:00" }]
expect = [{ name = "云甲", birth_date = "1990-01-01", id_number = "98010119900101005X", as_of = "2026-11-01T08:00:00+08:00" }]
"#;

struct Town {
    world: World,
    police: Member,
    street: Member,
    adapter: Option<RunningAdapter>,
    app: Arc<Client>,
    case: CaseId,
    contract: Contract,
    persons: usize,
    one: String,
    /// The pages that hold her rows.
    her_pages: BTreeSet<usize>,
}

fn batch_contract(contract: Draft) -> Draft {
    contract
        .record("Person", "person.all", &["birth_date", "name"], 2)
        .with("method", "batch".into())
        .with("apps", json!(["assistance-desk", "planning-desk"]))
        .limit("rows", 100)
}

impl Town {
    async fn new(seed: u64) -> Self {
        Self::mapped(seed, BATCH).await
    }

    async fn mapped(seed: u64, operation: &str) -> Self {
        let world = World::new(seed).await;
        let city = world.city();
        let mut police = world.department(&city, "police", &["person"]).await;
        let text = std::fs::read_to_string(departments().join("police/person.toml")).unwrap();
        let path = world.dir.path().join("person.toml");
        std::fs::write(&path, text + operation).unwrap();
        police.mappings = vec![path];
        let db = rusqlite::Connection::open(&police.settings.0["POLICE_DB"]).unwrap();
        let sql = "select count(*) from T_RY where ZXBZ = '0' and SFZH is not null";
        let persons: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        let street = world.member("street-office").await;
        let contract = batch_contract(draft(&police, &street, "police-street-batch", world.clock.now_ms()));
        let document = world.agree(&contract, &police, &street).await;
        let adapter = Some(police.run_adapter(&world).await);
        let app = Arc::new(street.app(&world, "assistance-desk").await);
        let mother = city.household().mother.clone();
        let matter = Matter::parse("social-assistance").unwrap();
        let (case, _) = app.open_case(&matter, std::slice::from_ref(&mother.id)).await.unwrap();
        let contract = Contract::open(&document).unwrap();
        let persons = usize::try_from(persons).unwrap();
        let sql = "select upper(SFZH) from T_RY where ZXBZ = '0' and SFZH is not null order by rowid";
        let mut select = db.prepare(sql).unwrap();
        let ids = select.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
        let hers = ids.enumerate().filter(|(_, id)| id.trim() == mother.id);
        let (her_pages, one) = (hers.map(|(at, _)| at / 100).collect(), mother.id.clone());
        drop(select);
        Self { world, police, street, adapter, app, case, contract, persons, one, her_pages }
    }

    fn ask(&self, fields: &[&str]) -> BatchAsk {
        BatchAsk {
            operation: Operation::parse("person.all").unwrap(),
            fields: fields.iter().map(|field| FieldName::parse(field).unwrap()).collect(),
            case: self.case.clone(),
            officer: None,
            officer_by: OfficerBy::Asserted,
        }
    }

    async fn page(&self, resume: &str) -> BatchPage {
        self.app.batch_page(&self.contract, &self.ask(&["name", "birth_date"]), resume).await.unwrap()
    }

    async fn refused(&self, contract: &Contract, ask: &BatchAsk, resume: &str) -> String {
        match self.app.batch_page(contract, ask, resume).await {
            Err(BatchError::Refused { code, clause, .. }) => format!("{code} {clause}"),
            other => panic!("{other:?}"),
        }
    }

    /// Pages that are asked for before the last has come.
    fn pages(&self, resume: String, most: Option<u64>) -> Pages {
        let ask = self.ask(&["name", "birth_date"]);
        Pages::new(Arc::clone(&self.app), Arc::new(self.contract.clone()), ask, resume, most)
    }

    /// A request that names the page before by its request.
    fn following(&self, request: &[u8; 32], fields: &[&str]) -> Ask {
        let name = FieldName::parse("follows").unwrap();
        let ask = self.ask(fields);
        Ask {
            operation: ask.operation,
            fields: ask.fields,
            case: ask.case,
            officer: None,
            subject: String::new(),
            arguments: [(name, Scalar::Text(yiwang_proto::hex(request)))].into(),
            retry_of: None,
        }
    }

    /// Who saw the mother, by the police's own key of tags and its adapter's journal.
    async fn sightings(&mut self) -> yiwang_audit::Sightings {
        if let Some(adapter) = self.adapter.take() {
            adapter.stop().await;
        }
        let keys = [(self.police.id().clone(), self.police.folder.tag_key().unwrap())].into();
        let person = yiwang_audit::Person::Subject { keys, subject: self.one.clone() };
        let (ledger, journal) = (self.world.ledger_dir(), self.police.folder.path().join("journal"));
        let filter = yiwang_audit::Filter::default();
        yiwang_audit::sightings(&ledger, &[journal], &filter, &person).unwrap()
    }

    async fn verified(mut self) -> yiwang_audit::Report {
        if let Some(adapter) = self.adapter.take() {
            adapter.stop().await;
        }
        drop(self.app);
        self.world.stop_hub().await;
        let key = std::fs::read_to_string(self.world.ledger_dir().join("verifier.key")).unwrap();
        let key = Some(yiwang_proto::note::VerifierKey::parse(key.trim()).unwrap());
        let options = yiwang_audit::Options { key, ..yiwang_audit::Options::default() };
        yiwang_audit::verify_ledger(&self.world.ledger_dir(), &options).unwrap()
    }
}

fn records(page: &BatchPage) -> Vec<Value> {
    serde_json::from_slice(&page.records).unwrap()
}

fn answer_of(town: &Town, entry: u64) -> Answer {
    let bytes = town.world.hub().hub.ledger.entry(entry).unwrap();
    let Some(Kind::Exchange(exchange)) = yiwang_proto::entry::decode(&bytes).unwrap().kind else { panic!() };
    let signed = SignedStatement::parse(exchange.answer).unwrap();
    Answer::parse(signed.unverified_payload()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_comes_once_over_restarts_and_each_page_is_an_entry() {
    let mut town = Town::new(71).await;
    assert!(town.persons > 300, "{}", town.persons);
    let (mut resume, mut all, mut entries) = (String::new(), Vec::new(), BTreeSet::new());
    loop {
        let page = town.page(&resume).await;
        assert_eq!(page.rows as usize, records(&page).len());
        assert!(entries.insert(page.entry));
        for record in records(&page) {
            assert_eq!(record["fields"].as_object().unwrap().len(), 2, "granted fields and nothing else");
            all.push(record);
        }
        let answer = answer_of(&town, page.entry);
        // Everybody in the page is in the statement, by tag or under their root, and by name nowhere.
        assert_eq!(answer.subject_tags.is_empty(), page.rows > 64);
        assert_eq!(answer.subject_tags_root.is_some(), page.rows > 64);
        assert_eq!(answer.truncated, !page.resume.is_empty());
        if page.resume.is_empty() {
            break;
        }
        resume = page.resume;
        if entries.len() == 1 {
            // The next page needs nothing that the adapter or the hub kept in memory.
            town.adapter.take().unwrap().stop().await;
            town.world.stop_hub().await;
            town.world.start_hub().await;
            town.app.meet().await.unwrap();
            town.street.issuing.until_after(town.world.clock.now_ms()).await;
            town.adapter = Some(town.police.run_adapter(&town.world).await);
        }
    }
    assert_eq!(all.len(), town.persons);
    assert_eq!(entries.len(), town.persons.div_ceil(100));
    // The same page again is another exchange with the same rows.
    let (one, two) = (town.page("").await, town.page("").await);
    assert_eq!(records(&one), records(&two));
    assert_ne!(one.entry, two.entry);
    let pages = entries.len() + 2;
    // Who saw the mother: the page that she is in, as the adapter's journal opens it under the root in the entry.
    let seen = town.sightings().await;
    assert_eq!((seen.findings.len(), seen.closed.len()), (0, 0), "{seen:?}");
    let last = usize::from(town.persons % 100 <= 64 && town.persons % 100 != 0);
    assert_eq!(seen.opened as usize, pages - last, "{seen:?}");
    let all: Vec<u64> = entries.iter().copied().collect();
    let mut hers: Vec<u64> = town.her_pages.iter().map(|page| all[*page]).collect();
    if town.her_pages.contains(&0) {
        hers.extend([one.entry, two.entry]);
    }
    assert_eq!(seen.hits.iter().map(|hit| hit.access.index).collect::<Vec<_>>(), hers, "{seen:?}");
    let report = town.verified().await;
    assert_eq!(report.findings.len(), 0, "{report:?}");
    assert!(report.decisions.permitted_again as usize >= pages, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_of_one_batch_and_a_batch_needs_its_own_contract() {
    let town = Town::new(72).await;
    let resume = town.page("").await.resume;
    let both = town.ask(&["name", "birth_date"]);
    let bent: String = resume.chars().rev().collect();
    let unknown = "argument_invalid argument-resume-is-none-that-this-member-gave-for-this-batch";
    for token in ["x", bent.as_str()] {
        assert_eq!(town.refused(&town.contract, &both, token).await, unknown);
    }
    // Another query's token, another contract's and another app's are told from an unknown one by nobody.
    assert_eq!(town.refused(&town.contract, &town.ask(&["name"]), &resume).await, unknown);
    let desk = town.street.app(&town.world, "planning-desk").await;
    let refused = desk.batch_page(&town.contract, &both, &resume).await.unwrap_err();
    assert!(refused.to_string().contains(unknown.split_once(' ').unwrap().1), "{refused}");
    let now = town.world.clock.now_ms();
    let other = batch_contract(draft(&town.police, &town.street, "police-street-other", now));
    let other = Contract::open(&town.world.agree(&other, &town.police, &town.street).await).unwrap();
    assert_eq!(town.refused(&other, &both, &resume).await, unknown);
    // A batch that names somebody, a batch under a contract for queries, and a query under one for batches.
    let ask = |operation: &str, subject: &str| Ask {
        operation: Operation::parse(operation).unwrap(),
        fields: vec![FieldName::parse("name").unwrap()],
        case: town.case.clone(),
        officer: None,
        subject: subject.to_owned(),
        arguments: Arguments::new(),
        retry_of: None,
    };
    let query = draft(&town.police, &town.street, "police-street-query", now)
        .with("operations", json!(["person.by_id", "person.all"]));
    let query = Contract::open(&town.world.agree(&query, &town.police, &town.street).await).unwrap();
    let both_ways = batch_contract(draft(&town.police, &town.street, "police-street-both", now))
        .with("operations", json!(["person.by_id", "person.all"]));
    let both_ways = Contract::open(&town.world.agree(&both_ways, &town.police, &town.street).await).unwrap();
    for (contract, ask, code) in [
        (&town.contract, ask("person.all", &town.one), "argument_invalid"),
        (&query, ask("person.all", &town.one), "operation_not_granted"),
        (&both_ways, ask("person.by_id", ""), "operation_not_granted"),
    ] {
        let signed = town.app.sign(contract, &ask);
        let exchanged = town.app.exchange(contract, &signed).await.unwrap();
        let Ending::Denied { code: found, clause } = exchanged.ending else {
            panic!("{:?}", exchanged.ending)
        };
        assert_eq!(found, code, "{clause}");
    }
    let report = town.verified().await;
    assert_eq!(report.findings.len(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_asked_for_ahead_are_the_same_over_a_restart_of_the_adapter() {
    let mut town = Town::new(76).await;
    let whole = town.persons.div_ceil(100);
    let size = |town: &Town| town.world.hub().hub.ledger.checkpoint().size;
    let before = size(&town);
    let mut undisturbed = town.pages(String::new(), None);
    while let Some(page) = undisturbed.next().await {
        page.unwrap();
    }
    // Each page was one exchange, and so were three behind the last, which were asked for before that was known.
    assert!(whole > 5);
    assert_eq!(size(&town) - before, whole as u64 + 3);
    // Few pages, and no more than are asked for.
    let mut two = town.pages(String::new(), Some(2));
    let first = [two.next().await.unwrap().unwrap(), two.next().await.unwrap().unwrap()];
    assert!(two.next().await.is_none());
    assert_ne!(first[1].resume, "");
    let (mut all, mut entries) = (Vec::new(), BTreeSet::new());
    let mut pages = town.pages(String::new(), None);
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        if entries.len() < 2 {
            assert_eq!(records(&page), records(&first[entries.len()]));
        }
        assert!(entries.insert(page.entry));
        all.extend(records(&page));
        if entries.len() == 2 {
            // What was asked for ahead is lost with the adapter that knew where its page ended.
            town.adapter.take().unwrap().stop().await;
            town.adapter = Some(town.police.run_adapter(&town.world).await);
        }
    }
    drop(pages);
    assert_eq!((all.len(), entries.len()), (town.persons, whole));
    // From a page on, as from its token; behind the last page, asked for ahead, there was an empty one at the most.
    let mut rest = town.pages(first[1].resume.clone(), None);
    let (mut rows, mut count) = (Vec::new(), 2);
    while let Some(page) = rest.next().await {
        rows.extend(records(&page.unwrap()));
        count += 1;
    }
    assert_eq!((rows.as_slice(), count), (&all[200..], whole));
    drop(rest);
    let report = town.verified().await;
    assert_eq!(report.findings.len(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dirty_row_is_left_out_and_said_and_the_batch_goes_on_over_a_mended_mapping() {
    let mut town = Town::new(81).await;
    let db = rusqlite::Connection::open(&town.police.settings.0["POLICE_DB"]).unwrap();
    let nameless = "update T_RY set XM = '' where rowid = (select rowid from T_RY where ZXBZ = '0' and SFZH is not null \
                    order by rowid limit 1 offset 150)";
    assert_eq!(db.execute(nameless, []).unwrap(), 1);
    let first = town.page("").await;
    assert_eq!((first.rows, first.withheld.len()), (100, 0));
    let second = town.page(&first.resume).await;
    let name = FieldName::parse("name").unwrap();
    let said = [(name, "rows-left-out:1".to_owned())];
    assert_eq!((second.rows, second.withheld.as_slice()), (99, said.as_slice()));
    // In the entry too, so that an auditor sees it.
    assert_eq!(answer_of(&town, second.entry).withheld, said);
    // Whoever mends the mapping meanwhile, or its form alone, does not make the app begin again.
    town.adapter.take().unwrap().stop().await;
    let path = &town.police.mappings[0];
    let text = std::fs::read_to_string(path).unwrap();
    let mended =
        text.replace("steps = [\"trim\", \"nfc\"], required = true }", "steps = [\"trim\", \"nfc\"] }");
    assert_ne!(mended, text);
    std::fs::write(path, mended).unwrap();
    town.adapter = Some(town.police.run_adapter(&town.world).await);
    let (mut rows, mut resume) = (first.rows + second.rows, second.resume);
    while !resume.is_empty() {
        let page = town.page(&resume).await;
        (rows, resume) = (rows + page.rows, page.resume);
    }
    assert_eq!(rows as usize, town.persons - 1);
    let report = town.verified().await;
    assert_eq!(report.findings.len(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_handed_over_behind_a_page_that_does_not_hold() {
    let town = Town::new(79).await;
    assert!(town.persons > 500);
    let db = rusqlite::Connection::open(&town.police.settings.0["POLICE_DB"]).unwrap();
    // Larger than any page: the one before ends early, and its own does not hold.
    let endless = format!(
        "update T_RY set XM = replace(printf('%.{}c', 'x'), ' ', 'x') where rowid = (select rowid from T_RY where ZXBZ = '0' and \
         SFZH is not null order by rowid limit 1 offset 350)",
        yiwang_proto::limits::BODY_MAX
    );
    assert_eq!(db.execute(&endless, []).unwrap(), 1);
    let size = || town.world.hub().hub.ledger.checkpoint().size;
    let before = size();
    let mut pages = town.pages(String::new(), None);
    let mut came = 0;
    let refused = loop {
        match pages.next().await.unwrap() {
            Ok(page) => came += page.rows,
            Err(error) => break error.to_string(),
        }
    };
    assert!(came == 350 && refused.contains("too_large"), "{came}: {refused}");
    drop(pages);
    // The pages behind it were asked for, and have entries; none of them has rows.
    let answers: Vec<Answer> = (before..size()).map(|entry| answer_of(&town, entry)).collect();
    assert!(answers.len() > 4, "{}", answers.len());
    assert_eq!(answers.iter().map(|answer| answer.rows).sum::<u32>(), 350);
    let report = town.verified().await;
    assert_eq!(report.findings.len(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_followed_by_its_own_batch_only() {
    let town = Town::new(77).await;
    let fields = ["birth_date", "name"];
    let no_page = Ask { arguments: Arguments::new(), ..town.following(&[0; 32], &fields) };
    let first = town.app.sign(&town.contract, &no_page);
    let second = town.app.sign(&town.contract, &town.following(&first.digest, &fields));
    // The one that follows is sent first, and waits.
    let (later, earlier) = tokio::join!(town.app.exchange(&town.contract, &second), async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        town.app.exchange(&town.contract, &first).await
    });
    let rows = |exchanged: yiwang_client::exchange::Exchanged| match exchanged.ending {
        Ending::Answered { records, .. } => (records, exchanged.resume),
        other => panic!("{other:?}"),
    };
    let (earlier, later) = (rows(earlier.unwrap()), rows(later.unwrap()));
    let serial = town.page("").await;
    assert_eq!(earlier.0, serial.records);
    assert_eq!(later.0, town.page(&serial.resume).await.records);
    let desk = town.street.app(&town.world, "planning-desk").await;
    let foreign = "argument-resume-is-none-that-this-member-gave-for-this-batch";
    let unknown = "argument-follows-names-no-page-of-this-batch-that-is-under-way-here-name-its-resume";
    let denied = async |client: &Client, ask: &Ask| {
        let signed = client.sign(&town.contract, ask);
        match client.exchange(&town.contract, &signed).await.unwrap().ending {
            Ending::Denied { code, clause } => {
                assert_eq!(code, "argument_invalid");
                clause
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(denied(&desk, &town.following(&first.digest, &fields)).await, unknown);
    assert_eq!(denied(&town.app, &town.following(&first.digest, &["name"])).await, unknown);
    assert_eq!(denied(&town.app, &town.following(&[5; 32], &fields)).await, unknown);
    let mut bent = town.following(&first.digest, &fields);
    bent.arguments = [(FieldName::parse("follows").unwrap(), Scalar::Integer(1))].into();
    assert_eq!(denied(&town.app, &bent).await, unknown);
    let mut both = town.following(&first.digest, &fields);
    both.arguments.insert(FieldName::parse("resume").unwrap(), Scalar::Text(serial.resume.clone()));
    assert_eq!(denied(&town.app, &both).await, foreign);
    // What comes after the last page is an answer without rows.
    let mut last = first.digest;
    for _ in 0..town.persons.div_ceil(100) {
        let signed = town.app.sign(&town.contract, &town.following(&last, &fields));
        rows(town.app.exchange(&town.contract, &signed).await.unwrap());
        last = signed.digest;
    }
    let signed = town.app.sign(&town.contract, &town.following(&last, &fields));
    assert_eq!(rows(town.app.exchange(&town.contract, &signed).await.unwrap()), ("[]".into(), String::new()));
    let report = {
        drop(desk);
        town.verified().await
    };
    assert_eq!(report.findings.len(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sensitive_is_not_handed_over_in_batches() {
    let world = World::new(73).await;
    let (police, street) = (world.member("police").await, world.member("street-office").await);
    let contract = draft(&police, &street, "police-street-batch", world.clock.now_ms())
        .record("BenefitStatus", "benefit.all", &["amount_band"], 3)
        .with("method", "batch".into())
        .sign(&police, &street);
    let channel =
        street.folder.enrolled().unwrap().channel(std::sync::Arc::clone(&world.clock)).await.unwrap();
    let refused = yiwang_client::client::publish(channel, &contract, &street.checkpoints()).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_handed_over_without_a_tag_and_no_row_without_a_key() {
    let untagged = BATCH.replace("subject = \"id_number\"\n", "");
    assert_ne!(untagged, BATCH);
    let town = Town::mapped(74, &untagged).await;
    let refused = town.refused(&town.contract, &town.ask(&["name"]), "").await;
    assert!(refused.starts_with("source_error"), "{refused}");
    let keyless = BATCH.replace("R.rowid as NR", "nullif(R.rowid, 3) as NR");
    let town = Town::mapped(75, &keyless).await;
    let refused = town.refused(&town.contract, &town.ask(&["name"]), "").await;
    assert!(refused.starts_with("source_error"), "{refused}");
}
