//! Checks a contract against the catalogue: what only the catalogue knows. Form, times and limits are
//! checked by `ContractText::faults` of the proto crate.

use crate::catalogue::{Catalogue, RecordDef};
use crate::lint::lint_name;
use crate::record_type::RecordTypeVersion;
use std::sync::Arc;
use yiwang_proto::contract::{ContractText, Method, RowClause, RowOperator, Scalar};
use yiwang_proto::ids::FieldName;
use yiwang_proto::nearest::did_you_mean;
use yiwang_proto::ticket::from_hex;

/// Something in a contract that cannot stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}; {next}")]
pub struct Fault {
    /// Clause of the contract.
    pub place: String,
    /// What is wrong, with names in backticks.
    pub what: String,
    /// What to do next.
    pub next: String,
}

impl Fault {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), next: next.into() }
    }
}

/// All that cannot stand in a contract, by the catalogue; empty when it is sound. `added` is the version of a record type
/// that it pins, for a record that does not come with the program.
pub fn check_contract(
    contract: &ContractText,
    catalogue: &Catalogue,
    added: Option<&RecordTypeVersion>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    check_names(contract, &mut faults);
    if !catalogue.has_purpose(&contract.purpose) {
        let near = did_you_mean(contract.purpose.as_str(), catalogue.purposes().map(|(id, _)| id.as_str()));
        faults.push(Fault::new(
            "purpose",
            format!("`{}` is not in the closed list of purposes", contract.purpose),
            near.unwrap_or_else(|| "choose one of the catalogue's purposes".to_owned()),
        ));
    }
    for matter in &contract.matters {
        if !catalogue.has_matter(matter) {
            let near = did_you_mean(matter.as_str(), catalogue.matters().map(|(id, _)| id.as_str()));
            faults.push(Fault::new(
                "matters",
                format!("`{matter}` is not in the closed list of matters"),
                near.unwrap_or_else(|| "choose one of the catalogue's matters".to_owned()),
            ));
        }
    }
    if contract.method == Method::Batch && contract.class >= 3 {
        let what = format!("what is of class {} is not handed over in batches", contract.class);
        faults.push(Fault::new("method", what, "write `query`, or grant other fields"));
    }
    crate::count::check(contract, &mut faults);
    if contract.break_glass {
        faults.push(Fault::new(
            "break_glass",
            "emergency access without a case is not served yet",
            "leave it out, and open a case",
        ));
    }
    match record_of(contract, catalogue, added) {
        Ok(record) => check_record(contract, &record, &mut faults),
        Err(fault) => faults.push(fault),
    }
    faults
}

/// The record that a contract is about: the catalogue's, or of the version that it pins.
pub(crate) fn record_of(
    contract: &ContractText,
    catalogue: &Catalogue,
    added: Option<&RecordTypeVersion>,
) -> Result<Arc<RecordDef>, Fault> {
    let name = &contract.record;
    let Some(pinned) = contract.record_type.as_deref() else {
        return catalogue.shared(name).ok_or_else(|| {
            let near = did_you_mean(name.as_str(), catalogue.records().map(|record| record.name.as_str()));
            let next = near.unwrap_or_else(|| {
                "choose a record type of the catalogue, or pin one that members added: `record_type`"
                    .to_owned()
            });
            Fault::new("record", format!("`{name}` is not in the catalogue"), next)
        });
    };
    // Judged by its pin even where the program has the name by now: what was agreed stays.
    let Some(added) = added.filter(|added| from_hex(pinned) == Some(added.digest)) else {
        if catalogue.record(name).is_some() {
            let what = format!("`{name}` comes with the program and has no version to pin");
            return Err(Fault::new("record_type", what, "leave it out"));
        }
        let what = format!("the pinned version of `{name}` is not at hand");
        return Err(Fault::new(
            "record_type",
            what,
            "give the signed record type (`--record-type FILE`); `yiwang catalogue show` fetches the newest, `add` enters one",
        ));
    };
    if added.text.record != *name {
        let what = format!("the pinned version is of `{}`", added.text.record);
        return Err(Fault::new("record_type", what, "pin a version of the contract's record"));
    }
    if !added.is_provided_by(&contract.provider.member) {
        let what = format!("`{}` did not sign the pinned version of `{name}`", contract.provider.member);
        let next = "let it sign the next version as one of its providers: `yiwang catalogue sign`";
        return Err(Fault::new("record_type", what, next));
    }
    Ok(Arc::clone(&added.def))
}

