//! A member's card: who it is and which root key it has, signed by that root. The card commits to the
//! next root, so that neither loss nor theft of a root is final.

use crate::delegation::DelegationError;
use crate::document::{SignedDocument, base64_of, from_base64};
use crate::envelope::payload_type;
use crate::ids::MemberId;
use crate::keys::{PublicKey, SecretKey};
use crate::time::{format_rfc3339, parse_rfc3339};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    member: MemberId,
    display_name: String,
    root: PublicKey,
    next_root_sha256: String,
    issued_at: String,
}

const FORMAT: &str = "yiwang-member/1";

/// A member card whose signature was verified under the root that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberCard {
    /// Whose card it is.
    pub member: MemberId,
    /// What people call it, at most 80 characters.
    pub display_name: String,
    /// The root key.
    pub root: PublicKey,
    /// SHA-256 of the next root's public key.
    pub next_root_digest: crate::Digest,
    /// When it was signed, milliseconds.
    pub issued_at_ms: i64,
}

impl MemberCard {
    /// Verifies a card under its own root: proof that the sender holds that root, no more.
    pub fn open(document: &SignedDocument) -> Result<Self, DelegationError> {
        let text = |what: &str| DelegationError::Text(what.to_owned());
        let raw: Raw = serde_json::from_slice(document.unverified_payload())
            .map_err(|error| DelegationError::Text(error.to_string()))?;
        if raw.format != FORMAT {
            return Err(text("format is not `yiwang-member/1`"));
        }
        if raw.display_name.chars().count() > 80 || raw.display_name.chars().any(char::is_control) {
            return Err(text("display_name is longer than 80 characters or has control characters"));
        }
        document.verify(payload_type::MEMBER, &raw.root)?;
        let next = from_base64(&raw.next_root_sha256).and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            member: raw.member,
            display_name: raw.display_name,
            root: raw.root,
            next_root_digest: next.ok_or_else(|| text("next_root_sha256 is not 32 bytes of base64"))?,
            issued_at_ms: parse_rfc3339(&raw.issued_at)?,
        })
    }

    /// Signs a card.
    pub fn sign(
        root: &SecretKey,
        next_root: &PublicKey,
        member: &MemberId,
        display_name: &str,
        issued_at_ms: i64,
    ) -> SignedDocument {
        let raw = Raw {
            format: FORMAT.to_owned(),
            member: member.clone(),
            display_name: display_name.to_owned(),
            root: root.public(),
            next_root_sha256: base64_of(&crate::sha256(next_root.as_bytes())),
            issued_at: format_rfc3339(issued_at_ms),
        };
        // A struct of strings always serialises.
        let payload = serde_json::to_vec(&raw).unwrap_or_default();
        SignedDocument::sign(payload_type::MEMBER, &payload, &[root])
    }
}
