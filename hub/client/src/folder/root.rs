//! The change to the next root, which the member's card has announced from the start: the way on when a root is lost or stolen.

use super::files::{self, PRIVATE, PUBLIC};
use super::{CARD, DELEGATIONS_MAX, Folder, FolderError, NEXT_ROOT, ROOT, read_key, write_key};
use std::io;
use std::path::{Path, PathBuf};
use yiwang_proto::ambient::{Clock, Entropy};
use yiwang_proto::delegation::Delegation;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::keys::{PublicKey, SecretKey};
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::member::MemberCard;

/// The root after the next, until the change is whole.
const COMING_ROOT: &str = "coming-root.key";
/// What was under earlier roots.
const FORMER: &str = "former";

impl Folder {
    /// Goes on under the next root: a card under it, which announces a new next root, and nothing delegated yet. Key, card
    /// and delegations of the root before are kept in `former/`. The hub knows once the folder is enrolled anew. May be cut
    /// off anywhere: the folder opens, no key is lost, and called once more it ends what was begun.
    ///
    /// # Errors
    /// [`FolderError`]: the next root's key must be here, and be the one that the card announces.
    pub fn rotate_root(&mut self, entropy: &dyn Entropy, clock: &dyn Clock) -> Result<(), FolderError> {
        let lock = files::lock(&self.dir)?;
        let path = self.dir.join(NEXT_ROOT);
        let next = read_key(&path)?;
        let coming = self.coming_root()?;
        // Cut off before its very last step.
        let whole = coming.as_ref().is_some_and(|coming| coming.public() == next.public());
        if !whole {
            let coming = match coming {
                Some(coming) if next.public() == self.card.root => coming,
                coming if self.announces(&next) => self.begin(&next, coming, entropy, clock)?,
                _ => {
                    let what = "this is not the next root that the member's card announces; put the file back that was made \
                                with the card";
                    return Err(FolderError::Content { path, what: what.to_owned() });
                }
            };
            self.finish(&next, &coming)?;
        }
        files::remove(&self.dir.join(COMING_ROOT))?;
        drop(lock);
        *self = Self::open(&self.dir)?;
        Ok(())
    }

    /// Whether a change of the root was cut off.
    pub(super) fn is_between_roots(&self) -> bool {
        self.dir.join(COMING_ROOT).exists()
    }

    fn announces(&self, next: &SecretKey) -> bool {
        yiwang_proto::sha256(next.public().as_bytes()) == self.card.next_root_digest
    }

    fn coming_root(&self) -> Result<Option<SecretKey>, FolderError> {
        match read_key(&self.dir.join(COMING_ROOT)) {
            Ok(key) => Ok(Some(key)),
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Up to the card, with which the member is under its next root.
    fn begin(
        &mut self,
        next: &SecretKey,
        coming: Option<SecretKey>,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
    ) -> Result<SecretKey, FolderError> {
        let former = self.former()?;
        files::replace(&former.join(CARD), self.card_document.bytes(), PUBLIC)?;
        // A root that was lost is not here.
        match files::read_secret(&self.dir.join(ROOT)) {
            Ok(text) => files::replace(&former.join(ROOT), text.as_bytes(), PRIVATE)?,
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let coming = match coming {
            Some(coming) => coming,
            None => {
                let coming = SecretKey::generate(entropy);
                write_key(&self.dir.join(COMING_ROOT), &coming.to_base64())?;
                coming
            }
        };
        // The hub takes no card that is older than the one before.
        let issued_at_ms = clock.now_ms().max(self.card.issued_at_ms);
        let card = MemberCard::sign(next, &coming.public(), self.member(), self.display_name(), issued_at_ms);
        files::replace(&self.dir.join(CARD), card.bytes(), PUBLIC)?;
        (self.card, self.card_document) = (MemberCard::open(&card)?, card);
        Ok(coming)
    }

    fn finish(&self, next: &SecretKey, coming: &SecretKey) -> Result<(), FolderError> {
        for path in files::list(&self.dir.join("delegations"), "json", DELEGATIONS_MAX)? {
            let document = SignedDocument::parse(files::read(&path, DOCUMENT_MAX)?, DOCUMENT_MAX);
            let root =
                document.ok().and_then(|document| Delegation::open(&document).ok()).map(|old| old.root);
            if let Some(root) = root.filter(|root| *root != self.card.root) {
                files::move_into(&path, &self.former_of(&root)?)?;
            }
        }
        write_key(&self.dir.join(ROOT), &next.to_base64())?;
        write_key(&self.dir.join(NEXT_ROOT), &coming.to_base64())
    }

    fn former(&self) -> Result<PathBuf, FolderError> {
        self.former_of(&self.card.root)
    }

    /// The folder of what was under a root.
    fn former_of(&self, root: &PublicKey) -> Result<PathBuf, FolderError> {
        let digest = yiwang_proto::hex(&yiwang_proto::sha256(root.as_bytes()));
        let dir: &Path = &self.dir.join(FORMER).join(digest.get(..16).unwrap_or_default());
        files::create_dir(dir)?;
        Ok(dir.to_owned())
    }
}
