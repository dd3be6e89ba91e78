use super::*;
use crate::check::Finding;
use crate::mapping::Mapping;
use crate::source::{BoxFuture, Fetched, Probe, Source, SourceError};
use std::path::Path;
use std::sync::Mutex;
use yiwang_proto::body::Arguments;
use yiwang_proto::ids::{FieldName, Operation};

const MAPPING: &str = r#"format = "adapter/1"
mapping = "calls.incident"
record = "Incident"
owner = "emergency-call"
[source.sqlite]
path = "calls.db"
time_zone = "Asia/Shanghai"
[codes.type]
"1" = "medical"
"2" = "fire"
"9" = "fire"
unknown = "null"
[[operation]]
name = "incident.count"
kind = "count"
k = 12
sql = "select TOWN, KIND from CALL"
timeout = "5s"
[operation.by]
township = { from = "TOWN", type = "string", steps = ["trim"], values = ["north", "south"], empty = true }
type = { from = "KIND", type = "code", codes = "type" }
"#;

/// A table in memory: what a source gives when it groups by both columns.
#[derive(Default)]
struct Memory {
    groups: Mutex<Vec<(&'static str, &'static str, i64)>>,
    asked: Mutex<u32>,
    place: Mutex<String>,
    /// What a slow one waits for, and where it says that it waits.
    slow: Option<(tokio::sync::Notify, tokio::sync::Notify)>,
}

impl Source for Memory {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        *self.asked.lock().unwrap() += 1;
        assert!(query.params.is_empty() && query.filter.is_none());
        let mut rows = Rows::new(query.columns.len());
        for (town, kind, many) in self.groups.lock().unwrap().iter() {
            for column in &query.columns {
                let cell = match column.as_ref() {
                    "TOWN" if town.is_empty() => Cell::Null,
                    "TOWN" => Cell::Text(town),
                    "KIND" => Cell::Text(kind),
                    COUNT_COLUMN => Cell::Integer(*many),
                    other => panic!("{other} is read"),
                };
                rows.push(cell).unwrap();
            }
        }
        Box::pin(async move {
            if let Some((waits, goes_on)) = &self.slow {
                waits.notify_one();
                goes_on.notified().await;
            }
            Ok(Fetched { rows })
        })
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        let place = self.place.lock().unwrap().clone();
        Box::pin(async move { Ok(place) })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        Box::pin(async { Ok(Probe::default()) })
    }

    fn check(&self, _: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async { Vec::new() })
    }
}

