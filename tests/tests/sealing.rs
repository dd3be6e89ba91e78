//! Sealed bodies and officers' keys over the whole way: app, hub, adapter, source and back; and what a hub
//! or adapter that cheats gets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, Ending, SignedRequest};
use yiwang_client::record::RecordQuery;
use yiwang_client::sealed::Manner;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, Entropy, ManualClock, SystemClock};
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::{AnswerBody, Arguments};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, CaseId, Matter, Operation, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::sealing::{Direction, Recipient, seal};
use yiwang_proto::ticket::Draft as Ticket;
use yiwang_rpc::link_service_client::LinkServiceClient;
use yiwang_tests::contracts::draft;
use yiwang_tests::member::{Member, RunningAdapter, TestOfficer};
use yiwang_tests::scene::{fields, outcome, reconcile, verify_ledger};
use yiwang_tests::world::{World, folder_holds};

/// A health department, a street office with an officer, and two contracts: one of class 3, one of class 4.
struct Clinic {
    world: World,
    health: Member,
    street: Member,
    adapter: Option<RunningAdapter>,
    app: Client,
    officer: TestOfficer,
    summary: Contract,
    coverage: Contract,
    record: Contract,
    case: CaseId,
    wife: String,
}

impl Clinic {
    async fn new(seed: u64) -> Self {
        Self::with(seed, Arc::new(SystemClock::default()), TestSwitches::default()).await
    }

    async fn with(seed: u64, clock: Arc<dyn Clock>, switches: TestSwitches) -> Self {
        let world = World::with(seed, clock, switches).await;
        let city = world.city();
        let mappings = ["health-coverage", "health-summary", "mental-health-record"];
        let health = world.department(&city, "health", &mappings).await;
        health.delegate_sealing(&world, "main");
        let street = world.member("street-office").await;
        let sealing = street.delegate_sealing(&world, "assistance-desk");
        let adapter = health.run_adapter(&world).await;
        let app = street.app(&world, "assistance-desk").await;
        app.publish(&sealing).await.unwrap();
        let officer = street.officer(&world, &app).await;
        let now = world.clock.now_ms();
        let contract = |id, record, operation, names: &'static [&'static str], class| {
            draft(&health, &street, id, now).record(record, operation, names, class)
        };
        let summary = contract(
            "health-street-summary",
            "HealthSummary",
            "summary.by_person",
            &["blood_group", "problems"],
            3,
        );
        let coverage =
            contract("health-street-coverage", "HealthCoverage", "coverage.by_person", &["insured"], 2);
        let names = &["diagnosis", "support_need"];
        let record =
            contract("health-street-support", "MentalHealthRecord", "mental_health.by_person", names, 4);
        let mut agreed = Vec::new();
        for text in [&summary, &coverage, &record] {
            agreed.push(Contract::open(&world.agree(text, &health, &street).await).unwrap());
        }
        let [summary, coverage, record] = <[Contract; 3]>::try_from(agreed).unwrap();
        let wife = city.household().wife.id;
        let matter = Matter::parse("social-assistance").unwrap();
        let (case, _) = app.open_case(&matter, std::slice::from_ref(&wife)).await.unwrap();
        let adapter = Some(adapter);
        Self { world, health, street, adapter, app, officer, summary, coverage, record, case, wife }
    }

    fn ask(&self, operation: &str, names: &[&str]) -> Ask {
        Ask {
            operation: Operation::parse(operation).unwrap(),
            fields: fields(names),
            case: self.case.clone(),
            officer: Some(self.officer.name.clone()),
            subject: self.wife.clone(),
            arguments: Arguments::new(),
            retry_of: None,
        }
    }

    fn blood_group(&self) -> Ask {
        self.ask("summary.by_person", &["blood_group"])
    }

    fn by_signature(&self) -> Manner {
        Manner { officer_by: OfficerBy::Signature(self.officer.delegation.digest), sealed: true }
    }

    /// Signed by app and officer, sealed.
    async fn signed(&self, contract: &Contract, ask: &Ask, officer: &SecretKey) -> SignedRequest {
        let one = self.app.prepare(contract, ask, self.by_signature());
        let both = one.request.sign_with_officer(&self.app.identity().key, officer);
        let message = pb::ExchangeRequest { request: both.bytes().clone(), body: one.message.body.clone() };
        self.app.seal_body(contract, SignedRequest { message, ..one }).await.unwrap()
    }

    async fn ticket(&self, change: impl FnOnce(&mut Ticket)) -> SignedDocument {
        let now = self.world.clock.now_ms();
        let mut ticket = Ticket {
            member: self.street.id().clone(),
            officer: self.officer.name.clone(),
            app: self.app.identity().app.clone(),
            case: self.case.clone(),
            uses: 2,
            issued_at_ms: now - 1000,
            expires_at_ms: now + 600_000,
            delegation_digest: self.officer.delegation.digest,
        };
        change(&mut ticket);
        let document = ticket.sign(RequestId::new(now, self.world.entropy.as_ref()), &self.officer.key);
        self.app.publish(&document).await.unwrap();
        document
    }

    async fn by_ticket(&self, ticket: &SignedDocument) -> String {
        let manner = Manner { officer_by: OfficerBy::Ticket(ticket.digest()), sealed: false };
        let ask = self.ask("coverage.by_person", &["insured"]);
        let signed = self.app.prepare(&self.coverage, &ask, manner);
        outcome(&self.app, &self.coverage, &signed).await
    }

    async fn end(mut self) -> World {
        if let Some(adapter) = self.adapter.take() {
            adapter.stop().await;
        }
        self.world.stop_hub().await;
        let (code, report) = verify_ledger(&self.world);
        assert_eq!(code, 0, "{report}");
        self.world
    }
}

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
    clinic.world.stop_hub().await;
    clinic.world.start_hub().await;
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

