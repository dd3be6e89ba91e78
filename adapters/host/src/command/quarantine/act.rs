//! `quarantine retry` and `quarantine drop`.

use super::{Where, Which, has_folder, mappings, place_of, refuse};
use crate::command::door;
use crate::command::{CONFIG, ENVIRONMENT, FAILED, OK, Output};
use crate::config::Config;
use crate::run::Surroundings;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use yiwang_adapter_csv::{Act, Became, Done, DropError, drop_held, held, retry};
use yiwang_adapter_sdk::mapping::Mapping;
use yiwang_adapter_sdk::source::Environment;
use yiwang_proto::ambient::random;
use yiwang_proto::hex;
use yiwang_proto::plural::counted;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    Retry,
    /// With its reason.
    Drop(&'a str),
}

/// How a running host stands to a mapping as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// Nobody said where one is.
    Unnamed,
    Away,
    Serves,
    /// It serves an earlier version of the mapping.
    Older,
}

impl Host {
    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => None,
            Self::Away => Some("away"),
            Self::Serves => Some("serves"),
            Self::Older => Some("older"),
        }
    }

    fn told(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => None,
            Self::Away => Some("no host answers; it counts from its start"),
            Self::Serves => Some("the running host serves this mapping; it counts from its next question"),
            Self::Older => Some(
                "the running host still serves the mapping of before; it takes up one that holds within seconds, or `yiwang-adapter status` says why not",
            ),
        }
    }
}

pub(super) async fn act(
    what: What<'_>,
    which: &Which,
    place: &Where,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let all = match mappings(place, out)? {
        Ok(all) => all,
        Err(code) => return Ok(code),
    };
    let by = account(surroundings.environment.as_ref());
    let (mut found, mut worst, mut told) = (false, OK, Vec::new());
    for mapping in all.into_iter().filter(has_folder) {
        match in_folder(what, which, &mapping, surroundings, &by).await {
            // The file is in the folder of another mapping.
            Ok(None) => {}
            Ok(Some(done)) => {
                found = true;
                let host = host(place, which, &mapping).await;
                worst = worst.max(code(&done));
                match place.output {
                    Output::Json => told.push(as_json(&mapping, which, &done, &host)),
                    Output::Text => write(&mapping, which, &done, &host, out)?,
                }
            }
            Err(error) => {
                let (code, exit) = match &error {
                    DropError::NotHeld(_) => ("A-QUA-003", FAILED),
                    _ => ("A-QUA-002", ENVIRONMENT),
                };
                let text = format!("{code} mapping `{}`: {error}", mapping.name());
                return refuse(&text, exit, place.output, out);
            }
        }
    }
    if !found {
        let help = "`yiwang-adapter quarantine list` names files that hold something back";
        let text = format!("A-QUA-004 no folder holds anything of `{}` back\n  help: {help}", which.name);
        return refuse(&text, CONFIG, place.output, out);
    }
    if place.output == Output::Json {
        writeln!(out, "{}", json!(told))?;
    }
    Ok(worst)
}

/// Acts on a file, if this folder holds something of it back or dropped something of it.
async fn in_folder(
    what: What<'_>,
    which: &Which,
    mapping: &Arc<Mapping>,
    surroundings: &Surroundings,
    by: &str,
) -> Result<Option<Done>, DropError> {
    let (mapping, environment) = (Arc::clone(mapping), Arc::clone(&surroundings.environment));
    let (name, lines, by) = (which.name.clone(), which.lines.clone(), by.to_owned());
    let (at_ms, salt) = (surroundings.clock.now_ms(), random(surroundings.entropy.as_ref()));
    let reason = match what {
        What::Retry => None,
        What::Drop(reason) => Some(reason.to_owned()),
    };
    let acting = tokio::task::spawn_blocking(move || {
        let environment = environment.as_ref();
        let before = held(&mapping, environment)?;
        let here = before.rows.iter().any(|row| row.file == name)
            || before.dropped.iter().any(|trace| trace.file == name);
        if !here {
            return Ok(None);
        }
        let act = Act { file: &name, lines: &lines, by: &by, at_ms };
        let done = match reason {
            None => retry(&mapping, environment, act),
            Some(reason) => drop_held(&mapping, environment, act, &reason, salt),
        };
        done.map(Some)
    });
    let ended = || DropError::NotHeld("reading the folder failed".to_owned());
    acting.await.unwrap_or_else(|_| Err(ended()))
}

