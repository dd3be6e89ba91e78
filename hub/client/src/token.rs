//! The one-time enrolment token: everything that a member must know to trust its hub, and the secret that
//! makes the hub trust the member. It travels by hand, not over the network that it opens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::fmt;
use yiwang_proto::Digest;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::note::VerifierKey;
use yiwang_proto::time::parse_rfc3339;

/// What every token begins with; the number is the version of its form.
pub const PREFIX: &str = "yiwang-enrol-1.";
/// A token has under 1 KiB.
const TOKEN_MAX: usize = 8 * 1024;

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this version, or cut short on the way.
    #[error("this is not a whole enrolment token: it begins with `yiwang-enrol-1.` and is one line")]
    Form,
    /// A token whose content does not hold.
    #[error("the enrolment token holds no good {0}; ask the hub's operator for a new one")]
    Field(&'static str),
}

/// Whom a token enrols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A member.
    Member(MemberId),
    /// A reviewer of the ledger.
    Auditor(AppId),
}

impl Holder {
    fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        match kind {
            "member" => MemberId::parse(id).ok().map(Self::Member),
            "auditor" => AppId::parse(id).ok().map(Self::Auditor),
            _ => None,
        }
    }

    /// The SPIFFE URI that the holder's certificate must carry.
    #[must_use]
    pub fn uri(&self, trust_domain: &str) -> String {
        match self {
            Self::Member(id) => format!("spiffe://{trust_domain}/member/{id}"),
            Self::Auditor(id) => format!("spiffe://{trust_domain}/auditor/{id}"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(id) => write!(f, "member `{id}`"),
            Self::Auditor(id) => write!(f, "auditor `{id}`"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    hub: String,
    enrol: String,
    ca: String,
    origin: String,
    verifier_key: String,
    trust_domain: String,
    who: String,
    secret: String,
    expires: String,
}

/// A checked token. Its secret is never shown by `Debug`.
#[derive(Clone)]
pub struct EnrolToken {
    /// `host:port` of the hub's door for enrolled members.
    pub hub: String,
    /// `host:port` of the enrolment door.
    pub enrol: String,
    /// SHA-256 of the hub authority's certificate.
    pub ca: Digest,
    /// The ledger's origin.
    pub origin: String,
    /// The ledger's key.
    pub verifier_key: VerifierKey,
    /// The network.
    pub trust_domain: String,
    /// Whom it enrols.
    pub who: Holder,
    /// When it ends, milliseconds.
    pub expires_ms: i64,
    pub(crate) secret: String,
}

impl EnrolToken {
    /// Reads a token; spaces and line ends around it are ignored.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_MAX {
            return Err(TokenError::Form);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(TokenError::Form)?;
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Form)?;
        let raw: Raw = serde_json::from_slice(&json).map_err(|_| TokenError::Form)?;
        let field = TokenError::Field;
        let verifier_key = VerifierKey::parse(&raw.verifier_key).map_err(|_| field("ledger key"))?;
        if raw.origin.is_empty() {
            return Err(field("ledger origin"));
        }
        if raw.secret.len() < 32 {
            return Err(field("secret"));
        }
        Ok(Self {
            ca: digest(&raw.ca).ok_or(field("digest of the hub's authority"))?,
            hub: address(raw.hub).ok_or(field("address of the hub"))?,
            enrol: address(raw.enrol).ok_or(field("address of the enrolment door"))?,
            origin: raw.origin,
            verifier_key,
            trust_domain: trust_domain(raw.trust_domain).ok_or(field("trust domain"))?,
            who: Holder::parse(&raw.who).ok_or(field("holder"))?,
            expires_ms: parse_rfc3339(&raw.expires).map_err(|_| field("end"))?,
            secret: raw.secret,
        })
    }
}

impl fmt::Debug for EnrolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolToken({:?} at {})", self.who, self.enrol)
    }
}

fn digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != 64 || text.bytes().any(|b| !b.is_ascii_hexdigit() || b.is_ascii_uppercase()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

fn address(text: String) -> Option<String> {
    crate::tls::split_address(&text).is_some().then_some(text)
}

/// The grammar of SPIFFE ID, section 2.1.
pub(crate) fn trust_domain(text: String) -> Option<String> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    ((1..=255).contains(&text.len()) && text.bytes().all(good)).then_some(text)
}
