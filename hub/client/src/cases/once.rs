//! A case that one key opens at most once. The case id is made from the key, so the register itself is the
//! memory: it survives a restart of whoever asks, and a lost answer.

use crate::client::Client;
use crate::error::ClientError;
use std::collections::BTreeSet;
use yiwang_proto::case::{Act, CaseStatement};
use yiwang_proto::codes::Code;
use yiwang_proto::entry::Kind;
use yiwang_proto::envelope::{SignedStatement, payload_type};
use yiwang_proto::ids::{CaseId, Matter};
use yiwang_proto::receipt::VerifiedReceipt;
use yiwang_proto::tag::Tag;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// What a key led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Opened {
    /// The case was opened now.
    New {
        /// The case.
        case: CaseId,
        /// The receipt of its opening.
        receipt: Box<VerifiedReceipt>,
    },
    /// The key opened this case before, with the same matter and subjects.
    Same {
        /// The case.
        case: CaseId,
        /// The receipt of its opening.
        receipt: Box<VerifiedReceipt>,
    },
    /// The key opened a case before, with another matter or other subjects.
    Other,
}

impl Client {
    /// Opens a case under a key. A key counts from its first use to the end of the next day (UTC): at least
    /// 24 hours, at most 48. Concurrency: two calls with one key open one case; the register decides.
    ///
    /// # Errors
    /// [`ClientError`]; call again with the same key.
    pub async fn open_case_once(
        &self,
        key: &str,
        matter: &Matter,
        subjects: &[String],
    ) -> Result<Opened, ClientError> {
        let today = self.clock.now_ms().div_euclid(DAY_MS) * DAY_MS;
        let of_day = |day| self.identity.tags.case_id(&self.identity.app, key, day);
        for case in [of_day(today - DAY_MS), of_day(today)] {
            if let Some(opened) = self.opened_before(&case, matter, subjects).await? {
                return Ok(opened);
            }
        }
        let case = of_day(today);
        match self.act_on_case(&case, Act::Open { matter: matter.clone() }, subjects).await {
            Ok(receipt) => Ok(Opened::New { case, receipt: Box::new(receipt) }),
            // Somebody with this key was quicker.
            Err(ClientError::Hub { code: Code::Replayed }) => self
                .opened_before(&case, matter, subjects)
                .await?
                .ok_or_else(|| ClientError::unverified("the register refuses a case that it does not show")),
            Err(error) => Err(error),
        }
    }

    /// What the register has under an id; none if nothing.
    async fn opened_before(
        &self,
        case: &CaseId,
        matter: &Matter,
        subjects: &[String],
    ) -> Result<Option<Opened>, ClientError> {
        let shown = match self.show_case(case).await {
            Ok(shown) => shown,
            Err(ClientError::Hub { code: Code::NotFound }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let receipt = self.verify_receipt(shown.receipts.into_iter().next())?;
        let opening = self.opening(case, &receipt)?;
        let given: BTreeSet<Tag> =
            subjects.iter().map(|subject| self.identity.tags.tag(subject, case)).collect();
        let listed: BTreeSet<Tag> = opening.subject_tags.into_iter().collect();
        let same = listed == given && opening.act == Act::Open { matter: matter.clone() };
        if !same {
            return Ok(Some(Opened::Other));
        }
        Ok(Some(Opened::Same { case: case.clone(), receipt: Box::new(receipt) }))
    }

    /// The opening of a case of this app, from its entry and under this app's signature.
    fn opening(&self, case: &CaseId, receipt: &VerifiedReceipt) -> Result<CaseStatement, ClientError> {
        let Some(Kind::CaseStatement(entry)) = &receipt.entry.kind else {
            return Err(ClientError::unverified("the entry of a case's opening is none"));
        };
        let signed = SignedStatement::parse(entry.statement.clone()).map_err(ClientError::unverified)?;
        let key = self.identity.key.public();
        signed.verify(payload_type::CASE, &key).map_err(ClientError::unverified)?;
        let opening = CaseStatement::parse(signed.unverified_payload()).map_err(ClientError::unverified)?;
        if opening.case != *case || !matches!(opening.act, Act::Open { .. }) {
            return Err(ClientError::unverified("the register shows another statement as the opening"));
        }
        Ok(opening)
    }
}
