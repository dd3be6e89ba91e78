//! Revoked means revoked: after the acknowledgement nothing is released under a key, officer, contract or root
//! that its member took back; a hub that hides it gains the rest of one standing's life.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

#[path = "revocation/hung_up.rs"]
mod hung_up;
#[path = "revocation/kept.rs"]
mod kept;
#[path = "revocation/keys.rs"]
mod keys;
#[path = "revocation/roots.rs"]
mod roots;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::Streaming;
use tonic::transport::Channel;
use yiwang_client::error::ClientError;
use yiwang_client::exchange::{Ask, Ending, SignedRequest};
use yiwang_client::standing::Silent;
use yiwang_hub::context::TestSwitches;
use yiwang_proto::ambient::{Clock, ManualClock, SystemClock};
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::{AppId, Matter, Officer};
use yiwang_proto::pb;
use yiwang_proto::revocation::{Revocation, Revoked};
use yiwang_rpc::record_service_client::RecordServiceClient;
use yiwang_tests::member::{Issuing, Member};
use yiwang_tests::raw::channel_that_takes;
use yiwang_tests::scene::Scene;
use yiwang_tests::world::World;

const CONCURRENT: usize = 64;

fn key_of(member: &Member, role: Role, name: &str) -> Revoked {
    let (_, delegation) = member.folder.load_delegation(role, &AppId::parse(name).unwrap()).unwrap();
    Revoked { delegations: [delegation.digest].into(), ..Revoked::default() }
}

fn officer(number: usize) -> Officer {
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
    Officer::parse(&format!(
        "o-aaaaaaaaaaaaa{}{}{}",
        letter(number / 676),
        letter(number / 26),
        letter(number)
    ))
    .unwrap()
}

fn signed_by(scene: &Scene, officer: &Officer) -> SignedRequest {
    scene.app.sign(&scene.contract, &Ask { officer: Some(officer.clone()), ..scene.ask() })
}

