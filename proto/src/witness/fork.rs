use crate::checkpoint::Checkpoint;
use crate::document::base64_of;
use crate::merkle::{Hash, hash_to_base64};
use crate::note::VerifierKey;
use crate::time::format_rfc3339;
use serde::{Deserialize, Serialize};

/// Value of `format` of kept evidence.
pub const FORK_FORMAT: &str = "yiwang-fork/1";

/// Two heads of one ledger that somebody could not bring together, as one JSON document: what a witness or
/// an adapter keeps and hands to the other members. Heads are signed notes, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkEvidence {
    /// [`FORK_FORMAT`].
    pub format: String,
    /// What happened, in words.
    pub what: String,
    /// When it was noticed, RFC 3339, by the clock of whoever noticed it.
    pub noticed_at: String,
    /// The signed head that was kept before.
    pub kept: String,
    /// The signed head that was shown; empty where a statement only named it.
    pub shown: String,
    /// Base64 of the signed statement that names the other head; empty where there is none.
    pub statement: String,
    /// The hashes that were offered as consistency proof, base64.
    pub proof: Vec<String>,
}

impl ForkEvidence {
    /// Evidence of one moment.
    #[must_use]
    pub fn new(what: &str, now_ms: i64, kept: &[u8], shown: &[u8], statement: &[u8], proof: &[Hash]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            format: FORK_FORMAT.to_owned(),
            what: what.to_owned(),
            noticed_at: format_rfc3339(now_ms),
            kept: text(kept),
            shown: text(shown),
            statement: if statement.is_empty() { String::new() } else { base64_of(statement) },
            proof: proof.iter().map(hash_to_base64).collect(),
        }
    }

    /// Whether the two heads alone prove that the log's key signed two histories: both signed by it, of one
    /// size, with two roots. For heads of two sizes the log may still be asked for a proof.
    #[must_use]
    pub fn proves_fork(&self, key: &VerifierKey, origin: &str) -> bool {
        let open = |note: &str| Checkpoint::open(note.as_bytes(), key, origin).ok();
        match (open(&self.kept), open(&self.shown)) {
            (Some(kept), Some(shown)) => kept.size == shown.size && kept.root != shown.root,
            _ => false,
        }
    }
}
