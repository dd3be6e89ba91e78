//! Keys for sealing in a member's folder: each app and adapter has its own, under its own name.

use super::{Folder, FolderError};
use std::io;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::AppId;
use yiwang_proto::keys::SecretKey;

impl Folder {
    /// The key that opens bodies sealed for an app or adapter, with its delegation; none where the root
    /// delegated none. It must be valid to be used, which is the caller's to check.
    ///
    /// # Errors
    /// [`FolderError`] for files that are there and do not hold.
    pub fn load_sealing(&self, name: &AppId) -> Result<Option<(SecretKey, SignedDocument)>, FolderError> {
        match self.load_delegation(Role::Sealing, name) {
            Ok((document, _)) => Ok(Some((self.load_key(Role::Sealing, name)?, document))),
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
