//! What other members said last, kept between runs: the highest standing under each root and the revocations that
//! roots signed. Without it a hub could show a program that was started again what its member knew to be over.

use super::FolderError;
use super::files::{self, PUBLIC};
use crate::counterparts::{Counterparts, CounterpartsError};
use std::io;
use std::path::Path;

const COUNTERPARTS: &str = "counterparts.json";
/// A file at its limits is some 16 MiB: 4,096 standings and 16,384 revocations of the usual length.
const FILE_MAX: usize = 64 << 20;

/// What the folder keeps of counterparts; nothing where the file is not there.
pub(super) fn load(dir: &Path) -> Result<Counterparts, FolderError> {
    let path = dir.join(COUNTERPARTS);
    let fault = |what: CounterpartsError| FolderError::Content { path: path.clone(), what: what.to_string() };
    match files::read(&path, FILE_MAX) {
        Ok(bytes) => Counterparts::from_json(&bytes).map_err(fault),
        Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Counterparts::default())
        }
        Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
            Err(fault(CounterpartsError::Spoilt(source.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Adds to what the folder keeps; durable when it returns. Other programs of the member do so too, one at a time.
pub(super) fn keep(dir: &Path, more: &Counterparts) -> Result<(), FolderError> {
    let _lock = files::lock(dir)?;
    let mut all = load(dir)?;
    let full = |what: CounterpartsError| FolderError::Content {
        path: dir.join(COUNTERPARTS),
        what: what.to_string(),
    };
    if all.merge(more).map_err(full)? {
        files::replace(&dir.join(COUNTERPARTS), &all.to_json(), PUBLIC)?;
    }
    Ok(())
}
