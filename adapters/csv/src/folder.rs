//! Opens files of one folder and nothing else: names are matched against a pattern, hold no path, and are
//! opened relative to the folder's handle without following links.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, stat, statat};
use std::cmp::Ordering;
use std::io::Read as _;
use std::path::Path;
use yiwang_adapter_sdk::source::SourceError;

/// Bytes of one file: a year of calls of a large city.
pub(crate) const FILE_MAX: u64 = 64 * 1024 * 1024;
/// Files of one folder.
pub(crate) const FILES_MAX: usize = 512;
/// Bytes of all files together; they are kept in memory.
pub(crate) const FOLDER_MAX: u64 = 256 * 1024 * 1024;

/// What tells that a file is the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    inode: u64,
    size: u64,
    modified: (i64, u64),
    /// Rights are part of it: a file that could not be opened may become readable.
    changed: (i64, u64),
}

impl Version {
    /// Of an opened file.
    pub(crate) fn of(file: &std::fs::File) -> std::io::Result<Self> {
        Ok(version(&fstat(file)?))
    }

    /// Of the file at a path; none where there is none.
    pub(crate) fn at(path: &Path) -> std::io::Result<Option<Self>> {
        match stat(path) {
            Ok(found) => Ok(Some(version(&found))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// When it was written, milliseconds.
    pub(crate) fn modified_ms(self) -> i64 {
        let nanoseconds = i64::try_from(self.modified.1).unwrap_or_default();
        self.modified.0.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
    }
}

/// A file of the folder whose name matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// None for what is no plain file; it is reported and never opened.
    pub(crate) version: Option<Version>,
}

/// The opened folder.
#[derive(Debug)]
pub(crate) struct Folder {
    handle: OwnedFd,
    pattern: String,
}

fn unavailable(what: &str, error: rustix::io::Errno) -> SourceError {
    SourceError::Unavailable(format!("{what}: {error}"))
}

impl Folder {
    pub(crate) fn open(path: &Path, pattern: &str) -> Result<Self, SourceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = open(path, flags, Mode::empty())
            .map_err(|error| unavailable(&format!("folder `{}`", path.display()), error))?;
        Ok(Self { handle, pattern: pattern.to_owned() })
    }

    /// Whether this is the folder that is at the path now: another may have been put in its place, which the handle
    /// does not show. Errors: none is there.
    pub(crate) fn is_at(&self, path: &Path) -> Result<bool, SourceError> {
        let gone = |error| unavailable(&format!("folder `{}`", path.display()), error);
        let (there, ours) = (stat(path).map_err(gone)?, fstat(&self.handle).map_err(gone)?);
        Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
    }

    /// Matching entries by name, the later one last.
    pub(crate) fn list(&self) -> Result<Vec<Entry>, SourceError> {
        let list_error = |error| unavailable("the folder cannot be listed", error);
        let mut entries = Vec::new();
        for item in Dir::read_from(&self.handle).map_err(list_error)? {
            let item = item.map_err(list_error)?;
            let Ok(name) = item.file_name().to_str() else { continue };
            if !matches(&self.pattern, name) {
                continue;
            }
            // A file that has gone since is not there any more: nothing to report.
            let Ok(stat) = statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            entries.push(Entry { name: name.to_owned(), version: plain.then(|| version(&stat)) });
            if entries.len() > FILES_MAX {
                return Err(SourceError::Unavailable(format!("the folder has over {FILES_MAX} files")));
            }
        }
        entries.sort_by(|a, b| by_name(&a.name, &b.name));
        let total: u64 = entries.iter().filter_map(|entry| entry.version).map(|version| version.size).sum();
        if total > FOLDER_MAX {
            return Err(SourceError::Unavailable(format!("the files are over {FOLDER_MAX} bytes together")));
        }
        Ok(entries)
    }

    /// The content of a file and the version that was read.
    pub(crate) fn read(&self, name: &str) -> Result<(Vec<u8>, Version), SourceError> {
        let bad = |what: String| SourceError::Unavailable(format!("file `{name}`: {what}"));
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(bad("is no file name".to_owned()));
        }
        // Not blocking, so that a pipe put in a file's place cannot hold the adapter up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle =
            openat(&self.handle, name, flags, Mode::empty()).map_err(|error| bad(error.to_string()))?;
        let stat = fstat(&handle).map_err(|error| bad(error.to_string()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(bad("is no plain file".to_owned()));
        }
        let version = version(&stat);
        // Said before it is read, so that looking at it again costs nothing.
        if version.size > FILE_MAX {
            return Err(bad(format!("is over {FILE_MAX} bytes")));
        }
        let mut content = Vec::new();
        std::fs::File::from(handle)
            .take(FILE_MAX + 1)
            .read_to_end(&mut content)
            .map_err(|error| bad(error.to_string()))?;
        if content.len() as u64 > FILE_MAX {
            return Err(bad(format!("is over {FILE_MAX} bytes")));
        }
        Ok((content, version))
    }
}

fn version(stat: &rustix::fs::Stat) -> Version {
    Version {
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(u64::MAX),
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        changed: (stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Which of two files is the later one: digits 0-9 that stand together count as the number that they write, so that the
/// export of September is before that of November also where it is called 9 and not 09. All else by its bytes.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(first), Some(second)) = (left.bytes().next(), right.bytes().next()) {
        let both = first.is_ascii_digit() && second.is_ascii_digit();
        let (ours, left_rest) = piece(left, both);
        let (theirs, right_rest) = piece(right, both);
        // Of two numbers without zeros in front the longer one is the greater.
        let order = if both { ours.len().cmp(&theirs.len()) } else { Ordering::Equal };
        let order = order.then_with(|| ours.cmp(theirs));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    // `9` and `09` are two files.
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// A name's number without zeros in front, or its first character, and what follows.
fn piece(name: &str, number: bool) -> (&str, &str) {
    if !number {
        return name.split_at(name.chars().next().map_or(0, char::len_utf8));
    }
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let (digits, rest) = name.split_at(end);
    (digits.trim_start_matches('0'), rest)
}

/// `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // The longest match so far for each prefix of the pattern; linear in both, so no name is slow.
    let mut reached = vec![false; name.len() + 1];
    if let Some(start) = reached.first_mut() {
        *start = true;
    }
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        let mut open = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = reached.get(at).copied().unwrap_or_default();
            open = open || here;
            let before = at.checked_sub(1);
            let stepped = before.is_some_and(|before| {
                reached.get(before).copied().unwrap_or_default()
                    && (wanted == '?' || name.get(before) == Some(&wanted))
            });
            *slot = if wanted == '*' { open } else { stepped };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, holds) in [
            ("calls-*.csv", "calls-2026-11.csv", true),
            ("calls-*.csv", "calls-.csv", true),
            ("calls-*.csv", "calls-2026-11.csv.tmp", false),
            ("calls-*.csv", ".calls-1.csv", false),
            ("?.csv", "a.csv", true),
            ("?.csv", "ab.csv", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("exact.csv", "exact.csv", true),
        ] {
            assert_eq!(matches(pattern, name), holds, "{pattern} {name}");
        }
    }

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let ordered = [
            "",
            "a",
            "a.csv",
            "a1.csv",
            "a02.csv",
            "a2.csv",
            "a2b.csv",
            "a10.csv",
            "a99999999999999999999999.csv",
            "a100000000000000000000000.csv",
            "a-9.csv",
            "b2026-9-30.csv",
            "b2026-10-1.csv",
            "b2026-10-01-2.csv",
            "bb",
            "é2",
            "é10",
            "二2",
            "二10",
        ];
        let mut sorted = ordered;
        sorted.reverse();
        sorted.sort_by(|a, b| by_name(a, b));
        for (at, name) in ordered.iter().enumerate() {
            for (of, other) in ordered.iter().enumerate() {
                assert_eq!(by_name(name, other), by_name(other, name).reverse());
                assert_eq!(by_name(name, other).is_eq(), at == of);
            }
        }
        let of = |name: &str| sorted.iter().position(|known| *known == name).unwrap();
        for (earlier, later) in [
            ("a2.csv", "a10.csv"),
            ("a02.csv", "a2.csv"),
            ("a10.csv", "a99999999999999999999999.csv"),
            ("a99999999999999999999999.csv", "a100000000000000000000000.csv"),
            ("b2026-9-30.csv", "b2026-10-1.csv"),
            ("b2026-9-30.csv", "b2026-10-01-2.csv"),
            ("二2", "二10"),
            ("é2", "é10"),
        ] {
            assert!(of(earlier) < of(later), "{earlier} {later}");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_ever_opened() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary.csv"), "A\nsecret").unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path().join("canary.csv"), inside.path().join("link.csv"))
            .unwrap();
        std::fs::create_dir(inside.path().join("folder.csv")).unwrap();
        std::fs::write(inside.path().join("good.csv"), "A\n1").unwrap();
        let folder = Folder::open(inside.path(), "*.csv").unwrap();
        let plain: Vec<String> = folder
            .list()
            .unwrap()
            .into_iter()
            .filter(|entry| entry.version.is_some())
            .map(|entry| entry.name)
            .collect();
        assert_eq!(plain, ["good.csv"]);
        let above = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut tried = 0;
        for name in ["link.csv", "folder.csv", "..", ".", "", "a\0b", "/etc/passwd", "./good.csv"] {
            assert!(folder.read(name).is_err(), "{name:?}");
            tried += 1;
        }
        for depth in 1..40 {
            for middle in [above.clone(), format!("./{above}"), format!("x/../{above}")] {
                let name = format!("{}{middle}/canary.csv", "../".repeat(depth));
                assert!(folder.read(&name).is_err(), "{name}");
                tried += 1;
            }
        }
        let pieces = ["..", ".", "/", "\\", "%2e%2e", "~", "canary.csv", "link.csv", above.as_str(), "\0"];
        for number in 0..10_000_usize {
            let name: String = [1000, 100, 10, 1].map(|power| pieces[number / power % pieces.len()]).concat();
            assert!(folder.read(&name).is_err(), "{name:?}");
            tried += 1;
        }
        assert!(tried > 10_000);
        assert_eq!(folder.read("good.csv").unwrap().0, b"A\n1");
    }
}
