//! Sealed bodies as the hub sees them: their form, and whose key opens them. What is in them is left to the
//! adapter and the consumer, and the entry says so.

use super::Refusal;
use super::accept::Accepted;
use crate::views::{DelegationView, Views};
use bytes::Bytes;
use std::sync::Arc;
use yiwang_proto::answer::{Answer, Verdict};
use yiwang_proto::body::RequestBody;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::sealing::{Sealed, check_recipient};

/// A request's body, as far as it can be seen here.
pub enum Body {
    /// Open: everything is checked.
    Open(RequestBody),
    /// Sealed, with the delegation to whose key the answer will be sealed.
    Sealed(Arc<DelegationView>),
}

impl Body {
    /// What the decision may look at.
    pub fn open(&self) -> Option<&RequestBody> {
        match self {
            Self::Open(body) => Some(body),
            Self::Sealed(_) => None,
        }
    }

    /// The consumer's key for sealing.
    pub fn sealing(self) -> Option<Arc<DelegationView>> {
        match self {
            Self::Open(_) => None,
            Self::Sealed(delegation) => Some(delegation),
        }
    }
}

/// Opens an open body; of a sealed one checks the form, and that the answer will be sealed to a key of the
/// asking app. The adapter checks both again.
pub fn body(views: &Views, accepted: &Accepted, contract: &Contract, now_ms: i64) -> Result<Body, Refusal> {
    let request = &accepted.request;
    let malformed = |clause: &str| refusal(Code::Malformed, clause);
    let Some(digest) = &request.sealing else {
        return RequestBody::open(&accepted.body, &request.body_digest)
            .map(Body::Open)
            .map_err(|_| malformed("body does not fit its statement"));
    };
    Sealed::parse(&accepted.body).map_err(|error| malformed(&error.to_string()))?;
    let unknown = |clause: &str| refusal(Code::SealingKeyUnknown, clause);
    let delegation = views
        .delegation(digest)
        .ok_or_else(|| unknown("the consumer's delegation for sealing is not published"))?;
    let consumer = &contract.text.consumer;
    let app = Some(request.app.as_str());
    check_recipient(&delegation.delegation, &consumer.member, app, &consumer.root, now_ms)
        .map_err(|error| unknown(&error.to_string()))?;
    Ok(Body::Sealed(delegation))
}

/// Whether an answer's body is the one that its statement speaks of: by digest where it is open, by form and
/// key where it is sealed.
pub fn answer_holds(answer: &Answer, body: &Bytes) -> bool {
    match (&answer.verdict, &answer.body_digest, &answer.sealed_to) {
        (Verdict::Answered, Some(digest), None) => yiwang_proto::sha256(body) == *digest,
        (Verdict::Answered, Some(_), Some(to)) => {
            Sealed::parse(body).is_ok_and(|sealed| sealed.sealed_to == *to)
        }
        _ => body.is_empty(),
    }
}

fn refusal(code: Code, clause: &str) -> Refusal {
    Refusal { code, clause: clause.to_owned(), replay_of: 0 }
}
