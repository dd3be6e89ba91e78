//! One `.tlog-proof` file with the entry that it proves.

use crate::error::AuditError;
use crate::options::Options;
use crate::parse::parse;
use crate::report::Report;
use crate::rules::Rule;
use bytes::Bytes;
use yiwang_proto::merkle::{hash_to_base64, leaf_hash};
use yiwang_proto::tlog_proof::TlogProof;

/// Verifies that an entry, given as its exact bytes, is in the ledger where the proof file says. The
/// ledger's key must be pinned.
///
/// # Errors
/// [`AuditError`] when no key is pinned; whatever is wrong with proof or entry is a finding.
pub fn verify_proof(proof: &[u8], entry: &[u8], options: &Options) -> Result<Report, AuditError> {
    let key = options.key.as_ref().ok_or(AuditError::NoKey)?;
    let origin = options.origin_for(key);
    let mut report = Report::new("proof");
    (report.origin, report.key, report.key_pinned) = (origin.to_owned(), key.to_string(), true);
    let proof = match TlogProof::parse(proof) {
        Ok(proof) => proof,
        Err(error) => {
            report.finding(None, Rule::Proof, error.to_string());
            return Ok(report);
        }
    };
    let index = proof.index();
    match proof.verify(&leaf_hash(entry), key, origin) {
        Ok(checkpoint) => {
            // The proof's own checkpoint holds; the policy may still find it wanting.
            if options.policy.is_some() {
                let _ = options.open_checkpoint(proof.checkpoint().as_bytes(), key, &mut report);
            }
            report.signatures = 1;
            report.size = Some(checkpoint.size);
            report.root = Some(hash_to_base64(&checkpoint.root));
        }
        Err(error) => report.finding(Some(index), Rule::Proof, error.to_string()),
    }
    match parse(index, &Bytes::copy_from_slice(entry)) {
        Ok(parsed) => {
            report.entries = 1;
            report.kinds.insert(parsed.kind.to_owned(), 1);
        }
        Err(fault) => report.finding(Some(index), Rule::Entry, fault),
    }
    report.note(format!("shows that entry {index} is in the ledger; what it says was not judged"));
    Ok(report)
}
