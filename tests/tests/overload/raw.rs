//! Peers that do not behave: an adapter with a good key and bad manners, and requests byte by byte.

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tower_service::Service as _;
use yiwang_proto::body::{Arguments, RequestBody};
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::limits::CHUNK_MAX;
use yiwang_proto::pb;
use yiwang_rpc::link_service_client::LinkServiceClient;
use yiwang_tests::scene::Scene;

/// How an adapter misbehaves.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// It takes requests and says nothing.
    Hangs,
    /// It answers each request with chunks and no last one.
    NeverEnds,
}

/// Connects as the police's adapter.
pub async fn adapter_that(scene: &Scene, manner: Manner) {
    let folder = &scene.police.folder;
    let name = AppId::parse("main").unwrap();
    let delegation = folder.load_delegation(Role::Adapter, &name).unwrap().0;
    let channel = folder.enrolled().unwrap().channel(Arc::clone(&scene.world.clock)).await.unwrap();
    let (frames, queue) = tokio::sync::mpsc::channel(16);
    let hello = pb::LinkHello {
        adapter: "main".to_owned(),
        version: 1,
        delegation: delegation.bytes().clone(),
        ..pb::LinkHello::default()
    };
    let send = |kind| pb::ConnectRequest { frames: vec![pb::AdapterFrame { kind: Some(kind) }] };
    frames.send(send(pb::adapter_frame::Kind::Hello(hello))).await.unwrap();
    let mut incoming =
        LinkServiceClient::new(channel).connect(ReceiverStream::new(queue)).await.unwrap().into_inner();
    tokio::spawn(async move {
        while let Ok(Some(message)) = incoming.message().await {
            for frame in message.frames {
                let Some(pb::hub_frame::Kind::Request(request)) = frame.kind else { continue };
                if manner == Manner::Hangs {
                    continue;
                }
                for chunk in 0..200_u32 {
                    let answer = if chunk == 0 { Bytes::from_static(b"no statement") } else { Bytes::new() };
                    let body = Bytes::from(vec![b'x'; CHUNK_MAX]);
                    let chunk =
                        pb::AnswerChunk { exchange: request.exchange, chunk, last: false, answer, body };
                    let _ = frames.send(send(pb::adapter_frame::Kind::Answer(chunk))).await;
                }
            }
        }
    });
    scene.world.until_linked(scene.police.id()).await;
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
