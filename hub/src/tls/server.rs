//! TLS 1.3 of the hub's doors. Nothing is negotiated that could be talked down: one protocol version, one
//! crypto provider, no resumption (a resumed session would skip the check of the client's certificate).

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use yiwang_proto::ambient::Clock;

use super::authority::{Authority, AuthorityError};
use super::identity::TrustDomain;

/// How long the hub's own certificate lives.
pub const HUB_LIFETIME_MS: i64 = super::authority::MEMBER_LIFETIME_MS;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate for the hub.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The TLS library refuses key, certificate or parameters.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The client verifier cannot be built.
    #[error("TLS client verifier: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The hub's certificate, renewed at two thirds of its life by the first handshake after that moment.
pub struct HubCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    lifetime_ms: i64,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    renew_at_ms: i64,
}

impl HubCertificate {
    /// Issues the first certificate, under DNS names or IP addresses.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(
        authority: Arc<Authority>,
        names: Vec<String>,
        lifetime_ms: i64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let current = make(&authority, &names, clock.now_ms(), lifetime_ms, &provider)?;
        let current = RwLock::new(current);
        Ok(Self { authority, names, lifetime_ms, clock, provider, current })
    }

    /// The certificate in use; a new one if the old is past two thirds of its life. If renewal fails the old
    /// one stays in use: it is still good, and the failure is in the log.
    fn current(&self) -> Arc<CertifiedKey> {
        let now_ms = self.clock.now_ms();
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if now_ms < current.renew_at_ms {
                return Arc::clone(&current.key);
            }
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if now_ms >= current.renew_at_ms {
            match make(&self.authority, &self.names, now_ms, self.lifetime_ms, &self.provider) {
                Ok(new) => *current = new,
                Err(error) => tracing::error!(%error, "the hub's certificate cannot be renewed"),
            }
        }
        Arc::clone(&current.key)
    }
}

impl ResolvesServerCert for HubCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for HubCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HubCertificate({:?})", self.names)
    }
}

fn make(
    authority: &Authority,
    names: &[String],
    now_ms: i64,
    lifetime_ms: i64,
    provider: &CryptoProvider,
) -> Result<Current, TlsError> {
    let issued = authority.issue_server(names, now_ms, lifetime_ms)?;
    let renew_at_ms = now_ms.saturating_add(issued.ends_ms.saturating_sub(now_ms) / 3 * 2);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(issued.key));
    let key = provider.key_provider.load_private_key(key)?;
    Ok(Current { key: Arc::new(CertifiedKey::new(issued.chain, key)), renew_at_ms })
}

/// The one crypto provider; passed explicitly everywhere, never installed as the process's default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The hub's clock for the TLS library, so that certificates end by the clock that everything else uses.
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let ms = u64::try_from(self.0.now_ms()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_millis(ms)))
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

/// How one door speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The library's configuration.
    pub config: Arc<ServerConfig>,
    /// Whose identities the door admits; `None` if it asks for no client certificate.
    pub trust_domain: Option<TrustDomain>,
}

/// The configuration of a door: with `mutual` a client certificate of this authority is needed, without it
/// (the enrolment door) none is asked for.
///
/// # Errors
/// [`TlsError`].
pub fn server_config(
    authority: &Authority,
    certificate: Arc<HubCertificate>,
    clock: Arc<dyn Clock>,
    mutual: bool,
) -> Result<Tls, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(authority.ca_certificate_der().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    let trust_domain = mutual.then(|| authority.trust_domain().clone());
    Ok(Tls { config: Arc::new(config), trust_domain })
}
