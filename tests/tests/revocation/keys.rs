//! Keys besides those that sign requests and answers: an officer's, and those that open sealed bodies.

use crate::key_of;
use std::sync::Arc;
use std::time::Duration;
use yiwang_client::client::Client;
use yiwang_client::exchange::SignedRequest;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revoked;
use yiwang_tests::clinic::{Clinic, Turns};
use yiwang_tests::member::Member;
use yiwang_tests::scene::outcome;

fn officers_key(clinic: &Clinic) -> Revoked {
    Revoked { delegations: [clinic.officer.delegation.digest].into(), ..Revoked::default() }
}

fn sealing_of(member: &Member, name: &str) -> Revoked {
    key_of(member, Role::Sealing, name)
}

/// The entry of an exchange.
async fn entry(app: &Client, contract: &Contract, signed: &SignedRequest) -> pb::ExchangeEntry {
    let exchanged = app.exchange(contract, signed).await.unwrap();
    match exchanged.receipt.entry.kind {
        Some(Kind::Exchange(entry)) => entry,
        other => panic!("{other:?}"),
    }
}

/// Refused as revoked by the hub itself: no adapter was asked.
async fn refused_by_the_hub(clinic: &Clinic, signed: &SignedRequest, clause: &str) {
    let entry = entry(&clinic.app, &clinic.summary, signed).await;
    assert_eq!((entry.code.as_str(), entry.clause.as_str()), ("revoked", clause));
    assert_eq!(entry.outcome(), pb::Outcome::Denied);
    assert!(entry.answer.is_empty(), "the adapter refused, not the hub");
}

