//! What the adapter watches over the link: heads in requests, its own member's entries, answers without
//! receipt, and the witness role.

use super::{FakeHub, Served, Shown, until};
use crate::hub::Ledger;
use crate::world::{APP, NOW, ONE, STRANGER, Said, World, key, said};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_proto::request::{Head, Request};
use yiwang_proto::witness::ForkEvidence;

fn filler(ledger: &Ledger, count: usize) {
    for _ in 0..count {
        ledger.append(NOW, Kind::Policy(pb::PolicyEntry::default()));
    }
}

/// Sends a good look-up that names this head.
async fn asked(conn: &mut super::Conn, world: &World, head: Head) -> Said {
    let (mut request, body) = world.request(ONE);
    request.head = head;
    let signed = request.sign(&key(APP));
    let mut chunk = conn.chunk(signed.bytes().clone(), body);
    chunk.deadline_ms = 0;
    let exchange = chunk.exchange;
    conn.send(ToAdapter::Request(chunk)).await;
    said(signed.unverified_payload(), conn.answer(exchange).await)
}

pub fn evidence(world: &World) -> Vec<ForkEvidence> {
    let files = std::fs::read_dir(world.evidence.path()).unwrap().flatten();
    files.map(|file| serde_json::from_str(&std::fs::read_to_string(file.path()).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn heads_on_the_one_history_cost_one_proof_and_then_a_look_up() {
    let world = World::new();
    filler(&world.ledger, 20);
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    filler(&world.ledger, 10);
    let proofs = || world.stock.proofs.load(Ordering::SeqCst);
    let held = adapter.head().head.size;
    for (size, wanted) in [(held, 0), (5, 1), (5, 1), (held + 7, 2), (held + 7, 2), (5, 2)] {
        asked(&mut conn, &world, world.ledger.head_at(size)).await.answered();
        assert_eq!(proofs(), wanted, "size {size}");
    }
    assert_eq!(adapter.health().alarms, 0);
    served.stop().await;
}

/// The consumer was shown another history than this adapter: its next request shows it.
#[tokio::test]
async fn t09_a_head_of_another_history_is_refused_and_kept() {
    let world = World::new();
    filler(&world.ledger, 20);
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    let fork = Ledger::new(5);
    fork.append(77, Kind::Lookup(pb::LookupEntry::default()));
    filler(&fork, 40);
    let held = adapter.head().head.size;
    // Smaller, the same size, larger, and larger than the hub admits to have.
    for size in [10, held, held + 3, held + 20] {
        if size == held + 3 {
            filler(&world.ledger, 3);
        }
        let refused = asked(&mut conn, &world, fork.head_at(size)).await;
        assert_eq!(refused.denied(), Code::HeadContradicts, "size {size}");
    }
    assert_eq!(world.touched(), 0, "no source was asked");
    let kept = evidence(&world);
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|piece| !piece.statement.is_empty() && piece.shown.is_empty()));
    asked(&mut conn, &world, world.ledger.head_at(held)).await.answered();
    served.stop().await;
}

pub fn exchange(
    world: &World,
    previous: u64,
    signer: u8,
    consumer: &str,
    provider: &str,
) -> (Request, pb::Entry) {
    let (mut request, _) = world.request(ONE);
    request.consumer = consumer.parse().unwrap();
    request.provider = provider.parse().unwrap();
    let signed = request.sign(&key(signer));
    let entry = pb::ExchangeEntry {
        request: signed.bytes().clone(),
        outcome: pb::Outcome::Failed.into(),
        previous_of_consumer: previous,
        previous_of_provider: previous,
        ..Default::default()
    };
    (request, pb::Entry { time_ms: NOW, kind: Some(Kind::Exchange(entry)) })
}

/// A batch of entries under the ledger's newest head.
pub fn batch(ledger: &Ledger, from_size: u64, indexes: &[u64]) -> ToAdapter {
    let size = ledger.len();
    let entries = indexes.iter().map(|index| {
        let receipt = ledger.receipt(*index);
        pb::LinkReceipt { exchange: 0, index: *index, entry: receipt.entry, proof: receipt.proof }
    });
    ToAdapter::OwnEntries(pb::OwnEntries {
        checkpoint: ledger.checkpoint_at(size),
        from_size,
        growth: ledger.consistency(from_size, size),
        entries: entries.collect(),
        receipt_heads: Vec::new(),
    })
}

pub fn enter(ledger: &Ledger, entry: pb::Entry) -> u64 {
    ledger.append(entry.time_ms, entry.kind.unwrap())
}

pub async fn taken(conn: &mut super::Conn) -> u64 {
    loop {
        match conn.recv().await {
            FromAdapter::EntriesTaken(taken) => return taken.own_next,
            FromAdapter::Offer(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn own_entries_are_followed_without_a_gap_also_after_a_restart() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    assert_eq!(conn.hello.own_next, 0);
    let mut from = world.ledger.len();
    let (mut before, mut indexes) = (0, Vec::new());
    for _ in 0..3 {
        let index = enter(&world.ledger, exchange(&world, before, APP, "street-office", "civil-affairs").1);
        filler(&world.ledger, 2);
        before = index + 1;
        indexes.push(index);
    }
    conn.send(batch(&world.ledger, from, &indexes[..2])).await;
    assert_eq!(taken(&mut conn).await, indexes[1] + 1);
    assert_eq!(adapter.head().head.size, world.ledger.len(), "the head grows with the entries");
    assert_eq!(adapter.health().alarms, 0);
    from = world.ledger.len();
    served.stop().await;
    drop((conn, adapter));
    let adapter = Arc::new(world.open());
    hub.show(from);
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    assert_eq!(conn.hello.own_next, indexes[1] + 1, "the place is kept");
    conn.send(batch(&world.ledger, from, &indexes[2..])).await;
    assert_eq!(taken(&mut conn).await, before);
    assert_eq!(adapter.health().alarms, 0);
    // One is left out: the next one names it.
    let dropped = enter(&world.ledger, exchange(&world, before, APP, "street-office", "civil-affairs").1);
    let next = enter(&world.ledger, exchange(&world, dropped + 1, APP, "street-office", "civil-affairs").1);
    conn.send(batch(&world.ledger, from, &[next])).await;
    assert_eq!(taken(&mut conn).await, next + 1);
    assert_eq!(adapter.health().alarms, 1);
    served.stop().await;
}

/// A hub that asks in this member's name leaves an entry, and the entry comes here.
#[tokio::test]
async fn t07_a_request_that_none_of_the_own_apps_signed_is_an_alarm() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let from = world.ledger.len();
    // The delegation that the request names is under another member's root: no app of this member.
    let forged = enter(&world.ledger, exchange(&world, 0, STRANGER, "civil-affairs", "police").1);
    conn.send(batch(&world.ledger, from, &[forged])).await;
    assert_eq!(taken(&mut conn).await, forged + 1);
    assert_eq!(adapter.health().alarms, 1);
    let kept = evidence(&world);
    assert!(kept.len() == 1 && kept[0].what.contains("none of its apps signed it"), "{kept:?}");
    // Somebody else's entry is none of ours.
    let others = enter(&world.ledger, exchange(&world, 0, APP, "street-office", "police").1);
    let size = adapter.head().head.size;
    conn.send(batch(&world.ledger, size, &[others])).await;
    until(|| adapter.health().protocol_errors == 1).await;
    served.stop().await;
}

/// A link that breaks before the delegation came proves nothing against anybody: the entry comes again, and is
/// judged then.
#[tokio::test]
async fn t07_an_entry_that_cannot_be_judged_now_accuses_nobody_and_comes_again() {
    let mut world = World::new();
    world.limits.material_ms = 100;
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    let from = world.ledger.len();
    let forged = enter(&world.ledger, exchange(&world, 0, STRANGER, "civil-affairs", "police").1);
    world.stock.late.store(true, std::sync::atomic::Ordering::SeqCst);
    hub.show(from);
    conn.send(batch(&world.ledger, from, &[forged])).await;
    let mut again = hub.linked().await;
    assert_eq!(again.hello.own_next, 0, "the entry has no place yet");
    assert_eq!((adapter.health().alarms, evidence(&world).len()), (0, 0));
    world.stock.late.store(false, std::sync::atomic::Ordering::SeqCst);
    again.send(batch(&world.ledger, from, &[forged])).await;
    assert_eq!(taken(&mut again).await, forged + 1);
    assert_eq!((adapter.health().alarms, evidence(&world).len()), (1, 1));
    served.stop().await;
}

#[tokio::test]
async fn t09_own_entries_under_a_head_that_does_not_continue_end_the_link() {
    let world = World::new();
    filler(&world.ledger, 5);
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    let kept = adapter.head();
    let fork = Ledger::new(5);
    filler(&fork, 10);
    let index = enter(&fork, exchange(&world, 0, APP, "street-office", "civil-affairs").1);
    conn.send(batch(&fork, kept.head.size, &[index])).await;
    until(|| matches!(adapter.health().link, LinkState::Alarm(_))).await;
    assert_eq!(adapter.head(), kept, "the kept head stays");
    assert_eq!(evidence(&world).len(), 1);
    served.stop().await;
}

fn receipt(ledger: &Ledger, offer: &pb::AnswerOffer) -> ToAdapter {
    let entry = pb::ExchangeEntry {
        request: offer.request.clone(),
        answer: offer.answer.clone(),
        ..Default::default()
    };
    let whole = ledger.receipt(ledger.append(NOW, Kind::Exchange(entry)));
    let receipt = pb::LinkReceipt { exchange: 0, index: whole.index, entry: whole.entry, proof: whole.proof };
    ToAdapter::Receipts(pb::ReceiptBatch { checkpoint: whole.checkpoint, receipts: vec![receipt] })
}

async fn offered(conn: &mut super::Conn) -> pb::AnswerOffer {
    loop {
        if let FromAdapter::Offer(offer) = conn.recv().await {
            return offer;
        }
    }
}

#[tokio::test]
async fn answers_without_receipt_are_offered_after_a_reconnect_and_after_a_restart() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let first = conn.served(&world).await.reply.answer;
    let size = world.ledger.len();
    hub.show(size);
    drop(conn);
    let mut conn = hub.linked().await;
    assert_eq!(offered(&mut conn).await.answer, first, "byte for byte");
    let second = conn.served(&world).await.reply.answer;
    served.stop().await;
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let adapter = Arc::new(world.open());
    assert_eq!(adapter.health().unreceipted, 2, "the journal knows them");
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let mut offers = vec![offered(&mut conn).await, offered(&mut conn).await];
    assert_eq!([&offers[0].answer, &offers[1].answer], [&first, &second]);
    let from = adapter.head().head.size;
    let index = world.ledger.len();
    conn.send(receipt(&world.ledger, &offers.remove(0))).await;
    until(|| adapter.health().unreceipted == 1).await;
    // When its entry came, the journal says that it is settled.
    conn.send(batch(&world.ledger, from, &[index])).await;
    assert_eq!(taken(&mut conn).await, index + 1);
    conn.served(&world).await.answered();
    served.stop().await;
    drop(adapter);
    world.disk.cut_power(|_| 0);
    assert_eq!(world.open().health().unreceipted, 2, "the second and the third");
}

/// A hub that lets so many exchanges run at once.
async fn with_credit(world: &World, credit: u32) -> FakeHub {
    let hub = FakeHub::start(world).await;
    let shown = hub.shown.lock().unwrap().clone();
    *hub.shown.lock().unwrap() = Shown { credit, ..shown };
    hub
}

/// A hub that gives no receipts gets twice its credit, and then nothing.
#[tokio::test]
async fn t07_a_hub_that_proves_nothing_is_answered_nothing() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = with_credit(&world, 4).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    for _ in 0..8 {
        conn.served(&world).await.answered();
    }
    let touched = world.touched();
    for _ in 0..3 {
        assert_eq!(conn.served(&world).await.failed(), Code::ReceiptsOwed);
    }
    assert_eq!(world.touched(), touched, "no source was asked");
    assert_eq!(adapter.health().unreceipted, 8, "refusals for this reason ask for no receipt");
    assert!(adapter.health().receipts_owed.is_some());
    // After ten seconds they are offered; one receipt makes room for one answer.
    world.clock.advance_ms(11_000);
    let offer = offered(&mut conn).await;
    conn.send(receipt(&world.ledger, &offer)).await;
    until(|| adapter.health().unreceipted == 7).await;
    assert_eq!(adapter.health().receipts_owed, None);
    conn.served(&world).await.answered();
    assert_eq!(conn.served(&world).await.failed(), Code::ReceiptsOwed);
    served.stop().await;
}

/// Such a refusal is an entry too, and comes back as one, after a receipt that nobody asked for: it accuses nobody.
#[tokio::test]
async fn the_entry_of_a_refusal_because_receipts_are_owed_rings_no_alarm() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = with_credit(&world, 1).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    for _ in 0..2 {
        conn.served(&world).await.answered();
    }
    let (request, body) = world.request(ONE);
    let request = request.sign(&key(APP)).bytes().clone();
    let chunk = conn.chunk(request.clone(), body);
    let exchange = chunk.exchange;
    conn.send(ToAdapter::Request(chunk)).await;
    let answer = conn.answer(exchange).await.answer;
    let stated = SignedStatement::parse(answer.clone()).unwrap();
    let stated = Answer::parse(stated.unverified_payload()).unwrap();
    assert_eq!(stated.verdict, Verdict::Failed(Code::ReceiptsOwed));
    let failed = pb::Outcome::Failed.into();
    let entry = pb::ExchangeEntry { request, answer, outcome: failed, ..Default::default() };
    let from = adapter.head().head.size;
    let index = enter(&world.ledger, pb::Entry { time_ms: NOW, kind: Some(Kind::Exchange(entry)) });
    let ToAdapter::OwnEntries(entries) = batch(&world.ledger, from, &[index]) else { unreachable!() };
    let (checkpoint, receipts) = (entries.checkpoint.clone(), entries.entries.clone());
    conn.send(ToAdapter::Receipts(pb::ReceiptBatch { checkpoint, receipts })).await;
    conn.send(ToAdapter::OwnEntries(entries)).await;
    assert_eq!(taken(&mut conn).await, index + 1);
    let health = adapter.health();
    assert_eq!((health.alarms, health.bad_receipts, health.protocol_errors), (0, 0, 0));
    served.stop().await;
}

