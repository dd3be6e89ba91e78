//! A server under a shell that stops it when this process ends, however it ends, and then takes its folder away.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::ServerError;

/// The user and group of servers where this process runs as root: servers refuse to.
pub(super) const NOBODY: u32 = 65_534;

/// Reads a line: an empty one, or the end of the pipe, means that nobody needs the folder any more.
/// The shell keeps nothing of what the server writes to, so that its end shows there.
const SCRIPT: &str = "\"$@\" & server=$!; exec >/dev/null 2>&1; read -r word; kill -INT $server; kill $server; wait $server; \
                      [ -n \"$word\" ] || [ -z \"$FOLDER\" ] || rm -rf \"$FOLDER\"";

/// A running server.
#[derive(Debug)]
pub(super) struct Guard(Child);

/// What a server writes, and where to.
pub(super) struct Streams {
    pub out: Stdio,
    pub error: Stdio,
}

pub(super) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A command as the user of servers, without this process's own surroundings.
pub(super) fn as_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
        .current_dir("/tmp")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8");
    command
}

impl Guard {
    /// Starts it; `shell` says as whom, `folder` is removed at its end.
    pub(super) fn start(
        mut shell: Command,
        arguments: &[String],
        folder: Option<&Path>,
        streams: Streams,
    ) -> Result<Self, ServerError> {
        let first = arguments.first().cloned().unwrap_or_default();
        let child = shell
            .args(["-c", SCRIPT, "sh"])
            .args(arguments)
            .env("FOLDER", folder.map_or_else(Default::default, |folder| folder.as_os_str().to_owned()))
            // A key that is pressed for the program that started it is not meant for the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(streams.out)
            .stderr(streams.error)
            .spawn()
            .map_err(ServerError::io(first))?;
        Ok(Self(child))
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Stops the server and waits for its end; its folder stays.
    pub(super) fn stop(mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // Where nobody reads any more, it has ended already.
            let _ = pipe.write_all(b"stop\n");
        }
        let _ = self.0.wait();
    }
}
