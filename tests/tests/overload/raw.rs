//! Peers that do not behave: an adapter with a good key and bad manners, and requests byte by byte.

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tower_service::Service as _;
use yiwang_proto::body::{Arguments, RequestBody};
use yiwang_proto::limits::{BODY_MAX, CHUNK_MAX, WINDOW};
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind;
use yiwang_tests::raw::{RawLink, message};
use yiwang_tests::scene::Scene;

/// How an adapter misbehaves.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// It takes requests and says nothing.
    Hangs,
    /// It answers each request with chunks and no last one.
    NeverEnds,
}

/// Connects as the police's adapter. Yields the exchanges of which the hub says that nobody waits for them.
pub async fn adapter_that(scene: &Scene, manner: Manner) -> Arc<Mutex<BTreeSet<u64>>> {
    let RawLink { frames, mut incoming } = RawLink::open(&scene.world, &scene.police, |_| {}).await;
    let cancelled = Arc::<Mutex<BTreeSet<u64>>>::default();
    let told = Arc::clone(&cancelled);
    tokio::spawn(async move {
        while let Ok(Some(came)) = incoming.message().await {
            for frame in came.frames {
                match frame.kind {
                    // Or its link would be dropped, however long the test takes.
                    Some(pb::hub_frame::Kind::Ping(ping)) => {
                        let pong = Kind::Pong(pb::LinkPong { nonce: ping.nonce });
                        let _ = frames.send(message(vec![pong])).await;
                    }
                    Some(pb::hub_frame::Kind::Request(request)) if manner == Manner::NeverEnds => {
                        tokio::spawn(never_ends(frames.clone(), request.exchange));
                    }
                    Some(pb::hub_frame::Kind::Cancel(cancel)) => {
                        told.lock().unwrap().insert(cancel.exchange);
                    }
                    _ => {}
                }
            }
        }
    });
    scene.world.until_linked(scene.police.id()).await;
    cancelled
}

/// Sends more than any body may have. Each answer by itself, so that none waits for its deadline behind the others.
async fn never_ends(frames: mpsc::Sender<pb::ConnectRequest>, exchange: u64) {
    let chunks = u32::try_from(BODY_MAX / CHUNK_MAX).unwrap() + 8;
    for chunk in 0..chunks {
        let answer = if chunk == 0 { Bytes::from_static(b"no statement") } else { Bytes::new() };
        let body = Bytes::from(vec![b'x'; CHUNK_MAX]);
        let chunk = pb::AnswerChunk { exchange, chunk, last: false, answer, body };
        let _ = frames.send(message(vec![Kind::Answer(chunk)])).await;
    }
}

/// Connects as the police's adapter, and answers one request with chunks of so many bytes, each only when there is credit
/// for it. Yields the frames of credit that came.
pub async fn adapter_that_counts(scene: &Scene, bytes: usize, chunks: u32) -> JoinHandle<(u32, RawLink)> {
    let mut link = RawLink::open(&scene.world, &scene.police, |_| {}).await;
    let counting = tokio::spawn(async move {
        let (mut exchange, mut free, mut sent, mut credits) = (0, WINDOW as usize, 0, 0);
        loop {
            let came = link.incoming.message().await.unwrap().unwrap();
            for frame in came.frames {
                match frame.kind {
                    Some(pb::hub_frame::Kind::Request(request)) => exchange = request.exchange,
                    Some(pb::hub_frame::Kind::Credit(credit)) => {
                        assert_eq!(credit.exchange, exchange);
                        free += credit.bytes as usize;
                        credits += 1;
                    }
                    _ => {}
                }
            }
            while exchange != 0 && free >= bytes {
                let answer = if sent == 0 { Bytes::from_static(b"no statement") } else { Bytes::new() };
                let (body, last) = (Bytes::from(vec![b'x'; bytes]), sent + 1 == chunks);
                let chunk = pb::AnswerChunk { exchange, chunk: sent, last, answer, body };
                link.frames.send(message(vec![Kind::Answer(chunk)])).await.unwrap();
                if last {
                    // With the link: what is not sent yet would be lost with it.
                    return (credits, link);
                }
                free -= bytes;
                sent += 1;
            }
        }
    });
    scene.world.until_linked(scene.police.id()).await;
    counting
}

/// A body that asks for nobody.
pub fn empty_body() -> RequestBody {
    RequestBody { subject: String::new(), arguments: Arguments::new() }
}

/// What a peer gets back: the status, and every header, trailer and byte as one text.
pub struct Reply {
    pub status: String,
    pub code: String,
    pub everything: String,
}

/// One gRPC message on the wire, with a length that may lie.
pub fn framed(compressed: bool, length: usize, bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(u8::from(compressed));
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(bytes);
    frame.freeze()
}

/// Posts bytes to a gRPC method.
pub async fn post(channel: &mut Channel, path: &str, headers: &[(&str, &str)], body: Bytes) -> Option<Reply> {
    let mut request = http::Request::post(format!("http://hub{path}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(tonic::body::Body::new(Full::new(body))).unwrap();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.ok()?;
    let (parts, body) = channel.call(request).await.ok()?.into_parts();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut take = |headers: &http::HeaderMap| {
        for (name, value) in headers.iter().filter(|(name, _)| *name != "date") {
            found.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        }
    };
    take(&parts.headers);
    let collected = body.collect().await.ok()?;
    if let Some(trailers) = collected.trailers() {
        take(trailers);
    }
    let get = |name: &str| found.get(name).cloned().unwrap_or_default();
    let (status, code) = (get("grpc-status"), get("yiwang-code"));
    let bytes = String::from_utf8_lossy(&collected.to_bytes()).into_owned();
    Some(Reply { status, code, everything: format!("{} {found:?} {bytes}", parts.status) })
}
