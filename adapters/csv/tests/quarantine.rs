//! What is held back: dropped by hand with a trace, read again and taken in, beside a source that serves meanwhile.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use yiwang_adapter_csv::{Act, Became, CsvSource, DropError, Told, drop_held, held, retry};
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{AnswerError, Ask, MappedSource};
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{ProcessEnvironment, Source};
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{RowClause, RowOperator, Scalar};
use yiwang_proto::ids::{FieldName, Operation};

const HEADER: &str = "ID,NM,SEX,BORN,AREA,AMT,STATE,UPD\n";
const FILE: &str = "people-1.csv";
const AT_MS: i64 = 1_795_000_000_000;

/// A mapping on disk with its folder beside it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(rows: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.dir.path().join("files")).unwrap();
        place.mapping_with("integer");
        place.put(FILE, rows);
        place
    }

    /// Writes the mapping with a type for the column `AMT`.
    fn mapping_with(&self, kind: &str) {
        let column = |column: &str| match column {
            "AMT" => format!("AMT = \"{kind}\"\n"),
            column => format!("{column} = \"string\"\n"),
        };
        let columns: String = compliance::COLUMNS.map(column).concat();
        let source = format!(
            "[source.csv]\nfolder = \"files\"\nfiles = \"people-*.csv\"\nencoding = \"utf-8\"\ntime_zone = \"Asia/Shanghai\"\nkey = \"ID\"\n[source.csv.columns]\n{columns}"
        );
        let text = compliance::mapping(&source, "where = { ID = \":id\" }", "where = { AREA = \":area\" }");
        std::fs::write(self.file(), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("person.toml")
    }

    fn list(&self) -> PathBuf {
        self.dir.path().join("person.toml.dropped")
    }

    fn put(&self, name: &str, rows: &str) {
        let aside = self.dir.path().join("aside");
        std::fs::write(&aside, format!("{HEADER}{rows}")).unwrap();
        std::fs::rename(&aside, self.dir.path().join("files").join(name)).unwrap();
    }

    fn mapping(&self) -> Mapping {
        Mapping::parse(&std::fs::read_to_string(self.file()).unwrap(), &self.file())
            .unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    fn source(&self) -> (Arc<CsvSource>, MappedSource) {
        let mapping = self.mapping();
        let source = Arc::new(CsvSource::open(&mapping, &ProcessEnvironment).unwrap());
        let mapped = MappedSource::new(Arc::new(mapping), Arc::clone(&source) as Arc<dyn Source>);
        (source, mapped)
    }

    fn drop_out(&self, file: &str, lines: &[u64]) -> Result<Vec<Told>, DropError> {
        let act = Act { file, lines, by: "keeper", at_ms: AT_MS };
        drop_held(&self.mapping(), &ProcessEnvironment, act, "a test of the maker", [7; 32])
            .map(|done| done.told)
    }

    fn retry(&self, file: &str, lines: &[u64]) -> Vec<Told> {
        let act = Act { file, lines, by: "other", at_ms: AT_MS };
        retry(&self.mapping(), &ProcessEnvironment, act).unwrap().told
    }
}

fn row(id: &str, name: &str, amount: &str) -> String {
    format!("{id},{name},1,19900101,a,{amount},ok,2026-11-05 08:00:00\n")
}

async fn name_of(mapped: &MappedSource, id: &str) -> Result<String, Code> {
    name_within(mapped, id, &[]).await.map_err(|error| error.code)
}

async fn name_within(mapped: &MappedSource, id: &str, rows: &[RowClause]) -> Result<String, AnswerError> {
    let (operation, name) = (Operation::parse("person.by_id").unwrap(), FieldName::parse("name").unwrap());
    let arguments = [].into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: std::slice::from_ref(&name),
        rows,
        subject: id,
        arguments: &arguments,
        limit: 1,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 60_000,
    };
    let mapped = mapped.answer(ask).await?;
    let records: serde_json::Value = serde_json::from_slice(&mapped.records).unwrap();
    Ok(records.pointer("/0/fields/name").map_or("", |name| name.as_str().unwrap()).to_owned())
}

