//! Checks what an authority issued before it is kept: a hub that answers with a wrong certificate is found
//! now, not at the next connection.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why an issued certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuedError {
    /// Not a leaf and its authority.
    #[error("the hub's answer is not a certificate and its authority")]
    Chain,
    /// A certificate of another authority.
    #[error("the certificate is not signed by the pinned authority, or not valid now")]
    Authority,
    /// Somebody else's name.
    #[error("the certificate does not name `{0}` and nobody else")]
    Name(String),
    /// Somebody else's key.
    #[error("the certificate is for another key")]
    Key,
}

/// What a leaf certificate says about its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// First valid moment, milliseconds.
    pub begins_ms: i64,
    /// Last valid moment, milliseconds.
    pub ends_ms: i64,
}

impl Leaf {
    /// Reads the life of a certificate.
    ///
    /// # Errors
    /// [`IssuedError::Chain`] if it does not parse.
    pub fn parse(der: &[u8]) -> Result<Self, IssuedError> {
        let Ok(([], parsed)) = X509Certificate::from_der(der) else { return Err(IssuedError::Chain) };
        Ok(Self::of(&parsed))
    }

    fn of(parsed: &X509Certificate<'_>) -> Self {
        let validity = parsed.validity();
        Self {
            begins_ms: validity.not_before.timestamp().saturating_mul(1000),
            ends_ms: validity.not_after.timestamp().saturating_mul(1000),
        }
    }

    /// When it should be renewed: after two thirds of its life, so that a hub may be away for the last one.
    #[must_use]
    pub const fn renew_at_ms(&self) -> i64 {
        self.begins_ms.saturating_add(self.ends_ms.saturating_sub(self.begins_ms) / 3 * 2)
    }
}

/// Checks a chain of leaf and authority: the authority is the expected one, it signed the leaf for use as a
/// client, the leaf's only URI is `uri`, and its key is `key` (SubjectPublicKeyInfo, DER).
///
/// # Errors
/// [`IssuedError`].
pub fn check_issued(
    chain: &[CertificateDer<'static>],
    is_authority: impl Fn(&[u8]) -> bool,
    uri: &str,
    key: &[u8],
    now_ms: i64,
) -> Result<Leaf, IssuedError> {
    let [leaf, authority] = chain else { return Err(IssuedError::Chain) };
    if !is_authority(authority) {
        return Err(IssuedError::Authority);
    }
    let refused = || IssuedError::Authority;
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(|_| refused())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider())
        .build()
        .map_err(|_| refused())?;
    let now = super::unix_time(now_ms).ok_or_else(refused)?;
    verifier.verify_client_cert(leaf, &[], now).map_err(|_| refused())?;

    let Ok(([], parsed)) = X509Certificate::from_der(leaf) else { return Err(IssuedError::Chain) };
    let names = parsed.subject_alternative_name().map_err(|_| IssuedError::Chain)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    if !matches!(names, [GeneralName::URI(only)] if *only == uri) {
        return Err(IssuedError::Name(uri.to_owned()));
    }
    if parsed.public_key().raw != key {
        return Err(IssuedError::Key);
    }
    Ok(Leaf::of(&parsed))
}
