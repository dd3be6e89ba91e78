use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use crate::merkle::{Hash, hash_from_base64, hash_to_base64, verify_growth};
use crate::note::{MAX_NOTE_BYTES, NoteError, NoteSignature, SignedNote, VerifierKey};
use std::fmt;

/// The most consistency proof lines of a call (`tlog-witness`).
pub const PROOF_LINES_MAX: usize = 63;
/// The longest body of a call: size line, proof lines, empty line, checkpoint.
const CALL_MAX: usize = 32 + PROOF_LINES_MAX * 45 + 1 + MAX_NOTE_BYTES;
/// Content type of a 409's body.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a body is none of `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Longer than any call can be.
    #[error("the body has {0} bytes, more than {CALL_MAX}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// The first line.
    #[error("the first line must be `old <size>`, decimal without leading zeros")]
    Old,
    /// A proof line, counted from 1.
    #[error("proof line {0} is not the base64 of 32 bytes, or one too many")]
    ProofLine(usize),
    /// No empty line, or nothing after it.
    #[error("an empty line and a checkpoint must follow the proof")]
    NoCheckpoint,
}

/// The body of `add-checkpoint`: the size that the witness is thought to have recorded, a consistency proof
/// from there, and the checkpoint. Whatever is accepted prints back to the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the caller thinks the witness has recorded.
    pub old_size: u64,
    /// The proof from there to the checkpoint; empty from size 0.
    pub proof: Vec<Hash>,
    /// The signed note, exact bytes.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// Parses the exact bytes of a body.
    ///
    /// # Errors
    /// [`CallError`] for the first rule of the grammar, or limit, that fails; a witness answers 400.
    pub fn parse(bytes: &[u8]) -> Result<Self, CallError> {
        if bytes.len() > CALL_MAX {
            return Err(CallError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CallError::NotUtf8)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(CallError::NoCheckpoint)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old_size = old.and_then(parse_decimal).ok_or(CallError::Old)?;
        let mut proof = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let hash = hash_from_base64(line).filter(|_| number <= PROOF_LINES_MAX);
            proof.push(hash.ok_or(CallError::ProofLine(number))?);
        }
        if checkpoint.is_empty() {
            return Err(CallError::NoCheckpoint);
        }
        Ok(Self { old_size, proof, checkpoint: checkpoint.to_owned() })
    }

    /// Judges the call by what the witness has recorded for the log `key` and `origin`; changes nothing.
    /// Where it yields [`Judged::Cosign`], the caller makes the new record durable before it cosigns, and
    /// lets nothing come between judging and recording.
    #[must_use]
    pub fn judge(&self, recorded: Option<&Recorded>, key: &VerifierKey, origin: &str) -> Judged {
        let refused = |status, body: String| Judged::Refused(Refused { status, body, fork: false });
        let checkpoint = match self.open(key, origin) {
            Ok(checkpoint) => checkpoint,
            Err(refusal) => return Judged::Refused(refusal),
        };
        let old = recorded.map_or(Checkpoint::empty(origin), |recorded| recorded.checkpoint.clone());
        let same_size_other_root = checkpoint.size == old.size && checkpoint.root != old.root;
        if self.old_size > checkpoint.size {
            return refused(400, "the old size is larger than the checkpoint's\n".to_owned());
        }
        if self.old_size != old.size {
            let (status, body) = (409, format!("{}\n", old.size));
            // The order of the standard says 409; the two heads are a fork all the same.
            return Judged::Refused(Refused { status, body, fork: same_size_other_root });
        }
        match verify_growth(old.size, checkpoint.size, &old.root, &checkpoint.root, &self.proof) {
            Ok(()) => Judged::Cosign(Recorded { note: self.note_of(key), checkpoint }),
            Err(error) => {
                let body = format!("{error}\n");
                Judged::Refused(Refused { status: 422, body, fork: old.size > 0 || same_size_other_root })
            }
        }
    }

    fn note_of(&self, key: &VerifierKey) -> String {
        let Ok(note) = SignedNote::parse(self.checkpoint.as_bytes()) else { return self.checkpoint.clone() };
        let own = note.signatures().iter().find(|line| line.id() == key.id() && line.name() == key.name());
        own.map_or_else(|| self.checkpoint.clone(), |own| format!("{}\n{own}\n", note.text()))
    }

    fn open(&self, key: &VerifierKey, origin: &str) -> Result<Checkpoint, Refused> {
        let refused =
            |status, what: &dyn fmt::Display| Refused { status, body: format!("{what}\n"), fork: false };
        let note = SignedNote::parse(self.checkpoint.as_bytes()).map_err(|error| refused(400, &error))?;
        // The origin comes before the signature: a log that is not known has no key that could be tried.
        if note.text().split('\n').next() != Some(origin) {
            return Err(refused(404, &"this log is not known here"));
        }
        match Checkpoint::open(self.checkpoint.as_bytes(), key, origin) {
            Ok(checkpoint) => Ok(checkpoint),
            Err(error @ CheckpointError::Note(NoteError::Unsigned | NoteError::BadSignature(_))) => {
                Err(refused(403, &error))
            }
            Err(error @ CheckpointError::EmptyTree) => Err(Refused { fork: true, ..refused(422, &error) }),
            Err(error) => Err(refused(400, &error)),
        }
    }
}

/// The body, each line ended by a line feed.
impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash_to_base64(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// The newest checkpoint that a witness has cosigned for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its size and root.
    pub checkpoint: Checkpoint,
    /// The signed note with the log's own line alone: others' lines are of any number and length.
    pub note: String,
}

/// What a witness does with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Records this checkpoint durably, cosigns it and answers 200.
    Cosign(Recorded),
    /// Answers something else.
    Refused(Refused),
}

/// A status other than 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// 400, 403, 404, 409 or 422.
    pub status: u16,
    /// The body: a size for 409 (of type [`SIZE_TYPE`]), else words for people.
    pub body: String,
    /// The log signed two heads of which neither is proved to extend the other: keep both.
    pub fork: bool,
}

/// The lines of a 200's body.
///
/// # Errors
/// None where a line is no signature line, there is none, or there are more than `most`.
#[must_use]
pub fn parse_lines(body: &[u8], most: usize) -> Option<Vec<NoteSignature>> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= MAX_NOTE_BYTES)?;
    let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').take(most.saturating_add(1)).collect();
    if lines.len() > most {
        return None;
    }
    lines.into_iter().map(NoteSignature::parse).collect()
}

/// A checkpoint with further signature lines; one of a key that is there already takes its place.
///
/// # Errors
/// [`NoteError`] for bytes that are no note, or more lines than a note can hold.
pub fn add_lines(note: &[u8], lines: &[NoteSignature]) -> Result<String, NoteError> {
    let mut note = SignedNote::parse(note)?;
    for line in lines {
        note.add(line.clone())?;
    }
    Ok(note.to_string())
}
