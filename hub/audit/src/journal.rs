//! Adapters' journals, record by record.

use crate::error::AuditError;
use std::path::Path;
use yiwang_journal::{Options, Reader};
use yiwang_proto::adapter_journal::{RECORD_MAX, Record};

/// Shows every record that is kept, in order, with its number.
///
/// # Errors
/// [`AuditError::Unreadable`] where the folder is no journal, or holds a record that cannot be read.
pub(crate) fn each(folder: &Path, take: &mut dyn FnMut(u64, Record)) -> Result<(), AuditError> {
    let unreadable = |fault: String| AuditError::Unreadable { path: folder.to_owned(), fault };
    let options = Options { max_record: RECORD_MAX, ..Options::default() };
    let (reader, _) =
        Reader::open_readonly(folder, &options).map_err(|error| unreadable(error.to_string()))?;
    for item in reader.scan(reader.first()) {
        let (at, data, _) = item.map_err(|error| unreadable(error.to_string()))?;
        take(at, Record::decode(data).map_err(|error| unreadable(format!("record {at}: {error}")))?);
    }
    Ok(())
}
