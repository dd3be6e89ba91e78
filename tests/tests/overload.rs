//! Floods, slow departments and hostile bytes: who behaves is served. Each test's name begins with the number of
//! its fault or threat.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "overload/denials.rs"]
mod denials;
#[path = "overload/places.rs"]
mod places;
#[path = "overload/raw.rs"]
mod raw;
#[path = "overload/readers.rs"]
mod readers;
#[path = "overload/strangers.rs"]
mod strangers;

use futures_util::future::join_all;
use raw::{Manner, adapter_that, adapter_that_counts};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::client::Client;
use yiwang_hub::config::Overload;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::limits::{EMERGENCY_EXCHANGES, EXCHANGES_MAX, LINK_EMERGENCY_PART, LINK_IN_FLIGHT_MAX};
use yiwang_proto::ambient::{Clock, ManualClock};
use yiwang_proto::contract::Contract;
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::limits::{CHUNK_MAX, WINDOW};
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::scene::{Scene, outcome};
use yiwang_tests::world::World;

/// Outcomes of many requests that run at once.
async fn at_once(
    scene: &Scene,
    app: &Client,
    contract: &Contract,
    case: &CaseId,
    many: usize,
) -> Vec<String> {
    let ask = yiwang_client::exchange::Ask { case: case.clone(), ..scene.ask() };
    let signed: Vec<_> = (0..many).map(|_| app.sign(contract, &ask)).collect();
    join_all(signed.iter().map(|signed| outcome(app, contract, signed))).await
}

fn count(outcomes: &[String], wanted: &str) -> usize {
    outcomes.iter().filter(|outcome| *outcome == wanted).count()
}

