//! A delegation: a member's root gives a key a role. Keys of apps, adapters and officers count only by
//! one; the hub's registry and TLS identities route and throttle, they never authorise.

use crate::document::SignedDocument;
use crate::envelope::{EnvelopeError, payload_type};
use crate::ids::{AppId, MemberId};
use crate::keys::{PublicKey, SecretKey};
use crate::time::{TimeError, format_rfc3339, parse_rfc3339};
use serde::{Deserialize, Serialize};

/// What a delegated key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Signs requests and case statements.
    App,
    /// Signs answers.
    Adapter,
    /// Signs tickets and, for class 3, requests.
    Officer,
    /// Opens sealed bodies.
    Sealing,
    /// Signs standings; lives at most 7 days.
    Standing,
}

/// Why a delegation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegationError {
    /// The envelope or a signature does not hold.
    #[error("delegation: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The payload is not as it must be.
    #[error("delegation text: {0}")]
    Text(String),
    /// A time does not parse.
    #[error("delegation: {0}")]
    Time(#[from] TimeError),
    /// Signed under another root.
    #[error("delegation of `{0}` is not signed by the root that counts here")]
    OtherRoot(MemberId),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    member: MemberId,
    root: PublicKey,
    role: Role,
    name: AppId,
    key: PublicKey,
    serial: u64,
    valid_from: String,
    valid_until: String,
}

const FORMAT: &str = "yiwang-delegation/1";

/// A delegation whose signature under its root was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Whose key it is.
    pub member: MemberId,
    /// The root that signed.
    pub root: PublicKey,
    /// What the key may do.
    pub role: Role,
    /// The app's or adapter's name.
    pub name: AppId,
    /// The key.
    pub key: PublicKey,
    /// Counts up per member; names the delegation in standings and revocations.
    pub serial: u64,
    /// First valid moment, milliseconds.
    pub valid_from_ms: i64,
    /// First moment that is no longer valid, milliseconds.
    pub valid_until_ms: i64,
    /// SHA-256 of the signed payload.
    pub digest: crate::Digest,
}

impl Delegation {
    /// Verifies a document under the root that it names itself. The caller must still compare that root
    /// with the one that counts: the contract's or the member's card.
    pub fn open(document: &SignedDocument) -> Result<Self, DelegationError> {
        let raw: Raw = serde_json::from_slice(document.unverified_payload())
            .map_err(|error| DelegationError::Text(error.to_string()))?;
        if raw.format != FORMAT {
            return Err(DelegationError::Text(format!("format is not `{FORMAT}`")));
        }
        document.verify(payload_type::DELEGATION, &raw.root)?;
        let (from, until) = (parse_rfc3339(&raw.valid_from)?, parse_rfc3339(&raw.valid_until)?);
        if from >= until {
            return Err(DelegationError::Text("valid_until is not after valid_from".to_owned()));
        }
        Ok(Self {
            member: raw.member,
            root: raw.root,
            role: raw.role,
            name: raw.name,
            key: raw.key,
            serial: raw.serial,
            valid_from_ms: from,
            valid_until_ms: until,
            digest: document.digest(),
        })
    }

    /// Like [`Delegation::open`], and the root must be this one.
    pub fn open_under(document: &SignedDocument, root: &PublicKey) -> Result<Self, DelegationError> {
        let delegation = Self::open(document)?;
        if delegation.root == *root {
            Ok(delegation)
        } else {
            Err(DelegationError::OtherRoot(delegation.member))
        }
    }

    /// Whether it holds at a moment.
    pub fn valid_at(&self, now_ms: i64) -> bool {
        (self.valid_from_ms..self.valid_until_ms).contains(&now_ms)
    }

    /// Signs a new delegation with the member's root.
    #[expect(clippy::too_many_arguments, reason = "the fields of the document, each of its own type")]
    pub fn sign(
        root: &SecretKey,
        member: &MemberId,
        role: Role,
        name: &AppId,
        key: PublicKey,
        serial: u64,
        valid_from_ms: i64,
        valid_until_ms: i64,
    ) -> SignedDocument {
        let raw = Raw {
            format: FORMAT.to_owned(),
            member: member.clone(),
            root: root.public(),
            role,
            name: name.clone(),
            key,
            serial,
            valid_from: format_rfc3339(valid_from_ms),
            valid_until: format_rfc3339(valid_until_ms),
        };
        // A struct of strings and numbers always serialises.
        let payload = serde_json::to_vec(&raw).unwrap_or_default();
        SignedDocument::sign(payload_type::DELEGATION, &payload, &[root])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegation_counts_under_its_own_root_only() {
        let (root, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let member = MemberId::parse("police").unwrap();
        let name = AppId::parse("desk").unwrap();
        let document = Delegation::sign(&root, &member, Role::App, &name, other.public(), 1, 0, 1000);
        let opened = Delegation::open_under(&document, &root.public()).unwrap();
        assert_eq!((opened.key, opened.serial, opened.role), (other.public(), 1, Role::App));
        assert!(opened.valid_at(999) && !opened.valid_at(1000) && !opened.valid_at(-1));
        assert!(matches!(
            Delegation::open_under(&document, &other.public()),
            Err(DelegationError::OtherRoot(_))
        ));
        let forged = SignedDocument::sign(payload_type::DELEGATION, document.unverified_payload(), &[&other]);
        assert!(Delegation::open(&forged).is_err());
    }
}
