//! What an app's member knows to be over stays over when the app is started again, whatever a hub shows then.

use super::{key_of, under_root, with_a_standing_that_is_not_entered};
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::client::Client;
use yiwang_client::exchange::SignedRequest;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::delegation::Role;
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_tests::held::HeldUp;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

async fn built(seed: u64) -> (Arc<ManualClock>, Scene) {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(seed, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    (clock, Scene::build(world, |draft| draft).await)
}

/// A good answer, as it came.
async fn answered(scene: &Scene) -> (SignedRequest, pb::ExchangeResponse) {
    let enrolled = scene.street.folder.enrolled().unwrap();
    let channel = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let signed = scene.signed();
    let response = ExchangeServiceClient::new(channel).exchange(signed.message.clone()).await.unwrap();
    (signed, response.into_inner())
}

/// The app as it is after a restart.
async fn again(scene: &Scene) -> Client {
    scene.street.app_unpublished(&scene.world, "assistance-desk").await
}

async fn judged(
    app: &Client,
    scene: &Scene,
    (signed, response): &(SignedRequest, pb::ExchangeResponse),
) -> String {
    match app.verify(&scene.contract, signed, response.clone()).await {
        Ok(_) => "answered".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Starts the hub again, as one that hides revocations.
async fn hidden(scene: &mut Scene, clock: &ManualClock) {
    scene.world.stop_hub().await;
    let switches = TestSwitches { hide_revocations: true, ..TestSwitches::default() };
    scene.world.set_switches(switches);
    scene.world.start_hub().await;
    let now_ms = clock.now_ms();
    clock.advance_ms(25_000);
    scene.police.issuing.until_after(now_ms + 60_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_revoked_key_stays_revoked_for_an_app_that_is_started_again() {
    let (clock, mut scene) = built(49).await;
    let answer = answered(&scene).await;
    assert_eq!(judged(&again(&scene).await, &scene, &answer).await, "answered");
    under_root(&scene, &scene.police, &key_of(&scene.police, Role::Adapter, "main"), false).await;
    let got = judged(&again(&scene).await, &scene, &answer).await;
    assert!(got.contains("revoked a key"), "{got}");
    hidden(&mut scene, &clock).await;
    let got = judged(&again(&scene).await, &scene, &answer).await;
    assert!(got.contains("revoked a key"), "after a restart: {got}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_an_older_standing_is_refused_by_an_app_that_is_started_again() {
    let (_clock, scene) = built(50).await;
    let answer = answered(&scene).await;
    assert_eq!(judged(&again(&scene).await, &scene, &answer).await, "answered");
    let path = scene.street.folder.path().join("counterparts.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    // As if the newest one had been a later one.
    let number = text.split("\"sequence\": ").nth(1).and_then(|rest| rest.split(',').next());
    let number: u64 = number.expect("the standing is kept").parse().unwrap();
    std::fs::write(&path, text.replace(&number.to_string(), &(number + 1_000_000_000).to_string())).unwrap();
    let got = judged(&again(&scene).await, &scene, &answer).await;
    assert!(got.contains("an older standing than before"), "{got}");
    // Nor is a spoilt file one in which nothing stands.
    std::fs::write(&path, "{}").unwrap();
    let enrolled = scene.street.folder.enrolled().unwrap();
    let error = enrolled.counterparts().unwrap_err().to_string();
    assert!(error.contains("counterparts.json") && error.contains("put back a copy"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_standing_that_ends_while_the_ledger_is_held_up_is_not_entered() {
    let (clock, scene) = with_a_standing_that_is_not_entered(63).await;
    // Two seconds before its end somebody asks; its entry waits behind a batch that takes five.
    clock.advance_ms(58_000);
    let held = HeldUp::new(&scene.world.hub().hub.ledger);
    let signed = scene.signed();
    let ledger = scene.world.hub().hub.ledger.clone();
    let (outcome, ()) = tokio::join!(scene.outcome(&signed), async {
        while ledger.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        clock.advance_ms(5_000);
        held.let_go().await;
    });
    drop(ledger);
    assert_eq!(outcome, "standing_stale");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
