//! The signed contracts that a member keeps: what its host issues standings by, and what `adapter call` and `check` go by
//! without a hub.

use super::files::{self, PUBLIC};
use super::{Folder, FolderError};
use std::io;
use yiwang_proto::contract::{Contract, ContractText};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::limits::CONTRACT_MAX;

impl Folder {
    /// Keeps a contract of this member's, verified by the caller, in the place of an older version. A newer one that is there
    /// stays.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn save_contract(&self, contract: &Contract, document: &SignedDocument) -> Result<(), FolderError> {
        let path = self.path().join("contracts").join(format!("{}.json", contract.text.id));
        let there = match files::read(&path, CONTRACT_MAX) {
            Ok(bytes) => SignedDocument::parse(bytes, CONTRACT_MAX).ok(),
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What is no contract is replaced.
        let there = there.and_then(|there| ContractText::parse(there.unverified_payload()).ok());
        if there.is_some_and(|there| there.version > contract.text.version) {
            return Ok(());
        }
        files::replace(&path, document.bytes(), PUBLIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::{ManualClock, SeededEntropy};
    use yiwang_proto::envelope::payload_type;
    use yiwang_proto::ids::MemberId;
    use yiwang_proto::keys::SecretKey;

    const TEXT: &[u8] =
        include_bytes!("../../../../adapters/departments/civil-affairs/contracts/civil-street-person.json");

    fn version(number: u32) -> (Contract, SignedDocument) {
        let (provider, consumer) = (SecretKey::from_seed(&[3; 32]), SecretKey::from_seed(&[4; 32]));
        let mut text = ContractText::parse(TEXT).unwrap();
        text.version = number;
        text.provider.root = provider.public();
        text.consumer.root = consumer.public();
        let document = SignedDocument::sign(payload_type::CONTRACT, &text.to_json(), &[&provider, &consumer]);
        (Contract::open(&document).unwrap(), document)
    }

    #[test]
    fn the_newest_version_of_a_contract_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let member = MemberId::parse("street-office").unwrap();
        let path = dir.path().join("street");
        let folder =
            Folder::init(&path, &member, "Street", &SeededEntropy::new(1), &ManualClock::new(1)).unwrap();
        let kept = || {
            let kept = folder.contracts().unwrap();
            kept.iter()
                .map(|(_, document)| Contract::open(document).unwrap().text.version)
                .collect::<Vec<_>>()
        };
        assert!(kept().is_empty());
        for (number, then) in [(1, 1), (3, 3), (2, 3)] {
            let (contract, document) = version(number);
            folder.save_contract(&contract, &document).unwrap();
            assert_eq!(kept(), [then]);
        }
        std::fs::write(path.join("contracts/civil-street-person.json"), b"{}").unwrap();
        let (contract, document) = version(2);
        folder.save_contract(&contract, &document).unwrap();
        assert_eq!(kept(), [2]);
    }
}
