//! A member's folder: its keys, delegations and contracts, and what it needs to reach and check its hub.
//!
//! ```text
//! member.toml            who it is, and after enrolment how to reach and check the hub
//! card.json              the member card, signed by the root
//! root.key next-root.key the root and the next one; belong offline once the delegations are made
//! tags.key               the key of subject tags
//! keys/<role>-<name>.key and delegations/<role>-<name>.json; an officer's key is not here
//! serial                 the newest delegation's number
//! tls/{key,chain,ca}.pem how the hub knows the member, and the member the hub
//! checkpoint             the newest head of the ledger that was verified here
//! contracts/*.json       signed contracts, as this member published them; the newest version of each
//! record-types/*.json    the newest version of each record type that members added, as far as it was met here
//! revoked.json           what the member revoked; its adapter host issues standings from it
//! standing               the newest standing's number
//! former/                key and card of earlier roots, delegations under them and their keys
//! known-root             after a change of the root, the one that the hub knows until it has the new card
//! ```
//! Every file is replaced as a whole and synced. Key files that others can read are refused.

mod auditor;
mod contracts;
mod counterparts;
mod enrolled;
mod enrolment;
mod error;
pub(crate) mod files;
mod heads;
mod record_types;
mod root;
mod sealing;
mod standing;
mod witness;

pub use auditor::AuditorFolder;
pub use enrolled::Enrolled;
pub use error::FolderError;
pub use heads::FolderHeads;
pub use record_types::{StaleError, not_older};
pub use standing::{IssuedStanding, ListStamp};

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use yiwang_proto::ambient::{Clock, Entropy, random};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::keys::{PublicKey, SecretKey};
use yiwang_proto::limits::{CONTRACT_MAX, DOCUMENT_MAX};
use yiwang_proto::member::MemberCard;
use yiwang_proto::note::VerifierKey;
use yiwang_proto::tag::TagKey;

use crate::token::{EnrolToken, Holder};
use files::{PRIVATE, PUBLIC};

const FORMAT: &str = "member/1";
const CONFIG: &str = "member.toml";
const CARD: &str = "card.json";
const ROOT: &str = "root.key";
const NEXT_ROOT: &str = "next-root.key";
const TAGS: &str = "tags.key";
const SERIAL: &str = "serial";
const CONFIG_MAX: usize = 16 * 1024;
/// Contracts of one member; a city's busiest has some hundreds.
const CONTRACTS_MAX: usize = 10_000;
/// Delegations of one member: of apps, adapters, officers, for sealing and standing.
const DELEGATIONS_MAX: usize = 100_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    member: MemberId,
    display_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hub: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifier_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trust_domain: Option<String>,
}

/// An opened member folder. Several processes may share it; what counts up is locked.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    card: MemberCard,
    card_document: SignedDocument,
    enrolled: Option<Enrolled>,
}

impl Folder {
    /// Makes a new member: root, next root, tag key, card. The folder may exist, its keys may not.
    ///
    /// # Errors
    /// [`FolderError::Exists`] rather than overwrite a key; [`FolderError::Io`].
    pub fn init(
        dir: &Path,
        member: &MemberId,
        display_name: &str,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
    ) -> Result<Self, FolderError> {
        for name in [CONFIG, ROOT, NEXT_ROOT, TAGS] {
            let path = dir.join(name);
            if path.exists() {
                return Err(FolderError::Exists(path));
            }
        }
        let (root, next) = (SecretKey::generate(entropy), SecretKey::generate(entropy));
        let card = MemberCard::sign(&root, &next.public(), member, display_name, clock.now_ms());
        // A name that a reader of the card would refuse is refused before any key is written.
        MemberCard::open(&card)?;
        for sub in ["", "keys", "delegations", "contracts", "tls"] {
            files::create_dir(&dir.join(sub))?;
        }
        write_key(&dir.join(ROOT), &root.to_base64())?;
        write_key(&dir.join(NEXT_ROOT), &next.to_base64())?;
        // The same form as other keys: the base64 of 32 random bytes.
        write_key(&dir.join(TAGS), &yiwang_proto::document::base64_of(&random::<32>(entropy)))?;
        files::replace(&dir.join(CARD), card.bytes(), PUBLIC)?;
        let raw = Raw {
            format: FORMAT.to_owned(),
            member: member.clone(),
            display_name: display_name.to_owned(),
            hub: None,
            origin: None,
            verifier_key: None,
            trust_domain: None,
        };
        write_config(dir, &raw)?;
        Self::open(dir)
    }

