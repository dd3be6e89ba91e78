//! Exchanges over a long-lived stream, and statements that are signed together: the same rights, records and refusals
//! as one call each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, Ending, Exchanged, SignedRequest};
use yiwang_client::sealed::Manner;
use yiwang_hub::context::TestSwitches;
use yiwang_hub::limits::{REPLY_STALLED, STREAM_IN_FLIGHT, STREAMS_OF_MEMBER};
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::batch::sign_many;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::AppId;
use yiwang_proto::pb;
use yiwang_proto::pb::stream_response::Result as Came;
use yiwang_proto::revocation::Revoked;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_tests::contracts::Draft;
use yiwang_tests::evil::evil_signer;
use yiwang_tests::scene::{Scene, outcome};
use yiwang_tests::world::World;

/// Both members agreed that statements may be signed together.
fn together(draft: Draft) -> Draft {
    draft.with("batch_signatures", json!(true))
}

/// The scene's app once more, over a stream.
async fn streaming(scene: &Scene) -> Arc<Client> {
    Arc::new(scene.street.app(&scene.world, "assistance-desk").await.with_stream())
}

/// Signs and sends so many at the same time.
async fn at_once(scene: &Scene, app: &Arc<Client>, many: usize) -> Vec<Exchanged> {
    let (contract, ask) = (Arc::new(scene.contract.clone()), scene.ask());
    let tasks: Vec<_> = (0..many)
        .map(|_| {
            let (app, contract, ask) = (Arc::clone(app), Arc::clone(&contract), ask.clone());
            tokio::spawn(async move {
                let signed = app.prepare_together(&contract, &ask, Manner::default()).await;
                app.exchange(&contract, &signed).await.unwrap()
            })
        })
        .collect();
    let mut done = Vec::with_capacity(many);
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

fn statements(exchanged: &Exchanged) -> [SignedStatement; 2] {
    let Some(Kind::Exchange(entry)) = &exchanged.receipt.entry.kind else { panic!("no exchange") };
    [&entry.request, &entry.answer].map(|bytes| SignedStatement::parse(bytes.clone()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_exchanges_run_over_one_stream_and_each_has_its_own_entry() {
    let scene = Scene::new(301).await;
    let app = streaming(&scene).await;
    let done = at_once(&scene, &app, 100).await;
    assert!(
        done.iter().all(|one| matches!(&one.ending, Ending::Answered { answer, .. } if answer.rows == 1))
    );
    let entries: BTreeSet<u64> = done.iter().map(|one| one.receipt.index).collect();
    assert_eq!(entries.len(), 100);
    assert_eq!(scene.world.hub().hub.streams.open(), 1);
    // The contract says nothing of signatures, so each is signed alone.
    assert!(done.iter().flat_map(statements).all(|signed| !signed.is_in_batch()));
    // A refusal is an answer like on a call.
    let foreign = Ask { subject: "980101200001010017".to_owned(), ..scene.ask() };
    let refused = outcome(&app, &scene.contract, &app.sign(&scene.contract, &foreign)).await;
    assert_eq!(refused, "subject_not_in_case");
    drop(app);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_one_moment_are_signed_together_where_both_members_agreed() {
    let scene = Scene::bent(302, together).await;
    let app = streaming(&scene).await;
    let mut signed = (0, 0);
    for _ in 0..20 {
        for exchanged in at_once(&scene, &app, 64).await {
            assert!(matches!(exchanged.ending, Ending::Answered { .. }));
            let [request, answer] = statements(&exchanged);
            signed.0 += usize::from(request.is_in_batch());
            signed.1 += usize::from(answer.is_in_batch());
        }
        if signed.0 > 0 && signed.1 > 0 {
            break;
        }
    }
    assert!(signed.0 > 0, "no request was signed with others");
    assert!(signed.1 > 0, "no answer was signed with others");
    // One alone is signed as ever, and so is what an officer must sign.
    let [alone] = at_once(&scene, &app, 1).await.try_into().unwrap();
    assert!(statements(&alone).iter().all(|signed| !signed.is_in_batch()));
    // Whoever has one entry can verify it by itself: from a bundle, without the others.
    let whole = at_once(&scene, &app, 64).await;
    let one = whole.iter().find(|one| statements(one)[0].is_in_batch()).unwrap_or(&whole[0]);
    let bundle = scene.app.evidence(one.receipt.index).await.unwrap();
    let key = std::fs::read_to_string(scene.world.ledger_dir().join("verifier.key")).unwrap();
    let key = Some(yiwang_proto::note::VerifierKey::parse(key.trim()).unwrap());
    let options = yiwang_audit::Options { key, ..yiwang_audit::Options::default() };
    let report = yiwang_audit::verify_evidence(&bundle, &options).unwrap();
    assert!(report.findings.is_empty(), "{report:?}");
    drop(app);
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:?}");
}

/// A request that is signed with another, under a contract that may not allow it.
fn in_batch(scene: &Scene) -> SignedRequest {
    let plain = scene.signed();
    let other = scene.signed().request.payload();
    let key = scene.street.folder.load_key(Role::App, &AppId::parse("assistance-desk").unwrap()).unwrap();
    let [signed, _] =
        sign_many(payload_type::REQUEST, vec![plain.request.payload(), other], &key).try_into().unwrap();
    let message = pb::ExchangeRequest { request: signed.bytes().clone(), body: plain.message.body };
    SignedRequest { request: plain.request, digest: signed.digest(), message }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_a_request_that_is_signed_with_others_is_refused_where_the_contract_does_not_allow_it() {
    let scene = Scene::new(303).await;
    assert_eq!(scene.outcome(&in_batch(&scene)).await, "signature_invalid");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");

    let scene = Scene::bent(304, together).await;
    assert_eq!(scene.outcome(&in_batch(&scene)).await, "answered");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_an_answer_that_is_signed_with_others_is_not_released_where_the_contract_does_not_allow_it() {
    let mut scene = Scene::new(305).await;
    scene.adapter.take().unwrap().stop().await;
    let sign = |answer: &yiwang_proto::answer::Answer, key: &yiwang_proto::keys::SecretKey| {
        let twice = vec![answer.payload(), answer.payload()];
        sign_many(payload_type::ANSWER, twice, key).swap_remove(0)
    };
    evil_signer(&scene, |_| (), None, sign).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answer_invalid");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_a_revocation_holds_on_streams_from_its_acknowledgement_on() {
    let scene = Scene::new(306).await;
    let app = streaming(&scene).await;
    let (contract, ask) = (Arc::new(scene.contract.clone()), scene.ask());
    let asking: Vec<_> = (0..32)
        .map(|_| {
            let (app, contract, ask) = (Arc::clone(&app), Arc::clone(&contract), ask.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    let exchanged = app.exchange(&contract, &app.sign(&contract, &ask)).await.unwrap();
                    match exchanged.ending {
                        Ending::Answered { .. } => answered = answered.max(exchanged.receipt.index),
                        Ending::Denied { code, .. } if code == "revoked" => return answered,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let key = AppId::parse("assistance-desk").unwrap();
    let (_, delegation) = scene.street.folder.load_delegation(Role::App, &key).unwrap();
    let revoked = Revoked { delegations: [delegation.digest].into(), ..Revoked::default() };
    let done = scene.street.revoke(&scene.world, &revoked).await;
    assert_eq!(outcome(&app, &contract, &app.sign(&contract, &ask)).await, "revoked");
    for task in asking {
        let last = task.await.unwrap();
        assert!(
            done.index.is_none_or(|index| last < index),
            "entry {last} was released after it was revoked"
        );
    }
    drop(app);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_opened_again_after_the_hub_was_away() {
    let mut scene = Scene::new(307).await;
    let app = streaming(&scene).await;
    assert_eq!(outcome(&app, &scene.contract, &app.sign(&scene.contract, &scene.ask())).await, "answered");
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    scene.world.until_linked(scene.police.id()).await;
    scene.app.meet().await.unwrap();
    for _ in 0..100 {
        if outcome(&app, &scene.contract, &app.sign(&scene.contract, &scene.ask())).await == "answered" {
            drop(app);
            let (code, report) = scene.verify_ledger().await;
            return assert_eq!(code, 0, "{report}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the app was not served again");
}

/// A stream of this test's own, as any program could open it.
async fn raw(
    scene: &Scene,
) -> Result<(mpsc::Sender<pb::StreamRequest>, tonic::Streaming<pb::StreamResponse>), tonic::Status> {
    let enrolled = scene.street.folder.enrolled().unwrap();
    let channel = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let (sender, queue) = mpsc::channel(2 * STREAM_IN_FLIGHT);
    let incoming = ExchangeServiceClient::new(channel).stream(ReceiverStream::new(queue)).await?.into_inner();
    Ok((sender, incoming))
}

fn numbered(scene: &Scene, number: u64) -> pb::StreamRequest {
    pb::StreamRequest { number, exchange: Some(scene.signed().message), traceparent: String::new() }
}

async fn next(incoming: &mut tonic::Streaming<pb::StreamResponse>) -> Option<pb::StreamResponse> {
    tokio::time::timeout(Duration::from_secs(20), incoming.message()).await.unwrap().ok().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_numbers_do_not_rise_is_ended_and_says_what_it_took() {
    let scene = Scene::new(308).await;
    let (sender, mut incoming) = raw(&scene).await.unwrap();
    for number in [3, 7, 7] {
        sender.send(numbered(&scene, number)).await.unwrap();
    }
    let (mut answered, mut closing) = (BTreeSet::new(), None);
    while let Some(message) = next(&mut incoming).await {
        match message.result.unwrap() {
            Came::Answered(_) => assert!(answered.insert(message.number)),
            Came::Closing(said) => closing = Some(said.last_taken),
            Came::Failed(failure) => panic!("{failure:?}"),
        }
    }
    assert_eq!((answered, closing), ([3, 7].into(), Some(7)), "what was taken is answered");
    // Bytes that are no request end nothing but their own exchange.
    let (sender, mut incoming) = raw(&scene).await.unwrap();
    sender.send(pb::StreamRequest { number: 1, exchange: None, traceparent: String::new() }).await.unwrap();
    sender.send(numbered(&scene, 2)).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..2 {
        let message = next(&mut incoming).await.unwrap();
        came.push((message.number, matches!(message.result, Some(Came::Answered(_)))));
    }
    came.sort_unstable();
    assert_eq!(came, [(1, false), (2, true)]);
    // An app that hangs up has no answer, and its exchange an entry.
    let before = scene.world.hub().hub.ledger.checkpoint().size;
    sender.send(numbered(&scene, 3)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop((sender, incoming));
    for _ in 0..400 {
        if scene.world.hub().hub.ledger.checkpoint().size > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(scene.world.hub().hub.ledger.checkpoint().size > before);
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_a_stream_that_reads_no_answers_is_read_no_further_and_harms_nobody() {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(309, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    let (sender, incoming) = raw(&scene).await.unwrap();
    let hub = Arc::clone(&scene.world.hub().hub);
    let before = hub.ledger.checkpoint().size;
    // Far more than a stream may have under way; what its window takes counts as read.
    let mut number = 0;
    let mut still = 0;
    while still < 40 && number < 4_000 {
        number += 1;
        let sent =
            tokio::time::timeout(Duration::from_millis(50), sender.send(numbered(&scene, number))).await;
        still = if sent.is_ok() { 0 } else { still + 1 };
        assert!(hub.replies.under_way() <= STREAM_IN_FLIGHT);
    }
    assert!(hub.ledger.checkpoint().size - before < number, "not everything was taken on");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "others are served meanwhile");
    clock.advance_ms(u64::try_from(REPLY_STALLED.as_millis()).unwrap());
    for _ in 0..1000 {
        if hub.streams.open() == 0 && hub.replies.under_way() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((hub.streams.open(), hub.replies.under_way()), (0, 0), "what it held is given back");
    drop((hub, sender, incoming));
    let judged = scene.judge().await;
    assert!(judged.is_clean(), "{judged:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_has_so_many_streams() {
    let scene = Scene::new(310).await;
    let mut held = Vec::new();
    for _ in 0..STREAMS_OF_MEMBER {
        held.push(raw(&scene).await.unwrap());
    }
    let refused = raw(&scene).await.err().unwrap();
    assert_eq!(refused.metadata().get("yiwang-code").unwrap(), "overloaded");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "calls go on");
    let app = streaming(&scene).await;
    assert_eq!(outcome(&app, &scene.contract, &app.sign(&scene.contract, &scene.ask())).await, "answered");
    held.pop();
}
