//! Cases: opened, added to, closed, shown. Subjects' identifiers stay at the gateway; the register gets
//! their tags.

use super::answer;
use super::body::{Faults, present, read};
use super::guard::Caller;
use super::keys::idempotency_key;
use super::problem::{KEY_IN_FLIGHT, KEY_REUSED, Problem};
use super::shapes::{AddBody, CaseBody, CloseBody, OpenBody, ReceiptBody};
use super::why::Meant;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use yiwang_client::cases::Opened;
use yiwang_proto::case::{Act, REASONS};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::limits::CASE_TAGS_MAX;
use yiwang_proto::pb;
use yiwang_proto::time::format_rfc3339;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOpen {
    #[serde(default, deserialize_with = "present")]
    matter: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    subjects: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    as_issued: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdd {
    #[serde(default, deserialize_with = "present")]
    subjects: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    as_issued: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClose {
    #[serde(default, deserialize_with = "present")]
    reason: Option<Value>,
}

/// Opens a case about subjects. With `Idempotency-Key`, the same request never opens two: the key counts for
/// at least 24 hours and ends after at most 48, over restarts of the gateway as well.
#[utoipa::path(
    post,
    path = "/v1/cases",
    operation_id = "openCase",
    tag = "cases",
    params(("Idempotency-Key" = Option<String>, Header, description = "random for each case",
        pattern = "^[A-Za-z0-9._:-]{16,128}$")),
    request_body = OpenBody,
    responses((status = 201, description = "the case is open", body = ReceiptBody)),
)]
pub(super) async fn open(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let client = &caller.app.client;
    let key = idempotency_key(request.headers())?;
    let raw = read::<RawOpen>(request).await?;
    let mut faults = Faults::default();
    let matter: Option<Matter> = faults.id("matter", raw.matter.as_ref());
    if let Some(matter) = matter.as_ref().filter(|matter| !client.catalogue().has_matter(matter)) {
        let meant = Meant::matter(&caller, matter).await;
        faults.add("#/matter", format!("is not in the catalogue of matters; {meant}"));
    }
    let as_issued = faults.flag("as_issued", raw.as_issued.as_ref());
    // A matter that is about no person has no subject.
    let subjects = subjects(raw.subjects.as_ref(), 0, as_issued, &mut faults);
    let (matter, subjects) = faults.finish(matter.zip(subjects))?;
    let (case, receipt, repeated) = match &key {
        None => {
            let opened = client.open_case(&matter, &subjects).await;
            let (case, receipt) = opened.map_err(|error| caller.problem(error))?;
            (case, receipt.index, false)
        }
        Some(key) => once(&caller, key, &matter, &subjects).await?,
    };
    let mut response = answer(StatusCode::CREATED, &ReceiptBody { case: case.to_string(), receipt })?;
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/cases/{case}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if repeated {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Opens a case at most once under a key. The register itself remembers: the case id is made from the key,
/// so it holds over a restart of the gateway and a lost answer, and the gateway keeps nothing.
async fn once(
    caller: &Caller,
    key: &str,
    matter: &Matter,
    subjects: &[String],
) -> Result<(CaseId, u64, bool), Problem> {
    let Some(_turn) = caller.app.keys.enter(key) else { return Err(Problem::new(&KEY_IN_FLIGHT)) };
    let opened = caller.app.client.open_case_once(key, matter, subjects).await;
    match opened.map_err(|error| caller.problem(error))? {
        Opened::New { case, receipt } => Ok((case, receipt.index, false)),
        Opened::Same { case, receipt } => Ok((case, receipt.index, true)),
        Opened::Other => Err(Problem::new(&KEY_REUSED)),
    }
}

/// Adds subjects to a case, with a reason.
#[utoipa::path(
    post,
    path = "/v1/cases/{case}/add",
    operation_id = "addToCase",
    tag = "cases",
    params(("case" = String, Path, description = "id of a case", pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")),
    request_body = AddBody,
    responses((status = 200, description = "the subjects are added", body = ReceiptBody)),
)]
pub(super) async fn add(
    Extension(caller): Extension<Caller>,
    case: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let case = case_of(case)?;
    let raw = read::<RawAdd>(request).await?;
    let mut faults = Faults::default();
    let reason = reason(raw.reason.as_ref(), &mut faults);
    let as_issued = faults.flag("as_issued", raw.as_issued.as_ref());
    let subjects = subjects(raw.subjects.as_ref(), 1, as_issued, &mut faults);
    let (reason, subjects) = faults.finish(reason.zip(subjects))?;
    act(&caller, &case, Act::Add { reason }, &subjects).await
}

/// Closes a case, with a reason.
#[utoipa::path(
    post,
    path = "/v1/cases/{case}/close",
    operation_id = "closeCase",
    tag = "cases",
    params(("case" = String, Path, description = "id of a case", pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")),
    request_body = CloseBody,
    responses((status = 200, description = "the case is closed", body = ReceiptBody)),
)]
pub(super) async fn close(
    Extension(caller): Extension<Caller>,
    case: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let case = case_of(case)?;
    let raw = read::<RawClose>(request).await?;
    let mut faults = Faults::default();
    let reason = reason(raw.reason.as_ref(), &mut faults);
    let reason = faults.finish(reason)?;
    act(&caller, &case, Act::Close { reason }, &[]).await
}

/// What the register knows of a case.
#[utoipa::path(
    get,
    path = "/v1/cases/{case}",
    operation_id = "showCase",
    tag = "cases",
    params(("case" = String, Path, description = "id of a case", pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")),
    responses((status = 200, description = "the case", body = CaseBody)),
)]
pub(super) async fn show(
    Extension(caller): Extension<Caller>,
    case: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let case = case_of(case)?;
    let shown = caller.app.client.show_case(&case).await.map_err(|error| caller.problem(error))?;
    let state = match shown.state() {
        pb::CaseState::Open => "open",
        pb::CaseState::Closed => "closed",
        pb::CaseState::Unspecified => "unknown",
    };
    let closed = (shown.closed_at_ms > 0).then(|| format_rfc3339(shown.closed_at_ms));
    let receipts: Vec<u64> = shown.receipts.iter().map(|receipt| receipt.index).collect();
    let body = CaseBody {
        case: case.to_string(),
        matter: shown.matter,
        state,
        opened_at: format_rfc3339(shown.opened_at_ms),
        closed_at: closed,
        subjects: shown.subjects,
        receipts,
    };
    answer(StatusCode::OK, &body)
}

async fn act(caller: &Caller, case: &CaseId, act: Act, subjects: &[String]) -> Result<Response, Problem> {
    let acted = caller.app.client.act_on_case(case, act, subjects).await;
    let receipt = acted.map_err(|error| caller.problem(error))?.index;
    answer(StatusCode::OK, &ReceiptBody { case: case.to_string(), receipt })
}

/// A case of the address; what is no case id is not found.
fn case_of(given: Result<Path<String>, PathRejection>) -> Result<CaseId, Problem> {
    let case = given.ok().and_then(|Path(text)| CaseId::parse(&text).ok());
    case.ok_or_else(|| Problem::of(Code::NotFound))
}

fn reason(value: Option<&Value>, faults: &mut Faults) -> Option<String> {
    let reason = value.and_then(Value::as_str).filter(|reason| REASONS.contains(reason));
    if reason.is_none() {
        faults.add("#/reason", format!("is not one of: {}", REASONS.join(", ")));
    }
    reason.map(str::to_owned)
}

fn subjects(
    value: Option<&Value>,
    least: usize,
    as_issued: bool,
    faults: &mut Faults,
) -> Option<Vec<String>> {
    let list = match value {
        None => Some(&[][..]),
        Some(value) => value.as_array().map(Vec::as_slice),
    };
    let Some(list) = list.filter(|list| (least..=CASE_TAGS_MAX).contains(&list.len())) else {
        faults.add("#/subjects", format!("is not a list of {least} to {CASE_TAGS_MAX} identifiers"));
        return None;
    };
    let checked = list.iter().enumerate();
    let checked =
        checked.filter_map(|(at, value)| faults.subject(&format!("#/subjects/{at}"), value, as_issued));
    let mut checked: Vec<String> = checked.collect();
    checked.sort();
    checked.dedup();
    Some(checked)
}
