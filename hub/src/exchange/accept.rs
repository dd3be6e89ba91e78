//! Stage 1: exact bytes become a statement within limits. Nothing is believed yet.

use crate::context::Hub;
use bytes::Bytes;
use yiwang_proto::codes::Code;
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::BODY_MAX;
use yiwang_proto::pb;
use yiwang_proto::request::Request;

/// A statement whose form is good.
pub struct Accepted {
    /// The member whose certificate the connection has.
    pub peer: MemberId,
    /// The envelope.
    pub signed: SignedStatement,
    /// Its statement; what it says is not verified.
    pub request: Request,
    /// SHA-256 of the signed payload.
    pub digest: yiwang_proto::Digest,
    /// The body, exact bytes.
    pub body: Bytes,
    /// W3C traceparent, or empty.
    pub traceparent: String,
    /// Whether the statement may stand in the ledger word for word: only once its signature is good and
    /// the hub knows all names in it. A stranger's words never enter the ledger.
    pub verbatim: std::sync::atomic::AtomicBool,
}

/// Checks form and limits. Failures here are answered with a status and counted, not recorded: bytes that
/// are no statement name no exchange.
pub fn accept(
    hub: &Hub,
    peer: MemberId,
    raw: pb::ExchangeRequest,
    traceparent: &str,
) -> Result<Accepted, Code> {
    // What cannot be recorded must not begin.
    let ready = hub.ledger.ready();
    if let Err(code) = ready
        && code != Code::ClockSkew
    {
        return Err(code);
    }
    if !hub.policy_is_recorded() {
        return Err(Code::LedgerNotAppending);
    }
    if raw.body.len() > BODY_MAX {
        return Err(Code::TooLarge);
    }
    let signed = SignedStatement::parse(raw.request).map_err(|_| Code::Malformed)?;
    let request = Request::of(&signed).map_err(|_| Code::Malformed)?;
    let accepted = Accepted {
        peer,
        digest: signed.digest(),
        signed,
        request,
        body: raw.body,
        traceparent: checked_traceparent(traceparent),
        verbatim: std::sync::atomic::AtomicBool::new(false),
    };
    if ready.is_err() {
        super::authenticate::hear(hub, &accepted);
    }
    ready.map(|()| accepted)
}

/// W3C Trace Context: `00-<32 hex>-<16 hex>-<2 hex>`; anything else starts without a trace.
fn checked_traceparent(text: &str) -> String {
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && (length == 2 || part.bytes().any(|b| b != b'0'))
    };
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        ["00", trace, span, flags] if hex(trace, 32) && hex(span, 16) && hex(flags, 2) => text.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_taken_whole_or_not_at_all() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(checked_traceparent(good), good);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(checked_traceparent(bad), "", "{bad}");
        }
    }
}
