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
use yiwang_adapter_sdk::mapping::{MappingFault, render_masked};
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
            Self::Faults { faults, text } => faults.iter().map(|fault| render_masked(fault, text)).collect(),
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

/// Keys whose values are masked. In a file that is no TOML, only lines that begin with one of these or with one of the
/// open ones show their key: any other may be part of a text.
const CLOSED_KEYS: [&str; 6] =
    ["record_types", "only_contracts", "otlp", "token_sha256", "gateway", "health"];

/// The text with every value masked that may be secret; lines and columns stay where they are.
fn masked(text: &str) -> String {
    let is_toml = toml::de::DeTable::parse_recoverable(text).1.is_empty();
    // Whether a list of an open key goes on, and whether a text of many lines does.
    let (mut open, mut inside) = (false, false);
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let (line, comment) = if inside { (line, "") } else { commented(line) };
        let shown = line.trim_start();
        let split =
            line.split_once('=').map(|(key, value)| (key.trim(), line.split_at(key.len() + 1), value));
        let (kept, hidden) = match split {
            _ if inside => ("", line),
            _ if shown.starts_with('[') && !shown.contains(['"', '\'', '=']) => {
                open = false;
                (line, "")
            }
            Some((key, halves, value)) => {
                let known = OPEN_KEYS.contains(&key);
                // With a second key in the line, or an address, the value is not only what the first one says.
                let shows = known && !value.contains('=') && !value.contains("://");
                open = shows && value.trim_start().starts_with('[') && !value.contains(']');
                match () {
                    () if shows => (line, ""),
                    () if known || CLOSED_KEYS.contains(&key) || is_toml && is_bare(key) => halves,
                    () => ("", line),
                }
            }
            None if open && !shown.contains("://") => {
                open = !shown.contains(']');
                (line, "")
            }
            None => ("", line),
        };
        let turns = ["\"\"\"", "'''"].iter().map(|quotes| line.matches(quotes).count()).sum::<usize>();
        inside ^= turns % 2 == 1;
        open &= !inside;
        out.push_str(kept);
        out.extend(hidden.chars().map(|c| if c.is_whitespace() { c } else { '*' }));
        out.extend(comment.chars().map(|_| ' '));
        out.push('\n');
    }
    out
}

/// A line and its comment, which is where a number sign stands between no quotes.
fn commented(line: &str) -> (&str, &str) {
    let even = |before: &str| ['"', '\''].iter().all(|quote| before.matches(*quote).count() % 2 == 0);
    let at = line.match_indices('#').map(|(at, _)| at).find(|at| even(line.get(..*at).unwrap_or_default()));
    line.split_at_checked(at.unwrap_or(line.len())).unwrap_or((line, ""))
}

fn is_bare(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '))
}
