//! Replaces a file of the user's: whole or not at all, and durable when it returns.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// A host that watches the file never sees half of it, and a power cut leaves the old text or the new one. Its rights
/// stay what they are.
pub(super) fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let aside = file.with_added_extension("new");
    // What lies there is of a run that was cut short, or a link that somebody laid: neither is written into.
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = File::options().write(true).create_new(true).open(&aside)?;
    if let Ok(before) = std::fs::metadata(file) {
        out.set_permissions(before.permissions())?;
    }
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&aside, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
