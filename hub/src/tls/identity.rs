//! SPIFFE identities: one URI per certificate, of this hub's trust domain, in one of three shapes. A text
//! that differs from the one canonical form in any byte names nobody.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use yiwang_proto::ids::{AppId, MemberId};

/// SPIFFE ID, section 2.3: the whole is at most 2,048 bytes.
const URI_MAX: usize = 2048;
const SCHEME: &str = "spiffe://";

/// Why a certificate or URI names nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a trust domain of the SPIFFE grammar.
    #[error("a trust domain has 1 to 255 of a-z, 0-9, dots, hyphens and underscores")]
    TrustDomain,
    /// Not one of the three shapes.
    #[error("the URI is not `spiffe://<trust domain>/member/<id>`, `/auditor/<id>` or `/hub`")]
    Uri,
    /// Another network's identity.
    #[error("the identity belongs to another trust domain")]
    OtherDomain,
    /// Not a certificate.
    #[error("the certificate does not parse")]
    Malformed,
    /// None or more than one.
    #[error("the certificate must have exactly one URI name")]
    NotOneUri,
    /// A certificate that could sign others, or one that may not sign a handshake.
    #[error("the certificate's usage does not fit the end of a connection")]
    Usage,
}

/// The name of one network of members, e.g. `city.example`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Checks the grammar of SPIFFE ID, section 2.1.
    ///
    /// # Errors
    /// [`IdentityError::TrustDomain`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(good) {
            return Err(IdentityError::TrustDomain);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URI of the domain itself, as it stands in the authority's certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A member's gateway, adapter or tool.
    Member(MemberId),
    /// A reviewer of the ledger.
    Auditor(AppId),
    /// The hub itself.
    Hub,
}

impl Identity {
    /// The SPIFFE URI.
    #[must_use]
    pub fn uri(&self, domain: &TrustDomain) -> String {
        format!("{SCHEME}{domain}/{}", self.path())
    }

    fn path(&self) -> String {
        match self {
            Self::Member(id) => format!("member/{id}"),
            Self::Auditor(id) => format!("auditor/{id}"),
            Self::Hub => "hub".to_owned(),
        }
    }

    /// The form of enrolment tokens: `member:<id>` or `auditor:<id>`; nobody enrols as the hub.
    #[must_use]
    pub fn who(&self) -> String {
        self.path().replace('/', ":")
    }

    /// Reads the form of enrolment tokens.
    #[must_use]
    pub fn from_who(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        match kind {
            "member" => MemberId::parse(id).ok().map(Self::Member),
            "auditor" => AppId::parse(id).ok().map(Self::Auditor),
            _ => None,
        }
    }

    /// Reads a URI of this trust domain.
    ///
    /// # Errors
    /// [`IdentityError`]; ports, user names, queries, fragments and escapes fall to the narrow grammar.
    pub fn parse(uri: &str, domain: &TrustDomain) -> Result<Self, IdentityError> {
        if uri.len() > URI_MAX {
            return Err(IdentityError::Uri);
        }
        let rest = uri.strip_prefix(SCHEME).ok_or(IdentityError::Uri)?;
        let (authority, path) = rest.split_once('/').ok_or(IdentityError::Uri)?;
        if authority != domain.as_str() {
            let known = TrustDomain::parse(authority);
            return Err(known.map_or(IdentityError::Uri, |_| IdentityError::OtherDomain));
        }
        match path.split_once('/') {
            None if path == "hub" => Ok(Self::Hub),
            Some(("member", id)) => MemberId::parse(id).map(Self::Member).map_err(|_| IdentityError::Uri),
            Some(("auditor", id)) => AppId::parse(id).map(Self::Auditor).map_err(|_| IdentityError::Uri),
            _ => Err(IdentityError::Uri),
        }
    }

