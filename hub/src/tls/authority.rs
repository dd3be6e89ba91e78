//! The hub's certificate authority: one P-256 key, one self-signed certificate whose digest stands in every
//! enrolment token, short-lived leaves. It decides nothing about data.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, DnsName};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use yiwang_proto::{Digest, sha256};

use super::files;
use super::identity::{Identity, IdentityError, TrustDomain};

/// How long a member's certificate lives: long enough for a week of a hub's absence, short enough to need
/// no revocation list.
pub const MEMBER_LIFETIME_MS: i64 = 7 * DAY_MS;
/// How long the authority lives. Every enrolment token and member folder pins it, so it outlives the keys.
const AUTHORITY_LIFETIME_MS: i64 = 3652 * DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// A certificate begins this much earlier, for clocks that are slow (twice the tolerated difference).
pub const BACKDATE_MS: i64 = 2 * yiwang_proto::limits::CLOCK_SKEW_MS;
/// 9999-01-01, beyond which X.509 has no dates worth having.
const LATEST_MS: i64 = 253_370_764_800_000;
/// A request with a P-256 key and a few names has well under 1 KiB.
const REQUEST_MAX: usize = 8 * 1024;
const FILE_MAX: u64 = 64 * 1024;
const KEY_FILE: &str = "ca.key";
const CERTIFICATE_FILE: &str = "ca.pem";

/// Why the authority cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file operation failed.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is one already.
    #[error("`{}` holds an authority already; members pin it, so it is never replaced", .0.display())]
    Exists(PathBuf),
    /// Key or certificate on disk is not ours, or damaged.
    #[error("`{}` does not hold a usable authority: {what}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Others can read the key.
    #[error("the key file `{}` can be read by others; run `chmod 600` on it", .0.display())]
    Exposed(PathBuf),
    /// A certificate request is refused.
    #[error("certificate request refused: {0}")]
    Request(&'static str),
    /// A name for the hub's own certificate is refused.
    #[error("`{0}` is neither a DNS name without wildcard nor an IP address")]
    Name(String),
    /// A time outside the range of certificates.
    #[error("the certificate would begin or end outside the authority's own life")]
    Lifetime,
    /// The trust domain is refused.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate library failed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// A certificate of the hub itself with its private key, which never touches a disk.
pub struct ServerKey {
    /// Leaf, then authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8, DER.
    pub key: Vec<u8>,
    /// When it ends, milliseconds.
    pub ends_ms: i64,
}

/// The authority of one hub. Shared by reference; issuing takes no lock.
pub struct Authority {
    trust_domain: TrustDomain,
    certificate: CertificateDer<'static>,
    digest: Digest,
    ends_ms: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority in a folder, which is made if missing.
    ///
    /// # Errors
    /// [`AuthorityError::Exists`] if there is one; else what failed on disk.
    pub fn create(dir: &Path, trust_domain: &TrustDomain, now_ms: i64) -> Result<Self, AuthorityError> {
        let (key_file, certificate_file) = (dir.join(KEY_FILE), dir.join(CERTIFICATE_FILE));
        if certificate_file.exists() {
            return Err(AuthorityError::Exists(dir.to_owned()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        let ends_ms = now_ms.saturating_add(AUTHORITY_LIFETIME_MS);
        set_life(&mut params, now_ms, ends_ms)?;
        params.serial_number = Some(serial(&key, now_ms));
        params.distinguished_name = name(&format!("Yiwang hub of {trust_domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![SanType::URI(trust_domain.uri().try_into()?)];
        let certificate = params.self_signed(&key)?;

        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::Io { path, source }
        };
        files::create_private_dir(dir).map_err(at(dir))?;
        // The certificate comes last: a key without one was never used and may be replaced.
        files::replace(&key_file, key.serialize_pem().as_bytes(), files::PRIVATE).map_err(at(&key_file))?;
        files::replace(&certificate_file, certificate.pem().as_bytes(), files::PUBLIC)
            .map_err(at(&certificate_file))?;
        Self::load(dir)
    }

    /// Opens the authority of a folder.
    ///
    /// # Errors
    /// [`AuthorityError`] if a file is missing, damaged or exposed, or key and certificate do not belong
    /// together.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let unusable = |what| AuthorityError::Unusable { path: dir.to_owned(), what };
        let read = |path: &Path| {
            files::read_small(path, FILE_MAX)
                .map_err(|source| AuthorityError::Io { path: path.to_owned(), source })
        };
        let (key_file, certificate_file) = (dir.join(KEY_FILE), dir.join(CERTIFICATE_FILE));
        let key = read(&key_file)?;
        let exposed = files::is_exposed(&key_file);
        if exposed.map_err(|source| AuthorityError::Io { path: key_file.clone(), source })? {
            return Err(AuthorityError::Exposed(key_file));
        }
        let key = std::str::from_utf8(&key).map_err(|_| unusable("the key is not PEM"))?;
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| unusable("the key is not a P-256 key in PKCS#8"))?;
        let certificate = CertificateDer::from_pem_slice(&read(&certificate_file)?)
            .map_err(|_| unusable("the certificate is not PEM"))?;
        let (trust_domain, ends_ms) =
            describe(&certificate, &key).ok_or_else(|| unusable("the certificate is not of this key"))?;
        Ok(Self {
            trust_domain,
            digest: sha256(&certificate),
            ends_ms,
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
        })
    }

    /// The network whose identities this authority signs.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn ca_certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of [`Authority::ca_certificate_der`]: what enrolment tokens pin.
    #[must_use]
    pub fn ca_digest(&self) -> &Digest {
        &self.digest
    }

    /// A client certificate for an identity: leaf, then authority. Of the request only the public key is
    /// taken, after its own signature was checked; all names in it are ignored.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] for anything but a well-signed request of a P-256 key;
    /// [`AuthorityError::Lifetime`] for times outside the authority's life.
    pub fn issue(
        &self,
        request: &[u8],
        identity: &Identity,
        now_ms: i64,
        lifetime_ms: i64,
    ) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
        let key = public_key(request)?;
        let mut params = self.leaf(identity, &key, now_ms, lifetime_ms)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(vec![leaf.der().clone(), self.certificate.clone()])
    }

    /// A new key and certificate for the hub itself, under the names by which members call it.
    ///
    /// # Errors
    /// [`AuthorityError::Name`] for a wildcard or anything that is no name; [`AuthorityError::Lifetime`].
    pub fn issue_server(
        &self,
        names: &[String],
        now_ms: i64,
        lifetime_ms: i64,
    ) -> Result<ServerKey, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = self.leaf(&Identity::Hub, &key, now_ms, lifetime_ms)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(server_name(name)?);
        }
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(ServerKey {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: key.serialize_der(),
            ends_ms: now_ms.saturating_add(lifetime_ms).min(self.ends_ms),
        })
    }

    fn leaf(
        &self,
        identity: &Identity,
        key: &impl PublicKeyData,
        now_ms: i64,
        lifetime_ms: i64,
    ) -> Result<CertificateParams, AuthorityError> {
        let ends_ms = now_ms.saturating_add(lifetime_ms).min(self.ends_ms);
        let mut params = CertificateParams::default();
        set_life(&mut params, now_ms, ends_ms)?;
        params.serial_number = Some(serial(key, now_ms));
        params.distinguished_name = name(&identity.to_string());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![SanType::URI(identity.uri(&self.trust_domain).try_into()?)];
        Ok(params)
    }
}

