//! One history for all: heads in statements, entries for their parties, witnesses, and answers that were not
//! recorded in time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "heads/claimed.rs"]
mod claimed;
#[path = "heads/cosigned.rs"]
mod cosigned;
#[path = "heads/offers.rs"]
mod offers;
#[path = "heads/reads.rs"]
mod reads;
#[path = "heads/receipts.rs"]
mod receipts;

use bytes::Bytes;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use yiwang_audit::Options;
use yiwang_client::exchange::SignedRequest;
use yiwang_hub::context::{Face, TestSwitches};
use yiwang_hub::lifecycle::Running;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::Matter;
use yiwang_proto::note::CosignerKey;
use yiwang_proto::pb;
use yiwang_proto::witness::WitnessPolicy;
use yiwang_tests::member::{Member, Nothing, RunningAdapter};
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

/// Waits for something that comes by itself.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 15 s: {what}");
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The adapter answers a request of which the hub knows nothing (yet).
async fn answered_behind_the_hub(scene: &Scene, signed: &SignedRequest) -> Bytes {
    let adapter = &scene.adapter.as_ref().unwrap().adapter;
    let message = signed.message.clone();
    adapter.handle(message.request, message.body, &Nothing).await.answer
}

fn entries(scene: &Scene) -> Vec<pb::ExchangeEntry> {
    entries_of(&scene.world)
}

fn entries_of(world: &World) -> Vec<pb::ExchangeEntry> {
    let mut found = Vec::new();
    let ledger = &world.hub().hub.ledger;
    ledger
        .reader()
        .scan(0, &mut |_, bytes, _| {
            if let Ok(Some(Kind::Exchange(exchange))) = entry::decode(&bytes).map(|entry| entry.kind) {
                found.push(exchange);
            }
            true
        })
        .unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_parties_hold_their_own_entries_and_nothing_alarms() {
    let scene = Scene::new(70).await;
    let street = scene.street.run_adapter(&scene.world).await;
    let police = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    for _ in 0..5 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    let size = scene.world.hub().hub.ledger.checkpoint().size;
    until("both heads cover the last entry", || {
        police.head().head.size >= size && street.adapter.head().head.size >= size
    })
    .await;
    assert_eq!(police.health().unreceipted, 0);
    assert_eq!((police.health().alarms, street.adapter.health().alarms), (0, 0));
    assert_eq!((police.health().protocol_errors, street.adapter.health().protocol_errors), (0, 0));
    // What came while it was away comes when it is back.
    street.stop().await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let street = scene.street.run_adapter(&scene.world).await;
    let size = scene.world.hub().hub.ledger.checkpoint().size;
    until("the missed entry", || street.adapter.head().head.size >= size).await;
    assert_eq!(street.adapter.health().alarms, 0);
    assert_eq!(scene.world.hub().hub.alarms.counts().map(|(_, count)| count), [0; 5]);
    street.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// A hub that starts again reads open cases back, and not what lies between them: an adapter that was away still gets
/// every entry of its member's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_no_entry_is_skipped_after_a_restart_of_the_hub() {
    let mut scene = Scene::new(78).await;
    let street = scene.street.run_adapter(&scene.world).await;
    let held = |adapter: &RunningAdapter| adapter.adapter.head().head.size;
    let size = scene.world.hub().hub.ledger.checkpoint().size;
    until("the case's entry is held", || held(&street) >= size).await;
    street.stop().await;
    for _ in 0..3 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    scene.world.stop_hub().await;
    scene.world.start_hub().await;
    scene.world.until_linked(scene.police.id()).await;
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let street = scene.street.run_adapter(&scene.world).await;
    let size = scene.world.hub().hub.ledger.checkpoint().size;
    until("all entries are held", || held(&street) >= size).await;
    assert_eq!(street.adapter.health().alarms, 0);
    street.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// An adapter that was restored from an old copy shows less than it had, and answers that it does not know
/// come to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_an_adapter_restored_from_an_old_copy_is_seen_at_both_ends() {
    let mut scene = Scene::new(71).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let settled = |scene: &Scene| {
        let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
        let size = scene.world.hub().hub.ledger.checkpoint().size;
        async move {
            until("own entries", || adapter.head().head.size >= size && adapter.health().unreceipted == 0)
                .await;
        }
    };
    settled(&scene).await;
    scene.adapter.take().unwrap().stop().await;
    let (live, old) =
        (scene.police.folder.path().join("journal"), scene.world.dir.path().join("old-journal"));
    copy(&live, &old);
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    settled(&scene).await;
    scene.adapter.take().unwrap().stop().await;
    copy(&old, &live);
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    until("the alarm at the adapter", || adapter.health().alarms >= 1).await;
    assert_eq!(scene.world.hub().hub.alarms.count("restored"), 1);
}

/// A machine that is set back takes its connections with it in silence: the old link still looks alive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_an_adapter_that_was_set_back_is_seen_beside_its_old_link() {
    let scene = Scene::new(79).await;
    let adapter = Arc::clone(&scene.adapter.as_ref().unwrap().adapter);
    let old = scene.police.as_now(&scene.world.clock);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let size = scene.world.hub().hub.ledger.checkpoint().size;
    until("own entries", || adapter.head().head.size >= size).await;
    // The hub hears of it a moment later.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.world.hub().hub.alarms.count("restored"), 0);
    let again = old.run_this(&scene.world, Arc::new(old.adapter(&scene.world)));
    // Both dial again and again from then on: the first time counts.
    while scene.world.hub().hub.links.replaced() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(scene.world.hub().hub.alarms.count("restored") >= 1, "taken for one that only came again");
    again.stop().await;
}

