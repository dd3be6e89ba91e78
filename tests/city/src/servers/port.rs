//! Ports for servers that are started soon.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port of this machine that is free now, below those that the system gives to outgoing connections: a client that
/// dials while the server is away could otherwise be given the server's own port.
///
/// # Errors
/// None is free.
pub fn free_port() -> std::io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two programs that start together have neighbouring ids: far apart, they do not race for ports.
    let start = u16::try_from(std::process::id().wrapping_mul(7919) % 9000).unwrap_or_default();
    for _ in 0..10_000 {
        let port = 20_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr();
        }
    }
    Err(Error::new(ErrorKind::AddrInUse, "no free port between 20000 and 30000"))
}
