//! Bytes that are no request, and what their senders learn: nothing.

use crate::raw::{Reply, empty_body, framed, post};
use bytes::Bytes;
use prost::Message as _;
use std::sync::Arc;
use tonic::transport::Channel;
use yiwang_client::error::ClientError;
use yiwang_hub::limits::EXCHANGES_MAX;
use yiwang_proto::case::Act;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::pb;
use yiwang_rpc::case_service_client::CaseServiceClient;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;
use yiwang_tests::member::Member;
use yiwang_tests::scene::Scene;

const EXCHANGE: &str = "/yiwang.v1.ExchangeService/Exchange";

async fn channel(scene: &Scene, member: &Member) -> Channel {
    member.folder.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap()
}

/// Words of the inside: types, files, queries, libraries.
const INSIDE: [&str; 16] = [
    "prost", "rotobuf", "tonic", "hyper", "serde", "sqlite", "sled", "panicked", "unwrap", ".rs:", "::",
    "SELECT ", "/tmp", "/root", "os error", "bytes",
];

fn tells_nothing(what: &str, reply: &Reply) {
    for word in INSIDE {
        assert!(!reply.everything.contains(word), "{what}: `{word}` in {}", reply.everything);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t31_what_is_no_message_gets_a_code_and_no_inner_word() {
    let scene = Scene::new(111).await;
    let mut channel = channel(&scene, &scene.street).await;
    // A field of the wrong type, a length that ends nowhere, depths of nesting.
    let mut nested = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend_from_slice(&nested);
        nested = outer;
    }
    let bodies: [&[u8]; 6] =
        [b"\x08\x01", b"\x0a\xff\xff\xff\xff\x0f", b"\xff\xff", b"{}", &nested, b"\x0a\x02\xff\xff"];
    for path in [
        EXCHANGE,
        "/yiwang.v1.RecordService/Plan",
        "/yiwang.v1.RecordService/Query",
        "/yiwang.v1.CaseService/Submit",
        "/yiwang.v1.CaseService/Show",
        "/yiwang.v1.DirectoryService/Publish",
        "/yiwang.v1.LedgerService/OfferHead",
        "/yiwang.v1.LedgerService/GetEvidence",
        "/yiwang.v1.Nothing/Nothing",
        "/../../etc/passwd",
    ] {
        for body in bodies {
            let reply = post(&mut channel, path, &[], framed(false, body.len(), body)).await.unwrap();
            // Of many requests in one each has an answer of its own.
            let refused = reply.status != "0" || reply.everything.contains("malformed");
            assert!(refused, "{path}: {}", reply.everything);
            tells_nothing(path, &reply);
        }
    }
    let reply = post(&mut channel, EXCHANGE, &[], framed(false, 2, b"\xff\xff")).await.unwrap();
    assert_eq!((reply.status.as_str(), reply.code.as_str()), ("3", "malformed"), "{}", reply.everything);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_compressed_and_oversized_messages_are_refused_unread() {
    let scene = Scene::new(112).await;
    let mut channel = channel(&scene, &scene.street).await;
    let gzip = [("grpc-encoding", "gzip")];
    // Ten bytes that say they are gzip; nothing here ever opens it.
    let bomb = framed(true, 10, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff");
    let refused = post(&mut channel, EXCHANGE, &gzip, bomb).await.unwrap();
    assert_eq!(refused.status, "12", "{}", refused.everything);
    // The length alone is enough: neither 4 GiB nor a byte above the limit is waited for.
    for length in [u32::MAX as usize, 8 * 1024 * 1024 + 1] {
        let refused = post(&mut channel, EXCHANGE, &[], framed(false, length, b"x")).await.unwrap();
        assert_eq!(refused.code, "too_large", "{}", refused.everything);
        tells_nothing("oversized", &refused);
    }
    // A body over its own limit, in a message within its.
    let mut large = scene.signed().message;
    large.body = Bytes::from(vec![0; 4 * 1024 * 1024 + 1]);
    let large = large.encode_to_vec();
    let refused = post(&mut channel, EXCHANGE, &[], framed(false, large.len(), &large)).await.unwrap();
    assert_eq!(refused.code, "too_large", "{}", refused.everything);
    // Headers without end.
    let long = "x".repeat(64 * 1024);
    let refused = post(&mut channel, EXCHANGE, &[("x-long", &long)], framed(false, 0, b"")).await;
    assert!(refused.is_none_or(|reply| reply.status != "0"));
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t21_requests_that_are_reset_at_once_hold_nothing() {
    let scene = Scene::new(113).await;
    let channel = channel(&scene, &scene.police).await;
    let signed = scene.signed();
    for _ in 0..30 {
        let mut resets = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let mut service = ExchangeServiceClient::new(channel.clone());
            let message = signed.message.clone();
            resets.spawn(async move { service.exchange(message).await.map(drop) });
        }
        tokio::task::yield_now().await;
        resets.abort_all();
        while resets.join_next().await.is_some() {}
        // Meanwhile somebody else is served.
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    let hub = &scene.world.hub().hub;
    for _ in 0..200 {
        if hub.exchanges.available_permits() == EXCHANGES_MAX {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(hub.exchanges.available_permits(), EXCHANGES_MAX, "every place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_sockets_that_say_nothing_take_nothing_from_those_who_speak() {
    let scene = Scene::new(114).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(scene.world.hub().address).await.unwrap());
    }
    for _ in 0..20 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
    }
    drop(silent);
}

/// A refusal as it crosses the wire.
fn bytes_of(status: &tonic::Status) -> String {
    let mut metadata = status.metadata().clone();
    metadata.remove("date");
    format!("{:?} {:?} {:?} {metadata:?}", status.code(), status.message(), status.details())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t29_no_right_and_not_there_are_the_same_bytes() {
    let scene = Scene::new(115).await;
    let stranger = scene.world.member("health").await;
    // Cases: another member's, open and closed, and none.
    let nobodys = CaseId::new(scene.world.clock.now_ms(), scene.world.entropy.as_ref());
    let matter = Matter::parse("social-assistance").unwrap();
    let (closed, _) = scene.app.open_case(&matter, &[]).await.unwrap();
    let close = Act::Close { reason: "decided".to_owned() };
    scene.app.act_on_case(&closed, close, &[]).await.unwrap();
    let mut cases = CaseServiceClient::new(channel(&scene, &stranger).await);
    let mut answers = std::collections::BTreeSet::new();
    for case in [&scene.case, &closed, &nobodys] {
        let asked = cases.show(pb::ShowRequest { case_id: case.to_string() }).await;
        answers.insert(bytes_of(&asked.unwrap_err()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    // Entries: an exchange of others, and an index beyond the end.
    let exchanged = scene.app.exchange(&scene.contract, &scene.signed()).await.unwrap();
    let mut ledger = LedgerServiceClient::new(channel(&scene, &stranger).await);
    let mut answers = std::collections::BTreeSet::new();
    for index in [exchanged.receipt.index, 1_000_000] {
        let asked = ledger.get_evidence(pb::GetEvidenceRequest { index }).await;
        answers.insert(bytes_of(&asked.unwrap_err()));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    no_right_to_ask(&scene, &stranger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t29_adding_to_or_closing_another_members_case_tells_nothing_of_it() {
    let scene = Scene::new(118).await;
    let stranger = scene.world.member("health").await.app(&scene.world, "planning-desk").await;
    let nobodys = CaseId::new(scene.world.clock.now_ms(), scene.world.entropy.as_ref());
    let matter = Matter::parse("social-assistance").unwrap();
    let (closed, _) = scene.app.open_case(&matter, &[]).await.unwrap();
    let close = Act::Close { reason: "decided".to_owned() };
    let add = Act::Add { reason: "decided".to_owned() };
    scene.app.act_on_case(&closed, close.clone(), &[]).await.unwrap();
    for (act, subjects) in [(add, vec!["980121190001010000".to_owned()]), (close, Vec::new())] {
        for case in [&scene.case, &closed, &nobodys] {
            let refused = stranger.act_on_case(case, act.clone(), &subjects).await.unwrap_err();
            assert_eq!(refused.code(), Some(Code::NoCase), "{act:?}");
        }
        let refused = scene.app.act_on_case(&closed, act, &subjects).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::CaseClosed), "its own member is told");
    }
}

async fn no_right_to_ask(scene: &Scene, stranger: &Member) {
    let app = stranger.app(&scene.world, "planning-desk").await;
    // Contracts: another member's, and none.
    let mut refusals = std::collections::BTreeSet::new();
    for id in [scene.contract.text.id.as_str(), "no-such-contract"] {
        let mut foreign = scene.signed().request;
        foreign.contract = yiwang_proto::ids::ContractId::parse(id).unwrap();
        foreign.consumer = stranger.id().clone();
        foreign.app = app.identity().app.clone();
        foreign.delegation_digest = app.identity().delegation.digest();
        let (body, digest) = empty_body().encode(scene.world.entropy.as_ref());
        foreign.body_digest = digest;
        foreign.id =
            yiwang_proto::ids::RequestId::new(scene.world.clock.now_ms(), scene.world.entropy.as_ref());
        let signed = app.seal(foreign, body);
        let ended = app.exchange(&scene.contract, &signed).await.unwrap().ending;
        refusals.insert(format!("{ended:?}"));
    }
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    // Subjects whom the case does not list: one who exists, and nobody. The source is not asked either way.
    let served = scene.adapter.as_ref().unwrap().adapter.health().answered;
    let home = scene.city.household();
    let mut refusals = std::collections::BTreeSet::new();
    for subject in [home.son.id.as_str(), "980121190001010000"] {
        let ask = yiwang_client::exchange::Ask { subject: subject.to_owned(), ..scene.ask() };
        let signed = scene.app.sign(&scene.contract, &ask);
        let ended = scene.app.exchange(&scene.contract, &signed).await.unwrap();
        refusals.insert(format!("{:?} {}", ended.ending, ended.receipt.entry.encoded_len()));
    }
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(scene.adapter.as_ref().unwrap().adapter.health().answered, served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_who_is_turned_away_is_told_when_to_come_again() {
    let mut scene = Scene::new(116).await;
    scene.adapter.take().unwrap().stop().await;
    let mut service = ExchangeServiceClient::new(channel(&scene, &scene.street).await);
    let hub = Arc::clone(&scene.world.hub().hub);
    let all = hub.exchanges.try_acquire_many(u32::try_from(EXCHANGES_MAX).unwrap()).unwrap();
    let status = service.exchange(scene.signed().message).await.unwrap_err();
    drop(all);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    // google.rpc.Status with ErrorInfo and RetryInfo, by their published numbers.
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("type.googleapis.com/google.rpc.RetryInfo"), "{details:?}");
    assert!(details.contains("type.googleapis.com/google.rpc.ErrorInfo"), "{details:?}");
    assert!(matches!(ClientError::from(status), ClientError::Hub { code } if code.as_str() == "overloaded"));
}
