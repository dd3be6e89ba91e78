//! Record types that members added, from the files that the configuration names: what mappings are judged by.

use crate::error::HostError;
use std::path::{Path, PathBuf};
use yiwang_policies::record_type::RECORD_TYPE_MAX;
use yiwang_policies::{Catalogue, RecordTypeVersion};
use yiwang_proto::document::SignedDocument;

/// The catalogue with the record types of these files.
///
/// # Errors
/// [`HostError::RecordType`]: a file that does not hold, or a second version of one record type.
pub(crate) fn catalogue(files: &[PathBuf]) -> Result<Catalogue, HostError> {
    let mut catalogue = Catalogue::builtin().map_err(|error| HostError::Rules(error.to_string()))?;
    let mut taken = std::collections::BTreeSet::new();
    for file in files {
        let failed = |why| HostError::RecordType { path: file.clone(), why };
        let version = read(file).map_err(failed)?;
        if !taken.insert(version.text.record.clone()) {
            return Err(failed(second(&version)));
        }
        catalogue = catalogue.with(version.def);
    }
    Ok(catalogue)
}

/// Why a second version of one record type is refused: a mapping is judged by one.
pub(crate) fn second(version: &RecordTypeVersion) -> String {
    format!("another version of `{}` is given already; give one", version.text.record)
}

/// One file: the envelope with the signatures of all providers.
pub(crate) fn read(file: &Path) -> Result<RecordTypeVersion, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    if std::fs::metadata(file).map_err(failed)?.len() > RECORD_TYPE_MAX as u64 {
        return Err(format!("is over {RECORD_TYPE_MAX} bytes, which no record type has"));
    }
    let bytes = std::fs::read(file).map_err(failed)?;
    let signed = SignedDocument::parse(bytes.into(), RECORD_TYPE_MAX)
        .map_err(|error| format!("{error}; `yiwang catalogue sign` makes the envelope"))?;
    RecordTypeVersion::open(&signed).map_err(|error| error.to_string())
}
