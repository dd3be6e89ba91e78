//! A head that the ledger's key signed for one receipt alone, as a hub that hides an access from its app would.

use std::sync::Arc;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::Ending;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_tests::forged::LedgerKey;
use yiwang_tests::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_a_receipt_under_a_head_of_its_own_is_found_when_the_app_meets_the_hub() {
    let scene = Scene::new(79).await;
    let channel =
        scene.street.folder.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let mut exchanges = ExchangeServiceClient::new(channel);
    let key = LedgerKey::of(&scene.world);
    // Larger than the ledger, and within it: smaller than any head that the app has met, of which it would know the root.
    for index in [1 << 40, 4] {
        scene.app.settle().await.unwrap();
        assert!(scene.world.hub().hub.ledger.checkpoint().size > 5);
        let signed = scene.signed();
        let mut response = exchanges.exchange(signed.message.clone()).await.unwrap().into_inner();
        let receipt = response.receipt.take().unwrap();
        response.receipt = Some(key.alone(&receipt, index));
        let app = scene.street.app_unpublished(&scene.world, "assistance-desk").await;
        app.meet().await.unwrap();
        let exchanged = app.verify(&scene.contract, &signed, response).await.unwrap();
        assert!(matches!(exchanged.ending, Ending::Answered { .. }), "nothing shows yet");
        for _ in 0..2 {
            let found = app.meet().await.unwrap_err();
            assert!(
                matches!(&found, ClientError::Unverified(what) if what.contains("head_contradicts")),
                "{found}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_receipts_are_proved_at_the_next_meeting_also_after_a_restart_of_the_hub() {
    let mut scene = Scene::new(80).await;
    for _ in 0..20 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    scene.app.meet().await.unwrap();
    for _ in 0..3 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    scene.world.until_linked(scene.police.id()).await;
    scene.app.settle().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.app.settle().await.unwrap();
    scene.app.settle().await.unwrap();
}
