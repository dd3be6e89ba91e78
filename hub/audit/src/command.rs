//! The commands, for the program `yiwang-audit` and for others that mount them.

mod accesses;
mod reconcile;
mod report;
mod search;

use crate::error::AuditError;
use crate::files::read_at_most;
use crate::options::Options;
use crate::report::Report;
use crate::show::{show, show_folded, show_text};
use clap::{Args, Subcommand, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};
use yiwang_proto::evidence::BUNDLE_MAX;
use yiwang_proto::ids::MemberId;
use yiwang_proto::keys::PublicKey;
use yiwang_proto::limits::ENTRY_MAX;
use yiwang_proto::note::{MAX_NOTE_BYTES, VerifierKey};
use yiwang_proto::time::parse_rfc3339;
use yiwang_proto::tlog_proof::MAX_PROOF_BYTES;
use yiwang_proto::witness::{POLICY_MAX, WitnessPolicy};

/// Exit code when nothing is wrong.
pub const CLEAN: i32 = 0;
/// Exit code when something is wrong in what was read.
pub const FINDINGS: i32 = 1;
/// Exit code when nothing could be read or the command line does not hold.
pub const USAGE: i32 = 2;
/// Exit code when what was found cannot be written: its disk is full, or nobody reads on.
pub const UNWRITTEN: i32 = 3;

/// What the auditor wants to know.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify a ledger folder, an evidence bundle, or a proof file with its entry
    Verify(Verify),
    /// Check the files of a ledger folder, without signatures
    Fsck(Fsck),
    /// Show one entry
    Show(Show),
    /// List who asked what of whom, under which contract and case; or look for patterns
    Report(report::Report),
    /// List who saw a person, also in pages of batches, which adapters' journals open
    Accesses(accesses::Accesses),
    /// Search exchanges through an index that is made when it is not there
    Search(search::Search),
    /// Hold what apps received, the ledger and adapters' journals against each other
    Reconcile(reconcile::Reconcile),
    /// The search index
    #[command(subcommand)]
    Index(search::Index),
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One line of JSON.
    Json,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Ledger folder (`segments/`, `tile/`, `checkpoint`)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["evidence", "proof"], required_unless_present_any = ["evidence", "proof"])]
    ledger: Option<PathBuf>,
    /// Evidence bundle (JSON)
    #[arg(long, value_name = "FILE", conflicts_with = "proof")]
    evidence: Option<PathBuf>,
    /// Proof file (`.tlog-proof`); needs `--entry`
    #[arg(long, value_name = "FILE", requires = "entry")]
    proof: Option<PathBuf>,
    /// The exact bytes of the entry that the proof file is about
    #[arg(long, value_name = "FILE", requires = "proof")]
    entry: Option<PathBuf>,
    /// The ledger's key that you pinned: a vkey, or a file that holds one
    #[arg(long, value_name = "VKEY|FILE")]
    key: Option<String>,
    /// The ledger's origin; by default the key's name
    #[arg(long)]
    origin: Option<String>,
    /// A checkpoint that you kept: the ledger must continue it
    #[arg(long, value_name = "FILE")]
    older: Option<PathBuf>,
    /// A member's root that you know from elsewhere; may be given many times, also for one member: every root that its
    /// cards ever named must be among them
    #[arg(long, value_name = "MEMBER=BASE64")]
    root: Vec<String>,
    /// Only checksums, tree, tiles and heads of a ledger: quick, and no signature or decision is judged
    #[arg(long, requires = "ledger")]
    hashes_only: bool,
    /// The folder comes without the hub's journal of folded denials (`folded/`): then their counts and roots are not
    /// computed again, which is said
    #[arg(long, requires = "ledger")]
    without_folded: bool,
    /// An answer without standings of both parties is a finding also where the ledger has none of anybody, as one of before
    /// standings has: else a hub could keep all of them back
    #[arg(long, conflicts_with_all = ["proof", "hashes_only"])]
    standings: bool,
    /// Which witnesses must have cosigned the checkpoint (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Threads; 0 = one per processor
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Arguments of `fsck`.
#[derive(Debug, Args)]
pub struct Fsck {
    /// Ledger folder
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Ledger folder
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// Index of the entry, from 0
    index: u64,
    /// For an entry that folds denials: which of their statements, from 0, with its proof
    #[arg(long, value_name = "N")]
    statement: Option<u64>,
    /// How the entry is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Runs a command. Results go to `out`, what went wrong to standard error; returns the exit code:
/// [`CLEAN`], [`FINDINGS`], [`USAGE`] or [`UNWRITTEN`].
pub fn run(command: &Command, out: &mut dyn Write) -> i32 {
    let result = match command {
        Command::Verify(args) => verify(args).and_then(|report| finish(&report, args.output, out)),
        Command::Fsck(args) => crate::fsck(&args.ledger).and_then(|report| finish(&report, args.output, out)),
        Command::Show(args) => show_entry(args, out),
        Command::Report(args) => report::run(args, out),
        Command::Accesses(args) => accesses::run(args, out),
        Command::Reconcile(args) => reconcile::run(args, out),
        Command::Search(args) => search::search(args, out),
        Command::Index(command) => search::index(command, out),
    };
    let flushed = out.flush().map_err(AuditError::from);
    result.and_then(|code| flushed.map(|()| code)).unwrap_or_else(|error| {
        // A reader that went away, as `head` does, needs no message.
        let gone = matches!(&error, AuditError::Output(io) if io.kind() == std::io::ErrorKind::BrokenPipe);
        if !gone {
            eprintln!("error: {}", crate::report::visible(&error.to_string()));
        }
        if matches!(error, AuditError::Output(_)) { UNWRITTEN } else { USAGE }
    })
}

fn finish(report: &Report, output: Output, out: &mut dyn Write) -> Result<i32, AuditError> {
    match output {
        Output::Text => report.write_text(out)?,
        Output::Json => report.write_json(out)?,
    }
    Ok(report.exit_code())
}

fn verify(args: &Verify) -> Result<Report, AuditError> {
    let options = options(args)?;
    match (&args.ledger, &args.evidence, &args.proof, &args.entry) {
        (Some(folder), _, _, _) => crate::verify_ledger(folder, &options),
        (_, Some(bundle), _, _) => crate::verify_evidence(&read(bundle, BUNDLE_MAX)?, &options),
        (_, _, Some(proof), Some(entry)) => {
            crate::verify_proof(&read(proof, MAX_PROOF_BYTES)?, &read(entry, ENTRY_MAX)?, &options)
        }
        _ => Err(AuditError::Usage(
            "give one of `--ledger`, `--evidence`, `--proof` with `--entry`".to_owned(),
        )),
    }
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, AuditError> {
    read_at_most(path, limit)
        .map_err(|error| AuditError::Unreadable { path: path.to_owned(), fault: error.to_string() })
}

fn options(args: &Verify) -> Result<Options, AuditError> {
    let key = args.key.as_deref().map(key).transpose()?;
    let older = args.older.as_deref().map(|path| read(path, MAX_NOTE_BYTES)).transpose()?;
    let roots = args.root.iter().map(|text| root(text)).collect::<Result<_, _>>()?;
    let policy = args.policy.as_deref().map(policy).transpose()?;
    Ok(Options {
        key,
        origin: args.origin.clone(),
        older,
        threads: args.threads,
        hashes_only: args.hashes_only,
        without_folded: args.without_folded,
        standings: args.standings,
        roots,
        policy,
    })
}

fn policy(path: &Path) -> Result<WitnessPolicy, AuditError> {
    WitnessPolicy::parse(&read(path, POLICY_MAX)?).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
        AuditError::Usage(faults.join("\n"))
    })
}

