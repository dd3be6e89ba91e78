//! Addresses for servers of tests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};

/// An address that nobody else can have: on a loopback address of this process alone, below the ports of outgoing
/// connections. So no port is ever looked for, given up and hoped for.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(7000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from(([127, 64 + (high & 63), middle, low], port))
}
