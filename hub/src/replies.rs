//! Replies that are on their way to their readers. A revocation is acknowledged only when every reply with
//! a lower index was handed over or dropped; this is the list that says so.
//!
//! A mark is set before the exchange's draft goes to the sequencer, and falls when the connection has taken
//! the last byte of its body, or is gone. So after a revocation's entry is durable, every reply with a lower
//! index has a mark that was set before, and every later mark belongs to a higher index, which the
//! sequencer has judged with the revocation in view.
//!
//! The bodies of these replies are what readers that do not read would fill the hub's memory with, so each mark
//! counts against a budget of the whole hub and a part of it for its reader's member, and readers that take
//! nothing, or next to nothing, lose their connections ([`watch`]). What is no answer counts too, by its receipt: it is
//! owed, so it is never turned away, but the next request is.

mod stalled;

pub use stalled::watch;

use crate::limits::{REPLY_BYTES_EMERGENCY, REPLY_BYTES_MAX, REPLY_BYTES_OF_MEMBER};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use yiwang_proto::ambient::Clock;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;

/// How long readers have before their connections are dropped: an honest one takes a reply within the time
/// of a round trip, and a revocation is to be acknowledged within a second.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long dropped connections have to end; a reply without connection ends with its task.
const DROPPED: Duration = Duration::from_secs(2);

/// A connection, as far as its replies go.
#[derive(Default)]
pub(crate) struct Line {
    /// Cancelled, it drops the connection.
    pub(crate) cut: CancellationToken,
    // When its reader took something last.
    taken_us: AtomicU64,
    window: stalled::Window,
}

/// The way of one response to its reader.
#[derive(Default)]
struct Way {
    // Set once: a response belongs to one connection.
    line: OnceLock<Arc<Line>>,
    // When its first reply became part of it.
    begun_us: OnceLock<u64>,
    // When its reader took something of it last.
    taken_us: AtomicU64,
}

/// A reply under way, as the list knows it.
struct Waiting {
    ticket: u64,
    reader: MemberId,
    bytes: usize,
    // Whose answer it has, if any: a revocation of its provider or its reader waits for it.
    provider: Option<MemberId>,
    // Its response, and since when it is part of it.
    way: OnceLock<(Arc<Way>, u64)>,
}

impl Waiting {
    fn line(&self) -> Option<&Arc<Line>> {
        self.way.get().and_then(|(way, _)| way.line.get())
    }

    fn rests_on(&self, member: &MemberId) -> bool {
        self.provider.as_ref().is_some_and(|provider| provider == member || self.reader == *member)
    }
}

/// How much of the budget an answer may use up.
const fn part_for(urgent: bool) -> usize {
    if urgent { REPLY_BYTES_MAX } else { REPLY_BYTES_MAX - REPLY_BYTES_EMERGENCY }
}

/// What is under way. INVARIANT: the bytes are those of the marks.
#[derive(Default)]
struct Open {
    marks: HashMap<u64, Arc<Waiting>>,
    bytes: usize,
    // Of members that have any.
    of: HashMap<MemberId, usize>,
}

impl Open {
    fn of(&self, reader: &MemberId) -> usize {
        self.of.get(reader).copied().unwrap_or_default()
    }

    fn take(&mut self, reader: &MemberId, bytes: usize, urgent: bool) -> Result<(), Code> {
        let (all, own) = (self.bytes.saturating_add(bytes), self.of(reader).saturating_add(bytes));
        if all > part_for(urgent) || own > REPLY_BYTES_OF_MEMBER {
            return Err(Code::AnswersWaiting);
        }
        self.bytes = all;
        self.of.insert(reader.clone(), own);
        Ok(())
    }

    /// Takes what is owed, room or not.
    fn owe(&mut self, reader: &MemberId, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        let own = self.of(reader).saturating_add(bytes);
        self.of.insert(reader.clone(), own);
    }

    fn give_back(&mut self, reader: &MemberId, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        match self.of(reader).saturating_sub(bytes) {
            0 => drop(self.of.remove(reader)),
            left => drop(self.of.insert(reader.clone(), left)),
        }
    }
}

struct Shared {
    clock: Arc<dyn Clock>,
    next: AtomicU64,
    open: Mutex<Open>,
    fallen: Notify,
    // Looks for readers that take too little.
    looks: AtomicU64,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers that rest on what this member may take back.
    fn before(&self, ticket: u64, member: &MemberId) -> Vec<Arc<Waiting>> {
        let open = self.open();
        let before =
            open.marks.values().filter(|waiting| waiting.ticket < ticket && waiting.rests_on(member));
        before.map(Arc::clone).collect()
    }

