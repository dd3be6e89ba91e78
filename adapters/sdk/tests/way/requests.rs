//! Replays, times, and failures of the source.

use crate::world::{APP, CONSUMER_ROOT, HOUR, NOW, ONE, PROVIDER_ROOT, TWO, World, key, sign_contract};
use bytes::Bytes;
use prost::Message as _;
use std::sync::atomic::Ordering;
use yiwang_proto::codes::Code;
use yiwang_proto::pb;

#[tokio::test]
async fn a_request_is_answered_once_whatever_its_envelope_or_payload() {
    let world = World::new();
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    world.ask_signed(&adapter, &signed, &body).await.answered();
    assert_eq!(world.ask_signed(&adapter, &signed, &body).await.denied(), Code::Replayed);
    // The same statement in another envelope: without the hint of the key.
    let mut envelope = pb::Envelope::decode(signed.bytes().clone()).unwrap();
    envelope.signatures[0].keyid.clear();
    let other = Bytes::from(envelope.encode_to_vec());
    let other = yiwang_proto::envelope::SignedStatement::parse(other).unwrap();
    assert_eq!(world.ask_signed(&adapter, &other, &body).await.denied(), Code::Replayed);
    // Another statement under the same id.
    let (mut another, body) = world.request(TWO);
    another.id = request.id.clone();
    another.expires_at_ms += 30_000;
    assert_eq!(world.ask(&adapter, &another, &body).await.denied(), Code::Replayed);
    assert_eq!(world.touched(), 1);
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let adapter = world.open();
    assert_eq!(world.ask_signed(&adapter, &signed, &body).await.denied(), Code::Replayed, "after a restart");
    world.clock.advance_ms(10_000);
    assert_eq!(world.ask_signed(&adapter, &signed, &body).await.denied(), Code::StatementExpired);
    assert_eq!(world.touched(), 1);
}

#[tokio::test]
async fn t11_of_a_thousand_copies_at_once_one_is_answered() {
    let world = World::new();
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let copies = (0..1000).map(|_| world.ask_signed(&adapter, &signed, &body));
    let said = futures_util::future::join_all(copies).await;
    let answered = said.iter().filter(|said| !said.body.is_empty()).count();
    assert_eq!((answered, world.touched()), (1, 1));
}

#[tokio::test]
async fn a_refused_request_uses_its_id_up() {
    let world = World::new();
    let adapter = world.open();
    let (mut request, body) = world.request(ONE);
    request.purpose = "mediation.preparation".parse().unwrap();
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::PurposeMismatch);
    let (mut corrected, body) = world.request(ONE);
    corrected.id = request.id.clone();
    assert_eq!(world.ask(&adapter, &corrected, &body).await.denied(), Code::Replayed);
    corrected.id = yiwang_proto::ids::RequestId::new(NOW, world.entropy.as_ref());
    corrected.retry_of = Some(request.id);
    world.ask(&adapter, &corrected, &body).await.answered();
}

#[tokio::test]
async fn t25_statements_from_outside_their_time_are_refused() {
    let world = World::new();
    let adapter = world.open();
    let (mut request, body) = world.request(ONE);
    (request.issued_at_ms, request.expires_at_ms) = (NOW - 60_000, NOW);
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::StatementExpired);
    (request.issued_at_ms, request.expires_at_ms) = (NOW + 30_001, NOW + 60_000);
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::ClockSkew);
    assert_eq!(world.touched(), 0);
    (request.issued_at_ms, request.expires_at_ms) = (NOW + 30_000, NOW + 60_000);
    world.ask(&adapter, &request, &body).await.answered();
}

#[tokio::test]
async fn t25_a_clock_that_goes_back_serves_nothing_until_it_is_right_also_after_a_restart() {
    let world = World::new();
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    // A day back: a contract or delegation that is over would seem to hold again.
    world.clock.set_ms(NOW - 24 * HOUR);
    let said = world.look_up(&adapter, ONE).await;
    assert_eq!(said.failed(), Code::ClockSkew);
    assert!(said.answer.answered_at_ms >= NOW, "its time never goes back");
    drop(adapter);
    world.clock.set_ms(NOW - 60_000);
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.failed(), Code::ClockSkew);
    // Within the tolerance the highest time counts, not the clock.
    world.clock.set_ms(NOW - 20_000);
    let (mut request, body) = world.request(ONE);
    request.expires_at_ms = NOW - 10;
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::StatementExpired);
    world.clock.set_ms(NOW);
    world.look_up(&adapter, ONE).await.answered();
}

#[tokio::test]
async fn a_failing_source_is_a_signed_failure_that_tells_nothing_of_it() {
    let world = World::new();
    let adapter = world.open();
    world.table.broken.store(true, Ordering::SeqCst);
    let said = world.look_up(&adapter, ONE).await;
    assert_eq!(said.failed(), Code::SourceError);
    assert!(!said.answer.clause.contains("BENEFIT"), "{}", said.answer.clause);
    assert_eq!(adapter.health().failed["source_error"], 1);
}

#[tokio::test]
async fn a_slow_source_is_given_up_at_the_deadline() {
    let mut world = World::new();
    let mut json = crate::world::contract_json();
    json["limits"]["deadline_ms"] = 50.into();
    world.use_contract(sign_contract(&json, &[PROVIDER_ROOT, CONSUMER_ROOT]));
    let adapter = world.open();
    *world.table.gate.lock().unwrap() = Some(std::sync::Arc::new(tokio::sync::Notify::new()));
    assert_eq!(world.look_up(&adapter, ONE).await.failed(), Code::DeadlineExceeded);
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    let late = adapter.handle_within(signed.bytes().clone(), body, world.stock.as_ref(), 0).await;
    let late = crate::world::said(signed.unverified_payload(), late);
    assert_eq!(late.failed(), Code::DeadlineExceeded);
    assert_eq!(world.touched(), 1, "nobody waits any more: the source is not asked");
}
