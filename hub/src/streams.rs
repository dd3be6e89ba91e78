//! Long-lived streams of exchanges, for apps that ask often. Each exchange on one goes the way that every exchange
//! goes; what is saved is the set-up of a request.
//!
//! A stream is no way around anything: its member is the connection's, dismissal and the end of the certificate are
//! looked at for every exchange, and a stream that does not read its answers is read no further.

use crate::context::Hub;
use crate::exchange::{self, reply::Reply};
use crate::limits::{STREAM_IN_FLIGHT, STREAMS_OF_MEMBER};
use crate::replies::{Handing, Mark};
use crate::tls::identity::Peer;
use futures_util::Stream;
use prost::Message as _;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::StreamExt as _;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;
use yiwang_proto::pb::stream_response::Result as Came;
use yiwang_rpc::Gathered;

/// How many streams each member has open.
#[derive(Default)]
pub struct Streams(Arc<Mutex<HashMap<MemberId, usize>>>);

/// How often a stream is looked at on which nothing comes: dismissals are rare, and this is short beside the certificate's life.
const LOOK: Duration = Duration::from_secs(30);

/// Bytes of a body from which on it shares no write with answers before it: their marks fall with the last byte of all.
const LARGE: usize = 16 << 10;

fn is_large(message: &Outgoing) -> bool {
    matches!(&message.message.result, Some(Came::Answered(response)) if response.body.len() >= LARGE)
}

/// The place of one stream, until its last answer is given away.
struct Place {
    of: Arc<Mutex<HashMap<MemberId, usize>>>,
    member: MemberId,
}

fn lock(of: &Mutex<HashMap<MemberId, usize>>) -> MutexGuard<'_, HashMap<MemberId, usize>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.of);
        match open.get_mut(&self.member) {
            Some(many) if *many > 1 => *many -= 1,
            _ => drop(open.remove(&self.member)),
        }
    }
}

impl Streams {
    /// Open now, over all members.
    pub fn open(&self) -> usize {
        lock(&self.0).values().sum()
    }

    fn take(&self, member: &MemberId) -> Result<Place, Code> {
        let mut open = lock(&self.0);
        let many = open.entry(member.clone()).or_default();
        if *many >= STREAMS_OF_MEMBER {
            return Err(Code::Overloaded);
        }
        *many += 1;
        Ok(Place { of: Arc::clone(&self.0), member: member.clone() })
    }
}

/// One message to the app, with what falls when it is given to the connection.
struct Outgoing {
    message: pb::StreamResponse,
    mark: Option<Mark>,
    // Of an exchange without a mark; else the mark has it.
    _place: Option<OwnedSemaphorePermit>,
}

/// What goes back to the app.
pub type Answers = futures_util::stream::BoxStream<'static, Result<pb::StreamResponse, tonic::Status>>;

/// Serves a stream until its app, its certificate or the hub ends it.
///
/// # Errors
/// [`Code::Overloaded`] where the member has as many open as it may.
pub fn serve<S>(hub: &Arc<Hub>, member: MemberId, peer: Peer, incoming: S) -> Result<(Answers, Handing), Code>
where
    S: Stream<Item = Result<pb::StreamRequest, tonic::Status>> + Send + Unpin + 'static,
{
    let place = Arc::new(hub.streams.take(&member)?);
    let handing = Handing::lasting();
    // One more than exchanges: the announcement of the end needs no room.
    let (sender, receiver) = mpsc::channel(STREAM_IN_FLIGHT + 1);
    let served = Served {
        hub: Arc::clone(hub),
        member,
        peer,
        sender,
        handing: handing.clone(),
        _place: Arc::clone(&place),
    };
    hub.tasks.spawn(served.run(incoming));
    let given = handing.clone();
    let answers = futures_util::StreamExt::map(Gathered::apart(receiver, is_large), move |one: Outgoing| {
        // Here too: answers that nobody takes are a stream's as long as they wait.
        let _open = &place;
        if let Some(mark) = one.mark {
            given.add(mark);
        }
        Ok(one.message)
    });
    Ok((Box::pin(answers), handing))
}