    /// A mark for what was taken from the open budget just now.
    fn mark(
        self: &Arc<Self>,
        mut open: MutexGuard<'_, Open>,
        of: (&MemberId, usize),
        provider: Option<MemberId>,
    ) -> Mark {
        // Drawn under the lock: who counts the marks below a number must find all of them.
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (reader, bytes) = (of.0.clone(), of.1);
        let waiting = Arc::new(Waiting { ticket, reader, bytes, provider, way: OnceLock::new() });
        open.marks.insert(ticket, Arc::clone(&waiting));
        drop(open);
        Mark { shared: Arc::clone(self), waiting, place: None }
    }

    async fn fall(&self, ticket: u64, member: &MemberId) {
        loop {
            // Asked for before the look, so that no fall between the two is missed.
            let fallen = self.fallen.notified();
            tokio::pin!(fallen);
            fallen.as_mut().enable();
            if self.before(ticket, member).is_empty() {
                return;
            }
            fallen.await;
        }
    }
}

/// The list.
pub struct Replies {
    shared: Arc<Shared>,
}

/// One reply under way.
pub struct Mark {
    shared: Arc<Shared>,
    waiting: Arc<Waiting>,
    // Its place among those of one stream.
    place: Option<OwnedSemaphorePermit>,
}

impl Mark {
    /// Keeps a place until the reply is taken.
    pub fn hold(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// Its reader took a piece of the response.
    pub(crate) fn taken(&self, bytes: usize) {
        let Some((way, _)) = self.waiting.way.get() else { return };
        let now_us = self.shared.clock.monotonic_us();
        way.taken_us.store(now_us, Ordering::Relaxed);
        if let Some(line) = way.line.get() {
            line.taken_us.store(now_us, Ordering::Relaxed);
            line.window.add(bytes);
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.marks.remove(&self.waiting.ticket);
        open.give_back(&self.waiting.reader, self.waiting.bytes);
        drop(open);
        self.shared.fallen.notify_waiters();
    }
}

impl Replies {
    /// An empty list.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (next, looks) = <(AtomicU64, AtomicU64)>::default();
        let (open, fallen) = (Mutex::default(), Notify::default());
        Self { shared: Arc::new(Shared { clock, next, open, fallen, looks }) }
    }

    /// Marks a provider's answer to a member as under way, with the bytes of its body. Only urgent ones get room of what
    /// is kept for emergencies: how many were let in before there was anything to count, nobody knows here.
    ///
    /// # Errors
    /// [`Code::AnswersWaiting`] where too much waits for readers already.
    pub fn begin(
        &self,
        reader: &MemberId,
        provider: &MemberId,
        bytes: usize,
        urgent: bool,
    ) -> Result<Mark, Code> {
        let mut open = self.shared.open();
        open.take(reader, bytes, urgent)?;
        Ok(self.shared.mark(open, (reader, bytes), Some(provider.clone())))
    }

    /// Counts a reply without an answer: a refusal, a failure, what is withheld. Its entry stands, so its receipt is
    /// handed over; the budget can be exceeded by the receipts of the exchanges that run at once.
    pub fn owe(&self, reader: &MemberId, bytes: usize) -> Mark {
        let mut open = self.shared.open();
        open.owe(reader, bytes);
        self.shared.mark(open, (reader, bytes), None)
    }

    /// Whether a member's next exchange may begin: nothing is fetched that could not be handed over. Emergencies
    /// have the room that is kept for them.
    ///
    /// # Errors
    /// [`Code::AnswersWaiting`].
    pub fn room_for(&self, reader: &MemberId, urgent: impl FnOnce() -> bool) -> Result<(), Code> {
        let (all, own) = {
            let open = self.shared.open();
            (open.bytes, open.of(reader))
        };
        let full =
            own >= REPLY_BYTES_OF_MEMBER || all >= part_for(true) || (all >= part_for(false) && !urgent());
        if full { Err(Code::AnswersWaiting) } else { Ok(()) }
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.shared.open().marks.len()
    }

    /// How many of them a connection has already, so that their readers could take them.
    pub fn on_connections(&self) -> usize {
        self.shared.open().marks.values().filter(|waiting| waiting.line().is_some()).count()
    }

    /// Their bytes.
    pub fn waiting(&self) -> usize {
        self.shared.open().bytes
    }

    /// Waits until every answer of this member, or to it, that is under way now was handed over, drops the connections of
    /// readers that do not take theirs, and says how many answers that were. Others rest on nothing that the member can
    /// take back: whoever revokes something every second must not cut off everybody's readers.
    ///
    /// # Errors
    /// [`Code::Overloaded`] where some are under way still: nothing may be acknowledged.
    pub async fn settle(&self, member: &MemberId) -> Result<usize, Code> {
        let ticket = {
            let _open = self.shared.open();
            self.shared.next.load(Ordering::Relaxed)
        };
        if tokio::time::timeout(PATIENCE, self.shared.fall(ticket, member)).await.is_ok() {
            return Ok(0);
        }
        let late = self.shared.before(ticket, member);
        for line in late.iter().filter_map(|waiting| waiting.line()) {
            line.cut.cancel();
        }
        if tokio::time::timeout(DROPPED, self.shared.fall(ticket, member)).await.is_err() {
            tracing::error!(
                %member,
                replies = self.shared.before(ticket, member).len(),
                "replies are still under way after their connections were dropped; what was revoked is not acknowledged"
            );
            return Err(Code::Overloaded);
        }
        Ok(late.len())
    }
}

/// The marks of the replies in one response, until the connection has taken them.
#[derive(Clone, Default)]
pub struct Handing {
    way: Arc<Way>,
    marks: Arc<Mutex<Vec<Mark>>>,
    lasts: bool,
}

impl Handing {
    /// For a response that may last as long as its connection: its replies are judged each by itself.
    pub fn lasting() -> Self {
        Self { lasts: true, ..Self::default() }
    }

