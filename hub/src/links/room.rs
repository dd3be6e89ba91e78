//! The waiting room: where requests wait for an adapter that said that it comes back. Bounded in places and bytes, each
//! provider has a part of its own, and emergencies the last of everything: one that comes and goes all day holds up
//! nobody's requests but its own. They go out in the order in which they came.

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

    async fn until_back(&mut self) {
        let mut changed = self.rooms.changed.subscribe();
        self.mine = Some(Arc::clone(&self.turn).lock_owned().await);
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
        let Some(mut place) = self.enter(way, urgent, bytes)? else { return Ok(None) };
        let hold = place.hold;
        let back = tokio::select! {
            biased;
            () = place.until_back() => true,
            () = patience => false,
            () = tokio::time::sleep(hold) => false,
        };
        // Who is not back by then is away like anybody else.
        if back { Ok(Some(place)) } else { Err(Code::ProviderUnavailable) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::cell::RefCell;
    use std::pin::pin;
    use std::sync::LazyLock;
    use tokio::time::sleep;

    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(20);

    fn member(name: &str) -> MemberId {
        MemberId::parse(name).unwrap()
    }

    /// Towards a member, from one of four consumers.
    fn to(provider: &MemberId, from: usize) -> Way<'_> {
        static CONSUMERS: LazyLock<[MemberId; 4]> =
            LazyLock::new(|| ["street-office", "housing", "gas", "water"].map(member));
        Way { consumer: &CONSUMERS[from], provider }
    }

    /// As much as all of them get in.
    fn fill<'a>(rooms: &'a Rooms, who: &'a MemberId, urgent: bool, bytes: usize) -> Vec<Place<'a>> {
        let one = |from| rooms.enter(to(who, from), urgent, bytes).ok().map(Option::unwrap);
        (0..4).flat_map(|from| std::iter::from_fn(move || one(from))).collect()
    }

    fn ended(rooms: &Rooms, how: &str) -> u64 {
        rooms.held().ended.iter().find(|(name, _)| *name == how).unwrap().1
    }

    #[test]
    fn a_provider_that_comes_and_goes_takes_its_own_places_only() {
        let rooms = Rooms::default();
        let (police, others) =
            (member("police"), (0..8).map(|n| member(&format!("other-{n}"))).collect::<Vec<_>>());
        let last = member("ambulances");
        for who in others.iter().chain([&police, &last]) {
            rooms.begin(who, LONG, None);
        }
        let mut places = fill(&rooms, &police, false, 1);
        assert_eq!(places.len(), LINK_HELD_OF_MEMBER - LINK_HELD_OF_MEMBER_EMERGENCY);
        places.extend(fill(&rooms, &police, true, 1));
        assert_eq!(places.len(), LINK_HELD_OF_MEMBER, "the member's last ones are for emergencies");
        for other in &others {
            places.extend(fill(&rooms, other, false, 1));
        }
        assert_eq!(places.len(), LINK_HELD_MAX - LINK_HELD_EMERGENCY);
        assert!(rooms.enter(to(&last, 1), false, 1).is_err());
        assert!(
            rooms.enter(to(&last, 1), true, 1).is_ok_and(|place| place.is_some()),
            "emergencies have the last"
        );
        assert_eq!(rooms.held().requests, places.len());
        assert_eq!(ended(&rooms, "full"), 4 * 10 + 1);
        drop(places);
        assert_eq!((rooms.held().requests, rooms.held().bytes), (0, 0));
        assert!(rooms.state().rooms.is_empty());
    }

    #[test]
    fn large_requests_fill_the_room_by_their_bytes() {
        let rooms = Rooms::default();
        let (police, clinic) = (member("police"), member("clinic"));
        rooms.begin(&police, LONG, None);
        rooms.begin(&clinic, LONG, None);
        let large = 4 << 20;
        let places = fill(&rooms, &police, false, large);
        assert_eq!(places.len(), 3, "three of four fit below the part for emergencies");
        assert!(rooms.enter(to(&police, 1), true, large).is_ok_and(|place| place.is_some()));
        assert!(rooms.enter(to(&clinic, 1), false, large).is_ok_and(|place| place.is_some()));
        assert!(rooms.enter(to(&clinic, 1), false, usize::MAX).is_err());
    }

    #[test]
    fn one_consumer_fills_half_of_a_room_only() {
        let (rooms, police) = (Rooms::default(), member("police"));
        rooms.begin(&police, LONG, None);
        let own = || rooms.enter(to(&police, 0), false, 3 << 20).ok().map(Option::unwrap);
        let mut places: Vec<_> = std::iter::from_fn(own).collect();
        assert_eq!(places.len(), 2, "half of fourteen megabytes");
        assert!(rooms.enter(to(&police, 1), false, 4 << 20).is_ok_and(|place| place.is_some()), "another's");
        places.pop();
        assert!(rooms.enter(to(&police, 0), false, 3 << 20).is_ok_and(|place| place.is_some()), "freed");
        drop(places);
        assert!(rooms.state().rooms.is_empty());
    }

    #[tokio::test]
    async fn nobody_overtakes_those_who_had_to_wait() {
        let (rooms, police) = (Rooms::default(), member("police"));
        rooms.begin(&police, LONG, None);
        let held = rooms.enter(to(&police, 0), false, 1).unwrap().unwrap();
        rooms.back(&police);
        assert!(rooms.enter(to(&police, 1), true, 1).unwrap().is_none(), "an emergency goes at once");
        let mut patience = pin!(sleep(LONG));
        let mut next = pin!(rooms.wait(to(&police, 1), false, 1, patience.as_mut()));
        let first = async {
            let mut held = held;
            held.until_back().await;
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
            held.sent();
        };
        tokio::select! {
            biased;
            () = first => {}
            place = next.as_mut() => panic!("overtaken: {}", place.is_ok()),
        }
        assert!(next.await.unwrap().is_some());
        // Nobody is left who had to wait: nothing to stand behind.
        assert!(rooms.wait(to(&police, 0), false, 1, pin!(sleep(LONG))).await.unwrap().is_none());
    }

    #[test]
    fn the_end_of_one_change_is_not_the_end_of_the_next() {
        let rooms = Rooms::default();
        let police = member("police");
        let first = rooms.begin(&police, LONG, None);
        rooms.back(&police);
        let second = rooms.begin(&police, LONG, None);
        rooms.give_up(&police, first);
        assert!(rooms.expects(&police));
        rooms.give_up(&police, second);
        assert!(!rooms.expects(&police));
    }

    #[tokio::test]
    async fn requests_go_out_in_the_order_in_which_they_came() {
        let (rooms, police) = (Rooms::default(), member("police"));
        rooms.begin(&police, LONG, None);
        let (gone, out) = (RefCell::new(Vec::new()), RefCell::new(0));
        let requests = (0..8_usize).map(|number| {
            let (rooms, police, gone, out) = (&rooms, &police, &gone, &out);
            async move {
                let place = rooms.wait(to(police, 0), false, 1, pin!(sleep(LONG))).await.unwrap().unwrap();
                *out.borrow_mut() += 1;
                assert_eq!(*out.borrow(), 1, "one at a time");
                // The later ones would overtake the first if they could.
                for _ in number..16 {
                    tokio::task::yield_now().await;
                }
                gone.borrow_mut().push(number);
                *out.borrow_mut() -= 1;
                place.sent();
            }
        });
        let back = async {
            while rooms.held().requests < 8 {
                tokio::task::yield_now().await;
            }
            rooms.back(&police);
        };
        tokio::join!(join_all(requests), back);
        assert_eq!(gone.into_inner(), (0..8).collect::<Vec<_>>());
        assert_eq!((ended(&rooms, "sent"), rooms.held().requests), (8, 0));
        assert!(
            rooms.wait(to(&police, 0), false, 1, pin!(sleep(LONG))).await.unwrap().is_none(),
            "nothing to wait for"
        );
    }

    #[tokio::test]
    async fn nobody_waits_beyond_the_own_deadline_nor_the_end_of_the_change() {
        let (rooms, police, clinic) = (Rooms::default(), member("police"), member("clinic"));
        let change = rooms.begin(&police, LONG, None);
        rooms.begin(&clinic, SHORT, None);
        let late = rooms.wait(to(&police, 0), false, 1, pin!(sleep(SHORT))).await;
        assert_eq!(late.err(), Some(Code::ProviderUnavailable), "the request's own deadline");
        let held = rooms.wait(to(&clinic, 0), false, 1, pin!(sleep(LONG))).await;
        assert_eq!(
            held.err(),
            Some(Code::ProviderUnavailable),
            "the change's own end, whoever still expects it"
        );
        assert_eq!((ended(&rooms, "away"), rooms.held().requests), (2, 0));
        // One that gives up in the middle of the row holds nobody up, and another member's return releases nobody.
        let (mut first, mut second) = (pin!(sleep(SHORT)), pin!(sleep(LONG)));
        let both = async {
            tokio::join!(
                rooms.wait(to(&police, 0), false, 1, first.as_mut()),
                rooms.wait(to(&police, 0), false, 1, second.as_mut())
            )
        };
        let end = async {
            rooms.back(&clinic);
            while rooms.held().requests > 1 || ended(&rooms, "away") < 3 {
                tokio::time::sleep(SHORT / 4).await;
            }
            assert_eq!(rooms.held().requests, 1);
            rooms.give_up(&police, change);
        };
        let ((first, second), ()) = tokio::join!(both, end);
        assert!(first.is_err());
        assert!(second.unwrap().is_some(), "released; whether there is a link is seen next");
    }
}
