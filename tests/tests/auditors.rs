//! Auditors at the hub: what a scope shows and hides, and that every look is an entry before it is answered.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use yiwang_client::auditor::AuditorClient;
use yiwang_client::error::ClientError;
use yiwang_client::folder::AuditorFolder;
use yiwang_hub::ledger::{Place, ReadFor};
use yiwang_hub::limits::{READS_WAITING, SEARCHES_WAITING};
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::ids::{MemberId, RecordType};
use yiwang_proto::merkle::Frontier;
use yiwang_proto::pb;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;
use yiwang_tests::scene::Scene;

async fn client(scene: &Scene, folder: &AuditorFolder) -> AuditorClient {
    let enrolled = folder.enrolled();
    let checkpoints = CheckpointVerifier::new(enrolled.verifier_key().clone(), enrolled.origin(), 64);
    let channel = enrolled.channel(Arc::clone(&scene.world.clock)).await.unwrap();
    AuditorClient::new(channel, Arc::new(checkpoints))
}

fn all() -> pb::SearchRequest {
    pb::SearchRequest { limit: 100, ..pb::SearchRequest::default() }
}

/// The looks of an auditor that the ledger holds.
fn looks(scene: &Scene, auditor: &str) -> Vec<(String, String)> {
    let mut looks = Vec::new();
    scene
        .world
        .hub()
        .hub
        .ledger
        .reader()
        .scan(0, &mut |_, bytes, _| {
            if let Some(Kind::Lookup(look)) = entry::decode(&bytes).unwrap().kind
                && look.auditor == auditor
            {
                looks.push((look.what, look.query));
            }
            true
        })
        .unwrap();
    looks
}

