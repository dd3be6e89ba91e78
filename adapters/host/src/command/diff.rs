//! `diff`: mapping files as they are against what a running host serves, in the words of `show`, without the
//! values that stand in statements: the door does not give them.

use super::door;
use super::show::masked_mapping_of;
use super::{CONFIG, ENVIRONMENT, FAILED, OK, Output, refuse_as, refuse_config};
use crate::config::Config;
use crate::sources::read_mapping;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use yiwang_adapter_sdk::mapping::Mapping;

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The configuration of the host
    #[arg(long, value_name = "FILE", default_value = "adapter.toml")]
    pub config: PathBuf,
    /// Where its health pages are, if not where the configuration says
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<SocketAddr>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// How one file and what serves differ.
enum Differs {
    Same,
    /// The file does not hold.
    Broken(String),
    /// What is different; nothing where only comments, tests or blanks are.
    Lines(Vec<String>),
}

pub(super) async fn diff(arguments: &Diff, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let config = match Config::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => return refuse_as(arguments.output, out, |out| refuse_config(&error, out)),
    };
    let address = match door::address(&arguments.config, &config, arguments.at) {
        Ok(address) => address,
        Err(error) => {
            return refuse_as(arguments.output, out, |out| writeln!(out, "{error}").map(|()| CONFIG));
        }
    };
    let running = match door::get(address, "/mappings").await {
        Ok(running) => running,
        Err(error) => {
            return refuse_as(arguments.output, out, |out| writeln!(out, "{error}").map(|()| ENVIRONMENT));
        }
    };
    let files = config.adapter.map(|part| part.mappings).unwrap_or_default();
    let found: Vec<(String, Differs)> =
        files.iter().map(|file| (file.display().to_string(), compare(file, &running))).collect();
    match arguments.output {
        Output::Json => writeln!(out, "{}", as_json(&found))?,
        Output::Text => {
            for (file, differs) in &found {
                write(file, differs, out)?;
            }
        }
    }
    let broken = found.iter().any(|(_, differs)| matches!(differs, Differs::Broken(_)));
    let same = found.iter().all(|(_, differs)| matches!(differs, Differs::Same));
    Ok(match (broken, same) {
        (true, _) => CONFIG,
        (false, true) => OK,
        (false, false) => FAILED,
    })
}

fn compare(file: &Path, running: &Value) -> Differs {
    let mapping = read_mapping(file).map_err(|error| error.to_string()).and_then(|text| {
        let first = |faults: Vec<_>| faults.first().map(ToString::to_string).unwrap_or_default();
        Mapping::parse(&text, file)
            .map_err(|faults: Vec<yiwang_adapter_sdk::mapping::MappingFault>| first(faults))
    });
    let shown = mapping.and_then(|mapping| masked_mapping_of(&mapping).map_err(|error| error.to_string()));
    let shown = match shown {
        Ok(shown) => shown,
        Err(why) => return Differs::Broken(why),
    };
    let name = file.display().to_string();
    let served = running["mappings"].as_array().into_iter().flatten();
    let served = served.filter(|one| one["file"] == name.as_str()).find_map(|one| one["shown"].as_str());
    let Some(served) = served else {
        return Differs::Lines(vec!["+ the whole file: the host does not serve it".to_owned()]);
    };
    if served == shown {
        return Differs::Same;
    }
    let (old, new) = (flat(served), flat(&shown));
    let mut lines = Vec::new();
    for (key, value) in &old {
        if new.get(key) != Some(value) {
            lines.push(format!("- {key} = {value}"));
        }
    }
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            lines.push(format!("+ {key} = {value}"));
        }
    }
    // By their keys; what goes stands before what comes.
    lines.sort_by_key(|line| {
        let key = line.get(2..).and_then(|rest| rest.split(" = ").next()).unwrap_or_default();
        (key.to_owned(), line.starts_with('+'))
    });
    lines.retain(|line| line.get(2..).is_none_or(|line| !line.starts_with("sha256 ")));
    Differs::Lines(lines)
}

/// Each value by its path; operations by their names.
fn flat(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        walk(&toml::Value::Table(table), "", &mut out);
    }
    out
}

fn walk(value: &toml::Value, path: &str, out: &mut BTreeMap<String, String>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| walk(value, &under(key), out)),
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            for (at, value) in list.iter().enumerate() {
                let name = value.get("name").and_then(toml::Value::as_str);
                walk(value, &under(&name.map_or_else(|| at.to_string(), |name| format!("`{name}`"))), out);
            }
        }
        plain => drop(out.insert(path.to_owned(), plain.to_string())),
    }
}

fn as_json(found: &[(String, Differs)]) -> Value {
    let one = |(file, differs): &(String, Differs)| match differs {
        Differs::Same => json!({ "file": file, "differs": false, "lines": [] }),
        Differs::Broken(why) => json!({ "file": file, "differs": true, "broken": why }),
        Differs::Lines(lines) => json!({ "file": file, "differs": true, "lines": lines }),
    };
    json!(found.iter().map(one).collect::<Vec<_>>())
}

fn write(file: &str, differs: &Differs, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    match differs {
        Differs::Same => writeln!(out, "{file}: as it serves"),
        Differs::Broken(why) => writeln!(out, "{file}: does not hold, so the one before serves: {why}"),
        Differs::Lines(lines) if lines.is_empty() => {
            writeln!(out, "{file}: only comments, tests or blanks differ, and with them the digest")
        }
        Differs::Lines(lines) => {
            writeln!(out, "{file}: differs from what serves")?;
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
        }
    }
}
