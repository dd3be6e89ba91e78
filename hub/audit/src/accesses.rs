//! Who asked what of whom, under which contract and case: the exchanges of a ledger as rows.

use crate::error::AuditError;
use crate::ledger::{open, segments};
use crate::report::visible;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use yiwang_proto::answer::Answer;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{CaseId, ContractId, MemberId};
use yiwang_proto::pb;
use yiwang_proto::request::Request;
use yiwang_proto::time::format_rfc3339;

/// Which exchanges are wanted; what is not given does not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Consumer, provider or peer.
    pub member: Option<MemberId>,
    /// Who asked.
    pub consumer: Option<MemberId>,
    /// Who was asked.
    pub provider: Option<MemberId>,
    /// Under which contract.
    pub contract: Option<ContractId>,
    /// In which case.
    pub case: Option<CaseId>,
    /// Recorded at or after, milliseconds.
    pub since_ms: Option<i64>,
    /// Recorded before, milliseconds.
    pub until_ms: Option<i64>,
}

/// One exchange as a row. Texts are empty where the entry does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The entry.
    pub index: u64,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// Whose connection it came over.
    pub peer: String,
    /// Who asked.
    pub consumer: String,
    /// With which app.
    pub app: String,
    /// The acting officer's pseudonym.
    pub officer: String,
    /// Who was asked.
    pub provider: String,
    /// Under which contract.
    pub contract: String,
    /// For which purpose.
    pub purpose: String,
    /// In which case.
    pub case: String,
    /// Which record.
    pub record: String,
    /// By which operation.
    pub operation: String,
    /// The fields that were asked for, separated by spaces.
    pub asked: String,
    /// The fields that were handed out, separated by spaces.
    pub given: String,
    /// `answered`, `denied`, `failed`, `withheld`.
    pub outcome: String,
    /// The service code, where it was not answered.
    pub code: String,
    /// The clause that decided.
    pub clause: String,
    /// Rows in the answer.
    pub rows: u32,
}

const COLUMNS: [&str; 18] = [
    "index",
    "time",
    "peer",
    "consumer",
    "app",
    "officer",
    "provider",
    "contract",
    "purpose",
    "case",
    "record",
    "operation",
    "asked",
    "given",
    "outcome",
    "code",
    "clause",
    "rows",
];

impl Access {
    fn cells(&self) -> [String; 18] {
        [
            self.index.to_string(),
            self.time.clone(),
            self.peer.clone(),
            self.consumer.clone(),
            self.app.clone(),
            self.officer.clone(),
            self.provider.clone(),
            self.contract.clone(),
            self.purpose.clone(),
            self.case.clone(),
            self.record.clone(),
            self.operation.clone(),
            self.asked.clone(),
            self.given.clone(),
            self.outcome.clone(),
            self.code.clone(),
            self.clause.clone(),
            self.rows.to_string(),
        ]
    }
}

/// Hands each exchange of a ledger folder that passes the filter to `take`, in order. Signatures and proofs
/// are not verified: run [`crate::verify_ledger`] first. Returns how many there were.
///
/// # Errors
/// [`AuditError`] when an entry cannot be read, or `take` fails.
pub fn accesses(
    folder: &Path,
    filter: &Filter,
    take: &mut dyn FnMut(Access) -> Result<(), AuditError>,
) -> Result<u64, AuditError> {
    let segments = segments(folder)?;
    let (reader, _) = open(&segments)
        .map_err(|error| AuditError::Unreadable { path: segments.clone(), fault: error.to_string() })?;
    let (mut found, mut next) = (0, reader.first());
    for record in reader.scan(reader.first()) {
        let bad = |fault: String| AuditError::BadEntry { index: next, fault };
        let (index, bytes, _) = record.map_err(|error| bad(error.to_string()))?;
        let entry = decode(&bytes).map_err(|error| bad(error.to_string()))?;
        next = index + 1;
        if let Some(Kind::Exchange(exchange)) = &entry.kind
            && let Some(row) = row(index, entry.time_ms, exchange, filter)
        {
            found += 1;
            take(row)?;
        }
    }
    Ok(found)
}

