//! Which entries are a member's own, for an adapter that was away. Each entry names the one before, so they are found from
//! the newest back while they are handed on from the oldest: what was found outlives a link, so that an adapter whose
//! links are short gets on all the same.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;

/// Entries that are found for an adapter that was away: as many as a start of the hub looks back, and 40 MB.
const FOUND_MAX: usize = 5_000_000;
/// Entries that are read in one go, about a second's: between two a link that ended is noticed.
pub(super) const GO: usize = 65_536;

/// The chains of all members whose adapters are behind. Together they hold little more than the longest.
#[derive(Debug, Default)]
pub struct Chains(Mutex<HashMap<MemberId, Known>>);

#[derive(Debug, Default)]
struct Known {
    chain: Arc<tokio::sync::Mutex<Chain>>,
    /// How many it held when it was followed last.
    held: usize,
}

impl Chains {
    fn known(&self) -> MutexGuard<'_, HashMap<MemberId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain of a member; whoever follows it holds its lock, so that two links do not read the same.
    pub(super) fn of(&self, member: &MemberId) -> Arc<tokio::sync::Mutex<Chain>> {
        Arc::clone(&self.known().entry(member.clone()).or_default().chain)
    }

    /// Says how long a chain has become. The others are given up where all become too long together.
    pub(super) fn holds(&self, member: &MemberId, held: usize) {
        let mut known = self.known();
        if let Some(own) = known.get_mut(member) {
            own.held = held;
        }
        let together = known.values().fold(0_usize, |sum, one| sum.saturating_add(one.held));
        if together > FOUND_MAX {
            known.retain(|of, _| of == member);
        }
    }

    /// The adapter holds everything.
    pub(super) fn give_up(&self, member: &MemberId) {
        self.known().remove(member);
    }
}

/// A member's entries, without a gap from `below` to `newest`.
#[derive(Debug, Default)]
pub(super) struct Chain {
    indexes: VecDeque<u64>,
    /// The newest of them, plus one.
    newest: u64,
    /// The next older one, plus one; 0 where there is none.
    below: u64,
}

impl Chain {
    /// Looks further back, at most [`GO`] entries. The member's entries from `own_next` on, oldest first, once all are
    /// found; none where it is to be called again. `newest` is the newest one plus one; `before` gives the one before
    /// an entry, both plus one, and reads the ledger.
    ///
    /// # Errors
    /// Those of `before`, and [`Code::Internal`] where entries do not name earlier ones.
    pub(super) fn follow(
        &mut self,
        newest: u64,
        own_next: u64,
        before: &dyn Fn(u64) -> Result<u64, Code>,
    ) -> Result<Option<Vec<u64>>, Code> {
        self.drop_before(own_next);
        self.take_newer(newest, own_next, before)?;
        let mut read = 0;
        while self.below > own_next && self.indexes.len() < FOUND_MAX {
            if read == GO {
                return Ok(None);
            }
            read += 1;
            let at = self.below;
            self.below = earlier(at, before)?;
            self.indexes.push_front(at.saturating_sub(1));
        }
        Ok(Some(self.indexes.iter().copied().collect()))
    }

    pub(super) fn held(&self) -> usize {
        self.indexes.len()
    }

    /// The adapter holds what is before this.
    fn drop_before(&mut self, own_next: u64) {
        while let Some(first) = self.indexes.front().copied().filter(|first| *first < own_next) {
            self.indexes.pop_front();
            self.below = first + 1;
        }
    }

    /// Takes up what came since the last time; where that is a lot, everything is looked for again.
    fn take_newer(
        &mut self,
        newest: u64,
        own_next: u64,
        before: &dyn Fn(u64) -> Result<u64, Code>,
    ) -> Result<(), Code> {
        let (mut new, mut at) = (Vec::new(), newest);
        while !self.indexes.is_empty() && at > self.newest && new.len() < GO {
            new.push(at.saturating_sub(1));
            at = earlier(at, before)?;
        }
        let joins = at == self.newest && self.held().saturating_add(new.len()) <= FOUND_MAX;
        if joins && !self.indexes.is_empty() {
            self.indexes.extend(new.iter().rev());
            self.newest = newest;
        } else if newest >= own_next {
            *self = Self { indexes: VecDeque::new(), newest, below: newest };
        }
        Ok(())
    }
}

