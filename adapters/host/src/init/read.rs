//! Asks a source what it says of itself, by the same settings and under the same rules as an adapter would.

use super::draft::{self, Access, Quote};
use super::text::{line, quoted, wrapped};
use super::{Described, Hint, Key, fhir, http, role, sample};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use yiwang_adapter_fhir::FhirSource;
use yiwang_adapter_sdk::mapping::{Encoding, FILES, Mapping};
use yiwang_adapter_sdk::source::{Environment, Setting, SourceError};
use yiwang_adapter_sql::{ColumnKind, Inspected, Mariadb, Postgres, Sqlite, Table};
use yiwang_proto::ids::MemberId;

/// Kinds of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// An SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A MariaDB or MySQL server.
    Mariadb,
    /// A folder of CSV files.
    Csv,
    /// A FHIR R4 server.
    Fhir,
    /// A JSON API that an OpenAPI document describes.
    Http,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The kind of source.
    pub kind: Kind,
    /// Its address, file or folder, by reference.
    pub setting: Setting,
    /// The authority of a server's certificate.
    pub ca: Option<PathBuf>,
    /// The table of a database.
    pub table: Option<String>,
    /// Names of files in a folder.
    pub files: String,
    /// The document that describes an API.
    pub openapi: Option<PathBuf>,
    /// Which of the document's calls.
    pub call: Option<String>,
    /// The system under which a FHIR server knows persons' identifiers.
    pub system: Option<String>,
    /// The record, where it is not the one that fits best.
    pub record: Option<String>,
    /// The member whose data it is.
    pub owner: MemberId,
    /// The column by which rows are found.
    pub key: Option<String>,
    /// Zone of times without one.
    pub time_zone: String,
    /// Where the mapping will stand: paths in it are relative to its folder.
    pub file: PathBuf,
    /// Rows that may be read at most; none without it.
    pub sample: Option<u32>,
}

/// A proposed mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its text.
    pub text: String,
    /// What real rows told, for a screen: shapes, no value.
    pub seen: Vec<String>,
    /// Where something else was taken than was asked for to the letter.
    pub notes: Vec<String>,
}

impl From<String> for Proposal {
    fn from(text: String) -> Self {
        Self { text, seen: Vec::new(), notes: Vec::new() }
    }
}

