//! `yiwang-adapter`: the small program that a department installs.

use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use yiwang_adapter::command::{CONFIG, Command, ENVIRONMENT, execute, otlp};
use yiwang_adapter::run::Surroundings;

/// Messages are many short allocations of one size or another, freed by other threads.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Adapter and gateway of a Yiwang member. Exit code: 0 ok, 1 failed tests, 2 configuration, 3 environment
#[derive(Parser)]
#[command(name = "yiwang-adapter", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(async {
        // Within the runtime: the exporter sends from it.
        let telemetry = match yiwang_telemetry::start("yiwang-adapter", otlp(&program.command).as_deref()) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("{error}");
                return Ok(CONFIG);
            }
        };
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
        let ended = execute(program.command, Surroundings::system(), stop, &mut std::io::stdout()).await;
        telemetry.finish();
        ended
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(error: &std::io::Error) -> ExitCode {
    eprintln!("the program cannot go on: {error}");
    ExitCode::from(ENVIRONMENT)
}
