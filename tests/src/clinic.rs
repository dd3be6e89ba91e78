//! The scene of sealed bodies and officers' keys: health answers, the street office asks with an officer.

use crate::contracts::draft;
use crate::member::{Member, RunningAdapter, TestOfficer};
use crate::raw::{RawLink, message};
use crate::scene::{fields, outcome, verify_ledger};
use crate::world::World;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;
use yiwang_client::client::Client;
use yiwang_client::exchange::{Ask, SignedRequest};
use yiwang_client::sealed::Manner;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::Digest;
use yiwang_proto::ambient::{Clock, Entropy, SystemClock};
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::{AnswerBody, Arguments};
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{AppId, CaseId, Matter, Operation, RequestId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind;
use yiwang_proto::request::{OfficerBy, Request};
use yiwang_proto::sealing::{Direction, Recipient, seal};
use yiwang_proto::ticket::Draft as Ticket;

/// A health department, a street office with an officer, and two contracts: one of class 3, one of class 4.
pub struct Clinic {
    /// The world.
    pub world: World,
    /// The provider.
    pub health: Member,
    /// The consumer.
    pub street: Member,
    /// The provider's adapter.
    pub adapter: Option<RunningAdapter>,
    /// The consumer's app, with a key for sealing.
    pub app: Client,
    /// An officer of the consumer.
    pub officer: TestOfficer,
    /// Of class 3.
    pub summary: Contract,
    /// Of class 2.
    pub coverage: Contract,
    /// Of class 4.
    pub record: Contract,
    /// An open case about the demo's wife.
    pub case: CaseId,
    /// The wife's id.
    pub wife: String,
}

impl Clinic {
    /// By the system's clock.
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, Arc::new(SystemClock::default()), TestSwitches::default()).await
    }

    /// With another clock or with switches.
    pub async fn with(seed: u64, clock: Arc<dyn Clock>, switches: TestSwitches) -> Self {
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

    /// A question about the wife.
    pub fn ask(&self, operation: &str, names: &[&str]) -> Ask {
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

    /// The question of class 3.
    pub fn blood_group(&self) -> Ask {
        self.ask("summary.by_person", &["blood_group"])
    }

    /// Sealed, with the officer's signature.
    pub fn by_signature(&self) -> Manner {
        Manner { officer_by: OfficerBy::Signature(self.officer.delegation.digest), sealed: true }
    }

    /// Signed by app and officer, sealed.
    pub async fn signed(&self, contract: &Contract, ask: &Ask, officer: &SecretKey) -> SignedRequest {
        let one = self.app.prepare(contract, ask, self.by_signature());
        let both = one.request.sign_with_officer(&self.app.identity().key, officer);
        let message = pb::ExchangeRequest { request: both.bytes().clone(), body: one.message.body.clone() };
        self.app.seal_body(contract, SignedRequest { message, ..one }).await.unwrap()
    }

    /// A published ticket of the officer's, which the test bends.
    pub async fn ticket(&self, change: impl FnOnce(&mut Ticket)) -> SignedDocument {
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

    /// Asks for class 2 by a ticket; the outcome in one word.
    pub async fn by_ticket(&self, ticket: &SignedDocument) -> String {
        let manner = Manner { officer_by: OfficerBy::Ticket(ticket.digest()), sealed: false };
        let ask = self.ask("coverage.by_person", &["insured"]);
        let signed = self.app.prepare(&self.coverage, &ask, manner);
        outcome(&self.app, &self.coverage, &signed).await
    }

    /// Stops everything and verifies the ledger.
    pub async fn end(mut self) -> World {
        if let Some(adapter) = self.adapter.take() {
            adapter.stop().await;
        }
        self.world.stop_hub().await;
        let (code, report) = verify_ledger(&self.world);
        assert_eq!(code, 0, "{report}");
        self.world
    }
}

/// What an adapter that is no program of ours has in its hands: good keys, and the honest one's mapping.
pub struct Hands {
    /// Signs answers.
    pub key: SecretKey,
    /// The delegation of that key.
    pub delegation: Digest,
    /// The mapping that the honest adapter announced for class 3.
    pub mapping: Digest,
    /// The adapter's own key for sealing.
    pub own: Recipient,
    /// The asking app's.
    pub consumer: Recipient,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

/// When a puppet answers: each request that came is a permit of the one, each answer takes one of the other.
pub struct Turns {
    arrived: Semaphore,
    go: Semaphore,
}

impl Turns {
    /// With so many answers that need not be waited for.
    pub fn new(go: usize) -> Arc<Self> {
        Arc::new(Self { arrived: Semaphore::new(0), go: Semaphore::new(go) })
    }

    /// Every request is answered at once.
    pub fn always() -> Arc<Self> {
        Self::new(Semaphore::MAX_PERMITS)
    }

    /// Waits until one more request came.
    pub async fn arrived(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets one more be answered.
    pub fn go(&self) {
        self.go.add_permits(1);
    }
}

impl Hands {
    /// The plain body of one blood group, with its digest.
    pub fn plain(&self) -> (Bytes, Digest) {
        let records = json!([{"fields": {"blood_group": "A"}}]).to_string();
        AnswerBody::encode(records.into(), self.entropy.as_ref())
    }

    /// An honest answer statement over a sealed body.
    pub fn answer(&self, signed: &SignedStatement, request: Request, body: Digest) -> Answer {
        Answer {
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
            body_digest: Some(body),
            mapping_digest: self.mapping,
            head: request.head,
            delegation_digest: self.delegation,
            truncated: false,
            sealed_to: Some(self.consumer.delegation),
        }
    }

    /// Signs an answer and seals its body to it.
    pub fn sealed(&self, answer: &Answer, plain: &[u8]) -> (SignedStatement, Bytes) {
        let statement = answer.sign(&self.key);
        let beside = statement.digest();
        let body = seal(Direction::Answer, &self.consumer, &beside, plain, self.entropy.as_ref()).unwrap();
        (statement, body)
    }
}

impl Clinic {
    fn hands(&self) -> Hands {
        let folder = &self.health.folder;
        let name = AppId::parse("main").unwrap();
        let (_, sealing) = folder.load_sealing(&name).unwrap().unwrap();
        let desk = AppId::parse("assistance-desk").unwrap();
        let (_, consumer) = self.street.folder.load_sealing(&desk).unwrap().unwrap();
        let sources = self.health.sources();
        let mapping = sources.iter().find(|source| *source.mapping().record() == self.summary.text.record);
        Hands {
            key: folder.load_key(Role::Adapter, &name).unwrap(),
            delegation: folder.load_delegation(Role::Adapter, &name).unwrap().0.digest(),
            mapping: mapping.unwrap().mapping().digest(),
            own: Recipient::from(&Delegation::open(&sealing).unwrap()),
            consumer: Recipient::from(&Delegation::open(&consumer).unwrap()),
            entropy: Arc::clone(&self.world.entropy),
        }
    }

    /// An adapter with good keys that answers each request as the test likes, and when it likes.
    pub async fn puppet(
        &self,
        turns: Arc<Turns>,
        respond: impl Fn(&Hands, &SignedStatement, Request) -> (SignedStatement, Bytes) + Send + 'static,
    ) {
        let folder = &self.health.folder;
        let name = AppId::parse("main").unwrap();
        let hands = self.hands();
        let sealing = folder.load_sealing(&name).unwrap().unwrap().1.bytes().clone();
        let link = RawLink::open(&self.world, &self.health, |hello| hello.sealing = sealing).await;
        let RawLink { frames, mut incoming } = link;
        tokio::spawn(async move {
            while let Ok(Some(came)) = incoming.message().await {
                for frame in came.frames {
                    let Some(pb::hub_frame::Kind::Request(chunk)) = frame.kind else { continue };
                    turns.arrived.add_permits(1);
                    turns.go.acquire().await.unwrap().forget();
                    let signed = SignedStatement::parse(chunk.request).unwrap();
                    let request = Request::parse(signed.unverified_payload()).unwrap();
                    let (statement, body) = respond(&hands, &signed, request);
                    let answer = statement.bytes().clone();
                    let chunk =
                        pb::AnswerChunk { exchange: chunk.exchange, chunk: 0, last: true, answer, body };
                    let _ = frames.send(message(vec![Kind::Answer(chunk)])).await;
                }
            }
        });
        self.world.until_linked(self.health.id()).await;
    }
}
