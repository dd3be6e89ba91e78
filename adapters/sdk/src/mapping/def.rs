//! What a mapping file says, checked.

use super::count::CountDef;
use super::expression::Expression;
use super::order::OrderDef;
use super::service::{CallDef, FhirDef, HttpDef, ParamPlace, SearchDef};
use crate::source::Setting;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use yiwang_proto::contract::Scalar;
use yiwang_proto::ids::{FieldName, Operation};

/// Where the data is.
#[derive(Debug, Clone)]
pub enum SourceDef {
    /// An SQLite file.
    Sqlite(SqliteDef),
    /// A folder of CSV files.
    Csv(CsvDef),
    /// A PostgreSQL server.
    Postgres(ServerDef),
    /// A MariaDB or MySQL server.
    Mariadb(ServerDef),
    /// A JSON API over HTTP.
    Http(HttpDef),
    /// A FHIR R4 server.
    Fhir(FhirDef),
}

impl SourceDef {
    /// What all kinds of source have.
    pub fn common(&self) -> &SourceCommon {
        match self {
            Self::Sqlite(sqlite) => &sqlite.common,
            Self::Csv(csv) => &csv.common,
            Self::Postgres(server) | Self::Mariadb(server) => &server.common,
            Self::Http(http) => &http.common,
            Self::Fhir(fhir) => &fhir.common,
        }
    }

    /// The name of its table in the mapping file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Csv(_) => "csv",
            Self::Postgres(_) => "postgres",
            Self::Mariadb(_) => "mariadb",
            Self::Http(_) => "http",
            Self::Fhir(_) => "fhir",
        }
    }

    /// Whether a row is a JSON document: its columns are JSON pointers.
    pub fn gives_documents(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Fhir(_))
    }
}

/// Settings that all kinds of source have.
#[derive(Debug, Clone)]
pub struct SourceCommon {
    /// Zone of times without an offset; also the zone in which moments are written.
    pub zone: TimeZone,
    /// How health is probed.
    pub health: HealthDef,
    /// How old data may be.
    pub freshness: Option<FreshnessDef>,
    /// Place in the file.
    pub span: Range<usize>,
}

/// How health is probed.
#[derive(Debug, Clone)]
pub struct HealthDef {
    /// A statement that costs nothing; none where opening the files is the probe.
    pub probe: Option<String>,
    /// Between two probes.
    pub every: Duration,
    /// Failed probes until the source counts as down.
    pub unhealthy_after: u32,
}

/// How old data may be.
#[derive(Debug, Clone)]
pub struct FreshnessDef {
    /// A statement that gives the newest moment; none where the source can tell by itself.
    pub probe: Option<String>,
    /// Older than this is worth a warning.
    pub warn: Duration,
    /// Older than this is a fault.
    pub fail: Duration,
}

/// `[source.sqlite]`.
#[derive(Debug, Clone)]
pub struct SqliteDef {
    /// The database file.
    pub path: Setting,
    /// What all sources have.
    pub common: SourceCommon,
}

/// `[source.postgres]` and `[source.mariadb]`.
#[derive(Debug, Clone)]
pub struct ServerDef {
    /// Where it is, with role and password: `postgres://role:password@host:port/database`. A reference,
    /// never a text of the mapping; read again for every connection.
    pub url: Setting,
    /// How the way to it is protected.
    pub tls: TlsDef,
    /// Connections.
    pub pool: PoolDef,
    /// What all sources have.
    pub common: SourceCommon,
}

/// How the way to a server is protected.
#[derive(Debug, Clone)]
pub enum TlsDef {
    /// TLS with a certificate for the host's name from this authority (PEM).
    VerifyFull {
        /// The authority's certificate.
        ca: Setting,
    },
    /// None: only for a server on this machine.
    Off,
}

/// How many connections, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolDef {
    /// Connections at most.
    pub max: u32,
    /// One that was not used for so long is closed.
    pub idle: Duration,
    /// How long a query waits for one.
    pub acquire: Duration,
}

