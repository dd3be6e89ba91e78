//! The one program of Yiwang. Every subcommand is thin: the work is in the crates.

#[macro_use]
mod out;

mod auditor;
mod batch;
mod bench;
mod case;
mod catalogue;
mod contract;
mod demo;
mod fail;
mod hints;
mod hub;
mod member;
mod officer;
mod query;
mod revoke;
mod setup;
mod telemetry;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;

/// Messages are many short allocations of one size or another, freed by other threads.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Yiwang (一网): data runs between departments so that citizens need not.
#[derive(Parser)]
#[command(name = "yiwang", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the hub and keeps it: init, run, token, rebuild, and what an operator decides.
    #[command(subcommand)]
    Hub(hub::Command),
    /// A member's folder: keys, enrolment, delegations.
    #[command(subcommand)]
    Member(member::Command),
    /// Data-sharing contracts: draft, new, sign, publish, show.
    #[command(subcommand)]
    Contract(contract::Command),
    /// Record types that members add to the catalogue: check, sign, add, diff, list, show.
    #[command(subcommand)]
    Catalogue(catalogue::Command),
    /// The case register: open, add, close, show.
    #[command(subcommand)]
    Case(case::Command),
    /// An officer's own key: keygen, delegate, ticket, sign.
    #[command(subcommand)]
    Officer(officer::Command),
    /// Asks for data: one record over all departments, or one signed request.
    #[command(subcommand)]
    Query(query::Command),
    /// An enrolled auditor at the hub: enrol, search, entries.
    #[command(subcommand)]
    Auditor(auditor::Command),
    /// A department's adapter and gateway: init, check, test, call, run and what else their IT needs.
    #[command(subcommand)]
    Adapter(yiwang_adapter::command::Command),
    /// Checks a department's mapping files, or its whole configuration with source and hub: `adapter check` in short.
    Check(yiwang_adapter::command::Check),
    /// Starts a hub and its departments and tells a story, step by step.
    Demo(demo::Arguments),
    /// Measures exchanges, networks, ledgers, searches and decisions, and runs for hours under faults.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Verifies offline, trusting nobody: ledgers, evidence, proofs; reports.
    #[command(subcommand)]
    Audit(yiwang_audit::command::Command),
    /// Prints completions of commands and arguments for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Audit(command) => {
            let code = yiwang_audit::command::run(&command, &mut std::io::stdout().lock());
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
        Command::Hub(command) => hub::run(&command),
        Command::Member(command) => member::run(&command),
        Command::Contract(command) => contract::run(&command),
        Command::Catalogue(command) => catalogue::run(&command),
        Command::Case(command) => case::run(&command),
        Command::Auditor(command) => auditor::run(&command),
        Command::Officer(command) => officer::run(&command),
        Command::Query(command) => query::run(&command),
        Command::Adapter(command) => return adapter(command),
        Command::Check(arguments) => return adapter(yiwang_adapter::command::Command::Check(arguments)),
        Command::Completions { shell } => {
            completions(shell);
            Ok(())
        }
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(command) => bench::run(&command),
    };
    match outcome {
        Ok(()) => match out::failed() {
            None => ExitCode::SUCCESS,
            Some(error) => {
                eprintln!("error: what this command says cannot be written: {error}; it has done its work");
                ExitCode::from(3)
            }
        },
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn completions(shell: clap_complete::Shell) {
    // Aside first: the library takes a failed write for a fault of the program.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "yiwang", &mut text);
    println!("{}", String::from_utf8_lossy(&text).trim_end());
}

/// The adapter's own commands, with this program's logs, traces and signals.
fn adapter(command: yiwang_adapter::command::Command) -> ExitCode {
    let failed = |failure: &dyn std::fmt::Display| {
        eprintln!("error: {failure}");
        ExitCode::from(3)
    };
    let runtime = match setup::runtime() {
        Ok(runtime) => runtime,
        Err(failure) => return failed(&failure),
    };
    runtime.block_on(async {
        let telemetry =
            match telemetry::start("yiwang-adapter", yiwang_adapter::command::otlp(&command).as_deref()) {
                Ok(telemetry) => telemetry,
                Err(failure) => return failed(&failure),
            };
        let stop = tokio_util::sync::CancellationToken::new();
        let asked = stop.clone();
        tokio::spawn(async move {
            telemetry::stop_signal().await;
            asked.cancel();
        });
        let surroundings = yiwang_adapter::run::Surroundings::system();
        let ended =
            yiwang_adapter::command::execute(command, surroundings, stop, &mut std::io::stdout()).await;
        telemetry.finish();
        match ended {
            Ok(code) => ExitCode::from(code),
            Err(error) => failed(&error),
        }
    })
}