fn told(line: u64, became: Became) -> Told {
    Told { line, became }
}

const WHY: &str = "column `AMT` is not a whole number";

#[tokio::test]
async fn a_row_is_dropped_with_a_trace_and_taken_in_when_the_mapping_was_mended() {
    let place = Place::new(
        &[row("P1", "good", "1"), row("P2", "canary-name", "much"), row("P3", "c", "many")].concat(),
    );
    let (source, _) = place.source();
    assert_eq!(source.quarantine().1, 2);
    assert_eq!(place.drop_out(FILE, &[3]).unwrap(), [told(3, Became::Dropped)]);
    // The source that serves meanwhile sees it at its next question.
    source.probe().await.unwrap();
    let (kept, count) = source.quarantine();
    assert_eq!((kept[0].line, count), (4, 1));
    let list = std::fs::read_to_string(place.list()).unwrap();
    assert!(!list.contains("canary") && !list.contains("P2") && !list.contains("much"), "{list}");
    let found = held(&place.mapping(), &ProcessEnvironment).unwrap();
    let trace = &found.dropped[0];
    assert_eq!((found.count, found.dropped.len(), trace.line), (1, 1, 3));
    assert_eq!(
        [&trace.held, &trace.reason, &trace.by].map(String::as_str),
        [WHY, "a test of the maker", "keeper"]
    );
    assert_eq!(trace.at, yiwang_proto::time::format_rfc3339(AT_MS));
    // Nothing was mended: both stay, each as it is.
    assert_eq!(
        place.retry(FILE, &[]),
        [told(3, Became::StaysDropped(WHY.to_owned())), told(4, Became::Stays(WHY.to_owned()))]
    );
    // Under a mended mapping what was held back comes in by itself, and what was dropped does not.
    place.mapping_with("string");
    let (source, mapped) = place.source();
    assert_eq!(
        (name_of(&mapped, "P3").await, name_of(&mapped, "P2").await),
        (Ok("c".to_owned()), Ok(String::new()))
    );
    let codes: Vec<_> = source.check(Vec::new()).await.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"A-CSV-006"), "{codes:?}");
    // Until somebody says so.
    assert_eq!(place.retry(FILE, &[3]), [told(3, Became::TakenIn)]);
    assert_eq!(name_of(&mapped, "P2").await, Ok("canary-name".to_owned()));
    let found = held(&place.mapping(), &ProcessEnvironment).unwrap();
    assert_eq!(found.dropped[0].taken_in.as_ref().map(|taken| taken.by.as_str()), Some("other"));
    assert_eq!(place.retry(FILE, &[3]), []);
}

#[tokio::test]
async fn a_dropped_row_is_known_in_a_file_that_grew_and_a_mended_one_is_another_row() {
    let bad = row("P2", "b", "much");
    let place = Place::new(&[row("P1", "a", "1"), bad.clone()].concat());
    place.drop_out(FILE, &[]).unwrap();
    let (source, mapped) = place.source();
    assert_eq!(source.quarantine().1, 0);
    place.put(FILE, &[row("P0", "new", "1"), row("P1", "a", "1"), bad.trim_end().to_owned()].concat());
    assert_eq!((name_of(&mapped, "P0").await, source.quarantine().1), (Ok("new".to_owned()), 0));
    place.put(FILE, &[row("P1", "a", "1"), row("P2", "b", "2")].concat());
    assert_eq!(name_of(&mapped, "P2").await, Ok("b".to_owned()));
    assert_eq!(place.retry(FILE, &[]), [told(3, Became::Gone)]);
}

