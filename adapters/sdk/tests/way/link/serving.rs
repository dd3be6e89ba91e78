//! Requests, bodies, receipts and ends of a link.

use super::{FakeHub, Served, until, within};
use crate::hub::Ledger;
use crate::world::{APP, NOW, ONE, World, key, said};
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use yiwang_adapter_sdk::connect::LinkError;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_adapter_sdk::reply::Reply;
use yiwang_proto::ambient::Clock as _;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::limits::{CHUNK_MAX, WINDOW};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;

fn receipt(ledger: &Ledger, exchange: u64, request: &Bytes, answer: &Bytes) -> pb::ReceiptBatch {
    let entry = pb::ExchangeEntry { request: request.clone(), answer: answer.clone(), ..Default::default() };
    let whole = ledger.receipt(ledger.append(NOW, Kind::Exchange(entry)));
    let receipt = pb::LinkReceipt { exchange, index: whole.index, entry: whole.entry, proof: whole.proof };
    pb::ReceiptBatch { checkpoint: whole.checkpoint, receipts: vec![receipt] }
}

#[tokio::test]
async fn a_request_comes_down_the_link_and_its_receipt_settles_it() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    assert!(conn.hello.checkpoint.is_empty() && conn.hello.version == 1);
    assert_eq!((conn.hello.adapter.as_str(), conn.hello.operations.len()), ("main", 1));
    assert_eq!(conn.hello.delegation, *adapter.delegation_document().bytes());
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 7 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(pb::LinkPong { nonce: 7 })));
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let chunk = conn.chunk(signed.bytes().clone(), body);
    let exchange = chunk.exchange;
    conn.send(ToAdapter::Request(chunk)).await;
    let said = said(signed.unverified_payload(), conn.answer(exchange).await);
    assert_eq!(said.answered().answer.head.size, world.ledger.len(), "the head of the handshake");
    assert_eq!(adapter.health().unreceipted, 1);
    // Receipts for another answer, and under a proof that does not hold, settle nothing.
    let wrong = receipt(&world.ledger, exchange, signed.bytes(), &Bytes::from_static(b"another"));
    conn.send(ToAdapter::Receipts(wrong)).await;
    let mut broken = receipt(&world.ledger, exchange, signed.bytes(), &said.reply.answer);
    broken.receipts[0].proof[0] = Bytes::from(vec![0; 32]);
    conn.send(ToAdapter::Receipts(broken)).await;
    until(|| adapter.health().bad_receipts == 2).await;
    assert_eq!((adapter.health().receipted, adapter.health().unreceipted), (0, 1));
    let good = receipt(&world.ledger, exchange, signed.bytes(), &said.reply.answer);
    conn.send(ToAdapter::Receipts(good)).await;
    until(|| adapter.health().receipted == 1).await;
    assert_eq!(adapter.health().unreceipted, 0);
    assert_eq!(adapter.health().link, LinkState::Up);
    served.stop().await;
    assert_eq!(adapter.health().link, LinkState::Down);
}

#[tokio::test]
async fn many_exchanges_run_at_once_and_ask_for_the_same_material_once() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    world.stock.held.store(true, Ordering::SeqCst);
    let mut waiting = HashMap::new();
    for _ in 0..200 {
        let (exchange, payload) = conn.look_up(&world).await;
        waiting.insert(exchange, payload);
    }
    let FromAdapter::Wanted(wanted) = conn.recv().await else { panic!("no question") };
    // Frames are taken in order: when the pong is there, all two hundred are under way.
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)), "asked a second time");
    conn.send(ToAdapter::Material(world.stock.answer(&super::as_wanted(&wanted)))).await;
    while !waiting.is_empty() {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer, or asked again") };
        let payload = waiting.remove(&chunk.exchange).unwrap();
        assert!(chunk.last);
        said(&payload, Reply { answer: chunk.answer, body: chunk.body }).answered();
    }
    assert_eq!(world.stock.asked.load(Ordering::SeqCst), 1);
    assert_eq!(adapter.health().answered, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_large_answer_waits_for_credit_and_comes_whole() {
    let world = World::new();
    let long = "x".repeat(3 << 20);
    for row in world.table.rows.lock().unwrap().iter_mut() {
        row.insert("STA", long.clone());
    }
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, payload) = conn.look_up(&world).await;
    let mut first = Vec::new();
    while first.len() < WINDOW as usize / CHUNK_MAX {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        first.push(chunk);
    }
    // The window is used up: only the pong comes.
    conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    assert!(matches!(conn.recv().await, FromAdapter::Pong(_)));
    // A small exchange passes the large one.
    world.table.rows.lock().unwrap()[0].insert("STA", "granted".to_owned());
    conn.served(&world).await.answered();
    conn.send(ToAdapter::Credit(pb::LinkCredit { exchange, bytes: u32::MAX })).await;
    let (answer, mut body) = (first[0].answer.clone(), Vec::new());
    let mut last = false;
    for chunk in &first {
        body.extend_from_slice(&chunk.body);
    }
    while !last {
        let FromAdapter::Answer(chunk) = conn.recv().await else { panic!("no answer") };
        assert!(chunk.body.len() <= CHUNK_MAX && chunk.answer.is_empty());
        body.extend_from_slice(&chunk.body);
        last = chunk.last;
    }
    let said = said(&payload, Reply { answer, body: body.into() });
    assert_eq!(said.answered().records()[0]["fields"]["status"].as_str().unwrap().len(), long.len());
    served.stop().await;
}

