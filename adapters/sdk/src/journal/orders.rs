//! An operator's order to the journal of an adapter that does not run, and the look before it. One that runs holds the
//! lock, and whoever comes beside it is refused.

use super::record::{Kind, Record};
use super::snapshot::read as read_into;
use super::{AnswerJournal, Memory, options};
use crate::adapter::AdapterError;
use crate::watch::OwedAnswer;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use yiwang_journal::Reader;
use yiwang_journal::ground::Ground;
use yiwang_proto::ambient::{Entropy, random};
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::{Digest, hex};

/// The journal of an adapter that does not run.
#[derive(Debug, Clone)]
pub struct StoppedJournal {
    ground: Ground,
    dir: PathBuf,
    ledger: Arc<CheckpointVerifier>,
    segment_bytes: u64,
}

impl StoppedJournal {
    /// The journal in a folder, with the verifier of the pinned ledger and the bytes of one segment.
    pub fn new(dir: PathBuf, ledger: Arc<CheckpointVerifier>, segment_bytes: u64) -> Self {
        Self { ground: Ground::default(), dir, ledger, segment_bytes }
    }

    /// On any ground, for tests.
    #[must_use]
    pub fn on(self, ground: Ground) -> Self {
        Self { ground, ..self }
    }

    /// Answers that gave something out and whose entries did not come, oldest first. Blocks on the disk.
    ///
    /// # Errors
    /// [`AdapterError::Journal`] also where the adapter runs; [`AdapterError::Memory`].
    pub fn owed(&self, now_ms: i64, entropy: &dyn Entropy) -> Result<Vec<OwedAnswer>, AdapterError> {
        let mut owed = Vec::new();
        self.open(now_ms, entropy, |memory| {
            owed.extend(memory.owed.giving());
            None
        })?;
        Ok(owed)
    }

    /// Journals that the operator gives up the answer to the request of this digest, by `reason`: it is owed no more, and is
    /// not settled. None where no such answer is owed; then nothing is written. Blocks on the disk.
    ///
    /// # Errors
    /// As [`StoppedJournal::owed`].
    pub fn give_up(
        &self,
        request: &Digest,
        reason: &str,
        now_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<Option<OwedAnswer>, AdapterError> {
        let mut found = None;
        self.open(now_ms, entropy, |memory| {
            let (owed, given_up) = memory.owed.to_give_up(request, reason)?;
            tracing::warn!(request = hex(request), reason, "the operator gave up an answer without receipt");
            found = Some(owed);
            Some(Record::new(now_ms.max(memory.highest_ms), Kind::GivenUp(given_up)))
        })?;
        Ok(found)
    }

    /// Reads the journal and writes what `order` says.
    fn open(
        &self,
        now_ms: i64,
        entropy: &dyn Entropy,
        order: impl FnOnce(&Memory) -> Option<Record>,
    ) -> Result<(), AdapterError> {
        let memory = RefCell::new(Memory::default());
        let fault = RefCell::new(None);
        let options = options(self.segment_bytes, u64::from_le_bytes(random(entropy)));
        let read = |reader: &Reader| {
            let taken = read_into(reader, &mut memory.borrow_mut(), now_ms, &self.ledger)?;
            *fault.borrow_mut() = taken.err();
            Ok(())
        };
        // Nothing is written into a journal that contradicts the configuration.
        let first = || match *fault.borrow() {
            None => order(&memory.borrow()).map(|record| record.encode()),
            Some(_) => None,
        };
        drop(AnswerJournal::open(self.ground.clone(), &self.dir, options, Duration::ZERO, read, first)?);
        fault.into_inner().map_or(Ok(()), |fault| Err(fault.into()))
    }
}
