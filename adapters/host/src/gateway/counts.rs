//! `POST /v1/counts/{record}`: how many, of nobody in particular.

use super::answer;
use super::body::{Faults, present, read};
use super::guard::Caller;
use super::problem::{NO_CONTRACT, Problem};
use super::shapes::{CountBody, CountsBody};
use super::why::{Meant, Why, record_of};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use yiwang_client::count::{CountQuery, Counted};
use yiwang_policies::Catalogue;
use yiwang_proto::ids::RecordType;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, deserialize_with = "present")]
    by: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    purpose: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    case: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    officer: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    ticket: Option<Value>,
}

#[derive(Serialize)]
struct Counts {
    complete: bool,
    counts: Vec<Counted>,
}

/// Counts by values, at every provider whose contract lets this app count the record. A cell that is not there is not
/// zero: it was small, or would have given a small one away. Tables of two providers are never added up.
#[utoipa::path(
    post,
    path = "/v1/counts/{record}",
    operation_id = "countRecords",
    tag = "counts",
    params(("record" = String, Path, description = "a record type", pattern = "^[A-Z][A-Za-z0-9]{1,39}$")),
    request_body = CountBody,
    responses((status = 200, description = "what each provider counted, each with the ledger entry of its exchange",
        body = CountsBody)),
)]
pub(super) async fn count(
    Extension(caller): Extension<Caller>,
    record: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let raw = read::<Raw>(request).await?;
    let (record, catalogue) = record_of(&caller, record).await?;
    let meant = Meant::purpose(&caller, raw.purpose.as_ref(), &catalogue).await;
    let query = check(&raw, record, (&catalogue, &meant))?;
    let counts = caller.app.client.count(&query).await.map_err(|error| caller.problem(error))?;
    if counts.is_empty() {
        let clause = "app, purpose and record of a contract for counts in force";
        return Err(Problem::new(&NO_CONTRACT).clause(clause));
    }
    let complete = counts.iter().all(|counted| counted.state == "answered");
    answer(StatusCode::OK, &Counts { complete, counts })
}

fn check(
    raw: &Raw,
    record: RecordType,
    (catalogue, meant): (&Catalogue, &Meant),
) -> Result<CountQuery, Problem> {
    let mut faults = Faults::default();
    let [purpose, case, officer, ticket] =
        [&raw.purpose, &raw.case, &raw.officer, &raw.ticket].map(Option::as_ref);
    let why = Why::check(purpose, case, officer, ticket, (catalogue, meant), &mut faults);
    let by = raw.by.as_ref().map_or(Some(Vec::new()), |value| faults.names("#/by", value));
    if let (Some(known), Some(by)) = (catalogue.record(&record), &by) {
        faults.known("#/by", known, by);
    }
    let checked = || {
        let Why { purpose, case, officer, by: officer_by } = why?;
        Some(CountQuery { record, by: by?, purpose, case, officer, officer_by })
    };
    faults.finish(checked())
}
