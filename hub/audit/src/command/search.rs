//! `search` and `index`.

use super::{CLEAN, FINDINGS, moment};
use crate::accesses::{Ended, Filter, closed_words};
use crate::error::AuditError;
use crate::index::SearchIndex;
use crate::report::visible;
use crate::rows::{Rows, Sheet, line};
use crate::source::{Entries as _, Source};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{CaseId, ContractId, MemberId, Officer, Purpose, RecordType};
use yiwang_proto::plural::counted;
use yiwang_proto::tag::Tag;

/// Most hits of one page: what a person or a spreadsheet takes at once; the cursor leads on.
const LIMIT_MAX: usize = 10_000;

/// Which exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Which {
    /// Only exchanges of this member, on whichever side
    #[arg(long)]
    pub member: Option<MemberId>,
    /// Only requests of this member
    #[arg(long)]
    pub consumer: Option<MemberId>,
    /// Only requests to this member
    #[arg(long)]
    pub provider: Option<MemberId>,
    /// Only under this contract
    #[arg(long)]
    pub contract: Option<ContractId>,
    /// Only in this case
    #[arg(long)]
    pub case: Option<CaseId>,
    /// Only by this officer, a pseudonym
    #[arg(long)]
    pub officer: Option<Officer>,
    /// Only for this purpose
    #[arg(long)]
    pub purpose: Option<Purpose>,
    /// Only of this record
    #[arg(long)]
    pub record: Option<RecordType>,
    /// Only with this outcome
    #[arg(long, value_enum)]
    pub outcome: Option<Ended>,
    /// Only with this service code, e.g. no_case
    #[arg(long, value_parser = code)]
    pub code: Option<Code>,
    /// Only about the subject with this tag, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = tag)]
    pub tag: Option<Tag>,
    /// Only from this moment on, e.g. 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", alias = "from")]
    pub since: Option<String>,
    /// Only before this moment
    #[arg(long, value_name = "TIME", alias = "to")]
    pub until: Option<String>,
}

impl Which {
    /// Whether anything is filtered.
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// As a filter.
    pub fn filter(&self) -> Result<Filter, AuditError> {
        let (since_ms, until_ms) = (moment(self.since.as_deref())?, moment(self.until.as_deref())?);
        if since_ms.zip(until_ms).is_some_and(|(since, until)| since >= until) {
            let what = "no moment is from `--since` on and before `--until`: exchange the two, or make the span longer";
            return Err(AuditError::Usage(what.to_owned()));
        }
        Ok(Filter {
            member: self.member.clone(),
            consumer: self.consumer.clone(),
            provider: self.provider.clone(),
            contract: self.contract.clone(),
            case: self.case.clone(),
            officer: self.officer.clone(),
            purpose: self.purpose.clone(),
            record: self.record.clone(),
            outcome: self.outcome,
            code: self.code,
            tag: self.tag,
            since_ms,
            until_ms,
            scope: None,
        })
    }
}

fn code(text: &str) -> Result<Code, String> {
    Code::parse(text).ok_or_else(|| "is no service code".to_owned())
}

fn tag(text: &str) -> Result<Tag, String> {
    let fault = || "is not 64 hexadecimal digits".to_owned();
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair =
            std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        if pair.len() == 2 { u8::from_str_radix(pair, 16).ok() } else { None }
    });
    let bytes: Vec<u8> = pairs.collect::<Option<_>>().ok_or_else(fault)?;
    bytes.try_into().map_err(|_| fault())
}

/// Arguments of `search`.
#[derive(Debug, Args)]
pub struct Search {
    /// Ledger folder, or a folder with mirrored entry bundles and hash tiles
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// The index file; by default beside the ledger folder. It is made when it is not there
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Hits of one page, at most 10000
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Where the page before ended, as it said
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<u64>,
    /// How the hits are written
    #[arg(short, long, value_enum, default_value = "table")]
    output: Rows,
}

