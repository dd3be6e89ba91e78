//! One evidence bundle: every entry proved under one checkpoint, and the exchange judged by replaying the
//! entries that it rests on.

use crate::error::AuditError;
use crate::ledger::load_decider;
use crate::options::Options;
use crate::parse::{Body, Parsed, parse};
use crate::redecide::run;
use crate::report::{Finding, Report};
use crate::rules::Rule;
use crate::state::{Scope, State};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use yiwang_proto::batch::Roots;
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::Kind;
use yiwang_proto::evidence::{
    BUNDLE_MAX, ENTRIES_MAX, Evidence, FORMAT, ProvedEntry, document_of, statement_json,
};
use yiwang_proto::merkle::{Hash, hash_to_base64};
use yiwang_proto::pb;
use yiwang_proto::receipt;
use yiwang_proto::tlog_proof::TlogProof;

/// Verifies an evidence bundle, given as the exact bytes of its file. The ledger's key must be pinned.
///
/// # Errors
/// [`AuditError`] when no key is pinned; whatever is wrong with the bundle is a finding.
pub fn verify_evidence(bytes: &[u8], options: &Options) -> Result<Report, AuditError> {
    let key = options.key.as_ref().ok_or(AuditError::NoKey)?;
    let origin = options.origin_for(key);
    let decider = load_decider()?;
    let older = options.open_older(key)?;
    let mut report = Report::new("evidence");
    (report.origin, report.key, report.key_pinned) = (origin.to_owned(), key.to_string(), true);
    let bundle = match read(bytes) {
        Ok(bundle) => bundle,
        Err(fault) => {
            report.finding(None, Rule::Evidence, fault);
            return Ok(report);
        }
    };
    if bundle.origin != origin {
        // Nothing in it could hold under this key, and what to do about that is all another matter.
        report.finding(None, Rule::Evidence, of_another(&bundle.origin, origin, options.origin.is_some()));
        return Ok(report);
    }
    let checkpoint = match options.open_checkpoint(bundle.checkpoint.as_bytes(), key, &mut report) {
        Ok(checkpoint) => checkpoint,
        Err(fault) => {
            report.finding(None, Rule::Checkpoint, fault.to_string());
            return Ok(report);
        }
    };
    report.size = Some(checkpoint.size);
    report.root = Some(hash_to_base64(&checkpoint.root));
    if let Some(head) = older {
        compare_heads(&head, &checkpoint, &mut report);
    }
    let entries = prove(&bundle, &checkpoint, &mut report);
    report.entries = entries.len() as u64;
    check_tlog_proof(&bundle, &checkpoint, &mut report);
    check_copies(&bundle, &entries, &mut report);
    let mut state = State::new(decider, Scope::Parts, &options.roots).demanding_standings(options.standings);
    for (index, (bytes, _)) in &entries {
        match parse(*index, bytes) {
            Ok(parsed) => {
                check_role(&parsed, bundle.exchange.index, &mut report);
                state.apply(&parsed, (&report.origin, &report.key));
            }
            Err(fault) => report.finding(Some(*index), Rule::Entry, fault),
        }
    }
    let (findings, jobs) = state.drain();
    report.add(findings);
    let roots = Roots::default();
    for job in jobs {
        let done = run(&job, decider, &roots);
        state.done(&done);
        report.signatures += done.signatures;
        report.add(done.findings);
    }
    state.finish(&mut report);
    report.note(
        "a bundle shows one exchange: whether its contract was replaced, its case closed, its request repeated, or a key, officer, contract or root of it revoked \
         by an entry that is not in the bundle, only `verify --ledger` can tell",
    );
    report.note("not checked, because no ledger holds it: rows, arguments, rates, bodies");
    report.sort();
    Ok(report)
}

/// Origins have no blanks and are short; other words are whoever made the bundle's.
const SHOWN_MAX: usize = 255;

fn of_another(found: &str, origin: &str, pinned: bool) -> String {
    if found.is_empty() || found.len() > SHOWN_MAX || !found.bytes().all(|byte| byte.is_ascii_graphic()) {
        return "its origin is not the one that counts here".to_owned();
    }
    if pinned {
        return format!(
            "it is of `{found}`, and you pinned the origin `{origin}`: is it the right `--origin`?"
        );
    }
    format!("it is of `{found}`, and your key is of `{origin}`: is it the right `--key`?")
}

fn read(bytes: &[u8]) -> Result<Evidence, String> {
    if bytes.len() > BUNDLE_MAX {
        return Err(format!("the bundle has {} bytes, at most {BUNDLE_MAX} are read", bytes.len()));
    }
    let bundle: Evidence =
        serde_json::from_slice(bytes).map_err(|error| format!("not an evidence bundle: {error}"))?;
    if bundle.format != FORMAT {
        return Err(format!("its format is not `{FORMAT}`"));
    }
    if bundle.supporting.len() > ENTRIES_MAX || bundle.delegations.len() > ENTRIES_MAX {
        return Err(format!("more than {ENTRIES_MAX} entries or delegations"));
    }
    Ok(bundle)
}

/// Without the entries between two heads only equal sizes can be compared.
fn compare_heads(older: &Checkpoint, checkpoint: &Checkpoint, report: &mut Report) {
    if older.size == checkpoint.size && older.root != checkpoint.root {
        report.finding(None, Rule::Older, "your older checkpoint has the same size and another root: a fork");
    } else if older.size == checkpoint.size {
        report.continues = Some(older.size);
    } else {
        report.note("your older checkpoint has another size; only `verify --ledger` can compare them");
    }
}

