//! The commands, for the program `yiwang-adapter` and for others that mount them.

mod call;
mod check;
mod clocks;
mod completions;
mod diff;
mod door;
mod dry_run;
mod fmt;
mod folder_check;
mod init;
mod quarantine;
mod receipts;
mod replace;
mod report;
mod schema;
mod show;
mod status;
mod test;

pub use call::Call;
pub use diff::Diff;
pub use fmt::Fmt;
pub use init::Init;
pub use quarantine::{Quarantine, Where};
pub use receipts::Receipts;
pub(crate) use show::masked_mapping_of;
pub use status::Status;

use crate::config::{Config, ConfigError};
use crate::error::HostError;
use crate::run::{self, Addresses, Surroundings};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;
use yiwang_adapter_sdk::mapping::{MappingFault, fault_at, render};
use yiwang_proto::time::format_rfc3339;

/// Exit code when all is well.
pub const OK: u8 = 0;
/// Exit code when a test of a mapping fails.
pub const FAILED: u8 = 1;
/// Exit code when a file must be mended.
pub const CONFIG: u8 = 2;
/// Exit code when the files are good, but something around them is not.
pub const ENVIRONMENT: u8 = 3;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose a mapping from what a source says of itself; no row is read. It goes to standard output
    Init(Box<Init>),
    /// Check mapping files, or a whole configuration: shape, names and codes, live source
    Check(Check),
    /// Run the tests that stand in mapping files
    Test(Test),
    /// Run the adapter and the gateway of a configuration
    Run(Run),
    /// Go on from this machine's clock where the journal has a later time, because the clock had jumped
    /// ahead; the journal keeps a record of it. The adapter must not run
    AcceptClock(AcceptClock),
    /// Answers that gave data out and have no receipt, for want of which the adapter stops; `--give-up` ends the wait for
    /// one, and the journal keeps a record of it. The adapter must not run
    Receipts(Receipts),
    /// One real call through what a contract grants: each field from its column to its value, masked by class
    Call(Call),
    /// How a running host does, operation by operation. Exit code: 0 healthy, 1 degraded, 3 away
    Status(Status),
    /// What a running host serves against the files as they are now
    Diff(Diff),
    /// Put mapping files into their one form; comments stay
    Fmt(Fmt),
    /// Rows and files that CSV folders hold back
    #[command(subcommand)]
    Quarantine(Quarantine),
    /// Print a JSON Schema of mapping files, for editors
    Schema,
    /// Print completions of commands and arguments for a shell
    Completions {
        /// The shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Show what a mapping or configuration file says, normalised, without secrets
    Show(Show),
    /// Print the OpenAPI document of the gateway
    Openapi,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One line of JSON.
    Json,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Mapping files
    #[arg(required_unless_present = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A signed record type that members added, where a mapping is of one
    #[arg(long = "record-type", value_name = "FILE", conflicts_with = "config")]
    pub record_types: Vec<PathBuf>,
    /// Check this adapter.toml with its member folder, its mappings and the hub
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub config: Option<PathBuf>,
    /// Do not open sources, do not connect
    #[arg(long)]
    pub offline: bool,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct Test {
    /// Mapping files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Rewrite what the tests expect with what comes now, and show each change
    #[arg(long)]
    pub update: bool,
    /// A signed record type that members added, where a mapping is of one
    #[arg(long = "record-type", value_name = "FILE", requires = "update")]
    pub record_types: Vec<PathBuf>,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "adapter.toml")]
    pub config: PathBuf,
    /// Everything but the hub: open and probe the sources, and tell what would be announced and let out
    #[arg(long)]
    pub dry_run: bool,
    /// How the result of --dry-run is written
    #[arg(short, long, value_enum, default_value = "text", requires = "dry_run")]
    pub output: Output,
}