fn mapped(text: &str, memory: &Arc<Memory>) -> MappedSource {
    let mapping = Mapping::parse(text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
    MappedSource::new(Arc::new(mapping), Arc::clone(memory) as Arc<dyn Source>)
}

/// 2026-11-26, eight in the morning in Shanghai.
const MORNING: i64 = 1_795_651_200_000;
const HOUR: i64 = 3_600_000;

async fn ask(
    counts: &Counts,
    source: &MappedSource,
    by: &[&str],
    now_ms: i64,
) -> Result<String, AnswerError> {
    ask_as(counts, source, by, now_ms, Method::Count).await
}

async fn ask_as(
    counts: &Counts,
    source: &MappedSource,
    by: &[&str],
    now_ms: i64,
    method: Method,
) -> Result<String, AnswerError> {
    let operation = Operation::parse("incident.count").unwrap();
    let fields: Vec<FieldName> = by.iter().map(|name| FieldName::parse(name).unwrap()).collect();
    let ask = Ask {
        operation: &operation,
        fields: &fields,
        rows: &[],
        subject: "",
        arguments: &Arguments::new(),
        limit: 100,
        now_ms,
        deadline_ms: now_ms + 10_000,
        highest_class: (2, Code::SealingRequired),
    };
    let mapped = counts.answer(source, ask, method).await?;
    let records: Vec<serde_json::Value> = serde_json::from_slice(&mapped.records).unwrap();
    assert_eq!(records.len(), mapped.rows as usize);
    let line = |record: &serde_json::Value| {
        let fields = record["fields"].as_object().unwrap();
        let values: Vec<String> = fields.values().map(ToString::to_string).collect();
        format!("{} {}", values.join(" "), record["count"])
    };
    Ok(records.iter().map(line).collect::<Vec<_>>().join("; "))
}

fn groups(memory: &Memory, groups: &[(&'static str, &'static str, i64)]) {
    *memory.groups.lock().unwrap() = groups.to_vec();
}

#[tokio::test]
async fn a_table_answers_alike_all_day_and_is_made_anew_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    let source = mapped(MAPPING, &memory);
    groups(
        &memory,
        &[("north", "1", 20), (" north", "2", 5), ("north ", "9", 8), ("south", "1", 11), ("", "7", 30)],
    );
    let counts = Counts::new(folder.path().join("counts"));
    // Two codes that mean the same are one cell; eleven in the south are under twelve and take the north's fires with them.
    assert_eq!(ask(&counts, &source, &["type"], MORNING).await.unwrap(), "");
    let both = ask(&counts, &source, &["township", "type"], MORNING).await.unwrap();
    assert_eq!(both, "\"north\" \"medical\" 20; null null 30");
    groups(&memory, &[("north", "1", 500)]);
    assert_eq!(ask(&counts, &source, &["township", "type"], MORNING + 15 * HOUR).await.unwrap(), both);
    assert_eq!(*memory.asked.lock().unwrap(), 1);
    // After a restart, and on a clock that went back.
    let counts = Counts::new(folder.path().join("counts"));
    assert_eq!(ask(&counts, &source, &["township", "type"], MORNING + HOUR).await.unwrap(), both);
    assert_eq!(ask(&counts, &source, &["township", "type"], MORNING - 30 * HOUR).await.unwrap(), both);
    assert_eq!(*memory.asked.lock().unwrap(), 1);
    // Midnight in Shanghai: another day, and too soon for another table.
    assert_eq!(ask(&counts, &source, &["township", "type"], MORNING + 16 * HOUR).await.unwrap(), both);
    assert_eq!(*memory.asked.lock().unwrap(), 1);
    let next = ask(&counts, &source, &["township", "type"], MORNING + 20 * HOUR).await.unwrap();
    assert_eq!((next.as_str(), *memory.asked.lock().unwrap()), ("\"north\" \"medical\" 500", 2));
}

#[tokio::test]
async fn a_table_that_was_declared_otherwise_today_waits_and_another_method_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    groups(&memory, &[("north", "1", 40), ("south", "1", 40)]);
    let counts = Counts::new(folder.path().to_owned());
    let source = mapped(MAPPING, &memory);
    let denied = ask_as(&counts, &source, &["type"], MORNING, Method::Query).await.unwrap_err();
    assert_eq!(denied.code, Code::OperationNotGranted);
    let denied = source
        .answer(Ask {
            operation: &Operation::parse("incident.count").unwrap(),
            fields: &[FieldName::parse("type").unwrap()],
            rows: &[],
            subject: "",
            arguments: &Arguments::new(),
            limit: 1,
            now_ms: MORNING,
            deadline_ms: MORNING + 1,
            highest_class: (2, Code::SealingRequired),
        })
        .await;
    assert_eq!(denied.unwrap_err().code, Code::OperationNotGranted);
    assert_eq!(*memory.asked.lock().unwrap(), 0);
    ask(&counts, &source, &["type"], MORNING).await.unwrap();
    // Another `k` would show what the first suppressed, or hide what it showed.
    let other = mapped(&MAPPING.replace("k = 12", "k = 30"), &memory);
    for counts in [counts, Counts::new(folder.path().to_owned())] {
        let waits = ask(&counts, &other, &["type"], MORNING + HOUR).await.unwrap_err();
        assert!(waits.code == Code::SourceError && waits.clause.contains("tomorrow"), "{waits}");
        // A comment declares nothing.
        let same = mapped(&format!("{MAPPING}# looked through\n"), &memory);
        ask(&counts, &same, &["type"], MORNING + HOUR).await.unwrap();
    }
    let counts = Counts::new(folder.path().to_owned());
    ask(&counts, &other, &["type"], MORNING + 24 * HOUR).await.unwrap();
}

