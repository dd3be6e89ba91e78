//! Asks a running host at the door of its health pages.

use crate::config::Config;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the host may take: it answers from memory, or after a folder was read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: mappings with hundreds of fields fit.
const ANSWER_MAX: u64 = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    /// The configuration opens none.
    #[error(
        "A-DOR-001 `{0}` has no [health]: the host cannot be asked\n  help: write [health] with listen = \"127.0.0.1:8481\" and start the host again"
    )]
    None(String),
    /// Port 0.
    #[error(
        "A-DOR-002 `{0}` leaves the port of [health] to the system\n  help: name the address that the host printed with --at"
    )]
    AnyPort(String),
    /// No host.
    #[error(
        "A-DOR-003 no host answers at {address}: {why}\n  help: is it running? `systemctl status yiwang-adapter`"
    )]
    Away {
        /// Where.
        address: SocketAddr,
        /// Why.
        why: String,
    },
}

/// Where the host's health pages are.
pub(super) fn address(path: &Path, config: &Config, at: Option<SocketAddr>) -> Result<SocketAddr, DoorError> {
    if let Some(at) = at {
        return Ok(at);
    }
    let shown = || path.display().to_string();
    let address = config.health.ok_or_else(|| DoorError::None(shown()))?;
    if address.port() == 0 {
        return Err(DoorError::AnyPort(shown()));
    }
    // What listens everywhere is asked here.
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

/// The JSON of a page.
pub(super) async fn get(address: SocketAddr, page: &str) -> Result<Value, DoorError> {
    let away = |why: &str| DoorError::Away { address, why: why.to_owned() };
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {page} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(away(&error.kind().to_string())),
        Err(_) => return Err(away("no answer in time")),
    };
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| away("no HTTP answer"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(away(head.lines().next().unwrap_or_default()));
    }
    serde_json::from_str(body).map_err(|_| away("its answer is no JSON: is another program there?"))
}
