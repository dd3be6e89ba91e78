//! A whole ledger folder, in one pass over its entries.

use crate::error::AuditError;
use crate::files::read_if_there;
use crate::options::Options;
use crate::parallel;
use crate::parse::{Parsed, parse};
use crate::redecide::{Done, Job, run};
use crate::report::{Finding, Report};
use crate::rules::Rule;
use crate::state::{Scope, State};
use crate::tiles::Tiles;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use yiwang_journal::{OpenError, Reader, Scan};
use yiwang_policies::Decider;
use yiwang_proto::batch::Roots;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::merkle::{Hash, hash_to_base64};
use yiwang_proto::note::{MAX_NOTE_BYTES, VerifierKey};
use yiwang_proto::plural::counted;

/// Entries taken at once: enough to keep every thread busy for a while.
const CHUNK_ENTRIES: usize = 4096;
/// Bytes taken at once; bounds memory where entries are large.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// A vkey with its line feed.
const KEY_BYTES: usize = 4096;

type Record = (u64, Bytes, Hash);

/// Verifies a ledger folder: `segments/`, `tile/`, `checkpoint`, and `verifier.key` where no key is pinned.
///
/// # Errors
/// [`AuditError`] when there is nothing to verify, or nothing to verify it with; what is wrong inside of the
/// folder is a finding.
pub fn verify_ledger(folder: &Path, options: &Options) -> Result<Report, AuditError> {
    // First of all: a folder that is none has no key either, and that would be told of instead.
    let segments = segments(folder)?;
    let decider = load_decider()?;
    let mut report = Report::new("ledger");
    let key = ledger_key(folder, options, &mut report)?;
    let origin = options.origin_for(&key).to_owned();
    (report.origin, report.key) = (origin.clone(), key.to_string());
    let older = options.open_older(&key)?;
    let checkpoint = read_checkpoint(folder, options, &key, &mut report)?;
    let reader = match open(&segments) {
        Ok((reader, torn)) => {
            if let Some(torn) = torn {
                report.note(torn);
            }
            reader
        }
        Err(error) => {
            storage_faults(&segments, &mut report);
            if report.findings_total == 0 {
                report.finding(None, Rule::Storage, error.to_string());
            }
            report.note("no entry was verified, because the segments do not open");
            return Ok(report);
        }
    };
    if reader.first() != 0 {
        return Err(AuditError::Pruned(reader.first()));
    }
    let mut pass = Pass {
        decider,
        signed_roots: Arc::default(),
        state: State::new(decider, Scope::Whole, &options.roots).demanding_standings(options.standings),
        tiles: Tiles::new(folder),
        roots: [&checkpoint, &older].into_iter().flatten().map(|head| (head.size, None)).collect(),
        ledger: (origin, key.to_string()),
        threads: options.workers(),
        hashes_only: options.hashes_only,
        without_folded: options.without_folded,
        running: Running::default(),
        size: 0,
        report,
        folder: folder.to_owned(),
    };
    pass.mark();
    let whole = pass.read(&mut reader.scan(0));
    let mut report = pass.finish(whole, checkpoint.as_ref(), older.as_ref());
    storage_faults(&segments, &mut report);
    report.sort();
    Ok(report)
}

/// The rules of this program. They are constant and take longer to compile than a bundle takes to verify.
pub(crate) fn load_decider() -> Result<&'static Decider, AuditError> {
    static RULES: OnceLock<Result<Decider, String>> = OnceLock::new();
    let rules = RULES.get_or_init(|| Decider::builtin().map_err(|error| error.to_string()));
    rules.as_ref().map_err(|error| AuditError::Policies(error.clone()))
}

/// The folder with the segments.
pub(crate) fn segments(folder: &Path) -> Result<PathBuf, AuditError> {
    let path = folder.join("segments");
    match std::fs::read_dir(&path) {
        Ok(_) => Ok(path),
        Err(_) if folder.join("ledger").join("segments").is_dir() => {
            Err(AuditError::NotLedger { folder: folder.to_owned(), ledger: folder.join("ledger") })
        }
        Err(error) => Err(AuditError::Unreadable { path, fault: error.to_string() }),
    }
}

/// Opens the segments for reading; the second value tells of an interrupted batch at their end.
pub(crate) fn open(segments: &Path) -> Result<(Reader, Option<String>), OpenError> {
    let (reader, recovery) = Reader::open_readonly(segments, &yiwang_journal::Options::default())?;
    let torn = recovery.torn.map(|torn| {
        format!("an interrupted batch of {} bytes from entry {} on does not count", torn.bytes, torn.index)
    });
    Ok((reader, torn))
}

