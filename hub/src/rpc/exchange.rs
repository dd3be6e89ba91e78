//! The door for apps.

use super::{member, traceparent};
use crate::context::Hub;
use crate::replies::Handing;
use crate::tls::identity::Peer;
use crate::{exchange, status, streams};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};
use yiwang_proto::pb;
use yiwang_rpc::exchange_service_server::ExchangeService;

pub(super) struct Service(pub(super) Arc<Hub>);

#[tonic::async_trait]
impl ExchangeService for Service {
    type StreamStream = streams::Answers;

    async fn stream(
        &self,
        request: Request<Streaming<pb::StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let (member, peer) =
            (member(&request)?, peer.ok_or_else(|| status::of(yiwang_proto::codes::Code::WrongMember))?);
        let served = streams::serve(&self.0, member, peer, request.into_inner());
        let (answers, handing) = served.map_err(status::of)?;
        let mut response = Response::new(answers);
        response.extensions_mut().insert(handing);
        Ok(response)
    }

    async fn exchange(
        &self,
        request: Request<pb::ExchangeRequest>,
    ) -> Result<Response<pb::ExchangeResponse>, Status> {
        let (peer, trace) = (member(&request)?, traceparent(&request));
        // A caller that hangs up must not stop the exchange half-way: what was forwarded is recorded.
        let (hub, message) = (Arc::clone(&self.0), request.into_inner());
        let tracker = hub.tasks.clone();
        // In a box: a runtime moves what it is given several times, and this is kilobytes.
        let run = async move { exchange::joined(&hub, peer, message, &trace).await };
        let run = tracker.spawn(Box::pin(run));
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
