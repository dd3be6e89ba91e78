//! Folded denials: the ledger holds their counts and roots, the hub's journal (`folded/` beside the segments) their
//! statements. Where that journal is at hand, counts and roots are computed again, and each statement is looked at.

use crate::error::AuditError;
use crate::ledger::{open, segments};
use crate::parallel;
use crate::report::{Finding, Report};
use crate::rules::Rule;
use crate::state::{State, unkept_fault};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::Path;
use yiwang_journal::{Options, Reader};
use yiwang_proto::Digest;
use yiwang_proto::clause::is_clause;
use yiwang_proto::codes::Code;
use yiwang_proto::delegation::{Delegation, Role};
use yiwang_proto::entry::{Kind, decode};
use yiwang_proto::envelope::payload_type;
use yiwang_proto::folded::{Denied, FOLDER, Key, MINUTE_MS, RECORD_MAX, Record, Said, Statement, key_of};
use yiwang_proto::merkle::{Frontier, Hash};
use yiwang_proto::plural::counted;
use yiwang_proto::request::{APP_SIGNS, OFFICER_SIGNS, OfficerBy};
use yiwang_proto::time::format_rfc3339;

/// Records taken at once: enough to keep every thread busy for a while.
const CHUNK: usize = 4096;

/// A folded entry that is well-formed.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub index: u64,
    pub key: Key,
    pub minute_ms: i64,
    pub count: u64,
    /// None where the entry has none.
    pub root: Option<Hash>,
    pub unkept: u64,
}

/// The hub's journal of folded denials, if it is at hand.
pub(crate) fn journal(folder: &Path) -> Result<Option<Reader>, AuditError> {
    let path = folder.join(FOLDER);
    if !path.exists() {
        return Ok(None);
    }
    let options = Options { max_record: RECORD_MAX, ..Options::default() };
    match Reader::open_readonly(&path, &options) {
        Ok((reader, _)) => Ok(Some(reader)),
        Err(error) => Err(AuditError::Unreadable { path, fault: error.to_string() }),
    }
}

/// What came of the folded denials of a ledger.
pub(crate) fn check(
    folder: &Path,
    state: &State<'_>,
    (threads, without): (usize, bool),
    report: &mut Report,
) {
    let folds = state.folds();
    // Counts are the hub's word: a sum that went round would make them none.
    let denials = folds.iter().fold(0_u64, |sum, fold| sum.saturating_add(fold.count));
    let unkept = folds.iter().fold(0_u64, |sum, fold| sum.saturating_add(fold.unkept));
    if unkept > 0 {
        let unkept = counted(unkept, "denial");
        report.note(format!("{unkept} only counted: the hub could not keep the statements"));
    }
    let reader = match journal(folder) {
        Ok(Some(reader)) => reader,
        Ok(None) if denials == 0 => return,
        Ok(None) => {
            let what = format!(
                "{} folded into {}, and the hub's journal of their statements (`{FOLDER}/`) is not at hand: counts and roots \
                 were not computed again",
                counted(denials, "denial"),
                counted(folds.len(), "entry")
            );
            // A hub could fold what it likes if the statements might just be missing.
            return if without { report.note(what) } else { report.finding(None, Rule::Folded, what) };
        }
        Err(error) => return report.finding(None, Rule::Folded, error.to_string()),
    };
    let mut pass = Pass::over(state);
    let scan = reader.scan(reader.first());
    let records = scan.map(|item| item.map(|(at, bytes, _)| (at, bytes)).map_err(|error| error.to_string()));
    let mut findings = pass.read(records, threads);
    findings.extend(pass.missing());
    findings.extend(pass.left());
    report.signatures += pass.signatures;
    report.note(format!(
        "folded denials: {} of {} recomputed from the hub's journal",
        counted(pass.matched, "statement"),
        counted(folds.iter().filter(|fold| fold.count > 0).count(), "entry")
    ));
    if pass.unfolded > 0 {
        report.note(format!(
            "{} in the hub's journal that no entry counts yet",
            counted(pass.unfolded, "denial")
        ));
    }
    report.add(findings);
}

