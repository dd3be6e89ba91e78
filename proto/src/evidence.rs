//! The evidence bundle: one exchange with all that is needed to verify it offline, as one JSON document.
//! Envelopes stand in it in DSSE's JSON form, so that other people's libraries verify them too; every
//! document that counts stands in it as the ledger entry that carries it, with its inclusion proof.

use crate::document::{SignedDocument, base64_of, from_base64};
use crate::pb;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Value of `format` in a bundle.
pub const FORMAT: &str = "yiwang-evidence/1";
/// A bundle is hostile input to its reader: one exchange, and at most this many entries beside it.
pub const ENTRIES_MAX: usize = 64;
/// Bytes of a whole bundle: every entry at its largest, in base64, with proofs.
pub const BUNDLE_MAX: usize = 16 * 1024 * 1024;

/// One ledger entry with its proof under the bundle's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvedEntry {
    /// Index in the ledger.
    pub index: u64,
    /// Base64 of the exact entry bytes.
    pub entry: String,
    /// Base64 of the inclusion proof's hashes, from leaf to root.
    pub proof: Vec<String>,
}

impl ProvedEntry {
    /// From a receipt; the checkpoint is left to the bundle.
    pub fn new(index: u64, entry: &[u8], proof: &[Bytes]) -> Self {
        Self { index, entry: base64_of(entry), proof: proof.iter().map(|hash| base64_of(hash)).collect() }
    }

    /// The exact entry bytes and the raw proof; none where the base64 is bad.
    pub fn decode(&self) -> Option<(Bytes, Vec<Bytes>)> {
        let entry = from_base64(&self.entry)?;
        let proof: Option<Vec<Bytes>> =
            self.proof.iter().map(|hash| from_base64(hash).map(Bytes::from)).collect();
        Some((Bytes::from(entry), proof?))
    }
}

/// The whole bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// `yiwang-evidence/1`.
    pub format: String,
    /// The ledger's origin, for people; the auditor pins their own.
    pub origin: String,
    /// The signed note under which all proofs stand.
    pub checkpoint: String,
    /// The exchange.
    pub exchange: ProvedEntry,
    /// The same proof as a C2SP `.tlog-proof` file.
    pub tlog_proof: String,
    /// Member cards, delegations, contract, case statements and policy that the exchange rests on.
    pub supporting: Vec<ProvedEntry>,
    /// The request statement, a DSSE JSON envelope.
    pub request: serde_json::Value,
    /// The answer statement, a DSSE JSON envelope, or null.
    pub answer: serde_json::Value,
    /// The contract, a DSSE JSON envelope.
    pub contract: serde_json::Value,
    /// The delegations, DSSE JSON envelopes.
    pub delegations: Vec<serde_json::Value>,
}

/// The JSON value of a DSSE envelope of a statement; null for empty or malformed bytes.
pub fn statement_json(bytes: &Bytes) -> serde_json::Value {
    crate::envelope::SignedStatement::parse(bytes.clone())
        .ok()
        .and_then(|signed| serde_json::from_slice(SignedDocument::from_statement(&signed).bytes()).ok())
        .unwrap_or(serde_json::Value::Null)
}

/// The documents that an entry carries, if it carries one.
pub fn document_of(entry: &pb::Entry) -> Option<&Bytes> {
    match entry.kind.as_ref()? {
        crate::entry::Kind::Delegation(doc)
        | crate::entry::Kind::Contract(doc)
        | crate::entry::Kind::Ticket(doc)
        | crate::entry::Kind::RecordType(doc)
        | crate::entry::Kind::Revocation(doc) => Some(&doc.document),
        crate::entry::Kind::Member(member) => Some(&member.card),
        _ => None,
    }
}