#[tokio::test]
async fn rows_that_swallowed_others_are_dropped_alone() {
    let open = "P2,\"b,1,,,,,\n";
    let place = Place::new(
        &[open.to_owned(), row("P3", "c", "3"), "P4,few\n".to_owned(), row("P5", "e", "5")].concat(),
    );
    let dropped = place.drop_out(FILE, &[2, 4]).unwrap();
    assert_eq!(dropped, [told(2, Became::Dropped), told(4, Became::Dropped)]);
    let (source, mapped) = place.source();
    assert_eq!(source.quarantine().1, 0);
    assert_eq!(
        (name_of(&mapped, "P3").await, name_of(&mapped, "P5").await),
        (Ok("c".to_owned()), Ok("e".to_owned()))
    );
}

#[tokio::test]
async fn a_whole_file_is_dropped_until_it_is_another_file() {
    let place = Place::new(&row("P1", "a", "1"));
    place.put("people-2.csv", &row("P2", "b", "2"));
    let (source, mapped) = place.source();
    std::fs::write(place.dir.path().join("files/people-2.csv"), "WRONG,HEADER\n1,2\n").unwrap();
    // Its earlier version serves, until it is dropped.
    assert_eq!(name_of(&mapped, "P2").await, Ok("b".to_owned()));
    let refused = place.drop_out("people-2.csv", &[2]).unwrap_err();
    assert!(matches!(&refused, DropError::NotHeld(what) if what.contains("as a whole")), "{refused}");
    assert_eq!(place.drop_out("people-2.csv", &[]).unwrap(), [told(0, Became::Dropped)]);
    assert_eq!(
        (name_of(&mapped, "P2").await, name_of(&mapped, "P1").await),
        (Ok(String::new()), Ok("a".to_owned()))
    );
    assert_eq!(source.quarantine().1, 0);
    let why = place.retry("people-2.csv", &[]);
    assert!(
        matches!(&why[..], [Told { line: 0, became: Became::StaysDropped(why) }] if why.contains("header")),
        "{why:?}"
    );
    place.put("people-2.csv", &row("P2", "mended", "2"));
    assert_eq!(name_of(&mapped, "P2").await, Ok("mended".to_owned()));
    // The only file of a folder: its absence must not look like an empty register.
    let alone = Place::new(&row("P1", "a", "1"));
    std::fs::write(alone.dir.path().join("files").join(FILE), "WRONG\n").unwrap();
    assert_eq!(held(&alone.mapping(), &ProcessEnvironment).unwrap().count, 1);
    alone.drop_out(FILE, &[]).unwrap();
    let refused = CsvSource::open(&alone.mapping(), &ProcessEnvironment).err().unwrap().to_string();
    assert!(refused.contains("every file of its folder was dropped"), "{refused}");
}

