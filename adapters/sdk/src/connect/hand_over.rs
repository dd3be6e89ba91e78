//! Asking the hub for signed material over the link. Several exchanges that need the same document or case
//! ask once.

use crate::material::{MaterialError, MaterialSource, Wanted};
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use yiwang_proto::case::CaseStatement;
use yiwang_proto::document::SignedDocument;
use yiwang_proto::entry::{self, Kind};
use yiwang_proto::envelope::SignedStatement;
use yiwang_proto::ids::CaseId;
use yiwang_proto::limits::CONTRACT_MAX;
use yiwang_proto::merkle::Hash as MerkleHash;
use yiwang_proto::{Digest, pb, receipt};

/// Keys that may be waited for at once: a few for each exchange in flight.
const WAITING_MAX: usize = 4096;

type Waiters<K, V> = HashMap<K, Vec<oneshot::Sender<V>>>;

/// The hub as a source of material.
#[derive(Debug)]
pub(super) struct LinkMaterial {
    frames: mpsc::Sender<pb::AdapterFrame>,
    waiting: Mutex<Waiting>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    documents: Waiters<Digest, Option<Bytes>>,
    cases: Waiters<CaseId, Vec<pb::Receipt>>,
    // By the two sizes; none where the hub's ledger is not that large.
    proofs: Waiters<(u64, u64), Option<Vec<MerkleHash>>>,
    // The link is gone: nothing more will come.
    closed: bool,
}

/// Forgets keys that nobody waits for any more: the hub leaves out what it has no time for, and most keys are asked for once.
fn sweep<K: Eq + Hash, V>(waiters: &mut Waiters<K, V>) {
    waiters.retain(|_, list| {
        list.retain(|waiter| !waiter.is_closed());
        !list.is_empty()
    });
}

/// Adds a waiter; true if the key must be asked for.
fn wait<K: Eq + Hash, V>(waiters: &mut Waiters<K, V>, key: K) -> (bool, oneshot::Receiver<V>) {
    let (found, wait) = oneshot::channel();
    let list = waiters.entry(key).or_default();
    // A key whose waiters all gave up is asked for again: nobody knows whether it was ever answered.
    list.retain(|waiter| !waiter.is_closed());
    let first = list.is_empty();
    list.push(found);
    (first, wait)
}

fn tell<K: Eq + Hash, V: Clone>(waiters: &mut Waiters<K, V>, key: &K, value: &V) {
    for waiter in waiters.remove(key).unwrap_or_default() {
        // A waiter may have given up.
        let _ = waiter.send(value.clone());
    }
}

