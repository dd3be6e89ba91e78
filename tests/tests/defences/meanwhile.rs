//! What changes between the hub's decision and the release of the answer.

use bytes::Bytes;
use std::sync::Arc;
use yiwang_client::exchange::{Ask, Ending, SignedRequest};
use yiwang_proto::case::Act;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::Officer;
use yiwang_proto::pb;
use yiwang_proto::revocation::Revoked;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_tests::contracts::draft;
use yiwang_tests::evil::{Gate, evil_adapter};
use yiwang_tests::scene::Scene;

/// What takes the ground from under a request that was decided already, and the code that then stands.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    CaseCloses,
    ContractIsReplaced,
    OfficerIsRevoked,
    ContractIsRevoked,
}

async fn make(scene: &Scene, change: Change, officer: &Officer) {
    let contract = &scene.contract.text;
    match change {
        Change::Nothing => {}
        Change::CaseCloses => {
            let decided = Act::Close { reason: "decided".to_owned() };
            scene.app.act_on_case(&scene.case, decided, &[]).await.unwrap();
        }
        Change::ContractIsReplaced => {
            let now = scene.world.clock.now_ms();
            let next =
                draft(&scene.police, &scene.street, contract.id.as_str(), now).with("version", 2.into());
            scene.world.agree(&next, &scene.police, &scene.street).await;
        }
        Change::OfficerIsRevoked => {
            let gone = Revoked { officers: [officer.clone()].into(), ..Revoked::default() };
            scene.street.revoke(&scene.world, &gone).await;
        }
        Change::ContractIsRevoked => {
            let gone = Revoked { contracts: [(contract.id.clone(), Some(1))].into(), ..Revoked::default() };
            scene.police.revoke(&scene.world, &gone).await;
        }
    }
}

/// The hub's response as it came, before any client has looked at it.
async fn response(scene: &Scene, signed: &SignedRequest) -> pb::ExchangeResponse {
    let enrolled = scene.street.folder.enrolled().unwrap();
    let channel = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
    ExchangeServiceClient::new(channel).exchange(signed.message.clone()).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t28_what_changes_between_decision_and_release_withholds_the_answer() {
    let changes = [
        (Change::Nothing, ""),
        (Change::CaseCloses, "case_closed"),
        (Change::ContractIsReplaced, "no_contract"),
        (Change::OfficerIsRevoked, "revoked"),
        (Change::ContractIsRevoked, "revoked"),
    ];
    for (change, code) in changes {
        let mut scene = Scene::bent(70, |draft| draft.limit("deadline_ms", 20_000)).await;
        scene.adapter.take().unwrap().stop().await;
        let gate = Gate::closed();
        evil_adapter(&scene, |_| {}, Some(Arc::clone(&gate))).await;
        let officer = Officer::parse("o-aaaaaaaaaaaaaaaa").unwrap();
        let ask = Ask { officer: Some(officer.clone()), ..scene.ask() };
        let signed = scene.app.sign(&scene.contract, &ask);
        let meanwhile = async {
            // It was decided and forwarded: the adapter has it.
            gate.arrived.acquire().await.unwrap().forget();
            make(&scene, change, &officer).await;
            gate.open.add_permits(1);
        };
        let (response, ()) = tokio::join!(response(&scene, &signed), meanwhile);
        let body = response.body.clone();
        let exchanged = scene.app.verify(&scene.contract, &signed, response).await.unwrap();
        let Some(Kind::Exchange(entry)) = exchanged.receipt.entry.kind else {
            unreachable!("the client verified that it is an exchange")
        };
        if code.is_empty() {
            assert!(matches!(exchanged.ending, Ending::Answered { .. }) && !body.is_empty());
        } else {
            assert_eq!((entry.outcome(), entry.code.as_str()), (pb::Outcome::Withheld, code), "{change:?}");
            assert!(!entry.answer.is_empty(), "{change:?}: the adapter's word stays as evidence");
            assert_eq!(body, Bytes::new(), "{change:?}: the body left the hub");
        }
        let (code, report) = scene.verify_ledger().await;
        assert_eq!(code, 0, "{change:?}: {report}");
    }
}
