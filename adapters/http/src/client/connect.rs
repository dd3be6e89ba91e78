//! Connections: straight or through a proxy, with TLS or without.

use base64::Engine as _;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower_service::Service;
use yiwang_adapter_sdk::source::SourceError;

/// For name and connection; a host that drops packets would cost the whole deadline otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the proxy's word and the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection; names nothing but kinds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no connection: {0}")]
    Tcp(io::ErrorKind),
    #[error("the proxy makes no connection")]
    Proxy,
    #[error("no TLS: {0}")]
    Tls(String),
    #[error("no connection in time")]
    Late,
}

/// An HTTP proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    uri: Uri,
    auth: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `http://[user:password@]host:port`; the error does not repeat it.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = || SourceError::Setting("the proxy is not http://[user:password@]host:port".to_owned());
        let rest = text.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let uri: Uri = format!("http://{host}").parse().map_err(|_| bad())?;
        if uri.port_u16().is_none() || uri.path().len() > 1 || uri.query().is_some() {
            return Err(bad());
        }
        let auth = match user {
            None => None,
            Some(user) => {
                let user = percent_encoding::percent_decode_str(user).decode_utf8().map_err(|_| bad())?;
                let basic = base64::engine::general_purpose::STANDARD.encode(user.as_bytes());
                let mut value = HeaderValue::try_from(format!("Basic {basic}")).map_err(|_| bad())?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { uri, auth })
    }

    pub(crate) fn auth(&self) -> Option<HeaderValue> {
        self.auth.clone()
    }
}

/// Makes connections for the client's pool.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    tls: Arc<ClientConfig>,
    proxy: Option<Proxy>,
}

impl Connector {
    pub(crate) fn new(tls: Arc<ClientConfig>, proxy: Option<Proxy>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { tcp, tls, proxy }
    }

    async fn connect(mut self, target: Uri) -> Result<Stream, Failure> {
        let is_tls = target.scheme() == Some(&http::uri::Scheme::HTTPS);
        let tcp = match (&self.proxy, is_tls) {
            (None, _) => self.tcp.call(target.clone()).await.map_err(|error| tcp_failure(&error))?,
            // Without TLS the proxy itself reads the request, whose target is the whole address.
            (Some(proxy), false) => {
                let tcp = self.tcp.call(proxy.uri.clone()).await.map_err(|error| tcp_failure(&error))?;
                return Ok(Stream { io: TokioIo::new(Box::new(tcp.into_inner())), proxied: true });
            }
            (Some(proxy), true) => {
                let mut tunnel = Tunnel::new(proxy.uri.clone(), self.tcp.clone());
                if let Some(auth) = proxy.auth() {
                    tunnel = tunnel.with_auth(auth);
                }
                tunnel.call(target.clone()).await.map_err(|_| Failure::Proxy)?
            }
        };
        let tcp: TcpStream = tcp.into_inner();
        if !is_tls {
            return Ok(Stream { io: TokioIo::new(Box::new(tcp)), proxied: false });
        }
        let host = target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Tls("the host has no name that a certificate carries".to_owned()))?;
        let connector = tokio_rustls::TlsConnector::from(self.tls);
        let tls = connector.connect(name, tcp).await.map_err(|error| tls_failure(&error))?;
        Ok(Stream { io: TokioIo::new(Box::new(tls)), proxied: false })
    }
}

fn tcp_failure(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut source = Some(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Failure::Tcp(io.kind());
        }
        source = inner.source();
    }
    Failure::Tcp(io::ErrorKind::Other)
}

fn tls_failure(error: &io::Error) -> Failure {
    let known = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    Failure::Tls(match known {
        Some(rustls::Error::InvalidCertificate(why)) => format!("its certificate is not trusted ({why:?})"),
        Some(rustls::Error::AlertReceived(alert)) => format!("it refuses the handshake ({alert:?})"),
        Some(_) => "the handshake failed: TLS 1.3 is needed".to_owned(),
        None => "the connection broke".to_owned(),
    })
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.clone().connect(target);
        Box::pin(async move {
            let limit = CONNECT_TIMEOUT + HANDSHAKE_TIMEOUT;
            tokio::time::timeout(limit, connecting).await.unwrap_or(Err(Failure::Late))
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
pub(crate) struct Stream {
    io: TokioIo<Box<dyn Io>>,
    proxied: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.proxied)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
