//! Each member's newest entries, so that handing them on reads nothing back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use yiwang_proto::ids::MemberId;

/// Entries remembered per member: more than come between two looks at a full load (12,000 a second). For more the chain in
/// the entries themselves is followed, which reads each of them.
const REMEMBERED: usize = 4096;
/// So many stay after they were handed on: a link that takes another's place may be a little behind it.
const HANDED_ON: usize = 1024;

/// Indexes by member, oldest first.
#[derive(Default)]
pub(super) struct Recent {
    of: Mutex<HashMap<MemberId, VecDeque<u64>>>,
}

impl Recent {
    pub(super) fn note(&self, member: &MemberId, index: u64) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(member) {
            Some(indexes) => {
                if indexes.len() >= REMEMBERED {
                    indexes.pop_front();
                }
                indexes.push_back(index);
            }
            None => drop(all.insert(member.clone(), VecDeque::from([index]))),
        }
    }

    /// Remembers nothing: INVARIANT: what is noted from now on is every entry of a member.
    pub(super) fn forget(&self) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The member's entries from `own_next` to before `end`; none where they are not all remembered.
    pub(super) fn between(&self, member: &MemberId, own_next: u64, end: u64) -> Option<Vec<u64>> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let indexes = all.get_mut(member)?;
        // One before the first that is asked for stays: it shows that none is missing after it.
        while indexes.len() > HANDED_ON && indexes.get(1).is_some_and(|second| *second < own_next) {
            indexes.pop_front();
        }
        if indexes.len() <= HANDED_ON {
            // With room for those until the next look: else each of them would make the room anew.
            indexes.shrink_to(2 * HANDED_ON);
        }
        // All after one that is held already are there.
        let reaches_back = indexes.front().is_some_and(|first| *first < own_next);
        let before = |limit: u64| indexes.partition_point(|index| *index < limit);
        let wanted = before(own_next)..before(end.max(own_next));
        reaches_back.then(|| indexes.range(wanted).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_remembered_whole_is_not_given() {
        let (recent, member) = (Recent::default(), MemberId::parse("police").unwrap());
        assert_eq!(recent.between(&member, 0, 10), None);
        for index in (3..3000).step_by(3) {
            recent.note(&member, index);
        }
        assert_eq!(recent.between(&member, 2990, 2998), Some(vec![2991, 2994, 2997]));
        assert_eq!(recent.between(&member, 2998, 3000), Some(Vec::new()));
        for index in 3000..8000 {
            recent.note(&member, index);
        }
        assert_eq!(recent.between(&member, 2998, 8000), None, "too many to be remembered");
        assert_eq!(recent.between(&member, 4500, 8000).unwrap().len(), 3500);
        assert_eq!(recent.between(&member, 7990, 8000).unwrap().len(), 10);
        let held =
            recent.of.lock().unwrap().get(&member).map(|held| (held.len(), held.capacity() <= 2 * HANDED_ON));
        assert_eq!(held, Some((HANDED_ON, true)), "what was handed on takes no more room");
        assert_eq!(
            recent.between(&member, 6977, 8000).unwrap().len(),
            1023,
            "a link that is a little behind"
        );
        assert_eq!(recent.between(&member, 6976, 8000), None);
    }
}
