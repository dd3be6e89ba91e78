//! The change to the next root, which the member's card has announced from the start: the way on when a root is lost or stolen.

use super::files::{self, PRIVATE, PUBLIC};
use super::{CARD, DELEGATIONS_MAX, Folder, FolderError, NEXT_ROOT, ROOT, read_key, read_key_or, write_key};
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
/// Roots that one member has had: a change follows a loss or a theft.
const FORMER_MAX: usize = 64;
/// The root that the hub knows for this member, until it has the card under the present one.
const KNOWN_ROOT: &str = "known-root";
/// A key in base64, and room.
const KNOWN_ROOT_MAX: usize = 256;

impl Folder {
    /// Goes on under the next root: a card under it, which announces a new next root, and nothing delegated yet. Key and
    /// card of the root before are kept in `former/`, with the delegations under it and their keys, which nobody uses any
    /// more. The hub knows once the folder is enrolled anew. May be cut off anywhere: the folder opens, no key is lost, and
    /// called once more it ends what was begun.
    ///
    /// # Errors
    /// [`FolderError`]: the next root's key must be here, and be the one that the card announces.
    /// [`FolderError::CardNotEntered`] where the hub does not know the present root yet: of two changes it would see the
    /// second only, and a card that it cannot follow.
    pub fn rotate_root(&mut self, entropy: &dyn Entropy, clock: &dyn Clock) -> Result<(), FolderError> {
        let lock = files::lock(&self.dir)?;
        // Another process may have changed it.
        *self = Self::open(&self.dir)?;
        let path = self.dir.join(NEXT_ROOT);
        let next = read_key_or(&path, FolderError::NoNextRoot)?;
        let coming = self.coming_root()?;
        if coming.is_none() && self.enrolled.is_some() && self.known_root()?.is_some() {
            return Err(FolderError::CardNotEntered(self.dir.clone()));
        }
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

    /// The root that the hub knows for this member, where it does not know the present one yet.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn known_root(&self) -> Result<Option<PublicKey>, FolderError> {
        let path = self.dir.join(KNOWN_ROOT);
        match files::read_text(&path, KNOWN_ROOT_MAX) {
            Ok(text) => match PublicKey::from_base64(text.trim()) {
                Ok(root) => Ok(Some(root)),
                Err(source) => Err(FolderError::Key { path, source }),
            },
            Err(FolderError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hub has the card of this folder as it was opened; another process may have changed it meanwhile.
    pub(super) fn card_entered(&self) -> Result<(), FolderError> {
        let _lock = files::lock(&self.dir)?;
        let card = files::read(&self.dir.join(CARD), DOCUMENT_MAX)?;
        if card == *self.card_document.bytes() { files::remove(&self.dir.join(KNOWN_ROOT)) } else { Ok(()) }
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
        files::replace(&self.dir.join(KNOWN_ROOT), self.card.root.to_base64().as_bytes(), PUBLIC)?;
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
            let Some(root) = root.filter(|root| *root != self.card.root) else { continue };
            let former = self.former_of(&root)?;
            // Its key first: a delegation without one is moved by the next call, a key alone by none.
            if let Some(name) = path.file_stem() {
                let key = self.dir.join("keys").join(name).with_extension("key");
                if key.exists() {
                    files::move_into(&key, &former)?;
                }
            }
            files::move_into(&path, &former)?;
        }
        write_key(&self.dir.join(ROOT), &next.to_base64())?;
        write_key(&self.dir.join(NEXT_ROOT), &coming.to_base64())
    }

    /// The roots that the member had before, as their cards say. One that cannot be read, or is another member's, is left out
    /// with a warning: it must not keep the member from what it does now.
    ///
    /// # Errors
    /// [`FolderError`] where the folder cannot be listed.
    pub fn former_roots(&self) -> Result<Vec<PublicKey>, FolderError> {
        let mut roots = Vec::new();
        for dir in files::folders(&self.dir.join(FORMER), FORMER_MAX)? {
            match former_card(&dir.join(CARD)) {
                Ok(card) if card.member == *self.member() && card.root != self.card.root => {
                    roots.push(card.root);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, folder = %dir.display(), "a former card does not hold and is left out");
                }
            }
        }
        Ok(roots)
    }

    fn former(&self) -> Result<PathBuf, FolderError> {
        self.former_of(&self.card.root)
    }

    /// The folder of what was under a root, made where it is not there.
    fn former_of(&self, root: &PublicKey) -> Result<PathBuf, FolderError> {
        let digest = yiwang_proto::hex(&yiwang_proto::sha256(root.as_bytes()));
        let dir = self.dir.join(FORMER).join(digest.get(..16).unwrap_or_default());
        files::create_dir(&dir)?;
        Ok(dir)
    }
}

fn former_card(path: &Path) -> Result<MemberCard, FolderError> {
    Ok(MemberCard::open(&SignedDocument::parse(files::read(path, DOCUMENT_MAX)?, DOCUMENT_MAX)?)?)
}