    /// Opens a folder. Works without `root.key` and `next-root.key`, which belong offline.
    ///
    /// # Errors
    /// [`FolderError`] for what is missing or does not hold.
    pub fn open(dir: &Path) -> Result<Self, FolderError> {
        let path = dir.join(CONFIG);
        let content = |what: String| FolderError::Content { path: path.clone(), what };
        let text = match files::read_text(&path, CONFIG_MAX) {
            Err(FolderError::Io { path, source }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::NotThere(path));
            }
            read => read?,
        };
        let raw: Raw = toml::from_str(&text).map_err(|error| content(error.to_string()))?;
        if raw.format != FORMAT {
            return Err(content(format!("format is `{}`, expected `{FORMAT}`", raw.format)));
        }
        let card_document = SignedDocument::parse(files::read(&dir.join(CARD), DOCUMENT_MAX)?, DOCUMENT_MAX)?;
        let card = MemberCard::open(&card_document)?;
        if card.member != raw.member {
            return Err(content(format!("member is `{}`, but the card is of `{}`", raw.member, card.member)));
        }
        let enrolled = match (raw.hub, raw.origin, raw.verifier_key, raw.trust_domain) {
            (None, None, None, None) => None,
            (Some(hub), Some(origin), Some(key), Some(domain)) => {
                let key =
                    VerifierKey::parse(&key).map_err(|error| content(format!("verifier_key: {error}")))?;
                let who = Holder::Member(raw.member);
                Some(Enrolled::new(dir, hub, origin, key, domain, who).map_err(content)?)
            }
            _ => {
                let what = "hub, origin, verifier_key and trust_domain stand together or not at all";
                return Err(content(what.to_owned()));
            }
        };
        Ok(Self { dir: dir.to_owned(), card, card_document, enrolled })
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The member.
    #[must_use]
    pub fn member(&self) -> &MemberId {
        &self.card.member
    }

    /// What people call the member.
    #[must_use]
    pub fn display_name(&self) -> &str {
        &self.card.display_name
    }

    /// The member's root, public half; from the card, so it is known without the root's file.
    #[must_use]
    pub fn root_public(&self) -> PublicKey {
        self.card.root
    }

    /// The member card as it is sent at enrolment.
    #[must_use]
    pub fn card(&self) -> &SignedDocument {
        &self.card_document
    }

    /// The root itself, if its file is here.
    ///
    /// # Errors
    /// [`FolderError`] if it is away, exposed or not the card's.
    pub fn root_key(&self) -> Result<SecretKey, FolderError> {
        let path = self.dir.join(ROOT);
        let key = read_key_or(&path, FolderError::NoRoot)?;
        if key.public() == self.card.root {
            return Ok(key);
        }
        let what = if self.is_between_roots() {
            "the change to the next root was cut off: end it with `yiwang member rotate-root`"
        } else {
            "this is not the root of the member's card"
        };
        Err(FolderError::Content { path, what: what.to_owned() })
    }

