//! Reading the ledger: heads for every member, single entries for their parties, all for auditors.

use super::{Caller, auditor, caller, member};
use crate::context::Hub;
use crate::ledger::{Ledger, ReadFor};
use crate::{auditors, evidence, status};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::CONSISTENCY_SIZES_MAX;
use yiwang_proto::pb;
use yiwang_rpc::ledger_service_server::LedgerService;

pub(super) struct Service(pub(super) Arc<Hub>);

impl Service {
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Ledger) -> Result<T, Code> + Send + 'static,
    ) -> Result<T, Status> {
        self.0.ledger.reading(ReadFor::Caller, work).await.map_err(status::of)
    }

    /// Whether the caller may see an entry. An auditor's look is an entry of its own, before it is answered.
    async fn may_see(&self, who: &Caller, index: u64, what: &'static str) -> Result<(), Status> {
        match who {
            Caller::Auditor(auditor) => {
                self.0.record_look(auditor, what, (index, index), String::new()).await.map_err(status::of)
            }
            Caller::Member(member) => {
                let member = member.clone();
                // The party first: nothing is proved to whom it does not concern.
                let party = self.read(move |ledger| Ok(is_party(&ledger.entry(index)?, &member))).await?;
                if party { Ok(()) } else { Err(status::of(Code::NotFound)) }
            }
        }
    }
}

fn is_party(bytes: &bytes::Bytes, member: &MemberId) -> bool {
    let Ok(entry) = entry::decode(bytes) else { return false };
    match entry.kind {
        Some(Kind::Exchange(exchange)) => {
            entry::exchange_parties(&exchange).is_some_and(|(a, b)| a == *member || b == *member)
                || exchange.peer == member.as_str()
        }
        Some(Kind::CaseStatement(case)) => SignedStatement::parse(case.statement)
            .ok()
            .and_then(|signed| yiwang_proto::case::CaseStatement::parse(signed.unverified_payload()).ok())
            .is_some_and(|statement| statement.member == *member),
        Some(Kind::Contract(document)) => yiwang_proto::contract::Contract::open_bytes(document.document)
            .is_ok_and(|contract| contract.root_of(member).is_some()),
        // What records there are is no secret among members.
        Some(Kind::RecordType(_)) => true,
        _ => false,
    }
}

#[tonic::async_trait]
impl LedgerService for Service {
    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        caller(&request)?;
        let head = self.0.ledger.published().ok_or_else(|| status::of(Code::NotWitnessed))?;
        let now_ms = self.0.ledger.now_ms();
        Ok(Response::new(pb::GetCheckpointResponse { checkpoint: head.note, now_ms }))
    }

    async fn get_consistency(
        &self,
        request: Request<pb::GetConsistencyRequest>,
    ) -> Result<Response<pb::GetConsistencyResponse>, Status> {
        caller(&request)?;
        let sizes = request.into_inner();
        if sizes.more_from_sizes.len() > CONSISTENCY_SIZES_MAX {
            return Err(status::of(Code::Malformed));
        }
        let answer = self.read(move |ledger| {
            let from = |from_size| ledger.consistency(from_size, sizes.to_size);
            let proof = from(sizes.from_size)?;
            let more = sizes.more_from_sizes.iter().map(|from_size| {
                Ok(pb::ConsistencyProof { from_size: *from_size, proof: from(*from_size)? })
            });
            Ok(pb::GetConsistencyResponse { proof, more: more.collect::<Result<_, _>>()? })
        });
        answer.await.map(Response::new)
    }

    async fn get_entry(
        &self,
        request: Request<pb::GetEntryRequest>,
    ) -> Result<Response<pb::GetEntryResponse>, Status> {
        let who = caller(&request)?;
        let index = request.get_ref().index;
        self.may_see(&who, index, "entry").await?;
        let hub = Arc::clone(&self.0);
        if let Caller::Auditor(auditor) = who {
            return self.read(move |_| hub.audit_entry(&auditor, index)).await.map(Response::new);
        }
        let receipt = self.read(move |ledger| ledger.receipt(index)).await?.to_receipt();
        Ok(Response::new(pb::GetEntryResponse { receipt: Some(receipt), leaf_hash: bytes::Bytes::new() }))
    }

    async fn get_evidence(
        &self,
        request: Request<pb::GetEvidenceRequest>,
    ) -> Result<Response<pb::GetEvidenceResponse>, Status> {
        let who = caller(&request)?;
        let index = request.get_ref().index;
        self.may_see(&who, index, "evidence").await?;
        let hub = Arc::clone(&self.0);
        let evidence = self.read(move |ledger| {
            if let Caller::Auditor(auditor) = &who
                && !auditors::is_shown(&hub.scope_of(auditor), auditor, &ledger.entry(index)?)
            {
                return Err(Code::NotFound);
            }
            evidence::collect(&hub, index)
        });
        let evidence = evidence.await?;
        let bundle = serde_json::to_vec(&evidence).map_err(|_| status::of(Code::Internal))?;
        Ok(Response::new(pb::GetEvidenceResponse { bundle: bundle.into() }))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let auditor = auditor(&request)?;
        let asked = request.get_ref();
        let lines = self.0.audit_lines(&auditor, asked.from_index, asked.limit).await;
        lines.map(Response::new).map_err(status::of)
    }

    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<pb::SearchResponse>, Status> {
        let auditor = auditor(&request)?;
        let found = auditors::search(&self.0, auditor, request.get_ref()).await;
        found.map(Response::new).map_err(status::of)
    }

    async fn offer_head(
        &self,
        request: Request<pb::OfferHeadRequest>,
    ) -> Result<Response<pb::OfferHeadResponse>, Status> {
        let who = member(&request)?;
        let shown = self
            .0
            .checkpoints
            .open(&request.get_ref().checkpoint)
            .map_err(|_| Status::failed_precondition("the head is not of this ledger"))?;
        let answer = self.read(move |ledger| {
            let appending = ledger.show_head(&who, &shown)?;
            let head = ledger.checkpoint();
            let known = shown.size <= head.size;
            let proof = if known { ledger.consistency(shown.size, head.size)? } else { Vec::new() };
            Ok((appending, head, proof))
        });
        let (appending, head, proof) = answer.await?;
        Ok(Response::new(pb::OfferHeadResponse { checkpoint: head.note, proof, appending }))
    }
}
