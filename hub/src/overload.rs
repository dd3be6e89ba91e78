//! What is turned away before any work is done for it, so that a flood of one department harms nobody else: a
//! token bucket per member and purpose, and a part of every queue that only emergency purposes may use.
//!
//! Refusals here come before the signature is checked, so they are counted and not recorded: an entry each
//! would let a flood fill the ledger.

use crate::config::Overload;
use crate::context::Hub;
use crate::exchange::accept::Accepted;
use crate::limits::{BUCKETS_MAX, EMERGENCY_EXCHANGES};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::{MemberId, Purpose};

/// The gate.
#[derive(Debug)]
pub struct Gate {
    rates: Overload,
    buckets: Mutex<Buckets>,
}

/// A member's requests for one purpose of the catalogue; all others share one bucket.
type Key = (MemberId, Option<Purpose>);

/// Generic cell rate: a bucket is the one moment up to which its requests are paid for, nanoseconds.
#[derive(Debug, Default)]
struct Buckets(HashMap<Key, u64>);

impl Buckets {
    /// Takes one request at a moment; false if the bucket is empty.
    fn take(&mut self, key: Key, now_ns: u64, rates: &Overload) -> bool {
        let each = 1_000_000_000 / u64::from(rates.per_second.max(1));
        let ahead = each.saturating_mul(u64::from(rates.burst));
        if self.0.len() >= BUCKETS_MAX && !self.0.contains_key(&key) {
            // A bucket that is full again says nothing that a new one would not.
            self.0.retain(|_, paid| *paid > now_ns);
        }
        let paid = self.0.entry(key).or_default();
        let next = (*paid).max(now_ns).saturating_add(each);
        let fits = next <= now_ns.saturating_add(ahead);
        if fits {
            *paid = next;
        }
        fits
    }
}

impl Gate {
    /// With the rates of a configuration.
    pub fn new(rates: Overload) -> Self {
        Self { rates, buckets: Mutex::default() }
    }

    /// Whether a purpose is an emergency's.
    pub fn is_emergency(&self, purpose: &Purpose) -> bool {
        self.rates.emergency.contains(purpose)
    }

    /// Buckets that are remembered.
    pub fn buckets(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).0.len()
    }

    /// Lets an exchange go on, or turns it away at once.
    pub fn admit(&self, hub: &Hub, accepted: &Accepted) -> Result<(), Code> {
        let request = &accepted.request;
        // Every exchange under way has taken its place already.
        if hub.exchanges.available_permits() < EMERGENCY_EXCHANGES && !self.is_urgent(hub, accepted) {
            return Err(Code::Overloaded);
        }
        hub.replies.room_for(&accepted.peer, || self.is_urgent(hub, accepted))?;
        let known = hub.ledger.views().decider().catalogue().has_purpose(&request.purpose);
        let key = (accepted.peer.clone(), known.then(|| request.purpose.clone()));
        let now_ns = hub.clock.monotonic_us().saturating_mul(1000);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.take(key, now_ns, &self.rates) { Ok(()) } else { Err(Code::Throttled) }
    }

    /// Whether the reserve is open: the contract that is named is the caller's and for an emergency. What the
    /// statement itself says of its purpose counts for nothing yet.
    fn is_urgent(&self, hub: &Hub, accepted: &Accepted) -> bool {
        let contract = hub.ledger.views().contract(&accepted.request.contract);
        contract.is_some_and(|view| {
            let text = &view.contract.text;
            text.consumer.member == accepted.peer && self.is_emergency(&text.purpose)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(member: &str, purpose: Option<&str>) -> Key {
        (MemberId::parse(member).unwrap(), purpose.map(|purpose| Purpose::parse(purpose).unwrap()))
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rates = Overload { per_second: 10, burst: 3, emergency: Vec::new(), ..Overload::default() };
        let mut buckets = Buckets::default();
        let mut taken = |now_ms: u64| {
            let one = key("police", Some("mediation.case"));
            (0..100).filter(|_| buckets.take(one.clone(), now_ms * 1_000_000, &rates)).count()
        };
        assert_eq!(taken(0), 3);
        assert_eq!(taken(99), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(10_000), 3, "no more than the burst is saved up");
    }

    #[test]
    fn members_and_purposes_have_buckets_of_their_own() {
        let rates = Overload { per_second: 1, burst: 1, emergency: Vec::new(), ..Overload::default() };
        let mut buckets = Buckets::default();
        let keys = [
            key("police", Some("mediation.case")),
            key("police", Some("hotline.transfer")),
            key("police", None),
            key("health", Some("mediation.case")),
        ];
        for key in &keys {
            assert!(buckets.take(key.clone(), 0, &rates) && !buckets.take(key.clone(), 0, &rates));
        }
        assert_eq!(buckets.0.len(), keys.len());
    }

    #[test]
    fn the_table_of_buckets_is_bounded_by_those_in_use() {
        let rates = Overload { per_second: 1, burst: 1, emergency: Vec::new(), ..Overload::default() };
        let mut buckets = Buckets::default();
        for number in 0..BUCKETS_MAX + 10 {
            let now_ns = u64::try_from(number).unwrap() * 2_000_000_000;
            assert!(buckets.take(key(&format!("m{number}"), None), now_ns, &rates));
        }
        assert!(buckets.0.len() <= BUCKETS_MAX, "{}", buckets.0.len());
    }
}
