//! Readers that do not read: what waits for them has a budget, and an end.

use crate::{at_once, count, second_app};
use serde_json::json;
use std::sync::Arc;
use yiwang_client::client::Client;
use yiwang_hub::limits::{REPLY_BYTES_EMERGENCY, REPLY_BYTES_MAX, REPLY_BYTES_OF_MEMBER};
use yiwang_hub::replies::{Mark, Replies};
use yiwang_proto::contract::Contract;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{Matter, MemberId};
use yiwang_proto::pb;
use yiwang_tests::contracts::{Draft, draft};
use yiwang_tests::scene::Scene;

/// The code under which an answer that came is kept and not released.
async fn withheld(scene: &Scene, app: &Client) -> String {
    let exchanged = app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    let Some(Kind::Exchange(entry)) = exchanged.receipt.entry.kind else { panic!() };
    assert_eq!(entry.outcome(), pb::Outcome::Withheld);
    assert!(!entry.answer.is_empty());
    entry.code
}

/// What readers of some other members that do not read would have waiting, `bytes` in all.
fn held(replies: &Replies, mut bytes: usize) -> Vec<Mark> {
    let mut marks = Vec::new();
    for name in ["waits-one", "waits-two", "waits-three", "waits-four"] {
        let part = bytes.min(REPLY_BYTES_OF_MEMBER);
        bytes -= part;
        marks.push(replies.begin(&MemberId::parse(name).unwrap(), part, false).unwrap());
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
    let waiting = hub.replies.begin(street, REPLY_BYTES_OF_MEMBER, false).unwrap();
    let turned_away = at_once(&scene, &scene.app, &scene.contract, &scene.case, 10).await;
    assert_eq!(count(&turned_away, "unrecorded: answers_waiting"), 10, "{turned_away:?}");
    assert_eq!(hub.ledger.checkpoint().size, before, "what is turned away fills no ledger");
    let others = at_once(&scene, &app, &other, &case, 10).await;
    assert_eq!(count(&others, "answered"), 10, "{others:?}");
    drop(waiting);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    // An answer that came and has no room is recorded, and not released.
    let waiting = hub.replies.begin(street, REPLY_BYTES_OF_MEMBER - 1, false).unwrap();
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
