//! Signed notes as C2SP `signed-note` 1.0 defines them, with `cosignature/v1` of `tlog-cosignature`.
//!
//! A note is a text that ends with a line feed, an empty line and signature lines
//! `— <name> <base64(key id || signature)>`. Verifying ignores lines of unknown keys; a line of a known
//! key must be good, or the whole note is refused.

mod key;

pub use key::{CosignerKey, KeyError, KeyKind, SignerKey, VerifierKey};

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The longest note that is parsed or made, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;

/// The most signature lines in one note; the standard asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;

const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a note was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("the note has {0} bytes, more than {MAX_NOTE_BYTES}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    NotUtf8,
    /// A control byte other than a line feed.
    #[error("the note holds control byte {0:#04x}")]
    ControlByte(u8),
    /// The text is empty or does not end with a line feed.
    #[error("the text of a note must end with a line feed")]
    UnfinishedText,
    /// No empty line with signature lines after it.
    #[error("the note has no signature block")]
    NoSignatures,
    /// A signature line that does not follow the grammar; lines count from 1 within their block.
    #[error("signature line {0} is malformed")]
    SignatureLine(usize),
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// Two different known keys share name and key id, so the line's signer cannot be told.
    #[error("two known keys are named `{0}` with the same key id")]
    AmbiguousKey(String),
    /// A line of a known key does not verify.
    #[error("the signature of `{0}` is bad")]
    BadSignature(String),
    /// No line is of a known key.
    #[error("no known key has signed the note")]
    Unsigned,
}

/// One signature line: who claims to have signed, and the bytes after the key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// The key's name as the line states it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id as the line states it.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The signature without the key id; its length depends on the kind of key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Parses one line without its line feed, as a witness answers it.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
        if line.len() > MAX_NOTE_BYTES || !is_key_name(name) {
            return None;
        }
        let mut id = STANDARD.decode(encoded).ok()?;
        if id.len() < 5 {
            return None;
        }
        let bytes = id.split_off(4);
        Some(Self { name: name.to_owned(), id: u32::from_be_bytes(id.try_into().ok()?), bytes })
    }
}

/// The line without its line feed.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut payload = Vec::with_capacity(4 + self.bytes.len());
        payload.extend_from_slice(&self.id.to_be_bytes());
        payload.extend_from_slice(&self.bytes);
        write!(f, "{SIGNATURE_PREFIX}{} {}", self.name, STANDARD.encode(payload))
    }
}

/// A note that follows the grammar; nothing is known yet about its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// Parses the exact bytes of a note. Whatever is accepted prints back to the same bytes.
    ///
    /// # Errors
    /// [`NoteError`] for the first rule of the grammar, or limit, that fails.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let note = checked_text(bytes)?;
        let (text, block) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignatures)?;
        let block = block.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
        let mut signatures = Vec::new();
        for (number, line) in (1..).zip(block.split('\n')) {
            if number > MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine(number))?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The signed text with its final line feed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines in their order, verified or not.
    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature line, in the place of an earlier one of the same name and key id.
    ///
    /// # Errors
    /// [`NoteError::TooManySignatures`] when the note is full.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        self.signatures.retain(|old| (&old.name, old.id) != (&signature.name, signature.id));
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Checks the lines of known keys; lines of others, and of keys of an unknown kind, are ignored.
    ///
    /// # Errors
    /// [`NoteError`] when any line of a known key is bad (also a second one), or no known key signed.
    pub fn verify(&self, known: &[VerifierKey]) -> Result<Verified, NoteError> {
        let mut verified = Verified { signers: Vec::new() };
        for signature in &self.signatures {
            let mut keys = known.iter().filter(|key| {
                key.id() == signature.id && key.name() == signature.name && key.kind().is_supported()
            });
            let Some(key) = keys.next() else { continue };
            if keys.any(|other| other != key) {
                return Err(NoteError::AmbiguousKey(key.name().to_owned()));
            }
            let bad = || NoteError::BadSignature(key.name().to_owned());
            let time = key.verify_note(&self.text, &signature.bytes).ok_or_else(bad)?;
            if !verified.signers.iter().any(|(seen, _)| seen == key) {
                verified.signers.push((key.clone(), time));
            }
        }
        if verified.signers.is_empty() { Err(NoteError::Unsigned) } else { Ok(verified) }
    }
}

/// The whole note.
impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Which known keys have signed a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    signers: Vec<(VerifierKey, Option<u64>)>,
}

impl Verified {
    /// The keys whose lines are good, each once, in the order of the note.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.signers.iter().map(|(key, _)| key)
    }

    /// Whether this key has signed.
    #[must_use]
    pub fn by(&self, key: &VerifierKey) -> bool {
        self.keys().any(|signer| signer == key)
    }

    /// The time that a cosigner's line states, in seconds since 1970; `None` for other keys.
    #[must_use]
    pub fn time(&self, key: &VerifierKey) -> Option<u64> {
        self.signers.iter().find(|(signer, _)| signer == key).and_then(|(_, time)| *time)
    }

    /// Distinct public keys among the signers: what a quorum counts, never lines or names.
    #[must_use]
    pub fn distinct_keys(&self) -> usize {
        self.keys().map(VerifierKey::public_key).collect::<BTreeSet<_>>().len()
    }
}

/// Signs a text into a note with one signature.
///
/// # Errors
/// [`NoteError`] when the text cannot be the text of a note: too long, control bytes, no final line feed.
pub fn sign_note(text: &str, key: &SignerKey) -> Result<String, NoteError> {
    checked_text(text.as_bytes())?;
    if !text.ends_with('\n') {
        return Err(NoteError::UnfinishedText);
    }
    let note = SignedNote { text: text.to_owned(), signatures: vec![key.sign_text(text)] };
    Ok(note.to_string())
}

/// Whether a name may stand in a key or signature line: not empty, no space of any kind, no `+`, no
/// control byte.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c < ' ')
}

fn checked_text(bytes: &[u8]) -> Result<&str, NoteError> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong(bytes.len()));
    }
    if let Some(control) = bytes.iter().find(|byte| **byte < b' ' && **byte != b'\n') {
        return Err(NoteError::ControlByte(*control));
    }
    std::str::from_utf8(bytes).map_err(|_| NoteError::NotUtf8)
}
