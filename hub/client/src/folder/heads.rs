//! Keeps the heads that an app's client verified in the member's folder, so that a hub that was rolled
//! back is found out also after a restart.

use super::{Enrolled, FolderError};
use crate::client::HeadStore;
use crate::counterparts::Counterparts;
use std::io;

/// The folder's newest head. Several programs of a member keep theirs in one folder, and each is held against what the
/// others kept: a fork that was shown to one of them is found by the next that meets the hub.
pub struct FolderHeads {
    enrolled: Enrolled,
}

impl FolderHeads {
    /// Begins with the folder's head.
    ///
    /// # Errors
    /// [`FolderError`] where the head that is kept cannot be read, or does not hold.
    pub fn open(enrolled: Enrolled) -> Result<Self, FolderError> {
        enrolled.checkpoint()?;
        Ok(Self { enrolled })
    }
}

impl HeadStore for FolderHeads {
    fn load(&self) -> Option<Vec<u8>> {
        match self.enrolled.checkpoint() {
            Ok(kept) => kept.map(|(_, note)| note.to_vec()),
            Err(error) => {
                tracing::error!(%error, "the head that the folder keeps cannot be read; the own one counts");
                None
            }
        }
    }

    fn keep(&self, note: &[u8]) -> io::Result<()> {
        self.enrolled.keep_checkpoint(note).map(drop).map_err(io::Error::other)
    }

    fn counterparts(&self) -> io::Result<Counterparts> {
        self.enrolled.counterparts().map_err(io::Error::other)
    }

    fn keep_counterparts(&self, more: &Counterparts) -> io::Result<()> {
        self.enrolled.keep_counterparts(more).map_err(io::Error::other)
    }
}