/// A hub with two faces: the world's for the consumer, another one for the provider. One past, one key, two
/// presents.
struct TwoFaced {
    scene: Scene,
    face: Running,
    police: Member,
    /// Goes on saying at the provider's face what is in force.
    _street: Member,
    adapter: RunningAdapter,
}

impl TwoFaced {
    async fn new(seed: u64, blind: bool) -> Self {
        let mut scene = Scene::new(seed).await;
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
        scene.adapter.take().unwrap().stop().await;
        scene.world.stop_hub().await;
        let face = scene.world.second_face("other-hub").await;
        if blind {
            let provider_face = Some(Face(Arc::clone(&face.hub)));
            let switches = TestSwitches { provider_face, blind_to_heads: true, ..TestSwitches::default() };
            scene.world.set_switches(switches);
        }
        scene.world.start_hub().await;
        // Both faces are shown the heads that they wait for.
        scene.app.meet().await.unwrap();
        scene.police.app_unpublished(&scene.world, "desk").await.meet().await.unwrap();
        let (police, street) = (
            scene.police.at(face.address, &scene.world.clock),
            scene.street.at(face.address, &scene.world.clock),
        );
        let adapter = police.run_this(&scene.world, Arc::new(police.adapter(&scene.world)));
        street.app_unpublished(&scene.world, "assistance-desk").await.meet().await.unwrap();
        until("the provider's face goes on", || face.hub.ledger.ready().is_ok()).await;
        // The presents part: this face gets an entry that the other never sees.
        let desk = police.app_unpublished(&scene.world, "desk").await;
        desk.publish(&desk.identity().delegation).await.unwrap();
        let parted = face.hub.ledger.checkpoint().size;
        adapter.stop().await;
        let adapter = police.run_this(&scene.world, Arc::new(police.adapter(&scene.world)));
        until("the adapter knows its face's present", || adapter.adapter.head().head.size >= parted).await;
        until("it is linked", || face.hub.links.of(police.id()).is_some()).await;
        Self { scene, face, police, _street: street, adapter }
    }

    async fn end(self) {
        self.adapter.stop().await;
        let Self { mut scene, face, .. } = self;
        scene.world.set_switches(TestSwitches::default());
        scene.world.stop_hub().await;
        face.stop(Duration::from_secs(5)).await.unwrap();
    }
}

/// Everything that one face shows is in order. The consumer's next request brings its head to the provider.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_a_fork_shown_to_two_parties_is_caught_by_the_next_request() {
    let two = TwoFaced::new(72, false).await;
    let (scene, face) = (&two.scene, &two.face);
    let matter = Matter::parse("social-assistance").unwrap();
    scene.app.open_case(&matter, std::slice::from_ref(&scene.mother)).await.unwrap();
    scene.app.meet().await.unwrap();
    assert_eq!(face.hub.ledger.holds(&scene.app.head()), Ok(false), "two histories");
    let signed = scene.signed();
    let out = yiwang_hub::links::Outgoing {
        request: signed.message.request.clone(),
        body: signed.message.body.clone(),
        deadline_ms: 0,
        wait_ms: 5000,
        traceparent: String::new(),
        urgent: false,
    };
    let way = yiwang_hub::links::Way { consumer: scene.street.id(), provider: two.police.id() };
    let raw = face
        .hub
        .links
        .ask(way, &out, async || Ok::<(), Code>(()))
        .await
        .unwrap()
        .unwrap_or_else(|code| panic!("{code}"));
    let answer = SignedStatement::parse(raw.answer).unwrap();
    let answer = Answer::parse(answer.unverified_payload()).unwrap();
    assert_eq!(answer.verdict, Verdict::Denied(Code::HeadContradicts));
    assert!(two.adapter.adapter.health().alarms >= 1);
    let kept = std::fs::read_dir(two.police.folder.path().join("evidence")).unwrap().count();
    assert_eq!(kept, 1, "the evidence stays with the provider");
    two.end().await;
}