/// Publishes a revocation under a member's root, and returns with its acknowledgement.
async fn under_root(scene: &Scene, member: &Member, list: &Revoked, whole: bool) -> u64 {
    let root = member.folder.root_key().unwrap();
    let now_ms = scene.world.clock.now_ms();
    let document = Revocation::sign(&root, &root.public(), member.id(), list, whole, now_ms);
    let channel = member.folder.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap();
    yiwang_client::client::publish(channel, &document, &member.checkpoints()).await.unwrap().index
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_a_leavers_app_key_is_dead_with_the_acknowledgement() {
    let scene = Scene::new(40).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let under_way = scene.signed();
    let done = scene.street.revoke(&scene.world, &key_of(&scene.street, Role::App, "assistance-desk")).await;
    // The member's host may have been quicker with the same list; then the entry is its doing.
    assert!(done.index.is_none_or(|index| index > 0));
    assert_eq!(scene.outcome(&under_way).await, "revoked", "signed before, sent after");
    assert_eq!(scene.outcome(&scene.signed()).await, "revoked");
    let matter = Matter::parse("social-assistance").unwrap();
    let refused = scene.app.open_case(&matter, &[]).await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str()), Some("revoked"));
    // Another app of the member goes on, and the revocation survives a restart of the hub.
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_contract_and_officer_end_by_either_sides_word_and_stay_ended_after_a_restart() {
    for by_provider in [false, true] {
        let mut scene = Scene::new(41).await;
        let one = officer(1);
        assert_eq!(scene.outcome(&signed_by(&scene, &one)).await, "answered");
        let gone = Revoked { officers: [one.clone()].into(), ..Revoked::default() };
        scene.street.revoke(&scene.world, &gone).await;
        assert_eq!(scene.outcome(&signed_by(&scene, &one)).await, "revoked");
        assert_eq!(scene.outcome(&signed_by(&scene, &officer(2))).await, "answered");
        let id = scene.contract.text.id.clone();
        let ended = Revoked { contracts: [(id, Some(1))].into(), ..Revoked::default() };
        let side = if by_provider { &scene.police } else { &scene.street };
        side.revoke(&scene.world, &ended).await;
        assert_eq!(scene.outcome(&scene.signed()).await, "revoked");
        scene.world.stop_hub().await;
        scene.world.start_hub().await;
        scene.world.until_linked(scene.police.id()).await;
        scene.app.meet().await.unwrap();
        assert_eq!(scene.outcome(&scene.signed()).await, "revoked", "after a restart");
        let (code, report) = scene.verify_ledger().await;
        assert_eq!(code, 0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_revoked_adapter_is_cut_off_and_does_not_come_back() {
    let scene = Scene::new(42).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.police.revoke(&scene.world, &key_of(&scene.police, Role::Adapter, "main")).await;
    // The clone of a thief, which does not know its member's list.
    assert_eq!(scene.outcome(&scene.signed()).await, "provider_unavailable");
    let links = &scene.world.hub().hub.links;
    for _ in 0..200 {
        if !links.connected().contains(scene.police.id()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!links.connected().contains(scene.police.id()), "its key opens no link any more");
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_revoked_root_ends_everything_under_it_whatever_standings_say() {
    for provider in [false, true] {
        let scene = Scene::new(43).await;
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
        let side = if provider { &scene.police } else { &scene.street };
        let index = under_root(&scene, side, &Revoked::default(), true).await;
        let got = scene.outcome(&scene.signed()).await;
        assert!(["revoked", "provider_unavailable"].contains(&got.as_str()), "{got}");
        assert!(index > 0);
        let (code, report) = scene.verify_ledger().await;
        assert_eq!(code, 0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_the_members_list_alone_is_enough_while_its_host_runs() {
    let scene = Scene::new(44).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    scene.street.folder.revoke(&key_of(&scene.street, Role::App, "assistance-desk")).unwrap();
    for _ in 0..200 {
        if scene.outcome(&scene.signed()).await == "revoked" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still answered 10 s after the list changed");
}

/// A scene in which the consumer's newest standing came when nobody asked: it is entered nowhere, lives for another minute,
/// and no other follows.
async fn with_a_standing_that_is_not_entered(seed: u64) -> (Arc<ManualClock>, Scene) {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let world = World::with(seed, Arc::clone(&clock) as Arc<dyn Clock>, TestSwitches::default()).await;
    let scene = Scene::build(world, |draft| draft).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    let before_ms = clock.now_ms();
    clock.advance_ms(25_000);
    scene.street.issuing.until_after(before_ms + 60_000).await;
    scene.street.issuing.stop();
    (clock, scene)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_member_that_is_cut_off_is_refused_when_its_standing_ends() {
    let (clock, mut scene) = with_a_standing_that_is_not_entered(45).await;
    // When somebody asks it has ended.
    clock.advance_ms(60_000);
    assert_eq!(scene.outcome(&scene.signed()).await, "standing_stale");
    // Whose host is missing is told.
    let exchanged = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    let Ending::Denied { clause, .. } = exchanged.ending else { panic!("it is no denial") };
    assert_eq!(Silent::of(&clause), Some(Silent::Consumer), "{clause}");
    let again = Issuing::start(&scene.street.folder, &scene.world.clock);
    again.until_taken().await;
    scene.street.issuing = again;
    until(&scene, "answered").await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

/// Asks until the outcome is the wanted one.
async fn until(scene: &Scene, wanted: &str) {
    let mut last = String::new();
    for _ in 0..200 {
        last = scene.outcome(&scene.signed()).await;
        if last == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after 10 s still {last}, not {wanted}");
}

/// A hub that keeps revocations to itself, around an honest adapter and an honest app.
async fn hiding(seed: u64) -> (Arc<ManualClock>, Scene) {
    let clock = Arc::new(ManualClock::new(SystemClock::default().now_ms()));
    let switches = TestSwitches { hide_revocations: true, ..TestSwitches::default() };
    let world = World::with(seed, Arc::clone(&clock) as Arc<dyn Clock>, switches).await;
    let scene = Scene::build(world, |draft| draft).await;
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    (clock, scene)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_hub_that_hides_the_consumers_revocation_is_refused_by_the_adapter() {
    let (clock, scene) = hiding(46).await;
    let done = scene.street.revoke(&scene.world, &key_of(&scene.street, Role::App, "assistance-desk")).await;
    assert!(done.index.is_none(), "it entered nothing");
    clock.advance_ms(60_000);
    assert_eq!(scene.outcome(&scene.signed()).await, "standing_stale", "the adapter's word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_hub_that_hides_the_providers_revocation_is_refused_by_the_app() {
    let (clock, scene) = hiding(47).await;
    // A thief's clone of the adapter, which obeys no list of its member.
    scene.police.revoke(&scene.world, &key_of(&scene.police, Role::Adapter, "main")).await;
    clock.advance_ms(60_000);
    for _ in 0..200 {
        let got = scene.outcome(&scene.signed()).await;
        if got.contains("the provider's newest standing is over") {
            return;
        }
        // Until the consumer's host has issued its next standing, the adapter refuses first.
        assert_eq!(got, "standing_stale");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the app never looked at the provider's word");
}

/// A connection whose reader takes 64 bytes of each answer and no more.
async fn slow(scene: &Scene) -> RecordServiceClient<Channel> {
    RecordServiceClient::new(channel_that_takes(&scene.world, &scene.street, 64).await)
}

/// Starts a query on a slow connection and waits until its answer is under way.
async fn stuck(
    scene: &Scene,
    client: &mut RecordServiceClient<Channel>,
    officer: &Officer,
) -> Streaming<pb::QueryResponse> {
    let message = signed_by(scene, officer).message;
    let request = message.request.clone();
    let stream = client.query(pb::QueryRequest { exchanges: vec![message] }).await.unwrap().into_inner();
    for _ in 0..1000 {
        if recorded(scene, &request) {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the slow reader's answer never was under way");
}

/// Whether a request is in the ledger: its reply was marked before, and is until it is taken.
fn recorded(scene: &Scene, request: &bytes::Bytes) -> bool {
    let mut found = false;
    let mut seen = 0;
    let mut look = |_, entry: bytes::Bytes| {
        let kind = yiwang_proto::entry::decode(&entry).unwrap().kind;
        found |= matches!(kind, Some(Kind::Exchange(exchange)) if exchange.request == *request);
        seen += 1;
        !found && seen < 2000
    };
    scene.world.hub().hub.ledger.reader().scan_back(&mut look).unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_a_slow_reader_is_dropped_before_the_acknowledgement() {
    let scene = Scene::new(48).await;
    // One program of the member only, so that the acknowledgement is of the revocation itself.
    scene.street.issuing.stop();
    let one = officer(1);
    let mut client = slow(&scene).await;
    let mut stream = stuck(&scene, &mut client, &one).await;
    assert!(scene.world.hub().hub.replies.waiting() > 0, "what waits for it is counted");
    let gone = Revoked { officers: [one].into(), ..Revoked::default() };
    let done = scene.street.revoke(&scene.world, &gone).await;
    let replies = &scene.world.hub().hub.replies;
    assert_eq!((replies.under_way(), replies.waiting()), (0, 0));
    let rest = stream.message().await;
    assert!(!matches!(rest, Ok(Some(_))), "the rest of the answer came, {} dropped", done.dropped);
    assert_eq!(done.dropped, 1);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "nobody else is harmed");
}

/// Answers of one query wait behind each other: also one that its reader was not yet given a byte of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_an_answer_behind_another_of_its_query_is_dropped_before_the_acknowledgement() {
    let scene = Scene::new(39).await;
    scene.street.issuing.stop();
    let one = officer(1);
    let mut client = slow(&scene).await;
    let malformed = pb::ExchangeRequest { request: vec![7; 3].into(), body: bytes::Bytes::new() };
    let good = signed_by(&scene, &one).message;
    let request = good.request.clone();
    let exchanges = vec![malformed.clone(), malformed, good];
    let mut stream = client.query(pb::QueryRequest { exchanges }).await.unwrap().into_inner();
    for _ in 0..1000 {
        if recorded(&scene, &request) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let replies = &scene.world.hub().hub.replies;
    assert!(replies.waiting() > 0 && replies.under_way() == 3, "failures wait for their reader too");
    let gone = Revoked { officers: [one].into(), ..Revoked::default() };
    let done = scene.street.revoke(&scene.world, &gone).await;
    assert_eq!((replies.under_way(), replies.waiting(), done.dropped), (0, 0, 1));
    let mut rest = Vec::new();
    while let Ok(Some(answer)) = stream.message().await {
        rest.push(answer.result);
    }
    let answered = |result: &Option<pb::query_response::Result>| {
        matches!(result, Some(pb::query_response::Result::Answered(_)))
    };
    assert!(!rest.iter().any(answered), "the answer came after the acknowledgement");
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "nobody else is harmed");
}

/// What the 64 saw: entries of answers, by officer, and how many refusals.
#[derive(Default)]
struct Seen {
    answered: Mutex<Vec<(usize, u64)>>,
    refused: AtomicUsize,
}

async fn ask_on(
    scene: Arc<Scene>,
    start: usize,
    gone: Arc<Vec<AtomicBool>>,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
) {
    let mut at = start;
    while !stop.load(Ordering::SeqCst) {
        at = (at + 7) % gone.len();
        let was_gone = gone[at].load(Ordering::SeqCst);
        let signed = signed_by(&scene, &officer(at));
        let exchanged = match scene.app.exchange(&scene.contract, &signed).await {
            Ok(exchanged) => exchanged,
            // On a busy machine this reader may be the slow one: then its connection was dropped.
            Err(ClientError::Transport(_)) => continue,
            // One of many in this minute: folded.
            Err(ClientError::Hub { code: Code::Revoked }) => {
                seen.refused.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Err(other) => panic!("{other}"),
        };
        match exchanged.ending {
            Ending::Answered { .. } => {
                assert!(!was_gone, "answered to an officer whose revocation was acknowledged before");
                seen.answered.lock().unwrap().push((at, exchanged.receipt.index));
            }
            Ending::Denied { code, .. } => {
                assert_eq!(code, "revoked");
                seen.refused.fetch_add(1, Ordering::SeqCst);
            }
            Ending::Failed { code } => panic!("{code}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f14_revocations_against_64_concurrent_exchanges_and_slow_readers() {
    // A member's list holds some hundred: a thousand are of ten towns.
    let towns = if std::env::var_os("YIWANG_LONG").is_some() { 10 } else { 1 };
    for town in 0..towns {
        a_hundred_revocations(49 + town).await;
    }
}

async fn a_hundred_revocations(seed: u64) {
    let revocations = 100;
    let scene = Arc::new(Scene::new(seed).await);
    // One program of the member only, so that each acknowledgement is of the revocation itself.
    scene.street.issuing.stop();
    let gone: Arc<Vec<AtomicBool>> = Arc::new((0..revocations).map(|_| AtomicBool::new(false)).collect());
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let tasks: Vec<_> = (0..CONCURRENT)
        .map(|start| {
            let (gone, stop, seen) = (Arc::clone(&gone), Arc::clone(&stop), Arc::clone(&seen));
            tokio::spawn(ask_on(Arc::clone(&scene), start, gone, stop, seen))
        })
        .collect();
    let mut entries = BTreeMap::new();
    let mut dropped = 0;
    for number in 0..revocations {
        let one = officer(number);
        let mut slow_one = None;
        if number % 10 == 0 {
            let mut client = slow(&scene).await;
            let stream = stuck(&scene, &mut client, &one).await;
            slow_one = Some((client, stream));
        }
        let list = Revoked { officers: [one].into(), ..Revoked::default() };
        let done = scene.street.revoke(&scene.world, &list).await;
        gone[number].store(true, Ordering::SeqCst);
        entries.insert(number, done.index.unwrap());
        dropped += done.dropped;
        if let Some((_client, mut stream)) = slow_one {
            let rest = stream.message().await;
            assert!(!matches!(rest, Ok(Some(_))), "a slow reader's answer came after the acknowledgement");
        }
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    let answered = std::mem::take(&mut *seen.answered.lock().unwrap());
    for (number, index) in &answered {
        assert!(index < &entries[number], "entry {index} released under the revocation {}", entries[number]);
    }
    let refused = seen.refused.load(Ordering::SeqCst);
    println!("{revocations} revocations, {} answered, {refused} refused, {dropped} dropped", answered.len());
    assert!(answered.len() > 100 && refused > 100 && dropped >= 10);
    let scene = Arc::into_inner(scene).unwrap();
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}
