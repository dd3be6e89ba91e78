//! Sealed bodies, and a hub that would like to read them.

use crate::officers::{OFFICER, officer_delegation, sign_as_officer};
use crate::world::{
    ADAPTER, APP, CONSUMER_ROOT, ONE, PROVIDER_ROOT, STRANGER, Said, TWO, World, delegate, fields, key,
};
use bytes::Bytes;
use std::sync::atomic::Ordering;
use yiwang_adapter_sdk::adapter::{Adapter, AdapterError};
use yiwang_proto::answer::Verdict;
use yiwang_proto::body::AnswerBody;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::request::Request;
use yiwang_proto::sealing::{Direction, Opener, Recipient, Sealed, seal};

/// Seeds of the sealing keys of adapter and app.
pub const ADAPTER_SEALING: u8 = 30;
pub const APP_SEALING: u8 = 31;

pub fn adapter_sealing() -> SignedDocument {
    delegate(PROVIDER_ROOT, "civil-affairs", Role::Sealing, "main", ADAPTER_SEALING)
}

pub fn app_sealing() -> SignedDocument {
    delegate(CONSUMER_ROOT, "street-office", Role::Sealing, "assistance-desk", APP_SEALING)
}

/// An adapter with its key; the app's delegation and the officer's are published.
pub fn open(world: &World) -> Adapter {
    world.stock.publish(&app_sealing());
    world.stock.publish(&officer_delegation());
    world.open().with_sealing(key(ADAPTER_SEALING), adapter_sealing()).unwrap()
}

fn to(document: &SignedDocument) -> Recipient {
    Recipient::from(&Delegation::open(document).unwrap())
}

/// A request that is to be answered sealed, with its plain body.
pub fn sealed_request(world: &World, names: &[&str]) -> (Request, Bytes) {
    let (mut request, body) = world.request(ONE);
    request.fields = fields(names);
    request.sealing = Some(app_sealing().digest());
    (request, body)
}

fn seal_to(document: &SignedDocument, statement: &SignedStatement, body: &Bytes, world: &World) -> Bytes {
    seal(Direction::Request, &to(document), &statement.digest(), body, world.entropy.as_ref()).unwrap()
}

/// Seals and asks.
pub async fn ask(world: &World, adapter: &Adapter, signed: &SignedStatement, body: &Bytes) -> Said {
    let sealed = seal_to(&adapter_sealing(), signed, body, world);
    world.ask_signed(adapter, signed, &sealed).await
}

/// What the app reads: the answer's body opened with its key, beside the signed statement.
pub fn opened(said: &Said) -> serde_json::Value {
    let statement = SignedStatement::parse(said.reply.answer.clone()).unwrap();
    let opener = Opener::new(key(APP_SEALING), app_sealing().digest());
    let plain = opener.open(Direction::Answer, &statement.digest(), &said.reply.body).unwrap();
    let body = AnswerBody::open(&plain, &said.answer.body_digest.unwrap()).unwrap();
    serde_json::from_slice(&body.records).unwrap()
}

#[tokio::test]
async fn class_3_comes_sealed_for_an_officer_who_signed() {
    let world = World::new();
    let adapter = open(&world);
    let (mut request, body) = sealed_request(&world, &["amount_band", "scheme"]);
    let signed = sign_as_officer(&mut request);
    let said = ask(&world, &adapter, &signed, &body).await;
    assert_eq!(said.answered().answer.sealed_to, Some(app_sealing().digest()));
    assert_eq!(opened(&said)[0]["fields"]["amount_band"], "B");
    let shown = Sealed::parse(&said.body).unwrap();
    assert_eq!(shown.sealed_to, app_sealing().digest());
    assert!(!said.body.windows(14).any(|window| window == b"minimum-living"), "the body is not readable");
    // Class 2 may come sealed as well, without any officer.
    let (request, body) = sealed_request(&world, &["scheme"]);
    let said = ask(&world, &adapter, &request.sign(&key(APP)), &body).await;
    assert_eq!(opened(said.answered())[0]["fields"]["scheme"], "minimum-living");
}

