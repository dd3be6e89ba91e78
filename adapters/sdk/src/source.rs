//! The trait of a source: what a database or a folder of files must do for an adapter. A source opens,
//! probes and fetches; it never decides what leaves.

use crate::check::Finding;
use crate::mapping::OperationDef;
use crate::value::{Cell, Rows};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use yiwang_policies::rows::RowFilter;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::FieldName;

/// A boxed future, so that `dyn Source` works.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where secrets and settings come from; asked only when a source is opened.
pub trait Environment: Send + Sync {
    /// An environment variable.
    fn var(&self, name: &str) -> Option<String>;
    /// The content of a file, at most 64 KiB.
    fn read(&self, path: &Path) -> std::io::Result<String>;
}

/// The process's own environment and file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(path)?.take(64 * 1024).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// A setting by reference, or a plain one where it is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Written in the mapping.
    Plain(String),
    /// The value of an environment variable.
    Env(String),
    /// The content of a file.
    File(PathBuf),
}

impl Setting {
    /// The value; errors name the variable or file, never the value. Relative paths are relative to `base`.
    pub fn resolve(&self, base: &Path, environment: &dyn Environment) -> Result<String, SourceError> {
        let missing = |what: String| Err(SourceError::Setting(what));
        let value = match self {
            Self::Plain(value) => value.clone(),
            Self::Env(name) => match environment.var(name) {
                Some(value) => value,
                None => {
                    let next = "set it where the adapter is started (`Environment=` or `EnvironmentFile=` of its unit), \
                                or refer to a file: { file = \"path\" }";
                    return missing(format!("environment variable `{name}` is not set; {next}"));
                }
            },
            Self::File(path) => {
                // Where it was looked for: a path of a mapping is taken from the mapping's folder.
                let path = base.join(path);
                match environment.read(&path) {
                    Ok(value) => value,
                    Err(error) => return missing(format!("file `{}`: {error}", path.display())),
                }
            }
        };
        let value = value.trim_end_matches(['\r', '\n']);
        if value.is_empty() || value.contains('\0') {
            return missing("a setting of the source is empty or holds a NUL".to_owned());
        }
        Ok(value.to_owned())
    }
}

/// The part of a row filter that a source applies itself: all its fields are columns whose cells stand in
/// the record unchanged.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFilter {
    filter: RowFilter,
    columns: BTreeMap<FieldName, Arc<str>>,
}

impl SourceFilter {
    pub(crate) fn new(filter: RowFilter, columns: BTreeMap<FieldName, Arc<str>>) -> Self {
        Self { filter, columns }
    }

    /// The filter, for its SQL.
    pub fn filter(&self) -> &RowFilter {
        &self.filter
    }

    /// The column of a field of the filter.
    pub fn column(&self, field: &FieldName) -> Option<&Arc<str>> {
        self.columns.get(field)
    }

    /// Whether a row matches: for sources without a query language.
    pub fn matches<'r>(&self, cell: impl Fn(&str) -> Cell<'r>) -> bool {
        let record = self
            .columns
            .iter()
            .map(|(field, column)| {
                let value = match cell(column) {
                    Cell::Text(text) => serde_json::Value::from(text),
                    Cell::Integer(value) => serde_json::Value::from(value),
                    Cell::Number(value) => serde_json::Value::from(value),
                    // Plain fields are texts and numbers; what is neither cannot match.
                    _ => serde_json::Value::Null,
                };
                (field.to_string(), value)
            })
            .collect();
        self.filter.matches_json(&record)
    }
}

/// A parameter's name and value; `None` for an optional one that was not given.
pub type BoundParam = (Arc<str>, Option<Scalar>);