/// The authority's name, for logs; never its key.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({}, {})", self.trust_domain, yiwang_proto::hex(&self.digest))
    }
}

fn describe(certificate: &[u8], key: &KeyPair) -> Option<(TrustDomain, i64)> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten()?;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { return None };
    let domain = TrustDomain::parse(uri.strip_prefix("spiffe://")?).ok()?;
    let ours = parsed.public_key().raw == key.subject_public_key_info();
    let sound = rest.is_empty() && parsed.is_ca() && ours;
    sound.then(|| (domain, parsed.validity().not_after.timestamp().saturating_mul(1000)))
}

fn public_key(request: &[u8]) -> Result<SubjectPublicKeyInfo, AuthorityError> {
    let refuse = AuthorityError::Request;
    if request.len() > REQUEST_MAX {
        return Err(refuse("it is larger than 8 KiB"));
    }
    let parsed = X509CertificationRequest::from_der(request);
    let Ok(([], request)) = parsed else { return Err(refuse("it is not one PKCS#10 request in DER")) };
    if request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
        return Err(refuse("only ECDSA with SHA-256 is accepted"));
    }
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| refuse("its key is of an unknown kind"))?;
    // An uncompressed point has 65 bytes; the signature check below tells that it is on the curve.
    if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
        return Err(refuse("only P-256 keys are accepted"));
    }
    if request.signature_value.unused_bits != 0 {
        return Err(refuse("its signature is not of whole bytes"));
    }
    request.verify_signature().map_err(|_| refuse("its signature is not of its key"))?;
    Ok(key)
}

/// Whether members can call the hub by a name: one for which it can have a certificate.
pub(crate) fn is_server_name(text: &str) -> bool {
    server_name(text).is_ok()
}

fn server_name(text: &str) -> Result<SanType, AuthorityError> {
    let refuse = || AuthorityError::Name(text.to_owned());
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name = DnsName::try_from(text).map_err(|_| refuse())?;
    Ok(SanType::DnsName(name.as_ref().to_owned().try_into().map_err(|_| refuse())?))
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // X.520: a common name has at most 64 characters; it is for people, nothing reads it.
    name.push(DnType::CommonName, text.chars().take(64).collect::<String>());
    name
}

/// Unique per key and moment, positive, 127 bits.
fn serial(key: &impl PublicKeyData, now_ms: i64) -> SerialNumber {
    let mut input = key.subject_public_key_info();
    input.extend_from_slice(&now_ms.to_be_bytes());
    let mut bytes: Vec<u8> = sha256(&input).into_iter().take(16).collect();
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    SerialNumber::from(bytes)
}

fn set_life(params: &mut CertificateParams, now_ms: i64, ends_ms: i64) -> Result<(), AuthorityError> {
    let begins_ms = now_ms.saturating_sub(BACKDATE_MS);
    if begins_ms < 0 || ends_ms <= now_ms || ends_ms > LATEST_MS {
        return Err(AuthorityError::Lifetime);
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_millis(begins_ms.unsigned_abs());
    params.not_after = epoch + Duration::from_millis(ends_ms.unsigned_abs());
    Ok(())
}
