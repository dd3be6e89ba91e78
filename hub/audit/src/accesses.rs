//! Who asked what of whom, under which contract and case: the exchanges of a ledger as rows.

use crate::error::AuditError;
use crate::source::Source;
use bytes::Bytes;
use serde::Serialize;
use std::path::Path;
use yiwang_proto::Digest;
use yiwang_proto::answer::Answer;
use yiwang_proto::audit_scope::AuditScope;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::{CaseId, ContractId, MemberId, Officer, Purpose, RecordType};
use yiwang_proto::pb;
use yiwang_proto::plural::counted;
use yiwang_proto::request::Request;
use yiwang_proto::sha256;
use yiwang_proto::tag::Tag;
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
    /// By which officer, a pseudonym.
    pub officer: Option<Officer>,
    /// For which purpose.
    pub purpose: Option<Purpose>,
    /// Which record.
    pub record: Option<RecordType>,
    /// How it ended.
    pub outcome: Option<Ended>,
    /// With which service code.
    pub code: Option<Code>,
    /// About whom: a tag of the consumer or of the provider.
    pub tag: Option<Tag>,
    /// Recorded at or after, milliseconds.
    pub since_ms: Option<i64>,
    /// Recorded before, milliseconds.
    pub until_ms: Option<i64>,
    /// What the scope shows.
    pub scope: Option<AuditScope>,
}

/// What [`AuditScope::shows`] says of the entry, of which the row has all that counts: without a kept request it is about
/// the connection's member and no record, as many denials in one entry are.
fn is_within(scope: &AuditScope, row: &Access) -> bool {
    if scope.all {
        return true;
    }
    let sides = MemberId::parse(&row.consumer).ok().zip(MemberId::parse(&row.provider).ok());
    match sides.zip(RecordType::parse(&row.record).ok()) {
        Some(((consumer, provider), record)) => scope.covers(&[&consumer, &provider], Some(&record)),
        None => MemberId::parse(&row.peer).is_ok_and(|peer| scope.covers(&[&peer], None)),
    }
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Ended {
    /// With records, possibly none.
    Answered,
    /// Refused by hub or adapter.
    Denied,
    /// Without an answer.
    Failed,
    /// With an answer that was not released.
    Withheld,
}

impl Ended {
    /// The name in rows and filters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Withheld => "withheld",
        }
    }
}

impl Filter {
    /// Whether an exchange passes.
    pub(crate) fn passes(&self, found: &Found) -> bool {
        let row = &found.access;
        let is = |wanted: Option<&str>, is: &str| wanted.is_none_or(|wanted| wanted == is);
        // Where the request is not kept, nobody but the connection's member can have asked.
        let consumer = if row.consumer.is_empty() { &row.peer } else { &row.consumer };
        self.in_time(found.time_ms)
            && is(self.consumer.as_ref().map(MemberId::as_str), consumer)
            && is(self.provider.as_ref().map(MemberId::as_str), &row.provider)
            && is(self.contract.as_ref().map(ContractId::as_str), &row.contract)
            && is(self.case.as_ref().map(CaseId::as_str), &row.case)
            && is(self.officer.as_ref().map(Officer::as_str), &row.officer)
            && is(self.purpose.as_ref().map(Purpose::as_str), &row.purpose)
            && is(self.record.as_ref().map(RecordType::as_str), &row.record)
            && is(self.outcome.map(Ended::as_str), &row.outcome)
            && is(self.code.map(Code::as_str), &row.code)
            && self.tag.is_none_or(|tag| found.tags.contains(&tag))
            && self.member.as_ref().is_none_or(|member| {
                [&row.consumer, &row.provider, &row.peer].iter().any(|side| *side == member.as_str())
            })
            && self.scope.as_ref().is_none_or(|scope| is_within(scope, row))
    }

    fn in_time(&self, time_ms: i64) -> bool {
        self.since_ms.is_none_or(|since| time_ms >= since)
            && self.until_ms.is_none_or(|until| time_ms < until)
    }
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

pub(crate) const COLUMNS: [&str; 18] = [
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
    pub(crate) fn cells(&self) -> [String; 18] {
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

/// An exchange with what a row does not show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub access: Access,
    pub time_ms: i64,
    /// The consumer's tags, then the provider's.
    pub tags: Vec<Tag>,
    /// How many of them are the consumer's.
    pub of_consumer: usize,
    /// Where the provider's tags are too many for its statement.
    pub page: Option<Rooted>,
}

/// A page of a batch whose statement has the root over everybody's tags only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rooted {
    /// The root.
    pub root: Digest,
    /// SHA-256 of the answer's envelope, by which the provider's journal is found.
    pub answer: Digest,
}

/// What a list of exchanges holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listed {
    /// Exchanges that were handed out.
    pub rows: u64,
    /// Where a tag is looked for: pages of batches with more persons than their statements name, of which nobody can
    /// tell here whether the person is in them. [`crate::sightings()`] looks into them.
    pub closed_pages: u64,
}

