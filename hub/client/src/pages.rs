//! The pages of a batch one after the other, of which the next ones are asked for before the last has come: while the
//! caller reads one page, hub and provider are at work on those after it.

use crate::batch::{After, BatchAsk, BatchError, BatchPage, continues};
use crate::client::Client;
use crate::error::ClientError;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use yiwang_proto::Digest;
use yiwang_proto::contract::Contract;

/// Pages that are asked for beside the one that is read: while one is on its way others are verified at the hub, written
/// and fetched. More would only lie in memory, and as many are asked for behind the last page in vain.
const AHEAD: usize = 4;

/// Pages that came well after which one more is asked for ahead again: one that an adapter does not know takes two
/// seconds, which these make up for.
const WELL: u32 = 64;

/// Where pages come from.
trait Asks: Send + Sync + 'static {
    /// Sends the request for a page, or says why it cannot be made.
    fn ask<'a>(&'a self, after: After<'a>) -> Asking<'a>;
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Asked, ClientError>> + Send + 'a>>;

/// A page under way.
struct Asked {
    request: Digest,
    /// The request names the one for the page before.
    ahead: bool,
    page: AbortOnDropHandle<Result<BatchPage, BatchError>>,
}

impl Asked {
    async fn came(self) -> Result<BatchPage, BatchError> {
        let ended = |_| ClientError::Ask("the task of a page ended by itself".to_owned());
        self.page.await.map_err(ended)?
    }
}

struct Hub {
    client: Arc<Client>,
    contract: Arc<Contract>,
    ask: BatchAsk,
}

impl Asks for Hub {
    fn ask<'a>(&'a self, after: After<'a>) -> Asking<'a> {
        Box::pin(async move {
            let signed = self.client.sign_page(&self.contract, &self.ask, after).await?;
            let (client, contract) = (Arc::clone(&self.client), Arc::clone(&self.contract));
            let request = signed.digest;
            let page = tokio::spawn(async move { client.open_page(&contract, &signed).await });
            let ahead = matches!(after, After::Request(_));
            Ok(Asked { request, ahead, page: AbortOnDropHandle::new(page) })
        })
    }
}

/// The pages of one batch, in order. Needs a Tokio runtime; dropped, it stops what is under way.
pub struct Pages {
    hub: Box<dyn Asks>,
    /// What the page after the last one given begins after.
    resume: String,
    under_way: VecDeque<Asked>,
    ahead: usize,
    /// How far that may grow: half as far after each page that did not come, and further again after many that did.
    most_ahead: usize,
    /// Pages that came since.
    well: u32,
    /// Pages that may still be asked for.
    left: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    More,
    /// The last page was given; pages behind it that were asked for have not come.
    Last,
    Over,
}

impl Pages {
    /// All pages after the one that gave `resume`, or from the first where it is empty; at most `most`, where that is
    /// given. Nothing is asked for before [`Pages::next`].
    pub fn new(
        client: Arc<Client>,
        contract: Arc<Contract>,
        ask: BatchAsk,
        resume: String,
        most: Option<u64>,
    ) -> Self {
        Self::of(Box::new(Hub { client, contract, ask }), resume, most)
    }

    fn of(hub: Box<dyn Asks>, resume: String, most: Option<u64>) -> Self {
        let (left, under_way) = (most.unwrap_or(u64::MAX), VecDeque::new());
        Self { hub, resume, under_way, ahead: 1, most_ahead: AHEAD, well: 0, left, state: State::More }
    }

    /// The next page, verified; none after the last, once nothing speaks against it. After an error there are no more, nor
    /// after a call that was given up before it yielded: whoever tries again makes new pages from the last `resume` that
    /// came.
    ///
    /// # Errors
    /// As for any page. A hub or provider that breaks a proof is an error also where the page was asked for ahead.
    pub async fn next(&mut self) -> Option<Result<BatchPage, BatchError>> {
        // Until there is something to give: whoever gives a call up may have lost a page with it.
        let state = std::mem::replace(&mut self.state, State::Over);
        match state {
            State::More if self.left == 0 && self.under_way.is_empty() => None,
            State::More => {
                let page = self.take().await;
                if let Ok(page) = &page {
                    let last = page.resume.is_empty();
                    if !last && self.fill().await.is_err() {
                        // It says why when it is asked for by itself.
                        (self.ahead, self.most_ahead) = (0, 1);
                    }
                    self.state = if last { State::Last } else { State::More };
                }
                Some(page)
            }
            State::Last => self.end(true).await.err().map(|error| Err(error.into())),
            State::Over => None,
        }
    }