#[tokio::test]
async fn what_is_not_held_back_is_not_dropped_and_nothing_changes_by_half() {
    let place = Place::new(&[row("P1", "a", "1"), row("P2", "b", "much")].concat());
    for lines in [&[2][..], &[3, 2], &[9]] {
        let refused = place.drop_out(FILE, lines).unwrap_err();
        assert!(
            matches!(&refused, DropError::NotHeld(what) if what.contains("is not held back")),
            "{refused}"
        );
        assert!(!place.list().exists());
    }
    assert!(place.drop_out("../person.toml", &[]).is_err());
    // Two commands exclude each other.
    let folder = std::fs::File::open(place.dir.path()).unwrap();
    folder.lock().unwrap();
    assert!(matches!(place.drop_out(FILE, &[3]), Err(DropError::Busy)));
    folder.unlock().unwrap();
    // A power cut before the rename leaves a torn file aside: the list of before counts, and the next change goes on.
    let (source, mapped) = place.source();
    std::fs::write(place.dir.path().join("person.toml.dropped.new"), "format = \"adap").unwrap();
    assert_eq!((name_of(&mapped, "P1").await, source.quarantine().1), (Ok("a".to_owned()), 1));
    place.drop_out(FILE, &[3]).unwrap();
    assert_eq!((name_of(&mapped, "P1").await, source.quarantine().1), (Ok("a".to_owned()), 0));
    // A list that somebody spoilt lets nothing out that was taken out: the source says so instead of answering.
    let list = std::fs::read_to_string(place.list()).unwrap();
    std::fs::write(place.list(), "format = \"adapter-dropped/1\"\nreason = \"canary\"\n").unwrap();
    assert_eq!(name_of(&mapped, "P1").await, Err(Code::SourceError));
    let error = source.probe().await.unwrap_err().to_string();
    assert!(error.contains("person.toml.dropped") && !error.contains("canary"), "{error}");
    std::fs::write(place.list(), list).unwrap();
    assert_eq!(name_of(&mapped, "P1").await, Ok("a".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_serves_sees_whole_lists_only() {
    let place = Arc::new(Place::new(&[row("P1", "a", "1"), row("P2", "b", "2")].concat()));
    // A file that is bad under another mapping is dropped and taken in, again and again.
    place.put("people-2.csv", &row("P3", "c", "much"));
    let (source, mapped) = place.source();
    let ended = Arc::new(AtomicBool::new(false));
    let acting = {
        let (place, ended) = (Arc::clone(&place), Arc::clone(&ended));
        std::thread::spawn(move || {
            for _ in 0..50 {
                place.drop_out("people-2.csv", &[2]).unwrap();
                place.mapping_with("string");
                assert_eq!(place.retry("people-2.csv", &[2]), [told(2, Became::TakenIn)]);
                place.mapping_with("integer");
            }
            ended.store(true, Ordering::Release);
        })
    };
    while !ended.load(Ordering::Acquire) {
        assert_eq!(name_of(&mapped, "P2").await, Ok("b".to_owned()));
        assert!(source.quarantine().1 <= 1);
    }
    acting.join().unwrap();
    assert_eq!(held(&place.mapping(), &ProcessEnvironment).unwrap().dropped.len(), 50);
}

#[test]
fn the_list_can_be_read_by_whoever_reads_the_mapping() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(&row("P1", "a", "much"));
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    place.drop_out(FILE, &[]).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.list()), 0o640);
}

#[test]
fn a_link_that_somebody_laid_is_not_written_through() {
    let place = Place::new(&format!("{}{}", row("980101199001010017", "甲", "x"), row("2", "乙", "1")));
    let other = place.dir.path().join("other");
    std::fs::write(&other, "somebody else's").unwrap();
    let aside = place.dir.path().join("person.toml.dropped.new");
    std::os::unix::fs::symlink(&other, &aside).unwrap();
    assert_eq!(place.drop_out(FILE, &[2]).unwrap(), [told(2, Became::Dropped)]);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "somebody else's");
    assert!(!aside.exists() && std::fs::symlink_metadata(place.list()).unwrap().is_file());
    // Nor is the list itself, where it is a link: it becomes a file of its own.
    std::fs::copy(place.list(), &other).unwrap();
    std::fs::remove_file(place.list()).unwrap();
    std::os::unix::fs::symlink(&other, place.list()).unwrap();
    let before = std::fs::read(&other).unwrap();
    assert_eq!(place.retry(FILE, &[2]).len(), 1);
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[tokio::test]
async fn where_something_is_held_back_nobody_is_told_that_there_is_no_record() {
    let place = Place::new(&[row("P1", "a", "1"), row("P2", "canary", "much")].concat());
    let (source, mapped) = place.source();
    assert_eq!((name_of(&mapped, "P1").await, source.quarantine().1), (Ok("a".to_owned()), 1));
    let women = RowClause {
        field: FieldName::parse("sex").unwrap(),
        op: RowOperator::Eq,
        value: Some(Scalar::Text("female".to_owned())),
        values: Vec::new(),
        from: None,
        to: None,
        param: None,
    };
    // The row itself, and one that is outside of the contract. Of another key than those that are held back there is none.
    assert_eq!(name_of(&mapped, "P9").await, Ok(String::new()));
    for (id, rows) in [("P2", &[][..]), ("P1", std::slice::from_ref(&women))] {
        let error = name_within(&mapped, id, rows).await.unwrap_err();
        assert_eq!(error.code, Code::SourceError, "{id}");
        assert!(
            error.detail.contains("are held back") && error.detail.contains("quarantine list"),
            "{error}"
        );
        assert!(error.clause.contains("it cannot be said that there is none"), "{}", error.clause);
        assert!(!format!("{error:?}").contains("canary"), "{error}");
    }
    // Whose key cannot be read could be anybody's.
    place.put(FILE, &[row("P1", "a", "1"), row("P2", "canary", "much"), row("", "canary", "much")].concat());
    assert_eq!(name_of(&mapped, "P9").await, Err(Code::SourceError));
    place.put(FILE, &[row("P1", "a", "1"), row("P2", "canary", "much")].concat());
    // What was dropped counts no more.
    place.drop_out(FILE, &[3]).unwrap();
    for (id, rows) in [("P2", &[][..]), ("P9", &[]), ("P1", std::slice::from_ref(&women))] {
        assert_eq!(name_within(&mapped, id, rows).await, Ok(String::new()), "{id}");
    }
}

