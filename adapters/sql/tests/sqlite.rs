//! SQLite as a source: the compliance suite, injection, read-only proofs, what is really read.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "sqlite/moments.rs"]
mod moments;
#[path = "sqlite/order.rs"]
mod order;

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::check::{Finding, Level, Severity, check};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{Ask, MappedSource};
use yiwang_adapter_sdk::mapping::{Mapping, render};
use yiwang_adapter_sdk::source::{FetchQuery, ProcessEnvironment, Source, SourceError};
use yiwang_adapter_sql::{Dialect as _, Sqlite, SqliteSource};
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};

const SELECT: &str = "select ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from PERSON where";

fn database(folder: &Path) -> PathBuf {
    let path = folder.join("people.db");
    let db = Connection::open(&path).unwrap();
    let columns = compliance::COLUMNS.join(" text, ");
    db.execute_batch(&format!(
        "create table PERSON ({columns} text); create index by_id on PERSON (ID); create index by_area on PERSON (AREA);
         create table CANARY (a text); insert into CANARY values ('alive');"
    ))
    .unwrap();
    for row in compliance::rows() {
        let cells = row.iter().map(|cell| Some(cell.as_str()).filter(|cell| !cell.is_empty()));
        let insert = "insert into PERSON values (?, ?, ?, ?, ?, ?, ?, ?)";
        db.execute(insert, rusqlite::params_from_iter(cells)).unwrap();
    }
    path
}

fn parse(text: &str, folder: &Path) -> Mapping {
    Mapping::parse(text, &folder.join("person.toml")).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| render(fault, text)).collect::<String>())
    })
}

fn suite_mapping(path: &Path) -> String {
    let source = format!("[source.sqlite]\npath = '{}'\ntime_zone = \"Asia/Shanghai\"", path.display());
    let by_area = format!("sql = \"\"\"{SELECT} AREA = :area -- by area\"\"\"");
    compliance::mapping(&source, &format!("sql = \"{SELECT} ID = :id\""), &by_area)
}

fn open(path: &Path) -> (Arc<Mapping>, Arc<dyn Source>) {
    open_as(path, &suite_mapping(path))
}

fn open_as(path: &Path, text: &str) -> (Arc<Mapping>, Arc<dyn Source>) {
    let mapping = parse(text, path.parent().unwrap());
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    (Arc::new(mapping), Arc::new(source))
}

#[tokio::test]
async fn sqlite_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let source = format!("[source.sqlite]\npath = '{}'\ntime_zone = \"Asia/Shanghai\"", path.display());
    let text = compliance::count_mapping(&source, "sql = \"select SEX, STATE from PERSON -- all\"");
    let mapping = parse(&text, folder.path());
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    let counted = compliance::counts(Arc::new(mapping), Arc::new(source), folder.path()).await;
    assert_eq!(counted, Ok(()));
}

/// Remembers what is asked of it.
struct Asked(String, std::sync::Mutex<Vec<String>>);

