//! `quarantine`: what the CSV folders of mappings hold back, read as they are now, and what becomes of it. Nothing is
//! ever written to a folder: a row is let in when its file or the mapping is mended, and is dropped by a trace in the
//! file beside the mapping, which a running adapter looks at before it answers.

mod act;

use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output, refuse_as, refuse_config, refuse_mapping};
use crate::config::Config;
use crate::names::near;
use crate::run::Surroundings;
use crate::sources::read_mapping;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use yiwang_adapter_csv::{Held, Trace, held};
use yiwang_adapter_sdk::mapping::{Mapping, SourceDef};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// Files with rows that are held back, and how many; what was dropped, why and by whom
    List(Where),
    /// Each row of one file that is held back, with its line and reason
    Show {
        /// The file's name in its folder
        #[arg(value_name = "NAME")]
        name: String,
        /// Where to look
        #[command(flatten)]
        place: Where,
    },
    /// Read a file again under the mapping as it is now, and take in what was dropped of it and is sound
    Retry {
        /// Which rows
        #[command(flatten)]
        which: Which,
        /// Where to look
        #[command(flatten)]
        place: Where,
    },
    /// Take rows, or a file, that are held back out for good; a trace stays
    Drop {
        /// Which rows
        #[command(flatten)]
        which: Which,
        /// Why, without names and values: it is kept and shown
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// Where to look
        #[command(flatten)]
        place: Where,
    },
}

/// Which rows of which file.
#[derive(Debug, Args)]
pub struct Which {
    /// The file's name in its folder
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A line that is held back, as `show` names it; all of the file where none is named
    #[arg(long = "line", value_name = "LINE", value_parser = clap::value_parser!(u64).range(1..))]
    pub lines: Vec<u64>,
    /// Where the running host's health pages are, if not where the configuration says
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<SocketAddr>,
}

/// Which folders.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["mapping", "config"])))]
pub struct Where {
    /// Mapping files
    #[arg(long, value_name = "FILE")]
    pub mapping: Vec<PathBuf>,
    /// The mappings of this adapter.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Characters of a reason: a sentence and a ticket's number.
const REASON_MAX: usize = 200;

/// A reason on the command line.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("say why: whoever looks later must understand it".to_owned()),
        1..=REASON_MAX if text.chars().any(char::is_control) => Err("is one line of text".to_owned()),
        1..=REASON_MAX => Ok(text.to_owned()),
        _ => Err(format!("is over {REASON_MAX} characters")),
    }
}

/// Said of a mapping with another source.
const NO_FOLDER: &str = "its source is no CSV folder, and only such a one holds rows back";

/// What one mapping's folder holds back.
struct Folder {
    mapping: String,
    held: Held,
}

impl Folder {
    /// Whether a file of this name is in the folder, or was when something of it was dropped.
    fn has(&self, name: &str) -> bool {
        self.held.files.iter().any(|file| file == name) || dropped(&self.held, Some(name)).next().is_some()
    }
}

fn has_folder(mapping: &Arc<Mapping>) -> bool {
    matches!(mapping.source(), SourceDef::Csv(_))
}

pub(super) async fn quarantine(
    command: &Quarantine,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let (place, name) = match command {
        Quarantine::List(place) => (place, None),
        Quarantine::Show { name, place } => (place, Some(name.as_str())),
        Quarantine::Retry { which, place } => {
            return act::act(act::What::Retry, which, place, surroundings, out).await;
        }
        Quarantine::Drop { which, reason, place } => {
            return act::act(act::What::Drop(reason), which, place, surroundings, out).await;
        }
    };
    let (folders, others): (Vec<_>, Vec<_>) = match mappings(place, out)? {
        Ok(mappings) => mappings.into_iter().partition(has_folder),
        Err(code) => return Ok(code),
    };
    let mut all = Vec::new();
    for mapping in folders {
        match look(&mapping, surroundings).await {
            Ok(held) => all.push(Folder { mapping: mapping.name().to_owned(), held }),
            Err(why) => {
                let text = format!("A-QUA-002 mapping `{}`: {why}", mapping.name());
                return refuse(&text, ENVIRONMENT, place.output, out);
            }
        }
    }
    if let Some(name) = name.filter(|name| !all.iter().any(|folder| folder.has(name))) {
        return nowhere(name, &all, place.output, out);
    }
    if place.output == Output::Json {
        let json: Vec<Value> = all.iter().map(|folder| as_json(folder, name)).collect();
        writeln!(out, "{}", json!(json))?;
    } else {
        for folder in &all {
            write(folder, name, out)?;
        }
        // Whoever reads nothing at all does not know whether anything was looked at.
        for mapping in others.iter().filter(|_| name.is_none()) {
            writeln!(out, "{}: {NO_FOLDER}", mapping.name())?;
        }
    }
    let any = all.iter().any(|folder| match name {
        None => folder.held.count > 0,
        Some(name) => folder.held.rows.iter().any(|row| row.file == name),
    });
    Ok(if any { FAILED } else { OK })
}