/// An entry names an earlier one; anything else would lead in a circle.
fn earlier(at: u64, before: &dyn Fn(u64) -> Result<u64, Code>) -> Result<u64, Code> {
    before(at).and_then(|earlier| if earlier < at { Ok(earlier) } else { Err(Code::Internal) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Every third entry is the member's: 1, 4, 7 ...
    fn every_third(read: &Cell<usize>) -> impl Fn(u64) -> Result<u64, Code> {
        |at| {
            read.set(read.get() + 1);
            assert_eq!(at % 3, 2, "{at} is none of the member's");
            Ok(at.saturating_sub(3))
        }
    }

    #[test]
    fn each_entry_is_read_once_however_short_links_are() {
        let (read, mut chain) = (Cell::new(0), Chain::default());
        let before = every_third(&read);
        assert_eq!(chain.follow(3002, 0, &before).unwrap().unwrap().len(), 1001);
        assert_eq!(read.get(), 1001);
        // The next link took twenty, and ten came.
        let all = chain.follow(3032, 60, &before).unwrap().unwrap();
        assert_eq!((all.first(), all.last(), all.len()), (Some(&61), Some(&3031), 991));
        assert_eq!(read.get(), 1011);
        // One that was put back to an earlier state reads what was let go.
        assert_eq!(chain.follow(3032, 31, &before).unwrap().unwrap().first(), Some(&31));
        assert_eq!(read.get(), 1021);
        // All is held.
        assert!(chain.follow(3032, 3032, &before).unwrap().unwrap().is_empty());
        assert_eq!(chain.follow(3035, 3032, &before).unwrap().unwrap(), [3034]);
    }

    #[test]
    fn a_long_way_back_is_gone_in_several_goes() {
        let (read, mut chain) = (Cell::new(0), Chain::default());
        let before = every_third(&read);
        let newest = 3 * (2 * GO as u64) + 2;
        assert_eq!(chain.follow(newest, 0, &before).unwrap(), None);
        assert_eq!(chain.follow(newest, 0, &before).unwrap(), None);
        let all = chain.follow(newest, 0, &before).unwrap().unwrap();
        assert_eq!((all.len(), read.get()), (2 * GO + 1, 2 * GO + 1));
        assert!(all.is_sorted());
        // More than one go came since: it is looked for again, and nothing is missing.
        let later = newest + 3 * (GO as u64 + 7);
        while chain.follow(later, newest, &before).unwrap().is_none() {}
        assert_eq!(chain.follow(later, newest, &before).unwrap().unwrap().len(), GO + 7);
    }

    #[test]
    fn entries_that_name_no_earlier_one_are_an_error_and_what_was_found_stays() {
        let mut chain = Chain::default();
        let broken = |at| if at > 100 { Ok(at - 1) } else { Ok(at) };
        assert_eq!(chain.follow(110, 0, &broken), Err(Code::Internal));
        let read = Cell::new(0);
        let whole = |at: u64| {
            read.set(read.get() + 1);
            Ok(at - 1)
        };
        assert_eq!(chain.follow(110, 0, &whole).unwrap().unwrap(), (0..110).collect::<Vec<_>>());
        assert_eq!(read.get(), 100);
    }

    #[test]
    fn all_chains_together_have_a_bound() {
        let (chains, [one, two]) =
            (Chains::default(), ["police", "health"].map(|id| MemberId::parse(id).unwrap()));
        let (first, second) = (chains.of(&one), chains.of(&two));
        chains.holds(&one, FOUND_MAX);
        assert!(Arc::ptr_eq(&first, &chains.of(&one)));
        chains.holds(&two, 1);
        assert!(!Arc::ptr_eq(&first, &chains.of(&one)), "given up");
        assert!(Arc::ptr_eq(&second, &chains.of(&two)));
        chains.give_up(&two);
        assert!(!Arc::ptr_eq(&second, &chains.of(&two)));
    }
}
