//! What to do next: errors that a newcomer meets first, each with the command that helps.

use crate::fail::{Failure, Outcome};
use crate::setup::AppArgs;
use std::path::Path;
use yiwang_client::client::Client;
use yiwang_client::error::ClientError;
use yiwang_client::record::RecordQuery;
use yiwang_policies::Catalogue;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{ContractError, ContractText};
use yiwang_proto::ids::{FieldName, Matter, Purpose, RecordType};
use yiwang_proto::nearest::{did_you_mean, meant_or_known};
use yiwang_proto::resident_id;

/// A refusal of what an app asked, with the command that publishes its key where the hub does not know it.
pub fn refused(args: &AppArgs, error: ClientError) -> Failure {
    if error.code() != Some(Code::KeyUnknown) {
        return Failure::refused(error);
    }
    let (folder, app) = (args.folder.display(), &args.app);
    Failure::refused(format!(
        "the hub refused: key_unknown: the key of app `{app}` was not published; publish its delegation: \
         `yiwang member publish --folder {folder} {folder}/delegations/app-{app}.json`"
    ))
}

/// Refuses a purpose that the catalogue does not have: no contract can be for it, and an empty record would look as if
/// nobody knew the person.
pub fn purpose(purpose: &Purpose) -> Outcome {
    let catalogue = Catalogue::builtin().map_err(Failure::environment)?;
    if catalogue.has_purpose(purpose) {
        return Ok(());
    }
    Err(unknown("purpose", purpose.as_str(), catalogue.purposes().map(|(id, _)| id.as_str())))
}

/// Where no contract could serve: an empty record would look as if nobody knew the person.
pub async fn nobody_asked(client: &Client, args: &AppArgs, query: &RecordQuery) -> Failure {
    let unasked = client.unasked(query).await.unwrap_or_default();
    if !unasked.is_empty() {
        let each: Vec<String> = unasked.iter().map(ToString::to_string).collect();
        return Failure::refused(format!("nobody was asked: {}", each.join("; ")));
    }
    let records: Vec<String> = query.fields.keys().map(|record| format!("`{record}`")).collect();
    let records = if records.is_empty() { "any record".to_owned() } else { records.join(" or ") };
    Failure::refused(format!(
        "no contract in force lets app `{}` ask for {records} for `{}`, so nobody was asked; what it may ask is at its \
         gateway's /v1/permissions, and a new contract begins with `yiwang contract draft`{}",
        args.app,
        query.purpose,
        misspelt(query.fields.keys(), client.catalogue())
    ))
}

/// Of records that do not come with the program, what was most likely meant: members may have added one, so that it is
/// told only where nobody could be asked.
fn misspelt<'r>(records: impl Iterator<Item = &'r RecordType>, catalogue: &Catalogue) -> String {
    let foreign = records.filter(|record| catalogue.record(record).is_none());
    let known = || catalogue.records().map(|record| record.name.as_str());
    let told = foreign.filter_map(|record| {
        let near = did_you_mean(record.as_str(), known())?;
        Some(format!("; no `{record}` comes with the program: {near}"))
    });
    told.collect()
}

/// A record or field that is wanted. A field that a record of the program does not have is refused: no contract can
/// grant it.
pub fn field(text: &str) -> Result<(RecordType, Option<FieldName>), Failure> {
    let catalogue = Catalogue::builtin().map_err(Failure::environment)?;
    let written = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("`--field`: {error}; write RECORD or RECORD.FIELD, like Person.name"))
    };
    let (record, field) = text.split_once('.').map_or((text, None), |(record, field)| (record, Some(field)));
    let record = RecordType::parse(record).map_err(|error| written(&error))?;
    let Some(field) = field else { return Ok((record, None)) };
    let field = FieldName::parse(field).map_err(|error| written(&error))?;
    match catalogue.record(&record).filter(|known| known.field(&field).is_none()) {
        Some(known) => {
            let names: Vec<&str> = known.fields.keys().map(FieldName::as_str).collect();
            let next = meant_or_known(field.as_str(), names);
            Err(Failure::usage(format!("`--field`: record `{record}` has no field `{field}`; {next}")))
        }
        None => Ok((record, Some(field))),
    }
}