/// What is found where these entries are a ledger and these records its hub's journal of folded denials. For fuzzers,
/// which make both up and write no files.
///
/// # Errors
/// [`AuditError`] where the verifier's own rules do not load.
#[cfg(feature = "fixture")]
pub fn fold_parts(entries: &[Bytes], records: &[Bytes]) -> Result<Vec<Finding>, AuditError> {
    let mut state = State::new(crate::ledger::load_decider()?, crate::state::Scope::Whole, &[]);
    for (index, bytes) in (0..).zip(entries) {
        if let Ok(parsed) = crate::parse::parse(index, bytes) {
            state.apply(&parsed, ("", ""));
        }
    }
    let mut pass = Pass::over(&state);
    let records = (0..).zip(records).map(|(at, bytes)| Ok((at, bytes.clone())));
    let mut findings = pass.read(records, 1);
    findings.extend(pass.missing());
    findings.extend(pass.left());
    Ok(findings)
}

/// Entries of one kind and minute that still take statements, and the tree of the first of them.
#[derive(Default)]
struct Waiting {
    folds: VecDeque<usize>,
    tree: Frontier,
}

struct Pass<'a> {
    waiting: HashMap<(i64, Key), Waiting>,
    folds: &'a [Fold],
    state: &'a State<'a>,
    matched: u64,
    unfolded: u64,
    signatures: u64,
    /// Digests of the statements whose ids count as used: 32 bytes of each of them.
    used: HashSet<Digest>,
    /// Denials that no entry counts although their minute is long over.
    left: BTreeMap<(i64, Key), u64>,
}

/// How long after its minute a denial may have no entry: the hub enters a minute within seconds, and as soon as it
/// starts again.
const ENTERED_WITHIN_MS: i64 = 120_000;

/// A record taken apart on a thread of its own.
type Looked = Result<Option<(Hash, Statement, Option<String>)>, String>;

impl<'a> Pass<'a> {
    fn over(state: &'a State<'a>) -> Self {
        let mut waiting = HashMap::<_, Waiting>::new();
        for (at, fold) in state.folds().iter().enumerate().filter(|(_, fold)| fold.count > 0) {
            waiting.entry((fold.minute_ms, fold.key.clone())).or_default().folds.push_back(at);
        }
        Self {
            waiting,
            folds: state.folds(),
            state,
            matched: 0,
            unfolded: 0,
            signatures: 0,
            used: HashSet::new(),
            left: BTreeMap::new(),
        }
    }

    fn read(
        &mut self,
        mut records: impl Iterator<Item = Result<(u64, Bytes), String>>,
        threads: usize,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        loop {
            let mut run = Vec::new();
            let mut damage = None;
            while run.len() < CHUNK {
                match records.next() {
                    Some(Ok(record)) => run.push(record),
                    Some(Err(error)) => {
                        damage = Some(error);
                        break;
                    }
                    None => break,
                }
            }
            let ended = run.is_empty();
            let state = self.state;
            for (at, looked) in parallel::map(run, threads, |(at, bytes)| (at, look(state, &bytes))) {
                findings.extend(self.take(at, looked));
            }
            if let Some(damage) = damage {
                findings.push(Finding::new(None, Rule::Folded, format!("the hub's journal: {damage}")));
                return findings;
            }
            if ended {
                return findings;
            }
        }
    }

    fn take(&mut self, at: u64, looked: Looked) -> Vec<Finding> {
        let finding =
            |index, what: String| Finding::new(index, Rule::Folded, format!("folded record {at}: {what}"));
        let (leaf, statement, fault) = match looked {
            Ok(Some(looked)) => looked,
            Ok(None) => return Vec::new(),
            Err(what) => return vec![finding(None, what)],
        };
        self.signatures += u64::from(statement.request.is_some());
        let mut findings = Vec::new();
        // What is refused before its id counts, or because it does already, may come any number of times.
        let code = statement.key.code;
        if let Some((signed, _)) = &statement.request
            && code != Code::Replayed
            && !code.is_before_use()
            && !self.used.insert(signed.digest())
        {
            findings.push(finding(None, "the same signed statement was folded before".to_owned()));
        }
        let place = (statement.minute_ms, statement.key);
        let waiting = self.waiting.get_mut(&place);
        let next = waiting.and_then(|waiting| {
            waiting.folds.front().and_then(|at| self.folds.get(*at)).map(|fold| (waiting, fold))
        });
        let Some((waiting, fold)) = next else {
            self.unfolded += 1;
            let over_ms = place.0.saturating_add(MINUTE_MS + ENTERED_WITHIN_MS);
            if over_ms < self.state.time_ms() {
                *self.left.entry(place).or_default() += 1;
            }
            findings.extend(fault.map(|what| finding(None, what)));
            return findings;
        };
        if let Some(what) = fault {
            findings.push(finding(Some(fold.index), what));
        }
        self.matched += 1;
        waiting.tree.push(leaf);
        if waiting.tree.size() == fold.count {
            if Some(waiting.tree.root()) != fold.root {
                let what = "the statements in the hub's journal give another root than the entry";
                findings.push(Finding::new(Some(fold.index), Rule::Folded, what));
            }
            waiting.tree = Frontier::new();
            waiting.folds.pop_front();
        }
        findings
    }

