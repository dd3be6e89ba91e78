//! DSSE 1.0.2: signatures over the pre-authentication encoding of exact bytes. The protobuf form is for
//! statements on the wire; the JSON form for documents is in [`crate::document`].

use crate::batch::{self, Roots};
use crate::keys::{PublicKey, SecretKey};
use crate::limits::{SIGNATURES_MAX, STATEMENT_MAX};
use crate::pb;
use bytes::Bytes;
use prost::Message as _;

/// The payload types: one per kind, so that a signature of one kind is none of another.
pub mod payload_type {
    /// A request statement.
    pub const REQUEST: &str = "application/vnd.yiwang.request.v1+protobuf";
    /// An answer statement.
    pub const ANSWER: &str = "application/vnd.yiwang.answer.v1+protobuf";
    /// A request statement that was signed with others ([`crate::batch`]).
    pub const REQUEST_IN_BATCH: &str = "application/vnd.yiwang.request-in-batch.v1+protobuf";
    /// An answer statement that was signed with others ([`crate::batch`]).
    pub const ANSWER_IN_BATCH: &str = "application/vnd.yiwang.answer-in-batch.v1+protobuf";
    /// A case statement.
    pub const CASE: &str = "application/vnd.yiwang.case.v1+protobuf";
    /// A standing.
    pub const STANDING: &str = "application/vnd.yiwang.standing.v1+protobuf";
    /// An officer's ticket.
    pub const TICKET: &str = "application/vnd.yiwang.ticket.v1+json";
    /// A member card.
    pub const MEMBER: &str = "application/vnd.yiwang.member.v1+json";
    /// A delegation.
    pub const DELEGATION: &str = "application/vnd.yiwang.delegation.v1+json";
    /// A contract.
    pub const CONTRACT: &str = "application/vnd.yiwang.contract.v1+json";
    /// A record type that members add to the catalogue.
    pub const RECORD_TYPE: &str = "application/vnd.yiwang.record-type.v1+json";
    /// A revocation.
    pub const REVOCATION: &str = "application/vnd.yiwang.revocation.v1+json";
}

/// Why an envelope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Over the limit.
    #[error("envelope of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// No canonical protobuf or JSON envelope.
    #[error("not a canonical DSSE envelope: {0}")]
    Malformed(&'static str),
    /// Another kind of payload.
    #[error("payload type is not `{expected}`")]
    WrongType {
        /// The type that was wanted.
        expected: &'static str,
    },
    /// The signature is not good under the key, or says that it is of another one.
    #[error("no good signature of key {key_id}")]
    BadSignature {
        /// The hint of the key that was tried.
        key_id: String,
    },
    /// Signatures that nobody verifies: 64 bytes and a hint each that could say anything.
    #[error("it carries {found} signatures where {wanted} is verified; take the others off")]
    Unverified {
        /// Signatures found.
        found: usize,
        /// Signatures that somebody verifies.
        wanted: usize,
    },
}

/// The bytes that are signed: `DSSEv1 len(type) type len(payload) payload`.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = heading(payload_type, payload.len(), payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// SHA-256 over a zero byte and the pre-authentication encoding, as a leaf of a tree has it; nothing is copied for it.
pub(crate) fn leaf_of(payload_type: &str, payload: &[u8]) -> crate::Digest {
    use sha2::Digest as _;
    let heading = heading(payload_type, payload.len(), 0);
    sha2::Sha256::new().chain_update([0]).chain_update(heading).chain_update(payload).finalize().into()
}

/// What stands before the payload, with room behind it.
fn heading(payload_type: &str, length: usize, room: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut bytes = Vec::with_capacity(payload_type.len() + 32 + room);
    // Writing into a Vec cannot fail.
    let _ = write!(bytes, "DSSEv1 {} {payload_type} {length} ", payload_type.len());
    bytes
}

/// A statement envelope whose form is checked and whose signatures are not yet.
#[derive(Debug, Clone)]
pub struct SignedStatement {
    bytes: Bytes,
    envelope: pb::Envelope,
}

