//! Lost links, and hubs whose ledger does not continue the one that is known.

use super::{FakeHub, Served, Shown, hub_frame, until, within};
use crate::hub::Ledger;
use crate::world::{APP, ONE, World, key};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;

#[tokio::test]
async fn a_lost_link_is_opened_again_and_material_stays_known() {
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
    assert_eq!(conn.hello.checkpoint, world.ledger.checkpoint_at(size), "the kept head is shown");
    conn.served(&world).await.answered();
    assert_eq!(world.stock.asked.load(Ordering::SeqCst), 1);
    assert_eq!(adapter.health().link_starts, 2);
    served.stop().await;
}

/// The adapter kept the head of `size`; then the hub shows something else.
async fn alarmed_by(bend: impl FnOnce(&World, &mut Shown)) {
    let world = World::new();
    for n in 0..5 {
        world.ledger.append(n, Kind::Policy(pb::PolicyEntry::default()));
    }
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    let kept = adapter.head();
    let size = world.ledger.len();
    assert_eq!(kept.head.size, size);
    let honest = Shown { ledger: Arc::clone(&world.ledger), size, from: size, credit: 1024 };
    {
        let mut shown = hub.shown.lock().unwrap();
        *shown = honest.clone();
        bend(&world, &mut shown);
    }
    drop(conn);
    let mut lying = hub.linked().await;
    until(|| matches!(adapter.health().link, LinkState::Alarm(_))).await;
    // Nothing is served on such a link, whatever is sent down.
    let (request, body) = world.request(ONE);
    let chunk = lying.chunk(request.sign(&key(APP)).bytes().clone(), body);
    let _ = lying.to.send(hub_frame(ToAdapter::Request(chunk))).await;
    assert!(within(lying.from.recv()).await.is_none(), "the adapter ended the link");
    assert_eq!((world.touched(), adapter.health().answered), (0, 0));
    assert_eq!(adapter.head(), kept, "the kept head stays");
    assert!(adapter.health().alarms >= 1);
    *hub.shown.lock().unwrap() = honest;
    let mut conn = loop {
        let mut conn = hub.linked().await;
        conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
        if within(conn.from.recv()).await.is_some() {
            break conn;
        }
    };
    conn.served(&world).await.answered();
    served.stop().await;
}

#[tokio::test]
async fn a_hub_whose_ledger_shrank_is_refused() {
    alarmed_by(|_, shown| shown.size -= 2).await;
}

#[tokio::test]
async fn a_hub_that_shows_another_history_of_the_same_size_is_refused() {
    alarmed_by(|_, shown| shown.ledger = fork(shown.size)).await;
}

#[tokio::test]
async fn a_hub_that_shows_a_longer_history_that_does_not_continue_is_refused() {
    alarmed_by(|_, shown| {
        shown.ledger = fork(shown.size + 3);
        shown.size += 3;
    })
    .await;
}

#[tokio::test]
async fn a_head_under_another_key_is_refused() {
    alarmed_by(|_, shown| shown.ledger = Arc::new(Ledger::new(6))).await;
}

/// Another history under the hub's own key.
fn fork(size: u64) -> Arc<Ledger> {
    let ledger = Ledger::new(5);
    while ledger.len() < size {
        ledger.append(77, Kind::Lookup(pb::LookupEntry::default()));
    }
    Arc::new(ledger)
}
