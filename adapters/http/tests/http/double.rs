//! The server process that tests ask, and how they ask it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use yiwang_adapter_http::HttpSource;
use yiwang_adapter_sdk::compliance;
use yiwang_adapter_sdk::fetch::{AnswerError, Ask, Mapped, MappedSource};
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

impl Double {
    /// Starts it; none, with a word, where there is no Python.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let python = std::env::var("YIWANG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        if Command::new(&python).arg("--version").output().is_err() {
            assert_ne!(std::env::var("YIWANG_REQUIRE_SERVICES").as_deref(), Ok("1"), "no {python}");
            println!("skipped: {python} not installed");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/server.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening ").unwrap().parse().unwrap();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Some(Self { child, port, arguments })
    }

    /// The suite's table as an API.
    pub fn api(folder: &Path) -> Option<Self> {
        Self::start(&["api", &table(folder)])
    }

    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts it again at the port that it had.
    pub fn restart(&mut self) {
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let port = format!("port={}", self.port);
        arguments.push(&port);
        let mut new = Self::start(&arguments).unwrap();
        new.arguments.pop();
        *self = new;
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
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The suite's table as JSON; an empty text is no member.
fn table(folder: &Path) -> String {
    let rows: Vec<Value> = compliance::rows()
        .iter()
        .map(|row| {
            let cells = compliance::COLUMNS.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            cells.map(|(column, cell)| ((*column).to_owned(), json!(cell))).collect()
        })
        .collect();
    let file = folder.join("table.json");
    std::fs::write(&file, serde_json::to_vec(&rows).unwrap()).unwrap();
    file.display().to_string()
}

/// Settings of a test; remembers what was read.
#[derive(Default, Clone)]
pub struct Settings {
    pub vars: BTreeMap<String, String>,
    pub read: Arc<Mutex<Vec<String>>>,
}

impl Environment for Settings {
    fn var(&self, name: &str) -> Option<String> {
        self.read.lock().unwrap().push(name.to_owned());
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.read.lock().unwrap().push(path.display().to_string());
        std::fs::read_to_string(path)
    }
}

/// Searches in the body.
pub const BY_ID: &str = "method = \"POST\"\npath = \"/v1/people/search\"\nbody = { id = \":id\" }\nrows = \"/items\"\nidempotent = true\n";
pub const BY_AREA: &str = "method = \"POST\"\npath = \"/v1/people/search\"\nbody = { area = \":area\" }\nrows = \"/items\"\nnext = \"/links/next\"\nidempotent = true\n";

/// The suite's mapping with more settings of the source.
pub fn mapping_text(settings: &str, by_id: &str, by_area: &str) -> String {
    let source =
        format!("[source.http]\nurl = {{ env = \"API\" }}\ntime_zone = \"Asia/Shanghai\"\n{settings}\n");
    compliance::mapping_of_documents(&source, by_id, by_area, |column| format!("/{column}"))
}

pub fn parse(text: &str, folder: &Path) -> Mapping {
    Mapping::parse(text, &folder.join("person.toml")).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| render(fault, text)).collect::<String>())
    })
}

pub fn settings(url: &str) -> Settings {
    Settings { vars: [("API".to_owned(), url.to_owned())].into(), ..Settings::default() }
}

pub fn source(mapping: &Mapping, settings: &Settings) -> Result<HttpSource, SourceError> {
    let environment: Arc<dyn Environment> = Arc::new(settings.clone());
    HttpSource::open(mapping, &environment)
}

pub fn open_with(text: &str, folder: &Path, settings: &Settings) -> MappedSource {
    let mapping = parse(text, folder);
    let source: Arc<dyn Source> = Arc::new(source(&mapping, settings).unwrap());
    MappedSource::new(Arc::new(mapping), source)
}

/// An API and the suite's mapping of it, opened.
pub struct World {
    pub api: Double,
    pub mapped: MappedSource,
    pub folder: TempDir,
}

pub fn world(more: &str) -> Option<World> {
    let folder = tempfile::tempdir().unwrap();
    let api = Double::api(folder.path())?;
    let text = mapping_text(more, BY_ID, BY_AREA);
    let mapped = open_with(&text, folder.path(), &settings(&api.url()));
    Some(World { api, mapped, folder })
}

/// Asks for the name of one person, or of an area's, within some milliseconds.
pub async fn names(
    mapped: &MappedSource,
    subject: &str,
    area: Option<&str>,
    within_ms: i64,
) -> Result<Vec<String>, AnswerError> {
    let operation = if area.is_some() { "person.by_area" } else { "person.by_id" };
    let (operation, name) = (Operation::parse(operation).unwrap(), FieldName::parse("name").unwrap());
    let arguments = area
        .map(|area| (FieldName::parse("area").unwrap(), Scalar::Text(area.to_owned())))
        .into_iter()
        .collect();
    let ask = Ask {
        highest_class: (2, Code::SealingRequired),
        operation: &operation,
        fields: std::slice::from_ref(&name),
        rows: &[],
        subject,
        arguments: &arguments,
        limit: 100,
        now_ms: compliance::NOW_MS,
        deadline_ms: compliance::NOW_MS + within_ms,
    };
    let answer: Mapped = mapped.answer(ask).await?;
    let records: Vec<Value> = serde_json::from_slice(&answer.records).unwrap();
    Ok(records.iter().map(|record| record["fields"]["name"].as_str().unwrap().to_owned()).collect())
}

pub async fn name_of(mapped: &MappedSource, id: &str) -> Result<Vec<String>, AnswerError> {
    names(mapped, id, None, 20_000).await
}

pub fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}