impl yiwang_adapter_sdk::source::Environment for Asked {
    fn var(&self, name: &str) -> Option<String> {
        self.1.lock().unwrap().push(name.to_owned());
        (name == "DB").then(|| self.0.clone())
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.1.lock().unwrap().push(path.display().to_string());
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn t36_a_mapping_reads_no_setting_and_no_file_that_it_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let named = format!("'{}'", path.display());
    let text = suite_mapping(&path).replace(&named, "{ env = \"DB\" }");
    let mapping = parse(&text, folder.path());
    let asked = Asked(path.display().to_string(), Default::default());
    SqliteSource::open(&mapping, &asked).unwrap();
    assert_eq!(*asked.1.lock().unwrap(), ["DB"]);
    // What the setting holds is a file, never an address with switches, nor a further reference.
    let before = dump(&path);
    let switched = format!("file:{}?mode=rwc", path.display());
    for bad in [switched.as_str(), "/etc/passwd", "${HOME}", "", "\0", ":memory:"] {
        let asked = Asked(bad.to_owned(), Default::default());
        let error = SqliteSource::open(&mapping, &asked).err().unwrap_or_else(|| panic!("{bad} is opened"));
        assert_eq!(*asked.1.lock().unwrap(), ["DB"]);
        assert!(!error.to_string().contains("root:"), "{error}");
    }
    // Statements that name a file.
    for hostile in [
        "select readfile('/etc/passwd') as ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from PERSON",
        "select load_extension('/tmp/x.so') as ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from PERSON",
        "select ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from pragma_database_list, PERSON",
        "select file as ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from pragma_database_list, PERSON",
    ] {
        let text = text.replace(SELECT.trim_end_matches(" where"), hostile);
        let mapping = parse(&text, folder.path());
        let asked = Asked(path.display().to_string(), Default::default());
        let source = SqliteSource::open(&mapping, &asked).unwrap();
        let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
        let (operation, field) =
            (Operation::parse("person.by_id").unwrap(), FieldName::parse("pseudonym").unwrap());
        let answer = mapped
            .answer(Ask {
                highest_class: (2, Code::SealingRequired),
                operation: &operation,
                fields: std::slice::from_ref(&field),
                rows: &[],
                subject: "P1",
                arguments: &Arguments::new(),
                limit: 1,
                now_ms: compliance::NOW_MS,
                deadline_ms: compliance::NOW_MS + 10_000,
            })
            .await;
        assert_eq!(
            answer.map(|answer| answer.rows).map_err(|error| error.code),
            Err(Code::SourceError),
            "{hostile}"
        );
    }
    assert_eq!(dump(&path), before);
}

fn dump(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn sqlite_complies_and_not_a_byte_of_the_file_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let before = dump(&path);
    let outcomes = compliance::run(|| open(&path)).await;
    assert!(outcomes.len() >= 14);
    assert_eq!(compliance::failures(&outcomes), "");
    assert_eq!(dump(&path), before);
}

#[tokio::test]
async fn t17_ten_thousand_hostile_payloads_per_parameter_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let before = dump(&path);
    let (mapping, source) = open(&path);
    let mapped = MappedSource::new(mapping, source);
    let name = FieldName::parse("name").unwrap();
    let mut asked = 0;
    for first in compliance::HOSTILE {
        for second in compliance::HOSTILE {
            for glue in [
                "", " ", "/**/", "'", "\n", ");", "||", "\u{0}", "\\", "%27", " or ", ",", "((", "--", "#",
                "\t", "\r", "х",
            ] {
                let payload = format!("{first}{glue}{second}");
                let area = [(FieldName::parse("area").unwrap(), Scalar::Text(payload.clone()))].into();
                let none = Arguments::new();
                for (operation, subject, arguments) in
                    [("person.by_area", "", &area), ("person.by_id", payload.as_str(), &none)]
                {
                    let operation = Operation::parse(operation).unwrap();
                    let ask = Ask { subject, limit: 100, ..by_id(&operation, &name, arguments) };
                    // A payload may be refused as no identifier; it may never find anything.
                    let rows = mapped.answer(ask).await.map_or(0, |answer| answer.rows);
                    assert_eq!(rows, 0, "{operation}: {payload:?}");
                }
                asked += 1;
            }
        }
    }
    assert!(asked >= 10_000, "{asked}");
    assert_eq!(dump(&path), before);
    let db = Connection::open(&path).unwrap();
    let canary: String = db.query_row("select group_concat(a) from CANARY", [], |row| row.get(0)).unwrap();
    assert_eq!(canary, "alive");
}

/// The columns of a table that the statement's program loads, by SQLite's own account.
fn columns_read(db: &Connection, text: &str) -> Vec<i64> {
    let mut statement = db.prepare(&format!("explain {text}")).unwrap();
    let mut rows = statement.raw_query();
    let mut read = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let opcode: String = row.get("opcode").unwrap();
        if opcode == "Column" {
            read.push(row.get("p2").unwrap());
        }
    }
    read.sort_unstable();
    read.dedup();
    read
}

