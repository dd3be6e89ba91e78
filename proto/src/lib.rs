//! All that crosses a border in Yiwang, and how to check it: messages, typed ids, signatures,
//! statements, documents, ledger entries, Merkle proofs. No IO, no tokio.
//!
//! Everything from the wire goes raw → checked: a `parse` function takes exact bytes, refuses what is
//! not canonical, and yields a type whose values satisfy the stated limits.
#![deny(missing_docs)]

pub mod adapter_journal;
pub mod ambient;
pub mod answer;
pub mod assemble;
pub mod audit_scope;
pub mod batch;
pub mod body;
mod canonical;
pub mod case;
pub mod checkpoint;
pub mod clause;
pub mod codes;
pub mod contract;
pub mod delegation;
pub mod document;
pub mod entry;
pub mod envelope;
pub mod evidence;
pub mod folded;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod member;
pub mod merkle;
pub mod nearest;
pub mod note;
pub mod peer_time;
pub mod plural;
pub mod prepared;
pub mod receipt;
pub mod request;
pub mod resident_id;
pub mod revocation;
pub mod sealing;
pub mod standing;
pub mod tag;
pub mod ticket;
pub mod tile;
pub mod time;
pub mod tlog_proof;
pub mod witness;

/// The generated protobuf messages of package `yiwang.v1`.
#[expect(missing_docs, clippy::all, reason = "generated code; the .proto files carry the comments")]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/yiwang.v1.rs"));
}

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// The digest that 64 lower-case hexadecimal digits name.
pub fn digest_of_hex(text: &str) -> Option<Digest> {
    let digits = text.as_bytes();
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut digest = Digest::default();
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(digest)
}

/// Lower-case hexadecimal of some bytes.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(hex_digits(bytes));
    text
}

/// The same, digit by digit.
pub(crate) fn hex_digits(bytes: &[u8]) -> impl Iterator<Item = char> + '_ {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    // Each is below 16.
    halves.map(|half| char::from_digit(half.into(), 16).unwrap_or_default())
}
