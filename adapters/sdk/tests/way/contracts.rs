//! Contracts that do not count, and what a contract does not grant.

use crate::world::{
    CONSUMER_ROOT, HOUR, NOW, ONE, PROVIDER_ROOT, STRANGER, World, contract_json, fields, key, sign_contract,
};
use std::collections::BTreeSet;
use yiwang_adapter_sdk::decide::ContractPolicy;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Scalar;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::FieldName;
use yiwang_proto::request::Request;

async fn refused_with(contract: SignedDocument) -> Code {
    let mut world = World::new();
    world.use_contract(contract);
    let adapter = world.open();
    let said = world.look_up(&adapter, ONE).await;
    assert_eq!(world.touched(), 0);
    said.denied()
}

async fn refused(change: impl FnOnce(&mut Request)) -> Code {
    let world = World::new();
    let adapter = world.open();
    let (mut request, body) = world.request(ONE);
    change(&mut request);
    let said = world.ask(&adapter, &request, &body).await;
    assert_eq!(world.touched(), 0);
    said.denied()
}

fn changed(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let mut json = contract_json();
    change(&mut json);
    json
}

const BOTH: &[u8] = &[PROVIDER_ROOT, CONSUMER_ROOT];

#[tokio::test]
async fn an_unknown_contract_is_none() {
    assert_eq!(refused(|request| request.contract_digest = [1; 32]).await, Code::NoContract);
}

#[tokio::test]
async fn a_contract_under_another_provider_root_is_refused_even_if_both_its_sides_signed() {
    let json = changed(|json| json["provider"]["root"] = key(STRANGER).public().to_base64().into());
    assert_eq!(refused_with(sign_contract(&json, &[STRANGER, CONSUMER_ROOT])).await, Code::ContractInvalid);
}

#[tokio::test]
async fn a_contract_of_another_provider_member_is_refused() {
    let json = changed(|json| json["provider"]["member"] = "police".into());
    assert_eq!(refused_with(sign_contract(&json, BOTH)).await, Code::ContractInvalid);
}

#[tokio::test]
async fn t06_a_contract_that_one_side_signed_is_refused() {
    assert_eq!(refused_with(sign_contract(&contract_json(), &[CONSUMER_ROOT])).await, Code::ContractInvalid);
    assert_eq!(refused_with(sign_contract(&contract_json(), &[PROVIDER_ROOT])).await, Code::ContractInvalid);
    let twice = sign_contract(&contract_json(), &[CONSUMER_ROOT, CONSUMER_ROOT]);
    assert_eq!(refused_with(twice).await, Code::ContractInvalid);
}

#[tokio::test]
async fn t06_a_contract_that_was_changed_after_signing_is_refused() {
    let widened = changed(|json| json["limits"]["rows"] = 1000.into());
    let widened = serde_json::to_vec_pretty(&widened).unwrap();
    let signed = sign_contract(&contract_json(), BOTH);
    let mut envelope: serde_json::Value = serde_json::from_slice(signed.bytes()).unwrap();
    envelope["payload"] = yiwang_proto::document::base64_of(&widened).into();
    let forged = SignedDocument::parse(serde_json::to_vec(&envelope).unwrap().into(), 1 << 16).unwrap();
    // The request names the changed text.
    assert_eq!(refused_with(forged.clone()).await, Code::ContractInvalid);
    // The hub hands the changed text over for the one that the request names.
    let world = World::new();
    world.stock.documents.lock().unwrap().insert(world.contract.digest(), forged.bytes().clone());
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::NoContract);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn a_contract_that_the_catalogue_cannot_carry_is_refused() {
    let json = changed(|json| json["fields"] = serde_json::json!(["scheme", "risk_score"]));
    assert_eq!(refused_with(sign_contract(&json, BOTH)).await, Code::ContractInvalid);
}

#[tokio::test]
async fn a_contract_whose_time_is_over_or_has_not_begun_is_refused() {
    let json = changed(|json| json["valid_until"] = "2026-06-01T00:00:00Z".into());
    assert_eq!(refused_with(sign_contract(&json, BOTH)).await, Code::ContractExpired);
    let json = changed(|json| json["valid_from"] = "2026-12-01T00:00:00Z".into());
    assert_eq!(refused_with(sign_contract(&json, BOTH)).await, Code::ContractNotYetValid);
}