    /// The key of subject tags.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn tag_key(&self) -> Result<TagKey, FolderError> {
        let path = self.dir.join(TAGS);
        let text = files::read_secret(&path)?;
        let bytes = yiwang_proto::document::from_base64(text.trim()).map(zeroize::Zeroizing::new);
        let secret = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        let what = || FolderError::Content { path, what: "expected 32 bytes in base64".to_owned() };
        secret.map(TagKey::new).ok_or_else(what)
    }

    /// Gives a key a role for a time, and keeps key and delegation here. The key is made if there is none
    /// of that role and name; else its delegation is replaced by one with a new serial.
    ///
    /// # Errors
    /// [`FolderError`]; the root must be here. [`FolderError::KeyTakenBack`] for a key that the member revoked.
    pub fn delegate(
        &self,
        role: Role,
        name: &AppId,
        valid_from_ms: i64,
        valid_until_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<SignedDocument, FolderError> {
        let path = self.key_path(role, name);
        if !path.exists() {
            return self.delegate_new(role, name, valid_from_ms, valid_until_ms, entropy);
        }
        self.delegate_key(role, name, read_key(&path)?.public(), valid_from_ms, valid_until_ms)
    }

    /// As [`Folder::delegate`], for a new key in the place of the one that is there.
    ///
    /// # Errors
    /// [`FolderError`]; the root must be here.
    pub fn delegate_new(
        &self,
        role: Role,
        name: &AppId,
        valid_from_ms: i64,
        valid_until_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<SignedDocument, FolderError> {
        // Before the old key goes: without the root there is no delegation for a new one.
        self.root_key()?;
        let key = SecretKey::generate(entropy);
        write_key(&self.key_path(role, name), &key.to_base64())?;
        self.delegate_key(role, name, key.public(), valid_from_ms, valid_until_ms)
    }

    /// As [`Folder::delegate`], for a key whose private half may be elsewhere.
    ///
    /// # Errors
    /// As [`Folder::delegate`].
    pub fn delegate_key(
        &self,
        role: Role,
        name: &AppId,
        key: PublicKey,
        valid_from_ms: i64,
        valid_until_ms: i64,
    ) -> Result<SignedDocument, FolderError> {
        let root = self.root_key()?;
        // Whoever has a key that was taken back would have its role again.
        if let Ok((_, held)) = self.load_delegation(role, name)
            && held.key == key
            && self.revoked()?.delegations.contains(&held.digest)
        {
            return Err(FolderError::KeyTakenBack(self.key_path(role, name)));
        }
        let serial = self.next_serial()?;
        let member = self.member();
        let document =
            Delegation::sign(&root, member, role, name, key, serial, valid_from_ms, valid_until_ms);
        self.save_delegation(&document)?;
        Ok(document)
    }

    /// Keeps a delegation that was signed elsewhere, in the place of an older one of its role and name.
    ///
    /// # Errors
    /// [`FolderError::Delegation`] unless it is of this member's root.
    pub fn save_delegation(&self, document: &SignedDocument) -> Result<(), FolderError> {
        let delegation = Delegation::open_under(document, &self.card.root)?;
        let path = self.delegation_path(delegation.role, &delegation.name);
        files::replace(&path, document.bytes(), PUBLIC)
    }

    /// The private key of a role and name.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn load_key(&self, role: Role, name: &AppId) -> Result<SecretKey, FolderError> {
        read_key(&self.key_path(role, name))
    }

    /// The delegation of a role and name, verified under this member's root. Whether it is valid now is the
    /// caller's to check.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn load_delegation(
        &self,
        role: Role,
        name: &AppId,
    ) -> Result<(SignedDocument, Delegation), FolderError> {
        let path = self.delegation_path(role, name);
        let document = SignedDocument::parse(files::read(&path, DOCUMENT_MAX)?, DOCUMENT_MAX)?;
        let delegation = Delegation::open_under(&document, &self.card.root)?;
        if delegation.role != role || delegation.name != *name || delegation.member != *self.member() {
            let what = "the delegation is of another role, name or member than its file name says";
            return Err(FolderError::Content { path, what: what.to_owned() });
        }
        Ok((document, delegation))
    }

    /// The names that have a delegation of this role here, in their order; whether the delegations hold is not looked into.
    ///
    /// # Errors
    /// [`FolderError`] for a folder that cannot be listed.
    pub fn delegated(&self, role: Role) -> Result<Vec<AppId>, FolderError> {
        let prefix = format!("{}-", role_word(role));
        let paths = files::list(&self.dir.join("delegations"), "json", DELEGATIONS_MAX)?;
        let names = paths.iter().filter_map(|path| {
            let name = path.file_stem()?.to_str()?.strip_prefix(prefix.as_str())?;
            AppId::parse(name).ok()
        });
        Ok(names.collect())
    }

    /// All contract documents by file name, in its order; their signatures are the caller's to check.
    ///
    /// # Errors
    /// [`FolderError`] for a file that is no document, and for more files than any member has contracts.
    pub fn contracts(&self) -> Result<Vec<(PathBuf, SignedDocument)>, FolderError> {
        let paths = files::list(&self.dir.join("contracts"), "json", CONTRACTS_MAX)?;
        let open = |path: PathBuf| {
            let document = SignedDocument::parse(files::read(&path, CONTRACT_MAX)?, CONTRACT_MAX);
            let document = document
                .map_err(|error| FolderError::Content { path: path.clone(), what: error.to_string() })?;
            Ok((path, document))
        };
        paths.into_iter().map(open).collect()
    }

    /// What the folder knows of its hub.
    ///
    /// # Errors
    /// [`FolderError::NotEnrolled`].
    pub fn enrolled(&self) -> Result<&Enrolled, FolderError> {
        self.enrolled.as_ref().ok_or_else(|| FolderError::NotEnrolled(self.dir.clone()))
    }

    /// Enrols at the hub that issued the token, or again at the same or another one.
    ///
    /// # Errors
    /// [`FolderError`]; what the hub sent is kept only if all of it holds.
    pub async fn enrol(
        &mut self,
        token: &EnrolToken,
        clock: std::sync::Arc<dyn Clock>,
    ) -> Result<(), FolderError> {
        if token.who != Holder::Member(self.member().clone()) {
            return Err(FolderError::OtherHolder(token.who.to_string()));
        }
        enrolment::enrol(&self.dir, token, self.card_document.bytes(), clock).await?;
        let raw = Raw {
            format: FORMAT.to_owned(),
            member: self.member().clone(),
            display_name: self.display_name().to_owned(),
            hub: Some(token.hub.clone()),
            origin: Some(token.origin.clone()),
            verifier_key: Some(token.verifier_key.to_string()),
            trust_domain: Some(token.trust_domain.clone()),
        };
        write_config(&self.dir, &raw)?;
        self.card_entered()?;
        *self = Self::open(&self.dir)?;
        Ok(())
    }

    fn key_path(&self, role: Role, name: &AppId) -> PathBuf {
        self.dir.join("keys").join(format!("{}-{name}.key", role_word(role)))
    }

    fn delegation_path(&self, role: Role, name: &AppId) -> PathBuf {
        self.dir.join("delegations").join(format!("{}-{name}.json", role_word(role)))
    }

    /// Counts up durably before the number is used: a serial names one delegation for ever.
    fn next_serial(&self) -> Result<u64, FolderError> {
        let _lock = files::lock(&self.dir)?;
        self.next_number(SERIAL, 0)
    }
}