/// A vkey, or a file that holds one.
fn key(text: &str) -> Result<VerifierKey, AuditError> {
    let fault = match VerifierKey::parse(text.trim()) {
        Ok(key) => return Ok(key),
        Err(fault) => fault,
    };
    let path = Path::new(text);
    // Who mistyped a key is not helped by hearing of files.
    if text.matches('+').count() >= 2 && !path.exists() {
        let name = text.split('+').next().unwrap_or_default();
        return Err(AuditError::Usage(format!(
            "not a verifier key, nor a file: `{name}+...`: {fault}; copy the whole line of the ledger's `verifier.key`, or \
             name a file that holds it"
        )));
    }
    let bytes = read(path, MAX_NOTE_BYTES)?;
    VerifierKey::parse(String::from_utf8_lossy(&bytes).trim())
        .map_err(|error| AuditError::Usage(format!("`{text}` holds no key: {error}")))
}

fn root(text: &str) -> Result<(MemberId, PublicKey), AuditError> {
    let fault = || AuditError::Usage(format!("`{text}` is no root: write `member=base64 of its root key`"));
    let (member, key) = text.split_once('=').ok_or_else(fault)?;
    let member = MemberId::parse(member).map_err(|_| fault())?;
    Ok((member, PublicKey::from_base64(key).map_err(|_| fault())?))
}

fn show_entry(args: &Show, out: &mut dyn Write) -> Result<i32, AuditError> {
    let value = match args.statement {
        None => show(&args.ledger, args.index)?,
        Some(place) => show_folded(&args.ledger, args.index, place)?,
    };
    let fails = value.get("holds").is_some_and(|holds| holds == false);
    match args.output {
        Output::Text => write!(out, "{}", show_text(&value))?,
        Output::Json => writeln!(out, "{value}")?,
    }
    Ok(if fails { FINDINGS } else { CLEAN })
}

/// Milliseconds of a time on the command line.
fn moment(text: Option<&str>) -> Result<Option<i64>, AuditError> {
    text.map(parse_rfc3339).transpose().map_err(|error| AuditError::Usage(error.to_string()))
}
