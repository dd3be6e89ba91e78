//! Bodies: what travels beside a statement and never enters the ledger. The statement holds the SHA-256
//! of the encoded body; the body's salt makes that digest useless for guessing.

use crate::ambient::{Entropy, random};
use crate::contract::Scalar;
use crate::ids::FieldName;
use crate::limits::{ARGUMENT_BYTES_MAX, ARGUMENTS_MAX, BODY_MAX, SUBJECT_MAX};
use crate::pb;
use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::BTreeMap;

/// The number of `records` in `AnswerBody`.
const RECORDS: u32 = 2;

/// Why a body is refused. Never holds a value of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Over the limit.
    #[error("body is over 4 MiB")]
    TooLarge,
    /// Its digest is not the one in the statement.
    #[error("body does not have the digest that its statement names")]
    Digest,
    /// Not a canonical message.
    #[error("body is not canonical: {0}")]
    Malformed(&'static str),
}

fn check_digest(bytes: &Bytes, digest: &crate::Digest) -> Result<(), BodyError> {
    if bytes.len() > BODY_MAX {
        return Err(BodyError::TooLarge);
    }
    if crate::sha256(bytes) == *digest { Ok(()) } else { Err(BodyError::Digest) }
}

/// Arguments by name.
pub type Arguments = BTreeMap<FieldName, Scalar>;

/// A request's body, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestBody {
    /// Canonical identifier of the subject; empty where the record is about none.
    pub subject: String,
    /// Arguments by parameter name.
    pub arguments: Arguments,
}

impl RequestBody {
    /// Encodes with a fresh salt: the bytes and their digest.
    pub fn encode(&self, entropy: &dyn Entropy) -> (Bytes, crate::Digest) {
        let salt: [u8; 16] = random(entropy);
        let raw = pb::RequestBody {
            salt: salt.to_vec().into(),
            subject: self.subject.clone(),
            // A map of scalars always serialises.
            arguments: serde_json::to_vec(&self.arguments).unwrap_or_default().into(),
        };
        let bytes = Bytes::from(raw.encode_to_vec());
        let digest = crate::sha256(&bytes);
        (bytes, digest)
    }

    /// Checks digest first, then form and limits.
    pub fn open(bytes: &Bytes, digest: &crate::Digest) -> Result<Self, BodyError> {
        check_digest(bytes, digest)?;
        let raw = pb::RequestBody::decode(bytes.clone())
            .map_err(|_| BodyError::Malformed("protobuf does not decode"))?;
        if raw.salt.len() != 16 {
            return Err(BodyError::Malformed("salt is not 16 bytes"));
        }
        if raw.subject.len() > SUBJECT_MAX || raw.subject.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
            return Err(BodyError::Malformed(
                "subject is over 128 bytes or has other than printable ASCII characters",
            ));
        }
        if raw.arguments.len() > ARGUMENTS_MAX * (ARGUMENT_BYTES_MAX + 64) {
            return Err(BodyError::Malformed("arguments are too long"));
        }
        let arguments: Arguments = serde_json::from_slice(&raw.arguments)
            .map_err(|_| BodyError::Malformed("arguments are no JSON object of parameter name to scalar"))?;
        let long = |value: &Scalar| matches!(value, Scalar::Text(text) if text.len() > ARGUMENT_BYTES_MAX);
        if arguments.len() > ARGUMENTS_MAX || arguments.values().any(long) {
            return Err(BodyError::Malformed("over 16 arguments, or one over 1024 bytes"));
        }
        Ok(Self { subject: raw.subject, arguments })
    }
}

/// An answer's body, checked for form; the records are left as JSON bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerBody {
    /// A JSON array of records: `{"fields": {...}, "as_of": "...", "quality": {...}}`.
    pub records: Bytes,
    /// What the request for a batch's next page names; empty where there is none.
    pub resume: String,
    /// For a page of a batch after the first: SHA-256 of the token of the page that it begins after. Adapters of before
    /// this was there say none.
    pub follows: Option<crate::Digest>,
}

impl AnswerBody {
    /// Encodes with a fresh salt: the bytes and their digest.
    pub fn encode(records: Bytes, entropy: &dyn Entropy) -> (Bytes, crate::Digest) {
        Self::encode_page(records, String::new(), None, entropy)
    }

    /// The same for a page of a batch, with what the next one is asked for with, and what it begins after.
    pub fn encode_page(
        records: Bytes,
        resume: String,
        follows: Option<crate::Digest>,
        entropy: &dyn Entropy,
    ) -> (Bytes, crate::Digest) {
        let salt: [u8; 16] = random(entropy);
        let follows = follows.map(|digest| Bytes::copy_from_slice(&digest)).unwrap_or_default();
        let begin = pb::AnswerBody { salt: salt.to_vec().into(), ..Default::default() };
        let end = pb::AnswerBody { resume, follows, ..Default::default() };
        // Around the records where they are: a page is a megabyte, and another place for it would cost more than its hash.
        let mut before = begin.encode_to_vec();
        if !records.is_empty() {
            encode_key(RECORDS, WireType::LengthDelimited, &mut before);
            encode_varint(records.len() as u64, &mut before);
        }
        let mut body = Vec::from(records);
        body.splice(0..0, before);
        body.reserve_exact(end.encoded_len());
        body.extend_from_slice(&end.encode_to_vec());
        let digest = crate::sha256(&body);
        (body.into(), digest)
    }

    /// Checks digest first, then form.
    pub fn open(bytes: &Bytes, digest: &crate::Digest) -> Result<Self, BodyError> {
        check_digest(bytes, digest)?;
        let raw = pb::AnswerBody::decode(bytes.clone())
            .map_err(|_| BodyError::Malformed("protobuf does not decode"))?;
        if raw.salt.len() != 16 {
            return Err(BodyError::Malformed("salt is not 16 bytes"));
        }
        if raw.resume.len() > ARGUMENT_BYTES_MAX {
            return Err(BodyError::Malformed("resume is over 1024 bytes"));
        }
        let follows = match raw.follows.as_ref() {
            [] => None,
            some => Some(some.try_into().map_err(|_| BodyError::Malformed("follows is not 32 bytes"))?),
        };
        Ok(Self { records: raw.records, resume: raw.resume, follows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    #[test]
    fn a_body_is_its_message_whoever_else_holds_the_records() {
        for length in [0, 1, 127, 128, 16_384, 1_000_000] {
            let records = Bytes::from(vec![b'x'; length]);
            for (resume, follows) in [("", None), ("token", None), ("token", Some([7; 32]))] {
                for shared in [false, true] {
                    let given = Bytes::copy_from_slice(&records);
                    let held = shared.then(|| given.clone());
                    let encoded =
                        AnswerBody::encode_page(given, resume.to_owned(), follows, &SeededEntropy::new(1));
                    let (bytes, digest) = encoded;
                    let raw = pb::AnswerBody::decode(bytes.clone()).unwrap();
                    assert_eq!((raw.encode_to_vec(), raw.salt.len()), (bytes.to_vec(), 16), "{length}");
                    let open = AnswerBody::open(&bytes, &digest).unwrap();
                    assert_eq!(
                        open,
                        AnswerBody { records: records.clone(), resume: resume.to_owned(), follows }
                    );
                    assert!(held.is_none_or(|held| held == records));
                }
            }
        }
    }
}
