//! What a link may hold: exchanges, bodies, and both of those that nobody waits for any more.

use super::{Conn, FakeHub, Served, until, within};
use crate::world::{APP, ONE, World, key, said};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;
use yiwang_adapter_sdk::reply::Reply;
use yiwang_proto::answer::Verdict;
use yiwang_proto::codes::Code;
use yiwang_proto::limits::{CHUNK_MAX, WINDOW};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;

#[tokio::test]
async fn more_exchanges_than_agreed_are_turned_away_signed() {
    let mut world = World::new();
    world.limits.in_flight = 1;
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (first, payload) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    assert_eq!(conn.served(&world).await.failed(), Code::ProviderBusy);
    gate.notify_one();
    said(&payload, conn.answer(first).await).answered();
    served.stop().await;
}

/// A hub that does not know how many run here sends as many as it allows itself; a slow disk keeps each refusal for a while.
#[tokio::test]
async fn a_hub_that_sends_what_its_welcome_allows_loses_no_link_while_refusals_are_written() {
    let mut world = World::new();
    world.limits.in_flight = 2;
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    assert_eq!(conn.hello.max_in_flight, 2, "the hub is told");
    let mut running = HashMap::new();
    for touched in 1..=2 {
        let (exchange, payload) = conn.look_up(&world).await;
        running.insert(exchange, payload);
        until(|| world.touched() == touched).await;
    }
    world.disk.stall(true);
    let mut turned_away = HashMap::new();
    for _ in 0..40 {
        let (exchange, payload) = conn.look_up(&world).await;
        turned_away.insert(exchange, payload);
    }
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)), "all were taken, and none is written");
    world.disk.stall(false);
    while !turned_away.is_empty() {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        let payload = turned_away.remove(&chunk.exchange).unwrap();
        let said = said(&payload, Reply { answer: chunk.answer, body: chunk.body });
        assert_eq!(said.failed(), Code::ProviderBusy);
    }
    while !running.is_empty() {
        gate.notify_waiters();
        gate.notify_one();
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        let payload = running.remove(&chunk.exchange).unwrap();
        said(&payload, Reply { answer: chunk.answer, body: chunk.body }).answered();
    }
    assert_eq!((adapter.health().link_starts, adapter.health().protocol_errors), (1, 0));
    served.stop().await;
}

#[tokio::test]
async fn a_hub_that_sends_twice_what_its_welcome_allows_loses_its_link() {
    let mut world = World::new();
    world.limits.in_flight = 2;
    *world.table.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    hub.shown.lock().unwrap().credit = 4;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    for touched in 1..=2 {
        conn.look_up(&world).await;
        until(|| world.touched() == touched).await;
    }
    world.disk.stall(true);
    for _ in 0..6 {
        conn.look_up(&world).await;
    }
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)), "twice as many are borne");
    conn.look_up(&world).await;
    assert!(within(conn.from.recv()).await.is_none(), "and no more");
    world.disk.stall(false);
    served.stop().await;
}

/// A hub may send ahead what the window holds before it hears that nobody wants it.
#[tokio::test]
async fn the_rest_of_what_was_turned_away_is_no_fault_of_the_hub_and_a_number_used_twice_is() {
    let mut world = World::new();
    world.limits.in_flight = 1;
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (first, payload) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let mut chunk = conn.chunk(signed.bytes().clone(), body);
    chunk.last = false;
    let rest = pb::RequestChunk { chunk: 1, last: true, request: Bytes::new(), ..chunk.clone() };
    world.disk.stall(true);
    let exchange = chunk.exchange;
    conn.send(ToAdapter::Request(chunk.clone())).await;
    conn.send(ToAdapter::Request(rest)).await;
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)));
    assert_eq!(adapter.health().protocol_errors, 0);
    conn.send(ToAdapter::Request(chunk)).await;
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 2 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)));
    assert_eq!(adapter.health().protocol_errors, 1, "a number that is used twice");
    world.disk.stall(false);
    assert_eq!(said(signed.unverified_payload(), conn.answer(exchange).await).failed(), Code::ProviderBusy);
    gate.notify_one();
    said(&payload, conn.answer(first).await).answered();
    served.stop().await;
}

