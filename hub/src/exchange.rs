//! One request's way through the hub, on one screen. A stage takes what the stage before it yields, so
//! none can be left out: forwarding needs a permit, releasing needs a receipt.

pub mod accept;
pub mod authenticate;
pub mod decide;
pub mod forward;
pub mod heads;
pub mod officer;
pub mod record;
pub mod reply;
pub mod sealed;

use crate::context::Hub;
use crate::denials;
use crate::stages::Stage;
use crate::standings;
use accept::Accepted;
use bytes::Bytes;
use futures_util::FutureExt as _;
use record::Outcome;
use reply::Reply;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use tracing::{Instrument as _, debug_span};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;
use yiwang_proto::pb;

/// A refusal with the clause that decided. Recorded like every other outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The service code.
    pub code: Code,
    /// The clause or rule; never a value.
    pub clause: String,
    /// For a replay: the entry of the first request plus one.
    pub replay_of: u64,
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self { code, clause: String::new(), replay_of: 0 }
    }
}

/// Runs one exchange as a span of the caller's trace, and counts a refusal that left no entry. One that breaks half-way, which
/// is a fault of the program, is answered too; what it held is dropped with it.
pub async fn joined(
    hub: &Hub,
    peer: MemberId,
    request: pb::ExchangeRequest,
    traceparent: &str,
) -> Result<Reply, Code> {
    // Not at `info`: who collects no traces would pay for it with each exchange, and the entry says who asked.
    let span = tracing::debug_span!("exchange", consumer = peer.as_str());
    yiwang_telemetry::continue_trace(&span, traceparent);
    let run = AssertUnwindSafe(run(hub, peer, request, traceparent).instrument(span)).catch_unwind();
    let ended = run.await.unwrap_or_else(|_| {
        tracing::error!(
            "an exchange broke and is answered with `internal`: report what stands above this line"
        );
        Err(Left::Unrecorded(Code::Internal))
    });
    ended.map_err(|left| match left {
        Left::Unrecorded(code) => {
            hub.meters.unrecorded(code);
            code
        }
        Left::Folded(code) => code,
    })
}

/// An exchange that left no entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Bytes that are no statement, a full or waiting ledger, overload.
    Unrecorded(Code),
    /// A denial of which many came in this minute; already counted.
    Folded(Code),
}

impl From<Code> for Left {
    fn from(code: Code) -> Self {
        Self::Unrecorded(code)
    }
}

/// Runs one exchange.
pub async fn run(
    hub: &Hub,
    peer: MemberId,
    request: pb::ExchangeRequest,
    traceparent: &str,
) -> Result<Reply, Left> {
    let _under_way = hub.ledger.begin();
    let _slot = hub.exchanges.try_acquire().map_err(|_| Code::Overloaded)?;
    let mut watch = Watch { hub, since: hub.clock.monotonic_us() };
    let accepted = debug_span!("accept").in_scope(|| accept::accept(hub, peer, request, traceparent))?;
    hub.gate.admit(hub, &accepted)?;
    watch.done(Stage::Accept);

    let checked = debug_span!("authenticate").in_scope(|| authenticate::authenticate(hub, &accepted));
    let authentic = match checked {
        Ok(authentic) => authentic,
        Err(refusal) => return refuse(hub, accepted, refusal).await,
    };
    watch.done(Stage::Authenticate);

    standings::enter_newest(hub, &accepted.request.consumer, &accepted.request.provider).await;
    let decision = debug_span!("decide").in_scope(|| decide::decide(hub, &accepted, authentic));
    let decided = match decision {
        Ok(decided) => decided,
        Err(refusal) => return refuse(hub, accepted, refusal).await,
    };
    // Its contract came between the two looks: what cannot stand in the ledger whole is not asked for.
    if !accepted.verbatim.load(Ordering::Relaxed) {
        return refuse(hub, accepted, Code::NoContract.into()).await;
    }
    watch.done(Stage::Decide);

    let forwarding = forward::forward(hub, &accepted, &decided).instrument(debug_span!("forward"));
    let forwarded = match forwarding.await {
        Ok(forwarded) => forwarded,
        // It waited for its provider, and what it rests on was taken back meanwhile.
        Err(refusal) => return refuse(hub, accepted, refusal).await,
    };
    watch.done(Stage::Forward);
    let outcome = debug_span!("verify").in_scope(|| forward::verify(hub, &accepted, &decided, forwarded));
    watch.done(Stage::Verify);

    let recorded =
        record::record(hub, accepted, Some(decided), outcome).instrument(debug_span!("record")).await?;
    watch.done(Stage::Record);

    let response = reply::reply(hub, recorded);
    watch.done(Stage::Reply);
    Ok(response)
}

async fn refuse(hub: &Hub, accepted: Accepted, refusal: Refusal) -> Result<Reply, Left> {
    if denials::folds(hub, &accepted, &refusal).instrument(debug_span!("record")).await {
        return Err(Left::Folded(refusal.code));
    }
    let denied = Outcome::denied(refusal);
    let recorded = record::record(hub, accepted, None, denied).instrument(debug_span!("record")).await?;
    Ok(reply::reply(hub, recorded))
}

/// Measures the stages.
struct Watch<'a> {
    hub: &'a Hub,
    since: u64,
}

impl Watch<'_> {
    fn done(&mut self, stage: Stage) {
        let now = self.hub.clock.monotonic_us();
        self.hub.stage_times.add(stage, now.saturating_sub(self.since));
        self.since = now;
    }
}

/// An empty body.
const NO_BODY: Bytes = Bytes::new();
