//! `completions`: what a shell needs to complete commands and arguments of `yiwang-adapter`.

use super::{Command, OK};
use clap::Subcommand as _;
use clap_complete::Shell;
use std::io::Write;

const PROGRAM: &str = "yiwang-adapter";

pub(super) fn completions(shell: Shell, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let mut command = Command::augment_subcommands(clap::Command::new(PROGRAM));
    // Aside first: the library takes a failed write for a fault of the program.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, PROGRAM, &mut text);
    out.write_all(&text)?;
    Ok(OK)
}
