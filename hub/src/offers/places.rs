//! Where the exchanges of one provider stand in the ledger. After a crash an adapter offers a thousand answers, each from
//! some minutes ago: the provider's entries since are read once for all of them and not once for each.

use crate::context::Hub;
use crate::limits::{OFFER_WALK_GO, OFFER_WALKS_AT_ONCE};
use crate::links::previous;
use bytes::Bytes;
use prost::Message as _;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::{pb, sha256};

/// Own entries of the provider that are looked through: hours of a busy one, and 50 MB while they are remembered.
const WALK_MAX: usize = 500_000;
/// Entries of all providers that are remembered together; above that those of who offered last longest ago are given up.
const ALL_MAX: usize = 2 * WALK_MAX;
/// After so long without an offer what was read for a provider is given up: an adapter offers twice a second as long as it has
/// any, and again after half a minute what got nothing.
const APART: Duration = Duration::from_secs(40);

/// Half of a request's digest. An equal one is told by the entry itself, which is read again.
type Key = [u8; 16];

/// What the ledger holds of an exchange.
#[derive(Default)]
pub(super) struct Found {
    pub first: Option<(u64, pb::ExchangeEntry)>,
    pub late: Option<(u64, pb::ExchangeEntry)>,
}

impl Found {
    /// The entry with this answer.
    pub(super) fn holding(&self, answer: &Bytes) -> Option<u64> {
        let mut both = [&self.first, &self.late].into_iter().flatten();
        both.find(|(_, entry)| entry.answer == *answer).map(|(index, _)| *index)
    }
}

/// Indexes plus one; 0 where there is none.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    first: u64,
    late: u64,
}

/// The entries that were looked through, from the newest one back to where somebody asked. Entries never change, so that
/// what was read once holds.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The newest own entry that was looked at, plus one.
    newest: u64,
    /// The next older one that was not, plus one.
    below: u64,
    /// Those that were, the newest first.
    steps: VecDeque<Step>,
    exchanges: HashMap<Key, Place>,
}

/// What was looked through for each provider that offers. It outlives links, so that an adapter whose links are short gets
/// on all the same.
#[derive(Debug)]
pub struct Known {
    looked: Mutex<HashMap<MemberId, Looked>>,
    /// Walks that may begin now, of all providers.
    walks: Arc<Semaphore>,
}

impl Default for Known {
    fn default() -> Self {
        Self { looked: Mutex::default(), walks: Arc::new(Semaphore::new(OFFER_WALKS_AT_ONCE)) }
    }
}

#[derive(Debug, Default)]
struct Looked {
    places: Arc<tokio::sync::Mutex<Places>>,
    /// How many entries it held when it was looked at last.
    held: usize,
    used_us: u64,
}

impl Looked {
    /// Whether somebody has it or waits for it: its lock must stay the only one.
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.places) > 1
    }
}

impl Known {
    fn looked(&self) -> MutexGuard<'_, HashMap<MemberId, Looked>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn for one go of a walk, in the order in which they are asked for; none where the others take too long.
    pub(super) async fn turn(&self, until: Instant) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.walks).acquire_owned();
        tokio::time::timeout_at(until, turn).await.ok()?.ok()
    }

    /// What is known of a provider; whoever looks holds its lock. What was not used for long is given up.
    pub(super) fn of(&self, provider: &MemberId, now_us: u64) -> Arc<tokio::sync::Mutex<Places>> {
        let mut known = self.looked();
        let old = |since_us: u64| u128::from(now_us.saturating_sub(since_us)) > APART.as_micros();
        known.retain(|_, looked| looked.in_use() || !old(looked.used_us));
        let looked = known.entry(provider.clone()).or_default();
        looked.used_us = now_us;
        Arc::clone(&looked.places)
    }

    /// Says how many entries are known of a provider. Where all become too many, those are given up that were not used for
    /// the longest time.
    pub(super) fn holds(&self, provider: &MemberId, held: usize, now_us: u64) {
        let mut known = self.looked();
        if let Some(looked) = known.get_mut(provider) {
            (looked.held, looked.used_us) = (held, now_us);
        }
        while known.values().fold(0_usize, |sum, one| sum.saturating_add(one.held)) > ALL_MAX {
            let others = known.iter().filter(|(of, one)| *of != provider && one.held > 0 && !one.in_use());
            let Some(oldest) = others.min_by_key(|(_, one)| one.used_us).map(|(of, _)| of.clone()) else {
                return;
            };
            known.remove(&oldest);
        }
    }

    /// Gives up all that nobody uses now.
    pub fn forget(&self) {
        self.looked().retain(|_, looked| looked.in_use());
    }
}

