//! `POST /v1/batches/{record}`: all rows that a contract for batches lets out, a page an answer. The gateway keeps
//! nothing between two pages: what the next one is asked for with is the provider's own token, which it sealed for this
//! app, contract, case, operation and choice of fields.

use super::answer;
use super::body::{Faults, is_token, present, read};
use super::guard::Caller;
use super::paced::paced;
use super::problem::{BUSY, INTERNAL, INVALID, NO_CONTRACT, Problem};
use super::shapes::{BatchBody, PageBody};
use super::why::{Meant, Why, record_of};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;
use yiwang_client::batch::{BatchAsk, BatchError, BatchPage};
use yiwang_client::standing::Silent;
use yiwang_policies::Catalogue;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, Method};
use yiwang_proto::ids::{ContractId, FieldName, Operation, RecordType};

/// Pages of one app that are under way at once, from the question until the caller has read the answer: each is up to
/// 4 MiB, which is held as it came and as it goes, and a batch asks for one after the other.
pub(super) const PAGES_MAX: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, deserialize_with = "present")]
    fields: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    contract: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    operation: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    resume: Option<Value>,
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
struct Page<'a> {
    contract: &'a str,
    provider: &'a str,
    records: &'a RawValue,
    rows: u32,
    withheld: Vec<Withheld<'a>>,
    resume: Option<&'a str>,
    receipt: u64,
}

#[derive(Serialize)]
struct Withheld<'a> {
    field: &'a str,
    clause: &'a str,
}

struct Query {
    record: RecordType,
    fields: Vec<FieldName>,
    contract: Option<ContractId>,
    operation: Option<Operation>,
    resume: String,
    why: Why,
}

/// One page of all rows that a contract for batches lets out, in the order of the source's key. Send the same body with
/// the `resume` of the answer for the next page, until it is null. Each page is an exchange of its own with its entry;
/// one that is asked for again gives the rows that are there now, and another entry.
#[utoipa::path(
    post,
    path = "/v1/batches/{record}",
    operation_id = "pageOfBatch",
    tag = "batches",
    params(("record" = String, Path, description = "a record type", pattern = "^[A-Z][A-Za-z0-9]{1,39}$")),
    request_body = BatchBody,
    responses((status = 200, description = "one page, and what the next one is asked for with", body = PageBody)),
)]
pub(super) async fn batch(
    Extension(caller): Extension<Caller>,
    record: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let raw = read::<Raw>(request).await?;
    let (record, catalogue) = record_of(&caller, record).await?;
    let meant = Meant::purpose(&caller, raw.purpose.as_ref(), &catalogue).await;
    let query = check(&raw, record, (&catalogue, &meant))?;
    let Ok(place) = Arc::clone(&caller.app.pages).try_acquire_owned() else {
        return Err(Problem::new(&BUSY).detail(format!("{PAGES_MAX} pages are under way")));
    };
    let contract = contract(&caller, &query).await?;
    let operation = query.operation.or_else(|| contract.text.operations.first().cloned());
    let ask = BatchAsk {
        operation: operation.ok_or_else(|| Problem::new(&INTERNAL))?,
        fields: if query.fields.is_empty() { contract.text.fields.clone() } else { query.fields },
        case: query.why.case,
        officer: query.why.officer,
        officer_by: query.why.by,
    };
    let page = caller.app.client.batch_page(&contract, &ask, &query.resume).await;
    let page = page.map_err(|error| refused(&caller, error, !query.resume.is_empty()))?;
    let (mut head, body) = answer(StatusCode::OK, &shown(&contract, &page)?)?.into_parts();
    let whole = body.collect().await.map_err(|_| Problem::new(&INTERNAL))?.to_bytes();
    head.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    Ok(Response::from_parts(head, paced(whole, place)))
}

fn shown<'a>(contract: &'a Contract, page: &'a BatchPage) -> Result<Page<'a>, Problem> {
    let records: &RawValue =
        serde_json::from_slice(&page.records).map_err(|_| Problem::of(Code::AnswerInvalid))?;
    let withheld = page.withheld.iter();
    Ok(Page {
        contract: contract.text.id.as_str(),
        provider: contract.text.provider.member.as_str(),
        records,
        rows: page.rows,
        withheld: withheld.map(|(field, clause)| Withheld { field: field.as_str(), clause }).collect(),
        resume: Some(page.resume.as_str()).filter(|resume| !resume.is_empty()),
        receipt: page.entry,
    })
}

