//! The answer statement: what a provider's adapter signs.

use crate::clause::is_clause;
use crate::codes::Code;
use crate::envelope::{SignedStatement, payload_type};
use crate::ids::{AppId, FieldName, MemberId, RequestId};
use crate::keys::{PublicKey, SecretKey};
use crate::limits::TAGS_MAX;
use crate::pb;
use crate::request::{Head, StatementError, digest, fields, tags};
use crate::tag::Tag;
use prost::Message as _;

/// What an adapter says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Records (possibly none) are in the body.
    Answered,
    /// The adapter refused.
    Denied(Code),
    /// The source could not answer.
    Failed(Code),
}

/// An answer statement whose values satisfy their grammars and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The request's id.
    pub request_id: RequestId,
    /// SHA-256 of the request's signed payload.
    pub request_digest: crate::Digest,
    /// Who answers.
    pub provider: MemberId,
    /// With which adapter.
    pub adapter: AppId,
    /// What it says.
    pub verdict: Verdict,
    /// The clause that decided, in the grammar of [`crate::clause`]; empty where it answers.
    pub clause: String,
    /// Fields in the body, in ascending order.
    pub fields: Vec<FieldName>,
    /// Fields asked for and left out, in ascending order, with the clause.
    pub withheld: Vec<(FieldName, String)>,
    /// Records in the body.
    pub rows: u32,
    /// The provider's tags of the subjects found.
    pub subject_tags: Vec<Tag>,
    /// Root over the tags where there are more than 64.
    pub subject_tags_root: Option<crate::Digest>,
    /// When it was signed, milliseconds.
    pub answered_at_ms: i64,
    /// The oldest moment the data is good for; 0 = the source does not say.
    pub as_of_ms: i64,
    /// SHA-256 of the encoded body, where there is one.
    pub body_digest: Option<crate::Digest>,
    /// SHA-256 of the mapping file.
    pub mapping_digest: crate::Digest,
    /// The newest head that the adapter has verified.
    pub head: Head,
    /// SHA-256 of the adapter's delegation.
    pub delegation_digest: crate::Digest,
    /// More rows existed than the contract lets out.
    pub truncated: bool,
    /// SHA-256 of the delegation for sealing that the body is sealed to; none where it travels open.
    pub sealed_to: Option<crate::Digest>,
}

fn clause(text: &str) -> Result<String, StatementError> {
    if is_clause(text) {
        Ok(text.to_owned())
    } else {
        Err(StatementError::Value("a clause breaks its grammar"))
    }
}

fn maybe_digest(bytes: &[u8], fault: &'static str) -> Result<Option<crate::Digest>, StatementError> {
    if bytes.is_empty() { Ok(None) } else { digest(bytes, fault).map(Some) }
}

