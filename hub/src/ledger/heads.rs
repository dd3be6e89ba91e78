//! The start rule: after `hub init`, a hub appends nothing until a majority of the members that were
//! active in its last day have shown heads that its own head is consistent with, and none is larger.
//! So a ledger that was restored from an old copy is found out before it forks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use yiwang_proto::ids::MemberId;

/// What a shown head means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It lies on this ledger's history.
    Consistent,
    /// It is larger than this ledger, or has another root at its size.
    Contradicts,
}

#[derive(Debug, Default)]
struct State {
    active: BTreeSet<MemberId>,
    shown: BTreeSet<MemberId>,
    contradiction: Option<String>,
}

/// Whether the ledger may append.
#[derive(Debug)]
pub struct Heads {
    appending: AtomicBool,
    state: Mutex<State>,
}

impl Heads {
    /// Waits for a majority of these members; with none, there is nothing to wait for.
    pub fn waiting_for(active: BTreeSet<MemberId>) -> Self {
        let appending = AtomicBool::new(active.is_empty());
        Self { appending, state: Mutex::new(State { active, ..State::default() }) }
    }

    /// Whether the ledger may append now.
    pub fn appending(&self) -> bool {
        self.appending.load(Ordering::Acquire)
    }

    /// Why the ledger does not append, for operators.
    pub fn reason(&self) -> Option<String> {
        if self.appending() {
            return None;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match &state.contradiction {
            Some(what) => format!(
                "{what}; this ledger was rolled back or forked: restore the newer copy, or go on as a new origin with `--accept-head`"
            ),
            None => format!(
                "{} of {} members active in the last day have shown their heads; a majority is needed",
                state.shown.len(),
                state.active.len()
            ),
        })
    }

    /// A member showed a head that this ledger's key signed. Returns whether the ledger appends now.
    pub fn show(&self, member: &MemberId, size: u64, shown: Shown) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match shown {
            Shown::Contradicts => {
                let what =
                    format!("`{member}` holds a signed head of size {size} that is not on this ledger");
                tracing::error!(%member, size, "a member's head is not on this ledger; nothing is appended");
                state.contradiction = Some(what);
                self.appending.store(false, Ordering::Release);
            }
            Shown::Consistent if state.contradiction.is_none() => {
                if state.active.contains(member) {
                    state.shown.insert(member.clone());
                }
                if state.shown.len() * 2 > state.active.len() || state.active.is_empty() {
                    self.appending.store(true, Ordering::Release);
                }
            }
            Shown::Consistent => {}
        }
        self.appending()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> BTreeSet<MemberId> {
        names.iter().map(|name| MemberId::parse(name).unwrap()).collect()
    }

    #[test]
    fn a_majority_of_active_members_opens_the_ledger() {
        let heads = Heads::waiting_for(members(&["aa", "bb", "cc"]));
        let [a, b, c, x] = ["aa", "bb", "cc", "xx"].map(|name| MemberId::parse(name).unwrap());
        assert!(!heads.show(&a, 5, Shown::Consistent));
        assert!(!heads.show(&a, 5, Shown::Consistent), "one member counts once");
        assert!(!heads.show(&x, 5, Shown::Consistent), "a member that was not active does not count");
        assert!(heads.reason().is_some());
        assert!(heads.show(&b, 5, Shown::Consistent));
        assert!(heads.show(&c, 5, Shown::Consistent) && heads.reason().is_none());
    }

    #[test]
    fn one_contradiction_stops_appending_for_good() {
        let heads = Heads::waiting_for(members(&["aa"]));
        let a = MemberId::parse("aa").unwrap();
        assert!(heads.show(&a, 5, Shown::Consistent));
        assert!(!heads.show(&a, 9, Shown::Contradicts));
        assert!(!heads.show(&a, 5, Shown::Consistent));
        assert!(Heads::waiting_for(BTreeSet::new()).appending(), "a new ledger waits for nobody");
    }
}
