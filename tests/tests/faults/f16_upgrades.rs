//! F16: what waits while an adapter is replaced is bounded, and rests on nothing that was taken back meanwhile. The
//! upgrade of whole processes under load is in `hub/cli/tests/faults`.

use std::time::Duration;
use yiwang_client::exchange::{Ask, Ending};
use yiwang_proto::entry::Kind as Entered;
use yiwang_proto::ids::Officer;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind;
use yiwang_proto::revocation::Revoked;
use yiwang_tests::member::Member;
use yiwang_tests::raw::{RawLink, message};
use yiwang_tests::scene::Scene;

/// Longer than any wait here that is right, shorter than the contract's deadline and the hub's own bound together.
const PATIENCE: Duration = Duration::from_secs(20);

async fn until(mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
}

fn ended(scene: &Scene, how: &str) -> u64 {
    let held = scene.world.hub().hub.links.requests_held();
    held.ended.iter().find(|(name, _)| *name == how).unwrap().1
}

fn held(scene: &Scene) -> usize {
    scene.world.hub().hub.links.requests_held().requests
}

fn is_linked(scene: &Scene) -> bool {
    scene.world.hub().hub.links.of(scene.police.id()).is_some()
}

/// A scene whose adapter is stopped; what it is asked may take long.
async fn without_adapter(seed: u64) -> Scene {
    let mut scene = Scene::bent(seed, |draft| draft.limit("deadline_ms", 30_000)).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.adapter.take().unwrap().stop().await;
    until(|| !is_linked(&scene)).await;
    scene
}

/// A link of a member's adapter key, whose frames the test writes.
async fn linked(scene: &Scene, member: &Member) -> RawLink {
    let link = RawLink::open(&scene.world, member, |_| ()).await;
    scene.world.until_linked(member.id()).await;
    link
}

async fn goes(link: &RawLink, back_within_ms: u32) -> bool {
    let leaving = Kind::Leaving(pb::LinkLeaving { back_within_ms });
    link.frames.send(message(vec![leaving])).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_what_was_taken_back_while_a_request_waited_is_not_asked_for() {
    let scene = without_adapter(160).await;
    let link = linked(&scene, &scene.police).await;
    assert!(goes(&link, 10_000).await);
    until(|| !is_linked(&scene)).await;
    // For two officers it is asked; one of them leaves before anybody is there to answer.
    let [leaves, stays] =
        ["o-aaaaaaaaaaaaaaab", "o-aaaaaaaaaaaaaaac"].map(|name| Officer::parse(name).unwrap());
    let signed = |officer: &Officer| {
        scene.app.sign(&scene.contract, &Ask { officer: Some(officer.clone()), ..scene.ask() })
    };
    let (revoked, kept) = (signed(&leaves), signed(&stays));
    let asked = async { tokio::join!(scene.app.exchange(&scene.contract, &revoked), scene.outcome(&kept)) };
    let meanwhile = async {
        until(|| held(&scene) == 2).await;
        let list = Revoked { officers: [leaves.clone()].into(), ..Revoked::default() };
        scene.street.revoke(&scene.world, &list).await;
        scene.police.run_adapter(&scene.world).await
    };
    let ((exchanged, kept), adapter) = tokio::join!(asked, meanwhile);
    let exchanged = exchanged.unwrap();
    assert!(
        matches!(&exchanged.ending, Ending::Denied { code, .. } if code == "revoked"),
        "{:?}",
        exchanged.ending
    );
    let Some(Entered::Exchange(entry)) = exchanged.receipt.entry.kind else { panic!("no exchange") };
    assert!(entry.answer.is_empty(), "the provider was asked");
    assert_eq!(kept, "answered", "what holds goes out");
    assert_eq!((ended(&scene, "refused"), ended(&scene, "sent"), held(&scene)), (1, 1, 0));
    assert_eq!(adapter.adapter.health().answered, 1);
    adapter.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_hint_that_is_said_again_prolongs_nothing() {
    let scene = without_adapter(161).await;
    // One that takes a request, answers nothing and says without end that it is back in a moment.
    let mut link = linked(&scene, &scene.police).await;
    let (first, second) = (scene.signed(), scene.signed());
    let asked = scene.outcome(&first);
    let abuse = async {
        until(|| scene.world.hub().hub.links.of(scene.police.id()).is_some_and(|link| link.running() == 1))
            .await;
        assert!(goes(&link, 700).await);
        until(|| scene.world.hub().hub.links.is_present(scene.police.id())).await;
        let saying = async {
            while is_linked(&scene) {
                goes(&link, 700).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (waited, said) = tokio::join!(scene.outcome(&second), tokio::time::timeout(PATIENCE, saying));
        assert!(said.is_ok(), "the link is still there");
        waited
    };
    let (asked, waited) = tokio::join!(asked, abuse);
    assert_eq!(asked, "provider_unavailable", "its link ends with its time");
    assert_eq!(waited, "provider_unavailable");
    until(|| !scene.world.hub().hub.links.is_present(scene.police.id())).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "provider_unavailable");
    assert_eq!((ended(&scene, "sent"), held(&scene)), (0, 0));
    assert!(ended(&scene, "away") <= 1, "it is not waited for any more");
    while let Ok(Some(_)) = link.incoming.message().await {}
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_hint_of_another_member_or_of_a_link_that_is_none_holds_nothing() {
    let scene = without_adapter(162).await;
    let clinic = scene.world.member("clinic").await;
    let link = linked(&scene, &clinic).await;
    assert!(goes(&link, 10_000).await);
    let links = &scene.world.hub().hub.links;
    until(|| links.of(clinic.id()).is_none()).await;
    assert!(links.is_present(clinic.id()) && !links.is_present(scene.police.id()));
    assert_eq!(scene.outcome(&scene.signed()).await, "provider_unavailable");
    // A link of the police that was replaced speaks for nobody.
    let replaced = linked(&scene, &scene.police).await;
    let old = links.of(scene.police.id()).unwrap();
    let newer = RawLink::open(&scene.world, &scene.police, |_| ()).await;
    until(|| links.of(scene.police.id()).is_some_and(|link| !std::sync::Arc::ptr_eq(&link, &old))).await;
    goes(&replaced, 10_000).await;
    drop(newer);
    until(|| links.of(scene.police.id()).is_none()).await;
    assert!(!links.is_present(scene.police.id()));
    assert_eq!(scene.outcome(&scene.signed()).await, "provider_unavailable");
    let ends = links.requests_held().ended.map(|(_, number)| number);
    assert_eq!(ends, [0; 4], "nothing was held");
}

/// The hub's own restart is not hidden. Whoever asks again does nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_what_is_asked_again_after_a_restart_of_the_hub_is_done_once() {
    let mut scene = Scene::new(163).await;
    let (done, missed) = (scene.signed(), scene.signed());
    assert_eq!(scene.outcome(&done).await, "answered");
    scene.world.stop_hub().await;
    let refused = scene.outcome(&missed).await;
    assert!(refused.starts_with("error: the hub cannot be reached"), "{refused}");
    scene.world.start_hub().await;
    scene.world.until_linked(scene.police.id()).await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&missed).await, "answered", "it had reached nobody");
    for again in [&done, &missed] {
        assert_eq!(scene.outcome(again).await, "replayed");
    }
    assert_eq!(scene.adapter.as_ref().unwrap().adapter.health().answered, 2);
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:#?}");
}
