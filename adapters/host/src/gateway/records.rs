//! `POST /v1/records/query`: one unified record.

use super::answer;
use super::body::{Faults, RECORDS_MAX, present, read};
use super::guard::Caller;
use super::problem::{NO_CONTRACT, Problem};
use super::shapes::{QueryBody, UnifiedBody};
use super::why::{Meant, Why};
use crate::names;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use yiwang_client::client::Client;
use yiwang_client::record::RecordQuery;
use yiwang_policies::Catalogue;
use yiwang_proto::ids::RecordType;
use yiwang_proto::request::OfficerBy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default, deserialize_with = "present")]
    subject: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    as_issued: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    purpose: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    case: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    officer: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    ticket: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    fields: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    arguments: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    resume: Option<Value>,
}

/// Asks every department that a contract allows, and merges the answers. A source that is `truncated` and says `resume` has
/// more rows: send the same body with `resume` = {its contract: what it said} for its next page. Each page is an exchange
/// of its own with its entry.
#[utoipa::path(
    post,
    path = "/v1/records/query",
    operation_id = "queryRecord",
    tag = "records",
    request_body = QueryBody,
    responses((status = 200, description = "one record over all departments; partial answers say who is missing",
        body = UnifiedBody)),
)]
pub(super) async fn query(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let client = &caller.app.client;
    let raw = read(request).await?;
    let (query, by) = checked(&caller, &raw).await?;
    let unified = client.query_record_by(&query, by).await.map_err(|error| caller.problem(error))?;
    if unified.sources.is_empty() {
        // Nobody was asked, so nothing is in the ledger; an empty record would look like an answer.
        return Err(nobody_asked(client, &query).await);
    }
    answer(StatusCode::OK, &unified)
}

/// Which contracts there are all the same, and why they do not serve: all of it stands in the app's own permissions.
async fn nobody_asked(client: &Client, query: &RecordQuery) -> Problem {
    let unasked = client.unasked(query).await.unwrap_or_default();
    if unasked.is_empty() {
        return Problem::new(&NO_CONTRACT).clause("app, purpose and records of a contract in force");
    }
    let each: Vec<String> = unasked.iter().map(ToString::to_string).collect();
    Problem::new(&NO_CONTRACT)
        .clause("fields, subject and method of a contract in force")
        .detail(each.join("; "))
}

/// The query, and how its officer is proved.
pub(super) async fn checked(caller: &Caller, raw: &Raw) -> Result<(RecordQuery, OfficerBy), Problem> {
    let catalogue = catalogue(caller, raw).await?;
    let meant = Meant::purpose(caller, raw.purpose.as_ref(), &catalogue).await;
    check(raw, &catalogue, &meant)
}

/// The catalogue, with the records that members added and the query names.
async fn catalogue(caller: &Caller, raw: &Raw) -> Result<Catalogue, Problem> {
    let client = &caller.app.client;
    let named = raw.fields.as_ref().and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
    let added: Vec<RecordType> = named
        .take(RECORDS_MAX)
        .filter_map(|name| RecordType::parse(name).ok())
        .filter(|record| client.catalogue().record(record).is_none())
        .collect();
    client.catalogue_with(&added).await.map_err(|error| caller.problem(error))
}

fn check(raw: &Raw, catalogue: &Catalogue, meant: &Meant) -> Result<(RecordQuery, OfficerBy), Problem> {
    let mut faults = Faults::default();
    let as_issued = faults.flag("as_issued", raw.as_issued.as_ref());
    let subject = match &raw.subject {
        None => Some(String::new()),
        Some(value) => faults.subject("#/subject", value, as_issued),
    };
    let [purpose, case, officer, ticket] =
        [&raw.purpose, &raw.case, &raw.officer, &raw.ticket].map(Option::as_ref);
    let why = Why::check(purpose, case, officer, ticket, (catalogue, meant), &mut faults);
    let fields = faults.fields(raw.fields.as_ref());
    let arguments = faults.arguments(raw.arguments.as_ref());
    let resume = faults.resume(raw.resume.as_ref());
    for (record, names) in fields.iter().flatten() {
        let pointer = format!("#/fields/{record}");
        match catalogue.record(record) {
            Some(known) => faults.known(&pointer, known, names),
            None => faults.add(pointer, names::no_record(record, catalogue)),
        }
    }
    let checked = || {
        let Why { purpose, case, officer, by } = why?;
        let (subject, fields, arguments, resume) = (subject?, fields?, arguments?, resume?);
        Some((RecordQuery { subject, purpose, case, officer, fields, arguments, resume }, by))
    };
    faults.finish(checked())
}
