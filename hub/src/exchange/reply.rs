//! Stage 6: what leaves the hub. It takes a recorded exchange, so nothing can be released unrecorded.

use super::record::Recorded;
use crate::context::Hub;
use crate::replies::Mark;
use yiwang_proto::pb;

/// What is released.
pub struct Reply {
    /// The receipt holds both statements, the body travels beside it.
    pub response: pb::ExchangeResponse,
    /// Says that it is under way; falls when its reader's connection has taken it.
    pub mark: Option<Mark>,
}

/// The response.
pub fn reply(hub: &Hub, recorded: Recorded) -> Reply {
    let Recorded { appended, body, mark } = recorded;
    let mut receipt = appended.into_receipt();
    if let Some(bent) = &hub.switches.bent_receipts {
        receipt = bent.0(receipt);
    }
    let response = pb::ExchangeResponse { receipt: Some(receipt), body };
    Reply { response, mark: Some(mark) }
}