async fn signed(clinic: &Clinic) -> SignedRequest {
    clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_an_officers_key_is_dead_with_the_acknowledgement_signature_and_tickets() {
    let clinic = Clinic::new(140).await;
    let ticket = clinic.ticket(|_| {}).await;
    assert_eq!(clinic.by_ticket(&ticket).await, "answered");
    let first = signed(&clinic).await;
    assert_eq!(outcome(&clinic.app, &clinic.summary, &first).await, "answered");
    let under_way = signed(&clinic).await;
    clinic.street.revoke(&clinic.world, &officers_key(&clinic)).await;
    refused_by_the_hub(&clinic, &under_way, "the-officers-key").await;
    refused_by_the_hub(&clinic, &signed(&clinic).await, "the-officers-key").await;
    assert_eq!(clinic.by_ticket(&ticket).await, "revoked", "a ticket of before");
    let draft = yiwang_proto::ticket::Draft {
        member: clinic.street.id().clone(),
        officer: clinic.officer.name.clone(),
        app: clinic.app.identity().app.clone(),
        case: clinic.case.clone(),
        uses: 2,
        issued_at_ms: clinic.world.clock.now_ms() - 1000,
        expires_at_ms: clinic.world.clock.now_ms() + 600_000,
        delegation_digest: clinic.officer.delegation.digest,
    };
    let id = yiwang_proto::ids::RequestId::new(clinic.world.clock.now_ms(), clinic.world.entropy.as_ref());
    let refused = clinic.app.publish(&draft.sign(id, &clinic.officer.key)).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("revoked"), "no new ticket either");
    // The officer is not revoked: only this key is. Where an officer need not be proved, the app goes on.
    let ask = clinic.ask("coverage.by_person", &["insured"]);
    let asserted = clinic.app.sign(&clinic.coverage, &ask);
    assert_eq!(outcome(&clinic.app, &clinic.coverage, &asserted).await, "answered");
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_nothing_is_sealed_to_a_consumers_key_that_was_taken_back() {
    let clinic = Clinic::new(141).await;
    let first = signed(&clinic).await;
    assert_eq!(outcome(&clinic.app, &clinic.summary, &first).await, "answered");
    clinic.street.revoke(&clinic.world, &sealing_of(&clinic.street, "assistance-desk")).await;
    refused_by_the_hub(&clinic, &signed(&clinic).await, "the-consumers-key-for-sealing").await;
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_a_providers_key_for_sealing_is_dead_for_app_and_hub() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let clinic = Clinic::with(142, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    assert_eq!(outcome(&clinic.app, &clinic.summary, &signed(&clinic).await).await, "answered");
    let before = signed(&clinic).await;
    clinic.health.revoke(&clinic.world, &sealing_of(&clinic.health, "main")).await;
    refused_by_the_hub(&clinic, &before, "the-providers-key-for-sealing").await;
    // The app asks for the provider's word once in its life, and seals nothing to that key from then on.
    clock.advance_ms(60_000);
    let ask = clinic.blood_group();
    let mut said = String::new();
    for _ in 0..200 {
        match clinic.app.sign_in(&clinic.summary, &ask, clinic.by_signature()).await {
            Ok(_) => panic!("sealed to a key that was taken back"),
            Err(error) => said = error.to_string(),
        }
        if said.contains("sealing_key_unknown") {
            break;
        }
        // Until the provider's host has issued its next standing.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(said.contains("sealing_key_unknown"), "the hub hands out no such key: {said}");
    clinic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_an_app_seals_to_no_revoked_key_that_a_hub_goes_on_to_hand_out() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let mut clinic = Clinic::with(143, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let name = yiwang_proto::ids::AppId::parse("main").unwrap();
    let (_, document) = clinic.health.folder.load_sealing(&name).unwrap().unwrap();
    clinic.adapter.take().unwrap().stop().await;
    clinic.world.stop_hub().await;
    let switches = TestSwitches { false_sealing: Some(document.bytes().clone()), ..TestSwitches::default() };
    clinic.world.set_switches(switches);
    clinic.world.start_hub().await;
    clinic.app.meet().await.unwrap();
    clinic.adapter = Some(clinic.health.run_adapter(&clinic.world).await);
    assert_eq!(outcome(&clinic.app, &clinic.summary, &signed(&clinic).await).await, "answered");
    clinic.health.revoke(&clinic.world, &sealing_of(&clinic.health, "main")).await;
    clock.advance_ms(60_000);
    let wanted = "the provider revoked a key of its adapter's";
    for _ in 0..200 {
        match clinic.app.sign_in(&clinic.summary, &clinic.blood_group(), clinic.by_signature()).await {
            Ok(_) => panic!("sealed to a key that was taken back"),
            Err(error) if error.to_string().contains(wanted) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("the app never looked at the provider's word");
}

/// What is taken back while the adapter has the request, and the clause of the entry.
type Case = (fn(&Clinic) -> (&Member, Revoked), &'static str);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_an_answer_that_comes_after_the_revocation_of_a_key_is_withheld() {
    let cases: [Case; 3] = [
        (|clinic| (&clinic.street, officers_key(clinic)), "the-officers-key"),
        (
            |clinic| (&clinic.street, sealing_of(&clinic.street, "assistance-desk")),
            "the-consumers-key-for-sealing",
        ),
        (|clinic| (&clinic.health, sealing_of(&clinic.health, "main")), "the-providers-key-for-sealing"),
    ];
    for (number, (taken, clause)) in (144..).zip(cases) {
        let mut clinic = Clinic::new(number).await;
        clinic.adapter.take().unwrap().stop().await;
        let turns = Turns::new(1);
        clinic
            .puppet(Arc::clone(&turns), |hands, signed, request| {
                let (plain, digest) = hands.plain();
                hands.sealed(&hands.answer(signed, request, digest), &plain)
            })
            .await;
        assert_eq!(outcome(&clinic.app, &clinic.summary, &signed(&clinic).await).await, "answered");
        turns.arrived().await;
        let waiting = signed(&clinic).await;
        let exchange = entry(&clinic.app, &clinic.summary, &waiting);
        let revoke = async {
            // With the adapter: it was decided before.
            turns.arrived().await;
            let (member, list) = taken(&clinic);
            member.revoke(&clinic.world, &list).await;
            turns.go();
        };
        let (entry, ()) = tokio::join!(exchange, revoke);
        assert_eq!(entry.outcome(), pb::Outcome::Withheld, "{clause}");
        assert_eq!((entry.code.as_str(), entry.clause.as_str()), ("revoked", clause));
        assert!(!entry.answer.is_empty());
        clinic.end().await;
    }
}
