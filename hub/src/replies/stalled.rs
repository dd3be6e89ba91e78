//! Readers that take nothing. A connection lives as long as it answers pings, and its answers wait for its
//! windows: so without an end, four members that never open theirs would hold the whole budget for good.
//!
//! A reply of which nothing is taken for a while ends its connection; so does a connection that takes less than any
//! line carries while replies wait on it, and a response that is under way for longer than all of them would need at
//! that rate. Where the budget is nearly full, the largest holder's oldest connection that takes nothing at all ends
//! sooner, and so on until there is room. What is slow and reads stays.

use super::{Line, Replies, Waiting};
use crate::context::Hub;
use crate::limits::{
    REPLY_BYTES_PRESSED, REPLY_LOOK, REPLY_STALLED, REPLY_STALLED_PRESSED, REPLY_TAKEN_MIN,
    REPLY_TAKEN_WITHIN,
};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use yiwang_proto::ids::MemberId;

/// Why most of them end.
const TAKES_NOTHING: &str = "its reader takes no replies";

/// Looks for such readers until the hub stops.
pub async fn watch(hub: Arc<Hub>) {
    while hub.stop.run_until_cancelled(tokio::time::sleep(REPLY_LOOK)).await.is_some() {
        hub.replies.look();
    }
}

/// What a connection took while replies waited on it: judged when it is full, and begun anew where none waited.
#[derive(Default)]
pub(super) struct Window {
    since_us: AtomicU64,
    bytes: AtomicU64,
    // The number of the last look that found something waiting.
    look: AtomicU64,
}

impl Window {
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether less than the least was taken in it. `begun_us` is since when some response has been under way: those of
    /// a reader that is quick are younger than any window.
    fn is_poor(&self, look: u64, begun_us: u64, now_us: u64) -> bool {
        let since_us = self.since_us.load(Ordering::Relaxed);
        let goes_on =
            self.look.swap(look, Ordering::Relaxed).saturating_add(1) == look && begun_us <= since_us;
        let lasted = Duration::from_micros(now_us.saturating_sub(since_us));
        if goes_on && lasted < REPLY_STALLED {
            return false;
        }
        self.since_us.store(now_us, Ordering::Relaxed);
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        goes_on && bytes < REPLY_TAKEN_MIN
    }
}

/// What waits on one connection.
struct Holder<'a> {
    line: &'a Line,
    reader: &'a MemberId,
    bytes: usize,
    oldest: u64,
    // Since when the reply that waits longest has its connection, and since when nothing of some reply was taken.
    given_us: u64,
    stalled_us: u64,
    // Since when its oldest response has been under way.
    begun_us: u64,
}

impl<'a> Holder<'a> {
    fn add(holders: &mut HashMap<*const Line, Self>, waiting: &'a Waiting) {
        let Some((way, given_us)) = waiting.way.get() else { return };
        let Some(line) = way.line.get() else { return };
        let begun_us = way.begun_us.get().copied().unwrap_or(*given_us);
        let stalled_us = way.taken_us.load(Ordering::Relaxed).max(*given_us);
        let holder = holders.entry(Arc::as_ptr(line)).or_insert_with(|| Self {
            line,
            reader: &waiting.reader,
            bytes: 0,
            oldest: waiting.ticket,
            given_us: *given_us,
            stalled_us,
            begun_us,
        });
        holder.bytes = holder.bytes.saturating_add(waiting.bytes);
        holder.oldest = holder.oldest.min(waiting.ticket);
        holder.given_us = holder.given_us.min(*given_us);
        holder.stalled_us = holder.stalled_us.min(stalled_us);
        holder.begun_us = holder.begun_us.min(begun_us);
    }

    /// Why its connection has to end, if it has to.
    fn fault(&self, look: u64, now_us: u64) -> Option<&'static str> {
        let since = |at_us: u64| Duration::from_micros(now_us.saturating_sub(at_us));
        // Asked always, since it begins the next window.
        let is_poor = self.line.window.is_poor(look, self.begun_us, now_us);
        if since(self.stalled_us) >= REPLY_STALLED {
            return Some(TAKES_NOTHING);
        }
        if since(self.begun_us) >= REPLY_TAKEN_WITHIN {
            return Some("its reader does not come to an end");
        }
        is_poor.then_some("its reader takes less than any line carries")
    }

    /// Nothing of any was.
    fn takes_nothing(&self, now_us: u64) -> Duration {
        let since_us = self.line.taken_us.load(Ordering::Relaxed).max(self.given_us);
        Duration::from_micros(now_us.saturating_sub(since_us))
    }

    fn end(&self, why: &str) {
        let (member, bytes) = (self.reader, self.bytes);
        tracing::warn!(%member, bytes, why, "a connection is dropped");
        self.line.cut.cancel();
    }
}

