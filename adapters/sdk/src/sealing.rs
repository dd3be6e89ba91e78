//! Sealed bodies at the adapter: requests are opened with the adapter's own sealing key, answers are sealed
//! to the key that the request's statement names. Both keys count by delegations under the roots in the
//! contract; whatever key a hub would rather see used, it is none of them.

use crate::adapter::{Adapter, AdapterError, Incoming};
use crate::reply::Refusal;
use bytes::Bytes;
use std::sync::Arc;
use yiwang_proto::body::{BodyError, RequestBody};
use yiwang_proto::codes::Code;
use yiwang_proto::contract::Contract;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::document::SignedDocument;
use yiwang_proto::keys::SecretKey;
use yiwang_proto::request::Request;
use yiwang_proto::sealing::{Direction, Opener, SealError, check_recipient};

/// The adapter's key for sealed bodies.
#[derive(Debug)]
pub(crate) struct SealingKey {
    opener: Opener,
    document: SignedDocument,
    delegation: Delegation,
}

impl Adapter {
    /// Gives the adapter a key that opens bodies sealed for it. Without one it serves open bodies only.
    ///
    /// # Errors
    /// [`AdapterError`] unless the delegation is this adapter's, for sealing, of this key, under its root.
    pub fn with_sealing(mut self, key: SecretKey, document: SignedDocument) -> Result<Self, AdapterError> {
        let delegation = Delegation::open_under(&document, &self.delegation.root)?;
        let fits = |holds: bool, fault| if holds { Ok(()) } else { Err(AdapterError::NotFor(fault)) };
        fits(delegation.role == Role::Sealing, "its role is not `sealing`")?;
        fits(delegation.member == *self.member(), "it is for another member")?;
        fits(delegation.name == *self.name(), "it is for another adapter")?;
        fits(delegation.key == key.public(), "it is for another key")?;
        let opener = Opener::new(key, delegation.digest);
        self.sealing = Some(SealingKey { opener, document, delegation });
        Ok(self)
    }

    /// The delegation for sealing that the link shows; empty where there is none in force.
    pub(crate) fn sealing_document(&self) -> Bytes {
        let key = self.sealing.as_ref().filter(|key| {
            key.delegation.valid_at(self.now_ms()) && !self.standings.revokes_own(&key.delegation)
        });
        key.map(|key| key.document.bytes().clone()).unwrap_or_default()
    }

    /// The delegation of the key that opens bodies, if there is one.
    pub(crate) fn sealing_key(&self) -> Option<&Delegation> {
        self.sealing.as_ref().map(|key| &key.delegation)
    }

    /// The request's body: opened if the statement says that it is sealed, and in either case the one whose
    /// digest the statement names.
    pub(crate) fn open_body(&self, incoming: &Incoming, body: &Bytes) -> Result<RequestBody, Refusal> {
        let request = &incoming.request;
        let plain = if request.sealing.is_none() {
            body.clone()
        } else {
            let Some(key) = &self.sealing else {
                return Err(Refusal::denied(Code::SealingKeyUnknown, "this adapter has no key for sealing"));
            };
            key.opener.open(Direction::Request, &incoming.digest, body).map_err(|error| {
                let code = match error {
                    SealError::OtherKey => Code::SealingKeyUnknown,
                    SealError::TooLarge => Code::TooLarge,
                    _ => Code::Malformed,
                };
                Refusal::denied(code, &error.to_string())
            })?
        };
        RequestBody::open(&plain, &request.body_digest).map_err(|error| match error {
            BodyError::TooLarge => Refusal::denied(Code::TooLarge, "body"),
            BodyError::Digest => Refusal::denied(Code::Malformed, "body_digest"),
            BodyError::Malformed(what) => Refusal::denied(Code::Malformed, what),
        })
    }

    /// Whom the answer is sealed to: the asking app's key for sealing, under the consumer's root in the
    /// contract. None where bodies travel open.
    pub(crate) fn recipient(
        &self,
        request: &Request,
        contract: &Contract,
        delivered: &[Bytes],
        now_ms: i64,
    ) -> Result<Option<Arc<Delegation>>, Refusal> {
        let Some(digest) = &request.sealing else { return Ok(None) };
        let delegation = self.documents.delegation(digest, delivered)?;
        let consumer = &contract.text.consumer;
        let app = Some(request.app.as_str());
        check_recipient(&delegation, &consumer.member, app, &consumer.root, now_ms)
            .map_err(|error| Refusal::denied(Code::SealingKeyUnknown, &error.to_string()))?;
        Ok(Some(delegation))
    }
}