/// Refuses a matter that the catalogue does not have.
pub fn matter(matter: &Matter) -> Outcome {
    let catalogue = Catalogue::builtin().map_err(Failure::environment)?;
    if catalogue.has_matter(matter) {
        return Ok(());
    }
    Err(unknown("matter", matter.as_str(), catalogue.matters().map(|(id, _)| id.as_str())))
}

/// Refuses identifiers that were most likely mistyped: such a case would be about nobody, every query in it would find
/// nobody, and neither would say why. They are told by their place on the line, since an error holds no value.
pub fn subjects(given: &[String], as_issued: bool) -> Outcome {
    let fault = |(at, subject): (usize, &String)| {
        let error = resident_id::check_given(subject, as_issued).err()?;
        let which = if given.len() > 1 { format!(" number {}", at + 1) } else { String::new() };
        Some(format!("`--subject`{which} {error}: {}", error.next("add --as-issued")))
    };
    let faults: Vec<String> = given.iter().enumerate().filter_map(fault).collect();
    if faults.is_empty() {
        given
            .iter()
            .filter_map(|subject| doubtful(subject))
            .for_each(|what| eprintln!("note: `--subject` {what}"));
        return Ok(());
    }
    Err(Failure::usage(format!("{}; nothing was sent", faults.join("; "))))
}

/// What is nearly a resident id. Said and not refused: other numbers of persons look so, too.
fn doubtful(subject: &str) -> Option<String> {
    let bare: String = subject.split_whitespace().collect();
    let digits = bare.strip_suffix(['x', 'X']).unwrap_or(&bare);
    let length = bare.len();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match length {
        17 | 19 => Some(format!("is {length} digits; a resident id has 18")),
        18 if length < subject.len() => {
            Some("has 18 digits and blanks; a resident id has no blanks".to_owned())
        }
        _ => None,
    }
}

fn unknown<'k>(what: &str, given: &str, known: impl Iterator<Item = &'k str>) -> Failure {
    let known: Vec<&str> = known.collect();
    let next = did_you_mean(given, known.iter().copied())
        .unwrap_or_else(|| format!("the catalogue has {}", known.join(", ")));
    Failure::usage(format!("`{given}` is no {what} of the catalogue; {next}"))
}

/// Why a file is no contract that can be published, and who has to sign it.
pub fn unsigned(path: &Path, bytes: &[u8], error: impl std::fmt::Display) -> Failure {
    let shown = path.display();
    if ContractText::parse(bytes).is_err() {
        return Failure::usage(format!("{shown}: {error}"));
    }
    Failure::usage(format!(
        "{shown}: a contract's text, which nobody signed; both members do: `yiwang contract sign --folder DIR {shown} -o \
         half.json`, and the other with half.json"
    ))
}

/// Why a contract does not hold, and who has to sign it.
pub fn not_signed(path: &Path, error: ContractError) -> Failure {
    match &error {
        ContractError::NotSigned { member, .. } => Failure::refused(format!(
            "{error}; `{member}` signs it: `yiwang contract sign --folder ITS-FOLDER {} -o contract.json`",
            path.display()
        )),
        _ => Failure::refused(error),
    }
}

/// Says which parts of a draft stay as they were: drafts carry made-up roots, approvers and days.
pub fn kept(text: &ContractText, replaced: &[&str]) -> Vec<String> {
    let parts = [
        ("provider.root", "provider-root", text.provider.root.to_base64()),
        ("consumer.root", "consumer-root", text.consumer.root.to_base64()),
        ("valid_from", "valid-from", text.valid_from.clone()),
        ("valid_until", "valid-until", text.valid_until.clone()),
    ];
    let mut kept: Vec<String> = parts
        .into_iter()
        .filter(|(_, flag, _)| !replaced.contains(flag))
        .map(|(field, flag, value)| {
            format!("`{field}` stays as the draft has it: {value} (--{flag} replaces it)")
        })
        .collect();
    for (side, party) in [("provider", &text.provider), ("consumer", &text.consumer)] {
        kept.push(format!(
            "`{side}.approver` stays as the draft has it: {} (edit the draft)",
            party.approver
        ));
    }
    kept
}
