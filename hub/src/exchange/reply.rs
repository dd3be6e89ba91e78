//! Stage 6: what leaves the hub. It takes a recorded exchange, so nothing can be released unrecorded.

use super::record::Recorded;
use yiwang_proto::pb;

/// The response: the receipt holds both statements, the body travels beside it.
pub fn reply(recorded: Recorded) -> pb::ExchangeResponse {
    pb::ExchangeResponse { receipt: Some(recorded.appended.to_receipt()), body: recorded.body }
}
