//! Heads in statements: the newest head that the signer verified must lie on this ledger's one history. A
//! look-up in the normal case. A signer that was shown another history is found out here, and what it signed
//! is kept in the entry of the refusal.

use super::Refusal;
use crate::context::Hub;
use yiwang_proto::answer::Answer;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;
use yiwang_proto::request::{Head, Request};

/// The consumer's head.
pub fn check_request(hub: &Hub, request: &Request) -> Result<(), Refusal> {
    check(hub, &request.head, &request.consumer)
}

/// The provider's head.
pub fn check_answer(hub: &Hub, answer: &Answer) -> Result<(), Refusal> {
    check(hub, &answer.head, &answer.provider)
}

fn check(hub: &Hub, head: &Head, signer: &MemberId) -> Result<(), Refusal> {
    if hub.switches.blind_to_heads || hub.ledger.holds(head)? {
        return Ok(());
    }
    // Nothing shows that the ledger's key signed that head: it may be made up. So this refuses, and does not
    // stop the ledger as a signed head does.
    hub.alarms.head();
    tracing::error!(member = %signer, size = head.size, "a statement names a head that is not on this ledger");
    let clause = "head: not on this ledger".to_owned();
    Err(Refusal { code: Code::HeadContradicts, clause, replay_of: 0 })
}
