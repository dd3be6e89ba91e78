//! The case statement: an app opens a case, adds subjects, closes it. The register holds no content.

use crate::envelope::{SignedStatement, payload_type};
use crate::ids::{AppId, CaseId, Matter, MemberId, RequestId};
use crate::keys::{PublicKey, SecretKey};
use crate::limits::{CASE_TAGS_MAX, STATEMENT_LIFETIME_MS};
use crate::pb;
use crate::request::{Head, StatementError, digest, tags};
use crate::tag::Tag;
use prost::Message as _;

/// Reasons for an addition or a closing: a closed list, so that no text about persons enters the ledger.
pub const REASONS: &[&str] = &[
    "household-member",
    "joint-applicant",
    "corrected-identifier",
    "new-party",
    "decided",
    "withdrawn",
    "merged",
    "ended",
    "opened-by-mistake",
];

/// What happens to the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It begins.
    Open {
        /// From the closed list of matters.
        matter: Matter,
    },
    /// More subjects.
    Add {
        /// One of [`REASONS`].
        reason: String,
    },
    /// It ends.
    Close {
        /// One of [`REASONS`].
        reason: String,
    },
}

/// A case statement whose values satisfy their grammars and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseStatement {
    /// Names this statement, for replay protection.
    pub id: RequestId,
    /// The case.
    pub case: CaseId,
    /// Whose case it is.
    pub member: MemberId,
    /// The app that signs.
    pub app: AppId,
    /// What happens.
    pub act: Act,
    /// The member's tags of the subjects.
    pub subject_tags: Vec<Tag>,
    /// When it was signed, milliseconds.
    pub issued_at_ms: i64,
    /// When it ends, milliseconds.
    pub expires_at_ms: i64,
    /// SHA-256 of the app's delegation.
    pub delegation_digest: crate::Digest,
    /// The newest head that the signer has verified.
    pub head: Head,
}

fn reason(text: &str) -> Result<String, StatementError> {
    if REASONS.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(StatementError::Value("reason is not in the closed list of reasons"))
    }
}

impl CaseStatement {
    /// Checks a statement's payload.
    pub fn parse(payload: &bytes::Bytes) -> Result<Self, StatementError> {
        let raw = pb::CaseStatement::decode(payload.clone()).map_err(|_| StatementError::NotCanonical)?;
        if !crate::canonical::is_canonical(&raw, payload) {
            return Err(StatementError::NotCanonical);
        }
        let lifetime = raw.expires_at_ms.checked_sub(raw.issued_at_ms);
        if !lifetime.is_some_and(|ms| (1..=STATEMENT_LIFETIME_MS).contains(&ms)) {
            return Err(StatementError::Value("a synchronous statement lives 1 to 60000 ms"));
        }
        let act = match raw.act() {
            pb::CaseAct::Open if raw.reason.is_empty() => Act::Open { matter: Matter::parse(&raw.matter)? },
            pb::CaseAct::Add if raw.matter.is_empty() => Act::Add { reason: reason(&raw.reason)? },
            pb::CaseAct::Close if raw.matter.is_empty() && raw.subject_tags.is_empty() => {
                Act::Close { reason: reason(&raw.reason)? }
            }
            _ => return Err(StatementError::Value("act, matter, reason and tags do not fit")),
        };
        Ok(Self {
            id: RequestId::parse(&raw.statement_id)?,
            case: CaseId::parse(&raw.case_id)?,
            member: MemberId::parse(&raw.member)?,
            app: AppId::parse(&raw.app)?,
            act,
            subject_tags: tags(&raw.subject_tags, CASE_TAGS_MAX)?,
            issued_at_ms: raw.issued_at_ms,
            expires_at_ms: raw.expires_at_ms,
            delegation_digest: digest(&raw.delegation_digest, "delegation_digest is not 32 bytes")?,
            head: Head::check(raw.head.as_ref())?,
        })
    }

    /// Signs the statement.
    pub fn sign(&self, key: &SecretKey) -> SignedStatement {
        let (act, matter, reason) = match &self.act {
            Act::Open { matter } => (pb::CaseAct::Open, matter.as_str(), ""),
            Act::Add { reason } => (pb::CaseAct::Add, "", reason.as_str()),
            Act::Close { reason } => (pb::CaseAct::Close, "", reason.as_str()),
        };
        let raw = pb::CaseStatement {
            case_id: self.case.as_str().to_owned(),
            member: self.member.as_str().to_owned(),
            app: self.app.as_str().to_owned(),
            act: act.into(),
            matter: matter.to_owned(),
            subject_tags: self.subject_tags.iter().map(|tag| tag.to_vec().into()).collect(),
            reason: reason.to_owned(),
            issued_at_ms: self.issued_at_ms,
            expires_at_ms: self.expires_at_ms,
            delegation_digest: self.delegation_digest.to_vec().into(),
            head: Some(self.head.to_pb()),
            statement_id: self.id.as_str().to_owned(),
        };
        SignedStatement::sign(payload_type::CASE, raw.encode_to_vec(), key)
    }

    /// Verifies the signature of a case envelope and checks its statement.
    pub fn open(signed: &SignedStatement, key: &PublicKey) -> Result<Self, StatementError> {
        Self::parse(signed.verify(payload_type::CASE, key)?)
    }
}
