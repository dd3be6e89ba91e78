//! TLS to a PostgreSQL server with the workspace's own stack, and what the library asks of a stream.

use crate::server::{Host, Target, trust};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use yiwang_adapter_sdk::source::SourceError;

/// How one server's connections are protected.
#[derive(Clone)]
pub(super) struct Tls(Option<(Arc<ClientConfig>, ServerName<'static>)>);

impl Tls {
    pub(super) fn new(target: &Target) -> Result<Self, SourceError> {
        let Some(config) = trust(target.ca.as_deref())? else { return Ok(Self(None)) };
        let name = match &target.host {
            Host::Tcp(name, _) => name.clone(),
            Host::Socket(_) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(name)
            .map_err(|_| SourceError::Setting("the host of `url` is no name for a certificate".to_owned()))?;
        Ok(Self(Some((config, name))))
    }
}

/// A TCP connection or a socket.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

pub(super) struct Raw(pub(super) Box<dyn Duplex>);

/// The stream under TLS.
pub(super) struct Protected(tokio_rustls::client::TlsStream<Raw>);

macro_rules! forward {
    ($stream:ty) => {
        impl AsyncRead for $stream {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_read(context, buffer)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.0).poll_write(context, bytes)
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_flush(context)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_shutdown(context)
            }
        }
    };
}

forward!(Raw);
forward!(Protected);

impl TlsStream for Protected {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl TlsConnect<Raw> for Tls {
    type Stream = Protected;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Protected>> + Send>>;

    fn connect(self, stream: Raw) -> Self::Future {
        Box::pin(async move {
            let Some((config, name)) = self.0 else {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "TLS is off"));
            };
            Ok(Protected(TlsConnector::from(config).connect(name, stream).await?))
        })
    }
}
