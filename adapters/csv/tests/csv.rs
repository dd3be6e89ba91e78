//! A CSV folder as a source: the compliance suite, reading again, what is refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;
use yiwang_adapter_csv::CsvSource;
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{Ask, MappedSource};
use yiwang_adapter_sdk::mapping::{Mapping, render};
use yiwang_adapter_sdk::source::{ProcessEnvironment, Source, SourceError};
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};

fn parse(text: &str, folder: &Path) -> Mapping {
    Mapping::parse(text, &folder.join("person.toml")).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| render(fault, text)).collect::<String>())
    })
}

fn suite_mapping(folder: &Path) -> String {
    let columns: String = compliance::COLUMNS.map(|column| format!("{column} = \"string\"\n")).concat();
    let source = format!(
        "[source.csv]\nfolder = '{}'\nfiles = \"people-*.csv\"\nencoding = \"utf-8\"\ntime_zone = \"Asia/Shanghai\"\nkey = \"ID\"\n[source.csv.columns]\n{columns}",
        folder.display()
    );
    compliance::mapping(&source, "where = { ID = \":id\" }", "where = { AREA = \":area\" }")
}

fn write(folder: &Path) {
    let mut file = csv::Writer::from_path(folder.join("people-1.csv")).unwrap();
    file.write_record(compliance::COLUMNS).unwrap();
    for row in compliance::rows() {
        file.write_record(row).unwrap();
    }
    file.flush().unwrap();
}

fn open(folder: &Path) -> (Arc<Mapping>, Arc<dyn Source>) {
    let mapping = parse(&suite_mapping(folder), folder);
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    assert_eq!(source.quarantine().1, 0);
    (Arc::new(mapping), Arc::new(source))
}

#[tokio::test]
async fn csv_complies() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let outcomes = compliance::run(|| open(folder.path())).await;
    assert!(outcomes.len() >= 14);
    assert_eq!(compliance::failures(&outcomes), "");
}

#[tokio::test]
async fn csv_counts() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let suite = suite_mapping(folder.path());
    let section = suite.split_once("[source.csv]").unwrap().1.split_once("\n[codes").unwrap().0;
    let mapping = parse(&compliance::count_mapping(&format!("[source.csv]{section}"), ""), folder.path());
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    let counted = compliance::counts(Arc::new(mapping), Arc::new(source), &folder.path().join("day")).await;
    assert_eq!(counted, Ok(()));
}

async fn name_of(mapped: &MappedSource, id: &str) -> Result<String, (Code, String)> {
    let (operation, name) = (Operation::parse("person.by_id").unwrap(), FieldName::parse("name").unwrap());
    let arguments = [].into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: std::slice::from_ref(&name),
        rows: &[],
        subject: id,
        arguments: &arguments,
        limit: 1,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 60_000,
    };
    let mapped = mapped.answer(ask).await.map_err(|error| (error.code, error.detail))?;
    let records: serde_json::Value = serde_json::from_slice(&mapped.records).unwrap();
    Ok(records.pointer("/0/fields/name").map_or("", |name| name.as_str().unwrap()).to_owned())
}

const HEADER: &str = "ID,NM,SEX,BORN,AREA,AMT,STATE,UPD\n";

fn drop_in(folder: &Path, name: &str, content: &str) {
    // As departments are told to: written aside, then renamed.
    std::fs::write(folder.join("aside"), content).unwrap();
    std::fs::rename(folder.join("aside"), folder.join(name)).unwrap();
}

#[tokio::test]
async fn files_that_come_change_or_go_are_seen_at_the_next_question() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let (mapping, source) = open(folder.path());
    let mapped = MappedSource::new(mapping, source);
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "云甲");
    let row = |id: &str, name: &str| format!("{HEADER}{id},{name},1,19900101,a,1,ok,2026-11-05 08:00:00\n");
    drop_in(folder.path(), "people-2.csv", &row("P700", "new"));
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "new");
    // The same key in a later file: the later row counts.
    drop_in(folder.path(), "people-3.csv", &row("P1", "moved"));
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "moved");
    drop_in(folder.path(), "people-2.csv", &row("P700", "changed"));
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "changed");
    std::fs::remove_file(folder.path().join("people-3.csv")).unwrap();
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "云甲");
}