/// What to do with the index.
#[derive(Debug, Subcommand)]
pub enum Index {
    /// Make the search index again from the entries
    Rebuild(Rebuild),
}

/// Arguments of `index rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Ledger folder, or a folder with mirrored entry bundles and hash tiles
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// The index file; by default beside the ledger folder
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// First hold the index that is there against the ledger, and list what is missing or wrong
    #[arg(long)]
    compare: bool,
}

fn place(index: Option<&PathBuf>, ledger: &Path) -> PathBuf {
    index.cloned().unwrap_or_else(|| SearchIndex::beside(ledger))
}

/// Runs `search`.
pub fn search(args: &Search, out: &mut dyn Write) -> Result<i32, AuditError> {
    if !(1..=LIMIT_MAX).contains(&args.limit) {
        return Err(AuditError::Usage(format!("`--limit` is 1 to {LIMIT_MAX}")));
    }
    let filter = args.which.filter()?;
    let source = Source::open(&args.ledger)?;
    let path = place(args.index.as_ref(), &args.ledger);
    let mut index = SearchIndex::open(&path, &source, u64::MAX)?;
    let page = index.search(&source, &filter, args.cursor, args.limit)?;
    if let Some(why) = index.dropped() {
        eprintln!("note: the index was made again: {}", visible(why));
    }
    if index.is_in_memory() {
        eprintln!("note: the index cannot be written to {} and is made again each time", path.display());
    }
    if let Some(words) = closed_words(page.closed_pages) {
        eprintln!("note: {words}");
    }
    // Behind a cursor there may be no more, whatever the filter.
    if page.hits.is_empty() && args.cursor.is_none() {
        for line in index.unknown(&filter)? {
            eprintln!("note: {}", visible(&line));
        }
    }
    match args.output {
        Rows::Json => writeln!(out, "{}", serde_json::to_string(&page).map_err(std::io::Error::from)?)?,
        Rows::Csv => {
            Sheet::of(&page.hits).csv(out)?;
            if let Some(next) = page.next {
                eprintln!("more: --cursor {next}");
            }
        }
        Rows::Table => {
            for hit in &page.hits {
                writeln!(out, "{}", line(hit))?;
            }
            let more = page.next.map_or_else(String::new, |next| format!(", more: --cursor {next}"));
            writeln!(
                out,
                "{} as of size {}{more}; signatures are not verified by this command, run `verify` first",
                counted(page.hits.len(), "exchange"),
                page.size
            )?;
        }
    }
    Ok(CLEAN)
}

/// Runs `index`.
pub fn index(command: &Index, out: &mut dyn Write) -> Result<i32, AuditError> {
    let Index::Rebuild(args) = command;
    let source = Source::open(&args.ledger)?;
    let path = place(args.index.as_ref(), &args.ledger);
    let mut code = CLEAN;
    if args.compare {
        // What catches up here is compared as it was: rows behind its size are not missing.
        match SearchIndex::open_as_it_is(&path, &source) {
            Ok(index) => {
                let found = index.compare(&source)?;
                for difference in &found.listed {
                    let at = difference.index.map_or_else(|| "whole".to_owned(), |at| format!("entry {at}"));
                    writeln!(out, "difference: {at}: {}", visible(&difference.what))?;
                }
                writeln!(
                    out,
                    "compared {} as of size {}: {}",
                    counted(found.exchanges, "exchange"),
                    found.size,
                    counted(found.total, "difference")
                )?;
                if found.total > 0 {
                    code = FINDINGS;
                }
            }
            Err(error) => {
                writeln!(out, "difference: whole: {}", visible(&error.to_string()))?;
                code = FINDINGS;
            }
        }
    }
    let index = SearchIndex::rebuild(&path, &source)?;
    if index.is_in_memory() {
        let fault = "cannot be written".to_owned();
        return Err(AuditError::Index { path, fault });
    }
    let reflected = counted(index.size()?, "entry");
    writeln!(out, "{} reflects {reflected} of {}", path.display(), source.size())?;
    Ok(code)
}
