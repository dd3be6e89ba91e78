//! Shapes of cases.

use super::{as_issued, catalogue, one_of, subject_text};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use yiwang_policies::Catalogue;
use yiwang_proto::case::REASONS;

/// A ledger entry that was made, and its case.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::gateway) struct ReceiptBody {
    /// The case.
    pub(in crate::gateway) case: String,
    /// Index of the ledger entry.
    pub(in crate::gateway) receipt: u64,
}

/// What the register knows of a case.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::gateway) struct CaseBody {
    /// The case.
    pub(in crate::gateway) case: String,
    /// Its matter.
    pub(in crate::gateway) matter: String,
    /// `open` or `closed`.
    pub(in crate::gateway) state: &'static str,
    /// RFC 3339.
    pub(in crate::gateway) opened_at: String,
    /// RFC 3339; null while open.
    pub(in crate::gateway) closed_at: Option<String>,
    /// How many subjects it lists.
    pub(in crate::gateway) subjects: u32,
    /// Indexes of its ledger entries.
    pub(in crate::gateway) receipts: Vec<u64>,
}

/// A case to open.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `cases::open` reads by hand")]
pub(in crate::gateway) struct OpenBody {
    /// A matter of the catalogue.
    #[schema(schema_with = matter)]
    matter: String,
    /// Canonical identifiers of its subjects; none where it is about nobody.
    #[schema(schema_with = subjects)]
    subjects: Option<Vec<String>>,
    /// Whether they stand in their documents just so.
    #[schema(schema_with = as_issued)]
    as_issued: Option<bool>,
}

/// Subjects to add to a case.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `cases::add` reads by hand")]
pub(in crate::gateway) struct AddBody {
    /// Canonical identifiers of the new subjects.
    #[schema(schema_with = some_subjects)]
    subjects: Vec<String>,
    /// Whether they stand in their documents just so.
    #[schema(schema_with = as_issued)]
    as_issued: Option<bool>,
    /// Why, from the closed list.
    #[schema(schema_with = reason)]
    reason: String,
}

/// The end of a case.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `cases::close` reads by hand")]
pub(in crate::gateway) struct CloseBody {
    /// Why, from the closed list.
    #[schema(schema_with = reason)]
    reason: String,
}

fn reason() -> RefOr<Schema> {
    one_of(REASONS.iter().copied())
}

fn matter() -> RefOr<Schema> {
    let catalogue = catalogue();
    one_of(catalogue.iter().flat_map(Catalogue::matters).map(|(matter, _)| matter.to_string()))
}

fn subjects_of(least: usize) -> RefOr<Schema> {
    ArrayBuilder::new()
        .items(subject_text())
        .min_items(Some(least))
        .max_items(Some(yiwang_proto::limits::CASE_TAGS_MAX))
        .into()
}

fn subjects() -> RefOr<Schema> {
    subjects_of(0)
}

fn some_subjects() -> RefOr<Schema> {
    subjects_of(1)
}
