//! Three-way reconciliation: what apps received, what the ledger says, what adapters journalled. Each of the
//! three is written by another party, so what one of them hides, another one shows.
//!
//! | finding | what it means |
//! |---|---|
//! | [`Fault::ReleasedUnrecorded`] | an app has an answer, and the ledger has no entry of it |
//! | [`Fault::AcknowledgedLost`] | somebody has a good receipt of an entry, or an adapter's journal says that it had one, and the ledger holds another entry or none |
//! | [`Fault::DoubleEffect`] | one request took effect twice |
//! | [`Fault::HeadsDiffer`] | two heads cannot be of one history |
//! | [`Fault::AnswerUnknown`] | the ledger holds an answer that its adapter never journalled |
//! | [`Fault::Body`] | an app received another body than the one that was signed |
//! | [`Fault::Ledger`] | the ledger itself is not clean |
//!
//! Take the copies in this order: apps' folders and adapters' journals first, the ledger last. Otherwise what
//! happened in between looks lost.

mod folded;
mod heads;
mod journals;
mod received;
mod recorded;

use crate::error::AuditError;
use crate::options::Options;
use crate::report::{Report, visible};
use crate::source::Source;
use bytes::Bytes;
use heads::Heads;
use journals::Journals;
use received::Received;
use recorded::Recorded;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::plural::counted;

/// Findings that are listed one by one; more are only counted.
const LISTED: usize = 1000;
/// Checkpoints whose signatures are remembered: receipts of one batch share theirs.
const CHECKPOINTS: usize = 1024;

/// What is reconciled.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The ledger folder.
    pub ledger: PathBuf,
    /// Folders that apps kept.
    pub received: Vec<PathBuf>,
    /// Journals of adapters that do not run.
    pub journals: Vec<PathBuf>,
    /// Entries that somebody got a verified receipt for: index and exact bytes.
    pub acknowledged: Vec<(u64, Bytes)>,
    /// Checkpoints that somebody kept, as signed notes, each with whose it is.
    pub heads: Vec<(String, Vec<u8>)>,
}

/// What cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The ledger itself is not clean.
    Ledger,
    /// An answer was released and is not recorded.
    ReleasedUnrecorded,
    /// What was acknowledged is not in the ledger.
    AcknowledgedLost,
    /// One request took effect twice.
    DoubleEffect,
    /// Two heads are not of one history.
    HeadsDiffer,
    /// A recorded answer is not in its adapter's journal.
    AnswerUnknown,
    /// A received body is not the signed one.
    Body,
}

impl Fault {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::ReleasedUnrecorded => "released-unrecorded",
            Self::AcknowledgedLost => "acknowledged-lost",
            Self::DoubleEffect => "double-effect",
            Self::HeadsDiffer => "heads-differ",
            Self::AnswerUnknown => "answer-unknown",
            Self::Body => "body",
        }
    }
}

/// One thing that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mismatch {
    /// Which.
    pub fault: Fault,
    /// The entry, where it is about one.
    pub index: Option<u64>,
    /// In words; no personal data.
    pub what: String,
}

/// What the reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// Entries of the ledger.
    pub entries: u64,
    /// Exchanges with an answer that was released.
    pub answered: u64,
    /// Exchanges that apps kept.
    pub received: u64,
    /// Of these, without a response: sent, and nothing came back but perhaps a code.
    pub unanswered: u64,
    /// Of these, denials that a folded entry counts, or will: their statements are in the hub's journal.
    pub folded: u64,
    /// All denials in the hub's journal of folded ones.
    pub folded_denials: u64,
    /// Answers in adapters' journals.
    pub journalled: u64,
    /// Of these, without an entry: made, and never released by the hub.
    pub journalled_unrecorded: u64,
    /// Receipts that were held against the ledger.
    pub receipts: u64,
    /// Heads that were held against the ledger.
    pub heads: u64,
    /// What cannot be, by entry; at most 1,000.
    pub mismatches: Vec<Mismatch>,
    /// All of them.
    pub total: u64,
    /// What the verification of the ledger alone says.
    pub ledger: Report,
}

impl Reconciled {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.total == 0
    }

    /// Whether this was found.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.mismatches.iter().any(|mismatch| mismatch.fault == fault)
    }

    fn add(&mut self, fault: Fault, index: Option<u64>, what: impl Into<String>) {
        self.total += 1;
        if self.mismatches.len() < LISTED {
            self.mismatches.push(Mismatch { fault, index, what: what.into() });
        }
    }

    /// For people.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_text(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "reconciliation: {}", if self.is_clean() { "CLEAN" } else { "NOT CLEAN" })?;
        let (entries, answers) = (counted(self.entries, "entry"), counted(self.answered, "answer"));
        writeln!(out, "ledger: {entries}, {answers} released")?;
        writeln!(
            out,
            "apps: {} kept, {} of them without a response, and folded denials among these: {}",
            counted(self.received, "exchange"),
            self.unanswered,
            self.folded
        )?;
        writeln!(
            out,
            "adapters: {} journalled, {} of them recorded nowhere and so not released",
            counted(self.journalled, "answer"),
            self.journalled_unrecorded
        )?;
        writeln!(out, "receipts {}, heads {}", self.receipts, self.heads)?;
        for mismatch in &self.mismatches {
            let at = mismatch.index.map_or_else(|| "whole".to_owned(), |index| format!("entry {index}"));
            writeln!(out, "mismatch: {at}: {}: {}", mismatch.fault.as_str(), visible(&mismatch.what))?;
        }
        let listed = self.mismatches.len() as u64;
        if self.total > listed {
            writeln!(out, "and {}", counted(self.total - listed, "more mismatch"))?;
        }
        writeln!(out, "mismatches {}", self.total)
    }

    /// As one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, out: &mut dyn Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }
}

/// Reconciles. The ledger's key must be pinned.
///
/// # Errors
/// [`AuditError`] when no key is pinned, or something cannot be read; what does not fit is a mismatch.
pub fn reconcile(sources: &Sources, options: &Options) -> Result<Reconciled, AuditError> {
    let key = options.key.as_ref().ok_or(AuditError::NoKey)?;
    let verifier = CheckpointVerifier::new(key.clone(), options.origin_for(key), CHECKPOINTS);
    let ledger = crate::verify_ledger(&sources.ledger, options)?;
    let mut done = Reconciled::default();
    for finding in &ledger.findings {
        done.add(Fault::Ledger, finding.index, format!("{}: {}", finding.rule, finding.what));
    }
    done.total = done.total.max(ledger.findings_total);
    done.ledger = ledger;
    let mut heads = Heads::default();
    for (whose, note) in &sources.heads {
        heads.note(&verifier, whose, note, &mut done);
    }
    let received = Received::read(&sources.received, &verifier, &mut heads, &mut done)?;
    let journals = Journals::read(&sources.journals, &verifier, &mut heads, &mut done)?;
    let source = Source::open(&sources.ledger)?;
    let recorded = Recorded::read(&source, &mut heads, &mut done)?;
    for (index, entry) in &sources.acknowledged {
        recorded::acknowledged(&source, *index, entry, "a receipt", &mut done)?;
    }
    received.against(&source, &recorded, &mut done)?;
    journals.against(&recorded, &mut done);
    folded::account(&sources.ledger, &received, &mut heads, &mut done)?;
    recorded.against(&journals, &mut done);
    heads.against(&source, &mut done)?;
    done.mismatches.sort();
    Ok(done)
}
