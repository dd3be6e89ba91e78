use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use super::{NoteSignature, is_key_name};
use crate::keys::PublicKey;

/// The longest name of a key that is configured or made here, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The longest vkey that is parsed: room for a post-quantum key of the standard (1,312 bytes).
const MAX_VKEY_BYTES: usize = 4096;

/// Timestamps of cosignatures end here (`tlog-cosignature`).
const MAX_TIMESTAMP: u64 = i64::MAX as u64;

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Empty, longer than 255 bytes, or with a space, `+` or control byte.
    #[error("the key's name must have 1 to 255 bytes without spaces, `+` or control characters")]
    Name,
    /// Not `name+8 hex digits+base64`.
    #[error("the key must read `<name>+<8 hex digits>+<base64>`")]
    Format,
    /// The key id does not belong to name and key.
    #[error("the key id does not belong to the key: copy the key again from its owner")]
    Id,
    /// Not a usable Ed25519 key.
    #[error("the key is not a usable Ed25519 public key")]
    PublicKey,
}

/// What a key signs and how (the signature type byte of the standard).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Type 01: Ed25519 over the note's text.
    Ed25519,
    /// Type 04: Ed25519 over a timestamped text (`cosignature/v1`).
    Cosigner,
    /// Any other type: kept, never used for verifying.
    Other(u8),
}

impl KeyKind {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Ed25519,
            4 => Self::Cosigner,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosigner => 4,
            Self::Other(byte) => byte,
        }
    }

    /// Whether signatures of this kind can be verified here.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        matches!(self, Self::Ed25519 | Self::Cosigner)
    }
}

/// A named public key, written as a vkey: `<name>+<key id in hex>+<base64(type || public key)>`.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifierKey {
    name: String,
    id: u32,
    kind: KeyKind,
    public: Vec<u8>,
    // INVARIANT: present exactly when the kind is supported.
    verifying: Option<PublicKey>,
}

impl VerifierKey {
    /// A key of type 01 that signs notes, such as a log's.
    ///
    /// # Errors
    /// [`KeyError`] for a bad name or a public key that is no point of the curve or of low order.
    pub fn ed25519(name: &str, public: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, KeyKind::Ed25519, public.to_vec(), None)
    }

    /// A key of type 04 that cosigns checkpoints, such as a witness's.
    ///
    /// # Errors
    /// As [`VerifierKey::ed25519`].
    pub fn cosigner(name: &str, public: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, KeyKind::Cosigner, public.to_vec(), None)
    }

    /// Parses a vkey. Keys of an unknown type are kept as they are, without checking their id: other types
    /// have rules of their own for it.
    ///
    /// # Errors
    /// [`KeyError`] for the first rule that fails.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        if vkey.len() > MAX_VKEY_BYTES {
            return Err(KeyError::Format);
        }
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Format);
        };
        if id.len() != 8 || !id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(KeyError::Format);
        }
        let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Format)?;
        let key = STANDARD.decode(key).map_err(|_| KeyError::Format)?;
        let (kind, public) = key.split_first().ok_or(KeyError::Format)?;
        Self::new(name, KeyKind::from_byte(*kind), public.to_vec(), Some(id))
    }

    fn new(name: &str, kind: KeyKind, public: Vec<u8>, id: Option<u32>) -> Result<Self, KeyError> {
        check_name(name)?;
        let verifying = if kind.is_supported() {
            Some(PublicKey::from_bytes(&public).map_err(|_| KeyError::PublicKey)?)
        } else {
            None
        };
        let derived = key_id(name, kind, &public);
        let id = id.unwrap_or(derived);
        if kind.is_supported() && id != derived {
            return Err(KeyError::Id);
        }
        Ok(Self { name: name.to_owned(), id, kind, public, verifying })
    }

    /// The key's name; for a log it equals the origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// What the key signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key's bytes, 32 for the supported kinds.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Whether a signature line is this key's and good for the text.
    #[must_use]
    pub fn verifies(&self, text: &str, line: &NoteSignature) -> bool {
        line.id() == self.id && line.name() == self.name && self.verify_note(text, line.bytes()).is_some()
    }

    /// `Some` if the signature is good; inside it the time that a cosignature states, in seconds.
    #[expect(clippy::option_option, reason = "outer: is it good; inner: does this kind carry a time")]
    pub(super) fn verify_note(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        let key = self.verifying.as_ref()?;
        match self.kind {
            KeyKind::Ed25519 => key.verify(text.as_bytes(), signature).then_some(None),
            KeyKind::Cosigner => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let good =
                    time <= MAX_TIMESTAMP && key.verify(cosigned_message(text, time).as_bytes(), signature);
                good.then_some(Some(time))
            }
            KeyKind::Other(_) => None,
        }
    }
}

