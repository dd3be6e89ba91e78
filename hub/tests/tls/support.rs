//! A door with a small service behind it, and clients of every kind.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;
use yiwang_hub::tls::accept::{AcceptLimits, Counters, Door, Stop, serve};
use yiwang_hub::tls::authority::{Authority, MEMBER_LIFETIME_MS};
use yiwang_hub::tls::identity::{ClientAddress, Identity, Peer, TrustDomain};
use yiwang_hub::tls::server::{HUB_LIFETIME_MS, HubCertificate, server_config};
use yiwang_proto::ambient::{Clock as _, ManualClock};

pub const NOW_MS: i64 = 1_795_000_000_000;
pub const DAY_MS: u64 = 24 * 3600 * 1000;

pub fn domain() -> TrustDomain {
    TrustDomain::parse("city.example").unwrap()
}

pub fn member(id: &str) -> Identity {
    Identity::from_who(&format!("member:{id}")).unwrap()
}

/// An authority in a folder of its own.
pub fn authority() -> (Arc<Authority>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(&dir.path().join("authority"), &domain(), NOW_MS).unwrap();
    (Arc::new(authority), dir)
}

pub fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

pub fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

/// One open door.
pub struct World {
    pub authority: Arc<Authority>,
    pub clock: Arc<ManualClock>,
    pub counters: Arc<Counters>,
    pub stop: Stop,
    pub tracker: TaskTracker,
    pub address: SocketAddr,
    pub dir: TempDir,
}

impl World {
    /// A door for members.
    pub async fn members(limits: AcceptLimits) -> Self {
        let (authority, dir) = authority();
        let clock = Arc::new(ManualClock::new(NOW_MS));
        Self::start(authority, dir, clock, limits, true, service()).await
    }

    pub async fn start(
        authority: Arc<Authority>,
        dir: TempDir,
        clock: Arc<ManualClock>,
        limits: AcceptLimits,
        mutual: bool,
        service: Router,
    ) -> Self {
        let names = vec!["127.0.0.1".to_owned(), "hub.city.example".to_owned()];
        let certificate =
            HubCertificate::new(Arc::clone(&authority), names, HUB_LIFETIME_MS, clock.clone()).unwrap();
        let tls = server_config(&authority, Arc::new(certificate), clock.clone(), mutual).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counters, stop, tracker) = (Arc::default(), Stop::default(), TaskTracker::new());
        let door = Door {
            listener,
            tls: Some(tls),
            limits,
            stop: stop.clone(),
            tracker: tracker.clone(),
            counters: Arc::clone(&counters),
            clock: clock.clone(),
        };
        tracker.spawn(serve(door, service));
        Self { authority, clock, counters, stop, tracker, address, dir }
    }

    /// The configuration of a client with this chain.
    pub fn config(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> ClientConfig {
        let authority = self.authority.ca_certificate_der().clone();
        let config = yiwang_client::tls::client_config(authority, chain, key, self.clock.clone()).unwrap();
        let mut config = (*config).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// The configuration of an enrolled client.
    pub fn config_of(&self, identity: &Identity, lifetime_ms: i64) -> ClientConfig {
        let key = key();
        let now_ms = self.clock.now_ms();
        let chain = self.authority.issue(&request(&key), identity, now_ms, lifetime_ms).unwrap();
        self.config(chain, private(&key))
    }

    pub async fn connect(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("hub.city.example").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// A connection of an enrolled member.
    pub async fn enter(&self, id: &str) -> TlsStream<TcpStream> {
        self.connect(self.config_of(&member(id), MEMBER_LIFETIME_MS)).await.unwrap()
    }

    /// Whether a client gets an answer; what it is, or `None` if the connection ends.
    pub async fn try_enter(&self, config: ClientConfig) -> Option<String> {
        let mut stream = self.connect(config).await.ok()?;
        ask(&mut stream, "/who").await
    }

    /// Ends the door politely and waits for all its tasks, so that counters are final.
    pub async fn finish(&self) {
        self.stop.finish.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Ends the door at once.
    pub async fn end(&self) {
        self.stop.drop.cancel();
        self.finish().await;
    }

    /// All counters that are not zero, but those of every good connection.
    pub async fn trouble(&self) -> Vec<(&'static str, u64)> {
        self.end().await;
        let dull = ["accepted"];
        self.counters.values().into_iter().filter(|(name, n)| *n > 0 && !dull.contains(name)).collect()
    }
}

/// `/who` tells who asks, `/late` answers after half a second, `/never` never does.
pub fn service() -> Router {
    Router::new()
        .route("/who", get(async |request: Request| who(&request)))
        .route(
            "/late",
            get(async || {
                tokio::time::sleep(Duration::from_millis(500)).await;
                "late"
            }),
        )
        .route("/never", get(async || std::future::pending::<&'static str>().await))
}

fn who(request: &Request) -> String {
    match (request.extensions().get::<Peer>(), request.extensions().get::<ClientAddress>()) {
        (Some(peer), None) => format!("{} until {}", peer.identity, peer.certificate_ends_ms),
        (None, Some(address)) => format!("somebody at {}", address.0.ip()),
        _ => "nobody or two".to_owned(),
    }
}

pub fn get_line(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: hub.city.example\r\n\r\n")
}

/// One request over HTTP/1.1; `None` if the connection ends before the answer does.
pub async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> Option<String> {
    stream.write_all(get_line(path).as_bytes()).await.ok()?;
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if body.len() >= length.parse::<usize>().unwrap() {
                return Some(body.to_owned());
            }
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
}

/// Waits until the other end closes.
pub async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

/// Deadlines that end no connection of a test that is about something else, however slow its machine is: those of a
/// real door begin to run while the test still makes keys.
pub fn patient() -> AcceptLimits {
    let long = Duration::from_secs(600);
    AcceptLimits { handshake: long, first_request: long, idle: long, ..AcceptLimits::default() }
}

/// Deadlines short enough for tests.
pub fn hasty() -> AcceptLimits {
    AcceptLimits {
        handshake: Duration::from_millis(80),
        first_request: Duration::from_millis(80),
        idle: Duration::from_millis(80),
        drain: Duration::from_millis(80),
        ..AcceptLimits::default()
    }
}
