//! Where pages ended that are under way or were a moment ago. The page after one of them can so be asked for before the
//! one has arrived: while this adapter reads it, hub and app are still busy with the one before.

use super::{Begin, ResumeError, Whole};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use yiwang_proto::Digest;

/// Pages that are remembered, of all apps: as many as a hub may have under way, and as many that have ended. Those under
/// way are never forgotten for others.
const PAGES_MAX: usize = 2048;
/// Pages of one batch that may be under way, with the one that follows: an app keeps four ahead, and may run a batch twice
/// at a time. Each that waits takes a place of the link's that somebody else could use.
const WAITING_MAX: usize = 8;
/// How long a follower waits for the end of the page before, and then for it to be whole. Its page takes milliseconds, or asking ahead gains nothing; what was decided on this request
/// must not be old when its rows leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a page. Where the next one begins is nowhere after the last.
#[derive(Debug, Clone, PartialEq)]
enum State {
    UnderWay,
    /// Its rows are there and its end is certain; it is still written, and may fail.
    Fetched(Option<Begin>),
    Ended(Option<Begin>),
}

impl State {
    fn next(&self) -> Option<&Option<Begin>> {
        match self {
            Self::UnderWay => None,
            Self::Fetched(next) | Self::Ended(next) => Some(next),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ends {
    pages: Mutex<Pages>,
    begun: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Pages {
    known: HashMap<Digest, Page>,
    order: VecDeque<Digest>,
}

#[derive(Debug, Clone)]
struct Page {
    whole: Whole,
    state: watch::Receiver<State>,
}

impl Page {
    fn is_under_way(&self) -> bool {
        !matches!(*self.state.borrow(), State::Ended(_)) && self.state.has_changed().is_ok()
    }

    fn has_failed(&self) -> bool {
        !matches!(*self.state.borrow(), State::Ended(_)) && self.state.has_changed().is_err()
    }
}

/// The page before, on which the one that follows it rests.
#[derive(Debug)]
pub(crate) struct Before(watch::Receiver<State>);

impl Before {
    /// Waits until it is whole.
    ///
    /// # Errors
    /// [`ResumeError::Before`] where it failed after all, or takes too long: rows that follow it must not leave, since its
    /// app would throw them away and ask for them again.
    pub(crate) async fn holds(mut self) -> Result<(), ResumeError> {
        let ended = self.0.wait_for(|state| matches!(state, State::Ended(_)));
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ResumeError::Before),
        }
    }
}

impl Pages {
    /// Makes a place, if one can be made.
    fn has_place(&mut self) -> bool {
        if self.order.len() < PAGES_MAX {
            return true;
        }
        let known = &self.known;
        let over = |request: &Digest| known.get(request).is_none_or(|page| !page.is_under_way());
        let found = self.order.iter().position(over).and_then(|at| self.order.remove(at));
        found.is_some_and(|oldest| {
            self.known.remove(&oldest);
            true
        })
    }
}

/// A page under way. One that is dropped before it ended has failed.
#[derive(Debug)]
pub(crate) struct UnderWay(watch::Sender<State>);

impl UnderWay {
    /// Its rows are there, and this is where the next page begins if it can be written.
    pub(crate) fn fetched(&self, next: Option<Begin>) {
        self.0.send_replace(State::Fetched(next));
    }

    /// Where the next page begins; none where this is the last.
    pub(crate) fn ended(self, next: Option<Begin>) {
        // There may be no receiver left.
        self.0.send_replace(State::Ended(next));
    }
}

impl Default for Ends {
    fn default() -> Self {
        Self { pages: Mutex::default(), begun: watch::Sender::new(()) }
    }
}

impl Ends {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page begins that this request asks for. With no place left it cannot be followed, which costs time and no more.
    pub(crate) fn begin(&self, request: Digest, whole: Whole) -> UnderWay {
        let (end, state) = watch::channel(State::UnderWay);
        let mut pages = self.pages();
        let page = Page { whole, state };
        if pages.known.contains_key(&request) {
            pages.known.insert(request, page);
        } else if pages.has_place() {
            pages.order.push_back(request);
            pages.known.insert(request, page);
        }
        drop(pages);
        self.begun.send_replace(());
        UnderWay(end)
    }

    /// Waits for the end of the page that a request asked for; yields where the next one begins, which is nowhere after the
    /// last, and the page, which may still fail.
    ///
    /// # Errors
    /// [`ResumeError`] where it is of another source or key, unknown here, failed, or takes too long. One of another batch is
    /// not told from one that is unknown.
    pub(crate) async fn of(
        &self,
        request: Digest,
        whole: &Whole,
    ) -> Result<(Option<Begin>, Before), ResumeError> {
        let mut begun = self.begun.subscribe();
        let ended = async {
            let mut page = loop {
                if let Some(page) = self.found(&request, whole)? {
                    break page;
                }
                begun.changed().await.map_err(|_| ResumeError::Unknown)?;
            };
            let known = page.state.wait_for(|state| state.next().is_some()).await;
            let next = known.map_err(|_| ResumeError::Before)?.next().cloned().ok_or(ResumeError::Before)?;
            if page.has_failed() {
                return Err(ResumeError::Before);
            }
            Ok((next, Before(page.state)))
        };
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(ended) => ended,
            Err(_) => Err(self.found(&request, whole)?.map_or(ResumeError::Unknown, |_| ResumeError::Before)),
        }
    }

    fn found(&self, request: &Digest, whole: &Whole) -> Result<Option<Page>, ResumeError> {
        let pages = self.pages();
        let mine = |page: &&Page| page.whole.asked == whole.asked;
        let page = pages.known.get(request).filter(mine);
        if page.is_some_and(|page| page.whole.mapping != whole.mapping) {
            return Err(ResumeError::Mapping);
        }
        let waits = page.is_none_or(Page::is_under_way);
        if waits && pages.known.values().filter(mine).filter(|page| page.is_under_way()).count() > WAITING_MAX
        {
            return Err(ResumeError::Before);
        }
        Ok(page.cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yiwang_proto::contract::Scalar;

    fn whole(asked: u8) -> Whole {
        Whole { asked: [asked; 32], mapping: [7; 32] }
    }

    fn after(pages: u32) -> Option<Begin> {
        let after = Some(Scalar::Integer(i64::from(pages) * 100));
        Some(Begin { pages, after, token: Some([1; 32]) })
    }

    async fn of(ends: &Ends, request: Digest, whole: &Whole) -> Result<Option<Begin>, ResumeError> {
        ends.of(request, whole).await.map(|(next, _)| next)
    }

    fn request(number: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        digest
    }

    #[tokio::test]
    async fn a_follower_waits_for_its_page_whichever_comes_first() {
        let (ends, of_first) = (Ends::default(), whole(1));
        let page = ends.begin([1; 32], whole(1));
        let give = async { page.ended(after(1)) };
        assert_eq!(tokio::join!(of(&ends, [1; 32], &of_first), give).0, Ok(after(1)));
        assert_eq!(of(&ends, [1; 32], &of_first).await, Ok(after(1)), "a moment later");
        let give = async {
            tokio::time::sleep(PATIENCE / 4).await;
            let page = ends.begin([2; 32], whole(1));
            tokio::time::sleep(PATIENCE / 4).await;
            page.ended(None);
        };
        let follow = of(&ends, [2; 32], &of_first);
        assert_eq!(tokio::join!(follow, give).0, Ok(None), "and after the last there is none");
    }

    #[tokio::test]
    async fn what_follows_a_page_holds_if_that_page_does() {
        let (ends, mine) = (Ends::default(), whole(1));
        for fails in [false, true] {
            let page = ends.begin([1; 32], whole(1));
            page.fetched(after(1));
            let (next, before) = ends.of([1; 32], &mine).await.unwrap();
            assert_eq!(next, after(1), "while it is written");
            let mut holds = std::pin::pin!(before.holds());
            let soon = std::time::Duration::from_millis(20);
            assert!(tokio::time::timeout(soon, &mut holds).await.is_err(), "not yet");
            if fails {
                drop(page);
                assert_eq!(holds.await, Err(ResumeError::Before));
                assert_eq!(of(&ends, [1; 32], &mine).await, Err(ResumeError::Before), "whoever comes later");
            } else {
                page.ended(after(1));
                assert_eq!(holds.await, Ok(()));
            }
        }
        let slow = ends.begin([2; 32], whole(1));
        slow.fetched(None);
        let (_, before) = ends.of([2; 32], &mine).await.unwrap();
        assert_eq!(before.holds().await, Err(ResumeError::Before), "it takes too long");
        slow.ended(None);
    }

    #[tokio::test]
    async fn nobody_follows_what_is_not_its_own_or_not_there() {
        let ends = Ends::default();
        ends.begin([1; 32], whole(1)).ended(after(1));
        let (foreign, mine) = (whole(2), whole(1));
        for (request, whole) in [([1; 32], &foreign), ([9; 32], &mine)] {
            assert!(
                tokio::time::timeout(PATIENCE / 2, of(&ends, request, whole)).await.is_err(),
                "both wait"
            );
        }
        let both = tokio::join!(of(&ends, [1; 32], &foreign), of(&ends, [9; 32], &mine));
        assert_eq!(both, (Err(ResumeError::Unknown), Err(ResumeError::Unknown)));
        let other = Whole { mapping: [8; 32], ..whole(1) };
        assert_eq!(of(&ends, [1; 32], &other).await, Err(ResumeError::Mapping));
        drop(ends.begin([3; 32], whole(1)));
        assert_eq!(of(&ends, [3; 32], &mine).await, Err(ResumeError::Before), "it failed");
        let slow = ends.begin([4; 32], whole(1));
        assert_eq!(of(&ends, [4; 32], &mine).await, Err(ResumeError::Before), "it takes too long");
        slow.ended(None);
    }

    #[tokio::test]
    async fn a_chain_is_short() {
        let ends = Ends::default();
        let _others: Vec<_> = (10..30).map(|number| ends.begin(request(number), whole(2))).collect();
        let chain: Vec<_> = (0..WAITING_MAX).map(|number| ends.begin(request(number), whole(1))).collect();
        let (batch, last) = (whole(1), request(WAITING_MAX - 1));
        let mut waiting = std::pin::pin!(of(&ends, last, &batch));
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err(), "it waits");
        let one_more = ends.begin(request(WAITING_MAX), whole(1));
        for named in [request(WAITING_MAX), request(99)] {
            let refused = tokio::time::timeout(soon, of(&ends, named, &batch)).await;
            assert_eq!(refused, Ok(Err(ResumeError::Before)), "at once, also after a page that nobody knows");
        }
        drop((chain, one_more));
    }

    #[tokio::test]
    async fn what_ended_is_forgotten_first_and_what_is_under_way_never() {
        let ends = Ends::default();
        let under_way: Vec<_> = (0..10).map(|number| ends.begin(request(number), whole(9))).collect();
        for number in 10..PAGES_MAX * 2 {
            ends.begin(request(number), whole(1)).ended(after(1));
            // Asked for again, it takes no second place.
            ends.begin(request(number), whole(1)).ended(after(2));
            drop(ends.begin(request(number + PAGES_MAX * 4), whole(1)));
        }
        let known = {
            let pages = ends.pages();
            assert!((0..10).all(|number| pages.known.contains_key(&request(number))));
            assert!(!pages.known.contains_key(&request(10)));
            (pages.known.len(), pages.order.len())
        };
        assert_eq!(known, (PAGES_MAX, PAGES_MAX));
        assert_eq!(of(&ends, request(PAGES_MAX * 2 - 1), &whole(1)).await, Ok(after(2)));
        drop(under_way);
        let full: Vec<_> = (0..PAGES_MAX + 1).map(|number| ends.begin(request(number), whole(1))).collect();
        assert_eq!(ends.pages().known.len(), PAGES_MAX);
        assert!(!ends.pages().known.contains_key(&request(PAGES_MAX)));
        drop(full);
    }
}
