//! Stage 6: what leaves the hub. It takes a recorded exchange, so nothing can be released unrecorded.

use super::record::Recorded;
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
pub fn reply(recorded: Recorded) -> Reply {
    let Recorded { appended, body, mark } = recorded;
    let response = pb::ExchangeResponse { receipt: Some(appended.to_receipt()), body };
    Reply { response, mark: Some(mark) }
}
