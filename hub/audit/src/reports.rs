//! What an auditor looks for in a ledger, each answered by one pass over its entries. A report names
//! exchanges, cases and pseudonyms of officers; it judges nobody: what it lists is where to ask.

mod askers;
mod denials;
mod idle;
mod insider;

use crate::accesses::{Found, exchange};
use crate::error::AuditError;
use crate::parallel;
use crate::rows::Sheet;
use crate::source::Entries;
use bytes::Bytes;
use yiwang_proto::case::CaseStatement;
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::pb;
use yiwang_proto::time::format_rfc3339;

/// Entries that are taken apart at once.
const CHUNK: usize = 8192;
pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Which report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportKind {
    /// Every exchange.
    Accesses,
    /// Cases in which data was given out and nothing happened afterwards.
    IdleCases,
    /// Who asked most.
    TopAskers,
    /// Runs of refusals of one asker.
    DeniedSeries,
    /// Officers who looked up far more in a day than their colleagues.
    Insider,
}

/// Where the lines are drawn. Every number is a starting point for questions, not a finding.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    /// Days without activity after which a case counts as idle.
    pub quiet_days: u32,
    /// Look-ups in a day below which nobody is listed as an insider.
    pub per_day: u64,
    /// How many times the median of colleagues' days counts as far more.
    pub times_median: u64,
    /// Refusals that make a series.
    pub series: u64,
    /// Minutes between two refusals of one series at the most.
    pub gap_minutes: u32,
    /// Hours that the local day is ahead of UTC.
    pub utc_offset_hours: i32,
    /// Rows at the most.
    pub limit: usize,
}

/// One entry, as far as reports go.
enum Event {
    Exchange(Box<Found>),
    Case(i64, Box<CaseStatement>),
    Folded(u64, i64, Box<pb::FoldedEntry>),
    Other(i64),
}

fn event(index: u64, bytes: &Bytes) -> Result<Event, AuditError> {
    let entry = decode(bytes).map_err(|error| AuditError::BadEntry { index, fault: error.to_string() })?;
    Ok(match entry.kind {
        Some(Kind::Exchange(raw)) => Event::Exchange(Box::new(exchange(index, entry.time_ms, &raw))),
        Some(Kind::CaseStatement(raw)) => {
            let statement = SignedStatement::parse(raw.statement)
                .ok()
                .and_then(|signed| CaseStatement::parse(signed.unverified_payload()).ok());
            statement.map_or(Event::Other(entry.time_ms), |statement| {
                Event::Case(entry.time_ms, Box::new(statement))
            })
        }
        Some(Kind::Folded(raw)) => Event::Folded(index, entry.time_ms, Box::new(raw)),
        _ => Event::Other(entry.time_ms),
    })
}

/// Shows every entry in order; returns the time of the last.
fn pass(entries: &dyn Entries, take: &mut dyn FnMut(Event)) -> Result<i64, AuditError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let (mut run, mut end_ms, mut fault) = (Vec::with_capacity(CHUNK), i64::MIN, None);
    let mut do_run = |run: Vec<(u64, Bytes)>| -> Result<(), AuditError> {
        for done in parallel::map(run, threads, |(index, bytes)| event(index, &bytes)) {
            let done = done?;
            end_ms = end_ms.max(match &done {
                Event::Exchange(found) => found.time_ms,
                Event::Case(time_ms, _) | Event::Folded(_, time_ms, _) | Event::Other(time_ms) => *time_ms,
            });
            take(done);
        }
        Ok(())
    };
    entries.each(entries.oldest(), &mut |index, bytes, _| {
        run.push((index, bytes));
        if run.len() >= CHUNK {
            fault = do_run(std::mem::take(&mut run)).err();
        }
        fault.is_none()
    })?;
    match fault {
        Some(fault) => Err(fault),
        None => do_run(run).map(|()| end_ms),
    }
}

/// Makes a report; none for [`ReportKind::Accesses`], whose rows are too many to be held.
pub(crate) fn report(
    kind: ReportKind,
    entries: &dyn Entries,
    lines: &Lines,
) -> Result<Option<Sheet>, AuditError> {
    let mut sheet = match kind {
        ReportKind::Accesses => return Ok(None),
        ReportKind::IdleCases => idle::idle(entries, lines)?,
        ReportKind::TopAskers => askers::askers(entries)?,
        ReportKind::DeniedSeries => denials::denials(entries, lines)?,
        ReportKind::Insider => insider::insider(entries, lines)?,
    };
    sheet.rows.truncate(lines.limit);
    Ok(Some(sheet))
}

/// Who asks: consumer, app and officer; the connection's member where the request is not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Asker {
    consumer: String,
    app: String,
    officer: String,
}

impl Asker {
    fn of(found: &Found) -> Self {
        let row = &found.access;
        let consumer = if row.consumer.is_empty() { &row.peer } else { &row.consumer };
        Self { consumer: consumer.clone(), app: row.app.clone(), officer: row.officer.clone() }
    }
}

fn time(ms: i64) -> String {
    format_rfc3339(ms)
}
