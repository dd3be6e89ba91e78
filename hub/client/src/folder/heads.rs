//! Keeps the heads that an app's client verified in the member's folder, so that a hub that was rolled
//! back is found out also after a restart.

use super::{Enrolled, FolderError};
use crate::client::HeadStore;
use crate::counterparts::Counterparts;
use std::io;
use std::sync::{Mutex, PoisonError};

/// The folder's newest head, as one client sees it.
pub struct FolderHeads {
    enrolled: Enrolled,
    // INVARIANT: a head that this client has verified or begun with. The folder may hold a newer one, from
    // another app, whose growth from this client's own nobody proved to it.
    own: Mutex<Option<Vec<u8>>>,
}

impl FolderHeads {
    /// Begins with the folder's head.
    ///
    /// # Errors
    /// [`FolderError`] where the head that is kept cannot be read, or does not hold.
    pub fn open(enrolled: Enrolled) -> Result<Self, FolderError> {
        let own = enrolled.checkpoint()?.map(|(_, bytes)| bytes.to_vec());
        Ok(Self { enrolled, own: Mutex::new(own) })
    }
}

impl HeadStore for FolderHeads {
    fn load(&self) -> Option<Vec<u8>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, note: &[u8]) -> io::Result<()> {
        self.enrolled.keep_checkpoint(note).map_err(io::Error::other)?;
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(note.to_vec());
        Ok(())
    }

    fn counterparts(&self) -> io::Result<Counterparts> {
        self.enrolled.counterparts().map_err(io::Error::other)
    }

    fn keep_counterparts(&self, more: &Counterparts) -> io::Result<()> {
        self.enrolled.keep_counterparts(more).map_err(io::Error::other)
    }
}
