//! The two steps of stopping.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use yiwang_hub::tls::accept::AcceptLimits;
use yiwang_proto::ambient::ManualClock;

use crate::support::{NOW_MS, World, ask, authority, closed, get_line, service};

#[tokio::test]
async fn finish_lets_open_requests_end_and_takes_no_new_ones() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, go) = (Arc::clone(&entered), Arc::clone(&release));
    let gated = Router::new().route(
        "/gated",
        get(async move || {
            inside.notify_one();
            go.notified().await;
            "through"
        }),
    );
    let (authority, dir) = authority();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let limits = AcceptLimits::default();
    let world = World::start(authority, dir, clock, limits, true, service().merge(gated)).await;
    let mut idle = world.enter("police").await;
    assert!(ask(&mut idle, "/who").await.is_some());
    let mut busy = world.enter("health").await;
    let asking = tokio::spawn(async move { ask(&mut busy, "/gated").await });
    entered.notified().await;
    world.stop.finish.cancel();
    closed(&mut idle).await;
    release.notify_one();
    assert_eq!(asking.await.unwrap().unwrap(), "through");
    world.finish().await;
    assert!(TcpStream::connect(world.address).await.is_err(), "the door is closed");
    assert_eq!(world.counters.open.get(), 0);
}

#[tokio::test]
async fn drop_ends_what_finish_waits_for() {
    let world = World::members(AcceptLimits::default()).await;
    let mut stream = world.enter("police").await;
    stream.write_all(get_line("/never").as_bytes()).await.unwrap();
    world.stop.finish.cancel();
    world.tracker.close();
    world.stop.drop.cancel();
    closed(&mut stream).await;
    world.tracker.wait().await;
    assert_eq!(world.counters.open.get(), 0);
}