/// Another app of the street office, with a contract and a case of its own.
async fn second_app(
    scene: &Scene,
    matter: &str,
    bend: impl FnOnce(Draft) -> Draft,
) -> (Client, Contract, CaseId) {
    let app = scene.street.app(&scene.world, "other-desk").await;
    let now = scene.world.clock.now_ms();
    let text = bend(draft(&scene.police, &scene.street, "police-street-other", now))
        .with("apps", json!(["other-desk"]))
        .with("matters", json!([matter]));
    let document = scene.world.agree(&text, &scene.police, &scene.street).await;
    let matter = Matter::parse(matter).unwrap();
    let (case, _) = app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    (app, Contract::open(&document).unwrap(), case)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f08_a_department_that_hangs_holds_up_nobody_else() {
    let mut scene = Scene::bent(101, |draft| draft.limit("deadline_ms", 3000)).await;
    let civil = scene.world.department(&scene.city, "civil-affairs", &["person"]).await;
    let text = draft(&civil, &scene.street, "civil-street-person", scene.world.clock.now_ms());
    let document = scene.world.agree(&text, &civil, &scene.street).await;
    let good = Contract::open(&document).unwrap();
    let running = civil.run_adapter(&scene.world).await;
    scene.adapter.take().unwrap().stop().await;
    let _cancelled = adapter_that(&scene, Manner::Hangs).await;
    // More than the bulkhead holds.
    let many = LINK_IN_FLIGHT_MAX - LINK_IN_FLIGHT_MAX / LINK_EMERGENCY_PART + 100;
    let flood = at_once(&scene, &scene.app, &scene.contract, &scene.case, many);
    let others = at_once(&scene, &scene.app, &good, &scene.case, 100);
    let (flood, others) = tokio::join!(flood, others);
    assert_eq!(count(&others, "answered"), 100, "{others:?}");
    let (late, busy) = (count(&flood, "deadline_exceeded"), count(&flood, "provider_busy"));
    assert_eq!(late + busy, flood.len(), "{flood:?}");
    assert!(late > 0, "{late} late, {busy} turned away");
    assert_eq!(scene.world.hub().hub.exchanges.available_permits(), EXCHANGES_MAX, "nothing is held");
    running.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// A scene whose hub gives 20 exchanges to each member and purpose, and no more while the clock stands.
async fn rationed(seed: u64) -> Scene {
    let clock = Arc::new(ManualClock::new(1_795_000_000_000));
    let mut world = World::with(seed, clock as Arc<dyn Clock>, TestSwitches::default()).await;
    world.stop_hub().await;
    world.set_overload(Overload { per_second: 1, burst: 20, ..Overload::default() });
    world.start_hub().await;
    Scene::build(world, |draft| draft).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f09_t24_a_flood_of_one_purpose_takes_nothing_from_another() {
    let scene = rationed(102).await;
    let other = |draft: Draft| draft.with("purpose", json!("mediation.case"));
    let (app, contract, case) = second_app(&scene, "mediation", other).await;
    let before = scene.world.hub().hub.ledger.checkpoint().size;
    let flood = at_once(&scene, &scene.app, &scene.contract, &scene.case, 400);
    let behaved = at_once(&scene, &app, &contract, &case, 20);
    let (flood, behaved) = tokio::join!(flood, behaved);
    assert_eq!(count(&behaved, "answered"), 20, "{behaved:?}");
    assert_eq!(count(&flood, "answered"), 20, "{flood:?}");
    assert_eq!(count(&flood, "unrecorded: throttled"), 380, "{flood:?}");
    let grown = scene.world.hub().hub.ledger.checkpoint().size - before;
    assert_eq!(grown, 40, "what is turned away fills no ledger");
    let turned_away: Vec<_> = scene.world.hub().hub.meters.unrecorded_codes().collect();
    assert_eq!(turned_away, [(yiwang_proto::codes::Code::Throttled, 380)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f09_t24_an_emergency_passes_while_others_are_turned_away() {
    let scene = Scene::new(103).await;
    let urgent = |draft: Draft| draft.with("purpose", json!("emergency.life-safety"));
    let (app, contract, case) = second_app(&scene, "emergency-response", urgent).await;
    let hub = Arc::clone(&scene.world.hub().hub);
    let busy = u32::try_from(EXCHANGES_MAX - EMERGENCY_EXCHANGES + 1).unwrap();
    let held = hub.exchanges.try_acquire_many(busy).unwrap();
    let ordinary = at_once(&scene, &scene.app, &scene.contract, &scene.case, 10).await;
    assert_eq!(count(&ordinary, "unrecorded: overloaded"), 10, "{ordinary:?}");
    let emergency = at_once(&scene, &app, &contract, &case, 10).await;
    assert_eq!(count(&emergency, "answered"), 10, "{emergency:?}");
    // The word alone opens nothing: another contract's request that says so is turned away like all others.
    let mut bent = scene.signed().request;
    bent.purpose = contract.text.purpose.clone();
    let (body, digest) = raw::empty_body().encode(scene.world.entropy.as_ref());
    bent.body_digest = digest;
    let bent = scene.app.seal(bent, body);
    assert_eq!(scene.outcome(&bent).await, "unrecorded: overloaded");
    drop(held);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_an_answer_without_end_is_cut_and_recorded() {
    // Eighty mebibytes have to come before the last answer is cut, on a machine that does other things too.
    let mut scene = Scene::bent(104, |draft| draft.limit("deadline_ms", 30_000)).await;
    scene.adapter.take().unwrap().stop().await;
    let cancelled = adapter_that(&scene, Manner::NeverEnds).await;
    let outcomes = at_once(&scene, &scene.app, &scene.contract, &scene.case, 20).await;
    for outcome in &outcomes {
        assert!(["answer_invalid", "provider_busy"].contains(&outcome.as_str()), "{outcomes:?}");
    }
    let link = scene.world.hub().hub.links.of(scene.police.id()).unwrap();
    assert_eq!((link.held(), link.running()), (0, 0), "nothing of it is kept");
    // Or what is left of them would wait at the adapter for credit, each in a place of its own.
    let told = async {
        while cancelled.lock().unwrap().len() < outcomes.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), told).await.is_ok(), "{cancelled:?}");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_gets_its_credit_in_time_and_in_few_frames() {
    for (seed, bytes, chunks) in [(105, CHUNK_MAX, 32), (106, 40_001, 50), (107, 1_000, 2_000)] {
        let mut scene = Scene::bent(seed, |draft| draft.limit("deadline_ms", 10_000)).await;
        scene.adapter.take().unwrap().stop().await;
        let counting = adapter_that_counts(&scene, bytes, chunks).await;
        assert_eq!(scene.outcome(&scene.signed()).await, "answer_invalid", "it came whole");
        let (credits, _link) = counting.await.unwrap();
        let whole = u32::try_from(bytes).unwrap() * chunks;
        assert!(credits <= whole / (WINDOW / 2), "{credits} frames of credit for chunks of {bytes}");
    }
}