impl Replies {
    /// Drops the connections of readers that take nothing or too little, and says how many.
    pub fn look(&self) -> usize {
        let now_us = self.shared.clock.monotonic_us();
        let look = self.shared.looks.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let (mut bytes, waiting) = {
            let open = self.shared.open();
            (open.bytes, open.marks.values().map(Arc::clone).collect::<Vec<_>>())
        };
        let mut holders = HashMap::new();
        for waiting in &waiting {
            Holder::add(&mut holders, waiting);
        }
        let mut dropped = 0;
        let mut left = Vec::new();
        let mut of: HashMap<&MemberId, usize> = HashMap::new();
        let mut holders: Vec<_> = holders.into_values().collect();
        holders.sort_by_key(|holder| holder.oldest);
        for holder in holders {
            // What was cut before is on its way out already.
            let gone = holder.line.cut.is_cancelled();
            let fault = holder.fault(look, now_us);
            if !gone && fault.is_none() {
                *of.entry(holder.reader).or_default() += holder.bytes;
                left.push(holder);
                continue;
            }
            bytes = bytes.saturating_sub(holder.bytes);
            if let Some(why) = fault.filter(|_| !gone) {
                holder.end(why);
                dropped += 1;
            }
        }
        left.retain(|holder| holder.takes_nothing(now_us) >= REPLY_STALLED_PRESSED);
        while bytes >= REPLY_BYTES_PRESSED {
            let largest = left.iter().enumerate().max_by_key(|(_, holder)| {
                (of.get(holder.reader).copied().unwrap_or_default(), Reverse(holder.oldest))
            });
            let Some((at, _)) = largest else { break };
            let holder = left.swap_remove(at);
            holder.end(TAKES_NOTHING);
            dropped += 1;
            bytes = bytes.saturating_sub(holder.bytes);
            of.entry(holder.reader).and_modify(|own| *own = own.saturating_sub(holder.bytes));
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handing, Mark};
    use super::*;
    use crate::limits::{REPLY_BYTES_MAX, REPLY_BYTES_OF_MEMBER, REPLY_PIECE};
    use yiwang_proto::ambient::ManualClock;

    struct Scene {
        clock: Arc<ManualClock>,
        replies: Replies,
    }

    /// A connection that holds the marks of its responses until it is dropped.
    #[derive(Default)]
    struct Connection {
        line: Arc<Line>,
        marks: Vec<Mark>,
    }

    impl Connection {
        fn is_cut(&self) -> bool {
            self.line.cut.is_cancelled()
        }
    }

    impl Scene {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new(0));
            Self { replies: Replies::new(Arc::clone(&clock) as _), clock }
        }

        fn give(&self, connection: &mut Connection, reader: &str, bytes: usize) {
            let (handing, provider) = (Handing::default(), MemberId::parse("police").unwrap());
            handing
                .add(self.replies.begin(&MemberId::parse(reader).unwrap(), &provider, bytes, true).unwrap());
            handing.over(&connection.line);
            connection.marks.extend(handing.given());
        }

        fn with(&self, reader: &str, bytes: usize) -> Connection {
            let mut connection = Connection::default();
            self.give(&mut connection, reader, bytes);
            connection
        }

