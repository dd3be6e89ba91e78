//! Proof files (`.tlog-proof`, C2SP `tlog-proof@v1`): an entry's index, its inclusion proof and the signed
//! checkpoint in one text that is checked offline.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use crate::merkle::{Hash, ProofError, hash_from_base64, hash_to_base64, verify_inclusion};
use crate::note::{MAX_NOTE_BYTES, NoteError, SignedNote, Verified, VerifierKey};

/// The first line of every proof file.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest extra data, in bytes before base64.
pub const MAX_EXTRA_BYTES: usize = 64 * 1024;

/// The most hashes in a proof: one per level of a tree with 2^64 leaves.
const MAX_HASHES: usize = 64;

/// The longest proof file, in bytes.
pub const MAX_PROOF_BYTES: usize = MAX_EXTRA_BYTES / 3 * 4 + MAX_HASHES * 45 + MAX_NOTE_BYTES + 128;

/// Why a proof file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// Longer than [`MAX_PROOF_BYTES`].
    #[error("the proof file has {0} bytes, more than {MAX_PROOF_BYTES}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the proof file is not UTF-8")]
    NotUtf8,
    /// The first line is another one.
    #[error("a proof file begins with the line `{HEADER}`")]
    Header,
    /// The `extra` line is empty, no base64 or over [`MAX_EXTRA_BYTES`].
    #[error("the `extra` line must hold base64 of 1 to {MAX_EXTRA_BYTES} bytes")]
    Extra,
    /// No good `index` line.
    #[error("an `index` line with a decimal number must follow")]
    Index,
    /// A line that is no base64 of 32 bytes, counted from 1, or too many lines.
    #[error("hash line {0} is not the base64 of 32 bytes, or one too many")]
    HashLine(usize),
    /// No empty line between proof and checkpoint.
    #[error("an empty line must separate proof and checkpoint")]
    NoCheckpoint,
    /// The checkpoint is malformed or not signed as required.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Fewer witnesses have cosigned than required.
    #[error("{found} of the {required} required witnesses have cosigned the checkpoint")]
    Quorum {
        /// Distinct witness keys with good cosignatures.
        found: usize,
        /// How many are required.
        required: usize,
    },
    /// The entry is not in the tree at the stated index.
    #[error(transparent)]
    Inclusion(#[from] ProofError),
}

impl From<NoteError> for TlogProofError {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.into())
    }
}

/// A proof that follows the grammar; nothing is proven before [`TlogProof::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Vec<u8>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: String,
}

impl TlogProof {
    /// A proof from its parts; `checkpoint` is the signed note, verbatim.
    ///
    /// # Errors
    /// [`TlogProofError`] when the checkpoint is no note, or the proof is longer than any can be.
    pub fn new(index: u64, hashes: Vec<Hash>, checkpoint: &str) -> Result<Self, TlogProofError> {
        SignedNote::parse(checkpoint.as_bytes())?;
        if hashes.len() > MAX_HASHES {
            return Err(TlogProofError::HashLine(MAX_HASHES + 1));
        }
        Ok(Self { extra: Vec::new(), index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Adds data that nothing authenticates, such as what a reader needs to find the entry.
    ///
    /// # Errors
    /// [`TlogProofError::Extra`] over [`MAX_EXTRA_BYTES`].
    pub fn with_extra(mut self, extra: &[u8]) -> Result<Self, TlogProofError> {
        if extra.len() > MAX_EXTRA_BYTES {
            return Err(TlogProofError::Extra);
        }
        self.extra = extra.to_vec();
        Ok(self)
    }

    /// Parses the exact bytes of a proof file. Whatever is accepted prints back to the same bytes.
    ///
    /// # Errors
    /// [`TlogProofError`] for the first rule of the grammar, or limit, that fails.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(TlogProofError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| TlogProofError::NotUtf8)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(TlogProofError::NoCheckpoint)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(TlogProofError::Header);
        }
        let mut line = lines.next().ok_or(TlogProofError::Index)?;
        let mut extra = Vec::new();
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = STANDARD.decode(encoded).map_err(|_| TlogProofError::Extra)?;
            if extra.is_empty() {
                return Err(TlogProofError::Extra);
            }
            line = lines.next().ok_or(TlogProofError::Index)?;
        }
        let index = line.strip_prefix("index ").and_then(parse_decimal).ok_or(TlogProofError::Index)?;
        let mut hashes = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let hash = hash_from_base64(line).filter(|_| number <= MAX_HASHES);
            hashes.push(hash.ok_or(TlogProofError::HashLine(number))?);
        }
        Self::new(index, hashes, checkpoint)?.with_extra(&extra)
    }

    /// The entry's index in the log, from 0.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, the leaf's sibling first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The signed checkpoint, verbatim.
    #[must_use]
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Data beside the proof; empty if there is none. Nothing vouches for it.
    #[must_use]
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// Checks signature, origin and inclusion of the entry with this leaf hash.
    ///
    /// # Errors
    /// [`TlogProofError`] for the first check that fails.
    pub fn verify(
        &self,
        leaf_hash: &Hash,
        key: &VerifierKey,
        origin: &str,
    ) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = Checkpoint::open(self.checkpoint.as_bytes(), key, origin)?;
        self.verify_in(leaf_hash, &checkpoint)?;
        Ok(checkpoint)
    }

    /// As [`TlogProof::verify`], and demands good cosignatures of at least `quorum` distinct keys among
    /// `witnesses`; the log's own key never counts.
    ///
    /// # Errors
    /// [`TlogProofError`] for the first check that fails.
    pub fn verify_witnessed(
        &self,
        leaf_hash: &Hash,
        key: &VerifierKey,
        origin: &str,
        witnesses: &[VerifierKey],
        quorum: usize,
    ) -> Result<(Checkpoint, Verified), TlogProofError> {
        let independent: Vec<_> =
            witnesses.iter().filter(|witness| witness.public_key() != key.public_key()).cloned().collect();
        let (checkpoint, verified) =
            Checkpoint::open_cosigned(self.checkpoint.as_bytes(), key, origin, &independent)?;
        let found = verified.distinct_keys() - 1;
        if found < quorum {
            return Err(TlogProofError::Quorum { found, required: quorum });
        }
        self.verify_in(leaf_hash, &checkpoint)?;
        Ok((checkpoint, verified))
    }

    /// Checks inclusion in a checkpoint that the caller has opened already, for instance with a
    /// [`crate::checkpoint::CheckpointVerifier`] over [`TlogProof::checkpoint`].
    ///
    /// # Errors
    /// [`ProofError`] when the entry is not in that tree at the stated index.
    pub fn verify_in(&self, leaf_hash: &Hash, checkpoint: &Checkpoint) -> Result<(), ProofError> {
        verify_inclusion(self.index, checkpoint.size, leaf_hash, &self.hashes, &checkpoint.root)
    }
}

/// The whole file.
impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash_to_base64(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