    /// Statements that no entry counts.
    fn left(&self) -> impl Iterator<Item = Finding> {
        self.left.iter().map(|((minute_ms, key), count)| {
            let app = key.app.as_ref().map_or_else(String::new, |app| format!("app `{app}` of "));
            let what = format!(
                "no entry counts {count} denials (`{}`) of {app}`{}` in the minute of {}, which the hub's journal holds",
                key.code.as_str(),
                key.consumer,
                format_rfc3339(*minute_ms)
            );
            Finding::new(None, Rule::Folded, what)
        })
    }

    /// Entries that count statements that are not there, in their order: two looks at one ledger say the same.
    fn missing(&self) -> Vec<Finding> {
        let missing = self.waiting.values().flat_map(|waiting| {
            waiting.folds.iter().enumerate().filter_map(|(nth, at)| {
                let fold = self.folds.get(*at)?;
                let held = if nth == 0 { waiting.tree.size() } else { 0 };
                let what =
                    format!("counts {} denials, and the hub's journal holds {held} of them", fold.count);
                Some(Finding::new(Some(fold.index), Rule::Folded, what))
            })
        });
        let mut missing: Vec<_> = missing.collect();
        missing.sort();
        missing
    }
}

fn look(state: &State<'_>, bytes: &Bytes) -> Looked {
    let Said::Denied(denied) = Record::read(bytes).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let statement = denied.open().map_err(|error| error.to_string())?;
    let fault = if is_clause(&statement.exchange.clause) {
        let made_up = statement.request.as_ref().and_then(|(_, request)| state.made_up(request));
        let made_up = made_up.map(|what| format!("is kept, though it names {what}: its digest would do"));
        objection(&statement, |digest| state.delegation_of(digest)).or(made_up)
    } else {
        Some("its clause breaks the grammar of clauses".to_owned())
    };
    Ok(Some((denied.leaf(), statement, fault)))
}

/// What is wrong with a statement's signature; where there is only a digest, with what is said of it.
fn objection<'a>(
    statement: &Statement,
    delegation: impl Fn(&Digest) -> Option<&'a Delegation>,
) -> Option<String> {
    let Some((signed, request)) = &statement.request else {
        return unkept_fault(&statement.exchange, statement.key.code);
    };
    let Some(app) = delegation(&request.delegation_digest) else {
        return Some("names a delegation that no entry carries".to_owned());
    };
    if app.role != Role::App || app.member != request.consumer || app.name != request.app {
        return Some("names a delegation of somebody else".to_owned());
    }
    let whose = format!("app `{}` of `{}`", request.app, request.consumer);
    if let Err(error) = signed.verify_at(APP_SIGNS, payload_type::REQUEST, &app.key) {
        return Some(format!("signature of {whose}: {error}"));
    }
    // An officer's second signature is kept only where it was good.
    let OfficerBy::Signature(digest) = request.officer_by else { return None };
    if signed.signature_count() <= OFFICER_SIGNS {
        return None;
    }
    let Some(officer) = delegation(&digest) else {
        return Some("carries a second signature under a delegation that no entry carries".to_owned());
    };
    let good = signed.verify_at(OFFICER_SIGNS, payload_type::REQUEST, &officer.key);
    good.err().map(|error| format!("signature of officer `{}`: {error}", officer.name))
}

/// Shows every denial in the hub's journal, with the digest of its request; how many there are.
pub(crate) fn each(
    folder: &Path,
    take: &mut dyn FnMut(u64, Option<Digest>, &Statement),
) -> Result<u64, AuditError> {
    let Some(reader) = journal(folder)? else { return Ok(0) };
    let mut count = 0;
    for item in reader.scan(reader.first()) {
        // Damage is a finding of the verification already.
        let Ok((at, bytes, _)) = item else { break };
        let Ok(Said::Denied(denied)) = Record::read(&bytes) else { continue };
        let Ok(statement) = denied.open() else { continue };
        let digest = match &statement.request {
            Some((signed, _)) => Some(signed.digest()),
            None => statement.exchange.request_digest.as_ref().try_into().ok(),
        };
        count += 1;
        take(at, digest, &statement);
    }
    Ok(count)
}