/// The account that does it: the one of the operating system, which nobody sets by a variable.
fn account(environment: &dyn Environment) -> String {
    let Ok(uid) = std::fs::metadata("/proc/self").map(|process| process.uid()) else {
        return "an account that is not known".to_owned();
    };
    let accounts = environment.read("/etc/passwd".as_ref()).unwrap_or_default();
    let named = accounts.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    let name = named.unwrap_or_else(|| format!("uid {uid}"));
    let plain = |name: &String| name.len() <= 64 && !name.is_empty() && !name.contains(char::is_control);
    // Who became root says by this variable who it was; others could say anything.
    match environment.var("SUDO_USER").filter(|_| uid == 0).filter(plain) {
        Some(user) => format!("{name} (sudo by {user})"),
        None => name,
    }
}

async fn host(place: &Where, which: &Which, mapping: &Mapping) -> Host {
    let Some((path, config)) = place.config.as_ref().and_then(|path| Some((path, Config::read(path).ok()?)))
    else {
        return Host::Unnamed;
    };
    let Ok(address) = door::address(path, &config, which.at) else { return Host::Unnamed };
    let Ok(status) = door::get(address, "/status").await else { return Host::Away };
    let digest = hex(&mapping.digest());
    let served = status.pointer("/mappings/served").and_then(serde_json::Value::as_array);
    let serves = served.into_iter().flatten().any(|one| {
        let says = |key: &str, what: &str| one.get(key).and_then(serde_json::Value::as_str) == Some(what);
        says("mapping", mapping.name()) && says("sha256", &digest)
    });
    if serves { Host::Serves } else { Host::Older }
}

fn code(done: &Done) -> u8 {
    let stays = |became: &Became| matches!(became, Became::Stays(_) | Became::StaysDropped(_));
    if done.more > 0 || done.told.iter().any(|told| stays(&told.became)) { FAILED } else { OK }
}

fn words(became: &Became) -> (&'static str, Option<&str>) {
    match became {
        Became::TakenIn => ("taken in", None),
        Became::Stays(why) => ("stays held back", Some(why)),
        Became::StaysDropped(why) => ("stays dropped", Some(why)),
        Became::Gone => ("is not in the file any more", None),
        Became::Dropped => ("dropped", None),
    }
}

fn as_json(mapping: &Mapping, which: &Which, done: &Done, host: &Host) -> Value {
    let rows: Vec<Value> = done
        .told
        .iter()
        .map(|told| {
            let (became, why) = words(&told.became);
            json!({ "line": told.line, "became": became, "reason": why })
        })
        .collect();
    json!({
        "mapping": mapping.name(),
        "file": which.name,
        "rows": rows,
        "served": done.served,
        "more": done.more,
        "host": host.name(),
    })
}

fn write(
    mapping: &Mapping,
    which: &Which,
    done: &Done,
    host: &Host,
    out: &mut (dyn Write + Send),
) -> std::io::Result<()> {
    writeln!(out, "{}: {}", mapping.name(), which.name)?;
    for told in &done.told {
        match words(&told.became) {
            (became, None) => writeln!(out, "  {}: {became}", place_of(told.line))?,
            (became, Some(why)) => writeln!(out, "  {}: {became}: {why}", place_of(told.line))?,
        }
    }
    if done.more > 0 {
        writeln!(out, "  and {} beyond those that are kept with their reason", counted(done.more, "row"))?;
    }
    let are = if done.served == 1 { "is" } else { "are" };
    writeln!(out, "  {} of it {are} sound", counted(done.served, "row"))?;
    match host.told() {
        Some(told) => writeln!(out, "  {told}"),
        None => Ok(()),
    }
}