/// A page of a batch: the rows whose key is above a value, in the key's own order.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The column of the key.
    pub key: Arc<str>,
    /// The last key of the page before; none for the first page.
    pub after: Option<Scalar>,
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct FetchQuery {
    /// The operation of the mapping.
    pub operation: Arc<OperationDef>,
    /// Columns that may be read, and no others: what granted fields, row filter and as-of time need. Rows
    /// come back with their cells in this order. Each is a declared column of the operation.
    pub columns: Vec<Arc<str>>,
    /// Every parameter of the operation.
    pub params: Vec<BoundParam>,
    /// What the source applies itself; its columns are declared columns of the operation.
    pub filter: Option<SourceFilter>,
    /// The page of a batch. A source that has no order of its own refuses it.
    pub page: Option<Page>,
    /// Rows at most; one more than is wanted, so that a cut shows.
    pub limit: u32,
    /// After this the source gives up by itself.
    pub timeout: Duration,
}

/// Rows that a source gave, cells in the order of the query's columns.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// The rows, at most as many as the query's limit. A page of a batch may end before it, where the next row's text does
    /// not fit beside the others' ([`Rows::end_early`]).
    pub rows: Rows,
}

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probe {
    /// When the source's newest data was written, milliseconds since 1970; none without a freshness probe.
    pub newest_ms: Option<i64>,
}

/// Why a source gave nothing. For the local log: never holds a value of a row or argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A setting that cannot be resolved.
    #[error("{0}")]
    Setting(String),
    /// It cannot be opened or reached.
    #[error("source is unavailable: {0}")]
    Unavailable(String),
    /// Its queue is full.
    #[error("source is busy: {waiting} queries wait already")]
    Busy {
        /// The queue's capacity.
        waiting: usize,
    },
    /// No answer within the operation's timeout.
    #[error("source did not answer within {0:?}")]
    Timeout(Duration),
    /// Its columns are not those of the mapping.
    #[error("source has drifted from its mapping: {0}")]
    Drift(String),
    /// It asks to be left alone for now.
    #[error("source turns queries away for now")]
    Throttled,
    /// An argument that cannot be sent to this source as what it is.
    #[error("argument `{name}` {what}")]
    Argument {
        /// The parameter.
        name: FieldName,
        /// Why.
        what: &'static str,
    },
    /// The query failed.
    #[error("query failed: {0}")]
    Query(String),
    /// Nothing was found among what it serves, and it holds something back.
    #[error(
        "rows or files are held back, so that it cannot be said that there is none; `yiwang-adapter quarantine list` names them"
    )]
    HeldBack,
    /// More than fits into one fetch.
    #[error("{0}")]
    TooLarge(#[from] crate::value::TooMuchText),
}

/// How much of a source is in use: connections, calls or threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In use now.
    pub busy: usize,
    /// At most.
    pub most: usize,
    /// Queries that wait for one.
    pub waiting: usize,
    /// Whether all are in use and nobody was given one for as long as a query waits: whoever asks is turned away.
    pub exhausted: bool,
}

/// A row, or a whole file, that a source holds back because it does not fit. Names columns, holds no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The file.
    pub file: String,
    /// The line on which the row begins, from 1; 0 for the file as a whole.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// A database or a folder of files.
pub trait Source: Send + Sync + 'static {
    /// Fetches rows. Dropping the future stops the query.
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>>;

    /// Whether it is there, and how fresh its data is.
    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>>;

    /// Compares it with the operations: that columns exist, that each can be prepared, what is read in
    /// full, and what keeps this adapter from writing.
    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>>;

    /// How much of it is in use, where that is bounded by what it shares.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// Which place it reads, as its settings say now, without role and password: two databases differ in it, however
    /// their settings are named. Nothing is connected to. A source that is never counted has none.
    fn identity(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async { Ok(String::new()) })
    }

    /// What it holds back, as far as it keeps that, and how much that is in all.
    fn quarantine(&self) -> (Vec<Quarantined>, usize) {
        (Vec::new(), 0)
    }

    /// How much it holds back in all.
    fn held_back(&self) -> usize {
        self.quarantine().1
    }
}
