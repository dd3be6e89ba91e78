//! The document that developers build against: OpenAPI 3.1, made from the handlers. The routes themselves
//! stand in one table, so that a test can compare both ways.

use super::frame::{REQUEST_ID, TRACE_ID};
use super::{Gateway, batches, cases, counts, guard, officer, permissions, problem, records, shapes};
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Header, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

/// One route.
pub(super) struct Route {
    /// Its path, as the document writes it.
    pub(super) path: &'static str,
    /// Its method.
    pub(super) method: &'static str,
    /// Whether an app's token is asked for.
    pub(super) guarded: bool,
    handler: fn() -> MethodRouter,
}

/// All routes of the gateway.
pub(super) const ROUTES: &[Route] = &[
    guarded("post", "/v1/records/query", || post(records::query)),
    guarded("post", "/v1/records/prepare", || post(officer::prepare)),
    guarded("post", "/v1/records/send", || post(officer::send)),
    guarded("post", "/v1/counts/{record}", || post(counts::count)),
    guarded("post", "/v1/batches/{record}", || post(batches::batch)),
    guarded("post", "/v1/tickets", || post(officer::ticket)),
    guarded("post", "/v1/cases", || post(cases::open)),
    guarded("get", "/v1/cases/{case}", || get(cases::show)),
    guarded("post", "/v1/cases/{case}/add", || post(cases::add)),
    guarded("post", "/v1/cases/{case}/close", || post(cases::close)),
    guarded("get", "/v1/permissions", || get(permissions::permissions)),
    open("get", "/v1/openapi.json", || get(document)),
    open("get", "/problems/{code}", || get(problem::explain)),
];

const fn guarded(method: &'static str, path: &'static str, handler: fn() -> MethodRouter) -> Route {
    Route { path, method, guarded: true, handler }
}

const fn open(method: &'static str, path: &'static str, handler: fn() -> MethodRouter) -> Route {
    Route { path, method, guarded: false, handler }
}

/// The routes of the table; the guard stands before those that need a token.
pub(super) fn routes(gateway: &Arc<Gateway>) -> Router {
    let add = |router: Router, route: &Route| router.route(route.path, (route.handler)());
    let guarded = ROUTES.iter().filter(|route| route.guarded).fold(Router::new(), add);
    let guarded =
        guarded.route_layer(axum::middleware::from_fn_with_state(Arc::clone(gateway), guard::guard));
    ROUTES.iter().filter(|route| !route.guarded).fold(guarded, add)
}

/// The route of an address, for logs and counts: the address itself may hold what a careless caller put there.
pub(super) fn route_of(path: &str) -> &'static str {
    let fits = |route: &&Route| {
        let mut given = path.split('/');
        let same = route.path.split('/').all(|want| match given.next() {
            Some(part) => part == want || (want.starts_with('{') && !part.is_empty()),
            None => false,
        });
        same && given.next().is_none()
    };
    ROUTES.iter().find(fits).map_or(super::meters::NO_ROUTE, |route| route.path)
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Yiwang gateway",
        version = "1",
        description = "Plain REST for a member's own apps. The gateway signs, sends, verifies and merges; \
            it keeps no answer. Identifiers of subjects travel in bodies only. Every error is a problem \
            (RFC 9457) with `code` and `next_step`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        records::query,
        officer::prepare,
        officer::send,
        counts::count,
        batches::batch,
        officer::ticket,
        cases::open,
        cases::show,
        cases::add,
        cases::close,
        permissions::permissions,
        document,
        problem::explain,
    ),
    components(schemas(shapes::ProblemBody, shapes::FaultBody)),
    security(("token" = [])),
    modifiers(&Common),
    tags(
        (name = "records", description = "one record over all departments"),
        (name = "counts", description = "how many, by values, of nobody in particular"),
        (name = "batches", description = "all rows that a contract lets out, page by page"),
        (name = "officers", description = "proofs by an officer's own key, which the gateway never sees"),
        (name = "cases", description = "without an open case nothing is asked"),
        (name = "contract", description = "what may be asked, and how"),
    ),
)]
struct Document;

/// What every operation has: its problems and the ids of the request.
struct Common;

/// Statuses that a problem of a guarded operation can have, with their meaning.
const PROBLEMS: [(&str, &str); 15] = [
    ("400", "the request is not understood"),
    ("401", "no app has this token"),
    ("403", "no contract allows this"),
    ("404", "not there, or not to be seen"),
    ("408", "the body did not come in time"),
    ("409", "not in this state"),
    ("413", "too large"),
    ("415", "not JSON"),
    ("422", "the body does not say what it must"),
    ("429", "too much at once"),
    ("500", "the gateway failed"),
    ("502", "hub or provider broke a promise"),
    ("503", "hub or provider away"),
    ("504", "no answer in time"),
    ("405", "not with this method"),
];

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        if let Some(components) = document.components.as_mut() {
            components.add_security_scheme("token", SecurityScheme::Http(token));
            for name in [
                "OpenBody",
                "AddBody",
                "CloseBody",
                "QueryBody",
                "CountBody",
                "BatchBody",
                "PrepareBody",
                "PreparedBody",
                "PreparedRequest",
            ] {
                if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
                    // Unknown keys are refused.
                    body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
                }
            }
        }
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                let guarded = operation.security.is_none();
                complete(operation, guarded);
            }
        }
    }
}

fn complete(operation: &mut Operation, guarded: bool) {
    for (status, meaning) in PROBLEMS {
        if guarded || matches!(status, "404" | "405") {
            let reference = Ref::from_schema_name("ProblemBody");
            let content = ContentBuilder::new().schema(Some(reference)).build();
            let response =
                ResponseBuilder::new().description(meaning).content("application/problem+json", content);
            operation.responses.responses.insert(status.to_owned(), RefOr::T(response.build()));
        }
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert(REQUEST_ID.to_owned(), text("names this request"));
            response.headers.insert(TRACE_ID.to_owned(), text("the trace, as it stands in ledger entries"));
        }
    }
}

fn text(description: &str) -> RefOr<Header> {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String));
    RefOr::T(HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build())
}

/// Paths and methods of the table of routes, for whoever compares them with the document.
#[must_use]
pub fn routes_of_table() -> Vec<(String, String)> {
    ROUTES.iter().map(|route| (route.path.to_owned(), route.method.to_owned())).collect()
}

/// The document as JSON.
#[must_use]
pub fn json() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "openapi",
    tag = "contract",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
    security(()),
)]
pub(super) async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_logged_as_its_route() {
        assert_eq!(route_of("/v1/cases"), "/v1/cases");
        assert_eq!(route_of("/v1/cases/980121194603180024"), "/v1/cases/{case}");
        assert_eq!(route_of("/v1/cases/980121194603180024/close"), "/v1/cases/{case}/close");
        for other in ["", "/", "/v1/cases/", "/v1/cases/a/b", "/v1/records/query/980121194603180024"] {
            assert_eq!(route_of(other), "other", "{other}");
        }
    }
}