#[tokio::test]
async fn the_export_of_the_later_month_counts_also_where_its_number_has_more_digits() {
    let folder = tempfile::tempdir().unwrap();
    let row = |name: &str| format!("{HEADER}P1,{name},1,19900101,a,1,ok,2026-11-05 08:00:00\n");
    for (file, name) in
        [("people-10.csv", "October"), ("people-9.csv", "September"), ("people-11.csv", "November")]
    {
        drop_in(folder.path(), file, &row(name));
    }
    let (mapping, source) = open(folder.path());
    let mapped = MappedSource::new(mapping, source);
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "November");
    std::fs::remove_file(folder.path().join("people-11.csv")).unwrap();
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "October");
}

#[tokio::test]
async fn a_folder_that_takes_the_place_of_another_is_served_and_what_the_old_one_held_is_not() {
    let base = tempfile::tempdir().unwrap();
    let (drop, old) = (base.path().join("drop"), base.path().join("drop.old"));
    let row = |id: &str, name: &str| format!("{HEADER}{id},{name},1,19900101,a,1,ok,2026-11-05 08:00:00\n");
    let make = |content: &str| {
        std::fs::create_dir(&drop).unwrap();
        std::fs::write(drop.join("people-1.csv"), content).unwrap();
    };
    make(&row("P1", "old"));
    let (mapping, source) = open(&drop);
    let mapped = MappedSource::new(mapping, Arc::clone(&source));
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "old");
    std::fs::rename(&drop, &old).unwrap();
    // Between the two there is none, and that is not an empty register.
    assert_eq!(name_of(&mapped, "P1").await.unwrap_err().0, Code::SourceError);
    let error = source.probe().await.unwrap_err().to_string();
    assert!(error.contains("drop`: No such file"), "{error}");
    make(&row("P1", "new"));
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "new");
    std::fs::write(old.join("people-2.csv"), row("P2", "old")).unwrap();
    assert_eq!(name_of(&mapped, "P2").await.unwrap(), "");
    // Nor does the old one stand in for a file of the new one that is bad.
    std::fs::rename(&drop, base.path().join("drop.older")).unwrap();
    make("");
    assert_eq!(name_of(&mapped, "P1").await.unwrap_err().0, Code::SourceError);
    std::fs::write(drop.join("people-1.csv"), row("P1", "newest")).unwrap();
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "newest");
    source.probe().await.unwrap();
}

#[tokio::test]
async fn an_emptied_folder_is_unavailable_until_a_file_comes_and_is_no_empty_register() {
    let folder = tempfile::tempdir().unwrap();
    let row = format!("{HEADER}P1,a,1,19900101,a,1,ok,2026-11-05 08:00:00\n");
    let (mapping, source) = open(folder.path());
    let mapped = MappedSource::new(mapping, Arc::clone(&source));
    // A link, a folder or a file of another name is none of its files.
    std::fs::create_dir(folder.path().join("people-0.csv")).unwrap();
    drop_in(folder.path(), "others.csv", &row);
    for _ in 0..2 {
        assert_eq!(name_of(&mapped, "P1").await.unwrap_err().0, Code::SourceError);
        let error = source.probe().await.unwrap_err();
        assert!(
            matches!(&error, SourceError::Unavailable(what) if what.contains("`people-*.csv`")),
            "{error}"
        );
        let findings = source.check(Vec::new()).await;
        assert!(findings.iter().any(|finding| finding.code == "A-CSV-002"), "{findings:?}");
        drop_in(folder.path(), "people-1.csv", &row);
        assert_eq!(name_of(&mapped, "P1").await.unwrap(), "a");
        source.probe().await.unwrap();
        std::fs::remove_file(folder.path().join("people-1.csv")).unwrap();
    }
}

#[tokio::test]
async fn a_bad_file_is_quarantined_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let mapping = parse(&suite_mapping(folder.path()), folder.path());
    let source = Arc::new(CsvSource::open(&mapping, &ProcessEnvironment).unwrap());
    let mapped = MappedSource::new(Arc::new(mapping), Arc::clone(&source) as Arc<dyn Source>);
    let row = |id: &str, name: &str| format!("{HEADER}{id},{name},1,19900101,a,1,ok,2026-11-05 08:00:00\n");
    let whole = || {
        let (kept, count) = source.quarantine();
        assert_eq!((kept.len(), count), (1, 1));
        (kept[0].file.clone(), kept[0].line, kept[0].reason.clone())
    };
    // An exporter that creates its file empty and fills it later.
    let half = folder.path().join("people-2.csv");
    std::fs::write(&half, "").unwrap();
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "云甲");
    let (file, line, reason) = whole();
    assert_eq!((file.as_str(), line), ("people-2.csv", 0));
    assert!(reason.contains("is empty, without even a header"), "{reason}");
    std::fs::write(&half, row("P700", "new")).unwrap();
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "new");
    assert_eq!(source.quarantine().1, 0);
    // A header that drifts: what the file held before is served until it is mended.
    let drifted = "ID,NM,SEX,BORN,AREA,AMT,STATE,UPD,FAITH\nP1,x,1,,,,,,\n";
    drop_in(folder.path(), "people-2.csv", drifted);
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "new");
    assert_eq!(name_of(&mapped, "P1").await.unwrap(), "云甲");
    let (_, line, reason) = whole();
    assert_eq!(line, 0);
    assert!(reason.contains("column `FAITH` is not in the mapping; its earlier version"), "{reason}");
    let findings = source.check(Vec::new()).await;
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"A-CSV-005"), "{findings:?}");
    // Another bad version, and a restart's fresh look beside good files, still take nothing else down.
    drop_in(folder.path(), "people-2.csv", "");
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "new");
    open_beside_a_bad_file(folder.path());
    drop_in(folder.path(), "people-2.csv", &row("P700", "mended"));
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "mended");
    std::fs::remove_file(&half).unwrap();
    assert_eq!(name_of(&mapped, "P700").await.unwrap(), "");
    assert_eq!(source.quarantine().1, 0);
}

