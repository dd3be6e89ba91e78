//! Batches: all rows of an operation under a contract for batches, page by page. Each page is an exchange of its own,
//! with its entry and receipt; the provider's answer says what the next page begins after.

use crate::client::Client;
use crate::error::ClientError;
use crate::exchange::{Ask, Ending, SignedRequest};
use crate::rows::check_rows;
use crate::sealed::Manner;
use bytes::Bytes;
use yiwang_proto::answer::Answer;
use yiwang_proto::body::Arguments;
use yiwang_proto::codes::Code;
use yiwang_proto::contract::{Contract, Method, Scalar};
use yiwang_proto::ids::{CaseId, FieldName, Officer, Operation};
use yiwang_proto::request::OfficerBy;
use yiwang_proto::{Digest, hex, sha256};

/// The argument under which a request names what its page begins after (`adapters/SPEC.md`).
pub const RESUME: &str = "resume";
/// The one under which it names the request of a page that is still under way.
const FOLLOWS: &str = "follows";

/// What a batch is of; the same for all its pages.
#[derive(Debug, Clone)]
pub struct BatchAsk {
    /// An operation of the contract.
    pub operation: Operation,
    /// Granted fields.
    pub fields: Vec<FieldName>,
    /// The open case.
    pub case: CaseId,
    /// The acting officer's pseudonym.
    pub officer: Option<Officer>,
    /// How the officer is proved: asserted, or by a published ticket, of which each page is one use.
    pub officer_by: OfficerBy,
}

/// One page, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPage {
    /// JSON array of records.
    pub records: Bytes,
    /// How many.
    pub rows: u32,
    /// Fields that were asked for and are not in the records, each with the clause that keeps it back.
    pub withheld: Vec<(FieldName, String)>,
    /// The ledger entry of this page's exchange.
    pub entry: u64,
    /// What the next page is asked for with; empty where this was the last.
    pub resume: String,
    /// The token of the page that this one begins after, by SHA-256, as the provider says.
    pub follows: Option<Digest>,
}

/// Why a page did not come.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Hub or provider refused, or nobody answered; with the clause, if there is one, and the ledger entry.
    #[error("the page was refused with `{code}` {clause}; {}", Code::parse(code).map_or("ask the provider", Code::help))]
    Refused {
        /// The service code.
        code: String,
        /// The clause.
        clause: String,
        /// The ledger entry of the exchange.
        entry: u64,
    },
    /// As for any exchange.
    #[error("{0}")]
    Client(#[from] ClientError),
}

impl BatchError {
    /// Whether the same page may come when it is asked for again a little later.
    pub fn passes(&self) -> bool {
        let code = match self {
            Self::Refused { code, .. } => Code::parse(code),
            Self::Client(ClientError::Hub { code }) => Some(*code),
            Self::Client(ClientError::Transport(_)) => return true,
            Self::Client(_) => None,
        };
        matches!(
            code,
            Some(
                Code::RateExceeded
                    | Code::Throttled
                    | Code::Overloaded
                    | Code::AnswersWaiting
                    | Code::ProviderBusy
                    | Code::ProviderUnavailable
                    | Code::DeadlineExceeded
                    | Code::StandingStale
                    | Code::LedgerNotAppending
            )
        )
    }
}

/// What a page begins after.
#[derive(Debug, Clone, Copy)]
pub(crate) enum After<'a> {
    /// Nothing: it is the first.
    Nothing,
    /// The page that gave this token.
    Token(&'a str),
    /// The page that this request asks for, which may not have come.
    Request(&'a Digest),
}

impl<'a> After<'a> {
    pub(crate) fn token(resume: &'a str) -> Self {
        if resume.is_empty() { Self::Nothing } else { Self::Token(resume) }
    }
}

/// Holds a page against the token of the page before; `resume` is empty for the first.
pub(crate) fn continues(page: &BatchPage, resume: &str) -> Result<(), ClientError> {
    let token = Some(resume).filter(|token| !token.is_empty()).map(|token| sha256(token.as_bytes()));
    if page.follows.is_some() && page.follows != token {
        return Err(ClientError::unverified(
            "the provider's page begins after another page than was asked for",
        ));
    }
    if !page.resume.is_empty() && page.resume == resume {
        return Err(ClientError::unverified("the provider's next page is the same page"));
    }
    Ok(())
}

impl Client {
    /// The page of a batch that begins after `resume`, or the first where it is empty. Asking for a page again gives the
    /// rows that are there now, and another entry.
    ///
    /// # Errors
    /// [`BatchError`]; [`BatchError::passes`] says whether to try again.
    pub async fn batch_page(
        &self,
        contract: &Contract,
        ask: &BatchAsk,
        resume: &str,
    ) -> Result<BatchPage, BatchError> {
        let signed = self.sign_page(contract, ask, After::token(resume)).await?;
        let page = self.open_page(contract, &signed).await?;
        continues(&page, resume)?;
        Ok(page)
    }

    /// Signs the request for a page.
    pub(crate) async fn sign_page(
        &self,
        contract: &Contract,
        ask: &BatchAsk,
        after: After<'_>,
    ) -> Result<SignedRequest, ClientError> {
        if contract.text.method != Method::Batch {
            let what = format!("contract `{}` is none for batches", contract.text.id);
            return Err(ClientError::Ask(what));
        }
        let mut arguments = Arguments::new();
        let named = match after {
            After::Nothing => None,
            After::Token(token) => Some((RESUME, token.to_owned())),
            After::Request(digest) => Some((FOLLOWS, hex(digest))),
        };
        if let Some((name, value)) = named {
            let name = FieldName::parse(name).map_err(|error| ClientError::Ask(error.to_string()))?;
            arguments.insert(name, Scalar::Text(value));
        }
        let officer_by = ask.officer_by;
        let ask = Ask {
            operation: ask.operation.clone(),
            fields: ask.fields.clone(),
            case: ask.case.clone(),
            officer: ask.officer.clone(),
            subject: String::new(),
            arguments,
            retry_of: None,
        };
        self.sign_in(contract, &ask, Manner { officer_by, sealed: contract.text.sealed }).await
    }

    /// Asks for a page and verifies it.
    pub(crate) async fn open_page(
        &self,
        contract: &Contract,
        signed: &SignedRequest,
    ) -> Result<BatchPage, BatchError> {
        let exchanged = self.exchange(contract, signed).await?;
        let entry = exchanged.receipt.index;
        match exchanged.ending {
            Ending::Answered { answer, records } => {
                check_rows(&records, &answer)?;
                let Answer { rows, withheld, .. } = *answer;
                let (resume, follows) = (exchanged.resume, exchanged.follows);
                Ok(BatchPage { records, rows, withheld, entry, resume, follows })
            }
            Ending::Denied { code, clause } => Err(BatchError::Refused { code, clause, entry }),
            Ending::Failed { code } => Err(BatchError::Refused { code, clause: String::new(), entry }),
        }
    }
}