    /// Who a leaf certificate names, and from when to when it is valid (milliseconds). That it was signed by the authority
    /// is for the handshake to check.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn of_certificate(der: &[u8], domain: &TrustDomain) -> Result<(Self, Range<i64>), IdentityError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
        if !rest.is_empty() {
            return Err(IdentityError::Malformed);
        }
        let usage = certificate.key_usage().map_err(|_| IdentityError::Malformed)?;
        let fits = usage.is_some_and(|usage| {
            usage.value.digital_signature() && !usage.value.key_cert_sign() && !usage.value.crl_sign()
        });
        if certificate.is_ca() || !fits {
            return Err(IdentityError::Usage);
        }
        let names = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(IdentityError::NotOneUri) };
        let ms = |seconds: i64| seconds.saturating_mul(1000);
        let validity = certificate.validity();
        let valid = ms(validity.not_before.timestamp())..ms(validity.not_after.timestamp());
        Ok((Self::parse(uri, domain)?, valid))
    }
}

/// `member/police`: fit for logs.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// The other end of a connection with a client certificate; stands in each request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whose certificate it is.
    pub identity: Identity,
    /// When the certificate was issued, milliseconds.
    pub certificate_issued_ms: i64,
    /// When the certificate ends, milliseconds; the connection is closed then.
    pub certificate_ends_ms: i64,
    /// Where the connection comes from.
    pub address: SocketAddr,
}

/// Where a request without a client certificate comes from; stands in its extensions instead of [`Peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        TrustDomain::parse("city.example").unwrap()
    }

    #[test]
    fn identities_have_one_form() {
        let member = Identity::Member(MemberId::parse("civil-affairs").unwrap());
        let auditor = Identity::Auditor(AppId::parse("court").unwrap());
        for (identity, uri) in [
            (member, "spiffe://city.example/member/civil-affairs"),
            (auditor, "spiffe://city.example/auditor/court"),
            (Identity::Hub, "spiffe://city.example/hub"),
        ] {
            assert_eq!(identity.uri(&domain()), uri);
            assert_eq!(Identity::parse(uri, &domain()).unwrap(), identity);
            let who = Identity::from_who(&identity.who());
            assert_eq!(who, (identity != Identity::Hub).then_some(identity));
        }
    }

    #[test]
    fn whatever_differs_in_a_byte_names_nobody() {
        let long = format!("spiffe://city.example/member/{}", "a".repeat(33));
        let whole = format!("spiffe://city.example/member/{}", "a".repeat(2048));
        for uri in [
            "",
            "spiffe://",
            "spiffe://city.example",
            "spiffe://city.example/",
            "spiffe://city.example/hub/",
            "spiffe://city.example/hub?x=1",
            "spiffe://city.example/hub#x",
            "spiffe://city.example/Hub",
            "spiffe://city.example//hub",
            "spiffe://city.example/member",
            "spiffe://city.example/member/",
            "spiffe://city.example/member/police/",
            "spiffe://city.example/member/police/x",
            "spiffe://city.example/member//police",
            "spiffe://city.example/member/../hub",
            "spiffe://city.example/member/po%6cice",
            "spiffe://city.example/member/Police",
            "spiffe://city.example/member/police?member=health",
            "spiffe://city.example/member/police#health",
            "spiffe://city.example/member/police ",
            "spiffe://city.example/member/police\0",
            "spiffe://city.example/officer/police",
            "spiffe://city.example:443/member/police",
            "spiffe://user@city.example/member/police",
            "spiffe://City.example/member/police",
            "SPIFFE://city.example/member/police",
            "https://city.example/member/police",
            " spiffe://city.example/member/police",
            long.as_str(),
            whole.as_str(),
        ] {
            assert_eq!(Identity::parse(uri, &domain()), Err(IdentityError::Uri), "{uri:?}");
        }
        let other = Identity::parse("spiffe://city.example.org/hub", &domain());
        assert_eq!(other, Err(IdentityError::OtherDomain));
    }

    #[test]
    fn trust_domains_and_tokens_of_other_shapes_are_refused() {
        for bad in ["", "City", "city example", "city:1", "a@b", "ｃity", &"a".repeat(256)] {
            assert!(TrustDomain::parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["hub", "hub:", "member:", "member:Police", "member/police", "root:police", "auditor:"] {
            assert!(Identity::from_who(bad).is_none(), "{bad:?}");
        }
    }
}