fn open_beside_a_bad_file(folder: &Path) {
    let mapping = parse(&suite_mapping(folder), folder);
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    assert_eq!(source.quarantine().1, 1);
}

#[test]
fn a_folder_in_which_no_file_fits_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("people-1.csv"), "A,B,C\n1,2,3\n").unwrap();
    let mapping = parse(&suite_mapping(folder.path()), folder.path());
    let error = CsvSource::open(&mapping, &ProcessEnvironment).err().unwrap();
    assert!(matches!(&error, SourceError::Drift(what) if what.contains("people-1.csv")), "{error}");
}

#[tokio::test]
async fn t18_a_link_out_of_the_folder_is_reported_and_never_read() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path());
    let canary = format!("{HEADER}P800,canary,1,19900101,a,1,ok,2026-11-05 08:00:00\n");
    std::fs::write(outside.path().join("people-9.csv"), canary).unwrap();
    std::os::unix::fs::symlink(outside.path().join("people-9.csv"), folder.path().join("people-9.csv"))
        .unwrap();
    let mapping = parse(&suite_mapping(folder.path()), folder.path());
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    let (kept, count) = source.quarantine();
    assert_eq!((kept[0].file.as_str(), kept[0].line, count), ("people-9.csv", 0, 1));
    let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
    let (code, detail) = name_of(&mapped, "P800").await.unwrap_err();
    assert!(code == Code::SourceError && detail.contains("are held back"), "{detail}");
}

#[tokio::test]
async fn real_calls_of_a_township_and_a_day() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("YIWANG_TEST_DATA").map_or_else(|| root.join("../../../shared"), Into::into);
    let folder = data.join("data/montgomery-911");
    if !folder.is_dir() {
        println!("skipped: no test data");
        return;
    }
    let file = root.join("../departments/real/montgomery-911/mapping.toml");
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("{ env = \"MONTGOMERY_CSV\" }", &format!("'{}'", folder.canonicalize().unwrap().display()));
    let mapping = parse(&text, root);
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    assert_eq!(source.quarantine().1, 0);
    let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
    let operation = Operation::parse("incident.by_township_day").unwrap();
    let fields = ["type", "opened_at", "township"].map(|name| FieldName::parse(name).unwrap());
    let arguments = [("township", "NORRISTOWN"), ("day", "2015-12-11")]
        .map(|(name, value)| (FieldName::parse(name).unwrap(), Scalar::Text(value.to_owned())))
        .into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: &fields,
        rows: &[],
        subject: "",
        arguments: &arguments,
        limit: 1000,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 60_000,
    };
    let answer = mapped.answer(ask).await.unwrap();
    let wanted = std::fs::read_to_string(folder.join("montgomery-911.csv"))
        .unwrap()
        .lines()
        .filter(|line| line.contains(",2015-12-11 ") && line.contains(",NORRISTOWN,"))
        .count();
    assert!(wanted > 5);
    assert_eq!(answer.rows as usize, wanted);
    let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
    assert!(records.iter().all(|record| record.pointer("/fields/township").unwrap() == "NORRISTOWN"));
    assert!(records.iter().all(|record| {
        record.pointer("/fields/opened_at").unwrap().as_str().unwrap().ends_with("-05:00")
    }));
}

#[test]
fn a_mapping_of_another_source_and_a_missing_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = parse(&suite_mapping(&folder.path().join("none")), folder.path());
    let error = CsvSource::open(&mapping, &ProcessEnvironment).err().unwrap();
    assert!(matches!(error, SourceError::Unavailable(_)), "{error}");
}