/// `[source.csv]`.
#[derive(Debug, Clone)]
pub struct CsvDef {
    /// The folder; nothing outside it is ever opened.
    pub folder: Setting,
    /// File names with `*` and `?`.
    pub files: String,
    /// The encoding of files without a byte order mark.
    pub encoding: Encoding,
    /// The column that names a row across files; a later file replaces rows of earlier ones. Later is the name that
    /// sorts last, where digits that stand together count as a number.
    pub key: Option<Arc<str>>,
    /// Every column of the header with its type.
    pub columns: BTreeMap<Arc<str>, ColumnDef>,
    /// What all sources have.
    pub common: SourceCommon,
}

/// Encodings of CSV files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// GBK, read as its superset GB 18030.
    Gbk,
}

/// Type of a CSV column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDef {
    /// What its texts must be.
    pub kind: ColumnType,
    /// How dates and moments are written, in strftime notation.
    pub format: Option<String>,
}

/// Types of CSV columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// true, false, 1 or 0.
    Bool,
    /// A calendar day.
    Date,
    /// A moment.
    Timestamp,
}

/// A code table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeTable {
    /// Its name.
    pub name: String,
    /// Code of the source to word of the record.
    pub words: BTreeMap<String, String>,
    /// What to do with a code that is not listed.
    pub unknown: UnknownCode,
    /// Place in the file.
    pub span: Range<usize>,
}

/// What to do with a code that is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownCode {
    /// The answer fails: an error, not a guess.
    Fail,
    /// The value is null, with the quality flag `unknown_code`.
    Null,
    /// The code itself is the value, with the quality flag `unknown_code`.
    Keep,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Finds what belongs to one key; must use an index.
    Lookup,
    /// Finds rows by properties.
    Search,
    /// Says how many rows a declared table has for each combination of its dimensions' values.
    Count,
    /// Hands over all rows, page by page.
    Batch,
}

/// How a batch, or a search that has pages, is paged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageDef {
    /// A column of the statement whose values are unique; pages follow its order.
    pub key: Arc<str>,
    /// The field with the identifier of the row's subject, whether it is granted or not. A search has none.
    pub subject: Option<FieldName>,
    /// Pages that one question gives at most; a batch gives all.
    pub most: u32,
}

/// One operation.
#[derive(Debug)]
pub struct OperationDef {
    /// Its name.
    pub name: Operation,
    /// What it is for.
    pub kind: OperationKind,
    /// The parameter that takes the subject's identifier.
    pub subject: Option<FieldName>,
    /// Its parameters.
    pub params: Vec<ParamDef>,
    /// How rows are found.
    pub access: Access,
    /// Rows at most.
    pub limit: u32,
    /// After this the source gives up.
    pub timeout: Duration,
    /// Fields of the record.
    pub fields: Vec<FieldDef>,
    /// When a row was last good; read always, never a field.
    pub as_of: Option<FieldDef>,
    /// In which order a look-up or search of a database gives its rows; any, where it is empty.
    pub order: Vec<OrderDef>,
    /// How it is paged, if it is: a batch always, a search where its mapping says so.
    pub page: Option<PageDef>,
    /// What a count has besides; its dimensions are the fields.
    pub count: Option<CountDef>,
    /// Place of its name in the file.
    pub span: Range<usize>,
}

impl OperationDef {
    /// A field by name.
    pub fn field(&self, name: &FieldName) -> Option<&FieldDef> {
        self.fields.iter().find(|field| field.name == *name)
    }

    /// Every column that a field, the as-of time or an expression reads.
    pub fn columns(&self) -> std::collections::BTreeSet<Arc<str>> {
        let read = self.fields.iter().chain(self.as_of.as_ref()).flat_map(FieldDef::columns);
        read.chain(self.page.iter().map(|page| Arc::clone(&page.key))).collect()
    }
}

/// How rows are found.
#[derive(Debug, Clone)]
pub enum Access {
    /// A statement; the adapter wraps it, so that only the columns that are needed are read.
    Sql(String),
    /// All of these must hold.
    Where(Vec<WhereDef>),
    /// A call of an HTTP API.
    Call(CallDef),
    /// A FHIR search.
    Search(SearchDef),
}

/// One condition of `where`.
#[derive(Debug, Clone)]
pub struct WhereDef {
    /// The column.
    pub column: Arc<str>,
    /// What of it is compared.
    pub compared: Compared,
    /// With what.
    pub value: WhereValue,
}

/// What of a column's value a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// All of it.
    Whole,
    /// Of a moment its local calendar day (`NAME@date`).
    Day,
    /// Of a text what [`as_identity`](crate::value::as_identity) makes of it (`NAME@id`).
    Identity,
}

