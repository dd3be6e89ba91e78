//! Members, keys, contracts, certificates.

use super::{Caller, caller, member};
use crate::context::Hub;
use crate::directory::PublishDraft;
use crate::ledger::{Appended, ReadFor};
use crate::limits::CERTIFICATE_LIFE_MS;
use crate::status;
use crate::tls::identity::{Identity, Peer};
use bytes::Bytes;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yiwang_proto::codes::Code;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::ids::{ContractId, MemberId};
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::pb;
use yiwang_rpc::directory_service_server::DirectoryService;

pub(super) struct Service(pub(super) Arc<Hub>);

/// The identity as its certificate has it.
fn identity<T>(request: &Request<T>) -> Result<Identity, Status> {
    request
        .extensions()
        .get::<Peer>()
        .map(|peer| peer.identity.clone())
        .ok_or_else(|| status::of(Code::WrongMember))
}

/// A certificate for an identity, or the refusal.
pub(super) fn issue(hub: &Hub, identity: &Identity, request: &[u8]) -> Result<Vec<Bytes>, Status> {
    let now = hub.clock.now_ms();
    let chain = hub.authority.issue(request, identity, now, CERTIFICATE_LIFE_MS).map_err(|error| {
        tracing::info!(%error, "a certificate request is refused");
        Status::invalid_argument("the certificate request is not a well-signed PKCS#10 of a P-256 key")
    })?;
    Ok(chain.into_iter().map(|der| Bytes::copy_from_slice(&der)).collect())
}

impl Service {
    /// Publishing the same document again yields the receipt of its entry.
    fn known(&self, document: &Bytes) -> Option<u64> {
        let digest = SignedDocument::parse(document.clone(), CONTRACT_MAX).ok()?.digest();
        let views = self.0.ledger.views();
        let delegation = views.delegation(&digest).map(|view| (view.index, view.document.clone()));
        let contract = || views.contract_by_digest(&digest).map(|view| (view.index, view.document.clone()));
        let ticket = || views.ticket(&digest).map(|view| (view.index, view.document.clone()));
        let (index, stored) = delegation.or_else(contract).or_else(ticket)?;
        (stored == *document).then_some(index)
    }

    async fn publish_new(&self, peer: MemberId, document: Bytes) -> Result<Appended, Code> {
        let hub = &self.0;
        hub.quotas.take(&peer, hub.clock.monotonic_us())?;
        let draft = PublishDraft::open(peer.clone(), document.clone(), hub.ledger.views())?;
        hub.ledger.append(hub.quotas.publish(&peer, &document, Box::new(draft))).await
    }
}

#[tonic::async_trait]
impl DirectoryService for Service {
    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let identity = identity(&request)?;
        let certificate_chain = issue(&self.0, &identity, &request.get_ref().certificate_request)?;
        Ok(Response::new(pb::RenewResponse { certificate_chain }))
    }

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let peer = member(&request)?;
        let document = request.into_inner().document;
        let appended = match self.known(&document) {
            Some(index) => self.0.ledger.reading(ReadFor::Caller, move |ledger| ledger.receipt(index)).await,
            None => self.publish_new(peer, document).await,
        };
        let receipt = Some(appended.map_err(status::of)?.to_receipt());
        Ok(Response::new(pb::PublishResponse { receipt }))
    }

    async fn get_contract(
        &self,
        request: Request<pb::GetContractRequest>,
    ) -> Result<Response<pb::GetContractResponse>, Status> {
        let who = caller(&request)?;
        let not_found = || status::of(Code::NotFound);
        let id = ContractId::parse(&request.get_ref().contract_id).map_err(|_| not_found())?;
        let view = self.0.ledger.views().contract(&id).ok_or_else(not_found)?;
        let may = match &who {
            Caller::Member(member) => view.contract.root_of(member).is_some(),
            Caller::Auditor(_) => true,
        };
        if !may {
            return Err(not_found());
        }
        let link = self.0.links.of(&view.contract.text.provider.member);
        let sealing = link.and_then(|link| link.sealing.as_ref().map(|sealing| sealing.document.clone()));
        let sealing = self.0.switches.false_sealing.clone().or(sealing);
        Ok(Response::new(pb::GetContractResponse {
            document: view.document.clone(),
            index: view.index,
            provider_sealing: sealing.unwrap_or_default(),
        }))
    }

    async fn get_delegation(
        &self,
        request: Request<pb::GetDelegationRequest>,
    ) -> Result<Response<pb::GetDelegationResponse>, Status> {
        caller(&request)?;
        let not_found = || status::of(Code::NotFound);
        let digest = request.get_ref().digest.as_ref().try_into().map_err(|_| not_found())?;
        let view = self.0.ledger.views().delegation(&digest).ok_or_else(not_found)?;
        Ok(Response::new(pb::GetDelegationResponse { document: view.document.clone(), index: view.index }))
    }

    async fn list_members(
        &self,
        request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        caller(&request)?;
        let members = self.0.ledger.views().members();
        let members = members
            .iter()
            .map(|view| pb::MemberSummary {
                member: view.card.member.as_str().to_owned(),
                root_key: Bytes::copy_from_slice(view.card.root.as_bytes()),
                connected: self.0.links.of(&view.card.member).is_some(),
                display_name: view.card.display_name.clone(),
            })
            .collect();
        Ok(Response::new(pb::ListMembersResponse { members }))
    }
}