type Proved = BTreeMap<u64, (Bytes, pb::Entry)>;

/// The entries whose proofs hold, by index; the exchange among them.
fn prove(bundle: &Evidence, checkpoint: &Checkpoint, report: &mut Report) -> Proved {
    let mut proved = Proved::new();
    for item in std::iter::once(&bundle.exchange).chain(&bundle.supporting) {
        match prove_one(item, checkpoint) {
            Ok((bytes, entry)) => {
                if proved.insert(item.index, (bytes, entry)).is_some() {
                    report.finding(Some(item.index), Rule::Evidence, "stands in the bundle twice");
                }
            }
            Err(fault) => report.finding(Some(item.index), Rule::Proof, fault),
        }
    }
    proved
}

fn prove_one(item: &ProvedEntry, checkpoint: &Checkpoint) -> Result<(Bytes, pb::Entry), String> {
    let (bytes, proof) = item.decode().ok_or("entry or proof is not base64")?;
    let receipt =
        receipt::verify_under(item.index, &bytes, &proof, checkpoint).map_err(|error| error.to_string())?;
    Ok((bytes, receipt.entry))
}

/// The bundle's `.tlog-proof` must be the text that its own proof gives: one exchange, one proof.
fn check_tlog_proof(bundle: &Evidence, checkpoint: &Checkpoint, report: &mut Report) {
    let index = Some(bundle.exchange.index);
    let hashes: Option<Vec<Hash>> =
        bundle.exchange.decode().and_then(|(_, proof)| receipt::hashes(&proof).ok());
    let Some((hashes, (bytes, _))) = hashes.zip(bundle.exchange.decode()) else { return };
    let rebuilt = TlogProof::new(bundle.exchange.index, hashes, &bundle.checkpoint);
    if rebuilt.is_ok_and(|proof| proof.to_string() == bundle.tlog_proof) {
        return;
    }
    let what = match TlogProof::parse(bundle.tlog_proof.as_bytes()) {
        Err(error) => format!("its `.tlog-proof` is refused: {error}"),
        Ok(proof) => match proof.verify_in(&yiwang_proto::merkle::leaf_hash(&bytes), checkpoint) {
            Err(error) => format!("its `.tlog-proof` does not hold: {error}"),
            Ok(()) => "its `.tlog-proof` is another one than the proof in the bundle".to_owned(),
        },
    };
    report.finding(index, Rule::Proof, what);
}

/// The DSSE JSON copies, which other people's libraries read, say what the entries say.
fn check_copies(bundle: &Evidence, entries: &Proved, report: &mut Report) {
    let index = bundle.exchange.index;
    let Some((_, entry)) = entries.get(&index) else { return };
    let Some(Kind::Exchange(exchange)) = &entry.kind else {
        return report.finding(
            Some(index),
            Rule::Evidence,
            "the bundle's exchange is an entry of another kind",
        );
    };
    if bundle.request != statement_json(&exchange.request) {
        report.finding(Some(index), Rule::Evidence, "the copy of its request differs from the entry");
    }
    if bundle.answer != statement_json(&exchange.answer) {
        report.finding(Some(index), Rule::Evidence, "the copy of its answer differs from the entry");
    }
    let copy_at = |index: u64| {
        let (_, entry) = entries.get(&index).filter(|_| index != 0)?;
        serde_json::from_slice::<serde_json::Value>(document_of(entry)?).ok()
    };
    if copy_at(exchange.contract_index).unwrap_or_default() != bundle.contract {
        report.finding(
            Some(index),
            Rule::Evidence,
            "the copy of its contract differs from the contract's entry",
        );
    }
    let needed = [
        exchange.app_delegation_index,
        exchange.adapter_delegation_index,
        exchange.officer_delegation_index,
        exchange.sealing_delegation_index,
    ];
    let needed: Vec<_> = needed.into_iter().filter_map(copy_at).collect();
    for copy in &bundle.delegations {
        if !needed.contains(copy) {
            let what =
                format!("a copy of a delegation (digest {}) is none that it rests on", digest_of(copy));
            report.finding(Some(index), Rule::Evidence, what);
        }
    }
    if let Some(missing) = needed.iter().find(|copy| !bundle.delegations.contains(copy)) {
        let what = format!("the copy of delegation {} is missing", digest_of(missing));
        report.finding(Some(index), Rule::Evidence, what);
    }
    let distinct: BTreeSet<String> = bundle.delegations.iter().map(ToString::to_string).collect();
    if distinct.len() != bundle.delegations.len() {
        report.finding(Some(index), Rule::Evidence, "a copy of a delegation stands there twice");
    }
}

fn digest_of(document: &serde_json::Value) -> String {
    SignedDocument::parse(Bytes::from(document.to_string()), BUNDLE_MAX)
        .map_or_else(|_| "unknown".to_owned(), |document| yiwang_proto::hex(&document.digest()))
}

/// What stands in a bundle beside its exchange: documents and case statements from before it.
fn check_role(parsed: &Parsed, exchange: u64, report: &mut Report) {
    let index = Some(parsed.index);
    let other = parsed.index != exchange;
    if other && matches!(parsed.body, Body::Exchange(_)) {
        report.add([Finding::new(index, Rule::Evidence, "a second exchange in the bundle")]);
    }
    if parsed.index > exchange {
        report.add([Finding::new(
            index,
            Rule::Evidence,
            "is later than the exchange, which cannot rest on it",
        )]);
    }
}
