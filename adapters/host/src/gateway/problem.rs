//! Errors as RFC 9457 problems. What the gateway itself refuses and the service codes of the hub have one
//! list of codes; no problem holds a value of the request.

use super::shapes::ProblemBody;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use yiwang_client::error::ClientError;
use yiwang_proto::codes::Code;

/// A kind of problem of the gateway's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    next_step: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal, $title:literal, $next_step:literal;)*) => {
        $(pub(super) const $name: Kind =
            Kind { code: $code, status: StatusCode::$status, title: $title, next_step: $next_step };)*
        const KINDS: &[&Kind] = &[$(&$name,)*];
    };
}

kinds! {
    QUERY_STRING = BAD_REQUEST "query_string", "there are no parameters in the address",
        "put everything into the body: addresses end up in logs";
    NOT_JSON = BAD_REQUEST "not_json", "the body is not JSON", "send one JSON object";
    INVALID = UNPROCESSABLE_ENTITY "invalid", "the body does not say what it must", "see `errors`";
    UNAUTHENTICATED = UNAUTHORIZED "unauthenticated", "no app has this token",
        "send `Authorization: Bearer <token>` with the app's token";
    NOT_FOUND = NOT_FOUND "not_found", "there is no such thing here", "see `/v1/openapi.json`, or check the id; what you may not see does not show";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed", "not with this method", "see the header `Allow`";
    BODY_TIMEOUT = REQUEST_TIMEOUT "body_timeout", "the body did not come in time", "send it at once";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too_large", "the body is too large", "send at most 64 KiB";
    NOT_A_JSON_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type", "the body must be JSON",
        "send `Content-Type: application/json`";
    KEY_INVALID = BAD_REQUEST "idempotency_key_invalid", "`Idempotency-Key` is not a key",
        "send one key of 16 to 128 letters, digits, `.`, `_`, `:` or `-`, random for each case";
    KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency_key_reused", "this key opened a case with another body",
        "use a new key for another case, or send the first body again";
    KEY_IN_FLIGHT = CONFLICT "idempotency_key_in_flight", "a request with this key has not ended yet",
        "wait for its answer, or send the same request again in a second";
    BUSY = TOO_MANY_REQUESTS "busy", "this app has too many requests open", "wait for answers before you ask again";
    NO_CONTRACT = FORBIDDEN "no_contract", "no contract in force lets this app ask for this",
        "compare app, purpose and records with the contract, or ask the provider for one";
    HUB_UNREACHABLE = SERVICE_UNAVAILABLE "hub_unreachable", "the hub cannot be reached",
        "try again; if it stays so, look at the gateway's log";
    TIMED_OUT = GATEWAY_TIMEOUT "deadline_exceeded", "no answer in time", "try again later; a source or the hub is slow";
    UNVERIFIED = BAD_GATEWAY "unverified", "the hub's answer does not verify",
        "tell whoever runs the gateway: hub or provider broke a promise, the log says which";
    INTERNAL = INTERNAL_SERVER_ERROR "internal", "the gateway failed", "tell whoever runs the gateway";
}

/// What a problem is about: the gateway's own matter, or a service code of the hub.
#[derive(Debug, Clone, Copy)]
enum About {
    Kind(&'static Kind),
    Code(Code),
}

impl About {
    fn status(self) -> StatusCode {
        match self {
            Self::Kind(kind) => kind.status,
            Self::Code(code) => status(code),
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.code,
            Self::Code(code) => code.as_str(),
        }
    }

    fn title(self) -> String {
        match self {
            Self::Kind(kind) => kind.title.to_owned(),
            Self::Code(code) => code.as_str().replace('_', " "),
        }
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.next_step,
            Self::Code(code) => code.help(),
        }
    }
}

/// One problem.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    about: About,
    detail: Option<String>,
    clause: Option<String>,
    receipt: Option<u64>,
    errors: Vec<Value>,
}

impl Problem {
    pub(super) fn new(kind: &'static Kind) -> Self {
        Self::about(About::Kind(kind))
    }

    /// A problem with a service code of the hub.
    pub(super) fn of(code: Code) -> Self {
        Self::about(About::Code(code))
    }

    fn about(about: About) -> Self {
        Self { about, detail: None, clause: None, receipt: None, errors: Vec::new() }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// What is wrong where in the body: JSON pointers and words.
    pub(super) fn errors(mut self, errors: Vec<(String, String)>) -> Self {
        let error = |(pointer, detail)| json!({ "pointer": pointer, "detail": detail });
        self.errors = errors.into_iter().map(error).collect();
        self
    }

    /// The rule that decided; never a value.
    pub(super) fn clause(mut self, clause: impl Into<String>) -> Self {
        self.clause = Some(clause.into());
        self
    }

    /// The ledger entry of the refusal.
    pub(super) fn receipt(mut self, index: u64) -> Self {
        self.receipt = Some(index);
        self
    }

    /// Its code, for logs and counts.
    pub(super) fn code(&self) -> &'static str {
        self.about.code()
    }

