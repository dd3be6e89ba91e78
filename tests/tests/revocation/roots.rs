//! A member goes on under its next root, since the one before was stolen or lost: what was signed under that one counts no
//! more, and an auditor finds nothing at an honest hub.

use crate::{under_root, with_a_standing_that_is_not_entered};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::client::Client;
use yiwang_client::exchange::Ask;
use yiwang_client::folder::Folder;
use yiwang_client::token::EnrolToken;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::ambient::Clock;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, Matter};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::revocation::Revoked;
use yiwang_proto::standing::{KEY_LIFE_MAX_MS, SEQUENCE_AHEAD_MAX};
use yiwang_tests::contracts::draft;
use yiwang_tests::held::HeldUp;
use yiwang_tests::member::{Issuing, Member, Nothing};
use yiwang_tests::raw::RawLink;
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
    assert_eq!(denied, "no_case", "a case that the root before vouches for");
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
    let (now_ms, entropy) = (scene.world.clock.now_ms(), scene.world.entropy.as_ref());
    let late = AppId::parse("late-desk").unwrap();
    let late = scene.street.folder.delegate(Role::App, &late, now_ms, now_ms + 60_000, entropy).unwrap();
    let refused = scene.app.publish(&late).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("revoked"), "the thief's next key");
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
    let (clock, mut scene) = with_a_standing_that_is_not_entered(47).await;
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

/// The root is replaced while a statement under the one before waits for its index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_case_under_the_root_before_is_refused_where_its_index_is_assigned() {
    let mut scene = Scene::new(64).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let ledger = scene.world.hub().hub.ledger.clone();
    let held = HeldUp::new(&ledger);
    let waiting = |many: usize| {
        let ledger = ledger.clone();
        async move {
            while ledger.waiting() < many {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let (world, street, app) = (&scene.world, &mut scene.street, &scene.app);
    let joining = rotated(world, street);
    let asking = async {
        waiting(1).await;
        refused_case(app).await
    };
    let letting_go = async {
        waiting(2).await;
        held.let_go().await;
    };
    let ((), refused, ()) = tokio::join!(joining, asking, letting_go);
    assert_eq!(refused, Some("delegation_invalid"));
    drop(ledger);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Whoever has the standing key of the root before counts ahead with it: the next root begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_thief_who_counted_ahead_does_not_silence_the_next_root() {
    let mut scene = Scene::new(65).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let dir = scene.street.folder.path().with_extension("stolen");
    let copied =
        std::process::Command::new("cp").arg("-a").arg(scene.street.folder.path()).arg(&dir).status();
    assert!(copied.unwrap().success());
    // As far ahead of its time as a number may be.
    let now_ms = scene.world.clock.now_ms();
    std::fs::write(dir.join("standing"), format!("{}\n", now_ms + SEQUENCE_AHEAD_MAX - 1)).unwrap();
    let thief = Folder::open(&dir).unwrap();
    // One that changes something is entered at once.
    thief.revoke(&Revoked { officers: [crate::officer(1)].into(), ..Revoked::default() }).unwrap();
    let last = thief.issue_standing(now_ms).unwrap();
    let channel = thief.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let taken = yiwang_client::standing::offer(channel, &last).await.unwrap();
    assert!(taken.index.is_some());
    let own = scene.street.folder.issue_standing(now_ms).unwrap();
    assert!(own.standing.sequence < last.standing.sequence, "nobody hears the member under that root");
    rotated(&scene.world, &mut scene.street).await;
    let (app, contract) = app_anew(&mut scene).await;
    goes_on(&scene, &app, &contract).await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_goes_on_under_its_next_root_with_the_journal_that_it_has() {
    let mut scene = Scene::new(48).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // What is owed when the root is replaced gets its receipt by the next link.
    let kept = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    let message = scene.signed().message;
    assert!(!kept.handle(message.request, message.body, &Nothing).await.answer.is_empty());
    assert_eq!(kept.health().unreceipted, 1);
    drop(kept);
    let main = AppId::parse("main").unwrap();
    let former = scene.police.folder.load_delegation(Role::Adapter, &main).unwrap().0.bytes().clone();
    rotated(&scene.world, &mut scene.police).await;
    begun_anew(&scene.world, &mut scene.police, Role::Adapter, "main").await;
    assert_eq!(scene.outcome(&scene.signed()).await, "standing_stale");
    let links = &scene.world.hub().hub.links;
    assert!(!links.connected().contains(scene.police.id()), "its link is closed");
    let refused = RawLink::try_open(&scene.world, &scene.police, |hello| hello.delegation = former).await;
    let Err(refused) = refused else { panic!("a key of the root before opens a link") };
    assert!(refused.message().contains("delegation_invalid"), "{refused:?}");
    if let Some(adapter) = scene.adapter.take() {
        adapter.stop().await;
    }
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let contract = agreed_anew(&scene).await;
    let signed = scene.app.sign(&contract, &scene.ask());
    assert_eq!(outcome(&scene.app, &contract, &signed).await, "answered");
    let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    for _ in 0..1000 {
        if adapter.health().unreceipted == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(adapter.health().unreceipted, 0);
    drop(adapter);
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:?}");
}
