//! Heads in statements: whoever asks names the newest head that it verified. It must lie on the history that
//! this adapter knows, or somebody was shown another one.

use super::evidence::EvidenceFolder;
use crate::adapter::{Adapter, Incoming};
use crate::material::cache::Cache;
use crate::material::{MaterialError, MaterialSource};
use crate::reply::Refusal;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::codes::Code;
use yiwang_proto::merkle::{Hash, verify_growth};
use yiwang_proto::request::Head;
use yiwang_proto::witness::ForkEvidence;

/// Heads that are remembered: those of a day's meetings of some hundred apps. Each is 40 bytes.
const KNOWN: usize = 8192;

/// Roots by size. INVARIANT: each is proved to lie on the history of the head that the adapter keeps.
#[derive(Debug)]
pub(super) struct KnownHeads {
    roots: Cache<u64, Hash>,
}

impl Default for KnownHeads {
    fn default() -> Self {
        Self { roots: Cache::new(KNOWN) }
    }
}

impl KnownHeads {
    pub(super) fn note(&self, head: &Head) {
        self.roots.insert(head.size, head.root);
    }

    /// Whether the head is known; none where nothing is known of its size.
    fn agrees(&self, head: &Head) -> Option<bool> {
        self.roots.get(&head.size).map(|root| root == head.root)
    }
}

impl Adapter {
    pub(super) fn evidence(&self) -> &EvidenceFolder {
        &self.watch.evidence
    }

    /// A head that was verified to continue the kept one.
    pub(crate) fn note_head(&self, head: &Head) {
        self.watch.known.note(head);
    }

    /// Whether the head is known to be on the history of the kept one.
    pub(super) fn knows(&self, head: &Head) -> bool {
        self.watch.known.agrees(head) == Some(true)
    }

    /// Keeps a signed statement that should not be.
    pub(super) fn keep_claim(&self, what: &str, statement: &[u8]) {
        let kept = self.head().checkpoint;
        self.evidence().keep(&ForkEvidence::new(what, self.now_ms(), &kept, b"", statement, &[]));
    }

    /// Whether the checkpoint has another root than a head that is known here.
    pub(super) fn contradicts_known(&self, checkpoint: &Checkpoint) -> bool {
        let head = Head { size: checkpoint.size, root: checkpoint.root };
        self.watch.known.agrees(&head) == Some(false)
    }

    /// Keeps two heads that do not belong together, of which `shown` is signed too.
    pub(crate) fn keep_heads(&self, what: &str, shown: &[u8], proof: &[Hash]) {
        let kept = self.head().checkpoint;
        self.evidence().keep(&ForkEvidence::new(what, self.now_ms(), &kept, shown, b"", proof));
    }

    /// Holds the request's head against the own one. A look-up in the normal case; for a head that was not
    /// met before, the hub shows how the two belong together.
    ///
    /// # Errors
    /// [`Code::HeadContradicts`] where they do not; the code of the material where nobody shows it.
    pub(crate) async fn check_head(
        &self,
        incoming: &Incoming,
        material: &dyn MaterialSource,
    ) -> Result<(), Refusal> {
        let theirs = incoming.request.head;
        // A head without entries claims nothing.
        if theirs.size == 0 || self.watch.known.agrees(&theirs) == Some(true) {
            return Ok(());
        }
        let held = self.head();
        match self.belongs(&held.head, &theirs, material).await? {
            Ok(()) => Ok(()),
            Err(hashes) => Err(self.contradicted(incoming, &held.checkpoint, &hashes)),
        }
    }

    /// Whether a head is on the history of the kept one, `own`; else what the hub gave as proof. One that is proved is
    /// known from then on.
    ///
    /// # Errors
    /// [`MaterialError`] where nobody shows it.
    pub(crate) async fn belongs(
        &self,
        own: &Head,
        theirs: &Head,
        material: &dyn MaterialSource,
    ) -> Result<Result<(), Vec<Hash>>, MaterialError> {
        if own.size == 0 || self.knows(theirs) {
            return Ok(Ok(()));
        }
        let (old, new) = if theirs.size <= own.size { (theirs, own) } else { (own, theirs) };
        let mut hashes = Vec::new();
        if old.size != new.size {
            match material.consistency(old.size, new.size).await? {
                Some(proof) => hashes = proof,
                // The hub says that its ledger is not that large, or gives no proof that could hold.
                None => return Ok(Err(hashes)),
            }
        }
        if verify_growth(old.size, new.size, &old.root, &new.root, &hashes).is_err()
            || self.watch.known.agrees(theirs) == Some(false)
        {
            return Ok(Err(hashes));
        }
        self.note_head(theirs);
        Ok(Ok(()))
    }

    fn contradicted(&self, incoming: &Incoming, kept: &[u8], proof: &[Hash]) -> Refusal {
        let statement = incoming.signed.bytes();
        let what = "a request names a head that is not on the history known here";
        self.evidence().keep(&ForkEvidence::new(what, self.now_ms(), kept, b"", statement, proof));
        Refusal::denied(Code::HeadContradicts, "head: not on the history that this adapter knows")
    }
}
