//! The waiting room: where requests wait for an adapter that said that it comes back. Bounded in places and bytes, each
//! provider has a part of its own, and emergencies the last of everything: one that comes and goes all day holds up
//! nobody's requests but its own. They go out in the order in which they came; one whose link is gone before it is on it
//! keeps its place in that order.

use crate::limits::{
    LINK_HELD_BYTES_EMERGENCY, LINK_HELD_BYTES_MAX, LINK_HELD_BYTES_OF_MEMBER,
    LINK_HELD_BYTES_OF_MEMBER_EMERGENCY, LINK_HELD_EMERGENCY, LINK_HELD_MAX, LINK_HELD_OF_MEMBER,
    LINK_HELD_OF_MEMBER_EMERGENCY,
};
use crate::views::DelegationView;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Sleep;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;

/// How a request ended that had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It went down the new link.
    Sent,
    /// What it rested on was taken back meanwhile.
    Refused,
    /// Nobody came in time, or its caller went away.
    Away,
    /// It found no place.
    Full,
}

impl Ended {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Sent, "sent"), (Self::Refused, "refused"), (Self::Away, "away"), (Self::Full, "full")];
}

/// What waits now, and how those ended that did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Requests.
    pub requests: usize,
    /// Bytes of their statements and bodies.
    pub bytes: usize,
    /// Numbers by how it ended, since the start.
    pub ended: [(&'static str, u64); 4],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Filled {
    places: usize,
    bytes: usize,
}

impl Filled {
    /// What it would be with one more, where that fits.
    fn with(self, bytes: usize, most: Self) -> Option<Self> {
        let more = Self { places: self.places.saturating_add(1), bytes: self.bytes.saturating_add(bytes) };
        (more.places <= most.places && more.bytes <= most.bytes).then_some(more)
    }

    fn without(self, bytes: usize) -> Self {
        Self { places: self.places.saturating_sub(1), bytes: self.bytes.saturating_sub(bytes) }
    }

    const fn less(self, places: usize, bytes: usize) -> Self {
        Self { places: self.places.saturating_sub(places), bytes: self.bytes.saturating_sub(bytes) }
    }
}

/// What all requests may fill, and those towards one member.
fn bounds(urgent: bool) -> (Filled, Filled) {
    let all = Filled { places: LINK_HELD_MAX, bytes: LINK_HELD_BYTES_MAX };
    let own = Filled { places: LINK_HELD_OF_MEMBER, bytes: LINK_HELD_BYTES_OF_MEMBER };
    if urgent {
        return (all, own);
    }
    (
        all.less(LINK_HELD_EMERGENCY, LINK_HELD_BYTES_EMERGENCY),
        own.less(LINK_HELD_OF_MEMBER_EMERGENCY, LINK_HELD_BYTES_OF_MEMBER_EMERGENCY),
    )
}

/// What one consumer's requests towards one member may fill: half of what all may, so that nobody's large bodies are all
/// that a department finds when it is back.
fn share((_, own): (Filled, Filled)) -> Filled {
    Filled { places: own.places / 2, bytes: own.bytes / 2 }
}

/// From whom a request goes to whom.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// Who asks.
    pub consumer: &'a MemberId,
    /// Who is asked.
    pub provider: &'a MemberId,
}

/// A member whose next link is waited for.
struct Expected {
    /// The number of the change, so that the end of one is not the end of the next.
    change: u64,
    /// How long one request waits at the most.
    hold: Duration,
    /// What its last link showed: requests are sealed meanwhile too.
    sealing: Option<Arc<DelegationView>>,
}

/// The requests towards one member.
#[derive(Default)]
struct Room {
    filled: Filled,
    /// Of it, by consumer.
    of: HashMap<MemberId, Filled>,
    /// Of the places, those that were taken before the member was back: who comes after stands behind them.
    before: usize,
    hold: Duration,
    /// Fair: who asked first is first.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    changes: u64,
    expected: HashMap<MemberId, Expected>,
    /// Of members for which anything waits.
    rooms: HashMap<MemberId, Room>,
    all: Filled,
}

/// All waiting rooms.
pub(super) struct Rooms {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    ended: [AtomicU64; Ended::ALL.len()],
}

impl Default for Rooms {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()), ended: Default::default() }
    }
}

/// A place in the room, and the turn once it has come: the next request goes out when this is dropped.
pub struct Place<'a> {
    rooms: &'a Rooms,
    way: Way<'a>,
    bytes: usize,
    hold: Duration,
    before: bool,
    turn: Arc<tokio::sync::Mutex<()>>,
    mine: Option<OwnedMutexGuard<()>>,
    ended: Ended,
}

