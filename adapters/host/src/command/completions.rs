//! `completions`: what a shell needs to complete commands and arguments of `yiwang-adapter`.

use super::{Command, OK};
use clap::Subcommand as _;
use clap_complete::Shell;
use std::io::Write;

const PROGRAM: &str = "yiwang-adapter";
/// The library loses the subcommands of a program with a hyphen in its name, so it is told another one.
const PLAIN: &str = "yiwangadapter";

pub(super) fn completions(shell: Shell, out: &mut (dyn Write + Send)) -> std::io::Result<u8> {
    let mut command = Command::augment_subcommands(clap::Command::new(PLAIN));
    // Aside first: the library takes a failed write for a fault of the program.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, PLAIN, &mut text);
    let text = String::from_utf8(text).map_err(std::io::Error::other)?;
    out.write_all(text.replace(PLAIN, PROGRAM).as_bytes())?;
    Ok(OK)
}
