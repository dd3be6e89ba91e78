//! Why the host does not start, or stopped by itself.

use crate::config::ConfigError;
use std::path::PathBuf;
use yiwang_adapter_sdk::adapter::AdapterError;
use yiwang_adapter_sdk::connect::LinkError;
use yiwang_adapter_sdk::mapping::MappingFault;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_client::error::ClientError;
use yiwang_client::folder::FolderError;
use yiwang_proto::plural::counted;

/// Why the host does not start, or stopped by itself. Names files, never what is secret in them.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// `adapter.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The member's folder.
    #[error("member folder: {0}")]
    Folder(#[from] FolderError),
    /// A name that the folder has no key or delegation for, and others that it has.
    #[error("member folder: {source}; {next}")]
    Unnamed {
        /// Which file is not there.
        source: FolderError,
        /// What may have been meant.
        next: String,
    },
    /// A key of the folder is not delegated as the configuration wants it.
    #[error(
        "`{name}` cannot serve: its {role} key is not delegated now; have the member's root sign a delegation"
    )]
    NotDelegated {
        /// The app or adapter.
        name: String,
        /// `app` or `adapter`.
        role: &'static str,
    },
    /// A mapping file that is not there.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Mapping files with faults.
    #[error("{} in mapping files; the first: {}", counted(.0.len(), "fault"), .0.first().map(ToString::to_string).unwrap_or_default())]
    Mapping(Vec<MappingFault>),
    /// A record type's file that does not hold.
    #[error("record type `{}`: {why}", path.display())]
    RecordType {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// A source that a setting is missing for.
    #[error("mapping `{mapping}`: {source}")]
    Source {
        /// Its name.
        mapping: String,
        /// Why.
        source: SourceError,
    },
    /// The adapter.
    #[error("adapter: {0}")]
    Adapter(#[from] AdapterError),
    /// The rules that decide.
    #[error("rules: {0}")]
    Rules(String),
    /// An app's client.
    #[error("app `{app}`: {source}")]
    Client {
        /// Which app.
        app: String,
        /// Why.
        source: ClientError,
    },
    /// A listener.
    #[error("`{address}` cannot be listened on: {source}; is another program there?")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The link was given up.
    #[error("link: {0}")]
    Link(#[from] LinkError),
    /// A task ended that never should.
    #[error("the task `{0}` ended by itself; this is a fault of the program, start it again and report it")]
    Died(&'static str),
}

impl HostError {
    /// Whether the environment is at fault, not the configuration: worth another try with the same files.
    #[must_use]
    pub const fn is_environment(&self) -> bool {
        match self {
            Self::Source { .. } | Self::Listen { .. } | Self::Link(_) | Self::Died(_) => true,
            Self::Adapter(AdapterError::Journal(error)) => error.is_environment(),
            _ => false,
        }
    }
}
