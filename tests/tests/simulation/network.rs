//! The hub's doors and everybody's way to it, over turmoil's network.

use std::io;
use std::net::SocketAddr;
use turmoil::net::{TcpListener, TcpStream};
use yiwang_client::tls::Dial;
use yiwang_hub::tls::accept::{Listen, Network};

/// The hub's name in the network, and its ports.
pub const HUB: &str = "hub";
pub const PORT: u16 = 9001;

#[derive(Debug, Default, Clone, Copy)]
pub struct Wire;

pub struct Socket(TcpListener);

impl Network for Wire {
    type Socket = Socket;

    async fn listen(&self, at: SocketAddr) -> io::Result<Socket> {
        TcpListener::bind(at).await.map(Socket)
    }
}

impl Listen for Socket {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Dial for Wire {
    type Stream = TcpStream;

    /// Whatever name the folder knows: in this network the hub has one.
    async fn dial(&self, _: &str, _: u16) -> io::Result<TcpStream> {
        TcpStream::connect((HUB, PORT)).await
    }
}
