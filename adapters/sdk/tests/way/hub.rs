//! A ledger and a hub's stock of documents that a test can bend.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use yiwang_adapter_sdk::material::{MaterialError, MaterialSource, Wanted};
use yiwang_proto::checkpoint::Checkpoint;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::CaseId;
use yiwang_proto::merkle::{
    EMPTY_ROOT, Hash, HashReader, Tree, consistency_proof, inclusion_proof, leaf_hash, node_hash,
};
use yiwang_proto::note::SignerKey;
use yiwang_proto::{Digest, pb};

pub const ORIGIN: &str = "ledger.test.example/city";

/// At most 256 entries: one tile holds all leaves.
pub struct Ledger {
    key: SignerKey,
    entries: Mutex<Vec<Bytes>>,
}

struct Leaves(Vec<Hash>);

impl HashReader for Leaves {
    type Error = std::convert::Infallible;

    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Bytes, Self::Error> {
        assert_eq!((level, index), (0, 0), "a small tree");
        Ok(Bytes::from(self.0[..usize::from(width)].concat()))
    }
}

impl Ledger {
    pub fn new(seed: u8) -> Self {
        let key = SignerKey::from_seed(ORIGIN, &[seed; 32]).unwrap();
        let ledger = Self { key, entries: Mutex::default() };
        let origin = pb::OriginEntry { origin: ORIGIN.to_owned(), ..Default::default() };
        ledger.append(0, Kind::Origin(origin));
        ledger
    }

    pub fn append(&self, time_ms: i64, kind: Kind) -> u64 {
        let bytes = entry::encode(&pb::Entry { time_ms, kind: Some(kind) }).unwrap();
        let mut entries = self.entries.lock().unwrap();
        entries.push(bytes);
        entries.len() as u64 - 1
    }

    pub fn len(&self) -> u64 {
        self.entries.lock().unwrap().len() as u64
    }

    fn leaves(&self, size: u64) -> Leaves {
        let entries = self.entries.lock().unwrap();
        Leaves(entries.iter().take(size as usize).map(|entry| leaf_hash(entry)).collect())
    }

    pub fn checkpoint_at(&self, size: u64) -> Bytes {
        let mut tree = Tree::new();
        tree.append(&self.leaves(size).0);
        let root = if size == 0 { EMPTY_ROOT } else { tree.root() };
        Checkpoint::new(ORIGIN, size, root).unwrap().sign(&self.key).unwrap().into_bytes().into()
    }

    pub fn consistency(&self, from: u64, to: u64) -> Vec<Bytes> {
        let proof = consistency_proof(&self.leaves(to), from, to).unwrap();
        proof.into_iter().map(|hash| Bytes::copy_from_slice(&hash)).collect()
    }

    pub fn receipt(&self, index: u64) -> pb::Receipt {
        let size = self.len();
        let proof = inclusion_proof(&self.leaves(size), index, size).unwrap();
        let entry = self.entries.lock().unwrap()[index as usize].clone();
        pb::Receipt {
            index,
            entry,
            proof: proof.into_iter().map(|hash| Bytes::copy_from_slice(&hash)).collect(),
            checkpoint: self.checkpoint_at(size),
        }
    }

    /// A receipt under a head that the ledger's key signed for this entry alone; the index is a power of two.
    pub fn alone(&self, index: u64, time_ms: i64, kind: Kind) -> pb::Receipt {
        assert!(index.is_power_of_two());
        let entry = entry::encode(&pb::Entry { time_ms, kind: Some(kind) }).unwrap();
        let rest = [7; 32];
        let head = Checkpoint::new(ORIGIN, index + 1, node_hash(&rest, &leaf_hash(&entry))).unwrap();
        let checkpoint = head.sign(&self.key).unwrap().into_bytes().into();
        pb::Receipt { index, entry, proof: vec![Bytes::copy_from_slice(&rest)], checkpoint }
    }

    pub fn head_at(&self, size: u64) -> yiwang_proto::request::Head {
        let checkpoint = Checkpoint::open(&self.checkpoint_at(size), self.key.verifier(), ORIGIN).unwrap();
        yiwang_proto::request::Head { size, root: checkpoint.root }
    }

    pub fn verifier_key(&self) -> yiwang_proto::note::VerifierKey {
        self.key.verifier().clone()
    }
}

/// What the hub hands over.
#[derive(Default)]
pub struct Stock {
    pub documents: Mutex<HashMap<Digest, Bytes>>,
    pub cases: Mutex<HashMap<CaseId, Vec<pb::Receipt>>>,
    pub asked: AtomicUsize,
    pub proofs: AtomicUsize,
    pub late: std::sync::atomic::AtomicBool,
    /// Questions are the test's to answer.
    pub held: std::sync::atomic::AtomicBool,
    /// The hub reads nothing.
    pub deaf: std::sync::atomic::AtomicBool,
}

impl Stock {
    pub fn publish(&self, document: &SignedDocument) {
        self.documents.lock().unwrap().insert(document.digest(), document.bytes().clone());
    }

    /// Enters case statements and shows all of them as the case.
    pub fn enter(&self, ledger: &Ledger, case: &CaseId, statements: &[(i64, SignedStatement)]) {
        let indices: Vec<u64> = statements
            .iter()
            .map(|(time_ms, statement)| {
                let entry = pb::CaseEntry { statement: statement.bytes().clone(), previous_of_member: 0 };
                ledger.append(*time_ms, Kind::CaseStatement(entry))
            })
            .collect();
        let receipts = indices.into_iter().map(|index| ledger.receipt(index));
        self.cases.lock().unwrap().entry(case.clone()).or_default().extend(receipts);
    }

    /// What the hub answers to a question.
    pub fn answer(&self, wanted: &Wanted) -> pb::Material {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut material = pb::Material::default();
        for digest in &wanted.documents {
            match self.documents.lock().unwrap().get(digest) {
                Some(document) => material.documents.push(document.clone()),
                None => material.missing_digests.push(Bytes::copy_from_slice(digest)),
            }
        }
        for case in &wanted.cases {
            match self.cases.lock().unwrap().get(case) {
                Some(receipts) => material.cases.extend(receipts.iter().cloned()),
                None => material.missing_cases.push(case.as_str().to_owned()),
            }
        }
        material
    }
}

impl MaterialSource for Stock {
    fn fetch(&self, wanted: Wanted) -> BoxFuture<'_, Result<pb::Material, MaterialError>> {
        let late = self.late.load(Ordering::SeqCst);
        Box::pin(async move { if late { Err(MaterialError::Late) } else { Ok(self.answer(&wanted)) } })
    }
}
