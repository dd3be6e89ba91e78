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
use std::path::PathBuf;

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

async fn tell(arguments: &Arguments, dir: &std::path::Path) -> Outcome {
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
