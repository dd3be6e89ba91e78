//! The register of cases.

use super::member;
use crate::context::Hub;
use crate::ledger::{Ledger, ReadFor};
use crate::{cases, status};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::CaseId;
use yiwang_proto::pb;
use yiwang_rpc::case_service_server::CaseService;

pub(super) struct Service(pub(super) Arc<Hub>);

#[tonic::async_trait]
impl CaseService for Service {
    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        let peer = member(&request)?;
        let appended =
            cases::submit(&self.0, &peer, request.into_inner().statement).await.map_err(status::of)?;
        Ok(Response::new(pb::SubmitResponse { receipt: Some(appended.to_receipt()) }))
    }

    async fn show(&self, request: Request<pb::ShowRequest>) -> Result<Response<pb::ShowResponse>, Status> {
        let peer = member(&request)?;
        let case = CaseId::parse(&request.get_ref().case_id).map_err(|_| status::of(Code::NotFound))?;
        let hub = Arc::clone(&self.0);
        let show = move |_: &Ledger| cases::show(&hub, &peer, &case);
        self.0.ledger.reading(ReadFor::Caller, show).await.map(Response::new).map_err(status::of)
    }
}