/// The consumer's head is from before the two parted, so its request shows nothing; the answer brings the
/// provider's head to the consumer, through a hub that does not look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_a_fork_shown_to_two_parties_is_caught_by_the_next_answer() {
    let two = TwoFaced::new(73, true).await;
    let outcome = two.scene.outcome(&two.scene.signed()).await;
    assert!(outcome.contains("head_contradicts"), "taken: {outcome}");
    assert_eq!(two.adapter.adapter.health().answered, 1, "the provider saw nothing wrong");
    two.end().await;
}

/// A hub that looks refuses the answer itself, and keeps it: withheld, with both statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_an_answer_whose_head_is_not_on_the_ledger_is_withheld_and_kept() {
    let mut two = TwoFaced::new(78, true).await;
    two.scene.world.stop_hub().await;
    let provider_face = Some(Face(Arc::clone(&two.face.hub)));
    two.scene.world.set_switches(TestSwitches { provider_face, ..TestSwitches::default() });
    two.scene.world.start_hub().await;
    two.scene.app.meet().await.unwrap();
    two.scene.police.app_unpublished(&two.scene.world, "desk").await.meet().await.unwrap();
    assert_eq!(two.scene.outcome(&two.scene.signed()).await, "head_contradicts");
    assert_eq!(two.scene.world.hub().hub.alarms.count("head_contradicts"), 1);
    let last = entries(&two.scene).pop().unwrap();
    assert_eq!(last.outcome(), pb::Outcome::Withheld);
    assert!(!last.request.is_empty() && !last.answer.is_empty(), "what was signed is kept");
    two.end().await;
}

fn witness_seed(number: u8) -> (String, [u8; 32]) {
    (format!("log.city.example/yiwang/witness/w{number}"), [200 + number; 32])
}

async fn witness(world: &World, number: u8) -> Member {
    let mut member = world.member(&format!("witness-{number}")).await;
    member.witness = Some(witness_seed(number));
    member
}

fn policy() -> String {
    let mut text = String::new();
    for number in 1..=3 {
        let (name, seed) = witness_seed(number);
        text += &format!("witness w{number} {}\n", CosignerKey::from_seed(&name, &seed).unwrap().verifier());
    }
    text + "group two 2 w1 w2 w3\nquorum two\n"
}

/// Go finds the log's signature and the witnesses' good, and those of a witness with another key not.
fn judge(checkpoint: &Path, log: &str) {
    let names = [1, 2, 3].map(|number| witness_seed(number).0);
    let key =
        |name: &str, seed: &[u8; 32]| CosignerKey::from_seed(name, seed).unwrap().verifier().to_string();
    let keys = [1, 2, 3].map(|number| key(&witness_seed(number).0, &witness_seed(number).1));
    let Some(good) = cosigned::judged(checkpoint, log, &keys) else { return };
    let cosigners = good.iter().filter(|name| names.contains(name)).count();
    assert!(cosigners >= 2 && good.len() == cosigners + 1, "{good:?}");
    let others = names.map(|name| key(&name, &[7; 32]));
    assert_eq!(cosigned::judged(checkpoint, log, &others).unwrap().len(), 1, "the log's own alone");
}

