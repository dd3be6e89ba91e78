//! Request ids that are used up, until their statements would have expired.

use std::collections::{BTreeMap, HashSet};
use yiwang_proto::ids::{MemberId, RequestId};
use yiwang_proto::sha256;

/// Ids of one bucket expire within this many milliseconds of each other.
const BUCKET_MS: i64 = 10_000;
/// Ids held at once: 90 seconds of ten thousand requests a second. Above that nothing is accepted.
pub(crate) const IDS_MAX: usize = 900_000;

/// Why an id is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is used up.
    Replayed,
    /// There is no room to remember it.
    Full,
}

/// Sixteen bytes per id: equal ones can only cause a refusal.
pub(crate) type Key = [u8; 16];

fn key(consumer: &MemberId, id: &RequestId) -> Key {
    let mut text = Vec::with_capacity(80);
    text.extend_from_slice(consumer.as_str().as_bytes());
    text.push(0);
    text.extend_from_slice(id.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = sha256(&text);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// The set. A whole bucket goes at once, so that forgetting costs nothing per id.
#[derive(Debug, Default)]
pub(crate) struct ReplaySet {
    buckets: BTreeMap<i64, HashSet<Key>>,
    held: usize,
}

impl ReplaySet {
    /// Uses an id up, unless it is. An id is looked for under every expiry: the same id in another
    /// statement has another one.
    pub(crate) fn take(
        &mut self,
        consumer: &MemberId,
        id: &RequestId,
        expires_at_ms: i64,
        now_ms: i64,
    ) -> Result<(), Taken> {
        self.forget(now_ms);
        let key = key(consumer, id);
        if self.buckets.values().any(|bucket| bucket.contains(&key)) {
            return Err(Taken::Replayed);
        }
        if self.held >= IDS_MAX {
            return Err(Taken::Full);
        }
        self.buckets.entry(expires_at_ms.div_euclid(BUCKET_MS)).or_default().insert(key);
        self.held += 1;
        Ok(())
    }

    /// Whether the id of this very statement is used up: of another one with the same id it says nothing.
    pub(crate) fn holds(&self, consumer: &MemberId, id: &RequestId, expires_at_ms: i64) -> bool {
        let bucket = self.buckets.get(&expires_at_ms.div_euclid(BUCKET_MS));
        bucket.is_some_and(|bucket| bucket.contains(&key(consumer, id)))
    }

    /// All of it, for a snapshot: when its bucket expires, and the key.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (i64, Key)> {
        self.buckets.iter().flat_map(|(bucket, keys)| keys.iter().map(|key| (*bucket, *key)))
    }

    /// Takes back what a snapshot kept.
    pub(crate) fn restore(&mut self, bucket: i64, key: Key) {
        if self.buckets.entry(bucket).or_default().insert(key) {
            self.held += 1;
        }
    }

    fn forget(&mut self, now_ms: i64) {
        // A bucket's last id expires at the end of the bucket.
        while let Some(first) = self.buckets.first_entry()
            && first.key().saturating_add(1).saturating_mul(BUCKET_MS) <= now_ms
        {
            self.held -= first.remove().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_up_until_its_statement_has_expired() {
        let consumer = MemberId::parse("street").unwrap();
        let other = MemberId::parse("county").unwrap();
        let id = RequestId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap();
        let mut set = ReplaySet::default();
        assert_eq!(set.take(&consumer, &id, 61_000, 1_000), Ok(()));
        assert_eq!(set.take(&consumer, &id, 61_000, 1_000), Err(Taken::Replayed));
        assert_eq!(set.take(&consumer, &id, 90_000, 60_999), Err(Taken::Replayed), "another expiry");
        assert_eq!(set.take(&other, &id, 61_000, 60_999), Ok(()));
        assert_eq!(set.held, 2);
        assert!(set.holds(&other, &id, 61_000) && !set.holds(&other, &id, 90_000));
        assert_eq!(set.take(&consumer, &id, 130_000, 70_000), Ok(()), "forgotten after its bucket");
        assert_eq!(set.held, 1);
    }
}
