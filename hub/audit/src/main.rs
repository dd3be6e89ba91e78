//! `yiwang-audit`: the offline verifier as a program of its own.

use clap::Parser;
use std::process::ExitCode;
use yiwang_audit::command::{Command, run};

/// Verifies Yiwang ledgers and evidence offline, and trusts nobody. Exit code: 0 clean, 1 findings, 2 unreadable, 3 unwritten
#[derive(Parser)]
#[command(name = "yiwang-audit", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    ExitCode::from(u8::try_from(run(&program.command, &mut out)).unwrap_or(2))
}
