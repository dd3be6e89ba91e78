//! Heads from everywhere: all of them must lie on the one history that the ledger's entries give.

use super::{Fault, Reconciled};
use crate::error::AuditError;
use crate::source::{Entries as _, Source};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use yiwang_proto::checkpoint::CheckpointVerifier;
use yiwang_proto::merkle::{Frontier, Hash};
use yiwang_proto::request::Head;

/// Every head once, with the first place where it was seen.
#[derive(Debug, Default)]
pub(super) struct Heads(BTreeMap<(u64, Hash), String>);

impl Heads {
    pub fn add(&mut self, head: Head, whose: impl FnOnce() -> String) {
        // Nothing has been seen yet: a history of no entry is part of every one.
        if head.size == 0 {
            return;
        }
        if let Entry::Vacant(slot) = self.0.entry((head.size, head.root)) {
            slot.insert(whose());
        }
    }

    /// A kept checkpoint, which must be signed by the ledger's key.
    pub fn note(&mut self, verifier: &CheckpointVerifier, whose: &str, note: &[u8], done: &mut Reconciled) {
        match verifier.open(note) {
            Ok(head) => self.add(Head { size: head.size, root: head.root }, || whose.to_owned()),
            Err(error) => done.add(Fault::HeadsDiffer, None, format!("the head of {whose}: {error}")),
        }
    }

    /// Holds all heads against the roots that the entries give.
    pub fn against(&self, source: &Source, done: &mut Reconciled) -> Result<(), AuditError> {
        done.heads = self.0.len() as u64;
        let mut by_size: BTreeMap<u64, Vec<(&Hash, &String)>> = BTreeMap::new();
        for ((size, root), whose) in &self.0 {
            by_size.entry(*size).or_default().push((root, whose));
        }
        for (size, heads) in &by_size {
            if let [(_, one), (_, other), ..] = heads.as_slice() {
                let what = format!("two histories of size {size}: {one}, and {other}");
                done.add(Fault::HeadsDiffer, None, what);
            }
        }
        let mut tree = Frontier::new();
        source.each(0, &mut |_, _, leaf| {
            tree.push(leaf);
            if let Some(heads) = by_size.remove(&tree.size()) {
                let root = tree.root();
                for (_, whose) in heads.iter().filter(|(said, _)| **said != root) {
                    let what = format!(
                        "the head of size {} of {whose} is not the root of these entries",
                        tree.size()
                    );
                    done.add(Fault::HeadsDiffer, None, what);
                }
            }
            !by_size.is_empty()
        })?;
        for (size, heads) in by_size {
            for (_, whose) in heads {
                let what = format!("the head of {whose} is of size {size}, the ledger has {}", source.len());
                done.add(Fault::HeadsDiffer, None, what);
            }
        }
        Ok(())
    }
}
