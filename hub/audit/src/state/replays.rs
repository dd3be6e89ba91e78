//! Ids that were used. A statement that is over cannot be used again, so its id is forgotten after a while:
//! memory follows the traffic of minutes, not the length of the ledger.

use std::collections::HashMap;
use yiwang_proto::ids::{MemberId, RequestId};

/// Statements are over, for every clock and every delay, this long after their own end.
const KEEP_MS: i64 = 180_000;
/// Ids between two clearings.
const CLEAR_EVERY: usize = 65_536;

/// What an id was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// The first entry with it, whatever became of it.
    pub first: u64,
    /// The newest entry with it.
    pub last: u64,
    /// The first entry that used it up.
    pub spent: Option<u64>,
    expires_at_ms: i64,
}

/// The ids of each member that can still be used.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_member: HashMap<MemberId, HashMap<u128, Use>>,
    since_clearing: usize,
    /// Ids of statements that were over before then are forgotten.
    forgotten_ms: i64,
}

/// The number in a UUID whose grammar was checked.
fn number(id: &RequestId) -> u128 {
    id.as_str()
        .bytes()
        .filter_map(|digit| char::from(digit).to_digit(16))
        .fold(0, |n, d| (n << 4) | u128::from(d))
}

impl Seen {
    /// The entries with an id.
    pub fn get(&self, member: &MemberId, id: &RequestId) -> Option<Use> {
        self.by_member.get(member)?.get(&number(id)).copied()
    }

    /// Keeps an id; `spends` where the entry at `index` uses it up. Whether it is told from one that was used before: not
    /// where it could have been forgotten, which needs a time that goes back.
    #[must_use]
    pub fn insert(
        &mut self,
        (member, id): (&MemberId, &RequestId),
        (index, spends): (u64, bool),
        expires_at_ms: i64,
        now_ms: i64,
    ) -> bool {
        self.since_clearing += 1;
        if self.since_clearing >= CLEAR_EVERY {
            self.since_clearing = 0;
            self.forgotten_ms = self.forgotten_ms.max(now_ms.saturating_sub(KEEP_MS));
            for ids in self.by_member.values_mut() {
                ids.retain(|_, used| used.expires_at_ms.saturating_add(KEEP_MS) >= now_ms);
            }
        }
        let ids = match self.by_member.get_mut(member) {
            Some(ids) => ids,
            None => self.by_member.entry(member.clone()).or_default(),
        };
        let known = ids.contains_key(&number(id));
        let used =
            ids.entry(number(id)).or_insert(Use { first: index, last: index, spent: None, expires_at_ms });
        used.last = index;
        // Another statement with the same id may be in time for longer.
        used.expires_at_ms = used.expires_at_ms.max(expires_at_ms);
        if spends {
            used.spent = used.spent.or(Some(index));
        }
        known || !spends || expires_at_ms >= self.forgotten_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_use_counts_and_old_ones_are_forgotten() {
        let member = MemberId::parse("police").unwrap();
        let id = |n: u32| RequestId::parse(&format!("0190a5c3-0000-7000-8000-{n:012x}")).unwrap();
        let mut seen = Seen::default();
        for (index, spends) in [(10, false), (11, true), (12, true)] {
            assert!(seen.insert((&member, &id(1)), (index, spends), 1000, 0));
        }
        let used = seen.get(&member, &id(1)).unwrap();
        assert_eq!((used.first, used.spent, used.last), (10, Some(11), 12));
        assert_eq!(seen.get(&member, &id(2)), None);
        for n in 0..70_000 {
            assert!(seen.insert((&member, &id(n + 5)), (u64::from(n), true), 2_000_000, 1_000_000));
        }
        assert_eq!(seen.get(&member, &id(1)), None, "over long ago");
        assert_eq!(seen.get(&member, &id(5)).unwrap().first, 0);
        // Time went back: a statement that was over is in time again, and its id was forgotten.
        assert!(!seen.insert((&member, &id(1)), (90_000, true), 1000, 500));
        assert!(seen.insert((&member, &id(2)), (90_001, false), 1000, 500), "uses nothing up");
    }
}
