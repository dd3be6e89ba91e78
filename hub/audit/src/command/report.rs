//! `report`.

use super::CLEAN;
use super::search::Which;
use crate::accesses::{Filter, closed_words};
use crate::error::AuditError;
use crate::named::unknown;
use crate::report::visible;
use crate::reports::{Lines, ReportKind, report};
use crate::rows::{Rows, write_accesses};
use crate::source::{Entries as _, Source};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use yiwang_proto::plural::counted;

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Ledger folder, or a folder with mirrored entry bundles and hash tiles
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// What is reported
    #[arg(long, value_enum, default_value = "accesses")]
    kind: ReportKind,
    /// For `accesses`
    #[command(flatten)]
    which: Which,
    /// For `idle-cases`: days without activity after the last access
    #[arg(long, default_value_t = 30)]
    quiet_days: u32,
    /// For `insider`: look-ups in one day below which nobody is listed
    #[arg(long, default_value_t = 100)]
    per_day: u64,
    /// For `insider`: how many times the median day of the member's officers
    #[arg(long, default_value_t = 5)]
    times_median: u64,
    /// For `denied-series`: refusals that make a series
    #[arg(long, default_value_t = 5)]
    series: u64,
    /// For `denied-series`: minutes between two refusals at the most
    #[arg(long, default_value_t = 10)]
    gap_minutes: u32,
    /// For `insider`: hours that the local day is ahead of UTC
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-14..=14))]
    utc_offset_hours: i32,
    /// Rows of all kinds but `accesses`
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// How the rows are written
    #[arg(short, long, value_enum, default_value = "table")]
    output: Rows,
}

/// Runs `report`.
pub fn run(args: &Report, out: &mut dyn Write) -> Result<i32, AuditError> {
    let filter: Filter = args.which.filter()?;
    let source = Source::open(&args.ledger)?;
    let lines = Lines {
        quiet_days: args.quiet_days,
        per_day: args.per_day,
        times_median: args.times_median,
        series: args.series,
        gap_minutes: args.gap_minutes,
        utc_offset_hours: args.utc_offset_hours,
        limit: args.limit,
    };
    match report(args.kind, &source, &lines)? {
        None => {
            let listed = write_accesses(&args.ledger, &filter, args.output, out)?;
            if let Some(words) = closed_words(listed.closed_pages).filter(|_| args.output != Rows::Table) {
                eprintln!("note: {words}");
            }
            if listed.rows == 0 {
                for line in unknown(&source, &filter)? {
                    eprintln!("note: {}", visible(&line));
                }
            }
        }
        Some(sheet) => {
            if args.which.is_given() {
                let what = "filters count for `--kind accesses` and for `search` only".to_owned();
                return Err(AuditError::Usage(what));
            }
            let end = format!(
                "{} as of size {}; where to ask, not a verdict; run `verify` first",
                counted(sheet.rows.len(), "row"),
                source.size()
            );
            sheet.write(args.output, &end, out)?;
        }
    }
    Ok(CLEAN)
}
