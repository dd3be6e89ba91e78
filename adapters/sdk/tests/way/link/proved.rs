//! What a receipt is worth: its head may be signed for it alone, and its entry kept from the member it is about.

use super::watch::{batch, enter, evidence, exchange, taken};
use super::{Conn, FakeHub, Served, until};
use crate::hub::Ledger;
use crate::world::{APP, NOW, ONE, World, key, said};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;

/// A good look-up and the entry of its answer.
async fn answered(conn: &mut Conn, world: &World) -> Kind {
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let chunk = conn.chunk(signed.bytes().clone(), body);
    let exchange = chunk.exchange;
    conn.send(ToAdapter::Request(chunk)).await;
    let answer = conn.answer(exchange).await;
    let entry = entry(signed.bytes(), &answer.answer);
    said(signed.unverified_payload(), answer).answered();
    entry
}

fn entry(request: &Bytes, answer: &Bytes) -> Kind {
    Kind::Exchange(pb::ExchangeEntry {
        request: request.clone(),
        answer: answer.clone(),
        ..Default::default()
    })
}

fn receipts(whole: pb::Receipt) -> ToAdapter {
    let receipt = pb::LinkReceipt { exchange: 0, index: whole.index, entry: whole.entry, proof: whole.proof };
    ToAdapter::Receipts(pb::ReceiptBatch { checkpoint: whole.checkpoint, receipts: vec![receipt] })
}

