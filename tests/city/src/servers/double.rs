//! Servers in Python: the double of a FHIR server, made with PyPI's `fhirstarter`, and the gas company's API, which
//! needs Python's standard library only.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::guard::{Guard, Streams};
use super::{ServerError, end_of, program};

const FHIR: &str = include_str!("../../../../adapters/fhir/tests/fhir/server.py");
const GAS: &str = include_str!("gas.py");

/// How long it may take to listen: its libraries alone are read for seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server in Python that runs, unless it was stopped.
#[derive(Debug)]
pub struct Double {
    name: &'static str,
    port: u16,
    arguments: Vec<String>,
    log: PathBuf,
    running: Mutex<Option<Guard>>,
}

/// The Python that runs them: `YIWANG_PYTHON`, or the machine's own.
fn python() -> Result<PathBuf, ServerError> {
    let named = std::env::var("YIWANG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let path = if named.contains('/') { Some(PathBuf::from(&named)) } else { program(&named) };
    path.filter(|path| path.is_file()).ok_or(ServerError::Missing {
        program: named,
        help: "install a package like `python3`, or name another in YIWANG_PYTHON",
    })
}

/// The double of a FHIR R4 server over the `*.ndjson` of a folder; its script is written to `scripts`. Blocks until it
/// answers.
///
/// # Errors
/// [`ServerError`]: Python or `fhirstarter` is not installed, or it does not start.
pub fn fhir_double(resources: &Path, scripts: &Path, port: u16) -> Result<Double, ServerError> {
    let python = python()?;
    let known = Command::new(&python).args(["-c", "import fhirstarter, uvicorn, cryptography"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        let help = "pip install fhirstarter uvicorn cryptography, and name that Python in YIWANG_PYTHON";
        return Err(ServerError::Missing { program: "fhirstarter".to_owned(), help });
    }
    let script = script(scripts, "fhir_double.py", FHIR)?;
    let arguments = [&python, &script, &resources.to_owned()].map(|path| path.display().to_string());
    Double::start_new("the double of a FHIR server", arguments.to_vec(), scripts.join("fhir.log"), port)
}

/// The gas company's API over its meters. A client proves itself with `secret`, a file. Blocks until it answers.
///
/// # Errors
/// [`ServerError`]: Python is not installed, or it does not start.
pub fn gas_api(meters: &Path, secret: &Path, scripts: &Path, port: u16) -> Result<Double, ServerError> {
    let script = script(scripts, "gas.py", GAS)?;
    let arguments =
        [&python()?, &script, &meters.to_owned(), &secret.to_owned()].map(|path| path.display().to_string());
    Double::start_new("the gas company's API", arguments.to_vec(), scripts.join("gas-api.log"), port)
}

fn script(folder: &Path, name: &str, text: &str) -> Result<PathBuf, ServerError> {
    std::fs::create_dir_all(folder).map_err(ServerError::at(folder))?;
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(ServerError::at(&path))?;
    Ok(path)
}

impl Double {
    fn start_new(
        name: &'static str,
        arguments: Vec<String>,
        log: PathBuf,
        port: u16,
    ) -> Result<Self, ServerError> {
        let double = Self { name, port, arguments, log, running: Mutex::new(None) };
        double.start()?;
        Ok(double)
    }

    /// Starts it, after it was stopped again at the same port; blocks until it listens.
    ///
    /// # Errors
    /// [`ServerError`]: it does not start.
    pub fn start(&self) -> Result<(), ServerError> {
        let mut arguments = self.arguments.clone();
        arguments.push(format!("port={}", self.port));
        let log = std::fs::File::create(&self.log).map_err(ServerError::at(&self.log))?;
        let mut shell = Command::new("/bin/sh");
        shell.env("PYTHONDONTWRITEBYTECODE", "1");
        let streams = Streams { out: Stdio::piped(), error: log.into() };
        let mut guard = Guard::start(shell, &arguments, None, streams)?;
        let (told, listening) = std::sync::mpsc::channel();
        if let Some(out) = guard.child().stdout.take() {
            std::thread::spawn(move || {
                let mut line = String::new();
                // It ends with the server, whatever the server says; who waits no longer is not told.
                let _ = BufReader::new(out).read_line(&mut line).map(|_| told.send(line));
            });
        }
        let line = listening.recv_timeout(PATIENCE).unwrap_or_default();
        if line.trim().strip_prefix("listening ") != Some(&self.port.to_string()) {
            guard.stop();
            let said = end_of(&std::fs::read_to_string(&self.log).unwrap_or_default());
            return Err(ServerError::Start { server: self.name, said });
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
        Ok(())
    }

    /// Stops it and waits for its end.
    pub fn stop(&self) {
        let guard = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(guard) = guard {
            guard.stop();
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address with a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop();
    }
}