        fn after(&self, time: Duration) -> usize {
            self.clock.advance_ms(u64::try_from(time.as_millis()).unwrap());
            self.replies.look()
        }
    }

    /// As much as a reader has to take in the time in which it has to take something.
    const ENOUGH: usize = REPLY_TAKEN_MIN as usize;
    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn an_answer_of_which_nothing_is_taken_ends_its_connection_and_no_other() {
        let scene = Scene::new();
        let stalled = scene.with("street-office", 10);
        assert_eq!(scene.after(REPLY_STALLED.saturating_sub(MOMENT)), 0);
        let later = scene.with("street-office", 10);
        assert_eq!(scene.after(MOMENT), 1);
        assert!(stalled.is_cut() && !later.is_cut());
        assert_eq!(scene.after(MOMENT), 0, "once");
    }

    #[test]
    fn a_slow_reader_that_reads_stays_and_one_answer_does_not_speak_for_another() {
        let scene = Scene::new();
        let mut slow = scene.with("street-office", REPLY_BYTES_OF_MEMBER / 2);
        for _ in 0..10 {
            assert_eq!(scene.after(REPLY_STALLED.saturating_sub(MOMENT)), 0);
            slow.marks[0].taken(ENOUGH);
        }
        scene.give(&mut slow, "street-office", 10);
        for _ in 0..2 {
            assert!(!slow.is_cut());
            scene.after(REPLY_STALLED / 2);
            slow.marks[0].taken(ENOUGH);
        }
        assert!(slow.is_cut(), "nothing of the second was taken");
    }

    #[test]
    fn a_reader_that_takes_a_piece_now_and_then_is_dropped_with_all_that_waits() {
        let scene = Scene::new();
        let mut trickles = scene.with("street-office", REPLY_BYTES_OF_MEMBER - 10);
        // What it takes of another answer between two pieces is too little all the same.
        scene.give(&mut trickles, "street-office", 10);
        let mut taken = Duration::ZERO;
        while !trickles.is_cut() {
            assert!(taken < 3 * REPLY_STALLED, "it holds its part for good");
            for mark in &trickles.marks {
                mark.taken(REPLY_PIECE);
            }
            scene.after(Duration::from_secs(10));
            taken += Duration::from_secs(10);
        }
        assert!(taken >= REPLY_STALLED);
    }

    #[test]
    fn an_answer_that_is_held_while_others_are_taken_ends_too() {
        let scene = Scene::new();
        let mut held = scene.with("street-office", REPLY_BYTES_OF_MEMBER / 2);
        let rounds = REPLY_TAKEN_WITHIN.as_secs() / 10;
        for round in 0..rounds {
            assert!(!held.is_cut(), "{round} of {rounds}");
            scene.give(&mut held, "street-office", ENOUGH);
            let other = held.marks.pop().unwrap();
            other.taken(ENOUGH);
            held.marks[0].taken(1);
            scene.after(Duration::from_secs(10));
        }
        assert!(held.is_cut());
    }

    #[test]
    fn who_takes_each_small_answer_at_once_stays_however_little_that_is() {
        let scene = Scene::new();
        let mut quick = Connection::default();
        for _ in 0..200 {
            scene.give(&mut quick, "street-office", 10);
            assert_eq!(scene.after(Duration::from_secs(1)), 0);
            quick.marks[0].taken(10);
            quick.marks.clear();
        }
    }

    #[test]
    fn under_pressure_the_largest_holders_oldest_connection_goes_first() {
        let scene = Scene::new();
        let eighth = REPLY_BYTES_MAX / 8;
        let small = scene.with("a-small", eighth);
        let large = [scene.with("a-large", eighth), scene.with("a-large", eighth)];
        let others = [scene.with("a-third", eighth), scene.with("a-third", eighth / 2)];
        let reads = scene.with("a-reader", eighth);
        assert_eq!(scene.after(REPLY_STALLED_PRESSED), 0, "there is room");
        let last = scene.with("a-last", eighth / 2);
        assert_eq!(scene.replies.waiting(), REPLY_BYTES_PRESSED);
        reads.marks[0].taken(REPLY_PIECE);
        assert_eq!(scene.replies.look(), 1);
        assert!(large[0].is_cut(), "and it was enough");
        assert!(!large[1].is_cut() && !others.iter().any(Connection::is_cut));
        assert!(!small.is_cut() && !reads.is_cut() && !last.is_cut());
        assert_eq!(scene.replies.look(), 0, "what is on its way out counts no more");
    }

    #[test]
    fn members_that_fill_the_budget_and_read_nothing_make_room_within_seconds() {
        let scene = Scene::new();
        let names = ["a-one", "a-two", "a-three", "a-four"];
        let mut held: Vec<_> = names.iter().map(|name| scene.with(name, REPLY_BYTES_OF_MEMBER)).collect();
        let other = MemberId::parse("other").unwrap();
        assert!(scene.replies.room_for(&other, || true).is_err());
        assert_eq!(scene.after(REPLY_STALLED_PRESSED.saturating_sub(MOMENT)), 0);
        assert_eq!(scene.after(MOMENT), 2, "until it is no longer nearly full");
        held.retain(|connection| !connection.is_cut());
        assert!(scene.replies.room_for(&other, || false).is_ok());
        assert_eq!(scene.after(REPLY_STALLED), 2);
    }

    #[test]
    fn asking_for_more_is_not_reading() {
        let scene = Scene::new();
        let part = REPLY_BYTES_OF_MEMBER / 2;
        let mut held: Vec<_> =
            ["a-one", "a-two", "a-three", "a-four"].iter().map(|name| scene.with(name, part)).collect();
        scene.clock.advance_ms(4_000);
        for (connection, name) in held.iter_mut().zip(["a-one", "a-two", "a-three", "a-four"]) {
            scene.give(connection, name, part);
        }
        assert_eq!(scene.after(Duration::from_secs(1)), 2);
    }
}