fn row(index: u64, time_ms: i64, raw: &pb::ExchangeEntry, filter: &Filter) -> Option<Access> {
    let late = filter.since_ms.is_some_and(|since| time_ms < since);
    if late || filter.until_ms.is_some_and(|until| time_ms >= until) {
        return None;
    }
    let payload =
        |bytes: &bytes::Bytes| Some(SignedStatement::parse(bytes.clone()).ok()?.unverified_payload().clone());
    let request = payload(&raw.request).and_then(|payload| Request::parse(&payload).ok());
    let answer = payload(&raw.answer).and_then(|payload| Answer::parse(&payload).ok());
    let asked = request.as_ref();
    let is = |wanted: Option<&str>, found: Option<&str>| wanted.is_none_or(|wanted| found == Some(wanted));
    let consumer = asked.map(|request| request.consumer.as_str());
    let provider = asked.map(|request| request.provider.as_str());
    let wanted = is(filter.consumer.as_ref().map(MemberId::as_str), consumer)
        && is(filter.provider.as_ref().map(MemberId::as_str), provider)
        && is(
            filter.contract.as_ref().map(ContractId::as_str),
            asked.map(|request| request.contract.as_str()),
        )
        && is(filter.case.as_ref().map(CaseId::as_str), asked.map(|request| request.case.as_str()))
        && filter.member.as_ref().is_none_or(|member| {
            [consumer, provider, Some(raw.peer.as_str())].contains(&Some(member.as_str()))
        });
    if !wanted {
        return None;
    }
    let outcome = match raw.outcome() {
        pb::Outcome::Answered => "answered",
        pb::Outcome::Denied => "denied",
        pb::Outcome::Failed => "failed",
        pb::Outcome::Withheld => "withheld",
        pb::Outcome::Unspecified => "unspecified",
    };
    let given = answer.filter(|_| raw.outcome() == pb::Outcome::Answered);
    let mut row = Access {
        index,
        time: format_rfc3339(time_ms),
        peer: raw.peer.clone(),
        outcome: outcome.to_owned(),
        code: raw.code.clone(),
        clause: raw.clause.clone(),
        ..Access::default()
    };
    if let Some(request) = request {
        row.consumer = request.consumer.to_string();
        row.app = request.app.to_string();
        row.officer = request.officer.map(|officer| officer.to_string()).unwrap_or_default();
        row.provider = request.provider.to_string();
        row.contract = request.contract.to_string();
        row.purpose = request.purpose.to_string();
        row.case = request.case.to_string();
        row.record = request.record.to_string();
        row.operation = request.operation.to_string();
        row.asked = words(&request.fields);
    }
    if let Some(answer) = given {
        row.given = words(&answer.fields);
        row.rows = answer.rows;
    }
    Some(row)
}

fn words<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// Lines for people.
    Table,
    /// An array of objects.
    Json,
    /// Comma-separated values with a header; a cell that a spreadsheet would take for a formula gets an
    /// apostrophe before it.
    Csv,
}

/// Writes the exchanges that pass the filter; returns how many there were.
///
/// # Errors
/// [`AuditError`] for an unreadable entry, or when the output cannot be written.
pub fn write_accesses(
    folder: &Path,
    filter: &Filter,
    rows: Rows,
    out: &mut dyn Write,
) -> Result<u64, AuditError> {
    match rows {
        Rows::Table => table(folder, filter, out),
        Rows::Json => json(folder, filter, out),
        Rows::Csv => csv(folder, filter, out),
    }
}

fn table(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<u64, AuditError> {
    let found = accesses(folder, filter, &mut |row| {
        let who = if row.consumer.is_empty() {
            format!("{} (request not kept)", row.peer)
        } else {
            format!("{}/{} -> {}", row.consumer, row.app, row.provider)
        };
        let end = [row.outcome.as_str(), &row.code, &row.clause];
        let end: Vec<&str> = end.into_iter().filter(|part| !part.is_empty()).collect();
        let line = format!(
            "{} {} {who} | contract {} | purpose {} | case {} | {} {} | asked {} | given {} | {} | rows {}",
            row.index,
            row.time,
            row.contract,
            row.purpose,
            row.case,
            row.record,
            row.operation,
            row.asked,
            row.given,
            end.join(" "),
            row.rows
        );
        Ok(writeln!(out, "{}", visible(&line))?)
    })?;
    writeln!(out, "{found} exchanges; not verified by this command, run `verify` first")?;
    Ok(found)
}

fn json(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<u64, AuditError> {
    let mut separator = "[";
    let found = accesses(folder, filter, &mut |row| {
        write!(out, "{separator}")?;
        separator = ",\n";
        Ok(serde_json::to_writer(&mut *out, &row).map_err(std::io::Error::from)?)
    })?;
    writeln!(out, "{}]", if found == 0 { "[" } else { "" })?;
    Ok(found)
}

fn csv(folder: &Path, filter: &Filter, out: &mut dyn Write) -> Result<u64, AuditError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    let failed = |error: csv::Error| AuditError::Output(error.into());
    writer.write_record(COLUMNS).map_err(failed)?;
    let found =
        accesses(folder, filter, &mut |row| writer.write_record(row.cells().map(plain)).map_err(failed))?;
    writer.flush()?;
    Ok(found)
}

/// A cell that no spreadsheet runs.
fn plain(cell: String) -> String {
    if cell
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
    {
        format!("'{cell}")
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas() {
        for bad in ["=1+1", "+1", "-1", "@x", "\t=1", "\u{ff1d}1"] {
            assert_eq!(plain(bad.to_owned()), format!("'{bad}"));
        }
        assert_eq!(plain("police".to_owned()), "police");
        assert_eq!(COLUMNS.len(), Access::default().cells().len());
    }
}
