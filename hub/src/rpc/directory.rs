//! Members, keys, contracts, certificates.

use super::{Caller, caller, member};
use crate::context::Hub;
use crate::directory::PublishDraft;
use crate::ledger::{Appended, ReadFor};
use crate::limits::CERTIFICATE_LIFE_MS;
use crate::tls::identity::{Identity, Peer};
use crate::{standings, status};
use bytes::Bytes;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yiwang_proto::codes::Code;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::envelope::payload_type;
use yiwang_proto::ids::{ContractId, MemberId, RecordType};
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::pb;
use yiwang_rpc::directory_service_server::DirectoryService;

/// Record types in one look: a query names at most as many records.
const RECORD_TYPES_ASKED_MAX: usize = 64;

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
        let revocation = || views.revocation(&digest).map(|view| (view.index, view.document.clone()));
        let added = || views.record_type(&digest).map(|view| (view.index, view.document.clone()));
        let known = delegation.or_else(contract).or_else(ticket).or_else(revocation);
        let (index, stored) = known.or_else(added)?;
        (stored == *document).then_some(index)
    }

    async fn publish_new(&self, peer: MemberId, document: Bytes) -> Result<Appended, Code> {
        let hub = &self.0;
        let signed = SignedDocument::parse(document.clone(), CONTRACT_MAX).map_err(|_| Code::Malformed)?;
        hub.quotas.take_for(&peer, &signed, hub.clock.monotonic_us())?;
        let draft = PublishDraft::open(peer.clone(), document.clone(), hub.ledger.views())?;
        hub.ledger.append(hub.quotas.publish(&peer, &document, Box::new(draft))).await
    }

    /// Enters a document and tells whom it concerns; a revocation comes with its member's turn.
    async fn enter(
        &self,
        peer: MemberId,
        document: Bytes,
        kind: &str,
        turn: Option<standings::Turn>,
    ) -> Result<standings::Taken, Code> {
        let known = || self.known(&document);
        let enter = async |known: Option<u64>| match known {
            Some(index) => self.0.ledger.reading(ReadFor::Caller, move |ledger| ledger.receipt(index)).await,
            None => self.publish_new(peer.clone(), document.clone()).await,
        };
        let taken = match turn {
            Some(turn) => standings::revoke(&self.0, &peer, &document, turn, known, enter).await?,
            None => standings::Taken { appended: Some(enter(known()).await?), dropped: 0 },
        };
        match kind {
            payload_type::CONTRACT => standings::agreed(&self.0, &document),
            payload_type::RECORD_TYPE => self.0.announce_anew(),
            _ => {}
        }
        Ok(taken)
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
        let kind = SignedDocument::parse(document.clone(), CONTRACT_MAX)
            .map_err(|_| status::of(Code::Malformed))?
            .payload_type()
            .to_owned();
        if self.0.switches.hide_revocations && kind == payload_type::REVOCATION {
            return Err(status::of(Code::Overloaded));
        }
        // Waited for here: of calls that hang up while others of their member run, none stays behind as a task.
        let turn = match kind.as_str() {
            payload_type::REVOCATION => Some(self.0.standings.turn(&peer).await),
            _ => None,
        };
        // A caller that hangs up stops nothing half-way: what was entered is passed on, and closes links.
        let service = Self(Arc::clone(&self.0));
        let entering = self.0.tasks.spawn(async move { service.enter(peer, document, &kind, turn).await });
        let taken = entering.await.map_err(|_| status::of(Code::Internal))?;
        let standings::Taken { appended, dropped } = taken.map_err(status::of)?;
        Ok(Response::new(pb::PublishResponse {
            receipt: appended.map(|appended| appended.to_receipt()),
            dropped: u32::try_from(dropped).unwrap_or(u32::MAX),
        }))
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
            Caller::Auditor(auditor) => self.0.scope_of(auditor).shows_contract(&view.contract),
        };
        if !may {
            return Err(not_found());
        }
        if let Caller::Auditor(auditor) = &who {
            let range = (view.index, view.index);
            let recorded = self.0.record_look(auditor, "contract", range, String::new()).await;
            recorded.map_err(status::of)?;
        }
        let sealing = self.0.links.sealing_of(&view.contract.text.provider.member);
        let sealing = sealing.filter(|sealing| !self.0.ledger.views().revoked(&sealing.delegation));
        let sealing = sealing.map(|sealing| sealing.document.clone());
        let sealing = self.0.switches.false_sealing.clone().or(sealing);
        Ok(Response::new(pb::GetContractResponse {
            record_type: self.0.ledger.views().pinned_document(&view.contract),
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

    async fn get_record_types(
        &self,
        request: Request<pb::GetRecordTypesRequest>,
    ) -> Result<Response<pb::GetRecordTypesResponse>, Status> {
        caller(&request)?;
        let (views, wanted) = (self.0.ledger.views(), &request.get_ref().records);
        if wanted.len() > RECORD_TYPES_ASKED_MAX {
            return Err(status::of(Code::TooLarge));
        }
        let named = wanted.iter().filter_map(|name| RecordType::parse(name).ok());
        let documents: Vec<Bytes> = named
            .filter_map(|record| views.newest_record_type(&record))
            .map(|view| view.document.clone())
            .collect();
        let listed = if wanted.is_empty() { views.record_types() } else { Vec::new() };
        let record_types = listed
            .iter()
            .map(|view| pb::RecordTypeSummary {
                record: view.version.text.record.as_str().to_owned(),
                version: view.version.text.version,
                digest: Bytes::copy_from_slice(&view.version.digest),
                index: view.index,
                providers: view.version.text.providers.iter().map(|one| one.member.to_string()).collect(),
            })
            .collect();
        Ok(Response::new(pb::GetRecordTypesResponse { record_types, documents }))
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

    async fn offer_standing(
        &self,
        request: Request<pb::OfferStandingRequest>,
    ) -> Result<Response<pb::OfferStandingResponse>, Status> {
        let peer = member(&request)?;
        let offered = request.into_inner().standing.ok_or_else(|| status::of(Code::Malformed))?;
        let taken = standings::offer(&self.0, &peer, offered).await.map_err(status::of)?;
        Ok(Response::new(pb::OfferStandingResponse {
            receipt: taken.appended.map(|appended| appended.to_receipt()),
            dropped: u32::try_from(taken.dropped).unwrap_or(u32::MAX),
        }))
    }

    async fn get_standings(
        &self,
        request: Request<pb::GetStandingsRequest>,
    ) -> Result<Response<pb::GetStandingsResponse>, Status> {
        let peer = member(&request)?;
        let asked: Result<Vec<_>, _> =
            request.get_ref().members.iter().take(64).map(|id| MemberId::parse(id)).collect();
        let asked = asked.map_err(|_| status::of(Code::Malformed))?;
        Ok(Response::new(standings::get(&self.0, &peer, &asked)))
    }
}
