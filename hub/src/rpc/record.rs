//! Plan and query of unified records.

use super::{member, traceparent};
use crate::context::Hub;
use crate::replies::Handing;
use crate::{records, status};
use futures_util::StreamExt as _;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use yiwang_proto::pb;
use yiwang_rpc::record_service_server::RecordService;

pub(super) struct Service(pub(super) Arc<Hub>);

#[tonic::async_trait]
impl RecordService for Service {
    type QueryStream = futures_util::stream::BoxStream<'static, Result<pb::QueryResponse, Status>>;

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Result<Response<pb::PlanResponse>, Status> {
        let peer = member(&request)?;
        records::plan(&self.0, &peer, request.get_ref()).map(Response::new).map_err(status::of)
    }

    async fn query(&self, request: Request<pb::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let (peer, trace) = (member(&request)?, traceparent(&request));
        let handing = Handing::default();
        let answers =
            records::query(&self.0, &peer, request.into_inner(), &trace, &handing).map_err(status::of)?;
        let given = handing.clone();
        let answers = ReceiverStream::new(answers).map(move |(answer, mark)| {
            given.add(mark);
            Ok(answer)
        });
        let mut response = Response::new(answers.boxed() as Self::QueryStream);
        response.extensions_mut().insert(handing);
        Ok(response)
    }
}
