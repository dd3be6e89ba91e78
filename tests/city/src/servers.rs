//! Servers that departments run, started from what is installed on this machine: PostgreSQL, MariaDB, a double of a
//! FHIR server, a gas company's API. Each has a folder, a port and a key of its own, and ends with the process that
//! started it, however that ends.

mod copy;
mod database;
mod double;
mod guard;
mod port;
mod tables;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub use copy::Table;
pub use database::{Database, Kind, authority_of_nobody};
pub use double::{Double, fhir_double, gas_api};
pub use port::free_port;
pub use tables::{BENCH, CIVIL_AFFAIRS, POLICE};

/// Why a server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A program or library of it is not on this machine.
    #[error("`{program}` is not installed; {help}")]
    Missing {
        /// What is missing.
        program: String,
        /// What to install.
        help: &'static str,
    },
    /// A file or process of it cannot be used.
    #[error("`{what}`: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// It was started and does not answer.
    #[error("{server} does not start; it says: {said}")]
    Start {
        /// Which.
        server: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// It refused a statement, or a program of it failed.
    #[error("{what} failed: {said}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        said: String,
    },
    /// The data that it is filled with cannot be read.
    #[error("cannot read `{}`: {source}", .path.display())]
    Data {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl ServerError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(path.display().to_string())
    }

    /// Whether the server is just not installed.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// A program on this machine, also where servers are installed beside the path.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    folders.push(PathBuf::from("/usr/sbin"));
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    // As a shell looks: a file that nobody may run is not installed.
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    folders.into_iter().map(|folder| folder.join(name)).find(runs)
}

/// The end of a log, short enough for an error.
pub(crate) fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(4).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ").chars().take(600).collect()
}