#[tokio::test]
async fn an_older_row_is_not_served_where_the_newer_one_of_its_key_is_held_back() {
    let place = Place::new(&row("P1", "old", "1"));
    let (_, mapped) = place.source();
    let served = |name: &str| Ok(name.to_owned());
    for newer in [
        row("P1", "new", "much"),
        "P1,\"new,1,19900101,a,1,ok,2026-11-06 08:00:00\n".to_owned(),
        "P1,few\n".to_owned(),
        // Also where a sound one stands before it in the same file.
        [row("P1", "between", "1"), row("P1", "new", "much")].concat(),
    ] {
        place.put("people-2.csv", &[newer.clone(), row("P2", "b", "2")].concat());
        assert_eq!(name_of(&mapped, "P1").await, Err(Code::SourceError), "{newer}");
        assert_eq!(name_of(&mapped, "P2").await, served("b"), "{newer}");
    }
    // One that is newer still is served, and one that is held back says nothing of newer ones.
    place.put("people-2.csv", &[row("P1", "new", "much"), row("P1", "newer", "2")].concat());
    assert_eq!(name_of(&mapped, "P1").await, served("newer"));
    place.put("people-2.csv", &row("P1", "new", "much"));
    place.put("people-3.csv", &row("P1", "newest", "3"));
    assert_eq!(name_of(&mapped, "P1").await, served("newest"));
    std::fs::remove_file(place.dir.path().join("files/people-3.csv")).unwrap();
    assert_eq!(name_of(&mapped, "P1").await, Err(Code::SourceError));
    // Dropped by hand, it counts no more.
    place.drop_out("people-2.csv", &[2]).unwrap();
    assert_eq!(name_of(&mapped, "P1").await, served("old"));
}

#[tokio::test]
async fn a_search_says_how_many_rows_are_held_back_beside_those_that_it_found() {
    let place = Place::new(&[row("P1", "a", "1"), row("P2", "canary", "much")].concat());
    let (_, mapped) = place.source();
    let fields = ["name", "sex"].map(|name| FieldName::parse(name).unwrap());
    let operation = Operation::parse("person.by_area").unwrap();
    let arguments = [(FieldName::parse("area").unwrap(), Scalar::Text("a".to_owned()))].into();
    let found = async || {
        let ask = Ask {
            highest_class: (2, Code::SealingRequired),
            operation: &operation,
            fields: &fields,
            rows: &[],
            subject: "",
            arguments: &arguments,
            limit: 100,
            now_ms: compliance::NOW_MS,
            deadline_ms: compliance::NOW_MS + 60_000,
        };
        let found = mapped.answer(ask).await.unwrap();
        (found.rows, found.withheld)
    };
    assert_eq!(found().await, (1, vec![(fields[0].clone(), "rows left out: 1".to_owned())]));
    place.drop_out(FILE, &[3]).unwrap();
    assert_eq!(found().await, (1, Vec::new()), "what was dropped counts no more");
    // Of a look-up the row that was found is the one that was looked for.
    assert_eq!(name_of(&mapped, "P1").await, Ok("a".to_owned()));
}
