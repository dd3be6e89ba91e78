//! Own entries are read by a reader of their own, one link after another, and not on the threads that serve exchanges.

use super::{Matter, until};
use std::sync::Arc;
use std::time::Duration;
use yiwang_hub::ledger::ReadFor;
use yiwang_hub::limits::READS_WAITING;
use yiwang_tests::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_entries_wait_while_too_much_is_read_and_come_on_the_same_link() {
    let scene = Scene::new(84).await;
    let street = scene.street.run_adapter(&scene.world).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let hub = Arc::clone(&scene.world.hub().hub);
    let held = || street.adapter.head().head.size;
    let size = hub.ledger.checkpoint().size;
    until("all entries are held", || held() >= size).await;
    let mut places = Vec::new();
    until("every place to read is taken", || {
        while let Ok(place) = hub.ledger.place(ReadFor::Entries) {
            places.push(place);
        }
        places.len() == READS_WAITING
    })
    .await;
    let link = hub.links.of(scene.street.id()).unwrap();
    let matter = Matter::parse("social-assistance").unwrap();
    scene.app.open_case(&matter, &[]).await.unwrap();
    let size = hub.ledger.checkpoint().size;
    // Several looks of the hub for own entries.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(held() < size, "nothing is read outside of the places for it");
    drop(places);
    until("the case's entry", || held() >= size).await;
    assert!(Arc::ptr_eq(&link, &hub.links.of(scene.street.id()).unwrap()), "its link goes on");
    assert_eq!((street.adapter.health().alarms, street.adapter.health().protocol_errors), (0, 0));
    drop((hub, link));
    street.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
