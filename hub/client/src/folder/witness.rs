//! The member's witness key: its adapter cosigns the ledger's checkpoints with it, and with nothing else.

use super::files::{self, PRIVATE};
use super::{Folder, FolderError};
use std::path::PathBuf;
use yiwang_proto::ambient::{Entropy, random};
use yiwang_proto::document::{base64_of, from_base64};
use yiwang_proto::note::{CosignerKey, VerifierKey};
use zeroize::Zeroizing;

const FILE: &str = "witness.key";

impl Folder {
    /// Makes the witness key under a name, usually a schema-less URL of the member. Its verifier key is for
    /// the policies of the hub and the auditors.
    ///
    /// # Errors
    /// [`FolderError`] where there is one already, or the name cannot stand in a signature line.
    pub fn make_witness_key(&self, name: &str, entropy: &dyn Entropy) -> Result<VerifierKey, FolderError> {
        let path = self.witness_path();
        if path.exists() {
            let what =
                "there is a witness key already; two lines of one witness would count as one".to_owned();
            return Err(FolderError::Content { path, what });
        }
        let seed = Zeroizing::new(random::<32>(entropy));
        let key = CosignerKey::from_seed(name, &seed)
            .map_err(|error| FolderError::Content { path: path.clone(), what: error.to_string() })?;
        let text = Zeroizing::new(format!("{name}\n{}\n", base64_of(seed.as_slice())));
        files::replace(&path, text.as_bytes(), PRIVATE)?;
        Ok(key.verifier().clone())
    }

    /// The witness key.
    ///
    /// # Errors
    /// [`FolderError`] where there is none, or it does not hold.
    pub fn witness_key(&self) -> Result<CosignerKey, FolderError> {
        let path = self.witness_path();
        let text = files::read_secret(&path)?;
        let bad = |what: &str| FolderError::Content { path: path.clone(), what: what.to_owned() };
        let (name, seed) =
            text.trim_end().split_once('\n').ok_or_else(|| bad("expected a name and a key"))?;
        let seed = from_base64(seed).map(Zeroizing::new);
        let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok()).map(Zeroizing::new);
        let seed = seed.ok_or_else(|| bad("expected 32 bytes in base64"))?;
        CosignerKey::from_seed(name, &seed).map_err(|error| bad(&error.to_string()))
    }

    fn witness_path(&self) -> PathBuf {
        self.path().join(FILE)
    }
}
