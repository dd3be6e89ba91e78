//! Receipts: the proof for one party that an entry is in the ledger.

use crate::checkpoint::Checkpoint;
use crate::entry::{self, EntryError};
use crate::merkle::{self, Hash};
use crate::pb;
use crate::request::Head;
use bytes::Bytes;

/// Why a receipt does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A proof hash is not 32 bytes, or there are too many.
    #[error("receipt: the proof is not a list of at most 64 hashes")]
    Proof,
    /// The checkpoint does not hold.
    #[error("receipt: {0}")]
    Checkpoint(String),
    /// The entry is not under the checkpoint's root.
    #[error("receipt: entry {index} is not under the checkpoint of size {size}")]
    NotIncluded {
        /// The entry's index.
        index: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// The entry is not well-formed.
    #[error("receipt: {0}")]
    Entry(#[from] EntryError),
}

/// A receipt that was verified.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedReceipt {
    /// Index of the entry.
    pub index: u64,
    /// The entry.
    pub entry: pb::Entry,
    /// The head under which it was proved.
    pub head: Head,
    /// The entry's leaf hash.
    pub leaf: merkle::Hash,
}

/// The hashes of a proof from the wire.
pub fn hashes(raw: &[Bytes]) -> Result<Vec<Hash>, ReceiptError> {
    if raw.len() > 64 {
        return Err(ReceiptError::Proof);
    }
    raw.iter().map(|hash| hash.as_ref().try_into().map_err(|_| ReceiptError::Proof)).collect()
}

/// Verifies a receipt. `open` opens the checkpoint with the ledger's pinned key and origin.
pub fn verify<E: std::fmt::Display>(
    receipt: &pb::Receipt,
    open: impl FnOnce(&Bytes) -> Result<Checkpoint, E>,
) -> Result<VerifiedReceipt, ReceiptError> {
    let checkpoint =
        open(&receipt.checkpoint).map_err(|error| ReceiptError::Checkpoint(error.to_string()))?;
    verify_under(receipt.index, &receipt.entry, &receipt.proof, &checkpoint)
}

/// Verifies that an entry is under a checkpoint that was already opened.
pub fn verify_under(
    index: u64,
    entry_bytes: &Bytes,
    proof: &[Bytes],
    checkpoint: &Checkpoint,
) -> Result<VerifiedReceipt, ReceiptError> {
    let proof = hashes(proof)?;
    let leaf = merkle::leaf_hash(entry_bytes);
    merkle::verify_inclusion(index, checkpoint.size, &leaf, &proof, &checkpoint.root)
        .map_err(|_| ReceiptError::NotIncluded { index, size: checkpoint.size })?;
    let entry = entry::decode(entry_bytes)?;
    Ok(VerifiedReceipt { index, entry, head: Head { size: checkpoint.size, root: checkpoint.root }, leaf })
}
