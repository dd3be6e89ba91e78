//! An adapter that asks for more material than any exchange needs.

use bytes::Bytes;
use std::time::Duration;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind;
use yiwang_tests::raw::{RawLink, message};
use yiwang_tests::scene::Scene;

/// A link of the police's adapter key, past its handshake.
struct Link(RawLink);

impl Link {
    async fn open(scene: &Scene) -> Self {
        let mut link = Self::with(scene, Vec::new(), Vec::new()).await;
        assert!(matches!(link.next().await, Some(pb::hub_frame::Kind::Welcome(_))));
        link
    }

    /// Serves these operations, and sends these frames in one message with its hello.
    async fn with(scene: &Scene, operations: Vec<pb::ServedOperation>, more: Vec<Kind>) -> Self {
        let link = RawLink::open(&scene.world, &scene.police, |hello| hello.operations = operations).await;
        if !more.is_empty() {
            link.frames.send(message(more)).await.unwrap();
        }
        Self(link)
    }

    /// The next frame; none if the hub ended the link.
    async fn next(&mut self) -> Option<pb::hub_frame::Kind> {
        let message = tokio::time::timeout(Duration::from_secs(20), self.0.incoming.message()).await.unwrap();
        message.ok().flatten().and_then(|message| message.frames.into_iter().next()?.kind)
    }

    async fn wants(&self, wanted: Vec<pb::MaterialWanted>) {
        self.0.frames.send(message(wanted.into_iter().map(Kind::Wanted).collect())).await.unwrap();
    }
}

fn wanted(digests: Vec<[u8; 32]>, case_ids: Vec<String>) -> pb::MaterialWanted {
    let digests = digests.into_iter().map(|digest| Bytes::copy_from_slice(&digest)).collect();
    pb::MaterialWanted { digests, case_ids }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_is_answered_once_and_too_many_end_the_link() {
    let mut scene = Scene::new(60).await;
    scene.adapter.take().unwrap().stop().await;
    let (contract, case) = (scene.contract.digest, scene.case.as_str().to_owned());
    let mut link = Link::open(&scene).await;
    link.wants(vec![wanted(vec![contract; 64], vec![case.clone(); 64])]).await;
    let Some(pb::hub_frame::Kind::Material(material)) = link.next().await else { panic!("no material") };
    assert_eq!((material.documents.len(), material.cases.len()), (1, 1), "each key once");
    assert!(material.missing_digests.is_empty() && material.missing_cases.is_empty());
    // Many at once wait for each other, and all are answered.
    let looks = (0..200_u8).map(|n| wanted(vec![[n; 32], contract], vec![case.clone()])).collect();
    link.wants(looks).await;
    for n in 0..200_u8 {
        let Some(pb::hub_frame::Kind::Material(material)) = link.next().await else { panic!("no material") };
        assert_eq!(material.documents.len(), 1);
        assert_eq!(material.missing_digests, [Bytes::copy_from_slice(&[n; 32])]);
    }
    // More than an adapter can have under way, too many keys, what is no key: the link ends.
    let flood = vec![wanted((0..64).map(|n| [n; 32]).collect(), vec![case.clone(); 64]); 1_800];
    for looks in [
        flood,
        vec![wanted(vec![contract; 65], Vec::new())],
        vec![wanted(Vec::new(), vec![case.clone(); 65])],
        vec![wanted(Vec::new(), vec!["no case".to_owned()])],
    ] {
        let mut link = Link::open(&scene).await;
        link.wants(looks).await;
        while link.next().await.is_some() {}
    }
    // The honest adapter is served as before.
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    assert_eq!(scene.outcome(&scene.signed()).await, "answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_a_link_that_leaves_before_it_is_admitted_is_no_link() {
    let mut scene = Scene::new(147).await;
    scene.adapter.take().unwrap().stop().await;
    for round in 0u8..20 {
        // What is new must become an entry before the link serves; meanwhile it says that it leaves.
        let operations = vec![pb::ServedOperation {
            record: "Person".to_owned(),
            operation: "person.by_id".to_owned(),
            mapping_digest: vec![round + 1; 32].into(),
        }];
        let leaving = vec![Kind::Leaving(pb::LinkLeaving::default())];
        let mut link = Link::with(&scene, operations, leaving).await;
        // It ends, admitted or not: nobody follows the member's entries over a link that no revocation finds.
        while link.next().await.is_some() {}
        tokio::time::timeout(Duration::from_secs(5), async {
            while scene.world.hub().hub.links.of(scene.police.id()).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    }
}
