//! `init`: writes a proposed mapping to standard output or into a file that was not there.

use super::replace::replace;
use super::{CONFIG, ENVIRONMENT, OK, Output, refuse_as};
use crate::init::{Ask, InitError, Kind, Proposal, UNKNOWN, propose};
use crate::run::Surroundings;
use clap::Args;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use yiwang_adapter_sdk::mapping::FILES;
use yiwang_adapter_sdk::source::{Setting, SourceError};
use yiwang_proto::ids::MemberId;
use yiwang_proto::nearest::did_you_mean;
use yiwang_proto::plural::counted;

/// Names that are listed where another one was given.
const LISTED: usize = 40;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["env", "file", "path"])))]
pub struct Init {
    /// What kind of source
    #[arg(value_enum, value_name = "SOURCE")]
    pub source: Kind,
    /// The environment variable with the source's address (sqlite: its file, csv: its folder)
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// The file in which that address stands
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// sqlite and csv: the file or folder itself, relative to the mapping; it is no secret
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// The authority of the server's certificate, relative to the mapping; none for a server on this machine
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Databases: the table; without it all are listed
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// csv: names of files, with * and ?
    #[arg(long, value_name = "PATTERN", default_value = FILES)]
    pub files: String,
    /// http: the OpenAPI 3 document (JSON), relative to the mapping
    #[arg(long, value_name = "FILE")]
    pub openapi: Option<PathBuf>,
    /// http: the call, like "POST /v2/meters/search"; without it all are listed
    #[arg(long, value_name = "CALL")]
    pub call: Option<String>,
    /// fhir: the system under which persons are numbered there
    #[arg(long, value_name = "URI")]
    pub system: Option<String>,
    /// The record of the catalogue, if it is not the one that fits best
    #[arg(long, value_name = "RECORD")]
    pub record: Option<String>,
    /// The member whose data it is
    #[arg(long, value_name = "MEMBER")]
    pub owner: MemberId,
    /// The column by which rows are found, if it is not the identity number or primary key
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,
    /// Zone of times without one
    #[arg(long, value_name = "ZONE", default_value = "Asia/Shanghai")]
    pub time_zone: String,
    /// Where to write; standard output without it
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Databases and csv: read up to N real rows, of columns only whose days or codes the source does not describe. A
    /// screen shows shapes; formats and plain codes go into the file, no other value
    #[arg(long, value_name = "N", requires = "out", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sample: Option<u32>,
    /// Write over a file that is there
    #[arg(long, requires = "out")]
    pub force: bool,
    /// How the result is written; -o is --out
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

impl Init {
    fn ask(&self) -> Result<Ask, InitError> {
        let setting = match (&self.env, &self.file, &self.path) {
            (Some(name), _, _) => Setting::Env(name.clone()),
            (_, Some(file), _) => Setting::File(file.clone()),
            (_, _, Some(path)) if matches!(self.source, Kind::Sqlite | Kind::Csv) => {
                Setting::Plain(path.clone())
            }
            _ => return Err(InitError::Needs("--env or --file: an address is a secret")),
        };
        Ok(Ask {
            kind: self.source,
            setting,
            ca: self.ca.clone(),
            table: self.table.clone(),
            files: self.files.clone(),
            openapi: self.openapi.clone(),
            call: self.call.clone(),
            system: self.system.clone(),
            record: self.record.clone(),
            owner: self.owner.clone(),
            key: self.key.clone(),
            time_zone: self.time_zone.clone(),
            file: self.out.clone().unwrap_or_else(|| PathBuf::from("mapping.toml")),
            sample: self.sample,
        })
    }
}

pub(super) async fn init(
    arguments: &Init,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let output = arguments.output;
    // What the mapping will name lies beside it, and `..` leads nowhere from a folder that is not there.
    if let Some(folder) = arguments.out.as_deref().and_then(Path::parent)
        && let Err(error) = std::fs::create_dir_all(folder)
    {
        let why = format!("A-INI-007 `{}`: {error}", folder.display());
        return refuse_as(output, out, |out| writeln!(out, "{why}").map(|()| ENVIRONMENT));
    }
    let proposed = match arguments.ask() {
        Ok(ask) => propose(&ask, &surroundings.environment).await,
        Err(error) => Err(error),
    };
    let proposal = match proposed {
        Ok(proposal) => proposal,
        Err(error) => return refuse_as(output, out, |out| refuse(&error, out)),
    };
    if let Some(file) = &arguments.out
        && let Err(error) = write(file, &proposal.text, arguments.force)
    {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let next = if exists { "; name another file, or say --force" } else { "" };
        let why = format!("A-INI-007 `{}`: {error}{next}", file.display());
        let code = if exists { CONFIG } else { ENVIRONMENT };
        return refuse_as(output, out, |out| writeln!(out, "{why}").map(|()| code));
    }
    match (output, &arguments.out) {
        (Output::Json, _) => writeln!(out, "{}", as_json(arguments, &proposal))?,
        (Output::Text, None) => out.write_all(proposal.text.as_bytes())?,
        (Output::Text, Some(file)) => written(arguments, file, &proposal, out)?,
    }
    Ok(OK)
}

/// The record of the proposal, where its columns tell one.
fn record(text: &str) -> Option<&str> {
    let record = text.lines().find_map(|line| line.strip_prefix("record = \"")?.split('"').next());
    record.filter(|record| *record != UNKNOWN)
}

/// Lines that are left to whoever knows the source; the heading tells of the mark.
fn choices(text: &str) -> usize {
    text.lines().skip(2).filter(|line| line.contains("choose: ")).count()
}

/// What the text form says. A mapping that was written is not shown: with `--sample` it has codes of real rows.
fn as_json(arguments: &Init, proposal: &Proposal) -> Value {
    let Proposal { text, seen, notes } = proposal;
    json!({
        "ok": true,
        "exit": OK,
        "mapping": arguments.out.is_none().then_some(text),
        "file": arguments.out.as_ref().map(|file| file.display().to_string()),
        "record": record(text),
        "choices": choices(text),
        "notes": notes,
        "seen": seen,
    })
}

/// What is said of a mapping that was written to a file.
fn written(
    arguments: &Init,
    file: &Path,
    proposal: &Proposal,
    out: &mut (dyn Write + Send),
) -> std::io::Result<()> {
    let Proposal { text, seen, notes } = proposal;
    writeln!(out, "written: `{}`, {} with `choose:`", file.display(), counted(choices(text), "line"))?;
    notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
    let has_columns = !matches!(arguments.source, Kind::Fhir | Kind::Http);
    let by_key = if has_columns { ", for rows found by another column --key COLUMN" } else { "" };
    match record(text) {
        Some(record) => {
            writeln!(out, "  record `{record}`; for another one --record RECORD --force{by_key}")?;
        }
        None => writeln!(
            out,
            "  no record has fields that are called like these: say which one with --record RECORD --force, and with \
             --key COLUMN by which column rows are found"
        )?,
    }
    if let Some(most) = arguments.sample {
        let most = counted(most, "row");
        writeln!(out, "read, up to {most} of what the source leaves open; shapes, not values:")?;
        seen.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        if seen.is_empty() {
            writeln!(out, "  nothing: the source leaves nothing open that rows could tell")?;
        }
    }
    Ok(())
}

/// Whole or not at all: a host that watches the file never sees half of it.
fn write(file: &Path, text: &str, force: bool) -> std::io::Result<()> {
    if !force {
        let mut new = std::fs::OpenOptions::new().write(true).create_new(true).open(file)?;
        return new.write_all(text.as_bytes());
    }
    replace(file, text)
}

fn refuse(error: &InitError, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    writeln!(out, "{error}")?;
    let (asked, known) = error.known();
    error.help().iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    // Of names that differ by their capitals alone none is nearer than the others.
    let folded = asked.map(str::to_lowercase);
    let alike: Vec<&String> =
        known.iter().filter(|name| folded.as_ref() == Some(&name.to_lowercase())).collect();
    let near = asked.and_then(|asked| did_you_mean(asked, known.iter().map(String::as_str)));
    if alike.len() > 1 {
        let alike = alike.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        writeln!(out, "  help: did you mean {alike}? Their capitals count")?;
    } else if let Some(near) = near {
        writeln!(out, "  help: {near}")?;
    } else if !known.is_empty() {
        let more = if known.len() > LISTED { ", …" } else { "" };
        let listed = known.iter().take(LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        writeln!(out, "  help: there are {listed}{more}")?;
    }
    Ok(match error {
        InitError::Source(SourceError::Drift(_)) => CONFIG,
        InitError::Source(_) | InitError::Writer { .. } => ENVIRONMENT,
        _ => CONFIG,
    })
}