/// Lets five minutes pass, at each of which the adapter looks around.
async fn wait_long(world: &World) {
    for _ in 0..5 {
        world.clock.advance_ms(60_000);
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
}

async fn started(world: &World) -> (Arc<Adapter>, FakeHub, Served, Conn) {
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(world).await;
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    (adapter, hub, served, conn)
}

/// The hub signs a head of 2^40 + 1 for one receipt, and goes on with its own ledger, in which nothing of it stands.
#[tokio::test]
async fn t07_an_answer_proved_under_a_head_of_its_own_is_an_alarm_and_stops_the_service() {
    let world = World::new();
    let (adapter, _hub, served, mut conn) = started(&world).await;
    let hidden = answered(&mut conn, &world).await;
    conn.send(receipts(world.ledger.alone(1 << 40, NOW, hidden))).await;
    until(|| adapter.health().receipted == 1).await;
    // Other own entries come as ever.
    let mut before = 0;
    for _ in 0..3 {
        let from = adapter.head().head.size.max(world.ledger.len());
        let index = enter(&world.ledger, exchange(&world, before, APP, "street-office", "civil-affairs").1);
        conn.send(batch(&world.ledger, from, &[index])).await;
        assert_eq!(taken(&mut conn).await, index + 1);
        before = index + 1;
    }
    assert_eq!(adapter.health().alarms, 0);
    wait_long(&world).await;
    until(|| adapter.health().alarms == 1).await;
    assert_eq!(conn.served(&world).await.failed(), Code::ReceiptsOwed);
    served.stop().await;
}

/// A hub that keeps the entry back until the adapter is started again still owes it.
#[tokio::test]
async fn t07_an_answer_is_owed_again_after_a_restart_until_its_entry_came() {
    let world = World::new();
    let (adapter, hub, served, mut conn) = started(&world).await;
    let from = world.ledger.len();
    let first = answered(&mut conn, &world).await;
    let index = world.ledger.append(NOW, first);
    conn.send(receipts(world.ledger.receipt(index))).await;
    until(|| adapter.health().unreceipted == 0).await;
    // Whatever the journal says of it, it says with the next record.
    answered(&mut conn, &world).await;
    served.stop().await;
    drop((conn, adapter));
    let adapter = Arc::new(world.open());
    assert_eq!(adapter.health().unreceipted, 2);
    hub.show(from);
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    conn.send(batch(&world.ledger, from, &[index])).await;
    assert_eq!(taken(&mut conn).await, index + 1);
    assert_eq!(adapter.health().unreceipted, 1, "the entry alone settles it");
    served.stop().await;
    drop((conn, adapter));
    let adapter = world.open();
    assert_eq!((adapter.health().unreceipted, adapter.health().alarms), (1, 0));
}

/// An adapter that read its place back, and not what was settled just before: its entry does not come again.
#[tokio::test]
async fn an_entry_from_before_the_start_is_settled_by_one_proof_and_by_none_on_another_history() {
    let world = World::new();
    let (adapter, hub, served, mut conn) = started(&world).await;
    let from = world.ledger.len();
    let mut entries = Vec::new();
    for _ in 0..2 {
        entries.push(answered(&mut conn, &world).await);
    }
    let other = entries.pop().unwrap();
    let index = world.ledger.append(NOW, entries.pop().unwrap());
    let next = enter(&world.ledger, exchange(&world, 0, APP, "street-office", "civil-affairs").1);
    conn.send(batch(&world.ledger, from, &[next])).await;
    assert_eq!(taken(&mut conn).await, next + 1);
    served.stop().await;
    drop((conn, adapter));
    let adapter = Arc::new(world.open());
    assert_eq!(adapter.health().unreceipted, 2);
    hub.show(world.ledger.len());
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    world.ledger.append(NOW, Kind::Policy(pb::PolicyEntry::default()));
    conn.send(receipts(world.ledger.receipt(index))).await;
    until(|| adapter.health().unreceipted == 1).await;
    assert_eq!((world.stock.proofs.load(Ordering::SeqCst), adapter.health().alarms), (1, 0));
    let fork = Ledger::new(5);
    let at = fork.append(NOW, other);
    assert!(at < next);
    conn.send(receipts(fork.receipt(at))).await;
    until(|| adapter.health().alarms == 1).await;
    assert_eq!((adapter.health().unreceipted, evidence(&world).len()), (1, 1));
    served.stop().await;
}

/// The next entry names the one before the hidden one, and the receipt comes when that is through.
#[tokio::test]
async fn t07_a_receipt_of_an_entry_that_was_passed_over_is_an_alarm() {
    let world = World::new();
    let (adapter, _hub, served, mut conn) = started(&world).await;
    let from = world.ledger.len();
    let hidden = answered(&mut conn, &world).await;
    let index = world.ledger.append(NOW, hidden);
    let next = enter(&world.ledger, exchange(&world, 0, APP, "street-office", "civil-affairs").1);
    conn.send(batch(&world.ledger, from, &[next])).await;
    assert_eq!(taken(&mut conn).await, next + 1);
    assert_eq!(adapter.health().alarms, 0);
    conn.send(receipts(world.ledger.receipt(index))).await;
    until(|| adapter.health().alarms == 1).await;
    assert_eq!(adapter.health().unreceipted, 1);
    served.stop().await;
}

/// A refusal that nothing is owed for has its receipt like any answer, and its entry may come without bytes after that.
#[tokio::test]
async fn an_entry_without_bytes_is_taken_after_a_receipt_of_an_answer_that_asks_for_none() {
    let world = World::new();
    let (adapter, _hub, served, mut conn) = started(&world).await;
    let from = world.ledger.len();
    // The same request again, while its answer is owed: of the second answer nothing is awaited.
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let mut answers = Vec::new();
    for _ in 0..2 {
        let chunk = conn.chunk(signed.bytes().clone(), body.clone());
        let exchange = chunk.exchange;
        conn.send(ToAdapter::Request(chunk)).await;
        answers.push(conn.answer(exchange).await.answer);
    }
    assert_ne!(answers[0], answers[1]);
    let index = world.ledger.append(NOW, entry(signed.bytes(), &answers[1]));
    conn.send(receipts(world.ledger.receipt(index))).await;
    let ToAdapter::OwnEntries(mut own) = batch(&world.ledger, from, &[index]) else { unreachable!() };
    (own.entries[0].entry, own.entries[0].proof) = (Bytes::new(), Vec::new());
    own.receipt_heads = vec![pb::HeadGrowth { from_size: world.ledger.len(), proof: Vec::new() }];
    conn.send(ToAdapter::OwnEntries(own)).await;
    assert_eq!(taken(&mut conn).await, index + 1);
    let health = adapter.health();
    assert_eq!((health.protocol_errors, health.alarms, health.unreceipted), (0, 0, 1));
    served.stop().await;
}
