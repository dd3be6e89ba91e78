//! `yiwang-adapter`: the small program that a department installs.

use clap::Parser;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use yiwang_adapter::command::{Command, ENVIRONMENT, execute};
use yiwang_adapter::run::Surroundings;

/// Adapter and gateway of a Yiwang member. Exit code: 0 ok, 1 failed tests, 2 configuration, 3 environment
#[derive(Parser)]
#[command(name = "yiwang-adapter", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let program = Program::parse();
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let asked = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            asked.cancel();
        });
        execute(program.command, Surroundings::system(), stop, &mut std::io::stdout()).await
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(error: &std::io::Error) -> ExitCode {
    tracing::error!(%error, "the program cannot go on");
    ExitCode::from(ENVIRONMENT)
}

/// Logs go to stderr: for people at a terminal, as JSON lines elsewhere.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}
