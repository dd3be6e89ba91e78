//! Sealed bodies: HPKE (RFC 9180) in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305.
//! One suite and no negotiation, so there is nothing to downgrade to.
//!
//! A body is padded to a size class and sealed to one key; the associated data is the SHA-256 of the
//! statement that the body travels beside, so a body cannot be moved under another statement. Base mode does
//! not say who sealed: that follows from the statement, whose signature covers the digest of the plain body.
//! The receiver opens, takes the padding off, and compares that digest as it does with an open body.
//!
//! Keys are those that a member's root delegates with role `sealing`: Ed25519 key pairs by their form, used
//! for X25519 only (RFC 7748, section 4.1), so that the documents and key files of all roles are alike.

use crate::ambient::Entropy;
use crate::delegation::{Delegation, Role};
use crate::ids::MemberId;
use crate::keys::{PublicKey, SecretKey};
use crate::limits::{BODY_MAX, SEALED_SIZES};
use crate::pb;
use bytes::Bytes;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use prost::Message as _;
use std::convert::Infallible;
use zeroize::Zeroizing;

/// Bytes before the body in the plaintext: its length, big-endian.
const LENGTH: usize = 4;
/// Bytes that the cipher adds.
const TAG: usize = 16;
/// Bytes of an encapsulated key.
const ENCAPSULATED: usize = 32;

/// Which body is sealed; the two never pass for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A request's body, for the provider's adapter.
    Request,
    /// An answer's body, for the consumer's app.
    Answer,
}

impl Direction {
    /// HPKE's `info`: names protocol, version and direction.
    fn info(self) -> &'static [u8] {
        match self {
            Self::Request => b"yiwang/v1 sealed request body",
            Self::Answer => b"yiwang/v1 sealed answer body",
        }
    }
}

/// Why a body cannot be sealed or opened. Never holds a value of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Over the largest size class.
    #[error("body is too large to be sealed")]
    TooLarge,
    /// Not the canonical encoding of a sealed body of a size class.
    #[error("sealed body is malformed: {0}")]
    Malformed(&'static str),
    /// Sealed for another key than the one at hand.
    #[error("sealed body is for another key")]
    OtherKey,
    /// The cipher refuses: another key, another statement, or an altered byte.
    #[error("sealed body does not open")]
    Closed,
    /// The recipient's key cannot be used.
    #[error("key for sealing is unusable")]
    Key,
}

/// Why a delegation gives no key that may be sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("delegation for sealing: {0}")]
pub struct NotForSealing(pub &'static str);

/// Checks that a delegation makes its key the sealing key of that member under the root that counts, the
/// contract's. `name` is the app or adapter that it must belong to; none = any of the member's.
///
/// # Errors
/// [`NotForSealing`] with the first thing that does not hold.
pub fn check_recipient(
    delegation: &Delegation,
    member: &MemberId,
    name: Option<&str>,
    root: &PublicKey,
    now_ms: i64,
) -> Result<(), NotForSealing> {
    let fits = |holds: bool, what| if holds { Ok(()) } else { Err(NotForSealing(what)) };
    fits(delegation.root == *root, "not under the root in the contract")?;
    fits(delegation.role == Role::Sealing, "its role is not `sealing`")?;
    fits(delegation.member == *member, "of another member")?;
    fits(name.is_none_or(|name| delegation.name.as_str() == name), "of another app or adapter")?;
    fits(delegation.valid_at(now_ms), "not in force now")
}

/// Who a body is sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// The key, as the delegation has it.
    pub key: PublicKey,
    /// SHA-256 of the delegation.
    pub delegation: crate::Digest,
}

impl From<&Delegation> for Recipient {
    fn from(delegation: &Delegation) -> Self {
        Self { key: delegation.key, delegation: delegation.digest }
    }
}

/// Opens bodies that are sealed to one delegated key.
#[derive(Debug, Clone)]
pub struct Opener {
    key: SecretKey,
    delegation: crate::Digest,
}

impl Opener {
    /// For a key and the digest of its delegation.
    pub fn new(key: SecretKey, delegation: crate::Digest) -> Self {
        Self { key, delegation }
    }

    /// The delegation's digest.
    pub fn delegation(&self) -> crate::Digest {
        self.delegation
    }

    /// Opens a sealed body beside a statement. The caller then compares the digest of the plain body with
    /// the one that the statement names.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(
        &self,
        direction: Direction,
        statement: &crate::Digest,
        body: &Bytes,
    ) -> Result<Bytes, SealError> {
        let sealed = Sealed::parse(body)?;
        if sealed.sealed_to != self.delegation {
            return Err(SealError::OtherKey);
        }
        let secret = Zeroizing::new(self.key.to_x25519());
        let padded = open_raw(
            secret.as_slice(),
            &sealed.encapsulated,
            direction.info(),
            statement,
            &sealed.ciphertext,
        )?;
        unpad(padded)
    }
}

