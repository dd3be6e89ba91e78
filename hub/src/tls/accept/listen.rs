//! Where connections come from: the system's sockets, or the network of a simulation.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A listening socket.
pub trait Listen: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, ready for use.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    fn address(&self) -> io::Result<SocketAddr>;
}

/// A network to listen in.
pub trait Network: Send + Sync {
    /// Its sockets.
    type Socket: Listen;

    /// Listens at an address.
    fn listen(&self, at: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

/// The operating system's network.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    type Socket = TcpListener;

    async fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(at).await
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Answers are small and awaited; a refusal by the system costs delay only.
        let _ = stream.set_nodelay(true);
        Ok((stream, address))
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}
