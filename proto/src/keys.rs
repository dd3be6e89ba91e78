//! Ed25519 keys. One behaviour everywhere, that of `verify_strict`: keys of low order, commitments of low
//! order and malleable signatures are refused.

mod multiples;
mod prepared;

use crate::ambient::{Entropy, random};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::{Signer as _, Verifier as _};
use std::sync::LazyLock;
use zeroize::Zeroize as _;

/// Why a text or bytes are no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 {0}: expected 32 bytes in base64")]
pub struct KeyError(&'static str);

/// The eight points of low order, as they are encoded.
static LOW_ORDER: LazyLock<[[u8; 32]; 8]> = LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().0));

/// The public half of a key. INVARIANT: not of low order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// From 32 bytes; refuses encodings that are no curve point and keys of low order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError("public key"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError("public key"))?;
        if key.is_weak() {
            return Err(KeyError("public key"));
        }
        Ok(Self(key))
    }

    /// From standard base64.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| KeyError("public key"))?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Standard base64, as it stands in documents.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.as_bytes())
    }

    /// A hint that helps to find the key: 16 hexadecimal digits of its SHA-256.
    pub fn key_id(&self) -> String {
        let digest = crate::sha256(self.as_bytes());
        crate::hex(digest.get(..8).unwrap_or_default())
    }

    /// Whether a hint is this key's.
    pub(crate) fn has_id(&self, hint: &str) -> bool {
        let digest = crate::sha256(self.as_bytes());
        hint.chars().eq(crate::hex_digits(digest.get(..8).unwrap_or_default()))
    }

    /// The same key for X25519 (RFC 7748, the birational map of section 4.1). Only keys that are delegated
    /// for sealing are used so; they sign nothing.
    pub(crate) fn to_x25519(self) -> [u8; 32] {
        self.0.to_montgomery().to_bytes()
    }

    /// Whether the signature over the message is good, by the strict rule.
    ///
    /// `verify_strict` unpacks R to see whether it is of low order, which is a quarter of its work. `verify`
    /// accepts only an R that equals the encoding of a point that it computed, so the eight encodings of
    /// low order are all that is left to refuse; the key was looked at when it was read.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(bytes) = <[u8; 64]>::try_from(signature) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(&bytes);
        if LOW_ORDER.contains(signature.r_bytes()) {
            return false;
        }
        prepared::check(self, message, &bytes).unwrap_or_else(|| {
            let good = self.0.verify(message, &signature).is_ok();
            if good {
                prepared::note_good(self);
            }
            good
        })
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.key_id())
    }
}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.to_base64())
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        Self::from_base64(&text).map_err(serde::de::Error::custom)
    }
}

/// A private key. Never shown by `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct SecretKey {
    key: ed25519_dalek::SigningKey,
    key_id: String,
}

impl SecretKey {
    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut seed: [u8; 32] = random(entropy);
        let key = Self::from_seed(&seed);
        seed.zeroize();
        key
    }

    /// From its 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let key_id = PublicKey(key.verifying_key()).key_id();
        Self { key, key_id }
    }

    /// From the base64 of its seed, as it stands in a key file.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let mut bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError("private key"))?;
        let mut seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyError("private key"))?;
        let key = Self::from_seed(&seed);
        bytes.zeroize();
        seed.zeroize();
        Ok(key)
    }

    /// The base64 of the seed, for a key file that only its owner can read.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.key.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// The hint of the public half.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The private half of [`PublicKey::to_x25519`].
    pub(crate) fn to_x25519(&self) -> [u8; 32] {
        self.key.to_scalar_bytes()
    }

    /// Signs a message: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({})", self.key_id)
    }
}
