//! Mappings that adapters announce: entries of the ledger before anything is answered through them.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use yiwang_proto::entry::{self, Kind};
use yiwang_tests::scene::Scene;

/// The announced mappings of a member, oldest first, each with its entry.
fn announced(scene: &Scene, member: &str) -> Vec<(u64, String, Vec<u8>)> {
    let mut found = Vec::new();
    let reader = scene.world.hub().hub.ledger.reader();
    reader
        .scan(0, &mut |index, bytes, _| {
            if let Some(Kind::Mapping(raw)) = entry::decode(&bytes).unwrap().kind
                && raw.member == member
            {
                found.push((index, raw.mapping, raw.digest.to_vec()));
            }
            true
        })
        .unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_mapping_is_an_entry_before_it_answers_and_an_unchanged_one_is_not_entered_again() {
    let mut scene = Scene::new(140).await;
    let first = announced(&scene, "police");
    assert!(first.iter().any(|(_, mapping, _)| mapping == "person.by_id"), "{first:?}");
    let answered = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    assert!(first.iter().all(|(index, _, _)| *index < answered.receipt.index));
    // The same again, and after a restart of the hub.
    scene.adapter.take().unwrap().stop().await;
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(announced(&scene, "police"), first);
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    let police = scene.police.id().clone();
    scene.world.until_linked(&police).await;
    scene.app.meet().await.unwrap();
    assert_eq!(announced(&scene, "police"), first);
    // Another text, also where the hub does not append yet when the adapter comes.
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let changed = scene.world.dir.path().join("person.toml");
    let text = std::fs::read_to_string(&scene.police.mappings[0]).unwrap();
    std::fs::write(&changed, format!("{text}\n# looked through\n")).unwrap();
    scene.police.mappings = vec![changed];
    scene.world.start_hub().await;
    let adapter = std::sync::Arc::new(scene.police.adapter(&scene.world));
    scene.adapter = Some(scene.police.run_this(&scene.world, adapter));
    scene.app.meet().await.unwrap();
    scene.world.until_linked(&police).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let now = announced(&scene, "police");
    assert_eq!(now.len(), 2 * first.len(), "{now:?}");
    assert!(now[..first.len()] == first[..] && now.last().unwrap().2 != first.last().unwrap().2);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
    assert!(!report.contains("never announced") && !report.contains("was replaced"), "{report}");
}