impl Answer {
    /// Checks a statement's payload.
    pub fn parse(payload: &bytes::Bytes) -> Result<Self, StatementError> {
        let raw = pb::AnswerStatement::decode(payload.clone()).map_err(|_| StatementError::NotCanonical)?;
        if !crate::canonical::is_canonical(&raw, payload) {
            return Err(StatementError::NotCanonical);
        }
        let code = || Code::parse(&raw.code).ok_or(StatementError::Value("code is not a service code"));
        let verdict = match raw.outcome() {
            pb::Outcome::Answered if raw.code.is_empty() => Verdict::Answered,
            pb::Outcome::Denied => Verdict::Denied(code()?),
            pb::Outcome::Failed => Verdict::Failed(code()?),
            _ => return Err(StatementError::Value("outcome and code do not fit")),
        };
        if !raw.resume_token.is_empty() {
            return Err(StatementError::Value("batch pages are not served"));
        }
        let body_digest = maybe_digest(&raw.body_digest, "body_digest is not 32 bytes")?;
        if body_digest.is_some() != (verdict == Verdict::Answered) {
            return Err(StatementError::Value("exactly answered requests have a body"));
        }
        let sealed_to = maybe_digest(&raw.sealed_to, "sealed_to is not 32 bytes")?;
        if sealed_to.is_some() && body_digest.is_none() {
            return Err(StatementError::Value("only a body can be sealed"));
        }
        let mut withheld = Vec::with_capacity(raw.withheld.len().min(64));
        for item in raw.withheld.iter().take(crate::limits::FIELDS_MAX + 1) {
            withheld.push((FieldName::parse(&item.field)?, clause(&item.clause)?));
        }
        if withheld.len() > crate::limits::FIELDS_MAX {
            return Err(StatementError::Value("more than 64 withheld fields"));
        }
        if !withheld.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(StatementError::Value("withheld fields are not in ascending order without repeats"));
        }
        if verdict == Verdict::Answered && !raw.clause.is_empty() {
            return Err(StatementError::Value("only a refusal or failure has a clause"));
        }
        Ok(Self {
            request_id: RequestId::parse(&raw.request_id)?,
            request_digest: digest(&raw.request_digest, "request_digest is not 32 bytes")?,
            provider: MemberId::parse(&raw.provider)?,
            adapter: AppId::parse(&raw.adapter)?,
            verdict,
            clause: clause(&raw.clause)?,
            fields: fields(&raw.fields)?,
            withheld,
            rows: raw.rows,
            subject_tags: tags(&raw.subject_tags, TAGS_MAX)?,
            subject_tags_root: maybe_digest(&raw.subject_tags_root, "subject_tags_root is not 32 bytes")?,
            answered_at_ms: raw.answered_at_ms,
            as_of_ms: raw.as_of_ms,
            body_digest,
            mapping_digest: digest(&raw.mapping_digest, "mapping_digest is not 32 bytes")?,
            head: Head::check(raw.head.as_ref())?,
            delegation_digest: digest(&raw.delegation_digest, "delegation_digest is not 32 bytes")?,
            truncated: raw.truncated,
            sealed_to,
        })
    }

    /// Signs the statement.
    pub fn sign(&self, key: &SecretKey) -> SignedStatement {
        SignedStatement::sign(payload_type::ANSWER, self.payload(), key)
    }

    /// The bytes that are signed.
    pub fn payload(&self) -> Vec<u8> {
        let (outcome, code) = match &self.verdict {
            Verdict::Answered => (pb::Outcome::Answered, ""),
            Verdict::Denied(code) => (pb::Outcome::Denied, code.as_str()),
            Verdict::Failed(code) => (pb::Outcome::Failed, code.as_str()),
        };
        let bytes = |digest: Option<&crate::Digest>| digest.map(|d| d.to_vec().into()).unwrap_or_default();
        let raw = pb::AnswerStatement {
            request_id: self.request_id.as_str().to_owned(),
            request_digest: self.request_digest.to_vec().into(),
            provider: self.provider.as_str().to_owned(),
            adapter: self.adapter.as_str().to_owned(),
            outcome: outcome.into(),
            code: code.to_owned(),
            clause: self.clause.clone(),
            fields: self.fields.iter().map(|field| field.as_str().to_owned()).collect(),
            withheld: self
                .withheld
                .iter()
                .map(|(field, clause)| pb::FieldWithheld {
                    field: field.as_str().to_owned(),
                    clause: clause.clone(),
                })
                .collect(),
            rows: self.rows,
            subject_tags: self.subject_tags.iter().map(|tag| tag.to_vec().into()).collect(),
            subject_tags_root: bytes(self.subject_tags_root.as_ref()),
            answered_at_ms: self.answered_at_ms,
            as_of_ms: self.as_of_ms,
            body_digest: bytes(self.body_digest.as_ref()),
            mapping_digest: self.mapping_digest.to_vec().into(),
            head: Some(self.head.to_pb()),
            delegation_digest: self.delegation_digest.to_vec().into(),
            truncated: self.truncated,
            resume_token: String::new(),
            sealed_to: bytes(self.sealed_to.as_ref()),
        };
        raw.encode_to_vec()
    }

    /// Verifies the signature of an answer envelope and checks its statement.
    pub fn open(signed: &SignedStatement, key: &PublicKey) -> Result<Self, StatementError> {
        Self::parse(signed.verify(payload_type::ANSWER, key)?)
    }

    /// As [`Answer::open`], for whoever receives many: of answers that were signed together only the first costs a
    /// check of their signature. Whether the contract allows that is for the caller ([`crate::contract::ContractText::allows`]).
    ///
    /// # Errors
    /// As [`Answer::verify_knowing`], and [`StatementError`] for a statement that breaks its form.
    pub fn open_knowing(
        signed: &SignedStatement,
        key: &PublicKey,
        roots: &crate::batch::Roots,
    ) -> Result<Self, StatementError> {
        Self::verify_knowing(signed, key, roots)?;
        Self::parse(signed.unverified_payload())
    }

    /// The check of the signature in [`Answer::open_knowing`] alone, for whoever had to parse the payload before to find
    /// the key.
    ///
    /// # Errors
    /// [`StatementError::Envelope`] unless the key, and nobody else, signed this payload as an answer.
    pub fn verify_knowing(
        signed: &SignedStatement,
        key: &PublicKey,
        roots: &crate::batch::Roots,
    ) -> Result<(), StatementError> {
        let verified = match signed.signature_count() {
            1 => signed.verify_knowing(roots, 0, payload_type::ANSWER, key),
            _ => signed.verify(payload_type::ANSWER, key),
        };
        verified?;
        Ok(())
    }

    /// What in this answer does not fit the request, if anything: the check of every receiver.
    pub fn mismatch(
        &self,
        request: &crate::request::Request,
        request_digest: &crate::Digest,
    ) -> Option<&'static str> {
        if self.request_id != request.id || self.request_digest != *request_digest {
            return Some("answers another request");
        }
        if self.provider != request.provider {
            return Some("is of another provider");
        }
        if self.fields.iter().any(|field| request.fields.binary_search(field).is_err()) {
            return Some("holds a field that was not asked for");
        }
        if self.withheld.iter().any(|(field, _)| request.fields.binary_search(field).is_err()) {
            return Some("withholds a field that was not asked for");
        }
        if self.body_digest.is_some() && self.sealed_to != request.sealing {
            return Some("is not sealed as the request asks");
        }
        None
    }
}
