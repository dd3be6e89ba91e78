//! Child processes of the demo: started from this very program, watched, and gone when the demo ends.

use super::http;
use crate::fail::{Failure, file};
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Characters of a log that an error repeats: the longest line of ours, with its ids and addresses.
const LAST_WORDS: usize = 500;
/// Lines that a fault without a level has: of a configuration file its place, what is wrong, and what helps.
const LAST_LINES: usize = 4;

/// One process.
pub struct Process {
    name: String,
    child: Child,
    line: Line,
    /// Where its log began, in the file that all its lives share.
    log_from: u64,
    /// Where its `/ready` is.
    pub health: SocketAddr,
}

/// How it is started.
struct Line {
    program: PathBuf,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    log: PathBuf,
}

impl Line {
    /// With the length of its log so far.
    fn spawn(&self) -> Result<(Child, u64), Failure> {
        // What it said before it was started again stays.
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(file(&self.log))?;
        let from = log.metadata().map_err(file(&self.log))?.len();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Failure::environment)?)
            .stderr(log)
            // Ctrl-C goes to the whole group; the children are stopped by the demo, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::environment)?;
        Ok((child, from))
    }
}

/// As [`yiwang_city::servers::free_port`].
pub fn free_port() -> Result<SocketAddr, Failure> {
    yiwang_city::servers::free_port().map_err(Failure::environment)
}

/// What a log says last, from this byte on: its last panic, its last line that is a warning or an error, or its last lines.
fn last_words(log: &Path, from: u64) -> Option<String> {
    let bytes = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(usize::try_from(from).ok()?..)?).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = |words: &[&str]| lines.iter().rposition(|line| words.iter().any(|word| line.contains(word)));
    let words = match (last(&["panicked at"]), last(&["ERROR", "WARN", "error:"])) {
        (Some(at), _) => lines.get(at..)?.iter().take(2).copied().collect::<Vec<_>>().join(" "),
        (None, Some(at)) => (*lines.get(at)?).to_owned(),
        (None, None) => lines.get(lines.len().saturating_sub(LAST_LINES)..)?.join(" "),
    };
    (!words.is_empty()).then(|| words.chars().take(LAST_WORDS).collect())
}

impl Process {
    /// Starts this program with arguments; its log goes to a file.
    pub fn start(
        name: &str,
        arguments: &[&str],
        settings: &[(String, String)],
        log: &Path,
        health: SocketAddr,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::environment)?;
        Self::start_program(program, name, arguments, settings, log, health)
    }

    /// The same of another program.
    pub fn start_program(
        program: PathBuf,
        name: &str,
        arguments: &[&str],
        settings: &[(String, String)],
        log: &Path,
        health: SocketAddr,
    ) -> Result<Self, Failure> {
        let line = Line {
            program,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            settings: settings.to_vec(),
            log: log.to_owned(),
        };
        let (child, log_from) = line.spawn()?;
        Ok(Self { name: name.to_owned(), child, line, log_from, health })
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) {
        // Only who is gone already cannot be killed.
        let _ = self.child.kill().await;
    }

    /// Starts it again as it was started first.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        (self.child, self.log_from) = self.line.spawn()?;
        Ok(())
    }

    /// Waits until `/ready` says so.
    pub async fn until_ready(&mut self) -> Result<(), Failure> {
        for _ in 0..300 {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(&format!("ended at once: {status}")));
            }
            if let Ok(answer) = http::send(self.health, "GET", "/ready", "", None).await
                && answer.status == 200
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(self.failure("was not ready within 30 s"))
    }

    /// With its last words: the folder of the log goes with whoever started it.
    fn failure(&self, what: &str) -> Failure {
        let words =
            last_words(&self.line.log, self.log_from).unwrap_or_else(|| "its log is empty".to_owned());
        Failure::environment(format!("`{}` {what}: {words}", self.name))
    }

    /// What it finds in its environment beside this program's own.
    pub fn settings(&self) -> &[(String, String)] {
        &self.line.settings
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to stop, then stops it.
    pub async fn stop(&mut self) {
        if let Some(id) = self.child.id() {
            // SIGTERM through the system's own tool: signals need no unsafe code of ours that way.
            let _ = Command::new("kill").arg(id.to_string()).stderr(Stdio::null()).status().await;
        }
        if tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_with_what_went_wrong() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let said = |text: &str, from: u64| {
            std::fs::write(log.path(), text).unwrap();
            last_words(log.path(), from)
        };
        assert_eq!(said("", 0), None);
        let error = r#"{"level":"ERROR","why":"no room"}"#;
        let lines = format!("{{\"level\":\"INFO\"}}\n{error}\n{{\"level\":\"INFO\",\"at\":2}}\n\n");
        assert_eq!(said(&lines, 0).unwrap(), error);
        // What an earlier life said is not why this one ended.
        let from = lines.len() as u64;
        assert_eq!(said(&(lines.clone() + "it began\n"), from).unwrap(), "it began");
        assert_eq!(said(&lines, from), None);
        assert_eq!(said(&lines, from + 1), None, "cut meanwhile");
        let broken = "thread 'x' panicked at a.rs:1:2:\nno such thing\nnote: run with more\n";
        assert_eq!(said(&(lines + broken), 0).unwrap(), "thread 'x' panicked at a.rs:1:2: no such thing");
        let fault = "adapter.toml:6:17: no such key\n  |\n6 | journals = 1\n  = help: write `journal`\n";
        assert_eq!(
            said(fault, 0).unwrap(),
            "adapter.toml:6:17: no such key | 6 | journals = 1 = help: write `journal`"
        );
        assert_eq!(said(&"云".repeat(LAST_WORDS + 9), 0).unwrap().chars().count(), LAST_WORDS);
        assert_eq!(last_words(Path::new("/no/such/log"), 0), None);
    }
}
