//! What a decision is made from, besides the request and its contract.

use crate::decision::OfficerProof;
use yiwang_proto::body::RequestBody;
use yiwang_proto::delegation::Delegation;
use yiwang_proto::ids::{Matter, MemberId};
use yiwang_proto::ticket::Ticket;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// The hub, before it forwards.
    Hub,
    /// The provider's adapter, before it fetches.
    Adapter,
    /// The offline verifier, from the ledger: it has neither bodies nor counts, and judges all but rows,
    /// arguments, rates and the statement's own time.
    Verifier,
}

impl Site {
    /// Whether the request is being served now.
    pub fn is_live(self) -> bool {
        self != Self::Verifier
    }
}

/// What the register knows about the case that the request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaseFacts<'a> {
    /// Whose case it is.
    pub member: &'a MemberId,
    /// What it is about.
    pub matter: &'a Matter,
    /// Opened and not yet closed.
    pub open: bool,
    /// Every tag of the statement was given at the opening or added since; true where it carries none.
    pub lists_all_tags: bool,
}

/// How often this was asked, this request included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Exchanges of the app under the contract in this minute.
    pub app_this_minute: u32,
    /// Exchanges of the officer under the contract on this UTC day; all asserted officers of an app count
    /// as one.
    pub officer_today: u32,
}

/// Everything about the moment of the decision.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Who decides.
    pub site: Site,
    /// The time that counts, milliseconds; at the verifier that of the entry.
    pub now_ms: i64,
    /// The signing app's delegation, its signature verified under the root that it names. Whether that
    /// root counts is decided here.
    pub delegation: &'a Delegation,
    /// The case that the request names, if the register has it.
    pub case: Option<CaseFacts<'a>>,
    /// The body; none at the verifier, and at a hub where it is sealed.
    pub body: Option<&'a RequestBody>,
    /// The counts; none at the verifier.
    pub counts: Option<Counts>,
    /// Whether the bodies travel sealed, as the statement says.
    pub sealed: bool,
    /// What is at hand for the acting officer.
    pub officer: OfficerEvidence<'a>,
}

/// What was verified about the acting officer. Whether it proves the officer of this request is decided
/// here, by the same rules everywhere.
#[derive(Debug, Clone, Copy, Default)]
pub enum OfficerEvidence<'a> {
    /// Nothing: the app says so.
    #[default]
    Asserted,
    /// A ticket, its signature verified under the key of this delegation, which is verified under the root
    /// that it names itself.
    Ticket {
        /// The ticket.
        ticket: &'a Ticket,
        /// Of the officer's key.
        delegation: &'a Delegation,
        /// How often it was used, this request included; none at the verifier, which counts by itself.
        uses: Option<u32>,
    },
    /// A second signature on the statement, verified under the key of this delegation, which is verified
    /// under the root that it names itself.
    Signed {
        /// Of the officer's key.
        delegation: &'a Delegation,
    },
}

impl OfficerEvidence<'_> {
    /// What it proves if it holds.
    pub fn proof(&self) -> OfficerProof {
        match self {
            Self::Asserted => OfficerProof::Asserted,
            Self::Ticket { .. } => OfficerProof::Ticket,
            Self::Signed { .. } => OfficerProof::Signed,
        }
    }
}

impl Context<'_> {
    /// Whether hub and adapter brought what a decision needs: counts that include this request, and the
    /// body, which only a hub may lack, when it is sealed. Without them there is no decision.
    pub(crate) fn is_complete(&self) -> bool {
        let counted = |counts: Counts| counts.app_this_minute > 0 && counts.officer_today > 0;
        let body = self.body.is_some() || (self.sealed && self.site == Site::Hub);
        !self.site.is_live() || (body && self.counts.is_some_and(counted))
    }
}