/// Else an adapter that stopped would come back from a restart owing every request that it was asked meanwhile.
#[tokio::test]
async fn refusals_because_receipts_are_owed_are_not_owed_after_a_restart() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = with_credit(&world, 1).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    for _ in 0..2 {
        conn.served(&world).await.answered();
    }
    for _ in 0..20 {
        assert_eq!(conn.served(&world).await.failed(), Code::ReceiptsOwed);
    }
    served.stop().await;
    drop((conn, adapter));
    let adapter = Arc::new(world.open());
    assert_eq!(adapter.health().unreceipted, 2);
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    for left in [1, 0] {
        let offer = offered(&mut conn).await;
        conn.send(receipt(&world.ledger, &offer)).await;
        // The hub may say it twice: once for the exchange and once for the offer.
        conn.send(receipt(&world.ledger, &offer)).await;
        until(|| adapter.health().unreceipted == left).await;
    }
    conn.served(&world).await.answered();
    assert_eq!(adapter.health().bad_receipts, 0);
    served.stop().await;
}

#[tokio::test]
async fn sixty_seconds_after_a_reconnect_without_receipts_nothing_is_answered() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    conn.served(&world).await.answered();
    let size = world.ledger.len();
    hub.show(size);
    drop(conn);
    let mut conn = hub.linked().await;
    let offer = offered(&mut conn).await;
    conn.served(&world).await.answered();
    world.clock.advance_ms(60_000);
    assert_eq!(asked(&mut conn, &world, Head::default()).await.failed(), Code::ReceiptsOwed);
    conn.send(receipt(&world.ledger, &offer)).await;
    until(|| adapter.health().unreceipted == 1).await;
    // A minute later the consumer's last word is over too.
    let words = pb::LinkStandings { standings: vec![world.word()], revocations: Vec::new() };
    conn.send(ToAdapter::Standings(words)).await;
    asked(&mut conn, &world, Head::default()).await.answered();
    served.stop().await;
}

#[tokio::test]
async fn a_witness_call_comes_down_the_link() {
    let world = World { witness: Some(9), ..World::new() };
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    assert!(conn.hello.witness_key.starts_with("witness.example/w+"));
    let checkpoint = String::from_utf8(world.ledger.checkpoint_at(2).to_vec()).unwrap();
    let body = Bytes::from(format!("old 0\n\n{checkpoint}"));
    conn.send(ToAdapter::Witness(pb::WitnessCall { call: 77, body: body.clone() })).await;
    let FromAdapter::Witnessed(reply) = conn.recv().await else { panic!("no reply") };
    assert_eq!((reply.call, reply.status), (77, 200));
    conn.send(ToAdapter::Witness(pb::WitnessCall { call: 78, body })).await;
    let FromAdapter::Witnessed(reply) = conn.recv().await else { panic!("no reply") };
    assert_eq!((reply.call, reply.status, reply.body.as_ref()), (78, 409, b"2\n".as_ref()));
    served.stop().await;
}