/// Why nothing is proposed. Each has a code that stays.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Of several things one must be named.
    #[error("A-INI-001 {what} names {}", asked.as_ref().map_or_else(|| "nothing".to_owned(), |asked| format!("`{asked}`, which is not there")))]
    Which {
        /// The argument.
        what: &'static str,
        /// What it said.
        asked: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// The lint.
    #[error("A-INI-002 {what}: {why}")]
    Refused {
        /// What was looked at.
        what: String,
        /// Rule, reason and what is lawful instead.
        why: String,
    },
    /// A record or column that is not there.
    #[error("A-INI-003 --{what} names `{name}`, which is not there")]
    Unknown {
        /// The argument.
        what: &'static str,
        /// What it said.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The source has nothing that a mapping could be made of.
    #[error("A-INI-004 there is nothing to propose for {0}: nothing in it can be looked up by a key")]
    Nothing(String),
    /// A server that declares no search by person.
    #[error("A-INI-004 the server declares no search by which a person's `{record}` is found: {lacks}")]
    NoSearch {
        /// The record.
        record: String,
        /// What each type of resource lacks.
        lacks: String,
    },
    /// An argument that this kind of source needs.
    #[error("A-INI-005 this kind of source needs {0}")]
    Needs(&'static str),
    /// A zone that nobody knows.
    #[error("A-INI-005 --time-zone: `{0}` is no name of the IANA table, like Asia/Shanghai or UTC")]
    Zone(String),
    /// The source.
    #[error("A-INI-006 {0}")]
    Source(#[from] SourceError),
    /// A database's role that can write, by which nothing is looked at.
    #[error("A-INI-006 {said}; init looks at nothing with such a role, and proposes nothing")]
    Writer {
        /// Which role it is, and what it can write.
        said: String,
        /// How one is made that cannot.
        help: Vec<String>,
    },
    /// Rows of a service.
    #[error(
        "A-INI-008 --sample reads rows of databases and CSV folders; a service is asked for a person only"
    )]
    NoSample,
    /// What was made does not hold.
    #[error("A-INI-009 the proposal does not hold: {0}; this is a fault of the program, please report it")]
    Program(String),
}

impl InitError {
    /// What there is instead, for whoever named something else.
    #[must_use]
    pub fn known(&self) -> (Option<&str>, &[String]) {
        match self {
            Self::Which { asked, known, .. } => (asked.as_deref(), known),
            Self::Unknown { name, known, .. } => (Some(name), known),
            _ => (None, &[]),
        }
    }

    /// What to do next, line by line, where it is more than to name something else.
    #[must_use]
    pub fn help(&self) -> &[String] {
        match self {
            Self::Writer { help, .. } => help,
            _ => &[],
        }
    }
}

fn reference(setting: &Setting) -> String {
    match setting {
        Setting::Plain(path) => quoted(path),
        Setting::Env(name) => format!("{{ env = {} }}", quoted(name)),
        Setting::File(path) => format!("{{ file = {} }}", quoted(&path.display().to_string())),
    }
}

impl Ask {
    /// The `[source.…]` table, as far as it does not depend on what the source says.
    pub(super) fn source(&self) -> String {
        let (url, zone) = (reference(&self.setting), quoted(&self.time_zone));
        let zone = format!("time_zone = {zone} # of times without one\n");
        match self.kind {
            Kind::Sqlite => format!("[source.sqlite]\npath = {url}\n{zone}"),
            Kind::Postgres | Kind::Mariadb => {
                let name = if self.kind == Kind::Postgres { "postgres" } else { "mariadb" };
                let tls = match &self.ca {
                    Some(ca) => {
                        let ca = quoted(&ca.display().to_string());
                        format!("{{ mode = \"verify-full\", ca = {{ file = {ca} }} }}")
                    }
                    None => "{ mode = \"off\" } # a server on this machine".to_owned(),
                };
                format!("[source.{name}]\nurl = {url}\ntls = {tls}\n{zone}")
            }
            Kind::Csv => {
                let files = Some(&self.files).filter(|files| *files != FILES);
                let files = files.map(|files| format!("files = {}\n", quoted(files)));
                format!("[source.csv]\nfolder = {url}\n{}{zone}", files.unwrap_or_default())
            }
            Kind::Fhir | Kind::Http => {
                let name = if self.kind == Kind::Fhir { "fhir" } else { "http" };
                let tls = match &self.ca {
                    Some(ca) => format!(
                        "tls = {{ mode = \"verify-full\", ca = {{ file = {} }} }}\n",
                        quoted(&ca.display().to_string())
                    ),
                    None => String::new(),
                };
                let auth = "# auth = { kind = \"header\", name = \"…\", value = { file = \"…\" } } # choose: where it asks who calls\n";
                let openapi = self.openapi.as_ref().filter(|_| self.kind == Kind::Http);
                let openapi =
                    openapi.map(|file| format!("openapi = {}\n", quoted(&file.display().to_string())));
                format!("[source.{name}]\nurl = {url}\n{tls}{auth}{}{zone}", openapi.unwrap_or_default())
            }
        }
    }

    /// A mapping of this source that asks for nothing, so that it is opened as an adapter opens it.
    fn bare(&self) -> Result<Mapping, InitError> {
        let access = match self.kind {
            Kind::Fhir => "resource = \"Patient\"\nsearch = { \"patient.identifier\" = \":id\" }",
            _ => "sql = \"select 1 where :id = ''\"",
        };
        let field = if self.kind == Kind::Fhir { "pointer = \"/a\"" } else { "from = \"a\"" };
        let text = format!(
            "format = \"adapter/1\"\nmapping = \"init.bare\"\nrecord = \"Person\"\nowner = \"{}\"\n{}\
             [[operation]]\nname = \"bare.by_id\"\nkind = \"search\"\nparams.id = {{ type = \"string\", pattern = \"a\" }}\n\
             {access}\nlimit = 1\ntimeout = \"1s\"\n[operation.fields]\nname = {{ {field}, type = \"string\" }}\n",
            self.owner,
            self.source()
        );
        Mapping::parse(&text, &self.file).map_err(|faults| {
            let first = faults.first().map(|fault| fault.message.clone()).unwrap_or_default();
            InitError::Source(SourceError::Setting(first))
        })
    }
}

/// Proposes a mapping.
///
/// # Errors
/// [`InitError`].
pub async fn propose(ask: &Ask, environment: &Arc<dyn Environment>) -> Result<Proposal, InitError> {
    if yiwang_adapter_sdk::value::zone(&ask.time_zone).is_none() {
        return Err(InitError::Zone(ask.time_zone.clone()));
    }
    if ask.sample.is_some() && matches!(ask.kind, Kind::Fhir | Kind::Http) {
        return Err(InitError::NoSample);
    }
    let proposal: Proposal = match ask.kind {
        Kind::Sqlite => table(ask, environment, &Sqlite).await?,
        Kind::Postgres => table(ask, environment, &Postgres).await?,
        Kind::Mariadb => table(ask, environment, &Mariadb).await?,
        Kind::Csv => files(ask, environment).await?,
        Kind::Fhir => {
            let server = FhirSource::open(&ask.bare()?, environment)?;
            fhir::propose(ask, &server.searchable().await?, &ask.source())?.into()
        }
        Kind::Http => {
            let document = ask.openapi.as_ref().ok_or(InitError::Needs("--openapi FILE"))?;
            let path = ask.file.parent().unwrap_or(Path::new("")).join(document);
            let (ask, path) = (ask.clone(), path);
            let reading = tokio::task::spawn_blocking(move || http::propose(&ask, &path, &ask.source()));
            let failed = |_| Err(InitError::Program("reading the document failed".to_owned()));
            reading.await.unwrap_or_else(failed)?.into()
        }
    };
    // What a user sees first must be readable, whatever the source says of itself.
    Mapping::parse(&proposal.text, &ask.file).map_err(|faults| {
        InitError::Program(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    Ok(proposal)
}

async fn table(
    ask: &Ask,
    environment: &Arc<dyn Environment>,
    dialect: &(dyn Quote + Sync),
) -> Result<Proposal, InitError> {
    let bare = ask.bare()?;
    match yiwang_adapter_sql::inspect(&bare, environment, ask.table.as_deref()).await? {
        Inspected::Tables(known) => {
            Err(InitError::Which { what: "--table", asked: ask.table.clone(), known })
        }
        Inspected::Writer(said) => Err(InitError::Writer { said, help: role::reader(ask, dialect) }),
        Inspected::Table(table) => {
            let quoted = table.quoted.clone();
            let notes = other_case(ask, &table).into_iter().collect();
            let mut described = described(table);
            let mut seen = Vec::new();
            if ask.sample.is_some() {
                let open = sample::open(ask, &described)?;
                let of = (quoted.as_str(), dialect);
                let columns = sample::of_table(ask, &described, &open, of, environment).await?;
                seen = sample::tell(&mut described, &open, &columns, &ask.time_zone);
            }
            let text = draft::write(ask, &described, &ask.source(), &Access::Sql(dialect, &quoted))?;
            Ok(Proposal { text, seen, notes })
        }
    }
}

/// Says that the table has other capitals than were written.
fn other_case(ask: &Ask, table: &Table) -> Option<String> {
    let asked = ask.table.as_deref().filter(|_| table.other_case)?;
    Some(format!(
        "table `{}` was taken for --table {}: no other one is called so, whatever the capitals",
        line(&table.name),
        line(asked)
    ))
}

fn described(table: Table) -> Described {
    let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
    let key = |key: &yiwang_adapter_sql::Key| {
        let unique = key.unique && key.columns.len() == 1;
        Some(Key { at: key.columns.first().and_then(place)?, unique, indexed: true })
    };
    let mut keys: Vec<Key> = table.keys.iter().filter_map(key).collect();
    // Where several begin with a column, the one that tells most.
    keys.sort_by_key(|key| !key.unique);
    let said = table.comment.as_deref().map(|text| format!(" (\"{text}\")")).unwrap_or_default();
    let what = format!("table `{}`{said}", table.name);
    let name = table.name.rsplit('.').next().unwrap_or_default().to_owned();
    let hints = table.columns.into_iter().map(|column| Hint {
        from: column.name,
        path: Vec::new(),
        type_name: column.type_name,
        kind: column.kind,
        length: column.length,
        comment: column.comment,
        words: column.words,
        sampled: None,
    });
    Described { what, name, hints: hints.collect(), keys, sampled: Vec::new() }
}

/// The columns of a file, as many on a line as are read at a glance.
fn columns(names: &[String]) -> String {
    let each = names.iter().map(|name| quoted(name));
    format!("# every column of the header, each as a text\n{}\n", wrapped("columns = [", each, "]"))
}

async fn files(ask: &Ask, environment: &Arc<dyn Environment>) -> Result<Proposal, InitError> {
    let base = ask.file.parent().unwrap_or(Path::new("")).to_path_buf();
    let folder = base.join(ask.setting.resolve(&base, environment.as_ref())?);
    let (pattern, place) = (ask.files.clone(), folder.clone());
    let reading = tokio::task::spawn_blocking(move || yiwang_adapter_csv::inspect(&place, &pattern));
    let failed = |_| Err(SourceError::Unavailable("reading the file failed".to_owned()));
    let header = reading.await.unwrap_or_else(failed)?;
    let encoding = match header.encoding {
        Encoding::Utf8 => "utf-8",
        Encoding::Gbk => "gbk",
    };
    let mut source = format!("{}encoding = \"{encoding}\"\n", ask.source());
    source.push_str(
        "# key = \"…\" # choose: the column that names a row across files, if a later file replaces rows\n",
    );
    source.push_str(&columns(&header.columns));
    let hint = |name: &String| Hint {
        from: name.clone(),
        path: Vec::new(),
        type_name: String::new(),
        kind: ColumnKind::Text,
        length: None,
        comment: None,
        words: Vec::new(),
        sampled: None,
    };
    let name: String = header.file.chars().take_while(|c| c.is_alphabetic()).collect();
    let what = format!("the header of `{}`", header.file);
    let hints = header.columns.iter().map(hint).collect();
    let mut described = Described { what, name, hints, keys: Vec::new(), sampled: Vec::new() };
    let mut seen = Vec::new();
    if let Some(rows) = ask.sample {
        let open = sample::open(ask, &described)?;
        let places: Vec<usize> = open.iter().map(|one| one.at).collect();
        let reading = tokio::task::spawn_blocking(move || {
            yiwang_adapter_csv::sample(&folder, &header, &places, rows as usize)
        });
        let failed = |_| Err(SourceError::Unavailable("reading the file failed".to_owned()));
        let columns = reading.await.unwrap_or_else(failed)?;
        seen = sample::tell(&mut described, &open, &columns, &ask.time_zone);
    }
    let text = draft::write(ask, &described, &source, &Access::Where)?;
    Ok(Proposal { text, seen, notes: Vec::new() })
}
