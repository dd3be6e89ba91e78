//! Where the exchanges of one provider stand in the ledger. After a crash an adapter offers a thousand answers, each from
//! some minutes ago: the provider's entries since are read once for all of them and not once for each.

use crate::context::Hub;
use crate::links::previous;
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashMap;
use std::time::Duration;
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::ids::MemberId;
use yiwang_proto::limits::CLOCK_SKEW_MS;
use yiwang_proto::{pb, sha256};

/// Own entries of the provider that are looked through: hours of a busy one, and 25 MB while they are remembered.
const WALK_MAX: usize = 500_000;
/// Exchanges of all providers that are remembered together; above that only those of the last one are.
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

/// The exchanges in the entries that were looked through, from the newest one back to where somebody asked. Entries never
/// change, so that what was read once holds.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The newest own entry that was looked at, plus one.
    newest: u64,
    /// The next older one that was not, plus one.
    below: u64,
    /// When the oldest one was entered.
    oldest_ms: i64,
    /// How many were looked at.
    walked: usize,
    exchanges: HashMap<Key, Place>,
}

/// What was looked through for each provider that offers. It outlives links, so that an adapter whose links are short gets
/// on all the same.
#[derive(Debug, Default)]
pub struct Known(HashMap<MemberId, (Places, u64)>);

impl Known {
    /// Takes out what is known of a provider; what was not used for long is given up.
    pub(super) fn take(&mut self, provider: &MemberId, now_us: u64) -> Places {
        let old = |since_us: u64| u128::from(now_us.saturating_sub(since_us)) > APART.as_micros();
        self.0.retain(|_, (_, since_us)| !old(*since_us));
        self.0.remove(provider).map(|(places, _)| places).unwrap_or_default()
    }

    /// Puts it back.
    pub(super) fn keep(&mut self, provider: &MemberId, places: Places, now_us: u64) {
        let held: usize = self.0.values().map(|(places, _)| places.exchanges.len()).sum();
        if held.saturating_add(places.exchanges.len()) > ALL_MAX {
            self.0.clear();
        }
        self.0.insert(provider.clone(), (places, now_us));
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
    /// durable.
    pub(super) fn find(
        &mut self,
        hub: &Hub,
        provider: &MemberId,
        newest: u64,
        request: &Bytes,
        since_ms: i64,
    ) -> Result<Found, Code> {
        self.look(hub, provider, newest, since_ms.saturating_sub(CLOCK_SKEW_MS))?;
        self.known(hub, request)
    }

    /// Looks through what came since the last time, and back to a time.
    fn look(&mut self, hub: &Hub, provider: &MemberId, newest: u64, since_ms: i64) -> Result<(), Code> {
        // Forward is backward too, from the newest to what is known; kept apart until it is whole.
        let (mut new, mut at) = (Vec::new(), newest);
        while self.newest > 0 && at > self.newest && new.len() <= WALK_MAX {
            let step = step(hub, provider, at)?;
            at = step.before;
            new.push(step);
        }
        if self.newest == 0 || self.walked.saturating_add(new.len()) > WALK_MAX {
            *self = Self { newest, below: newest, oldest_ms: i64::MAX, ..Self::default() };
        } else {
            new.iter().for_each(|step| self.note(step));
            self.newest = newest;
        }
        while self.below > 0 && self.oldest_ms >= since_ms {
            if self.walked >= WALK_MAX {
                // It may lie further back, so nothing can be said of it, and nothing be entered for it.
                return Err(Code::NotFound);
            }
            let step = step(hub, provider, self.below)?;
            self.oldest_ms = step.time_ms;
            self.below = step.before;
            self.note(&step);
        }
        Ok(())
    }

    fn note(&mut self, step: &Step) {
        self.walked += 1;
        let Some((key, late)) = step.exchange else { return };
        let known = self.exchanges.entry(key).or_default();
        let known = if late { &mut known.late } else { &mut known.first };
        if *known == 0 || step.place < *known {
            *known = step.place;
        }
    }
}

/// What is kept of an own entry; its place and that of the one before are indexes plus one.
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
        // One that is refused as a replay says nothing of the exchange that it repeats.
        Some(Kind::Exchange(exchange))
            if !exchange.request.is_empty() && exchange.code != Code::Replayed.as_str() =>
        {
            Some((key(&exchange.request), exchange.late_of != 0))
        }
        _ => None,
    };
    Ok(Step { place, before, time_ms: entry.time_ms, exchange })
}
