//! One long-lived stream of exchanges to the hub, opened when it is needed and again when it ended.

use crate::client::{Client, MESSAGE_MAX};
use crate::error::ClientError;
use prost::Message as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tonic::Streaming;
use yiwang_proto::codes::Code;
use yiwang_proto::pb;
use yiwang_proto::pb::stream_response::Result as Came;
use yiwang_rpc::Gathered;
use yiwang_rpc::exchange_service_client::ExchangeServiceClient;

/// Requests that wait for the connection: as many as the hub takes of one stream at a time.
const QUEUE: usize = 256;
/// Larger requests are no matter for a stream; the hub takes 128 KiB.
const REQUEST_MAX: usize = 120 * 1024;

/// The stream that is open, if one is.
#[derive(Default)]
pub(crate) struct Streams(tokio::sync::Mutex<Option<Arc<Open>>>);

struct Open {
    outgoing: mpsc::Sender<pb::StreamRequest>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    closed: bool,
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Ended>>,
}

enum Ended {
    Answered(Box<pb::ExchangeResponse>),
    Failed(Code),
    /// The hub did not look at it.
    NotTaken,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    /// Runs one exchange; none where the hub has no stream for this member, so that a call is what is left. What the
    /// hub says it did not take is sent once more, on another stream.
    pub(crate) async fn exchange(
        &self,
        client: &Client,
        exchange: &pb::ExchangeRequest,
        traceparent: &str,
    ) -> Result<Option<pb::ExchangeResponse>, ClientError> {
        if exchange.encoded_len() > REQUEST_MAX {
            // A call is refused alone; here it would end the stream for all.
            return Ok(None);
        }
        for _ in 0..2 {
            let Some(open) = self.open(client).await? else { return Ok(None) };
            let Some(ended) = open.send(exchange.clone(), traceparent.to_owned()).await else { continue };
            match ended.await {
                Ok(Ended::Answered(response)) => return Ok(Some(*response)),
                Ok(Ended::Failed(code)) => return Err(ClientError::Hub { code }),
                Ok(Ended::NotTaken) => {}
                Err(_) => {
                    return Err(ClientError::Transport("the stream ended before the answer".to_owned()));
                }
            }
        }
        // It said that it looked at nothing, so a call does no harm.
        Ok(None)
    }

    async fn open(&self, client: &Client) -> Result<Option<Arc<Open>>, ClientError> {
        let mut held = self.0.lock().await;
        if let Some(open) = held.as_ref().filter(|open| !lock(&open.state).closed) {
            return Ok(Some(Arc::clone(open)));
        }
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let mut service =
            ExchangeServiceClient::new(client.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let incoming = match service.stream(Gathered::new(queue)).await {
            Ok(opened) => opened.into_inner(),
            // A hub of before there were streams.
            Err(status) if status.code() == tonic::Code::Unimplemented => return Ok(None),
            Err(status) => match ClientError::from(status) {
                ClientError::Hub { code: Code::Overloaded } => return Ok(None),
                error => return Err(error),
            },
        };
        let state = Arc::<Mutex<State>>::default();
        tokio::spawn(receive(incoming, Arc::clone(&state)));
        let open = Arc::new(Open { outgoing, state });
        *held = Some(Arc::clone(&open));
        Ok(Some(open))
    }
}

impl Open {
    /// None where the stream takes no more.
    async fn send(
        &self,
        exchange: pb::ExchangeRequest,
        traceparent: String,
    ) -> Option<oneshot::Receiver<Ended>> {
        let place = self.outgoing.reserve().await.ok()?;
        let (ended, receiver) = oneshot::channel();
        // Numbers are in the order in which they are sent, so both happen under one lock.
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, ended);
        place.send(pb::StreamRequest { number, exchange: Some(exchange), traceparent });
        Some(receiver)
    }
}

/// Hands answers to those who wait for them, until the stream ends.
async fn receive(mut incoming: Streaming<pb::StreamResponse>, state: Arc<Mutex<State>>) {
    while let Ok(Some(message)) = incoming.message().await {
        let mut state = lock(&state);
        match message.result {
            Some(Came::Closing(closing)) => {
                state.closed = true;
                let not_taken: Vec<_> =
                    state.waiting.extract_if(|number, _| *number > closing.last_taken).collect();
                for (_, waiting) in not_taken {
                    let _ = waiting.send(Ended::NotTaken);
                }
            }
            Some(Came::Answered(response)) => {
                // Whoever does not wait any more loses its own answer only.
                let _ = state
                    .waiting
                    .remove(&message.number)
                    .map(|one| one.send(Ended::Answered(Box::new(response))));
            }
            Some(Came::Failed(failure)) => {
                let code = Code::parse(&failure.code).unwrap_or(Code::Internal);
                let _ = state.waiting.remove(&message.number).map(|one| one.send(Ended::Failed(code)));
            }
            // An answer that says nothing: its exchange has none.
            None => drop(state.waiting.remove(&message.number)),
        }
    }
    let mut state = lock(&state);
    state.closed = true;
    state.waiting.clear();
}