fn ledger_key(folder: &Path, options: &Options, report: &mut Report) -> Result<VerifierKey, AuditError> {
    if let Some(key) = &options.key {
        report.key_pinned = true;
        return Ok(key.clone());
    }
    let path = folder.join("verifier.key");
    let bytes = match read_if_there(&path, KEY_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(AuditError::NoKey),
        Err(error) => return Err(AuditError::Unreadable { path, fault: error.to_string() }),
    };
    let text = String::from_utf8_lossy(&bytes);
    let key = VerifierKey::parse(text.trim())
        .map_err(|error| AuditError::Usage(format!("`{}`: {error}", path.display())))?;
    report.note(
        "THE KEY IS NOT PINNED: it was taken from the folder itself, so the whole ledger could be made up; \
         pass the key that you know with `--key`",
    );
    Ok(key)
}

fn read_checkpoint(
    folder: &Path,
    options: &Options,
    key: &VerifierKey,
    report: &mut Report,
) -> Result<Option<Checkpoint>, AuditError> {
    let path = folder.join("checkpoint");
    match read_if_there(&path, MAX_NOTE_BYTES) {
        Ok(Some(bytes)) => match options.open_checkpoint(&bytes, key, report) {
            Ok(checkpoint) => {
                report.size = Some(checkpoint.size);
                report.root = Some(hash_to_base64(&checkpoint.root));
                return Ok(Some(checkpoint));
            }
            Err(fault) => report.finding(None, Rule::Checkpoint, fault.to_string()),
        },
        Ok(None) => {
            report.finding(None, Rule::Checkpoint, "there is no checkpoint: nobody signed this history")
        }
        Err(error) => report.finding(None, Rule::Checkpoint, format!("cannot be read: {error}")),
    }
    Ok(None)
}

/// What the storage layer finds by itself, that is not reported yet.
pub(crate) fn storage_faults(segments: &Path, report: &mut Report) {
    let check = yiwang_journal::fsck(segments);
    for fault in &check.faults {
        let file = fault.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let what = format!("`{file}`, offset {}: {}", fault.offset, fault.what);
        let known = fault.index.is_some()
            && report.findings.iter().any(|old| old.rule == Rule::Storage && old.index == fault.index);
        if !known {
            report.finding(fault.index, Rule::Storage, what);
        }
    }
    if check.more_faults > 0 {
        report.finding(
            None,
            Rule::Storage,
            format!("{} in the segments", counted(check.more_faults, "more fault")),
        );
    }
}

/// One pass over the entries.
struct Pass<'a> {
    decider: &'a Decider,
    signed_roots: Arc<Roots>,
    state: State<'a>,
    tiles: Tiles,
    /// The sizes at which the root is wanted.
    roots: BTreeMap<u64, Option<Hash>>,
    ledger: (String, String),
    threads: usize,
    hashes_only: bool,
    without_folded: bool,
    running: Running,
    size: u64,
    report: Report,
    folder: PathBuf,
}

/// A chunk whose signatures and decisions are still to be done, while the next chunk is read.
#[derive(Default)]
struct Running {
    jobs: Vec<Job>,
    findings: Vec<Finding>,
}

/// The next entries, decoded.
#[derive(Default)]
struct Chunk {
    parsed: Vec<(u64, Result<Parsed, String>)>,
    findings: Vec<Finding>,
    damage: Option<String>,
    ended: bool,
}

