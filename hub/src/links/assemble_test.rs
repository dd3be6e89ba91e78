use super::*;
use crate::links::side::Side;
use crate::views::DelegationView;
use tokio::sync::mpsc::Receiver;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_proto::keys::SecretKey;
use yiwang_proto::limits::CHUNK_MAX;
use yiwang_proto::pb::hub_frame::Kind;

fn link() -> (Arc<Link>, Receiver<pb::HubFrame>) {
    let (member, key) = (MemberId::parse("civil-affairs").unwrap(), SecretKey::from_seed(&[1; 32]));
    let name = AppId::parse("main").unwrap();
    let document = Delegation::sign(&key, &member, Role::Adapter, &name, key.public(), 1, 0, 1000);
    let view = DelegationView {
        delegation: Delegation::open(&document).unwrap(),
        document: document.bytes().clone(),
        index: 0,
    };
    let (side, _) = Side::new(&pb::LinkHello::default());
    Link::new(member, Arc::new(view), side, None, 0)
}

/// An exchange for which somebody waits.
fn pending(link: &Link, exchange: u64) -> oneshot::Receiver<Result<(Bytes, Bytes), Code>> {
    let (reply, answer) = oneshot::channel();
    link.pending().insert(exchange, Pending::new(reply, Arc::new(Semaphore::new(0))));
    answer
}

/// Fills the queue to the adapter.
fn fill(link: &Link) {
    let ping = pb::HubFrame { kind: Some(Kind::Ping(pb::LinkPing { nonce: 1 })) };
    while link.frames.try_send(ping.clone()).is_ok() {}
}

/// The next part of an answer.
fn part(exchange: u64, chunk: u32) -> pb::AnswerChunk {
    let answer = if chunk == 0 { Bytes::from_static(b"statement") } else { Bytes::new() };
    pb::AnswerChunk { exchange, chunk, last: false, answer, body: vec![0; CHUNK_MAX].into() }
}

/// Takes what is in the queue; the exchanges that it cancels.
fn cancelled(queue: &mut Receiver<pb::HubFrame>) -> Vec<u64> {
    let mut told = Vec::new();
    while let Ok(frame) = queue.try_recv() {
        if let Some(Kind::Cancel(cancel)) = frame.kind {
            told.push(cancel.exchange);
        }
    }
    told
}

#[test]
fn an_exchange_whose_credit_finds_no_place_is_cancelled_when_there_is_room() {
    let (link, mut queue) = link();
    let mut answer = pending(&link, 7);
    fill(&link);
    for chunk in 0..2 {
        link.take_chunk(part(7, chunk));
    }
    assert_eq!(answer.try_recv().unwrap(), Err(Code::ProviderBusy));
    assert_eq!(link.held(), 0);
    assert!(cancelled(&mut queue).is_empty(), "the queue was full");
    // The chunk of another one, or the next ping.
    let _other = pending(&link, 8);
    link.take_chunk(part(8, 0));
    assert_eq!(cancelled(&mut queue), [7]);
    link.say_untold();
    assert!(cancelled(&mut queue).is_empty(), "once");
}

#[test]
fn whoever_stops_waiting_while_the_queue_is_full_is_cancelled_when_there_is_room() {
    let (link, mut queue) = link();
    fill(&link);
    for exchange in 1..=UNTOLD_MAX as u64 + 2 {
        let answer = pending(&link, exchange);
        drop(Waiting { link: Arc::clone(&link), exchange, answer, done: false });
    }
    assert_eq!(link.untold().len(), UNTOLD_MAX, "bounded");
    cancelled(&mut queue);
    link.say_untold();
    let told = cancelled(&mut queue);
    assert_eq!((told.len(), told.first()), (UNTOLD_MAX, Some(&3)), "the newest");
}
