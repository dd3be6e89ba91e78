//! Tokens and certificates: what is spent, and what ends.

use std::sync::Arc;
use yiwang_client::folder::Folder;
use yiwang_client::token::EnrolToken;
use yiwang_hub::tls::identity::Identity;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::member::MemberCard;
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
