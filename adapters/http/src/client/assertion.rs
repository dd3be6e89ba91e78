//! A client's signed assertion (RFC 7523) as SMART backend services ask for it: ES384 or RS384.
//!
//! Keys and signatures are those of the TLS library's crypto provider; here is only how a key is written as
//! a JWK (RFC 7517), and a signature as a JWS (RFC 7515).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivateSec1KeyDer};
use rustls::sign::SigningKey;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_proto::ambient::{Entropy, random};
use zeroize::Zeroizing;

/// How long an assertion holds: SMART allows five minutes, of which clocks may take one.
const LIFE_S: i64 = 240;
/// Bytes of a coordinate and of a half of a signature on P-384.
const COORDINATE: usize = 48;

/// A key that signs assertions.
#[derive(Debug)]
pub struct AssertionKey {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    kid: Option<String>,
}

/// The members of a private JWK that are read; others are let be, as RFC 7517 asks.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    x: Option<Part>,
    y: Option<Part>,
    d: Option<Part>,
    n: Option<Part>,
    e: Option<Part>,
    p: Option<Part>,
    q: Option<Part>,
    dp: Option<Part>,
    dq: Option<Part>,
    qi: Option<Part>,
}

#[derive(Deserialize)]
#[serde(from = "String")]
struct Part(Zeroizing<String>);

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Part {
    fn bytes(part: Option<&Self>) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let text = part.ok_or_else(|| bad("a member is missing"))?;
        URL_SAFE_NO_PAD
            .decode(text.0.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| bad("a member is not base64url"))
    }
}

fn bad(what: &str) -> SourceError {
    SourceError::Setting(format!("auth.key is no private key for ES384 or RS384: {what}"))
}

impl AssertionKey {
    /// Reads a private key, as a JWK or PEM: RSA with 2048 bits or more, or EC on P-384. Errors say nothing
    /// of the key.
    pub fn parse(text: &str, kid: Option<&str>) -> Result<Self, SourceError> {
        let (der, own) = if text.trim_start().starts_with('{') {
            let jwk: Jwk = serde_json::from_str(text).map_err(|_| bad("it is no JWK"))?;
            let der = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
                ("EC", Some("P-384")) => elliptic(&jwk)?,
                ("RSA", _) => rsa(&jwk)?,
                _ => return Err(bad("its type is another")),
            };
            (der, jwk.kid)
        } else {
            let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| bad("it is no PEM"))?;
            (der, None)
        };
        let provider = rustls::crypto::ring::default_provider();
        let key = provider.key_provider.load_private_key(der).map_err(|_| bad("it is not sound"))?;
        let schemes = [SignatureScheme::ECDSA_NISTP384_SHA384, SignatureScheme::RSA_PKCS1_SHA384];
        let signer = key.choose_scheme(&schemes).ok_or_else(|| bad("its algorithm is another"))?;
        Ok(Self { scheme: signer.scheme(), key, kid: kid.map(str::to_owned).or(own) })
    }

    /// A new assertion of a client for a token endpoint.
    pub fn assertion(
        &self,
        client: &str,
        audience: &str,
        now_ms: i64,
        entropy: &dyn Entropy,
    ) -> Result<String, SourceError> {
        let is_rsa = self.scheme == SignatureScheme::RSA_PKCS1_SHA384;
        let mut head = json!({ "alg": if is_rsa { "RS384" } else { "ES384" }, "typ": "JWT" });
        if let (Some(kid), Some(head)) = (&self.kid, head.as_object_mut()) {
            head.insert("kid".to_owned(), json!(kid));
        }
        let now_s = now_ms.div_euclid(1000);
        let claims = json!({
            "iss": client,
            "sub": client,
            "aud": audience,
            "jti": URL_SAFE_NO_PAD.encode(random::<16>(entropy)),
            "iat": now_s,
            "exp": now_s + LIFE_S,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&head), encode(&claims));
        let signer = self.key.choose_scheme(&[self.scheme]).ok_or_else(|| bad("its algorithm is another"))?;
        let made = signer.sign(signed.as_bytes()).map_err(|_| bad("it signs nothing"))?;
        let made = if is_rsa { made } else { fixed(&made).ok_or_else(|| bad("its signature is odd"))? };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(made)))
    }
}

