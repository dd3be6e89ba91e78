//! gRPC: one thin file per service. A service checks who calls, calls the code that does the work, and
//! maps codes to statuses.

mod case;
mod directory;
mod enrolment;
mod exchange;
mod ledger;
mod link;
mod record;
mod strangers;

use crate::context::Hub;
use crate::status;
use crate::tls::identity::{Identity, Peer};
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use tonic::{Request, Status};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{AppId, MemberId};
use yiwang_rpc::case_service_server::CaseServiceServer;
use yiwang_rpc::directory_service_server::DirectoryServiceServer;
use yiwang_rpc::enrolment_service_server::EnrolmentServiceServer;
use yiwang_rpc::exchange_service_server::ExchangeServiceServer;
use yiwang_rpc::ledger_service_server::LedgerServiceServer;
use yiwang_rpc::link_service_server::LinkServiceServer;
use yiwang_rpc::record_service_server::RecordServiceServer;

/// Largest message of a link: chunks of bodies.
const LINK_MESSAGE_MAX: usize = 8 * 1024 * 1024;
/// Largest single request: a statement, its body with room for sealing and padding.
const REQUEST_MAX: usize = 128 * 1024;
/// Largest unified query: as many requests as it may hold at the size that they have in practice.
const QUERY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest published document or case statement with its envelope.
const PUBLISHED_MAX: usize = 128 * 1024;
/// Largest question without a document: ids, ranges, a checkpoint.
const QUESTION_MAX: usize = 32 * 1024;

/// Who calls.
pub(crate) enum Caller {
    /// A member's adapter, gateway or app.
    Member(MemberId),
    /// An auditor.
    Auditor(AppId),
}

pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    match request.extensions().get::<Peer>().map(|peer| &peer.identity) {
        Some(Identity::Member(member)) => Ok(Caller::Member(member.clone())),
        Some(Identity::Auditor(auditor)) => Ok(Caller::Auditor(auditor.clone())),
        _ => Err(status::of(Code::WrongMember)),
    }
}

pub(crate) fn member<T>(request: &Request<T>) -> Result<MemberId, Status> {
    match caller(request)? {
        Caller::Member(member) => Ok(member),
        Caller::Auditor(_) => Err(status::of(Code::WrongMember)),
    }
}

pub(crate) fn auditor<T>(request: &Request<T>) -> Result<AppId, Status> {
    match caller(request)? {
        Caller::Auditor(auditor) => Ok(auditor),
        Caller::Member(_) => Err(status::of(Code::WrongMember)),
    }
}

pub(crate) fn traceparent<T>(request: &Request<T>) -> String {
    request.metadata().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Refuses whoever was dismissed, before any service sees the request.
pub(crate) async fn not_dismissed(
    State(hub): State<Arc<Hub>>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let dismissed = request
        .extensions()
        .get::<Peer>()
        .is_some_and(|peer| hub.ledger.views().is_dismissed(&peer.identity, peer.certificate_issued_ms));
    if dismissed {
        let text = "this certificate's holder was dismissed: ask the hub's operator for a new enrolment\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// All services for members and auditors, with reflection and health.
pub fn member_routes(
    hub: &Arc<Hub>,
    health: tonic_health::pb::health_server::HealthServer<impl tonic_health::pb::health_server::Health>,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(yiwang_rpc::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let hub = || Arc::clone(hub);
    let routes = tonic::service::Routes::new(
        ExchangeServiceServer::new(exchange::Service(hub())).max_decoding_message_size(REQUEST_MAX),
    )
    .add_service(RecordServiceServer::new(record::Service(hub())).max_decoding_message_size(QUERY_BYTES_MAX))
    .add_service(CaseServiceServer::new(case::Service(hub())).max_decoding_message_size(PUBLISHED_MAX))
    .add_service(
        DirectoryServiceServer::new(directory::Service(hub())).max_decoding_message_size(PUBLISHED_MAX),
    )
    .add_service(LedgerServiceServer::new(ledger::Service(hub())).max_decoding_message_size(QUESTION_MAX))
    .add_service(
        LinkServiceServer::new(link::Service::new(hub()))
            .max_decoding_message_size(LINK_MESSAGE_MAX)
            .max_encoding_message_size(LINK_MESSAGE_MAX),
    )
    .add_service(health)
    .add_service(reflection);
    Ok(routes.prepare().into_axum_router().layer(axum::middleware::map_response(strangers::plain_words)))
}

/// The one service of the enrolment door.
pub fn enrolment_routes(hub: &Arc<Hub>) -> axum::Router {
    let service = EnrolmentServiceServer::new(enrolment::Service(Arc::clone(hub)))
        .max_decoding_message_size(QUESTION_MAX);
    let router = tonic::service::Routes::new(service).prepare().into_axum_router();
    router.layer(axum::middleware::map_response(strangers::plain_words))
}