    /// The body, without the ids of a request.
    pub(super) fn json(&self) -> Value {
        let about = self.about;
        let mut body = json!({
            "type": format!("/problems/{}", about.code()),
            "title": about.title(),
            "status": about.status().as_u16(),
            "code": about.code(),
            "next_step": about.next_step(),
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.detail.iter().map(|detail| ("detail".to_owned(), json!(detail))));
            body.extend(self.clause.iter().map(|clause| ("clause".to_owned(), json!(clause))));
            body.extend(self.receipt.map(|index| ("receipt".to_owned(), json!(index))));
            if !self.errors.is_empty() {
                body.insert("errors".to_owned(), Value::Array(self.errors.clone()));
            }
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json().to_string()));
        let status = self.about.status();
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What is left of a body that was not read whole would be taken for the next request.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        // For what stands around every answer: it adds the ids of the request, counts and logs.
        response.extensions_mut().insert(self);
        response
    }
}

/// What went wrong between gateway and hub. The inner text is for the log only.
impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Hub { code } => Self::of(*code),
            ClientError::Transport(_) => {
                tracing::warn!(%error, "a call to the hub failed");
                Self::new(&HUB_UNREACHABLE)
            }
            ClientError::Unverified(_) => {
                tracing::error!(%error, "an answer does not verify");
                Self::new(&UNVERIFIED)
            }
            ClientError::Resume { .. } => {
                Self::new(&INVALID).errors(vec![("#/resume".to_owned(), error.to_string())])
            }
            ClientError::Ask(_) => {
                tracing::error!(%error, "the gateway failed");
                Self::new(&INTERNAL)
            }
        }
    }
}

/// The one place where service codes become HTTP statuses.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::ArgumentInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::NotFound | Code::NoCase => StatusCode::NOT_FOUND,
        Code::CaseClosed => StatusCode::CONFLICT,
        Code::RateExceeded | Code::QuotaExceeded | Code::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Code::ProviderUnavailable
        | Code::ProviderBusy
        | Code::LedgerFull
        | Code::LedgerNotAppending
        | Code::NotWitnessed
        | Code::ReceiptsOwed
        | Code::Overloaded
        | Code::AnswersWaiting
        | Code::ClockSkew => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        // What the app cannot mend: the gateway's keys, certificate or clock, or the other side's fault.
        Code::Malformed
        | Code::WrongMember
        | Code::SignatureInvalid
        | Code::KeyUnknown
        | Code::SealingKeyUnknown
        | Code::DelegationInvalid
        | Code::StatementExpired
        | Code::Replayed
        | Code::SourceError
        | Code::AnswerInvalid
        | Code::HeadContradicts
        | Code::PolicyError
        | Code::Internal => StatusCode::BAD_GATEWAY,
        Code::NoContract
        | Code::ContractExpired
        | Code::ContractNotYetValid
        | Code::ContractInvalid
        | Code::CatalogueInvalid
        | Code::PurposeMismatch
        | Code::ConsumerMismatch
        | Code::MatterMismatch
        | Code::SubjectNotInCase
        | Code::TagMismatch
        | Code::FieldNotGranted
        | Code::OperationNotGranted
        | Code::RowOutsideFilter
        | Code::SealingRequired
        | Code::ApprovalsRequired
        | Code::OfficerSignatureRequired
        | Code::OfficerInvalid
        | Code::TicketInvalid
        | Code::TicketUsedUp
        | Code::Revoked
        | Code::StandingStale => StatusCode::FORBIDDEN,
    }
}

/// `GET /problems/{code}`: what a problem's `type` points to.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    operation_id = "explainProblem",
    tag = "contract",
    params(("code" = String, Path, description = "a problem's `code`", min_length = 1, max_length = 64,
        pattern = "^[a-z_]{1,64}$")),
    responses((status = 200, description = "what the problem means", body = ProblemBody)),
    security(()),
)]
pub(super) async fn explain(code: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(code) = code.map_err(|_| Problem::new(&NOT_FOUND))?;
    let own = KINDS.iter().find(|kind| kind.code == code).map(|kind| Problem::new(kind));
    let problem = own.or_else(|| Code::parse(&code).map(Problem::of)).ok_or(Problem::new(&NOT_FOUND))?;
    let mut response = Response::new(Body::from(problem.json().to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Every code that a problem can have, for the document.
pub(super) fn codes() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.code).chain(Code::ALL.iter().map(|code| code.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_refusal_and_no_two_kinds_share_one() {
        for code in Code::ALL {
            assert!(status(*code).as_u16() >= 400, "{code}");
        }
        let codes: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), KINDS.len());
    }

    #[test]
    fn inner_texts_stay_inside() {
        let secret = "980121197107090015";
        for error in [
            ClientError::Transport(secret.to_owned()),
            ClientError::Unverified(secret.to_owned()),
            ClientError::Ask(secret.to_owned()),
        ] {
            assert!(!Problem::from(error).json().to_string().contains(secret));
        }
    }
}