/// The names of what a search by area and state finds, of which it may leave out what is optional.
async fn found(mapped: &MappedSource, area: Option<&str>, state: Option<&str>) -> Result<Vec<String>, Code> {
    let operation = Operation::parse("person.by_area").unwrap();
    let field = FieldName::parse("name").unwrap();
    let given = [("area", area), ("state", state)];
    let arguments = given
        .into_iter()
        .filter_map(|(name, value)| Some((FieldName::parse(name).unwrap(), Scalar::Text(value?.to_owned()))))
        .collect();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: std::slice::from_ref(&field),
        rows: &[],
        subject: "",
        arguments: &arguments,
        limit: 100,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 60_000,
    };
    let answer = mapped.answer(ask).await.map_err(|error| error.code)?;
    let records: Vec<serde_json::Value> = serde_json::from_slice(&answer.records).unwrap();
    let id = |record: &serde_json::Value| {
        record.pointer("/fields/name").and_then(serde_json::Value::as_str).unwrap().to_owned()
    };
    Ok(records.iter().map(id).collect())
}

#[tokio::test]
async fn what_is_optional_and_not_given_narrows_nothing_and_nothing_given_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let row = |id: &str, area: &str, state: &str| {
        format!("{id},{id},1,19900101,{area},1,{state},2026-11-05 08:00:00\n")
    };
    let rows =
        [row("P1", "a", "ok"), row("P2", "a", ""), row("P3", "b", "ok"), row("P4", "a", "gone")].concat();
    std::fs::write(folder.path().join("people-1.csv"), format!("{HEADER}{rows}")).unwrap();
    let any = "type = \"string\", pattern = \".*\"";
    let open = |area: &str, state: &str, condition: &str| {
        let (before, by_area) = suite_mapping(folder.path())
            .split_once("params.area = ")
            .map(|(before, after)| (before.to_owned(), after.split_once("limit = ").unwrap().1.to_owned()))
            .unwrap();
        let params = format!("params.area = {{ {any}{area} }}\nparams.state = {{ {any}{state} }}");
        let condition = format!("where = {{ AREA = \":area\", STATE = \":state\"{condition} }}");
        let mapping = parse(&format!("{before}{params}\n{condition}\nlimit = {by_area}"), folder.path());
        let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
        MappedSource::new(Arc::new(mapping), Arc::new(source))
    };
    let optional = ", optional = true";
    let mapped = open("", optional, "");
    assert_eq!(found(&mapped, Some("a"), None).await.unwrap(), ["P1", "P2", "P4"]);
    assert_eq!(found(&mapped, Some("a"), Some("ok")).await.unwrap(), ["P1"]);
    assert_eq!(found(&mapped, Some("a"), Some("none")).await.unwrap(), [""; 0]);
    assert_eq!(found(&mapped, None, Some("ok")).await, Err(Code::ArgumentInvalid));
    // Where all can be left out, one of them must be there.
    let mapped = open(optional, optional, "");
    assert_eq!(found(&mapped, None, Some("ok")).await.unwrap(), ["P1", "P3"]);
    assert_eq!(found(&mapped, Some("b"), None).await.unwrap(), ["P3"]);
    assert_eq!(found(&mapped, Some("b"), Some("gone")).await.unwrap(), [""; 0]);
    assert_eq!(found(&mapped, None, None).await, Err(Code::ArgumentInvalid));
    // Or the mapping itself says which rows are meant.
    let mapped = open(optional, optional, ", ID = \"P4\"");
    assert_eq!(found(&mapped, None, None).await.unwrap(), ["P4"]);
    assert_eq!(found(&mapped, Some("b"), None).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_identity_number_is_found_however_it_was_typed() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "x1,small,1,,,,,2026-11-01 08:00:00\n Ｙ２ ,wide,1,,,,,2026-11-01 08:00:00\n";
    std::fs::write(folder.path().join("people-1.csv"), format!("{HEADER}{rows}")).unwrap();
    for (condition, found) in [("ID@id", ["small", "wide"]), ("ID", ["", ""])] {
        let text = suite_mapping(folder.path())
            .replace("where = { ID = \":id\" }", &format!("where = {{ \"{condition}\" = \":id\" }}"));
        let mapping = parse(&text, folder.path());
        let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
        let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
        for (id, name) in ["X1", "Y2"].into_iter().zip(found) {
            assert_eq!(name_of(&mapped, id).await.unwrap(), name, "{condition} {id}");
        }
    }
}