    /// What [`Pages::next`] would end with after the last page; nothing is asked for.
    ///
    /// # Errors
    /// As for [`Pages::next`], where the last page was given and something speaks against it.
    pub async fn finish(mut self) -> Result<(), ClientError> {
        if self.state == State::Last { self.end(true).await } else { Ok(()) }
    }

    async fn take(&mut self) -> Result<BatchPage, BatchError> {
        let Some(asked) = self.under_way.pop_front() else { return self.one().await };
        let ahead = asked.ahead;
        let page = match asked.came().await {
            Ok(page) => page,
            Err(error) if is_broken(&error) => return Err(error),
            // Another of the member's adapters may have got it, one that was started anew, or one whose source is too slow
            // for so many: what was asked for later rests on this page, and goes with it.
            Err(_) => {
                (self.ahead, self.most_ahead, self.well) = (0, (self.most_ahead / 2).max(1), 0);
                self.left = self.left.saturating_add(1 + self.under_way.len() as u64);
                self.end(false).await?;
                return self.one().await;
            }
        };
        self.well += 1;
        if self.well >= WELL {
            (self.most_ahead, self.well) = ((self.most_ahead + 1).min(AHEAD), 0);
        }
        self.taken(page, ahead)
    }

    /// The page after the last one given, by its token.
    async fn one(&mut self) -> Result<BatchPage, BatchError> {
        self.left = self.left.saturating_sub(1);
        let page = self.hub.ask(After::token(&self.resume)).await?.came().await?;
        self.taken(page, false)
    }

    /// INVARIANT: a page that was asked for by the request of the one before says itself after which page it begins, and
    /// that is the one that was given: two adapters of a member may have ended one page in two places.
    fn taken(&mut self, page: BatchPage, ahead: bool) -> Result<BatchPage, BatchError> {
        if ahead && page.follows.is_none() {
            return Err(
                ClientError::unverified("the provider does not say what its page begins after").into()
            );
        }
        continues(&page, &self.resume)?;
        self.resume.clone_from(&page.resume);
        Ok(page)
    }

    /// Asks for the pages after the one that is given: for one after the first, and for one more after each, so that short
    /// batches are not more exchanges than they need.
    async fn fill(&mut self) -> Result<(), ClientError> {
        while self.left > 0 && self.under_way.len() < self.ahead {
            let after = match self.under_way.back() {
                Some(asked) => After::Request(&asked.request),
                None => After::token(&self.resume),
            };
            let asked = self.hub.ask(after).await?;
            self.under_way.push_back(asked);
            self.left -= 1;
        }
        self.ahead = (self.ahead + 1).min(self.most_ahead);
        Ok(())
    }

    /// Lets what is under way come to its end: each is an exchange with its entry, and an answer that nobody takes would
    /// have to be offered again. It rests on a page that failed, or follows the last one and is empty.
    async fn end(&mut self, last: bool) -> Result<(), ClientError> {
        let mut broken = None;
        while let Some(asked) = self.under_way.pop_front() {
            let found = match asked.came().await {
                Ok(page) if last && (page.rows > 0 || !page.resume.is_empty()) => Some(
                    ClientError::unverified("the provider has rows behind the page that it called the last"),
                ),
                Err(BatchError::Client(error @ ClientError::Unverified(_))) => Some(error),
                Ok(_) | Err(_) => None,
            };
            broken = broken.or(found);
        }
        broken.map_or(Ok(()), Err)
    }
}

/// Whether somebody broke a promise, which is no reason to ask again.
fn is_broken(error: &BatchError) -> bool {
    matches!(error, BatchError::Client(ClientError::Unverified(_)))
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
