//! A link that its adapter changes for another. What runs on it is answered on it; what comes meanwhile
//! waits for the next one, so that a new certificate fails nobody's request. Where something runs for
//! longer than others can wait, the change is put off: the link goes on, and its adapter asks again.

use super::{Link, Links};
use crate::context::Hub;
use crate::limits::{LINK_HELD_EMERGENCY, LINK_HELD_MAX, LINK_HELD_OF_MEMBER, LINK_HOLD};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use yiwang_proto::ids::MemberId;

/// How often it is looked whether a link has nothing left to do.
const LOOK: Duration = Duration::from_millis(5);
/// From the last answer to the end of the link: its receipt follows when the entry is durable. One that
/// comes later is asked for on the next link.
const RECEIPTS: Duration = Duration::from_millis(50);

/// Who comes back at once, and how many wait for each.
#[derive(Default)]
struct Expected {
    changes: u64,
    /// By member: the number of the change, so that the end of one is not the end of the next.
    members: HashMap<MemberId, u64>,
    /// Requests that wait, by member; of members for which any does.
    waiting: HashMap<MemberId, usize>,
    all: usize,
}

pub(super) struct Returning {
    expected: Mutex<Expected>,
    changed: watch::Sender<()>,
}

impl Default for Returning {
    fn default() -> Self {
        Self { expected: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

/// A place among those that wait.
struct Place<'a> {
    returning: &'a Returning,
    member: &'a MemberId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut expected = self.returning.expected();
        expected.all = expected.all.saturating_sub(1);
        match expected.waiting.get(self.member).copied().unwrap_or_default() {
            0 | 1 => drop(expected.waiting.remove(self.member)),
            some => drop(expected.waiting.insert(self.member.clone(), some - 1)),
        }
    }
}

impl Returning {
    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expects(&self, member: &MemberId) -> bool {
        self.expected().members.contains_key(member)
    }

    /// Each provider has a part of the places, and emergencies have the last ones: one that comes and goes
    /// all day holds up nobody's requests but its own.
    fn place<'a>(&'a self, member: &'a MemberId, urgent: bool) -> Option<Place<'a>> {
        let mut expected = self.expected();
        let own = expected.waiting.get(member).copied().unwrap_or_default();
        let most = if urgent { LINK_HELD_MAX } else { LINK_HELD_MAX - LINK_HELD_EMERGENCY };
        if own >= LINK_HELD_OF_MEMBER || expected.all >= most {
            return None;
        }
        expected.all += 1;
        expected.waiting.insert(member.clone(), own + 1);
        Some(Place { returning: self, member })
    }

    fn begin(&self, member: &MemberId) -> u64 {
        let mut expected = self.expected();
        expected.changes += 1;
        let change = expected.changes;
        expected.members.insert(member.clone(), change);
        change
    }

    /// A new link is there.
    pub(super) fn back(&self, member: &MemberId) {
        if self.expected().members.remove(member).is_some() {
            self.changed.send_replace(());
        }
    }

    /// Nobody waits any longer for what was announced by this change.
    fn give_up(&self, member: &MemberId, change: u64) {
        let mut expected = self.expected();
        if expected.members.get(member) == Some(&change) {
            expected.members.remove(member);
            drop(expected);
            self.changed.send_replace(());
        }
    }
}

impl Links {
    /// The link that new requests go to. Waits for it where the adapter said that it comes back at once.
    pub(super) async fn serving(&self, member: &MemberId, urgent: bool) -> Option<Arc<Link>> {
        let mut changed = self.returning.changed.subscribe();
        if !self.returning.expects(member) {
            return self.of(member);
        }
        let _place = self.returning.place(member, urgent)?;
        let back = async { while self.returning.expects(member) && changed.changed().await.is_ok() {} };
        // Who is not back by then is away like anybody else.
        let _ = tokio::time::timeout(LINK_HOLD, back).await;
        self.of(member).filter(|link| !link.leaving.load(Ordering::Acquire))
    }
}

impl Hub {
    /// Lets a link end when what runs on it is answered. Its adapter has as long for the next one as
    /// requests are held.
    pub(super) fn let_go(self: &Arc<Self>, link: &Arc<Link>) {
        let current = self.links.of(&link.member).is_some_and(|current| Arc::ptr_eq(&current, link));
        if !current {
            // Not yet admitted, or replaced already: there is nothing to change for another.
            link.closed.cancel();
            return;
        }
        if link.leaving.swap(true, Ordering::AcqRel) {
            return;
        }
        let change = self.links.returning.begin(&link.member);
        tracing::info!(member = %link.member, "an adapter changes its link");
        let (hub, link) = (Arc::clone(self), Arc::clone(link));
        self.tasks.spawn(async move {
            let quiet = async {
                while link.running() > 0 {
                    tokio::time::sleep(LOOK).await;
                }
                tokio::time::sleep(RECEIPTS).await;
            };
            let ended = link.closed.run_until_cancelled(tokio::time::timeout(LINK_HOLD / 2, quiet)).await;
            if ended.is_some_and(|quiet| quiet.is_err()) {
                tracing::info!(member = %link.member, "something runs for long: the change of the link is put off");
                link.leaving.store(false, Ordering::Release);
                hub.links.returning.give_up(&link.member, change);
                return;
            }
            link.closed.cancel();
            // Stopped or not: nobody waits any longer.
            let _ = hub.stop.run_until_cancelled(tokio::time::sleep(LINK_HOLD)).await;
            hub.links.returning.give_up(&link.member, change);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_comes_and_goes_takes_its_own_places_only() {
        let returning = Returning::default();
        let member = |name: &str| MemberId::parse(name).unwrap();
        let (police, others) =
            (member("police"), (0..8).map(|n| member(&format!("other-{n}"))).collect::<Vec<_>>());
        let mut places = Vec::new();
        while let Some(place) = returning.place(&police, false) {
            places.push(place);
        }
        assert_eq!(places.len(), LINK_HELD_OF_MEMBER);
        assert!(returning.place(&police, true).is_none(), "urgent or not");
        for other in &others {
            while let Some(place) = returning.place(other, false) {
                places.push(place);
            }
        }
        assert_eq!(places.len(), LINK_HELD_MAX - LINK_HELD_EMERGENCY);
        let last = member("ambulances");
        assert!(returning.place(&last, false).is_none());
        assert!(returning.place(&last, true).is_some(), "emergencies have the last ones");
        drop(places);
        let expected = returning.expected();
        assert_eq!((expected.all, expected.waiting.len()), (0, 0));
    }

    #[test]
    fn the_end_of_one_change_is_not_the_end_of_the_next() {
        let returning = Returning::default();
        let police = MemberId::parse("police").unwrap();
        let first = returning.begin(&police);
        returning.back(&police);
        let second = returning.begin(&police);
        returning.give_up(&police, first);
        assert!(returning.expects(&police));
        returning.give_up(&police, second);
        assert!(!returning.expects(&police));
    }
}
