//! Adapters that say that they are witnesses, and are not; and one that asks for proofs without end.

use super::*;
use yiwang_proto::pb::adapter_frame::Kind as FromAdapter;
use yiwang_proto::pb::hub_frame::Kind as ToAdapter;
use yiwang_tests::raw::{RawLink, message};

/// Answers every call for a cosignature with lines of the real witness's name that no key made.
async fn pretend(world: &World, member: &Member, vkey: &str) -> tokio::task::JoinHandle<()> {
    let RawLink { frames, mut incoming } =
        RawLink::open(world, member, |hello| vkey.clone_into(&mut hello.witness_key)).await;
    let line = format!("\u{2014} {} {}\n", vkey.split('+').next().unwrap(), "AAAAAAAAAAAAAAAA");
    tokio::spawn(async move {
        while let Ok(Some(came)) = incoming.message().await {
            for frame in came.frames {
                let answer = match frame.kind {
                    Some(ToAdapter::Ping(ping)) => FromAdapter::Pong(pb::LinkPong { nonce: ping.nonce }),
                    Some(ToAdapter::Witness(call)) => FromAdapter::Witnessed(pb::WitnessReply {
                        call: call.call,
                        status: 200,
                        body: line.repeat(8).into(),
                    }),
                    _ => continue,
                };
                let _ = frames.send(message(vec![answer])).await;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_members_that_claim_a_witnesss_key_stop_nothing() {
    let mut scene = Scene::new(86).await;
    let member = witness(&scene.world, 1).await;
    let mut members = Vec::new();
    for number in 0..5 {
        let member = scene.world.member(&format!("false-{number}")).await;
        drop(member.adapter(&scene.world));
        members.push(member);
    }
    scene.adapter.take().unwrap().stop().await;
    scene.world.stop_hub().await;
    let (name, seed) = witness_seed(1);
    let vkey = CosignerKey::from_seed(&name, &seed).unwrap().verifier().to_string();
    scene.world.demand_witnesses(&format!("witness w {vkey}\nquorum w\n"), 60);
    scene.world.start_hub().await;
    let mut false_ones = Vec::new();
    for member in &members {
        false_ones.push(pretend(&scene.world, member, &vkey).await);
    }
    let running = member.run_adapter(&scene.world).await;
    scene.adapter = Some(scene.police.run_adapter(&scene.world).await);
    scene.app.meet().await.unwrap();
    let hub = Arc::clone(&scene.world.hub().hub);
    for _ in 0..3 {
        assert_eq!(scene.outcome(&scene.signed()).await, "answered");
        until("cosigned", || {
            hub.ledger.published().is_some_and(|head| head.size == hub.ledger.checkpoint().size)
        })
        .await;
    }
    assert!(hub.ledger.ready().is_ok());
    assert_eq!(hub.links.witnesses(&vkey).len(), 6, "all of them were asked");
    drop(hub);
    false_ones.into_iter().for_each(|one| one.abort());
    running.stop().await;
    let (code, report) = scene.verify_ledger().await;
    assert_eq!(code, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_a_link_that_asks_for_proofs_without_end_is_closed_and_others_go_on() {
    let scene = Scene::new(87).await;
    let member = scene.world.member("greedy").await;
    drop(member.adapter(&scene.world));
    let mut link = RawLink::open(&scene.world, &member, |_| {}).await;
    scene.world.until_linked(member.id()).await;
    let wanted = || FromAdapter::ProofWanted(pb::ProofWanted { from_size: 1, to_size: 3 });
    link.frames.send(message((0..64).map(|_| wanted()).collect())).await.unwrap();
    let mut proofs = 0;
    while proofs < 64 {
        let came = link.incoming.message().await.unwrap().unwrap();
        proofs +=
            came.frames.iter().filter(|frame| matches!(frame.kind, Some(ToAdapter::ProofGiven(_)))).count();
    }
    link.frames.send(message((0..200_000).map(|_| wanted()).collect())).await.unwrap();
    let ended = async { while let Ok(Some(_)) = link.incoming.message().await {} };
    assert_eq!(scene.outcome(&scene.signed()).await, "answered", "beside it");
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the link is closed");
}
