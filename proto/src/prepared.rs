//! Requests that wait for an officer's signature: prepared by the app or its gateway, signed by the officer
//! with a tool of their own, sent by the app. One JSON document, so that the officer sees in words what is
//! signed; the private key never leaves the officer's tool.

use crate::body::RequestBody;
use crate::delegation::Delegation;
use crate::document::{SignedDocument, base64_of, from_base64};
use crate::envelope::{EnvelopeError, SignedStatement, payload_type, pre_authentication_encoding};
use crate::keys::SecretKey;
use crate::limits::{PREPARED_BYTES_MAX, PREPARED_MAX, SIGNATURES_MAX, STATEMENT_MAX};
use crate::pb;
use crate::request::{OFFICER_SIGNS, OfficerBy, Request, StatementError};
use bytes::Bytes;
use prost::Message as _;
use serde::{Deserialize, Serialize};

/// Value of `format`.
pub const FORMAT: &str = "yiwang-prepared/1";

/// Why a prepared document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreparedError {
    /// Not a document of this format.
    #[error("prepared requests: {0}")]
    Text(String),
    /// A statement does not hold.
    #[error("prepared request {0}: {1}")]
    Statement(usize, StatementError),
    /// A body does not belong to its statement.
    #[error("prepared request {0}: its body is not the one that the statement names")]
    Body(usize),
    /// The officer's key is not the one that the statement asks for.
    #[error("prepared request {0}: {1}")]
    Officer(usize, &'static str),
}

/// One prepared request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The request statement with its signatures, a DSSE JSON envelope.
    pub request: serde_json::Value,
    /// Base64 of the encoded plain body. It stays with the member: whoever sends, seals it.
    pub body: String,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// `yiwang-prepared/1`.
    pub format: String,
    /// The requests, each for one contract.
    pub requests: Vec<Item>,
}

/// A prepared request, checked: its statement and the body that it names.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The statement with its signatures, none of them verified.
    pub signed: SignedStatement,
    /// What it says.
    pub request: Request,
    /// The plain body, exact bytes.
    pub body: Bytes,
    /// The same, opened.
    pub opened: RequestBody,
}

impl Checked {
    /// Whether the statement rests on an officer's signature and nobody put one there. Whose it is, is for the hub to check:
    /// the officer's delegation is not in the document.
    #[must_use]
    pub fn lacks_officer(&self) -> bool {
        matches!(self.request.officer_by, OfficerBy::Signature(_))
            && self.signed.envelope().signatures.len() <= OFFICER_SIGNS
    }
}

impl Prepared {
    /// From statements and their plain bodies.
    pub fn new<'a>(requests: impl IntoIterator<Item = (&'a SignedStatement, &'a Bytes)>) -> Self {
        let item = |(signed, body): (&SignedStatement, &Bytes)| Item {
            request: statement_json(signed),
            body: base64_of(body),
        };
        Self { format: FORMAT.to_owned(), requests: requests.into_iter().map(item).collect() }
    }

    /// Reads a document's text.
    ///
    /// # Errors
    /// [`PreparedError::Text`].
    pub fn parse(text: &[u8]) -> Result<Self, PreparedError> {
        if text.len() > PREPARED_BYTES_MAX {
            return Err(PreparedError::Text("over 4 MiB".to_owned()));
        }
        // The library's words name keys and places, no values.
        let prepared: Self =
            serde_json::from_slice(text).map_err(|error| PreparedError::Text(error.to_string()))?;
        if prepared.format != FORMAT {
            return Err(PreparedError::Text(format!("format is not `{FORMAT}`")));
        }
        Ok(prepared)
    }

    /// Checks every request: canonical statement, body with the digest that it names.
    ///
    /// # Errors
    /// [`PreparedError`] for the first that does not hold.
    pub fn check(&self) -> Result<Vec<Checked>, PreparedError> {
        if self.requests.is_empty() || self.requests.len() > PREPARED_MAX {
            return Err(PreparedError::Text(format!("1 to {PREPARED_MAX} requests are needed")));
        }
        self.requests.iter().enumerate().map(|(at, item)| item.check(at)).collect()
    }

    /// The same document with the officer's signature on every statement, for a key whose delegation the
    /// statements name.
    ///
    /// # Errors
    /// [`PreparedError::Officer`] where a statement asks for another key or none.
    pub fn sign(&self, delegation: &Delegation, key: &SecretKey) -> Result<Self, PreparedError> {
        let mut signed = Vec::with_capacity(self.requests.len());
        for (at, one) in self.check()?.into_iter().enumerate() {
            if one.request.officer_by != OfficerBy::Signature(delegation.digest) {
                return Err(PreparedError::Officer(at, "does not ask for the signature of this key"));
            }
            if delegation.key != key.public() {
                return Err(PreparedError::Officer(at, "the delegation is of another key"));
            }
            let named = one.request.officer.as_ref().is_some_and(|o| o.as_str() == delegation.name.as_str());
            if !named {
                return Err(PreparedError::Officer(at, "names another officer"));
            }
            let added = add_signature(&one.signed, payload_type::REQUEST, key)
                .map_err(|error| PreparedError::Statement(at, error.into()))?;
            signed.push((added, one.body));
        }
        Ok(Self::new(signed.iter().map(|(statement, body)| (statement, body))))
    }
}

