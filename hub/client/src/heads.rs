//! Heads that come to a client: in receipts, signed by the ledger's key, and in answers, as the provider knows
//! them. Two heads of one size with two roots, or one that does not lie on the history that this client knows,
//! are a ledger with two faces.

use crate::client::Client;
use crate::error::ClientError;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use yiwang_proto::codes::Code;
use yiwang_proto::merkle::{Hash, verify_growth};
use yiwang_proto::pb;
use yiwang_proto::receipt;
use yiwang_proto::request::Head;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;

/// Heads remembered, of each kind: minutes of a busy ledger, days of a quiet one. Forgetting costs a question.
const REMEMBERED: usize = 8192;

/// What a client has seen of the ledger's heads: roots by size.
#[derive(Debug, Default)]
pub(crate) struct HeadsSeen {
    // INVARIANT: each is proved to lie on the history of a head that this client kept.
    proved: Mutex<HashMap<u64, Hash>>,
    // Under the ledger's own signature, in receipts.
    signed: Mutex<HashMap<u64, Hash>>,
    // Many answers name one new head at once; one of them asks.
    asking: tokio::sync::Mutex<()>,
}

fn lock(map: &Mutex<HashMap<u64, Hash>>) -> MutexGuard<'_, HashMap<u64, Hash>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(map: &Mutex<HashMap<u64, Hash>>, head: &Head) {
    let mut map = lock(map);
    if map.len() >= REMEMBERED {
        map.clear();
    }
    map.insert(head.size, head.root);
}

impl HeadsSeen {
    /// A head that was proved to continue the one kept before.
    pub(crate) fn note_proved(&self, head: &Head) {
        note(&self.proved, head);
    }

    /// A head under which a receipt holds. Refused where another root of that size is known.
    pub(crate) fn note_signed(&self, head: &Head) -> Result<(), ClientError> {
        if self.agrees(head) == Some(false) {
            return Err(contradiction(head));
        }
        note(&self.signed, head);
        Ok(())
    }

    /// None where nothing is known of this size.
    fn agrees(&self, head: &Head) -> Option<bool> {
        let known = |map| lock(map).get(&head.size).map(|root| *root == head.root);
        match (known(&self.proved), known(&self.signed)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (proved, signed) => proved.or(signed),
        }
    }
}

fn contradiction(head: &Head) -> ClientError {
    ClientError::Unverified(format!(
        "{}: a head of size {} is not on the history that this app knows; {}",
        Code::HeadContradicts,
        head.size,
        Code::HeadContradicts.help()
    ))
}

impl Client {
    /// Holds a head that a provider named against what this client knows. A look-up in the normal case; for a
    /// head that it did not meet before, the hub shows how the two belong together.
    pub(crate) async fn check_head(&self, head: &Head) -> Result<(), ClientError> {
        // A head without entries claims nothing.
        if head.size == 0 {
            return Ok(());
        }
        if let Some(agrees) = self.seen.agrees(head) {
            return if agrees { Ok(()) } else { Err(contradiction(head)) };
        }
        let _one_asks = self.seen.asking.lock().await;
        if let Some(agrees) = self.seen.agrees(head) {
            return if agrees { Ok(()) } else { Err(contradiction(head)) };
        }
        let own = self.head();
        if own.size == 0 {
            return Ok(());
        }
        let (old, new) = if head.size <= own.size { (*head, own) } else { (own, *head) };
        let proof = if old.size == new.size { Vec::new() } else { self.growth(&old, &new, head).await? };
        verify_growth(old.size, new.size, &old.root, &new.root, &proof).map_err(|_| contradiction(head))?;
        self.seen.note_proved(head);
        Ok(())
    }

    async fn growth(&self, old: &Head, new: &Head, named: &Head) -> Result<Vec<Hash>, ClientError> {
        let mut ledger = LedgerServiceClient::new(self.channel.clone());
        let request = pb::GetConsistencyRequest { from_size: old.size, to_size: new.size };
        match ledger.get_consistency(request).await {
            Ok(answer) => receipt::hashes(&answer.into_inner().proof).map_err(ClientError::unverified),
            Err(status) => match ClientError::from(status) {
                // The hub says that its ledger is not that large.
                ClientError::Hub { code: Code::NotFound } => Err(contradiction(named)),
                other => Err(other),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roots_of_one_size_are_refused_whichever_came_first() {
        let (one, other) = (Head { size: 5, root: [1; 32] }, Head { size: 5, root: [2; 32] });
        let seen = HeadsSeen::default();
        assert!(seen.note_signed(&one).is_ok() && seen.note_signed(&one).is_ok());
        assert!(seen.note_signed(&other).is_err());
        let seen = HeadsSeen::default();
        seen.note_proved(&one);
        assert!(seen.note_signed(&other).is_err());
        assert_eq!(seen.agrees(&one), Some(true));
        assert_eq!(seen.agrees(&Head { size: 6, root: [1; 32] }), None);
        for size in 0..100_000 {
            seen.note_proved(&Head { size, root: [1; 32] });
        }
        assert!(lock(&seen.proved).len() <= REMEMBERED);
    }
}
