//! Evidence that the ledger's key signed what cannot be brought together: kept as files, durable before
//! anything else is done about it, for the member's staff to hand to the other members.

use crate::health::Counters;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use yiwang_proto::sha256;
use yiwang_proto::witness::ForkEvidence;

/// Pieces of each kind that are kept: one proves the fork, some more show when it began. Neither a lying hub
/// nor an app that makes up heads may fill the disk, nor crowd out the other kind.
const KEPT_MAX: usize = 64;

/// The folder.
#[derive(Debug)]
pub(crate) struct EvidenceFolder {
    dir: PathBuf,
    counters: Arc<Counters>,
}

impl EvidenceFolder {
    pub(crate) fn new(dir: PathBuf, counters: Arc<Counters>) -> Self {
        Self { dir, counters }
    }

    /// Raises the alarm and keeps the piece. The same two heads are one file, however often they are met.
    /// Blocks on the disk: forks are rare, and nothing may go on before they are kept.
    pub(crate) fn keep(&self, evidence: &ForkEvidence) {
        self.counters.alarm();
        match self.write(evidence) {
            Ok(path) => tracing::error!(
                what = evidence.what,
                file = %path.display(),
                "the ledger's key signed what does not belong together; the evidence is kept: show it to the other members"
            ),
            Err(error) => tracing::error!(
                what = evidence.what,
                %error,
                "the ledger's key signed what does not belong together, and the evidence could not be kept"
            ),
        }
    }

    fn write(&self, evidence: &ForkEvidence) -> io::Result<PathBuf> {
        let text = serde_json::to_string_pretty(evidence)?;
        let named = [&evidence.kept, "\n", &evidence.shown, "\n", &evidence.statement].concat();
        let name = yiwang_proto::hex(&sha256(named.as_bytes())).split_off(40);
        // Two signed heads, or one and somebody's word for another.
        let kind = if evidence.shown.is_empty() { "claim-" } else { "fork-" };
        let path = self.dir.join(format!("{kind}{name}.json"));
        std::fs::create_dir_all(&self.dir)?;
        if path.exists() {
            return Ok(path);
        }
        let of_kind = |name: std::ffi::OsString| name.to_string_lossy().starts_with(kind);
        if std::fs::read_dir(&self.dir)?.flatten().filter(|file| of_kind(file.file_name())).count()
            >= KEPT_MAX
        {
            return Err(io::Error::other(format!("{KEPT_MAX} pieces are kept already; take them away")));
        }
        let beside = self.dir.join(format!(".{name}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_kept_once_and_never_fill_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Arc::new(Counters::default());
        let folder = EvidenceFolder::new(dir.path().join("evidence"), Arc::clone(&counters));
        for shown in 0..200_u32 {
            let evidence = ForkEvidence::new("two heads", 0, b"kept", shown.to_string().as_bytes(), b"", &[]);
            folder.keep(&evidence);
            folder.keep(&evidence);
        }
        let files: Vec<_> = std::fs::read_dir(dir.path().join("evidence")).unwrap().flatten().collect();
        assert_eq!(files.len(), KEPT_MAX);
        folder.keep(&ForkEvidence::new("a claim", 0, b"kept", b"", b"statement", &[]));
        let claims = std::fs::read_dir(dir.path().join("evidence")).unwrap().flatten();
        assert_eq!(claims.filter(|f| f.file_name().to_string_lossy().starts_with("claim-")).count(), 1);
        for file in files {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let evidence: ForkEvidence = serde_json::from_str(&text).unwrap();
            assert_eq!(evidence.kept, "kept");
        }
        assert_eq!(counters.snapshot().alarms, 401);
    }
}