/// Arguments of `accept-clock`.
#[derive(Debug, Args)]
pub struct AcceptClock {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "adapter.toml")]
    pub config: PathBuf,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// A mapping file or an adapter.toml
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How it is written: text is TOML
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// Carries out a command and yields the exit code. `run` ends when `stop` is cancelled.
///
/// # Errors
/// Writing to `out` failed; nobody reads the rest.
pub async fn execute(
    command: Command,
    surroundings: Surroundings,
    stop: CancellationToken,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    match command {
        Command::Init(arguments) => init::init(&arguments, &surroundings, out).await,
        Command::Call(arguments) => call::call(&arguments, &surroundings, out).await,
        Command::Status(arguments) => status::status(&arguments, &surroundings, &stop, out).await,
        Command::Diff(arguments) => diff::diff(&arguments, out).await,
        Command::Fmt(arguments) => fmt::fmt(&arguments, out),
        Command::Quarantine(command) => quarantine::quarantine(&command, &surroundings, out).await,
        Command::Schema => schema::schema(out),
        Command::Completions { shell } => completions::completions(shell, out),
        Command::Check(arguments) => check::check(&arguments, &surroundings, out).await,
        Command::Test(arguments) => test::test(&arguments, out).await,
        Command::Show(arguments) => show::show(&arguments.file, arguments.output, out),
        Command::Openapi => {
            writeln!(out, "{}", crate::gateway::openapi::json())?;
            Ok(OK)
        }
        Command::AcceptClock(arguments) => accept_clock(&arguments.config, &surroundings, out).await,
        Command::Receipts(arguments) => receipts::receipts(&arguments, &surroundings, out).await,
        Command::Run(arguments) if arguments.dry_run => {
            dry_run::dry_run(&arguments, &surroundings, out).await
        }
        Command::Run(arguments) => run_host(&arguments.config, surroundings, stop, out).await,
    }
}

/// The OTLP collector that `run` should send traces to, for the program that sets telemetry up before it
/// calls [`execute`]; none for other commands and for files that do not hold.
#[must_use]
pub fn otlp(command: &Command) -> Option<String> {
    match command {
        Command::Run(arguments) if !arguments.dry_run => Config::read(&arguments.config).ok()?.otlp,
        _ => None,
    }
}

async fn accept_clock(
    path: &Path,
    surroundings: &Surroundings,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return refuse_config(&error, out),
    };
    match run::accept_clock(&config, surroundings).await {
        Ok(Some(before_ms)) => {
            writeln!(out, "the clock is accepted: {} no longer counts", format_rfc3339(before_ms))?;
            Ok(OK)
        }
        Ok(None) => {
            writeln!(out, "the clock is not behind the journal: there is nothing to accept")?;
            Ok(OK)
        }
        Err(error) => refuse(&error, out),
    }
}

async fn run_host(
    path: &Path,
    surroundings: Surroundings,
    stop: CancellationToken,
    out: &mut (dyn Write + Send),
) -> std::io::Result<u8> {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => return refuse_config(&error, out),
    };
    // Whether anybody reads these lines is not the host's matter.
    let ready = |addresses: Addresses| drop(announce(addresses, out));
    match run::run(config, surroundings, stop, ready).await {
        Ok(()) => Ok(OK),
        Err(error) => refuse(&error, out),
    }
}

fn announce(addresses: Addresses, out: &mut (dyn Write + Send)) -> std::io::Result<()> {
    if let Some(address) = addresses.gateway {
        writeln!(out, "gateway http://{address}")?;
    }
    if let Some(address) = addresses.health {
        writeln!(out, "health http://{address}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

fn refuse_config(error: &ConfigError, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    out.write_all(error.render().as_bytes())?;
    Ok(CONFIG)
}

fn refuse_mapping(faults: &[MappingFault], text: &str, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    for fault in faults {
        out.write_all(render(fault, text).as_bytes())?;
    }
    Ok(CONFIG)
}

fn refuse(error: &HostError, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    match error {
        HostError::Config(error) => return refuse_config(error, out),
        HostError::Mapping(faults) => {
            for fault in faults {
                let text = std::fs::read_to_string(&fault.file).unwrap_or_default();
                out.write_all(render(fault, &text).as_bytes())?;
            }
        }
        error => writeln!(out, "{error}")?,
    }
    Ok(if error.is_environment() { ENVIRONMENT } else { CONFIG })
}

/// Says why there is nothing to tell, in the form that was asked for; `say` writes it as text and yields the exit code.
fn refuse_as(
    output: Output,
    out: &mut (dyn Write + Send),
    say: impl FnOnce(&mut (dyn Write + Send)) -> std::io::Result<u8>,
) -> std::io::Result<u8> {
    if output == Output::Text {
        return say(out);
    }
    let mut said: Vec<u8> = Vec::new();
    let exit = say(&mut said)?;
    let error = String::from_utf8_lossy(&said);
    writeln!(out, "{}", json!({ "ok": false, "exit": exit, "error": error.trim_end() }))?;
    Ok(exit)
}
