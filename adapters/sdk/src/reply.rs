//! The last stage: the signed answer statement. Refusals and failures are signed too, so that whoever
//! reads the ledger knows who refused and why.

use crate::journal::JournalError;
use bytes::Bytes;
use std::sync::Arc;
use yiwang_proto::ambient::Entropy;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::AnswerBody;
use yiwang_proto::clause::clause_of;
use yiwang_proto::codes::Code;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{AppId, FieldName, MemberId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::request::{Head, Request};
use yiwang_proto::sealing::{Direction, Recipient, seal};
use yiwang_proto::tag::Tag;
use yiwang_proto::{Digest, sha256};

/// What goes back for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// An encoded envelope of a signed answer statement. Empty where the bytes of the request were no
    /// statement: there is nothing that could be named in an answer.
    pub answer: Bytes,
    /// An encoded answer body; empty where nothing is let out.
    pub body: Bytes,
}

impl Reply {
    /// For bytes that are no statement.
    pub(crate) fn unsigned() -> Self {
        Self { answer: Bytes::new(), body: Bytes::new() }
    }
}

/// Why a request gets no records. The clause names rules, clauses and fields, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) verdict: Verdict,
    pub(crate) clause: String,
}

impl Refusal {
    /// A rule says no.
    pub(crate) fn denied(code: Code, clause: &str) -> Self {
        Self { verdict: Verdict::Denied(code), clause: clause.to_owned() }
    }

    /// Nobody says no, but there is no answer.
    pub(crate) fn failed(code: Code, clause: &str) -> Self {
        Self { verdict: Verdict::Failed(code), clause: clause.to_owned() }
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full => Self::failed(Code::LedgerFull, "the adapter's journal has no space"),
            _ => Self::failed(Code::Internal, "the adapter's journal failed"),
        }
    }
}

/// Records that may leave.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) fields: Vec<FieldName>,
    pub(crate) withheld: Vec<(FieldName, String)>,
    pub(crate) rows: u32,
    pub(crate) subject_tags: Vec<Tag>,
    pub(crate) subject_tags_root: Option<Digest>,
    /// Own tags of everybody in a batch's page.
    pub(crate) handed: Vec<Tag>,
    /// What a batch's next page is asked for with.
    pub(crate) resume: String,
    /// The token of the page before, by SHA-256.
    pub(crate) follows: Option<Digest>,
    pub(crate) as_of_ms: i64,
    pub(crate) mapping_digest: Digest,
    pub(crate) truncated: bool,
    pub(crate) records: Bytes,
    pub(crate) sealed_to: Option<Recipient>,
    /// The contract lets answers be signed with others.
    pub(crate) together: bool,
}

/// A statement that is released.
pub(crate) enum Statement {
    Signed(SignedStatement),
    /// What its payload is, to be signed with others when its record is written.
    Together(Vec<u8>),
}

/// Signs answers.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) member: MemberId,
    pub(crate) adapter: AppId,
    pub(crate) key: Arc<SecretKey>,
    pub(crate) delegation_digest: Digest,
}

impl Signer {
    /// A statement and body for records; the body is sealed where the request asks for it.
    pub(crate) fn release(
        &self,
        request: &Request,
        request_digest: Digest,
        released: Released,
        head: Head,
        now_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<(Statement, Bytes), Refusal> {
        let (body, digest) =
            AnswerBody::encode_page(released.records, released.resume, released.follows, entropy);
        let mut answer = self.blank(request, request_digest, Verdict::Answered, head, now_ms);
        answer.fields = released.fields;
        answer.withheld =
            released.withheld.into_iter().map(|(field, words)| (field, clause_of(&words))).collect();
        answer.rows = released.rows;
        answer.subject_tags = released.subject_tags;
        answer.subject_tags_root = released.subject_tags_root;
        answer.as_of_ms = released.as_of_ms;
        answer.mapping_digest = released.mapping_digest;
        answer.truncated = released.truncated;
        answer.body_digest = Some(digest);
        answer.sealed_to = released.sealed_to.as_ref().map(|recipient| recipient.delegation);
        let payload = answer.payload();
        let body = match &released.sealed_to {
            // To the statement that is signed over the plain body: so it fits no other.
            Some(recipient) => seal(Direction::Answer, recipient, &sha256(&payload), &body, entropy)
                .map_err(|error| Refusal::failed(Code::TooLarge, &error.to_string()))?,
            None => body,
        };
        let statement = match released.together {
            true => Statement::Together(payload),
            false => Statement::Signed(SignedStatement::sign(payload_type::ANSWER, payload, &self.key)),
        };
        Ok((statement, body))
    }

    /// A statement without records.
    pub(crate) fn refuse(
        &self,
        request: &Request,
        request_digest: Digest,
        refusal: &Refusal,
        head: Head,
        now_ms: i64,
    ) -> SignedStatement {
        let mut answer = self.blank(request, request_digest, refusal.verdict.clone(), head, now_ms);
        answer.clause = clause_of(&refusal.clause);
        answer.sign(&self.key)
    }

    fn blank(
        &self,
        request: &Request,
        request_digest: Digest,
        verdict: Verdict,
        head: Head,
        now_ms: i64,
    ) -> Answer {
        Answer {
            request_id: request.id.clone(),
            request_digest,
            provider: self.member.clone(),
            adapter: self.adapter.clone(),
            verdict,
            clause: String::new(),
            fields: Vec::new(),
            withheld: Vec::new(),
            rows: 0,
            subject_tags: Vec::new(),
            subject_tags_root: None,
            answered_at_ms: now_ms,
            as_of_ms: 0,
            body_digest: None,
            mapping_digest: [0; 32],
            head,
            delegation_digest: self.delegation_digest,
            truncated: false,
            sealed_to: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::request::OfficerBy;

    #[test]
    fn a_clause_always_fits_a_statement() {
        let signer = Signer {
            member: "police".parse().unwrap(),
            adapter: "main".parse().unwrap(),
            key: Arc::new(SecretKey::from_seed(&[1; 32])),
            delegation_digest: [2; 32],
        };
        let request = Request {
            id: "0190a5c3-0000-7000-8000-000000000001".parse().unwrap(),
            consumer: "street-office".parse().unwrap(),
            app: "desk".parse().unwrap(),
            provider: "police".parse().unwrap(),
            contract: "police-street".parse().unwrap(),
            contract_digest: [3; 32],
            purpose: "social-assistance.eligibility".parse().unwrap(),
            case: "0190a5c3-0000-7000-8000-000000000002".parse().unwrap(),
            record: "Person".parse().unwrap(),
            operation: "person.by_id".parse().unwrap(),
            fields: vec!["name".parse().unwrap()],
            subject_tags: Vec::new(),
            issued_at_ms: 0,
            expires_at_ms: 1000,
            body_digest: [4; 32],
            head: Head::default(),
            retry_of: None,
            officer: None,
            delegation_digest: [5; 32],
            officer_by: OfficerBy::Asserted,
            sealing: None,
            in_batch: false,
        };
        for words in ["fields: `name`\u{4e2d}\n", &"x".repeat(500), "", "980101199001010017"] {
            let refusal = Refusal::denied(Code::Malformed, words);
            let signed = signer.refuse(&request, [6; 32], &refusal, Head::default(), 1);
            assert!(Answer::open(&signed, &signer.key.public()).is_ok(), "{words}");
        }
    }
}
