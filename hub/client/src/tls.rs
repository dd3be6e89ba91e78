//! The way to the hub: TLS 1.3 only, one crypto provider, and no trust in any authority but the pinned one.

mod dial;
mod issued;
mod pin;

pub use dial::{Dial, SystemDial};
pub use issued::{IssuedError, Leaf, check_issued};
pub use pin::PinnedAuthority;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use yiwang_proto::Digest;
use yiwang_proto::ambient::Clock;

/// From the first packet to the end of the handshake; the hub itself gives up after five seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pings while a call is open, and how long an answer may take: a dead hub is found in 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of body in flight per call and per connection; as at the hub.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `host:port`.
    #[error("`{0}` is not an address: expected `host:port`, for IPv6 `[address]:port`")]
    Address(String),
    /// Not a name that a certificate can carry.
    #[error("`{0}` is not a server name: expected a DNS name or an IP address")]
    ServerName(String),
    /// Key, certificate or authority cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The files that make the configuration cannot be read.
    #[error("{0}")]
    Files(Box<dyn std::error::Error + Send + Sync>),
    /// The hub was not reached, or the handshake failed.
    #[error("no connection to `{address}`: {why}")]
    Failed {
        /// Where it was tried.
        address: String,
        /// What went wrong, the whole chain.
        why: String,
    },
}

/// The one crypto provider; passed explicitly everywhere, never installed as the process's default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A clock for the TLS library, so that certificates end by the clock that everything else uses.
pub(crate) struct ClockTime(pub Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        unix_time(self.0.now_ms())
    }
}

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

pub(crate) fn unix_time(ms: i64) -> Option<UnixTime> {
    u64::try_from(ms).ok().map(|ms| UnixTime::since_unix_epoch(Duration::from_millis(ms)))
}

/// The configuration of an enrolled client: this authority, this certificate, nothing else.
///
/// # Errors
/// [`ConnectError::Tls`] if key and certificate do not belong together or cannot be used.
pub fn client_config(
    authority: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let config = ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(finished(config))
}

/// The configuration for enrolment: no certificate yet, and the hub's authority known by its digest only.
///
/// # Errors
/// [`ConnectError::Tls`].
pub fn enrolment_config(ca: Digest, clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>, ConnectError> {
    let config = ClientConfig::builder_with_details(provider(), Arc::new(ClockTime(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority::new(ca)))
        .with_no_client_auth();
    Ok(finished(config))
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    // The hub resumes nothing, so that each connection shows its certificate again.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// Makes the TLS configuration anew for each connection, so that a renewed certificate is used by the next.
pub type ConfigSource = Arc<dyn Fn() -> Result<Arc<ClientConfig>, ConnectError> + Send + Sync>;

/// Connects now, and again by itself whenever a call finds the connection gone. `server_name` is the name
/// that the hub's certificate must carry; without one it is the host of the address.
///
/// # Errors
/// [`ConnectError`]: why the first attempt failed.
pub async fn connect(
    address: &str,
    server_name: Option<&str>,
    config: Arc<ClientConfig>,
) -> Result<Channel, ConnectError> {
    connect_with(address, server_name, Arc::new(move || Ok(Arc::clone(&config)))).await
}

/// As [`connect`], with the configuration made anew for each connection.
///
/// # Errors
/// As [`connect`].
pub async fn connect_with(
    address: &str,
    server_name: Option<&str>,
    source: ConfigSource,
) -> Result<Channel, ConnectError> {
    connect_over(SystemDial, address, server_name, source).await
}

/// As [`connect_with`], over another network than the system's.
///
/// # Errors
/// As [`connect`].
pub async fn connect_over<D: Dial>(
    dial: D,
    address: &str,
    server_name: Option<&str>,
    source: ConfigSource,
) -> Result<Channel, ConnectError> {
    let (endpoint, target) = prepare(dial, address, server_name, source)?;
    let connector = tower::service_fn(move |_: http::Uri| target.clone().open());
    let failed = |error| ConnectError::Failed { address: address.to_owned(), why: chain_of(&error) };
    endpoint.connect_with_connector(connector).await.map_err(failed)
}

/// As [`connect_with`], but the first call makes the connection; the error of an unreachable hub is then
/// that call's.
///
/// # Errors
/// [`ConnectError`] for an address or name that is none.
pub fn connect_lazy(
    address: &str,
    server_name: Option<&str>,
    source: ConfigSource,
) -> Result<Channel, ConnectError> {
    connect_lazy_over(SystemDial, address, server_name, source)
}

/// As [`connect_lazy`], over another network than the system's.
///
/// # Errors
/// As [`connect_lazy`].
pub fn connect_lazy_over<D: Dial>(
    dial: D,
    address: &str,
    server_name: Option<&str>,
    source: ConfigSource,
) -> Result<Channel, ConnectError> {
    let (endpoint, target) = prepare(dial, address, server_name, source)?;
    let connector = tower::service_fn(move |_: http::Uri| target.clone().open());
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn prepare<D>(
    dial: D,
    address: &str,
    server_name: Option<&str>,
    source: ConfigSource,
) -> Result<(Endpoint, Target<D>), ConnectError> {
    let bad = || ConnectError::Address(address.to_owned());
    let (host, port) = split_address(address).ok_or_else(bad)?;
    let name = server_name.unwrap_or(host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| ConnectError::ServerName(name))?;
    // The scheme is plain because the connector itself brings TLS.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| bad())?
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok((endpoint, Target { dial, host: host.to_owned(), port, name, source }))
}

/// The host and port of `host:port` or `[v6]:port`.
pub(crate) fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = match inner {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|_| v6)?,
        None => host,
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let host_ok = inner.is_some() || (!host.is_empty() && host.bytes().all(plain));
    (digits && host_ok).then(|| port.parse().ok().map(|port| (host, port))).flatten()
}

#[derive(Clone)]
struct Target<D> {
    dial: D,
    host: String,
    port: u16,
    name: ServerName<'static>,
    source: ConfigSource,
}

impl<D: Dial> Target<D> {
    async fn open(self) -> io::Result<TokioIo<TlsStream<D::Stream>>> {
        let config = (self.source)().map_err(io::Error::other)?;
        let attempt = async {
            let stream = self.dial.dial(&self.host, self.port).await?;
            TlsConnector::from(config).connect(self.name, stream).await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(result) => result.map(TokioIo::new),
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 seconds")),
        }
    }
}

fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        next = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        assert_eq!(split_address("hub.example:443"), Some(("hub.example", 443)));
        assert_eq!(split_address("127.0.0.1:1"), Some(("127.0.0.1", 1)));
        assert_eq!(split_address("[::1]:65535"), Some(("::1", 65535)));
        for bad in [
            "",
            ":1",
            "hub",
            "hub:",
            "hub:x",
            "hub:65536",
            "hub:+1",
            "::1:1",
            "[::1]",
            "[hub]:1",
            "a/b:1",
            "u@h:1",
            "http://h:1",
            "h:1/",
            "h h:1",
        ] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }
}
