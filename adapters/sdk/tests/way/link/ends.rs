//! How links end: with a batch of own entries in hand, with answers under way, by a hub that does not read.

use super::watch::{batch, enter, evidence, exchange, taken};
use super::{FakeHub, Served, hub_frame, until};
use crate::world::{APP, STRANGER, World};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use yiwang_adapter_sdk::health::LinkState;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;

/// A batch that is being kept when its link ends moves the head and the place that the next hello shows: a hub goes on
/// from the hello, and would break the rules with its next batch through no fault of its own.
#[tokio::test]
async fn a_batch_in_hand_when_the_link_ends_is_kept_before_the_next_hello() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    let from = world.ledger.len();
    let first = enter(&world.ledger, exchange(&world, 0, APP, "street-office", "civil-affairs").1);
    let size = world.ledger.len();
    hub.show(size);
    world.disk.stall(true);
    conn.send(batch(&world.ledger, from, &[first])).await;
    until(|| world.disk.stalled() > 0).await;
    drop(conn);
    let early = tokio::time::timeout(Duration::from_millis(500), hub.linked()).await;
    world.disk.stall(false);
    assert!(early.is_err(), "a hello from before the batch");
    let mut next = hub.linked().await;
    assert_eq!(next.hello.own_next, first + 1);
    assert_eq!(next.hello.checkpoint, world.ledger.checkpoint_at(size));
    let second = enter(&world.ledger, exchange(&world, first + 1, APP, "street-office", "civil-affairs").1);
    next.send(batch(&world.ledger, size, &[second])).await;
    assert_eq!(taken(&mut next).await, second + 1);
    assert_eq!((adapter.health().alarms, adapter.health().protocol_errors), (0, 0));
    served.stop().await;
}

/// A batch that waits for material when its link ends holds the next link up for no moment: nothing will come.
#[tokio::test]
async fn a_batch_that_waits_for_material_ends_with_its_link() {
    let mut world = World::new();
    world.limits.material_ms = 60_000;
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    let from = world.ledger.len();
    let forged = enter(&world.ledger, exchange(&world, 0, STRANGER, "civil-affairs", "police").1);
    hub.show(from);
    world.stock.held.store(true, Ordering::SeqCst);
    conn.send(batch(&world.ledger, from, &[forged])).await;
    assert!(matches!(conn.recv().await, FromAdapter::Wanted(_)));
    drop(conn);
    let next = hub.linked().await;
    assert_eq!(next.hello.own_next, 0, "the entry has no place yet");
    assert_eq!((adapter.health().alarms, evidence(&world).len()), (0, 0));
    served.stop().await;
}

/// Its record stands in the journal, and the hub's entry says that the adapter was away: only an offer joins the two.
#[tokio::test]
async fn an_answer_whose_exchange_was_cancelled_while_it_was_written_is_offered() {
    for by_the_hub in [true, false] {
        let world = World::new();
        let adapter = Arc::new(world.open());
        let hub = FakeHub::start(&world).await;
        let served = Served::start(&adapter, &hub);
        let mut conn = hub.linked().await;
        conn.served(&world).await.answered();
        world.disk.stall(true);
        let (exchange, _) = conn.look_up(&world).await;
        until(|| world.disk.stalled() > 0).await;
        if by_the_hub {
            conn.send(ToAdapter::Cancel(pb::LinkCancel { exchange })).await;
            conn.send(ToAdapter::Ping(pb::LinkPing { nonce: 1 })).await;
            while !matches!(conn.recv().await, FromAdapter::Pong(_)) {}
        } else {
            hub.show(world.ledger.len());
            drop(conn);
            conn = hub.linked().await;
        }
        world.disk.stall(false);
        until(|| adapter.health().unreceipted == 2).await;
        world.clock.advance_ms(11_000);
        let mut offers = Vec::new();
        while offers.len() < 2 {
            if let FromAdapter::Offer(offer) = conn.recv().await {
                offers.push(offer);
            }
        }
        assert_ne!(offers[0].request, offers[1].request);
        served.stop().await;
    }
}

/// A hub sends no more to a link whose adapter is gone, and knows that by the end of the adapter's side.
#[tokio::test]
async fn an_adapter_that_stops_ends_its_side_at_once() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    until(|| adapter.health().link == LinkState::Up).await;
    served.stop.cancel();
    // The hub's side stays open meanwhile, for which an adapter waits a second.
    let ended =
        tokio::time::timeout(Duration::from_millis(700), async { while conn.from.recv().await.is_some() {} });
    assert!(ended.await.is_ok(), "its side is still open");
    served.stop().await;
}

/// What the adapter says to it is bounded, and a link on which nothing gets through is none.
#[tokio::test]
async fn a_hub_that_does_not_read_loses_its_link_and_is_dialled_again() {
    let world = World::new();
    let adapter = Arc::new(world.open());
    let hub = FakeHub::start(&world).await;
    let served = Served::start(&adapter, &hub);
    let mut conn = hub.linked().await;
    conn.served(&world).await.answered();
    hub.show(world.ledger.len());
    world.stock.deaf.store(true, Ordering::SeqCst);
    let mut asked = 0_u64;
    let asking = async {
        // Until its side of the link is gone.
        while conn.to.send(hub_frame(ToAdapter::Ping(pb::LinkPing { nonce: u64::MAX }))).await.is_ok() {
            asked += 1;
        }
        std::future::pending::<()>().await;
    };
    let mut next = tokio::select! {
        next = hub.linked() => next,
        () = asking => unreachable!(),
    };
    assert!(asked >= 4096, "no sooner than its queue is full");
    world.stock.deaf.store(false, Ordering::SeqCst);
    next.served(&world).await.answered();
    assert_eq!((adapter.health().alarms, adapter.health().protocol_errors), (0, 0));
    served.stop().await;
}