/// An EC private key as SEC 1 (RFC 5915) writes it, with its public key.
fn elliptic(jwk: &Jwk) -> Result<PrivateKeyDer<'static>, SourceError> {
    let (d, x, y) =
        (Part::bytes(jwk.d.as_ref())?, Part::bytes(jwk.x.as_ref())?, Part::bytes(jwk.y.as_ref())?);
    if [&d, &x, &y].iter().any(|part| part.len() != COORDINATE) {
        return Err(bad("a member has another length"));
    }
    // Every length is fixed: version 1, the key, the curve's name, the public point.
    let mut der = vec![0x30, 0x81, 0xa4, 0x02, 0x01, 0x01, 0x04, 0x30];
    der.extend_from_slice(&d);
    der.extend_from_slice(&[0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]);
    der.extend_from_slice(&[0xa1, 0x64, 0x03, 0x62, 0x00, 0x04]);
    der.extend_from_slice(&x);
    der.extend_from_slice(&y);
    Ok(PrivateSec1KeyDer::from(der).into())
}

/// An RSA private key as PKCS #1 (RFC 8017) writes it.
fn rsa(jwk: &Jwk) -> Result<PrivateKeyDer<'static>, SourceError> {
    let mut numbers = Zeroizing::new(vec![0x02, 0x01, 0x00]);
    for part in [&jwk.n, &jwk.e, &jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi] {
        let bytes = Part::bytes(part.as_ref())?;
        let start = bytes.iter().position(|byte| *byte != 0).ok_or_else(|| bad("a member is nought"))?;
        let number = bytes.get(start..).unwrap_or_default();
        let sign = number.first().is_some_and(|first| *first >= 0x80);
        numbers.push(0x02);
        length(&mut numbers, number.len() + usize::from(sign));
        if sign {
            numbers.push(0);
        }
        numbers.extend_from_slice(number);
    }
    let mut der = vec![0x30];
    length(&mut der, numbers.len());
    der.extend_from_slice(&numbers);
    Ok(PrivatePkcs1KeyDer::from(der).into())
}

fn length(out: &mut Vec<u8>, length: usize) {
    let bytes = length.to_be_bytes();
    if length < 0x80 {
        out.extend_from_slice(bytes.get(7..).unwrap_or_default());
        return;
    }
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
    let significant = bytes.get(start..).unwrap_or_default();
    out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
    out.extend_from_slice(significant);
}

/// A signature on P-384 from DER to two halves of fixed length.
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let [0x30, _, rest @ ..] = der else { return None };
    let mut out = Vec::with_capacity(2 * COORDINATE);
    let mut rest = rest;
    for _ in 0..2 {
        let [0x02, length, tail @ ..] = rest else { return None };
        let (number, tail) = tail.split_at_checked(usize::from(*length))?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        out.resize(out.len() + COORDINATE.checked_sub(number.len())?, 0);
        out.extend_from_slice(number);
        rest = tail;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_become_halves_of_fixed_length() {
        let halves = fixed(&[0x30, 0x07, 0x02, 0x02, 0x00, 0x80, 0x02, 0x01, 0x05]).unwrap();
        assert_eq!(halves.len(), 96);
        assert_eq!((halves[47], halves[95]), (0x80, 5));
        assert!(halves.iter().enumerate().all(|(at, byte)| at == 47 || at == 95 || *byte == 0));
        for odd in [&[][..], &[0x30, 0], &[0x30, 3, 2, 9, 1], &[0x30, 6, 2, 1, 1, 2, 1, 1, 0]] {
            assert_eq!(fixed(odd), None);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_a_word_of_it() {
        for text in [
            "hunter2",
            "{\"kty\":\"oct\",\"k\":\"hunter2\"}",
            "{\"kty\":\"EC\",\"crv\":\"P-384\",\"d\":\"hunter2\"}",
            "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\",\"d\":\"AA\"}",
            "{\"kty\":\"RSA\",\"n\":\"AA\"}",
            "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n",
        ] {
            let error = AssertionKey::parse(text, None).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("aHVudGVyMg"), "{error}");
        }
    }
}
