//! The door for apps.

use super::{member, traceparent};
use crate::context::Hub;
use crate::replies::Handing;
use crate::{exchange, status};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_server::ExchangeService;

pub(super) struct Service(pub(super) Arc<Hub>);

#[tonic::async_trait]
impl ExchangeService for Service {
    async fn exchange(
        &self,
        request: Request<pb::ExchangeRequest>,
    ) -> Result<Response<pb::ExchangeResponse>, Status> {
        let (peer, trace) = (member(&request)?, traceparent(&request));
        // A caller that hangs up must not stop the exchange half-way: what was forwarded is recorded.
        let (hub, message) = (Arc::clone(&self.0), request.into_inner());
        let tracker = hub.tasks.clone();
        let run = tracker.spawn(async move { exchange::joined(&hub, peer, message, &trace).await });
        let reply = run.await.map_err(|_| status::of(yiwang_proto::codes::Code::Internal))?;
        let reply = reply.map_err(status::of)?;
        let mut response = Response::new(reply.response);
        if let Some(mark) = reply.mark {
            let handing = Handing::default();
            handing.add(mark);
            response.extensions_mut().insert(handing);
        }
        Ok(response)
    }
}