#[test]
fn sqlite_itself_loads_only_the_columns_that_are_granted() {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(database(folder.path())).unwrap();
    let statement = format!("{SELECT} STATE = :state");
    for (columns, wanted) in [
        // STATE is the seventh column: the condition reads it, whatever is granted.
        (vec!["NM", "UPD"], vec![1, 6, 7]),
        (vec!["NM"], vec![1, 6]),
        (vec!["SEX", "AREA"], vec![2, 4, 6]),
    ] {
        let wrapped = Sqlite.wrap(&statement, &columns, None, None, &[]).unwrap();
        assert_eq!(columns_read(&db, &wrapped.text), wanted, "{}", wrapped.text);
    }
    assert_eq!(columns_read(&db, &statement), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_statement_that_runs_names_only_granted_columns() {
    use rusqlite::trace::{TraceEvent, TraceEventCodes};
    let folder = tempfile::tempdir().unwrap();
    let mut db = Connection::open(database(folder.path())).unwrap();
    let (sender, log) = std::sync::mpsc::channel();
    db.trace_v2(
        TraceEventCodes::SQLITE_TRACE_STMT,
        Some(move |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(_, text) = event {
                sender.send(text.to_owned()).unwrap();
            }
        }),
    )
    .unwrap();
    let wrapped = Sqlite.wrap(&format!("{SELECT} ID = :id"), &["NM"], None, None, &[]).unwrap();
    let mut statement = db.prepare(&wrapped.text).unwrap();
    let secret = "P1' or '1'='1";
    statement.query_row(rusqlite::params![secret, 2], |_| Ok(())).unwrap_err();
    let logged = log.try_recv().unwrap();
    assert!(logged.starts_with("select \"NM\" from ("), "{logged}");
    // The log shows placeholders: the value was never part of the statement.
    assert!(logged.contains("ID = :id") && !logged.contains(secret), "{logged}");
}

fn by_id_names() -> (Operation, FieldName, Arguments) {
    (Operation::parse("person.by_id").unwrap(), FieldName::parse("name").unwrap(), Arguments::new())
}

/// Asks for one field of the first person.
fn by_id<'a>(operation: &'a Operation, name: &'a FieldName, arguments: &'a Arguments) -> Ask<'a> {
    Ask {
        highest_class: (2, Code::SealingRequired),
        operation,
        fields: std::slice::from_ref(name),
        rows: &[],
        subject: "P1",
        arguments,
        limit: 1,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 10_000,
    }
}

fn findings_with(findings: &[Finding], code: &str) -> Vec<String> {
    findings.iter().filter(|finding| finding.code == code).map(|finding| finding.message.clone()).collect()
}

#[tokio::test]
async fn the_live_check_finds_scans_missing_columns_and_proves_reading_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let text = suite_mapping(&path)
        .replace("ID = :id", "NM = :id")
        .replace("from = \"AMT\"", "from = \"AMOUNT\"")
        .replace(
            "select ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from PERSON where AREA",
            "select * from PERSONS where AREA",
        );
    let mapping = parse(&text, folder.path());
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    let level = Level::Live { source: &source, now_ms: compliance::NOW_MS };
    let findings = check(&mapping, level).await;
    assert_eq!(
        findings_with(&findings, "A-SQL-008"),
        ["operation person.by_id: reads `PERSON` in full"],
        "{findings:?}"
    );
    assert_eq!(
        findings_with(&findings, "A-SQL-003"),
        ["operation person.by_id: the statement gives no column `AMOUNT`"]
    );
    assert_eq!(
        findings_with(&findings, "A-SQL-002"),
        ["operation person.by_area: the statement cannot be prepared: no such table: PERSONS"]
    );
    assert_eq!(
        findings_with(&findings, "A-SQL-005"),
        ["operation person.by_id: column `AMT` is selected and no field uses it"]
    );
    assert_eq!(findings_with(&findings, "A-SQL-010"), ["proved: the connection refuses to write"]);
    assert!(findings.iter().all(|finding| finding.code != "A-SQL-012" && finding.code != "A-SQL-013"));
}