impl Item {
    fn check(&self, at: usize) -> Result<Checked, PreparedError> {
        let fault = |error: EnvelopeError| PreparedError::Statement(at, error.into());
        let signed = statement_of(&self.request).map_err(fault)?;
        signed.expect_type(payload_type::REQUEST).map_err(fault)?;
        let request = Request::of(&signed).map_err(|error| PreparedError::Statement(at, error))?;
        let body = from_base64(&self.body).map(Bytes::from).ok_or(PreparedError::Body(at))?;
        let opened = RequestBody::open(&body, &request.body_digest).map_err(|_| PreparedError::Body(at))?;
        Ok(Checked { signed, request, body, opened })
    }
}

/// A statement's envelope in DSSE's JSON form.
fn statement_json(signed: &SignedStatement) -> serde_json::Value {
    // Bytes that were made by a serialiser a moment ago.
    serde_json::from_slice(SignedDocument::from_statement(signed).bytes()).unwrap_or_default()
}

/// The statement of a DSSE JSON envelope.
///
/// # Errors
/// [`EnvelopeError`] for what is no envelope, or none that a statement may have.
pub fn statement_of(json: &serde_json::Value) -> Result<SignedStatement, EnvelopeError> {
    let malformed = EnvelopeError::Malformed("expected JSON with payload, payloadType and signatures");
    let text = |value: &serde_json::Value, key: &str| {
        value.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let bytes = |value, key| text(value, key).and_then(|text| from_base64(&text)).map(Bytes::from);
    let payload = bytes(json, "payload").ok_or_else(|| malformed.clone())?;
    let payload_type = text(json, "payloadType").ok_or_else(|| malformed.clone())?;
    let listed = json.get("signatures").and_then(serde_json::Value::as_array);
    let mut signatures = Vec::new();
    for one in listed.ok_or_else(|| malformed.clone())?.iter().take(SIGNATURES_MAX + 1) {
        let sig = bytes(one, "sig").ok_or_else(|| malformed.clone())?;
        signatures.push(pb::Signature { sig, keyid: text(one, "keyid").unwrap_or_default() });
    }
    let envelope = pb::Envelope { payload, payload_type, signatures };
    if envelope.encoded_len() > STATEMENT_MAX {
        return Err(EnvelopeError::TooLarge { size: envelope.encoded_len(), limit: STATEMENT_MAX });
    }
    SignedStatement::parse(Bytes::from(envelope.encode_to_vec()))
}

/// The same statement with one more signature; one of the same key is replaced.
///
/// # Errors
/// [`EnvelopeError`] for another kind of statement, or one that has no room for another signature.
pub fn add_signature(
    signed: &SignedStatement,
    kind: &'static str,
    key: &SecretKey,
) -> Result<SignedStatement, EnvelopeError> {
    if signed.is_in_batch() {
        return Err(EnvelopeError::Malformed("a statement in a batch has one signature"));
    }
    signed.expect_type(kind)?;
    let mut envelope = signed.envelope().clone();
    let message = pre_authentication_encoding(kind, &envelope.payload);
    envelope.signatures.retain(|signature| signature.keyid != key.key_id());
    envelope.signatures.push(pb::Signature {
        sig: Bytes::copy_from_slice(&key.sign(&message)),
        keyid: key.key_id().to_owned(),
    });
    SignedStatement::parse(Bytes::from(envelope.encode_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signature_leaves_payload_and_first_signature_as_they_are() {
        let (app, officer) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let one = SignedStatement::sign(payload_type::REQUEST, b"payload".to_vec(), &app);
        let two = add_signature(&one, payload_type::REQUEST, &officer).unwrap();
        for (place, key) in [&app, &officer].into_iter().enumerate() {
            assert!(two.verify_at(place, payload_type::REQUEST, &key.public()).is_ok());
            assert!(two.verify_at(1 - place, payload_type::REQUEST, &key.public()).is_err());
        }
        assert_eq!(one.digest(), two.digest());
        assert!(add_signature(&one, payload_type::CASE, &officer).is_err());
        let again = add_signature(&two, payload_type::REQUEST, &officer).unwrap();
        assert_eq!(again.envelope().signatures.len(), 2, "signing twice counts once");
        let back = statement_of(&statement_json(&two)).unwrap();
        assert_eq!(back.bytes(), two.bytes(), "JSON and protobuf carry the same envelope");
    }

    #[test]
    fn what_is_no_prepared_document_is_refused() {
        for text in ["", "{}", "[]", r#"{"format":"yiwang-prepared/2","requests":[]}"#] {
            assert!(Prepared::parse(text.as_bytes()).is_err(), "{text}");
        }
        let empty = Prepared::parse(br#"{"format":"yiwang-prepared/1","requests":[]}"#).unwrap();
        assert!(empty.check().is_err());
        for json in
            [serde_json::json!({}), serde_json::json!({"payload": "!", "payloadType": "x", "signatures": []})]
        {
            assert!(statement_of(&json).is_err());
        }
    }
}