impl Pass<'_> {
    /// Reads to the end. True if there was no damage on the way.
    fn read(&mut self, scan: &mut Scan) -> bool {
        loop {
            // Signatures and decisions of the chunk before run on all threads, while this one reads on.
            let jobs = std::mem::take(&mut self.running.jobs);
            let (decider, threads, roots) = (self.decider, self.threads, Arc::clone(&self.signed_roots));
            let (chunk, done) = std::thread::scope(|scope| {
                let work = move || parallel::map(jobs, threads, |job| run(&job, decider, &roots));
                let working = scope.spawn(work);
                let chunk = self.next_chunk(scan);
                // A fault in there must never pass for "verified": it goes on in this thread.
                (chunk, working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            });
            self.settle(done);
            self.apply(chunk.parsed, chunk.findings);
            if let Some(error) = chunk.damage {
                self.finish_running();
                self.report.finding(Some(self.size), Rule::Storage, error);
                self.report.note(format!("entries from {} on were not verified", self.size));
                return false;
            }
            if chunk.ended {
                self.finish_running();
                return true;
            }
        }
    }

    fn next_chunk(&mut self, scan: &mut Scan) -> Chunk {
        let (mut records, mut bytes, mut damage) = (Vec::new(), 0, None);
        while records.len() < CHUNK_ENTRIES && bytes < CHUNK_BYTES {
            match scan.next() {
                Some(Ok(record)) => {
                    bytes += record.1.len();
                    records.push(record);
                }
                Some(Err(error)) => {
                    damage = Some(error.to_string());
                    break;
                }
                None => break,
            }
        }
        let ended = records.is_empty();
        self.grow(&records);
        if self.hashes_only {
            records.clear();
        }
        let parsed = parallel::map(records, self.threads, |(index, bytes, _)| (index, parse(index, &bytes)));
        Chunk { parsed, findings: self.tiles.drain(), damage, ended }
    }

    /// Entries in order through the state machine; what they leave to do waits for the next round.
    fn apply(&mut self, parsed: Vec<(u64, Result<Parsed, String>)>, findings: Vec<Finding>) {
        self.running.findings = findings;
        for (index, parsed) in &parsed {
            match parsed {
                Ok(parsed) => self.state.apply(parsed, (&self.ledger.0, &self.ledger.1)),
                Err(fault) => {
                    self.running.findings.push(Finding::new(Some(*index), Rule::Entry, fault));
                }
            }
        }
        let (found, jobs) = self.state.drain();
        self.running.findings.extend(found);
        self.running.jobs = jobs;
    }

    /// Takes the results of the chunk that was under way.
    fn settle(&mut self, done: Vec<Done>) {
        let mut findings = std::mem::take(&mut self.running.findings);
        for done in done {
            self.take(&done);
            findings.extend(done.findings);
        }
        // Within a chunk in the order of the entries, so that the bounded list holds the first ones.
        findings.sort();
        self.report.add(findings);
    }

    fn finish_running(&mut self) {
        let jobs = std::mem::take(&mut self.running.jobs);
        let done = parallel::map(jobs, self.threads, |job| run(&job, self.decider, &self.signed_roots));
        self.settle(done);
    }

    fn take(&mut self, done: &Done) {
        self.state.done(done);
        self.report.signatures += done.signatures;
    }

    /// Grows the tree, and keeps its root at the sizes that are wanted.
    fn grow(&mut self, chunk: &[Record]) {
        let mut leaves: Vec<Hash> = Vec::with_capacity(chunk.len());
        for (_, _, leaf) in chunk {
            leaves.push(*leaf);
            self.size += 1;
            if self.roots.contains_key(&self.size) {
                self.tiles.append(&std::mem::take(&mut leaves));
                self.mark();
            }
        }
        self.tiles.append(&leaves);
    }

    fn mark(&mut self) {
        let root = self.tiles.root();
        if let Some(wanted) = self.roots.get_mut(&self.size) {
            *wanted = Some(root);
        }
    }

    fn finish(mut self, whole: bool, checkpoint: Option<&Checkpoint>, older: Option<&Checkpoint>) -> Report {
        let mut report = self.report;
        report.entries = self.size;
        let root_at = |size: u64| self.roots.get(&size).copied().flatten();
        if let Some(head) = checkpoint {
            match root_at(head.size) {
                Some(root) if root == head.root => report.after_checkpoint = self.size - head.size,
                Some(_) => {
                    report.finding(None, Rule::Root, "the entries give another root than the checkpoint")
                }
                None if whole => {
                    let covered = counted(head.size, "entry");
                    let what = format!("the checkpoint covers {covered}, there are {}", self.size);
                    report.finding(None, Rule::Root, what);
                }
                None => {}
            }
        }
        if report.after_checkpoint > 0 {
            report.note(format!(
                "{} after the checkpoint: no head reaches so far yet",
                counted(report.after_checkpoint, "entry")
            ));
        }
        if let Some(head) = older {
            match root_at(head.size) {
                Some(root) if root == head.root => report.continues = Some(head.size),
                Some(_) => {
                    let what = format!(
                        "your older checkpoint is not of the ledger's first {}: a fork",
                        counted(head.size, "entry")
                    );
                    report.finding(None, Rule::Older, what);
                }
                None if whole => {
                    let what = format!(
                        "your older checkpoint covers {}, there are {}: entries were cut",
                        counted(head.size, "entry"),
                        self.size
                    );
                    report.finding(None, Rule::Older, what);
                }
                None => report.note("the older checkpoint could not be compared, because of the damage"),
            }
        }
        report.add(self.tiles.drain());
        if whole {
            self.tiles.finish(&mut report);
        }
        if self.hashes_only {
            report.note("checksums, tree, tiles and heads only: no signature, entry or decision was judged");
            return report;
        }
        if whole {
            let how = (self.threads, self.without_folded);
            crate::folded::check(&self.folder, &self.state, how, &mut report);
        }
        self.state.finish(&mut report);
        report.note(
            "not checked, because the ledger does not hold it: rows, arguments, rates, bodies; \
             not checked by this version: heads inside statements",
        );
        report
    }
}
