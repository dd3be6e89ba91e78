//! Whom a server's certificate must be from.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use yiwang_adapter_sdk::source::SourceError;

/// A configuration that trusts this authority and no other; none without one. Databases that departments have had for years
/// speak TLS 1.2, which hub and adapters refuse among themselves; MariaDB's library offers the same two.
pub(crate) fn trust(ca: Option<&[u8]>) -> Result<Option<Arc<ClientConfig>>, SourceError> {
    let Some(pem) = ca else { return Ok(None) };
    let wrong = || SourceError::Setting("what `ca` refers to holds no certificate in PEM".to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| wrong())?).map_err(|_| wrong())?;
    }
    if roots.is_empty() {
        return Err(wrong());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| SourceError::Setting(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}
