//! Replies that are on their way to their readers. A revocation is acknowledged only when every reply with
//! a lower index was handed over or dropped; this is the list that says so.
//!
//! A mark is set before the exchange's draft goes to the sequencer, and falls when the connection has taken
//! the last byte of its body, or is gone. So after a revocation's entry is durable, every reply with a lower
//! index has a mark that was set before, and every later mark belongs to a higher index, which the
//! sequencer has judged with the revocation in view.
//!
//! The bodies of these replies are what readers that do not read would fill the hub's memory with, so each mark
//! counts against a budget of the whole hub and a part of it for its reader's member.

use crate::limits::{REPLY_BYTES_EMERGENCY, REPLY_BYTES_MAX, REPLY_BYTES_OF_MEMBER};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use yiwang_proto::codes::Code;
use yiwang_proto::ids::MemberId;

/// How long readers have before their connections are dropped: an honest one takes a reply within the time
/// of a round trip, and a revocation is to be acknowledged within a second.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long dropped connections have to end; a reply without connection ends with its task.
const DROPPED: Duration = Duration::from_secs(2);

/// How much of the budget an answer may use up.
const fn part_for(urgent: bool) -> usize {
    if urgent { REPLY_BYTES_MAX } else { REPLY_BYTES_MAX - REPLY_BYTES_EMERGENCY }
}

/// What is under way. INVARIANT: the bytes are those of the marks.
#[derive(Default)]
struct Open {
    marks: HashMap<u64, Arc<OnceLock<CancellationToken>>>,
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

    fn give_back(&mut self, reader: &MemberId, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        match self.of(reader).saturating_sub(bytes) {
            0 => drop(self.of.remove(reader)),
            left => drop(self.of.insert(reader.clone(), left)),
        }
    }
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    open: Mutex<Open>,
    fallen: Notify,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self, ticket: u64) -> Vec<Arc<OnceLock<CancellationToken>>> {
        self.open().marks.iter().filter(|(own, _)| **own < ticket).map(|(_, cut)| Arc::clone(cut)).collect()
    }

    async fn fall(&self, ticket: u64) {
        loop {
            // Asked for before the look, so that no fall between the two is missed.
            let fallen = self.fallen.notified();
            tokio::pin!(fallen);
            fallen.as_mut().enable();
            if self.before(ticket).is_empty() {
                return;
            }
            fallen.await;
        }
    }
}

/// The list.
#[derive(Default)]
pub struct Replies {
    shared: Arc<Shared>,
}

/// One reply under way.
pub struct Mark {
    shared: Arc<Shared>,
    ticket: u64,
    cut: Arc<OnceLock<CancellationToken>>,
    reader: MemberId,
    bytes: usize,
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.marks.remove(&self.ticket);
        open.give_back(&self.reader, self.bytes);
        drop(open);
        self.shared.fallen.notify_waiters();
    }
}

impl Replies {
    /// Marks a reply to a member as under way, with the bytes of its body. Only urgent ones get room of what is
    /// kept for emergencies: how many were let in before there was anything to count, nobody knows here.
    ///
    /// # Errors
    /// [`Code::AnswersWaiting`] where too much waits for readers already.
    pub fn begin(&self, reader: &MemberId, bytes: usize, urgent: bool) -> Result<Mark, Code> {
        let cut = Arc::new(OnceLock::new());
        let mut open = self.shared.open();
        open.take(reader, bytes, urgent)?;
        // Drawn under the lock: who counts the marks below a number must find all of them.
        let ticket = self.shared.next.fetch_add(1, Ordering::Relaxed);
        open.marks.insert(ticket, Arc::clone(&cut));
        drop(open);
        Ok(Mark { shared: Arc::clone(&self.shared), ticket, cut, reader: reader.clone(), bytes })
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

    /// Bytes of their bodies.
    pub fn waiting(&self) -> usize {
        self.shared.open().bytes
    }

    /// Waits until every reply that is under way now was handed over, drops the connections of readers that
    /// do not take theirs, and says how many replies that were.
    pub async fn settle(&self) -> usize {
        let ticket = {
            let _open = self.shared.open();
            self.shared.next.load(Ordering::Relaxed)
        };
        if tokio::time::timeout(PATIENCE, self.shared.fall(ticket)).await.is_ok() {
            return 0;
        }
        let late = self.shared.before(ticket);
        for cut in &late {
            if let Some(cut) = cut.get() {
                cut.cancel();
            }
        }
        if tokio::time::timeout(DROPPED, self.shared.fall(ticket)).await.is_err() {
            tracing::error!(
                replies = self.shared.before(ticket).len(),
                "replies are still under way after their connections were dropped"
            );
        }
        late.len()
    }
}

/// The marks of the replies in one response, until the connection has taken them.
#[derive(Clone, Default)]
pub struct Handing {
    marks: Arc<Mutex<(Option<CancellationToken>, Vec<Mark>)>>,
}

impl Handing {
    fn marks(&self) -> MutexGuard<'_, (Option<CancellationToken>, Vec<Mark>)> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the mark of the next reply of this response.
    pub fn add(&self, mark: Mark) {
        let mut marks = self.marks();
        if let Some(cut) = &marks.0 {
            let _ = mark.cut.set(cut.clone());
        }
        marks.1.push(mark);
    }