#[tokio::test]
async fn class_3_without_the_officers_own_signature_is_refused() {
    let world = World::new();
    let adapter = open(&world);
    let (request, body) = sealed_request(&world, &["amount_band"]);
    let said = ask(&world, &adapter, &request.sign(&key(APP)), &body).await;
    assert_eq!(said.denied(), Code::OfficerSignatureRequired);
    // The statement asks for the officer's signature, and only the app signed.
    let (mut request, body) = sealed_request(&world, &["amount_band"]);
    sign_as_officer(&mut request);
    let said = ask(&world, &adapter, &request.sign(&key(APP)), &body).await;
    assert_eq!(said.denied(), Code::OfficerInvalid);
    for signer in [STRANGER, APP, ADAPTER] {
        let (mut request, body) = sealed_request(&world, &["amount_band"]);
        sign_as_officer(&mut request);
        let signed = request.sign_with_officer(&key(APP), &key(signer));
        assert_eq!(ask(&world, &adapter, &signed, &body).await.denied(), Code::OfficerInvalid);
    }
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn t12_an_open_body_where_it_must_be_sealed_is_refused_and_the_reverse() {
    let world = World::new();
    let adapter = open(&world);
    // The statement says open: class 3 is refused, whoever signed.
    let (mut request, body) = world.request(ONE);
    request.fields = fields(&["amount_band"]);
    let signed = sign_as_officer(&mut request);
    assert_eq!(world.ask_signed(&adapter, &signed, &body).await.denied(), Code::SealingRequired);
    // The statement says sealed: a hub that brings a plain body brings none.
    let (request, body) = sealed_request(&world, &["scheme"]);
    assert_eq!(world.ask(&adapter, &request, &body).await.denied(), Code::Malformed);
    // The statement says open: a sealed body is none.
    let (request, body) = world.request(ONE);
    let signed = request.sign(&key(APP));
    assert_eq!(ask(&world, &adapter, &signed, &body).await.denied(), Code::Malformed);
    // A hub that takes the mark off the statement breaks its signature.
    let (request, _) = sealed_request(&world, &["scheme"]);
    let good = request.sign(&key(APP));
    let mut stripped = Request { sealing: None, ..request }.sign(&key(APP)).envelope().clone();
    stripped.signatures = good.envelope().signatures.clone();
    let stripped = SignedStatement::parse(prost::Message::encode_to_vec(&stripped).into()).unwrap();
    let (_, body) = world.request(ONE);
    assert_eq!(world.ask_signed(&adapter, &stripped, &body).await.denied(), Code::SignatureInvalid);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn t12_no_altered_byte_of_a_sealed_body_passes() {
    let world = World::new();
    let adapter = open(&world);
    let (request, body) = sealed_request(&world, &["scheme"]);
    let length = seal_to(&adapter_sealing(), &request.sign(&key(APP)), &body, &world).len();
    for at in 0..length {
        let (request, body) = sealed_request(&world, &["scheme"]);
        let signed = request.sign(&key(APP));
        let mut altered = seal_to(&adapter_sealing(), &signed, &body, &world).to_vec();
        altered[at] ^= 1;
        let said = world.ask_signed(&adapter, &signed, &altered.into()).await;
        assert!(matches!(said.answer.verdict, Verdict::Denied(_)), "byte {at}");
    }
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn a_body_for_another_key_or_under_another_statement_is_refused() {
    let world = World::new();
    let adapter = open(&world);
    let other = delegate(PROVIDER_ROOT, "civil-affairs", Role::Sealing, "main", STRANGER);
    let (request, body) = sealed_request(&world, &["scheme"]);
    let signed = request.sign(&key(APP));
    let sealed = seal_to(&other, &signed, &body, &world);
    assert_eq!(world.ask_signed(&adapter, &signed, &sealed).await.denied(), Code::SealingKeyUnknown);
    // Sealed for the adapter, beside another statement of the same app with the same body.
    let (request, body) = sealed_request(&world, &["scheme"]);
    let (mut second, _) = sealed_request(&world, &["status"]);
    second.body_digest = request.body_digest;
    let sealed = seal_to(&adapter_sealing(), &request.sign(&key(APP)), &body, &world);
    assert_eq!(world.ask_signed(&adapter, &second.sign(&key(APP)), &sealed).await.denied(), Code::Malformed);
    // Well sealed, but not the body that the statement names.
    let (request, _) = sealed_request(&world, &["scheme"]);
    let (_, another) = world.request(TWO);
    let signed = request.sign(&key(APP));
    assert_eq!(ask(&world, &adapter, &signed, &another).await.denied(), Code::Malformed);
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn a_hub_that_puts_its_own_sealing_key_in_the_consumers_place_gets_nothing() {
    let world = World::new();
    let adapter = open(&world);
    let bent = |digest| {
        let (mut request, body) = sealed_request(&world, &["scheme"]);
        request.sealing = Some(digest);
        (request.sign(&key(APP)), body)
    };
    // The digest is in the signed statement: another document under it is none.
    let hubs = delegate(STRANGER, "street-office", Role::Sealing, "assistance-desk", STRANGER);
    world.stock.documents.lock().unwrap().insert([9; 32], hubs.bytes().clone());
    let (signed, body) = bent([9; 32]);
    assert_eq!(ask(&world, &adapter, &signed, &body).await.denied(), Code::KeyUnknown);
    // Keys that are not the asking app's for sealing, under the consumer's root in the contract: refused even
    // where the app itself names them.
    for document in [
        hubs,
        delegate(PROVIDER_ROOT, "street-office", Role::Sealing, "assistance-desk", STRANGER),
        delegate(CONSUMER_ROOT, "street-office", Role::Sealing, "other-desk", STRANGER),
        delegate(CONSUMER_ROOT, "county", Role::Sealing, "assistance-desk", STRANGER),
        delegate(CONSUMER_ROOT, "street-office", Role::App, "assistance-desk", STRANGER),
    ] {
        world.stock.publish(&document);
        let (signed, body) = bent(document.digest());
        assert_eq!(ask(&world, &adapter, &signed, &body).await.denied(), Code::SealingKeyUnknown);
    }
    assert_eq!(world.touched(), 0);
}

#[tokio::test]
async fn an_adapter_without_a_key_serves_open_bodies_only() {
    let world = World::new();
    world.stock.publish(&app_sealing());
    let adapter = world.open();
    let (request, body) = sealed_request(&world, &["scheme"]);
    let signed = request.sign(&key(APP));
    assert_eq!(ask(&world, &adapter, &signed, &body).await.denied(), Code::SealingKeyUnknown);
    world.look_up(&adapter, ONE).await.answered();
    for document in [
        delegate(PROVIDER_ROOT, "civil-affairs", Role::Adapter, "main", ADAPTER_SEALING),
        delegate(PROVIDER_ROOT, "civil-affairs", Role::Sealing, "other", ADAPTER_SEALING),
        delegate(PROVIDER_ROOT, "civil-affairs", Role::Sealing, "main", STRANGER),
    ] {
        let refused = world.open_again().with_sealing(key(ADAPTER_SEALING), document);
        assert!(matches!(refused, Err(AdapterError::NotFor(_))));
    }
    let foreign = delegate(CONSUMER_ROOT, "civil-affairs", Role::Sealing, "main", ADAPTER_SEALING);
    assert!(world.open_again().with_sealing(key(ADAPTER_SEALING), foreign).is_err());
}

#[tokio::test]
async fn a_class_that_only_the_mapping_raises_needs_sealing_and_signature_too() {
    let mut world = World::new();
    world.mapping = world.mapping.replace(
        r#"status = { from = "STA", type = "string" }"#,
        r#"status = { from = "STA", type = "string", class = 3 }"#,
    );
    let adapter = open(&world);
    let reason = |said: &Said| said.answered().answer.withheld.first().map(|(_, why)| why.clone());
    let said = world.look_up(&adapter, ONE).await;
    assert_eq!(reason(&said).as_deref(), Some("class-3:sealing_required"));
    let (request, body) = sealed_request(&world, &["scheme", "status"]);
    let said = ask(&world, &adapter, &request.sign(&key(APP)), &body).await;
    assert_eq!(reason(&said).as_deref(), Some("class-3:officer_signature_required"));
    let (mut request, body) = sealed_request(&world, &["scheme", "status"]);
    let signed = sign_as_officer(&mut request);
    let said = ask(&world, &adapter, &signed, &body).await;
    assert_eq!(reason(&said), None);
    assert_eq!(opened(&said)[0]["fields"]["status"], "granted");
    assert_eq!(world.table.touched.load(Ordering::SeqCst), 3);
    assert_ne!(OFFICER, APP);
}
