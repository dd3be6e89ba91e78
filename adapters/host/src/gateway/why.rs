//! What every question to departments says of itself: why, in which case, who acts and how that is proved.

use super::body::Faults;
use super::guard::Caller;
use super::problem::{NOT_FOUND, Problem};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde_json::Value;
use yiwang_policies::Catalogue;
use yiwang_proto::Digest;
use yiwang_proto::ids::{CaseId, Officer, Purpose, RecordType};
use yiwang_proto::request::OfficerBy;
use yiwang_proto::ticket::from_hex;

/// Checked.
pub(super) struct Why {
    pub(super) purpose: Purpose,
    pub(super) case: CaseId,
    pub(super) officer: Option<Officer>,
    pub(super) by: OfficerBy,
}

impl Why {
    pub(super) fn check(
        purpose: Option<&Value>,
        case: Option<&Value>,
        officer: Option<&Value>,
        ticket: Option<&Value>,
        catalogue: &Catalogue,
        faults: &mut Faults,
    ) -> Option<Self> {
        let purpose: Option<Purpose> = faults.id("purpose", purpose);
        let case = faults.id("case", case);
        let by = match (ticket, digest(ticket)) {
            (None, _) => OfficerBy::Asserted,
            (Some(_), Some(digest)) => OfficerBy::Ticket(digest),
            (Some(_), None) => {
                faults.add("#/ticket", "is not the 64 hexadecimal digits that publishing the ticket gave");
                OfficerBy::Asserted
            }
        };
        if ticket.is_some() && officer.is_none() {
            faults.add("#/officer", "names the officer whose ticket it is");
        }
        let officer = faults.optional_id("officer", officer);
        if purpose.as_ref().is_some_and(|purpose| !catalogue.has_purpose(purpose)) {
            faults.add("#/purpose", "is not in the catalogue of purposes");
        }
        Some(Self { purpose: purpose?, case: case?, officer, by })
    }
}

/// A digest in hexadecimal.
pub(super) fn digest(value: Option<&Value>) -> Option<Digest> {
    value.and_then(Value::as_str).and_then(from_hex)
}

/// The record that an address names, with a catalogue that knows it. What is no record is not found.
pub(super) async fn record_of(
    caller: &Caller,
    given: Result<Path<String>, PathRejection>,
) -> Result<(RecordType, Catalogue), Problem> {
    let record = given.ok().and_then(|Path(text)| RecordType::parse(&text).ok());
    let record = record.ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let known = caller.app.client.catalogue_with(std::slice::from_ref(&record)).await;
    let catalogue = known.map_err(|error| caller.problem(error))?;
    if catalogue.record(&record).is_none() {
        return Err(Problem::new(&NOT_FOUND).detail("no record of the catalogue has this name"));
    }
    Ok((record, catalogue))
}
