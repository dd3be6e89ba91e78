use crate::error::AuditError;
use crate::report::Report;
use crate::rules::Rule;
use yiwang_proto::checkpoint::{Checkpoint, CheckpointError};
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::note::VerifierKey;
use yiwang_proto::witness::WitnessPolicy;

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
    /// The folder is known to come without the hub's journal of folded denials: that it is missing is no finding.
    pub without_folded: bool,
    /// Every answer must rest on standings of both parties, also where the ledger has none of anybody: so it is with every
    /// ledger that was begun since members issue them.
    pub standings: bool,
    /// Roots of members that the auditor knows from elsewhere.
    pub roots: Vec<(MemberId, PublicKey)>,
    /// Which witnesses must have cosigned the checkpoint; none demands no cosignature.
    pub policy: Option<WitnessPolicy>,
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

    /// Opens the checkpoint under which everything is verified, and judges it by the policy. One that only
    /// lacks cosignatures is a finding, and still serves to verify the rest.
    pub(crate) fn open_checkpoint(
        &self,
        bytes: &[u8],
        key: &VerifierKey,
        report: &mut Report,
    ) -> Result<Checkpoint, CheckpointError> {
        let origin = self.origin_for(key);
        let Some(policy) = &self.policy else { return Checkpoint::open(bytes, key, origin) };
        match policy.open(bytes, key, origin) {
            Ok(witnessed) => {
                let names = witnessed.witnesses.join("`, `");
                report.witnesses = witnessed.witnesses;
                match witnessed.newest_s {
                    Some(_) => {
                        report.note(format!("the checkpoint is cosigned by `{names}`, as the policy demands"))
                    }
                    None => report.note("the policy demands no cosignature, and there is none"),
                }
                Ok(witnessed.checkpoint)
            }
            Err(fault) => {
                report.finding(None, Rule::Witness, fault.to_string());
                Checkpoint::open(bytes, key, origin)
            }
        }
    }
}