/// A name that no folder has: which was meant, of those that hold something back.
fn nowhere(
    name: &str,
    folders: &[Folder],
    output: Output,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let known: Vec<&str> =
        folders.iter().flat_map(|folder| by_file(&folder.held)).map(|(file, _)| file).collect();
    let help = if folders.is_empty() {
        "none of these mappings reads a CSV folder, and only such a one holds rows back".to_owned()
    } else if known.is_empty() {
        "no file holds anything back".to_owned()
    } else {
        near(name, known)
    };
    refuse(&format!("A-QUA-004 no folder has a file `{name}`\n  help: {help}"), CONFIG, output, out)
}

/// Says why there is nothing to tell, in the form that was asked for.
fn refuse(text: &str, code: u8, output: Output, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    refuse_as(output, out, |out| writeln!(out, "{text}").map(|()| code))
}

/// The mappings, or the exit code of what was told.
fn mappings(place: &Where, out: &mut (dyn Write + Send)) -> std::io::Result<Result<Vec<Arc<Mapping>>, u8>> {
    let files = match &place.config {
        None => place.mapping.clone(),
        Some(path) => match Config::read(path) {
            Ok(config) => config.adapter.map(|part| part.mappings).unwrap_or_default(),
            Err(error) => {
                return refuse_as(place.output, out, |out| refuse_config(&error, out)).map(Err);
            }
        },
    };
    let mut all = Vec::new();
    for file in files {
        let text = match read_mapping(&file) {
            Ok(text) => text,
            Err(error) => {
                return refuse(&format!("A-QUA-001 {error}"), CONFIG, place.output, out).map(Err);
            }
        };
        match Mapping::parse(&text, &file) {
            Ok(mapping) => all.push(Arc::new(mapping)),
            Err(faults) => {
                return refuse_as(place.output, out, |out| refuse_mapping(&faults, &text, out)).map(Err);
            }
        }
    }
    Ok(Ok(all))
}

async fn look(mapping: &Arc<Mapping>, surroundings: &Surroundings) -> Result<Held, String> {
    let (opened, environment) = (Arc::clone(mapping), Arc::clone(&surroundings.environment));
    let reading = tokio::task::spawn_blocking(move || held(&opened, environment.as_ref()));
    let read = reading.await.map_err(|_| "reading the folder failed".to_owned())?;
    read.map_err(|error| error.to_string())
}

/// Rows of each file, in the order of their names.
fn by_file(held: &Held) -> Vec<(&str, usize)> {
    let mut files: Vec<(&str, usize)> = Vec::new();
    for row in &held.rows {
        match files.iter_mut().find(|(name, _)| *name == row.file) {
            Some((_, count)) => *count += 1,
            None => files.push((&row.file, 1)),
        }
    }
    files
}

fn dropped<'h>(held: &'h Held, name: Option<&'h str>) -> impl Iterator<Item = &'h Trace> {
    held.dropped.iter().filter(move |trace| name.is_none_or(|name| trace.file == name))
}

fn as_json(folder: &Folder, name: Option<&str>) -> Value {
    let held = &folder.held;
    let rows = held.rows.iter().filter(|row| name.is_none_or(|name| row.file == name));
    let rows: Vec<Value> =
        rows.map(|row| json!({ "file": row.file, "line": row.line, "reason": row.reason })).collect();
    let trace = |trace: &Trace| {
        json!({
            "file": trace.file,
            "line": trace.line,
            "held": trace.held,
            "reason": trace.reason,
            "by": trace.by,
            "at": trace.at,
            "taken_in": trace.taken_in.as_ref().map(|taken| json!({ "by": taken.by, "at": taken.at })),
        })
    };
    let dropped: Vec<Value> = dropped(held, name).map(trace).collect();
    json!({ "mapping": folder.mapping, "count": held.count, "rows": rows, "dropped": dropped })
}

/// A line for people.
fn place_of(line: u64) -> String {
    if line == 0 { "the whole file".to_owned() } else { format!("line {line}") }
}

fn write(folder: &Folder, name: Option<&str>, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    let held = &folder.held;
    writeln!(out, "{}: {} held back", folder.mapping, held.count)?;
    match name {
        Some(name) if held.rows.iter().all(|row| row.file != name) => {
            let others: Vec<&str> = by_file(held).into_iter().map(|(file, _)| file).collect();
            let others = if others.is_empty() { "no other file".to_owned() } else { others.join(", ") };
            writeln!(out, "  nothing of `{name}`; rows are held back of {others}")?;
        }
        None => {
            for (file, count) in by_file(held) {
                writeln!(out, "  {file}: {count}")?;
            }
        }
        Some(name) => {
            for row in held.rows.iter().filter(|row| row.file == name) {
                writeln!(out, "  {}: {}", place_of(row.line), row.reason)?;
            }
        }
    }
    for trace in dropped(held, name) {
        let Trace { file, held, reason, by, at, .. } = trace;
        writeln!(out, "  dropped: {file}, {}, {at}, by {by}: {reason}", place_of(trace.line))?;
        writeln!(out, "    was held back because: {held}")?;
        if let Some(taken) = &trace.taken_in {
            writeln!(out, "    taken in after all: {}, by {}", taken.at, taken.by)?;
        }
    }
    if held.count > 0 {
        writeln!(
            out,
            "  help: mend the file where it is made and rename the new one over it, or mend the mapping; it is read again within seconds.\n        \
             What will never be mended: `quarantine drop NAME --line LINE --reason TEXT`"
        )?;
    }
    Ok(())
}
