//! The double of a FHIR server that tests ask, and how they ask it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use yiwang_adapter_fhir::FhirSource;
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{AnswerError, Ask, MappedSource};
use yiwang_adapter_sdk::mapping::{Mapping, render};
use yiwang_adapter_sdk::source::{Environment, Source, SourceError};
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};

/// A server process; killed when dropped.
pub struct Double {
    child: Child,
    pub port: u16,
    arguments: Vec<String>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The Python that has the double's libraries; none, with a word, where they are not installed.
pub fn python() -> Option<String> {
    let python = std::env::var("YIWANG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let known = Command::new(&python).args(["-c", "import fhirstarter, uvicorn, cryptography"]).output();
    if known.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    assert_ne!(std::env::var("YIWANG_REQUIRE_SERVICES").as_deref(), Ok("1"), "no fhirstarter in {python}");
    println!("skipped: fhirstarter not installed");
    None
}

/// The folder of synthetic patients; none, with a word, where it is missing.
pub fn patients() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("YIWANG_TEST_DATA").map_or_else(|| root.join("../../../shared"), Into::into);
    let folder = data.join("data/synthea-fhir");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no test data");
    None
}

impl Double {
    /// Starts it over a folder of resources; none, with a word, where a part of it is not installed.
    pub fn start(folder: &Path, more: &[&str]) -> Option<Self> {
        let mut arguments = vec![folder.display().to_string()];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Some(Self::spawn(&python()?, arguments, None))
    }

    fn spawn(python: &str, arguments: Vec<String>, port: Option<u16>) -> Self {
        let mut child = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fhir/tests/fhir/server.py"))
            .args(&arguments)
            .args(port.map(|port| format!("port={port}")))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
        Self { child, port, arguments }
    }

    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts it again at the port that it had.
    pub fn restart(&mut self) {
        *self = Self::spawn(&python().unwrap(), self.arguments.clone(), Some(self.port));
    }

    pub fn control(&self, asked: &Value) {
        assert!(self.raw("POST", "/_control", &asked.to_string()).starts_with("HTTP/1.1 200"));
    }

    /// Shows a fault so many times; what was asked before is forgotten.
    pub fn fault(&self, kind: &str, times: u32, to: &str) {
        self.control(&json!({ "clear": true, "fault": { "kind": kind, "times": times, "to": to } }));
    }

    /// What was asked, in order.
    pub fn log(&self) -> Vec<Value> {
        let answer = self.raw("GET", "/_log", "");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    pub fn lines(&self) -> Vec<String> {
        self.log().iter().map(|entry| entry["line"].as_str().unwrap().to_owned()).collect()
    }

    fn raw(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: double\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/fhir", self.port)
    }
}

/// Settings of a test.
#[derive(Default, Clone)]
pub struct Settings(pub BTreeMap<String, String>);

impl Environment for Settings {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

pub fn settings(url: &str) -> Settings {
    Settings([("FHIR_BASE_URL".to_owned(), url.to_owned())].into())
}

pub fn parse(text: &str, folder: &Path) -> Mapping {
    Mapping::parse(text, &folder.join("health.toml")).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| render(fault, text)).collect::<String>())
    })
}

pub fn source(mapping: &Mapping, settings: &Settings) -> Result<FhirSource, SourceError> {
    let environment: Arc<dyn Environment> = Arc::new(settings.clone());
    FhirSource::open(mapping, &environment)
}

pub fn open_with(text: &str, folder: &Path, settings: &Settings) -> MappedSource {
    let mapping = parse(text, folder);
    let source: Arc<dyn Source> = Arc::new(source(&mapping, settings).unwrap());
    MappedSource::new(Arc::new(mapping), source)
}

/// Where the suite's columns stand in a Device, which has many plain texts.
pub fn place(column: &str) -> String {
    match column {
        "ID" => "/identifier/0/value",
        "NM" => "/modelNumber",
        "SEX" => "/partNumber",
        "BORN" => "/lotNumber",
        "AREA" => "/manufacturer",
        "AMT" => "/distinctIdentifier",
        "STATE" => "/serialNumber",
        _ => "/note/0/text",
    }
    .to_owned()
}