#[tokio::test]
async fn a_large_request_is_put_together_and_judged_as_a_whole() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let raw = pb::RequestBody {
        salt: vec![1; 16].into(),
        subject: ONE.to_owned(),
        arguments: format!("{{\"area_code\":\"{}\"}}", "9".repeat(1 << 20)).into_bytes().into(),
    };
    let mut body = Bytes::from(raw.encode_to_vec());
    let (mut request, _) = world.request(ONE);
    request.body_digest = yiwang_proto::sha256(&body);
    let signed = request.sign(&key(APP));
    let mut chunk = conn.chunk(signed.bytes().clone(), Bytes::new());
    let (exchange, mut free) = (chunk.exchange, WINDOW as usize);
    while !body.is_empty() {
        chunk.body = body.split_to(body.len().min(CHUNK_MAX));
        chunk.last = body.is_empty();
        while free < chunk.body.len() {
            let FromAdapter::Credit(credit) = conn.recv().await else { panic!("no credit") };
            assert_eq!(credit.exchange, exchange);
            free += credit.bytes as usize;
        }
        free -= chunk.body.len();
        conn.send(ToAdapter::Request(chunk.clone())).await;
        chunk.chunk += 1;
        chunk.request = Bytes::new();
    }
    let reply = loop {
        match conn.recv().await {
            FromAdapter::Credit(_) => {}
            FromAdapter::Answer(chunk) => break Reply { answer: chunk.answer, body: chunk.body },
            other => panic!("{other:?}"),
        }
    };
    let said = said(signed.unverified_payload(), reply);
    assert_eq!(said.denied(), Code::Malformed);
    assert!(said.answer.clause.contains("arguments"), "the digest held: {}", said.answer.clause);
    served.stop().await;
}

/// A contract of two seconds: by the adapter's clock its deadline is almost over, just over, or long in coming.
#[tokio::test]
async fn the_time_that_the_hub_still_waits_is_what_a_source_has_whatever_the_clocks_say() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    for off_ms in [100, -100, 31_000] {
        let (request, body) = world.request(ONE);
        let signed = request.sign(&key(APP));
        let mut chunk = conn.chunk(signed.bytes().clone(), body.clone());
        (chunk.deadline_ms, chunk.wait_ms) = (world.clock.now_ms() + off_ms, 1500);
        // In two parts, with a while between them.
        chunk.last = false;
        chunk.body = body.slice(..1);
        let exchange = chunk.exchange;
        let rest =
            pb::RequestChunk { exchange, chunk: 1, last: true, body: body.slice(1..), ..Default::default() };
        conn.send(ToAdapter::Request(chunk)).await;
        assert!(matches!(conn.recv().await, FromAdapter::Credit(_)));
        world.clock.advance_ms(400);
        conn.send(ToAdapter::Request(rest)).await;
        said(signed.unverified_payload(), conn.answer(exchange).await).answered();
    }
    assert_eq!(*world.table.timeouts.lock().unwrap(), [Duration::from_millis(1100); 3]);
    served.stop().await;
}

#[tokio::test]
async fn a_cancelled_exchange_is_dropped() {
    let world = World::new();
    *world.table.gate.lock().unwrap() = Some(Arc::new(Notify::new()));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, _) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    conn.send(ToAdapter::Cancel(pb::LinkCancel { exchange })).await;
    until(|| adapter.health().in_flight == 0).await;
    *world.table.gate.lock().unwrap() = None;
    conn.served(&world).await.answered();
    assert_eq!(adapter.health().answered, 1);
    served.stop().await;
}

