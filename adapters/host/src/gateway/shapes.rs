//! The shapes that travel between apps and gateway, as the document describes them. Answers of the gateway's
//! own are made from these types; what others make (the unified record, problems) and what is read by hand
//! (requests) is only described here, and a test compares it with real answers.

mod cases;
mod many;

pub(super) use cases::{AddBody, CaseBody, CloseBody, OpenBody, ReceiptBody};
pub(super) use many::{BatchBody, CountBody, CountsBody, PageBody};

use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use yiwang_policies::Catalogue;

/// What an app may ask.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PermissionsBody {
    /// The app's member.
    pub(super) member: String,
    /// The app.
    pub(super) app: String,
    /// Contracts in force that name the app, by id.
    pub(super) contracts: Vec<PermissionBody>,
}

/// One contract, as far as the app needs it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PermissionBody {
    /// Its id.
    pub(super) contract: String,
    /// Its version.
    pub(super) version: u32,
    /// SHA-256 of the signed document, hexadecimal.
    pub(super) digest: String,
    /// Who answers.
    pub(super) provider: String,
    /// Whether the provider's adapter is connected now.
    pub(super) connected: bool,
    /// Law and article.
    pub(super) legal_basis: String,
    /// What happens with the data, in words.
    pub(super) scenario: String,
    /// The purpose that every query names.
    pub(super) purpose: String,
    /// Matters that the case may have.
    pub(super) matters: Vec<String>,
    /// `query`, `batch` or `count`.
    pub(super) method: &'static str,
    /// The route that asks under it, with `POST`.
    pub(super) route: String,
    /// The record type.
    pub(super) record: String,
    /// Operations that may be called.
    pub(super) operations: Vec<String>,
    /// Fields that are granted.
    pub(super) fields: Vec<FieldBody>,
    /// Clauses that all must hold for a row to be let out.
    pub(super) rows: Vec<RowBody>,
    /// Ceilings.
    pub(super) limits: LimitsBody,
    /// First valid moment, RFC 3339.
    pub(super) valid_from: String,
    /// First moment that is no longer valid, RFC 3339.
    pub(super) valid_until: String,
    /// Days that the data may be kept.
    pub(super) retention_days: u32,
}

/// A granted field.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FieldBody {
    /// Its name.
    pub(super) name: String,
    /// Its class, 0 to 4.
    pub(super) class: u8,
}

/// One clause of a contract's row filter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowBody {
    /// The field that is compared.
    pub(super) field: String,
    /// `eq`, `in`, `prefix` or `range` (both ends included).
    pub(super) operator: &'static str,
    /// The constants: one, several for `in`, both ends for `range`.
    pub(super) values: Vec<String>,
    /// The argument of the query that gives the value instead.
    pub(super) argument: Option<String>,
}

/// Ceilings of a contract.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsBody {
    /// Rows in one answer.
    pub(super) rows: u32,
    /// Exchanges of one app per minute.
    pub(super) per_app_per_minute: u32,
    /// Exchanges of one officer per day.
    pub(super) per_officer_per_day: u32,
    /// Milliseconds until an answer is too late.
    pub(super) deadline_ms: u32,
}

/// A query for one unified record.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `records::query` reads by hand")]
pub(super) struct QueryBody {
    /// The subject's canonical identifier; left out where the records are about none.
    #[schema(schema_with = subject)]
    subject: Option<String>,
    /// Whether it stands in its document just so.
    #[schema(schema_with = as_issued)]
    as_issued: Option<bool>,
    /// A purpose of the catalogue.
    #[schema(schema_with = purpose)]
    purpose: String,
    /// An open case that lists the subject.
    #[schema(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")]
    case: String,
    /// Pseudonym of the acting officer.
    #[schema(schema_with = officer)]
    officer: Option<String>,
    /// Digest of a ticket that the officer signed and the app published.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    ticket: Option<String>,
    /// Record types with names of fields; left out = everything that contracts grant.
    #[schema(schema_with = fields)]
    fields: Option<BTreeMap<String, Vec<String>>>,
    /// Further arguments by name.
    #[schema(schema_with = arguments)]
    arguments: Option<BTreeMap<String, String>>,
    /// For next pages: what sources said under `resume`, by contract; left out for the first. Only these contracts are
    /// asked, and with the same question.
    #[schema(schema_with = resume)]
    resume: Option<BTreeMap<String, String>>,
}