/// The vkey.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = Vec::with_capacity(1 + self.public.len());
        key.push(self.kind.byte());
        key.extend_from_slice(&self.public);
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Self::parse(vkey)
    }
}

impl TryFrom<String> for VerifierKey {
    type Error = KeyError;

    fn try_from(vkey: String) -> Result<Self, KeyError> {
        Self::parse(&vkey)
    }
}

impl From<VerifierKey> for String {
    fn from(key: VerifierKey) -> Self {
        key.to_string()
    }
}

/// A private key of type 01 for signing notes; wiped from memory when dropped, never printed.
pub struct SignerKey {
    secret: SigningKey,
    verifier: VerifierKey,
}

impl SignerKey {
    /// A key from its name (for a log: the origin) and its 32-byte seed. Wiping `seed` is up to the caller.
    ///
    /// # Errors
    /// [`KeyError::Name`] for a name that cannot stand in a signature line.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::ed25519(name, secret.verifying_key().as_bytes())?;
        Ok(Self { secret, verifier })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    pub(super) fn sign_text(&self, text: &str) -> NoteSignature {
        let bytes = self.secret.sign(text.as_bytes()).to_bytes().to_vec();
        NoteSignature { name: self.verifier.name.clone(), id: self.verifier.id, bytes }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.verifier)
    }
}

/// A private key of type 04 for cosigning checkpoints; wiped from memory when dropped, never printed.
///
/// The signed message does not hold the cosigner's name: use one key per cosigner, and never the key of a
/// [`SignerKey`].
pub struct CosignerKey {
    secret: SigningKey,
    verifier: VerifierKey,
}

impl CosignerKey {
    /// A key from its name and its 32-byte seed. Wiping `seed` is up to the caller.
    ///
    /// # Errors
    /// [`KeyError::Name`] for a name that cannot stand in a signature line.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = SigningKey::from_bytes(seed);
        let verifier = VerifierKey::cosigner(name, secret.verifying_key().as_bytes())?;
        Ok(Self { secret, verifier })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns a note's text as of `seconds` since 1970 (at most 2^63-1; later times are cut to that).
    ///
    /// The caller has checked that the text is a checkpoint consistent with all it cosigned before.
    #[must_use]
    pub fn cosign(&self, text: &str, seconds: u64) -> NoteSignature {
        let seconds = seconds.min(MAX_TIMESTAMP);
        let signature = self.secret.sign(cosigned_message(text, seconds).as_bytes());
        let mut bytes = seconds.to_be_bytes().to_vec();
        bytes.extend_from_slice(&signature.to_bytes());
        NoteSignature { name: self.verifier.name.clone(), id: self.verifier.id, bytes }
    }
}

impl fmt::Debug for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerKey({})", self.verifier)
    }
}

fn cosigned_message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

fn check_name(name: &str) -> Result<(), KeyError> {
    if name.len() <= MAX_NAME_BYTES && is_key_name(name) { Ok(()) } else { Err(KeyError::Name) }
}

fn key_id(name: &str, kind: KeyKind, public: &[u8]) -> u32 {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', kind.byte()]).chain_update(public);
    let [a, b, c, d, ..]: [u8; 32] = digest.finalize().into();
    u32::from_be_bytes([a, b, c, d])
}
