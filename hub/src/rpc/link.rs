//! The adapters' door.

use super::member;
use crate::context::Hub;
use crate::links::LinkServer;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};
use yiwang_proto::pb;
use yiwang_rpc::link_service_server::LinkService;

pub(super) struct Service {
    server: LinkServer,
}

impl Service {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { server: LinkServer::new(hub) }
    }
}

#[tonic::async_trait]
impl LinkService for Service {
    type ConnectStream = crate::links::OutgoingFrames;

    async fn connect(
        &self,
        request: Request<Streaming<pb::ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let peer = member(&request)?;
        self.server.connect(peer, request.into_inner()).await.map(Response::new)
    }
}