#[tokio::test]
async fn bodies_of_exchanges_that_run_are_bounded_together_until_they_end() {
    let mut world = World::new();
    world.limits.buffered_bytes = 100_000;
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let large = |conn: &mut Conn| {
        let signed = world.request(ONE).0.sign(&key(APP));
        let chunk = conn.chunk(signed.bytes().clone(), Bytes::from(vec![0; CHUNK_MAX]));
        (signed.unverified_payload().clone(), chunk)
    };
    // Nothing is looked at before the material is there.
    world.stock.held.store(true, Ordering::SeqCst);
    let (_, first) = large(&mut conn);
    let mut running = first.exchange;
    conn.send(ToAdapter::Request(first)).await;
    let FromAdapter::Wanted(mut wanted) = conn.recv().await else { panic!("no question") };
    for _ in 0..3 {
        let (payload, second) = large(&mut conn);
        let exchange = second.exchange;
        conn.send(ToAdapter::Request(second)).await;
        assert_eq!(said(&payload, conn.answer(exchange).await).failed(), Code::ProviderBusy);
        // One that the hub gives up makes room.
        conn.send(ToAdapter::Cancel(pb::LinkCancel { exchange: running })).await;
        let (_, third) = large(&mut conn);
        running = third.exchange;
        conn.send(ToAdapter::Request(third)).await;
        let FromAdapter::Wanted(again) = conn.recv().await else { panic!("no question") };
        wanted = again;
    }
    // And so does one that ends: its body is not what was signed.
    world.stock.held.store(false, Ordering::SeqCst);
    conn.send(ToAdapter::Material(world.stock.answer(&super::as_wanted(&wanted)))).await;
    assert!(!conn.answer(running).await.answer.is_empty());
    let (payload, fourth) = large(&mut conn);
    let exchange = fourth.exchange;
    conn.send(ToAdapter::Request(fourth)).await;
    assert_ne!(
        said(&payload, conn.answer(exchange).await).answer.verdict,
        Verdict::Failed(Code::ProviderBusy)
    );
    conn.served(&world).await.answered();
    served.stop().await;
}

/// A hub whose word that it gave the exchange up was lost: it does not wait for a queue that is full.
#[tokio::test]
async fn an_answer_that_gets_no_more_credit_gives_its_place_back() {
    let mut world = World::new();
    world.limits.in_flight = 1;
    for row in world.table.rows.lock().unwrap().iter_mut() {
        row.insert("STA", "x".repeat(3 << 20));
    }
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, _) = conn.look_up(&world).await;
    let FromAdapter::Answer(first) = conn.recv().await else { panic!("no answer") };
    for _ in 1..WINDOW as usize / CHUNK_MAX {
        assert!(matches!(conn.recv().await, FromAdapter::Answer(_)));
    }
    world.table.rows.lock().unwrap()[0].insert("STA", "granted".to_owned());
    assert_eq!(conn.served(&world).await.failed(), Code::ProviderBusy, "it has the only place");
    world.clock.advance_ms(32_001);
    conn.until_taken(&world).await;
    assert_eq!(adapter.health().given_up, 1);
    // Credit that comes after all is for something that is over; what left in part is owed a receipt, and offered.
    conn.send(ToAdapter::Credit(pb::LinkCredit { exchange, bytes: u32::MAX })).await;
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    while !matches!(conn.recv().await, FromAdapter::Pong(_)) {}
    world.clock.advance_ms(30_001);
    let offered = within(async {
        loop {
            match conn.recv().await {
                FromAdapter::Offer(offer) if offer.answer == first.answer => return true,
                FromAdapter::Answer(chunk) => assert_ne!(chunk.exchange, exchange),
                _ => {}
            }
        }
    });
    assert!(offered.await);
    served.stop().await;
}

/// The same of a request that is sent in part.
#[tokio::test]
async fn a_request_whose_end_never_comes_gives_its_place_back() {
    let mut world = World::new();
    world.limits.in_flight = 1;
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (request, body) = world.request(ONE);
    let mut chunk = conn.chunk(request.sign(&key(APP)).bytes().clone(), body);
    chunk.last = false;
    conn.send(ToAdapter::Request(chunk.clone())).await;
    assert!(matches!(conn.recv().await, FromAdapter::Credit(_)));
    assert_eq!(conn.served(&world).await.failed(), Code::ProviderBusy, "it has the only place");
    world.clock.advance_ms(32_001);
    conn.until_taken(&world).await;
    assert_eq!(adapter.health().given_up, 1);
    // Its end comes after all, and is the rest of something that is over.
    conn.send(ToAdapter::Request(pb::RequestChunk { chunk: 1, last: true, request: Bytes::new(), ..chunk }))
        .await;
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    while !matches!(conn.recv().await, FromAdapter::Pong(_)) {}
    assert_eq!((adapter.health().in_flight, adapter.health().protocol_errors), (0, 0));
    served.stop().await;
}
