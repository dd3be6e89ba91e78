//! Cases: opened, added to, closed, shown. Subjects' identifiers stay at the gateway; the register gets
//! their tags.

use super::answer;
use super::body::{Faults, read};
use super::guard::Caller;
use super::problem::Problem;
use axum::extract::{Extension, Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use yiwang_proto::case::{Act, REASONS};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::limits::CASE_TAGS_MAX;
use yiwang_proto::pb;
use yiwang_proto::time::format_rfc3339;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOpen {
    matter: Option<Value>,
    subjects: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdd {
    subjects: Option<Value>,
    reason: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClose {
    reason: Option<Value>,
}

/// `POST /v1/cases`.
pub(super) async fn open(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let client = &caller.app.client;
    let raw = read::<RawOpen>(request).await.map_err(|problem| caller.traced(problem))?;
    let mut faults = Faults::default();
    let matter: Option<Matter> = faults.id("matter", raw.matter.as_ref());
    if matter.as_ref().is_some_and(|matter| !client.catalogue().has_matter(matter)) {
        faults.add("#/matter", "is not in the catalogue of matters");
    }
    // A matter that is about no person has no subject.
    let subjects = subjects(raw.subjects.as_ref(), 0, &mut faults);
    let (matter, subjects) = faults.finish(matter.zip(subjects)).map_err(|problem| caller.traced(problem))?;
    let (case, receipt) =
        client.open_case(&matter, &subjects).await.map_err(|error| caller.problem(error))?;
    let mut response = answer(StatusCode::CREATED, &json!({ "case": case, "receipt": receipt.index }))?;
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/cases/{case}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `POST /v1/cases/{case}/add`.
pub(super) async fn add(
    Extension(caller): Extension<Caller>,
    Path(case): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let case = case_of(&case, &caller)?;
    let raw = read::<RawAdd>(request).await.map_err(|problem| caller.traced(problem))?;
    let mut faults = Faults::default();
    let reason = reason(raw.reason.as_ref(), &mut faults);
    let subjects = subjects(raw.subjects.as_ref(), 1, &mut faults);
    let (reason, subjects) = faults.finish(reason.zip(subjects)).map_err(|problem| caller.traced(problem))?;
    act(&caller, &case, Act::Add { reason }, &subjects).await
}

/// `POST /v1/cases/{case}/close`.
pub(super) async fn close(
    Extension(caller): Extension<Caller>,
    Path(case): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let case = case_of(&case, &caller)?;
    let raw = read::<RawClose>(request).await.map_err(|problem| caller.traced(problem))?;
    let mut faults = Faults::default();
    let reason = reason(raw.reason.as_ref(), &mut faults);
    let reason = faults.finish(reason).map_err(|problem| caller.traced(problem))?;
    act(&caller, &case, Act::Close { reason }, &[]).await
}

/// `GET /v1/cases/{case}`.
pub(super) async fn show(
    Extension(caller): Extension<Caller>,
    Path(case): Path<String>,
) -> Result<Response, Problem> {
    let case = case_of(&case, &caller)?;
    let shown = caller.app.client.show_case(&case).await.map_err(|error| caller.problem(error))?;
    let state = match shown.state() {
        pb::CaseState::Open => "open",
        pb::CaseState::Closed => "closed",
        pb::CaseState::Unspecified => "unknown",
    };
    let closed = (shown.closed_at_ms > 0).then(|| format_rfc3339(shown.closed_at_ms));
    let receipts: Vec<u64> = shown.receipts.iter().map(|receipt| receipt.index).collect();
    answer(
        StatusCode::OK,
        &json!({
            "case": case,
            "matter": shown.matter,
            "state": state,
            "opened_at": format_rfc3339(shown.opened_at_ms),
            "closed_at": closed,
            "subjects": shown.subjects,
            "receipts": receipts,
        }),
    )
}

async fn act(caller: &Caller, case: &CaseId, act: Act, subjects: &[String]) -> Result<Response, Problem> {
    let acted = caller.app.client.act_on_case(case, act, subjects).await;
    let receipt = acted.map_err(|error| caller.problem(error))?;
    answer(StatusCode::OK, &json!({ "case": case, "receipt": receipt.index }))
}

/// A case of the address; what is no case id is not found.
fn case_of(text: &str, caller: &Caller) -> Result<CaseId, Problem> {
    CaseId::parse(text).map_err(|_| caller.traced(Problem::of(Code::NotFound)))
}

fn reason(value: Option<&Value>, faults: &mut Faults) -> Option<String> {
    let reason = value.and_then(Value::as_str).filter(|reason| REASONS.contains(reason));
    if reason.is_none() {
        faults.add("#/reason", format!("is not one of: {}", REASONS.join(", ")));
    }
    reason.map(str::to_owned)
}

fn subjects(value: Option<&Value>, least: usize, faults: &mut Faults) -> Option<Vec<String>> {
    let list = match value {
        None => Some(&[][..]),
        Some(value) => value.as_array().map(Vec::as_slice),
    };
    let Some(list) = list.filter(|list| (least..=CASE_TAGS_MAX).contains(&list.len())) else {
        faults.add("#/subjects", format!("is not a list of {least} to {CASE_TAGS_MAX} identifiers"));
        return None;
    };
    let checked = list.iter().enumerate();
    let checked = checked.filter_map(|(at, value)| faults.subject(&format!("#/subjects/{at}"), value));
    let mut checked: Vec<String> = checked.collect();
    checked.sort();
    checked.dedup();
    Some(checked)
}
