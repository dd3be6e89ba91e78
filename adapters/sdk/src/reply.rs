//! The last stage: the signed answer statement. Refusals and failures are signed too, so that whoever
//! reads the ledger knows who refused and why.

use bytes::Bytes;
use yiwang_proto::Digest;
use yiwang_proto::ambient::Entropy;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::AnswerBody;
use yiwang_proto::codes::Code;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, FieldName, MemberId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::request::{Head, Request};
use yiwang_proto::sealing::{Direction, Recipient, seal};
use yiwang_proto::tag::Tag;

/// Longest clause of an answer statement.
const CLAUSE_MAX: usize = 120;

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

/// Records that may leave.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) fields: Vec<FieldName>,
    pub(crate) withheld: Vec<(FieldName, String)>,
    pub(crate) rows: u32,
    pub(crate) subject_tags: Vec<Tag>,
    pub(crate) as_of_ms: i64,
    pub(crate) mapping_digest: Digest,
    pub(crate) truncated: bool,
    pub(crate) records: Bytes,
    pub(crate) sealed_to: Option<Recipient>,
}

/// Signs answers.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) member: MemberId,
    pub(crate) adapter: AppId,
    pub(crate) key: SecretKey,
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
    ) -> Result<(SignedStatement, Bytes), Refusal> {
        let (body, digest) = AnswerBody::encode(released.records, entropy);
        let mut answer = self.blank(request, request_digest, Verdict::Answered, head, now_ms);
        answer.fields = released.fields;
        answer.withheld =
            released.withheld.into_iter().map(|(field, clause)| (field, printable(&clause))).collect();
        answer.rows = released.rows;
        answer.subject_tags = released.subject_tags;
        answer.as_of_ms = released.as_of_ms;
        answer.mapping_digest = released.mapping_digest;
        answer.truncated = released.truncated;
        answer.body_digest = Some(digest);
        let Some(recipient) = released.sealed_to else { return Ok((answer.sign(&self.key), body)) };
        answer.sealed_to = Some(recipient.delegation);
        let statement = answer.sign(&self.key);
        // To the statement that was signed over the plain body: so it fits no other.
        let sealed = seal(Direction::Answer, &recipient, &statement.digest(), &body, entropy)
            .map_err(|error| Refusal::failed(Code::TooLarge, &error.to_string()))?;
        Ok((statement, sealed))
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
        answer.clause = printable(&refusal.clause);
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

fn printable(clause: &str) -> String {
    clause.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).take(CLAUSE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_always_fits_a_statement() {
        assert_eq!(printable("fields: `name`\u{4e2d}\n"), "fields: `name`??");
        assert_eq!(printable(&"x".repeat(500)).len(), CLAUSE_MAX);
    }
}