async fn scene(seed: u64) -> (Scene, Vec<u64>) {
    let scene = Scene::new(seed).await;
    let mut indexes = Vec::new();
    for _ in 0..5 {
        let exchanged = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
        indexes.push(exchanged.receipt.index);
    }
    (scene, indexes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_of_everything_searches_and_every_search_is_an_entry_first() {
    let (scene, indexes) = scene(110).await;
    let folder = scene.world.auditor("city-audit", &AuditScope::everything()).await;
    let auditor = client(&scene, &folder).await;
    let found = auditor.search(all()).await.unwrap();
    let hits: Vec<u64> = found.hits.iter().map(|hit| hit.index).collect();
    assert_eq!((hits, found.cursor), (indexes.clone(), None));
    // Pages, while the ledger grows.
    let page = |cursor: String| pb::SearchRequest { limit: 2, cursor, ..all() };
    let first = auditor.search(page(String::new())).await.unwrap();
    let newer = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap().receipt.index;
    let mut seen: Vec<u64> = first.hits.iter().map(|hit| hit.index).collect();
    let mut cursor = first.cursor;
    while let Some(next) = cursor {
        let found = auditor.search(page(next)).await.unwrap();
        seen.extend(found.hits.iter().map(|hit| hit.index));
        cursor = found.cursor;
    }
    assert_eq!(seen, [indexes.clone(), vec![newer]].concat());
    // Filters, with what is recorded of them.
    let case = scene.case.to_string();
    let found = auditor
        .search(pb::SearchRequest { case_id: case.clone(), consumer: "street-office".to_owned(), ..all() })
        .await
        .unwrap();
    assert_eq!(found.hits.len(), 6);
    let denied = pb::SearchRequest { outcome: pb::Outcome::Denied.into(), ..all() };
    assert_eq!(auditor.search(denied).await.unwrap().hits.len(), 0);
    let looks = looks(&scene, "city-audit");
    assert!(looks.iter().all(|(what, _)| what == "search"), "{looks:?}");
    let queries: Vec<&str> = looks.iter().map(|(_, query)| query.as_str()).collect();
    assert!(
        queries.contains(&format!("consumer=street-office case={case} limit=100").as_str()),
        "{queries:?}"
    );
    assert!(queries.contains(&"outcome=denied limit=100"), "{queries:?}");
    assert!(!queries.iter().any(|query| query.contains(&scene.mother)), "no person's id");
    // What is no filter is refused, and no member searches.
    for wrong in [
        pb::SearchRequest { consumer: "No Member".to_owned(), ..all() },
        pb::SearchRequest { limit: 0, ..all() },
        pb::SearchRequest { limit: 257, ..all() },
        pb::SearchRequest { subject_tag: vec![1].into(), ..all() },
        pb::SearchRequest { code: "none".to_owned(), ..all() },
        pb::SearchRequest { cursor: "x".to_owned(), ..all() },
    ] {
        let refused = auditor.search(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::ArgumentInvalid));
    }
    let channel =
        scene.street.folder.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let refused =
        LedgerServiceClient::new(channel).search(all()).await.map_err(ClientError::from).unwrap_err();
    assert_eq!(refused.code(), Some(Code::WrongMember));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_outside_of_a_scope_comes_as_leaf_hash_only() {
    let (scene, indexes) = scene(111).await;
    let members =
        |id: &str| AuditScope { members: [MemberId::parse(id).unwrap()].into(), ..AuditScope::default() };
    let records =
        |id: &str| AuditScope { records: [RecordType::parse(id).unwrap()].into(), ..AuditScope::default() };
    let last = *indexes.last().unwrap();
    for (name, scope, sees) in [
        ("a-police", members("police"), true),
        ("a-person", records("Person"), true),
        ("a-health", members("health"), false),
        ("a-coverage", records("HealthCoverage"), false),
        ("a-nothing", AuditScope::default(), false),
    ] {
        let folder = scene.world.auditor(name, &scope).await;
        let auditor = client(&scene, &folder).await;
        let hits = auditor.search(all()).await.unwrap().hits.len();
        assert_eq!(hits, if sees { indexes.len() } else { 0 }, "{name}");
        let lines = auditor.entries(0, 256).await.unwrap();
        let mut tree = Frontier::new();
        for line in &lines {
            tree.push(line.leaf);
            let stored = scene.world.hub().hub.ledger.reader().read(line.index).unwrap();
            let public = !matches!(
                entry::decode(&stored).unwrap().kind.unwrap(),
                Kind::Exchange(_) | Kind::CaseStatement(_) | Kind::Contract(_) | Kind::Lookup(_)
            );
            assert!(!public || line.entry.is_some(), "{name}: keys and rules are for every auditor");
            if indexes.contains(&line.index) {
                assert_eq!(line.entry.is_some(), sees, "{name}: entry {}", line.index);
            }
        }
        // The leaf hashes alone give the root of the ledger as it was then.
        let proof = scene.world.hub().hub.ledger.consistency(tree.size(), tree.size());
        assert!(proof.is_ok() && tree.size() > last, "{name}");
        let channel = folder.enrolled().channel(Arc::clone(&scene.world.clock)).await.unwrap();
        let mut ledger = LedgerServiceClient::new(channel);
        let one = ledger.get_entry(pb::GetEntryRequest { index: last }).await.unwrap().into_inner();
        let receipt = one.receipt.unwrap();
        assert_eq!((receipt.entry.is_empty(), one.leaf_hash.is_empty()), (!sees, sees), "{name}");
        let evidence = ledger.get_evidence(pb::GetEvidenceRequest { index: last }).await;
        assert_eq!(evidence.is_ok(), sees, "{name}");
        let whats: Vec<String> = looks(&scene, name).into_iter().map(|(what, _)| what).collect();
        assert_eq!(whats, ["search", "entries", "entry", "evidence"], "{name}");
    }
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_tells_nothing_of_what_lies_outside_of_the_scope_however_much_there_is() {
    let (scene, indexes) = scene(113).await;
    for _ in indexes.len()..66 {
        scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    }
    let health = AuditScope { members: [MemberId::parse("health").unwrap()].into(), ..AuditScope::default() };
    let folder = scene.world.auditor("a-health", &health).await;
    let auditor = client(&scene, &folder).await;
    let tag = scene.signed().request.subject_tags.first().unwrap().to_vec();
    let narrow = pb::SearchRequest { limit: 1, ..all() };
    for asked in [
        narrow.clone(),
        pb::SearchRequest { case_id: scene.case.to_string(), ..narrow.clone() },
        pb::SearchRequest { subject_tag: tag.into(), ..narrow.clone() },
        pb::SearchRequest { consumer: "street-office".to_owned(), ..narrow.clone() },
        pb::SearchRequest { case_id: "01a31a5f-a400-7000-8000-00000000ffff".to_owned(), ..narrow },
    ] {
        let found = auditor.search(asked.clone()).await.unwrap();
        assert_eq!((found.hits.len(), found.cursor), (0, None), "{asked:?}");
    }
    // Who may see them pages through all.
    let folder = scene.world.auditor("a-all", &AuditScope::everything()).await;
    let auditor = client(&scene, &folder).await;
    let found = auditor.search(pb::SearchRequest { case_id: scene.case.to_string(), ..all() }).await.unwrap();
    assert_eq!(found.hits.len(), 66);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_enrolment_changes_the_scope_also_after_a_restart() {
    let (mut scene, indexes) = scene(112).await;
    let first = scene.world.auditor("court", &AuditScope::everything()).await;
    let auditor = client(&scene, &first).await;
    assert_eq!(auditor.search(all()).await.unwrap().hits.len(), indexes.len());
    let narrow = AuditScope { members: [MemberId::parse("health").unwrap()].into(), ..AuditScope::default() };
    scene.world.auditor("court", &narrow).await;
    assert_eq!(
        auditor.search(all()).await.unwrap().hits.len(),
        0,
        "the registry counts, not the certificate"
    );
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    let police = scene.police.id().clone();
    scene.world.until_linked(&police).await;
    scene.app.meet().await.unwrap();
    let auditor = client(&scene, &first).await;
    assert_eq!(auditor.search(all()).await.unwrap().hits.len(), 0);
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contract_outside_of_the_scope_is_not_there_and_a_look_at_one_within_is_an_entry() {
    let (scene, _) = scene(114).await;
    let members =
        |id: &str| AuditScope { members: [MemberId::parse(id).unwrap()].into(), ..AuditScope::default() };
    let id = scene.contract.text.id.to_string();
    let mut refusals = std::collections::BTreeSet::new();
    for (name, scope, sees) in [
        ("a-health", members("health"), false),
        ("a-nothing", AuditScope::default(), false),
        ("a-police", members("police"), true),
        ("a-all", AuditScope::everything(), true),
    ] {
        let folder = scene.world.auditor(name, &scope).await;
        let channel = folder.enrolled().channel(Arc::clone(&scene.world.clock)).await.unwrap();
        let mut directory = DirectoryServiceClient::new(channel);
        let mut look = async |id: &str| {
            let request = pb::GetContractRequest { contract_id: id.to_owned() };
            directory.get_contract(request).await.map(tonic::Response::into_inner)
        };
        match look(&id).await {
            Ok(shown) => assert!(sees && !shown.document.is_empty(), "{name}"),
            Err(refused) => {
                assert!(!sees, "{name}: {refused}");
                refusals.insert((refused.message().to_owned(), refused.details().to_vec()));
            }
        }
        let refused = look("no-such-contract").await.unwrap_err();
        refusals.insert((refused.message().to_owned(), refused.details().to_vec()));
        let whats: Vec<String> = looks(&scene, name).into_iter().map(|(what, _)| what).collect();
        assert_eq!(whats, if sees { vec!["contract"] } else { Vec::new() }, "{name}");
    }
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Takes every place there is for such reads.
fn crowd(scene: &Scene, whom: ReadFor, places: usize) -> Vec<Place> {
    let ledger = &scene.world.hub().hub.ledger;
    (0..places).map(|_| ledger.place(whom).ok().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_search_or_reading_too_many_is_turned_away_without_an_entry() {
    let (scene, indexes) = scene(115).await;
    let folder = scene.world.auditor("court", &AuditScope::everything()).await;
    let auditor = client(&scene, &folder).await;
    let searches = crowd(&scene, ReadFor::Search, SEARCHES_WAITING);
    let refused = auditor.search(all()).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Overloaded));
    assert_eq!(looks(&scene, "court"), []);
    // Who only reads does not wait for those who search, and the other way round.
    assert!(!auditor.entries(0, 256).await.unwrap().is_empty());
    drop(searches);
    let _reads = crowd(&scene, ReadFor::Caller, READS_WAITING);
    let refused = auditor.entries(0, 256).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Overloaded));
    assert_eq!(auditor.search(all()).await.unwrap().hits.len(), indexes.len());
}