/// A query that an officer will sign.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `officer::prepare` reads by hand")]
pub(super) struct PrepareBody {
    /// The query, with `officer` and without `ticket`.
    query: QueryBody,
    /// SHA-256 of the officer's published delegation, hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    officer_delegation: String,
}

/// Requests that the app has signed, for the officer's own tool; the same with the officer's signatures is sent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `yiwang_proto::prepared::Prepared`")]
pub(super) struct PreparedBody {
    /// `yiwang-prepared/1`.
    format: String,
    /// The requests, each for one contract.
    requests: Vec<PreparedRequest>,
}

/// One prepared request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `yiwang_proto::prepared::Item`")]
pub(super) struct PreparedRequest {
    /// A DSSE envelope in JSON: the statement and its signatures.
    #[schema(schema_with = envelope)]
    request: BTreeMap<String, String>,
    /// The plain body, base64.
    body: String,
}

/// An officer's ticket: a DSSE envelope in JSON, as `yiwang officer ticket` writes it.
pub(super) struct TicketDocument;

impl utoipa::PartialSchema for TicketDocument {
    fn schema() -> RefOr<Schema> {
        envelope().into()
    }
}

impl ToSchema for TicketDocument {}

/// A published ticket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TicketBody {
    /// Its digest, hexadecimal; queries name it.
    pub(super) ticket: String,
    /// Index of the ledger entry.
    pub(super) receipt: u64,
}

/// A DSSE envelope.
fn envelope() -> Schema {
    let text = || ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).build();
    let signature = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Object))
        .property("sig", text())
        .property("keyid", text())
        .required("sig")
        .build();
    let envelope = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Object))
        .property("payloadType", text())
        .property("payload", text())
        .property("signatures", ArrayBuilder::new().items(signature).build())
        .required("payloadType")
        .required("payload")
        .required("signatures")
        .build();
    envelope.into()
}

/// One record over all departments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `yiwang_client::record::UnifiedRecord`")]
pub(super) struct UnifiedBody {
    /// Whether every source answered.
    complete: bool,
    /// States of fields by record type and field.
    records: BTreeMap<String, BTreeMap<String, FieldStateBody>>,
    /// How each source did.
    sources: Vec<SourceBody>,
}

/// What is known of one field.
#[derive(ToSchema, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[expect(dead_code, reason = "describes `yiwang_client::merge::FieldState`")]
pub(super) enum FieldStateBody {
    /// All sources that have the record agree.
    Value {
        /// The value; an array with one item per row where there are several; null where not found.
        value: serde_json::Value,
        /// Whether any source has the record.
        found: bool,
        /// Flags of the data.
        quality: Option<Vec<String>>,
        /// Sources that agree.
        sources: Vec<OriginBody>,
        /// Sources that have no such record.
        missing_in: Option<Vec<OriginBody>>,
    },
    /// A contract or rule keeps it back.
    Withheld {
        /// The service code.
        code: String,
        /// The clause that decided.
        clause: String,
        /// Who keeps it back.
        source: Option<OriginBody>,
    },
    /// There is no answer.
    Unavailable {
        /// The service code.
        code: String,
        /// Since when the provider is away, RFC 3339.
        since: Option<String>,
        /// Who is missing.
        source: Option<OriginBody>,
    },
    /// Sources disagree.
    Conflict {
        /// What each says.
        claims: Vec<ClaimBody>,
    },
}

/// One of several values.
#[derive(ToSchema, Serialize)]
pub(super) struct ClaimBody {
    /// The value.
    value: serde_json::Value,
    /// Flags of the data.
    quality: Option<Vec<String>>,
    /// Who says so.
    source: OriginBody,
}

/// Where a value comes from.
#[derive(ToSchema, Serialize)]
pub(super) struct OriginBody {
    /// The provider.
    member: String,
    /// The contract.
    contract: String,
    /// The ledger entry that records the access.
    receipt: Option<u64>,
    /// Since when the source's row is good, RFC 3339.
    as_of: Option<String>,
}

/// How one source did.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `yiwang_client::record::SourceState`")]
pub(super) struct SourceBody {
    /// The provider.
    member: String,
    /// The contract.
    contract: String,
    /// The record type.
    record: String,
    /// `answered`, or a service code.
    state: String,
    /// The clause that decided.
    clause: Option<String>,
    /// The ledger entry.
    receipt: Option<u64>,
    /// Whether more rows existed than the answer holds.
    truncated: bool,
    /// What the next page is asked for with; left out where there is none, or where the provider gives no pages.
    resume: Option<String>,
}

