//! Why a member's folder does not do.

use crate::tls::{ConnectError, IssuedError};
use crate::token::TokenError;
use std::io;
use std::path::PathBuf;
use yiwang_proto::checkpoint::CheckpointError;
use yiwang_proto::delegation::DelegationError;
use yiwang_proto::envelope::EnvelopeError;
use yiwang_proto::keys::KeyError;

/// Why a member folder cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file operation failed.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no member's folder.
    #[error(
        "`{}` is not there: make a member's folder with `yiwang member init --folder DIR --id ID --name NAME`, or name one \
         that was made",
        .0.display()
    )]
    NotThere(PathBuf),
    /// A new folder would overwrite keys.
    #[error("`{}` exists already; a member's keys are never overwritten", .0.display())]
    Exists(PathBuf),
    /// Others can read a key.
    #[error("the key file `{}` can be read by others (mode {mode:04o}); run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file's content is not what it must be.
    #[error("`{}`: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Not enrolled yet.
    #[error("`{}` is not enrolled at a hub yet; ask its operator for a token and enrol", .0.display())]
    NotEnrolled(PathBuf),
    /// The token is unusable.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A token of somebody else.
    #[error("the token enrols {0}, not this folder's holder")]
    OtherHolder(String),
    /// The token is past its end.
    #[error("the enrolment token has expired; ask the hub's operator for a new one")]
    Expired,
    /// The hub was not reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The hub refused.
    #[error("the hub refused: {0}")]
    Refused(String),
    /// The hub issued something that does not hold.
    #[error(transparent)]
    Issued(#[from] IssuedError),
    /// A head of the ledger that does not hold.
    #[error("the ledger's checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// No key that may sign standings now.
    #[error(
        "`{}` has no standing key in force: have the root sign one with `yiwang member delegate --role standing --name main --days 7`",
        .0.display()
    )]
    NoStandingKey(PathBuf),
    /// The root's key is not here.
    #[error(
        "`{}` is not here: bring it from where it is kept; where it is lost, `yiwang member rotate-root` goes on under the next \
         root",
        .0.display()
    )]
    NoRoot(PathBuf),
    /// The next root's key is not here.
    #[error(
        "`{}` is not here: bring it from where it is kept; without it nobody can go on under another root",
        .0.display()
    )]
    NoNextRoot(PathBuf),
    /// The hub does not know the present root.
    #[error(
        "the hub does not know the root of `{}` yet: `yiwang member enrol` first, with a new token of the hub's operator",
        .0.display()
    )]
    CardNotEntered(PathBuf),
    /// A key that the member revoked is to have a role again.
    #[error(
        "the key `{}` was taken back, and whoever has it would have its role again: make another with `--new-key`",
        .0.display()
    )]
    KeyTakenBack(PathBuf),
    /// The list of what is revoked is full.
    #[error(
        "the list of revocations is full: publish them under the root with `--with-root`, where they stay for ever"
    )]
    ListFull,
    /// Two heads that cannot belong to one history.
    #[error(
        "the ledger shows two histories: kept size {kept}, shown size {shown}; keep both and tell the auditor"
    )]
    Fork {
        /// Size of the head that is kept here.
        kept: u64,
        /// Size of the head that was shown.
        shown: u64,
    },
    /// A card or delegation that does not hold.
    #[error(transparent)]
    Delegation(#[from] DelegationError),
    /// A document's envelope does not hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A key does not hold.
    #[error("`{}`: {source}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The library for certificates failed.
    #[error("certificate request: {0}")]
    Certificate(#[from] rcgen::Error),
}
