//! One Ed25519 signature over many statements, each of which still proves itself alone.
//!
//! The statements' pre-authentication encodings are the leaves of an RFC 6962 tree of 2 to 64 leaves; the key signs
//! the tree's size and root, under a payload type of its own. An envelope of such a statement has a payload type
//! that says so, and in the place of its signature the 64 bytes of the root's signature, the statement's place, the tree's size
//! (one byte each), and its inclusion proof. So whoever has one envelope can verify it and learns of the others
//! nothing but hashes of bytes that hold salted digests.
//!
//! It is an option that both members of a contract agree on (`batch_signatures`), never the default.

mod together;

pub use together::Together;

use crate::Digest;
use crate::envelope::{EnvelopeError, SignedStatement, leaf_of, payload_type, pre_authentication_encoding};
use crate::keys::{PublicKey, SecretKey};
use crate::merkle::{Hash, node_hash, root_from_inclusion};
use sha2::{Digest as _, Sha256};
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Payload type of what is signed: 8 bytes of the tree's size, big-endian, and its root.
const ROOT_TYPE: &str = "application/vnd.yiwang.batch.v1";
/// Statements under one signature: at most six hashes of proof each.
pub const BATCH_MAX: usize = 64;
/// Bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;
/// Roots that are remembered as verified: what may be under way at one time, each with two statements at least.
const ROOTS_MAX: usize = 4096;

/// The payload type of a statement that is signed with others, for a kind that may be.
pub(crate) fn batched(single: &str) -> Option<&'static str> {
    match single {
        payload_type::REQUEST => Some(payload_type::REQUEST_IN_BATCH),
        payload_type::ANSWER => Some(payload_type::ANSWER_IN_BATCH),
        _ => None,
    }
}

/// Whether statements of this payload type are signed with others.
pub(crate) fn is_batched(payload_type: &str) -> bool {
    matches!(payload_type, payload_type::REQUEST_IN_BATCH | payload_type::ANSWER_IN_BATCH)
}

/// Whether these bytes have the form of a signature with its proof: neither shorter nor longer, nothing beside it. (A signer
/// can choose the hashes, as it can choose tags and digests.)
pub(crate) fn is_proof(bytes: &[u8]) -> bool {
    Proof::parse(bytes).is_some()
}

struct Proof<'a> {
    signature: &'a [u8; SIGNATURE],
    index: u8,
    size: u8,
    hashes: &'a [Hash],
}

impl<'a> Proof<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (signature, rest) = bytes.split_first_chunk::<SIGNATURE>()?;
        let (&[index, size], rest) = rest.split_first_chunk::<2>()?;
        let (hashes, []) = rest.as_chunks::<32>() else { return None };
        let whole = (2..=BATCH_MAX).contains(&usize::from(size))
            && hashes.len() == path_length(usize::from(index), usize::from(size))?;
        whole.then_some(Self { signature, index, size, hashes })
    }

    fn root(&self, leaf: &Hash) -> Option<Hash> {
        root_from_inclusion(self.index.into(), self.size.into(), leaf, self.hashes).ok()
    }
}

/// How many hashes the proof of a leaf has.
fn path_length(index: usize, size: usize) -> Option<usize> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut length) = (index, size - 1, 0);
    while last > 0 {
        // A last node without a sibling is carried up.
        if at & 1 == 1 || at != last {
            length += 1;
        }
        at >>= 1;
        last >>= 1;
    }
    Some(length)
}

/// Signs statements of one kind, each in an envelope of its own, in their order: one alone as ever, more under
/// one signature for every [`BATCH_MAX`]. A kind that has no form for it is signed one by one.
pub fn sign_many(kind: &'static str, payloads: Vec<Vec<u8>>, key: &SecretKey) -> Vec<SignedStatement> {
    let Some(in_batch) = batched(kind) else {
        return payloads.into_iter().map(|payload| SignedStatement::sign(kind, payload, key)).collect();
    };
    let (mut signed, mut payloads) = (Vec::with_capacity(payloads.len()), payloads.into_iter());
    loop {
        let some: Vec<_> = payloads.by_ref().take(BATCH_MAX).collect();
        match some.len() {
            0 => return signed,
            1 => signed.extend(some.into_iter().map(|payload| SignedStatement::sign(kind, payload, key))),
            _ => signed.extend(sign_batch(in_batch, some, key)),
        }
    }
}

