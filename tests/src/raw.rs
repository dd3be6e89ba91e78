//! Links and connections without the manners of our own programs, for tests of what the hub does with them.

use crate::member::Member;
use crate::world::World;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use yiwang_proto::delegation::Role;
use yiwang_proto::ids::AppId;
use yiwang_proto::pb;
use yiwang_proto::pb::adapter_frame::Kind;
use yiwang_rpc::link_service_client::LinkServiceClient;

/// A link with a good key of a member's adapter, whose frames are written by hand.
pub struct RawLink {
    /// To the hub.
    pub frames: mpsc::Sender<pb::ConnectRequest>,
    /// From the hub, its welcome first.
    pub incoming: Streaming<pb::ConnectResponse>,
}

impl RawLink {
    /// Says hello as a member's adapter `main`; the hello is what the test makes of it.
    pub async fn open(world: &World, member: &Member, bend: impl FnOnce(&mut pb::LinkHello)) -> Self {
        Self::try_open(world, member, bend).await.unwrap()
    }

    /// The same, or what the hub says instead.
    ///
    /// # Errors
    /// The hub's status.
    pub async fn try_open(
        world: &World,
        member: &Member,
        bend: impl FnOnce(&mut pb::LinkHello),
    ) -> Result<Self, tonic::Status> {
        let (folder, name) = (&member.folder, AppId::parse("main").unwrap());
        let mut hello = pb::LinkHello {
            adapter: name.as_str().to_owned(),
            version: 1,
            delegation: folder.load_delegation(Role::Adapter, &name).unwrap().0.bytes().clone(),
            ..pb::LinkHello::default()
        };
        bend(&mut hello);
        let channel = folder.enrolled().unwrap().channel(Arc::clone(&world.clock)).await.unwrap();
        let (frames, queue) = mpsc::channel(16);
        frames.send(message(vec![Kind::Hello(hello)])).await.unwrap();
        let incoming = LinkServiceClient::new(channel).connect(ReceiverStream::new(queue)).await?;
        Ok(Self { frames, incoming: incoming.into_inner() })
    }
}

/// One message with these frames.
pub fn message(kinds: Vec<Kind>) -> pb::ConnectRequest {
    let frames = kinds.into_iter().map(|kind| pb::AdapterFrame { kind: Some(kind) }).collect();
    pb::ConnectRequest { frames }
}

/// A connection of a member that takes so many bytes of each answer until somebody reads it.
pub async fn channel_that_takes(world: &World, member: &Member, window: u32) -> Channel {
    let enrolled = member.folder.enrolled().unwrap();
    let config = enrolled.client_config(Arc::clone(&world.clock)).unwrap();
    let address = enrolled.hub().to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (config, address) = (Arc::clone(&config), address.clone());
        async move {
            let stream = TcpStream::connect(&address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        }
    });
    let endpoint = Endpoint::from_static("http://hub").initial_stream_window_size(window);
    endpoint.connect_with_connector(connector).await.unwrap()
}
