//! The hub's ledger when things go wrong around it: restarts, an old copy, a full disk.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::ledger::{Draft, Linear};
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;
use yiwang_tests::held::HeldUp;
use yiwang_tests::scene::{Scene, verify_ledger};
use yiwang_tests::world::World;

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").args(["-a"]).arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The hub starts on what is there, serves as before, and all three parties tell one story.
async fn answers_again(mut scene: Scene) {
    scene.world.start_hub().await;
    let police = scene.police.id().clone();
    scene.world.until_linked(&police).await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_hub_waits_for_heads_and_goes_on() {
    let mut scene = Scene::new(30).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let adapter = scene.adapter.take().unwrap();
    adapter.stop().await;
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    let waiting = scene.outcome(&scene.signed()).await;
    assert_eq!(waiting, "unrecorded: ledger_not_appending", "no member has shown its head yet");
    scene.app.meet().await.unwrap();
    assert_eq!(
        scene.outcome(&scene.signed()).await,
        "unrecorded: ledger_not_appending",
        "one of two is no majority"
    );
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_ledger_restored_from_an_old_copy_never_forks() {
    let mut scene = Scene::new(31).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.world.stop_hub().await;
    let (live, old) = (scene.world.hub_dir().join("ledger"), scene.world.dir.path().join("old-ledger"));
    copy(&live, &old);
    scene.world.start_hub().await;
    let police = scene.police.id().clone();
    scene.world.until_linked(&police).await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.app.meet().await.unwrap();
    scene.world.stop_hub().await;
    std::fs::remove_dir_all(&live).unwrap();
    copy(&old, &live);
    scene.world.start_hub().await;
    // The app kept the newer head: the hub is told, appends nothing, and the app refuses the smaller head.
    assert!(scene.app.meet().await.is_err());
    let outcome = scene.outcome(&scene.signed()).await;
    assert_eq!(outcome, "unrecorded: ledger_not_appending");
    let reason = scene.world.hub().hub.ledger.waiting_reason().unwrap();
    assert!(reason.contains("rolled back or forked"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_lost_entries_goes_on_only_as_a_new_origin_that_names_its_old_head() {
    let mut scene = Scene::new(34).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let head = std::fs::read(scene.world.ledger_dir().join("checkpoint")).unwrap();
    let own = scene.world.accept_head("log.city.example/yiwang");
    assert!(own.unwrap_err().to_string().contains("name a new one"));
    assert!(scene.world.accept_head("no origin at all\n").is_err());
    let old = scene.world.accept_head("log.city.example/yiwang-2").unwrap();
    // An interrupted acceptance neither starts nor is forgotten.
    let next = scene.world.hub_dir().join("ledger.next");
    std::fs::rename(scene.world.ledger_dir(), &next).unwrap();
    assert!(scene.world.try_start_hub().await.is_err_and(|error| error.to_string().contains("interrupted")));
    assert_eq!(scene.world.accept_head("log.city.example/yiwang-2").unwrap(), old);
    scene.world.start_hub().await;
    let first = scene.world.hub().hub.ledger.reader().read(0).unwrap();
    let Some(Kind::Origin(origin)) = yiwang_proto::entry::decode(&first).unwrap().kind else {
        unreachable!("the first entry names the origin")
    };
    assert_eq!(origin.origin, "log.city.example/yiwang-2");
    assert_eq!(origin.old_head, head, "it names the head that the old ledger ended with");
    // Who pinned the old origin does not follow by itself; who enrols again does.
    assert!(scene.app.meet().await.is_err());
    let member = scene.world.member("parks").await;
    member.app(&scene.world, "desk").await;
    scene.world.stop_hub().await;
    let (code, report) = verify_ledger(&scene.world);
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("goes on from `log.city.example/yiwang` at size "), "{report}");
    assert!(old.join("segments").is_dir(), "the old ledger is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_and_tiles_are_made_again_from_the_entries() {
    let mut scene = Scene::new(32).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.world.stop_hub().await;
    std::fs::remove_dir_all(scene.world.hub_dir().join("views")).unwrap();
    std::fs::remove_dir_all(scene.world.ledger_dir().join("tile")).unwrap();
    answers_again(scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_a_fork_that_another_program_of_the_member_kept_is_not_forgotten() {
    use yiwang_proto::checkpoint::Checkpoint;
    use yiwang_proto::note::SignerKey;
    let scene = Scene::new(36).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.app.meet().await.unwrap();
    let ledger = &scene.world.hub().hub.ledger;
    let text = std::fs::read_to_string(scene.world.hub_dir().join("ledger.key")).unwrap();
    let seed = yiwang_proto::document::from_base64(text.trim()).unwrap().try_into().unwrap();
    let signer = SignerKey::from_seed(ledger.origin(), &seed).unwrap();
    let (size, kept) = (ledger.checkpoint().size - 1, scene.street.folder.path().join("checkpoint"));
    assert!(kept.exists(), "{}", kept.display());
    // A head that the hub's own key signed, over another history, smaller than the one that this app holds.
    let forked = Checkpoint::new(ledger.origin(), size, [7; 32]).unwrap().sign(&signer).unwrap();
    std::fs::write(&kept, forked).unwrap();
    let error = scene.app.meet().await.unwrap_err().to_string();
    assert!(error.contains(&format!("does not grow from the kept head of size {size}")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_are_ahead_of_their_own_size_are_made_again() {
    let mut scene = Scene::new(34).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.world.stop_hub().await;
    {
        // As a kill between the rows and the size would leave them, if they were not one batch: the case's
        // opening is in the rows, and would be applied a second time.
        let views = sled::open(scene.world.hub_dir().join("views")).unwrap();
        let mark = views.get(b"\0ledger_size").unwrap().unwrap();
        let (size, seal) = mark.split_first_chunk::<8>().unwrap();
        assert!(u64::from_be_bytes(*size) > 1);
        views.insert(b"\0ledger_size", [&1_u64.to_be_bytes()[..], seal].concat()).unwrap();
        views.flush().unwrap();
    }
    answers_again(scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_hub_on_a_running_folder_is_refused_and_harms_nothing() {
    let mut scene = Scene::new(35).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let error = scene.world.try_start_hub().await.unwrap_err().to_string();
    assert!(error.contains("in use by another hub process"), "{error}");
    assert!(scene.world.hub_dir().join("views").exists());
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
}

/// An entry of about 60 KiB, so that a disk fills quickly.
struct Big;

impl Draft for Big {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Lookup(pb::LookupEntry { auditor: "a".repeat(60_000), ..pb::LookupEntry::default() }))
    }
}

struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f05_a_full_disk_refuses_before_forwarding_and_space_heals_it() {
    let mounted = Mounted(tempfile::tempdir().unwrap());
    let small = ["-t", "tmpfs", "-o", "size=48m", "tmpfs"];
    let mount = Command::new("mount").args(small).arg(mounted.0.path()).status();
    if !mount.is_ok_and(|status| status.success()) {
        println!("SKIPPED: cannot mount a tmpfs (needs root)");
        return;
    }
    let clock = Arc::new(SystemClock::default());
    let world = World::below(mounted.0.path(), 33, clock, TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let ballast = mounted.0.path().join("ballast");
    let _ =
        Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", ballast.display())).output();
    let ledger = &scene.world.hub().hub.ledger;
    let mut stored = 0;
    while ledger.append(Box::new(Big)).await.is_ok() {
        stored += 1;
        assert!(stored < 10_000, "the disk does not fill");
    }
    let before = ledger.checkpoint().size;
    let answered = scene.adapter.as_ref().unwrap().adapter.health().answered;
    assert_eq!(scene.outcome(&scene.signed()).await, "unrecorded: ledger_full");
    let asked = scene.adapter.as_ref().unwrap().adapter.health().answered;
    assert_eq!(asked, answered, "the adapter was not asked");
    assert!(ledger.receipt(0).is_ok(), "reading goes on");
    std::fs::remove_file(&ballast).unwrap();
    // The watch looks for room every second.
    for _ in 0..100 {
        if ledger.ready().is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "it goes on without a restart");
    assert!(ledger.checkpoint().size > before);
    let mut scene = scene;
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let (code, report) = verify_ledger(&scene.world);
    // The filler entries name no real auditor; everything else must hold.
    assert!(code == 0 || report.contains("auditor"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn f05_a_disk_that_hangs_refuses_before_forwarding_and_goes_on_by_itself() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(37, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let ledger = &scene.world.hub().hub.ledger;
    let asked = || scene.adapter.as_ref().unwrap().adapter.health().answered;
    let before = asked();
    let held_up = HeldUp::new(ledger);
    clock.advance_ms(2_500);
    assert_eq!(scene.outcome(&scene.signed()).await, "unrecorded: overloaded");
    assert_eq!(ledger.ready(), Err(Code::Overloaded));
    assert_eq!(asked(), before, "the adapter was not asked");
    held_up.let_go().await;
    for _ in 0..100 {
        if ledger.ready().is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "it goes on without a restart");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
