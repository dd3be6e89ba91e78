use crate::error::AuditError;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::note::VerifierKey;

/// What the auditor brings along: nothing of it comes from the folder or bundle that is verified.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The ledger's key, pinned by the auditor.
    pub key: Option<VerifierKey>,
    /// The ledger's origin; by default the key's name.
    pub origin: Option<String>,
    /// An older checkpoint that the auditor kept, a signed note: the ledger must continue it.
    pub older: Option<Vec<u8>>,
    /// Threads that verify signatures; 0 = as many as there are processors, at most 16.
    pub threads: usize,
    /// Only checksums, tree, tiles and heads: what entries say, who signed it and what was decided is not judged.
    pub hashes_only: bool,
    /// Roots of members that the auditor knows from elsewhere.
    pub roots: Vec<(MemberId, PublicKey)>,
}

impl Options {
    /// The number of threads to use, 1 to 16.
    pub(crate) fn workers(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads == 0 { all() } else { self.threads }.clamp(1, 16)
    }

    /// Origin for a key: the pinned one, else the key's name.
    pub(crate) fn origin_for<'a>(&'a self, key: &'a VerifierKey) -> &'a str {
        self.origin.as_deref().unwrap_or_else(|| key.name())
    }

    /// The older checkpoint, opened: it is the auditor's own, so a bad one is a usage error.
    pub(crate) fn open_older(&self, key: &VerifierKey) -> Result<Option<Checkpoint>, AuditError> {
        let Some(bytes) = &self.older else { return Ok(None) };
        Checkpoint::open(bytes, key, self.origin_for(key)).map(Some).map_err(|fault| {
            AuditError::Usage(format!("the older checkpoint is not of this ledger and key: {fault}"))
        })
    }
}