#[tokio::test]
async fn only_pinned_contracts_count_where_the_department_pins_them() {
    let mut world = World::new();
    world.policy = ContractPolicy::Only(BTreeSet::from([[3; 32]]));
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::NoContract);
    drop(adapter);
    world.policy = ContractPolicy::Only(BTreeSet::from([world.contract.digest()]));
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
}

#[tokio::test]
async fn an_older_version_is_refused_once_a_newer_one_is_in_force() {
    let mut world = World::new();
    let adapter = world.open();
    let old = world.contract.clone();
    let later = changed(|json| {
        json["version"] = 3.into();
        json["valid_from"] = "2026-11-18T12:00:00Z".into();
    });
    let newer = sign_contract(&later, BOTH);
    let other_text = sign_contract(&changed(|json| json["scenario"] = "something else".into()), BOTH);
    world.look_up(&adapter, ONE).await.answered();
    world.use_contract(other_text);
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::ContractInvalid, "one version, two texts");
    // Seen early, the newer version does not end the present one.
    world.use_contract(newer.clone());
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::ContractNotYetValid);
    world.use_contract(old.clone());
    world.look_up(&adapter, ONE).await.answered();
    let begins = yiwang_proto::time::parse_rfc3339("2026-11-18T12:00:00Z").unwrap();
    assert!(begins - NOW < 24 * HOUR, "the delegations still hold then");
    world.clock.set_ms(begins + 1);
    world.use_contract(newer);
    world.look_up(&adapter, ONE).await.answered();
    world.use_contract(old.clone());
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::NoContract);
    drop(adapter);
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::NoContract, "after a restart as well");
}

#[tokio::test]
async fn what_the_contract_does_not_grant_is_refused() {
    assert_eq!(refused(|r| r.fields = fields(&["household", "status"])).await, Code::FieldNotGranted);
    assert_eq!(
        refused(|r| r.purpose = "public-security.investigation".parse().unwrap()).await,
        Code::PurposeMismatch
    );
    assert_eq!(refused(|r| r.operation = "benefit.search".parse().unwrap()).await, Code::OperationNotGranted);
    assert_eq!(refused(|r| r.record = "Person".parse().unwrap()).await, Code::OperationNotGranted);
    assert_eq!(refused(|r| r.consumer = "county".parse().unwrap()).await, Code::ConsumerMismatch);
    assert_eq!(refused(|r| r.contract = "another-contract".parse().unwrap()).await, Code::NoContract);
    assert_eq!(refused(|r| r.provider = "police".parse().unwrap()).await, Code::NoContract);
    assert_eq!(refused(|r| r.fields = fields(&["amount_band", "status"])).await, Code::SealingRequired);
}

#[tokio::test]
async fn arguments_outside_the_rows_of_the_contract_are_refused() {
    let world = World::new();
    let adapter = world.open();
    let area = |code: &str| {
        Arguments::from([(FieldName::parse("area_code").unwrap(), Scalar::Text(code.to_owned()))])
    };
    let (request, body) = world.request_with(ONE, area("980201"));
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::RowOutsideFilter);
    assert_eq!(world.touched(), 0);
    let (request, body) = world.request_with(ONE, area("980101"));
    world.ask(&adapter, &request, &body).await.answered();
    let unknown = Arguments::from([(FieldName::parse("name").unwrap(), Scalar::Text("x".to_owned()))]);
    let (request, body) = world.request_with(ONE, unknown);
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::ArgumentInvalid);
}

#[tokio::test]
async fn the_ceilings_of_the_contract_hold_also_after_a_restart() {
    let mut world = World::new();
    let json = changed(|json| json["limits"]["per_app_per_minute"] = 2.into());
    world.use_contract(sign_contract(&json, BOTH));
    let adapter = world.open();
    world.look_up(&adapter, ONE).await.answered();
    world.look_up(&adapter, ONE).await.answered();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::RateExceeded);
    drop(adapter);
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::RateExceeded);
    world.clock.advance_ms(60_000);
    world.look_up(&adapter, ONE).await.answered();
    drop(adapter);
    let json = changed(|json| json["limits"]["per_officer_per_day"] = 3.into());
    let mut json = json;
    json["version"] = 3.into();
    world.use_contract(sign_contract(&json, BOTH));
    let adapter = world.open();
    assert_eq!(world.look_up(&adapter, ONE).await.denied(), Code::RateExceeded, "five asked today already");
}
