//! Sealed bodies and officers' keys over the whole way: app, hub, adapter, source and back; and what a hub
//! or adapter that cheats gets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use bytes::Bytes;
use std::sync::Arc;
use yiwang_client::exchange::{Ending, SignedRequest};
use yiwang_client::record::RecordQuery;
use yiwang_client::sealed::Manner;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::answer::Answer;
use yiwang_proto::body::Arguments;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, CaseId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::sealing::{Direction, seal};
use yiwang_proto::ticket::Draft as Ticket;
use yiwang_tests::clinic::{Clinic, Hands, Turns};
use yiwang_tests::scene::{outcome, reconcile};
use yiwang_tests::world::folder_holds;

fn entry_of(receipt: &yiwang_proto::receipt::VerifiedReceipt) -> pb::ExchangeEntry {
    match receipt.entry.kind.clone() {
        Some(Kind::Exchange(entry)) => entry,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn class_3_is_delivered_sealed_and_the_ledger_says_who_signed() {
    let clinic = Clinic::new(50).await;
    let signed = clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await;
    let kept = clinic.world.dir.path().join("kept");
    let keeping = clinic.street.app_unpublished(&clinic.world, "assistance-desk").await;
    let keeping = keeping.keeping(&kept).unwrap();
    keeping.meet().await.unwrap();
    let exchanged = keeping.exchange(&clinic.summary, &signed).await.unwrap();
    let Ending::Answered { answer, records } = &exchanged.ending else { panic!("{:?}", exchanged.ending) };
    assert!(answer.sealed_to.is_some() && answer.rows == 1);
    let records: serde_json::Value = serde_json::from_slice(records).unwrap();
    let group = records.pointer("/0/fields/blood_group").and_then(serde_json::Value::as_str).unwrap();
    assert!(["A", "B", "AB", "O", "unknown"].contains(&group), "{group}");
    let entry = entry_of(&exchanged.receipt);
    assert!(entry.sealed && entry.officer_proof() == pb::OfficerProof::Signed);
    assert!(entry.officer_delegation_index > 0 && entry.sealing_delegation_index > 0);
    // The evidence bundle stands by itself, with the officer's delegation in it.
    let bundle = clinic.app.evidence(exchanged.receipt.index).await.unwrap();
    let options = yiwang_audit::Options {
        key: Some(clinic.street.folder.enrolled().unwrap().verifier_key().clone()),
        ..yiwang_audit::Options::default()
    };
    let report = yiwang_audit::verify_evidence(&bundle, &options).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let (hub, wife) = (clinic.world.hub_dir(), clinic.wife.clone());
    assert!(!folder_holds(&hub, wife.as_bytes()), "the hub holds the subject's id");
    // What the app kept is still sealed, and tells the same story as ledger and journal.
    assert!(!folder_holds(&kept, clinic.wife.as_bytes()), "the app kept it in the open");
    let journal = clinic.health.folder.path().join("journal");
    let world = clinic.end().await;
    let done = reconcile(&world, &[kept], &[journal]);
    assert!(done.is_clean() && done.received == 1, "{done:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_no_way_of_asking_for_class_3_is_cheaper_than_sealed_and_signed() {
    let clinic = Clinic::new(51).await;
    let (app, summary) = (&clinic.app, &clinic.summary);
    let ask = clinic.blood_group();
    let open = app.prepare(summary, &ask, Manner { sealed: false, ..clinic.by_signature() });
    let open_signed = open.request.sign_with_officer(&app.identity().key, &clinic.officer.key);
    let message = pb::ExchangeRequest { request: open_signed.bytes().clone(), ..open.message.clone() };
    let in_the_open = SignedRequest { message, ..open };
    assert_eq!(outcome(app, summary, &in_the_open).await, "sealing_required");
    let asserted = Manner { officer_by: OfficerBy::Asserted, sealed: true };
    let asserted = app.sign_in(summary, &ask, asserted).await.unwrap();
    assert_eq!(outcome(app, summary, &asserted).await, "officer_signature_required");
    let ticket = clinic.ticket(|_| {}).await;
    let manner = Manner { officer_by: OfficerBy::Ticket(ticket.digest()), sealed: true };
    let by_ticket = app.sign_in(summary, &ask, manner).await.unwrap();
    assert_eq!(outcome(app, summary, &by_ticket).await, "officer_signature_required");
    let unsigned = app.sign_in(summary, &ask, clinic.by_signature()).await.unwrap();
    assert_eq!(outcome(app, summary, &unsigned).await, "officer_invalid");
    let forged = clinic.signed(summary, &ask, &SecretKey::from_seed(&[66; 32])).await;
    assert_eq!(outcome(app, summary, &forged).await, "officer_invalid");
    let four = clinic.ask("mental_health.by_person", &["diagnosis"]);
    let class_4 = clinic.signed(&clinic.record, &four, &clinic.officer.key).await;
    assert_eq!(outcome(app, &clinic.record, &class_4).await, "approvals_required");
    // A sealed body of no form, and one that was altered on the way: the hub sees the one, the adapter the other.
    let mut bent = clinic.signed(summary, &ask, &clinic.officer.key).await;
    bent.message.body = Bytes::from_static(b"not sealed");
    assert_eq!(outcome(app, summary, &bent).await, "malformed");
    let mut bent = clinic.signed(summary, &ask, &clinic.officer.key).await;
    let mut body = bent.message.body.to_vec();
    if let Some(last) = body.last_mut() {
        *last ^= 1;
    }
    bent.message.body = body.into();
    assert_eq!(outcome(app, summary, &bent).await, "malformed");
    let good = clinic.signed(summary, &ask, &clinic.officer.key).await;
    assert_eq!(outcome(app, summary, &good).await, "answered");
    assert_eq!(outcome(app, summary, &good).await, "replayed");
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepare_sign_send_brings_one_record_and_withholds_what_nobody_can_sign_for() {
    let clinic = Clinic::new(52).await;
    let query = RecordQuery {
        subject: clinic.wife.clone(),
        purpose: "social-assistance.eligibility".parse().unwrap(),
        case: clinic.case.clone(),
        officer: Some(clinic.officer.name.clone()),
        fields: std::collections::BTreeMap::new(),
        arguments: Arguments::new(),
        resume: [].into(),
    };
    let states = |record: &yiwang_client::record::UnifiedRecord| {
        let field = |record_type: &str, name: &str| {
            let json = serde_json::to_value(&record.records).unwrap();
            let field = json.pointer(&format!("/{record_type}/{name}")).unwrap().clone();
            field.get("code").unwrap_or(&field["state"]).as_str().unwrap().to_owned()
        };
        [
            field("HealthCoverage", "insured"),
            field("HealthSummary", "blood_group"),
            field("MentalHealthRecord", "support_need"),
            field("MentalHealthRecord", "diagnosis"),
        ]
    };
    let without = clinic.app.query_record(&query).await.unwrap();
    let missing = "officer_signature_required";
    assert_eq!(states(&without), ["value", missing, missing, "approvals_required"]);
    let prepared = clinic.app.prepare_record(&query, clinic.officer.delegation.digest).await.unwrap();
    let signed = prepared.sign(&clinic.officer.delegation, &clinic.officer.key).unwrap();
    // What no officer signed is not sent: the hub would refuse it, and never take the same requests again.
    let unsigned = clinic.app.send_prepared(&prepared).await.unwrap_err();
    assert!(unsigned.to_string().contains("no officer signed it"), "{unsigned}");
    let with = clinic.app.send_prepared(&signed).await.unwrap();
    assert_eq!(states(&with), ["value", "value", "value", "approvals_required"]);
    // What another app prepared, or somebody bent, is not sent in this app's name.
    let other = clinic.street.app(&clinic.world, "other-desk").await;
    assert!(other.send_prepared(&signed).await.is_err());
    let wrong = prepared.sign(&clinic.officer.delegation, &SecretKey::from_seed(&[1; 32]));
    assert!(wrong.is_err(), "another key than the delegation's");
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_a_ticket_is_for_one_app_one_case_and_so_many_queries_also_after_a_restart() {
    let mut clinic = Clinic::new(53).await;
    let ticket = clinic.ticket(|_| {}).await;
    assert_eq!(clinic.by_ticket(&ticket).await, "answered");
    for bend in [(|t: &mut Ticket| t.app = AppId::parse("other-desk").unwrap()) as fn(&mut Ticket), |t| {
        t.case = CaseId::parse("0190a5c3-0000-7000-8000-000000000009").unwrap()
    }] {
        let other = clinic.ticket(bend).await;
        assert_eq!(clinic.by_ticket(&other).await, "ticket_invalid");
    }
    // Forged, or of a key that is no officer's: not even published.
    let now = clinic.world.clock.now_ms();
    let forged = SignedDocument::sign(
        yiwang_proto::envelope::payload_type::TICKET,
        ticket.unverified_payload(),
        &[&SecretKey::from_seed(&[66; 32])],
    );
    assert!(clinic.app.publish(&forged).await.is_err());
    let unpublished = Delegation::sign(
        &SecretKey::from_seed(&[1; 32]),
        clinic.street.id(),
        Role::Officer,
        &AppId::parse(clinic.officer.name.as_str()).unwrap(),
        clinic.officer.key.public(),
        9,
        now - 1000,
        now + 1000,
    );
    assert_eq!(clinic.by_ticket(&unpublished).await, "ticket_invalid");
    // The hub counts again from its ledger, the adapter from its journal.
    clinic.adapter.take().unwrap().stop().await;
    clinic.world.stop_hub().await;
    clinic.world.start_hub().await;
    clinic.app.meet().await.unwrap();
    clinic.adapter = Some(clinic.health.run_adapter(&clinic.world).await);
    assert_eq!(clinic.by_ticket(&ticket).await, "answered");
    assert_eq!(clinic.by_ticket(&ticket).await, "ticket_used_up");
    clinic.adapter.take().unwrap().stop().await;
    // What the hub itself counts, whatever the adapter would say: one use more than was asked, of which no entry tells.
    let used = clinic.world.hub().hub.use_ticket(&ticket.digest(), now);
    clinic.world.stop_hub().await;
    clinic.world.start_hub().await;
    assert_eq!(
        clinic.world.hub().hub.use_ticket(&ticket.digest(), now),
        used,
        "counted again from the ledger"
    );
    clinic.app.meet().await.unwrap();
    clinic.adapter = Some(clinic.health.run_adapter(&clinic.world).await);
    assert_eq!(clinic.by_ticket(&ticket).await, "ticket_used_up", "replayed after a restart");
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_ends_with_its_time() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let clinic = Clinic::with(54, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let end = clock.now_ms() + 10_000;
    let ticket = clinic.ticket(|ticket| ticket.expires_at_ms = end).await;
    assert_eq!(clinic.by_ticket(&ticket).await, "answered");
    clock.advance_ms(10_000);
    assert_eq!(clinic.by_ticket(&ticket).await, "ticket_invalid");
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_hands_out_its_own_sealing_key_gets_nothing_to_read() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let now = clock.now_ms();
    let (root, key) = (SecretKey::from_seed(&[66; 32]), SecretKey::from_seed(&[67; 32]));
    let main = AppId::parse("main").unwrap();
    let health = yiwang_proto::ids::MemberId::parse("health").unwrap();
    let document =
        Delegation::sign(&root, &health, Role::Sealing, &main, key.public(), 1, now - 60_000, now + 600_000);
    let switches = TestSwitches { false_sealing: Some(document.bytes().clone()), ..TestSwitches::default() };
    let clinic = Clinic::with(55, clock, switches).await;
    let sealed = clinic.app.sign_in(&clinic.summary, &clinic.blood_group(), clinic.by_signature()).await;
    let error = sealed.unwrap_err().to_string();
    assert!(error.contains("not under the root in the contract"), "{error}");
    clinic.end().await;
}

/// How an evil adapter bends the answer to a sealed request, given its recipient.
#[derive(Clone, Copy)]
enum Bend {
    Open,
    OtherKeyInStatement,
    OtherKeyInBody,
    OtherStatement,
    Honest,
}

/// Statement and body of an answer.
fn bent_answer(
    bend: Bend,
    hands: &Hands,
    signed: &SignedStatement,
    request: Request,
) -> (SignedStatement, Bytes) {
    let (plain, digest) = hands.plain();
    let sealed_to = match bend {
        Bend::Open => None,
        Bend::OtherKeyInStatement => Some(hands.own.delegation),
        _ => Some(hands.consumer.delegation),
    };
    let statement = Answer { sealed_to, ..hands.answer(signed, request, digest) }.sign(&hands.key);
    let beside = match bend {
        Bend::OtherStatement => [7; 32],
        _ => statement.digest(),
    };
    let to = if matches!(bend, Bend::OtherKeyInBody) { hands.own } else { hands.consumer };
    let body = match bend {
        Bend::Open => plain,
        _ => seal(Direction::Answer, &to, &beside, &plain, hands.entropy.as_ref()).unwrap(),
    };
    (statement, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_an_adapter_that_answers_a_sealed_request_otherwise_is_not_believed() {
    let mut clinic = Clinic::new(56).await;
    clinic.adapter.take().unwrap().stop().await;
    for (bend, wanted) in [
        (Bend::Open, "answer_invalid"),
        (Bend::OtherKeyInStatement, "answer_invalid"),
        (Bend::OtherKeyInBody, "answer_invalid"),
        // The hub cannot see this one; the app does.
        (Bend::OtherStatement, "error: the answer does not verify: sealed body does not open"),
        (Bend::Honest, "answered"),
    ] {
        let respond = move |hands: &Hands, signed: &SignedStatement, request: Request| {
            bent_answer(bend, hands, signed, request)
        };
        clinic.puppet(Turns::always(), respond).await;
        let signed = clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await;
        assert_eq!(outcome(&clinic.app, &clinic.summary, &signed).await, wanted);
    }
    clinic.end().await;
}