#[tokio::test]
async fn the_table_of_another_database_is_not_given_as_this_ones() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    groups(&memory, &[("north", "1", 40), ("south", "1", 40)]);
    let place = |text: &str| text.clone_into(&mut memory.place.lock().unwrap());
    place("db.old.example:5432\ncalls");
    let counts = Counts::new(folder.path().to_owned());
    // The same mapping, whose variable names another database after a reload.
    let source = mapped(MAPPING, &memory);
    let before = ask(&counts, &source, &["type"], MORNING).await.unwrap();
    place("db.new.example:5432\ncalls");
    groups(&memory, &[("north", "1", 70)]);
    for counts in [&counts, &Counts::new(folder.path().to_owned())] {
        let waits = ask(counts, &source, &["type"], MORNING + HOUR).await.unwrap_err();
        assert!(waits.code == Code::SourceError && waits.clause.contains("another source"), "{waits}");
    }
    let kept = std::fs::read_to_string(folder.path().join("Incident.json")).unwrap();
    assert!(!kept.contains("example"), "{kept}");
    place("db.old.example:5432\ncalls");
    assert_eq!(ask(&counts, &source, &["type"], MORNING + 2 * HOUR).await.unwrap(), before);
    place("db.new.example:5432\ncalls");
    let next = ask(&counts, &source, &["township", "type"], MORNING + 24 * HOUR).await.unwrap();
    assert_eq!(next, "\"north\" \"medical\" 70");
}

#[tokio::test]
async fn nobody_waits_for_the_slow_source_of_another_record() {
    let folder = tempfile::tempdir().unwrap();
    let slow = Arc::new(Memory { slow: Some(Default::default()), ..Memory::default() });
    let swift = Arc::new(Memory::default());
    for memory in [&slow, &swift] {
        groups(memory, &[("north", "1", 40), ("south", "1", 40)]);
    }
    let counts = Arc::new(Counts::new(folder.path().to_owned()));
    let hanging = {
        let (counts, source) = (Arc::clone(&counts), mapped(MAPPING, &slow));
        tokio::spawn(async move { ask(&counts, &source, &["type"], MORNING).await })
    };
    let (waits, goes_on) = slow.slow.as_ref().unwrap();
    waits.notified().await;
    let other = mapped(&MAPPING.replace("\"Incident\"", "\"ServiceRequest\""), &swift);
    let answer = ask(&counts, &other, &["type"], MORNING).await.unwrap();
    assert_eq!(*slow.asked.lock().unwrap(), 1);
    assert!(!hanging.is_finished());
    goes_on.notify_one();
    assert_eq!(hanging.await.unwrap().unwrap(), answer);
}

#[tokio::test]
async fn values_that_are_not_declared_fail_the_table_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Arc::new(Memory::default());
    let counts = Counts::new(folder.path().to_owned());
    let source = mapped(MAPPING, &memory);
    for bad in [("west-secret", "1", 40), ("north", "1", -1)] {
        groups(&memory, &[("north", "1", 40), bad]);
        let failed = ask(&counts, &source, &["type"], MORNING).await.unwrap_err();
        assert_eq!(failed.code, Code::SourceError);
        assert!(!format!("{failed} {}", failed.clause).contains("secret"), "{failed}");
    }
    let strict = mapped(
        &MAPPING.replace(", empty = true", "").replace("unknown = \"null\"", "unknown = \"fail\""),
        &memory,
    );
    for bad in [("", "1", 40), ("north", "7", 40)] {
        groups(&memory, &[bad]);
        assert!(ask(&counts, &strict, &["type"], MORNING).await.is_err(), "{bad:?}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing was kept");
}

