//! Whoever publishes something and hangs up stops nothing half-way: what stands in the ledger is obeyed.

use super::key_of;
use std::sync::Arc;
use std::time::Duration;
use yiwang_proto::delegation::Role;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revocation;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_tests::held::HeldUp;
use yiwang_tests::scene::Scene;

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn f14_a_revocation_whose_publisher_hangs_up_closes_the_links_all_the_same() {
    let scene = Scene::new(53).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // Their next standing would do what was left undone.
    scene.police.issuing.stop();
    scene.street.issuing.stop();
    let (root, now_ms) = (scene.police.folder.root_key().unwrap(), scene.world.clock.now_ms());
    let list = key_of(&scene.police, Role::Adapter, "main");
    let document = Revocation::sign(&root, &root.public(), scene.police.id(), &list, false, now_ms);
    let enrolled = scene.police.folder.enrolled().unwrap();
    let to_hub = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let hub = Arc::clone(&scene.world.hub().hub);
    let held_up = HeldUp::new(&hub.ledger);
    let mut directory = DirectoryServiceClient::new(to_hub.clone());
    let request = pb::PublishRequest { document: document.bytes().clone() };
    let call = tokio::spawn(async move { directory.publish(request).await });
    until("the revocation waits for the ledger", || hub.ledger.waiting() > 0).await;
    call.abort();
    assert!(call.await.is_err_and(|error| error.is_cancelled()));
    // The reset of the call is with the hub.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(hub.links.connected().contains(scene.police.id()), "nothing is entered yet");
    held_up.let_go().await;
    until("the revoked adapter's link is closed", || !hub.links.connected().contains(scene.police.id()))
        .await;
    assert!(hub.ledger.views().revocation(&document.digest()).is_some());
    drop(hub);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