    /// Names the connection: cancelling the token drops it.
    pub(crate) fn over(&self, cut: &CancellationToken) {
        let mut marks = self.marks();
        for mark in &marks.1 {
            // Set once: a response belongs to one connection.
            let _ = mark.cut.set(cut.clone());
        }
        marks.0 = Some(cut.clone());
    }

    /// The marks of what was given to the connection just now.
    pub(crate) fn given(&self) -> Vec<Mark> {
        std::mem::take(&mut self.marks().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(name: &str) -> MemberId {
        MemberId::parse(name).unwrap()
    }

    fn begin(replies: &Replies) -> Mark {
        replies.begin(&reader("street-office"), 10, false).unwrap()
    }

    #[test]
    fn a_member_that_does_not_read_fills_its_own_part_and_nobody_elses() {
        let replies = Replies::default();
        let (one, two) = (reader("street-office"), reader("health"));
        let ordinary = || false;
        let part = REPLY_BYTES_OF_MEMBER;
        let held = replies.begin(&one, part - 1, false).unwrap();
        assert!(replies.room_for(&one, ordinary).is_ok());
        assert_eq!(replies.begin(&one, 2, true).err(), Some(Code::AnswersWaiting));
        let last = replies.begin(&one, 1, false).unwrap();
        assert_eq!(replies.room_for(&one, ordinary), Err(Code::AnswersWaiting));
        assert_eq!(replies.room_for(&one, || true), Err(Code::AnswersWaiting), "urgent or not");
        assert!(replies.room_for(&two, ordinary).is_ok() && replies.begin(&two, part, false).is_ok());
        drop((held, last));
        assert!(replies.room_for(&one, ordinary).is_ok());
        assert_eq!((replies.waiting(), replies.under_way()), (0, 0));
        assert!(replies.shared.open().of.is_empty(), "who has nothing waiting is forgotten");
    }

    #[test]
    fn the_whole_hub_has_a_budget_whose_last_part_is_for_emergencies() {
        let replies = Replies::default();
        let members: Vec<_> = ["a-one", "a-two", "a-three", "a-four"].into_iter().map(reader).collect();
        let (last, others) = members.split_last().unwrap();
        let mut held: Vec<_> =
            others.iter().map(|one| replies.begin(one, REPLY_BYTES_OF_MEMBER, false).unwrap()).collect();
        let to_the_reserve = REPLY_BYTES_OF_MEMBER - REPLY_BYTES_EMERGENCY;
        assert!(replies.begin(last, to_the_reserve + 1, false).is_err(), "not one byte of the reserve");
        held.push(replies.begin(last, to_the_reserve, false).unwrap());
        assert_eq!(replies.room_for(&reader("other"), || false), Err(Code::AnswersWaiting));
        assert!(replies.room_for(&reader("other"), || true).is_ok());
        assert!(replies.begin(&reader("other"), 1, false).is_err(), "also of one that was let in before");
        held.push(replies.begin(&reader("other"), REPLY_BYTES_EMERGENCY, true).unwrap());
        assert_eq!(replies.room_for(&reader("third"), || true), Err(Code::AnswersWaiting));
        assert!(replies.begin(&reader("third"), 1, true).is_err(), "no byte above it");
        drop(held);
        assert!(replies.begin(&reader("third"), 1, false).is_ok());
    }

    #[tokio::test]
    async fn a_settling_waits_for_what_is_under_way_and_for_nothing_later() {
        let replies = Arc::new(Replies::default());
        let first = begin(&replies);
        let settling = tokio::spawn({
            let replies = Arc::clone(&replies);
            async move { replies.settle().await }
        });
        tokio::task::yield_now().await;
        let _later = begin(&replies);
        assert!(!settling.is_finished());
        drop(first);
        assert_eq!(settling.await.unwrap(), 0);
        assert_eq!(replies.under_way(), 1);
    }

    #[tokio::test]
    async fn who_does_not_read_is_dropped() {
        let replies = Replies::default();
        let handing = Handing::default();
        handing.add(begin(&replies));
        let cut = CancellationToken::new();
        handing.over(&cut);
        handing.add(begin(&replies));
        let connection = tokio::spawn({
            let (cut, handing) = (cut.clone(), handing.clone());
            async move {
                cut.cancelled().await;
                drop(handing.given());
            }
        });
        assert_eq!(replies.settle().await, 2);
        connection.await.unwrap();
        assert_eq!((cut.is_cancelled(), replies.under_way()), (true, 0));
    }
}
