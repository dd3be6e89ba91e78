//! What every question to departments says of itself: why, in which case, who acts and how that is proved.

use super::body::Faults;
use super::guard::Caller;
use super::problem::{NOT_FOUND, Problem};
use crate::names;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use yiwang_client::error::ClientError;
use yiwang_client::record::Planned;
use yiwang_policies::Catalogue;
use yiwang_proto::Digest;
use yiwang_proto::ids::{CaseId, Matter, Officer, Purpose, RecordType};
use yiwang_proto::request::OfficerBy;
use yiwang_proto::ticket::from_hex;

/// Purposes that the hub is asked about for one that was mistyped.
const TRIED_MAX: usize = 4;
/// How long a refusal waits for a better word. It was decided without the hub, which may not answer.
const PATIENCE: Duration = Duration::from_secs(2);

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
        (catalogue, meant): (&Catalogue, &Meant),
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
            faults.add("#/purpose", format!("is not in the catalogue of purposes; {meant}"));
        }
        Some(Self { purpose: purpose?, case: case?, officer, by })
    }
}

/// What whoever named a purpose or matter that the catalogue does not have may have meant.
#[derive(Default)]
pub(super) struct Meant(Option<String>);

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "did you mean `{name}`?"),
            None => f.write_str("`GET /v1/permissions` lists those of this app's contracts"),
        }
    }
}

impl Meant {
    /// Of the purposes of this app's contracts: another would only be refused later. Without the hub nothing is meant.
    pub(super) async fn purpose(caller: &Caller, given: Option<&Value>, catalogue: &Catalogue) -> Self {
        let given = given.and_then(Value::as_str).and_then(|text| Purpose::parse(text).ok());
        let Some(given) = given.filter(|purpose| !catalogue.has_purpose(purpose)) else {
            return Self::default();
        };
        let known = catalogue.purposes().map(|(purpose, _)| purpose.as_str());
        let near = names::nearest(given.as_str(), known);
        Self::within(async {
            for name in near.into_iter().take(TRIED_MAX) {
                let Ok(purpose) = Purpose::parse(name) else { continue };
                if !planned(caller, &purpose).await?.is_empty() {
                    return Some(name.to_owned());
                }
            }
            None
        })
        .await
    }

    /// Of the matters of this app's contracts.
    pub(super) async fn matter(caller: &Caller, given: &Matter) -> Self {
        let client = &caller.app.client;
        let known = client.catalogue().matters().map(|(matter, _)| matter.as_str());
        let near = names::nearest(given.as_str(), known);
        if near.is_empty() {
            return Self::default();
        }
        Self::within(async {
            let mut had = BTreeSet::new();
            // As for the app's permissions: a plan is made for one purpose.
            for (purpose, _) in client.catalogue().purposes() {
                let plans = planned(caller, purpose).await?;
                had.extend(plans.into_iter().flat_map(|plan| plan.contract.text.matters.clone()));
            }
            let named = |name: &&str| had.iter().any(|matter: &Matter| matter.as_str() == *name);
            near.into_iter().find(named).map(str::to_owned)
        })
        .await
    }

    async fn within(asked: impl Future<Output = Option<String>>) -> Self {
        Self(tokio::time::timeout(PATIENCE, asked).await.unwrap_or_default())
    }
}

/// What this app may ask for a purpose; nothing where a contract for it does not hold. None if the hub does not say. Note is
/// taken of either as of every question to it.
async fn planned(caller: &Caller, purpose: &Purpose) -> Option<Vec<Planned>> {
    match caller.app.client.plan(purpose, &[]).await {
        Ok(plans) => Some(plans),
        Err(error) => {
            let silent = matches!(error, ClientError::Transport(_) | ClientError::Hub { .. });
            drop(caller.problem(error));
            (!silent).then(Vec::new)
        }
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
        return Err(Problem::new(&NOT_FOUND).detail(names::no_record(&record, &catalogue)));
    }
    Ok((record, catalogue))
}
