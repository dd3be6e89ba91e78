//! Stage 4: to the provider's adapter and back, within the permit's deadline; and the check of what came
//! back. An answer that does not hold is never released.

use super::Refusal;
use super::accept::Accepted;
use super::decide::{Decided, look_again};
use super::record::Outcome;
use crate::context::Hub;
use crate::limits::DEADLINE_MAX;
use crate::links::{Outgoing, RawAnswer, Way};
use yiwang_proto::answer::Answer;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::Role;
use yiwang_proto::envelope::{EnvelopeError, SignedStatement};
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::request::StatementError;

/// Sends the request down the provider's link. Refused is what had to wait for the link and may no longer go out.
pub async fn forward(
    hub: &Hub,
    accepted: &Accepted,
    decided: &Decided,
) -> Result<Result<RawAnswer, Code>, Refusal> {
    let now = hub.ledger.now_ms();
    let left = u64::try_from(accepted.request.expires_at_ms.saturating_sub(now)).unwrap_or_default();
    let most = u64::try_from(DEADLINE_MAX.as_millis()).unwrap_or(u64::MAX);
    let wait_ms = u64::from(decided.permit.deadline_ms()).min(left).min(most);
    let out = Outgoing {
        request: accepted.signed.bytes().clone(),
        body: accepted.body.clone(),
        deadline_ms: now.saturating_add(i64::try_from(wait_ms).unwrap_or_default()),
        wait_ms,
        urgent: hub.gate.is_emergency(&accepted.request.purpose),
        traceparent: yiwang_telemetry::traceparent_of(&tracing::Span::current())
            .unwrap_or_else(|| accepted.traceparent.clone()),
    };
    let face = hub.switches.provider_face.as_ref().map_or(hub, |face| face.0.as_ref());
    let way = Way { consumer: &accepted.request.consumer, provider: &accepted.request.provider };
    face.links.ask(way, &out, || look_again(hub, accepted, decided)).await
}

/// Checks the answer against the request and the permit.
pub fn verify(
    hub: &Hub,
    accepted: &Accepted,
    decided: &Decided,
    forwarded: Result<RawAnswer, Code>,
) -> Outcome {
    match forwarded {
        Err(code) => Outcome::failed(code),
        Ok(raw) => match check(hub, accepted, decided, &raw) {
            Ok((answer, delegation_index)) => match super::heads::check_answer(hub, &answer) {
                Ok(()) => Outcome::answered(raw, answer, delegation_index),
                Err(refusal) => Outcome::withheld(raw, refusal, delegation_index),
            },
            Err(refusal) => Outcome::invalid(raw, refusal, &accepted.request.consumer),
        },
    }
}

fn check(
    hub: &Hub,
    accepted: &Accepted,
    decided: &Decided,
    raw: &RawAnswer,
) -> Result<(Answer, u64), Refusal> {
    let invalid =
        |clause: &str| Refusal { code: Code::AnswerInvalid, clause: clause.to_owned(), replay_of: 0 };
    let signed = SignedStatement::parse(raw.answer.clone()).map_err(|_| invalid("answer is malformed"))?;
    let view = &raw.link.delegation;
    let delegation = &view.delegation;
    let right = delegation.role == Role::Adapter
        && delegation.member == accepted.request.provider
        && delegation.root == decided.contract.contract.text.provider.root
        && delegation.valid_at(hub.ledger.now_ms());
    if !right {
        return Err(invalid("the adapter's key is not delegated under the contract's root"));
    }
    if !decided.contract.contract.text.allows(&signed) {
        return Err(invalid("answer is signed together with others"));
    }
    let answer = Answer::open_knowing(&signed, &delegation.key, &hub.roots).map_err(|error| {
        invalid(match error {
            StatementError::Envelope(EnvelopeError::Unverified { .. }) => "answer carries other signatures",
            StatementError::Envelope(_) => "answer's signature is bad",
            _ => "answer's statement does not hold",
        })
    })?;
    hub.ledger.hear_time(&delegation.member, answer.answered_at_ms);
    if let Some(what) = answer.mismatch(&accepted.request, &accepted.digest) {
        return Err(invalid(what));
    }
    if answer.delegation_digest != delegation.digest || answer.adapter != delegation.name {
        return Err(invalid("answer names another adapter or delegation"));
    }
    // What an auditor would find in the ledger for ever must not get there because a provider's clock is wrong.
    let earliest = accepted.request.issued_at_ms.saturating_sub(CLOCK_SKEW_MS);
    let latest = hub.ledger.now_ms().saturating_add(CLOCK_SKEW_MS);
    if !(earliest..=latest).contains(&answer.answered_at_ms) {
        return Err(invalid("answer was signed before its request or in the future"));
    }
    if answer.rows > decided.permit.row_limit() {
        return Err(invalid("answer holds more rows than the contract lets out"));
    }
    if !super::sealed::answer_holds(&answer, &raw.body) {
        return Err(invalid("answer's body does not have the digest that is signed"));
    }
    let granted = decided.permit.fields();
    if answer.fields.iter().any(|field| !granted.contains(field)) {
        return Err(invalid("answer holds a field that is not granted"));
    }
    Ok((answer, view.index))
}
