//! The oracle over a real world: what an app kept, the hub's ledger, the adapter's journal.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use yiwang_audit::reconcile::{Fault, Sources};
use yiwang_tests::scene::{Scene, judge, reconcile};

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").args(["-a"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// A scene whose app keeps its exchanges.
async fn keeping(seed: u64) -> (Scene, PathBuf) {
    let mut scene = Scene::new(seed).await;
    let folder = scene.world.dir.path().join("kept");
    scene.app = scene.street.app_unpublished(&scene.world, "assistance-desk").await.keeping(&folder).unwrap();
    scene.app.meet().await.unwrap();
    (scene, folder)
}

async fn stop(scene: &mut Scene) {
    if let Some(adapter) = scene.adapter.take() {
        adapter.stop().await;
    }
    scene.world.stop_hub().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_honest_parties_tell_one_story() {
    let (mut scene, kept) = keeping(120).await;
    for _ in 0..4 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    let mut ask = scene.ask();
    ask.fields = yiwang_tests::scene::fields(&["id_number"]);
    let refused = scene.app.sign(&scene.contract, &ask);
    assert_ne!(scene.outcome(&refused).await, "answered");
    let replayed = scene.signed();
    assert_eq!(scene.outcome(&replayed).await, "answered");
    assert_eq!(scene.outcome(&replayed).await, "replayed");
    let journal = scene.police.folder.path().join("journal");
    stop(&mut scene).await;
    let done = reconcile(&scene.world, std::slice::from_ref(&kept), &[journal]);
    assert!(done.is_clean(), "{done:#?}");
    // The answer and the refusal of its repetition are two files of one request.
    assert_eq!((done.answered, done.received, done.receipts, done.journalled_unrecorded), (5, 7, 7, 0));
    assert!(done.journalled >= 5 && done.heads > 2, "{done:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_goes_back_to_an_old_ledger_is_caught_by_what_others_kept() {
    let (mut scene, kept) = keeping(121).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let journal = scene.police.folder.path().join("journal");
    scene.world.stop_hub().await;
    let old = scene.world.dir.path().join("old-ledger");
    copy(&scene.world.ledger_dir(), &old);
    scene.world.start_hub().await;
    let police = scene.police.id().clone();
    scene.world.until_linked(&police).await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    stop(&mut scene).await;
    let now = reconcile(&scene.world, std::slice::from_ref(&kept), std::slice::from_ref(&journal));
    assert!(now.is_clean(), "{now:#?}");
    let sources =
        Sources { ledger: old, received: vec![kept], journals: vec![journal], ..Sources::default() };
    let then = judge(&sources);
    for fault in [Fault::ReleasedUnrecorded, Fault::AcknowledgedLost, Fault::HeadsDiffer] {
        assert!(then.has(fault), "{fault:?}: {then:#?}");
    }
    assert!(then.ledger.is_clean(), "alone, the old ledger looks clean: {:#?}", then.ledger);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_was_restored_from_an_old_copy_is_caught() {
    let (mut scene, kept) = keeping(122).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let journal = scene.police.folder.path().join("journal");
    scene.adapter.take().unwrap().stop().await;
    let old = scene.world.dir.path().join("old-journal");
    copy(&journal, &old);
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    stop(&mut scene).await;
    let done = reconcile(&scene.world, &[kept], &[old]);
    assert!(done.has(Fault::AnswerUnknown), "{done:#?}");
}