impl Place<'_> {
    /// It is on its way.
    pub(super) fn sent(mut self) {
        self.ended = Ended::Sent;
    }

    /// It may no longer go out.
    pub(super) fn refused(mut self) {
        self.ended = Ended::Refused;
    }

    /// Waits in this place until its member is back, until `patience` is over, or as long as anything waits for this change.
    /// One whose request did not get out after all waits again so, and keeps its turn: it is the next one to go.
    pub(super) async fn wait(mut self, patience: Pin<&mut Sleep>) -> Result<Self, Code> {
        self.take_change();
        let hold = self.hold;
        let back = tokio::select! {
            biased;
            () = self.until_back() => true,
            () = patience => false,
            () = tokio::time::sleep(hold) => false,
        };
        // Who is not back by then is away like anybody else.
        if back { Ok(self) } else { Err(Code::ProviderUnavailable) }
    }

    /// The change that is waited for now may be another one than when the place was taken.
    fn take_change(&mut self) {
        let rooms = self.rooms;
        let mut state = rooms.state();
        let Some(hold) = state.expected.get(self.way.provider).map(|expected| expected.hold) else { return };
        self.hold = hold;
        if let Some(room) = state.rooms.get_mut(self.way.provider) {
            room.hold = hold;
            room.before += usize::from(!self.before);
            self.before = true;
        }
    }

    async fn until_back(&mut self) {
        let mut changed = self.rooms.changed.subscribe();
        if self.mine.is_none() {
            self.mine = Some(Arc::clone(&self.turn).lock_owned().await);
        }
        while self.rooms.expects(self.way.provider) && changed.changed().await.is_ok() {}
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.rooms.count(self.ended);
        let mut state = self.rooms.state();
        state.all = state.all.without(self.bytes);
        if let Some(room) = state.rooms.get_mut(self.way.provider) {
            room.filled = room.filled.without(self.bytes);
            room.before = room.before.saturating_sub(usize::from(self.before));
            let of = room.of.get(self.way.consumer).map(|of| of.without(self.bytes)).unwrap_or_default();
            if of.places == 0 {
                room.of.remove(self.way.consumer);
            } else {
                room.of.insert(self.way.consumer.clone(), of);
            }
            if room.filled.places == 0 {
                state.rooms.remove(self.way.provider);
            }
        }
    }
}

impl Rooms {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, ended: Ended) {
        let counter = Ended::ALL.iter().zip(&self.ended).find(|((one, _), _)| *one == ended);
        if let Some((_, counter)) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn held(&self) -> Held {
        let mut ended = Ended::ALL.map(|(_, name)| (name, 0));
        for ((_, number), counter) in ended.iter_mut().zip(&self.ended) {
            *number = counter.load(Ordering::Relaxed);
        }
        let Filled { places, bytes } = self.state().all;
        Held { requests: places, bytes, ended }
    }

    pub(super) fn expects(&self, member: &MemberId) -> bool {
        self.state().expected.contains_key(member)
    }

    /// What the last link of an expected member showed.
    pub(super) fn sealing_of(&self, member: &MemberId) -> Option<Arc<DelegationView>> {
        self.state().expected.get(member)?.sealing.clone()
    }

    /// A member's next link is waited for from now on; the number of the change.
    pub(super) fn begin(
        &self,
        member: &MemberId,
        hold: Duration,
        sealing: Option<Arc<DelegationView>>,
    ) -> u64 {
        let mut state = self.state();
        state.changes += 1;
        let change = state.changes;
        state.expected.insert(member.clone(), Expected { change, hold, sealing });
        change
    }

    /// A new link is there.
    pub(super) fn back(&self, member: &MemberId) {
        if self.state().expected.remove(member).is_some() {
            self.changed.send_replace(());
        }
    }

    /// Nobody waits any longer for what was announced by this change.
    pub(super) fn give_up(&self, member: &MemberId, change: u64) {
        let mut state = self.state();
        if state.expected.get(member).is_some_and(|expected| expected.change == change) {
            state.expected.remove(member);
            drop(state);
            self.changed.send_replace(());
        }
    }

    /// A place for one request; none where there is nothing to wait for.
    fn enter<'a>(&'a self, way: Way<'a>, urgent: bool, bytes: usize) -> Result<Option<Place<'a>>, Code> {
        let mut state = self.state();
        let room = state.rooms.get(way.provider);
        let expected = state.expected.get(way.provider).map(|expected| expected.hold);
        // An emergency does not stand behind anybody once the member is back.
        let behind = room.filter(|room| room.before > 0 && !urgent).map(|room| room.hold);
        let Some(hold) = expected.or(behind) else { return Ok(None) };
        let most = bounds(urgent);
        let own = room.map(|room| room.filled).unwrap_or_default();
        let of = room.and_then(|room| room.of.get(way.consumer)).copied().unwrap_or_default();
        let filled = (state.all.with(bytes, most.0), own.with(bytes, most.1), of.with(bytes, share(most)));
        let (Some(all), Some(own), Some(of)) = filled else {
            drop(state);
            self.count(Ended::Full);
            return Err(Code::ProviderUnavailable);
        };
        state.all = all;
        let room = state.rooms.entry(way.provider.clone()).or_default();
        (room.filled, room.hold) = (own, hold);
        room.of.insert(way.consumer.clone(), of);
        let (before, turn) = (expected.is_some(), Arc::clone(&room.turn));
        room.before += usize::from(before);
        Ok(Some(Place { rooms: self, way, bytes, hold, before, turn, mine: None, ended: Ended::Away }))
    }

    /// Waits where a member is expected back, until it is, until `patience` is over, or as long as anything waits for
    /// this change. None where there is nothing to wait for.
    pub(super) async fn wait<'a>(
        &'a self,
        way: Way<'a>,
        urgent: bool,
        bytes: usize,
        patience: Pin<&mut Sleep>,
    ) -> Result<Option<Place<'a>>, Code> {
        let Some(place) = self.enter(way, urgent, bytes)? else { return Ok(None) };
        place.wait(patience).await.map(Some)
    }
}

#[cfg(test)]
#[path = "room_test.rs"]
mod tests;
