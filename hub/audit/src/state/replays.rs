//! Ids that were used. A statement that is over cannot be used again, so its id is forgotten after a while:
//! memory follows the traffic of minutes, not the length of the ledger.

use std::collections::HashMap;
use yiwang_proto::ids::{MemberId, RequestId};

/// Statements are over, for every clock and every delay, this long after their own end.
const KEEP_MS: i64 = 180_000;
/// Ids between two clearings.
const CLEAR_EVERY: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Use {
    index: u64,
    expires_at_ms: i64,
}

/// The ids of each member that can still be used.
#[derive(Debug, Default)]
pub(super) struct Seen {
    by_member: HashMap<MemberId, HashMap<u128, Use>>,
    since_clearing: usize,
}

/// The number in a UUID whose grammar was checked.
fn number(id: &RequestId) -> u128 {
    id.as_str()
        .bytes()
        .filter_map(|digit| char::from(digit).to_digit(16))
        .fold(0, |n, d| (n << 4) | u128::from(d))
}

impl Seen {
    /// Index of the entry that used the id first.
    pub fn first(&self, member: &MemberId, id: &RequestId) -> Option<u64> {
        self.by_member.get(member)?.get(&number(id)).map(|used| used.index)
    }

    /// Keeps an id; an earlier use stays.
    pub fn insert(&mut self, member: &MemberId, id: &RequestId, index: u64, expires_at_ms: i64, now_ms: i64) {
        self.since_clearing += 1;
        if self.since_clearing >= CLEAR_EVERY {
            self.since_clearing = 0;
            for ids in self.by_member.values_mut() {
                ids.retain(|_, used| used.expires_at_ms.saturating_add(KEEP_MS) >= now_ms);
            }
        }
        let ids = match self.by_member.get_mut(member) {
            Some(ids) => ids,
            None => self.by_member.entry(member.clone()).or_default(),
        };
        ids.entry(number(id)).or_insert(Use { index, expires_at_ms });
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
        seen.insert(&member, &id(1), 10, 1000, 0);
        seen.insert(&member, &id(1), 11, 1000, 0);
        assert_eq!(seen.first(&member, &id(1)), Some(10));
        assert_eq!(seen.first(&member, &id(2)), None);
        for n in 0..70_000 {
            seen.insert(&member, &id(n + 5), u64::from(n), 2_000_000, 1_000_000);
        }
        assert_eq!(seen.first(&member, &id(1)), None, "over long ago");
        assert_eq!(seen.first(&member, &id(5)), Some(0));
    }
}
