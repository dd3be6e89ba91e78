//! Small files that must survive a power cut: written beside, synced, renamed, folder synced.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::FolderError;

/// For the owner's eyes only.
pub const PRIVATE: u32 = 0o600;
/// For everybody.
pub const PUBLIC: u32 = 0o644;
const KEY_MAX: usize = 16 * 1024;

fn at(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}

/// Makes a folder that only its owner may enter, and its parents.
pub fn create_dir(dir: &Path) -> Result<(), FolderError> {
    let make = || {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        dir.parent().map_or(Ok(()), sync_dir)
    };
    make().map_err(at(dir))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Replaces a file as a whole, or leaves the old one.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), FolderError> {
    let write = || {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        // The process in the name: another one may replace the same file now, and the last rename wins.
        let beside = dir.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&beside, path)?;
        sync_dir(dir)
    };
    write().map_err(at(path))
}

/// Moves a file into a folder, under its own name.
pub fn move_into(path: &Path, dir: &Path) -> Result<(), FolderError> {
    let (Some(old), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let moved =
        std::fs::rename(path, dir.join(name)).and_then(|()| sync_dir(dir)).and_then(|()| sync_dir(old));
    moved.map_err(at(path))
}

/// Removes a file, where it is there.
pub fn remove(path: &Path) -> Result<(), FolderError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| path.parent().map_or(Ok(()), sync_dir)).map_err(at(path)),
    }
}

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: usize) -> Result<Bytes, FolderError> {
    let file = File::open(path).map_err(at(path))?;
    bounded(file, limit).map(Bytes::from).map_err(at(path))
}

/// Reads a text file of at most `limit` bytes.
pub fn read_text(path: &Path, limit: usize) -> Result<String, FolderError> {
    let bytes = read(path, limit)?;
    let text = std::str::from_utf8(&bytes).map(str::to_owned);
    text.map_err(|_| FolderError::Content { path: path.to_owned(), what: "not UTF-8".to_owned() })
}

/// Reads a key file; one that others can read is refused, because nobody can tell who has.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, FolderError> {
    let file = File::open(path).map_err(at(path))?;
    let mode = file.metadata().map_err(at(path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FolderError::Exposed { path: path.to_owned(), mode });
    }
    let bytes = Zeroizing::new(bounded(file, KEY_MAX).map_err(at(path))?);
    let text = std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned()));
    text.map_err(|_| FolderError::Content { path: path.to_owned(), what: "not UTF-8".to_owned() })
}

fn bounded(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut content)?;
    if content.len() > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes")));
    }
    Ok(content)
}

/// The files of a folder with an extension, by name; more than `limit` is an error, a missing folder is empty.
pub fn list(dir: &Path, extension: &str, limit: usize) -> Result<Vec<PathBuf>, FolderError> {
    listed(dir, limit, |path| path.extension().is_some_and(|found| found == extension))
}

/// The folders in a folder, in the same way.
pub fn folders(dir: &Path, limit: usize) -> Result<Vec<PathBuf>, FolderError> {
    listed(dir, limit, Path::is_dir)
}

fn listed(dir: &Path, limit: usize, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, FolderError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(dir)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(dir))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && wanted(&path) {
            paths.push(path);
        }
        if paths.len() > limit {
            return Err(FolderError::Content {
                path: dir.to_owned(),
                what: format!("more than {limit} files"),
            });
        }
    }
    paths.sort();
    Ok(paths)
}

/// Holds off every other process that counts up something in the folder, until dropped.
pub fn lock(dir: &Path) -> Result<File, FolderError> {
    let path = dir.join(".lock");
    let open = || {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(at(&path))
}