#[tokio::test]
async fn chunks_that_break_the_rules_get_an_unsigned_error_and_harm_nobody_else() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let mut first = conn.chunk(signed.bytes().clone(), body.clone());
    first.last = false;
    let skipped = pb::RequestChunk { chunk: 2, last: true, request: Bytes::new(), ..first.clone() };
    conn.send(ToAdapter::Request(first.clone())).await;
    conn.send(ToAdapter::Request(skipped)).await;
    assert!(matches!(conn.recv().await, FromAdapter::Credit(_)));
    let reply = conn.answer(first.exchange).await;
    assert!(reply.answer.is_empty() && reply.body.is_empty());
    let long = conn.chunk(signed.bytes().clone(), Bytes::from(vec![0; CHUNK_MAX + 1]));
    let exchange = long.exchange;
    conn.send(ToAdapter::Request(long)).await;
    assert!(conn.answer(exchange).await.answer.is_empty());
    let garbage = conn.chunk(Bytes::from_static(b"garbage"), body);
    let exchange = garbage.exchange;
    conn.send(ToAdapter::Request(garbage)).await;
    assert!(conn.answer(exchange).await.answer.is_empty());
    let health = adapter.health();
    assert_eq!((health.protocol_errors, health.unsigned), (2, 1));
    conn.served(&world).await.answered();
    served.stop().await;
}

#[tokio::test]
async fn a_stopped_adapter_finishes_what_is_under_way() {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, payload) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    served.stop.cancel();
    let (_, late) = conn.look_up(&world).await;
    gate.notify_one();
    said(&payload, conn.answer(exchange).await).answered();
    assert!(within(conn.from.recv()).await.is_none(), "the later request is not taken on");
    assert!(!late.is_empty());
    drop(conn);
    within(served.task).await.unwrap().unwrap();
    assert_eq!(adapter.health().answered, 1);
}

#[tokio::test]
async fn a_stopped_adapter_that_comes_back_says_so_and_answers_what_the_hub_had_sent() {
    let mut world = World::new();
    world.limits.back_ms = 7000;
    let gate = Arc::new(Notify::new());
    *world.table.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let (exchange, payload) = conn.look_up(&world).await;
    until(|| world.touched() == 1).await;
    served.stop.cancel();
    let leaving = conn.recv().await;
    assert!(
        matches!(&leaving, FromAdapter::Leaving(leaving) if leaving.back_within_ms == 7000),
        "{leaving:?}"
    );
    gate.notify_one();
    said(&payload, conn.answer(exchange).await).answered();
    // Nothing runs, and it is still there for what was on its way.
    *world.table.gate.lock().unwrap() = None;
    let (late, late_payload) = conn.look_up(&world).await;
    said(&late_payload, conn.answer(late).await).answered();
    drop(conn);
    within(served.task).await.unwrap().unwrap();
    assert_eq!(adapter.health().answered, 2);
}

#[tokio::test]
async fn a_stopped_adapter_ends_by_itself_where_the_hub_does_not_end_its_link() {
    let mut world = World::new();
    (world.limits.back_ms, world.limits.drain_ms) = (7000, 200);
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    served.stop.cancel();
    assert!(matches!(conn.recv().await, FromAdapter::Leaving(_)));
    within(served.task).await.unwrap().unwrap();
    assert_eq!(adapter.health().link, LinkState::Down);
    drop(conn);
}

#[tokio::test]
async fn a_dead_journal_ends_the_link_for_good() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    conn.served(&world).await.answered();
    world.disk.fail_at(world.disk.operations().len(), yiwang_journal::simulated::Failure::Lost);
    let (exchange, payload) = conn.look_up(&world).await;
    let reply = match within(conn.from.recv()).await.and_then(|frame| frame.kind) {
        Some(FromAdapter::Answer(chunk)) => Some(Reply { answer: chunk.answer, body: chunk.body }),
        _ => None,
    };
    // The failure may still get out, signed; records may not.
    if let Some(reply) = reply {
        assert_eq!(said(&payload, reply).failed(), Code::Internal, "exchange {exchange}");
    }
    assert_eq!(within(served.task).await.unwrap(), Err(LinkError::JournalDead));
}

#[tokio::test]
async fn a_hub_that_does_not_end_a_changed_link_is_told_again_and_the_next_link_is_another() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    adapter.change_link();
    assert!(matches!(conn.recv().await, FromAdapter::Leaving(_)));
    // The clock moves in small steps while the link goes on: what was asked meanwhile is answered on it.
    let told_ms = world.clock.now_ms();
    assert!(!conn.served(&world).await.answered().answer.fields.is_empty());
    let again = within(async {
        loop {
            match conn.from.try_recv() {
                Ok(pb::AdapterFrame { kind: Some(FromAdapter::Leaving(_)) }) => break world.clock.now_ms(),
                Ok(_) => {}
                Err(_) => {
                    world.clock.advance_ms(100);
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            }
        }
    })
    .await;
    assert!(again - told_ms >= 22_000, "told again after {} ms", again - told_ms);
    // A hub that ends it now gets another link, and that one is not changed.
    drop(conn);
    let mut next = hub.linked().await;
    next.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
    let first = loop {
        match next.recv().await {
            // The answer above has no receipt.
            FromAdapter::Offer(_) => {}
            other => break other,
        }
    };
    assert!(matches!(first, FromAdapter::Pong(_)), "{first:?}");
    assert_eq!(adapter.health().link, LinkState::Up);
    served.stop().await;
}
