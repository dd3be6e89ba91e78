//! A member that opens and publishes without end.

use std::sync::Arc;
use yiwang_client::error::ClientError;
use yiwang_hub::quotas::QuotaLimits;
use yiwang_proto::case::Act;
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_tests::contracts::draft;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

fn code<T>(result: Result<T, ClientError>) -> Option<String> {
    result.err().map(|error| error.code().map_or(error.to_string(), |code| code.as_str().to_owned()))
}

async fn open(scene: &Scene, subjects: &[&str]) -> Result<CaseId, ClientError> {
    let matter = Matter::parse("social-assistance").unwrap();
    let subjects: Vec<String> = subjects.iter().map(|id| (*id).to_owned()).collect();
    scene.app.open_case(&matter, &subjects).await.map(|(case, _)| case)
}

async fn close(scene: &Scene, case: &CaseId) {
    let decided = Act::Close { reason: "decided".to_owned() };
    scene.app.act_on_case(case, decided, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_keeps_open_what_its_quota_allows_and_no_more() {
    let limits =
        QuotaLimits { open_cases: 2, case_tags: 4, delegations: 3, contracts: 1, ..QuotaLimits::default() };
    let world = World::configured(62, |config| config.quotas = limits).await;
    // One case with one tag, one contract, and of each member its adapter's or app's and its standings' key.
    let mut scene = Scene::build(world, |draft| draft).await;
    let full = Some("quota_exceeded".to_owned());
    let second = open(&scene, &["980101199001010017", "980101199001010025"]).await.unwrap();
    assert_eq!(code(open(&scene, &[]).await), full, "two cases are open");
    close(&scene, &second).await;
    assert_eq!(code(open(&scene, &["1", "2", "3", "4"]).await), full, "five tags");
    let second = open(&scene, &["1", "2"]).await.unwrap();

    let more = draft(&scene.police, &scene.street, "police-street-more", scene.world.clock.now_ms());
    let more = more.sign(&scene.police, &scene.street);
    assert_eq!(code(scene.app.publish(&more).await), full);
    scene.street.app(&scene.world, "second-desk").await;
    let third = scene.street.app_unpublished(&scene.world, "third-desk").await;
    assert_eq!(code(third.publish(&third.identity().delegation).await), full);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "what is there works on");

    // The counts are of the ledger: a restart opens no second allowance, with views or without.
    for rebuilt in [false, true] {
        scene.adapter.take().unwrap().stop().await;
        scene.world.stop_hub().await;
        if rebuilt {
            std::fs::remove_dir_all(scene.world.hub_dir().join("views")).unwrap();
        }
        scene.world.start_hub().await;
        scene.app.meet().await.unwrap();
        scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
        assert_eq!(code(open(&scene, &[]).await), full);
        assert_eq!(code(scene.app.publish(&more).await), full);
        assert_eq!(code(third.publish(&third.identity().delegation).await), full);
    }
    close(&scene, &second).await;
    open(&scene, &["1", "2", "3"]).await.unwrap();
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_revokes_what_its_quota_allows_and_always_its_whole_root() {
    let limits = QuotaLimits { revocations: 2, ..QuotaLimits::default() };
    let world = World::configured(64, |config| config.quotas = limits).await;
    let scene = Scene::build(world, |draft| draft).await;
    let member = scene.world.member("county").await;
    let root = member.folder.root_key().unwrap();
    let now_ms = scene.world.clock.now_ms();
    let revoke = async |list: &Revoked, whole: bool| {
        let document = Revocation::sign(&root, &root.public(), member.id(), list, whole, now_ms);
        let channel =
            member.folder.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap();
        yiwang_client::client::publish(channel, &document, &member.checkpoints()).await
    };
    let one = |number: u8| Revoked { delegations: [[number; 32]].into(), ..Revoked::default() };
    let first = revoke(&one(1), false).await.unwrap().index;
    revoke(&one(2), false).await.unwrap();
    let full = Some("quota_exceeded".to_owned());
    assert_eq!(code(revoke(&one(3), false).await), full);
    assert_eq!(revoke(&one(1), false).await.unwrap().index, first, "what stands is found again");
    revoke(&Revoked::default(), true).await.unwrap();
    assert_eq!(code(revoke(&one(4), true).await).as_deref(), Some("replayed"), "it has said its last word");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "others go on");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_statements_is_refused_before_the_ledger() {
    let limits = QuotaLimits { per_second: 1, burst: 20, ..QuotaLimits::default() };
    let world = World::configured(63, |config| config.quotas = limits).await;
    let scene = Scene::build(world, |draft| draft).await;
    let before = scene.world.hub().hub.ledger.checkpoint().size;
    let mut refused = 0;
    for _ in 0..60 {
        match open(&scene, &[]).await {
            Ok(_) => {}
            other => {
                assert_eq!(code(other).as_deref(), Some("quota_exceeded"));
                refused += 1;
            }
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3);
    assert!(scene.world.hub().hub.ledger.checkpoint().size - before < 60);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "exchanges have ceilings of their own");
}
