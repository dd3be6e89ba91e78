use std::path::PathBuf;

/// Why nothing could be verified at all. What is wrong inside of what was read is a finding instead.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file or folder cannot be read.
    #[error("cannot read `{path}`: {fault}; check the path and its permissions")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        fault: String,
    },
    /// A hub's folder was named instead of the ledger in it.
    #[error("`{folder}` is a hub's folder and not its ledger; name `{ledger}`")]
    NotLedger {
        /// What was named.
        folder: PathBuf,
        /// The ledger in it.
        ledger: PathBuf,
    },
    /// There is no key to check signatures with.
    #[error("no key to verify with: pass the ledger's key that you pinned with `--key`")]
    NoKey,
    /// A key, origin, root or other option that does not parse.
    #[error("{0}")]
    Usage(String),
    /// The oldest entries were pruned.
    #[error("the ledger begins with entry {0}: pruned ledgers cannot be verified by this version")]
    Pruned(u64),
    /// There is no such entry.
    #[error("there is no entry {index}: the ledger has {len}")]
    NoEntry {
        /// The index that was asked for.
        index: u64,
        /// Entries in the ledger.
        len: u64,
    },
    /// The entry is there and damaged or malformed.
    #[error("entry {index}: {fault}; run `verify` on the folder")]
    BadEntry {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        fault: String,
    },
    /// The rules of this program do not load.
    #[error("the built-in rules do not load: {0}")]
    Policies(String),
    /// The search index cannot be made or read.
    #[error("the search index `{path}`: {fault}; say where it may be written with `--index`")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// The output could not be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] std::io::Error),
}
