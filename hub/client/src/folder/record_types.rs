//! The newest version of each record type that this member met and whose roots it knew: what it provides itself, or signed a
//! contract for. Whoever shows it an older one later is told by what is kept here.

use super::files::{self, PUBLIC};
use super::{Folder, FolderError};
use std::path::PathBuf;
use yiwang_policies::RecordTypeVersion;
use yiwang_policies::record_type::RECORD_TYPE_MAX;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::RecordType;

const DIR: &str = "record-types";

/// Why a version is not the one to go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaleError {
    /// A newer one is known.
    #[error("version {given} of `{record}` is older than version {known}, which this member has met")]
    Older {
        /// The record.
        record: RecordType,
        /// The version that was shown.
        given: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Two texts have one number: somebody keeps two histories of the record type.
    #[error(
        "version {version} of `{record}` is not the text that this member has met under this number; keep both as evidence"
    )]
    OtherText {
        /// The record.
        record: RecordType,
        /// The number.
        version: u32,
    },
}

/// Holds a version against one that is known.
///
/// # Errors
/// [`StaleError`] where the known one is newer, or another text under the same number.
pub fn not_older(given: &RecordTypeVersion, known: &RecordTypeVersion) -> Result<(), StaleError> {
    let record = given.text.record.clone();
    let (given, known) = ((given.text.version, given.digest), (known.text.version, known.digest));
    if given.0 < known.0 {
        return Err(StaleError::Older { record, given: given.0, known: known.0 });
    }
    if given.0 == known.0 && given.1 != known.1 {
        return Err(StaleError::OtherText { record, version: given.0 });
    }
    Ok(())
}

impl Folder {
    fn record_type_path(&self, record: &RecordType) -> PathBuf {
        self.path().join(DIR).join(format!("{record}.json"))
    }

    /// The newest version of a record type that this member met, verified again.
    ///
    /// # Errors
    /// [`FolderError`] for a file that does not hold.
    pub fn record_type(&self, record: &RecordType) -> Result<Option<RecordTypeVersion>, FolderError> {
        let path = self.record_type_path(record);
        let bytes = match files::read(&path, RECORD_TYPE_MAX) {
            Ok(bytes) => bytes,
            Err(FolderError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let bad = |what: String| FolderError::Content { path: path.clone(), what };
        let signed = SignedDocument::parse(bytes, RECORD_TYPE_MAX).map_err(|error| bad(error.to_string()))?;
        let version = RecordTypeVersion::open(&signed).map_err(|error| bad(error.to_string()))?;
        if version.text.record != *record {
            return Err(bad(format!("is of `{}`", version.text.record)));
        }
        Ok(Some(version))
    }

    /// Keeps a verified version if it is the newest; durable when this returns.
    ///
    /// # Errors
    /// [`FolderError`] where the folder cannot be read or written.
    pub fn keep_record_type(
        &self,
        document: &SignedDocument,
        version: &RecordTypeVersion,
    ) -> Result<(), FolderError> {
        let held = files::lock(self.path())?;
        let record = &version.text.record;
        let known = self.record_type(record)?;
        if known.is_none_or(|known| known.text.version < version.text.version) {
            files::create_dir(&self.path().join(DIR))?;
            files::replace(&self.record_type_path(record), document.bytes(), PUBLIC)?;
        }
        drop(held);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use yiwang_policies::record_type::FORMAT;
    use yiwang_proto::ambient::{ManualClock, SeededEntropy};
    use yiwang_proto::envelope::payload_type;
    use yiwang_proto::ids::MemberId;
    use yiwang_proto::keys::SecretKey;

    fn version(number: u32, about: &str) -> (SignedDocument, RecordTypeVersion) {
        let key = SecretKey::from_seed(&[3; 32]);
        let text = json!({
            "format": FORMAT, "record": "BusPass", "version": number, "owner": "transport", "subject": "person",
            "previous": (number > 1).then(|| "0".repeat(64)), "about": about,
            "fields": { "kind": { "type": "code", "class": 2, "about": "what it allows" } },
            "providers": [{ "member": "transport", "root": key.public() }],
        });
        let document = SignedDocument::sign(payload_type::RECORD_TYPE, text.to_string().as_bytes(), &[&key]);
        let version = RecordTypeVersion::open(&document).unwrap();
        (document, version)
    }

    #[test]
    fn the_newest_version_that_was_met_stays_and_older_ones_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let member = MemberId::parse("street-office").unwrap();
        let path = dir.path().join("street");
        let folder =
            Folder::init(&path, &member, "Street", &SeededEntropy::new(1), &ManualClock::new(1)).unwrap();
        let (first, second, fork) = (version(1, "a pass"), version(2, "a pass"), version(2, "another pass"));
        let record = &first.1.text.record;
        assert_eq!(folder.record_type(record).unwrap(), None);
        for (document, met) in [&first, &second, &first, &fork] {
            folder.keep_record_type(document, met).unwrap();
        }
        let known = Folder::open(&path).unwrap().record_type(record).unwrap().unwrap();
        assert_eq!(known, second.1, "the first text under a number stays");
        assert!(matches!(not_older(&first.1, &known), Err(StaleError::Older { given: 1, known: 2, .. })));
        assert!(matches!(not_older(&fork.1, &known), Err(StaleError::OtherText { version: 2, .. })));
        assert!(not_older(&known, &known).is_ok() && not_older(&version(3, "a pass").1, &known).is_ok());
        // What somebody puts in its place does not hold.
        std::fs::write(path.join("record-types/BusPass.json"), b"{}").unwrap();
        assert!(matches!(folder.record_type(record), Err(FolderError::Content { .. })));
    }
}
