//! A member goes on under its next root, since the one before was stolen or lost: what was signed under that one counts no
//! more, and an auditor finds nothing at an honest hub.

use crate::under_root;
use serde_json::json;
use std::sync::Arc;
use yiwang_client::client::Client;
use yiwang_client::exchange::Ask;
use yiwang_client::token::EnrolToken;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, Matter};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::revocation::Revoked;
use yiwang_proto::standing::KEY_LIFE_MAX_MS;
use yiwang_tests::contracts::draft;
use yiwang_tests::member::{Issuing, Member};
use yiwang_tests::scene::{Scene, outcome};
use yiwang_tests::world::World;

/// A member goes on under its next root, and joins with a new token.
async fn rotated(world: &World, member: &mut Member) {
    let folder = &mut member.folder;
    folder.rotate_root(world.entropy.as_ref(), world.clock.as_ref()).unwrap();
    let token = world.token(&Identity::Member(folder.member().clone()));
    folder.enrol(&EnrolToken::parse(&token).unwrap(), Arc::clone(&world.clock)).await.unwrap();
}

/// It gives new keys their roles.
async fn begun_anew(world: &World, member: &mut Member, role: Role, name: &str) {
    let folder = &member.folder;
    let (entropy, now) = (world.entropy.as_ref(), world.clock.now_ms());
    let main = AppId::parse("main").unwrap();
    let until = now - 60_000 + KEY_LIFE_MAX_MS;
    folder.delegate_new(Role::Standing, &main, now - 60_000, until, entropy).unwrap();
    let name = AppId::parse(name).unwrap();
    folder.delegate_new(role, &name, now - 60_000, now + 30 * world.day(), entropy).unwrap();
    member.issuing = Issuing::start(folder, &world.clock);
    member.issuing.until_taken().await;
}

/// The next version of the contract, under the roots that both have now.
async fn agreed_anew(scene: &Scene) -> Contract {
    let now_ms = scene.world.clock.now_ms();
    let text = draft(&scene.police, &scene.street, "police-street-person", now_ms).with("version", 2.into());
    Contract::open(&scene.world.agree(&text, &scene.police, &scene.street).await).unwrap()
}

/// The street office's app with its new key.
async fn app_anew(scene: &mut Scene) -> (Client, Contract) {
    begun_anew(&scene.world, &mut scene.street, Role::App, "assistance-desk").await;
    (scene.street.app(&scene.world, "assistance-desk").await, agreed_anew(scene).await)
}

async fn refused_case(app: &Client) -> Option<&'static str> {
    let matter = Matter::parse("social-assistance").unwrap();
    app.open_case(&matter, &[]).await.err().and_then(|error| error.code().map(|code| code.as_str()))
}

/// Under the new root everything goes on; a case of before is opened anew.
async fn goes_on(scene: &Scene, app: &Client, contract: &Contract) {
    let of_before = app.sign(contract, &scene.ask());
    let denied = outcome(app, contract, &of_before).await;
    assert_ne!(denied, "answered", "a case that the root before vouches for");
    let matter = Matter::parse("social-assistance").unwrap();
    let (case, _) = app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    let signed = app.sign(contract, &Ask { case, ..scene.ask() });
    assert_eq!(outcome(app, contract, &signed).await, "answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_member_whose_root_was_stolen_goes_on_under_the_next_and_the_thief_does_not() {
    let mut scene = Scene::new(46).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    under_root(&scene, &scene.street, &Revoked::default(), true).await;
    rotated(&scene.world, &mut scene.street).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "revoked");
    assert_eq!(refused_case(&scene.app).await, Some("revoked"));
    let (app, contract) = app_anew(&mut scene).await;
    goes_on(&scene, &app, &contract).await;
    assert_eq!(refused_case(&scene.app).await, Some("revoked"), "the thief's key");
    // Under the stolen root nothing is agreed any more, whoever signs it.
    let former = std::fs::read_dir(scene.street.folder.path().join("former")).unwrap().next().unwrap();
    let stolen = std::fs::read_to_string(former.unwrap().path().join("root.key")).unwrap();
    let stolen = SecretKey::from_base64(&stolen).unwrap();
    let consumer =
        json!({"member": "street-office", "root": stolen.public(), "approver": "o-bbbbbbbbbbbbbbbb"});
    let now_ms = scene.world.clock.now_ms();
    let text = draft(&scene.police, &scene.street, "police-street-person", now_ms)
        .with("version", 3.into())
        .with("consumer", consumer);
    let roots = [scene.police.folder.root_key().unwrap(), stolen];
    let text = text.0.to_string();
    let document = SignedDocument::sign(payload_type::CONTRACT, text.as_bytes(), &roots.each_ref());
    let refused = app.publish(&document).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("contract_invalid"));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_under_a_root_that_was_replaced_nothing_new_is_entered() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(47, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let mut scene = Scene::build(world, |draft| draft).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // The newest standing under the root before came when nobody asked, and is entered nowhere.
    let before_ms = clock.now_ms();
    clock.advance_ms(25_000);
    scene.street.issuing.until_after(before_ms + 60_000).await;
    scene.street.issuing.stop();
    rotated(&scene.world, &mut scene.street).await;
    assert_eq!(refused_case(&scene.app).await, Some("delegation_invalid"));
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "its last word that was entered holds yet");
    clock.advance_ms(60_000);
    scene.police.issuing.until_after(clock.now_ms() + 30_000).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "standing_stale", "and ends");
    let (app, contract) = app_anew(&mut scene).await;
    goes_on(&scene, &app, &contract).await;
    assert_eq!(refused_case(&scene.app).await, Some("delegation_invalid"));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_goes_on_under_its_next_root_with_the_journal_that_it_has() {
    let mut scene = Scene::new(48).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    rotated(&scene.world, &mut scene.police).await;
    begun_anew(&scene.world, &mut scene.police, Role::Adapter, "main").await;
    assert_eq!(
        scene.outcome(&scene.signed()).await,
        "standing_stale",
        "the contract is under the root before"
    );
    if let Some(adapter) = scene.adapter.take() {
        adapter.stop().await;
    }
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let contract = agreed_anew(&scene).await;
    let signed = scene.app.sign(&contract, &scene.ask());
    assert_eq!(outcome(&scene.app, &contract, &signed).await, "answered");
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:?}");
}