/// The one contract that fits; several are the caller's to choose from.
async fn contract(caller: &Caller, query: &Query) -> Result<Arc<Contract>, Problem> {
    let client = &caller.app.client;
    let planned = client.plan(&query.why.purpose, std::slice::from_ref(&query.record)).await;
    let planned = planned.map_err(|error| caller.problem(error))?;
    let mut fitting = planned.into_iter().map(|plan| plan.contract).filter(|contract| {
        let text = &contract.text;
        text.method == Method::Batch
            && query.contract.as_ref().is_none_or(|id| *id == text.id)
            && query.operation.as_ref().is_none_or(|operation| text.operations.contains(operation))
    });
    let contract = match (fitting.next(), fitting.next()) {
        (Some(contract), None) => contract,
        (None, _) => {
            let clause = "app, purpose, record, contract and operation of a contract for batches in force";
            return Err(Problem::new(&NO_CONTRACT).clause(clause));
        }
        (Some(_), Some(_)) => {
            let what = "several contracts fit; name one of those that `GET /v1/permissions` lists";
            return Err(Problem::new(&INVALID).errors(vec![("#/contract".to_owned(), what.to_owned())]));
        }
    };
    if contract.text.sealed && !client.can_seal() {
        let what = "the contract wants sealed bodies, and this app has no key for sealing: whoever runs the gateway \
                    has the root delegate one with role `sealing`";
        return Err(Problem::of(Code::SealingRequired).detail(what));
    }
    Ok(contract)
}

fn refused(caller: &Caller, error: BatchError, resumed: bool) -> Problem {
    match error {
        BatchError::Client(error) => caller.problem(error),
        BatchError::Refused { code, clause, entry } => {
            // A provider that names a code of its own making broke a promise.
            let code = Code::parse(&code).unwrap_or(Code::AnswerInvalid);
            let mut problem = Problem::of(code).receipt(entry);
            if let (Code::StandingStale, Some(silent)) = (code, Silent::of(&clause)) {
                problem = problem.detail(match silent {
                    Silent::Consumer => {
                        "this member's own host says nothing, or nothing young enough: whoever runs it looks into its log"
                    }
                    Silent::Provider => "the provider's host says nothing, or nothing young enough",
                });
            }
            if !clause.is_empty() {
                problem = problem.clause(clause);
            }
            if resumed && code == Code::ArgumentInvalid {
                problem = problem.detail(
                    "`resume` fits only the app, contract, case, operation and fields of the page that gave it; \
                     ask for the same, or begin anew without it",
                );
            }
            problem
        }
    }
}

fn check(raw: &Raw, record: RecordType, (catalogue, meant): (&Catalogue, &Meant)) -> Result<Query, Problem> {
    let mut faults = Faults::default();
    let [purpose, case, officer, ticket] =
        [&raw.purpose, &raw.case, &raw.officer, &raw.ticket].map(Option::as_ref);
    let why = Why::check(purpose, case, officer, ticket, (catalogue, meant), &mut faults);
    let fields = raw.fields.as_ref().map_or(Some(Vec::new()), |value| faults.names("#/fields", value));
    if let (Some(known), Some(fields)) = (catalogue.record(&record), &fields) {
        faults.known("#/fields", known, fields);
    }
    let contract = faults.optional_id("contract", raw.contract.as_ref());
    let operation = faults.optional_id("operation", raw.operation.as_ref());
    // Null is what the last page gave, and would begin anew: whoever loops on it is told.
    let token = |value: &Value| value.as_str().filter(|text| is_token(text)).map(str::to_owned);
    let resume = raw.resume.as_ref().map_or(Some(String::new()), token);
    if resume.is_none() {
        faults.add("#/resume", "is not what a page gave; leave it out for the first page");
    }
    let checked = || Some(Query { record, fields: fields?, contract, operation, resume: resume?, why: why? });
    faults.finish(checked())
}
