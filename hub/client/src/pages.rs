//! The pages of a batch one after the other, of which the next ones are asked for before the last has come: while the
//! caller reads one page, hub and provider are at work on those after it.

use crate::batch::{After, BatchAsk, BatchError, BatchPage, SAME_PAGE};
use crate::client::Client;
use crate::error::ClientError;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;
use yiwang_proto::Digest;
use yiwang_proto::contract::Contract;

/// Pages that are asked for beside the one that is read: one is on its way while the next is made. More would only lie
/// in memory.
const AHEAD: usize = 2;

/// The pages of one batch, in order. Needs a Tokio runtime; dropped, it stops what is under way.
pub struct Pages {
    client: Arc<Client>,
    contract: Arc<Contract>,
    ask: Arc<BatchAsk>,
    /// What the page after the last one given begins after.
    resume: String,
    under_way: VecDeque<Asked>,
    ahead: usize,
    /// Pages that may still be asked for.
    left: u64,
    over: bool,
}

struct Asked {
    request: Digest,
    page: AbortOnDropHandle<Result<BatchPage, BatchError>>,
}

impl Asked {
    async fn came(self) -> Result<BatchPage, BatchError> {
        let ended = |_| ClientError::Ask("the task of a page ended by itself".to_owned());
        self.page.await.map_err(ended)?
    }
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
        let left = most.unwrap_or(u64::MAX);
        let (ask, under_way) = (Arc::new(ask), VecDeque::new());
        Self { client, contract, ask, resume, under_way, ahead: 1, left, over: false }
    }

    /// The next page, verified; none after the last. After an error there are no more: whoever tries again makes new
    /// pages from the last `resume` that came.
    pub async fn next(&mut self) -> Option<Result<BatchPage, BatchError>> {
        if self.over || (self.left == 0 && self.under_way.is_empty()) {
            return None;
        }
        let page = self.take().await;
        self.over = page.as_ref().map_or(true, |page| page.resume.is_empty());
        if self.over {
            self.end().await;
        } else if self.fill().await.is_err() {
            // It says why when it is asked for by itself.
            self.ahead = 0;
        }
        Some(page)
    }

    async fn take(&mut self) -> Result<BatchPage, BatchError> {
        let came = match self.under_way.pop_front() {
            Some(asked) => match asked.came().await {
                Ok(page) => Ok(page),
                // Another of the member's adapters may have got it, one that was started anew, or one that had no
                // time: what was asked for later rests on this page, and goes with it.
                Err(_) => {
                    self.ahead = 0;
                    self.left = self.left.saturating_add(1 + self.under_way.len() as u64);
                    self.end().await;
                    self.one().await
                }
            },
            None => self.one().await,
        };
        let page = came?;
        if !page.resume.is_empty() && page.resume == self.resume {
            return Err(ClientError::unverified(SAME_PAGE).into());
        }
        self.resume.clone_from(&page.resume);
        Ok(page)
    }

    /// The page after the last one given, by its token.
    async fn one(&mut self) -> Result<BatchPage, BatchError> {
        self.left = self.left.saturating_sub(1);
        let after = After::token(&self.resume);
        let signed = self.client.sign_page(&self.contract, &self.ask, after).await?;
        self.client.open_page(&self.contract, &signed).await
    }

    /// Asks for the pages after the one that is given: for one after the first, then for more, so that a batch of one or
    /// two pages is as many exchanges.
    async fn fill(&mut self) -> Result<(), ClientError> {
        while self.left > 0 && self.under_way.len() < self.ahead {
            let after = match self.under_way.back() {
                Some(asked) => After::Request(&asked.request),
                None => After::token(&self.resume),
            };
            let signed = self.client.sign_page(&self.contract, &self.ask, after).await?;
            let (client, contract, request) =
                (Arc::clone(&self.client), Arc::clone(&self.contract), signed.digest);
            let page = tokio::spawn(async move { client.open_page(&contract, &signed).await });
            self.under_way.push_back(Asked { request, page: AbortOnDropHandle::new(page) });
            self.left -= 1;
        }
        if self.ahead > 0 {
            self.ahead = AHEAD;
        }
        Ok(())
    }

    /// Lets what is under way come to its end: each is an exchange with its entry, and an answer that nobody takes would
    /// have to be offered again.
    async fn end(&mut self) {
        while let Some(asked) = self.under_way.pop_front() {
            // It follows the last page and is empty, or rests on one that failed.
            drop(asked.came().await);
        }
    }
}
