//! Names that were most likely mistyped: which were meant.

use crate::error::HostError;
use yiwang_client::folder::{Folder, FolderError};
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;

/// Edits by which even a long name may be off and still be what was meant.
const EDITS_MAX: usize = 6;
/// Names that a message lists; who has more looks into the folder.
const NAMES_SHOWN: usize = 10;

/// The known names that are near enough to be what was meant, the nearest first.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Vec<&'k str> {
    let most = (word.len() / 3 + 1).min(EDITS_MAX);
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(edits, _)| *edits <= most)
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// What was meant, or what there is.
pub(crate) fn near<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()).first() {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// For a name that the member's folder has no key or delegation for: the one that was meant, or those that it has.
pub(crate) fn meant(folder: &Folder, role: Role, name: &AppId, error: &FolderError) -> Option<String> {
    let missing =
        matches!(error, FolderError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
    let names = folder.delegated(role).ok().filter(|names| missing && !names.contains(name))?;
    let names: Vec<&str> = names.iter().map(AppId::as_str).collect();
    if let Some(near) = nearest(name.as_str(), names.iter().copied()).first() {
        return Some(format!("did you mean `{near}`?"));
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
    fn what_is_near_is_meant_and_what_is_not_is_listed() {
        assert_eq!(near("mian", ["spare", "main"]), "did you mean `main`?");
        assert_eq!(near("desk", ["spare", "main"]), "there are: spare, main");
        assert_eq!(nearest("person.by_ids", ["person.by_id", "person.all"]), ["person.by_id"]);
        // However long a word is, something altogether else is not meant.
        assert!(nearest("public-health.surveillance", ["public-health.planning"]).is_empty());
        assert_eq!(nearest("main2", ["main3", "main", "man"]), ["main", "main3", "man"]);
    }
}