#[test]
fn a_declaration_that_leaves_something_open_is_refused() {
    let text = MAPPING.replace("timeout", "limit = 50\ntimeout");
    assert!(Mapping::parse(&text, Path::new("m.toml")).is_ok());
    let second =
        MAPPING.split_once("[[operation]]").unwrap().1.replace("incident.count", "incident.count_again");
    for (from, to, said) in [
        ("k = 12", "k = 9", "`k` is not a whole number from 10"),
        ("k = 12", "params.x = { type = \"date\" }", "a count has no `params`"),
        ("k = 12", "subject = \"x\"", "a count has no `subject`"),
        ("k = 12", "where = { TOWN = \"north\" }", "a count has no `where`"),
        ("from CALL", "from CALL where TOWN = :town", "parameter :town is not declared"),
        ("unknown = \"null\"", "unknown = \"keep\"", "this code table keeps others"),
        (", values = [\"north\", \"south\"]", "", "lacks `values`"),
        ("[\"north\", \"south\"]", "[\"north\", \"north\"]", "different texts"),
        (
            "codes = \"type\"",
            "codes = \"type\", values = [\"x\"]",
            "a dimension of type code has no `values`",
        ),
        ("type = \"string\", steps", "type = \"integer\", steps", "`type` has a value that is not known"),
        ("from = \"TOWN\"", "from = \"count\"", "called `count`"),
        ("[operation.by]", "[operation.bye]", "did you mean `by`?"),
        ("timeout = \"5s\"", "timeout = \"50s\"", "over 30s"),
    ] {
        assert!(MAPPING.contains(from), "{from}");
        let faults = Mapping::parse(&MAPPING.replacen(from, to, 1), Path::new("m.toml")).unwrap_err();
        let told: String = faults.iter().map(|fault| format!("{fault} {:?}\n", fault.help)).collect();
        assert!(told.contains(said), "{to}: {told}");
    }
    let memory = Arc::new(Memory::default());
    let other = mapped(&MAPPING.replace("calls.incident", "calls.other"), &memory);
    assert!(counted_once(&[mapped(MAPPING, &memory)]).is_ok());
    assert!(counted_once(&[mapped(MAPPING, &memory), other]).is_err());
    let twice = format!("{MAPPING}[[operation]]{second}");
    let faults = Mapping::parse(&twice, Path::new("m.toml")).unwrap_err();
    assert!(faults.iter().any(|fault| fault.message == "a second count of the record"), "{faults:?}");
}

#[test]
fn the_source_groups_and_no_name_leaves_its_quotes() {
    let sql = |kind: &str, column: &str| {
        let source = match kind {
            "sqlite" => "[source.sqlite]\npath = \"calls.db\"".to_owned(),
            other => format!("[source.{other}]\nurl = {{ env = \"X\" }}\ntls = {{ mode = \"off\" }}"),
        };
        let text = MAPPING
            .replace("[source.sqlite]\npath = \"calls.db\"", &source)
            .replace("from = \"TOWN\"", &format!("from = \"{column}\""));
        let mapping =
            Mapping::parse(&text, Path::new("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"));
        let operation = mapping.operations().first().unwrap();
        match &operation.access {
            crate::mapping::Access::Sql(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        sql("sqlite", "TOWN"),
        "select \"KIND\", \"TOWN\", count(*) as \"count\" from (\nselect TOWN, KIND from CALL\n) counted group by \"KIND\", \"TOWN\""
    );
    assert!(sql("postgres", "a`b").contains("\"a`b\", count(*) as \"count\""));
    assert!(sql("mariadb", "a`b").contains("max(`a``b`) as `a``b`, count(*) as `count`"));
    assert!(sql("mariadb", "a`b").ends_with("group by binary `KIND`, binary `a``b`"));
}
