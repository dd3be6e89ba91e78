//! `GET /v1/permissions`: what this app may ask, from contracts that the gateway verified itself (both
//! members' signatures, this member's own pinned root). The hub names the contracts; it cannot make one up.

use super::answer;
use super::guard::Caller;
use super::problem::Problem;
use super::shapes::{FieldBody, LimitsBody, PermissionBody, PermissionsBody, RowBody};
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::response::Response;
use yiwang_client::record::Planned;
use yiwang_policies::RecordDef;
use yiwang_proto::contract::{Method, RowClause, RowOperator, Scalar};
use yiwang_proto::hex;

/// What this app may ask: contracts in force, with fields, purposes, rows, methods, limits and validity.
#[utoipa::path(
    get,
    path = "/v1/permissions",
    operation_id = "listPermissions",
    tag = "contract",
    responses((status = 200, description = "contracts in force that name this app, each verified",
        body = PermissionsBody)),
)]
pub(super) async fn permissions(Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    let client = &caller.app.client;
    let mut contracts = Vec::new();
    // One call a purpose: the plan is made for one, and the catalogue has some twenty.
    for (purpose, _) in client.catalogue().purposes() {
        let planned = client.plan(purpose, &[]).await.map_err(|error| caller.problem(error))?;
        contracts
            .extend(planned.iter().map(|plan| permission(plan, client.record_of(&plan.contract).as_deref())));
    }
    contracts.sort_by(|a, b| a.contract.cmp(&b.contract));
    let member = client.identity().member.to_string();
    answer(StatusCode::OK, &PermissionsBody { member, app: caller.app.name.to_string(), contracts })
}

fn permission(plan: &Planned, record: Option<&RecordDef>) -> PermissionBody {
    let text = &plan.contract.text;
    let fields = text.fields.iter().map(|name| {
        let class = record.and_then(|record| record.field(name)).map_or(text.class, |field| field.class);
        FieldBody { name: name.to_string(), class }
    });
    PermissionBody {
        contract: text.id.to_string(),
        version: text.version,
        digest: hex(&plan.contract.digest),
        provider: text.provider.member.to_string(),
        connected: plan.connected,
        legal_basis: text.legal_basis.clone(),
        scenario: text.scenario.clone(),
        purpose: text.purpose.to_string(),
        matters: text.matters.iter().map(ToString::to_string).collect(),
        method: match text.method {
            Method::Query => "query",
            Method::Batch => "batch",
            Method::Count => "count",
        },
        route: match text.method {
            Method::Query => "/v1/records/query".to_owned(),
            Method::Batch => format!("/v1/batches/{}", text.record),
            Method::Count => format!("/v1/counts/{}", text.record),
        },
        record: text.record.to_string(),
        operations: text.operations.iter().map(ToString::to_string).collect(),
        fields: fields.collect(),
        rows: text.rows.iter().map(row).collect(),
        limits: LimitsBody {
            rows: text.limits.rows,
            per_app_per_minute: text.limits.per_app_per_minute,
            per_officer_per_day: text.limits.per_officer_per_day,
            deadline_ms: text.limits.deadline_ms,
        },
        valid_from: text.valid_from.clone(),
        valid_until: text.valid_until.clone(),
        retention_days: text.retention_days,
    }
}

fn row(clause: &RowClause) -> RowBody {
    let values = [&clause.value, &clause.from, &clause.to].into_iter().flatten().chain(&clause.values);
    RowBody {
        field: clause.field.to_string(),
        operator: match clause.op {
            RowOperator::Eq => "eq",
            RowOperator::In => "in",
            RowOperator::Prefix => "prefix",
            RowOperator::Range => "range",
        },
        values: values.map(words).collect(),
        argument: clause.param.as_ref().map(ToString::to_string),
    }
}

fn words(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => value.clone(),
    }
}