#[tokio::test]
async fn statements_that_do_more_than_read_are_refused_by_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let before = dump(&path);
    for statement in [
        "with x as (select 1) insert into CANARY select ID from PERSON where ID = :id",
        "select load_extension(:id) as ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from PERSON",
        "select name as ID, NM, SEX, BORN, AREA, AMT, STATE, UPD from pragma_database_list, PERSON where NM = :id",
    ] {
        let text = suite_mapping(&path).replace(&format!("{SELECT} ID = :id"), statement);
        let mapping = parse(&text, folder.path());
        let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
        let level = Level::Live { source: &source, now_ms: compliance::NOW_MS };
        let findings = check(&mapping, level).await;
        assert_eq!(findings_with(&findings, "A-SQL-002").len(), 1, "{statement}: {findings:?}");
    }
    assert_eq!(dump(&path), before);
}

fn slow(path: &Path, folder: &Path) -> Mapping {
    let text = suite_mapping(path).replace(
        &format!("{SELECT} ID = :id"),
        "with recursive n(i) as (select 1 union all select i + 1 from n) \
         select count(*) as ID, :id as NM, 1 as SEX, 1 as BORN, 1 as AREA, 1 as AMT, 1 as STATE, 1 as UPD from n",
    );
    parse(&text, folder)
}

#[tokio::test]
async fn a_statement_without_end_is_interrupted_and_the_thread_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let mapping = slow(&path, folder.path());
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    let operation = mapping.operation(&Operation::parse("person.by_id").unwrap()).unwrap();
    let query = FetchQuery {
        operation: Arc::clone(operation),
        columns: vec![Arc::from("ID")],
        params: vec![(Arc::from("id"), Some(Scalar::Text("P1".to_owned())))],
        filter: None,
        page: None,
        limit: 2,
        timeout: Duration::from_millis(30),
    };
    // More than there are threads: a thread that was not freed would never answer the last question.
    for _ in 0..6 {
        assert_eq!(
            source.fetch(query.clone()).await.unwrap_err(),
            SourceError::Timeout(Duration::from_millis(30))
        );
    }
    let other = mapping.operation(&Operation::parse("person.by_area").unwrap()).unwrap();
    let query = FetchQuery {
        operation: Arc::clone(other),
        params: vec![(Arc::from("area"), Some(Scalar::Text("980101".to_owned())))],
        timeout: Duration::from_secs(30),
        ..query
    };
    assert_eq!(source.fetch(query).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let mapping = slow(&path, folder.path());
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    let operation = mapping.operation(&Operation::parse("person.by_id").unwrap()).unwrap();
    let query = FetchQuery {
        operation: Arc::clone(operation),
        columns: vec![Arc::from("ID")],
        params: vec![(Arc::from("id"), Some(Scalar::Text("P1".to_owned())))],
        filter: None,
        page: None,
        limit: 2,
        timeout: Duration::from_millis(500),
    };
    let mut asked = tokio::task::JoinSet::new();
    let source = Arc::new(source);
    for _ in 0..600 {
        let (source, query) = (Arc::clone(&source), query.clone());
        asked.spawn(async move { source.fetch(query).await.unwrap_err() });
    }
    let errors = asked.join_all().await;
    let busy = errors.iter().filter(|error| matches!(error, SourceError::Busy { .. })).count();
    let late = errors.iter().filter(|error| matches!(error, SourceError::Timeout(_))).count();
    assert_eq!(busy + late, 600, "{errors:?}");
    // Two run and 256 wait; the others are told at once.
    assert!(busy >= 600 - 256 - 2 - 2, "{busy}");
}

