//! Names that were most likely mistyped: which were meant.

use crate::error::HostError;
use yiwang_client::folder::{Folder, FolderError};
use yiwang_policies::Catalogue;
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::{AppId, RecordType};
use yiwang_proto::nearest::did_you_mean;
pub(crate) use yiwang_proto::nearest::{meant_or_known as near, nearest};

/// Names that a message lists; who has more looks into the folder.
const NAMES_SHOWN: usize = 10;

/// Why a name is no record, to an app: of the catalogue alone, which everybody may read.
pub(crate) fn no_record(given: &RecordType, catalogue: &Catalogue) -> String {
    let known = catalogue.records().map(|record| record.name.as_str());
    let near = did_you_mean(given.as_str(), known).map(|near| format!("; {near}")).unwrap_or_default();
    format!("no record of the catalogue has this name{near}")
}

/// For a name that the member's folder has no key or delegation for: the one that was meant, or those that it has.
pub(crate) fn meant(folder: &Folder, role: Role, name: &AppId, error: &FolderError) -> Option<String> {
    let missing =
        matches!(error, FolderError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    let names = folder.delegated(role).ok().filter(|names| missing && !names.contains(name))?;
    let names: Vec<&str> = names.iter().map(AppId::as_str).collect();
    if let Some(near) = did_you_mean(name.as_str(), names.iter().copied()) {
        return Some(near);
    }
    let word = if role == Role::App { "app" } else { "adapter" };
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("the folder has {word} {}{more}", shown.join(", ")))
}

/// Why a host whose configuration names such a key does not start.
pub(crate) fn not_loaded(folder: &Folder, role: Role, name: &AppId, error: FolderError) -> HostError {
    match meant(folder, role, name, &error) {
        Some(next) => HostError::Unnamed { source: error, next },
        None => HostError::Folder(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_has_is_told_with_the_one_that_was_meant() {
        let catalogue = Catalogue::builtin().unwrap();
        let said = |name: &str| no_record(&RecordType::parse(name).unwrap(), &catalogue);
        assert_eq!(said("Incdent"), "no record of the catalogue has this name; did you mean `Incident`?");
        assert_eq!(said("Telescope"), "no record of the catalogue has this name");
    }
}
