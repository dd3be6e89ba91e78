//! How long one may do nothing, and how often one may come.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_hub::tls::authority::MEMBER_LIFETIME_MS;

use crate::support::{NOW_MS, World, ask, closed, get_line, hasty, member, patient};

#[tokio::test]
async fn sockets_that_never_finish_their_handshake_are_closed() {
    let world = World::members(hasty()).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    // The beginning of a TLS record whose rest never comes.
    slow.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
    closed(&mut silent).await;
    closed(&mut slow).await;
    assert_eq!(world.trouble().await, [("handshake_timeout", 2)]);
}

#[tokio::test]
async fn members_that_never_ask_are_closed() {
    let world = World::members(hasty()).await;
    let mut silent = world.enter("police").await;
    let mut half = world.enter("police").await;
    half.write_all(b"GET /wh").await.unwrap();
    let mut config = world.config_of(&member("police"), MEMBER_LIFETIME_MS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut preface = world.connect(config).await.unwrap();
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    for stream in [&mut silent, &mut half, &mut preface] {
        closed(stream).await;
    }
    assert_eq!(world.trouble().await, [("closed_silent", 3)]);
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let world = World::members(hasty()).await;
    let mut idle = world.enter("police").await;
    assert!(ask(&mut idle, "/who").await.is_some());
    let mut busy = world.enter("police").await;
    assert_eq!(ask(&mut busy, "/late").await.unwrap(), "late", "open for six times the idle time");
    closed(&mut idle).await;
    closed(&mut busy).await;
    assert_eq!(world.trouble().await, [("closed_idle", 2)]);
}

#[tokio::test]
async fn an_answer_that_is_still_streamed_keeps_its_connection_open() {
    use axum::body::Body;
    use futures_util::StreamExt as _;
    let (authority, dir) = crate::support::authority();
    let clock = std::sync::Arc::new(yiwang_proto::ambient::ManualClock::new(NOW_MS));
    let link = async || {
        let first = futures_util::stream::once(async { Ok::<_, std::io::Error>("first ") });
        let last = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok("last")
        });
        Body::from_stream(first.chain(last))
    };
    let service = axum::Router::new().route("/link", axum::routing::get(link));
    let world = World::start(authority, dir, clock, hasty(), true, service).await;
    let mut stream = world.enter("police").await;
    stream.write_all(get_line("/link").as_bytes()).await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("first ") && text.contains("last"), "{text}");
    assert_eq!(world.trouble().await, [("closed_idle", 1)]);
}

/// A service that reads its request's body.
async fn reader(limits: AcceptLimits) -> World {
    let (authority, dir) = crate::support::authority();
    let clock = std::sync::Arc::new(yiwang_proto::ambient::ManualClock::new(NOW_MS));
    let read = async |body: axum::body::Bytes| format!("{} bytes", body.len());
    let service = axum::Router::new().route("/read", axum::routing::post(read));
    World::start(authority, dir, clock, limits, true, service).await
}

