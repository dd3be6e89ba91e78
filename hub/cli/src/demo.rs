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
            (Some(dir), _) => dir.clone(),
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

/// Mebibytes that a small city's demo writes, by itself and with the departments' own servers, and as much again.
const ROOM_MIB: u64 = 192;
const ROOM_WITH_SERVICES_MIB: u64 = 768;

/// Mebibytes that are free where a folder is or will be; none where that cannot be asked.
fn free_mib(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir.ancestors().find(|at| at.exists())?).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize) >> 20)
}

/// A disk that fills up half-way would end in whatever error comes first.
fn has_room(services: bool, dir: &Path, free_mib: Option<u64>) -> Outcome {
    let least = if services { ROOM_WITH_SERVICES_MIB } else { ROOM_MIB };
    match free_mib {
        Some(free) if free < least => Err(Failure::environment(format!(
            "the demo needs {least} MiB for `{}`, and {free} are free there; free some space, or name a folder on another \
             disk with `--keep`",
            dir.display()
        ))),
        _ => Ok(()),
    }
}

async fn tell(arguments: &Arguments, dir: &Path) -> Outcome {
    has_room(arguments.services, dir, free_mib(dir))?;
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
        for (services, free, fits) in
            [(false, 191, false), (false, 192, true), (true, 767, false), (true, 768, true)]
        {
            assert_eq!(has_room(services, &later, Some(free)).is_ok(), fits, "{free}");
        }
        assert!(has_room(true, &later, None).is_ok(), "what cannot be asked is found out by the writing");
        let said = has_room(false, &later, Some(7)).unwrap_err();
        assert!(said.code == 3 && said.to_string().contains("192 MiB for"), "{said}");
    }
}
