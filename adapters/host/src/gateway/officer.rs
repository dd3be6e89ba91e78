//! Officers' proofs at the gateway: tickets, and requests that an officer signs before they are sent. The
//! gateway holds no officer's key and keeps nothing between `prepare` and `send`.

use super::answer;
use super::body::{Faults, present, read};
use super::guard::Caller;
use super::problem::{INVALID, NO_CONTRACT, Problem};
use super::records::{Raw as RawQuery, checked};
use super::shapes::{PrepareBody, PreparedBody, TicketBody, TicketDocument, UnifiedBody};
use super::why::digest;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use yiwang_client::error::ClientError;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::limits::DOCUMENT_MAX;
use yiwang_proto::prepared::{Prepared, PreparedError};
use yiwang_proto::request::OfficerBy;
use yiwang_proto::ticket::Ticket;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrepare {
    #[serde(default, deserialize_with = "present")]
    query: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    officer_delegation: Option<Value>,
}

/// `POST /v1/records/prepare`: the requests of a query, signed by the app, for the officer to sign.
#[utoipa::path(
    post,
    path = "/v1/records/prepare",
    operation_id = "prepareRecord",
    tag = "officers",
    request_body = PrepareBody,
    responses((status = 200, description = "the requests, signed by the app, for the officer's own tool to sign", body = PreparedBody)),
)]
pub(super) async fn prepare(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let client = &caller.app.client;
    let raw = read::<RawPrepare>(request).await?;
    let query = serde_json::from_value::<RawQuery>(raw.query.unwrap_or_default())
        .map_err(|_| invalid("#/query", "is not a query as for /v1/records/query"))?;
    let (query, by) = checked(&caller, &query).await?;
    let mut faults = Faults::default();
    let delegation = digest(raw.officer_delegation.as_ref());
    if delegation.is_none() {
        faults.add("#/officer_delegation", "is not the 64 hexadecimal digits of a delegation's SHA-256");
    }
    if query.officer.is_none() {
        faults.add("#/query/officer", "names the officer who will sign");
    }
    if by != OfficerBy::Asserted {
        faults.add("#/query/ticket", "stands for the officer's signature; leave out one of the two");
    }
    let delegation = faults.finish(delegation)?;
    let prepared = client.prepare_record(&query, delegation).await.map_err(|error| caller.problem(error))?;
    if prepared.requests.is_empty() {
        return Err(Problem::new(&NO_CONTRACT).clause("app, purpose and records of a contract in force"));
    }
    answer(StatusCode::OK, &prepared)
}

/// `POST /v1/records/send`: the same document with the officer's signatures; one unified record comes back.
#[utoipa::path(
    post,
    path = "/v1/records/send",
    operation_id = "sendRecord",
    tag = "officers",
    request_body = PreparedBody,
    responses((status = 200, description = "one record over all departments; partial answers say who is missing", body = UnifiedBody)),
)]
pub(super) async fn send(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let prepared = read::<Prepared>(request).await?;
    prepared.check().map_err(|error| of_prepared(&error))?;
    let unified = caller.app.client.send_prepared(&prepared).await.map_err(|error| match error {
        // What cannot be sent is the caller's to mend; the words name requests and contracts only.
        ClientError::Ask(what) => invalid("#/requests", &what),
        error => caller.problem(error),
    })?;
    answer(StatusCode::OK, &unified)
}

/// `POST /v1/tickets`: publishes an officer's ticket for this app; its digest is named in queries.
#[utoipa::path(
    post,
    path = "/v1/tickets",
    operation_id = "publishTicket",
    tag = "officers",
    request_body = TicketDocument,
    responses((status = 201, description = "the ticket is an entry; queries name its digest", body = TicketBody)),
)]
pub(super) async fn ticket(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let raw = read::<Map<String, Value>>(request).await?;
    let bytes = Value::Object(raw).to_string().into_bytes();
    let document = SignedDocument::parse(bytes.into(), DOCUMENT_MAX).ok();
    let ticket = document.as_ref().and_then(|document| Ticket::read(document).ok());
    let (Some(document), Some(ticket)) = (document, ticket) else {
        return Err(invalid("#", "is not a signed ticket as `yiwang officer ticket` writes it"));
    };
    if ticket.app != caller.app.name {
        return Err(invalid("#", "is a ticket for another app"));
    }
    let receipt = caller.app.client.publish(&document).await.map_err(|error| caller.problem(error))?;
    let digest = yiwang_proto::hex(&ticket.digest);
    answer(StatusCode::CREATED, &TicketBody { ticket: digest, receipt: receipt.index })
}

fn invalid(pointer: &str, what: &str) -> Problem {
    Problem::new(&INVALID).errors(vec![(pointer.to_owned(), what.to_owned())])
}

/// Which request, and what kind of fault: no value of the document.
fn of_prepared(error: &PreparedError) -> Problem {
    let (pointer, what) = match error {
        PreparedError::Text(_) => ("#".to_owned(), "is not a document of prepared requests"),
        PreparedError::Statement(at, _) => {
            (format!("#/requests/{at}/request"), "is not a canonical request statement")
        }
        PreparedError::Body(at) => {
            (format!("#/requests/{at}/body"), "is not the body that the statement names")
        }
        PreparedError::Officer(at, what) => (format!("#/requests/{at}/request"), *what),
    };
    invalid(&pointer, what)
}
