//! The signed contracts that a member keeps: what its host issues standings by, and what `adapter call` and `check` go by
//! without a hub.

use super::files::{self, PUBLIC};
use super::{Folder, FolderError};
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
        let folder = self.path().join("contracts");
        std::fs::create_dir_all(&folder)
            .map_err(|source| FolderError::Io { path: folder.clone(), source })?;
        let path = folder.join(format!("{}.json", contract.text.id));
        // Of two at once the newer one stays.
        let _lock = files::lock(self.path())?;
        // What is no contract is replaced.
        let there = files::read(&path, CONTRACT_MAX).ok();
        let there = there.and_then(|bytes| SignedDocument::parse(bytes, CONTRACT_MAX).ok());
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
    use yiwang_proto::delegation::Role;
    use yiwang_proto::envelope::payload_type;
    use yiwang_proto::ids::{AppId, MemberId};
    use yiwang_proto::keys::SecretKey;
    use yiwang_proto::standing::LIFE_MS;
    use yiwang_proto::time::parse_rfc3339;

    const TEXT: &[u8] =
        include_bytes!("../../../../adapters/departments/civil-affairs/contracts/civil-street-person.json");

    fn version(number: u32) -> (Contract, SignedDocument) {
        version_with(number, None)
    }

    fn version_with(number: u32, standing_seconds: Option<u32>) -> (Contract, SignedDocument) {
        let (provider, consumer) = (SecretKey::from_seed(&[3; 32]), SecretKey::from_seed(&[4; 32]));
        let mut text = ContractText::parse(TEXT).unwrap();
        (text.version, text.standing_seconds) = (number, standing_seconds);
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

    #[test]
    fn standings_live_as_long_as_a_contract_in_force_asks_and_no_file_silences_the_member() {
        let dir = tempfile::tempdir().unwrap();
        let member = MemberId::parse("street-office").unwrap();
        let entropy = SeededEntropy::new(2);
        let (contract, document) = version_with(1, Some(3_600));
        let until_ms = parse_rfc3339(&contract.text.valid_until).unwrap();
        let now_ms = until_ms - 1_000;
        let folder =
            Folder::init(dir.path(), &member, "Street", &entropy, &ManualClock::new(now_ms)).unwrap();
        let name = AppId::parse("main").unwrap();
        folder.delegate(Role::Standing, &name, now_ms, now_ms + 86_400_000, &entropy).unwrap();
        let life = |now_ms: i64| {
            let standing = folder.issue_standing(now_ms).unwrap().standing;
            standing.expires_at_ms - standing.issued_at_ms
        };
        assert_eq!(life(now_ms), LIFE_MS);
        folder.save_contract(&contract, &document).unwrap();
        assert_eq!(life(now_ms), 3_600_000);
        // What is over asks for nothing, nor does what is no contract or cannot be read.
        assert_eq!(life(until_ms), LIFE_MS);
        let contracts = dir.path().join("contracts");
        std::fs::write(contracts.join("draft.json"), b"{}").unwrap();
        std::fs::create_dir(contracts.join("none.json")).unwrap();
        assert_eq!(life(now_ms), 3_600_000);
    }
}