    fn marks(&self) -> MutexGuard<'_, Vec<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the mark of the next reply of this response.
    pub fn add(&self, mark: Mark) {
        self.expect(&mark);
        if !self.lasts {
            let now_us = mark.shared.clock.monotonic_us();
            self.way.begun_us.get_or_init(|| now_us);
        }
        self.marks().push(mark);
    }

    /// A reply will be part of this response: until it is, whoever waits for it knows whose connection to cut.
    pub fn expect(&self, mark: &Mark) {
        let now_us = mark.shared.clock.monotonic_us();
        // Set once: a reply is part of one response.
        let _ = mark.waiting.way.set((Arc::clone(&self.way), now_us));
    }

    /// Names the connection.
    pub(crate) fn over(&self, line: &Arc<Line>) {
        let _ = self.way.line.set(Arc::clone(line));
    }

    /// The marks of what was given to the connection just now.
    pub(crate) fn given(&self) -> Vec<Mark> {
        std::mem::take(&mut *self.marks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::ambient::ManualClock;

    fn list() -> Replies {
        Replies::new(Arc::new(ManualClock::new(0)))
    }

    fn reader(name: &str) -> MemberId {
        MemberId::parse(name).unwrap()
    }

    fn answer(replies: &Replies, reader: &MemberId, bytes: usize, urgent: bool) -> Result<Mark, Code> {
        replies.begin(reader, &MemberId::parse("police").unwrap(), bytes, urgent)
    }

    fn begin(replies: &Replies) -> Mark {
        answer(replies, &reader("street-office"), 10, false).unwrap()
    }

    #[test]
    fn a_member_that_does_not_read_fills_its_own_part_and_nobody_elses() {
        let replies = list();
        let (one, two) = (reader("street-office"), reader("health"));
        let ordinary = || false;
        let part = REPLY_BYTES_OF_MEMBER;
        let held = answer(&replies, &one, part - 1, false).unwrap();
        assert!(replies.room_for(&one, ordinary).is_ok());
        assert_eq!(answer(&replies, &one, 2, true).err(), Some(Code::AnswersWaiting));
        let last = answer(&replies, &one, 1, false).unwrap();
        assert_eq!(replies.room_for(&one, ordinary), Err(Code::AnswersWaiting));
        assert_eq!(replies.room_for(&one, || true), Err(Code::AnswersWaiting), "urgent or not");
        assert!(replies.room_for(&two, ordinary).is_ok() && answer(&replies, &two, part, false).is_ok());
        drop((held, last));
        assert!(replies.room_for(&one, ordinary).is_ok());
        assert_eq!((replies.waiting(), replies.under_way()), (0, 0));
        assert!(replies.shared.open().of.is_empty(), "who has nothing waiting is forgotten");
    }

    #[test]
    fn the_whole_hub_has_a_budget_whose_last_part_is_for_emergencies() {
        let replies = list();
        let members: Vec<_> = ["a-one", "a-two", "a-three", "a-four"].into_iter().map(reader).collect();
        let (last, others) = members.split_last().unwrap();
        let mut held: Vec<_> =
            others.iter().map(|one| answer(&replies, one, REPLY_BYTES_OF_MEMBER, false).unwrap()).collect();
        let to_the_reserve = REPLY_BYTES_OF_MEMBER - REPLY_BYTES_EMERGENCY;
        assert!(answer(&replies, last, to_the_reserve + 1, false).is_err(), "not one byte of the reserve");
        held.push(answer(&replies, last, to_the_reserve, false).unwrap());
        assert_eq!(replies.room_for(&reader("other"), || false), Err(Code::AnswersWaiting));
        assert!(replies.room_for(&reader("other"), || true).is_ok());
        assert!(answer(&replies, &reader("other"), 1, false).is_err(), "also of one that was let in before");
        held.push(answer(&replies, &reader("other"), REPLY_BYTES_EMERGENCY, true).unwrap());
        assert_eq!(replies.room_for(&reader("third"), || true), Err(Code::AnswersWaiting));
        assert!(answer(&replies, &reader("third"), 1, true).is_err(), "no byte above it");
        drop(held);
        assert!(answer(&replies, &reader("third"), 1, false).is_ok());
    }

    #[tokio::test]
    async fn what_is_no_answer_counts_and_no_revocation_waits_for_it() {
        let replies = list();
        let one = reader("street-office");
        let owed = replies.owe(&one, REPLY_BYTES_OF_MEMBER);
        assert_eq!((replies.waiting(), replies.under_way()), (REPLY_BYTES_OF_MEMBER, 1));
        assert_eq!(replies.room_for(&one, || true), Err(Code::AnswersWaiting));
        assert!(replies.room_for(&reader("health"), || false).is_ok());
        let more = replies.owe(&one, 1);
        assert_eq!(replies.settle(&one).await, Ok(0));
        drop((owed, more));
        assert!(replies.room_for(&one, || false).is_ok());
        assert_eq!((replies.waiting(), replies.under_way()), (0, 0));
    }

    #[tokio::test]
    async fn a_settling_waits_for_what_is_under_way_and_for_nothing_later() {
        let replies = Arc::new(list());
        let first = begin(&replies);
        let settling = tokio::spawn({
            let replies = Arc::clone(&replies);
            async move { replies.settle(&reader("street-office")).await }
        });
        tokio::task::yield_now().await;
        let _later = begin(&replies);
        assert!(!settling.is_finished());
        drop(first);
        assert_eq!(settling.await.unwrap(), Ok(0));
        assert_eq!(replies.under_way(), 1);
    }

    #[tokio::test]
    async fn who_does_not_read_is_dropped() {
        let replies = list();
        let handing = Handing::default();
        handing.add(begin(&replies));
        let line = Arc::new(Line::default());
        handing.over(&line);
        handing.add(begin(&replies));
        let connection = tokio::spawn({
            let (line, handing) = (Arc::clone(&line), handing.clone());
            async move {
                line.cut.cancelled().await;
                drop(handing.given());
            }
        });
        assert_eq!(replies.settle(&reader("police")).await, Ok(2));
        connection.await.unwrap();
        assert_eq!((line.cut.is_cancelled(), replies.under_way()), (true, 0));
    }
    #[tokio::test(start_paused = true)]
    async fn what_a_member_takes_back_waits_for_answers_of_its_own_and_is_not_acknowledged_before() {
        let replies = list();
        let (handing, line) = (Handing::default(), Arc::new(Line::default()));
        handing.over(&line);
        let mark = begin(&replies);
        handing.expect(&mark);
        assert_eq!(
            replies.settle(&reader("health")).await,
            Ok(0),
            "it is neither its provider nor its reader"
        );
        assert!(!line.cut.is_cancelled(), "and nobody is cut off for it");
        assert_eq!(replies.settle(&reader("street-office")).await, Err(Code::Overloaded));
        assert!(line.cut.is_cancelled());
        drop(mark);
        assert_eq!(replies.settle(&reader("street-office")).await, Ok(0));
    }
}
