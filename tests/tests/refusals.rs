//! What a refusal leaves behind: its entry names what it was decided on, its evidence holds it, and neither
//! tells anybody of what is another member's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use yiwang_audit::Options;
use yiwang_client::exchange::{Ending, SignedRequest};
use yiwang_hub::directory::MemberDraft;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::evidence::Evidence;
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::member::MemberCard;
use yiwang_proto::note::VerifierKey;
use yiwang_proto::pb;
use yiwang_tests::scene::{Scene, fields};

/// Sends a request that must be denied; yields its entry.
async fn denied(scene: &Scene, signed: &SignedRequest, wanted: &str) -> (u64, pb::ExchangeEntry) {
    let exchanged = scene.app.exchange(&scene.contract, signed).await.unwrap();
    let Ending::Denied { code, .. } = exchanged.ending else { panic!("{:?}", exchanged.ending) };
    assert_eq!(code, wanted);
    let Some(Kind::Exchange(raw)) = exchanged.receipt.entry.kind else { panic!("no exchange") };
    (exchanged.receipt.index, raw)
}

async fn evidence(scene: &Scene, index: u64) -> (Evidence, yiwang_audit::Report) {
    let bytes = scene.app.evidence(index).await.unwrap();
    let key = std::fs::read_to_string(scene.world.ledger_dir().join("verifier.key")).unwrap();
    let options = Options { key: Some(VerifierKey::parse(key.trim()).unwrap()), ..Options::default() };
    let report = yiwang_audit::verify_evidence(&bytes, &options).unwrap();
    (serde_json::from_slice(&bytes).unwrap(), report)
}

/// Kinds of the entries in a bundle beside its exchange.
fn kinds(evidence: &Evidence) -> Vec<&'static str> {
    let decoded = evidence.supporting.iter().map(|item| entry::decode(&item.decode().unwrap().0).unwrap());
    decoded.map(|entry| entry::kind_name(entry.kind.as_ref().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_exchange_names_contract_key_and_case_and_its_evidence_holds_them() {
    let scene = Scene::new(130).await;
    let mut ask = scene.ask();
    ask.fields = fields(&["id_number"]);
    let signed = scene.app.sign(&scene.contract, &ask);
    let (index, raw) = denied(&scene, &signed, "field_not_granted").await;
    assert!(raw.contract_index != 0 && raw.app_delegation_index != 0 && raw.case_index != 0, "{raw:?}");
    let (bundle, report) = evidence(&scene, index).await;
    assert!(report.is_clean(), "{report:#?}");
    assert!(!bundle.contract.is_null() && bundle.delegations.len() == 1);
    let kinds = kinds(&bundle);
    for kind in ["contract", "delegation", "case", "member", "policy", "origin"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    assert_eq!(report.decisions.denied_again, 1, "decided again from the bundle alone: {report:#?}");
    assert!(!report.notes.iter().any(|note| note.contains("was not verified")), "{:?}", report.notes);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_tells_nothing_of_another_members_case() {
    let scene = Scene::new(131).await;
    let other = scene.police.app(&scene.world, "patrol-desk").await;
    let matter = Matter::parse("social-assistance").unwrap();
    let (theirs, _) = other.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    let nowhere = CaseId::new(scene.world.clock.now_ms(), scene.world.entropy.as_ref());
    let mut shown = Vec::new();
    for case in [theirs, nowhere] {
        let mut ask = scene.ask();
        ask.case = case;
        let signed = scene.app.sign(&scene.contract, &ask);
        let (index, raw) = denied(&scene, &signed, "no_case").await;
        assert!(raw.contract_index != 0 && raw.case_index == 0, "{raw:?}");
        let (bundle, report) = evidence(&scene, index).await;
        assert!(report.is_clean(), "{report:#?}");
        shown.push(kinds(&bundle));
    }
    assert_eq!(shown[0], shown[1], "another's case and none look alike");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_holds_the_card_that_was_in_force_then() {
    let mut scene = Scene::new(132).await;
    let exchanged = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    let street = scene.street.id().clone();
    let read = |name: &str| {
        let text = std::fs::read_to_string(scene.street.folder.path().join(name)).unwrap();
        SecretKey::from_base64(text.trim()).unwrap()
    };
    let (root, next) = (scene.street.folder.root_key().unwrap(), read("next-root.key"));
    let now = scene.world.clock.now_ms();
    let card = MemberCard::sign(&root, &next.public(), &street, "Street office, renamed", now);
    let draft = MemberDraft { member: street.clone(), card: card.bytes().clone() };
    let newer = scene.world.hub().hub.ledger.append(Box::new(draft)).await.unwrap().index;
    let after = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    for restarted in [false, true] {
        if restarted {
            scene.world.stop_hub().await;
            scene.world.start_hub().await;
            let police = scene.police.id().clone();
            scene.world.until_linked(&police).await;
            scene.app.meet().await.unwrap();
        }
        for (index, holds_newer) in [(exchanged.receipt.index, false), (after.receipt.index, true)] {
            let (bundle, report) = evidence(&scene, index).await;
            assert!(report.is_clean(), "{report:#?}");
            let members = kinds(&bundle).into_iter().filter(|kind| *kind == "member").count();
            let newest = bundle.supporting.iter().any(|item| item.index == newer);
            // The contract was signed under the older card, so it stays beside the newer one.
            let wanted = if holds_newer { 3 } else { 2 };
            assert_eq!((members, newest), (wanted, holds_newer), "entry {index}, restarted: {restarted}");
        }
    }
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
