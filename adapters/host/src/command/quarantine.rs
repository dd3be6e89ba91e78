//! `quarantine`: what the CSV folders of mappings hold back, read as they are now. The adapter never writes to a
//! folder: a row is let in when the file that it is in is mended, and a file is given up by taking it away.

use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output, refuse_config};
use crate::config::Config;
use crate::run::Surroundings;
use crate::sources::{open, read_mapping};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use yiwang_adapter_sdk::mapping::{Mapping, SourceDef, render};
use yiwang_adapter_sdk::source::Quarantined;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// Files with rows that are held back, and how many
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

/// What one mapping's folder holds back.
struct Held {
    mapping: String,
    rows: Vec<Quarantined>,
    count: usize,
}

pub(super) async fn quarantine(
    command: &Quarantine,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let (place, name) = match command {
        Quarantine::List(place) => (place, None),
        Quarantine::Show { name, place } => (place, Some(name.as_str())),
    };
    let files = match &place.config {
        None => place.mapping.clone(),
        Some(path) => match Config::read(path) {
            Ok(config) => config.adapter.map(|part| part.mappings).unwrap_or_default(),
            Err(error) => return refuse_config(&error, out),
        },
    };
    let mut all = Vec::new();
    for file in files {
        let text = match read_mapping(&file) {
            Ok(text) => text,
            Err(error) => {
                writeln!(out, "A-QUA-001 {error}")?;
                return Ok(CONFIG);
            }
        };
        let mapping = match Mapping::parse(&text, &file) {
            Ok(mapping) => Arc::new(mapping),
            Err(faults) => {
                for fault in faults {
                    out.write_all(render(&fault, &text).as_bytes())?;
                }
                return Ok(CONFIG);
            }
        };
        if !matches!(mapping.source(), SourceDef::Csv(_)) {
            continue;
        }
        match held(&mapping, surroundings).await {
            Ok(held) => all.push(held),
            Err(why) => {
                writeln!(out, "A-QUA-002 mapping `{}`: {why}", mapping.name())?;
                return Ok(ENVIRONMENT);
            }
        }
    }
    if place.output == Output::Json {
        let json: Vec<Value> = all.iter().map(|held| as_json(held, name)).collect();
        writeln!(out, "{}", json!(json))?;
    } else {
        for held in &all {
            write(held, name, out)?;
        }
    }
    let any = all.iter().any(|held| match name {
        None => held.count > 0,
        Some(name) => held.rows.iter().any(|row| row.file == name),
    });
    Ok(if any { FAILED } else { OK })
}

async fn held(mapping: &Arc<Mapping>, surroundings: &Surroundings) -> Result<Held, String> {
    let (opened, environment) = (Arc::clone(mapping), Arc::clone(&surroundings.environment));
    let reading =
        tokio::task::spawn_blocking(move || open(&opened, &environment).map(|source| source.quarantine()));
    let read = reading.await.map_err(|_| "reading the folder failed".to_owned())?;
    let (rows, count) = read.map_err(|error| error.to_string())?;
    Ok(Held { mapping: mapping.name().to_owned(), rows, count })
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

fn as_json(held: &Held, name: Option<&str>) -> Value {
    let rows = held.rows.iter().filter(|row| name.is_none_or(|name| row.file == name));
    let rows: Vec<Value> =
        rows.map(|row| json!({ "file": row.file, "line": row.line, "reason": row.reason })).collect();
    json!({ "mapping": held.mapping, "count": held.count, "rows": rows })
}

fn write(held: &Held, name: Option<&str>, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    writeln!(out, "{}: {} held back", held.mapping, held.count)?;
    match name {
        None => {
            for (file, count) in by_file(held) {
                writeln!(out, "  {file}: {count}")?;
            }
        }
        Some(name) => {
            for row in held.rows.iter().filter(|row| row.file == name) {
                let place =
                    if row.line == 0 { "the whole file".to_owned() } else { format!("line {}", row.line) };
                writeln!(out, "  {place}: {}", row.reason)?;
            }
        }
    }
    if held.count > 0 {
        writeln!(
            out,
            "  help: mend the file where it is made and rename the new one over it; it is read again within seconds"
        )?;
    }
    Ok(())
}
