//! `accesses`.

use super::search::Which;
use super::{CLEAN, FINDINGS, read};
use crate::error::AuditError;
use crate::report::visible;
use crate::rows::{Rows, Sheet, line};
use crate::sightings::{Person, Sightings, sightings};
use clap::Args;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use yiwang_proto::document::from_base64;
use yiwang_proto::limits::SUBJECT_MAX;
use yiwang_proto::tag::TagKey;

/// Bytes of a key's file: 32 in base64, and a line's end.
const KEY_MAX: usize = 256;

/// Arguments of `accesses`.
#[derive(Debug, Args)]
pub struct Accesses {
    /// Ledger folder, or a folder with mirrored entry bundles and hash tiles
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// The journal of an adapter that does not run, or a copy; may be given many times. Pages of batches with more than 64
    /// persons are opened with it
    #[arg(long, value_name = "DIR", num_args = 1..)]
    adapter_journal: Vec<PathBuf>,
    /// A file with the person's identifier in one line, `-` for standard input; instead of `--tag`
    #[arg(long, value_name = "FILE", requires = "tag_key", conflicts_with = "tag")]
    subject: Option<PathBuf>,
    /// The member's key of subject tags, `tags.key` in its folder
    #[arg(long, value_name = "FILE", requires = "subject")]
    tag_key: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// How the rows are written
    #[arg(short, long, value_enum, default_value = "table")]
    output: Rows,
}

/// Runs `accesses`.
pub fn run(args: &Accesses, out: &mut dyn Write) -> Result<i32, AuditError> {
    let filter = args.which.filter()?;
    let person = match (filter.tag, &args.subject, &args.tag_key) {
        (Some(tag), _, _) => Person::Tag(tag),
        (None, Some(subject), Some(key)) => {
            Person::Subject { key: tag_key(key)?, subject: identifier(subject)? }
        }
        _ => {
            let what = "say who: `--tag HEX`, or `--subject FILE` with the member's `--tag-key FILE`";
            return Err(AuditError::Usage(what.to_owned()));
        }
    };
    let found = sightings(&args.ledger, &args.adapter_journal, &filter, &person)?;
    match args.output {
        Rows::Json => writeln!(out, "{}", serde_json::to_string(&found).map_err(std::io::Error::from)?)?,
        Rows::Csv => {
            sheet(&found).csv(out)?;
            for line in remarks(&found) {
                eprintln!("{line}");
            }
        }
        Rows::Table => {
            for hit in &found.hits {
                writeln!(out, "{} | tag in the {}", line(&hit.access), hit.found_in.as_str())?;
            }
            for line in remarks(&found) {
                writeln!(out, "{line}")?;
            }
            writeln!(
                out,
                "{} exchanges as of size {}, {} pages of batches opened; signatures of the ledger are not verified by \
                 this command, run `verify` first",
                found.hits.len(),
                found.size,
                found.opened
            )?;
        }
    }
    Ok(if found.findings_total == 0 { CLEAN } else { FINDINGS })
}

fn sheet(found: &Sightings) -> Sheet {
    let rows: Vec<_> = found.hits.iter().map(|hit| hit.access.clone()).collect();
    let mut sheet = Sheet::of(&rows);
    sheet.columns.push("found_in");
    for (row, hit) in sheet.rows.iter_mut().zip(&found.hits) {
        row.push(hit.found_in.as_str().into());
    }
    sheet
}

/// What the rows do not cover.
fn remarks(found: &Sightings) -> Vec<String> {
    let findings = found.findings.iter().map(|finding| {
        format!("finding: entry {}: {}: {}", finding.index, finding.fault.as_str(), visible(&finding.what))
    });
    let more = found.findings_total.saturating_sub(found.findings.len() as u64);
    let more = (more > 0).then(|| format!("and {more} more findings"));
    let closed = found.closed.iter().map(|closed| {
        visible(&format!(
            "not looked into: {} pages of batches by `{}`, entries {} to {}: give the journal of its adapter with \
             `--adapter-journal`",
            closed.pages, closed.provider, closed.first, closed.last
        ))
    });
    findings.chain(more).chain(closed).collect()
}

fn tag_key(path: &Path) -> Result<TagKey, AuditError> {
    let bytes = read(path, KEY_MAX)?;
    let secret = std::str::from_utf8(&bytes).ok().and_then(|text| from_base64(text.trim()));
    let secret = secret.and_then(|secret| <[u8; 32]>::try_from(secret).ok());
    let what = || {
        AuditError::Usage(format!("`{}` holds no key of subject tags: 32 bytes in base64", path.display()))
    };
    secret.map(TagKey::new).ok_or_else(what)
}

/// An identifier does not belong on a command line, where every user of the machine sees it.
fn identifier(path: &Path) -> Result<String, AuditError> {
    let limit = SUBJECT_MAX + 2;
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let most = u64::try_from(limit + 1).unwrap_or(u64::MAX);
        let unreadable = |error: std::io::Error| AuditError::Unreadable {
            path: path.to_owned(),
            fault: error.to_string(),
        };
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(unreadable)?;
        bytes
    } else {
        read(path, limit)?
    };
    let text = String::from_utf8(bytes).unwrap_or_default().trim().to_owned();
    if (1..=SUBJECT_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(AuditError::Usage(format!(
        "`{}` holds no identifier: one line of 1 to {SUBJECT_MAX} bytes",
        path.display()
    )))
}