fn sign_batch(kind: &'static str, payloads: Vec<Vec<u8>>, key: &SecretKey) -> Vec<SignedStatement> {
    let leaves: Vec<Hash> = payloads.iter().map(|payload| leaf_of(kind, payload)).collect();
    let levels = levels(leaves);
    let root = levels.last().and_then(|top| top.first()).copied().unwrap_or_default();
    let size = payloads.len();
    let signature = key.sign(&root_message(size as u64, &root));
    // At most 64, by the caller.
    let narrow = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    payloads
        .into_iter()
        .enumerate()
        .map(|(index, payload)| {
            let mut proof = Vec::with_capacity(SIGNATURE + 2 + 6 * 32);
            proof.extend_from_slice(&signature);
            proof.extend_from_slice(&[narrow(index), narrow(size)]);
            path(&levels, index).for_each(|hash| proof.extend_from_slice(&hash));
            SignedStatement::with_signature(kind, payload, proof.into(), key)
        })
        .collect()
}

/// All levels of the tree, the leaves first. A last node without a sibling is carried up, which makes the tree
/// that RFC 6962 defines.
fn levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while let Some(below) = levels.last().filter(|below| below.len() > 1) {
        let above = below
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                [alone, ..] => *alone,
                [] => Hash::default(),
            })
            .collect();
        levels.push(above);
    }
    levels
}

fn path(levels: &[Vec<Hash>], index: usize) -> impl Iterator<Item = Hash> + '_ {
    levels.iter().enumerate().filter_map(move |(height, level)| level.get((index >> height) ^ 1)).copied()
}

fn root_message(size: u64, root: &Hash) -> Vec<u8> {
    let mut payload = [0; 40];
    let (head, tail) = payload.split_at_mut(8);
    head.copy_from_slice(&size.to_be_bytes());
    tail.copy_from_slice(root);
    pre_authentication_encoding(ROOT_TYPE, &payload)
}

/// Verifies the signature of one statement that was signed with others.
pub(crate) fn verify(
    kind: &'static str,
    payload: &[u8],
    proof: &[u8],
    key: &PublicKey,
    roots: Option<&Roots>,
) -> bool {
    let Some(proof) = Proof::parse(proof) else { return false };
    let Some(root) = proof.root(&leaf_of(kind, payload)) else { return false };
    match roots {
        Some(roots) => roots.verify(key, (proof.size, &root), proof.signature),
        None => key.verify(&root_message(proof.size.into(), &root), proof.signature),
    }
}

/// Signed roots that were verified lately, so that of all statements under one only the first costs a check of
/// its signature. Holds nothing that was not found good; forgets the oldest.
#[derive(Debug, Default)]
pub struct Roots(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    good: HashSet<Digest>,
    order: VecDeque<Digest>,
}

impl Roots {
    fn verify(&self, key: &PublicKey, (size, root): (u8, &Hash), signature: &[u8; SIGNATURE]) -> bool {
        // All of fixed lengths, so that no two of them make the same bytes.
        let named = Sha256::new().chain_update(key.as_bytes()).chain_update(signature);
        let name: Digest = named.chain_update([size]).chain_update(root).finalize().into();
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().good.contains(&name) {
            return true;
        }
        if !key.verify(&root_message(size.into(), root), signature) {
            return false;
        }
        let mut known = known();
        if known.good.insert(name) {
            known.order.push_back(name);
        }
        if known.order.len() > ROOTS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.good.remove(&oldest);
        }
        true
    }
}

/// Refuses a form of signature that a payload type does not have.
pub(crate) fn check_form(
    payload_type: &str,
    signatures: &[crate::pb::Signature],
) -> Result<(), EnvelopeError> {
    if is_batched(payload_type) {
        return match signatures {
            [one] if is_proof(&one.sig) => Ok(()),
            [_] => {
                Err(EnvelopeError::Malformed("a signature in a batch is 64 bytes with place, size and proof"))
            }
            _ => Err(EnvelopeError::Malformed("a statement in a batch has one signature")),
        };
    }
    match signatures.iter().all(|one| one.sig.len() == SIGNATURE) {
        true => Ok(()),
        false => Err(EnvelopeError::Malformed("a signature is 64 bytes with a hexadecimal keyid")),
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
