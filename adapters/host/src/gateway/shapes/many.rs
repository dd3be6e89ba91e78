//! Shapes of counts and batches.

use super::{field_names, officer, purpose, text};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema};
use yiwang_proto::limits::ARGUMENT_BYTES_MAX;

/// What is counted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `counts::count` reads by hand")]
pub(in crate::gateway) struct CountBody {
    /// Fields to count by; left out = all that the contract grants.
    #[schema(schema_with = field_names)]
    by: Option<Vec<String>>,
    /// A purpose of the catalogue.
    #[schema(schema_with = purpose)]
    purpose: String,
    /// An open case.
    #[schema(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")]
    case: String,
    /// Pseudonym of the acting officer.
    #[schema(schema_with = officer)]
    officer: Option<String>,
    /// Digest of a ticket that the officer signed and the app published.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    ticket: Option<String>,
}

/// What all providers counted, each by itself: nobody knows whether two of them count the same.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `counts::count` makes")]
pub(in crate::gateway) struct CountsBody {
    /// Whether every provider answered.
    complete: bool,
    /// One for each contract.
    counts: Vec<CountedBody>,
}

/// What one provider counted.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `yiwang_client::count::Counted`")]
pub(in crate::gateway) struct CountedBody {
    /// The provider.
    member: String,
    /// The contract.
    contract: String,
    /// `answered`, or a service code.
    state: String,
    /// The clause that decided.
    clause: Option<String>,
    /// The ledger entry; null where there is none.
    receipt: Option<u64>,
    /// The cells that may be shown.
    cells: Vec<CellBody>,
    /// Whether there were more than the contract lets out.
    truncated: bool,
}

/// One cell. One that is not there is not zero: it was small, or would have given a small one away.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `yiwang_client::count::Cell`")]
pub(in crate::gateway) struct CellBody {
    /// Values by field; null where the source has none.
    fields: BTreeMap<String, serde_json::Value>,
    /// How many rows.
    count: u64,
    /// When the table was made, RFC 3339.
    as_of: String,
}

/// A page of a batch. All pages of one batch are asked for with the same body but for `resume`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `batches::batch` reads by hand")]
pub(in crate::gateway) struct BatchBody {
    /// `resume` of the page before, as it came; left out for the first page. It fits this app, contract, case,
    /// operation and choice of fields only, and nobody but the provider can read it.
    #[schema(schema_with = resume)]
    resume: Option<String>,
    /// Fields; left out = all that the contract grants.
    #[schema(schema_with = field_names)]
    fields: Option<Vec<String>>,
    /// The contract, where several are for batches of this record.
    contract: Option<String>,
    /// The operation; left out = the contract's first.
    operation: Option<String>,
    /// A purpose of the catalogue.
    #[schema(schema_with = purpose)]
    purpose: String,
    /// An open case.
    #[schema(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")]
    case: String,
    /// Pseudonym of the acting officer.
    #[schema(schema_with = officer)]
    officer: Option<String>,
    /// Digest of a ticket that the officer signed and the app published; each page is one use of it.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    ticket: Option<String>,
}

/// One page.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `batches::batch` makes")]
pub(in crate::gateway) struct PageBody {
    /// The contract.
    contract: String,
    /// The provider.
    provider: String,
    /// The rows, in the order of the source's key.
    records: Vec<RowsBody>,
    /// How many.
    rows: u32,
    /// Fields that were asked for and are not in the records.
    withheld: Vec<WithheldBody>,
    /// What the next page is asked for with; null where this was the last.
    resume: Option<String>,
    /// The ledger entry of this page.
    receipt: u64,
}

/// One row.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what providers answer")]
pub(in crate::gateway) struct RowsBody {
    /// Values by field.
    fields: BTreeMap<String, serde_json::Value>,
    /// Since when the source's row is good, RFC 3339.
    as_of: Option<String>,
    /// Flags of the data by field.
    quality: Option<BTreeMap<String, Vec<String>>>,
}

/// A field that is kept back.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `batches::batch` makes")]
pub(in crate::gateway) struct WithheldBody {
    /// Its name.
    field: String,
    /// The clause that keeps it back.
    clause: String,
}

fn resume() -> RefOr<Schema> {
    token().into()
}

/// What a next page is asked for with.
pub(super) fn token() -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(ARGUMENT_BYTES_MAX)).pattern(Some("^[A-Za-z0-9_-]+$"))
}
