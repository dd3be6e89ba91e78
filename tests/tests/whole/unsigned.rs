//! What nobody signs and what nobody verifies stays out of the ledger: second signatures, hints, members of an
//! envelope, and the words with which an adapter refuses. Each of them had room for a name and an address.

use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;
use tonic::transport::Channel;
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, Ending, SignedRequest};
use yiwang_hub::ledger::{Draft, Linear};
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::codes::Code;
use yiwang_proto::contract::ContractText;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{AppId, CaseId, FieldName, Matter, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_rpc::case_service_client::CaseServiceClient;
use yiwang_rpc::directory_service_client::DirectoryServiceClient;
use yiwang_tests::clinic::{Clinic, Hands, Turns};
use yiwang_tests::member::Member;
use yiwang_tests::scene::{Scene, fields, outcome};
use yiwang_tests::world::{World, folder_holds};

/// 64 bytes that are no signature.
const NOTE: &[u8; 64] = b"Zhang San of Changan road 4, telephone 13800138000, has had help";
const NAME: &str = "Zhang San of Changan road";

fn with_a_note(signed: &SignedStatement) -> Bytes {
    let mut envelope = signed.envelope().clone();
    envelope.signatures.push(pb::Signature { sig: Bytes::from_static(NOTE), keyid: String::new() });
    envelope.encode_to_vec().into()
}

fn with_a_hint(signed: &SignedStatement) -> Bytes {
    let mut envelope = signed.envelope().clone();
    envelope.signatures[0].keyid = "13800138000".to_owned();
    envelope.encode_to_vec().into()
}

fn carries_nothing(world: &World) {
    for note in [NOTE.as_slice(), NAME.as_bytes(), b"zhang-san", b"zhang_san", b"13800138000"] {
        assert!(!folder_holds(&world.hub_dir(), note), "{}", String::from_utf8_lossy(note));
    }
}

async fn channel(member: &Member, world: &World) -> Channel {
    member.folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap()
}

fn code(status: &tonic::Status) -> String {
    status.metadata().get("yiwang-code").unwrap().to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_signature_that_nobody_verifies_is_refused_and_not_kept() {
    let clinic = Clinic::new(150).await;
    let (app, coverage) = (&clinic.app, &clinic.coverage);
    let ask = clinic.ask("coverage.by_person", &["insured"]);
    let signed = app.sign(coverage, &ask);
    let statement = SignedStatement::parse(signed.message.request.clone()).unwrap();
    for (request, wanted) in [
        (with_a_note(&statement), "unrecorded: malformed"),
        // Refused and recorded, with the statement's digest in its place.
        (with_a_hint(&statement), "signature_invalid"),
    ] {
        let message = pb::ExchangeRequest { request, ..signed.message.clone() };
        let bent = SignedRequest { message, ..signed.clone() };
        assert_eq!(outcome(app, coverage, &bent).await, wanted);
    }
    assert_eq!(outcome(app, coverage, &signed).await, "answered", "none of them used the id up");
    // Where the officer signs too, a note in that place is no signature: it is refused, and only its digest kept.
    let signed = app.sign_in(&clinic.summary, &clinic.blood_group(), clinic.by_signature()).await.unwrap();
    let statement = SignedStatement::parse(signed.message.request.clone()).unwrap();
    let message = pb::ExchangeRequest { request: with_a_note(&statement), ..signed.message.clone() };
    let bent = SignedRequest { message, ..signed };
    let exchanged = app.exchange(&clinic.summary, &bent).await.unwrap();
    let Some(Kind::Exchange(entry)) = exchanged.receipt.entry.kind else { panic!("no exchange") };
    assert_eq!(entry.code, "officer_invalid");
    assert!(entry.request.is_empty() && entry.request_digest.as_ref() == bent.digest);
    let world = clinic.end().await;
    carries_nothing(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_fields_that_no_catalogue_has_are_not_kept_with_the_refusal() {
    let scene = Scene::new(151).await;
    let ask = Ask { fields: fields(&["name", "zhang_san"]), ..scene.ask() };
    let signed = scene.app.sign(&scene.contract, &ask);
    let exchanged = scene.app.exchange(&scene.contract, &signed).await.unwrap();
    let Some(Kind::Exchange(entry)) = exchanged.receipt.entry.kind else { panic!("no exchange") };
    assert_eq!((entry.code.as_str(), entry.clause.as_str()), ("field_not_granted", "fields"));
    carries_nothing(&scene.world);
}

/// A case statement of an app, as its client would sign it.
fn opening(app: &Client, world: &World) -> SignedStatement {
    let (identity, now) = (app.identity(), world.clock.now_ms());
    let statement = CaseStatement {
        id: RequestId::new(now, world.entropy.as_ref()),
        case: CaseId::new(now, world.entropy.as_ref()),
        member: identity.member.clone(),
        app: identity.app.clone(),
        act: Act::Open { matter: Matter::parse("social-assistance").unwrap() },
        subject_tags: Vec::new(),
        issued_at_ms: now,
        expires_at_ms: now + 10_000,
        delegation_digest: identity.delegation.digest(),
        head: app.head(),
    };
    statement.sign(&identity.key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_and_standings_carry_one_signature() {
    let scene = Scene::new(152).await;
    let channel = channel(&scene.street, &scene.world).await;
    let mut cases = CaseServiceClient::new(channel.clone());
    let signed = opening(&scene.app, &scene.world);
    for statement in [with_a_note(&signed), with_a_hint(&signed)] {
        let refused = cases.submit(pb::SubmitRequest { statement }).await.unwrap_err();
        assert_eq!(code(&refused), "signature_invalid");
    }
    cases.submit(pb::SubmitRequest { statement: signed.bytes().clone() }).await.unwrap();
    scene.street.issuing.stop();
    let mut directory = DirectoryServiceClient::new(channel);
    // One that would be entered at once, since it takes something back.
    scene.street.folder.revoke(&Revoked { delegations: [[7; 32]].into(), ..Revoked::default() }).unwrap();
    let issued = scene.street.folder.issue_standing(scene.world.clock.now_ms()).unwrap();
    for standing in [with_a_note(&issued.signed), with_a_hint(&issued.signed)] {
        let standing = Some(pb::SignedStanding { standing, delegation: issued.delegation.bytes().clone() });
        let refused = directory.offer_standing(pb::OfferStandingRequest { standing }).await.unwrap_err();
        assert_eq!(code(&refused), "signature_invalid");
    }
    carries_nothing(&scene.world);
}

/// Documents of each kind that the hub would enter, were it not for what is added to them.
fn documents(clinic: &Clinic) -> Vec<(&'static str, SignedDocument)> {
    let (street, now) = (&clinic.street, clinic.world.clock.now_ms());
    let root = street.folder.root_key().unwrap();
    let desk = AppId::parse("other-desk").unwrap();
    let key = SecretKey::from_seed(&[9; 32]).public();
    let delegation =
        Delegation::sign(&root, street.id(), Role::App, &desk, key, 99, now - 60_000, now + 60_000);
    let list = Revoked { delegations: [[8; 32]].into(), ..Revoked::default() };
    let revocation = Revocation::sign(&root, &root.public(), street.id(), &list, false, now);
    let ticket = yiwang_proto::ticket::Draft {
        member: street.id().clone(),
        officer: clinic.officer.name.clone(),
        app: clinic.app.identity().app.clone(),
        case: clinic.case.clone(),
        uses: 2,
        issued_at_ms: now - 1000,
        expires_at_ms: now + 60_000,
        delegation_digest: clinic.officer.delegation.digest,
    };
    let ticket = ticket.sign(RequestId::new(now, clinic.world.entropy.as_ref()), &clinic.officer.key);
    let newer = ContractText { version: 2, ..clinic.coverage.text.clone() };
    let roots = [&clinic.health.folder.root_key().unwrap(), &root];
    let contract = SignedDocument::sign(payload_type::CONTRACT, &newer.to_json(), &roots);
    vec![("delegation", delegation), ("revocation", revocation), ("ticket", ticket), ("contract", contract)]
}

/// What is added to a document, how, and whether it is an envelope still.
type Added<'a> = (&'a str, &'a dyn Fn(&mut serde_json::Value), bool);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_carry_what_is_signed_and_verified_and_nothing_else() {
    let clinic = Clinic::new(153).await;
    let mut directory = DirectoryServiceClient::new(channel(&clinic.street, &clinic.world).await);
    for (kind, good) in documents(&clinic) {
        let json: serde_json::Value = serde_json::from_slice(good.bytes()).unwrap();
        let note = yiwang_proto::document::base64_of(NOTE);
        let bends: [Added<'_>; 5] = [
            ("a member of the envelope", &|json| json["note"] = NAME.into(), false),
            ("a member of a signature", &|json| json["signatures"][0]["cert"] = NAME.into(), false),
            (
                "a signature",
                &|json| {
                    let more = serde_json::json!({"sig": note});
                    json["signatures"].as_array_mut().unwrap().push(more);
                },
                true,
            ),
            (
                "the first signature again",
                &|json| {
                    let again = json["signatures"][0].clone();
                    json["signatures"].as_array_mut().unwrap().push(again);
                },
                true,
            ),
            ("a hint", &|json| json["signatures"][0]["keyid"] = NAME.into(), true),
        ];
        for (what, bend, is_envelope) in bends {
            let mut bent = json.clone();
            bend(&mut bent);
            let request = pb::PublishRequest { document: bent.to_string().into() };
            let refused = directory.publish(request).await.unwrap_err();
            let said = code(&refused);
            assert_eq!(said != "malformed", is_envelope, "{kind}: {what}: {said}");
            if what.contains("signature") && is_envelope {
                assert_eq!(said, "signature_invalid", "{kind}: {what}");
            }
        }
        directory.publish(pb::PublishRequest { document: good.bytes().clone() }).await.unwrap();
    }
    carries_nothing(&clinic.world);
}

/// An adapter's answer, bent before it is signed or after.
type Bend = fn(&Hands, Answer) -> SignedStatement;

fn bends() -> Vec<Bend> {
    vec![
        |hands, answer| {
            let withheld = vec![(FieldName::parse("blood_group").unwrap(), NAME.to_owned())];
            Answer { withheld, fields: Vec::new(), ..answer }.sign(&hands.key)
        },
        // A name of a field that nobody asked for.
        |hands, answer| {
            let withheld = vec![(FieldName::parse("zhang_san").unwrap(), "not-mapped".to_owned())];
            Answer { withheld, ..answer }.sign(&hands.key)
        },
        // An answer is not refused, so nothing decided.
        |hands, answer| Answer { clause: "zhang-san".to_owned(), ..answer }.sign(&hands.key),
        |hands, answer| refusal(answer, NAME).sign(&hands.key),
        |hands, answer| refusal(answer, "holder:13800138000").sign(&hands.key),
        |hands, answer| SignedStatement::parse(with_a_note(&answer.sign(&hands.key))).unwrap(),
        |hands, answer| SignedStatement::parse(with_a_hint(&answer.sign(&hands.key))).unwrap(),
    ]
}

fn refusal(answer: Answer, clause: &str) -> Answer {
    Answer {
        verdict: Verdict::Denied(Code::RowOutsideFilter),
        clause: clause.to_owned(),
        fields: Vec::new(),
        rows: 0,
        body_digest: None,
        sealed_to: None,
        mapping_digest: [0; 32],
        ..answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_has_no_room_for_words_in_its_answer() {
    let mut clinic = Clinic::new(154).await;
    clinic.adapter.take().unwrap().stop().await;
    for bend in bends() {
        let respond = move |hands: &Hands, signed: &SignedStatement, request| {
            let (plain, digest) = hands.plain();
            let answer = hands.answer(signed, request, digest);
            let body = match bend(hands, answer.clone()) {
                refused
                    if Answer::parse(refused.unverified_payload()).is_ok_and(|a| a.body_digest.is_none()) =>
                {
                    Bytes::new()
                }
                _ => hands.sealed(&answer, &plain).1,
            };
            (bend(hands, answer), body)
        };
        clinic.puppet(Turns::always(), respond).await;
        let signed = clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await;
        assert_eq!(outcome(&clinic.app, &clinic.summary, &signed).await, "answer_invalid");
    }
    // A refusal in the grammar stands in the ledger as the adapter signed it.
    let respond = |hands: &Hands, signed: &SignedStatement, request| {
        let answer = refusal(hands.answer(signed, request, [0; 32]), "rows:area_code");
        (answer.sign(&hands.key), Bytes::new())
    };
    clinic.puppet(Turns::always(), respond).await;
    let signed = clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await;
    let exchanged = clinic.app.exchange(&clinic.summary, &signed).await.unwrap();
    let wanted =
        Ending::Denied { code: "row_outside_filter".to_owned(), clause: "rows:area_code".to_owned() };
    assert_eq!(exchanged.ending, wanted);
    let world = clinic.end().await;
    carries_nothing(&world);
}

/// An entry of a hub that looks at nothing.
struct Entered(pb::ExchangeEntry);

impl Draft for Entered {
    fn finish(self: Box<Self>, _at: &Linear<'_>) -> Result<Kind, Code> {
        Ok(Kind::Exchange(self.0))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_believes_no_words_that_a_hub_let_pass() {
    let scene = Scene::new(155).await;
    let signed = scene.signed();
    let response = answered(&scene, &signed).await;
    let receipt = scene.app.verify_receipt(response.receipt.clone()).unwrap();
    let Some(Kind::Exchange(good)) = receipt.entry.kind else { panic!("no exchange") };
    let name = AppId::parse("main").unwrap();
    let key = scene.police.folder.load_key(Role::Adapter, &name).unwrap();
    let statement = SignedStatement::parse(good.answer.clone()).unwrap();
    let answer = Answer::parse(statement.unverified_payload()).unwrap();
    let noted = Answer { clause: NAME.to_owned(), ..answer.clone() }.sign(&key).bytes().clone();
    let mut withheld = answer;
    withheld.withheld = vec![(withheld.fields.remove(0), NAME.to_owned())];
    let withheld = withheld.sign(&key).bytes().clone();
    for (answer, wanted) in [
        (good.answer.clone(), None),
        (noted, Some("only a refusal or failure has a clause")),
        (withheld, Some("grammar")),
        (with_a_note(&statement), Some("2 signatures")),
        (with_a_hint(&statement), Some("no good signature")),
    ] {
        let entry = pb::ExchangeEntry { answer, ..good.clone() };
        said(&scene, &signed, entry, &response.body, wanted).await;
    }
    let denied = pb::ExchangeEntry {
        answer: Bytes::new(),
        outcome: pb::Outcome::Denied.into(),
        code: "no_contract".to_owned(),
        clause: NAME.to_owned(),
        ..good
    };
    said(&scene, &signed, denied, &Bytes::new(), Some("grammar")).await;
}

async fn answered(scene: &Scene, signed: &SignedRequest) -> pb::ExchangeResponse {
    let channel = channel(&scene.street, &scene.world).await;
    let mut service = yiwang_rpc::exchange_service_client::ExchangeServiceClient::new(channel);
    service.exchange(signed.message.clone()).await.unwrap().into_inner()
}

/// Enters an exchange as it is, and lets the app judge it.
async fn said(
    scene: &Scene,
    signed: &SignedRequest,
    entry: pb::ExchangeEntry,
    body: &Bytes,
    wanted: Option<&str>,
) {
    let appended = scene.world.hub().hub.ledger.append(Box::new(Entered(entry))).await.unwrap();
    let response = pb::ExchangeResponse { receipt: Some(appended.to_receipt()), body: body.clone() };
    match (scene.app.verify(&scene.contract, signed, response).await, wanted) {
        (Ok(exchanged), None) => assert!(matches!(exchanged.ending, Ending::Answered { .. })),
        (Err(error), Some(wanted)) => assert!(error.to_string().contains(wanted), "{error}"),
        (got, wanted) => panic!("{got:?}, not {wanted:?}"),
    }
}
