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

    /// Keeps an id; `spends` where the entry at `index` uses it up.
    pub fn insert(
        &mut self,
        (member, id): (&MemberId, &RequestId),
        index: u64,
        spends: bool,
        expires_at_ms: i64,
        now_ms: i64,
    ) {
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
        let used =
            ids.entry(number(id)).or_insert(Use { first: index, last: index, spent: None, expires_at_ms });
        used.last = index;
        if spends {
            used.spent = used.spent.or(Some(index));
        }
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
        seen.insert((&member, &id(1)), 10, false, 1000, 0);
        seen.insert((&member, &id(1)), 11, true, 1000, 0);
        seen.insert((&member, &id(1)), 12, true, 1000, 0);
        let used = seen.get(&member, &id(1)).unwrap();
        assert_eq!((used.first, used.spent, used.last), (10, Some(11), 12));
        assert_eq!(seen.get(&member, &id(2)), None);
        for n in 0..70_000 {
            seen.insert((&member, &id(n + 5)), u64::from(n), true, 2_000_000, 1_000_000);
        }
        assert_eq!(seen.get(&member, &id(1)), None, "over long ago");
        assert_eq!(seen.get(&member, &id(5)).unwrap().first, 0);
    }
}
