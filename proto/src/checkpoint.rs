//! Checkpoints: a log's signed heads (C2SP `tlog-checkpoint` 1.0).
//!
//! The text has three lines: origin, tree size, base64 root. Further lines (extensions) are allowed by
//! the standard; here they are tolerated when read, covered by the signature, dropped from the parsed
//! value, and never written.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::merkle::{EMPTY_ROOT, Hash, hash_from_base64, hash_to_base64};
use crate::note::{NoteError, SignedNote, SignerKey, Verified, VerifierKey, is_key_name, sign_note};

/// The longest origin, in bytes.
const MAX_ORIGIN_BYTES: usize = 255;

/// Why a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The note around it, or its signature, is bad.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The origin is empty, longer than 255 bytes, or holds a space, `+` or control character.
    #[error("the origin must have 1 to 255 bytes without spaces, `+` or control characters")]
    Origin,
    /// Fewer than three lines.
    #[error("a checkpoint has at least three lines, each ended by a line feed")]
    Lines,
    /// Not a decimal number below 2^64 without leading zeros.
    #[error("the tree size must be a decimal number without leading zeros")]
    Size,
    /// Not the base64 of 32 bytes.
    #[error("the root must be the base64 of 32 bytes")]
    Root,
    /// Size 0 with a root other than that of the empty tree (a witness answers 422).
    #[error("a tree of size 0 must have the root of the empty tree")]
    EmptyTree,
    /// An extension line is empty.
    #[error("extension lines must not be empty")]
    Extension,
    /// A checkpoint of another log.
    #[error("the checkpoint belongs to another origin than `{expected}`")]
    OtherOrigin {
        /// The origin that the caller asked for.
        expected: String,
    },
    /// Too few of the right witnesses have cosigned.
    #[error(
        "{found} known witnesses have cosigned; the policy's quorum needs at least {fewest}, and of the right ones"
    )]
    Quorum {
        /// Known witnesses with good cosignatures.
        found: usize,
        /// The fewest that can satisfy the quorum.
        fewest: usize,
    },
}

/// A log's head: how many entries there are, and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Entries in the log.
    pub size: u64,
    /// The root over all entries.
    pub root: Hash,
}

impl Checkpoint {
    /// A checkpoint of the log `origin`.
    ///
    /// # Errors
    /// [`CheckpointError`] for an origin outside the grammar, or size 0 with a root that is not
    /// [`EMPTY_ROOT`].
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        if origin.len() > MAX_ORIGIN_BYTES || !is_key_name(origin) {
            return Err(CheckpointError::Origin);
        }
        if size == 0 && root != EMPTY_ROOT {
            return Err(CheckpointError::EmptyTree);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// The checkpoint of a log without entries.
    #[must_use]
    pub fn empty(origin: &str) -> Self {
        Self { origin: origin.to_owned(), size: 0, root: EMPTY_ROOT }
    }

    /// Parses the text of a checkpoint's note (without signatures).
    ///
    /// # Errors
    /// [`CheckpointError`] for the first rule that fails.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::Lines);
        };
        if lines.any(str::is_empty) {
            return Err(CheckpointError::Extension);
        }
        let size = parse_decimal(size).ok_or(CheckpointError::Size)?;
        let root = hash_from_base64(root).ok_or(CheckpointError::Root)?;
        Self::new(origin, size, root)
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, hash_to_base64(&self.root))
    }

    /// The signed note. The signer must never sign two heads that are not consistent; that is the
    /// caller's to ensure. The key's name should be the origin.
    ///
    /// # Errors
    /// As [`Checkpoint::new`]: nothing is signed that [`Checkpoint::parse`] would refuse.
    pub fn sign(&self, key: &SignerKey) -> Result<String, CheckpointError> {
        Self::new(&self.origin, self.size, self.root)?;
        Ok(sign_note(&self.text(), key)?)
    }

    /// Parses a signed checkpoint and checks that `key` signed it for `origin`. Other lines are ignored.
    ///
    /// # Errors
    /// [`CheckpointError`] when the note or its text is malformed, the signature is bad or missing, or the
    /// origin is another one.
    pub fn open(bytes: &[u8], key: &VerifierKey, origin: &str) -> Result<Self, CheckpointError> {
        Ok(Self::open_cosigned(bytes, key, origin, &[])?.0)
    }

    /// As [`Checkpoint::open`], and also checks the lines of `cosigners`: a bad one refuses the note, a
    /// missing one does not. The second value tells which keys signed.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; the log's own signature is always required.
    pub fn open_cosigned(
        bytes: &[u8],
        key: &VerifierKey,
        origin: &str,
        cosigners: &[VerifierKey],
    ) -> Result<(Self, Verified), CheckpointError> {
        let note = SignedNote::parse(bytes)?;
        let mut known = cosigners.to_vec();
        known.push(key.clone());
        let verified = note.verify(&known)?;
        if !verified.by(key) {
            return Err(NoteError::Unsigned.into());
        }
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin == origin {
            Ok((checkpoint, verified))
        } else {
            Err(CheckpointError::OtherOrigin { expected: origin.to_owned() })
        }
    }
}

/// Opens checkpoints of one log and remembers the last good ones, so that a head which many messages
/// carry costs one signature check. Shared between threads by reference.
#[derive(Debug)]
pub struct CheckpointVerifier {
    key: VerifierKey,
    origin: String,
    capacity: usize,
    // Most recently used last. INVARIANT: holds digests of notes that `Checkpoint::open` accepted, only.
    known: Mutex<VecDeque<(Hash, Checkpoint)>>,
}

impl CheckpointVerifier {
    /// A verifier for the log `origin` with the key `key` that remembers `capacity` checkpoints.
    #[must_use]
    pub fn new(key: VerifierKey, origin: &str, capacity: usize) -> Self {
        Self { key, origin: origin.to_owned(), capacity, known: Mutex::new(VecDeque::new()) }
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The log's key.
    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// As [`Checkpoint::open`], at the price of one hash if these bytes were seen before.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; refusals are not remembered.
    pub fn open(&self, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        if bytes.len() > crate::note::MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(bytes.len()).into());
        }
        let digest = crate::sha256(bytes);
        if let Some(checkpoint) = self.recall(&digest) {
            return Ok(checkpoint);
        }
        // The lock is not held while the signature is checked; two threads may both check a new head.
        let checkpoint = Checkpoint::open(bytes, &self.key, &self.origin)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|(seen, _)| *seen == digest) {
            known.push_back((digest, checkpoint.clone()));
            while known.len() > self.capacity {
                known.pop_front();
            }
        }
        Ok(checkpoint)
    }

    fn recall(&self, digest: &Hash) -> Option<Checkpoint> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().rposition(|(seen, _)| seen == digest)?;
        let found = known.remove(at)?;
        let checkpoint = found.1.clone();
        known.push_back(found);
        Some(checkpoint)
    }
}

/// A decimal number as the transparency formats write it: digits only, no leading zeros.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}
