//! What the member revoked, and the standings that say so. The list is the member's own file; whoever issues
//! a standing reads it, so what was revoked here is in every later standing.

use super::files::{self, PUBLIC};
use super::{CONTRACTS_MAX, Folder, FolderError};
use std::io;
use std::time::SystemTime;
use yiwang_proto::contract::ContractText;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::limits::{CONTRACT_MAX, DOCUMENT_MAX};
use yiwang_proto::revocation::Revoked;
use yiwang_proto::standing::{LIFE_MS, LIFETIME_MAX_MS, Standing};
use yiwang_proto::time::parse_rfc3339;

const REVOKED: &str = "revoked.json";
const SEQUENCE: &str = "standing";
/// A list at its limits is under 32 KiB.
const REVOKED_MAX: usize = 64 * 1024;
/// Bytes of a file that holds one number.
const NUMBER_MAX: usize = 32;
/// Delegations of one member that are looked through for the standing key.
const DELEGATIONS_MAX: usize = 10_000;

/// A standing that was issued, ready to be offered.
#[derive(Debug, Clone)]
pub struct IssuedStanding {
    /// What it says.
    pub standing: Standing,
    /// The signed statement.
    pub signed: SignedStatement,
    /// The delegation of the key that signed it.
    pub delegation: SignedDocument,
}

/// When the list changed last; two that are equal are of one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListStamp(Option<(SystemTime, u64, u64)>);

fn missing(error: &FolderError) -> bool {
    matches!(error, FolderError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

impl Folder {
    /// What the member revoked. A list that cannot be read is an error, never an empty list.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn revoked(&self) -> Result<Revoked, FolderError> {
        let path = self.dir.join(REVOKED);
        match files::read(&path, REVOKED_MAX) {
            Ok(bytes) => Revoked::from_json(&bytes).map_err(|what| FolderError::Content { path, what }),
            Err(error) if missing(&error) => Ok(Revoked::default()),
            Err(error) => Err(error),
        }
    }

    /// Tells whether the list changed since another look, without reading it.
    pub fn list_stamp(&self) -> ListStamp {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(self.dir.join(REVOKED)).ok();
        // Each change is a new file: the inode tells what times of the file system may not.
        ListStamp(found.and_then(|meta| Some((meta.modified().ok()?, meta.len(), meta.ino()))))
    }

    /// Adds to what is revoked; durable when it returns. Yields the whole list.
    ///
    /// # Errors
    /// [`FolderError::ListFull`], or a file's fault; then nothing changed.
    pub fn revoke(&self, more: &Revoked) -> Result<Revoked, FolderError> {
        let _lock = files::lock(&self.dir)?;
        let mut all = self.revoked()?;
        all.merge(more);
        if !all.fits() {
            return Err(FolderError::ListFull);
        }
        files::replace(&self.dir.join(REVOKED), &all.to_json(), PUBLIC)?;
        Ok(all)
    }

    /// The standing key in force that lives longest: a new week's key may lie here before the old one ends.
    fn standing_key(&self, now_ms: i64) -> Result<(SignedDocument, Delegation), FolderError> {
        let mut best: Option<(SignedDocument, Delegation)> = None;
        for path in files::list(&self.dir.join("delegations"), "json", DELEGATIONS_MAX)? {
            let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("standing-"));
            if !named {
                continue;
            }
            let document = SignedDocument::parse(files::read(&path, DOCUMENT_MAX)?, DOCUMENT_MAX)?;
            let delegation = Delegation::open(&document)?;
            // One that somebody made while the root was changed is no reason to be silent.
            if delegation.root != self.card.root {
                continue;
            }
            let fits = delegation.role == Role::Standing && delegation.valid_at(now_ms);
            let longer = best.as_ref().is_none_or(|(_, old)| old.valid_until_ms < delegation.valid_until_ms);
            if fits && longer {
                best = Some((document, delegation));
            }
        }
        best.ok_or_else(|| FolderError::NoStandingKey(self.dir.clone()))
    }

    /// Until when this folder can issue standings: the end of the delegation of its key.
    ///
    /// # Errors
    /// [`FolderError::NoStandingKey`], or a file's fault.
    pub fn standing_until_ms(&self, now_ms: i64) -> Result<i64, FolderError> {
        let (_, opened) = self.standing_key(now_ms)?;
        self.load_key(Role::Standing, &opened.name)?;
        Ok(opened.valid_until_ms)
    }

    /// The longest life that a contract of this folder asks of standings; 60 seconds without one. A file that cannot be read
    /// asks for nothing: without a standing the member would be silent under all its contracts, and `adapter check` tells of it.
    fn standing_life_ms(&self, now_ms: i64) -> i64 {
        let paths = files::list(&self.dir.join("contracts"), "json", CONTRACTS_MAX).unwrap_or_default();
        let ages = paths.iter().filter_map(|path| {
            let document = SignedDocument::parse(files::read(path, CONTRACT_MAX).ok()?, CONTRACT_MAX).ok()?;
            let text = ContractText::parse(document.unverified_payload()).ok()?;
            parse_rfc3339(&text.valid_until)
                .is_ok_and(|until_ms| now_ms < until_ms)
                .then(|| text.standing_age_ms())
        });
        ages.max().unwrap_or(LIFE_MS).clamp(LIFE_MS, LIFETIME_MAX_MS)
    }

    /// Issues the next standing from the list as it is now. Its number is durable before it is used, and
    /// never below the clock's milliseconds, so that a folder from a backup does not repeat one.
    ///
    /// # Errors
    /// [`FolderError::NoStandingKey`], or a file's fault.
    pub fn issue_standing(&self, now_ms: i64) -> Result<IssuedStanding, FolderError> {
        let (delegation, opened) = self.standing_key(now_ms)?;
        let key = self.load_key(Role::Standing, &opened.name)?;
        let life_ms = self.standing_life_ms(now_ms);
        let (revoked, sequence) = {
            let _lock = files::lock(&self.dir)?;
            (self.revoked()?, self.next_number(SEQUENCE, u64::try_from(now_ms).unwrap_or_default())?)
        };
        let standing = Standing {
            member: self.member().clone(),
            root_digest: yiwang_proto::sha256(self.card.root.as_bytes()),
            sequence,
            revoked_serials: Vec::new(),
            revoked,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(life_ms),
            delegation_digest: opened.digest,
        };
        let signed = standing.sign(&key);
        Ok(IssuedStanding { standing, signed, delegation })
    }

    /// The next number of a file, durable before it is used. The folder must be locked.
    pub(super) fn next_number(&self, file: &str, at_least: u64) -> Result<u64, FolderError> {
        let path = self.dir.join(file);
        let last = match files::read_text(&path, NUMBER_MAX) {
            Ok(text) => text.trim().parse::<u64>().ok(),
            Err(error) if missing(&error) => Some(0),
            Err(error) => return Err(error),
        };
        let what = || "expected a number below 2^64".to_owned();
        let next = last.and_then(|last| last.checked_add(1));
        let next = next.ok_or_else(|| FolderError::Content { path: path.clone(), what: what() })?;
        let next = next.max(at_least);
        files::replace(&path, format!("{next}\n").as_bytes(), PUBLIC)?;
        Ok(next)
    }
}
