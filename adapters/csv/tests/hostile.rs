//! Hostile cells, file names and mappings: a folder of files gives what its rows say, byte for byte, and nothing that
//! lies outside of it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use yiwang_adapter_csv::CsvSource;
use yiwang_adapter_sdk::compliance::{self, hostile_texts};
use yiwang_adapter_sdk::fetch::{Ask, MappedSource};
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::{Environment, ProcessEnvironment, SourceError};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{FieldName, Operation};

const CANARY: &str = "canary-outside";

fn mapping_text(folder: &str) -> String {
    let columns: String = compliance::COLUMNS.map(|column| format!("{column} = \"string\"\n")).concat();
    let source = format!(
        "[source.csv]\nfolder = {folder}\nfiles = \"people-*.csv\"\nencoding = \"utf-8\"\n\
         time_zone = \"Asia/Shanghai\"\n[source.csv.columns]\n{columns}"
    );
    compliance::mapping(&source, "where = { ID = \":id\" }", "where = { AREA = \":area\" }")
}

fn parse(text: &str, folder: &Path) -> Mapping {
    Mapping::parse(text, &folder.join("m.toml")).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn write(path: &Path, rows: &[(String, &str)]) {
    let mut file = csv::Writer::from_path(path).unwrap();
    file.write_record(compliance::COLUMNS).unwrap();
    for (id, text) in rows {
        let row = [id.as_str(), "name", "1", "19800101", text, "3", "ok", "2026-11-03 08:00:00"];
        file.write_record(row).unwrap();
    }
    file.flush().unwrap();
}

/// The text of AREA in the row with an id; none where there is no row, or none that is served.
async fn area_of(mapped: &MappedSource, id: &str) -> Option<String> {
    let (operation, field) =
        (Operation::parse("person.by_id").unwrap(), FieldName::parse("area_code").unwrap());
    let arguments = [].into();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: std::slice::from_ref(&field),
        rows: &[],
        subject: id,
        arguments: &arguments,
        limit: 1,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + 60_000,
    };
    let answer = match mapped.answer(ask).await {
        Err(error) if error.detail.contains("are held back") => return None,
        answered => answered.unwrap(),
    };
    let records: serde_json::Value = serde_json::from_slice(&answer.records).unwrap();
    Some(records.pointer("/0/fields/area_code")?.as_str()?.to_owned())
}

#[tokio::test]
async fn t18_a_thousand_hostile_cells_are_texts_and_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let texts = hostile_texts();
    assert!(texts.len() >= 1000);
    let rows: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(at, text)| (format!("R{at}"), text.as_str())).collect();
    write(&folder.path().join("people-1.csv"), &rows);
    let mapping = parse(&mapping_text(&format!("'{}'", folder.path().display())), folder.path());
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    assert_eq!(source.quarantine().1, 0);
    let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
    for (id, text) in &rows {
        assert_eq!(area_of(&mapped, id).await.as_deref(), Some(*text), "{id}");
    }
}

#[tokio::test]
async fn t18_hostile_file_names_lead_nowhere() {
    let (base, mut names) = (tempfile::tempdir().unwrap(), BTreeSet::new());
    let folder = base.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    write(&base.path().join("people-0.csv"), &[("Z1".to_owned(), CANARY)]);
    for text in hostile_texts() {
        let name: String = text.chars().filter(|c| !matches!(c, '/' | '\0')).take(40).collect();
        if names.len() < 400 && !name.is_empty() {
            names.insert(format!("people-{name}.csv"));
        }
    }
    assert_eq!(names.len(), 400);
    for (at, name) in names.iter().enumerate() {
        write(&folder.join(name), &[(format!("R{at}"), "inside")]);
    }
    let mapping = parse(&mapping_text(&format!("'{}'", folder.display())), &folder);
    let source = CsvSource::open(&mapping, &ProcessEnvironment).unwrap();
    let put_aside = source.quarantine().1;
    let mapped = MappedSource::new(Arc::new(mapping), Arc::new(source));
    let mut served = 0;
    for at in 0..names.len() {
        served += usize::from(area_of(&mapped, &format!("R{at}")).await.as_deref() == Some("inside"));
    }
    assert_eq!(served + put_aside, names.len(), "each is served or reported");
    assert_eq!(area_of(&mapped, "Z1").await, None);
}

/// Remembers what is asked of it.
#[derive(Default)]
struct Asked {
    folder: String,
    names: Mutex<Vec<String>>,
}

impl Environment for Asked {
    fn var(&self, name: &str) -> Option<String> {
        self.names.lock().unwrap().push(name.to_owned());
        (name == "FOLDER").then(|| self.folder.clone())
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.names.lock().unwrap().push(path.display().to_string());
        Err(std::io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn t36_a_mapping_reads_no_setting_and_no_file_that_it_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("people-1.csv"), &[("R1".to_owned(), "inside")]);
    let text = mapping_text("{ env = \"FOLDER\" }");
    let asked = Asked { folder: folder.path().display().to_string(), ..Asked::default() };
    let mapping = parse(&text, folder.path());
    CsvSource::open(&mapping, &asked).unwrap();
    assert_eq!(*asked.names.lock().unwrap(), ["FOLDER"]);
    // What the setting holds is a folder, never a further reference.
    for bad in ["file:///etc", "${HOME}", "{ env = \"HOME\" }", "\0", "", "/etc/passwd", "/proc/self/environ"]
    {
        let asked = Asked { folder: bad.to_owned(), ..Asked::default() };
        let error = CsvSource::open(&mapping, &asked).err().unwrap();
        assert!(matches!(error, SourceError::Setting(_) | SourceError::Unavailable(_)), "{error}");
        assert_eq!(*asked.names.lock().unwrap(), ["FOLDER"]);
        assert!(!error.to_string().contains("root:"), "{error}");
    }
    for files in ["../*.csv", "/etc/passwd", "people/*.csv", ".*", "..\\\\*", "a\\u0000b"] {
        let text = text.replace("people-*.csv", files);
        assert!(Mapping::parse(&text, Path::new("m.toml")).is_err(), "{files}");
    }
    // A folder that the mapping names, and files that are none of its.
    let passwd = parse(&mapping_text("'/etc'").replace("people-*.csv", "passwd"), folder.path());
    let error = CsvSource::open(&passwd, &ProcessEnvironment).err().unwrap().to_string();
    assert!(error.contains("is not the header") && !error.contains("root"), "{error}");
}
