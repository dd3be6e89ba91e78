//! An adapter of the police that is not ours: it holds its key, and answers as a test likes.

use crate::raw::{RawLink, message};
use crate::scene::Scene;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::AnswerBody;
use yiwang_proto::delegation::Role;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::AppId;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind;
use yiwang_proto::request::Request;

/// How an evil adapter changes its answer before it signs.
pub type Bend = fn(&mut Answer);

/// Where an adapter waits with its answer.
#[derive(Debug)]
pub struct Gate {
    /// One for each request that came.
    pub arrived: Semaphore,
    /// One for each answer that may go.
    pub open: Semaphore,
}

impl Gate {
    /// Closed, and nothing has come.
    pub fn closed() -> Arc<Self> {
        Arc::new(Self { arrived: Semaphore::new(0), open: Semaphore::new(0) })
    }
}

/// How an evil adapter signs.
pub type Sign = fn(&Answer, &SecretKey) -> SignedStatement;

/// Connects as the police's adapter, with a good key, and answers every request as `bend` makes it.
pub async fn evil_adapter(scene: &Scene, bend: Bend, gate: Option<Arc<Gate>>) {
    evil_signer(scene, bend, gate, Answer::sign).await;
}

/// As [`evil_adapter`], signing in its own way.
pub async fn evil_signer(scene: &Scene, bend: Bend, gate: Option<Arc<Gate>>, sign: Sign) {
    let folder = &scene.police.folder;
    let name = AppId::parse("main").unwrap();
    let key = folder.load_key(Role::Adapter, &name).unwrap();
    let delegation = folder.load_delegation(Role::Adapter, &name).unwrap().0;
    let served = pb::ServedOperation {
        record: "Person".to_owned(),
        operation: "person.by_id".to_owned(),
        // The one that its answers name.
        mapping_digest: vec![0; 32].into(),
    };
    let link = RawLink::open(&scene.world, &scene.police, |hello| hello.operations = vec![served]).await;
    let RawLink { frames, mut incoming } = link;
    let entropy = Arc::clone(&scene.world.entropy);
    tokio::spawn(async move {
        while let Ok(Some(came)) = incoming.message().await {
            for frame in came.frames {
                let Some(pb::hub_frame::Kind::Request(chunk)) = frame.kind else { continue };
                let signed = SignedStatement::parse(chunk.request).unwrap();
                let request = Request::parse(signed.unverified_payload()).unwrap();
                let (body, digest) =
                    AnswerBody::encode(Bytes::from_static(b"[{\"fields\":{}}]"), entropy.as_ref());
                let mut answer = Answer {
                    request_id: request.id,
                    request_digest: signed.digest(),
                    provider: request.provider,
                    adapter: AppId::parse("main").unwrap(),
                    verdict: Verdict::Answered,
                    clause: String::new(),
                    fields: Vec::new(),
                    withheld: Vec::new(),
                    rows: 1,
                    subject_tags: Vec::new(),
                    subject_tags_root: None,
                    answered_at_ms: request.issued_at_ms,
                    as_of_ms: 0,
                    body_digest: Some(digest),
                    mapping_digest: [0; 32],
                    head: request.head,
                    delegation_digest: delegation.digest(),
                    truncated: false,
                    sealed_to: None,
                };
                bend(&mut answer);
                if let Some(gate) = &gate {
                    gate.arrived.add_permits(1);
                    gate.open.acquire().await.unwrap().forget();
                }
                let answer = sign(&answer, &key).bytes().clone();
                let chunk = pb::AnswerChunk { exchange: chunk.exchange, chunk: 0, last: true, answer, body };
                let _ = frames.send(message(vec![Kind::Answer(chunk)])).await;
            }
        }
    });
    scene.world.until_linked(scene.police.id()).await;
}