/// With what a condition compares.
#[derive(Debug, Clone)]
pub enum WhereValue {
    /// A parameter.
    Param(FieldName),
    /// A constant.
    Constant(Scalar),
}

/// One parameter.
#[derive(Debug)]
pub struct ParamDef {
    /// Its name.
    pub name: FieldName,
    /// Its type.
    pub kind: ParamType,
    /// What a text must match, as a whole.
    pub pattern: Option<regex_lite::Regex>,
    /// Smallest number.
    pub min: Option<i64>,
    /// Largest number.
    pub max: Option<i64>,
    /// How the source writes a date or moment, in strftime notation.
    pub format: Option<String>,
    /// May be left out: it is null in a statement then, and elsewhere the condition or entry that it stands in is left
    /// out with it.
    pub optional: bool,
    /// Where it stands in a call of an HTTP source.
    pub place: ParamPlace,
}

/// Types of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// true or false.
    Bool,
    /// A calendar day as `YYYY-MM-DD`.
    Date,
    /// A moment as RFC 3339.
    Timestamp,
}

/// One field.
#[derive(Debug)]
pub struct FieldDef {
    /// Its name in the record.
    pub name: FieldName,
    /// The column it comes from; a JSON pointer where a row is a document.
    pub from: Option<Arc<str>>,
    /// Its type in the record.
    pub kind: FieldType,
    /// What is done to a text before it is converted.
    pub steps: Vec<Step>,
    /// A row without it fails.
    pub required: bool,
    /// Raises the class of the catalogue.
    pub class: Option<u8>,
    /// Words for codes.
    pub codes: Option<Arc<CodeTable>>,
    /// How dates and moments are written, in strftime notation.
    pub format: Option<String>,
    /// Computes the value.
    pub expr: Option<Expression>,
    /// Must be true for the value.
    pub check: Option<Expression>,
    /// Place of its name in the file.
    pub span: Range<usize>,
}

impl FieldDef {
    /// The columns it reads.
    pub fn columns(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.from.iter().cloned().chain(self.computed_from().cloned())
    }

    /// The columns that its expressions read.
    pub fn computed_from(&self) -> impl Iterator<Item = &Arc<str>> {
        self.expr.iter().chain(self.check.iter()).flat_map(|expression| expression.columns().iter())
    }

    /// Whether a cell stands in the record just as the source gives it, so that the source itself can
    /// compare it with a row filter's constants.
    pub fn is_plain(&self) -> bool {
        matches!(self.kind, FieldType::String | FieldType::Integer | FieldType::Number)
            && self.from.is_some()
            && self.steps.is_empty()
            && self.expr.is_none()
            && self.check.is_none()
    }
}

/// Types of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// true or false.
    Bool,
    /// A calendar day, written `YYYY-MM-DD`.
    Date,
    /// A moment, written as RFC 3339 with an offset.
    Timestamp,
    /// A word of a code table.
    Code,
}

impl FieldType {
    /// Its name in a mapping.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Code => "code",
        }
    }
}

/// What is done to a text before it is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Cuts white space at both ends.
    Trim,
    /// Composes characters (Unicode normalisation form C).
    Nfc,
    /// Keeps only the digits 0-9.
    Digits,
    /// Turns full-width ASCII and the ideographic space into plain ones.
    Halfwidth,
    /// Upper case of ASCII letters.
    Upper,
    /// Lower case of ASCII letters.
    Lower,
}

/// One `[[test]]`.
#[derive(Debug, Clone)]
pub struct TestDef {
    /// What it shows.
    pub name: String,
    /// The operation it runs.
    pub operation: Operation,
    /// Arguments, the subject's among them.
    pub args: BTreeMap<FieldName, Scalar>,
    /// Rows as the source would give them, column to value.
    pub rows: Vec<BTreeMap<String, serde_json::Value>>,
    /// What must come out.
    pub expect: Expectation,
    /// Place in the file.
    pub span: Range<usize>,
}

/// What a test expects.
#[derive(Debug, Clone)]
pub enum Expectation {
    /// These records.
    Records(Vec<serde_json::Map<String, serde_json::Value>>),
    /// An error with this text in it.
    Error(String),
}