/// A role as it stands in file names.
const fn role_word(role: Role) -> &'static str {
    match role {
        Role::App => "app",
        Role::Adapter => "adapter",
        Role::Officer => "officer",
        Role::Sealing => "sealing",
        Role::Standing => "standing",
    }
}

fn write_config(dir: &Path, raw: &Raw) -> Result<(), FolderError> {
    let path = dir.join(CONFIG);
    match toml::to_string(raw) {
        Ok(text) => files::replace(&path, text.as_bytes(), PUBLIC),
        Err(error) => Err(FolderError::Content { path, what: error.to_string() }),
    }
}

fn write_key(path: &Path, base64: &str) -> Result<(), FolderError> {
    let text = zeroize::Zeroizing::new(format!("{base64}\n"));
    files::replace(path, text.as_bytes(), PRIVATE)
}

/// As [`read_key`]; where the file is not there, the error says what to do about it.
fn read_key_or(path: &Path, missing: fn(PathBuf) -> FolderError) -> Result<SecretKey, FolderError> {
    read_key(path).map_err(|error| match error {
        FolderError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => missing(path),
        other => other,
    })
}

fn read_key(path: &Path) -> Result<SecretKey, FolderError> {
    let text = files::read_secret(path)?;
    SecretKey::from_base64(&text).map_err(|source| FolderError::Key { path: path.to_owned(), source })
}
