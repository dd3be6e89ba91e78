//! The places towards one adapter: as many as it runs, and the last of them for emergencies.

use super::{at_once, count, second_app};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use yiwang_adapter_sdk::adapter::Adapter;
use yiwang_adapter_sdk::check::Finding;
use yiwang_adapter_sdk::fetch::MappedSource;
use yiwang_adapter_sdk::mapping::OperationDef;
use yiwang_adapter_sdk::source::{BoxFuture, FetchQuery, Fetched, Probe, Source, SourceError};
use yiwang_policies::Decider;
use yiwang_tests::contracts::Draft;
use yiwang_tests::member::RunningAdapter;
use yiwang_tests::scene::{Scene, outcome};

/// A register that hangs until somebody opens it.
struct Gated {
    inner: Arc<dyn Source>,
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Source for Gated {
    fn fetch(&self, query: FetchQuery) -> BoxFuture<'_, Result<Fetched, SourceError>> {
        Box::pin(async move {
            self.arrived.add_permits(1);
            let _through = self.open.acquire().await.unwrap();
            self.inner.fetch(query).await
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, SourceError>> {
        self.inner.probe()
    }

    fn check(&self, operations: Vec<Arc<OperationDef>>) -> BoxFuture<'_, Vec<Finding>> {
        self.inner.check(operations)
    }
}

/// The police's adapter over a register that hangs, running so many exchanges at once. Yields what has come to the register,
/// and what opens it.
async fn hanging(scene: &Scene, in_flight: u32) -> (RunningAdapter, Arc<Semaphore>, Arc<Semaphore>) {
    let (arrived, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gated = |source: MappedSource| {
        let inner = Arc::clone(source.source());
        let gated = Gated { inner, arrived: Arc::clone(&arrived), open: Arc::clone(&open) };
        MappedSource::new(Arc::clone(source.mapping()), Arc::new(gated))
    };
    let sources = scene.police.sources().into_iter().map(gated).collect();
    let mut config = scene.police.adapter_config();
    config.limits.in_flight = in_flight;
    let (clock, entropy) = (Arc::clone(&scene.world.clock), Arc::clone(&scene.world.entropy));
    let decider = Arc::new(Decider::builtin().unwrap());
    let adapter = Adapter::open(config, sources, decider, clock, entropy).unwrap();
    let running = scene.police.run_this(&scene.world, Arc::new(adapter));
    scene.world.until_linked(scene.police.id()).await;
    (running, arrived, open)
}

/// So many are at the register.
async fn until_there(arrived: &Semaphore, many: u32) {
    let there = tokio::time::timeout(Duration::from_secs(20), arrived.acquire_many(many)).await;
    there.unwrap().unwrap().forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f09_an_emergency_finds_a_place_at_an_adapter_that_routine_look_ups_have_filled() {
    let slow = |draft: Draft| draft.limit("deadline_ms", 20_000);
    let mut scene = Scene::bent(110, slow).await;
    let urgent = |draft: Draft| slow(draft).with("purpose", json!("emergency.life-safety"));
    let (app, contract, case) = second_app(&scene, "emergency-response", urgent).await;
    scene.adapter.take().unwrap().stop().await;
    // A hub that did not know this number would send it ten times as many.
    let (running, arrived, open) = hanging(&scene, 16).await;
    let routine = at_once(&scene, &scene.app, &scene.contract, &scene.case, 40);
    let ask = yiwang_client::exchange::Ask { case: case.clone(), ..scene.ask() };
    let emergency = async {
        until_there(&arrived, 14).await;
        let signed = [app.sign(&contract, &ask), app.sign(&contract, &ask)];
        let asking = join_all(signed.iter().map(|signed| outcome(&app, &contract, signed)));
        let opening = async {
            // With two kept for them, or after a moment in which they were turned away.
            let _ = tokio::time::timeout(Duration::from_secs(3), until_there(&arrived, 2)).await;
            open.add_permits(16);
        };
        tokio::join!(asking, opening).0
    };
    let (routine, emergency) = tokio::join!(routine, emergency);
    assert_eq!(count(&emergency, "answered"), 2, "{emergency:?}");
    assert_eq!(count(&routine, "answered"), 14, "{routine:?}");
    assert_eq!(count(&routine, "provider_busy"), 26, "{routine:?}");
    assert_eq!(running.adapter.health().failed.len(), 0, "the hub turns them away, not the adapter");
    running.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