/// Statement and body of an answer; `recipients` are the adapter's own key and the consumer's.
fn bent_answer(
    bend: Bend,
    (signed, request): (&SignedStatement, Request),
    [delegation_digest, mapping_digest]: [yiwang_proto::Digest; 2],
    key: &SecretKey,
    [own, consumer]: [Recipient; 2],
    entropy: &dyn Entropy,
) -> (SignedStatement, Bytes) {
    let records = json!([{"fields": {"blood_group": "A"}}]).to_string();
    let (plain, digest) = AnswerBody::encode(records.into(), entropy);
    let answer = Answer {
        request_id: request.id,
        request_digest: signed.digest(),
        provider: request.provider,
        adapter: AppId::parse("main").unwrap(),
        verdict: Verdict::Answered,
        clause: String::new(),
        fields: fields(&["blood_group"]),
        withheld: Vec::new(),
        rows: 1,
        subject_tags: Vec::new(),
        subject_tags_root: None,
        answered_at_ms: request.issued_at_ms,
        as_of_ms: 0,
        body_digest: Some(digest),
        mapping_digest,
        head: request.head,
        delegation_digest,
        truncated: false,
        sealed_to: match bend {
            Bend::Open => None,
            Bend::OtherKeyInStatement => Some(own.delegation),
            _ => Some(consumer.delegation),
        },
    };
    let statement = answer.sign(key);
    let beside = match bend {
        Bend::OtherStatement => [7; 32],
        _ => statement.digest(),
    };
    let to = if matches!(bend, Bend::OtherKeyInBody) { own } else { consumer };
    let body = match bend {
        Bend::Open => plain,
        _ => seal(Direction::Answer, &to, &beside, &plain, entropy).unwrap(),
    };
    (statement, body)
}

/// An adapter with good keys that answers sealed requests as it likes.
async fn evil_adapter(clinic: &Clinic, bend: Bend) {
    let folder = &clinic.health.folder;
    let name = AppId::parse("main").unwrap();
    let key = folder.load_key(Role::Adapter, &name).unwrap();
    let delegation = folder.load_delegation(Role::Adapter, &name).unwrap().0;
    let (_, sealing) = folder.load_sealing(&name).unwrap().unwrap();
    let desk = AppId::parse("assistance-desk").unwrap();
    let (_, consumer) = clinic.street.folder.load_sealing(&desk).unwrap().unwrap();
    let consumer = Recipient::from(&Delegation::open(&consumer).unwrap());
    let own = Recipient::from(&Delegation::open(&sealing).unwrap());
    // The mapping that the honest adapter announced.
    let sources = clinic.health.sources();
    let mapping = sources.iter().find(|source| *source.mapping().record() == clinic.summary.text.record);
    let mapping = mapping.unwrap().mapping().digest();
    let channel = folder.enrolled().unwrap().channel(Arc::clone(&clinic.world.clock)).await.unwrap();
    let (frames, queue) = tokio::sync::mpsc::channel(16);
    let hello = pb::LinkHello {
        adapter: "main".to_owned(),
        version: 1,
        delegation: delegation.bytes().clone(),
        sealing: sealing.bytes().clone(),
        ..pb::LinkHello::default()
    };
    let send = |kind| pb::ConnectRequest { frames: vec![pb::AdapterFrame { kind: Some(kind) }] };
    frames.send(send(pb::adapter_frame::Kind::Hello(hello))).await.unwrap();
    let mut incoming =
        LinkServiceClient::new(channel).connect(ReceiverStream::new(queue)).await.unwrap().into_inner();
    let entropy = Arc::clone(&clinic.world.entropy);
    tokio::spawn(async move {
        while let Ok(Some(message)) = incoming.message().await {
            for frame in message.frames {
                let Some(pb::hub_frame::Kind::Request(chunk)) = frame.kind else { continue };
                let signed = SignedStatement::parse(chunk.request).unwrap();
                let request = Request::parse(signed.unverified_payload()).unwrap();
                let (statement, body) = bent_answer(
                    bend,
                    (&signed, request),
                    [delegation.digest(), mapping],
                    &key,
                    [own, consumer],
                    entropy.as_ref(),
                );
                let answer = statement.bytes().clone();
                let chunk = pb::AnswerChunk { exchange: chunk.exchange, chunk: 0, last: true, answer, body };
                let _ = frames.send(send(pb::adapter_frame::Kind::Answer(chunk))).await;
            }
        }
    });
    clinic.world.until_linked(clinic.health.id()).await;
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
        evil_adapter(&clinic, bend).await;
        let signed = clinic.signed(&clinic.summary, &clinic.blood_group(), &clinic.officer.key).await;
        assert_eq!(outcome(&clinic.app, &clinic.summary, &signed).await, wanted);
    }
    clinic.end().await;
}