impl SignedStatement {
    /// Takes exact bytes. Refuses unknown fields and any other encoding than the canonical one: what
    /// goes into the ledger verbatim must have no room for anything else.
    pub fn parse(bytes: Bytes) -> Result<Self, EnvelopeError> {
        if bytes.len() > STATEMENT_MAX {
            return Err(EnvelopeError::TooLarge { size: bytes.len(), limit: STATEMENT_MAX });
        }
        let envelope = pb::Envelope::decode(bytes.clone())
            .map_err(|_| EnvelopeError::Malformed("protobuf does not decode"))?;
        if !crate::canonical::is_canonical(&envelope, &bytes) {
            return Err(EnvelopeError::Malformed("encoding is not canonical or has unknown fields"));
        }
        if envelope.signatures.is_empty() || envelope.signatures.len() > SIGNATURES_MAX {
            return Err(EnvelopeError::Malformed("1 or 2 signatures are needed"));
        }
        for signature in &envelope.signatures {
            let hint = signature.keyid.as_bytes();
            let hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
            if hint.len() > 16 || !hint.iter().all(hex) {
                return Err(EnvelopeError::Malformed("a signature is 64 bytes with a hexadecimal keyid"));
            }
        }
        batch::check_form(&envelope.payload_type, &envelope.signatures)?;
        Ok(Self { bytes, envelope })
    }

    /// Signs a payload.
    pub fn sign(payload_type: &'static str, payload: Vec<u8>, key: &SecretKey) -> Self {
        let sig = key.sign(&pre_authentication_encoding(payload_type, &payload));
        Self::with_signature(payload_type, payload, Bytes::copy_from_slice(&sig), key)
    }

