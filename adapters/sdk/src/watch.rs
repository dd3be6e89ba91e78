//! What the adapter watches: that the ledger has one history, that its own member's entries come without a
//! gap and are its own, and that every answer is proved to be in it. None of it believes the hub.

mod evidence;
mod follow;
mod heads;
mod owed;
mod witness;

pub use owed::OwedAnswer;
pub use witness::WitnessAnswer;

pub(crate) use follow::{Awaited, Awaiting, Follow, OwnEntries};
pub(crate) use owed::{AnswerKey, OFFERED_AT_ONCE, Offer, Owed, Owing};

use crate::health::Counters;
use crate::journal::{Memory, Watched};
use bytes::Bytes;
use evidence::EvidenceFolder;
use heads::KnownHeads;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use witness::Witness;
use yiwang_proto::note::CosignerKey;

/// All of it; one field of the adapter.
#[derive(Debug)]
pub(crate) struct Watch {
    evidence: EvidenceFolder,
    known: KnownHeads,
    witness: Option<Witness>,
    // INVARIANT: whoever holds both took `owed` first.
    follow: Mutex<Follow>,
    owed: Mutex<Owed>,
}

impl Watch {
    /// From what the journal remembers.
    pub(crate) fn new(
        memory: &mut Memory,
        witness: Option<CosignerKey>,
        evidence_dir: PathBuf,
        counters: &Arc<Counters>,
    ) -> Self {
        let known = KnownHeads::default();
        known.note(&memory.head.head);
        Self {
            evidence: EvidenceFolder::new(evidence_dir, Arc::clone(counters)),
            known,
            witness: witness.map(|key| Witness::new(key, memory.witnessed.take())),
            follow: Mutex::new(Follow::new(memory.own_next)),
            owed: Mutex::new(std::mem::take(&mut memory.owed)),
        }
    }

    /// The verifier key under which this adapter cosigns; empty where it is no witness.
    pub(crate) fn witness_key(&self) -> String {
        self.witness.as_ref().map(Witness::vkey).unwrap_or_default()
    }

    /// What a snapshot of the journal holds of this. Blocks while a cosignature is being made durable.
    pub(crate) fn snapshot(&self) -> Watched {
        let witnessed = self.witness.as_ref().and_then(Witness::recorded);
        let own_next = self.follow().own_next();
        Watched {
            witnessed: witnessed.map(|recorded| Bytes::from(recorded.note)).unwrap_or_default(),
            own_next,
            owed: self.owed().offers(),
            ..Watched::default()
        }
    }

    pub(crate) fn follow(&self) -> MutexGuard<'_, Follow> {
        self.follow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