fn key(request: &[u8]) -> Key {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = sha256(request);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

fn read(hub: &Hub, index: u64) -> Result<Bytes, Code> {
    hub.ledger.reader().read(index).map_err(|_| Code::Internal)
}

impl Places {
    /// Looks an exchange up in what was read before.
    pub(super) fn known(&self, hub: &Hub, request: &Bytes) -> Result<Found, Code> {
        let Some(place) = self.exchanges.get(&key(request)).copied() else { return Ok(Found::default()) };
        let entry = |place: u64| {
            let Some(index) = place.checked_sub(1) else { return Ok(None) };
            match pb::Entry::decode(read(hub, index)?).map_err(|_| Code::Internal)?.kind {
                Some(Kind::Exchange(exchange)) if exchange.request == *request => Ok(Some((index, exchange))),
                _ => Ok(None),
            }
        };
        Ok(Found { first: entry(place.first)?, late: entry(place.late)? })
    }

    /// Looks an exchange up whose request was issued at this time, in entries since and to before `newest`, all of them
    /// durable. None after one go that did not get that far back: the next one goes on from there.
    pub(super) fn find(
        &mut self,
        hub: &Hub,
        provider: &MemberId,
        newest: u64,
        request: &Bytes,
        since_ms: i64,
    ) -> Result<Option<Found>, Code> {
        let read = |at| step(hub, provider, at);
        let since_ms = since_ms.saturating_sub(CLOCK_SKEW_MS);
        let done = self.look(WALK_MAX, OFFER_WALK_GO, newest, since_ms, &read)?;
        if done { self.known(hub, request).map(Some) } else { Ok(None) }
    }

    /// Looks through what came since the last time, and back to a time; `read` gives an entry by its place. At most `max`
    /// entries are read, and kept: with newer ones the oldest fall off. False where `go` of them were read on the way back
    /// and it is not at its end.
    ///
    /// # Errors
    /// Those of `read`, and [`Code::NotFound`] where the time lies further back than the entries that are kept.
    fn look(
        &mut self,
        max: usize,
        go: usize,
        newest: u64,
        since_ms: i64,
        read: &dyn Fn(u64) -> Result<Step, Code>,
    ) -> Result<bool, Code> {
        if self.newest == 0 {
            (self.newest, self.below) = (newest, newest);
        }
        self.take_newer(max, newest, read)?;
        let mut left = go;
        while self.below > 0 && self.oldest_ms() >= since_ms {
            if self.held() >= max {
                // It may lie further back, so nothing can be said of it, and nothing be entered for it.
                return Err(Code::NotFound);
            }
            if left == 0 {
                return Ok(false);
            }
            left -= 1;
            let step = read(self.below)?;
            self.below = step.before;
            self.note(&step);
            self.steps.push_back(step);
        }
        Ok(true)
    }

    /// Takes up what came since the last time: forward is backward too, from the newest to what is known.
    fn take_newer(
        &mut self,
        max: usize,
        newest: u64,
        read: &dyn Fn(u64) -> Result<Step, Code>,
    ) -> Result<(), Code> {
        if newest <= self.newest {
            return Ok(());
        }
        // Kept apart until it is whole: an error on the way leaves no gap.
        let (mut new, mut at) = (Vec::new(), newest);
        while at > self.newest && new.len() < max {
            let step = read(at)?;
            at = step.before;
            new.push(step);
        }
        if at != self.newest {
            // More came than is kept.
            *self = Self { below: at, ..Self::default() };
        }
        self.newest = newest;
        for step in new.into_iter().rev() {
            self.note(&step);
            self.steps.push_front(step);
        }
        while self.held() > max
            && let Some(oldest) = self.steps.pop_back()
        {
            self.below = oldest.place;
            self.drop_place(&oldest);
        }
        Ok(())
    }

    /// How many entries are kept.
    pub(super) fn held(&self) -> usize {
        self.steps.len()
    }

    /// When the oldest one that is kept was entered.
    fn oldest_ms(&self) -> i64 {
        self.steps.back().map_or(i64::MAX, |step| step.time_ms)
    }

    fn note(&mut self, step: &Step) {
        let Some((key, late)) = step.exchange else { return };
        let known = self.exchanges.entry(key).or_default();
        let known = if late { &mut known.late } else { &mut known.first };
        if *known == 0 || step.place < *known {
            *known = step.place;
        }
    }

    /// Its exchange is asked for no more: whoever does is told that it lies too far back.
    fn drop_place(&mut self, step: &Step) {
        let Some((key, _)) = step.exchange else { return };
        let Some(known) = self.exchanges.get_mut(&key) else { return };
        for place in [&mut known.first, &mut known.late] {
            if *place == step.place {
                *place = 0;
            }
        }
        if known.first == 0 && known.late == 0 {
            self.exchanges.remove(&key);
        }
    }
}

/// What is kept of an own entry; its place and that of the one before are indexes plus one.
#[derive(Debug)]
struct Step {
    place: u64,
    before: u64,
    time_ms: i64,
    /// Of an exchange: its request, and whether it is a late entry.
    exchange: Option<(Key, bool)>,
}

fn step(hub: &Hub, provider: &MemberId, place: u64) -> Result<Step, Code> {
    let bytes = read(hub, place.saturating_sub(1))?;
    let entry = pb::Entry::decode(bytes).map_err(|_| Code::Internal)?;
    let before = previous(&entry, provider).filter(|before| *before < place).ok_or(Code::Internal)?;
    let exchange = match &entry.kind {
        // One that the hub refused as a replay says nothing of the exchange that it repeats.
        Some(Kind::Exchange(exchange))
            if !exchange.request.is_empty()
                && (exchange.code != Code::Replayed.as_str() || !exchange.answer.is_empty()) =>
        {
            Some((key(&exchange.request), exchange.late_of != 0))
        }
        _ => None,
    };
    Ok(Step { place, before, time_ms: entry.time_ms, exchange })
}

#[cfg(test)]
mod tests;
