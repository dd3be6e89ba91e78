//! F13: certificates are renewed while requests run, and an expired one opens nothing.

use crate::rounds;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use yiwang_adapter_sdk::connect::run_link;
use yiwang_client::client::Client;
use yiwang_client::folder::Folder;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::pb;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;
use yiwang_tests::scene::{Scene, outcome};
use yiwang_tests::world::World;

const WORKERS: usize = 8;
const WEEK_MS: u64 = 7 * 24 * 3_600_000;

/// Requests without pause, by whatever client is the newest.
struct Load {
    scene: Arc<Scene>,
    client: Mutex<Arc<Client>>,
    answered: AtomicU64,
    failed: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Load {
    async fn work(self: Arc<Self>) {
        while !self.stop.load(Ordering::SeqCst) {
            let client = Arc::clone(&self.client.lock().unwrap());
            let signed = client.sign(&self.scene.contract, &self.scene.ask());
            match outcome(&client, &self.scene.contract, &signed).await.as_str() {
                "answered" => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
                other => self.failed.lock().unwrap().push(other.to_owned()),
            }
        }
    }

    async fn more(&self, how_many: u64) {
        let wanted = self.answered.load(Ordering::SeqCst) + how_many;
        while self.answered.load(Ordering::SeqCst) < wanted && self.failed.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Lets the provider's adapter change its link, and waits until the hub has the new one.
async fn change_link(scene: &Scene) {
    let link = || scene.world.hub().hub.links.of(scene.police.id());
    let old = link().unwrap();
    scene.adapter.as_ref().unwrap().adapter.change_link();
    tokio::time::timeout(Duration::from_secs(5), async {
        while link().is_none_or(|now| Arc::ptr_eq(&now, &old)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_certificates_rotate_under_load_without_a_failed_request() {
    let rotations = rounds(5, 100);
    let scene = Arc::new(Scene::new(130).await);
    let first = Arc::new(scene.street.app(&scene.world, "assistance-desk").await);
    let load = Arc::new(Load {
        scene: Arc::clone(&scene),
        client: Mutex::new(first),
        answered: AtomicU64::default(),
        failed: Mutex::default(),
        stop: AtomicBool::default(),
    });
    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(Arc::clone(&load).work())).collect();
    for _ in 0..rotations {
        load.more(20).await;
        for member in [&scene.street, &scene.police] {
            let enrolled = member.folder.enrolled().unwrap();
            let before = enrolled.client_config(Arc::clone(&scene.world.clock)).is_ok();
            let channel = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
            let leaf = enrolled.renew(channel, scene.world.clock.as_ref()).await.unwrap();
            assert!(before && leaf.ends_ms > scene.world.clock.now_ms());
        }
        // The provider's link too: the next one shows the new certificate.
        change_link(&scene).await;
        // A new connection, with the new certificate; the old one ends when its last request does.
        let fresh = Arc::new(scene.street.app(&scene.world, "assistance-desk").await);
        *load.client.lock().unwrap() = fresh;
    }
    load.more(50).await;
    load.stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    let failed = load.failed.lock().unwrap().clone();
    let answered = load.answered.load(Ordering::SeqCst);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(scene.world.hub().hub.links.replaced(), 0, "a change of link is no second adapter");
    println!("{rotations} rotations of both sides, {answered} requests, 0 failed");
    drop(load);
    let scene = Arc::try_unwrap(scene).unwrap_or_else(|_| panic!("somebody still asks"));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_an_adapter_that_does_not_come_back_is_away() {
    let mut scene = Scene::new(132).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.adapter.take().unwrap().stop().await;
    // One that reaches the hub once, says that it comes back, and does not.
    let adapter = Arc::new(scene.police.adapter(&scene.world));
    let (dialled, folder) = (AtomicBool::default(), scene.police.folder.path().to_owned());
    let clock = Arc::clone(&scene.world.clock);
    let connect = move || {
        let again = dialled.swap(true, Ordering::SeqCst);
        let (folder, clock) = (folder.clone(), Arc::clone(&clock));
        async move {
            let enrolled = Folder::open(&folder).unwrap().enrolled().unwrap().clone();
            let channel = enrolled.channel(clock).await.map_err(|error| error.to_string())?;
            if again { Err("the network is gone".to_owned()) } else { Ok(channel) }
        }
    };
    let stop = CancellationToken::new();
    let link = tokio::spawn(run_link(Arc::clone(&adapter), connect, stop.clone()));
    scene.world.until_linked(scene.police.id()).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    adapter.change_link();
    while scene.world.hub().hub.links.of(scene.police.id()).is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let now_ms = || scene.world.clock.monotonic_us() / 1000;
    let asked = now_ms();
    assert_eq!(scene.outcome(&scene.signed()).await, "provider_unavailable");
    let held = now_ms() - asked;
    assert!((500..1900).contains(&held), "held for {held} ms");
    // It was waited for once, and is now away like anybody else.
    let asked = now_ms();
    assert_eq!(scene.outcome(&scene.signed()).await, "provider_unavailable");
    assert!(now_ms() - asked < 500);
    stop.cancel();
    link.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_an_expired_certificate_opens_no_connection() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(131, clock.clone(), TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let entries = scene.world.hub().hub.ledger.checkpoint().size;
    clock.advance_ms(WEEK_MS + 1000);
    let now: Arc<dyn Clock> = clock;
    let enrolled = scene.street.folder.enrolled().unwrap();
    if let Ok(channel) = enrolled.channel(now).await {
        let asked = LedgerServiceClient::new(channel).get_checkpoint(pb::GetCheckpointRequest {}).await;
        assert!(asked.is_err(), "an expired certificate was taken");
    }
    assert_eq!(scene.world.hub().hub.ledger.checkpoint().size, entries);
}
