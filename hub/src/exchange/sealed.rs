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
use yiwang_proto::delegation::Delegation;
use yiwang_proto::sealing::{Sealed, check_recipient};

/// Whose keys open sealed bodies.
#[derive(Clone)]
pub struct Keys {
    /// The consumer's delegation: to its key the answer will be sealed.
    pub consumer: Arc<DelegationView>,
    /// The provider's, to whose key the request is sealed; none where its delegation is not published, which
    /// the adapter knows better.
    pub provider: Option<Arc<DelegationView>>,
}

impl Keys {
    /// The delegations, for a look at what was revoked.
    pub fn of(keys: Option<&Self>) -> [Option<&Delegation>; 2] {
        let views = [keys.map(|keys| &keys.consumer), keys.and_then(|keys| keys.provider.as_ref())];
        views.map(|view| view.map(|view| &view.delegation))
    }
}

/// A request's body, as far as it can be seen here.
pub enum Body {
    /// Open: everything is checked.
    Open(RequestBody),
    /// Sealed.
    Sealed(Keys),
}

impl Body {
    /// What the decision may look at.
    pub fn open(&self) -> Option<&RequestBody> {
        match self {
            Self::Open(body) => Some(body),
            Self::Sealed(_) => None,
        }
    }

    /// The keys that it is sealed with.
    pub fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Open(_) => None,
            Self::Sealed(keys) => Some(keys),
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
    let sealed = Sealed::parse(&accepted.body).map_err(|error| malformed(&error.to_string()))?;
    let unknown = |clause: &str| refusal(Code::SealingKeyUnknown, clause);
    let delegation = views
        .delegation(digest)
        .ok_or_else(|| unknown("the consumer's delegation for sealing is not published"))?;
    let consumer = &contract.text.consumer;
    let app = Some(request.app.as_str());
    check_recipient(&delegation.delegation, &consumer.member, app, &consumer.root, now_ms)
        .map_err(|error| unknown(&error.to_string()))?;
    Ok(Body::Sealed(Keys { consumer: delegation, provider: views.delegation(&sealed.sealed_to) }))
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
