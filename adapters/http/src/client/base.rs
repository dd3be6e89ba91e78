//! The one address that is called.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use yiwang_adapter_sdk::source::SourceError;

/// Characters of an address: longer ones no server takes.
const ADDRESS_MAX: usize = 2048;

/// A service's address: scheme, host, port and the path beneath which everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    scheme: Scheme,
    authority: Authority,
    path: String,
}

impl Base {
    /// Reads `https://host[:port][/path]`. An address without TLS is taken for this machine only, or where
    /// the mapping says that there is none. The error does not repeat the address.
    pub fn parse(text: &str, plain: bool) -> Result<Self, SourceError> {
        let refuse = |what: &str| Err(SourceError::Setting(format!("an address of the source {what}")));
        if text.len() > ADDRESS_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('#') {
            return refuse("is too long, or has a fragment or characters that must be encoded");
        }
        let Ok(uri) = text.parse::<Uri>() else { return refuse("is no address") };
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return refuse("has no scheme or host: write https://host/path");
        };
        if authority.as_str().contains('@') {
            return refuse("holds a user or password: use `auth`");
        }
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::as_str);
        if path.contains('?') {
            return refuse("has a query");
        }
        let path = path.trim_end_matches('/');
        if path.split('/').any(is_dots) {
            return refuse("has `.` or `..` in its path");
        }
        if scheme == Scheme::HTTP && !plain && !is_loopback(authority.host()) {
            return refuse(
                "has no TLS: write https://, or `tls = { mode = \"off\" }` where the department has none",
            );
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return refuse("is neither https nor http");
        }
        Ok(Self { path: path.to_owned(), scheme, authority })
    }

    /// Whether it is called over TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The path beneath which everything lies, without a slash at its end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The target of a call: a path beneath this address, with its query.
    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }

    /// The whole address of a target.
    pub(crate) fn uri(&self, target: &str) -> Result<Uri, SourceError> {
        let unsound = || SourceError::Query("the call has no sound address".to_owned());
        if target.len() > 4 * ADDRESS_MAX {
            return Err(unsound());
        }
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(target)
            .build()
            .map_err(|_| unsound())
    }

    pub(crate) fn host_header(&self) -> Result<HeaderValue, SourceError> {
        let default = if self.is_tls() { 443 } else { 80 };
        let host = match self.authority.port_u16() {
            Some(port) if port != default => format!("{}:{port}", self.authority.host()),
            _ => self.authority.host().to_owned(),
        };
        HeaderValue::from_str(&host).map_err(|_| SourceError::Setting("the host has no name".to_owned()))
    }

    /// The target that a link of an answer names, if it is this very service's. A link elsewhere would make
    /// the adapter call what its mapping does not name, with its credentials.
    pub fn within(&self, link: &str) -> Result<String, SourceError> {
        let refuse = |what: &str| Err(SourceError::Drift(format!("the address of the next page {what}")));
        if link.len() > 4 * ADDRESS_MAX || !link.bytes().all(|b| b.is_ascii_graphic()) {
            return refuse("is too long or not encoded");
        }
        let Ok(uri) = link.split('#').next().unwrap_or_default().parse::<Uri>() else {
            return refuse("is no address");
        };
        let here = match (uri.scheme(), uri.authority()) {
            (None, None) => link.starts_with('/') && !link.starts_with("//"),
            (Some(scheme), Some(authority)) => {
                *scheme == self.scheme
                    && !authority.as_str().contains('@')
                    && authority.host().eq_ignore_ascii_case(self.authority.host())
                    && self.port(authority) == self.port(&self.authority)
            }
            _ => false,
        };
        if !here {
            return refuse("is another service's");
        }
        let beneath = uri.path().strip_prefix(self.path.as_str());
        if !beneath.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || has_dots(uri.path()) {
            return refuse("lies outside the service's path");
        }
        Ok(uri.path_and_query().map_or_else(String::new, ToString::to_string))
    }

    fn port(&self, authority: &Authority) -> u16 {
        authority.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Whether a path climbs, also where its dots or slashes are encoded.
fn has_dots(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    decoded.contains('\\') || decoded.split('/').any(is_dots)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_taken_and_refused() {
        for good in [
            "https://a.example",
            "https://a.example:8443/fhir/",
            "http://127.0.0.1:80",
            "http://[::1]:8080/x",
        ] {
            assert!(Base::parse(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example",
            "ftp://a.example",
            "a.example",
            "/path",
            "https://u:hunter2@a.example",
            "https://a.example/x?key=hunter2",
            "https://a.example/#hunter2",
            "https://a.example/../x",
            "https://a b",
            "",
        ] {
            let error = Base::parse(bad, false).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(Base::parse("http://a.example", true).is_ok());
    }

    #[test]
    fn t19_a_next_page_is_this_services_or_none() {
        let base = Base::parse("https://a.example:8443/fhir", false).unwrap();
        let within = |link: &str| base.within(link).ok();
        assert_eq!(within("https://A.example:8443/fhir?x=1").as_deref(), Some("/fhir?x=1"));
        assert_eq!(within("/fhir/Condition?x=%2F").as_deref(), Some("/fhir/Condition?x=%2F"));
        for elsewhere in [
            "https://b.example:8443/fhir?x=1",
            "https://a.example/fhir",
            "http://a.example:8443/fhir",
            "https://a.example:8443/fhirx",
            "https://a.example:8443/other",
            "https://a.example:8443/fhir/../other",
            "https://a.example:8443/fhir/%2e%2e/other",
            "https://a.example:8443/fhir/..%2fother",
            "https://a.example:8443/fhir/..%5cother",
            "https://u@a.example:8443/fhir",
            "https://a.example:8443@b.example/fhir",
            "//b.example/fhir",
            "file:///etc/passwd",
            "gopher://a.example:8443/fhir",
            "fhir?x=1",
            "http://169.254.169.254/latest",
            "",
            "\u{0}",
        ] {
            assert_eq!(within(elsewhere), None, "{elsewhere}");
        }
        let plain = Base::parse("https://a.example", false).unwrap();
        assert!(plain.within("https://a.example:443/x").is_ok());
    }
}
