//! Child processes of the demo: started from this very program, watched, and gone when the demo ends.

use super::http;
use crate::fail::{Failure, file};
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Characters of a log's line that an error repeats: the longest of them, with its ids and addresses.
const LAST_WORDS: usize = 500;

/// One process.
pub struct Process {
    name: String,
    child: Child,
    line: Line,
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
    fn spawn(&self) -> Result<Child, Failure> {
        // What it said before it was started again stays.
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(file(&self.log))?;
        Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(Failure::environment)?)
            .stderr(log)
            // Ctrl-C goes to the whole group; the children are stopped by the demo, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::environment)
    }
}

/// As [`yiwang_city::servers::free_port`].
pub fn free_port() -> Result<SocketAddr, Failure> {
    yiwang_city::servers::free_port().map_err(Failure::environment)
}

/// The last line of a log that is a warning or an error, or the last one at all.
fn last_words(log: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log).ok()?).into_owned();
    let lines = || text.lines().rev().filter(|line| !line.trim().is_empty());
    let told = |line: &&str| ["ERROR", "WARN", "error:"].iter().any(|word| line.contains(word));
    let line = lines().find(told).or_else(|| lines().next())?;
    Some(line.trim().chars().take(LAST_WORDS).collect())
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
        Ok(Self { name: name.to_owned(), child: line.spawn()?, line, health })
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) {
        // Only who is gone already cannot be killed.
        let _ = self.child.kill().await;
    }

    /// Starts it again as it was started first.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.child = self.line.spawn()?;
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
        let words = last_words(&self.line.log).unwrap_or_else(|| "its log is empty".to_owned());
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
        assert_eq!(last_words(log.path()), None);
        let lines = "{\"level\":\"INFO\"}\n{\"level\":\"ERROR\",\"why\":\"no room\"}\n{\"level\":\"INFO\",\"at\":2}\n\n";
        std::fs::write(log.path(), lines).unwrap();
        assert_eq!(last_words(log.path()).unwrap(), "{\"level\":\"ERROR\",\"why\":\"no room\"}");
        std::fs::write(log.path(), "it began\nit went on\n").unwrap();
        assert_eq!(last_words(log.path()).unwrap(), "it went on");
        std::fs::write(log.path(), "云".repeat(LAST_WORDS + 9)).unwrap();
        assert_eq!(last_words(log.path()).unwrap().chars().count(), LAST_WORDS);
        assert_eq!(last_words(Path::new("/no/such/log")), None);
    }
}
