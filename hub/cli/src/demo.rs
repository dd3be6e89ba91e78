//! `yiwang demo`: a hub and its departments as processes of this program, a citizen's request that crosses
//! them, and the audit of it. Everything is generated into one folder and checked as it is told.

pub mod build;
mod files;
pub mod http;
mod oracle;
mod parts;
pub mod process;
mod real;
mod sealed;
mod services;
mod seven;
mod story;

use crate::fail::{Failure, Outcome};
use crate::setup;
use clap::Args;
use std::path::{Path, PathBuf};

/// What the demo shows.
#[derive(Args)]
pub struct Arguments {
    /// Runs the story once and exits; 0 only if every step did what it says.
    #[arg(long)]
    once: bool,
    /// Keeps everything in this folder; a temporary one otherwise.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// A folder with real open data (montgomery-911, seattle-police, febrl) to attach as members.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Starts the departments' own servers from what is installed (MariaDB, PostgreSQL, a double of a FHIR server, a REST
    /// API), with three members more; says what is missing.
    #[arg(long)]
    services: bool,
    /// Size of the synthetic city; 1 = 350,000 households.
    #[arg(long, default_value_t = 0.01)]
    scale: f64,
}

pub fn run(arguments: &Arguments) -> Outcome {
    setup::runtime()?.block_on(async {
        // Held to the end: dropping it removes the folder, also after Ctrl-C.
        let temporary = match &arguments.keep {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(Failure::environment)?),
        };
        let dir = match (&arguments.keep, &temporary) {
            // Members' mappings name their sources by it, from folders of their own.
            (Some(dir), _) => std::path::absolute(dir).map_err(Failure::usage)?,
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err(Failure::environment("no folder for the demo")),
        };
        tokio::select! {
            outcome = tell(arguments, &dir) => outcome,
            () = crate::telemetry::stop_signal() => {
                println!("\nstopped; processes and temporary files are removed");
                Ok(())
            }
        }
    })
}

/// Mebibytes that a demo writes, and half as much again: of hub, members and tampered copy; of the departments' own servers; of
/// real data; of a city of scale 1.
const ROOM_MIB: u64 = 160;
const SERVERS_MIB: u64 = 576;
const DATA_MIB: u64 = 80;
const CITY_MIB: f64 = 2048.0;

fn needed_mib(arguments: &Arguments) -> u64 {
    let servers = if arguments.services { SERVERS_MIB } else { 0 };
    let data = if arguments.data.is_some() { DATA_MIB } else { 0 };
    // What is no scale is refused where the city is built.
    ROOM_MIB + servers + data + (arguments.scale.clamp(0.0, 1.0) * CITY_MIB) as u64
}

/// Mebibytes that are free where a folder is or will be; none where that cannot be asked.
fn free_mib(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir.ancestors().find(|at| at.exists())?).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize) >> 20)
}

/// A disk that fills up half-way would end in whatever error comes first.
fn has_room(needed_mib: u64, dir: &Path, free_mib: Option<u64>) -> Outcome {
    match free_mib {
        Some(free) if free < needed_mib => Err(Failure::environment(format!(
            "the demo needs {needed_mib} MiB for `{}`, and {free} MiB are free there: free some space, or name a folder on \
             another disk with `--keep`",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

async fn tell(arguments: &Arguments, dir: &Path) -> Outcome {
    has_room(needed_mib(arguments), dir, free_mib(dir))?;
    println!("Yiwang demo: one hub, its departments, one household's application, and the audit of it.");
    println!("Everything lies in {}\n", dir.display());
    let plan =
        build::Plan { scale: arguments.scale, data: arguments.data.as_deref(), services: arguments.services };
    let mut network = build::build(dir, &plan).await?;
    let mut teller = story::Teller::default();
    story::tell(&mut teller, &mut network).await;
    if network.real.is_some() {
        real::tell(&mut teller, &network).await;
    }
    if network.services.is_some() {
        seven::tell(&mut teller, &network).await;
    }
    story::absence(&mut teller, &mut network).await;
    story::audit(&mut teller, &mut network, arguments.once).await;
    teller.summary();
    if arguments.once {
        network.stop().await;
        return teller.outcome();
    }
    story::invite(&network);
    crate::telemetry::stop_signal().await;
    network.stop().await;
    println!("\nstopped; temporary files are removed");
    teller.outcome()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_said_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("not/yet");
        assert_eq!(free_mib(&later).is_some(), free_mib(dir.path()).is_some());
        let asked = |services, data: Option<&str>, scale| Arguments {
            once: true,
            keep: None,
            data: data.map(PathBuf::from),
            services,
            scale,
        };
        let usual = needed_mib(&asked(false, None, 0.01));
        assert_eq!(usual, 180);
        assert_eq!(needed_mib(&asked(true, Some("data"), 1.0)), 160 + 576 + 80 + 2048);
        let odd = [-1.0, f64::NAN, f64::INFINITY].map(|scale| needed_mib(&asked(false, None, scale)));
        assert_eq!(odd, [160, 160, 160 + 2048]);
        for (free, fits) in [(Some(usual - 1), false), (Some(usual), true), (None, true)] {
            assert_eq!(has_room(usual, &later, free).is_ok(), fits, "{free:?}");
        }
        let said = has_room(usual, &later, Some(7)).unwrap_err();
        assert!(said.code == 3 && said.to_string().contains("180 MiB for"), "{said}");
    }
}
