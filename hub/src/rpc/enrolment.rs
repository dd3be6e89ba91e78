//! The enrolment door: a one-time token, a certificate request and, for members, a card.

use super::directory::issue;
use crate::auditors::AuditorDraft;
use crate::context::Hub;
use crate::directory::MemberDraft;
use crate::status;
use crate::tls::identity::Identity;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yiwang_proto::codes::Code;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::member::MemberCard;
use yiwang_proto::pb;
use yiwang_rpc::enrolment_service_server::EnrolmentService;

pub(super) struct Service(pub(super) Arc<Hub>);

impl Service {
    /// Who wants to enrol, by its own card or, without one, as the auditor that the token names.
    fn claimed(&self, request: &pb::EnrolRequest) -> Result<(Identity, Option<MemberCard>), Status> {
        if request.card.is_empty() {
            let who = self
                .0
                .tokens
                .holder(&request.token, self.0.clock.now_ms())
                .map_err(|error| refused(&error))?;
            return match who {
                Identity::Auditor(auditor) => Ok((Identity::Auditor(auditor), None)),
                _ => Err(Status::invalid_argument("a member enrols with its card")),
            };
        }
        let card = SignedDocument::parse(request.card.clone(), DOCUMENT_MAX)
            .ok()
            .and_then(|document| MemberCard::open(&document).ok())
            .ok_or_else(|| Status::invalid_argument("the member card does not hold under its own root"))?;
        Ok((Identity::Member(card.member.clone()), Some(card)))
    }
}

/// Enters the member, then spends the token: an entry that cannot be made costs no token, and while the
/// enrolment is under way the token is nobody else's. Not cancelled with the call, so that a caller who
/// hangs up in between cannot enter one card after another.
async fn finish(
    hub: Arc<Hub>,
    identity: Identity,
    card: Option<MemberCard>,
    request: pb::EnrolRequest,
) -> Result<(), Status> {
    let refuse = |error| refused(&error);
    let claim = hub.tokens.claim(&request.token, &identity, hub.clock.now_ms()).map_err(refuse)?;
    if let Some(card) = card
        && hub.ledger.views().member(&card.member).is_none_or(|view| view.card != card)
    {
        let draft = MemberDraft { member: card.member, card: request.card };
        hub.ledger.append(Box::new(draft)).await.map_err(status::of)?;
        // An adapter under the root before would take what its successor is asked.
        hub.links.close_where(|key| !hub.ledger.views().is_of_the_root(key));
    }
    if let Identity::Auditor(auditor) = &identity {
        let scope = hub.tokens.scope(&request.token, hub.clock.now_ms()).map_err(refuse)?;
        let draft = AuditorDraft { auditor: auditor.clone(), scope };
        hub.ledger.append(Box::new(draft)).await.map_err(status::of)?;
    }
    claim.spend(hub.clock.now_ms()).map_err(refuse)
}

fn refused(error: &crate::tls::token::TokenError) -> Status {
    tracing::info!(%error, "an enrolment token is refused");
    Status::permission_denied(
        "the enrolment token is unknown, used, expired or for somebody else: ask the hub's operator for a new one",
    )
}

#[tonic::async_trait]
impl EnrolmentService for Service {
    async fn enrol(&self, request: Request<pb::EnrolRequest>) -> Result<Response<pb::EnrolResponse>, Status> {
        let request = request.into_inner();
        let (identity, card) = self.claimed(&request)?;
        self.0.ledger.ready().map_err(status::of)?;
        if let Some(card) = &card
            && let Some(old) = self.0.ledger.views().member(&card.member)
            && old.card.root != card.root
            && yiwang_proto::sha256(card.root.as_bytes()) != old.card.next_root_digest
        {
            return Err(status::of(Code::DelegationInvalid));
        }
        let certificate_chain = issue(&self.0, &identity, &request.certificate_request)?;
        let finishing = self.0.tasks.spawn(finish(Arc::clone(&self.0), identity, card, request));
        finishing.await.map_err(|_| status::of(Code::Internal))??;
        let checkpoint = self.0.ledger.checkpoint().note;
        Ok(Response::new(pb::EnrolResponse { certificate_chain, checkpoint }))
    }
}
