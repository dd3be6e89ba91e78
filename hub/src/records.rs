//! Plan and fan-out of a unified record. The plan holds no subject; the client verifies every contract of
//! it, signs one request for each, and the hub runs them in parallel through the same pipeline.

use crate::context::Hub;
use crate::exchange::{self, reply::Reply};
use crate::replies::{Handing, Mark};
use prost::Message as _;
use std::sync::Arc;
use tokio::sync::mpsc;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{AppId, MemberId, Purpose, RecordType};
use yiwang_proto::limits::QUERY_MAX;
use yiwang_proto::pb;

/// Contracts in force that fit an app and purpose.
pub fn plan(hub: &Hub, peer: &MemberId, request: &pb::PlanRequest) -> Result<pb::PlanResponse, Code> {
    let consumer = MemberId::parse(&request.consumer).map_err(|_| Code::Malformed)?;
    let app = AppId::parse(&request.app).map_err(|_| Code::Malformed)?;
    let purpose = Purpose::parse(&request.purpose).map_err(|_| Code::Malformed)?;
    let records: Result<Vec<_>, _> =
        request.records.iter().take(64).map(|name| RecordType::parse(name)).collect();
    let records = records.map_err(|_| Code::Malformed)?;
    if consumer != *peer {
        return Err(Code::WrongMember);
    }
    let now = hub.ledger.now_ms();
    let fitting = hub.ledger.views().contracts_of(&consumer, QUERY_MAX, |contract| {
        let text = &contract.text;
        text.purpose == purpose
            && text.apps.contains(&app)
            && (records.is_empty() || records.contains(&text.record))
            && (contract.valid_from_ms..contract.valid_until_ms).contains(&now)
    });
    let contracts = fitting
        .into_iter()
        .map(|view| {
            let provider = &view.contract.text.provider.member;
            pb::PlannedContract {
                record_type: hub.ledger.views().pinned_document(&view.contract),
                contract: view.document.clone(),
                connected: hub.links.is_present(provider),
                disconnected_since_ms: hub.links.lost_since(provider),
            }
        })
        .collect();
    Ok(pb::PlanResponse { contracts })
}

/// One answer of a query, and the mark that it is under way.
pub type Queried = (pb::QueryResponse, Mark);

/// Runs many exchanges in parallel and yields answers in the order in which they come, which are part of the response that
/// `handing` stands for: answers that its reader does not take must be known as its own while they wait behind each other.
pub fn query(
    hub: &Arc<Hub>,
    peer: &MemberId,
    request: pb::QueryRequest,
    traceparent: &str,
    handing: &Handing,
) -> Result<mpsc::Receiver<Queried>, Code> {
    if request.exchanges.is_empty() || request.exchanges.len() > QUERY_MAX {
        return Err(Code::TooLarge);
    }
    let (sender, receiver) = mpsc::channel(QUERY_MAX);
    let tracker = hub.tasks.clone();
    for (position, one) in (0_u32..).zip(request.exchanges) {
        let (hub, peer, sender) = (Arc::clone(hub), peer.clone(), sender.clone());
        let (traceparent, handing) = (traceparent.to_owned(), handing.clone());
        let task = async move {
            let (result, mark) = match exchange::joined(&hub, peer.clone(), one, &traceparent).await {
                Ok(Reply { response, mark }) => {
                    let mark = mark.unwrap_or_else(|| hub.replies.owe(&peer, response.encoded_len()));
                    (pb::query_response::Result::Answered(response), mark)
                }
                Err(code) => {
                    let (code, message) = (code.as_str().to_owned(), code.help().to_owned());
                    let failure = pb::ExchangeFailure { code, message };
                    let mark = hub.replies.owe(&peer, failure.encoded_len());
                    (pb::query_response::Result::Failed(failure), mark)
                }
            };
            handing.expect(&mark);
            // A caller that went away loses nothing but its own answer; the entry stands.
            let _ = sender.send((pb::QueryResponse { position, result: Some(result) }, mark)).await;
        };
        tracker.spawn(task);
    }
    Ok(receiver)
}
