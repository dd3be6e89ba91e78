//! `reconcile`.

use super::{CLEAN, FINDINGS, Output, key, read};
use crate::error::AuditError;
use crate::options::Options;
use crate::reconcile::{Sources, reconcile};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use yiwang_proto::note::MAX_NOTE_BYTES;

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// Ledger folder; copy it after the others
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// A folder that an app kept (`yiwang query record --keep DIR`); may be given many times
    #[arg(long, value_name = "DIR", num_args = 1..)]
    received: Vec<PathBuf>,
    /// The journal of an adapter that does not run; may be given many times
    #[arg(long, value_name = "DIR", num_args = 1..)]
    adapter_journal: Vec<PathBuf>,
    /// A checkpoint that somebody kept; may be given many times
    #[arg(long, value_name = "FILE", num_args = 1..)]
    head: Vec<PathBuf>,
    /// The ledger's key that you pinned: a vkey, or a file that holds one
    #[arg(long, value_name = "VKEY|FILE")]
    key: String,
    /// The ledger's origin; by default the key's name
    #[arg(long)]
    origin: Option<String>,
    /// Threads; 0 = one per processor
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How the result is written
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Runs `reconcile`.
pub fn run(args: &Reconcile, out: &mut dyn Write) -> Result<i32, AuditError> {
    let options = Options {
        key: Some(key(&args.key)?),
        origin: args.origin.clone(),
        threads: args.threads,
        ..Options::default()
    };
    let mut heads = Vec::new();
    for path in &args.head {
        heads.push((format!("`{}`", path.display()), read(path, MAX_NOTE_BYTES)?));
    }
    let sources = Sources {
        ledger: args.ledger.clone(),
        received: args.received.clone(),
        journals: args.adapter_journal.clone(),
        acknowledged: Vec::new(),
        heads,
    };
    let done = reconcile(&sources, &options)?;
    match args.output {
        Output::Text => done.write_text(out)?,
        Output::Json => done.write_json(out)?,
    }
    Ok(if done.is_clean() { CLEAN } else { FINDINGS })
}