/// One folded statement with its proof.
#[derive(Debug, Clone)]
pub(crate) struct Proved {
    /// The entry that it would have been.
    pub denied: Denied,
    /// Inclusion proof from the leaf to the root.
    pub proof: Vec<Hash>,
    /// The root that all statements of the entry give.
    pub root: Hash,
}

/// Finds the statement at a place in a folded entry.
pub(crate) fn prove(folder: &Path, index: u64, place: u64) -> Result<Proved, AuditError> {
    let bad = |fault: String| AuditError::BadEntry { index, fault };
    let (reader, _) = open(&segments(folder)?).map_err(|error| bad(error.to_string()))?;
    let bytes = reader.read(index).map_err(|error| bad(error.to_string()))?;
    let raw = match decode(&bytes).map_err(|error| bad(error.to_string()))?.kind {
        Some(Kind::Folded(raw)) => raw,
        _ => return Err(AuditError::Usage(format!("entry {index} folds no denials"))),
    };
    let (key, minute_ms) = key_of(&raw).ok_or_else(|| bad("malformed".to_owned()))?;
    if place >= raw.count {
        let what = format!("entry {index} folds {} statements, counted from 0", raw.count);
        return Err(AuditError::Usage(what));
    }
    // Entries of the same kind and minute take their statements first. None is older than its minute.
    let mut before = 0_u64;
    for item in reader.scan_back(index) {
        let (at, bytes, _) = item.map_err(|error| bad(error.to_string()))?;
        let entry =
            decode(&bytes).map_err(|error| AuditError::BadEntry { index: at, fault: error.to_string() })?;
        if let Some(Kind::Folded(other)) = &entry.kind
            && key_of(other) == Some((key.clone(), minute_ms))
        {
            before = before.saturating_add(other.count);
        }
        if entry.time_ms < minute_ms {
            break;
        }
    }
    let missing = || AuditError::Unreadable {
        path: folder.join(FOLDER),
        fault: "the hub's journal of folded denials is not there, or does not hold this statement".to_owned(),
    };
    let journal = journal(folder)?.ok_or_else(missing)?;
    let (mut leaves, mut found) = (Vec::new(), None);
    for item in journal.scan(journal.first()) {
        let (_, bytes, _) = item.map_err(|error| bad(error.to_string()))?;
        let Ok(Said::Denied(denied)) = Record::read(&bytes) else { continue };
        let Ok(statement) = denied.open() else { continue };
        if statement.key != key || statement.minute_ms != minute_ms {
            continue;
        }
        if before > 0 {
            before -= 1;
            continue;
        }
        leaves.push(denied.leaf());
        if leaves.len() as u64 == place + 1 {
            found = Some(denied);
        }
        if leaves.len() as u64 == raw.count {
            break;
        }
    }
    let denied = found.ok_or_else(missing)?;
    let place = usize::try_from(place).map_err(|_| missing())?;
    Ok(Proved { denied, proof: path(&leaves, place), root: root(&leaves) })
}

fn root(leaves: &[Hash]) -> Hash {
    let mut tree = Frontier::new();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// RFC 6962 section 2.1.1: the path of one leaf, from the leaf upwards.
fn path(mut leaves: &[Hash], mut place: usize) -> Vec<Hash> {
    let mut path = Vec::new();
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let sibling = if place < left.len() { right } else { left };
        path.push(root(sibling));
        (leaves, place) = if place < left.len() { (left, place) } else { (right, place - left.len()) };
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::merkle::{leaf_hash, node_hash, verify_inclusion};

    #[test]
    fn every_leaf_is_proved_and_no_other_at_its_place() {
        for size in 1..40_u64 {
            let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
            let root = root(&leaves);
            for place in 0..size {
                let path = path(&leaves, usize::try_from(place).unwrap());
                let leaf = leaves[usize::try_from(place).unwrap()];
                assert!(verify_inclusion(place, size, &leaf, &path, &root).is_ok(), "{place} of {size}");
                let other = node_hash(&leaf, &leaf);
                assert!(verify_inclusion(place, size, &other, &path, &root).is_err());
            }
        }
    }
}
