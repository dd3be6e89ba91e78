//! Replies that are on their way to their readers. A revocation is acknowledged only when every reply with
//! a lower index was handed over or dropped; this is the list that says so.
//!
//! A mark is set before the exchange's draft goes to the sequencer, and falls when the connection has taken
//! the last byte of its body, or is gone. So after a revocation's entry is durable, every reply with a lower
//! index has a mark that was set before, and every later mark belongs to a higher index, which the
//! sequencer has judged with the revocation in view.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long readers have before their connections are dropped: an honest one takes a reply within the time
/// of a round trip, and a revocation is to be acknowledged within a second.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long dropped connections have to end; a reply without connection ends with its task.
const DROPPED: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<OnceLock<CancellationToken>>>>,
    fallen: Notify,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OnceLock<CancellationToken>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self, ticket: u64) -> Vec<Arc<OnceLock<CancellationToken>>> {
        self.open().iter().filter(|(own, _)| **own < ticket).map(|(_, cut)| Arc::clone(cut)).collect()
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
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.shared.open().remove(&self.ticket);
        self.shared.fallen.notify_waiters();
    }
}

impl Replies {
    /// Marks a reply as under way.
    pub fn begin(&self) -> Mark {
        let cut = Arc::new(OnceLock::new());
        let mut open = self.shared.open();
        // Drawn under the lock: who counts the marks below a number must find all of them.
        let ticket = self.shared.next.fetch_add(1, Ordering::Relaxed);
        open.insert(ticket, Arc::clone(&cut));
        drop(open);
        Mark { shared: Arc::clone(&self.shared), ticket, cut }
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.shared.open().len()
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

    #[tokio::test]
    async fn a_settling_waits_for_what_is_under_way_and_for_nothing_later() {
        let replies = Arc::new(Replies::default());
        let first = replies.begin();
        let settling = tokio::spawn({
            let replies = Arc::clone(&replies);
            async move { replies.settle().await }
        });
        tokio::task::yield_now().await;
        let _later = replies.begin();
        assert!(!settling.is_finished());
        drop(first);
        assert_eq!(settling.await.unwrap(), 0);
        assert_eq!(replies.under_way(), 1);
    }

    #[tokio::test]
    async fn who_does_not_read_is_dropped() {
        let replies = Replies::default();
        let handing = Handing::default();
        handing.add(replies.begin());
        let cut = CancellationToken::new();
        handing.over(&cut);
        handing.add(replies.begin());
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
