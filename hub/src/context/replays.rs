//! Request ids that were seen and whose statements have not yet expired.

use crate::limits::REPLAY_MAX;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use yiwang_proto::ids::{MemberId, RequestId};
use yiwang_proto::limits::CLOCK_SKEW_MS;

#[derive(Default)]
struct Seen {
    /// Entry of the first request plus one; 0 while it is not recorded.
    ids: HashMap<(MemberId, RequestId), u64>,
    /// Ids by the second in which they may be forgotten.
    ends: BTreeMap<i64, Vec<(MemberId, RequestId)>>,
}

/// The set. An id is claimed once; the claim lives as long as the statement could be replayed.
#[derive(Default)]
pub struct Replays {
    seen: Mutex<Seen>,
}

impl Replays {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims an id. `Err` holds the entry of the first request plus one, 0 while that is still running.
    pub fn claim(&self, member: &MemberId, id: &RequestId, expires_ms: i64, now_ms: i64) -> Result<(), u64> {
        let mut seen = self.seen();
        // Statements are refused from their end on by this hub's clock; the margin covers its going back.
        let over = (now_ms - CLOCK_SKEW_MS).div_euclid(1000);
        while let Some(first) = seen.ends.first_entry()
            && *first.key() < over
        {
            for key in first.remove() {
                seen.ids.remove(&key);
            }
        }
        let key = (member.clone(), id.clone());
        if let Some(index) = seen.ids.get(&key) {
            return Err(*index);
        }
        if seen.ids.len() >= REPLAY_MAX {
            // Forgetting an id would let it be replayed: refuse instead.
            return Err(0);
        }
        seen.ids.insert(key.clone(), 0);
        seen.ends.entry(expires_ms.div_euclid(1000)).or_default().push(key);
        Ok(())
    }

    /// Notes the entry of a claimed id: its first one stays.
    pub fn recorded(&self, member: &MemberId, id: &RequestId, index: u64) {
        if let Some(entry) =
            self.seen().ids.get_mut(&(member.clone(), id.clone())).filter(|entry| **entry == 0)
        {
            *entry = index + 1;
        }
    }

    /// Gives a claim back that came to no entry.
    pub fn release(&self, member: &MemberId, id: &RequestId, expires_ms: i64) {
        let key = (member.clone(), id.clone());
        let mut seen = self.seen();
        if seen.ids.get(&key) != Some(&0) {
            return;
        }
        // One that is over by now is not there any more, and the id may be another's. With its end, which would take a later
        // claim of the id away before its time.
        let Some(ends) = seen.ends.get_mut(&expires_ms.div_euclid(1000)) else { return };
        let Some(at) = ends.iter().position(|other| *other == key) else { return };
        ends.swap_remove(at);
        seen.ids.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_claimed_once_per_member_until_its_end() {
        let replays = Replays::default();
        let [a, b] = ["aa", "bb"].map(|name| MemberId::parse(name).unwrap());
        let id = RequestId::parse("0190a5c3-0000-7000-8000-000000000001").unwrap();
        assert_eq!(replays.claim(&a, &id, 60_000, 0), Ok(()));
        assert_eq!(replays.claim(&a, &id, 60_000, 1), Err(0));
        replays.recorded(&a, &id, 41);
        assert_eq!(replays.claim(&a, &id, 90_000, 59_000), Err(42));
        replays.recorded(&a, &id, 50);
        replays.release(&a, &id, 60_000);
        assert_eq!(replays.claim(&a, &id, 60_000, 59_000), Err(42), "its first entry stays");
        assert_eq!(replays.claim(&b, &id, 60_000, 1), Ok(()), "ids count per member");
        replays.release(&b, &id, 60_000);
        // A claim that was given back is free, and its end is not that of the next one.
        assert_eq!(replays.claim(&b, &id, 120_000, 2), Ok(()));
        assert_eq!(replays.claim(&b, &id, 120_000, 60_000 + CLOCK_SKEW_MS + 2000), Err(0));
        replays.release(&b, &id, 60_000);
        assert_eq!(replays.claim(&b, &id, 120_000, 60_000 + CLOCK_SKEW_MS + 2000), Err(0), "another's claim");
        assert_eq!(replays.claim(&a, &id, 200_000, 60_000 + CLOCK_SKEW_MS + 2000), Ok(()));
    }
}