/// The suite's table as devices.
pub fn suite(folder: &Path) {
    let mut lines = String::new();
    for row in compliance::rows() {
        let mut device = json!({ "resourceType": "Device", "id": row[0] });
        for (column, cell) in compliance::COLUMNS.iter().zip(&row).filter(|(_, cell)| !cell.is_empty()) {
            match *column {
                "ID" => device["identifier"] = json!([{ "system": "urn:suite", "value": cell }]),
                "UPD" => device["note"] = json!([{ "text": cell }]),
                column => device[place(column).trim_start_matches('/')] = json!(cell),
            }
        }
        lines.push_str(&device.to_string());
        lines.push('\n');
    }
    std::fs::write(folder.join("Device.ndjson"), lines).unwrap();
}

pub fn suite_mapping(settings: &str) -> String {
    let source = format!(
        "[source.fhir]\nurl = {{ env = \"FHIR_BASE_URL\" }}\ntime_zone = \"Asia/Shanghai\"\n{settings}\n"
    );
    compliance::mapping_of_documents(
        &source,
        "resource = \"Device\"\nsearch = { identifier = \"urn:suite|:id\" }\n",
        "resource = \"Device\"\nsearch = { \"manufacturer:exact\" = \":area\", _count = \"7\" }\nelements = true\n",
        place,
    )
}

/// A double over the suite's devices and a mapping of it, opened.
pub struct World {
    pub server: Double,
    pub mapped: MappedSource,
    pub folder: TempDir,
}

pub fn world(more: &str) -> Option<World> {
    let folder = tempfile::tempdir().unwrap();
    suite(folder.path());
    let server = Double::start(folder.path(), &[])?;
    let mapped = open_with(&suite_mapping(more), folder.path(), &settings(&server.url()));
    Some(World { server, mapped, folder })
}

/// One question.
pub struct Question<'q> {
    pub operation: &'q str,
    pub fields: &'q [&'q str],
    pub subject: &'q str,
    pub arguments: &'q [(&'q str, &'q str)],
    pub within_ms: i64,
}

pub async fn ask(mapped: &MappedSource, question: Question<'_>) -> Result<Vec<Value>, AnswerError> {
    let operation = Operation::parse(question.operation).unwrap();
    let fields: Vec<FieldName> = question.fields.iter().map(|name| FieldName::parse(name).unwrap()).collect();
    let text =
        |(name, value): &(&str, &str)| (FieldName::parse(name).unwrap(), Scalar::Text((*value).to_owned()));
    let arguments = question.arguments.iter().map(text).collect();
    let ask = Ask {
        highest_class: (3, Code::ApprovalsRequired),
        operation: &operation,
        fields: &fields,
        rows: &[],
        subject: question.subject,
        arguments: &arguments,
        limit: 1000,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + question.within_ms,
    };
    let answer = mapped.answer(ask).await?;
    Ok(serde_json::from_slice(&answer.records).unwrap())
}

/// The names of an area's rows of the suite's table.
pub async fn by_area(mapped: &MappedSource, area: &str, within_ms: i64) -> Result<Vec<String>, AnswerError> {
    let (fields, arguments) = (&["name"][..], &[("area", area)][..]);
    let question = Question { operation: "person.by_area", fields, subject: "", arguments, within_ms };
    let records = ask(mapped, question).await?;
    Ok(records.iter().map(|record| record["fields"]["name"].as_str().unwrap().to_owned()).collect())
}

pub async fn by_id(mapped: &MappedSource, id: &str) -> Result<Vec<Value>, AnswerError> {
    let fields = &["name"][..];
    ask(
        mapped,
        Question { operation: "person.by_id", fields, subject: id, arguments: &[], within_ms: 20_000 },
    )
    .await
}
