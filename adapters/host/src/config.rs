//! `adapter.toml`: raw → checked. All faults of the file are found at once, each with its place; unknown
//! keys are refused.
//!
//! ```toml
//! format = "adapter-host/1"
//! member_folder = "member"          # relative to this file
//! adapter = "main"                  # the adapter's key; without it the host is a gateway only
//! mappings = ["mappings/person.toml"]
//! record_types = ["bus-pass.json"]   # signed record types that members added, where a mapping is of one; read at start
//! journal = "journal"              # evidence of a forked ledger goes to `journal.evidence` beside it
//! witness = true                    # cosigns checkpoints; `yiwang member witness` makes the key
//!
//! [gateway]
//! listen = "127.0.0.1:8480"
//! [[gateway.app]]
//! name = "assistance-desk"
//! token_sha256 = "…"                # 64 hexadecimal digits; the token itself stays with the app
//!
//! [health]
//! listen = "127.0.0.1:8481"
//! ```

mod checked;
mod missing;
mod walk;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use yiwang_adapter_sdk::mapping::{MappingFault, render};
use yiwang_proto::Digest;
use yiwang_proto::ids::AppId;

/// Value of `format`.
pub const FORMAT: &str = "adapter-host/1";
/// Bytes of the file: some hundred apps and mappings fit.
const CONFIG_MAX: u64 = 256 * 1024;

/// Why `adapter.toml` is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its faults, in the order of the file.
    #[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults {
        /// All of them.
        faults: Vec<MappingFault>,
        /// The file's text, with everything masked that may be secret; for [`ConfigError::render`].
        text: String,
    },
}

impl ConfigError {
    /// The faults as a terminal shows them: place, line, caret, help.
    #[must_use]
    pub fn render(&self) -> String {
        match self {
            Self::Read { .. } => format!("{self}\n"),
            Self::Faults { faults, text } => faults.iter().map(|fault| render(fault, text)).collect(),
        }
    }
}

/// A checked configuration. Paths are absolute or relative to the working folder, no longer to the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file.
    pub file: PathBuf,
    /// The member folder: identity, keys, and what is known of the hub.
    pub member_folder: PathBuf,
    /// The part towards the hub; a host may be a gateway only.
    pub adapter: Option<AdapterPart>,
    /// The part towards the member's own apps.
    pub gateway: Option<GatewayPart>,
    /// Where `/live`, `/ready` and `/status` are served.
    pub health: Option<SocketAddr>,
    /// OTLP collector for traces; the program that runs the host sets it up.
    pub otlp: Option<String>,
}

/// What serves requests from the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterPart {
    /// Name of the adapter key.
    pub name: AppId,
    /// Mapping files.
    pub mappings: Vec<PathBuf>,
    /// Signed record types that members added to the catalogue and the mappings are of; for `check`.
    pub record_types: Vec<PathBuf>,
    /// Folder of the journal.
    pub journal: PathBuf,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// If given, only these contracts count, by the SHA-256 of their signed payload.
    pub only_contracts: Option<BTreeSet<Digest>>,
    /// Whether this adapter cosigns the ledger's checkpoints under the member's witness key.
    pub witness: bool,
}

/// The gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayPart {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its apps.
    pub apps: Vec<AppPart>,
}

/// One app of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPart {
    /// Name of the app key.
    pub name: AppId,
    /// SHA-256 of the app's bearer token.
    pub token_sha256: Digest,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], with all faults of the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read_text(path)?)
    }

    /// Checks a file's text.
    ///
    /// # Errors
    /// [`ConfigError::Faults`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        checked::parse(path, text).map_err(|faults| ConfigError::Faults { faults, text: masked(text) })
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(CONFIG_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > CONFIG_MAX {
            return Err(std::io::Error::other(format!("larger than {CONFIG_MAX} bytes")));
        }
        Ok(text)
    };
    read().map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Keys whose values are never secret. Everything else is masked, also a key that is not known: it may be
/// a token that somebody wrote there by mistake.
const OPEN_KEYS: [&str; 10] = [
    "format",
    "member_folder",
    "adapter",
    "mappings",
    "journal",
    "listen",
    "name",
    "allow_network",
    "segment_bytes",
    "witness",
];

/// The text with every value masked that may be secret; lines and columns stay where they are.
fn masked(text: &str) -> String {
    let mut open = false;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let shown = line.trim_start();
        let (kept, hidden) = match line.split_once('=') {
            _ if shown.starts_with('[') || shown.starts_with('#') => (line, ""),
            Some((key, _)) => {
                open = OPEN_KEYS.contains(&key.trim());
                if open { (line, "") } else { line.split_at(key.len() + 1) }
            }
            None if open => (line, ""),
            None => ("", line),
        };
        out.push_str(kept);
        out.extend(hidden.chars().map(|c| if c.is_whitespace() { c } else { '*' }));
        out.push('\n');
    }
    out
}
