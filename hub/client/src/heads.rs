//! Heads that come to a client: in receipts, signed by the ledger's key, and in answers, as the provider knows
//! them. Two heads of one size with two roots, or one that does not lie on the history that this client knows,
//! are a ledger with two faces.

use crate::client::{Client, MESSAGE_MAX};
use crate::error::ClientError;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use yiwang_proto::codes::Code;
use yiwang_proto::limits::CONSISTENCY_SIZES_MAX;
use yiwang_proto::merkle::{Hash, verify_growth};
use yiwang_proto::pb;
use yiwang_proto::receipt;
use yiwang_proto::request::Head;
use yiwang_rpc::ledger_service_client::LedgerServiceClient;

/// Proved heads remembered: minutes of a busy ledger, days of a quiet one. Forgetting costs a question.
const REMEMBERED: usize = 8192;
/// Heads of receipts that may wait for their proof: none is forgotten before it came.
const UNPROVED_MAX: usize = 8192;
/// From so many on they are proved at once, whenever the next meeting is.
const CROWDED: usize = UNPROVED_MAX / 2;

/// What a client has seen of the ledger's heads: roots by size.
#[derive(Debug, Default)]
pub(crate) struct HeadsSeen {
    // INVARIANT: each is proved to lie on the history of a head that this client kept.
    proved: Mutex<HashMap<u64, Hash>>,
    // Under the ledger's own signature, in receipts: a hub can sign a head for one receipt alone, so each is proved when
    // the hub is met next. INVARIANT: leaves only with a proof.
    unproved: Mutex<BTreeMap<u64, Hash>>,
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

    /// A head under which a receipt holds. Refused where another root of that size is known, and where too many wait for
    /// their proof.
    pub(crate) fn note_signed(&self, head: &Head) -> Result<(), ClientError> {
        match self.agrees(head) {
            Some(true) => return Ok(()),
            Some(false) => return Err(contradiction(head)),
            None => {}
        }
        let mut unproved = self.unproved();
        if unproved.len() >= UNPROVED_MAX {
            let what = "the hub does not prove the heads of its receipts: too many wait for it";
            return Err(ClientError::unverified(what));
        }
        unproved.insert(head.size, head.root);
        Ok(())
    }

    fn unproved(&self) -> MutexGuard<'_, BTreeMap<u64, Hash>> {
        self.unproved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether heads of receipts wait for their proof.
    pub(crate) fn waits(&self) -> bool {
        !self.unproved().is_empty()
    }

    /// Whether so many wait that they should not wait for the next meeting.
    pub(crate) fn is_crowded(&self) -> bool {
        self.unproved().len() >= CROWDED
    }

    fn note_signed_proved(&self, head: &Head) {
        self.note_proved(head);
        self.unproved().remove(&head.size);
    }

    /// None where nothing is known of this size.
    fn agrees(&self, head: &Head) -> Option<bool> {
        let same = |root: &Hash| *root == head.root;
        let (proved, signed) =
            (lock(&self.proved).get(&head.size).map(same), self.unproved().get(&head.size).map(same));
        match (proved, signed) {
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

    /// Proves the heads of all receipts that came before the own head was taken: each must lie on its history. A head that
    /// does not stays, so that the next meeting finds it too. One question for some hundred of them, and none where
    /// nothing waits.
    ///
    /// # Errors
    /// [`ClientError::Unverified`] where one is not on the history; [`ClientError`] where the hub cannot be asked.
    pub(crate) async fn prove_receipts(&self, waiting: Vec<Head>) -> Result<(), ClientError> {
        let own = self.head();
        let (mut before, beyond): (Vec<Head>, Vec<Head>) =
            waiting.into_iter().partition(|head| head.size <= own.size);
        // The newest first: what a hub signed for one receipt may be larger than its ledger.
        for head in beyond.iter().rev() {
            let proof = self.growth(&own, head, head).await?;
            verify_growth(own.size, head.size, &own.root, &head.root, &proof)
                .map_err(|_| contradiction(head))?;
            self.seen.note_signed_proved(head);
        }
        let mut ledger =
            LedgerServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        while let Some(first) = before.pop() {
            let rest = before.split_off(before.len().saturating_sub(CONSISTENCY_SIZES_MAX));
            let request = pb::GetConsistencyRequest {
                from_size: first.size,
                to_size: own.size,
                more_from_sizes: rest.iter().map(|head| head.size).collect(),
            };
            let answer = ledger.get_consistency(request).await?.into_inner();
            self.proves(&first, &own, &answer.proof)?;
            let mut more = answer.more.into_iter().peekable();
            for head in rest {
                match more.next_if(|given| given.from_size == head.size) {
                    Some(given) => self.proves(&head, &own, &given.proof)?,
                    None => before.push(head),
                }
            }
        }
        Ok(())
    }

    fn proves(&self, head: &Head, own: &Head, proof: &[bytes::Bytes]) -> Result<(), ClientError> {
        let proof = receipt::hashes(proof).map_err(ClientError::unverified)?;
        verify_growth(head.size, own.size, &head.root, &own.root, &proof).map_err(|_| contradiction(head))?;
        self.seen.note_signed_proved(head);
        Ok(())
    }

    /// The heads of receipts that wait for their proof, smallest first.
    pub(crate) fn waiting_heads(&self) -> Vec<Head> {
        self.seen.unproved().iter().map(|(size, root)| Head { size: *size, root: *root }).collect()
    }

    /// Proves the heads of receipts that wait for it, for a program that ends: nobody meets the hub for it again. Asks
    /// nothing where none waits.
    ///
    /// # Errors
    /// As [`Client::meet`].
    pub async fn settle(&self) -> Result<(), ClientError> {
        if self.seen.waits() {
            self.meet().await?;
        }
        Ok(())
    }

    async fn growth(&self, old: &Head, new: &Head, named: &Head) -> Result<Vec<Hash>, ClientError> {
        let mut ledger = LedgerServiceClient::new(self.channel.clone());
        let request =
            pb::GetConsistencyRequest { from_size: old.size, to_size: new.size, more_from_sizes: Vec::new() };
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

    #[test]
    fn a_receipts_head_waits_for_its_proof_and_none_is_forgotten() {
        let seen = HeadsSeen::default();
        let head = |size| Head { size, root: [1; 32] };
        let most = u64::try_from(UNPROVED_MAX).unwrap();
        for size in 0..most {
            assert!(seen.note_signed(&head(size)).is_ok());
            assert_eq!(seen.is_crowded(), size + 1 >= most / 2);
        }
        assert!(seen.note_signed(&head(most)).is_err());
        assert!(seen.note_signed(&head(7)).is_ok(), "one that waits already");
        seen.note_signed_proved(&head(7));
        assert!(seen.note_signed(&head(7)).is_ok(), "one that is proved");
        assert!(seen.note_signed(&head(most)).is_ok());
        assert!(seen.note_signed(&Head { size: 9, root: [2; 32] }).is_err());
    }
}
