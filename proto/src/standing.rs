//! The standing: a member's signed, short-lived word on what is still in force (format only).

use crate::envelope::{SignedStatement, payload_type};
use crate::ids::{ContractId, MemberId};
use crate::keys::{PublicKey, SecretKey};
use crate::pb;
use crate::request::{StatementError, digest};
use prost::Message as _;

/// Longest life of a standing: 24 hours, where a contract says so.
pub const LIFETIME_MAX_MS: i64 = 24 * 3600 * 1000;

/// A standing whose values satisfy their grammars and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose word it is.
    pub member: MemberId,
    /// SHA-256 of its root's public key.
    pub root_digest: crate::Digest,
    /// Counts up; an older one is refused.
    pub sequence: u64,
    /// Serials of revoked delegations, ascending.
    pub revoked_serials: Vec<u64>,
    /// Contracts that the member ended.
    pub ended_contracts: Vec<ContractId>,
    /// Signed at, milliseconds.
    pub issued_at_ms: i64,
    /// Ends at, milliseconds.
    pub expires_at_ms: i64,
}

impl Standing {
    /// Checks a payload.
    pub fn parse(payload: &bytes::Bytes) -> Result<Self, StatementError> {
        let raw = pb::Standing::decode(payload.clone()).map_err(|_| StatementError::NotCanonical)?;
        if raw.encode_to_vec() != *payload {
            return Err(StatementError::NotCanonical);
        }
        let life = raw.expires_at_ms.checked_sub(raw.issued_at_ms);
        if !life.is_some_and(|ms| (1..=LIFETIME_MAX_MS).contains(&ms)) {
            return Err(StatementError::Value("a standing lives at most 24 hours"));
        }
        if !raw.revoked_serials.is_sorted_by(|a, b| a < b) {
            return Err(StatementError::Value("revoked serials are not ascending"));
        }
        let ended: Result<Vec<_>, _> = raw.ended_contracts.iter().map(|id| ContractId::parse(id)).collect();
        Ok(Self {
            member: MemberId::parse(&raw.member)?,
            root_digest: digest(&raw.root_digest, "root_digest is not 32 bytes")?,
            sequence: raw.sequence,
            revoked_serials: raw.revoked_serials,
            ended_contracts: ended?,
            issued_at_ms: raw.issued_at_ms,
            expires_at_ms: raw.expires_at_ms,
        })
    }

    /// Signs a standing.
    pub fn sign(&self, key: &SecretKey) -> SignedStatement {
        let raw = pb::Standing {
            member: self.member.as_str().to_owned(),
            root_digest: self.root_digest.to_vec().into(),
            sequence: self.sequence,
            revoked_serials: self.revoked_serials.clone(),
            ended_contracts: self.ended_contracts.iter().map(|id| id.as_str().to_owned()).collect(),
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
        };
        SignedStatement::sign(payload_type::STANDING, raw.encode_to_vec(), key)
    }

    /// Verifies and checks.
    pub fn open(signed: &SignedStatement, key: &PublicKey) -> Result<Self, StatementError> {
        Self::parse(signed.verify(payload_type::STANDING, key)?)
    }
}
