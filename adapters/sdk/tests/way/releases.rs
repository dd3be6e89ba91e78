//! What leaves, and what is said of it.

use crate::world::{ADAPTER, NOW, ONE, TWO, World, key};
use serde_json::json;
use yiwang_adapter_sdk::journal::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::tag::TagKey;

#[tokio::test]
async fn only_granted_fields_and_rows_leave_and_only_their_columns_are_read() {
    let world = World::new();
    let adapter = world.open();
    let said = world.look_up(&adapter, TWO).await;
    let answer = &said.answered().answer;
    assert_eq!(
        said.records(),
        json!([{"fields": {"scheme": "minimum-living", "status": "granted"}, "as_of": "2026-11-01T08:00:00+08:00"}]),
        "the second row lies outside the contract's area"
    );
    let mut read: Vec<String> = world.table.columns.lock().unwrap().iter().map(|c| c.to_string()).collect();
    read.sort();
    assert_eq!(read, ["AREA", "SCH", "STA", "UPD"], "fields asked for, row filter, as-of time");
    assert_eq!(answer.rows, 1);
    assert_eq!(answer.answered_at_ms, NOW);
    assert_eq!(answer.mapping_digest, world.source().mapping().digest());
    assert_eq!(answer.subject_tags, [TagKey::new([9; 32]).tag(TWO, &world.case)]);
    assert!(!answer.truncated && answer.withheld.is_empty());
    assert_eq!(adapter.health().answered, 1);
    assert_eq!(adapter.health().unreceipted, 1);
}

#[tokio::test]
async fn an_unknown_person_is_an_answer_without_rows_and_without_tag() {
    let world = World::new();
    let adapter = world.open();
    world.table.rows.lock().unwrap().clear();
    let said = world.look_up(&adapter, ONE).await;
    assert_eq!(said.answered().records(), json!([]));
    assert!(said.answer.subject_tags.is_empty() && said.answer.rows == 0);
}

#[tokio::test]
async fn what_is_verified_once_is_not_asked_for_again() {
    let world = World::new();
    let adapter = world.open();
    for _ in 0..20 {
        world.look_up(&adapter, ONE).await.answered();
    }
    assert_eq!(world.stock.asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_answer_stands_in_the_journal_byte_for_byte_before_it_is_given() {
    let world = World::new();
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(crate::world::APP));
    let said = world.ask_signed(&adapter, &signed, &body).await;
    // The power goes at once: nothing that was not synced survives.
    drop(adapter);
    world.disk.cut_power(|_| 0);
    let records = crate::restarts::records(&world);
    let exchange = records
        .iter()
        .find_map(|record| match &record.kind {
            Some(Kind::Exchange(exchange)) => Some(exchange),
            _ => None,
        })
        .unwrap();
    assert_eq!(exchange.request, *signed.bytes());
    assert_eq!(exchange.answer, said.reply.answer);
    assert_eq!(exchange.provider_tag, TagKey::new([9; 32]).tag(ONE, &world.case).to_vec());
    assert!(exchange.counted);
    let again = SignedStatement::parse(exchange.answer.clone()).unwrap();
    again.verify(payload_type::ANSWER, &key(ADAPTER).public()).unwrap();
    let stored: Vec<u8> =
        world.disk.paths().iter().filter_map(|path| world.disk.content(path)).flatten().collect();
    for hidden in [ONE, "minimum-living"] {
        assert!(
            !stored.windows(hidden.len()).any(|part| part == hidden.as_bytes()),
            "no bodies in the journal"
        );
    }
}