    pub(crate) fn with_signature(
        payload_type: &'static str,
        payload: Vec<u8>,
        sig: Bytes,
        key: &SecretKey,
    ) -> Self {
        let envelope = pb::Envelope {
            payload: Bytes::from(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![pb::Signature { sig, keyid: key.key_id().to_owned() }],
        };
        Self { bytes: Bytes::from(envelope.encode_to_vec()), envelope }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The exact signed bytes. Not yet verified: use them only to find the key.
    pub fn unverified_payload(&self) -> &Bytes {
        &self.envelope.payload
    }

    /// SHA-256 of the signed payload: the name of this statement.
    pub fn digest(&self) -> crate::Digest {
        crate::sha256(&self.envelope.payload)
    }

    /// The envelope, for export in other forms.
    pub fn envelope(&self) -> &pb::Envelope {
        &self.envelope
    }

    /// The payload type as it stands in the envelope.
    pub fn payload_type(&self) -> &str {
        &self.envelope.payload_type
    }

    /// Whether it was signed with others ([`crate::batch`]): for contracts that allow it.
    pub fn is_in_batch(&self) -> bool {
        batch::is_batched(&self.envelope.payload_type)
    }

    /// Refuses another kind of payload. A statement that was signed with others is of its kind.
    pub fn expect_type(&self, expected: &'static str) -> Result<(), EnvelopeError> {
        let found = self.envelope.payload_type.as_str();
        if found == expected || batch::batched(expected).is_some_and(|in_batch| found == in_batch) {
            Ok(())
        } else {
            Err(EnvelopeError::WrongType { expected })
        }
    }

    /// How many signatures it carries.
    pub fn signature_count(&self) -> usize {
        self.envelope.signatures.len()
    }

    /// Verifies that the key, and nobody else, signed this payload as this type, and yields the payload.
    pub fn verify(&self, expected: &'static str, key: &PublicKey) -> Result<&Bytes, EnvelopeError> {
        match self.signature_count() {
            1 => self.verify_at(0, expected, key),
            found => Err(EnvelopeError::Unverified { found, wanted: 1 }),
        }
    }

    /// Verifies that the signature at a place is the key's, over this payload as this type. For statements that
    /// more than one signs: whoever verifies must account for every place, since what is in none is for the
    /// ledger.
    pub fn verify_at(
        &self,
        place: usize,
        expected: &'static str,
        key: &PublicKey,
    ) -> Result<&Bytes, EnvelopeError> {
        self.verify_with(place, expected, key, None)
    }

    /// As [`SignedStatement::verify_at`]; of statements that were signed together only the first costs a check
    /// of their signature.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn verify_knowing(
        &self,
        roots: &Roots,
        place: usize,
        expected: &'static str,
        key: &PublicKey,
    ) -> Result<&Bytes, EnvelopeError> {
        self.verify_with(place, expected, key, Some(roots))
    }

    fn verify_with(
        &self,
        place: usize,
        expected: &'static str,
        key: &PublicKey,
        roots: Option<&Roots>,
    ) -> Result<&Bytes, EnvelopeError> {
        self.expect_type(expected)?;
        let payload = &self.envelope.payload;
        let good = self.envelope.signatures.get(place).is_some_and(|signature| {
            // No part of what is signed, so it must not say anything else.
            let hint = signature.keyid.is_empty() || key.has_id(&signature.keyid);
            let in_batch = self.is_in_batch().then(|| batch::batched(expected)).flatten();
            hint && match in_batch {
                Some(kind) => batch::verify(kind, payload, &signature.sig, key, roots),
                None => key.verify(&pre_authentication_encoding(expected, payload), &signature.sig),
            }
        });
        if good { Ok(payload) } else { Err(EnvelopeError::BadSignature { key_id: key.key_id() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn a_leaf_is_the_hash_of_the_encoding() {
        for payload in [&b""[..], b"x", &[7; 1000]] {
            for payload_type in ["", payload_type::REQUEST, payload_type::ANSWER_IN_BATCH] {
                let encoded = pre_authentication_encoding(payload_type, payload);
                assert_eq!(leaf_of(payload_type, payload), crate::merkle::leaf_hash(&encoded));
            }
        }
    }

    #[test]
    fn a_statement_verifies_under_its_key_and_type_only() {
        let signed = SignedStatement::sign(payload_type::REQUEST, b"payload".to_vec(), &key(1));
        let again = SignedStatement::parse(signed.bytes().clone()).unwrap();
        assert!(again.verify(payload_type::REQUEST, &key(1).public()).is_ok());
        assert!(again.verify(payload_type::REQUEST, &key(2).public()).is_err());
        assert!(again.verify(payload_type::ANSWER, &key(1).public()).is_err());
    }

    #[test]
    fn no_byte_can_change() {
        let signed = SignedStatement::sign(payload_type::REQUEST, b"payload".to_vec(), &key(1));
        let good = key(1).public();
        for at in 0..signed.bytes().len() {
            let mut bytes = signed.bytes().to_vec();
            bytes[at] ^= 1;
            let accepted = SignedStatement::parse(Bytes::from(bytes))
                .is_ok_and(|s| s.verify(payload_type::REQUEST, &good).is_ok());
            assert!(!accepted, "byte {at}");
        }
    }

    #[test]
    fn a_signature_that_nobody_verifies_is_refused_also_beside_a_good_one() {
        let signed = SignedStatement::sign(payload_type::CASE, b"payload".to_vec(), &key(1));
        let with = |change: fn(&mut Vec<pb::Signature>)| {
            let mut envelope = signed.envelope().clone();
            change(&mut envelope.signatures);
            SignedStatement::parse(Bytes::from(envelope.encode_to_vec()))
        };
        let two = with(|all| all.push(pb::Signature { sig: vec![7; 64].into(), keyid: String::new() }));
        let refused = two.unwrap().verify(payload_type::CASE, &key(1).public()).map(drop);
        assert_eq!(refused, Err(EnvelopeError::Unverified { found: 2, wanted: 1 }));
        // The same signature twice says nothing new, and is one too many.
        let twice = with(|all| all.extend(all.clone())).unwrap();
        assert!(twice.verify(payload_type::CASE, &key(1).public()).is_err());
        assert!(with(|all| all.extend([all[0].clone(), all[0].clone()])).is_err(), "three are no envelope");
        // A hint that is no key's, where digits of a telephone would fit.
        let hint = with(|all| all[0].keyid = "13800138000".to_owned()).unwrap();
        assert!(hint.verify(payload_type::CASE, &key(1).public()).is_err());
        let none = with(|all| all[0].keyid.clear()).unwrap();
        assert!(none.verify(payload_type::CASE, &key(1).public()).is_ok());
    }

    #[test]
    fn unknown_fields_and_other_encodings_are_refused() {
        let signed = SignedStatement::sign(payload_type::REQUEST, b"payload".to_vec(), &key(1));
        let mut extra = signed.bytes().to_vec();
        extra.extend_from_slice(&[0x7a, 0x02, b'h', b'i']);
        assert!(matches!(SignedStatement::parse(Bytes::from(extra)), Err(EnvelopeError::Malformed(_))));
        assert!(SignedStatement::parse(Bytes::new()).is_err());
        assert!(SignedStatement::parse(Bytes::from(vec![0; STATEMENT_MAX + 1])).is_err());
    }
}