/// A sealed body whose form is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// SHA-256 of the delegation whose key opens it.
    pub sealed_to: crate::Digest,
    encapsulated: Bytes,
    ciphertext: Bytes,
}

impl Sealed {
    /// Checks form, lengths and size class: what can be seen of it without its key.
    ///
    /// # Errors
    /// [`SealError::Malformed`] or [`SealError::TooLarge`].
    pub fn parse(body: &Bytes) -> Result<Self, SealError> {
        if body.len() > BODY_MAX {
            return Err(SealError::TooLarge);
        }
        let raw = pb::SealedBody::decode(body.clone())
            .map_err(|_| SealError::Malformed("protobuf does not decode"))?;
        if raw.encoded_len() != body.len() || raw.encode_to_vec() != *body {
            return Err(SealError::Malformed("encoding is not canonical or has unknown fields"));
        }
        let Ok(sealed_to) = crate::Digest::try_from(raw.sealed_to.as_ref()) else {
            return Err(SealError::Malformed("sealed_to is not 32 bytes"));
        };
        if raw.encapsulated.len() != ENCAPSULATED {
            return Err(SealError::Malformed("encapsulated key is not 32 bytes"));
        }
        let padded = raw.ciphertext.len().checked_sub(TAG);
        if !padded.is_some_and(|size| SEALED_SIZES.contains(&size)) {
            return Err(SealError::Malformed("ciphertext is not of a size class"));
        }
        Ok(Self { sealed_to, encapsulated: raw.encapsulated, ciphertext: raw.ciphertext })
    }
}

/// Seals a body to a key, beside a statement given by the SHA-256 of its signed payload: an encoded
/// `SealedBody`.
///
/// # Errors
/// [`SealError::TooLarge`]; [`SealError::Key`] for a key of low order.
pub fn seal(
    direction: Direction,
    to: &Recipient,
    statement: &crate::Digest,
    body: &[u8],
    entropy: &dyn Entropy,
) -> Result<Bytes, SealError> {
    let padded = pad(body)?;
    let key =
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&to.key.to_x25519()).map_err(|_| SealError::Key)?;
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            direction.info(),
            &padded,
            statement,
            &mut Source(entropy),
        )
        .map_err(|_| SealError::Key)?;
    let raw = pb::SealedBody {
        sealed_to: Bytes::copy_from_slice(&to.delegation),
        encapsulated: Bytes::copy_from_slice(&encapsulated.to_bytes()),
        ciphertext: ciphertext.into(),
    };
    Ok(Bytes::from(raw.encode_to_vec()))
}

fn open_raw(
    secret: &[u8],
    encapsulated: &[u8],
    info: &[u8],
    associated: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret).map_err(|_| SealError::Key)?;
    let encapsulated =
        <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| SealError::Closed)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &encapsulated,
        info,
        ciphertext,
        associated,
    )
    .map_err(|_| SealError::Closed)
}

/// Length, body, zeros up to the next size class. Wiped when dropped.
fn pad(body: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let needed = body.len().checked_add(LENGTH).ok_or(SealError::TooLarge)?;
    let size = SEALED_SIZES.into_iter().find(|size| *size >= needed).ok_or(SealError::TooLarge)?;
    let length = u32::try_from(body.len()).map_err(|_| SealError::TooLarge)?;
    let mut padded = Zeroizing::new(Vec::with_capacity(size));
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(body);
    padded.resize(size, 0);
    Ok(padded)
}

fn unpad(padded: Vec<u8>) -> Result<Bytes, SealError> {
    let malformed = SealError::Malformed("padding");
    let padded = Bytes::from(padded);
    let (length, rest) = padded.split_first_chunk::<LENGTH>().ok_or(malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| malformed)?;
    let zeros = rest.get(length..).ok_or(malformed)?;
    // One body, one form: what is after it is nothing.
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(malformed);
    }
    let end = LENGTH.checked_add(length).ok_or(malformed)?;
    Ok(padded.slice(LENGTH..end))
}

/// Our randomness in the form that the library takes.
struct Source<'a>(&'a dyn Entropy);

impl TryRng for Source<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(crate::ambient::random(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(crate::ambient::random(self.0)))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(buffer);
        Ok(())
    }
}

impl TryCryptoRng for Source<'_> {}

#[cfg(test)]
#[path = "sealing_tests.rs"]
mod tests;
