//! Where pages ended that are under way or were a moment ago. The page after one of them can so be asked for before the
//! one has arrived: while this adapter reads it, hub and app are still busy with the one before.

use super::{Begin, ResumeError, Whole};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use yiwang_proto::Digest;

/// Pages that are remembered, of all apps: a follower is sent while its page is under way, and no hub has more exchanges
/// under way on a link.
const PAGES_MAX: usize = 256;
/// How long a follower waits for a page that has not begun: both are sent at once, and may overtake each other.
const PATIENCE: Duration = Duration::from_secs(1);

/// None while the page is under way; then where the next one begins, which is nowhere after the last.
type Ended = Option<Option<Begin>>;

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
    ended: watch::Receiver<Ended>,
}

/// A page under way. One that is dropped before it ended has failed.
#[derive(Debug)]
pub(crate) struct UnderWay(watch::Sender<Ended>);

impl UnderWay {
    /// Where the next page begins; none where this is the last.
    pub(crate) fn ended(self, next: Option<Begin>) {
        // There may be no receiver left.
        self.0.send_replace(Some(next));
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

    /// A page begins that this request asks for.
    pub(crate) fn begin(&self, request: Digest, whole: Whole) -> UnderWay {
        let (end, ended) = watch::channel(None);
        let mut pages = self.pages();
        if pages.known.insert(request, Page { whole, ended }).is_none() {
            pages.order.push_back(request);
        }
        while pages.order.len() > PAGES_MAX
            && let Some(oldest) = pages.order.pop_front()
        {
            pages.known.remove(&oldest);
        }
        drop(pages);
        self.begun.send_replace(());
        UnderWay(end)
    }

    /// Waits for the end of the page that a request asked for; yields where the next one begins.
    ///
    /// # Errors
    /// [`ResumeError`] where it is of another batch or mapping, unknown here, or failed.
    pub(crate) async fn of(&self, request: Digest, whole: &Whole) -> Result<Option<Begin>, ResumeError> {
        let mut begun = self.begun.subscribe();
        let found = async {
            loop {
                let known = self.pages().known.get(&request).cloned();
                if known.is_some() || begun.changed().await.is_err() {
                    return known;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.ok().flatten();
        let mut page = found.ok_or(ResumeError::Unknown)?;
        whole.same(&page.whole)?;
        let ended = page.ended.wait_for(Option::is_some).await.map_err(|_| ResumeError::Unknown)?;
        ended.clone().ok_or(ResumeError::Unknown)
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
        Some(Begin { pages, after: Some(Scalar::Integer(i64::from(pages) * 100)) })
    }

    #[tokio::test]
    async fn a_follower_waits_for_its_page_whichever_comes_first() {
        let ends = Ends::default();
        let page = ends.begin([1; 32], whole(1));
        let of_first = whole(1);
        let follow = ends.of([1; 32], &of_first);
        let give = async { page.ended(after(1)) };
        assert_eq!(tokio::join!(follow, give).0, Ok(after(1)));
        assert_eq!(ends.of([1; 32], &whole(1)).await, Ok(after(1)), "a moment later");
        let give = async {
            tokio::time::sleep(PATIENCE / 2).await;
            let page = ends.begin([2; 32], whole(1));
            tokio::time::sleep(PATIENCE).await;
            page.ended(None);
        };
        assert_eq!(
            tokio::join!(ends.of([2; 32], &of_first), give).0,
            Ok(None),
            "and after the last there is none"
        );
    }

    #[tokio::test]
    async fn nobody_follows_what_is_not_its_own_or_not_there() {
        let ends = Ends::default();
        ends.begin([1; 32], whole(1)).ended(after(1));
        assert_eq!(ends.of([1; 32], &whole(2)).await, Err(ResumeError::Foreign));
        let other = Whole { mapping: [8; 32], ..whole(1) };
        assert_eq!(ends.of([1; 32], &other).await, Err(ResumeError::Mapping));
        assert_eq!(ends.of([9; 32], &whole(1)).await, Err(ResumeError::Unknown));
        drop(ends.begin([3; 32], whole(1)));
        assert_eq!(ends.of([3; 32], &whole(1)).await, Err(ResumeError::Unknown), "it failed");
    }

    #[tokio::test]
    async fn only_the_last_ones_are_known() {
        let ends = Ends::default();
        let request = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            digest
        };
        for number in 0..PAGES_MAX * 3 {
            ends.begin(request(number), whole(1)).ended(after(1));
            // Asked for again, it takes no second place.
            ends.begin(request(number), whole(1)).ended(after(2));
        }
        let known = {
            let pages = ends.pages();
            (pages.known.len(), pages.order.len())
        };
        assert_eq!(known, (PAGES_MAX, PAGES_MAX));
        assert_eq!(ends.of(request(0), &whole(1)).await, Err(ResumeError::Unknown));
        assert_eq!(ends.of(request(PAGES_MAX * 2), &whole(1)).await, Ok(after(2)));
    }
}
