//! Whom the adapter trusts on the way to a service: named authorities, or those of the machine's system.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use yiwang_adapter_sdk::mapping::TlsDef;
use yiwang_adapter_sdk::source::SourceError;
use yiwang_proto::ambient::Clock;

/// Where systems keep the authorities that their administrator trusts.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Bytes of a file of certificates: systems ship a quarter of it.
const FILE_MAX: u64 = 1024 * 1024;

/// A clock for the TLS library, so that certificates end by the clock that everything else uses.
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let ms = u64::try_from(self.0.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(ms)))
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

/// TLS 1.3 with the one crypto provider, passed explicitly.
pub(crate) fn config(
    def: &TlsDef,
    folder: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, SourceError> {
    let tls = |error: rustls::Error| SourceError::Setting(format!("tls: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_root_certificates(roots(def, folder)?);
    let mut config = match &def.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(&folder.join(key))?)
                .map_err(|_| SourceError::Setting(format!("`{}` holds no private key", key.display())))?;
            builder.with_client_auth_cert(certificates(&folder.join(chain))?, key).map_err(tls)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(def: &TlsDef, folder: &Path) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    if def.plain {
        return Ok(roots);
    }
    if let Some(file) = &def.ca {
        for certificate in certificates(&folder.join(file))? {
            roots.add(certificate).map_err(|error| SourceError::Setting(format!("tls.ca: {error}")))?;
        }
        return Ok(roots);
    }
    // Where the system has none, an https address fails at its handshake, and an http one does not care.
    if let Some(file) = SYSTEM.iter().map(Path::new).find(|file| file.is_file()) {
        roots.add_parsable_certificates(certificates(file)?);
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(SourceError::Setting(format!("`{}` holds no certificates in PEM", file.display()))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_MAX).read_to_end(&mut bytes))
        .map_err(|error| SourceError::Setting(format!("`{}`: {error}", file.display())))?;
    Ok(bytes)
}
