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
use yiwang_proto::ids::MemberId;
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

    async fn enter(&self, member: MemberId, card: bytes::Bytes) -> Result<(), Status> {
        let known = SignedDocument::parse(card.clone(), DOCUMENT_MAX)
            .ok()
            .and_then(|document| MemberCard::open(&document).ok())
            .zip(self.0.ledger.views().member(&member))
            .is_some_and(|(card, view)| card == view.card);
        if known {
            return Ok(());
        }
        let draft = MemberDraft { member, card };
        self.0.ledger.append(Box::new(draft)).await.map(drop).map_err(status::of)
    }
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
        let auditor = match &identity {
            Identity::Auditor(auditor) => {
                let scope = self.0.tokens.scope(&request.token, self.0.clock.now_ms());
                let scope = scope.map_err(|error| refused(&error))?;
                Some(AuditorDraft { auditor: auditor.clone(), scope })
            }
            _ => None,
        };
        let certificate_chain = issue(&self.0, &identity, &request.certificate_request)?;
        // Redeemed only once everything else is good, so that a mistake does not cost the token.
        self.0
            .tokens
            .redeem(&request.token, &identity, self.0.clock.now_ms())
            .map_err(|error| refused(&error))?;
        if let Some(card) = card {
            self.enter(card.member, request.card).await?;
        }
        if let Some(draft) = auditor {
            self.0.ledger.append(Box::new(draft)).await.map_err(status::of)?;
        }
        let checkpoint = self.0.ledger.checkpoint().note;
        Ok(Response::new(pb::EnrolResponse { certificate_chain, checkpoint }))
    }
}
