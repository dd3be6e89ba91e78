//! F19: malformed bytes at every door of the hub: below TLS, as HTTP/2 within it, as messages within that.

use crate::judge::judge;
use crate::load::Load;
use crate::rounds;
use crate::town::{Places, Town, get};
use bytes::Bytes;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use yiwang_proto::ambient::{SeededEntropy, random};
use yiwang_proto::pb;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;

/// At once; below the cap for connections of one address.
const AT_ONCE: usize = 32;
/// Longer than any deadline of a door for somebody who says nothing more.
const HANG: Duration = Duration::from_secs(60);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn below(entropy: &SeededEntropy, most: u64) -> u64 {
    u64::from_le_bytes(random(entropy)) % most
}

fn noise(entropy: &SeededEntropy, most: u64) -> Vec<u8> {
    (0..below(entropy, most)).map(|_| random::<1>(entropy)[0]).collect()
}

/// What a stranger may send first: noise, half a TLS hello, HTTP in the clear.
fn first_words(entropy: &SeededEntropy) -> Vec<u8> {
    let rest = noise(entropy, 600);
    let begin: &[u8] = match below(entropy, 6) {
        0 => b"",
        1 => &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3],
        2 => &[0x16, 3, 3, 0xff, 0xff],
        3 => b"GET /live HTTP/1.1\r\ncontent-length: -1\r\n",
        4 => b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        _ => PREFACE,
    };
    [begin, &rest].concat()
}

/// HTTP/2 frames of any type, flags and stream, most with a length that is true.
fn frames(entropy: &SeededEntropy) -> Vec<u8> {
    let mut all = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for _ in 0..=below(entropy, 30) {
        let payload = noise(entropy, 80);
        let length = if below(entropy, 10) == 0 { below(entropy, 1 << 24) } else { payload.len() as u64 };
        all.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
        all.push(u8::try_from(below(entropy, 12)).unwrap());
        all.push(random::<1>(entropy)[0]);
        all.extend(u32::try_from(below(entropy, 6)).unwrap().to_be_bytes());
        all.extend(payload);
    }
    all
}

/// Sends, says that no more will come, and waits for the other end to close.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let talking = async {
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    };
    assert!(tokio::time::timeout(HANG, talking).await.is_ok(), "a connection hangs after {bytes:?}");
}

async fn below_tls(door: SocketAddr, bytes: Vec<u8>) {
    if let Ok(stream) = TcpStream::connect(door).await {
        send(stream, &bytes).await;
    }
}

async fn within_tls(door: SocketAddr, config: Arc<rustls::ClientConfig>, bytes: Vec<u8>) {
    let Ok(stream) = TcpStream::connect(door).await else { return };
    let connector = tokio_rustls::TlsConnector::from(config);
    if let Ok(stream) = connector.connect(ServerName::from(door.ip()), stream).await {
        send(stream, &bytes).await;
    }
}

/// Runs all, some at once.
async fn run<F: Future<Output = ()> + Send + 'static>(all: impl Iterator<Item = F>) {
    let mut running = JoinSet::new();
    for one in all {
        if running.len() >= AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(one);
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// Messages whose contents are noise, or a real request with some bytes of noise.
async fn messages(town: &Town, entropy: &SeededEntropy, how_many: u32) {
    let channel = town.channel().await;
    let mut exchanges = ExchangeServiceClient::new(channel.clone());
    let mut directory = DirectoryServiceClient::new(channel);
    let real = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/envelope/request"));
    let real = real.unwrap();
    for _ in 0..how_many {
        let mut request = real.clone();
        for _ in 0..=below(entropy, 4) {
            let at = usize::try_from(below(entropy, request.len() as u64)).unwrap();
            request[at] = random::<1>(entropy)[0];
        }
        let body = Bytes::from(noise(entropy, 300));
        let message = pb::ExchangeRequest { request: request.into(), body: body.clone() };
        let answered = exchanges.exchange(message).await;
        let released = answered.map(|answer| answer.into_inner().body);
        assert!(released.as_ref().map_or(true, Bytes::is_empty), "{released:?}");
        assert!(directory.publish(pb::PublishRequest { document: body }).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_malformed_bytes_at_every_door_stop_nothing() {
    let each = rounds(200, 10_000);
    let mut town = Town::new(Places::default()).await;
    let load = Load::start(&town).await;
    let entropy = SeededEntropy::new(19);
    for door in [town.addresses.listen, town.addresses.enrol, town.addresses.health] {
        run((0..each).map(|_| below_tls(door, first_words(&entropy)))).await;
    }
    let config = town.tls();
    let door = town.addresses.listen;
    run((0..each).map(|_| within_tls(door, Arc::clone(&config), frames(&entropy)))).await;
    messages(&town, &entropy, each).await;
    load.more(100).await;
    assert!(get(town.addresses.health, "/ready").is_some_and(|answer| answer.contains(" 200 ")));
    let seen = load.end().await;
    town.kill_adapter();
    town.kill_hub();
    judge(&town, &seen, &format!("{each} malformed connections or messages at each of 5 places"));
}
