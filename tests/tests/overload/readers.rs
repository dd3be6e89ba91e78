//! Readers that do not read: what waits for them has a budget, and an end.

use crate::{at_once, count, second_app};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, SignedRequest};
use yiwang_hub::context::TestSwitches;
use yiwang_hub::limits::{
    REPLY_BYTES_EMERGENCY, REPLY_BYTES_MAX, REPLY_BYTES_OF_MEMBER, REPLY_BYTES_PRESSED, REPLY_LOOK,
    REPLY_STALLED, REPLY_STALLED_PRESSED,
};
use yiwang_hub::replies::{Mark, Replies};
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::contract::Contract;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{CaseId, Matter, MemberId};
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::raw::channel_that_takes;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

/// The code under which an answer that came is kept and not released.
async fn withheld(scene: &Scene, app: &Client) -> String {
    let exchanged = app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    let Some(Kind::Exchange(entry)) = exchanged.receipt.entry.kind else { panic!() };
    assert_eq!(entry.outcome(), pb::Outcome::Withheld);
    assert!(!entry.answer.is_empty());
    entry.code
}

fn police() -> MemberId {
    MemberId::parse("police").unwrap()
}

/// What readers of some other members that do not read would have waiting, `bytes` in all.
fn held(replies: &Replies, mut bytes: usize) -> Vec<Mark> {
    let mut marks = Vec::new();
    for name in ["waits-one", "waits-two", "waits-three", "waits-four"] {
        let part = bytes.min(REPLY_BYTES_OF_MEMBER);
        bytes -= part;
        marks.push(replies.begin(&MemberId::parse(name).unwrap(), &police(), part, false).unwrap());
    }
    marks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_answers_that_wait_for_a_reader_have_a_budget_and_harm_no_other_member() {
    let scene = Scene::new(105).await;
    let county = scene.world.member("county").await;
    let text = draft(&scene.police, &county, "police-county-person", scene.world.clock.now_ms());
    let other = Contract::open(&scene.world.agree(&text, &scene.police, &county).await).unwrap();
    let app = county.app(&scene.world, "assistance-desk").await;
    let matter = Matter::parse("social-assistance").unwrap();
    let (case, _) = app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    let hub = Arc::clone(&scene.world.hub().hub);
    let before = hub.ledger.checkpoint().size;
    let street = scene.street.id();
    // What a reader that does not read would have waiting.
    let waiting = hub.replies.begin(street, &police(), REPLY_BYTES_OF_MEMBER, false).unwrap();
    let turned_away = at_once(&scene, &scene.app, &scene.contract, &scene.case, 10).await;
    assert_eq!(count(&turned_away, "unrecorded: answers_waiting"), 10, "{turned_away:?}");
    assert_eq!(hub.ledger.checkpoint().size, before, "what is turned away fills no ledger");
    let others = at_once(&scene, &app, &other, &case, 10).await;
    assert_eq!(count(&others, "answered"), 10, "{others:?}");
    drop(waiting);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // An answer that came and has no room is recorded, and not released.
    let waiting = hub.replies.begin(street, &police(), REPLY_BYTES_OF_MEMBER - 1, false).unwrap();
    assert_eq!(withheld(&scene, &scene.app).await, "answers_waiting");
    drop((waiting, hub));
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_answers_let_in_before_the_budget_was_full_take_nothing_from_emergencies() {
    let scene = Scene::new(106).await;
    let urgent = |draft: Draft| draft.with("purpose", json!("emergency.life-safety"));
    let (app, contract, case) = second_app(&scene, "emergency-response", urgent).await;
    let hub = Arc::clone(&scene.world.hub().hub);
    // The gate lets an ordinary one in: there is a byte of room. Its answer is larger.
    let waiting = held(&hub.replies, REPLY_BYTES_MAX - REPLY_BYTES_EMERGENCY - 1);
    assert_eq!(withheld(&scene, &scene.app).await, "answers_waiting");
    let emergency = at_once(&scene, &app, &contract, &case, 10).await;
    assert_eq!(count(&emergency, "answered"), 10, "{emergency:?}");
    drop((waiting, hub));
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Waits, by the machine's clock, until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came: {what}");
}

/// Asks on a connection of its own that answers pings and never opens a window, until the answer waits for it.
async fn reads_nothing(scene: &Scene, signed: &SignedRequest) -> JoinHandle<bool> {
    // After a jump of the clock standings are old for a moment.
    until("an honest reader is served", async || scene.outcome(&scene.signed()).await == "answered").await;
    let replies = &scene.world.hub().hub.replies;
    until("it has its answer", async || replies.under_way() == 0).await;
    let channel = channel_that_takes(&scene.world, &scene.street, 0).await;
    let (mut client, message) = (ExchangeServiceClient::new(channel), signed.message.clone());
    let asked = tokio::spawn(async move { client.exchange(message).await.is_ok() });
    until("its answer waits", async || replies.on_connections() == 1).await;
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_a_reader_that_takes_nothing_is_dropped_and_sooner_when_others_need_the_room() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(107, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    let hub = Arc::clone(&scene.world.hub().hub);
    let advance = |by: Duration| clock.advance_ms(u64::try_from(by.as_millis()).unwrap());
    let second = Duration::from_secs(1);

    let asked = reads_nothing(&scene, &scene.signed()).await;
    advance(REPLY_STALLED - second);
    tokio::time::sleep(REPLY_LOOK * 2).await;
    assert_eq!((hub.replies.under_way(), asked.is_finished()), (1, false), "it has its time");
    advance(second);
    until("it is dropped", async || hub.replies.under_way() == 0).await;
    assert_eq!((hub.replies.waiting(), asked.await.unwrap()), (0, false));

    let asked = reads_nothing(&scene, &scene.signed()).await;
    let waiting = held(&hub.replies, REPLY_BYTES_PRESSED);
    advance(REPLY_STALLED_PRESSED - second);
    tokio::time::sleep(REPLY_LOOK * 2).await;
    assert!(!asked.is_finished());
    advance(second);
    until("it is dropped", async || hub.replies.under_way() == waiting.len()).await;
    assert!(!asked.await.unwrap());
    drop((waiting, hub));
    until("others are served", async || scene.outcome(&scene.signed()).await == "answered").await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_the_receipts_of_refusals_wait_for_their_reader_like_answers() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(108, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    let hub = Arc::clone(&scene.world.hub().hub);
    let nowhere = CaseId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap();
    let refused = scene.app.sign(&scene.contract, &Ask { case: nowhere, ..scene.ask() });
    let asked = reads_nothing(&scene, &refused).await;
    assert!(hub.replies.waiting() > refused.message.request.len(), "its entry holds the request");
    clock.advance_ms(u64::try_from(REPLY_STALLED.as_millis()).unwrap());
    until("it is dropped", async || hub.replies.under_way() == 0).await;
    assert_eq!((hub.replies.waiting(), asked.await.unwrap()), (0, false));
}
