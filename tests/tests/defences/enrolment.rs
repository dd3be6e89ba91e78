//! Tokens and certificates: what is spent, and what ends.

use std::sync::Arc;
use yiwang_client::folder::Folder;
use yiwang_client::token::EnrolToken;
use yiwang_hub::config::Config;
use yiwang_hub::lifecycle;
use yiwang_hub::orders::Order;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::ambient::ManualClock;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::member::MemberCard;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_whose_entry_is_refused_costs_no_token() {
    let world = World::new(64).await;
    let police = world.member("police").await;
    let copy = |name: &str| {
        let to = world.dir.path().join(name);
        let status = std::process::Command::new("cp").arg("-a").arg(police.folder.path()).arg(&to).status();
        assert!(status.unwrap().success());
        to
    };
    let (old, new) = (copy("old"), copy("new"));
    // A newer card of the same root, then one that is older than it.
    let root = police.folder.root_key().unwrap();
    let next = SecretKey::from_seed(&[5; 32]).public();
    let later = world.clock.now_ms() + 1_000;
    let card = MemberCard::sign(&root, &next, police.id(), "police", later);
    std::fs::write(new.join("card.json"), card.bytes()).unwrap();
    let enrol = async |dir: &std::path::Path, token: &str| {
        let mut folder = Folder::open(dir).unwrap();
        folder.enrol(&EnrolToken::parse(token).unwrap(), Arc::clone(&world.clock)).await
    };
    let identity = Identity::Member(police.id().clone());
    enrol(&new, &world.token(&identity)).await.unwrap();
    let token = world.token(&identity);
    let size = world.hub().hub.ledger.checkpoint().size;
    assert!(enrol(&old, &token).await.is_err(), "an older card does not replace a newer one");
    enrol(&new, &token).await.unwrap();
    assert!(enrol(&new, &token).await.is_err(), "once");
    assert_eq!(world.hub().hub.ledger.checkpoint().size, size);
}

/// Whoever wants a member back under a root that was stolen would set a clock ahead: no time in a card counts against the step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_goes_to_its_next_root_whatever_the_time_in_the_card_and_never_back() {
    let world = World::new(68).await;
    let mut police = world.member("police").await;
    let before = police.folder.path().with_extension("before");
    let status = std::process::Command::new("cp").arg("-a").arg(police.folder.path()).arg(&before).status();
    assert!(status.unwrap().success());
    let identity = Identity::Member(police.id().clone());
    let behind = ManualClock::new(world.clock.now_ms() - world.day());
    police.folder.rotate_root(world.entropy.as_ref(), &behind).unwrap();
    let token = EnrolToken::parse(&world.token(&identity)).unwrap();
    police.folder.enrol(&token, Arc::clone(&world.clock)).await.unwrap();
    let root = || world.hub().hub.ledger.views().member(police.id()).unwrap().card.root;
    assert_eq!(root(), police.folder.root_public());
    let token = EnrolToken::parse(&world.token(&identity)).unwrap();
    let mut folder = Folder::open(&before).unwrap();
    let refused = folder.enrol(&token, Arc::clone(&world.clock)).await.unwrap_err();
    assert!(refused.to_string().contains("delegation_invalid"), "{refused}");
    assert_eq!(root(), police.folder.root_public());
}

async fn dismiss(world: &World, who: &str, reason: &str) -> Result<String, String> {
    let orders = lifecycle::orders(&Config::read(&world.hub_dir()).unwrap()).unwrap();
    let order = Order::Dismiss { who: who.to_owned(), reason: reason.to_owned(), unknown: false };
    orders.give(&order, world.entropy.as_ref()).await.map_err(|error| error.to_string())
}

async fn renews(scene: &Scene) -> bool {
    let enrolled = scene.street.folder.enrolled().unwrap();
    let channel = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
    enrolled.renew(channel, scene.world.clock.as_ref()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_dismissed_is_served_nothing_and_renews_nothing() {
    let mut scene = Scene::new(65).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    assert!(renews(&scene).await);
    for (who, reason) in [("member:Police", "x"), ("hub", "x"), ("member:street-office", " ")] {
        assert!(dismiss(&scene.world, who, reason).await.is_err(), "{who}");
    }
    // A name that nobody has is no dismissal: whoever was meant would keep its access.
    let size = scene.world.hub().hub.ledger.checkpoint().size;
    for (who, near) in [("member:street-ofice", "`street-office`"), ("auditor:police", "`member:police`")] {
        let said = dismiss(&scene.world, who, "retired").await.unwrap_err();
        assert!(said.contains(&format!("did you mean {near}?")), "{said}");
    }
    assert_eq!(scene.world.hub().hub.ledger.checkpoint().size, size, "nothing was recorded");
    let street = Identity::Member(scene.street.id().clone());
    let unspent = scene.world.token(&street);
    // Certificates count by the second.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let said = dismiss(&scene.world, "member:street-office", "its key was stolen").await.unwrap();
    assert!(said.contains("1 unspent tokens are void"), "{said}");
    let refused = scene.outcome(&scene.signed()).await;
    assert!(refused.starts_with("error"), "{refused}");
    assert!(!renews(&scene).await);
    let enrol = async |token: &str| {
        let mut folder = Folder::open(scene.street.folder.path()).unwrap();
        folder.enrol(&EnrolToken::parse(token).unwrap(), Arc::clone(&scene.world.clock)).await
    };
    assert!(enrol(&unspent).await.is_err(), "a token of before is void");

    // Also after a restart; and an adapter's link ends at once.
    let police = scene.adapter.take().unwrap();
    dismiss(&scene.world, "member:police", "retired").await.unwrap();
    assert!(scene.world.hub().hub.links.of(scene.police.id()).is_none());
    police.stop().await;
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    assert!(!renews(&scene).await);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;

    // A new token is the operator's word that it is wanted again; only new certificates count.
    for member in [&scene.street, &scene.police] {
        let token = scene.world.token(&Identity::Member(member.id().clone()));
        let mut folder = Folder::open(member.folder.path()).unwrap();
        folder.enrol(&EnrolToken::parse(&token).unwrap(), Arc::clone(&scene.world.clock)).await.unwrap();
    }
    scene.app = scene.street.app_unpublished(&scene.world, "assistance-desk").await;
    scene.app.meet().await.unwrap();
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