fn check_names(contract: &ContractText, faults: &mut Vec<Fault>) {
    let names = [("id", contract.id.as_str()), ("record", contract.record.as_str())]
        .into_iter()
        .chain(contract.operations.iter().map(|name| ("operations", name.as_str())))
        .chain(contract.fields.iter().map(|name| ("fields", name.as_str())))
        .chain(contract.rows.iter().map(|clause| ("rows", clause.field.as_str())));
    for (place, name) in names {
        if let Some(refusal) = lint_name(name) {
            let what = format!("`{name}` is refused by rule {}: {}", refusal.rule, refusal.reason);
            faults.push(Fault::new(place, what, refusal.counterpart));
        }
    }
    for (index, clause) in contract.rows.iter().enumerate() {
        for constant in constants(clause) {
            if let Scalar::Text(code) = constant
                && let Some(refusal) = lint_name(code)
            {
                let what = format!("a constant is refused by rule {}: {}", refusal.rule, refusal.reason);
                faults.push(Fault::new(format!("rows[{index}]"), what, refusal.counterpart));
            }
        }
    }
}

fn check_record(contract: &ContractText, record: &RecordDef, faults: &mut Vec<Fault>) {
    for field in &contract.fields {
        if record.field(field).is_none() {
            faults.push(unknown_field("fields", field, record));
        }
    }
    let known = contract.fields.iter().filter(|field| record.field(field).is_some());
    if let Some(highest) = record.highest_class(known)
        && highest != contract.class
    {
        faults.push(Fault::new(
            "class",
            format!("is {}, but the highest class of the granted fields is {highest}", contract.class),
            format!("write {highest}, or grant other fields"),
        ));
    }
    for (index, clause) in contract.rows.iter().enumerate() {
        let place = format!("rows[{index}]");
        check_clause(&place, clause, record, faults);
    }
}

/// All that a clause compares with, but for arguments.
fn constants(clause: &RowClause) -> impl Iterator<Item = &Scalar> {
    [&clause.value, &clause.from, &clause.to].into_iter().flatten().chain(&clause.values)
}

fn check_clause(place: &str, clause: &RowClause, record: &RecordDef, faults: &mut Vec<Fault>) {
    let Some(def) = record.field(&clause.field) else {
        faults.push(unknown_field(place, &clause.field, record));
        return;
    };
    let constants: Vec<&Scalar> = constants(clause).collect();
    if !constants.is_empty() && def.class >= 2 {
        faults.push(Fault::new(
            place,
            format!("a constant for `{}` of class {} would stand in the ledger", clause.field, def.class),
            "take the value from the request: use `param`",
        ));
    }
    // A prefix is part of a value: of a date too.
    let fits = |scalar: &&&Scalar| match clause.op {
        RowOperator::Prefix => def.kind.is_text() && matches!(scalar, Scalar::Text(_)),
        _ => def.kind.accepts(scalar),
    };
    if !constants.iter().all(|scalar| fits(&scalar)) {
        faults.push(Fault::new(
            place,
            format!("a constant is not of the type of `{}`, which is {}", clause.field, def.kind.as_str()),
            "write a value of that type",
        ));
    }
    if clause.op == RowOperator::Prefix {
        if !def.kind.is_text() {
            faults.push(Fault::new(
                place,
                format!("prefix needs a text, `{}` is {}", clause.field, def.kind.as_str()),
                "use eq or range",
            ));
        } else if matches!(&clause.value, Some(Scalar::Text(text)) if text.is_empty()) {
            faults.push(Fault::new(place, "an empty prefix restricts nothing", "leave the clause out"));
        }
    }
    if clause.op == RowOperator::Range && def.kind == crate::catalogue::FieldType::Bool {
        faults.push(Fault::new(place, "a range of true and false restricts nothing", "use eq"));
    }
}

fn unknown_field(place: &str, field: &FieldName, record: &RecordDef) -> Fault {
    let near = did_you_mean(field.as_str(), record.fields.keys().map(FieldName::as_str));
    Fault::new(
        place,
        format!("record `{}` has no field `{field}`", record.name),
        near.unwrap_or_else(|| {
            let names: Vec<&str> = record.fields.keys().map(FieldName::as_str).collect();
            format!("it has {}", names.join(", "))
        }),
    )
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
