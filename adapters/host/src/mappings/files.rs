//! Which mapping files changed, by what is in them. A text counts once two looks in a row found it, so that a
//! file that is being written is left alone; and it is acted on once, whether or not it holds. Only where a setting was
//! missing, which comes without a change of the file, it is acted on again.

use std::path::{Path, PathBuf};
use yiwang_proto::{Digest, sha256};

/// What a look found in a file: the digest of its text, or none where it cannot be read.
type Seen = Option<Digest>;

/// Looks between two tries of a file whose setting is missing, at the most: half a minute, in which somebody has put it
/// there. The first tries follow sooner.
const PAUSE_MAX: u32 = 15;

struct File {
    path: PathBuf,
    /// What serves; none where nothing of it does.
    served: Option<Digest>,
    /// What the last look found.
    last: Seen,
    /// What was acted on.
    done: Seen,
    /// Looks that the next try of the same waits for.
    wait: Option<u32>,
    /// How many the last one waited for.
    pause: u32,
}

impl File {
    fn is_due(&mut self) -> bool {
        self.wait = match self.wait {
            Some(0) => {
                self.wait = None;
                return true;
            }
            wait => wait.map(|looks| looks.saturating_sub(1)),
        };
        false
    }

    fn try_again(&mut self) {
        self.pause = self.pause.saturating_mul(2).clamp(1, PAUSE_MAX);
        self.wait = Some(self.pause.saturating_sub(1));
    }
}

pub(super) struct Files(Vec<File>);

/// A file in which two looks found the same, and not what was acted on before, or what is tried again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) file: PathBuf,
    /// Its text, or why it cannot be read; none where it is again what serves.
    pub(super) found: Option<Result<String, String>>,
    /// Whether it was acted on before.
    pub(super) again: bool,
}

impl Files {
    /// Each file with what serves of it, and with what was found in it.
    pub(super) fn new(files: impl Iterator<Item = (PathBuf, Option<Digest>, Seen)>) -> Self {
        let file = |(path, served, seen)| File { path, served, last: seen, done: seen, wait: None, pause: 0 };
        Self(files.map(file).collect())
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|file| &file.path)
    }

    /// Takes what was read of each file, in their order.
    pub(super) fn look(&mut self, read: Vec<Result<String, String>>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (file, read) in self.0.iter_mut().zip(read) {
            let seen = read.as_ref().ok().map(|text| sha256(text.as_bytes()));
            let stable = seen == file.last;
            file.last = seen;
            let again = seen == file.done;
            if !again {
                (file.wait, file.pause) = (None, 0);
            }
            if !stable || again && !file.is_due() {
                continue;
            }
            file.done = seen;
            let serves = seen.is_some() && seen == file.served;
            let found = (!serves).then_some(read);
            changes.push(Change { file: file.path.clone(), found, again });
        }
        changes
    }

    /// What was acted on last is tried again, first soon and then less often.
    pub(super) fn try_again(&mut self, path: &Path) {
        self.0.iter_mut().filter(|file| file.path == path).for_each(File::try_again);
    }

    /// What was acted on last is what serves.
    pub(super) fn taken(&mut self, path: &Path) {
        for file in self.0.iter_mut().filter(|file| file.path == path) {
            file.served = file.done;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let digest = Some(sha256(b"a"));
        Files::new(std::iter::once((PathBuf::from("f"), digest, digest)))
    }

    fn text(text: &str) -> Vec<Result<String, String>> {
        vec![Ok(text.to_owned())]
    }

    fn change(found: Option<Result<String, String>>) -> Vec<Change> {
        vec![Change { file: PathBuf::from("f"), found, again: false }]
    }

    #[test]
    fn a_text_counts_once_and_when_it_was_found_twice() {
        let mut files = files();
        assert_eq!(files.look(text("a")), []);
        // Half of it, then the rest of it.
        assert_eq!(files.look(text("b")), []);
        assert_eq!(files.look(text("bc")), []);
        assert_eq!(files.look(text("bc")), change(Some(Ok("bc".to_owned()))));
        assert_eq!(files.look(text("bc")), [], "it was acted on");
        files.taken(Path::new("f"));
        assert_eq!(files.look(text("a")), []);
        assert_eq!(
            files.look(text("a")),
            change(Some(Ok("a".to_owned()))),
            "what served before is a change now"
        );
    }

    #[test]
    fn what_was_bad_and_is_taken_back_is_told_as_that() {
        let mut files = files();
        files.look(text("bad"));
        assert_eq!(files.look(text("bad")), change(Some(Ok("bad".to_owned()))));
        files.look(text("a"));
        assert_eq!(files.look(text("a")), change(None));
        assert_eq!(files.look(text("a")), []);
        let gone = || vec![Err("gone".to_owned())];
        files.look(gone());
        assert_eq!(files.look(gone()), change(Some(Err("gone".to_owned()))));
        assert_eq!(files.look(gone()), []);
    }

    #[test]
    fn what_lacks_a_setting_is_tried_again_first_soon_and_then_less_often() {
        let mut files = files();
        files.look(text("b"));
        assert_eq!(files.look(text("b")), change(Some(Ok("b".to_owned()))));
        let mut tries = Vec::new();
        files.try_again(Path::new("f"));
        for look in 1..=61 {
            if let [Change { again: true, .. }] = files.look(text("b")).as_slice() {
                tries.push(look);
                files.try_again(Path::new("f"));
            }
        }
        assert_eq!(tries, [1, 3, 7, 15, 30, 45, 60]);
        // Another text is not waited for, and begins anew.
        files.look(text("c"));
        assert_eq!(files.look(text("c")), change(Some(Ok("c".to_owned()))));
        files.try_again(Path::new("f"));
        assert!(matches!(files.look(text("c")).as_slice(), [Change { again: true, .. }]));
        assert_eq!(files.look(text("c")), [], "nobody asked for another try");
    }
}