async fn post(world: &World, length: usize, sent: usize) -> String {
    let mut stream = world.enter("police").await;
    let head =
        format!("POST /read HTTP/1.1\r\nhost: hub\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; sent]).await.unwrap();
    let mut text = Vec::new();
    // The end may come as an error: the client still owes bytes.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn t22_a_request_whose_body_never_ends_is_ended() {
    let world =
        reader(AcceptLimits { request_body: Duration::from_millis(200), ..AcceptLimits::default() }).await;
    assert!(post(&world, 10, 10).await.contains("10 bytes"));
    assert!(post(&world, 10, 3).await.starts_with("HTTP/1.1 4"), "not waited for without end");
}

#[tokio::test]
async fn t22_requests_that_are_being_read_share_a_budget() {
    let limits = AcceptLimits {
        reading_bytes: 1000,
        request_body: Duration::from_millis(500),
        ..AcceptLimits::default()
    };
    let world = reader(limits).await;
    assert!(post(&world, 1000, 1000).await.contains("1000 bytes"));
    assert!(post(&world, 1001, 1001).await.starts_with("HTTP/1.1 4"));
    let holding = tokio::spawn({
        let mut stream = world.enter("police").await;
        let head = "POST /read HTTP/1.1\r\nhost: hub\r\ncontent-length: 900\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 800]).await.unwrap();
        stream.flush().await.unwrap();
        async move {
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(post(&world, 500, 500).await.starts_with("HTTP/1.1 4"), "the other holds the budget");
    holding.await.unwrap();
    assert!(post(&world, 500, 500).await.contains("500 bytes"), "what ended gives it back");
}

#[tokio::test]
async fn one_address_and_one_identity_have_so_many_places() {
    let world = World::members(AcceptLimits { per_address: 2, ..patient() }).await;
    let (mut one, mut two) = (world.enter("police").await, world.enter("health").await);
    assert!(world.connect(world.config_of(&member("police"), MEMBER_LIFETIME_MS)).await.is_err());
    for stream in [&mut one, &mut two] {
        assert!(ask(stream, "/who").await.is_some(), "those inside are not harmed");
    }
    assert_eq!(world.trouble().await, [("refused_address", 1)]);

    let world = World::members(AcceptLimits { per_identity: 1, ..patient() }).await;
    let mut one = world.enter("police").await;
    assert!(ask(&mut one, "/who").await.is_some());
    assert_eq!(world.try_enter(world.config_of(&member("police"), MEMBER_LIFETIME_MS)).await, None);
    let mut other = world.enter("health").await;
    assert!(ask(&mut other, "/who").await.is_some());
    assert_eq!(world.trouble().await, [("refused_identity", 1)]);
}

#[tokio::test]
async fn strangers_cannot_take_the_members_places() {
    let world = World::members(AcceptLimits { handshakes: 2, ..patient() }).await;
    let mut inside = world.enter("police").await;
    assert!(ask(&mut inside, "/who").await.is_some());
    let _one = TcpStream::connect(world.address).await.unwrap();
    let _two = TcpStream::connect(world.address).await.unwrap();
    closed(&mut TcpStream::connect(world.address).await.unwrap()).await;
    assert!(ask(&mut inside, "/who").await.is_some());
    assert_eq!(world.trouble().await, [("refused_handshakes", 1)]);
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate_even_while_a_link_is_open() {
    let world = World::members(hasty()).await;
    let mut stream = world.connect(world.config_of(&member("police"), 60_000)).await.unwrap();
    let answer = ask(&mut stream, "/who").await.unwrap();
    assert_eq!(answer, format!("member/police until {}", NOW_MS + 60_000));
    stream.write_all(get_line("/never").as_bytes()).await.unwrap();
    world.clock.advance_ms(60_001);
    closed(&mut stream).await;
    let ended = [("closed_certificate_ended", 1), ("closed_undrained", 1)];
    assert_eq!(world.trouble().await, ended);
}

/// In a process of its own, because the limit on open files is the process's.
#[test]
fn running_out_of_open_files_does_not_end_the_loop() {
    const CHILD: &str = "YIWANG_TEST_OUT_OF_FILES";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(out_of_files());
    }
    let exe = std::env::current_exe().unwrap();
    let name = "waiting::running_out_of_open_files_does_not_end_the_loop";
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(exe)
        .arg(name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn out_of_files() {
    let world = World::members(AcceptLimits::default()).await;
    let mut taken = Vec::new();
    // Client and server share the table; when it is full, the server has connections it cannot accept.
    while let Ok(stream) = TcpStream::connect(world.address).await {
        taken.push(stream);
    }
    while world.counters.accept_errors.get() == 0 {
        tokio::task::yield_now().await;
    }
    drop(taken);
    let mut stream = world.enter("police").await;
    assert!(ask(&mut stream, "/who").await.is_some());
}
