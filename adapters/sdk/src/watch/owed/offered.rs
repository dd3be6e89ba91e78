//! Which answers are offered, and when: no more at once than the hub keeps waiting, each until the hub says something.

use super::{Offer, Open, Owed, half, key};
use yiwang_proto::Digest;

/// An answer of the present link is offered when its receipt does not come within this time.
pub(super) const OFFER_AFTER_US: u64 = 10_000_000;
/// What was offered is offered again after this time.
pub(super) const OFFER_AGAIN_US: u64 = 30_000_000;
/// And after this one where the hub said that it could not look just now.
pub(super) const OFFER_SOON_US: u64 = 5_000_000;
/// Offers without a word of the hub at once: as many as it keeps waiting. Above that it would let some fall, and they
/// would come again after half a minute only.
pub(crate) const OFFERED_AT_ONCE: usize = 128;

impl Owed {
    /// What is to be offered now, oldest first.
    pub(crate) fn due(&mut self, now_us: u64) -> Vec<Offer> {
        let (mut due, link) = (Vec::new(), self.link);
        let is_due = |open: &Open| open.again_us.is_none_or(|at| now_us >= at);
        let asked = self.open.values().filter(|open| open.asked && !open.receipted && !is_due(open)).count();
        let room = OFFERED_AT_ONCE.saturating_sub(asked);
        // First what stops the service while it is owed.
        let passes =
            [true, false].into_iter().flat_map(|gives| self.order.iter().map(move |key| (gives, key)));
        for (gives, key) in passes {
            let open = self.open.get_mut(key).filter(|open| !open.receipted && open.gives == gives);
            let Some(open) = open else { continue };
            let waited = now_us.saturating_sub(open.since_us) >= OFFER_AFTER_US || open.link < link;
            if due.len() >= room {
                break;
            }
            if waited && is_due(open) {
                (open.again_us, open.asked) = (Some(now_us.saturating_add(OFFER_AGAIN_US)), true);
                due.push(open.offer.clone());
            }
        }
        due
    }

    /// An offer found no place in the link: it is offered with the next ones.
    pub(crate) fn not_offered(&mut self, offer: &Offer) {
        if let Some(open) = self.open.get_mut(&key(&offer.request)) {
            (open.again_us, open.asked) = (None, false);
        }
    }

    /// The hub says that it gives no receipt now for the answer to this request; `soon` where it could not look.
    pub(crate) fn offer_later(&mut self, request_digest: &Digest, soon: bool, now_us: u64) {
        if let Some(open) = self.open.get_mut(&half(request_digest)) {
            open.asked = false;
            if soon {
                open.again_us = Some(now_us.saturating_add(OFFER_SOON_US));
            }
        }
    }

    /// The hub says for good that it gives no receipt for the answer to this request. One that gave nothing out is offered no
    /// more in this process; of one that did a hub's word is not enough. The journal does not hear of it: what it calls
    /// settled was proved to be in the ledger, and this was not.
    pub(crate) fn offer_no_more(&mut self, request_digest: &Digest) {
        let key = half(request_digest);
        if self.open.get(&key).is_none_or(|open| open.gives || open.receipted) {
            return;
        }
        if let Some(open) = self.open.remove(&key) {
            self.uncount(&open);
            self.remember(key, Some(open.answer), open.answered_ms);
        }
    }
}