impl LinkMaterial {
    pub(super) fn new(frames: mpsc::Sender<pb::AdapterFrame>, patience_ms: u64) -> Self {
        let patience = Duration::from_millis(patience_ms);
        Self { frames, waiting: Mutex::default(), patience }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link is gone: who waits, and who asks from now on, hears that at once.
    pub(super) fn close(&self) {
        *self.waiting() = Waiting { closed: true, ..Waiting::default() };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// Hands what came to whoever waits for it. Nothing is verified here; what nobody asked for is dropped.
    pub(super) fn take(&self, material: pb::Material) {
        let mut cases: BTreeMap<CaseId, Vec<pb::Receipt>> = BTreeMap::new();
        for receipt in material.cases {
            if let Some(case) = case_of(&receipt) {
                cases.entry(case).or_default().push(receipt);
            }
        }
        for case in &material.missing_cases {
            if let Ok(case) = CaseId::parse(case) {
                cases.entry(case).or_default();
            }
        }
        let mut waiting = self.waiting();
        for document in material.documents {
            if let Ok(parsed) = SignedDocument::parse(document.clone(), CONTRACT_MAX) {
                tell(&mut waiting.documents, &parsed.digest(), &Some(document));
            }
        }
        for digest in &material.missing_digests {
            if let Ok(digest) = Digest::try_from(digest.as_ref()) {
                tell(&mut waiting.documents, &digest, &None);
            }
        }
        for (case, receipts) in cases {
            tell(&mut waiting.cases, &case, &receipts);
        }
    }

    /// Hands a consistency proof to whoever waits for it; a malformed one is none.
    pub(super) fn take_proof(&self, given: &pb::ProofGiven) {
        let proof = if given.missing { None } else { receipt::hashes(&given.proof).ok() };
        tell(&mut self.waiting().proofs, &(given.from_size, given.to_size), &proof);
    }

    async fn ask_proof(&self, from: u64, to: u64) -> Result<Option<Vec<MerkleHash>>, MaterialError> {
        let (first, proof) = {
            let mut waiting = self.waiting();
            if waiting.proofs.len() >= WAITING_MAX {
                sweep(&mut waiting.proofs);
            }
            if waiting.closed || waiting.proofs.len() >= WAITING_MAX {
                return Err(MaterialError::Unavailable);
            }
            wait(&mut waiting.proofs, (from, to))
        };
        if first {
            let wanted = pb::ProofWanted { from_size: from, to_size: to };
            let frame = pb::AdapterFrame { kind: Some(pb::adapter_frame::Kind::ProofWanted(wanted)) };
            self.frames.try_send(frame).map_err(|_| MaterialError::Unavailable)?;
        }
        proof.await.map_err(|_| MaterialError::Unavailable)
    }

    async fn ask(&self, wanted: Wanted) -> Result<pb::Material, MaterialError> {
        let mut frame = pb::MaterialWanted { digests: Vec::new(), case_ids: Vec::new() };
        let (mut documents, mut cases) = (Vec::new(), Vec::new());
        {
            let mut waiting = self.waiting();
            if waiting.documents.len() + waiting.cases.len() >= WAITING_MAX {
                sweep(&mut waiting.documents);
                sweep(&mut waiting.cases);
            }
            if waiting.closed || waiting.documents.len() + waiting.cases.len() >= WAITING_MAX {
                return Err(MaterialError::Unavailable);
            }
            for digest in wanted.documents {
                let (first, wait) = wait(&mut waiting.documents, digest);
                documents.push(wait);
                if first {
                    frame.digests.push(Bytes::copy_from_slice(&digest));
                }
            }
            for case in wanted.cases {
                let id = case.as_str().to_owned();
                let (first, wait) = wait(&mut waiting.cases, case);
                cases.push(wait);
                if first {
                    frame.case_ids.push(id);
                }
            }
        }
        if !frame.digests.is_empty() || !frame.case_ids.is_empty() {
            let frame = pb::AdapterFrame { kind: Some(pb::adapter_frame::Kind::Wanted(frame)) };
            self.frames.try_send(frame).map_err(|_| MaterialError::Unavailable)?;
        }
        // A waiter that is dropped unanswered belongs to a link that is gone.
        let documents = join_all(documents).await.into_iter().filter_map(|found| found.ok().flatten());
        let documents = documents.collect();
        let cases = join_all(cases).await.into_iter().filter_map(Result::ok).flatten().collect();
        // Half of it would read like a hub that has no more.
        if self.is_closed() {
            return Err(MaterialError::Unavailable);
        }
        Ok(pb::Material { documents, cases, missing_digests: Vec::new(), missing_cases: Vec::new() })
    }
}

impl MaterialSource for LinkMaterial {
    fn fetch(&self, wanted: Wanted) -> BoxFuture<'_, Result<pb::Material, MaterialError>> {
        Box::pin(async move {
            tokio::time::timeout(self.patience, self.ask(wanted)).await.unwrap_or(Err(MaterialError::Late))
        })
    }

    fn consistency(
        &self,
        from: u64,
        to: u64,
    ) -> BoxFuture<'_, Result<Option<Vec<MerkleHash>>, MaterialError>> {
        Box::pin(async move {
            let asked = tokio::time::timeout(self.patience, self.ask_proof(from, to));
            asked.await.unwrap_or(Err(MaterialError::Late))
        })
    }
}

/// The case that a receipt says it is about; for sorting only.
fn case_of(receipt: &pb::Receipt) -> Option<CaseId> {
    let Some(Kind::CaseStatement(statement)) = entry::decode(&receipt.entry).ok()?.kind else { return None };
    let signed = SignedStatement::parse(statement.statement).ok()?;
    Some(CaseStatement::parse(signed.unverified_payload()).ok()?.case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_takes_no_place() {
        let (frames, mut sent) = mpsc::channel(2 * WAITING_MAX);
        let material = LinkMaterial::new(frames, 1);
        for n in 0..WAITING_MAX as u64 {
            assert_eq!(material.consistency(n, n + 1).await, Err(MaterialError::Late), "{n}");
        }
        let mut digest = [0_u8; 32];
        for n in 0..WAITING_MAX as u64 {
            digest[..8].copy_from_slice(&n.to_be_bytes());
            let wanted = Wanted { documents: vec![digest], cases: Vec::new() };
            assert!(material.fetch(wanted).await.is_err(), "{n}");
        }
        while sent.try_recv().is_ok() {}
        assert_eq!(material.consistency(1, 9_999).await, Err(MaterialError::Late));
        let wanted = Wanted { documents: vec![[7; 32]], cases: Vec::new() };
        assert!(material.fetch(wanted).await.is_err());
        let asked = std::iter::from_fn(|| sent.try_recv().ok()).count();
        assert_eq!(asked, 2, "both were asked for");
    }
}
