//! `accesses`.

use super::search::Which;
use super::{CLEAN, FINDINGS, read};
use crate::error::AuditError;
use crate::named::unknown;
use crate::report::visible;
use crate::rows::{Rows, Sheet, line};
use crate::sightings::{Missing, Person, Sightings, sightings};
use crate::source::Source;
use clap::Args;
use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use yiwang_proto::document::from_base64;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::SUBJECT_MAX;
use yiwang_proto::plural::counted;
use yiwang_proto::sha256;
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
    /// A member's key of subject tags, `tags.key` in its folder; may be given many times. What a member asked or answered is
    /// found with its key only
    #[arg(long, value_name = "MEMBER=FILE", requires = "subject", value_parser = key_file)]
    tag_key: Vec<(MemberId, PathBuf)>,
    #[command(flatten)]
    which: Which,
    /// How the rows are written
    #[arg(short, long, value_enum, default_value = "table")]
    output: Rows,
}

/// Runs `accesses`.
pub fn run(args: &Accesses, out: &mut dyn Write) -> Result<i32, AuditError> {
    let filter = args.which.filter()?;
    let person = match (filter.tag, &args.subject) {
        (Some(tag), _) => Person::Tag(tag),
        (None, Some(subject)) => {
            Person::Subject { keys: tag_keys(&args.tag_key)?, subject: identifier(subject)? }
        }
        _ => {
            let what = "say who: `--tag HEX`, or `--subject FILE` with `--tag-key MEMBER=FILE` for each member whose key is there";
            return Err(AuditError::Usage(what.to_owned()));
        }
    };
    let found = sightings(&args.ledger, &args.adapter_journal, &filter, &person)?;
    if found.hits.is_empty() {
        for line in unknown(&Source::open(&args.ledger)?, &filter)? {
            eprintln!("note: {}", visible(&line));
        }
    }
    if let Person::Subject { keys, .. } = &person
        && found.hits.is_empty()
    {
        // Any 32 bytes are a key, and tags of another one are nowhere.
        let members: Vec<String> = keys.keys().map(|member| format!("`{member}`")).collect();
        eprintln!(
            "note: nothing was found, and a key that is not its member's finds nothing either: compare the files with those of {}",
            members.join(", ")
        );
    }
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
                "{} as of size {}, {} of batches opened; signatures of the ledger are not verified by this command, run \
                 `verify` first",
                counted(found.hits.len(), "exchange"),
                found.size,
                counted(found.opened, "page")
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
    let more = (more > 0).then(|| format!("and {}", counted(more, "more finding")));
    let closed = found.closed.iter().map(|closed| {
        let provider = &closed.provider;
        let next = match closed.missing {
            Missing::Journal => "give the journal of its adapter with `--adapter-journal`".to_owned(),
            Missing::Key => {
                format!("give its key with `--tag-key {provider}=FILE`, and the journal of its adapter")
            }
        };
        visible(&format!(
            "not looked into: {} of batches by `{provider}`, entries {} to {}: {next}",
            counted(closed.pages, "page"),
            closed.first,
            closed.last
        ))
    });
    let without_key = (found.without_key > 0).then(|| {
        format!(
            "not looked into: {} between members whose keys were not given; add `--tag-key MEMBER=FILE`",
            counted(found.without_key, "exchange")
        )
    });
    findings.chain(more).chain(closed).chain(without_key).collect()
}

/// Whose key, and its file.
fn key_file(text: &str) -> Result<(MemberId, PathBuf), String> {
    let (member, file) =
        text.split_once('=').ok_or("say whose key it is: MEMBER=FILE, such as police=tags.key")?;
    let member = MemberId::parse(member).map_err(|error| format!("the name before `=`: {error}"))?;
    Ok((member, PathBuf::from(file)))
}

/// Members' keys. No two members have the same one, and of two files for one member only one would count.
fn tag_keys(given: &[(MemberId, PathBuf)]) -> Result<BTreeMap<MemberId, TagKey>, AuditError> {
    let (mut keys, mut owners) = (BTreeMap::new(), BTreeMap::new());
    for (member, file) in given {
        let secret = tag_secret(file)?;
        if let Some(other) = owners.insert(sha256(&secret), member).filter(|other| *other != member) {
            return Err(AuditError::Usage(format!(
                "`{}` is given as the key of `{member}` and holds the one that is given for `{other}`: no two members have the \
                 same; take `tags.key` out of each member's own folder",
                file.display()
            )));
        }
        if keys.insert(member.clone(), TagKey::new(secret)).is_some() {
            return Err(AuditError::Usage(format!("`--tag-key` is given twice for `{member}`: keep one")));
        }
    }
    Ok(keys)
}

fn tag_secret(path: &Path) -> Result<[u8; 32], AuditError> {
    let bytes = read(path, KEY_MAX)?;
    let secret = std::str::from_utf8(&bytes).ok().and_then(|text| from_base64(text.trim()));
    let secret = secret.and_then(|secret| <[u8; 32]>::try_from(secret).ok());
    let what = || {
        AuditError::Usage(format!("`{}` holds no key of subject tags: 32 bytes in base64", path.display()))
    };
    secret.ok_or_else(what)
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