/// The exchange in an entry's bytes, or the denials that it folds as one row; none where the entry is of another kind.
pub(crate) fn find(index: u64, bytes: &Bytes) -> Result<Option<Found>, AuditError> {
    let Some(mut found) = glance(index, bytes)? else { return Ok(None) };
    found.access.time = format_rfc3339(found.time_ms);
    Ok(Some(found))
}

/// As [`find`], without the time as text.
pub(crate) fn glance(index: u64, bytes: &Bytes) -> Result<Option<Found>, AuditError> {
    let entry = decode(bytes).map_err(|error| AuditError::BadEntry { index, fault: error.to_string() })?;
    Ok(match &entry.kind {
        Some(Kind::Exchange(raw)) => Some(found(index, entry.time_ms, raw)),
        Some(Kind::Folded(raw)) => Some(folded(index, entry.time_ms, raw)),
        _ => None,
    })
}

/// Many denials of one minute as one row: who, why and how many; what they asked for stands in the hub's journal.
fn folded(index: u64, time_ms: i64, raw: &pb::FoldedEntry) -> Found {
    let denials = raw.count.saturating_add(raw.unkept);
    let row = Access {
        index,
        peer: raw.consumer.clone(),
        consumer: raw.consumer.clone(),
        app: raw.app.clone(),
        outcome: Ended::Denied.as_str().to_owned(),
        code: raw.code.clone(),
        clause: format!("{denials} more in the minute of {}, folded", format_rfc3339(raw.minute_ms)),
        ..Access::default()
    };
    Found { access: row, time_ms, ..Found::default() }
}

/// The exchange in an entry.
pub(crate) fn exchange(index: u64, time_ms: i64, raw: &pb::ExchangeEntry) -> Found {
    let mut found = found(index, time_ms, raw);
    found.access.time = format_rfc3339(time_ms);
    found
}

/// Hands each exchange of a ledger folder that passes the filter to `take`, in order. Signatures and proofs
/// are not verified: run [`crate::verify_ledger`] first. Returns how many there were, and what a search by tag cannot see.
///
/// # Errors
/// [`AuditError`] when an entry cannot be read, or `take` fails.
pub fn accesses(
    folder: &Path,
    filter: &Filter,
    take: &mut dyn FnMut(Access) -> Result<(), AuditError>,
) -> Result<Listed, AuditError> {
    let source = Source::open(folder)?;
    let untagged = Filter { tag: None, ..filter.clone() };
    let mut listed = Listed::default();
    for record in source.scan(source.first()) {
        let (index, bytes, _) = record?;
        let Some(found) = find(index, &bytes)? else { continue };
        if filter.passes(&found) {
            listed.rows += 1;
            take(found.access)?;
        } else if found.page.is_some() && untagged.passes(&found) {
            listed.closed_pages += 1;
        }
    }
    Ok(listed)
}

/// What a search by tag cannot see, in words; none where it sees everything.
pub(crate) fn closed_words(pages: u64) -> Option<String> {
    (pages > 0).then(|| {
        format!(
            "not looked into: {} of batches with more persons than an entry names; `accesses --adapter-journal` does",
            counted(pages, "page")
        )
    })
}

/// Takes an exchange apart; the time as text is left out.
fn found(index: u64, time_ms: i64, raw: &pb::ExchangeEntry) -> Found {
    let payload =
        |bytes: &Bytes| Some(SignedStatement::parse(bytes.clone()).ok()?.unverified_payload().clone());
    let request = payload(&raw.request).and_then(|payload| Request::parse(&payload).ok());
    let answer = payload(&raw.answer).and_then(|payload| Answer::parse(&payload).ok());
    let outcome = match raw.outcome() {
        pb::Outcome::Answered => Ended::Answered.as_str(),
        pb::Outcome::Denied => Ended::Denied.as_str(),
        pb::Outcome::Failed => Ended::Failed.as_str(),
        pb::Outcome::Withheld => Ended::Withheld.as_str(),
        pb::Outcome::Unspecified => "unspecified",
    };
    let mut row = Access {
        index,
        peer: raw.peer.clone(),
        outcome: outcome.to_owned(),
        code: raw.code.clone(),
        clause: raw.clause.clone(),
        ..Access::default()
    };
    let (mut tags, mut page) = (Vec::new(), None);
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
        tags = request.subject_tags;
    }
    let of_consumer = tags.len();
    if let Some(answer) = answer {
        if raw.outcome() == pb::Outcome::Answered {
            row.given = words(&answer.fields);
            row.rows = answer.rows;
        }
        tags.extend(answer.subject_tags);
        page = answer.subject_tags_root.map(|root| Rooted { root, answer: sha256(&raw.answer) });
    }
    Found { access: row, time_ms, tags, of_consumer, page }
}

fn words<T: AsRef<str>>(items: &[T]) -> String {
    items.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ")
}