/// A problem (RFC 9457). It never repeats a value of the request.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `problem` makes")]
pub(super) struct ProblemBody {
    /// Where the problem is explained.
    r#type: String,
    /// What is wrong, in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The stable code.
    #[schema(schema_with = code)]
    code: String,
    /// What to do next.
    next_step: String,
    /// More words.
    detail: Option<String>,
    /// The rule that decided.
    clause: Option<String>,
    /// The ledger entry of the refusal, where a page of a batch was refused.
    receipt: Option<u64>,
    /// What is wrong where in the body.
    errors: Option<Vec<FaultBody>>,
    /// The trace of the request.
    trace_id: Option<String>,
    /// The request.
    request_id: Option<String>,
}

/// One fault of a body.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `problem` makes")]
pub(super) struct FaultBody {
    /// JSON pointer into the body.
    pointer: String,
    /// What is wrong there.
    detail: String,
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

fn one_of(values: impl IntoIterator<Item = impl Into<serde_json::Value>>) -> RefOr<Schema> {
    text().enum_values(Some(values.into_iter().map(Into::into))).into()
}

fn code() -> RefOr<Schema> {
    one_of(super::problem::codes().collect::<std::collections::BTreeSet<_>>())
}

/// The catalogue is part of the program; where it could not be read, the gateway would not run.
fn catalogue() -> Option<Catalogue> {
    Catalogue::builtin().ok()
}

fn purpose() -> RefOr<Schema> {
    let catalogue = catalogue();
    one_of(catalogue.iter().flat_map(Catalogue::purposes).map(|(purpose, _)| purpose.to_string()))
}

/// The limit counts bytes, which a schema cannot say: texts of other scripts reach it earlier.
fn subject_text() -> ObjectBuilder {
    let most = yiwang_proto::limits::SUBJECT_MAX;
    text().min_length(Some(1)).max_length(Some(most)).pattern(Some("^[^\\u0000-\\u001f\\u007f-\\u009f]+$"))
}

fn subject() -> RefOr<Schema> {
    subject_text().into()
}

fn as_issued() -> RefOr<Schema> {
    let what = "Identifiers stand in their documents just so, also where a resident id's check character does not fit.";
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::Boolean)).description(Some(what)).into()
}

fn officer() -> RefOr<Schema> {
    text().pattern(Some("^o-[a-z2-7]{16}$")).into()
}

/// A record that members added has fields that the document cannot list.
fn names_of_any_record() -> ArrayBuilder {
    let names = text().pattern(Some("^[a-z][a-z0-9]*(_[a-z0-9]+)*$")).max_length(Some(40));
    ArrayBuilder::new().items(names).max_items(Some(yiwang_proto::limits::FIELDS_MAX))
}

fn field_names() -> RefOr<Schema> {
    names_of_any_record().into()
}

fn fields() -> RefOr<Schema> {
    let mut records = ObjectBuilder::new()
        .property_names(Some(text().pattern(Some("^[A-Z][A-Za-z0-9]{1,39}$"))))
        .additional_properties(Some(names_of_any_record()));
    for record in catalogue().iter().flat_map(Catalogue::records) {
        let names = one_of(record.fields.keys().map(ToString::to_string));
        let list = ArrayBuilder::new().items(names).max_items(Some(yiwang_proto::limits::FIELDS_MAX));
        records = records.property(record.name.to_string(), list);
    }
    records.into()
}

fn resume() -> RefOr<Schema> {
    ObjectBuilder::new()
        .property_names(Some(text().pattern(Some("^[a-z][a-z0-9]*(-[a-z0-9]+)*$")).max_length(Some(64))))
        .min_properties(Some(1))
        .max_properties(Some(super::body::RECORDS_MAX))
        .additional_properties(Some(many::token()))
        .into()
}

fn arguments() -> RefOr<Schema> {
    let scalar =
        ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Number, Type::Boolean]));
    let scalar = scalar.max_length(Some(yiwang_proto::limits::ARGUMENT_BYTES_MAX));
    ObjectBuilder::new()
        .property_names(Some(text().pattern(Some("^[a-z][a-z0-9]*(_[a-z0-9]+)*$")).max_length(Some(40))))
        .max_properties(Some(yiwang_proto::limits::ARGUMENTS_MAX))
        .additional_properties(Some(scalar))
        .into()
}
