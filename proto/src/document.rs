//! Signed documents: a JSON payload in a DSSE JSON envelope, so that any DSSE library verifies them and
//! a person can read them. Members sign them offline with their root.

use crate::envelope::{EnvelopeError, payload_type, pre_authentication_encoding};
use crate::keys::{PublicKey, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct RawSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

#[derive(Deserialize, Serialize)]
struct RawEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<RawSignature>,
}

/// A document envelope whose form is checked and whose signatures are not yet.
#[derive(Debug, Clone)]
pub struct SignedDocument {
    bytes: Bytes,
    payload: Bytes,
    payload_type: String,
    signatures: Vec<(Option<String>, Vec<u8>)>,
}

fn decode(text: &str) -> Option<Vec<u8>> {
    // DSSE: either alphabet is accepted.
    [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD]
        .into_iter()
        .find_map(|engine| engine.decode(text).ok())
}

/// Standard base64 of some bytes.
pub fn base64_of(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a base64 text, of either alphabet.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    decode(text)
}

impl SignedDocument {
    /// Takes exact bytes, at most `limit` of them; other fields of the envelope are ignored, as DSSE says.
    pub fn parse(bytes: Bytes, limit: usize) -> Result<Self, EnvelopeError> {
        if bytes.len() > limit {
            return Err(EnvelopeError::TooLarge { size: bytes.len(), limit });
        }
        let raw: RawEnvelope = serde_json::from_slice(&bytes).map_err(|_| {
            EnvelopeError::Malformed("expected JSON with payload, payloadType and signatures")
        })?;
        if raw.signatures.is_empty() || raw.signatures.len() > 8 {
            return Err(EnvelopeError::Malformed("1 to 8 signatures are needed"));
        }
        let payload = decode(&raw.payload).ok_or(EnvelopeError::Malformed("payload is not base64"))?;
        let mut signatures = Vec::with_capacity(raw.signatures.len());
        for signature in raw.signatures {
            let sig = decode(&signature.sig).ok_or(EnvelopeError::Malformed("signature is not base64"))?;
            signatures.push((signature.keyid, sig));
        }
        Ok(Self { bytes, payload: Bytes::from(payload), payload_type: raw.payload_type, signatures })
    }

    /// Signs a payload with one or more keys.
    pub fn sign(payload_type: &'static str, payload: &[u8], keys: &[&SecretKey]) -> Self {
        let message = pre_authentication_encoding(payload_type, payload);
        let signatures =
            keys.iter().map(|key| (Some(key.key_id().to_owned()), key.sign(&message).to_vec())).collect();
        Self::assemble(payload_type.to_owned(), Bytes::copy_from_slice(payload), signatures)
    }

    /// The same document with one more signature; used where the second head signs.
    pub fn add_signature(&self, key: &SecretKey) -> Self {
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        let mut signatures = self.signatures.clone();
        signatures.retain(|(hint, _)| hint.as_deref() != Some(key.key_id()));
        signatures.push((Some(key.key_id().to_owned()), key.sign(&message).to_vec()));
        Self::assemble(self.payload_type.clone(), self.payload.clone(), signatures)
    }

    /// An unsigned draft cannot exist: this joins parts that were signed elsewhere.
    fn assemble(kind: String, payload: Bytes, signatures: Vec<(Option<String>, Vec<u8>)>) -> Self {
        let raw = RawEnvelope {
            payload: STANDARD.encode(&payload),
            payload_type: kind.clone(),
            signatures: signatures
                .iter()
                .map(|(keyid, sig)| RawSignature { keyid: keyid.clone(), sig: STANDARD.encode(sig) })
                .collect(),
        };
        // A struct of strings always serialises.
        let bytes = serde_json::to_vec(&raw).unwrap_or_default();
        Self { bytes: Bytes::from(bytes), payload, payload_type: kind, signatures }
    }

    /// The JSON form of a statement's protobuf envelope: the same payload and signatures.
    pub fn from_statement(statement: &crate::envelope::SignedStatement) -> Self {
        let envelope = statement.envelope();
        let signatures =
            envelope.signatures.iter().map(|s| (Some(s.keyid.clone()), s.sig.to_vec())).collect();
        Self::assemble(envelope.payload_type.clone(), envelope.payload.clone(), signatures)
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The exact signed bytes, not yet verified.
    pub fn unverified_payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload type as it stands in the envelope.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// SHA-256 of the signed payload: the name of this document.
    pub fn digest(&self) -> crate::Digest {
        crate::sha256(&self.payload)
    }

    /// How many signatures the envelope carries.
    pub fn signature_count(&self) -> usize {
        self.signatures.len()
    }

    /// Verifies that the key signed this payload as this type, and yields the payload.
    pub fn verify(&self, expected: &'static str, key: &PublicKey) -> Result<&Bytes, EnvelopeError> {
        if self.payload_type != expected {
            return Err(EnvelopeError::WrongType { expected });
        }
        let message = pre_authentication_encoding(expected, &self.payload);
        if self.signatures.iter().any(|(_, sig)| key.verify(&message, sig)) {
            Ok(&self.payload)
        } else {
            Err(EnvelopeError::BadSignature { key_id: key.key_id() })
        }
    }
}

/// The kinds of documents that may be published, by payload type.
pub fn is_document_type(kind: &str) -> bool {
    [
        payload_type::MEMBER,
        payload_type::DELEGATION,
        payload_type::CONTRACT,
        payload_type::REVOCATION,
        payload_type::TICKET,
    ]
    .contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heads_sign_one_document() {
        let (a, b) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let first = SignedDocument::sign(payload_type::CONTRACT, b"{}", &[&a]);
        assert!(first.verify(payload_type::CONTRACT, &b.public()).is_err());
        let both = first.add_signature(&b);
        let again = SignedDocument::parse(both.bytes().clone(), 4096).unwrap();
        for key in [&a, &b] {
            assert_eq!(again.verify(payload_type::CONTRACT, &key.public()).unwrap().as_ref(), b"{}");
            assert!(again.verify(payload_type::DELEGATION, &key.public()).is_err());
        }
        assert_eq!(both.add_signature(&b).signature_count(), 2, "signing twice counts once");
    }
}
