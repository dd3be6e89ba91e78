//! Who asks: keys, delegations, signatures.

use crate::world::{APP, CONSUMER_ROOT, HOUR, NOW, ONE, STRANGER, World, delegate, key, member};
use bytes::Bytes;
use prost::Message as _;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::AppId;
use yiwang_proto::pb;

async fn refused_with(delegation: SignedDocument, signer: u8) -> Code {
    let mut world = World::new();
    world.use_delegation(delegation);
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let said = world.ask_signed(&adapter, &request.sign(&key(signer)), &body).await;
    assert_eq!(world.touched(), 0);
    said.denied()
}

#[tokio::test]
async fn t14_a_hub_that_enrols_its_own_key_as_the_consumer_gains_nothing() {
    // The hub makes a root of its own for the consumer's name, and everything under it.
    let false_app = delegate(STRANGER, "street-office", Role::App, "assistance-desk", STRANGER);
    assert_eq!(refused_with(false_app, STRANGER).await, Code::DelegationInvalid);
}

#[tokio::test]
async fn delegations_that_do_not_fit_are_refused() {
    let under = |name: &str, role, app: &str| delegate(CONSUMER_ROOT, name, role, app, APP);
    let adapter_role = under("street-office", Role::Adapter, "assistance-desk");
    assert_eq!(refused_with(adapter_role, APP).await, Code::DelegationInvalid);
    let other_member = under("county", Role::App, "assistance-desk");
    assert_eq!(refused_with(other_member, APP).await, Code::DelegationInvalid);
    let other_app = under("street-office", Role::App, "other-desk");
    assert_eq!(refused_with(other_app, APP).await, Code::DelegationInvalid);
    let app = AppId::parse("assistance-desk").unwrap();
    for (from, until) in [(NOW - 2 * HOUR, NOW - HOUR), (NOW + HOUR, NOW + 2 * HOUR)] {
        let (root, office) = (key(CONSUMER_ROOT), member("street-office"));
        let lapsed = Delegation::sign(&root, &office, Role::App, &app, key(APP).public(), 1, from, until);
        assert_eq!(refused_with(lapsed, APP).await, Code::DelegationInvalid);
    }
}

#[tokio::test]
async fn a_delegation_that_the_root_did_not_sign_is_refused() {
    let honest = delegate(CONSUMER_ROOT, "street-office", Role::App, "assistance-desk", STRANGER);
    let payload = honest.unverified_payload().clone();
    let forged = SignedDocument::sign(payload_type::DELEGATION, &payload, &[&key(STRANGER)]);
    assert_eq!(refused_with(forged, STRANGER).await, Code::DelegationInvalid);
}

#[tokio::test]
async fn a_key_without_delegation_is_unknown() {
    let world = World::new();
    let adapter = world.open();
    let (mut request, body) = world.request(ONE);
    request.delegation_digest = [1; 32];
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::KeyUnknown);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn a_signature_of_another_key_or_kind_is_refused_and_uses_no_id_up() {
    let world = World::new();
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let wrong = request.sign(&key(STRANGER));
    assert_eq!(world.ask_signed(&adapter, &wrong, &body).await.denied(), Code::SignatureInvalid);
    // The payload signed by the right key, but as another kind of statement.
    let good = request.sign(&key(APP));
    let other_kind = SignedStatement::sign(payload_type::CASE, good.unverified_payload().to_vec(), &key(APP));
    let mut crossed = pb::Envelope::decode(other_kind.bytes().clone()).unwrap();
    crossed.payload_type = payload_type::REQUEST.to_owned();
    let crossed = SignedStatement::parse(Bytes::from(crossed.encode_to_vec())).unwrap();
    assert_eq!(world.ask_signed(&adapter, &crossed, &body).await.denied(), Code::SignatureInvalid);
    assert_eq!(world.touched(), 0);
    world.ask_signed(&adapter, &good, &body).await.answered();
}

#[tokio::test]
async fn no_altered_byte_of_the_statement_passes() {
    let world = World::new();
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let good = request.sign(&key(APP)).bytes().to_vec();
    for at in 0..good.len() {
        let mut altered = good.clone();
        altered[at] ^= 1;
        let reply = adapter.handle(Bytes::from(altered), body.clone(), world.stock.as_ref()).await;
        assert!(reply.body.is_empty(), "byte {at}");
    }
    assert_eq!(world.touched(), 0, "no source was asked for any of them");
    let health = adapter.health();
    assert_eq!(health.answered, 0);
    assert!(health.unsigned > 0 && !health.denied.is_empty());
    world.ask(&adapter, &request, &body).await.answered();
}

#[tokio::test]
async fn no_altered_byte_of_the_body_passes() {
    let world = World::new();
    let adapter = world.open();
    let (_, body) = world.request(ONE);
    for at in 0..body.len() {
        let (mut request, fresh) = world.request(ONE);
        let mut altered = fresh.to_vec();
        altered[at] ^= 1;
        request.retry_of = None;
        let said = world.ask(&adapter, &request, &Bytes::from(altered)).await;
        assert_eq!(said.denied(), Code::Malformed, "byte {at}");
    }
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_statement_get_no_signature() {
    let world = World::new();
    let adapter = world.open();
    let (request, body) = world.request(ONE);
    let case = world.case_act(crate::world::open_act(), &[ONE]).sign(&key(APP));
    // A request with a signature that nobody will verify is no better.
    let mut noted = request.sign(&key(APP)).envelope().clone();
    noted.signatures.push(pb::Signature { sig: vec![7; 64].into(), keyid: String::new() });
    let noted = Bytes::from(noted.encode_to_vec());
    for bytes in [Bytes::new(), Bytes::from_static(b"\xff\xff"), body.clone(), case.bytes().clone(), noted] {
        let reply = adapter.handle(bytes, body.clone(), world.stock.as_ref()).await;
        assert!(reply.answer.is_empty() && reply.body.is_empty());
    }
    assert_eq!(adapter.health().unsigned, 5);
    world.ask(&adapter, &request, &body).await.answered();
}