/// One of three witnesses down: it goes on. Two down: publishing stops, and intake after the stated limit. One
/// restored from an old copy: it goes on, and somebody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_publishing_and_intake_follow_the_witnesses() {
    let mut scene = Scene::new(76).await;
    let mut members = Vec::new();
    for number in 1..=3 {
        members.push(witness(&scene.world, number).await);
    }
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    scene.world.demand_witnesses(&policy(), 1);
    scene.world.start_hub().await;
    let file = scene.world.ledger_dir().join("checkpoint");
    assert!(!file.exists(), "what was published without witnesses is taken back");
    let mut running = Vec::new();
    for member in &members {
        running.push(member.run_adapter(&scene.world).await);
    }
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    scene.app.meet().await.unwrap();
    let hub = Arc::clone(&scene.world.hub().hub);
    let published = || hub.ledger.published().map_or(0, |head| head.size);
    until("all three cosign", || published() == hub.ledger.checkpoint().size && published() > 0).await;
    let parsed = WitnessPolicy::parse(policy().as_bytes()).unwrap();
    let open = |note: &[u8]| parsed.open(note, hub.checkpoints.key(), hub.ledger.origin());
    assert!(open(&std::fs::read(&file).unwrap()).is_ok());
    judge(&file, &hub.checkpoints.key().to_string());

    let third = running.pop().unwrap();
    let old = scene.world.dir.path().join("old-witness");
    third.stop().await;
    copy(&members[2].folder.path().join("journal"), &old);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    until("two cosign", || published() == hub.ledger.checkpoint().size).await;

    let third = members[2].run_adapter(&scene.world).await;
    running.pop().unwrap().stop().await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "receipts do not wait for witnesses");
    until("the third stands in for the second", || published() == hub.ledger.checkpoint().size).await;

    third.stop().await;
    let before = published();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    until("intake stops", || hub.ledger.ready() == Err(Code::NotWitnessed)).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "unrecorded: not_witnessed");
    assert_eq!(published(), before, "publishing stops");
    assert!(open(&std::fs::read(&file).unwrap()).is_ok());

    copy(&old, &members[2].folder.path().join("journal"));
    let third = members[2].run_adapter(&scene.world).await;
    until("it goes on by itself", || hub.ledger.ready().is_ok()).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    until("published", || published() == hub.ledger.checkpoint().size).await;
    assert!(hub.alarms.count("restored") >= 1, "a witness was restored from an old copy");
    drop(hub);

    third.stop().await;
    for adapter in running {
        adapter.stop().await;
    }
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let key = scene.app.identity().checkpoints.key().clone();
    let options = Options { key: Some(key), policy: Some(parsed), ..Options::default() };
    let report = yiwang_audit::verify_ledger(&scene.world.ledger_dir(), &options).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.witnesses.len() >= 2, "{:?}", report.witnesses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_a_restored_ledger_is_refused_by_its_witnesses_too() {
    let mut scene = Scene::new(77).await;
    let member = witness(&scene.world, 1).await;
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let (name, seed) = witness_seed(1);
    let key = CosignerKey::from_seed(&name, &seed).unwrap();
    scene.world.demand_witnesses(&format!("witness w {}\nquorum w\n", key.verifier()), 300);
    let (live, old) = (scene.world.ledger_dir(), scene.world.dir.path().join("old-ledger"));
    copy(&live, &old);
    scene.world.start_hub().await;
    let running = member.run_adapter(&scene.world).await;
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    scene.app.meet().await.unwrap();
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    {
        let hub = Arc::clone(&scene.world.hub().hub);
        until("cosigned", || {
            hub.ledger.published().is_some_and(|head| head.size == hub.ledger.checkpoint().size)
        })
        .await;
    }
    {
        let (hub, adapter) = (Arc::clone(&scene.world.hub().hub), &scene.adapter.as_ref().unwrap().adapter);
        until("the provider holds the head", || adapter.head().head.size == hub.ledger.checkpoint().size)
            .await;
    }
    running.stop().await;
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    std::fs::remove_dir_all(&live).unwrap();
    copy(&old, &live);
    scene.world.start_hub().await;
    let running = member.run_this(&scene.world, Arc::new(member.adapter(&scene.world)));
    let hub = Arc::clone(&scene.world.hub().hub);
    until("the witness has recorded more than there is", || hub.alarms.count("witness") >= 1).await;
    let police = scene.police.run_this(&scene.world, Arc::new(scene.police.adapter(&scene.world)));
    let told = || hub.ledger.waiting_reason().is_some_and(|why| why.contains("rolled back"));
    until("the provider's handshake tells", told).await;
    assert_eq!(hub.ledger.ready(), Err(Code::LedgerNotAppending), "read-only, with the reason");
    assert!(hub.ledger.published().is_none(), "nothing is published that the witness has not cosigned");
    drop(hub);
    police.stop().await;
    running.stop().await;
}
