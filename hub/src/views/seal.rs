//! What shows that stored views are whole and as this hub wrote them: a sum over all rows, sealed with the size they
//! reflect. A row that is lost, old or written by somebody else changes the sum; whoever has no ledger key cannot
//! seal another one.

use sha2::{Digest as _, Sha256};
use yiwang_proto::Digest;

/// Derived from the ledger's key, so that who may edit the views' folder but not read the key cannot pass them off.
#[derive(Clone)]
pub struct SealKey(Digest);

impl SealKey {
    /// From the secret seed of the ledger's key.
    pub fn derive(seed: &[u8; 32]) -> Self {
        Self(Sha256::new().chain_update(b"yiwang views seal\0").chain_update(seed).finalize().into())
    }

    fn digest(&self, kind: u8, number: u64, data: [&[u8]; 2]) -> Digest {
        let hash = Sha256::new().chain_update(self.0).chain_update([kind]).chain_update(number.to_be_bytes());
        data.into_iter().fold(hash, |hash, part| hash.chain_update(part)).finalize().into()
    }
}

/// The sum over rows, in any order, so that a batch costs what it changes. Its parts are keyed digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    fn parts(key: &SealKey, row: &[u8], value: &[u8]) -> [u64; 4] {
        let digest = key.digest(0, row.len() as u64, [row, value]);
        let (words, _) = digest.as_chunks::<8>();
        let mut parts = [0; 4];
        for (part, word) in parts.iter_mut().zip(words) {
            *part = u64::from_be_bytes(*word);
        }
        parts
    }

    pub fn add(&mut self, key: &SealKey, row: &[u8], value: &[u8]) {
        for (sum, part) in self.0.iter_mut().zip(Self::parts(key, row, value)) {
            *sum = sum.wrapping_add(part);
        }
    }

    pub fn remove(&mut self, key: &SealKey, row: &[u8], value: &[u8]) {
        for (sum, part) in self.0.iter_mut().zip(Self::parts(key, row, value)) {
            *sum = sum.wrapping_sub(part);
        }
    }

    /// What is stored beside the rows.
    pub fn seal(&self, key: &SealKey, size: u64) -> Digest {
        let words = self.0.map(u64::to_be_bytes);
        key.digest(1, size, [words.as_flattened(), &[]])
    }
}
