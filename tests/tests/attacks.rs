//! Every way to get more than a contract grants: each is refused with its own code, and stands in the ledger
//! once the peer is authenticated. What only an adapter can see (a lying hub) is tested in the sdk.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use prost::Message as _;
use serde_json::json;
use yiwang_client::exchange::{Ask, SignedRequest};
use yiwang_hub::cases;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::Arguments;
use yiwang_proto::case::Act;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, Scalar};
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{AppId, CaseId, ContractId, FieldName, Matter, MemberId, Operation, Purpose};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::request::Request;
use yiwang_tests::contracts::draft;
use yiwang_tests::evil::{Bend, evil_adapter};
use yiwang_tests::raw::{RawLink, message};
use yiwang_tests::scene::{Scene, fields, outcome};

/// Changes the statement of an allowed request and signs it again.
fn bent(scene: &Scene, bend: impl FnOnce(&mut Request)) -> SignedRequest {
    let signed = scene.signed();
    let mut request = signed.request.clone();
    bend(&mut request);
    scene.app.seal(request, signed.message.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_outside_the_contract_is_refused_by_clause_and_recorded() {
    let scene = Scene::new(10).await;
    let cases: Vec<(&str, SignedRequest)> = vec![
        ("no_contract", bent(&scene, |r| r.contract = ContractId::parse("police-street-nothing").unwrap())),
        (
            "no_case",
            bent(&scene, |r| r.case = CaseId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap()),
        ),
        ("purpose_mismatch", bent(&scene, |r| r.purpose = Purpose::parse("emergency.life-safety").unwrap())),
        ("field_not_granted", bent(&scene, |r| r.fields = fields(&["id_number", "name"]))),
        (
            "operation_not_granted",
            bent(&scene, |r| r.operation = Operation::parse("person.everybody").unwrap()),
        ),
        ("subject_not_in_case", bent(&scene, |r| r.subject_tags = vec![[7; 32]])),
        (
            "statement_expired",
            bent(&scene, |r| {
                r.issued_at_ms -= 120_000;
                r.expires_at_ms -= 120_000;
            }),
        ),
        (
            "clock_skew",
            bent(&scene, |r| {
                r.issued_at_ms += 45_000;
                r.expires_at_ms += 45_000;
            }),
        ),
        ("contract_invalid", bent(&scene, |r| r.contract_digest = [9; 32])),
        ("key_unknown", bent(&scene, |r| r.delegation_digest = [9; 32])),
        ("delegation_invalid", bent(&scene, |r| r.app = AppId::parse("other-desk").unwrap())),
        ("answered", scene.signed()),
    ];
    for (wanted, signed) in cases {
        let got = scene.outcome(&signed).await;
        // A contract named by another digest does not exist for the caller.
        assert!(got == wanted || (wanted == "contract_invalid" && got == "no_contract"), "{wanted}: {got}");
    }
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_case_and_a_foreign_subject_are_refused() {
    let scene = Scene::new(11).await;
    let neighbour = scene.city.persons().map(|person| person.id).find(|id| *id != scene.mother).unwrap();
    let ask = Ask { subject: neighbour, ..scene.ask() };
    assert_eq!(scene.outcome(&scene.app.sign(&scene.contract, &ask)).await, "subject_not_in_case");
    // The mother's tag for the neighbour's id: only the adapter can see it, and it does on the second subject.
    let honest = scene.signed();
    assert_eq!(scene.outcome(&honest).await, "answered");
    let neighbour = scene.app.sign(&scene.contract, &ask);
    let mut request = neighbour.request.clone();
    request.subject_tags = honest.request.subject_tags.clone();
    let swapped = scene.app.seal(request, neighbour.message.body);
    assert_eq!(scene.outcome(&swapped).await, "tag_mismatch");
    let decided = Act::Close { reason: "decided".to_owned() };
    scene.app.act_on_case(&scene.case, decided, &[]).await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "case_closed");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_and_ceilings_of_a_contract_hold() {
    let hour = 3_600_000;
    let text = yiwang_proto::time::format_rfc3339;
    let scene = Scene::bent(12, |draft| draft.limit("per_app_per_minute", 3)).await;
    let now = scene.world.clock.now_ms();
    for (id, from, until, wanted) in [
        ("police-street-old", now - 10 * hour, now - hour, "contract_expired"),
        ("police-street-new", now + hour, now + 10 * hour, "contract_not_yet_valid"),
    ] {
        let text = draft(&scene.police, &scene.street, id, now)
            .with("valid_from", json!(text(from)))
            .with("valid_until", json!(text(until)));
        let document = scene.world.agree(&text, &scene.police, &scene.street).await;
        let contract = Contract::open(&document).unwrap();
        let signed = scene.app.sign(&contract, &scene.ask());
        assert_eq!(outcome(&scene.app, &contract, &signed).await, wanted);
    }
    let mut endings = Vec::new();
    for _ in 0..5 {
        endings.push(scene.outcome(&scene.signed()).await);
    }
    // Unless the minute turned in between, the fourth and fifth are over the ceiling.
    assert!(endings.iter().any(|ending| ending == "rate_exceeded"), "{endings:?}");
    assert!(endings.iter().all(|ending| ending == "answered" || ending == "rate_exceeded"), "{endings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_outside_the_contract_are_refused_before_the_source_is_touched() {
    let scene = Scene::new(13).await;
    let text = draft(&scene.police, &scene.street, "police-street-calls", scene.world.clock.now_ms())
        .record("Incident", "incident.by_township_day", &["opened_at", "type"], 1)
        .with("rows", json!([{"field": "township", "op": "eq", "value": "NORRISTOWN"}]));
    let document = scene.world.agree(&text, &scene.police, &scene.street).await;
    let contract = Contract::open(&document).unwrap();
    let township = FieldName::parse("township").unwrap();
    let ask = Ask {
        operation: Operation::parse("incident.by_township_day").unwrap(),
        fields: fields(&["opened_at", "type"]),
        subject: String::new(),
        arguments: Arguments::from([(township, Scalar::Text("ABINGTON".to_owned()))]),
        ..scene.ask()
    };
    let signed = scene.app.sign(&contract, &ask);
    assert_eq!(outcome(&scene.app, &contract, &signed).await, "row_outside_filter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_a_replay_is_refused_also_in_another_envelope_and_after_a_restart() {
    let mut scene = Scene::new(14).await;
    let signed = scene.signed();
    assert_eq!(scene.outcome(&signed).await, "answered");
    assert_eq!(scene.outcome(&signed).await, "replayed");
    // The same payload without the key's hint is another envelope with the same id.
    let mut envelope = pb::Envelope::decode(signed.message.request.clone()).unwrap();
    envelope.signatures[0].keyid.clear();
    let mut other = signed.clone();
    other.message.request = Bytes::from(envelope.encode_to_vec());
    assert_eq!(scene.outcome(&other).await, "replayed");
    // With the same signature twice it is none: nobody verifies the second.
    envelope.signatures.push(envelope.signatures[0].clone());
    other.message.request = Bytes::from(envelope.encode_to_vec());
    assert_eq!(scene.outcome(&other).await, "unrecorded: malformed");
    // What is refused before its id is looked at uses none, and does not stand for the one that did.
    let ahead = bent(&scene, |request| {
        request.id = signed.request.id.clone();
        request.issued_at_ms += 45_000;
        request.expires_at_ms += 45_000;
    });
    assert_eq!(scene.outcome(&ahead).await, "clock_skew");
    for _ in 0..2 {
        assert_eq!(scene.outcome(&signed).await, "replayed");
    }
    // Nor does what is refused while the first use is under way.
    let racing = scene.signed();
    let ahead = bent(&scene, |request| {
        request.id = racing.request.id.clone();
        request.issued_at_ms += 45_000;
        request.expires_at_ms += 45_000;
    });
    assert_eq!(scene.outcome(&ahead).await, "clock_skew");
    let (one, other) = tokio::join!(scene.outcome(&racing), scene.outcome(&racing));
    assert_eq!(std::collections::BTreeSet::from([one.as_str(), &other]), ["answered", "replayed"].into());
    for _ in 0..2 {
        assert_eq!(scene.outcome(&racing).await, "replayed");
    }
    let add = Act::Add { reason: "decided".to_owned() };
    let subject = "980121190001010000".to_owned();
    let added = scene.app.act_on_case(&scene.case, add, &[subject]).await.unwrap();
    let Some(Kind::CaseStatement(added)) = added.entry.kind else { panic!("it is no case statement") };
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    let police = scene.police.id().clone();
    scene.world.until_linked(&police).await;
    scene.app.meet().await.unwrap();
    for _ in 0..2 {
        assert_eq!(scene.outcome(&signed).await, "replayed", "after a restart");
    }
    let again = cases::submit(&scene.world.hub().hub, scene.street.id(), added.statement).await;
    assert_eq!(again.err(), Some(Code::Replayed), "a case statement too");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "a new request is served");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_statement_or_body_can_change() {
    let scene = Scene::new(15).await;
    let honest = scene.signed();
    let mut refused = std::collections::BTreeMap::<String, usize>::new();
    for at in 0..honest.message.request.len() {
        let mut bytes = honest.message.request.to_vec();
        bytes[at] ^= 1;
        let mut altered = honest.clone();
        altered.message.request = Bytes::from(bytes);
        let got = scene.outcome(&altered).await;
        // The keyid is a hint that is not signed: a request with another hint is the same request.
        let hint = scene.app.identity().key.key_id().as_bytes();
        let from = honest.message.request.windows(16).position(|w| w == hint).unwrap();
        let in_hint = (from..from + 16).contains(&at);
        assert!(got != "answered" || in_hint, "byte {at} of the statement");
        *refused.entry(got).or_default() += 1;
    }
    // The first of them are entries, the others folded.
    let by_signature = refused.keys().any(|got| got.ends_with("signature_invalid"));
    assert!(by_signature && refused.contains_key("unrecorded: malformed"), "{refused:?}");
    let mut altered = scene.signed();
    let mut body = altered.message.body.to_vec();
    body[20] ^= 1;
    altered.message.body = Bytes::from(body);
    assert_eq!(scene.outcome(&altered).await, "malformed");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_count_only_by_delegations_under_the_right_root() {
    let scene = Scene::new(16).await;
    let now = scene.world.clock.now_ms();
    // Signed by a key that is not the delegated one.
    let stranger = SecretKey::from_seed(&[42; 32]);
    let honest = scene.signed();
    let forged = honest.request.sign(&stranger);
    let mut message = honest.clone();
    message.message.request = forged.bytes().clone();
    assert_eq!(scene.outcome(&message).await, "signature_invalid");
    // A delegation under another root cannot be published.
    let name = AppId::parse("assistance-desk").unwrap();
    let foreign = Delegation::sign(
        &stranger,
        scene.street.id(),
        Role::App,
        &name,
        stranger.public(),
        9,
        now,
        now + 60_000,
    );
    let refused = scene.app.publish(&foreign).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("delegation_invalid"));
    // Nor one of another member over this member's connection.
    let root = scene.police.folder.root_key().unwrap();
    let other =
        Delegation::sign(&root, scene.police.id(), Role::App, &name, stranger.public(), 9, now, now + 60_000);
    let refused = scene.app.publish(&other).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("wrong_member"));
    // A key whose delegation is not published.
    let unknown = scene.street.app_unpublished(&scene.world, "other-desk").await;
    let signed = unknown.sign(&scene.contract, &scene.ask());
    assert_eq!(outcome(&unknown, &scene.contract, &signed).await, "key_unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_another_members_certificate_and_contracts_give_nothing() {
    let scene = Scene::new(17).await;
    let hospital = scene.world.member("hospital").await;
    let intruder = hospital.app(&scene.world, "assistance-desk").await;
    // A request that the street office signed, sent over the hospital's connection.
    let stolen = scene.signed();
    assert_eq!(outcome(&intruder, &scene.contract, &stolen).await, "wrong_member");
    // The hospital's own request under the street office's contract: for it, there is no such contract.
    let matter = Matter::parse("social-assistance").unwrap();
    let (case, _) = intruder.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    let own = intruder.sign(&scene.contract, &Ask { case, ..scene.ask() });
    assert_eq!(outcome(&intruder, &scene.contract, &own).await, "no_contract");
    // Another member's case does not exist either.
    let ask = scene.app.sign(&scene.contract, &scene.ask());
    assert_eq!(scene.outcome(&ask).await, "answered");
    assert!(intruder.show_case(&scene.case).await.is_err());
    assert!(intruder.evidence(0).await.is_err());
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_contracts_need_both_signatures_and_cannot_be_changed() {
    let scene = Scene::new(18).await;
    let text = draft(&scene.police, &scene.street, "police-street-more", scene.world.clock.now_ms());
    let json = text.0.to_string();
    let provider = scene.police.folder.root_key().unwrap();
    let consumer = scene.street.folder.root_key().unwrap();
    for keys in [vec![&provider], vec![&consumer], vec![&consumer, &consumer]] {
        let one = SignedDocument::sign(payload_type::CONTRACT, json.as_bytes(), &keys);
        let refused = scene.app.publish(&one).await.unwrap_err();
        assert_eq!(refused.code().map(|code| code.as_str()), Some("contract_invalid"));
    }
    let both = text.sign(&scene.police, &scene.street);
    let mut changed: serde_json::Value = serde_json::from_slice(both.bytes()).unwrap();
    let wider = json.replace("\"birth_date\"", "\"id_number\"");
    changed["payload"] = yiwang_proto::document::base64_of(wider.as_bytes()).into();
    let changed = SignedDocument::parse(changed.to_string().into(), 65_536).unwrap();
    let refused = scene.app.publish(&changed).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("contract_invalid"));
    // An older version does not replace a newer one, and class 3 asks for sealed bodies.
    scene.app.publish(&both).await.unwrap();
    let again = text
        .with("scenario", json!("another text under the same version"))
        .sign(&scene.police, &scene.street);
    let refused = scene.app.publish(&again).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("replayed"));
    let sealed = draft(&scene.police, &scene.street, "police-street-health", scene.world.clock.now_ms())
        .record("HealthSummary", "summary.by_person", &["problems"], 3);
    let document = scene.world.agree(&sealed, &scene.police, &scene.street).await;
    let contract = Contract::open(&document).unwrap();
    let ask = Ask {
        operation: Operation::parse("summary.by_person").unwrap(),
        fields: fields(&["problems"]),
        ..scene.ask()
    };
    let signed = scene.app.sign(&contract, &ask);
    assert_eq!(outcome(&scene.app, &contract, &signed).await, "sealing_required");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_answers_more_or_other_than_granted_is_not_released() {
    let mut scene = Scene::new(19).await;
    scene.adapter.take().unwrap().stop().await;
    let bends: [(Bend, &str); 5] = [
        (|answer| answer.fields = fields(&["birth_date", "id_number", "name"]), "answer_invalid"),
        (|answer| answer.rows = 999, "answer_invalid"),
        (|answer| answer.body_digest = Some([7; 32]), "answer_invalid"),
        (|answer| answer.request_digest = [7; 32], "answer_invalid"),
        (|_| {}, "answered"),
    ];
    for (bend, wanted) in bends {
        evil_adapter(&scene, bend, None).await;
        let signed = scene.signed();
        let got = scene.outcome(&signed).await;
        assert_eq!(got, wanted);
    }
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Whether a text stands in any file of the ledger's segments.
fn in_segments(scene: &Scene, text: &str) -> bool {
    std::fs::read_dir(scene.world.ledger_dir().join("segments")).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t32_a_statement_with_words_of_no_catalogue_leaves_its_digest_only() {
    let scene = Scene::new(20).await;
    let smuggled = format!("f{}", scene.mother);
    let signed = bent(&scene, |request| request.fields = fields(&[&smuggled]));
    assert_eq!(scene.outcome(&signed).await, "field_not_granted");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    assert!(in_segments(&scene, "birth_date"), "the search finds what stands there");
    assert!(!in_segments(&scene, &scene.mother));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t32_ids_that_an_app_made_up_leave_their_digest_only() {
    let scene = Scene::new(21).await;
    let smuggled = format!("x{}", scene.mother);
    let made_up = [
        ("no_contract", bent(&scene, |r| r.contract = ContractId::parse(&smuggled).unwrap())),
        ("operation_not_granted", bent(&scene, |r| r.operation = Operation::parse(&smuggled).unwrap())),
        ("no_contract", bent(&scene, |r| r.provider = MemberId::parse(&smuggled).unwrap())),
    ];
    let (begun, count) = (scene.world.hub().hub.ledger.checkpoint().size, made_up.len() as u64);
    for (wanted, signed) in &made_up {
        assert_eq!(scene.outcome(signed).await, *wanted);
    }
    let known = bent(&scene, |r| r.provider = scene.street.id().clone());
    assert_eq!(scene.outcome(&known).await, "no_contract");
    let ledger = &scene.world.hub().hub.ledger;
    let kept = |index| match entry::decode(&ledger.receipt(index).unwrap().entry).unwrap().kind {
        Some(Kind::Exchange(entry)) => (!entry.request.is_empty(), entry.request_digest.len()),
        other => panic!("{other:?}"),
    };
    let kept: Vec<_> = (begun..=begun + count).map(kept).collect();
    assert_eq!(kept, [(false, 32), (false, 32), (false, 32), (true, 0)]);
    assert!(!in_segments(&scene, &scene.mother));
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// An answer of the police to a request that they signed themselves, in the name of the street office.
async fn forged_offer(scene: &Scene, bend: impl FnOnce(&mut Request)) -> String {
    let (police, name) = (&scene.police.folder, AppId::parse("police-desk").unwrap());
    scene.police.app(&scene.world, "police-desk").await;
    let app = police.load_key(Role::App, &name).unwrap();
    let mut request = scene.signed().request;
    request.delegation_digest = police.load_delegation(Role::App, &name).unwrap().1.digest;
    bend(&mut request);
    let asked = request.sign(&app);
    let main = AppId::parse("main").unwrap();
    let answer = Answer {
        request_id: request.id.clone(),
        request_digest: asked.digest(),
        provider: request.provider.clone(),
        adapter: main.clone(),
        verdict: Verdict::Failed(Code::SourceError),
        clause: String::new(),
        fields: Vec::new(),
        withheld: Vec::new(),
        rows: 0,
        subject_tags: Vec::new(),
        subject_tags_root: None,
        answered_at_ms: request.issued_at_ms,
        as_of_ms: 0,
        body_digest: None,
        mapping_digest: [0; 32],
        head: request.head,
        delegation_digest: police.load_delegation(Role::Adapter, &main).unwrap().1.digest,
        truncated: false,
        sealed_to: None,
    };
    let answer = answer.sign(&police.load_key(Role::Adapter, &main).unwrap());
    let offer = pb::AnswerOffer { request: asked.bytes().clone(), answer: answer.bytes().clone() };
    let mut link = RawLink::open(&scene.world, &scene.police, |_| ()).await;
    scene.world.until_linked(scene.police.id()).await;
    link.frames.send(message(vec![pb::adapter_frame::Kind::Offer(offer)])).await.unwrap();
    loop {
        for frame in link.incoming.message().await.unwrap().unwrap().frames {
            match frame.kind {
                Some(pb::hub_frame::Kind::OfferRefused(refused)) => return refused.code,
                Some(pb::hub_frame::Kind::Receipts(_)) => return "entered".to_owned(),
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_a_provider_makes_up_no_request_of_another_member() {
    let mut scene = Scene::new(311).await;
    scene.adapter.take().unwrap().stop().await;
    let app = AppId::parse("police-desk").unwrap();
    assert_eq!(forged_offer(&scene, |_| ()).await, "delegation_invalid");
    assert_eq!(forged_offer(&scene, |request| request.app = app.clone()).await, "delegation_invalid");
    // As their own request the contract has no such consumer.
    let police = scene.police.id().clone();
    let own = forged_offer(&scene, |request| {
        request.app = app.clone();
        request.consumer = police;
    });
    assert_eq!(own.await, "no_contract");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