struct Served {
    hub: Arc<Hub>,
    member: MemberId,
    peer: Peer,
    sender: mpsc::Sender<Outgoing>,
    handing: Handing,
    _place: Arc<Place>,
}

impl Served {
    async fn run<S>(self, mut incoming: S)
    where
        S: Stream<Item = Result<pb::StreamRequest, tonic::Status>> + Send + Unpin,
    {
        let room = Arc::new(Semaphore::new(STREAM_IN_FLIGHT));
        let mut last = 0;
        // Made once, not for each message.
        let (mut stopped, mut closed) = (pin!(self.hub.stop.cancelled()), pin!(self.sender.closed()));
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.tick().await;
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await.ok()?;
                Some((permit, incoming.next().await?))
            };
            let next = tokio::select! {
                biased;
                () = &mut stopped => break,
                // Nobody reads any more. What was taken runs to its entry.
                () = &mut closed => return,
                next = next => next,
                _ = look.tick() => match self.may_go_on() {
                    true => continue,
                    false => break,
                },
            };
            // The app ended its side: what was taken is answered.
            let Some((permit, message)) = next else { return };
            // Bytes that are no message end the stream, and what came behind them can be sent again.
            let Ok(message) = message else { break };
            if message.number <= last || !self.may_go_on() {
                break;
            }
            last = message.number;
            self.exchange(message, permit);
        }
        let closing = Some(Came::Closing(pb::StreamClosing { last_taken: last }));
        let message = pb::StreamResponse { number: 0, result: closing };
        let _ = self.sender.send(Outgoing { message, mark: None, _place: None }).await;
    }

    /// A stream outlives no right to be connected.
    fn may_go_on(&self) -> bool {
        let dismissed =
            self.hub.ledger.views().is_dismissed(&self.peer.identity, self.peer.certificate_issued_ms);
        !dismissed && self.hub.clock.now_ms() < self.peer.certificate_ends_ms
    }

    fn exchange(&self, message: pb::StreamRequest, permit: OwnedSemaphorePermit) {
        let (hub, member) = (Arc::clone(&self.hub), self.member.clone());
        let (sender, handing) = (self.sender.clone(), self.handing.clone());
        // A task of its own: a caller that hangs up must not stop the exchange half-way. In a box: a runtime moves what it is
        // given several times, and this is kilobytes.
        self.hub.tasks.spawn(Box::pin(async move {
            let pb::StreamRequest { number, exchange, traceparent } = message;
            let exchange = exchange.unwrap_or_default();
            let ended = exchange::joined(&hub, member.clone(), exchange, &traceparent).await;
            let (result, mark) = match ended {
                Ok(Reply { response, mark }) => (Came::Answered(response), mark),
                Err(code) => {
                    let (code, message) = (code.as_str().to_owned(), code.help().to_owned());
                    let failure = pb::ExchangeFailure { code, message };
                    // What is no answer waits for its reader too.
                    let mark = hub.replies.owe(&member, failure.encoded_len());
                    (Came::Failed(failure), Some(mark))
                }
            };
            let (mark, place) = match mark {
                Some(mut mark) => {
                    handing.expect(&mark);
                    mark.hold(permit);
                    (Some(mark), None)
                }
                None => (None, Some(permit)),
            };
            let message = pb::StreamResponse { number, result: Some(result) };
            // A caller that went away loses nothing but its own answer; the entry stands.
            let _ = sender.send(Outgoing { message, mark, _place: place }).await;
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_so_many_streams_and_gets_places_back() {
        let streams = Streams::default();
        let (one, two) = ("street-office".parse().unwrap(), "health".parse().unwrap());
        let held: Vec<_> = (0..STREAMS_OF_MEMBER).map(|_| streams.take(&one).unwrap()).collect();
        assert_eq!(streams.take(&one).err(), Some(Code::Overloaded));
        let other = streams.take(&two).unwrap();
        assert_eq!(streams.open(), STREAMS_OF_MEMBER + 1);
        drop(held);
        assert!(streams.take(&one).is_ok());
        drop(other);
        assert!(lock(&streams.0).is_empty(), "who has none is forgotten");
    }
}
