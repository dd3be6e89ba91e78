//! Signed documents: a JSON payload in a DSSE JSON envelope, so that any DSSE library verifies them and
//! a person can read them. Members sign them offline with their root.

use crate::envelope::{EnvelopeError, payload_type, pre_authentication_encoding};
use crate::keys::{PublicKey, SecretKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
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
    /// Takes exact bytes, at most `limit` of them. DSSE has readers ignore members that they do not know; here
    /// they are refused: nobody signs them, and the document enters the ledger with them, for ever.
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

    /// Verifies that the key, and nobody else, signed this payload as this type, and yields the payload.
    pub fn verify(&self, expected: &'static str, key: &PublicKey) -> Result<&Bytes, EnvelopeError> {
        self.verify_all(expected, &[key])
    }

    /// Verifies that exactly these keys signed this payload as this type, each once and in any order, and yields
    /// the payload. The keys must differ.
    ///
    /// # Errors
    /// [`EnvelopeError::BadSignature`] for the first key without a good signature;
    /// [`EnvelopeError::Unverified`] where there are signatures besides.
    pub fn verify_all(&self, expected: &'static str, keys: &[&PublicKey]) -> Result<&Bytes, EnvelopeError> {
        if self.payload_type != expected {
            return Err(EnvelopeError::WrongType { expected });
        }
        let message = pre_authentication_encoding(expected, &self.payload);
        for key in keys {
            let key_id = key.key_id();
            // The hint is no part of what is signed, so it must not say anything else.
            let of_it =
                |hint: &Option<String>| hint.as_deref().is_none_or(|hint| hint.is_empty() || hint == key_id);
            if !self.signatures.iter().any(|(hint, sig)| of_it(hint) && key.verify(&message, sig)) {
                return Err(EnvelopeError::BadSignature { key_id });
            }
        }
        // Each key has one of its own, so as many signatures as keys leave none over.
        match (self.signatures.len(), keys.len()) {
            (found, wanted) if found == wanted => Ok(&self.payload),
            (found, wanted) => Err(EnvelopeError::Unverified { found, wanted }),
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
        payload_type::RECORD_TYPE,
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
        let keys = [&a.public(), &b.public()];
        assert_eq!(again.verify_all(payload_type::CONTRACT, &keys).unwrap().as_ref(), b"{}");
        assert!(again.verify_all(payload_type::DELEGATION, &keys).is_err());
        let other = SecretKey::from_seed(&[3; 32]).public();
        assert!(again.verify_all(payload_type::CONTRACT, &[keys[0], &other]).is_err());
        assert_eq!(both.add_signature(&b).signature_count(), 2, "signing twice counts once");
    }

    #[test]
    fn a_document_carries_the_signatures_that_are_verified_and_no_others() {
        let (a, b) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let both = SignedDocument::sign(payload_type::DELEGATION, b"{}", &[&a, &b]);
        let refused = both.verify(payload_type::DELEGATION, &a.public()).map(drop);
        assert_eq!(refused, Err(EnvelopeError::Unverified { found: 2, wanted: 1 }));
        let three = both.add_signature(&SecretKey::from_seed(&[3; 32]));
        assert!(three.verify_all(payload_type::DELEGATION, &[&a.public(), &b.public()]).is_err());
        let one = SignedDocument::sign(payload_type::DELEGATION, b"{}", &[&a]);
        let bent = |from: &str, to: &str| {
            let text = String::from_utf8(one.bytes().to_vec()).unwrap();
            assert!(text.contains(from));
            SignedDocument::parse(text.replace(from, to).into(), 4096)
        };
        // A hint that is no key's could say anything; without a hint the signature says who signed.
        let hint = bent(a.key_id(), "Zhang San, Changan road 4").unwrap();
        assert!(hint.verify(payload_type::DELEGATION, &a.public()).is_err());
        let none = bent(&format!("\"keyid\":\"{}\",", a.key_id()), "").unwrap();
        assert!(none.verify(payload_type::DELEGATION, &a.public()).is_ok());
    }

    #[test]
    fn members_of_an_envelope_that_nobody_signs_are_refused() {
        let key = SecretKey::from_seed(&[1; 32]);
        let good = SignedDocument::sign(payload_type::DELEGATION, b"{}", &[&key]);
        let mut json: serde_json::Value = serde_json::from_slice(good.bytes()).unwrap();
        let parse = |json: &serde_json::Value| SignedDocument::parse(json.to_string().into(), 4096);
        assert!(parse(&json).is_ok());
        json["note"] = "Zhang San, Changan road 4".into();
        assert!(matches!(parse(&json), Err(EnvelopeError::Malformed(_))));
        let mut json: serde_json::Value = serde_json::from_slice(good.bytes()).unwrap();
        json["signatures"][0]["cert"] = "Zhang San".into();
        assert!(matches!(parse(&json), Err(EnvelopeError::Malformed(_))));
    }
}