#[tokio::test]
async fn a_file_replaced_by_renaming_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let (mapping, source) = open(&path);
    let mapped = MappedSource::new(mapping, source);
    let other = folder.path().join("new");
    std::fs::create_dir(&other).unwrap();
    let newer = database(&other);
    Connection::open(&newer).unwrap().execute("update PERSON set NM = 'new'", []).unwrap();
    std::fs::rename(&newer, &path).unwrap();
    mapped.source().probe().await.unwrap();
    let (operation, name, arguments) = by_id_names();
    for _ in 0..4 {
        let records = mapped.answer(by_id(&operation, &name, &arguments)).await.unwrap().records;
        assert!(std::str::from_utf8(&records).unwrap().contains("\"name\":\"new\""));
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_and_names_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    let mapping = parse(&suite_mapping(&path), folder.path());
    let error = SqliteSource::open(&mapping, &ProcessEnvironment).err().unwrap();
    assert!(error.to_string().contains("there is no such file"), "{error}");
    std::fs::write(&path, "this is no database, whatever its name says").unwrap();
    let error = SqliteSource::open(&mapping, &ProcessEnvironment).err().unwrap();
    assert!(error.to_string().contains("not a database"), "{error}");
    let text = suite_mapping(&path).replace(&format!("'{}'", path.display()), "{ env = \"YIWANG_NOT_SET\" }");
    let error = SqliteSource::open(&parse(&text, folder.path()), &ProcessEnvironment).err().unwrap();
    let told = error.to_string();
    assert!(told.starts_with("environment variable `YIWANG_NOT_SET` is not set; set it where"), "{told}");
}

#[tokio::test]
async fn freshness_is_probed_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = database(folder.path());
    let with = |probe: &str| {
        let zone = "time_zone = \"Asia/Shanghai\"";
        let freshness =
            format!("{zone}\nfreshness = {{ probe = \"{probe}\", warn = \"24h\", fail = \"72h\" }}");
        parse(&suite_mapping(&path).replace(zone, &freshness), folder.path())
    };
    let mapping = with("select max(UPD) from PERSON where UPD < '3'");
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    // 2026-11-03 08:00:00 in Shanghai.
    let newest = 1_793_664_000_000;
    assert_eq!(source.probe().await.unwrap().newest_ms, Some(newest));
    for (hours, severity, code) in [
        (1, Severity::Note, "A-SRC-006"),
        (30, Severity::Warning, "A-SRC-005"),
        (80, Severity::Error, "A-SRC-004"),
    ] {
        let level = Level::Live { source: &source, now_ms: newest + hours * 3_600_000 };
        let findings = check(&mapping, level).await;
        let judged = findings.iter().find(|finding| finding.code == code).unwrap();
        assert_eq!(judged.severity, severity);
    }
    let mapping = with("select 'never'");
    let source = SqliteSource::open(&mapping, &ProcessEnvironment).unwrap();
    assert!(matches!(source.probe().await.unwrap_err(), SourceError::Drift(_)));
}

#[tokio::test]
async fn a_column_that_is_gone_is_a_drift_and_never_a_text_of_its_name() {
    for selected in [r#"select \"ID\", \"NM\", \"UPD\" from PERSON where"#, "select * from PERSON where"] {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        let (mapping, source) = open_as(&path, &suite_mapping(&path).replace(SELECT, selected));
        let mapped = MappedSource::new(Arc::clone(&mapping), Arc::clone(&source));
        let (operation, name, arguments) = by_id_names();
        let ask = || by_id(&operation, &name, &arguments);
        mapped.answer(ask()).await.unwrap();
        let rename = |columns: &str| {
            Connection::open(&path)
                .unwrap()
                .execute_batch(&format!("alter table PERSON rename {columns}"))
                .unwrap();
        };
        rename("NM to OTHER");
        let error = mapped.answer(ask()).await.unwrap_err();
        assert!(error.code == Code::SourceError && error.detail.contains("drifted"), "{error:?}");
        let level = Level::Live { source: source.as_ref(), now_ms: compliance::NOW_MS };
        let findings = check(&mapping, level).await;
        let said = ["A-SQL-002", "A-SQL-003"].map(|code| findings_with(&findings, code)).concat();
        assert!(said.iter().any(|message| message.contains("NM")), "{findings:?}");
        rename("OTHER to NM");
        mapped.answer(ask()).await.unwrap();
    }
}
